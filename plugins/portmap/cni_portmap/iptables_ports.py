"""The host ports of one attachment in Go's iptables chains, as an effect: made where a configuration asks for it.

What Go's own plugin made looks the same, so DEL and GC look here for every attachment: over netlink, by the chain's
exact name, and through the program only where the kernel has a table of iptables-legacy.
"""

from cni.address import Address
from cni.errors import CheckFailed, CNIError, Refused
from cni.kernel import iptables
from cni.kernel.rulespec import meaning, split
from cni.ledger import changed
from cni.plan import Effect, Found, Kind
from cni_portmap import chains, flows
from cni_portmap.chains import DNAT, MASQ, SETMARK, chain_name
from cni_portmap.change import Change, Request
from cni_portmap.go_rules import AllBut, Listed, by_mapping
from cni_portmap.holder import go_death, refusal, taken_over, waits
from cni_portmap.iptables_release import Removal, entered, remains
from cni_portmap.owned import Owned
from cni_portmap.settings import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from cni.attachment import Attachment
    from cni.plan import Differ
    from cni.site import Site
    from cni_portmap.settings import Settings, Target

_TRIES = 5


class IptablesPorts(Effect[None], Kind):
    """The host ports of one attachment, in iptables."""

    __slots__ = ("behind", "known", "lines", "said", "targets")
    noun = "host ports in iptables"
    repairable = True

    def __init__(
        self,
        site: "Site",
        targets: "Sequence[Target]" = (),
        said: "Settings | None" = None,
        known: "Callable[[], Sequence[Address]]" = tuple,
    ) -> None:
        """``known`` returns the attachment's addresses, if any: used where the container's namespace is gone.

        Without ``said`` (DEL, GC) nothing can be made.
        """
        super().__init__(site)
        self.targets = list(targets)
        self.said = said
        self.known = known
        # whose rules stand first, by family, protocol and number of the port
        self.behind: dict[tuple[int, str, int], list[str]] = {}
        # lines for operators, once the rules are made; each one once
        self.lines: dict[str, None] = {}

    def identify(self, attachment: "Attachment") -> str:
        """The container's own chain."""
        return chain_name(attachment.network, attachment.container)

    # make

    def make(self) -> None:
        """One restore a family; raises ``Refused`` for a port that another container has, ``CNIError``."""
        self.make_way()
        with iptables.alone():
            # both families are looked at before the first is touched
            planned = [(target, self._changes(target)) for target in self.targets]
            for number, (target, lines) in enumerate(planned):
                try:
                    self._restore(target, lines)
                except Refused as error:
                    if not number:
                        raise
                    # the first family was made, so there is something to take back
                    raise CNIError(error.msg, error.details, error.code) from None
        entries = []
        for entry in self._owned().entries:
            owners = self.behind.get((entry.version, NAMES[entry.protocol], entry.host_port))
            if owners:
                self.lines[waits(entry, owners[0], self.attachment, len(owners))] = None
            else:
                entries.append(entry)
        for line in self.lines:
            self.site.say(line)
        flows.after_add(entries, self.site.rtnl, self.site.say)

    def _owned(self) -> Owned:
        return Owned.wanted(self.targets, False, False)

    def make_way(self) -> None:
        """Our table of nftables comes after these rules: a port's owner there is dead, or the ADD is refused."""
        request = Request(self.attachment, self._owned(), self.said is not None and self.said.refuse)

        def work(change: Change) -> Change:
            change.make_way(request)
            return change

        changed(self.site.nftables, lambda kernel: Change(kernel, self.site.rtnl), work).report(self.site.say)

    def _restore(self, target: "Target", lines: "list[str]") -> None:
        name = iptables.to_make(target.version)
        for turn in range(_TRIES):
            fault = iptables.restore(name, lines)
            if not fault:
                return
            # another program (Go's portmap) made a shared chain meanwhile, or took it away: look again
            if "exist" not in fault or turn == _TRIES - 1:
                raise CNIError(f"failed to set up host ports with {name}: {fault}", f"the rules: {'; '.join(lines)}")
            lines = self._changes(target)

    def _changes(self, target: "Target") -> "list[str]":
        """What is missing, in one script; the remains of this attachment and of dead ones go."""
        said, who = self.said, self.attachment
        assert said is not None  # noqa: S101
        there = iptables.rules(iptables.to_make(target.version), self._looked_at)
        entries = chains.entries(who, said, target.version)
        gone = self._room(target, there, entries)
        translations = chains.translations(who, target, said)
        gone += self._replaced(there, entries, translations)
        left = {meaning(line) for lines in there.values() for line in lines}
        left -= {meaning(f"-A{line[2:]}") for line in gone}
        shared = [*chains.marking(said), *chains.entrances()]
        chain_of = [line.split()[1] for line in shared]
        wanted = {*chain_of, DNAT, self.identity} - set(chains.BASE)
        lines = [f"-N {chain}" for chain in (SETMARK, MASQ, DNAT, self.identity) if chain in wanted - set(there)]
        lines += [line for line in shared if meaning(line) not in left]
        jump = chains.masquerading()
        if chains.marking(said) and meaning(jump) not in left:
            lines.append(jump.replace("-A POSTROUTING", "-I POSTROUTING 1", 1))
        lines += gone
        lines += translations if any(meaning(line) not in left for line in translations) else []
        return lines + [line for line in entries if meaning(line) not in left]

    def _replaced(self, there: "dict[str, list[str]]", entries: "list[str]", translations: "list[str]") -> "list[str]":
        """Lines that take away what the attachment has and is not to have: what stays keeps its place before others'."""
        own = remains(there, self.identity, chains.comment(self.attachment), self.others)
        wanted = {meaning(line) for line in entries}
        inner = [line for line in own if line.split()[1] == self.identity]
        if [meaning(f"-A{line[2:]}") for line in inner] == [meaning(line) for line in translations]:
            inner = []
        outer = [line for line in own if line.split()[1] != self.identity]
        return [line for line in outer if meaning(f"-A{line[2:]}") not in wanted] + inner

    @property
    def _looked_at(self) -> "list[str]":
        return [*chains.BASE, DNAT, SETMARK, MASQ, self.identity]

    def others(self) -> "Container[str]":
        """The addresses of the container's other interfaces: what leads there is another attachment's."""
        namespace = self.site.remaining
        if namespace is None:
            return AllBut(self.known())
        return {str(address) for address in namespace.addresses_beside(self.attachment.ifname)}

    def _room(self, target: "Target", there: "dict[str, list[str]]", lines: "list[str]") -> "list[str]":
        """Lines that take dead containers' mappings away; raises ``Refused`` if a living one has a port."""
        gone: list[str] = []
        mine = chains.comment(self.attachment), self.identity
        listed = [rule for rule in map(Listed, there.get(DNAT, ())) if rule.target.startswith(chains.OWN)]
        others = [rule for rule in listed if (rule.comment, rule.target) != mine]
        entries = self._as_printed(target, there, lines, others)
        for held in others:
            ports = {
                port
                for entry in entries
                if (entry.protocol, entry.conditions) == (held.protocol, held.conditions)
                for port in entry.ports & held.ports
            }
            for group in by_mapping([Listed(line) for line in there.get(held.target, ())]) if ports else ():
                if self._overlaps(target, group[-1], ports) and self._is_dead(target, held, group[-1]):
                    gone += [f"-D{rule.line[2:]}" for rule in group]
        return gone

    def _as_printed(
        self, target: "Target", there: "dict[str, list[str]]", lines: "list[str]", others: "list[Listed]"
    ) -> "list[Listed]":
        """Our entry rules, to be compared with what iptables printed.

        How it prints conditions is its own affair, so it is asked, where another's conditions may be the same: the
        rules are put where they do nothing, at the end of our chain, and taken away.
        """
        entries = [Listed(line) for line in lines]
        if not any(_may_mean_the_same(entry, other) for entry in entries for other in others):
            return entries
        name, chain = iptables.to_make(target.version), self.identity
        before = there.get(chain, [])
        new = [] if chain in there else [f"-N {chain}"]
        tried = [f"-A {chain}{line.removeprefix(f'-A {DNAT}').removesuffix(chain)}RETURN" for line in lines]
        fault = iptables.restore(name, new + tried)
        if fault:
            raise CNIError(f"failed to set up host ports with {name}: {fault}", f"the rules: {'; '.join(tried)}")
        fault, text = iptables.run(name, "-t", "nat", "-S", chain)
        printed = [line for line in text.splitlines() if line.startswith("-A ")][len(before) :]
        away = [f"-F {chain}", f"-X {chain}"] if new else [f"-D{line[2:]}" for line in printed]
        fault = fault or iptables.restore(name, away)
        if fault:
            raise CNIError(f"failed to read host ports with {name}: {fault}", f"the rules: {'; '.join(tried)}")
        return [Listed(line) for line in printed]

    def _overlaps(self, target: "Target", held: Listed, ports: "set[int]") -> bool:
        return any(
            mapping.host_port in held.ports & ports
            and mapping.protocol == held.protocol
            and (not held.host or mapping.host is None or str(mapping.host) == held.host)
            for mapping in target.mappings
        )

    def _is_dead(self, target: "Target", entry: Listed, held: Listed) -> bool:
        """Whether a mapping's owner is dead; one that lives stands first, so ours waits: or raises ``Refused``."""
        owner, address = chains.owner_of(entry.comment), Address.parse(held.leads_to)
        name = "/".join(owner or ("?", entry.target))
        port = f"{held.protocol} port {', '.join(map(str, sorted(held.ports)))}"
        why = go_death(self.site.rtnl, owner, address, self.attachment, target.prefix.address)
        if why:
            self.lines[taken_over(port, name, self.attachment, why)] = None
            return True
        assert self.said is not None  # noqa: S101
        if self.said.refuse and (owner is None or owner[1] != self.attachment.container):
            raise refusal(port, name, self.attachment)
        for number in held.ports:
            owners = self.behind.setdefault((target.version, held.protocol, number), [])
            owners += [] if name in owners else [name]
        return False

    # compare

    def compare(self, differ: "Differ") -> None:
        """Every rule is there."""
        try:
            self._compare()
        except CheckFailed as error:
            differ(error)

    def _compare(self) -> None:
        said = self.said
        assert said is not None  # noqa: S101
        for target in self.targets:
            name = iptables.to_make(target.version)
            there = iptables.rules(name, self._looked_at)
            known = {chain: {meaning(line) for line in lines} for chain, lines in there.items()}
            wanted = [*chains.translations(self.attachment, target, said), *chains.entrances(), *chains.marking(said)]
            wanted += [chains.masquerading()] if chains.marking(said) else []
            entries, conditional = (
                chains.entries(self.attachment, said, target.version),
                said.conditions[target.version],
            )
            for line in wanted if conditional else wanted + entries:
                chain = line.split()[1]
                if chain not in there:
                    raise CheckFailed(f"{name}: chain {chain} not found in table nat")
                if meaning(line) not in known[chain]:
                    raise CheckFailed(f"{name}: rule {line} is missing in table nat")
            for line in entries if conditional else ():
                # how conditions are printed is iptables' own affair, so it is asked
                fault, _ = iptables.run(name, "-t", "nat", "-C", *split(line)[1:])
                if fault:
                    raise CheckFailed(f"{name}: rule {line} is missing in table nat")
            self._compare_order(name, target, there[self.identity])

    def _compare_order(self, name: str, target: "Target", lines: "list[str]") -> None:
        """Of several translations of one port the first counts; it has to be ours, or another interface's of the container."""
        others = self.others()
        listed = [rule for rule in map(Listed, lines) if rule.target == "DNAT" and rule.leads_to not in others]
        assert self.said is not None  # noqa: S101
        for ours in map(Listed, chains.translations(self.attachment, target, self.said)):
            same = (
                rule
                for rule in listed
                if (rule.protocol, rule.ports) == (ours.protocol, ours.ports) and rule.host in ("", ours.host)
            )
            if ours.target == "DNAT" and next(same).options != ours.options:
                raise CheckFailed(f"{name}: a rule before {ours.line} leads elsewhere", f"in chain {self.identity}")

    # remove

    def remove(self) -> None:
        """This attachment's rules, and the shared chains with the last of all."""
        Removal(self.identity, chains.comment(self.attachment), self.others, self.site.say).everything()

    def collect(self, network: str, valid: "Iterable[Attachment]") -> list[Found]:
        """What the network's containers have, told by the comments of their entry rules, of which none is valid."""
        kept = {self.identify(attachment) for attachment in valid}
        gone = {
            (chain, comment): None
            for comment, chain in entered(self.site.nftables)
            if chain.startswith(chains.OWN) and chain not in kept and _is_of(comment, network)
        }
        for chain, comment in gone:
            Removal(chain, comment, set, self.site.say).everything()
        return [Found(chain) for chain in dict.fromkeys(chain for chain, _ in gone)]

    def describe(self) -> str:
        """The rules in iptables' words."""
        lines = []
        for target in self.targets:
            assert self.said is not None  # noqa: S101
            lines += chains.translations(self.attachment, target, self.said)
            lines += chains.entries(self.attachment, self.said, target.version)
        return "\n".join(lines)


def _is_of(comment: str, network: str) -> bool:
    owner = chains.owner_of(comment)
    return owner[0] == network if owner is not None else chains.is_cut(comment, network)


def _may_mean_the_same(entry: Listed, other: Listed) -> bool:
    """Whether two entry rules for one port have conditions whose words differ: their meaning may be one."""
    return bool(
        entry.protocol == other.protocol
        and entry.ports & other.ports
        and entry.conditions
        and other.conditions
        and entry.conditions != other.conditions
    )
