"""The owner of a host port, and whether it is still alive: the port of a dead owner is taken over."""

from cni.address import Address
from cni.attachment import ALIAS_MAX, COMMENT_MAX, Attachment, beginning, is_alias
from cni.errors import ADDRESS_TAKEN, Refused
from cni_portmap import layout
from cni_portmap.published import Published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.address import Prefix
    from cni.kernel.rtnl import Link, Rtnl
    from cni.ledger import Ledger
    from cni.site import Site
    from cni_portmap.line import Claim

_MAPPINGS = tuple(layout.MAPPINGS.values())
_REUSED = "its address was given to the new one"


def refusal(port: object, owner: str, attachment: Attachment, remedy: str = "") -> Refused:
    """The error for a port of a live owner; it names both attachments."""
    return Refused(
        f"{port} is held by {owner}, and asked for by {attachment}",
        remedy or "remove the other container, or choose another port",
        ADDRESS_TAKEN,
    )


def taken_over(port: object, owner: str, attachment: Attachment, why: str) -> str:
    """The line for operators about a port of a dead owner. ``why`` is the reason why it counts as dead."""
    return f"portmap: {attachment} takes {port} over from {owner}: {why}"


def waits(port: object, owner: str, attachment: Attachment, position: int) -> str:
    """The line for operators about a port of a live owner."""
    place = "is next in line" if position == 1 else f"is number {position} in line"
    return f"portmap: {port} is held by {owner}; {attachment} {place}, and answers when that one is gone"


def go_death(
    rtnl: "Rtnl", owner: "tuple[str, str] | None", address: Address, attachment: Attachment, new: Address
) -> str:
    """Why a container in Go's layouts counts as dead; empty if it is or may be alive.

    ``owner`` is its network and id, None if not known. ``attachment`` asks for its port and has the address ``new``.
    """
    if address == new:
        if owner is not None and owner[0] == attachment.network:
            return _REUSED
        if owner is None and _links_to(rtnl, address) == 1:
            return _REUSED
    return _container_gone(rtnl, *owner, address) if owner is not None else ""


def _links_to(rtnl: "Rtnl", address: Address) -> int:
    """The number of links of the node with the subnet of an address. Two links may be of two networks."""
    return sum(any(address in subnet for subnet in _subnets(rtnl, link, address)) for link in rtnl.links())


def _subnets(rtnl: "Rtnl", link: "Link", address: Address) -> "list[Prefix]":
    """The subnets of a link, in the family of an address. IPv4 subnets stay while the link is down."""
    from cni.kernel import addresses

    return [each.prefix.network for each in addresses.of(rtnl, link.index, address.family) if not each.scope]


def _container_gone(rtnl: "Rtnl", network: str, container: str, address: Address) -> str:
    """Why the container counts as gone: it was behind a bridge, and no link has its name or may be its link.

    Routes do not count: a bridge that is down has none, but its containers are alive.
    """
    links = rtnl.links()
    bridges = [link for link in links if link.kind == "bridge"]
    if not any(address in subnet for bridge in bridges for subnet in _subnets(rtnl, bridge, address)):
        return ""
    named = beginning(f"{network}/{container}/", ALIAS_MAX)
    for link in links:
        if link.alias.startswith(named) or (not is_alias(link.alias) and _may_lead_to(rtnl, links, link, address)):
            return ""
    return "no link of the node is its"


def _may_lead_to(rtnl: "Rtnl", links: "list[Link]", link: "Link", address: Address) -> bool:
    """Whether a link may belong to a container with this address. Links of Go's plugins do not name their owner.

    A port of a bridge with only other subnets does not, unless the bridge separates networks with VLANs.
    """
    from cni.kernel.kinds import Bridge

    if link.kind != "veth" or not (link.master or link.name.startswith("veth")):
        return False
    for bridge in links:
        if bridge.index == link.master and bridge.data == Bridge():
            subnets = _subnets(rtnl, bridge, address)
            return not subnets or any(address in subnet for subnet in subnets)
    return True


class Liveness:
    """Tells which attachments of our table are dead. Each is looked up once."""

    def __init__(self, ledger: "Ledger", site: "Site", asking: Published) -> None:
        """``asking`` are the ports that the site's attachment asks for."""
        self._ledger = ledger
        self._rtnl = site.rtnl
        self._attachment = site.attachment
        # its network's IPAM gave it these addresses, so no other attachment of that network has them
        self._given = set(asking.addresses.values())
        self._namespace = asking.namespace
        self._known: dict[str, str] = {}

    def death(self, claim: "Claim") -> str:
        """Why the owner of a claim counts as dead; empty if it is or may be alive, or is the asking attachment."""
        if claim.comment == self._attachment.comment:
            return ""
        if claim.entry.address in self._given and claim.comment.partition("/")[0] == self._attachment.network:
            return _REUSED
        if claim.comment not in self._known:
            self._known[claim.comment] = self._look(claim)
        return self._known[claim.comment]

    def is_of(self, comment: str, container: str) -> bool:
        """Whether an attachment belongs to this container, in any network."""
        parts = comment.split("/")
        if len(parts) == 3 and len(comment.encode()) < COMMENT_MAX:
            return parts[1] == container
        # the comment may be shortened: the alias of the link has the longer name
        name = self._owner(comment, "")[0]
        link = self._rtnl.link(name) if name else None
        parts = (link.alias if link is not None else "").split("/")
        return len(parts) == 3 and parts[1] == container

    def _look(self, claim: "Claim") -> str:
        link, alias = self._owner(claim.comment, claim.link)
        if not link:
            return "there is no record of it"
        records = self._ledger.fields(layout.ATTACHMENTS, link)
        name = Published.parsed(records[0])[0] if records else ""
        if not name:
            return self._namespace_gone(link)
        found = self._rtnl.link(name)
        if found is None:
            return f"its link {name} is gone"
        if found.alias.count("/") == 2 and alias and found.alias != alias:
            return f"its link {name} belongs to {found.alias} now"
        return ""

    def _namespace_gone(self, link: str) -> str:
        """Why the namespace of a container without a link on the node counts as gone; empty if it does not."""
        records = self._ledger.fields(layout.NAMESPACES, link)
        if not records:
            return ""
        from cni.kernel.nsid import Peers

        peers = Peers()
        try:
            return "its network namespace is gone" if peers.is_gone(b"".join(records[0]), self._namespace) else ""
        finally:
            peers.close()

    def _owner(self, comment: str, link: str) -> tuple[str, str]:
        """Link name and alias of the attachment that a comment names; empty if it has no record."""
        parts = comment.split("/")
        if len(parts) == 3:
            owner = Attachment(*parts)
            if owner.comment == comment and self._is_recorded(owner.link):
                return owner.link, owner.alias
        if link and self._is_recorded(link):
            return link, ""
        # the comment was shortened: find the record that has it
        return next((name for name, named in self._ledger.owners(*_MAPPINGS).items() if named == comment), ""), ""

    def _is_recorded(self, link: str) -> bool:
        return any(self._ledger.recorded(name, link) for name in _MAPPINGS)
