"""Host ports in the form of Go's portmap with iptables: made if a configuration asks for it, and compared by CHECK.

Chains and rules are exactly Go's, so that each plugin finds what the other made (``hostports`` shows them).
"""

from cni.errors import CheckFailed, CNIError, Refused
from cni.go import names
from cni.go.chains import Part
from cni.go.hostports import by_mapping, divide
from cni.go.names import DNAT, MASQ, SETMARK
from cni.go.rules import Printed
from cni.kernel import iptables
from cni.kernel.rulespec import meaning, quoted, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Protocol

    from cni.address import Prefix
    from cni.attachment import Attachment
    from cni.go.chains import Other

    class Target(Protocol):
        """The container's address of one family, with its subnet, and the port mappings to it."""

        prefix: Prefix
        mappings: list[Any]

    class Settings(Protocol):
        """The keys of the configuration that matter here."""

        snat: bool
        masq_all: bool
        set_mark_chain: str | None
        mappings: list[Any]

        @property
        def mark_bit(self) -> int:
            """``markMasqBit``."""

        @property
        def conditions(self) -> dict[int, list[str]]:
            """Arguments of iptables, by family."""

    # whether the owner of an entry rule and its translation is gone; raises ``Refused`` if it is not
    Judge = Callable[[Prefix, Printed, Printed], bool]

_PORTS_A_RULE = 15
_TRIES = 5
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


# the rules (pure)


def _rule(chain: str, *words: str) -> str:
    return f"-A {chain} {' '.join(quoted(word) for word in words)}"


def marking(wanted: "Settings") -> "list[str]":
    """The rules of the common chains that mark and masquerade; none without snat, or with setMarkChain."""
    if not wanted.snat or wanted.set_mark_chain is not None:
        return []
    mark = f"{1 << wanted.mark_bit:#x}/{1 << wanted.mark_bit:#x}"
    text = "CNI portfwd masquerade mark"
    return [
        _rule(SETMARK, "-m", "comment", "--comment", text, "-j", "MARK", "--set-xmark", mark),
        _rule(MASQ, "-m", "mark", "--mark", mark, "-j", "MASQUERADE"),
    ]


def _entrances() -> "list[str]":
    """The jumps to the chain of entry rules."""
    return [_rule(chain, "-m", "addrtype", "--dst-type", "LOCAL", "-j", DNAT) for chain in ("PREROUTING", "OUTPUT")]


def _masquerading() -> str:
    """The jump for masquerading, which must be before those of bridge and ptp."""
    text = "CNI portfwd requiring masquerade"
    return _rule(names.POSTROUTING, "-m", "comment", "--comment", text, "-j", MASQ)


def entries(attachment: "Attachment", wanted: "Settings", version: int) -> "list[str]":
    """The entry rules of one container: protocols in the order of their names, at most 15 ports in a rule.

    Go lists the ports of the other family too, and its CHECK requires them; the container's chain has only its own.
    """
    found = []
    comment = names.ports_comment(attachment.network, attachment.container)
    for protocol in sorted({mapping.protocol for mapping in wanted.mappings}):
        ports = [str(mapping.host_port) for mapping in wanted.mappings if mapping.protocol == protocol]
        for place in range(0, len(ports), _PORTS_A_RULE):
            listed = ",".join(ports[place : place + _PORTS_A_RULE])
            words = ["-m", "comment", "--comment", comment, "-m", "multiport", "-p", protocol]
            words += ["--destination-ports", listed, *wanted.conditions[version]]
            found.append(_rule(DNAT, *words, "-j", names.ports_chain(attachment)))
    return found


def translations(attachment: "Attachment", target: "Target", wanted: "Settings") -> "list[str]":
    """The rules of a container's chain: for each mapping the marks, then the translation."""
    found = []
    chain, address = names.ports_chain(attachment), target.prefix.address
    for mapping in _specific_first(target.mappings):
        match = ["-p", mapping.protocol, "--dport", str(mapping.host_port)]
        if mapping.host is not None:
            match += ["-d", str(mapping.host)]
        if wanted.snat:
            found += [_rule(chain, *match, *words) for words in _marks(target, wanted)]
        found.append(_rule(chain, *match, "-j", "DNAT", "--to-destination", address.with_port(mapping.port)))
    return found


def _specific_first(mappings: "list[Any]") -> "list[Any]":
    """Sort a port's mapping for all addresses behind those for one address. Otherwise the order stays, as in Go."""
    place: dict[tuple[str, int], int] = {}
    for number, mapping in enumerate(mappings):
        place.setdefault((mapping.protocol, mapping.host_port), number)
    return sorted(mappings, key=lambda each: (place[each.protocol, each.host_port], each.host is None))


def _marks(target: "Target", wanted: "Settings") -> "list[list[str]]":
    jump = ["-j", wanted.set_mark_chain or SETMARK]
    if wanted.masq_all:
        return [["-s", _ANYWHERE[target.prefix.version], *jump]]
    subnet = [["-s", str(target.prefix), *jump]]
    return subnet + ([["-s", "127.0.0.1", *jump]] if target.prefix.version == 4 else [])


# the tables


class HostPorts:
    """The host ports of one attachment in iptables."""

    def __init__(
        self, attachment: "Attachment", targets: "Sequence[Target]", wanted: "Settings", other: "Other", judge: "Judge"
    ) -> None:
        """``other`` recognises addresses of the container's other interfaces."""
        self._attachment = attachment
        self._chain = names.ports_chain(attachment)
        self._targets = targets
        self._wanted = wanted
        self._other = other
        self._judge = judge

    def make(self) -> None:
        """One iptables-restore for each family; raises ``Refused`` for a port of another container, ``CNIError``."""
        with iptables.lock():
            # read both families before the first is changed
            planned = [(target, self._changes(target)) for target in self._targets]
            for number, (target, lines) in enumerate(planned):
                try:
                    self._restore(target, lines)
                except Refused as error:
                    if not number:
                        raise
                    # not Refused: the first family was made and must be undone
                    raise CNIError(error.msg, error.details, error.code) from None

    def _restore(self, target: "Target", lines: "list[str]") -> None:
        name = iptables.to_make(target.prefix.version)
        for turn in range(_TRIES):
            fault = iptables.restore(name, lines)
            if not fault:
                return
            # another program, such as Go's portmap, made or removed a common chain meanwhile: read again
            if "exist" not in fault or turn == _TRIES - 1:
                raise CNIError(f"failed to set up host ports with {name}: {fault}", f"the rules: {'; '.join(lines)}")
            lines = self._changes(target)

    def _listed(self, name: str) -> "dict[str, list[str]]":
        return iptables.rules(name, [*names.BASE, DNAT, SETMARK, MASQ, self._chain])

    def _changes(self, target: "Target") -> "list[str]":
        """The lines for iptables-restore: make what is missing; remove leftovers of this attachment and of others."""
        existing = self._listed(iptables.to_make(target.prefix.version))
        outside = entries(self._attachment, self._wanted, target.prefix.version)
        inside = translations(self._attachment, target, self._wanted)
        deletions = [*self._stale(target, existing, outside), *self._replaced(existing, outside, inside)]
        kept = {meaning(line) for lines in existing.values() for line in lines}
        kept -= {meaning(f"-A{line[2:]}") for line in deletions}
        marks = marking(self._wanted)
        shared = [*marks, *_entrances()]
        needed = {*(line.split()[1] for line in shared), DNAT, self._chain} - {*names.BASE, *existing}
        lines = [f"-N {chain}" for chain in (SETMARK, MASQ, DNAT, self._chain) if chain in needed]
        lines += [line for line in shared if meaning(line) not in kept]
        jump = _masquerading()
        if marks and meaning(jump) not in kept:
            lines.append(jump.replace("-A POSTROUTING", "-I POSTROUTING 1", 1))
        lines += deletions
        lines += inside if any(meaning(line) not in kept for line in inside) else []
        return lines + [line for line in outside if meaning(line) not in kept]

    def _replaced(self, existing: "dict[str, list[str]]", outside: "list[str]", inside: "list[str]") -> "list[str]":
        """Deletions of the attachment's rules that are not wanted; wanted rules stay, so they keep their place."""
        if self._chain not in existing:
            return []
        jumps = [rule for rule in map(Printed, existing.get(DNAT, ())) if rule.target == self._chain]
        part = Part(self._chain, self._comment, self._other)
        own_jumps, own_rules = divide(part, jumps, [Printed(line) for line in existing[self._chain]])
        wanted = {meaning(line) for line in outside}
        deleted = [rule for rule in own_jumps if rule.meaning not in wanted]
        if [rule.meaning for rule in own_rules] != [meaning(line) for line in inside]:
            deleted += own_rules
        return [rule.deletion for rule in deleted]

    @property
    def _comment(self) -> str:
        return names.ports_comment(self._attachment.network, self._attachment.container)

    def _stale(self, target: "Target", existing: "dict[str, list[str]]", lines: "list[str]") -> "list[str]":
        """Deletions of mappings of containers that are gone; raises ``Refused`` if another container owns a port."""
        gone: list[str] = []
        listed = [rule for rule in map(Printed, existing.get(DNAT, ())) if rule.target.startswith(names.PORTS)]
        others = [rule for rule in listed if (rule.comment, rule.target) != (self._comment, self._chain)]
        wanted = self._as_printed(target, existing, lines, others)
        for held in others:
            ports = {
                port
                for entry in wanted
                if (entry.protocol, entry.conditions) == (held.protocol, held.conditions)
                for port in entry.ports & held.ports
            }
            for group in by_mapping([Printed(line) for line in existing.get(held.target, ())]) if ports else ():
                if _overlaps(target, group[-1], ports) and self._judge(target.prefix, held, group[-1]):
                    gone += [rule.deletion for rule in group]
        return gone

    def _as_printed(
        self, target: "Target", existing: "dict[str, list[str]]", lines: "list[str]", others: "list[Printed]"
    ) -> "list[Printed]":
        """Our entry rules as iptables prints them.

        We do not know how iptables prints conditions. If another rule may have the same conditions as ours, we add our
        rules where they do nothing, at the end of our chain, list them, and remove them.
        """
        wanted = [Printed(line) for line in lines]
        if not any(_may_mean_the_same(entry, other) for entry in wanted for other in others):
            return wanted
        name, chain = iptables.to_make(target.prefix.version), self._chain
        before = existing.get(chain, [])
        new = [] if chain in existing else [f"-N {chain}"]
        tried = [f"-A {chain}{line.removeprefix(f'-A {DNAT}').removesuffix(chain)}RETURN" for line in lines]
        fault = iptables.restore(name, new + tried)
        if fault:
            raise CNIError(f"failed to set up host ports with {name}: {fault}", f"the rules: {'; '.join(tried)}")
        fault, text = iptables.run(name, "-t", "nat", "-S", chain)
        printed = [Printed(line) for line in text.splitlines() if line.startswith("-A ")][len(before) :]
        away = [f"-F {chain}", f"-X {chain}"] if new else [rule.deletion for rule in printed]
        fault = fault or iptables.restore(name, away)
        if fault:
            raise CNIError(f"failed to read host ports with {name}: {fault}", f"the rules: {'; '.join(tried)}")
        return printed

    def compare(self, differ: "Callable[[CNIError], None]") -> None:
        """Pass every missing rule to ``differ``."""
        for target in self._targets:
            name = iptables.to_make(target.prefix.version)
            existing = self._listed(name)
            known = {chain: {meaning(line) for line in lines} for chain, lines in existing.items()}
            outside = entries(self._attachment, self._wanted, target.prefix.version)
            conditional, marks = self._wanted.conditions[target.prefix.version], marking(self._wanted)
            needed = [*translations(self._attachment, target, self._wanted), *_entrances(), *marks]
            needed += [_masquerading()] if marks else []
            for line in needed if conditional else needed + outside:
                chain = line.split()[1]
                if chain not in existing:
                    differ(CheckFailed(f"{name}: chain {chain} not found in table nat"))
                elif meaning(line) not in known[chain]:
                    differ(CheckFailed(f"{name}: rule {line} is missing in table nat"))
            for line in outside if conditional else ():
                # iptables itself compares them, because we do not know how it prints conditions
                fault, _ = iptables.run(name, "-t", "nat", "-C", *split(line)[1:])
                if fault:
                    differ(CheckFailed(f"{name}: rule {line} is missing in table nat"))
            for line in self._overridden(target, existing.get(self._chain, [])):
                differ(CheckFailed(f"{name}: a rule before {line} leads elsewhere", f"in chain {self._chain}"))

    def _overridden(self, target: "Target", lines: "list[str]") -> "Iterator[str]":
        """Our translations that have no effect because a rule before, not of the container's, translates the port."""
        listed = [rule for rule in map(Printed, lines) if rule.target == "DNAT" and not self._other({rule.leads_to})]
        for ours in map(Printed, translations(self._attachment, target, self._wanted)):
            same = (
                rule
                for rule in listed
                if (rule.protocol, rule.ports) == (ours.protocol, ours.ports)
                and rule.addresses in (set(), ours.addresses)
            )
            if ours.target == "DNAT" and next(same, ours).options != ours.options:
                yield ours.line


def _overlaps(target: "Target", held: Printed, ports: "set[int]") -> bool:
    return bool(held.leads_to) and any(
        mapping.host_port in held.ports & ports
        and mapping.protocol == held.protocol
        and (not held.addresses or mapping.host is None or mapping.host.packed in held.addresses)
        for mapping in target.mappings
    )


def _may_mean_the_same(entry: Printed, other: Printed) -> bool:
    """Whether two entry rules share a port and have conditions in different words, which may mean the same."""
    return bool(
        entry.protocol == other.protocol
        and entry.ports & other.ports
        and entry.conditions
        and other.conditions
        and entry.conditions != other.conditions
    )
