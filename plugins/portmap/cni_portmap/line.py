"""The line of a host port: the claim that answers, and the claims that wait. ``load`` reads them from the table.

A *claim* is one entry of an attachment. A *place* is one port of one protocol, family and group, on any address of the
node. A claim for all addresses waits while another attachment has all addresses. A claim for one address waits while
another attachment has that address, or has all addresses and is older. So the oldest claim always answers, as with Go's
plugin, where the oldest rule comes first. When a claim is removed, the waiting claims that nothing blocks any more
answer, in the order of the line.

A claim for all addresses can answer while an older claim still waits for one address. Then the claim for all addresses
is also in the line, behind the older one.

A port costs one look-up while no claim waits for it. The line of a port is read by number until an element is missing.
"""

from cni.kernel.transaction import ADDRESS, INET_PROTO, INET_SERVICE, pack, unpack
from cni.settings import Declared
from cni_portmap.layout import line_type
from cni_portmap.published import Entry, named, two_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cni.kernel.nftables import Element
    from cni.ledger import Ledger

    # family, group, and the port's key without an address
    Key = tuple[int, str, bytes]

# With more ports than this, first find out whether any line exists.
_FEW = 8


class Claim(Declared):
    """An entry and its owner: the comment that names the attachment, and its link name if known."""

    comment: str
    entry: Entry
    link: str = ""

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
        for at, other in enumerate(self.line):
            if claim.is_same(other):
                self.line[at] = _newer(other, claim)
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


# reading


def key_of(entry: Entry) -> "Key":
    """The place that an entry belongs to."""
    return entry.version, entry.group, entry.plain_key


def load(ledger: "Ledger", entries: "Iterable[Entry]", whole: bool = False) -> "dict[Key, Place]":
    """The places of entries: the claims at their addresses, the line, and the claims that the line waits for.

    ``whole`` also reads the claims of all other addresses, which a claim for all addresses needs.
    """
    groups: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.version, entry.group), []).append(entry)
    found: dict[Key, Place] = {}
    for (version, group), members in groups.items():
        found.update(_Group(ledger, version, group).load(members, whole))
    return found


class _Group:
    """The maps of one family and group."""

    def __init__(self, ledger: "Ledger", version: int, group: str) -> None:
        self._ledger = ledger
        self._version = version
        self._group = group
        self._length = 16 if version == 6 else 4

    def load(self, entries: "list[Entry]", whole: bool) -> "dict[Key, Place]":
        ports = list(dict.fromkeys(entry.plain_key for entry in entries))
        lines = self._lines(ports)
        answering: dict[bytes, dict[bytes, Claim]] = {port: {} for port in ports}
        general = {entry.plain_key for entry in entries if entry.everywhere}
        wanted = [port for port in ports if whole or port in general or lines[port]]
        for element in self._elements("hostports", wanted):
            answering[element.key][b""] = self._claim(element)
        hosts = [entry.key for entry in entries if not entry.everywhere]
        hosts += [claim.entry.key for line in lines.values() for claim in line if claim.host]
        specific = self._elements("hostips", list(dict.fromkeys(hosts)))
        if whole:
            specific += self._elsewhere(general)
        for element in specific:
            answering[element.key[self._length :]][element.key[: self._length]] = self._claim(element)
        return {(self._version, self._group, port): Place(answering[port], lines[port]) for port in ports}

    def _elsewhere(self, ports: "set[bytes]") -> "list[Element]":
        """The claims on these ports at single addresses. The whole map is read only if a port has such claims."""
        counted = {element.key for element in self._elements("hostip_ports", list(ports))}
        if not counted:
            return []
        listed = self._ledger.every(named("hostips", self._version, self._group))
        return [element for element in listed if element.key[self._length :] in counted]

    def _elements(self, kind: str, keys: "Sequence[bytes]") -> "list[Element]":
        name = named(kind, self._version, self._group)
        return [found for found in self._ledger.elements(name, keys) if found is not None]

    def _claim(self, element: "Element") -> Claim:
        host, port = element.key[:-8] or bytes(self._length), element.key[-8:]
        target = unpack((ADDRESS[self._version], INET_SERVICE), element.data)
        return Claim(element.comment, self._entry(port, host, *target))

    def _entry(self, port: bytes, host: bytes, address: bytes, inside: bytes) -> Entry:
        protocol, host_port = unpack((INET_PROTO, INET_SERVICE), port)
        return Entry.parse([protocol, host, host_port, address, inside], self._group)

    # the line

    def _lines(self, ports: "list[bytes]") -> "dict[bytes, list[Claim]]":
        name = named("line", self._version, self._group)
        found: dict[bytes, list[Claim]] = {port: [] for port in ports}
        if len(ports) > _FEW and not self._ledger.kernel.holds(*self._ledger.at, name, lambda element: True):
            return found
        first = self._ledger.elements(name, [line_key(port, 0) for port in ports])
        for port, element in zip(ports, first, strict=True):
            if element is not None:
                found[port] = [self._waiting(port, each) for each in (element, *self._behind(name, port))]
        return found

    def _behind(self, name: str, port: bytes) -> "list[Element]":
        """The elements of a port's line behind the first."""
        return self._ledger.numbered(name, lambda place: line_key(port, place), start=1)

    def _waiting(self, port: bytes, element: "Element") -> Claim:
        link, *fields = unpack(line_type(self._version).data, element.data)
        return Claim(element.comment, self._entry(port, *fields), link.rstrip(b"\0").decode("utf-8", "replace"))


def line_key(port: bytes, place: int) -> bytes:
    """The key of a place in the line of a port."""
    return port + pack((INET_SERVICE, INET_SERVICE), [two_bytes(place), b""])[:4]


def line_data(claim: Claim) -> bytes:
    """A claim as the line's data."""
    entry = claim.entry
    fields = [claim.link.encode(), entry.host.packed, entry.address.packed, two_bytes(entry.port)]
    return pack(line_type(entry.version).data, fields)
