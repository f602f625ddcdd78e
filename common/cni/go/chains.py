"""iptables' nat tables, and the chain of a container in them, which several attachments may share.

A chain's name is made of network and container id with nothing between them and without the interface, so two interfaces
of one container share it, and so do two containers whose names join alike (``n1`` with ``1a``, ``n11`` with ``a``). An
entrance of the table leads there. Comments show the container of a rule, addresses the interface.
"""

from cni.errors import CNIError
from cni.go import names
from cni.go.rules import Printed, Rule, Seen
from cni.kernel import iptables
from cni.kernel.transaction import Transaction
from cni.plan import all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cni.address import Address
    from cni.kernel.namespace import Namespace
    from cni.kernel.nftables import Nftables

    # of an entrance's rules to a container's chain and of that chain's rules those of one attachment
    Divide = Callable[["Part", Sequence[Rule], Sequence[Rule]], tuple[Sequence[Rule], Sequence[Rule]]]
    # whether a rule with these addresses is that of another interface of the container
    Other = Callable[[set[bytes]], bool]


class Nat:
    """The nat table of one family as iptables-nft has it: over netlink, without the program."""

    where = "nat"

    def __init__(self, kernel: "Nftables", version: int) -> None:
        self.version = version
        self._kernel = kernel
        self._family = iptables.FAMILIES[version]
        self._transaction = Transaction(self._family, "nat")

    def has(self, chain: str) -> bool:
        """Whether the chain exists."""
        return self._kernel.chain(self._family, "nat", chain) is not None

    def rules(self, chain: str) -> "Sequence[Rule]":
        """The rules of a chain, none where it does not exist."""
        return [Seen(chain, rule) for rule in self._kernel.rules(self._family, "nat", chain)]

    def change(self, plan: "Callable[[], object]", what: str) -> bool:  # noqa: ARG002 -- as the other table
        """Apply what ``plan`` deletes, all or nothing: whether there was anything. It is run again if others interfere."""

        def attempt() -> None:
            generation, self._transaction = self._kernel.generation(), Transaction(self._family, "nat")
            plan()
            self._kernel.commit(self._transaction, generation)

        self._kernel.repeatedly(attempt)
        return bool(self._transaction)

    def delete(self, rule: Rule) -> None:
        """Within ``change``: the rule goes."""
        self._transaction.delete_rule(rule.chain, rule.deletion)

    def drop(self, chain: str) -> None:
        """Within ``change``: the chain goes, whose rules go. It is not flushed: a rule added meanwhile must keep it."""
        self._transaction.delete_chain(chain)


class Legacy(Nat):
    """The same in iptables-legacy, which netlink does not show: listed and changed with its programs."""

    where = "iptables-legacy"

    def __init__(self, name: str, version: int, wanted: "Sequence[str]") -> None:
        """``wanted`` are chains that are looked at."""
        self.version = version
        self._name = name
        self._wanted = [*names.BASE, names.DNAT, names.SETMARK, names.MASQ, *wanted]
        self._there = iptables.rules(name, self._wanted)
        self._lines: list[str] = []
        self._chains: list[str] = []

    def has(self, chain: str) -> bool:
        """Whether the chain exists."""
        return chain in self._there

    def rules(self, chain: str) -> "Sequence[Rule]":
        """The rules of a chain, none where it does not exist."""
        return [Printed(line) for line in self._there.get(chain, ())]

    def change(self, plan: "Callable[[], object]", what: str) -> bool:
        """The same in one iptables-restore; ``what`` is for the error."""
        self._lines, self._chains = [], []
        plan()
        lines = self._lines + [f"-{letter} {chain}" for letter in "FX" for chain in self._chains]
        fault = iptables.restore(self._name, lines) if lines else ""
        if fault:
            raise CNIError(f"failed to remove {what} with {self._name}: {fault}")
        self._there = iptables.rules(self._name, self._wanted) if lines else self._there
        return bool(lines)

    def delete(self, rule: Rule) -> None:
        """Within ``change``: the rule goes."""
        self._lines.append(rule.deletion)

    def drop(self, chain: str) -> None:
        """Within ``change``: the chain goes."""
        self._chains.append(chain)


def tables(kernel: "Nftables", *wanted: str, versions: "Sequence[int]" = (4, 6)) -> "list[Nat]":
    """Those of iptables-nft, then those of iptables-legacy, if kernel and node have them; ``wanted`` are chains looked at."""
    names_of = {version: iptables.legacy(version) for version in versions}
    legacy = [Legacy(name, version, wanted) for version, name in names_of.items() if name]
    return [*(Nat(kernel, version) for version in versions), *legacy]


def each(found: "Iterable[Nat]", step: "Callable[[Nat], object]") -> None:
    """Run the step for every table; errors are raised together."""
    all_of([lambda table=table: step(table) for table in found])  # type: ignore[misc]


def other_interfaces(ifname: str, namespace: "Namespace | None", known: "Callable[[], Iterable[Address]]") -> "Other":
    """The addresses of a container's interfaces beside this one.

    Where its namespace is gone (None) they are all but the ``known`` ones, which are the attachment's; of a family of
    which none is known, none is another's.
    """
    living: list[set[bytes]] = []

    def other(addresses: "set[bytes]") -> bool:
        if namespace is not None:
            if not living:
                living.append({one.packed for one in namespace.addresses_beside(ifname)})
            return not living[0].isdisjoint(addresses)
        lengths = {len(address) for address in addresses}
        own = {address.packed for address in known() if len(address.packed) in lengths}
        return bool(own) and own.isdisjoint(addresses)

    return other


class Part:
    """What one attachment has in the chain of its container, told apart by the rules' comments and addresses."""

    __slots__ = ("chain", "comment", "other")

    def __init__(self, chain: str, comment: str, other: "Other" = lambda addresses: False) -> None:
        """``comment`` is that of the container's rules; without ``other`` the part is all that the container has."""
        self.chain = chain
        self.comment = comment
        self.other = other


def release(table: Nat, entrance: str, part: Part, divide: "Divide") -> "Sequence[Rule]":
    """Within ``change``: remove a part of a container's chain, the chain with the last; what went inside."""
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


def drop(table: Nat, chains: "Sequence[str]", entrances: "Sequence[str]") -> None:
    """Within ``change``: whole chains go, with the jumps to them in the entrances."""
    for entrance in entrances:
        for rule in table.rules(entrance):
            if rule.target in chains:
                table.delete(rule)
    for chain in chains:
        for rule in table.rules(chain):
            table.delete(rule)
        table.drop(chain)


def stale(kernel: "Nftables", entrance: str, network: str, valid: "Iterable[str]") -> "list[tuple[str, str]]":
    """Chain and comment of the network's containers that an entrance leads to, but those of ``valid`` chains; for GC."""
    kept = set(valid)
    found = ((rule.target, rule.comment) for table in tables(kernel) for rule in table.rules(entrance))
    return list(
        dict.fromkeys(
            (chain, comment)
            for chain, comment in found
            if chain.startswith(names.MASQUERADE) and chain not in kept and names.is_of_network(comment, network)
        )
    )
