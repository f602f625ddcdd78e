"""The rtnetlink socket (rtnetlink(7)), and links: whoever holds the socket asks for links.

Other concerns are modules of functions that take the socket: ``addresses``, ``routes``, ``vlans`` (of bridge ports),
``rules`` (policy routing), ``tc`` (traffic control). ``kinds`` has what a link has by its kind.

One object a request: nothing of the node is listed in ADD or DEL. Messages are pyroute2's, but a link is asked for and
read without it: an ADD does that seven times, and pyroute2 takes 0.4 ms each, this 0.02.
"""

import os
import struct
from _socket import AF_UNSPEC
from errno import EADDRNOTAVAIL, EINVAL, ENODEV, EOPNOTSUPP

from cni.kernel import pyroute
from cni.kernel.netlink import (
    F_APPEND,
    F_CREATE,
    F_DUMP,
    F_EXCL,
    ROUTE,
    Answer,
    KernelError,
    Netlink,
    attribute,
    attributes,
    integer,
    number,
    text,
)
from cni.names import is_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.kinds import LinkKind
    from cni.kernel.pyroute import Attributes

_NEWLINK, _DELLINK, _GETLINK, _NEWLINKPROP = 16, 17, 18, 108
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12
_UP, _LOOPBACK, _PROMISC, _ALLMULTI, _LOWER_UP = 0x1, 0x8, 0x100, 0x200, 0x10000
# States of a bridge's port (BR_STATE_…): the spanning tree has it listen and learn, for half a minute, before it forwards.
FORWARDING, HELD_BACK = 3, (1, 2)
# Flags of a VLAN on a port (PVID, UNTAGGED): frames without a tag belong to it, and its frames leave without one.
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
    """A locally administered unicast MAC for a link that is to be made.

    One that the kernel draws is replaced by udev (MACAddressPolicy=persistent) at some later moment.
    """
    octets = bytearray(os.urandom(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


def missing(kind: str) -> str:
    """The remedy where the kernel has no links of a kind."""
    return f"the kernel of this node has no {kind} (CONFIG_{kind.upper()})"


class Link:
    """A link as the kernel has it: what all links have, what the bridge set for a port of its, and its kind's own data.

    ``other`` is the index of the link that it belongs with: a veth's peer, or what a macvlan, ipvlan or vlan is on.
    ``other_namespace`` is the number of the namespace in which that index counts; -1 stands for the link's own.
    ``permanent`` is the MAC that the hardware came with, empty if the kernel knows of none.
    """

    __slots__ = (
        "_info",
        "_properties",
        "alias",
        "flags",
        "hairpin",
        "index",
        "isolated",
        "kind",
        "mac",
        "master",
        "mtu",
        "name",
        "operstate",
        "other",
        "other_namespace",
        "permanent",
        "port_state",
        "promiscuity",
        "tx_queue_length",
    )

    def __init__(self, answer: Answer) -> None:
        """Read an answer of the kernel."""
        self.index: int
        self.flags: int
        _, _, self.index, self.flags, _ = _HEADER.unpack_from(answer.data, 16)
        found = dict(answer.attributes(32))
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
        self._properties = found.get(_PROP_LIST, b"")
        info = dict(attributes(found.get(_LINKINFO, b"")))
        self.kind = text(info.get(_INFO_KIND))
        self._info = info.get(_INFO_DATA, b"")
        self.hairpin = self.isolated = False
        self.port_state = -1
        if text(info.get(_INFO_SLAVE_KIND)) == "bridge":
            port = dict(attributes(info.get(_INFO_SLAVE_DATA, b"")))
            self.hairpin = bool(number(port.get(_PORT_MODE)))
            self.isolated = bool(number(port.get(_PORT_ISOLATED)))
            self.port_state = number(port.get(_PORT_STATE))

    @property
    def up(self) -> bool:
        """Whether it is set up (it may still have no carrier)."""
        return bool(self.flags & _UP)

    @property
    def carrier(self) -> bool:
        """Whether it is connected to something that is up."""
        return bool(self.flags & _LOWER_UP)

    @property
    def loopback(self) -> bool:
        """Whether it is ``lo``."""
        return bool(self.flags & _LOOPBACK)

    @property
    def promisc(self) -> bool:
        """Whether it was set promiscuous; ``promiscuity`` counts programs that want that too."""
        return bool(self.flags & _PROMISC)

    @property
    def allmulti(self) -> bool:
        """Whether it was set to receive all multicast frames."""
        return bool(self.flags & _ALLMULTI)

    @property
    def altnames(self) -> list[str]:
        """Its other names (Linux 5.5)."""
        return [text(payload) for _, payload in attributes(self._properties)]

    @property
    def peer(self) -> int:
        """The index of a veth's other end; 0 for other kinds."""
        return self.other if self.kind == "veth" else 0

    @property
    def parent(self) -> int:
        """The index of the link that a macvlan, ipvlan or vlan is on; 0 for other kinds."""
        return self.other if self.kind in ("macvlan", "ipvlan", "vlan") else 0

    @property
    def data(self) -> "LinkKind | None":
        """What it has by its kind, None for a kind that ``kinds`` does not know."""
        from cni.kernel import kinds

        return kinds.decode(self.kind, self._info)


class Rtnl(Netlink):
    """An rtnetlink socket of the namespace in which it is made, and requests about links."""

    def __init__(self) -> None:
        super().__init__(ROUTE)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        except OSError:  # before Linux 4.20: dumps come unfiltered, and are filtered here
            pass

    def link(self, name: str = "", index: int = 0) -> Link | None:
        """The link of that name, alternative name, or index; None if there is none."""
        if not is_text(name):
            return None
        message = _HEADER.pack(AF_UNSPEC, 0, index, 0, 0) + integer(_EXT_MASK, _VF_SKIP)
        if name:
            # an alternative name may be longer than a name
            number = _IFNAME if len(name.encode()) < 16 else _ALT_IFNAME
            message += attribute(number, name.encode() + b"\0")
        try:
            answers = self.request(message, _GETLINK)
        except KernelError as error:
            if error.errno == ENODEV:
                return None
            raise
        return Link(answers[0])

    def links(self) -> list[Link]:
        """Every link of the namespace; for GC and CHECK, and where an ADD or DEL has met what may be another's."""
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
        """Make a link; raises ``KernelError``, with EEXIST for a name that is taken.

        ``parent`` and ``master`` are indexes in the socket's namespace; ``namespace`` is the descriptor of another one
        in which the link comes to be.
        """
        found = (
            *common(name, mac, mtu, namespace),
            ("IFLA_LINK", parent or None),
            ("IFLA_MASTER", master or None),
            ("IFLA_LINKINFO", kind.info()),
        )
        self.request(link_message(found), _NEWLINK, F_CREATE | F_EXCL)

    def makes(self, kind: str) -> bool:
        """Whether the kernel can make a link of this kind; its module is loaded by that. Raises ``KernelError``.

        For STATUS, which does without pyroute2.
        """
        # no link can have this MAC, so none is made
        mac = attribute(_ADDRESS, bytes.fromhex("010000000000"))
        info = attribute(_LINKINFO, attribute(_INFO_KIND, kind.encode()))
        try:
            self.request(_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0) + mac + info, _NEWLINK, F_CREATE | F_EXCL)
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
        """Change what is given and leave the rest; ``master`` 0 takes a port away from its bridge.

        With ``namespace`` it is moved, and gets its name and the rest there.
        """
        flags = change = 0
        for flag, wanted in ((_UP, up), (_PROMISC, promisc), (_ALLMULTI, allmulti)):
            if wanted is not None:
                flags, change = flags | (flag if wanted else 0), change | flag
        found = (
            *common(name, mac, mtu, namespace),
            ("IFLA_MASTER", master),
            ("IFLA_IFALIAS", alias),
            ("IFLA_TXQLEN", tx_queue_length),
            ("IFLA_LINKINFO", kind.info() if kind is not None else None),
        )
        self.request(link_message(found, index=index, flags=flags, change=change), _NEWLINK)

    def change_port(self, index: int, *, hairpin: bool | None = None, isolated: bool | None = None) -> None:
        """Change what a bridge does with one of its ports."""
        named = (("IFLA_BRPORT_MODE", hairpin), ("IFLA_BRPORT_ISOLATED", isolated))
        data = [(name, int(value)) for name, value in named if value is not None]
        info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": data})]}
        self.request(link_message([("IFLA_LINKINFO", info)], index=index), _NEWLINK)

    def add_altname(self, index: int, name: str) -> None:
        """Give a link one more name."""
        names = {"attrs": [("IFLA_ALT_IFNAME", name)]}
        message = link_message([("IFLA_PROP_LIST", names)], index=index)
        self.request(message, _NEWLINKPROP, F_CREATE | F_EXCL | F_APPEND)

    def delete(self, index: int) -> None:
        """Remove a link; that it is gone is success."""
        try:
            self.request(link_message(index=index), _DELLINK)
        except KernelError as error:
            if error.errno != ENODEV:
                raise


def link_message(attributes: "Attributes" = (), **fields: int) -> "Any":
    """A message about a link."""
    return pyroute.message(pyroute.load("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg, attributes, **fields)


def common(name: str, mac: str, mtu: int, namespace: int) -> "tuple[tuple[str, Any], ...]":
    """The attributes that a link and a veth's peer are made with; an empty text, 0 and -1 stand for none."""
    return (
        ("IFLA_IFNAME", name or None),
        ("IFLA_ADDRESS", mac or None),
        ("IFLA_MTU", mtu if mtu > 0 else None),
        ("IFLA_NET_NS_FD", namespace if namespace >= 0 else None),
    )
