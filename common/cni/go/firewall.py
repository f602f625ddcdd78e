"""Rules of Go's firewall in iptables' table ``filter``: described, made, compared and removed.

::

    -A FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j CNI-ISOLATION-STAGE-1
    -A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
    -A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
    -A CNI-FORWARD -d 10.1.2.5/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A CNI-FORWARD -s 10.1.2.5/32 -j ACCEPT
    -A CNI-ISOLATION-STAGE-1 -i br0 -o br0 … -j DROP                         (isolated only)
    -A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 … -j CNI-ISOLATION-STAGE-2
    -A CNI-ISOLATION-STAGE-1 … -j RETURN
    -A CNI-ISOLATION-STAGE-2 -o br0 … -j DROP
    -A CNI-ISOLATION-STAGE-2 … -j RETURN

A rule names no owner: it is found by its address, or by its bridge. Comments of versions before 1.7 differ, so two
rules are equal if everything but their comments is.
"""

from cni.address import Address
from cni.errors import CNIError
from cni.go import chains
from cni.go.names import FIREWALL, FIREWALL_COMMENT, FORWARD, STAGES, may_exist
from cni.kernel import compat, iptables
from cni.kernel import filter_rules as rules
from cni.kernel.expressions import printed
from cni.kernel.rulespec import meaning
from cni.plan import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Protocol

    from cni.go.chains import Table
    from cni.go.rules import Rule
    from cni.kernel.expressions import Expression
    from cni.kernel.nftables import Nftables

    Meaning = frozenset[tuple[str, str]]

    class Others(Protocol):
        """The other attachments of the node."""

        def have(self, address: Address) -> bool:
            """Whether one of them has the address."""

        def use(self, bridge: str) -> bool:
            """Whether the policy of a bridge must stay."""


TABLE = "filter"
_STAGE_1, _STAGE_2 = STAGES
_RULES = f"{FIREWALL_COMMENT}rules"
_OVERRIDES = f"{FIREWALL_COMMENT}admin overrides"
_POLICIES = f"{_RULES} (ingressPolicy: same-bridge|isolated)"
# the text in every rule but those of addresses
_BYTES = FIREWALL_COMMENT.encode()


class Line:
    """A rule that should be: its chain, whether it is inserted at the beginning, and its parts."""

    __slots__ = ("chain", "first", "key", "parts")

    def __init__(
        self, chain: str, *conditions: "Expression", then: "Expression", first: bool = False, key: bytes = b""
    ) -> None:
        """``key`` are bytes that the rule's message holds; by default those of its comment."""
        self.chain = chain
        self.first = first
        self.parts = [*conditions, compat.COUNTER, then]
        self.key = key or _BYTES

    @property
    def meaning(self) -> "Meaning":
        """The rule without its comment."""
        return _essence(meaning(str(self)))

    def __str__(self) -> str:
        return f"-A {self.chain} {printed(self.parts)}"


def _essence(options: "Meaning") -> "Meaning":
    return frozenset(option for option in options if option[0] != "--comment")


# the rules (pure)


def entrances(admin: str) -> list[Line]:
    """The jumps to CNI-FORWARD, and from there to the administrator's chain."""
    return [
        Line(FORWARD, compat.comment(_RULES), then=rules.jump(FIREWALL), first=True),
        Line(FIREWALL, compat.comment(_OVERRIDES), then=rules.jump(admin), first=True),
    ]


def accepting(address: Address) -> list[Line]:
    """The rules for an address: replies to it, and everything from it."""
    to, key = rules.destination(address), address.packed
    return [
        Line(FIREWALL, to, rules.CONNECTED, then=rules.ACCEPT, key=key),
        Line(FIREWALL, rules.source(address), then=rules.ACCEPT, key=key),
    ]


def shutting(bridge: str, policy: str) -> list[Line]:
    """The rules of an ingress policy for a bridge."""
    common, own = compat.comment(_POLICIES), compat.comment(f"{_RULES} (ingressPolicy: {policy})")
    at, out, away = rules.incoming(bridge), rules.outgoing(bridge), rules.outgoing(bridge, same=False)
    inside = [Line(_STAGE_1, at, out, own, then=rules.DROP, first=True)] if policy == "isolated" else []
    return [
        Line(FORWARD, common, then=rules.jump(_STAGE_1), first=True),
        Line(_STAGE_1, at, away, own, then=rules.jump(_STAGE_2), first=True),
        *inside,
        Line(_STAGE_1, common, then=rules.RETURN),
        Line(_STAGE_2, out, common, then=rules.DROP, first=True),
        Line(_STAGE_2, common, then=rules.RETURN),
    ]


def of_pod(addresses: "Iterable[Address]", admin: str, bridge: str, policy: str) -> "dict[int, list[Line]]":
    """All rules of a pod by family; a family without addresses has none. Without ``admin``, only those of the policy."""
    found: dict[int, list[Line]] = {}
    for address in addresses:
        lines = found.setdefault(address.version, entrances(admin) if admin else [])
        lines += accepting(address) if admin else []
    for lines in found.values():
        lines += shutting(bridge, policy) if bridge else []
    return found


# the table


class Filter:
    """``filter`` of one family: what is missing there, and its change."""

    def __init__(self, table: "Table", lines: "Sequence[Line]", chains: "Sequence[str]" = ()) -> None:
        """``chains`` must exist even if they have none of these rules."""
        self._table = table
        self._lines = lines
        self._chains = [*dict.fromkeys([*chains, *(line.chain for line in lines)])]

    def _existing(self, new: bool = False) -> "dict[str, list[Rule]]":
        """The rules by chain that are like the wanted ones; no entry for a missing chain.

        With ``new``, only the beginning of CNI-FORWARD is read, where the administrators' jumps are: it has two rules for
        each address of the node.
        """
        keys: dict[str, list[bytes]] = {}
        for line in self._lines:
            keys.setdefault(line.chain, []).append(line.key)
        found = {}
        for chain in self._chains:
            if self._table.has(chain):
                if new and chain == FIREWALL:
                    found[chain] = [*self._table.first(chain, _BYTES)]
                    continue
                found[chain] = [*self._table.some(chain, [*dict.fromkeys(keys[chain])])[0]] if chain in keys else []
        return found

    def make(self, new: bool = False) -> None:
        """Make what is missing, in one change. With ``new``, the rules of addresses are known to be missing."""
        self._table.change(lambda: self._make(new), "forwarding")

    def _make(self, new: bool) -> None:
        existing = self._existing(new)
        for chain in self._chains:
            if chain not in existing:
                self._table.make(chain)
        for line in missing(self._lines, existing):
            self._table.add(line.chain, line.parts, line.first)
        self._put_policy_first(existing.get(FORWARD, []))

    def _put_policy_first(self, jumps: "Sequence[Rule]") -> None:
        """An accept before the policy would win over it, so its jump is made again in front if another comes before."""
        targets = [jump.target for jump in jumps]
        if _STAGE_1 not in targets:
            return  # it is missing, or inserted last
        if FIREWALL in targets and targets.index(_STAGE_1) < targets.index(FIREWALL):
            return
        if FIREWALL not in targets and all(line.chain != FORWARD or _jumps(line, _STAGE_1) for line in self._lines):
            return
        for jump in jumps:
            if jump.target == _STAGE_1:
                self._table.delete(jump)
        again = shutting("any", "same-bridge")[0]
        self._table.add(again.chain, again.parts, first=True)

    def faults(self) -> "Iterator[str]":
        """What is missing, or in the wrong order; in Go's words."""
        existing = self._existing()
        for line in missing(self._lines, existing):
            if line.chain in (FORWARD, FIREWALL) and line.key == _BYTES:
                yield f"expected {line.chain} rule [{line}] not found"
            else:
                yield f"expected rule [{line}] not found"
        targets = [jump.target for jump in existing.get(FORWARD, [])]
        closed = any(_jumps(line, _STAGE_1) for line in self._lines) and {_STAGE_1, FIREWALL} <= {*targets}
        if closed and targets.index(FIREWALL) < targets.index(_STAGE_1):
            yield f"chain FORWARD comes to {FIREWALL} before {_STAGE_1}, so the ingress policy has no effect"


def _jumps(line: Line, chain: str) -> bool:
    return line.chain == FORWARD and ("-j", chain) in line.meaning


def missing(lines: "Iterable[Line]", existing: "dict[str, list[Rule]]") -> list[Line]:
    """The rules that do not exist."""
    known = {chain: {_essence(rule.meaning) for rule in found} for chain, found in existing.items()}
    return [line for line in lines if line.meaning not in known.get(line.chain, ())]


_CHAINS = (FORWARD, FIREWALL, *STAGES)


def make(kernel: "Nftables", wanted: "dict[int, list[Line]]", admin: str, new: bool = False) -> None:
    """Make the rules with the node's iptables; ``new`` as in ``Filter.make``. Raises ``CNIError``."""

    def work() -> None:
        # both programs are looked for before anything is changed
        tables = chains.to_make(kernel, wanted, TABLE, [*_CHAINS, admin])
        for version, lines in wanted.items():
            Filter(tables[version], lines, [admin] if admin else []).make(new)

    _alone(work, kernel.absent or not all(iptables.is_nft(iptables.PROGRAMS[version]) for version in wanted))


def faults(kernel: "Nftables", wanted: "dict[int, list[Line]]") -> "Iterator[str]":
    """What is missing in every table of iptables, by the first one that has any of Go's chains."""
    for version, lines in wanted.items():
        found = [
            [*Filter(table, lines).faults()]
            for table in chains.tables(kernel, *_CHAINS, versions=[version], table=TABLE)
        ]
        if all(found):
            word = iptables.PROGRAMS[version]
            yield from (f"{word}: {fault}" for fault in min(found, key=len))


# removal


def remove(kernel: "Nftables", addresses: "Iterable[Address]", others: "Others", more: "Sequence[Line]" = ()) -> None:
    """Remove the rules of addresses, policies of bridges that are not in use, and common chains that are empty then.

    ``more`` are further rules to remove. Errors are raised together.
    """
    if not may_exist(kernel, FIREWALL, _STAGE_1, table=TABLE):
        return
    lines = [*more, *(line for address in addresses for line in accepting(address))]

    def work() -> None:
        found = chains.tables(kernel, *_CHAINS, table=TABLE)
        chains.each(found, lambda table: _remove(table, lines, others))

    _alone(work, any(iptables.legacy(version, TABLE) for version in iptables.FAMILIES), make=False)


def _alone(work: "Callable[[], None]", needed: bool, make: bool = True) -> None:
    """Run it, under the lock if iptables' programs are run: over netlink, a change that was disturbed is repeated."""
    if not needed:
        work()
        return
    with iptables.lock(make):
        work()


def _remove(table: "Table", lines: "Sequence[Line]", others: "Others") -> None:
    bare: list[str] = []

    def plan() -> None:
        gone = [bridge for bridge in _bridges(table) if not others.use(bridge)]
        shut = [line for bridge in gone for line in shutting(bridge, "isolated") if _has_link(line.meaning)]
        bare[:] = [*_take_out(table, [FIREWALL], lines, others.have), *_take_out(table, STAGES, shut)]

    table.change(plan, "forwarding")
    for names in ([FIREWALL], [*STAGES]):
        if names[0] in bare:
            _drop(table, names)


def _take_out(
    table: "Table",
    names: "Sequence[str]",
    lines: "Sequence[Line]",
    others_have: "Callable[[Address], bool]" = lambda address: False,
) -> "Sequence[str]":
    """Within ``change``: delete rules of chains; returns the chains if only common rules remain there.

    If two attachments have an address, each has rules for it: then only those of one are deleted.
    """
    if not lines:
        return ()
    keys = [*dict.fromkeys(line.key for line in lines), _BYTES]
    parts = [table.some(name, keys) for name in names]
    rules = [rule for found, _ in parts for rule in found]
    deleted: list[Rule] = []
    for line in lines:
        equal = [rule for rule in rules if _essence(rule.meaning) == line.meaning and rule.chain == line.chain]
        deleted += equal[:1] if len(equal) > 1 and others_have(Address(line.key)) else equal
    for rule in deleted:
        table.delete(rule)
    kept = len(rules) - len(deleted) + sum(beside for _, beside in parts)
    return names if kept == sum(map(_is_common, rules)) else ()


def _is_common(rule: "Rule") -> bool:
    """Whether the rule is one that chains of Go's plugin have without any container."""
    return rule.comment == _OVERRIDES if rule.chain == FIREWALL else not _has_link(rule.meaning)


def _drop(table: "Table", names: "Sequence[str]") -> None:
    """Delete chains that have only common rules, and the jumps to them; then an administrator's chain that is empty."""
    admins: list[str] = []

    def plan() -> None:
        existing = [name for name in names if table.has(name)]
        rules = [rule for name in existing for rule in table.rules(name)]
        if all(map(_is_common, rules)):
            admins[:] = [rule.target for rule in rules if rule.chain == FIREWALL]
            chains.drop(table, existing, [FORWARD])

    def drop_admins() -> None:
        for admin in dict.fromkeys(admins):
            if table.has(admin) and not table.rules(admin):
                table.drop(admin)

    for step in (plan, drop_admins):
        try:
            table.change(step, "forwarding")
        except CNIError:
            return  # a rule of somebody else jumps there


def _bridges(table: "Table") -> list[str]:
    """The bridges with a policy."""
    return [name for rule in table.rules(_STAGE_2) for option, name in rule.meaning if option == "-o"]


def _has_link(meaning: "Meaning") -> bool:
    return any(name.lstrip("!") in ("-i", "-o") for name, _ in meaning)


# for the inventory


def listed(kernel: "Nftables") -> list[Found]:
    """The addresses that have rules, and the bridges with a policy."""
    found: dict[str, Found] = {}
    for table in chains.tables(kernel, *_CHAINS, table=TABLE):
        for rule in table.rules(FIREWALL):
            for packed in rule.addresses:
                address = str(Address(packed))
                found.setdefault(address, Found(address, "", table=table.where, chain=FIREWALL))
        for bridge in _bridges(table):
            found.setdefault(bridge, Found(bridge, "", table=table.where, chain=_STAGE_1))
    return [*found.values()]
