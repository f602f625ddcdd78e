"""Routes (rtnetlink(7), linux/rtnetlink.h)."""

import struct
from _socket import AF_INET, AF_INET6
from errno import EACCES, EEXIST, EHOSTUNREACH, EINVAL, ENETUNREACH, ENOENT, ESRCH

from cni.address import ANY, Address, Prefix
from cni.errors import KernelError
from cni.kernel import pyroute
from cni.kernel.netlink import F_CREATE, F_DUMP, F_EXCL, F_REPLACE, attributes, integer, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
# family, lengths of destination and source, type of service, table, protocol, scope, type, flags
_HEADER = struct.Struct("=BBBBBBBBI")
_DST, _TABLE = 1, 15
SCOPE_UNIVERSE, SCOPE_LINK, SCOPE_HOST, _SCOPE_ANY = 0, 253, 254, 255
TABLE_MAIN, TABLE_LOCAL = 254, 255
# in the header, if the table's number does not fit into a byte
_TABLE_COMPAT = 252
_PROTO_KERNEL, _PROTO_BOOT = 2, 3
# learnt from a router's advertisements
PROTO_RA = 9
RTN_UNICAST, RTN_LOCAL = 1, 2


class LinkRoute:
    """A route of the kernel; a multipath route has one object for each hop."""

    __slots__ = ("advmss", "dst", "gw", "index", "kind", "mtu", "priority", "protocol", "scope", "src", "table")

    def __init__(self, message: "pyroute.Message", hop: "pyroute.Message") -> None:
        """``hop`` is the message itself, or one hop of several."""
        get = message.get_attr
        unspecified = ANY[6 if message["family"] == AF_INET6 else 4].address
        gw, src = hop.get_attr("RTA_GATEWAY"), get("RTA_PREFSRC")
        self.dst = Prefix(Address.parse(get("RTA_DST") or str(unspecified)), message["dst_len"])
        self.gw = Address.parse(gw) if gw else None
        self.src = Address.parse(src) if src else None
        self.index: int = (get("RTA_OIF") or 0) if hop is message else hop["oif"]
        self.priority: int = get("RTA_PRIORITY") or 0
        self.table: int = get("RTA_TABLE") or message["table"]
        self.scope: int = message["scope"]
        self.kind: int = message["type"]
        self.protocol: int = message["proto"]
        metrics = get("RTA_METRICS")
        self.mtu: int = (metrics.get_attr("RTAX_MTU") if metrics else 0) or 0
        self.advmss: int = (metrics.get_attr("RTAX_ADVMSS") if metrics else 0) or 0


def add(
    rtnl: "Rtnl",
    index: int,
    dst: Prefix,
    gw: Address | None = None,
    mtu: int = 0,
    advmss: int = 0,
    priority: int = 0,
    table: int = TABLE_MAIN,
    scope: int = SCOPE_UNIVERSE,
    src: Address | None = None,
    replace: bool = False,
    exclusive: bool = False,
    protocol: int = _PROTO_BOOT,
) -> None:
    """Add a route through a link. An equal route raises ``KernelError`` with EEXIST; another hop is added to it.

    ``src`` is the source address of packets. ``replace`` replaces the first route with the same destination, priority
    and table, if there is one; with ``exclusive`` such a route raises ``KernelError`` with EEXIST. ``protocol`` says who made it.
    """
    metrics = [(name, value) for name, value in (("RTAX_MTU", mtu), ("RTAX_ADVMSS", advmss)) if value]
    message = _message(index, dst, gw, priority, table, proto=protocol, type=RTN_UNICAST, scope=scope)
    if src is not None:
        message["attrs"].append(("RTA_PREFSRC", str(src)))
    if metrics:
        message["attrs"].append(("RTA_METRICS", {"attrs": metrics}))
    rtnl.request(message, _NEWROUTE, F_CREATE | (F_REPLACE if replace else 0) | (F_EXCL if exclusive else 0))


def copy(rtnl: "Rtnl", route: LinkRoute, table: int) -> None:
    """Add a route that was read to another table, if no equal one is there."""
    try:
        metrics = (route.mtu, route.advmss, route.priority)
        add(
            rtnl, route.index, route.dst, route.gw, *metrics, table, route.scope, route.src, protocol=route.protocol
        )  # fmt: skip
    except KernelError as error:
        if error.errno != EEXIST:
            raise


def delete(rtnl: "Rtnl", route: LinkRoute) -> None:
    """Remove a route that was read, if it still exists."""
    which = (route.index, route.dst, route.gw, route.priority, route.table)
    message = _message(*which, proto=route.protocol, type=route.kind, scope=route.scope)
    rtnl.request(message, _DELROUTE, absent=(ESRCH,))


def delete_on_link(rtnl: "Rtnl", index: int, prefix: Prefix) -> None:
    """Remove the kernel's own route to the network of an address of a link, if it exists."""
    message = _message(index, prefix, table=TABLE_MAIN, proto=_PROTO_KERNEL, type=RTN_UNICAST, scope=_SCOPE_ANY)
    rtnl.request(message, _DELROUTE, absent=(ESRCH,))


def _message(
    index: int, dst: Prefix, gw: Address | None = None, priority: int = 0, table: int = 0, **fields: int
) -> "pyroute.Message":
    network = dst.network
    attributes = (
        ("RTA_TABLE", table or None),
        ("RTA_OIF", index or None),
        ("RTA_DST", str(network.address) if network.length else None),
        ("RTA_GATEWAY", str(gw) if gw is not None else None),
        ("RTA_PRIORITY", priority or None),
    )
    fields.update(family=network.address.family, dst_len=network.length, table=table if table < 256 else _TABLE_COMPAT)
    return pyroute.message(pyroute.load("pyroute2.netlink.rtnl.rtmsg").rtmsg, attributes, **fields)


def every(rtnl: "Rtnl", family: int, index: int = 0, most: int = 0) -> list[LinkRoute]:
    """Every route of a family in all tables; with ``index``, the kernel reports only those of this link (Linux 4.20).

    With ``most``, only the first ones (``Netlink.first``).
    """
    message = _message(index, ANY[6 if family == AF_INET6 else 4])
    found = []
    answers = rtnl.first(message, _GETROUTE, most) if most else rtnl.request(message, _GETROUTE, F_DUMP)
    for answer in answers:
        route = answer.decode(type(message))
        if route["family"] in (AF_INET, AF_INET6):
            found += [LinkRoute(route, hop) for hop in route.get_attr("RTA_MULTIPATH") or (route,)]
    return found


def every_of_both(rtnl: "Rtnl") -> list[LinkRoute]:
    """Every route to other hosts of both families in all tables, those without a gateway first."""
    found = [route for family in (AF_INET, AF_INET6) for route in every(rtnl, family)]
    return sorted((route for route in found if route.kind == RTN_UNICAST), key=lambda route: route.gw is not None)


def to(rtnl: "Rtnl", address: Address) -> LinkRoute | None:
    """The route that the kernel takes to an address, or None; its kind is ``RTN_LOCAL`` for the node's own addresses."""
    message = _message(0, Prefix(address, address.bits))
    for answer in rtnl.request(message, _GETROUTE, absent=(ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL)):
        route = answer.decode(type(message))
        return LinkRoute(route, route)
    return None


def local_prefixes(rtnl: "Rtnl", version: int) -> list[Prefix]:
    """The node's own addresses of a family, and networks such as 127.0.0.0/8, from the local routing table.

    Decoded by hand, because a node may have hundreds, and pyroute2 takes 0.03 ms for each.
    """
    family = AF_INET if version == 4 else AF_INET6
    message = _HEADER.pack(family, 0, 0, 0, TABLE_LOCAL, 0, 0, RTN_LOCAL, 0) + integer(_TABLE, TABLE_LOCAL)
    found = []
    # without a table there are no addresses
    for answer in rtnl.request(message, _GETROUTE, F_DUMP, absent=(ENOENT,)):
        # before Linux 4.20 the kernel sends all routes
        where, length, _, _, _, _, _, kind, _ = _HEADER.unpack_from(answer.data, 16)
        named = dict(attributes(answer.data, 16 + _HEADER.size))
        if (answer.kind, where, kind, number(named.get(_TABLE))) == (_NEWROUTE, family, RTN_LOCAL, TABLE_LOCAL):
            found.append(Prefix(Address(named.get(_DST, bytes(4 if version == 4 else 16))), length))
    return found
