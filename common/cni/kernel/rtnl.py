"""The rtnetlink socket (rtnetlink(7)), and links.

The modules ``addresses``, ``routes``, ``vlans`` (of bridge ports), ``rules`` (policy routing) and ``tc`` (traffic
control) have functions that take the socket. ``kinds`` has the kinds of links.

Every request in ADD and DEL is for one object; they list nothing of the node. Messages are pyroute2's, but links are
read by hand: an ADD reads seven, and pyroute2 takes 0.4 ms for each instead of 0.02.
"""

import os
import struct
from _socket import AF_UNSPEC
from errno import EADDRNOTAVAIL, EINVAL, ENODEV, EOPNOTSUPP

from cni.errors import KernelError
from cni.kernel.netlink import F_APPEND, F_DUMP, F_NEW, Answer, Netlink, attribute, attributes, integer, number, text
from cni.names import is_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel import pyroute
    from cni.kernel.kinds import LinkKind

_NEWLINK, _DELLINK, _GETLINK, _NEWLINKPROP = 16, 17, 18, 108
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12
_UP, _LOOPBACK, _PROMISC, _ALLMULTI, _LOWER_UP = 0x1, 0x8, 0x100, 0x200, 0x10000
# States of a bridge's port (BR_STATE_…): with the spanning tree it listens and learns for half a minute, then forwards.
FORWARDING, HELD_BACK = 3, (1, 2)
# Flags of a VLAN on a port (PVID, UNTAGGED): frames without a tag belong to it, and its frames leave without a tag.
NATIVE_VLAN = 1 << 1 | 1 << 2
_VF_SKIP = 1 << 3
# linux/if_link.h, linux/if.h
_HEADER = struct.Struct("=BxHiII")
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _TXQLEN, _OPERSTATE = 1, 3, 4, 5, 10, 13, 16
_LINKINFO, _IFALIAS, _EXT_MASK, _PROMISCUITY, _LINK_NETNSID = 18, 20, 29, 30, 37
_PROP_LIST, _ALT_IFNAME, _PERM_ADDRESS = 52, 53, 54
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_PORT_STATE, _PORT_MODE, _PORT_ISOLATED = 1, 4, 33
OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")


def random_mac() -> str:
    """A locally administered unicast MAC for a new link.

    udev would later replace a MAC that the kernel chose (MACAddressPolicy=persistent).
    """
    octets = bytearray(os.urandom(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def missing(kind: str) -> str:
    """The remedy if the kernel has no links of a kind."""
    option = {"vlan": "VLAN_8021Q", "vrf": "NET_VRF"}.get(kind, kind.upper())
    return f"the kernel of this node has no {kind} (CONFIG_{option})"


class Link:
    """A link of the kernel: the values of every link, those of a bridge's port, and those of its kind.

    A link that is ``up`` may have no carrier. ``promisc`` and ``allmulti`` were set; ``promiscuity`` also counts programs
    that need that. ``altnames`` are its other names (Linux 5.5). ``permanent`` is the hardware's MAC, empty if unknown.

    ``peer`` is the index of a veth's other end, ``parent`` of the link that a macvlan, ipvlan or vlan is on; 0 for other
    kinds. ``other`` is either; ``other_namespace`` is the number of the namespace of that index, -1: the link's own.
    """

    __slots__ = (
        "_info", "alias", "allmulti", "altnames", "carrier", "hairpin", "index", "isolated", "kind", "loopback", "mac",
        "master", "mtu", "name", "operstate", "other", "other_namespace", "parent", "peer", "permanent", "port_state",
        "promisc", "promiscuity", "tx_queue_length", "up",
    )  # fmt: skip

    def __init__(self, answer: Answer) -> None:
        self.index: int
        _, _, self.index, flags, _ = _HEADER.unpack_from(answer.data, 16)
        self.up, self.carrier, self.loopback, self.promisc, self.allmulti = (
            bool(flags & flag) for flag in (_UP, _LOWER_UP, _LOOPBACK, _PROMISC, _ALLMULTI)
        )
        found = dict(attributes(answer.data, 32))
        self.name = text(found.get(_IFNAME))
        self.mac = found.get(_ADDRESS, b"").hex(":")
        self.permanent = found.get(_PERM_ADDRESS, b"").hex(":")
        self.mtu = number(found.get(_MTU))
        self.master = number(found.get(_MASTER))
        self.other = number(found.get(_LINK))
        self.other_namespace = number(found[_LINK_NETNSID]) if _LINK_NETNSID in found else -1
        self.alias = text(found.get(_IFALIAS))
        self.operstate = OPERSTATES[min(number(found.get(_OPERSTATE)), 6)]
        self.promiscuity = number(found.get(_PROMISCUITY))
        self.tx_queue_length = number(found.get(_TXQLEN))
        self.altnames = [text(payload) for _, payload in attributes(found.get(_PROP_LIST, b""))]
        info = dict(attributes(found.get(_LINKINFO, b"")))
        self.kind = text(info.get(_INFO_KIND))
        self.peer = self.other if self.kind == "veth" else 0
        self.parent = self.other if self.kind in ("macvlan", "ipvlan", "vlan") else 0
        self._info = info.get(_INFO_DATA, b"")
        self.hairpin = self.isolated = False
        self.port_state = -1
        if text(info.get(_INFO_SLAVE_KIND)) == "bridge":
            port = dict(attributes(info.get(_INFO_SLAVE_DATA, b"")))
            self.hairpin = bool(number(port.get(_PORT_MODE)))
            self.isolated = bool(number(port.get(_PORT_ISOLATED)))
            self.port_state = number(port.get(_PORT_STATE))

    @property
    def data(self) -> "LinkKind | None":
        """Its kind with the kind's values, None for a kind that ``kinds`` does not know."""
        from cni.kernel import kinds

        return kinds.decode(self.kind, self._info)


class Rtnl(Netlink):
    """An rtnetlink socket of the namespace in which it is made, and requests about links."""

    def __init__(self) -> None:
        super().__init__()
        try:
            self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        except OSError:  # before Linux 4.20; dumps are not filtered by the kernel then
            pass

    def link(self, name: str = "", index: int = 0) -> Link | None:
        """The link with this name, alternative name, or index; None if there is none."""
        if not is_text(name):
            return None
        message = _HEADER.pack(AF_UNSPEC, 0, index, 0, 0) + integer(_EXT_MASK, _VF_SKIP)
        if name:
            # an alternative name may be longer than a name
            number = _IFNAME if len(name.encode()) < 16 else _ALT_IFNAME
            message += attribute(number, name.encode() + b"\0")
        answers = self.request(message, _GETLINK, absent=(ENODEV,))
        return Link(answers[0]) if answers else None

    def links(self) -> list[Link]:
        """Every link of the namespace; not used in an ordinary ADD or DEL."""
        message = _HEADER.pack(AF_UNSPEC, 0, 0, 0, 0) + integer(_EXT_MASK, _VF_SKIP)
        return [Link(answer) for answer in self.request(message, _GETLINK, F_DUMP)]

    def add(
        self,
        name: str,
        kind: "LinkKind",
        *,
        parent: int = 0,
        mac: str = "",
        mtu: int = 0,
        master: int = 0,
        namespace: int = -1,
    ) -> None:
        """Make a link; raises ``KernelError``, with EEXIST if the name is in use.

        ``parent`` and ``master`` are indexes in the socket's namespace; ``namespace`` is the descriptor of another
        namespace to make the link in.
        """
        found = (
            *new_link(name, mac, mtu, namespace),
            ("IFLA_LINK", parent or None),
            ("IFLA_MASTER", master or None),
            ("IFLA_LINKINFO", kind.info()),
        )
        self.request(link_message(found), _NEWLINK, F_NEW)

    def makes(self, kind: str) -> bool:
        """Whether the kernel can make a link of this kind; loads its module. Raises ``KernelError``.

        For STATUS, which does without pyroute2.
        """
        # no link can have this MAC, so the kernel makes none
        mac = attribute(_ADDRESS, bytes.fromhex("010000000000"))
        info = attribute(_LINKINFO, attribute(_INFO_KIND, kind.encode()))
        try:
            self.request(_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0) + mac + info, _NEWLINK, F_NEW)
        except KernelError as error:
            if error.errno not in (EADDRNOTAVAIL, EINVAL, EOPNOTSUPP):
                raise
            return error.errno != EOPNOTSUPP
        return True

    def change(
        self,
        index: int,
        *,
        name: str = "",
        mac: str = "",
        mtu: int = 0,
        master: int | None = None,
        alias: str | None = None,
        namespace: int = -1,
        tx_queue_length: int | None = None,
        up: bool | None = None,
        promisc: bool | None = None,
        allmulti: bool | None = None,
        kind: "LinkKind | None" = None,
    ) -> None:
        """Change the given values; ``master`` 0 removes a port from its bridge.

        With ``namespace``, the link is moved there, and changed there.
        """
        flags = change = 0
        for flag, wanted in ((_UP, up), (_PROMISC, promisc), (_ALLMULTI, allmulti)):
            if wanted is not None:
                flags, change = flags | (flag if wanted else 0), change | flag
        found = (
            *new_link(name, mac, mtu, namespace),
            ("IFLA_MASTER", master),
            ("IFLA_IFALIAS", alias),
            ("IFLA_TXQLEN", tx_queue_length),
            ("IFLA_LINKINFO", kind.info() if kind is not None else None),
        )
        self.request(link_message(found, index=index, flags=flags, change=change), _NEWLINK)

    def change_port(self, index: int, *, hairpin: bool | None = None, isolated: bool | None = None) -> None:
        """Change a bridge's settings for a port."""
        named = (("IFLA_BRPORT_MODE", hairpin), ("IFLA_BRPORT_ISOLATED", isolated))
        data = [(name, int(value)) for name, value in named if value is not None]
        info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": data})]}
        self.request(link_message([("IFLA_LINKINFO", info)], index=index), _NEWLINK)

    def add_altname(self, index: int, name: str) -> None:
        """Add an alternative name to a link."""
        names = {"attrs": [("IFLA_ALT_IFNAME", name)]}
        message = link_message([("IFLA_PROP_LIST", names)], index=index)
        self.request(message, _NEWLINKPROP, F_NEW | F_APPEND)

    def delete(self, index: int) -> None:
        """Remove a link, if it exists."""
        self.request(link_message(index=index), _DELLINK, absent=(ENODEV,))


def link_message(attributes: "pyroute.Attributes" = (), **fields: int) -> "pyroute.Message":
    """A message about a link."""
    from cni.kernel import pyroute  # reading links does without it

    return pyroute.message(pyroute.load("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg, attributes, **fields)


def new_link(name: str, mac: str, mtu: int, namespace: int) -> "tuple[tuple[str, Any], ...]":
    """The attributes for making a link or a veth's peer; an empty text, 0 and -1 mean none."""
    return (
        ("IFLA_IFNAME", name or None),
        ("IFLA_ADDRESS", mac or None),
        ("IFLA_MTU", mtu if mtu > 0 else None),
        ("IFLA_NET_NS_FD", namespace if namespace >= 0 else None),
    )
