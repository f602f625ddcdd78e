"""Read the claims of host ports from the table, element by element.

A port costs one look-up while no claim waits for it. The line of a port is read by number until an element is missing.
"""

from cni.address import Address
from cni.kernel.transaction import INET_PROTO, INET_SERVICE, pack, unpack
from cni_portmap.layout import line_type
from cni_portmap.line import Claim, Place
from cni_portmap.published import Entry, named, number, two_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cni.kernel.nftables import Element
    from cni.ledger import Ledger

    # family, group, and the port's key without an address
    Key = tuple[int, str, bytes]

# With more ports than this, first find out whether any line exists.
_FEW = 8
# Claims of a line that are read at once.
_MORE = 24


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
        length = self._length
        host, port = (element.key[:-8], element.key[-8:]) if len(element.key) > 8 else (bytes(length), element.key)
        address, inside = Address(element.data[:length]), number(element.data[length:])
        return Claim(element.comment, self._entry(port, Address(host), address, inside))

    def _entry(self, port: bytes, host: Address, address: Address, inside: int) -> Entry:
        protocol, host_port = unpack((INET_PROTO, INET_SERVICE), port)
        return Entry(protocol[0], (host, number(host_port)), (address, inside), self._group)

    # the line

    def _lines(self, ports: "list[bytes]") -> "dict[bytes, list[Claim]]":
        name = named("line", self._version, self._group)
        found: dict[bytes, list[Claim]] = {port: [] for port in ports}
        if len(ports) > _FEW and not self._ledger.kernel.holds(*self._ledger.at, name, lambda element: True):
            return found
        first = self._ledger.elements(name, [line_key(port, 0) for port in ports])
        for port, element in zip(ports, first, strict=True):
            while element is not None:
                found[port].append(self._waiting(port, element))
                start = len(found[port])
                keys = [line_key(port, start + each) for each in range(_MORE)]
                more = self._ledger.elements(name, keys, until_missing=True)
                found[port] += [self._waiting(port, each) for each in more[:-1] if each is not None]
                element = more[-1]
        return found

    def _waiting(self, port: bytes, element: "Element") -> Claim:
        link, host, address, inside = unpack(line_type(self._version).data, element.data)
        entry = self._entry(port, Address(host), Address(address), number(inside))
        return Claim(element.comment, entry, link.rstrip(b"\0").decode("utf-8", "replace"))


def line_key(port: bytes, place: int) -> bytes:
    """The key of a place in the line of a port."""
    return port + pack((INET_SERVICE, INET_SERVICE), [two_bytes(place), b""])[:4]


def line_data(claim: Claim) -> bytes:
    """A claim as the line's data."""
    entry = claim.entry
    fields = [claim.link.encode(), entry.host.packed, entry.address.packed, two_bytes(entry.port)]
    return pack(line_type(entry.version).data, fields)
