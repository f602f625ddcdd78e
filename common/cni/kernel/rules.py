"""Policy routing rules (ip-rule(8), linux/fib_rules.h): which routing table decides about which packets."""

import struct
from _socket import AF_INET, AF_INET6
from errno import ENOENT

from cni.address import ANY, Address, Prefix
from cni.kernel.netlink import F_CREATE, F_DUMP, F_EXCL, Answer, KernelError, attribute, integer, number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
# family, lengths of destination and source, type of service, table, two reserved bytes, action, flags
_HEADER = struct.Struct("=BBBBBxxBI")
_DST, _SRC, _IIF, _PRIORITY, _MARK, _TABLE, _MASK, _OIF, _L3MDEV = 1, 2, 3, 6, 10, 15, 16, 17, 19
TO_TABLE = 1
# what the header says where the table's number does not fit into a byte
_TABLE_COMPAT = 252
_FAMILIES = {4: int(AF_INET), 6: int(AF_INET6)}


class Rule:
    """Packets from ``src`` to ``dst`` are routed by ``table``. Two are equal if all is equal, priorities included.

    Of rules that others made there are more: ``iif`` and ``oif`` are the links that a packet came by and would leave
    by, ``mark`` and ``mask`` are for its mark, ``l3mdev`` is the kernel's rule for all VRFs, ``action`` may be another
    than a table, and ``flags`` may invert the rule.
    """

    __slots__ = ("action", "dst", "flags", "iif", "l3mdev", "mark", "mask", "oif", "priority", "src", "table", "tos")

    def __init__(self, table: int, src: Prefix, dst: Prefix | None = None, priority: int | None = None) -> None:
        """Without a priority the kernel gives one: it is one less than that of the second rule of the list."""
        self.table = table
        self.src = src
        self.dst = dst or ANY[src.version]
        self.priority = priority
        self.iif = self.oif = ""
        self.mark = self.mask = self.tos = self.flags = 0
        self.l3mdev = False
        self.action = TO_TABLE

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.src.version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rule) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((self.table, self.src, self.dst, self.priority))

    def __repr__(self) -> str:
        return f"Rule({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


def every(rtnl: "Rtnl", version: int) -> list[Rule]:
    """Every rule of a family, in the order in which the kernel asks them."""
    answers = rtnl.request(_HEADER.pack(_FAMILIES[version], 0, 0, 0, 0, 0, 0), _GETRULE, F_DUMP)
    return [_read(answer, version) for answer in answers if answer.data[16] == _FAMILIES[version]]


def add(rtnl: "Rtnl", rule: Rule) -> None:
    """Add a rule; an equal one raises ``KernelError`` with EEXIST."""
    rtnl.request(_message(rule), _NEWRULE, F_CREATE | F_EXCL)


def delete(rtnl: "Rtnl", rule: Rule) -> None:
    """Remove a rule; that it is gone is success. Of one without a priority the first that fits goes."""
    try:
        rtnl.request(_message(rule), _DELRULE)
    except KernelError as error:
        if error.errno != ENOENT:
            raise


def _message(rule: Rule) -> bytes:
    src, dst = rule.src.network, rule.dst.network
    short = rule.table if rule.table < 256 else _TABLE_COMPAT
    message = _HEADER.pack(src.address.family, dst.length, src.length, rule.tos, short, rule.action, rule.flags)
    message += integer(_TABLE, rule.table)
    for kind, prefix in ((_SRC, src), (_DST, dst)):
        if prefix.length:
            message += attribute(kind, prefix.address.packed)
    for kind, name in ((_IIF, rule.iif), (_OIF, rule.oif)):
        if name:
            message += attribute(kind, name.encode() + b"\0")
    if rule.mark or rule.mask:
        message += integer(_MARK, rule.mark) + integer(_MASK, rule.mask)
    if rule.l3mdev:
        message += integer(_L3MDEV, 1, 1)
    if rule.priority is not None:
        message += integer(_PRIORITY, rule.priority)
    return message


def _read(answer: Answer, version: int) -> Rule:
    _, dst_length, src_length, tos, table, action, flags = _HEADER.unpack_from(answer.data, 16)
    found = dict(answer.attributes(16 + _HEADER.size))
    nowhere = ANY[version].address.packed
    src = Prefix(Address(found.get(_SRC, nowhere)), src_length)
    dst = Prefix(Address(found.get(_DST, nowhere)), dst_length)
    rule = Rule(number(found.get(_TABLE)) or table, src, dst, number(found.get(_PRIORITY)))
    rule.iif, rule.oif = text(found.get(_IIF)), text(found.get(_OIF))
    rule.mark, rule.mask = number(found.get(_MARK)), number(found.get(_MASK))
    rule.l3mdev = bool(number(found.get(_L3MDEV)))
    rule.tos, rule.action, rule.flags = tos, action, flags
    return rule
