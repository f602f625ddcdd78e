"""Who holds a host port, and whether that attachment still lives: a dead one's port is taken over."""

from cni.address import Address
from cni.attachment import ALIAS_MAX, COMMENT_MAX, Attachment, beginning, is_alias
from cni.errors import ADDRESS_TAKEN, Refused
from cni_portmap import layout
from cni_portmap.published import Published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from cni.address import Prefix
    from cni.kernel.rtnl import Link, Rtnl
    from cni.ledger import Ledger
    from cni_portmap.line import Claim

_MAPPINGS = tuple(layout.MAPPINGS.values())
_REUSED = "its address was given to the new one"


def refusal(port: object, owner: str, attachment: Attachment, remedy: str = "") -> Refused:
    """The error for a port of an owner that lives, naming both."""
    return Refused(
        f"{port} is held by {owner}, and asked for by {attachment}",
        remedy or "remove the other container, or choose another port",
        ADDRESS_TAKEN,
    )


def taken_over(port: object, owner: str, attachment: Attachment, why: str) -> str:
    """The line for operators about a port of an owner that is dead; ``why`` says how that is known."""
    return f"portmap: {attachment} takes {port} over from {owner}: {why}"


def waits(port: object, owner: str, attachment: Attachment, position: int) -> str:
    """The line for operators about a port of an owner that lives."""
    place = "is next in line" if position == 1 else f"is number {position} in line"
    return f"portmap: {port} is held by {owner}; {attachment} {place}, and answers when that one is gone"


def go_death(
    rtnl: "Rtnl", owner: "tuple[str, str] | None", address: Address, attachment: Attachment, new: Address
) -> str:
    """Why a container in Go's layouts does not live any more; empty if it does, or may.

    ``owner`` is its network and id, None where they are not known; ``attachment`` asks for its port, and has ``new``.
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
    from cni.kernel import addresses

    return [each.prefix.network for each in addresses.of(rtnl, link.index, address.family) if not each.scope]


def _container_gone(rtnl: "Rtnl", network: str, container: str, address: Address) -> str:
    """Only behind a bridge, if no link has the container's name, and no link without a name may be its.

    Routes are not asked: a bridge that is down has none, and the containers behind it live.
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
    """Whether a link may be that of a container with this address: those of Go's plugins have no name in them.

    A bridge that is in other subnets alone has it not, unless VLANs keep several networks apart there.
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
    """Which attachments of our table are dead: each is looked at once."""

    def __init__(self, ledger: "Ledger", rtnl: "Rtnl", asking: bytes = b"") -> None:
        """``asking`` is the identity of the namespace of the container that asks for a port."""
        self._ledger = ledger
        self._rtnl = rtnl
        self._asking = asking
        self._known: dict[str, str] = {}

    def death(self, claim: "Claim", attachment: Attachment | None = None, given: "Set[bytes]" = frozenset()) -> str:
        """Why the owner of a claim does not live any more; the empty text if it does, or may.

        ``given`` are the addresses of the ``attachment`` that asks: its network's IPAM gave them, so nobody else there
        has them.
        """
        network = claim.comment.partition("/")[0]
        if attachment is not None and claim.entry.address.packed in given and network == attachment.network:
            return _REUSED
        if claim.comment not in self._known:
            self._known[claim.comment] = self._look(claim)
        return self._known[claim.comment]

    def is_of(self, comment: str, container: str) -> bool:
        """Whether an attachment is of this container, in whatever network."""
        parts = comment.split("/")
        if len(parts) == 3 and len(comment.encode()) < COMMENT_MAX:
            return parts[1] == container
        # a comment that may have been cut: the link's alias is longer
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
        """Why the container's network namespace counts as gone; for a container without a link on the node."""
        records = self._ledger.fields(layout.NAMESPACES, link)
        if not records:
            return ""
        from cni.kernel.nsid import Peers

        peers = Peers()
        try:
            return "its network namespace is gone" if peers.is_gone(b"".join(records[0]), self._asking) else ""
        finally:
            peers.close()

    def _owner(self, comment: str, link: str) -> tuple[str, str]:
        """Link name and alias of the attachment that a comment names; empty where it has no record."""
        parts = comment.split("/")
        if len(parts) == 3:
            owner = Attachment(*parts)
            if owner.comment == comment and self._is_recorded(owner.link):
                return owner.link, owner.alias
        if link and self._is_recorded(link):
            return link, ""
        # a comment that was too long to name its attachment: only its record does
        return next((name for name, named in self._ledger.owners(*_MAPPINGS).items() if named == comment), ""), ""

    def _is_recorded(self, link: str) -> bool:
        return any(self._ledger.recorded(name, link) for name in _MAPPINGS)
