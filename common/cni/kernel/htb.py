"""A limit for a part of what a link sends (tc-htb(8)): classes that filters choose by the address of the other side.

One class is limited. All other packets are sent at once (the kernel's direct queue). Handles and priorities are those of
Go's bandwidth 1.5.
"""

import struct
from _socket import htons

from cni.address import Address, Prefix
from cni.kernel.netlink import F_DUMP, F_NEW, number
from cni.kernel.tc import (
    CLASS,
    ETHERNET,
    FIRST,
    GETTFILTER,
    KEYS,
    MAX,
    NEWQDISC,
    NEWTFILTER,
    ROOT,
    SELECT,
    Found,
    Tbf,
    delete_queue,
    message,
    queue_at,
    request,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.kernel.rtnl import Rtnl

_NEWTCLASS, _GETTCLASS = 40, 42
# the limited class
_LIMITED = FIRST | 0x30
_VERSION, _TO_QUANTUM, _QUANTUM = 3, 10, 1 << 14
# how many packets of the direct queue wait
_DIRECT_MAX = 1000
# pyroute2 writes a queue's length as a signed number
_LENGTH_MAX = MAX >> 1
# Of each family: the filter's priority and protocol, and the offsets of the source and the destination.
_FAMILIES = {4: (16, 0x0800, 12, 16), 6: (15, 0x86DD, 8, 24)}
# A filter's key: mask, value and offset.
_KEY = struct.Struct("=4s4si4x")
# The class of the other packets (struct tc_htb_glob), and the numbers of a class (struct tc_htb_opt).
_GLOB, _CLASS = struct.Struct("=8xI"), struct.Struct("=8xI12xI")
_PARMS, _INIT, _RATE64 = 1, 2, 6
# The number of keys in a selector.
_NUMBER = 2


class Htb(Tbf):
    """A token bucket for packets from or to some subnets, or for all others."""

    __slots__ = ("by_source", "rest", "subnets")

    def __init__(self, tbf: Tbf, subnets: "Iterable[Prefix]", rest: bool, by_source: bool) -> None:
        """``rest``: the packets of the subnets are not limited, and all others are.

        ``by_source``: the subnets are of the packets' sources, and not of their destinations.
        """
        self.rate, self.limit, self.buffer = tbf.rate, min(tbf.limit, _LENGTH_MAX), tbf.buffer
        self.subnets = {subnet.network for subnet in subnets}
        self.rest = rest
        self.by_source = by_source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Htb) and super().__eq__(other) and self.part == other.part

    def __hash__(self) -> int:
        return super().__hash__()

    @property
    def part(self) -> str:
        """The packets that it is for, in words."""
        subnets = ", ".join(sorted(map(str, self.subnets)))
        return (
            f"packets {'not ' if self.rest else ''}{'from' if self.by_source else 'to'} {subnets}"
            if subnets
            else "none"
        )

    def make(self, rtnl: "Rtnl", index: int) -> None:
        """Make the queue, its class, the class's queue and the filters, or nothing; raises ``KernelError``."""
        whole = {"version": _VERSION, "rate2quantum": _TO_QUANTUM, "defcls": _LIMITED & 0xFFFF if self.rest else 0}
        options = [("TCA_HTB_INIT", whole), ("TCA_HTB_DIRECT_QLEN", _DIRECT_MAX)]
        rtnl.request(message("htb", options, index=index, handle=FIRST, parent=ROOT), NEWQDISC, F_NEW)
        try:
            _add_class(rtnl, index, self)
            for subnet in self.subnets:
                _add_filter(rtnl, index, subnet, self)
        except BaseException:
            delete_queue(rtnl, index)
            raise


def _add_class(rtnl: "Rtnl", index: int, limit: Htb) -> None:
    rate = {"rate": min(limit.rate, MAX), "rate___reserved": ETHERNET, "buffer": limit.buffer}
    ceil = {"ceil": rate["rate"], "ceil___reserved": ETHERNET, "cbuffer": limit.buffer}
    more = limit.rate if limit.rate > MAX else None
    options = [
        ("TCA_HTB_PARMS", {**rate, **ceil, "quantum": _QUANTUM}), ("TCA_HTB_RATE64", more), ("TCA_HTB_CEIL64", more),
    ]  # fmt: skip
    rtnl.request(message("htb", options, index=index, handle=_LIMITED, parent=FIRST), _NEWTCLASS, F_NEW)
    rtnl.request(message("bfifo", {"limit": limit.limit}, index=index, parent=_LIMITED), NEWQDISC, F_NEW)


def _add_filter(rtnl: "Rtnl", index: int, subnet: Prefix, limit: Htb) -> None:
    priority, protocol, source, destination = _FAMILIES[subnet.version]
    options = [
        ("TCA_U32_CLASSID", FIRST if limit.rest else _LIMITED),
        ("TCA_U32_SEL", {"keys": _keys(subnet, source if limit.by_source else destination)}),
    ]
    info = priority << 16 | htons(protocol)
    rtnl.request(message("u32", options, index=index, parent=FIRST, info=info), NEWTFILTER, F_NEW)


def _keys(subnet: Prefix, offset: int) -> list[str]:
    """The keys of a filter, in pyroute2's form: one for each word of the address that has bits of the prefix."""
    found, left = [], subnet.length
    for place in range(max(1, (subnet.length + 31) // 32)):
        bits = min(left, 32)
        value = int.from_bytes(subnet.address.packed[4 * place : 4 * place + 4], "big")
        found.append(f"{value}/{(MAX << 32 - bits) & MAX}+{offset + 4 * place}")
        left -= bits
    return found


def read(rtnl: "Rtnl", index: int) -> Htb | None:
    """The limit of a link whose queue is htb; None if it has no limited class."""
    (default,) = _GLOB.unpack_from(queue_at(rtnl, index, ROOT).options[_INIT])
    for answer in rtnl.request(request(index), _GETTCLASS, F_DUMP):
        found = Found(answer)
        if found.handle == _LIMITED:
            rate, buffer = _CLASS.unpack_from(found.options[_PARMS])
            leaf = queue_at(rtnl, index, _LIMITED)
            tbf = Tbf(number(found.options.get(_RATE64)) or rate, 0, number(leaf.data) if leaf.kind == "bfifo" else 0)
            tbf.buffer = buffer
            rest = default == _LIMITED & 0xFFFF
            filters = set(_filters(rtnl, index, FIRST if rest else _LIMITED))
            return Htb(tbf, {subnet for subnet, _ in filters}, rest, any(source for _, source in filters))
    return None


def _filters(rtnl: "Rtnl", index: int, to: int) -> "Iterable[tuple[Prefix, bool]]":
    """The subnets of the filters that lead to a class, and whether they are compared with the source."""
    for answer in rtnl.request(request(index, FIRST), GETTFILTER, F_DUMP):
        options = Found(answer).options
        select = options.get(SELECT, b"")
        if not select or number(options.get(CLASS)) != to:
            continue
        packed, length, first = b"", 0, 0
        for mask, value, offset in _KEY.iter_unpack(select[KEYS : KEYS + select[_NUMBER] * _KEY.size]):
            packed, length = packed + value, length + int.from_bytes(mask, "big").bit_count()
            first = first or offset
        for version, (_, _, source, destination) in _FAMILIES.items():
            if first in (source, destination):
                yield Prefix(Address(packed.ljust(4 if version == 4 else 16, b"\0")), length), first == source
