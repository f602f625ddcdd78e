"""An attachment and the names derived from it: link names, aliases, comments. The texts can be parsed back."""

from cni.names import raw_sha512, sha512

# The most bytes in an interface alias (the kernel's limit is 256, with a zero byte) and in an nftables comment.
ALIAS_MAX, COMMENT_MAX = 254, 120
# The length of the end of a shortened text: a tilde and 16 hexadecimal digits.
_MARK = 17
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def _letters(digest: bytes, count: int) -> str:
    bits = int.from_bytes(digest[:8], "big")
    return "".join(_BASE32[bits >> 59 - 5 * place & 31] for place in range(count))


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` bytes: a longer text keeps its beginning and ends in a hash of the whole."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return f"{beginning(text, limit)}~{raw_sha512(data).hex()[: _MARK - 1]}"


def beginning(text: str, limit: int) -> str:
    """The part of ``text`` that survives in every text that begins with it and is ``shortened`` to ``limit``."""
    return text.encode("utf-8", "replace")[: limit - _MARK].decode("utf-8", "ignore")


def _is_shortened(text: str, limit: int) -> bool:
    return len(text) > limit - 4 and text[-_MARK] == "~"


def is_alias(text: str) -> bool:
    """Whether a link's alias names an attachment: three names with slashes between them, or a shortened text."""
    return text.count("/") == 2 or _is_shortened(text, ALIAS_MAX)


def is_of_network(text: str, network: str, limit: int) -> bool:
    """Whether an alias or comment, ``shortened`` to ``limit``, names an attachment of ``network`` (empty: any network)."""
    return text.startswith(beginning(f"{network}/", limit)) if network else True


class Attachment:
    """One container in one network under one interface name. All names of its kernel objects are derived from it."""

    __slots__ = ("container", "ifname", "network")

    def __init__(self, network: str, container: str, ifname: str) -> None:
        self.network = network
        self.container = container
        self.ifname = ifname

    @classmethod
    def parse(cls, text: str, limit: int) -> "Attachment | None":
        """Parse an alias or comment; None for any other text, and for a text ``shortened`` to ``limit``."""
        parts = text.split("/")
        return cls(*parts) if len(parts) == 3 and not _is_shortened(text, limit) else None

    @property
    def parts(self) -> "tuple[str, str, str]":
        """Network, container and interface."""
        return self.network, self.container, self.ifname

    def __str__(self) -> str:
        return f"{self.network}/{self.container}/{self.ifname}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attachment) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def link(self) -> str:
        """The name of its host link: ``veth``, 3 letters (15 bits) of the network's hash, 8 (40 bits) of its own.

        Firewalls and NetworkManager match names that begin with ``veth``.
        """
        return network_prefix(self.network) + _letters(sha512(*self.parts), 8)

    @property
    def alias(self) -> str:
        """The text for a link's alias, by which people and GC recognise the attachment."""
        return shortened(str(self), ALIAS_MAX)

    @property
    def unfinished(self) -> str:
        """The alias of a link whose ADD has not ended."""
        return shortened(f"{self} unfinished", ALIAS_MAX)

    @property
    def comment(self) -> str:
        """The text for an nftables comment."""
        return shortened(str(self), COMMENT_MAX)


def is_derived(link: str) -> bool:
    """Whether a link's name has the form that ``Attachment.link`` gives."""
    return len(link) == 15 and link.startswith("veth") and all(letter in _BASE32 for letter in link[4:])


def network_prefix(network: str) -> str:
    """The beginning of the names of a network's host links; one in 32768 other networks shares it."""
    return "veth" + _letters(sha512(network), 3)
