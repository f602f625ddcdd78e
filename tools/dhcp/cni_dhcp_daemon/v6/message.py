"""DHCPv6's messages between a client and a server (RFC 8415, 3646): what is in a packet, and back."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address

from cni_dhcp_daemon.v6.wire import (
    addresses,
    domains,
    encode_addresses,
    encode_domains,
    lifetime,
    require,
    seconds,
)

SERVERS = "ff02::1:2"
"""All_DHCP_Relay_Agents_and_Servers: the only address that this client sends to."""


class Kind(IntEnum):
    """The kinds of messages."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    INFORMATION_REQUEST = 11


class Code(IntEnum):
    """The options that are understood."""

    CLIENT = 1
    SERVER = 2
    ASSOCIATION = 3
    ADDRESS = 5
    REQUESTED = 6
    PREFERENCE = 7
    ELAPSED = 8
    STATUS = 13
    RAPID = 14
    DNS_SERVERS = 23
    DOMAINS = 24
    REFRESH = 32
    SOL_MAX_RT = 82
    INF_MAX_RT = 83


class Outcome(IntEnum):
    """The status codes of RFC 8415."""

    Success = 0
    UnspecFail = 1
    NoAddrsAvail = 2
    NoBinding = 3
    NotOnLink = 4
    UseMulticast = 5
    NoPrefixAvail = 6


@dataclass(frozen=True, slots=True)
class Status:
    """What a server says about a message or a part of it."""

    code: int = Outcome.Success
    text: str = ""

    def __str__(self) -> str:
        name = Outcome(self.code).name if self.code in set(Outcome) else f"status {self.code}"
        return f"{name}: {self.text}" if self.text else name


@dataclass(frozen=True, slots=True)
class Leased:
    """An address in a message, with its lifetimes in seconds."""

    address: str
    preferred: float = 0
    valid: float = 0
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Association:
    """IA_NA: the addresses of one interface."""

    iaid: int
    renew: float = 0
    """T1 in seconds; 0: the client chooses."""
    rebind: float = 0
    """T2."""
    addresses: tuple[Leased, ...] = ()
    status: Status = Status()


@dataclass(frozen=True, slots=True)
class Message:
    """A message, with what the client understands of its options."""

    kind: int
    transaction: int
    client: bytes = b""
    server: bytes = b""
    associations: tuple[Association, ...] = ()
    status: Status = Status()
    preference: int = 0
    rapid: bool = False
    elapsed: int | None = None
    """In hundredths of a second."""
    requested: tuple[int, ...] = ()
    dns_servers: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    refresh: float | None = None
    """When information is to be asked for again, in seconds."""
    sol_max_rt: int | None = None
    inf_max_rt: int | None = None
    others: tuple[tuple[int, bytes], ...] = ()
    """Further options, in order."""

    @classmethod
    def decode(cls, packet: bytes) -> "Message":
        """The message in a packet; ``Malformed`` if there is none."""
        require(len(packet) >= 4, "the message is shorter than its header")
        require(packet[0] in set(Kind), f"{packet[0]} is no kind of message between client and server")
        found: dict[int, bytes] = {}
        associations, others = [], []
        for code, data in _options(packet[4:]):
            if code == Code.ASSOCIATION:
                associations.append(_association(data))
            elif code not in set(Code) or code == Code.ADDRESS:
                others.append((code, data))
            else:
                found.setdefault(code, data)
        requested = found.get(Code.REQUESTED, b"")
        require(len(requested) % 2 == 0, "the list of requested options ends within an option's number")
        for code in (Code.CLIENT, Code.SERVER):
            require(code not in found or 1 <= len(found[code]) <= 130, f"the DUID in option {code} has a wrong length")
        refresh = _number(found, Code.REFRESH, 4)
        return cls(
            kind=packet[0],
            transaction=int.from_bytes(packet[1:4]),
            client=found.get(Code.CLIENT, b""),
            server=found.get(Code.SERVER, b""),
            associations=tuple(associations),
            status=_status(found.get(Code.STATUS)),
            preference=_number(found, Code.PREFERENCE, 1) or 0,
            rapid=Code.RAPID in found,
            elapsed=_number(found, Code.ELAPSED, 2),
            requested=struct.unpack(f"!{len(requested) // 2}H", requested),
            dns_servers=addresses(found.get(Code.DNS_SERVERS, b"")),
            domains=domains(found.get(Code.DOMAINS, b"")),
            refresh=None if refresh is None else lifetime(refresh),
            sol_max_rt=_number(found, Code.SOL_MAX_RT, 4),
            inf_max_rt=_number(found, Code.INF_MAX_RT, 4),
            others=tuple(others),
        )

    def encode(self) -> bytes:
        """The packet; what is empty or None is left out."""
        requested = struct.pack(f"!{len(self.requested)}H", *self.requested)
        numbers = (
            (Code.PREFERENCE, self.preference or None, 1),
            (Code.ELAPSED, self.elapsed, 2),
            (Code.REFRESH, None if self.refresh is None else seconds(self.refresh), 4),
            (Code.SOL_MAX_RT, self.sol_max_rt, 4),
            (Code.INF_MAX_RT, self.inf_max_rt, 4),
        )
        texts = (
            (Code.CLIENT, self.client),
            (Code.SERVER, self.server),
            (Code.REQUESTED, requested),
            (Code.DNS_SERVERS, encode_addresses(self.dns_servers)),
            (Code.DOMAINS, encode_domains(self.domains)),
        )
        parts = [bytes([self.kind]) + self.transaction.to_bytes(3)]
        parts += [_option(code, data) for code, data in texts if data]
        parts += [_encoded_association(each) for each in self.associations]
        parts += [_option(code, number.to_bytes(size)) for code, number, size in numbers if number is not None]
        parts += [_option(Code.RAPID)] * self.rapid
        parts += [_encoded_status(self.status)]
        parts += [_option(code, data) for code, data in self.others]
        return b"".join(parts)


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each option: its code and content."""
    at = 0
    while at < len(data):
        require(at + 4 <= len(data), "an option is shorter than its header")
        code, size = struct.unpack_from("!HH", data, at)
        require(at + 4 + size <= len(data), f"option {code} is longer than what contains it")
        yield code, data[at + 4 : at + 4 + size]
        at += 4 + size


def _option(code: int, data: bytes = b"") -> bytes:
    return struct.pack("!HH", code, len(data)) + data


def _number(found: dict[int, bytes], code: int, size: int) -> int | None:
    """An option that is a number of ``size`` octets; None if it is missing."""
    data = found.get(code)
    require(data is None or len(data) == size, f"option {code} has a wrong length")
    return None if data is None else int.from_bytes(data)


def _status(data: bytes | None) -> Status:
    """A status; none means success."""
    if data is None:
        return Status()
    require(len(data) >= 2, "a status is shorter than its code")
    text = data[2:].decode("utf-8", "replace")
    return Status(int.from_bytes(data[:2]), "".join(char for char in text if char.isprintable())[:200])


def _encoded_status(status: Status) -> bytes:
    return b"" if status == Status() else _option(Code.STATUS, status.code.to_bytes(2) + status.text.encode())


def _association(data: bytes) -> Association:
    require(len(data) >= 12, "an IA_NA is shorter than its header")
    iaid, renew, rebind = struct.unpack_from("!III", data)
    inner = list(_options(data[12:]))
    leased = tuple(_leased(each) for code, each in inner if code == Code.ADDRESS)
    status = next((each for code, each in inner if code == Code.STATUS), None)
    return Association(iaid, lifetime(renew), lifetime(rebind), leased, _status(status))


def _encoded_association(each: Association) -> bytes:
    inner = b"".join(
        _option(
            Code.ADDRESS,
            IPv6Address(leased.address).packed
            + struct.pack("!II", seconds(leased.preferred), seconds(leased.valid))
            + _encoded_status(leased.status),
        )
        for leased in each.addresses
    )
    head = struct.pack("!III", each.iaid, seconds(each.renew), seconds(each.rebind))
    return _option(Code.ASSOCIATION, head + inner + _encoded_status(each.status))


def _leased(data: bytes) -> Leased:
    require(len(data) >= 24, "an address in an IA_NA is shorter than its header")
    preferred, valid = struct.unpack_from("!II", data, 16)
    status = next((each for code, each in _options(data[24:]) if code == Code.STATUS), None)
    return Leased(str(IPv6Address(data[:16])), lifetime(preferred), lifetime(valid), _status(status))
