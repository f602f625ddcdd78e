"""Names that users supply, checked before they reach a path or the kernel; and names that we derive from them.

The rules are the specification's for container ids and networks, the kernel's for interfaces.
"""

from cni.errors import CNIError, InvalidConfig, InvalidEnvironment

_ALNUM = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_MORE = _ALNUM | frozenset("_.-")
# Unicode's White_Space as Go's unicode.IsSpace has it; str.isspace() counts U+001C to U+001F too.
_SPACES = frozenset(
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Names that stand for every interface in /proc/sys/net/ipv4/conf: the kernel makes no link that is called so.
RESERVED = ("all", "default")
# The longest text an interface alias (the kernel's 256, with a zero byte and one to spare) or an nftables comment may
# have, in bytes.
ALIAS_MAX, COMMENT_MAX = 254, 120
# What ends a text that was too long: a tilde and 16 hexadecimal digits.
_MARK = 17
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def is_identifier(text: str) -> bool:
    """Whether the whole text is a letter or digit followed by letters, digits, ``_``, ``.`` and ``-``."""
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
    """What is wrong with an interface's name; empty if the kernel will take it."""
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
    """Whether it is UTF-8: bytes of the environment that are not arrive as surrogates."""
    return text.isascii() or not any(0xD800 <= ord(letter) < 0xE000 for letter in text)


def check_made(text: str) -> None:
    """Raise ``InvalidEnvironment`` for a name that no interface can be made with: a pattern, no text, or reserved."""
    if not is_text(text):
        raise InvalidEnvironment("interface name is not UTF-8", text)
    if "%" in text:
        raise InvalidEnvironment(f"interface name {text} contains %, which the kernel takes for a pattern")
    if text in RESERVED:
        raise InvalidEnvironment(f"interface name {text} is reserved", "the kernel has no such link; use another name")


def sha512(*parts: str) -> bytes:
    """SHA-512 of the parts, each followed by a zero byte, so that ("a", "bc") and ("ab", "c") differ."""
    return raw_sha512(b"".join(part.encode("utf-8", "surrogateescape") + b"\0" for part in parts))


def raw_sha512(data: bytes) -> bytes:
    """SHA-512 of bytes, from the C module alone: ``hashlib`` loads OpenSSL, 14 ms."""
    try:
        from _sha512 import sha512 as digest  # type: ignore[import-not-found]
    except ImportError:
        try:
            from _sha2 import sha512 as digest  # type: ignore[import-not-found]  # CPython 3.12 and later
        except ImportError:
            from hashlib import sha512 as digest
    return digest(data).digest()  # type: ignore[no-any-return]


def _letters(digest: bytes, count: int) -> str:
    bits = int.from_bytes(digest[:8], "big")
    return "".join(_BASE32[bits >> 59 - 5 * place & 31] for place in range(count))


def shortened(text: str, limit: int) -> str:
    """``text`` within ``limit`` bytes: a longer one keeps its beginning and ends in a hash of the whole."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return f"{beginning(text, limit)}~{raw_sha512(data).hex()[: _MARK - 1]}"


def beginning(text: str, limit: int) -> str:
    """As much of ``text`` as stands in every text that begins with it, however ``shortened`` to ``limit``."""
    return text.encode("utf-8", "replace")[: limit - _MARK].decode("utf-8", "ignore")


def is_alias(text: str) -> bool:
    """Whether a link's alias tells an attachment: three names with slashes between, or what is left of long ones."""
    return text.count("/") == 2 or (len(text) > ALIAS_MAX - 4 and text[-_MARK] == "~")


class Attachment:
    """One container's membership in one network under one interface name: what every identity is derived from."""

    __slots__ = ("container", "ifname", "network")

    def __init__(self, network: str, container: str, ifname: str) -> None:
        self.network = network
        self.container = container
        self.ifname = ifname

    def __str__(self) -> str:
        return f"{self.network}/{self.container}/{self.ifname}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attachment) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def link(self) -> str:
        """The name of its link on the host: 15 characters, ``veth`` first because firewalls and NetworkManager match that.

        Three letters (15 bits) tell the network, eight (40 bits) the attachment.
        """
        return network_prefix(self.network) + _letters(sha512(self.network, self.container, self.ifname), 8)

    @property
    def alias(self) -> str:
        """The text that tells the attachment to people and to GC, in a link's alias (at most 254 bytes)."""
        return shortened(str(self), ALIAS_MAX)

    @property
    def comment(self) -> str:
        """The same as an nftables comment (at most 120 bytes)."""
        return shortened(str(self), COMMENT_MAX)


def is_derived(link: str) -> bool:
    """Whether a link's name has the form that ``Attachment.link`` gives."""
    return len(link) == 15 and link.startswith("veth") and all(letter in _BASE32 for letter in link[4:])


def network_prefix(network: str) -> str:
    """What the host links of a network's attachments begin with; another network may share it once in 32768."""
    return "veth" + _letters(sha512(network), 3)
