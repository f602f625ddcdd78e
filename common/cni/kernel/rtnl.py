"""Links, addresses and routes over rtnetlink (rtnetlink(7)).

One object a request: nothing of the node is listed in ADD or DEL.

Messages are pyroute2's. What is read comes back as small objects with slots.
"""

import os
import struct
import sys
from _socket import AF_INET, AF_INET6, AF_UNSPEC
from errno import EACCES, EADDRNOTAVAIL, EHOSTUNREACH, EINVAL, ENETUNREACH, ENODEV, ENOENT

from cni.address import Address, Prefix
from cni.kernel import pyroute
from cni.kernel.netlink import F_CREATE, F_DUMP, F_EXCL, ROUTE, Answer, KernelError, Netlink, attribute, attributes
from cni.names import is_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Attributes = Sequence[tuple[str, Any]]

_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _GETROUTE = 24, 26
_AF_BRIDGE = 7
_SOL_NETLINK, _GET_STRICT_CHK = 270, 12
IFF_UP, IFF_LOOPBACK, IFF_PROMISC = 0x1, 0x8, 0x100
IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x02, 0x08, 0x40
# States of a bridge's port (BR_STATE_…): the spanning tree has it listen and learn, for half a minute, before it forwards.
FORWARDING, HELD_BACK = 3, (1, 2)
_VF_SKIP = 1 << 3
VLAN_MASTER, VLAN_PVID, VLAN_UNTAGGED = 1 << 0, 1 << 1, 1 << 2
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
TABLE_MAIN, _TABLE_LOCAL = 254, 255
_PROTO_BOOT, _RTN_UNICAST, RTN_LOCAL = 3, 1, 2


# linux/if_link.h, linux/if.h
_LINK_HEADER = struct.Struct("=BxHiII")
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER, _IFLA_OPERSTATE = 1, 3, 4, 5, 10, 16
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_EXT_MASK, _IFLA_PROMISCUITY = 18, 20, 29, 30
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_BRPORT_STATE, _BRPORT_MODE, _BRPORT_ISOLATED, _BR_VLAN_FILTERING = 1, 4, 33, 7
# linux/rtnetlink.h
_ROUTE_HEADER = struct.Struct("=BBBBBBBBI")
_RTA_DST, _RTA_TABLE = 1, 15
OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")


def _text(payload: bytes | None) -> str:
    """A text that may end in a zero byte."""
    return (payload or b"").rstrip(b"\0").decode("utf-8", "surrogateescape")


def _number(payload: bytes | None) -> int:
    """An integer of any width in the host's order; 0 where there is none."""
    return int.from_bytes(payload or b"", sys.byteorder)


def random_mac() -> str:
    """A locally administered unicast MAC for a link that is to be made.

    One that the kernel draws is replaced by udev (MACAddressPolicy=persistent) at some later moment.
    """
    octets = bytearray(os.urandom(6))
    octets[0] = octets[0] & 0xFC | 0x02
    return octets.hex(":")


class Link:
    """A link as the kernel has it. ``peer`` is the index of a veth's other end; ``port`` what its bridge set for it."""

    __slots__ = (
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
        "peer",
        "port_state",
        "promiscuity",
        "vlan_filtering",
    )

    def __init__(self, answer: Answer) -> None:
        """Read here and not by pyroute2, which decodes all of a link: half a millisecond, seven times an ADD."""
        self.index: int
        self.flags: int
        _, _, self.index, self.flags, _ = _LINK_HEADER.unpack_from(answer.data, 16)
        found = dict(answer.attributes(32))
        self.name = _text(found.get(_IFLA_IFNAME))
        self.mac = found.get(_IFLA_ADDRESS, b"").hex(":")
        self.mtu = _number(found.get(_IFLA_MTU))
        self.master = _number(found.get(_IFLA_MASTER))
        self.peer = _number(found.get(_IFLA_LINK))
        self.alias = _text(found.get(_IFLA_IFALIAS))
        self.operstate = OPERSTATES[min(_number(found.get(_IFLA_OPERSTATE)), 6)]
        self.promiscuity = _number(found.get(_IFLA_PROMISCUITY))
        info = dict(attributes(found.get(_IFLA_LINKINFO, b"")))
        self.kind = _text(info.get(_INFO_KIND))
        self.hairpin = self.isolated = self.vlan_filtering = False
        self.port_state = -1
        if _text(info.get(_INFO_SLAVE_KIND)) == "bridge":
            port = dict(attributes(info.get(_INFO_SLAVE_DATA, b"")))
            self.hairpin = bool(_number(port.get(_BRPORT_MODE)))
            self.isolated = bool(_number(port.get(_BRPORT_ISOLATED)))
            self.port_state = _number(port.get(_BRPORT_STATE))
        if self.kind == "bridge":
            data = dict(attributes(info.get(_INFO_DATA, b"")))
            self.vlan_filtering = bool(_number(data.get(_BR_VLAN_FILTERING)))

    @property
    def up(self) -> bool:
        """Whether it is set up (it may still have no carrier)."""
        return bool(self.flags & IFF_UP)

    @property
    def loopback(self) -> bool:
        """Whether it is ``lo``."""
        return bool(self.flags & IFF_LOOPBACK)


class LinkAddress:
    """An address on a link."""

    __slots__ = ("flags", "index", "prefix", "scope")

    def __init__(self, message: "Any") -> None:
        local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        self.prefix = Prefix(Address.parse(local), message["prefixlen"])
        flags = message.get_attr("IFA_FLAGS")
        self.flags: int = message["flags"] if flags is None else flags
        self.scope: int = message["scope"]
        self.index: int = message["index"]


class LinkRoute:
    """A route as the kernel has it; a multipath route comes as one object a hop."""

    __slots__ = ("advmss", "dst", "gw", "index", "kind", "mtu", "priority", "protocol", "scope", "table")

    def __init__(self, message: "Any", index: int, gw: str | None) -> None:
        get = message.get_attr
        family = message["family"]
        any_host = "::" if family == AF_INET6 else "0.0.0.0"  # noqa: S104
        self.dst = Prefix(Address.parse(get("RTA_DST") or any_host), message["dst_len"])
        self.gw = Address.parse(gw) if gw else None
        self.index = index
        self.priority: int = get("RTA_PRIORITY") or 0
        self.table: int = get("RTA_TABLE") or message["table"]
        self.scope: int = message["scope"]
        self.kind: int = message["type"]
        self.protocol: int = message["proto"]
        metrics = get("RTA_METRICS")
        self.mtu: int = (metrics.get_attr("RTAX_MTU") if metrics else 0) or 0
        self.advmss: int = (metrics.get_attr("RTAX_ADVMSS") if metrics else 0) or 0


def _local_prefix(answer: Answer, family: int) -> Prefix | None:
    """The destination of a route of a dump if it is a local one; a kernel before Linux 4.20 sends others beside."""
    found, length, _, _, _, _, _, kind, _ = _ROUTE_HEADER.unpack_from(answer.data, 16)
    if (answer.kind, found, kind) != (_NEWROUTE, family, RTN_LOCAL):
        return None
    attributes = dict(answer.attributes(28))
    if int.from_bytes(attributes.get(_RTA_TABLE, b""), sys.byteorder) != _TABLE_LOCAL:
        return None
    return Prefix(Address(attributes.get(_RTA_DST, bytes(4 if family == AF_INET else 16))), length)


class Rtnl(Netlink):
    """An rtnetlink socket of the namespace in which it is made."""

    def __init__(self) -> None:
        super().__init__(ROUTE)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _GET_STRICT_CHK, 1)
        except OSError:  # before Linux 4.20: dumps come unfiltered, and are filtered here
            pass

    # links

    def _link_message(self, index: int = 0, attributes: "Attributes" = ()) -> "Any":
        message = pyroute.load("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg()
        message["index"] = index
        message["attrs"] = list(attributes)
        return message

    def link(self, name: str = "", index: int = 0) -> Link | None:
        """The link of that name or index, None if there is none."""
        if not is_text(name):
            return None
        message = _LINK_HEADER.pack(AF_UNSPEC, 0, index, 0, 0) + attribute(_IFLA_EXT_MASK, struct.pack("=I", _VF_SKIP))
        if name:
            message += attribute(_IFLA_IFNAME, name.encode() + b"\0")
        try:
            answers = self.request(message, _GETLINK)
        except KernelError as error:
            if error.errno == ENODEV:
                return None
            raise
        return Link(answers[0])

    def links(self) -> list[Link]:
        """Every link of the namespace; for GC and CHECK, and where an ADD or DEL has met what may be another's."""
        message = self._link_message(attributes=[("IFLA_EXT_MASK", _VF_SKIP)])
        return [Link(answer) for answer in self.request(message, _GETLINK, F_DUMP)]

    def add_link(self, attributes: "Attributes", flags: int = 0) -> None:
        """Make a link; raises ``KernelError`` with EEXIST for a name that is taken."""
        message = self._link_message(attributes=attributes)
        message["flags"] = message["change"] = flags
        self.request(message, _NEWLINK, F_CREATE | F_EXCL)

    def set_link(
        self, index: int, attributes: "Attributes" = (), up: bool | None = None, promisc: bool = False
    ) -> None:
        """Change a link; ``up`` None leaves that as it is."""
        message = self._link_message(index, attributes)
        flags = (IFF_UP if up else 0) | (IFF_PROMISC if promisc else 0)
        message["flags"] = flags
        message["change"] = (0 if up is None else IFF_UP) | (IFF_PROMISC if promisc else 0)
        self.request(message, _NEWLINK)

    def delete_link(self, index: int) -> None:
        """Remove a link; that it is gone is success."""
        try:
            self.request(self._link_message(index), _DELLINK)
        except KernelError as error:
            if error.errno != ENODEV:
                raise

    # vlans of a bridge port

    def vlans(self, index: int) -> dict[int, int]:
        """VLAN ids on a bridge port with their flags; empty on a bridge that does not filter."""
        message = self._link_message(attributes=[("IFLA_EXT_MASK", 1 << 1)])
        message["family"] = _AF_BRIDGE
        found: dict[int, int] = {}
        for answer in self.request(message, _GETLINK, F_DUMP):
            link = answer.decode(type(message))
            if link["index"] == index:
                spec = link.get_attr("IFLA_AF_SPEC")
                entries = [value for name, value in (spec["attrs"] if spec else ()) if name == "IFLA_BRIDGE_VLAN_INFO"]
                found.update({entry["vid"]: entry["flags"] for entry in entries})
        return found

    def change_vlan(self, index: int, vid: int, flags: int = 0, remove: bool = False) -> None:
        """Put a VLAN on a bridge port, or take it away."""
        entry = {"vid": vid, "flags": flags | VLAN_MASTER}
        message = self._link_message(index)
        message["family"] = _AF_BRIDGE
        message["attrs"] = [("IFLA_AF_SPEC", {"attrs": [("IFLA_BRIDGE_FLAGS", 1), ("IFLA_BRIDGE_VLAN_INFO", entry)]})]
        self.request(message, _DELLINK if remove else _SETLINK)

    # addresses

    def _address_message(self, index: int, prefix: Prefix | None = None, family: int = AF_UNSPEC) -> "Any":
        message = pyroute.load("pyroute2.netlink.rtnl.ifaddrmsg").ifaddrmsg()
        message["index"] = index
        message["family"] = prefix.address.family if prefix else family
        if prefix:
            message["prefixlen"] = prefix.length
            text = str(prefix.address)
            message["attrs"] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
        return message

    def addresses(self, index: int, family: int = AF_UNSPEC) -> list[LinkAddress]:
        """The addresses of one link."""
        message = self._address_message(index, family=family)
        answers = self.request(message, _GETADDR, F_DUMP)
        found = [LinkAddress(answer.decode(type(message))) for answer in answers]
        return [address for address in found if address.index == index]

    def add_address(self, index: int, prefix: Prefix, flags: int = 0) -> None:
        """Put an address on a link, with the broadcast address that IPv4 expects; raises ``KernelError``."""
        message = self._address_message(index, prefix)
        message["flags"] = flags
        if prefix.version == 4 and prefix.length < 31:
            last = int(prefix.address) | (1 << 32 - prefix.length) - 1
            message["attrs"].append(("IFA_BROADCAST", str(Address(last.to_bytes(4, "big")))))
        self.request(message, _NEWADDR, F_CREATE | F_EXCL)

    def delete_address(self, index: int, prefix: Prefix) -> None:
        """Take an address away; that it is gone is success."""
        try:
            self.request(self._address_message(index, prefix), _DELADDR)
        except KernelError as error:
            if error.errno != EADDRNOTAVAIL:
                raise

    # routes

    def _route_message(self, family: int) -> "Any":
        message = pyroute.load("pyroute2.netlink.rtnl.rtmsg").rtmsg()
        message["family"] = family
        return message

    def add_route(
        self,
        index: int,
        dst: Prefix,
        gw: Address | None = None,
        mtu: int = 0,
        advmss: int = 0,
        priority: int = 0,
        table: int = TABLE_MAIN,
        scope: int = SCOPE_UNIVERSE,
    ) -> None:
        """Add a route through a link; an equal one raises ``KernelError`` with EEXIST, another hop is added beside."""
        message = self._route_message(dst.address.family)
        network = dst.network
        message.update({"dst_len": network.length, "proto": _PROTO_BOOT, "type": _RTN_UNICAST, "scope": scope})
        message["table"] = table if table < 256 else 252
        attributes: list[tuple[str, Any]] = [("RTA_TABLE", table), ("RTA_OIF", index)]
        if network.length:
            attributes.append(("RTA_DST", str(network.address)))
        if gw is not None:
            attributes.append(("RTA_GATEWAY", str(gw)))
        if priority:
            attributes.append(("RTA_PRIORITY", priority))
        metrics = [(name, value) for name, value in (("RTAX_MTU", mtu), ("RTAX_ADVMSS", advmss)) if value]
        if metrics:
            attributes.append(("RTA_METRICS", {"attrs": metrics}))
        message["attrs"] = attributes
        self.request(message, _NEWROUTE, F_CREATE)

    def routes(self, family: int) -> list[LinkRoute]:
        """Every route of a family in all tables; for CHECK, inside a container."""
        found = []
        message = self._route_message(family)
        for answer in self.request(message, _GETROUTE, F_DUMP):
            route = answer.decode(type(message))
            if route["family"] not in (AF_INET, AF_INET6):
                continue
            hops = route.get_attr("RTA_MULTIPATH")
            for hop in hops or ():
                found.append(LinkRoute(route, hop["oif"], hop.get_attr("RTA_GATEWAY")))
            if not hops:
                found.append(LinkRoute(route, route.get_attr("RTA_OIF") or 0, route.get_attr("RTA_GATEWAY")))
        return found

    def route_to(self, address: Address) -> LinkRoute | None:
        """The route that the kernel takes to an address, None if there is none; its kind is 2 for one of the node's own."""
        message = self._route_message(address.family)
        message["dst_len"] = address.bits
        message["attrs"] = [("RTA_DST", str(address))]
        try:
            answers = self.request(message, _GETROUTE)
        except KernelError as error:
            if error.errno in (ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL):
                return None
            raise
        if not answers:
            return None
        route = answers[0].decode(type(message))
        return LinkRoute(route, route.get_attr("RTA_OIF") or 0, route.get_attr("RTA_GATEWAY"))

    def local_prefixes(self, version: int) -> list[Prefix]:
        """What is the node's own, as the local table has it: addresses of a family, and networks such as 127.0.0.0/8."""
        family = AF_INET if version == 4 else AF_INET6
        message = self._route_message(family)
        message.update({"table": _TABLE_LOCAL, "type": RTN_LOCAL})
        message["attrs"] = [("RTA_TABLE", _TABLE_LOCAL)]
        try:
            answers = self.request(message, _GETROUTE, F_DUMP)
        except KernelError as error:
            if error.errno == ENOENT:  # no such table: no address either
                return []
            raise
        return [prefix for answer in answers if (prefix := _local_prefix(answer, family)) is not None]
