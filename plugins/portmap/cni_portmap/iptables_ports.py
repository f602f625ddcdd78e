"""The host ports of one attachment in Go's iptables chains, as an effect: made where a configuration asks for it.

What Go's own plugin made looks the same, so DEL and GC look here for every attachment: over netlink, by the chain's
exact name, and through the program only where the kernel has a table of iptables-legacy.
"""

from cni.address import Address
from cni.errors import ADDRESS_TAKEN, CheckFailed, CNIError, Refused
from cni.kernel import iptables, nftables
from cni.kernel.nftables import Nftables, NftablesError, Rule, Transaction
from cni.plan import Effect, raise_together
from cni_portmap import chains
from cni_portmap.chains import DNAT, MASQ, OLD_SNAT, SETMARK, Listed, by_mapping, chain_name
from cni_portmap.change import Change
from cni_portmap.owned import Owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Rtnl
    from cni.names import Attachment
    from cni_portmap.settings import Settings, Target

_TRIES = 5


class IptablesPorts(Effect):
    """The host ports of one attachment, in iptables."""

    __slots__ = ("namespace", "rtnl", "said", "say", "targets")

    def __init__(
        self,
        attachment: "Attachment",
        rtnl: "Rtnl",
        namespace: "Namespace | None",
        say: "Callable[[str], None]",
        targets: "Sequence[Target]" = (),
        said: "Settings | None" = None,
    ) -> None:
        """``namespace`` is the container's, None where it is gone; without ``said`` (DEL, GC) nothing can be made."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.namespace = namespace
        self.say = say
        self.targets = list(targets)
        self.said = said

    def identify(self, attachment: "Attachment") -> str:
        """The container's own chain."""
        return chain_name(attachment.network, attachment.container)

    # make

    def make(self) -> None:
        """One restore a family; raises ``Refused`` for a port that another container has, ``CNIError``."""
        self.make_way()
        with iptables.Lock():
            for target in self.targets:
                self._make(target)

    def make_way(self) -> None:
        """A port that our table of nftables holds would come first: who has it lives, or loses it."""
        owned, kernel = Owned.wanted(self.targets, False, False), nftables.here()
        kernel.repeatedly(lambda: Change(kernel, self.rtnl, self.say).make_way(self.attachment, owned))

    def _make(self, target: "Target") -> None:
        name = iptables.PROGRAMS[target.version]
        for turn in range(_TRIES):
            lines = self._changes(target, iptables.rules(name, [*chains.BASE, DNAT, SETMARK, MASQ, self.identity]))
            fault = iptables.restore(name, lines)
            if not fault:
                return
            # another program (Go's portmap) made a shared chain meanwhile: look again
            if "exist" not in fault or turn == _TRIES - 1:
                raise CNIError(
                    f"failed to set up host ports with {name}: {fault}", f"the rules were: {'; '.join(lines)}"
                )

    def _changes(self, target: "Target", there: "dict[str, list[str]]") -> "list[str]":
        """What is missing, in one script; the remains of this attachment and of dead ones go."""
        said, who = self.said, self.attachment
        assert said is not None  # noqa: S101
        entries = chains.entries(who, said, target.version)
        room = self._room(target, there, [Listed(line) for line in entries])
        own = self._remains(there)
        known = {chain: {iptables.meaning(line) for line in lines} for chain, lines in there.items()}
        shared = [*chains.marking(said), *chains.entrances()]
        wanted = {line.split()[1] for line in shared} - set(chains.BASE) | {DNAT, self.identity}
        made = [chain for chain in (SETMARK, MASQ, DNAT, self.identity) if chain in wanted and chain not in there]
        lines = [f"-N {chain}" for chain in made]
        lines += [line for line in shared if iptables.meaning(line) not in known.get(line.split()[1], ())]
        jump = chains.masquerading()
        if chains.marking(said) and iptables.meaning(jump) not in known.get("POSTROUTING", ()):
            lines.append(jump.replace("-A POSTROUTING", "-I POSTROUTING 1", 1))
        lines += room + own
        lines += chains.translations(who, target, said)
        have = known.get(DNAT, set())
        kept = {iptables.meaning(line) for line in there.get(DNAT, ()) if f"-D{line[2:]}" not in room}
        return lines + [line for line in entries if iptables.meaning(line) not in have & kept]

    def _remains(self, there: "dict[str, list[str]]") -> "list[str]":
        """Rules of the container's chain that lead to none of its other interfaces: left of this attachment."""
        groups = by_mapping(there.get(self.identity, []))
        if not groups:
            return []
        living = {str(address) for address in self.others()}
        return [f"-D{rule.line[2:]}" for group in groups if group[-1].leads_to not in living for rule in group]

    def others(self) -> "set[Address]":
        """The addresses of the container's other interfaces: what leads there is another attachment's."""
        return other_addresses(self.namespace, self.attachment.ifname)

    def _room(self, target: "Target", there: "dict[str, list[str]]", entries: "list[Listed]") -> "list[str]":
        """Lines that take dead containers' rules away; raises ``Refused`` if a living one has a port."""
        ours = str(target.prefix.address)
        lines: list[str] = []
        for line in there.get(DNAT, ()):
            held = Listed(line)
            if held.target == self.identity or not held.target.startswith("CNI-DN-"):
                continue
            ports = {
                port
                for entry in entries
                if (entry.protocol, entry.conditions) == (held.protocol, held.conditions)
                for port in entry.ports & held.ports
            }
            groups = by_mapping(there.get(held.target, [])) if ports else []
            for group in groups:
                if not self._overlaps(target, group[-1], ports):
                    continue
                owner = chains.owner_of(held.options.get("--comment", "")) or ("?", held.target)
                if group[-1].leads_to != ours:
                    port = f"{held.protocol} port {', '.join(sorted(group[-1].ports))}"
                    raise Refused(
                        f"{port} is held by {'/'.join(owner)}, and asked for by {self.attachment}",
                        "remove the other container, or choose another port",
                        ADDRESS_TAKEN,
                    )
                self.say(f"portmap: {self.attachment} takes {ours} over from {'/'.join(owner)}")
                lines += [f"-D{rule.line[2:]}" for rule in group]
        return lines

    def _overlaps(self, target: "Target", held: Listed, ports: "set[str]") -> bool:
        host = held.options.get("-d", "").partition("/")[0]
        return any(
            str(mapping.host_port) in held.ports & ports
            and mapping.protocol == held.protocol
            and (not host or mapping.host is None or str(mapping.host) == host)
            for mapping in target.mappings
        )

    # compare

    def compare(self) -> None:
        """Every rule is there; raises ``CheckFailed``."""
        said = self.said
        assert said is not None  # noqa: S101
        for target in self.targets:
            name = iptables.PROGRAMS[target.version]
            there = iptables.rules(name, [*chains.BASE, DNAT, SETMARK, MASQ, self.identity])
            known = {chain: {iptables.meaning(line) for line in lines} for chain, lines in there.items()}
            wanted = [*chains.translations(self.attachment, target, said), *chains.entrances(), *chains.marking(said)]
            wanted += [chains.masquerading()] if chains.marking(said) else []
            conditions = said.conditions[target.version]
            if not conditions:
                wanted += chains.entries(self.attachment, said, target.version)
            for line in wanted:
                chain = line.split()[1]
                if chain not in there:
                    raise CheckFailed(f"{name}: chain {chain} not found in table nat")
                if iptables.meaning(line) not in known[chain]:
                    raise CheckFailed(f"{name}: rule {line} is missing in table nat")
            for line in chains.entries(self.attachment, said, target.version) if conditions else ():
                # how conditions are printed is iptables' own affair, so it is asked
                fault, _ = iptables.run(name, "-t", "nat", "-C", *iptables.split(line)[1:])
                if fault:
                    raise CheckFailed(f"{name}: rule {line} is missing in table nat")

    # remove

    def remove(self) -> None:
        """This attachment's rules, and the shared chains with the last of all; what leads to another interface stays."""
        errors: list[Exception] = []
        kernel = nftables.here()
        for family in iptables.FAMILIES.values():
            try:
                kernel.repeatedly(lambda family=family: self._remove(kernel, family))  # type: ignore[misc]
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
        who = self.attachment
        chain, old = self.identity, chain_name(who.network, who.container, "CNI-SN-")
        transaction = Transaction(family, "nat")
        if kernel.chain(family, "nat", chain) is not None:
            self._release(kernel, family, transaction)
        if kernel.chain(family, "nat", old) is not None:
            _take_away(kernel, family, transaction, old, OLD_SNAT)
        kernel.commit(transaction, generation)

    def _release(self, kernel: Nftables, family: int, transaction: Transaction) -> None:
        """Rules that lead to the container's other interfaces stay, and the chain with them."""
        living = {address.packed for address in self.others()}
        rules = kernel.rules(family, "nat", self.identity)
        going = [group for group in _groups(rules) if not _leads_to(group[-1], living)]
        if sum(len(group) for group in going) == len(rules):
            _take_away(kernel, family, transaction, self.identity, DNAT)
            return
        for group in going:
            for rule in group:
                transaction.delete_rule(self.identity, rule.handle)

    def _remove_legacy(self) -> None:
        for version, name in ((4, "iptables-legacy"), (6, "ip6tables-legacy")):
            if not iptables.legacy_in_use(version):
                continue
            with iptables.Lock():
                there = iptables.rules(name, [*chains.BASE, DNAT, SETMARK, MASQ, self.identity])
                lines = self._legacy_lines(there) if self.identity in there else []
                fault = iptables.restore(name, lines) if lines else ""
            if fault:
                raise CNIError(f"failed to remove host ports with {name}: {fault}")

    def _legacy_lines(self, there: "dict[str, list[str]]") -> "list[str]":
        lines = self._remains(there)
        if len(lines) < len(there[self.identity]):
            return lines
        jumps = [line for line in there.get(DNAT, ()) if Listed(line).target == self.identity]
        lines = [f"-D{line[2:]}" for line in jumps]
        going = [self.identity]
        if len(jumps) == len(there.get(DNAT, ())):
            shared = [chain for chain in (DNAT, MASQ, SETMARK) if chain in there]
            for base in chains.BASE:
                lines += [f"-D{line[2:]}" for line in there.get(base, ()) if Listed(line).target in shared]
            going += shared
        return lines + [f"-F {chain}" for chain in going] + [f"-X {chain}" for chain in going]

    def collect(self, network: str, valid: "Iterable[Attachment]") -> list[str]:
        """Chains of the network's containers, told by the comments of their entry rules, that no valid one has."""
        kept = {self.identify(attachment) for attachment in valid}
        kernel = nftables.here()
        gone: dict[str, None] = {}
        for family in iptables.FAMILIES.values():
            for rule in kernel.rules(family, "nat", DNAT):
                owner = chains.owner_of(iptables.comment_of(rule))
                if owner is not None and owner[0] == network:
                    gone.update((chain, None) for chain in rule.jumps_to() if chain not in kept)
            for chain in gone:
                kernel.repeatedly(lambda family=family, chain=chain: _discard(kernel, family, chain))  # type: ignore[misc]
            if gone:
                tidy(kernel, family)
        return list(gone)

    def describe(self) -> str:
        """As iptables-restore would be told."""
        lines = []
        for target in self.targets:
            assert self.said is not None  # noqa: S101
            lines += chains.translations(self.attachment, target, self.said)
            lines += chains.entries(self.attachment, self.said, target.version)
        return "\n".join(lines)


def other_addresses(namespace: "Namespace | None", ifname: str) -> "set[Address]":
    """The addresses of a container's interfaces other than this one; none where its namespace is gone."""
    if namespace is None:
        return set()
    mine = namespace.rtnl.link(ifname)
    found = set()
    for link in namespace.rtnl.links():
        if mine is None or link.index != mine.index:
            found |= {address.prefix.address for address in namespace.rtnl.addresses(link.index)}
    return found


def _groups(rules: "list[Rule]") -> "list[list[Rule]]":
    groups: list[list[Rule]] = [[]]
    for rule in rules:
        groups[-1].append(rule)
        if iptables.target_of(rule)[0] == "DNAT":
            groups.append([])
    return [group for group in groups if group]


def _leads_to(rule: Rule, addresses: "set[bytes]") -> bool:
    information = iptables.target_of(rule)[1]
    return any(address in information for address in addresses)


def _take_away(kernel: Nftables, family: int, transaction: Transaction, chain: str, entrance: str) -> None:
    """A chain with all its rules, and the jumps to it."""
    for rule in kernel.rules(family, "nat", entrance):
        if chain in rule.jumps_to():
            transaction.delete_rule(entrance, rule.handle)
    transaction.flush_chain(chain)
    transaction.delete_chain(chain)


def _discard(kernel: Nftables, family: int, chain: str) -> None:
    generation, transaction = kernel.generation(), Transaction(family, "nat")
    if kernel.chain(family, "nat", chain) is not None:
        _take_away(kernel, family, transaction, chain, DNAT)
    kernel.commit(transaction, generation)


def tidy(kernel: Nftables, family: int) -> None:
    """The shared chains and their jumps go with the last entry rule; where somebody else uses them they stay."""
    if kernel.chain(family, "nat", DNAT) is None:
        return
    with iptables.Lock():
        try:
            kernel.repeatedly(lambda: _tidy(kernel, family))
        except NftablesError:
            pass  # a rule of somebody else leads there


def _tidy(kernel: Nftables, family: int) -> None:
    generation, transaction = kernel.generation(), Transaction(family, "nat")
    if kernel.chain(family, "nat", DNAT) is None or kernel.rules(family, "nat", DNAT):
        return
    shared = [chain for chain in (DNAT, MASQ, SETMARK) if kernel.chain(family, "nat", chain) is not None]
    for base in chains.BASE:
        for rule in kernel.rules(family, "nat", base):
            if not set(shared).isdisjoint(rule.jumps_to()):
                transaction.delete_rule(base, rule.handle)
    for chain in shared:
        transaction.flush_chain(chain)
    for chain in shared:
        transaction.delete_chain(chain)
    kernel.commit(transaction, generation)
