"""Who holds a host port, and whether that attachment still lives: a dead one's port is taken over."""

from cni.address import Address
from cni.errors import ADDRESS_TAKEN, Refused
from cni.kernel.nftables import Element, Nftables
from cni.names import ALIAS_MAX, Attachment, beginning, interface_fault, is_alias
from cni_portmap import layout
from cni_portmap.owned import Owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni.address import Prefix
    from cni.kernel.rtnl import Link, Rtnl
    from cni.result import Interface

_REUSED = "its address was given to the new one"


def take_over(port: object, owner: str, attachment: Attachment, why: str, say: "Callable[[str], None]") -> None:
    """Tell ``why`` the owner of a port is dead and who has it now; raises ``Refused``, naming both, for one that lives."""
    if not why:
        raise Refused(
            f"{port} is held by {owner}, and asked for by {attachment}",
            "remove the other container, or choose another port",
            ADDRESS_TAKEN,
        )
    say(f"portmap: {attachment} takes {port} over from {owner}: {why}")


def host_link(interfaces: "Sequence[Interface]", attachment: Attachment, rtnl: "Rtnl") -> str:
    """The host end of the container's link as prevResult tells it; the empty text where there is none to be known by.

    Our bridge derives the name from the attachment; Go's draws one, and the first veth on the node's side is it.
    """
    names = [interface.name for interface in interfaces if not interface.sandbox]
    if attachment.link in names:
        return attachment.link
    for name in names:
        # a result may name what is no link of the kernel's, such as a socket
        link = None if interface_fault(name) else rtnl.link(name)
        if link is not None and link.kind == "veth":
            return name
    return ""


def go_death(
    rtnl: "Rtnl", owner: "tuple[str, str] | None", address: Address, attachment: Attachment, new: Address
) -> str:
    """Why a container that Go's layouts tell does not live any more; the empty text if it does, or may.

    ``owner`` is its network and id, None where they are not told; ``attachment`` asks for its port, and has ``new``.
    """
    if address == new:
        if owner is not None and owner[0] == attachment.network:
            return _REUSED
        if owner is None and _links_to(rtnl, address) == 1:
            return _REUSED
    return _container_gone(rtnl, *owner, address) if owner is not None else ""


def _links_to(rtnl: "Rtnl", address: Address) -> int:
    """How many of the node's links have the subnet of an address: of two each may be another network's."""
    return sum(any(address in subnet for subnet in _subnets(rtnl, link, address)) for link in rtnl.links())


def _subnets(rtnl: "Rtnl", link: "Link", address: Address) -> "list[Prefix]":
    """The subnets of an address's family that a link is in; those stay, in IPv4, while the link is down."""
    return [each.prefix.network for each in rtnl.addresses(link.index, address.family) if not each.scope]


def _container_gone(rtnl: "Rtnl", network: str, container: str, address: Address) -> str:
    """Only behind a bridge, where no link tells that it is the container's, and none that tells nobody may be.

    What routes tell is left out: a bridge that is down has none, and the containers behind it live.
    """
    links = rtnl.links()
    bridges = [link for link in links if link.kind == "bridge"]
    if not any(address in subnet for bridge in bridges for subnet in _subnets(rtnl, bridge, address)):
        return ""
    told = beginning(f"{network}/{container}/", ALIAS_MAX)
    for link in links:
        if link.alias.startswith(told) or (not is_alias(link.alias) and _may_lead_to(rtnl, links, link, address)):
            return ""
    return "no link of the node is its"


def _may_lead_to(rtnl: "Rtnl", links: "list[Link]", link: "Link", address: Address) -> bool:
    """Whether a link may be that of a container with this address: those of Go's plugins tell nothing.

    A bridge that is in other subnets alone has it not, unless VLANs keep several networks apart there.
    """
    if link.kind != "veth" or not (link.master or link.name.startswith("veth")):
        return False
    for bridge in links:
        if bridge.index == link.master and not bridge.vlan_filtering:
            subnets = _subnets(rtnl, bridge, address)
            return not subnets or any(address in subnet for subnet in subnets)
    return True


def death(kernel: Nftables, rtnl: "Rtnl", element: Element, attachment: Attachment, addresses: "set[bytes]") -> str:
    """Why the holder of an element of our table does not live any more; the empty text if it does, or may.

    ``addresses`` are those of the attachment that wants it: its network's IPAM gave them, so nobody else there has them.
    """
    length = 4 if len(element.data) == 8 else 16
    if element.data[:length] in addresses and element.comment.partition("/")[0] == attachment.network:
        return _REUSED
    link, alias = _owner(kernel, element.comment)
    if not link:
        return "there is no record of it"
    told = layout.attachments(kernel).of(link)
    name = Owned.told(told[0])[0] if told else ""
    if not name:
        return ""
    found = rtnl.link(name)
    if found is None:
        return f"its link {name} is gone"
    if found.alias.count("/") == 2 and alias and found.alias != alias:
        return f"its link {name} is that of {found.alias} by now"
    return ""


def _owner(kernel: Nftables, comment: str) -> tuple[str, str]:
    """Link name and alias of the attachment that a comment tells; empty where it has no record."""
    mappings = [layout.mappings(kernel, version) for version in layout.FAMILIES]
    parts = comment.split("/")
    if len(parts) == 3:
        owner = Attachment(*parts)
        if owner.comment == comment and any(records.of(owner.link) for records in mappings):
            return owner.link, owner.alias
    # a comment that was too long to tell its attachment: only its record does
    for records in mappings:
        for link, told in records.owners().items():
            if told == comment:
                return link, ""
    return "", ""
