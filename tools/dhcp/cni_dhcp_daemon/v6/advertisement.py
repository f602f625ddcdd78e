"""Router advertisements and solicitations (RFC 4861, 4191, 8106): what is in the ICMPv6 packet, and back.

That an advertisement came with hop limit 255 is checked where it is received, and its checksum by the kernel.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Network

from cni_dhcp_daemon.v6.wire import (
    addresses,
    domains,
    encode_addresses,
    encode_domains,
    lifetime,
    require,
    seconds,
)

ROUTERS = "ff02::2"
"""All routers on the link."""
SOLICITATION, ADVERTISEMENT = 133, 134
_MANAGED, _OTHER = 0x80, 0x40
_ON_LINK, _AUTONOMOUS = 0x80, 0x40
_PREFERENCES = {0: 0, 1: 1, 3: -1}


class _Kind(IntEnum):
    """The options that are understood."""

    SOURCE = 1
    PREFIX = 3
    MTU = 5
    ROUTE = 24
    DNS_SERVERS = 25
    DOMAINS = 31


@dataclass(frozen=True, slots=True)
class Prefix:
    """Prefix information."""

    prefix: str
    on_link: bool
    autonomous: bool
    valid: float
    preferred: float


@dataclass(frozen=True, slots=True)
class Onward:
    """Route information: the router leads to this prefix."""

    prefix: str
    lifetime: float
    preference: int = 0


@dataclass(frozen=True, slots=True)
class DnsServers:
    """RDNSS."""

    servers: tuple[str, ...]
    lifetime: float


@dataclass(frozen=True, slots=True)
class Domains:
    """DNSSL."""

    domains: tuple[str, ...]
    lifetime: float


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What a router says. Lifetimes are seconds, ``math.inf``: for ever."""

    managed: bool = False
    """M: addresses come from DHCPv6."""
    other: bool = False
    """O: other settings come from DHCPv6."""
    lifetime: int = 0
    """0: the router is no default router."""
    preference: int = 0
    """1: high, 0: medium, -1: low."""
    mtu: int = 0
    """0: not stated."""
    prefixes: tuple[Prefix, ...] = ()
    routes: tuple[Onward, ...] = ()
    dns: tuple[DnsServers, ...] = ()
    domains: tuple[Domains, ...] = ()

    @classmethod
    def decode(cls, packet: bytes) -> "Advertisement":
        """The advertisement in an ICMPv6 packet; ``Malformed`` if there is none."""
        require(len(packet) >= 16, "the advertisement is shorter than its header")
        require(packet[0] == ADVERTISEMENT and packet[1] == 0, "not a router advertisement")
        found: dict[int, list[bytes]] = {}
        for kind, data in _options(packet[16:]):
            found.setdefault(kind, []).append(data)
        for data in found.get(_Kind.MTU, []):
            require(len(data) == 6, "the MTU has a wrong length")
        flags, life = packet[5], int.from_bytes(packet[6:8])
        return cls(
            managed=bool(flags & _MANAGED),
            other=bool(flags & _OTHER),
            lifetime=life,
            # RFC 4191, 2.2: the reserved value counts as medium.
            preference=_PREFERENCES.get(flags >> 3 & 3, 0),
            mtu=next((int.from_bytes(data[2:]) for data in found.get(_Kind.MTU, [])), 0),
            prefixes=tuple(_prefix(data) for data in found.get(_Kind.PREFIX, [])),
            # RFC 4191, 2.3: a route with the reserved preference is ignored.
            routes=tuple(_route(data) for data in found.get(_Kind.ROUTE, []) if len(data) < 2 or data[1] >> 3 & 3 != 2),
            dns=tuple(DnsServers(addresses(rest), life) for life, rest in _timed(found.get(_Kind.DNS_SERVERS, []))),
            domains=tuple(Domains(domains(rest), life) for life, rest in _timed(found.get(_Kind.DOMAINS, []))),
        )

    def encode(self) -> bytes:
        """The packet, with checksum 0."""
        flags = _MANAGED * self.managed | _OTHER * self.other | _preference(self.preference)
        parts = [struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 64, flags, self.lifetime, 0, 0)]
        if self.mtu:
            parts.append(_option(_Kind.MTU, struct.pack("!HI", 0, self.mtu)))
        for prefix in self.prefixes:
            network = IPv6Network(prefix.prefix)
            bits = _ON_LINK * prefix.on_link | _AUTONOMOUS * prefix.autonomous
            head = struct.pack("!BBIII", network.prefixlen, bits, seconds(prefix.valid), seconds(prefix.preferred), 0)
            parts.append(_option(_Kind.PREFIX, head + network.network_address.packed))
        for route in self.routes:
            network = IPv6Network(route.prefix)
            head = struct.pack("!BBI", network.prefixlen, _preference(route.preference), seconds(route.lifetime))
            parts.append(_option(_Kind.ROUTE, head + network.network_address.packed))
        for dns in self.dns:
            head = struct.pack("!HI", 0, seconds(dns.lifetime))
            parts.append(_option(_Kind.DNS_SERVERS, head + encode_addresses(dns.servers)))
        for each in self.domains:
            head = struct.pack("!HI", 0, seconds(each.lifetime))
            parts.append(_option(_Kind.DOMAINS, head + encode_domains(each.domains)))
        return b"".join(parts)


def solicitation(mac: bytes) -> bytes:
    """The packet that asks the routers for their advertisements, with checksum 0."""
    return struct.pack("!BBHI", SOLICITATION, 0, 0, 0) + _option(_Kind.SOURCE, mac)


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each option: its type and content."""
    at = 0
    while at < len(data):
        require(at + 2 <= len(data), "an option is shorter than its header")
        size = data[at + 1] * 8
        require(size > 0, "an option has the length 0")
        require(at + size <= len(data), f"option {data[at]} is longer than the packet")
        yield data[at], data[at + 2 : at + size]
        at += size


def _option(kind: int, data: bytes) -> bytes:
    size = -(-(len(data) + 2) // 8)
    return bytes([kind, size]) + data.ljust(size * 8 - 2, b"\0")


def _network(data: bytes, length: int) -> str:
    """A prefix; bits beyond its length are ignored, as routers must set them to 0."""
    require(length <= 128, "a prefix is longer than an address")
    require(len(data) * 8 >= length, "a prefix is longer than its option")
    return str(IPv6Network((data[:16].ljust(16, b"\0"), length), strict=False))


def _prefix(data: bytes) -> Prefix:
    require(len(data) == 30, "prefix information has a wrong length")
    length, flags, valid, preferred = struct.unpack_from("!BBII", data)
    network = _network(data[14:], length)
    return Prefix(network, bool(flags & _ON_LINK), bool(flags & _AUTONOMOUS), lifetime(valid), lifetime(preferred))


def _route(data: bytes) -> Onward:
    require(len(data) in (6, 14, 22), "route information has a wrong length")
    length, flags, life = struct.unpack_from("!BBI", data)
    return Onward(_network(data[6:], length), lifetime(life), _PREFERENCES.get(flags >> 3 & 3, 0))


def _preference(value: int) -> int:
    return (value & 3) << 3


def _timed(options: list[bytes]) -> Iterator[tuple[float, bytes]]:
    """The lifetime and the content of RDNSS or DNSSL options."""
    for data in options:
        require(len(data) >= 6, "a DNS option is shorter than its header")
        yield lifetime(int.from_bytes(data[2:6])), data[6:]
