"""Addresses and networks, parsed and printed as Go's net package does.

``ipaddress`` and ``netaddr`` accept texts that Go refuses (no prefix, net masks, zones) and print some IPv6 addresses
differently. ``cni.pool`` uses netaddr for ranges.
"""

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
    from typing import Any

_MAPPED = b"\0" * 10 + b"\xff\xff"
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


class Address:
    """An IPv4 or IPv6 address; an IPv4-mapped one is IPv4."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        self.packed = packed[12:] if packed[:12] == _MAPPED else packed

    def __reduce__(self) -> "tuple[Any, ...]":
        return type(self), (self.packed,)

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse a text; raises ``ValueError`` with Go's message."""
        try:
            return cls(inet_pton(AF_INET6 if ":" in text else AF_INET, text))
        except (OSError, ValueError):
            raise ValueError(f"invalid IP address: {text}") from None

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(self.packed) == 4 else 6

    @property
    def family(self) -> int:
        """``AF_INET`` or ``AF_INET6``."""
        return int(AF_INET if len(self.packed) == 4 else AF_INET6)

    @property
    def bits(self) -> int:
        """32 or 128."""
        return len(self.packed) * 8

    def with_port(self, port: int) -> str:
        """The address and a port."""
        return f"{self}:{port}" if self.version == 4 else f"[{self}]:{port}"

    @property
    def ipaddress(self) -> "IPv4Address | IPv6Address":
        """The same as an object of the standard library."""
        from ipaddress import ip_address

        return ip_address(self.packed)

    def __int__(self) -> int:
        return int.from_bytes(self.packed, "big")

    def __add__(self, count: int) -> "Address":
        return Address((int(self) + count).to_bytes(len(self.packed), "big"))

    def __str__(self) -> str:
        packed = self.packed
        if len(packed) == 16 and not any(packed[:12]) and any(packed[12:14]):
            # the C library would print the last four bytes as a dotted quad
            return f"::{packed[12] << 8 | packed[13]:x}:{packed[14] << 8 | packed[15]:x}"
        return inet_ntop(self.family, packed)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.packed == other.packed

    def __hash__(self) -> int:
        return hash(self.packed)


class Prefix:
    """An address and the length of its network's prefix; host bits are kept."""

    __slots__ = ("address", "length")

    def __init__(self, address: Address, length: int) -> None:
        self.address = address
        self.length = length

    def __reduce__(self) -> "tuple[Any, ...]":
        return type(self), (self.address, self.length)

    @classmethod
    def parse(cls, text: str) -> "Prefix":
        """``10.0.0.5/24``; raises ``ValueError`` with Go's message."""
        host, slash, length = text.partition("/")
        address: Address | None
        try:
            address = Address.parse(host)
        except ValueError:
            address = None
        if address is None or not slash or not (length.isascii() and length.isdigit()) or len(length) > 6:
            raise ValueError(f"invalid CIDR address: {text}")
        bits = int(length)
        if address.version == 4 and ":" in host:
            bits -= 96
        if not 0 <= bits <= address.bits:
            raise ValueError(f"invalid CIDR address: {text}")
        return cls(address, bits)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.address.version

    @property
    def ipaddress(self) -> "IPv4Interface | IPv6Interface":
        """The same as an object of the standard library."""
        from ipaddress import ip_interface

        return ip_interface((self.address.packed, self.length))

    @property
    def network(self) -> "Prefix":
        """The network: the same length, host bits cleared."""
        host = self.address.bits - self.length
        number = int(self.address) >> host << host
        return Prefix(Address(number.to_bytes(len(self.address.packed), "big")), self.length)

    @property
    def netmask(self) -> Address:
        """The network mask."""
        bits = self.address.bits
        return Address(((1 << bits) - (1 << bits - self.length)).to_bytes(bits // 8, "big"))

    def __contains__(self, address: Address) -> bool:
        if len(address.packed) != len(self.address.packed):
            return False
        host = address.bits - self.length
        return int(address) >> host == int(self.address) >> host

    def overlaps(self, other: "Prefix") -> bool:
        """Whether one of the two networks contains the other."""
        shorter, longer = (self, other) if self.length <= other.length else (other, self)
        return longer.address in shorter

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    def __repr__(self) -> str:
        return f"Prefix({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prefix) and self.address == other.address and self.length == other.length

    def __hash__(self) -> int:
        return hash((self.address, self.length))


ANY = {4: Prefix(Address(bytes(4)), 0), 6: Prefix(Address(bytes(16)), 0)}
MULTICAST = {4: Prefix.parse("224.0.0.0/4"), 6: Prefix.parse("ff00::/8")}
# The transport protocols that have ports.
PROTOCOLS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}


def parse_mac(text: str, octets: tuple[int, ...] = (6,)) -> str:
    """A MAC in lower case with colons; raises ``ValueError``. ``-`` and ``.`` are accepted too, as in Go.

    ``octets`` are the lengths that it may have.
    """
    for separator, length in ((":", 2), ("-", 2), (".", 4)):
        parts = text.split(separator)
        digits = "".join(parts)
        if {len(part) for part in parts} == {length} and len(digits) // 2 in octets and _HEXADECIMAL.issuperset(digits):
            return bytes.fromhex(digits).hex(":")
    raise ValueError(f"address {text}: invalid MAC address")
