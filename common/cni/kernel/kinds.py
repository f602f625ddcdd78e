"""Kinds of links: what a link has by its kind, as it is wanted and as the kernel reports it (linux/if_link.h).

``TABLE`` has them all. A row of ``ROWS`` is one value: its name here, its number in netlink, and how it is packed. The
same rows write and read, so an object that was read is equal to the one that the link was made from.
"""

import struct

from cni.kernel.netlink import attribute, attributes
from cni.kernel.rtnl import common

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = tuple[str, int, "Codec"]


class Codec:
    """How a value is packed: a format of ``struct``, and for a choice its words."""

    __slots__ = ("_format", "_numbers", "_words")

    def __init__(self, format: str, words: "dict[str, int] | None" = None) -> None:
        self._format = struct.Struct(format)
        self._numbers = words
        self._words = {number: word for word, number in (words or {}).items()}

    def pack(self, value: "Any") -> bytes:
        """The value's bytes; a word that is no choice is a ``KeyError``."""
        return self._format.pack(value if self._numbers is None else self._numbers[value])

    def unpack(self, payload: bytes) -> "Any":
        """The value; a number without a word stays a number."""
        (number,) = self._format.unpack_from(payload)
        return number if self._numbers is None else self._words.get(number, number)


BYTE, SHORT, NUMBER, FLAG = Codec("=B"), Codec("=H"), Codec("=I"), Codec("=?")


class LinkKind:
    """What a link has by its kind. Two are equal if all that the kernel reports of them is equal."""

    __slots__ = ()
    name = ""
    ROWS: "tuple[Row, ...]" = ()
    # Values that not every kernel knows: sent only where they are not the default.
    OPTIONAL: "tuple[str, ...]" = ()

    def encode(self) -> bytes:
        """The attributes that a link is made or changed with."""
        usual = type(self)()
        return b"".join(
            attribute(number, codec.pack(getattr(self, field)))
            for field, number, codec in self.ROWS
            if field not in self.OPTIONAL or getattr(self, field) != getattr(usual, field)
        )

    def _values(self) -> "list[Any]":
        return [getattr(self, field) for field, _, _ in self.ROWS]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LinkKind) and self.name == other.name and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.name, *self._values()))

    def __repr__(self) -> str:
        fields: tuple[str, ...] = self.__slots__
        named = ", ".join(f"{field}={getattr(self, field)!r}" for field in fields)
        return f"{type(self).__name__}({named})"


class Bridge(LinkKind):
    """A bridge."""

    __slots__ = ("vlan_filtering",)
    name = "bridge"
    ROWS = (("vlan_filtering", 7, FLAG),)
    OPTIONAL = ("vlan_filtering",)

    def __init__(self, vlan_filtering: bool = False) -> None:
        self.vlan_filtering = vlan_filtering


class Dummy(LinkKind):
    """A link that drops what it is given."""

    __slots__ = ()
    name = "dummy"


class Ifb(LinkKind):
    """A link to which what another one receives is sent, to be queued (Intermediate Functional Block)."""

    __slots__ = ()
    name = "ifb"


class Ipvlan(LinkKind):
    """A link with its parent's MAC; ``isolation`` is between those of one parent."""

    __slots__ = ("isolation", "mode")
    name = "ipvlan"
    ROWS = (
        ("mode", 1, Codec("=H", {"l2": 0, "l3": 1, "l3s": 2})),
        ("isolation", 2, Codec("=H", {"bridge": 0, "private": 1, "vepa": 2})),
    )

    def __init__(self, mode: str = "l3", isolation: str = "bridge") -> None:
        """The defaults are the kernel's."""
        self.mode = mode
        self.isolation = isolation


class Macvlan(LinkKind):
    """A link with a MAC of its own on its parent."""

    __slots__ = ("broadcast_queue", "mode")
    name = "macvlan"
    ROWS = (
        ("mode", 1, Codec("=I", {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16})),
        ("broadcast_queue", 7, NUMBER),
    )
    OPTIONAL = ("broadcast_queue",)

    def __init__(self, mode: str = "vepa", broadcast_queue: int = 1000) -> None:
        """The defaults are the kernel's; ``broadcast_queue`` is how many broadcasts wait at most (Linux 5.11)."""
        self.mode = mode
        self.broadcast_queue = broadcast_queue


class Tun(LinkKind):
    """A link whose other end is a program: ``cni.kernel.tun`` makes it, netlink only reports it.

    ``owner`` and ``group`` are ids of those who may open it, -1 for anybody with CAP_NET_ADMIN.
    """

    __slots__ = ("group", "mode", "multi_queue", "owner", "packet_information", "persistent", "vnet_header")
    name = "tun"
    ROWS = (
        ("mode", 3, Codec("=B", {"tun": 1, "tap": 2})),
        ("owner", 1, NUMBER),
        ("group", 2, NUMBER),
        ("packet_information", 4, FLAG),
        ("vnet_header", 5, FLAG),
        ("persistent", 6, FLAG),
        ("multi_queue", 7, FLAG),
    )
    OPTIONAL = ("owner", "group")

    def __init__(self, mode: str = "tap", owner: int = -1, group: int = -1, multi_queue: bool = False) -> None:
        """Made so, it is persistent, and frames come with neither packet information nor a header of virtio-net."""
        self.mode = mode
        self.owner = owner
        self.group = group
        self.multi_queue = multi_queue
        self.persistent = True
        self.packet_information = self.vnet_header = False


class Veth(LinkKind):
    """One end of a pair. The kernel takes the peer's values and does not report them: ``Link.peer`` is its index."""

    __slots__ = ("mac", "mtu", "namespace", "peer")
    name = "veth"

    def __init__(self, peer: str = "", mac: str = "", mtu: int = 0, namespace: int = -1) -> None:
        """The peer's name, MAC and MTU, and the descriptor of its namespace; without a name the kernel gives one."""
        self.peer = peer
        self.mac = mac
        self.mtu = mtu
        self.namespace = namespace

    def encode(self) -> bytes:
        """The peer: a link's message in an attribute."""
        return attribute(1, bytes(16) + common(self.peer, self.mac, self.mtu, self.namespace))


class Vlan(LinkKind):
    """Frames of its parent with one VLAN's tag."""

    __slots__ = ("id", "protocol")
    name = "vlan"
    ROWS = (
        ("id", 1, SHORT),
        ("protocol", 5, Codec(">H", {"802.1Q": 0x8100, "802.1ad": 0x88A8})),
    )

    def __init__(self, id: int = 0, protocol: str = "802.1Q") -> None:
        self.id = id
        self.protocol = protocol


class Vrf(LinkKind):
    """Links with a routing table of their own."""

    __slots__ = ("table",)
    name = "vrf"
    ROWS = (("table", 1, NUMBER),)

    def __init__(self, table: int = 0) -> None:
        self.table = table


TABLE: "dict[str, type[LinkKind]]" = {
    kind.name: kind for kind in (Bridge, Dummy, Ifb, Ipvlan, Macvlan, Tun, Veth, Vlan, Vrf)
}


def decode(name: str, data: bytes) -> LinkKind | None:
    """What a link of a kind has, from the kernel's attributes; None for a kind that is not in the table."""
    if name not in TABLE:
        return None
    kind, found = TABLE[name](), dict(attributes(data))
    for field, number, codec in kind.ROWS:
        if number in found:
            setattr(kind, field, codec.unpack(found[number]))
    return kind
