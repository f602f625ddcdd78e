"""The owner of a host port, and whether it is still alive: the port of a dead owner is taken over."""

from cni.attachment import ALIAS_MAX, COMMENT_MAX, Attachment
from cni.errors import ADDRESS_TAKEN, Refused
from cni_portmap import layout
from cni_portmap.published import Published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.ledger import Ledger
    from cni.site import Site
    from cni_portmap.line import Claim

REUSED = "its address was given to the new one"


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
            return REUSED
        if claim.comment not in self._known:
            self._known[claim.comment] = self._look(claim)
        return self._known[claim.comment]

    def is_of(self, comment: str, container: str) -> bool:
        """Whether an attachment belongs to this container, in any network."""
        owner = Attachment.parse(comment, COMMENT_MAX)
        if owner is None:
            # the comment was shortened: the alias of the link has the longer name
            name = self._owner(comment, "")[0]
            link = self._rtnl.link(name) if name else None
            owner = Attachment.parse(link.alias, ALIAS_MAX) if link is not None else None
        return owner is not None and owner.container == container

    def _look(self, claim: "Claim") -> str:
        link, alias = self._owner(claim.comment, claim.link)
        records = self._ledger.fields(layout.ATTACHMENTS, link) if link else []
        if not records:  # or its DEL has just removed it; then this change is refused, and tried again
            return "there is no record of it"
        name, _ = Published.parsed(records[0])
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
        owner = Attachment.parse(comment, COMMENT_MAX)
        if owner is not None and self._is_recorded(owner.link):
            return owner.link, owner.alias
        if link and self._is_recorded(link):
            return link, ""
        # the comment was shortened: find the record that has it
        return next((name for name, named in self._ledger.owners().items() if named == comment), ""), ""

    def _is_recorded(self, link: str) -> bool:
        return bool(self._ledger.recorded(layout.ATTACHMENTS, link))
