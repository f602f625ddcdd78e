"""The options of DHCPv4: the values that a client reads (RFC 2132).

A value that is wrong counts as absent, because a server's other options are still good.
"""

import string
from collections.abc import Iterator
from hashlib import sha256
from ipaddress import IPv4Network

from cni_dhcp_daemon.client import Route
from cni_dhcp_daemon.v4.packet import Malformed, text

MASK, ROUTERS, SERVERS, HOST_NAME, DOMAIN, MTU, ROUTES = 1, 3, 6, 12, 15, 26, 33
ADDRESS, LEASE_TIME, SERVER, REQUESTED, MESSAGE, LARGEST, RENEW, REBIND = 50, 51, 54, 55, 56, 57, 58, 59
CLIENT, SEARCH, CLASSLESS = 61, 119, 121

_LONGEST = 254
_DIGEST = 32
_LETTERS = frozenset((string.ascii_letters + string.digits + "-_").encode())
_LONGEST_NAME = 253
_POINTER = 0xC0
_MOST_LABELS = 128
_CLASSES = ((0x80, 8), (0xC0, 16), (0xE0, 24))


def identifier(name: str) -> bytes:
    """The value of option 61 for an attachment's name (type 0: no hardware address), as Go's if it is not too long.

    Go cuts a longer one at its end. Then two interfaces of one container could have the same identifier, and so the
    same address. Ours ends in a digest of the whole name.
    """
    data = name.encode("utf-8", "surrogateescape")
    if len(data) > _LONGEST:
        data = data[: _LONGEST - _DIGEST] + sha256(data).hexdigest()[:_DIGEST].encode()
    return b"\0" + data


def number(value: bytes | None, size: int = 4) -> int | None:
    """A number of so many bytes; None if it is absent or has another length."""
    return int.from_bytes(value) if value is not None and len(value) == size else None


def address(value: bytes | None) -> str:
    """One address; empty if it is absent, wrong or 0.0.0.0."""
    return text(value) if value is not None and len(value) == 4 and any(value) else ""


def addresses(value: bytes | None) -> tuple[str, ...]:
    """A list of addresses, without 0.0.0.0."""
    if value is None or len(value) % 4:
        return ()
    return tuple(filter(None, (address(value[at : at + 4]) for at in range(0, len(value), 4))))


def mask_length(value: bytes) -> int | None:
    """The length of the prefix that a subnet mask stands for; None if it stands for none."""
    ones = f"{int.from_bytes(value):032b}".rstrip("0") if len(value) == 4 else ""
    return len(ones) if ones and "0" not in ones else None


def domain(value: bytes) -> str:
    """A domain's name; empty if it is none, since what a server says ends up in a container's resolv.conf."""
    labels = value.rstrip(b"\0").removesuffix(b".").split(b".")
    return _name(labels)


def domains(value: bytes) -> tuple[str, ...]:
    """The names of option 119, which may be compressed (RFC 3397), without those that resolv.conf cannot have."""
    names, at = [], 0
    try:
        while at < len(value):
            labels, at = _labels(value, at)
            names.append(_name(labels))
    except Malformed:
        return ()
    return tuple(filter(None, names))


def static_routes(value: bytes) -> Iterator[Route]:
    """The routes of option 33: a network of its class or, if bits of the host are set, one host.

    Go gives the mask of the class to a host too (``10.1.2.3/8``), which the kernel refuses. A default route is not
    allowed here.
    """
    for at in range(0, len(value) - 7, 8):
        destination, gateway = value[at : at + 4], address(value[at + 4 : at + 8])
        if not any(destination):
            continue
        length = next((length for first, length in _CLASSES if destination[0] < first), 32)
        if int.from_bytes(destination) % (1 << 32 - length):
            length = 32
        yield Route(f"{text(destination)}/{length}", gateway)


def classless_routes(value: bytes) -> tuple[Route, ...]:
    """The routes of option 121 (RFC 3442); none if one is wrong. Without a gateway (0.0.0.0) a route is on the link."""
    routes, at = [], 0
    while at < len(value):
        length = value[at]
        octets = (length + 7) // 8
        destination = value[at + 1 : at + 1 + octets]
        gateway = value[at + 1 + octets : at + 5 + octets]
        if length > 32 or len(gateway) < 4:
            return ()
        network = IPv4Network((destination.ljust(4, b"\0"), length), strict=False)
        routes.append(Route(str(network), address(gateway)))
        at += 5 + octets
    return tuple(routes)


def message(value: bytes | None) -> str:
    """What a server says to people, without anything that a log or terminal could take for more than text."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in (value or b"").rstrip(b"\0")[:200])


def _name(labels: list[bytes]) -> str:
    fits = all(0 < len(label) <= 63 and _LETTERS.issuperset(label) for label in labels)
    name = b".".join(labels)
    return name.decode("ascii") if fits and len(name) <= _LONGEST_NAME else ""


def _labels(value: bytes, at: int) -> tuple[list[bytes], int]:
    """The labels of the name that begins there, and where the next name begins."""
    labels: list[bytes] = []
    earliest, after = at, 0
    for _ in range(_MOST_LABELS):
        size = value[at] if at < len(value) else _POINTER - 1
        if size == 0:
            return labels, after or at + 1
        if size < 64:
            label = value[at + 1 : at + 1 + size]
            labels.append(label)
            at += 1 + size
            continue
        # A pointer leads to an earlier name. Each leads further back than the one before, so there is no circle.
        target = int.from_bytes(value[at : at + 2]) - (_POINTER << 8)
        if not 0 <= target < earliest:
            break
        after = after or at + 2
        at = earliest = target
    raise Malformed("a name is cut off, or is not compressed as it should be")
