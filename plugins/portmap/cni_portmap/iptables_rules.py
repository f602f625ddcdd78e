"""Host ports in the form of Go's portmap with iptables: made if a configuration asks for it, and compared by CHECK.

Chains and rules are exactly Go's, so that each plugin finds what the other made (``cni.go.hostports`` shows them).
"""

from cni.errors import CheckFailed, CNIError, Refused
from cni.go import names
from cni.go.chains import Part
from cni.go.hostports import Claim, by_mapping, divide
from cni.go.names import DNAT, MASQ, SETMARK
from cni.go.rules import Printed
from cni.kernel import iptables
from cni.kernel.rulespec import meaning, quoted, split
from cni_portmap.go_ports import meet
from cni_portmap.published import LOOPBACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cni.address import Address
    from cni.attachment import Attachment
    from cni.go.chains import Other
    from cni_portmap.published import Entry, Published
    from cni_portmap.settings import Settings

    # whether the owner of a claim for the port of an entry is gone; raises ``Refused``
    Judge = Callable[[Claim, Entry], bool]

_PORTS_A_RULE = 15
_TRIES = 5


# the rules (pure)


def _rule(chain: str, *words: str) -> str:
    return f"-A {chain} {' '.join(quoted(word) for word in words)}"


def _commented(chain: str, comment: str, *words: str) -> str:
    return _rule(chain, "-m", "comment", "--comment", comment, *words)


# the jumps to the chain of entry rules
_ENTRANCES = [_rule(chain, "-m", "addrtype", "--dst-type", "LOCAL", "-j", DNAT) for chain in ("PREROUTING", "OUTPUT")]
# the jump for masquerading, which must be before those of bridge and ptp
_MASQUERADING = _commented(names.POSTROUTING, "CNI portfwd requiring masquerade", "-j", MASQ)


def marking(settings: "Settings") -> list[str]:
    """The rules of the common chains that mark and masquerade; none without snat, or with setMarkChain."""
    if not settings.snat or settings.set_mark_chain is not None:
        return []
    mark = f"{1 << settings.mark_bit:#x}/{1 << settings.mark_bit:#x}"
    return [
        _commented(SETMARK, "CNI portfwd masquerade mark", "-j", "MARK", "--set-xmark", mark),
        _rule(MASQ, "-m", "mark", "--mark", mark, "-j", "MASQUERADE"),
    ]


def _entry_rule(comment: str, protocol: str, ports: str, conditions: list[str], chain: str) -> str:
    words = ["-m", "multiport", "-p", protocol, "--destination-ports", ports, *conditions, "-j", chain]
    return _commented(DNAT, comment, *words)


def entries(attachment: "Attachment", settings: "Settings", version: int) -> list[str]:
    """The entry rules of one container: protocols in the order of their names, at most 15 ports in a rule.

    Go lists the ports of the other family too, and its CHECK requires them; the container's chain has only its own.
    """
    found = []
    comment, chain = names.ports_comment(attachment.network, attachment.container), names.ports_chain(attachment)
    for protocol in sorted({mapping.protocol for mapping in settings.mappings}):
        ports = [str(mapping.host_port) for mapping in settings.mappings if mapping.protocol == protocol]
        for place in range(0, len(ports), _PORTS_A_RULE):
            listed = ",".join(ports[place : place + _PORTS_A_RULE])
            found.append(_entry_rule(comment, protocol, listed, settings.conditions[version], chain))
    return found


def translations(attachment: "Attachment", published: "Published", settings: "Settings", version: int) -> list[str]:
    """The rules of a container's chain: for each port the marks, then the translation."""
    found = []
    chain = names.ports_chain(attachment)
    for entry in _specific_first(published.of(version)):
        match = ["-p", entry.name, "--dport", str(entry.host_port)]
        match += [] if entry.everywhere else ["-d", str(entry.host)]
        for source in _marked(published, entry.address):
            found.append(_rule(chain, *match, "-s", source, "-j", settings.set_mark_chain or SETMARK))
        found.append(_rule(chain, *match, "-j", "DNAT", "--to-destination", entry.address.with_port(entry.port)))
    return found


def _specific_first(entries: "list[Entry]") -> "list[Entry]":
    """Sort a port's entry for all addresses behind those for one address. Otherwise the order stays, as in Go."""
    place: dict[bytes, int] = {}
    for number, entry in enumerate(entries):
        place.setdefault(entry.plain_key, number)
    return sorted(entries, key=lambda entry: (place[entry.plain_key], entry.everywhere))


def _marked(published: "Published", address: "Address") -> "Iterator[str]":
    """The sources whose connections are marked, in Go's words: of localhost only 127.0.0.1."""
    for source in published.sources:
        if source.version == address.version:
            at_localhost, length = source in LOOPBACK[source.version], source.length
            yield "127.0.0.1" if at_localhost else f"{address}/{length}" if length else str(source)


# the tables


class HostPorts:
    """The host ports of one attachment in iptables."""

    def __init__(
        self, attachment: "Attachment", published: "Published", settings: "Settings", other: "Other", judge: "Judge"
    ) -> None:
        """``other`` recognises addresses of the container's other interfaces."""
        self._attachment = attachment
        self._chain = names.ports_chain(attachment)
        self._comment = names.ports_comment(attachment.network, attachment.container)
        self._published = published
        self._settings = settings
        self._other = other
        self._judge = judge

    def _rules(self, version: int) -> tuple[list[str], list[str]]:
        """The entry rules, and the rules of the container's chain."""
        inside = translations(self._attachment, self._published, self._settings, version)
        return entries(self._attachment, self._settings, version), inside

    def make(self) -> None:
        """One iptables-restore for each family; raises ``Refused`` for a port of another container, ``CNIError``."""
        with iptables.lock():
            # read both families before the first is changed
            planned = [(version, self._changes(version)) for version in self._published.addresses]
            for number, (version, lines) in enumerate(planned):
                try:
                    self._restore(version, lines)
                except Refused as error:
                    if not number:
                        raise
                    # not Refused: the first family was made and must be undone
                    raise CNIError(error.msg, error.details, error.code) from None

    def _restore(self, version: int, lines: list[str]) -> None:
        name = iptables.to_make(version)
        for turn in range(_TRIES):
            fault = iptables.restore(name, lines)
            if not fault:
                return
            # another program, such as Go's portmap, made or removed a common chain meanwhile: read again
            if "exist" not in fault or turn == _TRIES - 1:
                raise CNIError(f"failed to set up host ports with {name}: {fault}", f"the rules: {'; '.join(lines)}")
            lines = self._changes(version)

    def _listed(self, name: str) -> dict[str, list[str]]:
        return iptables.rules(name, [*names.BASE, DNAT, SETMARK, MASQ, self._chain])

    def _changes(self, version: int) -> list[str]:
        """The lines for iptables-restore: make what is missing; remove leftovers of this attachment and of others."""
        existing = self._listed(iptables.to_make(version))
        outside, inside = self._rules(version)
        deletions = [*self._stale(version, existing, outside), *self._replaced(existing, outside, inside)]
        kept = {meaning(line) for lines in existing.values() for line in lines}
        kept -= {meaning(f"-A{line[2:]}") for line in deletions}
        marks = marking(self._settings)
        shared = [*marks, *_ENTRANCES]
        needed = {*(line.split()[1] for line in shared), DNAT, self._chain} - {*names.BASE, *existing}
        lines = [f"-N {chain}" for chain in (SETMARK, MASQ, DNAT, self._chain) if chain in needed]
        lines += [line for line in shared if meaning(line) not in kept]
        if marks and meaning(_MASQUERADING) not in kept:
            lines.append(_MASQUERADING.replace("-A POSTROUTING", "-I POSTROUTING 1", 1))
        lines += deletions
        lines += inside if any(meaning(line) not in kept for line in inside) else []
        return lines + [line for line in outside if meaning(line) not in kept]

    def _replaced(self, existing: dict[str, list[str]], outside: list[str], inside: list[str]) -> list[str]:
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

    def _stale(self, version: int, existing: dict[str, list[str]], outside: list[str]) -> list[str]:
        """Deletions of mappings of containers that are gone; raises ``Refused`` if another container owns a port."""
        gone: list[str] = []
        wanted = [Printed(line) for line in outside]
        for held in map(Printed, existing.get(DNAT, ())):
            if not held.target.startswith(names.PORTS) or (held.comment, held.target) == (self._comment, self._chain):
                continue
            meeting = [entry.ports & held.ports for entry in wanted if self._same(version, entry, held)]
            ports = frozenset[int]().union(*meeting)
            for group in by_mapping([Printed(line) for line in existing.get(held.target, ())]) if ports else ():
                claim = Claim("nat", held, group[-1]) if group[-1].leads_to else None
                rivals = [entry for entry in self._published.of(version) if entry.host_port in ports]
                if claim and any(self._judge(claim, entry) for entry in rivals if meet(claim, entry)):
                    gone += [rule.deletion for rule in group]
        return gone

    def _same(self, version: int, ours: Printed, held: Printed) -> bool:
        """Whether two entry rules match the same packets to a port.

        iptables itself compares different conditions, because we do not know how it prints ours.
        """
        if ours.protocol != held.protocol or ours.ports.isdisjoint(held.ports):
            return False
        if ours.conditions == held.conditions:
            return True
        if not (ours.conditions and held.conditions):
            return False
        ports, conditions = held.options.get("--dports", ""), self._settings.conditions[version]
        return self._exists(version, _entry_rule(held.comment, held.protocol, ports, conditions, held.target))

    def _exists(self, version: int, line: str) -> bool:
        return not iptables.run(iptables.to_make(version), "-t", "nat", "-C", *split(line)[1:])[0]

    def compare(self, differ: "Callable[[CNIError], None]") -> None:
        """Pass every missing rule to ``differ``."""
        for version in self._published.addresses:
            name = iptables.to_make(version)
            existing = self._listed(name)
            known = {chain: {meaning(line) for line in lines} for chain, lines in existing.items()}
            outside, inside = self._rules(version)
            conditional, marks = self._settings.conditions[version], marking(self._settings)
            needed = [*inside, *_ENTRANCES, *marks, *([_MASQUERADING] if marks else [])]
            for line in needed if conditional else needed + outside:
                chain = line.split()[1]
                if chain not in existing:
                    differ(CheckFailed(f"{name}: chain {chain} not found in table nat"))
                elif meaning(line) not in known[chain]:
                    differ(CheckFailed(f"{name}: rule {line} is missing in table nat"))
            for line in outside if conditional else ():
                if not self._exists(version, line):
                    differ(CheckFailed(f"{name}: rule {line} is missing in table nat"))
            for line in self._overridden(inside, existing.get(self._chain, [])):
                differ(CheckFailed(f"{name}: a rule before {line} leads elsewhere", f"in chain {self._chain}"))

    def _overridden(self, inside: list[str], lines: list[str]) -> "Iterator[str]":
        """Our translations that have no effect because a rule before, not of the container's, translates the port."""
        listed = [rule for rule in map(Printed, lines) if rule.target == "DNAT" and not self._other({rule.leads_to})]
        for ours in map(Printed, inside):
            same = (
                rule
                for rule in listed
                if (rule.protocol, rule.ports) == (ours.protocol, ours.ports)
                and rule.addresses in (set(), ours.addresses)
            )
            if ours.target == "DNAT" and next(same, ours).options != ours.options:
                yield ours.line
