"""Checks of names that users supply, before they reach a path or the kernel.

The rules for container ids and networks are the specification's, those for interfaces the kernel's.
"""

import sys

from cni.errors import CNIError, InvalidConfig, InvalidEnvironment

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_MORE = _ALNUM | frozenset("_.-")
# White space according to Go's unicode.IsSpace; str.isspace() counts U+001C to U+001F too.
_SPACES = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Names with a meaning of their own in /proc/sys/net/ipv4/conf: the kernel makes no link with them.
RESERVED = ("all", "default")


def is_identifier(text: str) -> bool:
    """Whether the text is a letter or digit followed by letters, digits, ``_``, ``.`` and ``-``."""
    return bool(text) and text[0] in _ALNUM and _MORE.issuperset(text)


def check_container(text: str) -> None:
    """Raise ``InvalidEnvironment`` unless ``text`` is a container id."""
    if not is_identifier(text):
        raise InvalidEnvironment("invalid characters in containerID", text)


def check_network(text: str) -> None:
    """Raise ``InvalidConfig`` unless ``text`` is a network's name."""
    if not text:
        raise InvalidConfig("missing network name")
    if not is_identifier(text):
        raise InvalidConfig("invalid characters found in network name", text)


def interface_fault(text: str) -> str:
    """The fault of an interface's name; empty if the kernel accepts it."""
    if not text:
        return "interface name is empty"
    if len(text.encode("utf-8", "surrogateescape")) > 15:
        return "interface name is too long"
    if text in (".", ".."):
        return "interface name is . or .."
    if not _SPACES.isdisjoint(text) or "/" in text or ":" in text:
        return "interface name contains / or : or whitespace characters"
    return ""


def check_interface(text: str, error: type[CNIError] = InvalidEnvironment) -> None:
    """Raise ``error`` unless ``text`` is an interface's name."""
    fault = interface_fault(text)
    if fault:
        long = "interface name should be less than 16 characters" if fault.endswith("long") else ""
        raise error(fault, long)


def is_text(text: str) -> bool:
    """Whether a text has no surrogates: Python reads environment bytes that are not UTF-8 as surrogates."""
    return text.isascii() or not any(0xD800 <= ord(letter) < 0xE000 for letter in text)


def check_made(text: str) -> None:
    """Raise ``InvalidEnvironment`` if no interface can be made with this name: not UTF-8, a pattern, or reserved."""
    if not is_text(text):
        raise InvalidEnvironment("interface name is not UTF-8 (CNI_IFNAME)", text)
    if "%" in text:
        raise InvalidEnvironment(f"interface name {text} contains %, which the kernel takes for a pattern (CNI_IFNAME)")
    if text in RESERVED:
        fault = f"interface name {text} is reserved (CNI_IFNAME)"
        raise InvalidEnvironment(fault, "the kernel has no such link; use another name")


def sha512(*parts: str) -> bytes:
    """SHA-512 of the parts, each followed by a zero byte, so that ("a", "bc") and ("ab", "c") differ."""
    return raw_sha512(b"".join(part.encode("utf-8", "surrogateescape") + b"\0" for part in parts))


def raw_sha512(data: bytes) -> bytes:
    """SHA-512 of bytes, from the C module: importing ``hashlib`` loads OpenSSL, which takes 14 ms."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha512 as digest
        else:
            from _sha512 import sha512 as digest  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha512 as digest
    return digest(data).digest()  # type: ignore[no-any-return]
