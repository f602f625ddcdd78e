"""An attachment, and the names that are derived from it and parsed back: link names, aliases, comments."""

from cni.names import raw_sha512, sha512

# The longest text an interface alias (the kernel's 256, with a zero byte and one to spare) or an nftables comment may
# have, in bytes.
ALIAS_MAX, COMMENT_MAX = 254, 120
# What ends a text that was too long: a tilde and 16 hexadecimal digits.
_MARK = 17
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


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


def _is_shortened(text: str, limit: int) -> bool:
    return len(text) > limit - 4 and text[-_MARK] == "~"


def is_alias(text: str) -> bool:
    """Whether a link's alias names an attachment: three names with slashes between, or the shortened text of long ones."""
    return text.count("/") == 2 or _is_shortened(text, ALIAS_MAX)


def is_of_network(text: str, network: str, limit: int) -> bool:
    """Whether an alias or comment, ``shortened`` to ``limit``, names an attachment of a network (of any for an empty name)."""
    return text.startswith(beginning(f"{network}/", limit)) if network else True


class Attachment:
    """One container's membership in one network under one interface name: what every identity is derived from."""

    __slots__ = ("container", "ifname", "network")

    def __init__(self, network: str, container: str, ifname: str) -> None:
        self.network = network
        self.container = container
        self.ifname = ifname

    @classmethod
    def parse(cls, text: str, limit: int) -> "Attachment | None":
        """From an alias or comment; None for another text, and for one that was ``shortened`` to ``limit``."""
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
        """The name of its link on the host: 15 characters, ``veth`` first because firewalls and NetworkManager match that.

        Three letters (15 bits) are the network's, eight (40 bits) the attachment's.
        """
        return network_prefix(self.network) + _letters(sha512(self.network, self.container, self.ifname), 8)

    @property
    def alias(self) -> str:
        """The text that names the attachment to people and to GC, in a link's alias (at most 254 bytes)."""
        return shortened(str(self), ALIAS_MAX)

    @property
    def unfinished(self) -> str:
        """The alias of a link whose ADD has not ended."""
        return shortened(f"{self} unfinished", ALIAS_MAX)

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
