"""Whose a rule is in Go's chains, where two attachments may share a container's chain.

The chain's name is made of network and container id with nothing between them and without the interface: two interfaces
of one container share it, and so do two containers whose names join alike. Of the latter the entry rules' comments tell
which ports are whose, of the former the addresses that the rules lead to. (pure)
"""

from cni.address import Address
from cni.kernel import compat
from cni.kernel.rulespec import meaning, split
from cni_portmap.settings import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from typing import TypeVar

    from cni.kernel.nftables import Rule

    R = TypeVar("R", "Listed", "Seen")


class Listed:
    """A rule as iptables lists it, with what is asked of it."""

    __slots__ = ("line", "meaning", "options")

    def __init__(self, line: str) -> None:
        self.line = line
        self.meaning = meaning(line)
        self.options = dict(self.meaning)

    @property
    def target(self) -> str:
        """Where it jumps to."""
        return self.options.get("-j", "")

    @property
    def comment(self) -> str:
        """Its comment; conditions may have another behind it."""
        words = split(self.line)
        return words[words.index("--comment") + 1] if "--comment" in words[:-1] else ""

    @property
    def protocol(self) -> str:
        """``tcp`` and the like."""
        return self.options.get("-p", "")

    @property
    def ports(self) -> "frozenset[int]":
        """The host ports that it is for."""
        text = self.options.get("--dports", "") or self.options.get("--dport", "")
        return frozenset(int(port) for port in text.split(",") if port.isdigit())

    @property
    def conditions(self) -> "frozenset[tuple[str, str]]":
        """What an entry rule asks for besides protocol and ports."""
        usual = ("-A", "-j", "-p", "--dports", "--dport", "--comment")
        return frozenset((name, value) for name, value in self.meaning if name not in usual)

    @property
    def host(self) -> str:
        """The node's address that it is restricted to, the empty text for all."""
        return self.options.get("-d", "").partition("/")[0]

    @property
    def leads_to(self) -> str:
        """The container's address of a translation, the empty text for other rules."""
        destination = self.options.get("--to-destination", "")
        return destination[1:].split("]")[0] if destination.startswith("[") else destination.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The container's port of a translation, 0 for other rules."""
        text = self.options.get("--to-destination", "").rpartition(":")[2]
        return int(text) if text.isdigit() else 0


class Seen:
    """The same read over netlink, as far as it is asked of a rule there."""

    __slots__ = ("_information", "comment", "leads_to", "ports", "protocol", "rule", "target")

    def __init__(self, rule: "Rule", size: int) -> None:
        """``size`` is that of an address, 4 or 16."""
        self.rule = rule
        self.comment = compat.comment_of(rule)
        values = compat.compared(rule)
        self.protocol = next((NAMES[value[0]] for value in values if len(value) == 1 and value[0] in NAMES), "")
        single = {int.from_bytes(value, "big") for value in values if len(value) == 2}
        self.ports = frozenset(single | compat.ports_of(rule))
        self.target, self._information = compat.target_of(rule)
        # struct nf_nat_range2: flags, then the address
        self.leads_to = str(Address(self._information[4 : 4 + size])) if self.target == "DNAT" else ""
        self.target = next(iter(rule.jumps_to()), self.target)

    @property
    def port(self) -> int:
        """The container's port of a translation."""
        return int.from_bytes(self._information[36:38], "big")


class AllBut:
    """The addresses of the container's other interfaces, where only this attachment's are known: by prevResult."""

    def __init__(self, known: "Sequence[Address]") -> None:
        """Of a family of which none is known, none is another's."""
        self._known: dict[int, set[str]] = {}
        for address in known:
            self._known.setdefault(address.version, set()).add(str(address))

    def __contains__(self, text: object) -> bool:
        known = self._known.get(6 if ":" in str(text) else 4)
        return bool(text) and known is not None and text not in known


def by_mapping(rules: "Sequence[R]") -> "list[list[R]]":
    """A container's own chain cut into mappings: each ends in its translation."""
    groups: list[list[R]] = [[]]
    for rule in rules:
        groups[-1].append(rule)
        if rule.target == "DNAT":
            groups.append([])
    return [group for group in groups if group]


def going(
    entries: "Sequence[R]", rules: "Sequence[R]", comment: str, living: "Container[str]"
) -> "tuple[list[R], list[list[R]]]":
    """Of the entry rules to a container's chain and of its rules those of one attachment: entries, and mappings.

    ``comment`` is what its entry rules bear, ``living`` are addresses of the container's other interfaces.
    """
    own = [entry for entry in entries if entry.comment == comment]
    shared = len(own) < len(entries)
    claimed = {(entry.protocol, port) for entry in own for port in entry.ports}
    mine, used = [], set()
    for group in by_mapping(rules):
        last = group[-1]
        its = {(last.protocol, port) for port in last.ports}
        if last.leads_to in living or (shared and claimed.isdisjoint(its)):
            used |= its
        else:
            mine.append(group)
    return [entry for entry in own if not any((entry.protocol, port) in used for port in entry.ports)], mine
