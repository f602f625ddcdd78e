"""What an attachment wants of IPv6, and by which identifiers it is known."""

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network


class Mode(StrEnum):
    """Where addresses and settings come from."""

    AUTO = "auto"
    """What the router says: its flags M and O, and A of its prefixes."""
    SLAAC = "slaac"
    """Router advertisements alone."""
    DHCP = "dhcp"
    """Addresses from DHCPv6, whatever the router says; the gateway from the router, if there is one."""
    STATELESS = "stateless"
    """Addresses from the router's prefixes, if it has some, and settings from DHCPv6, whatever it says."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an attachment wants. The defaults are right for a container."""

    mode: Mode
    mac: bytes
    name: str
    """Of the attachment, ``<container id>/<network>/<interface>``: as long as it stays, the identifiers do."""
    duid: bytes = b""
    """Who the client is to a DHCPv6 server. Empty: a DUID-UUID of ``name``, because several interfaces have one MAC
    (ipvlan), and a container's MAC often changes with it."""
    identifier: bytes = b""
    """The last 8 octets of the addresses of SLAAC. Empty: EUI-64 of the MAC, so the address can be predicted from the MAC,
    and shows it. With ipvlan, whose interfaces share the MAC, those of the link-local address must be given."""
    rapid: bool = True
    """Whether one exchange is enough (RFC 8415, 18.2.1): an address a second or more earlier. Where several servers
    agree to it, those that were not chosen keep an address reserved until it expires."""
    patience: float = 5.0
    """How many seconds the first lease waits for a router or a server that is silent, if there is something to begin
    with. By default the second solicitation of a router, after 4 seconds, can still be answered."""
    request: tuple[int, ...] = ()
    """Further options to ask the server for."""
    provide: tuple[tuple[int, bytes], ...] = ()
    """Further options to send, for example a vendor class (16)."""

    @property
    def client(self) -> bytes:
        """The DUID."""
        return self.duid or b"\0\4" + sha256(b"DUID " + self.name.encode()).digest()[:16]

    @property
    def iaid(self) -> int:
        """The number of the interface among those with the same DUID."""
        return int.from_bytes(sha256(b"IAID " + self.name.encode()).digest()[:4])

    def address(self, prefix: str, tries: int) -> str:
        """The address in a prefix of 64 bits. After a first one that was in use, they are opaque (RFC 7217)."""
        network = IPv6Network(prefix)
        last = self.identifier or eui64(self.mac)
        if tries:
            last = sha256(f"{prefix} {tries} {self.name}".encode()).digest()[:8]
        return str(IPv6Address(network.network_address.packed[:8] + last))


def eui64(mac: bytes) -> bytes:
    """The interface identifier of a MAC (RFC 4291, appendix A)."""
    return bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
