"""Connection tracking over netlink (linux/netfilter/nfnetlink_conntrack.h): finding UDP flows by port, and removing them.

A node may track hundreds of thousands of flows. So the kernel filters the dump by port and addresses, and the messages
are compared as bytes at fixed offsets. Before Linux 5.8 the kernel sends all flows of the family, and we filter them.
"""

import struct
from errno import ENOENT

from cni.errors import KernelError
from cni.kernel.netlink import DONE, ERROR, F_ACK, F_DUMP, NETFILTER, Answer, Netlink, attribute, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cni.address import Address

    # Destination of a flow (address, port), and source of its replies (address, port).
    Ends = tuple[bytes, bytes, bytes, bytes]

_NEW, _GET, _DELETE = 0x100, 0x101, 0x102
_UDP = 17
_FAMILIES = {4: 2, 6: 10}
_NESTED = 0x8000
_ORIGINAL, _REPLY, _IDENTIFIER, _ZONE, _FILTER = 1, 2, 12, 18, 25
_ADDRESSES, _PROTOCOL = 1, 2
_SOURCE, _DESTINATION = {4: 1, 6: 3}, {4: 2, 6: 4}
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
# Attributes of a filter, and their bits: the parts of a tuple that are compared.
_ORIGINAL_FLAGS, _REPLY_FLAGS = 1, 2
_BY_SOURCE, _BY_DESTINATION, _BY_NUMBER, _BY_SOURCE_PORT, _BY_DESTINATION_PORT = 1, 2, 8, 16, 32
_HEADER = struct.Struct("=IHHI4x")
# The length of the two headers before the attributes, netlink's and nfnetlink's.
_BODY = 20
# The most filters. Each is one walk through the kernel's table; for more, one walk reads the flows of all ports.
_WALKS = 4
# The most removals in one datagram, so that the socket's buffer has room for their errors.
_AT_ONCE = 64
# The beginning of a message about a UDP flow, and the fields behind it: the original tuple and the reply tuple, each with
# source, destination, protocol and two ports; every value has an attribute header of 4 bytes.
_BEGINNING = {
    version: struct.pack(
        "=HHHHHH", 44 + 2 * size, _ORIGINAL | _NESTED, 12 + 2 * size, _ADDRESSES | _NESTED, 4 + size, _SOURCE[version]
    )
    for version, size in ((4, 4), (6, 16))
}
_FIELDS = {
    version: struct.Struct(f"=12s {size}x 4x {size}s 8x B 11x 4x 2s 2x 12x {size}s 4x {size}x 16x 2s")
    for version, size in ((4, 4), (6, 16))
}


class Sought:
    """Flows to look for: their destination port and address, and address and port of the host that replies; None: any."""

    __slots__ = ("port", "values")

    def __init__(
        self,
        port: int | None = None,
        to: "Address | None" = None,
        answerer: "Address | None" = None,
        answering_port: int | None = None,
    ) -> None:
        self.port = port
        self.values = port, to, answerer, answering_port

    def common(self, other: "Sought") -> "Sought":
        """The values that are equal in both."""
        pairs = zip(self.values, other.values, strict=True)
        return Sought(*(one if one == two else None for one, two in pairs))  # type: ignore[arg-type]

    def filter(self, version: int) -> bytes:
        """The attributes of a dump request by which the kernel filters.

        IPv6 addresses are left out, because Linux inverts their comparison and sends all other flows.
        """
        port, to, answerer, answering_port = self.values
        if version == 6:
            to = answerer = None
        original = _tuple(_DESTINATION[version], to, _DESTINATION_PORT, port)
        reply = _tuple(_SOURCE[version], answerer, _SOURCE_PORT, answering_port)
        sent = _BY_NUMBER | (_BY_DESTINATION if to else 0) | (_BY_DESTINATION_PORT if port is not None else 0)
        answered = _BY_SOURCE if answerer else 0
        answered |= _BY_NUMBER | _BY_SOURCE_PORT if answering_port is not None else 0
        flags = attribute(_ORIGINAL_FLAGS, struct.pack("=I", sent)) + attribute(
            _REPLY_FLAGS, struct.pack("=I", answered)
        )
        found = attribute(_ORIGINAL | _NESTED, original) + attribute(_FILTER | _NESTED, flags)
        return found + attribute(_REPLY | _NESTED, reply) if answered else found


def _tuple(end: int, address: "Address | None", port_kind: int, port: int | None) -> bytes:
    """A tuple's content for a filter."""
    packed = attribute(_ADDRESSES | _NESTED, attribute(end, address.packed)) if address else b""
    protocol = attribute(_NUMBER, bytes([_UDP]))
    if port is not None:
        protocol += attribute(port_kind, port.to_bytes(2, "big"))
    return packed + attribute(_PROTOCOL | _NESTED, protocol)


def _unusual(data: bytes, version: int) -> "tuple[int, Ends] | None":
    """Protocol and ends of a flow whose message has another beginning, such as one with a zone in its tuple."""
    ends: dict[int, tuple[int, bytes, bytes]] = {}
    for kind, payload in attributes(data, _BODY):
        if kind in (_ORIGINAL, _REPLY):
            parts = dict(attributes(payload))
            addresses, protocol = dict(attributes(parts[_ADDRESSES])), dict(attributes(parts[_PROTOCOL]))
            end, port = (_DESTINATION, _DESTINATION_PORT) if kind == _ORIGINAL else (_SOURCE, _SOURCE_PORT)
            ends[kind] = protocol[_NUMBER][0], addresses.get(end[version], b""), protocol.get(port, b"")
    if len(ends) < 2:
        return None
    number, to, port_sent_to = ends[_ORIGINAL]
    return number, (to, port_sent_to, *ends[_REPLY][1:])


def _removal(data: bytes, version: int) -> bytes:
    """The body of a request that removes the flow of this message: its whole tuple, number and zone."""
    found = dict(attributes(data, _BODY))
    body = bytes([_FAMILIES[version], 0, 0, 0]) + attribute(_ORIGINAL | _NESTED, found[_ORIGINAL])
    return body + b"".join(attribute(kind, found[kind]) for kind in (_IDENTIFIER, _ZONE) if kind in found)


class Conntrack(Netlink):
    """A socket for connection tracking of the namespace in which it is made."""

    def __init__(self) -> None:
        super().__init__(NETFILTER)

    def forget(self, version: int, sought: "Sequence[Sought]", stale: "Callable[[Ends], bool]") -> int:
        """Remove the ``sought`` UDP flows that are ``stale``; returns their number."""
        walks = list(sought)
        if len(walks) > _WALKS:
            shared = walks[0]
            for each in walks[1:]:
                shared = shared.common(each)
            walks = [shared]
        removals: list[bytes] = []
        for each in walks:
            if not self._walk(version, each, stale, removals):
                break
        self._remove(removals)
        return len(removals)

    def _walk(self, version: int, sought: Sought, stale: "Callable[[Ends], bool]", removals: list[bytes]) -> bool:
        """Read one dump, and add requests for the stale flows to ``removals``.

        Returns False if the kernel does not filter: then the dump had all flows, and no other is needed.
        """
        filters, asked = True, None if sought.port is None else sought.port.to_bytes(2, "big")
        beginning, fields = _BEGINNING[version], _FIELDS[version].unpack_from
        size = _FIELDS[version].size
        body = bytes([_FAMILIES[version], 0, 0, 0]) + sought.filter(version)
        for data, start, end in self._messages(body):
            if end - start >= _BODY + size:
                head, to, number, port, answerer, answering_port = fields(data, start + _BODY)
                ends = to, port, answerer, answering_port
            else:
                head = b""
            if head != beginning:
                found = _unusual(data[start:end], version)
                if found is None:
                    continue
                number, ends = found
            if number != _UDP or (asked is not None and ends[1] != asked):
                filters = False
            if number == _UDP and stale(ends):
                removals.append(_removal(data[start:end], version))
        return filters

    def _messages(self, body: bytes) -> "Iterator[tuple[bytes, int, int]]":
        """The messages of a dump: a datagram, and the offsets of the message's beginning and end."""
        sequence, header = self.send(self.packed(body, _GET, F_DUMP)), _HEADER.unpack_from
        while True:
            data, offset = self.datagram(), 0
            while offset + 16 <= len(data):
                length, kind, flags, answered = header(data, offset)
                end = offset + max(length, 16)
                if answered == sequence:
                    if kind == _NEW:
                        yield data, offset, end
                    elif kind in (ERROR, DONE):
                        error = Answer(kind, flags, answered, data[offset:end]).error
                        if error is not None:
                            raise error
                        return
                offset = end + 3 & ~3

    def _remove(self, removals: list[bytes]) -> None:
        """Remove flows, many in a datagram, of which only the last is acknowledged. A missing flow is no error."""
        faults: list[KernelError] = []
        for start in range(0, len(removals), _AT_ONCE):
            *others, last = removals[start : start + _AT_ONCE]
            data = b"".join(self.packed(body, _DELETE, 0) for body in others)
            sequence, ended = self.send(data + self.packed(last, _DELETE, F_ACK)), False
            while not ended:
                for answer in self.receive():
                    error = answer.error
                    if error is not None and error.errno != ENOENT:
                        faults.append(error)
                    ended = ended or answer.sequence == sequence
        if faults:
            raise faults[0]
