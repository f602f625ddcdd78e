"""A message of DHCPv4 and its bytes (RFC 2131; long options: RFC 3396)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address

from cni_dhcp_daemon.client import UNSPECIFIED

_REQUEST, _REPLY = 1, 2
_ETHERNET = 1
_BROADCAST = 0x8000
_COOKIE = b"\x63\x82\x53\x63"
# op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, cookie
_FRAME = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_SMALLEST = 300  # what relays and old servers expect (RFC 1542)
_PAD, _OVERLOAD, _KIND, _END = 0, 52, 53, 255
FRAMING = frozenset((_PAD, _OVERLOAD, _KIND, _END))
"""The options that belong to the frame, so that ``Message.options`` never has them."""


class Kind(IntEnum):
    """What a message is for (option 53)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Malformed(ValueError):
    """The bytes are no message of DHCP, or a value is none of its option."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a client or, if ``reply``, of a server."""

    kind: Kind
    xid: int
    mac: bytes
    options: dict[int, bytes] = field(default_factory=dict)
    """Values by code. A value that came in several parts is whole."""
    ciaddr: str = UNSPECIFIED
    """The address that the client uses."""
    yiaddr: str = UNSPECIFIED
    """The address that the server gives."""
    secs: int = 0
    broadcast: bool = False
    """Whether the client asks the server to broadcast its answer."""
    reply: bool = False

    def encode(self) -> bytes:
        """The bytes; options are in ascending order, as Go's are."""
        op, flags = _REPLY if self.reply else _REQUEST, _BROADCAST if self.broadcast else 0
        none = bytes(4)
        frame = _FRAME.pack(
            op, _ETHERNET, len(self.mac), 0, self.xid, self.secs, flags,
            packed(self.ciaddr), packed(self.yiaddr), none, none, self.mac, b"", b"", _COOKIE,
        )  # fmt: skip
        options = self.options | {_KIND: bytes((self.kind,))}
        parts = (part for code in sorted(options) for part in _parts(code, options[code]))
        return (frame + b"".join(parts) + bytes((_END,))).ljust(_SMALLEST, b"\0")

    @classmethod
    def decode(cls, payload: bytes) -> "Message":
        """The message that the bytes are. Raise ``Malformed``, and never another error, if they are none."""
        if len(payload) < _FRAME.size:
            raise Malformed(f"{len(payload)} bytes are no message of DHCP")
        op, _, size, _, xid, secs, flags, ciaddr, yiaddr, _, _, mac, sname, file, cookie = _FRAME.unpack_from(payload)
        if op not in (_REQUEST, _REPLY) or size > len(mac) or cookie != _COOKIE:
            raise Malformed("the frame is not that of DHCP")
        options = _options(payload[_FRAME.size :], file, sname)
        kind = options.pop(_KIND, b"")
        if len(kind) != 1 or not Kind.DISCOVER <= kind[0] <= Kind.INFORM:
            raise Malformed("the message does not say its kind")
        return cls(
            Kind(kind[0]), xid, mac[:size], options, text(ciaddr), text(yiaddr), secs, bool(flags & _BROADCAST), op == _REPLY
        )  # fmt: skip


def text(address: bytes) -> str:
    """An address of four bytes as text."""
    return str(IPv4Address(address))


def packed(address: str) -> bytes:
    """The four bytes of an address."""
    return IPv4Address(address).packed


def _parts(code: int, value: bytes) -> Iterator[bytes]:
    for at in range(0, len(value) or 1, 255):
        part = value[at : at + 255]
        yield bytes((code, len(part))) + part


def _options(field: bytes, file: bytes, sname: bytes) -> dict[int, bytes]:
    """The options, also of the fields that option 52 says have some; parts of a value are joined in this order."""
    found: dict[int, bytes] = {}
    _gather(found, field)
    overload = found.pop(_OVERLOAD, b"\0")
    if overload not in (b"\0", b"\1", b"\2", b"\3"):
        raise Malformed("option 52 has an unknown value")
    if overload[0] & 1:
        _gather(found, file)
    if overload[0] & 2:
        _gather(found, sname)
    found.pop(_OVERLOAD, None)
    return found


def _gather(found: dict[int, bytes], field: bytes) -> None:
    """Add the options of one field. A missing end is no fault, a cut option is one."""
    at = 0
    while at < len(field) and field[at] != _END:
        code = field[at]
        at += 1
        if code == _PAD:
            continue
        size = field[at] if at < len(field) else 0
        value = field[at + 1 : at + 1 + size]
        if at == len(field) or len(value) < size:
            raise Malformed(f"option {code} is cut off")
        found[code] = found.get(code, b"") + value
        at += 1 + size
