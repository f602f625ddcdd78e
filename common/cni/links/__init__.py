"""The links of containers: what the modules of this package share.

``pair`` is a veth pair, ``container_link`` a link of another kind. An alias names the owner of a link: the alias of the
link itself, or that of a pair's end on the node. Go's plugins write no alias.
"""

from cni.attachment import is_alias
from cni.errors import CheckFailed
from cni.names import interface_fault
from cni.plan import Differ, Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.attachment import Attachment
    from cni.kernel.rtnl import Link, Rtnl
    from cni.result import Interface
    from cni.site import Site


def host_end(rtnl: "Rtnl", inside: "Link") -> "Link | None":
    """The node's end of a veth that is in a container; None for other links, and if the end is elsewhere."""
    found = rtnl.link(index=inside.peer) if inside.peer else None
    return found if found is not None and found.kind == "veth" and found.peer == inside.index else None


def named_host_end(rtnl: "Rtnl", interfaces: "Sequence[Interface]", attachment: "Attachment") -> str:
    """The name of the node's end of an attachment's link, from the interfaces of a result; empty if there is none.

    Our plugins derive the name from the attachment. Go's choose a random name; then it is the first veth of the node.
    """
    names = [interface.name for interface in interfaces if not interface.sandbox]
    if attachment.link in names:
        return attachment.link
    for name in names:
        # a result may name something else than a link of the kernel, such as a socket
        link = None if interface_fault(name) else rtnl.link(name)
        if link is not None and link.kind == "veth":
            return name
    # a result of 0.2.0 names no link
    derived = rtnl.link(attachment.link)
    return attachment.link if derived is not None and derived.alias == attachment.alias else ""


def owner(rtnl: "Rtnl", inside: "Link") -> str:
    """The attachment that a link in a container belongs to, as its alias has it; empty if there is no such alias."""
    for link in (host_end(rtnl, inside), inside):
        if link is not None and is_alias(link.alias):
            return link.alias
    return ""


def in_go_words(kind: str, text: str) -> str:
    """A message as Go's plugin for this kind of link prints it: macvlan's begin with a small letter."""
    if kind == "ipvlan":
        return text.replace("Container ipvlan", "Container IPVlan")
    return text[0].lower() + text[1:] if kind == "macvlan" else text


def of_container(site: "Site", kind: str) -> "Link":
    """The link ``CNI_IFNAME`` of this kind; raises ``CheckFailed``."""
    ifname = site.attachment.ifname
    link = site.container.rtnl.link(ifname)
    if link is None:
        raise CheckFailed(f'failed to lookup "{ifname}": Link not found', f"in {site.netns}")
    if link.kind != kind:
        text = f"Error: Container interface {ifname} not of type {kind}"
        raise CheckFailed(in_go_words(kind, text), f"it is of type {link.kind or 'device'}")
    return link


def compare_previous(site: "Site", link: "Link", differ: "Differ") -> None:
    """Compare the link ``CNI_IFNAME`` with prevResult: it is there, in this sandbox, and has this MAC.

    A later plugin may have changed the MAC; then it has written the new one into the result. The MTU is not compared:
    Go's tuning changes it, and does not write it into the result.
    """
    previous, netns = site.previous, site.netns
    if previous is None:
        return
    found = [interface for interface in previous.interfaces if interface.sandbox and interface.name == link.name]
    for interface in found:
        if interface.sandbox != netns:
            text = f"Sandbox in prevResult {interface.sandbox} doesn't match configured netns: {netns}"
            differ(CheckFailed(in_go_words(link.kind, text)))
        if interface.mac and interface.mac.lower() != link.mac:
            text = f"Interface {link.name} Mac {interface.mac} doesn't match container Mac: {link.mac}"
            differ(CheckFailed(in_go_words(link.kind, text)))
    if not found:
        text = f"Container interface name missing in prevResult: {link.name}"
        differ(CheckFailed(in_go_words(link.kind, text)))


class Labelled(Effect[None]):
    """The link's alias names its attachment. This is the last effect of an ADD: it shows that the ADD was complete."""

    link: "Link"
    # the link is in the container, and not the node's end of a pair
    inside: bool = False
    # nothing is compared
    repairable = False

    def make(self) -> None:
        """Write the alias."""
        rtnl = self.site.container.rtnl if self.inside else self.site.rtnl
        rtnl.change(self.link.index, alias=self.attachment.alias)

    def compare(self, differ: "Differ") -> None:
        """A link that Go's plugins made has no alias, so nothing is compared."""

    def describe(self) -> str:
        """The ``ip`` command for it."""
        name = self.attachment.ifname if self.inside else self.attachment.link
        return f"ip link set {name} alias {self.attachment.alias}"
