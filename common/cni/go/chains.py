"""iptables' tables, and a container's chain in nat, which several attachments may share.

A chain's name is a hash of network and container id, concatenated, without the interface. So two interfaces of one
container share a chain, and so do containers whose names give the same text (``n1`` with ``1a``, ``n11`` with ``a``).
Rules of an entrance chain jump to it. A rule's comment shows its container, its addresses show the interface.
"""

from cni.errors import CNIError
from cni.go import names
from cni.go.rules import Printed, Rule, Seen
from cni.kernel import iptables, program
from cni.kernel.expressions import printed
from cni.kernel.transaction import FORWARD, Transaction
from cni.plan import all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cni.address import Address
    from cni.kernel.expressions import Expression
    from cni.kernel.namespace import Namespace
    from cni.kernel.nftables import Nftables

    # gets the jumps to a container's chain, and its rules; returns those of one attachment
    Divide = Callable[["Part", Sequence[Rule], Sequence[Rule]], tuple[Sequence[Rule], Sequence[Rule]]]
    # whether a rule with these addresses belongs to another interface of the container
    Other = Callable[[set[bytes]], bool]

# Rules at the beginning of a chain that ``first`` reads.
_FIRST = 16


class Table:
    """A table of nftables, or of iptables-nft: read and changed over netlink, without a program."""

    def __init__(self, kernel: "Nftables", family: int, name: str = "nat") -> None:
        self.where = name
        self._kernel = kernel
        self._at = family, name
        self._transaction = Transaction(*self._at)
        # of the ruleset in which ``change`` works; 0 if it is not compared
        self.generation = 0

    def has(self, chain: str) -> bool:
        """Whether the chain exists."""
        return self._kernel.chain(*self._at, chain) is not None

    def rules(self, chain: str) -> "Sequence[Rule]":
        """The rules of a chain, none if it does not exist."""
        return [Seen(chain, rule) for rule in self._kernel.rules(*self._at, chain)]

    def some(self, chain: str, having: "Sequence[bytes]") -> "tuple[Sequence[Rule], int]":
        """The rules whose messages hold one of these bytes, and the number of the others, which are not decoded."""
        found, others = self._kernel.some_rules(*self._at, chain, having)
        return [Seen(chain, rule) for rule in found], others

    def first(self, chain: str, having: bytes) -> "Sequence[Rule]":
        """Of the rules at the beginning of a chain those whose messages hold these bytes."""
        found = self._kernel.first_rules(*self._at, chain, _FIRST)
        return [Seen(chain, rule) for rule in found if having in rule.answer.data]

    def change(self, plan: "Callable[[], object]", what: str = "") -> bool:  # noqa: ARG002 -- used by Legacy
        """Change what ``plan`` names, all or nothing; returns whether it was anything. Repeats if others interfere."""

        def attempt() -> None:
            self.generation, self._transaction = self._kernel.generation(), Transaction(*self._at)
            plan()
            self._kernel.commit(self._transaction, self.generation)

        self._kernel.repeatedly(attempt)
        return bool(self._transaction)

    def delete(self, rule: Rule) -> None:
        """Within ``change``: delete a rule."""
        self._transaction.delete_rule(rule.chain, rule.deletion)

    def drop(self, chain: str) -> None:
        """Within ``change``: delete a chain whose rules were deleted. If somebody added one meanwhile, it must stay."""
        self._transaction.delete_chain(chain)

    def remove(self) -> None:
        """Within ``change``: delete the table with all its content."""
        self._transaction.delete_table()

    def make(self, chain: str) -> None:
        """Within ``change``: make a chain; FORWARD of ``filter`` as iptables does."""
        self._transaction.add_table()
        self._transaction.add_chain(chain, *(("filter", FORWARD, 0) if chain == names.FORWARD else ()))

    def add(self, chain: str, rule: "Sequence[Expression]", first: bool) -> None:
        """Within ``change``: append a rule, or insert it at the beginning."""
        self._transaction.add_rule(chain, rule, first=first)


class Legacy(Table):
    """A table of one family that netlink does not show, as iptables-legacy's: read and changed with its programs."""

    where = "iptables-legacy"

    def __init__(self, name: str, wanted: "Sequence[str]", table: str = "nat") -> None:
        """``name`` is the program; ``wanted`` are more chains to read."""
        self._name = name
        self._table = table
        common = [*names.BASE, names.DNAT, names.SETMARK, names.MASQ] if table == "nat" else []
        self._wanted = [*common, *wanted]
        self._existing = iptables.rules(name, self._wanted, table)
        self._lines: list[str] = []
        self._chains: list[str] = []

    def has(self, chain: str) -> bool:
        """As in ``Table``."""
        return chain in self._existing

    def rules(self, chain: str) -> "Sequence[Rule]":
        """As in ``Table``."""
        return [Printed(line) for line in self._existing.get(chain, ())]

    def some(self, chain: str, having: "Sequence[bytes]") -> "tuple[Sequence[Rule], int]":  # noqa: ARG002 -- the program prints all
        """All rules."""
        return self.rules(chain), 0

    def first(self, chain: str, having: bytes) -> "Sequence[Rule]":  # noqa: ARG002 -- the program prints all
        """All rules."""
        return self.rules(chain)

    def change(self, plan: "Callable[[], object]", what: str = "") -> bool:
        """Change in one iptables-restore; ``what`` is for the error."""
        self._lines, self._chains = [], []
        plan()
        lines = self._lines + [f"-{letter} {chain}" for letter in "FX" for chain in self._chains]
        fault = iptables.restore(self._name, lines, self._table) if lines else ""
        if fault:
            raise CNIError(f"failed to change {what} with {self._name}: {fault}")
        self._existing = iptables.rules(self._name, self._wanted, self._table) if lines else self._existing
        return bool(lines)

    def delete(self, rule: Rule) -> None:
        """As in ``Table``."""
        self._lines.append(rule.deletion)

    def drop(self, chain: str) -> None:
        """As in ``Table``."""
        self._chains.append(chain)

    def make(self, chain: str) -> None:
        """As in ``Table``."""
        self._lines.append(f"-N {chain}")

    def add(self, chain: str, rule: "Sequence[Expression]", first: bool) -> None:
        """As in ``Table``."""
        self._lines.append(f"-{f'I {chain} 1' if first else f'A {chain}'} {printed(rule)}")


def tables(kernel: "Nftables", *wanted: str, versions: "Sequence[int]" = (4, 6), table: str = "nat") -> "list[Table]":
    """The tables of iptables-nft, then those of iptables-legacy if it is in use; ``wanted`` are more chains to read."""
    programs = [iptables.legacy(version, table) for version in versions]
    legacy = [Legacy(name, wanted, table) for name in programs if name]
    return [*(Table(kernel, iptables.FAMILIES[version], table) for version in versions), *legacy]


def to_make(kernel: "Nftables", versions: "Iterable[int]", table: str, wanted: "Sequence[str]") -> "dict[int, Table]":
    """The tables that the node's iptables changes, by version. Raises ``CNIError`` without a program."""
    found = {}
    for version in versions:
        legacy = iptables.LEGACY[version]
        name = legacy if kernel.absent and program.find(f"{legacy}-restore") else iptables.PROGRAMS[version]
        if not program.find(name):
            raise program.missing(name)
        at = iptables.FAMILIES[version], table
        found[version] = Table(kernel, *at) if iptables.is_nft(name) else Legacy(name, wanted, table)
    return found


def each(found: "Iterable[Table]", step: "Callable[[Table], object]") -> None:
    """Run a step for every table; errors are raised together."""

    def bound(table: Table) -> "Callable[[], object]":
        return lambda: step(table)

    all_of(map(bound, found))


def other_interfaces(ifname: str, namespace: "Namespace | None", known: "Callable[[], Iterable[Address]]") -> "Other":
    """A function that returns whether addresses belong to interfaces of the container other than ``ifname``.

    If the namespace is gone (None), these are all addresses except the ``known`` ones, which are the attachment's. If
    no address of a family is known, all of that family count as the attachment's.
    """
    others: list[set[bytes]] = []

    def other(addresses: "set[bytes]") -> bool:
        if namespace is not None:
            if not others:
                others.append({address.packed for address in namespace.addresses_beside(ifname)})
            return not others[0].isdisjoint(addresses)
        lengths = {len(address) for address in addresses}
        own = {address.packed for address in known() if len(address.packed) in lengths}
        return bool(own) and own.isdisjoint(addresses)

    return other


class Part:
    """One attachment's rules in its container's chain, recognised by comments and addresses."""

    __slots__ = ("chain", "comment", "other")

    def __init__(self, chain: str, comment: str, other: "Other" = lambda addresses: False) -> None:
        """``comment`` is the comment of the container's rules; without ``other``, the part is all of them."""
        self.chain = chain
        self.comment = comment
        self.other = other


def release(table: Table, entrance: str, part: Part, divide: "Divide") -> "Sequence[Rule]":
    """Within ``change``: delete a part of a container's chain, and the chain if it is empty then.

    Returns the deleted rules of the chain.
    """
    if not table.has(part.chain):
        return []
    entries = [rule for rule in table.rules(entrance) if rule.target == part.chain]
    rules = table.rules(part.chain)
    outside, inside = divide(part, entries, rules)
    for rule in (*outside, *inside):
        table.delete(rule)
    if len(outside) == len(entries) and len(inside) == len(rules):
        table.drop(part.chain)
    return inside


def drop(table: Table, chains: "Sequence[str]", entrances: "Sequence[str]") -> None:
    """Within ``change``: delete chains, and the jumps to them in the entrances."""
    for entrance in entrances:
        for rule in table.rules(entrance):
            if rule.target in chains:
                table.delete(rule)
    for chain in chains:
        for rule in table.rules(chain):
            table.delete(rule)
        table.drop(chain)


def stale(kernel: "Nftables", entrance: str, network: str, valid: "Iterable[str]") -> "list[tuple[str, str]]":
    """Chain and comment of the network's containers whose chains are not ``valid``, by the entrance's jumps; for GC."""
    kept = set(valid)
    found: dict[tuple[str, str], None] = {}
    for rule in (rule for table in tables(kernel) for rule in table.rules(entrance)):
        of_plugin = rule.target.startswith(names.MASQUERADE) and names.is_of_network(rule.comment, network)
        if of_plugin and rule.target not in kept:
            found[rule.target, rule.comment] = None
    return list(found)
