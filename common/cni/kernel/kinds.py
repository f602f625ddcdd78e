"""Kinds of links, such as veth or macvlan, and their own values (linux/if_link.h).

``TABLE`` lists the kinds. A row of ``ROWS`` is one value: its name here, pyroute2's name, and the words for the numbers
of a choice. The same rows write and read, so a kind read from a link is equal to the one it was made with.
"""

from cni.kernel.netlink import attribute
from cni.kernel.pyroute import complete, load
from cni.kernel.rtnl import new_link
from cni.settings import Declared, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    Row = tuple[str, str] | tuple[str, str, dict[str, int]]

_LOOSE_BINDING = 1 << 2


class LinkKind(Declared, Value):
    """A link's kind and its values. Two are equal if all values that the kernel reports are equal."""

    name: "ClassVar[str]" = ""
    ROWS: "ClassVar[tuple[Row, ...]]" = ()
    # Values that not every kernel knows: sent only if they are not the default.
    OPTIONAL: "ClassVar[tuple[str, ...]]" = ()
    # Values that a program which uses the link sets: CHECK does not compare them.
    USERS: "ClassVar[tuple[str, ...]]" = ()
    # pyroute2's class for its values, None for a kind without values.
    described: "ClassVar[Any]" = None

    @property
    def word(self) -> str:
        """Its name in messages."""
        return self.name

    def encode(self) -> "list[tuple[str, Any]]":
        """The values by pyroute2's names; an unknown word for a choice is an error."""
        usual, found = type(self)(), []
        for field, name, *words in self.ROWS:
            value = getattr(self, field)
            if field not in self.OPTIONAL or value != getattr(usual, field):
                found.append((name, words[0][value] if words else value))
        return found

    def info(self) -> "dict[str, Any]":
        """The part of a link's message about its kind."""
        found: list[tuple[str, Any]] = [("IFLA_INFO_KIND", self.name)]
        if self.described is not None:
            load("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg.ifinfo.data_map[self.name] = self.described()
            found.append(("IFLA_INFO_DATA", {"attrs": self.encode()}))
        return {"attrs": found}

    def _members(self) -> "dict[str, Any]":
        return {field: getattr(self, field) for field, *_ in self.ROWS}


class Bridge(LinkKind):
    """A bridge."""

    name = "bridge"
    ROWS = (("vlan_filtering", "IFLA_BR_VLAN_FILTERING"),)
    OPTIONAL = ("vlan_filtering",)
    described = staticmethod(lambda: load("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg.ifinfo.bridge_data)
    vlan_filtering: bool = False


class Dummy(LinkKind):
    """A link that drops all packets sent to it."""

    name = "dummy"


class Ifb(LinkKind):
    """A link (Intermediate Functional Block) that queues the packets that another link receives."""

    name = "ifb"


class Ipvlan(LinkKind):
    """A link with its parent's MAC; ``isolation`` is between the links of one parent. The defaults are the kernel's."""

    name = "ipvlan"
    ROWS = (
        ("mode", "IFLA_IPVLAN_MODE", {"l2": 0, "l3": 1, "l3s": 2}),
        ("isolation", "IFLA_IPVLAN_FLAGS", {"bridge": 0, "private": 1, "vepa": 2}),
    )
    described = staticmethod(
        lambda: complete(load("pyroute2.netlink.rtnl.ifinfmsg.plugins.ipvlan").ipvlan, "IFLA_IPVLAN_FLAGS", "uint16")
    )
    mode: str = "l3"
    isolation: str = "bridge"


class Macvlan(LinkKind):
    """A link with a MAC of its own on its parent. The defaults are the kernel's."""

    name = "macvlan"
    ROWS = (("mode", "IFLA_MACVLAN_MODE"), ("broadcast_queue", "IFLA_MACVLAN_BC_QUEUE_LEN"))
    OPTIONAL = ("broadcast_queue",)
    described = staticmethod(
        lambda: complete(load("pyroute2.netlink.rtnl.ifinfmsg").macvx_data, "IFLA_MACVLAN_BC_QUEUE_LEN", "uint32")
    )
    mode: str = "vepa"
    # the most broadcasts that wait (Linux 5.11)
    broadcast_queue: int = 1000


class Tun(LinkKind):
    """A link whose other end is a program: ``cni.kernel.tun`` makes it, netlink can only read it.

    The user ``owner`` and the group ``group`` may open it; -1: any process with CAP_NET_ADMIN.
    """

    name = "tun"
    ROWS = (
        ("mode", "IFLA_TUN_TYPE", {"tun": 1, "tap": 2}),
        ("owner", "IFLA_TUN_OWNER"),
        ("group", "IFLA_TUN_GROUP"),
        ("packet_information", "IFLA_TUN_PI"),
        ("vnet_header", "IFLA_TUN_VNET_HDR"),
        ("persistent", "IFLA_TUN_PERSIST"),
        ("multi_queue", "IFLA_TUN_MULTI_QUEUE"),
    )
    OPTIONAL = ("owner", "group")
    USERS = ("packet_information", "vnet_header")
    described = staticmethod(lambda: load("pyroute2.netlink.rtnl.ifinfmsg.plugins.tun").tun)
    mode: str = "tap"
    owner: int = -1
    group: int = -1
    multi_queue: bool = False
    persistent: bool = True
    # what a frame has before it
    packet_information: bool = False
    vnet_header: bool = False

    @property
    def word(self) -> str:
        """``tun`` or ``tap``."""
        return self.mode


class Veth(LinkKind):
    """One end of a pair. The kernel does not report the peer's values; ``Link.peer`` is its index.

    They are its name (by default the kernel's choice), MAC and MTU, and the descriptor of its namespace.
    """

    name = "veth"
    described = staticmethod(lambda: load("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg.ifinfo.veth_data)
    peer: str = ""
    mac: str = ""
    mtu: int = 0
    namespace: int = -1

    def encode(self) -> "list[tuple[str, Any]]":
        """The peer, as a link's message in an attribute."""
        found = new_link(self.peer, self.mac, self.mtu, self.namespace)
        return [("VETH_INFO_PEER", {"attrs": [(name, value) for name, value in found if value is not None]})]


class Vlan(LinkKind):
    """A link for the frames of its parent with one VLAN's tag.

    An ``independent`` link does not go down with its parent, and so keeps its routes. It is not compared.
    """

    name = "vlan"
    ROWS = (("id", "IFLA_VLAN_ID"), ("protocol", "IFLA_VLAN_PROTOCOL", {"802.1Q": 0x8100, "802.1ad": 0x88A8}))
    described = staticmethod(lambda: load("pyroute2.netlink.rtnl.ifinfmsg.plugins.vlan").vlan)
    id: int = 0
    protocol: str = "802.1Q"
    independent: bool = False

    def encode(self) -> "list[tuple[str, Any]]":
        """The values, and the flag VLAN_FLAG_LOOSE_BINDING."""
        flag = {"flags": _LOOSE_BINDING, "mask": _LOOSE_BINDING}
        return [*super().encode(), *([("IFLA_VLAN_FLAGS", flag)] if self.independent else [])]


class Vrf(LinkKind):
    """A link whose ports use a routing table of their own."""

    name = "vrf"
    ROWS = (("table", "IFLA_VRF_TABLE"),)
    described = staticmethod(lambda: load("pyroute2.netlink.rtnl.ifinfmsg.plugins.vrf").vrf)
    table: int = 0


TABLE: "dict[str, type[LinkKind]]" = {
    kind.name: kind for kind in (Bridge, Dummy, Ifb, Ipvlan, Macvlan, Tun, Veth, Vlan, Vrf)
}


def decode(name: str, data: bytes) -> LinkKind | None:
    """A link's kind with its values, from the kernel's attributes; None for a kind that is not in the table."""
    if name not in TABLE:
        return None
    kind = TABLE[name]()
    if kind.ROWS and kind.described is not None and data:
        read = kind.described()(attribute(0, data))
        read.decode()
        for field, named, *words in kind.ROWS:
            value = read.get_attr(named)
            if value is not None:
                names = {number: word for word, number in words[0].items()} if words else {}
                flag = isinstance(getattr(kind, field), bool)
                setattr(kind, field, bool(value) if flag else names.get(value, value))
    return kind
