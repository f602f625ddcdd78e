"""Policy routing rules (ip-rule(8), linux/fib_rules.h), which choose the routing table for a packet."""

from _socket import AF_INET, AF_INET6
from errno import ENOENT

from cni.address import ANY, Address, Prefix
from cni.kernel import pyroute
from cni.kernel.netlink import F_DUMP, F_NEW
from cni.settings import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_NAMED = {
    "FRA_TABLE": "table", "FRA_PRIORITY": "priority", "FRA_IIFNAME": "iif", "FRA_OIFNAME": "oif", "FRA_FWMARK": "mark",
    "FRA_FWMASK": "mask", "FRA_L3MDEV": "l3mdev", "FRA_PROTOCOL": "protocol",
}  # fmt: skip
REMEDY = "the kernel of this node has no routing rules (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES)"
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
TO_TABLE = 1
# in the header, if the table's number does not fit into a byte
_TABLE_COMPAT = 252
_FAMILIES = {4: int(AF_INET), 6: int(AF_INET6)}


class Rule(Value):
    """Packets from ``src`` to ``dst`` are routed by ``table``. Two rules are equal if all values are.

    Rules of others may have more values: ``iif`` and ``oif`` are a packet's incoming and outgoing links, ``mark`` and
    ``mask`` compare its mark, ``l3mdev`` is the kernel's rule for all VRFs, ``action`` may be something other than a
    table, and ``flags`` may invert the rule. ``protocol`` says who made it (Linux 4.17), 0: unknown.
    """

    __slots__ = (
        "action", "dst", "flags", "iif", "l3mdev", "mark", "mask", "oif", "priority", "protocol", "src", "table", "tos"
    )  # fmt: skip

    def __init__(
        self, table: int, src: Prefix, dst: Prefix | None = None, priority: int | None = None, protocol: int = 0
    ) -> None:
        """Without a priority, the kernel takes one less than that of the second rule in the list."""
        self.table = table
        self.src = src
        self.dst = dst or ANY[src.version]
        self.priority = priority
        self.protocol = protocol
        self.iif = self.oif = ""
        self.mark = self.mask = self.tos = self.flags = 0
        self.l3mdev = False
        self.action = TO_TABLE

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.src.version

    @property
    def by_source(self) -> bool:
        """Whether it looks at nothing but the source, and names a table."""
        others = (self.iif, self.oif, self.mark, self.mask, self.tos, self.flags, self.l3mdev, self.dst.length)
        return self.action == TO_TABLE and not any(others)


def check(rtnl: "Rtnl") -> None:
    """Raise ``KernelError`` if the kernel has no routing rules; without pyroute2, for STATUS."""
    rtnl.request(bytes([_FAMILIES[4], *bytes(11)]), _GETRULE, F_DUMP)


def every(rtnl: "Rtnl", version: int) -> list[Rule]:
    """Every rule of a family, in the order in which the kernel applies them."""
    message = _message((), family=_FAMILIES[version])
    found = [answer.decode(type(message)) for answer in rtnl.request(message, _GETRULE, F_DUMP)]
    return [_read(rule, version) for rule in found if rule["family"] == _FAMILIES[version]]


def add(rtnl: "Rtnl", rule: Rule) -> None:
    """Add a rule; raises ``KernelError`` with EEXIST if an equal rule exists."""
    rtnl.request(_written(rule), _NEWRULE, F_NEW)


def delete(rtnl: "Rtnl", rule: Rule) -> None:
    """Remove a rule, if it exists; without a priority, the first matching rule."""
    rtnl.request(_written(rule), _DELRULE, absent=(ENOENT,))


def _message(attributes: "pyroute.Attributes", **fields: int) -> "pyroute.Message":
    return pyroute.message(pyroute.load("pyroute2.netlink.rtnl.fibmsg").fibmsg, attributes, **fields)


def _written(rule: Rule) -> "pyroute.Message":
    src, dst = rule.src.network, rule.dst.network
    values = {field: getattr(rule, field) or None for field in _NAMED.values()}
    values.update(priority=rule.priority, mask=rule.mask if rule.mask or rule.mark else None)
    attributes = [
        ("FRA_SRC", str(src.address) if src.length else None),
        ("FRA_DST", str(dst.address) if dst.length else None),
        *((name, values[field]) for name, field in _NAMED.items()),
    ]
    fields = {"tos": rule.tos, "action": rule.action, "flags": rule.flags, "family": src.address.family}
    fields.update(src_len=src.length, dst_len=dst.length, table=rule.table if rule.table < 256 else _TABLE_COMPAT)
    return _message(attributes, **fields)


def _read(message: "pyroute.Message", version: int) -> Rule:
    get, unspecified = message.get_attr, str(ANY[version].address)
    src = Prefix(Address.parse(get("FRA_SRC") or unspecified), message["src_len"])
    dst = Prefix(Address.parse(get("FRA_DST") or unspecified), message["dst_len"])
    rule = Rule(message["table"], src, dst, 0)
    for name, field in _NAMED.items():
        setattr(rule, field, get(name) or getattr(rule, field))
    rule.l3mdev = bool(rule.l3mdev)
    rule.tos, rule.action, rule.flags = message["tos"], message["action"], message["flags"]
    return rule
