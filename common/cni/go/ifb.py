"""The name of the link that limits what a container sends, an ifb. It has no alias."""

from cni.names import raw_sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.attachment import Attachment
    from cni.plan import Found
    from cni.site import Site

# The beginning of the name, and the longest name of a link.
_FIRST, _LINK_MAX = "bwp", 15


def ifb_name(attachment: "Attachment") -> str:
    """The name, with a hash of network and container id, concatenated. All interfaces of a container have the same."""
    return f"{_FIRST}{raw_sha512(f'{attachment.network}{attachment.container}'.encode()).hex()}"[:_LINK_MAX]


def listed(site: "Site") -> "Iterable[Found]":
    """Every ifb of Go's plugin."""
    from cni.plan import Found

    for link in site.rtnl.links():
        digits = link.name.removeprefix(_FIRST)
        if link.kind == "ifb" and not link.alias and len(digits) == _LINK_MAX - len(_FIRST):
            yield Found(link.name, mac=link.mac)
