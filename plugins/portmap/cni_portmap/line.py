"""The line of a host port: the claim that answers, and the claims that wait (pure).

A *claim* is one entry of an attachment. A *place* is one port of one protocol, family and group, on any address of the
node. A claim for all addresses waits while another attachment has all addresses. A claim for one address waits while
another attachment has that address, or has all addresses and is older. So the oldest claim always answers, as with Go's
plugin, where the oldest rule comes first. When a claim is removed, the waiting claims that nothing blocks any more
answer, in the order of the line.

A claim for all addresses can answer while an older claim still waits for one address. Then the claim for all addresses
is also in the line, behind the older one.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cni_portmap.published import Entry


class Claim:
    """An entry and its owner: the comment that names the attachment, and its link name if known."""

    __slots__ = ("comment", "entry", "link")

    def __init__(self, comment: str, entry: "Entry", link: str = "") -> None:
        self.comment = comment
        self.entry = entry
        self.link = link

    @property
    def host(self) -> bytes:
        """The node's address, empty for all."""
        return b"" if self.entry.everywhere else self.entry.host.packed

    def is_same(self, other: "Claim | None") -> bool:
        """Whether the other is this attachment's claim for the same address."""
        return other is not None and (self.comment, self.host) == (other.comment, other.host)


class Place:
    """The claims of one port. ``answering`` has them by address; the empty address means all. ``line`` is in order."""

    __slots__ = ("answering", "before", "line")

    def __init__(self, answering: "dict[bytes, Claim] | None" = None, line: "list[Claim] | None" = None) -> None:
        self.answering = dict(answering or {})
        self.line = list(line or ())
        # both as they were read
        self.before = dict(self.answering), list(self.line)

    def copy(self) -> "Place":
        """An independent copy."""
        return Place(self.answering, self.line)

    def has(self, claim: Claim) -> bool:
        """Whether the claim answers."""
        return claim.is_same(self.answering.get(claim.host))

    def rivals(self, claim: Claim) -> "Iterator[Claim]":
        """Claims of other attachments that answer at an address of this claim."""
        for other in self.answering.values():
            if other.comment != claim.comment and _overlap(claim, other):
                yield other

    def position(self, claim: Claim) -> int:
        """The claim's number among the claims that wait for the same address; 0 if it does not wait."""
        waiting = self.waiting(claim)
        return next((number for number, other in enumerate(waiting, 1) if claim.is_same(other)), 0)

    def waiting(self, claim: Claim) -> "list[Claim]":
        """The claims that wait for an address of this claim, in order."""
        return [other for other in self.line if not self.has(other) and _overlap(claim, other)]

    def in_order(self) -> "list[Claim]":
        """All claims. An older claim comes before each younger claim that it blocks."""
        general = self.answering.get(b"")
        specific = [claim for host, claim in self.answering.items() if host]
        marked = general is not None and any(general.is_same(claim) for claim in self.line)
        return [*specific, *([general] if general is not None and not marked else []), *self.line]

    # changes

    def take_out(self, comment: str, keep: "Callable[[Claim], bool]" = lambda claim: False) -> None:
        """Remove the claims of one attachment, except the ones that ``keep`` returns True for."""

        def stays(claim: Claim) -> bool:
            return claim.comment != comment or keep(claim)

        self.answering = {host: claim for host, claim in self.answering.items() if stays(claim)}
        self.line = [claim for claim in self.line if stays(claim)]

    def ask(self, claim: Claim) -> None:
        """Put a claim in line. If the attachment has this claim already, it keeps its place and gets the new target."""
        if self.has(claim):
            self.answering[claim.host] = _newer(self.answering[claim.host], claim)
        for number, other in enumerate(self.line):
            if claim.is_same(other):
                self.line[number] = _newer(other, claim)
                return
        if not self.has(claim):
            self.line.append(claim)

    def settle(self, is_dead: "Callable[[Claim], object]" = lambda claim: False) -> None:
        """Let each waiting claim that nothing blocks answer, in order. A dead claim is dropped instead."""
        general = self.answering.get(b"")
        # whether the next claims in line are younger than the claim for all addresses
        younger = general is not None and not any(general.is_same(claim) for claim in self.line)
        waiting: list[Claim] = []
        for claim in self.line:
            if not self.has(claim):
                if self._blocker(claim, younger) is not None:
                    waiting.append(claim)
                    continue
                if is_dead(claim):
                    continue
                self.answering[claim.host] = claim
            if not claim.host:
                younger = True
                if waiting:
                    waiting.append(claim)
        self.line = waiting

    def _blocker(self, claim: Claim, younger: bool) -> "Claim | None":
        """The claim of another attachment that this claim has to wait for."""
        own = self.answering.get(claim.host)
        if own is not None and own.comment != claim.comment:
            return own
        general = self.answering.get(b"")
        return general if younger and general is not None and general.comment != claim.comment else None

    def waits_for_nobody(self, claim: Claim) -> bool:
        """Whether a claim in line could answer now: then somebody changed the table."""
        settled = self.copy()
        settled.settle()
        return settled.has(claim)


def _overlap(claim: Claim, other: Claim) -> bool:
    return claim.host == other.host or not claim.host or not other.host


def _newer(old: Claim, new: Claim) -> Claim:
    """The new claim, or the old one if both have the same target."""
    return old if old.entry.data == new.entry.data else new
