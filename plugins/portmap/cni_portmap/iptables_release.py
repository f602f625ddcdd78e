"""One container's host ports taken out of Go's iptables chains, whoever made them.

Over netlink, by the chain's exact name, and through the program only where the kernel has a table of iptables-legacy.
"""

from cni.address import Address
from cni.errors import CNIError
from cni.kernel import iptables, nftables
from cni.kernel.compat import comment_of
from cni.kernel.nftables import Nftables, NftablesError
from cni.kernel.transaction import IPV4, Transaction
from cni.plan import raise_together
from cni_portmap import chains, flows
from cni_portmap.chains import DNAT, MASQ, OLD_SNAT, SETMARK
from cni_portmap.go_rules import Listed, Seen, going
from cni_portmap.owned import Entry
from cni_portmap.settings import PROTOCOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator


class Removal:
    """What one attachment has there; what leads to another interface of its container, or is another's, stays."""

    def __init__(
        self, chain: str, comment: str, living: "Callable[[], Container[str]]", say: "Callable[[str], None]"
    ) -> None:
        """``chain`` is the container's, ``comment`` what its entry rules bear.

        ``living`` gives the addresses of the container's other interfaces; asked only where there is something.
        """
        self._chain = chain
        self._old = chains.old_name(chain)
        self._comment = comment
        self._living = living
        self._say = say
        self._removed = False

    def everything(self) -> None:
        """Of both families, and the shared chains with the last of all; errors are told together."""
        with iptables.alone(make=False):
            self._everything()

    def _everything(self) -> None:
        errors: list[Exception] = []
        kernel = nftables.here()
        for family in iptables.FAMILIES.values():
            try:
                kernel.repeatedly(lambda family=family: self._remove(kernel, family))  # type: ignore[misc]
                if self._removed:
                    tidy(kernel, family)
            except Exception as error:
                errors.append(error)
        try:
            self._remove_legacy()
        except Exception as error:
            errors.append(error)
        raise_together(errors)

    def _remove(self, kernel: Nftables, family: int) -> None:
        generation = kernel.generation()
        transaction = Transaction(family, "nat")
        released: list[Entry] = []
        if kernel.chain(family, "nat", self._chain) is not None:
            released = self._release(kernel, family, transaction)
        if kernel.chain(family, "nat", self._old) is not None:
            kernel.remove_chains(transaction, [self._old], [OLD_SNAT])
        kernel.commit(transaction, generation)
        self._removed = self._removed or bool(transaction)
        flows.after_delete(released, self._say)

    def _release(self, kernel: Nftables, family: int, transaction: Transaction) -> "list[Entry]":
        """Take this attachment's rules away, and the chain with the last of all: what went."""
        size = 4 if family == IPV4 else 16
        entries = [Seen(rule, size) for rule in kernel.rules(family, "nat", DNAT) if self._chain in rule.jumps_to()]
        rules = [Seen(rule, size) for rule in kernel.rules(family, "nat", self._chain)]
        own, groups = going(entries, rules, self._comment, self._living())
        if sum(map(len, groups)) == len(rules) and all(entry.comment == self._comment for entry in entries):
            kernel.remove_chains(transaction, [self._chain], [DNAT])
        else:
            for entry in own:
                transaction.delete_rule(DNAT, entry.rule.handle)
            for rule in (rule for group in groups for rule in group):
                transaction.delete_rule(self._chain, rule.rule.handle)
        return [_entry(group[-1], port) for group in groups for port in group[-1].ports if group[-1].target == "DNAT"]

    def _remove_legacy(self) -> None:
        for version in (4, 6):
            there = iptables.legacy_rules(version, [*chains.BASE, DNAT, SETMARK, MASQ, self._chain])
            name = iptables.legacy(version)
            lines = self._legacy_lines(there) if self._chain in there else []
            fault = iptables.restore(name, lines) if lines else ""
            if fault:
                raise CNIError(f"failed to remove host ports with {name}: {fault}")

    def _legacy_lines(self, there: "dict[str, list[str]]") -> "list[str]":
        lines = remains(there, self._chain, self._comment, self._living)
        going_lines = {f"-A{line[2:]}" for line in lines}
        empty = [self._chain] if going_lines >= set(there[self._chain]) else []
        if empty and going_lines >= set(there.get(DNAT, ())):
            shared = [chain for chain in (DNAT, MASQ, SETMARK) if chain in there]
            for base in chains.BASE:
                lines += [f"-D{line[2:]}" for line in there.get(base, ()) if Listed(line).target in shared]
            empty += shared
        return lines + [f"-F {chain}" for chain in empty] + [f"-X {chain}" for chain in empty]


def remains(
    there: "dict[str, list[str]]", chain: str, comment: str, living: "Callable[[], Container[str]]"
) -> "list[str]":
    """Lines for iptables-restore that take away what one attachment has in listed chains."""
    if chain not in there:
        return []
    entries = [rule for rule in map(Listed, there.get(DNAT, ())) if rule.target == chain]
    own, groups = going(entries, [Listed(line) for line in there[chain]], comment, living())
    return [f"-D{rule.line[2:]}" for rule in (*own, *(rule for group in groups for rule in group))]


def entered(kernel: Nftables) -> "Iterator[tuple[str, str]]":
    """Comment and chain of all entry rules, in iptables-nft and in iptables-legacy; for GC."""
    for family in iptables.FAMILIES.values():
        for rule in kernel.rules(family, "nat", DNAT):
            for chain in rule.jumps_to():
                yield comment_of(rule), chain
    for version in (4, 6):
        for listed in map(Listed, iptables.legacy_rules(version, [DNAT]).get(DNAT, ())):
            yield listed.comment, listed.target


def _entry(rule: Seen, host_port: int) -> Entry:
    """What a translation mapped, for the flows that it leaves."""
    address = Address.parse(rule.leads_to)
    return Entry(PROTOCOLS[rule.protocol], Address(bytes(len(address.packed))), host_port, address, rule.port)


def tidy(kernel: Nftables, family: int) -> None:
    """The shared chains and their jumps go with the last entry rule; where somebody else uses them they stay."""
    if kernel.chain(family, "nat", DNAT) is None:
        return
    try:
        kernel.repeatedly(lambda: _tidy(kernel, family))
    except NftablesError:
        pass  # a rule of somebody else leads there


def _tidy(kernel: Nftables, family: int) -> None:
    generation, transaction = kernel.generation(), Transaction(family, "nat")
    if kernel.chain(family, "nat", DNAT) is None or kernel.rules(family, "nat", DNAT):
        return
    shared = [chain for chain in (DNAT, MASQ, SETMARK) if kernel.chain(family, "nat", chain) is not None]
    kernel.remove_chains(transaction, shared, chains.BASE)
    kernel.commit(transaction, generation)
