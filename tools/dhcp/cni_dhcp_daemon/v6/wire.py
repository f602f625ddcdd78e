"""What DHCPv6 messages and router advertisements have in common: their one error, and how addresses and domains are encoded."""

import math
import string
from collections.abc import Iterable
from ipaddress import IPv6Address

FOR_EVER = 0xFFFFFFFF
_PLAIN = frozenset(string.ascii_letters + string.digits + "-_")


class Malformed(ValueError):
    """The packet is not what its protocol prescribes; the text says why."""


def require(condition: bool, why: str) -> None:
    """Refuse the packet unless ``condition`` holds."""
    if not condition:
        raise Malformed(why)


def lifetime(seconds: int) -> float:
    """A lifetime from a packet; all bits set: for ever."""
    return math.inf if seconds == FOR_EVER else float(seconds)


def seconds(lifetime: float) -> int:
    """A lifetime for a packet."""
    return FOR_EVER if lifetime == math.inf else int(lifetime)


def unicast(address: IPv6Address) -> bool:
    """Whether a host can have this address on a link, apart from its link-local ones."""
    wrong = address.is_multicast or address.is_link_local or address.is_loopback or address.is_unspecified
    return not wrong and address.ipv4_mapped is None


def nameservers(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that can be asked."""
    parsed = {text: IPv6Address(text) for text in texts}
    return tuple(text for text, at in parsed.items() if not (at.is_multicast or at.is_unspecified))


def addresses(data: bytes) -> tuple[str, ...]:
    """A list of addresses, for example of DNS servers."""
    require(len(data) % 16 == 0, "a list of addresses ends within an address")
    return tuple(str(IPv6Address(data[at : at + 16])) for at in range(0, len(data), 16))


def domains(data: bytes) -> tuple[str, ...]:
    """A list of domains without compression (RFC 1035, 3.1); zeros after the last are padding.

    A domain with other characters than letters, digits, ``-`` and ``_`` is left out: it could not go into resolv.conf.
    """
    found: list[str] = []
    labels: list[bytes] = []
    at = 0
    while at < len(data):
        size = data[at]
        require(size < 64 and at + 1 + size <= len(data), "a domain's label is too long")
        if size:
            labels.append(data[at + 1 : at + 1 + size])
        elif labels:
            found.append(".".join(label.decode("latin-1") for label in labels))
            require(len(found[-1]) <= 253, "a domain is too long")
            labels = []
        at += 1 + size
    require(not labels, "a domain has no end")
    return tuple(name for name in found if _PLAIN.issuperset(name.replace(".", "")) and ".." not in name)


def encode_addresses(texts: Iterable[str]) -> bytes:
    """A list of addresses."""
    return b"".join(IPv6Address(text).packed for text in texts)


def encode_domains(names: Iterable[str]) -> bytes:
    """A list of domains."""
    return b"".join(
        b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split(".")) + b"\0" for name in names
    )
