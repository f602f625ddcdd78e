"""DHCPv4 messages, read and written for tests. Nothing is shared with the code under test, so no fault is either."""

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address

KINDS = ("", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")
COOKIE = b"\x63\x82\x53\x63"
NOWHERE, EVERYONE = "0.0.0.0", "255.255.255.255"
SUBNET_MASK, ROUTER, DNS, HOST_NAME, DOMAIN, STATIC_ROUTES = 1, 3, 6, 12, 15, 33
REQUESTED_ADDRESS, LEASE_TIME, OVERLOAD, KIND, SERVER_ID, REQUEST_LIST, TEXT = 50, 51, 52, 53, 54, 55, 56
T1, T2, CLIENT_ID, SEARCH, CLASSLESS_ROUTES = 58, 59, 61, 119, 121
Options = list[tuple[int, bytes]]


def addresses(*texts: str) -> bytes:
    """IPv4 addresses one after the other."""
    return b"".join(IPv4Address(text).packed for text in texts)


def seconds(number: int) -> bytes:
    """The value of a time option."""
    return struct.pack("!I", number)


def names(*domains: str) -> bytes:
    """The value of option 119, without compression."""
    parts = [[*domain.split("."), ""] for domain in domains]
    return b"".join(bytes([len(label)]) + label.encode() for labels in parts for label in labels)


def classless(*routes: tuple[str, str]) -> bytes:
    """The value of option 121, of prefixes and routers."""
    value = b""
    for destination, router in routes:
        network, length = destination.split("/")
        value += bytes([int(length)]) + addresses(network)[: (int(length) + 7) // 8] + addresses(router)
    return value


def packed(options: Options) -> bytes:
    """Options as they are sent; one that is too long is in several pieces (RFC 3396)."""
    data = b""
    for code, value in options:
        pieces = [value[at : at + 255] for at in range(0, len(value), 255)] or [b""]
        data += b"".join(bytes([code, len(piece)]) + piece for piece in pieces)
    return data


def unpacked(data: bytes) -> Options:
    """The options in a field, each as often as it is there."""
    found: Options = []
    while data and data[0] != 255:
        if not data[0]:
            data = data[1:]
            continue
        code, length = data[0], data[1]
        found.append((code, data[2 : 2 + length]))
        data = data[2 + length :]
    return found


@dataclass
class Message:
    """A message; ``options`` keeps their order, and options that are there twice."""

    op: int = 2
    xid: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: str = NOWHERE
    yiaddr: str = NOWHERE
    siaddr: str = NOWHERE
    giaddr: str = NOWHERE
    chaddr: bytes = bytes(6)
    sname: bytes = b""
    file: bytes = b""
    options: Options = field(default_factory=list)

    @classmethod
    def read(cls, data: bytes) -> "Message":
        """Raises ``ValueError`` for what is no DHCP message."""
        if len(data) < 240 or data[236:240] != COOKIE:
            raise ValueError("no DHCP message")
        op, _, length, _, xid, secs, flags = struct.unpack_from("!BBBBIHH", data)
        ciaddr, yiaddr, siaddr, giaddr = (str(IPv4Address(data[at : at + 4])) for at in (12, 16, 20, 24))
        sname, file = data[44:108].rstrip(b"\0"), data[108:236].rstrip(b"\0")
        chaddr, options = data[28 : 28 + length], unpacked(data[240:])
        return cls(op, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, options)

    def written(self) -> bytes:
        """As it is sent, padded to 300 bytes."""
        head = struct.pack("!BBBBIHH", self.op, 1, len(self.chaddr), 0, self.xid, self.secs, self.flags)
        head += addresses(self.ciaddr, self.yiaddr, self.siaddr, self.giaddr)
        head += self.chaddr.ljust(16, b"\0") + self.sname.ljust(64, b"\0") + self.file.ljust(128, b"\0")
        return (head + COOKIE + packed(self.options) + b"\xff").ljust(300, b"\0")

    def get(self, code: int) -> bytes | None:
        """An option's value, of all its pieces; None if it is not there."""
        pieces = [value for number, value in self.options if number == code]
        return b"".join(pieces) if pieces else None

    def set(self, code: int, value: bytes | None) -> "Message":
        """Put an option in, in place of one that is there; None takes it out."""
        self.options = [option for option in self.options if option[0] != code]
        if value is not None:
            self.options.append((code, value))
        return self

    def address(self, code: int) -> str:
        """An option that is an address; empty if it is not there."""
        value = self.get(code)
        return str(IPv4Address(value)) if value else ""

    @property
    def codes(self) -> list[int]:
        """The numbers of its options, in order."""
        return [code for code, _ in self.options]

    @property
    def kind(self) -> str:
        """``DISCOVER`` and so on; empty if it says nothing about that."""
        value = self.get(KIND)
        return KINDS[value[0]] if value and value[0] < len(KINDS) else ""


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def frame(macs: tuple[bytes, bytes], hosts: tuple[str, str], ports: tuple[int, int], payload: bytes) -> bytes:
    """A UDP packet with its Ethernet header; each pair is source and destination."""
    source, destination = map(addresses, hosts)
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    total = checksum(source + destination + struct.pack("!BBH", 0, 17, len(udp)) + udp) or 0xFFFF
    udp = udp[:6] + struct.pack("!H", total) + udp[8:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + source + destination
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return macs[1] + macs[0] + b"\x08\x00" + header + udp


@dataclass
class Packet:
    """A DHCP message as it was on the wire."""

    macs: tuple[str, str]
    hosts: tuple[str, str]
    ports: tuple[int, int]
    message: Message
    time: float = 0.0

    @classmethod
    def read(cls, data: bytes, time: float = 0.0) -> "Packet":
        """Raises ``ValueError`` for a frame with something else in it."""
        if len(data) < 42 or data[12:14] != b"\x08\x00" or data[23] != 17:
            raise ValueError("no UDP")
        udp = 14 + (data[14] & 15) * 4
        source, destination, length = struct.unpack_from("!HHH", data, udp)
        if {source, destination} != {67, 68}:
            raise ValueError("no DHCP")
        hosts = (str(IPv4Address(data[26:30])), str(IPv4Address(data[30:34])))
        macs = (data[6:12].hex(":"), data[:6].hex(":"))
        return cls(macs, hosts, (source, destination), Message.read(data[udp + 8 : udp + length]), time)

    @property
    def what(self) -> str:
        """Its kind; for a REQUEST also the state of the client that sends one like it (RFC 2131, 4.3.2)."""
        message = self.message
        if message.kind != "REQUEST":
            return message.kind
        if message.get(SERVER_ID):
            return "REQUEST selecting"
        if message.ciaddr == NOWHERE:
            return "REQUEST init-reboot"
        return "REQUEST rebinding" if self.hosts[1] == EVERYONE else "REQUEST renewing"

    def __repr__(self) -> str:
        return f"<{self.what} {self.hosts[0]} to {self.hosts[1]}>"
