"""Routes (rtnetlink(7), linux/rtnetlink.h)."""

import struct
from _socket import AF_INET, AF_INET6
from errno import EACCES, EHOSTUNREACH, EINVAL, ENETUNREACH, ENOENT

from cni.address import Address, Prefix
from cni.kernel.netlink import F_CREATE, F_DUMP, Answer, KernelError, attribute, attributes, integer, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_NEWROUTE, _GETROUTE = 24, 26
# family, lengths of destination and source, type of service, table, protocol, scope, type, flags
_HEADER = struct.Struct("=BBBBBBBBI")
_DST, _OIF, _GATEWAY, _PRIORITY, _METRICS, _MULTIPATH, _TABLE = 1, 4, 5, 6, 8, 9, 15
_METRIC_MTU, _METRIC_ADVMSS = 2, 8
_HOP = struct.Struct("=HBBi")
SCOPE_UNIVERSE, SCOPE_LINK = 0, 253
TABLE_MAIN, _TABLE_LOCAL = 254, 255
# what the header says where the table's number does not fit into a byte
_TABLE_COMPAT = 252
_PROTO_BOOT, _RTN_UNICAST, RTN_LOCAL = 3, 1, 2


class LinkRoute:
    """A route as the kernel has it; a multipath route comes as one object a hop."""

    __slots__ = ("advmss", "dst", "gw", "index", "kind", "mtu", "priority", "protocol", "scope", "table")

    def __init__(self, answer: Answer, hop: "tuple[int, bytes | None] | None" = None) -> None:
        """``hop`` is the index and the gateway of one hop of several."""
        family, length, _, _, table, self.protocol, self.scope, self.kind, _ = _HEADER.unpack_from(answer.data, 16)
        found = dict(answer.attributes(16 + _HEADER.size))
        index, gateway = hop or (number(found.get(_OIF)), found.get(_GATEWAY))
        self.dst = Prefix(Address(found.get(_DST) or bytes(4 if family == AF_INET else 16)), length)
        self.gw = Address(gateway) if gateway else None
        self.index = index
        self.priority = number(found.get(_PRIORITY))
        self.table: int = number(found.get(_TABLE)) or table
        metrics = dict(attributes(found.get(_METRICS, b"")))
        self.mtu = number(metrics.get(_METRIC_MTU))
        self.advmss = number(metrics.get(_METRIC_ADVMSS))


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
) -> None:
    """Add a route through a link; an equal one raises ``KernelError`` with EEXIST, another hop is added beside."""
    network = dst.network
    short = table if table < 256 else _TABLE_COMPAT
    message = _HEADER.pack(dst.address.family, network.length, 0, 0, short, _PROTO_BOOT, scope, _RTN_UNICAST, 0)
    message += integer(_TABLE, table) + integer(_OIF, index)
    if network.length:
        message += attribute(_DST, network.address.packed)
    if gw is not None:
        message += attribute(_GATEWAY, gw.packed)
    if priority:
        message += integer(_PRIORITY, priority)
    metrics = [integer(kind, value) for kind, value in ((_METRIC_MTU, mtu), (_METRIC_ADVMSS, advmss)) if value]
    if metrics:
        message += attribute(_METRICS, b"".join(metrics))
    rtnl.request(message, _NEWROUTE, F_CREATE)


def every(rtnl: "Rtnl", family: int) -> list[LinkRoute]:
    """Every route of a family in all tables; for CHECK, inside a container."""
    answers = rtnl.request(_HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), _GETROUTE, F_DUMP)
    return [route for answer in answers if answer.data[16] in (AF_INET, AF_INET6) for route in _routes(answer)]


def _routes(answer: Answer) -> list[LinkRoute]:
    """One route a hop."""
    hops = dict(answer.attributes(16 + _HEADER.size)).get(_MULTIPATH, b"")
    found, offset = [], 0
    while offset + _HOP.size <= len(hops):
        length, _, _, index = _HOP.unpack_from(hops, offset)
        gateway = dict(attributes(hops[offset : offset + length], _HOP.size)).get(_GATEWAY)
        found.append(LinkRoute(answer, (index, gateway)))
        offset += max(length, _HOP.size) + 3 & ~3
    return found or [LinkRoute(answer)]


def to(rtnl: "Rtnl", address: Address) -> LinkRoute | None:
    """The route that the kernel takes to an address, None if there is none; its kind is 2 for one of the node's own."""
    message = _HEADER.pack(address.family, address.bits, 0, 0, 0, 0, 0, 0, 0) + attribute(_DST, address.packed)
    try:
        answers = rtnl.request(message, _GETROUTE)
    except KernelError as error:
        if error.errno in (ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL):
            return None
        raise
    return LinkRoute(answers[0]) if answers else None


def local_prefixes(rtnl: "Rtnl", version: int) -> list[Prefix]:
    """What is the node's own, as the local table has it: addresses of a family, and networks such as 127.0.0.0/8."""
    family = AF_INET if version == 4 else AF_INET6
    message = _HEADER.pack(family, 0, 0, 0, _TABLE_LOCAL, 0, 0, RTN_LOCAL, 0) + integer(_TABLE, _TABLE_LOCAL)
    try:
        answers = rtnl.request(message, _GETROUTE, F_DUMP)
    except KernelError as error:
        if error.errno == ENOENT:  # no such table: no address either
            return []
        raise
    return [prefix for answer in answers if (prefix := _local_prefix(answer, family)) is not None]


def _local_prefix(answer: Answer, family: int) -> Prefix | None:
    """The destination of a route of a dump if it is a local one; a kernel before Linux 4.20 sends others beside."""
    found, length, _, _, _, _, _, kind, _ = _HEADER.unpack_from(answer.data, 16)
    if (answer.kind, found, kind) != (_NEWROUTE, family, RTN_LOCAL):
        return None
    named = dict(answer.attributes(16 + _HEADER.size))
    if number(named.get(_TABLE)) != _TABLE_LOCAL:
        return None
    return Prefix(Address(named.get(_DST, bytes(4 if family == AF_INET else 16))), length)
