"""Rules of iptables' nat table take precedence: marks show our chains, which run later, what iptables has decided.

All nat chains of a hook run one after the other, by priority. A translation is final: no later chain sees the
connection. An ACCEPT or RETURN ends only its own chain, and a later chain may still translate. Our chains come last
(``LAST``), so translations of others win. For ACCEPT and RETURN we use a mark: if a chain of iptables' nat table has
rules, we add one at its end, which only those packets reach that no rule before has decided about::

    -A PREROUTING -m comment --comment "pycni: undecided" -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x1000/0x1000

Our chain at the same hook begins with two rules for each family::

    meta nfproto ipv4 fib daddr type local meta mark & 0x1000 != 0x1000 meta mark set meta mark & 0xffffefff return
    meta nfproto ipv4 fib daddr type local meta mark set meta mark & 0xffffefff

If iptables' chain is missing, or has only jumps to chains of CNI plugins, our chain has no such rules. iptables-nft and
iptables-legacy have one bit each: with one bit for both, a packet that the first has marked and the second accepts
would look undecided.

The bits are the two below the bit that asks for masquerading (``markMasqBit``). They must differ from it: a packet that
another chain translates between iptables' chain and ours keeps the mark, and Go's rules would masquerade it.
"""

import struct

from cni.kernel import expressions as nft
from cni.kernel.backend import complaint, has_legacy, legacy_programs, unmarkable
from cni.kernel.transaction import IPV4, IPV6, OUTPUT, POSTROUTING, PREROUTING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from cni.kernel.expressions import Expression
    from cni.kernel.nftables import Nftables, Rule
    from cni.ledger import Change, Ledger

    # family and iptables' chain
    Place = tuple[int, str]

# After the chains of others: kube-proxy and iptables use -100 and 100, firewalld 10 more.
LAST = 1000
MASQ_BIT = 13
TEXT = "pycni: undecided"
_NAT = "nat"
_FAMILIES = {4: IPV4, 6: IPV6}
_HOOKS = {"PREROUTING": PREROUTING, "OUTPUT": OUTPUT, "POSTROUTING": POSTROUTING}
# In these chains only packets to addresses of the node need a mark: host ports are for those alone.
_TO_THIS_NODE = ("PREROUTING", "OUTPUT")
# Jumps to chains of CNI plugins (Go's, or ours with iptables) decide only about pods of these plugins.
_OF_PLUGINS = "CNI-"
_JUMP = nft.beginning_of_jump(_OF_PLUGINS)
_DECIDED, _UNDECIDED = "decided", "undecided"


def mark_of(bit: int) -> int:
    """The mark for iptables-nft that goes with a ``markMasqBit``."""
    return 1 << (bit - 1) % 32


def legacy_mark_of(bit: int) -> int:
    """The mark for iptables-legacy."""
    return 1 << (bit - 2) % 32


class _Chain:
    """A chain of iptables: the number of others' rules, the handles of ours, and whether ours is right: one, at the end."""

    __slots__ = ("others", "ours", "right")

    def __init__(self, rules: "Sequence[Rule]", mark: int) -> None:
        # as bytes: decoding each rule of others would take too long
        found = [(rule.handle, rule.answer.data) for rule in rules if _JUMP not in rule.answer.data]
        text, values = TEXT.encode() + b"\0", struct.pack("=II", mark, mark)
        self.ours = [handle for handle, data in found if text in data]
        self.others = len(found) - len(self.ours)
        self.right = len(self.ours) == 1 and found[-1][0] == self.ours[0] and values in found[-1][1]


class Undecided:
    """The marks for a table of ours, read in the generation in which ``write`` changes them."""

    def __init__(
        self,
        ledger: "Ledger",
        chains: "Mapping[str, str]",
        bit: int | None = None,
        legacy: "Mapping[Place, bool] | None" = None,
    ) -> None:
        """``chains`` maps iptables' chains to ours.

        ``bit`` is by default that of the last ADD. ``legacy`` is the value of ``mark_legacy``, by default as at the last ADD.
        """
        self._ledger = ledger
        self._chains = chains
        self._bit = bit if bit is not None else _bit_in(ledger.rules)
        self._legacy = legacy
        self._guards = {
            (version, chain): [comment for comment in ledger.comments(ours) if guard_version(comment) == version]
            for version in (4, 6)
            for chain, ours in chains.items()
        }
        self._found = {place: self._look(*place) for place in self._guards}

    def _look(self, version: int, chain: str) -> _Chain:
        family, kernel = _FAMILIES[version], self._ledger.kernel
        rules = kernel.rules(family, _NAT, chain)
        if rules:
            found = kernel.chain(family, _NAT, chain)
            if found is None or found.hook != _HOOKS[chain]:
                rules = []
        return _Chain(rules, mark_of(self._bit))

    def _needed(self, place: "Place", as_it_is: bool = False) -> int:
        """The mark of an undecided packet in our chain; ``as_it_is``: even if iptables' chain has no rule but ours."""
        found = self._found[place]
        mark = mark_of(self._bit) if found.others or (as_it_is and found.right) else 0
        if self._legacy is None:
            return mark | (_mark_in(self._guards[place]) & legacy_mark_of(self._bit))
        return mark | (legacy_mark_of(self._bit) if self._legacy.get(place) else 0)

    def _expected(self, place: "Place", as_it_is: bool = False) -> list[str]:
        """The comments of the rules at the beginning of our chain."""
        needed = self._needed(place, as_it_is)
        return [f"{kind}{place[0]} {self._bit} {needed:#x}" for kind in (_DECIDED, _UNDECIDED)] if needed else []

    def write(self, change: "Change") -> None:
        """Add to a change what is missing or wrong in our table and in iptables'."""
        for place, found in self._found.items():
            version, chain = place
            if not (found.right and found.others):
                self._unmark(change, place)
                if found.others:
                    of_iptables = change.transaction.of(_FAMILIES[version], _NAT)
                    of_iptables.add_rule(chain, _marking(chain, mark_of(self._bit)))
            expected = self._expected(place)
            if self._guards[place] != expected:
                change.delete_rules(self._chains[chain], self._guards[place])
                # each rule is inserted at the front, so the first one is added last
                for comment in reversed(expected):
                    expressions = _guarding(place, self._needed(place), comment.startswith(_DECIDED))
                    change.add_rule(self._chains[chain], expressions, comment, first=True)

    def _unmark(self, change: "Change", place: "Place") -> None:
        version, chain = place
        for handle in self._found[place].ours:
            change.transaction.of(_FAMILIES[version], _NAT).delete_rule(chain, handle)

    def withdraw(self, change: "Change") -> None:
        """Add to a change the removal of our rules from iptables' chains."""
        for place in self._found:
            self._unmark(change, place)

    def faults(self) -> "Iterator[str]":
        """The differences from what ``write`` makes; for CHECK."""
        for place, found in self._found.items():
            version, chain = place
            word = "iptables" if version == 4 else "ip6tables"
            if found.others and not found.right:
                what = "is not at its end" if found.ours else "is missing"
                yield f"{word}: the rule of chain {chain} that marks undecided packets {what}"
            if self._guards[place] != self._expected(place, as_it_is=True):
                # somebody added rules later, or flushed the chain
                where = f"chain {self._chains[chain]} of inet {self._ledger.table.name}"
                yield f"{where} does not match the present chain {chain} of {word}"


def _bit_in(rules: "Sequence[tuple[str, str]]") -> int:
    """The ``markMasqBit`` that our chains were made with."""
    for _, comment in rules:
        if guard_version(comment):
            return int(comment.split()[1])
    return MASQ_BIT


def guard_version(comment: str) -> int:
    """The family (4 or 6) of a rule at the beginning of our chains, by its comment; 0 for another rule."""
    words = comment.split()
    if len(words) != 3 or words[0][:-1] not in (_DECIDED, _UNDECIDED) or words[0][-1] not in "46":
        return 0
    return int(words[0][-1])


def _mark_in(guards: "Sequence[str]") -> int:
    return int(guards[0].split()[2], 16) if guards else 0


def _guarding(place: "Place", needed: int, decided: bool) -> "list[Expression]":
    """The rule that returns decided packets, or the rule for the others; both clear the bits."""
    version, chain = place
    local = [nft.TO_THIS_NODE] if chain in _TO_THIS_NODE else []
    beginning = [nft.of_family(version), *local]
    if decided:
        return [*beginning, nft.marked(needed, False), nft.unmark(needed), nft.RETURN]
    return [*beginning, nft.unmark(needed)]


def _marking(chain: str, mark: int) -> "list[Expression]":
    """The rule at the end of a chain of iptables, as iptables makes it."""
    from cni.kernel import compat

    local = [compat.to_this_node()] if chain in _TO_THIS_NODE else []
    return [compat.comment(TEXT), *local, compat.COUNTER, compat.set_mark(mark)]


# iptables-legacy


class _Nothing:
    """A context that does nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass


def legacy_lock() -> "AbstractContextManager[object]":
    """The lock that ADD holds from ``mark_legacy`` to its commit, and DEL from its commit to ``unmark_legacy``.

    Without it, the last DEL could remove a rule that another ADD has just found.
    """
    if not (has_legacy(4) or has_legacy(6)):
        return _Nothing()
    from cni.kernel import iptables

    return iptables.lock()


def mark_legacy(
    kernel: "Nftables", chains: "Mapping[str, str]", bit: int, say: "Callable[[str], None]", change: bool = True
) -> "dict[Place, bool]":
    """Add our rule to iptables-legacy's chains that have other rules; returns the chains whose bit ours must check.

    Without ``change``, for CHECK, it only passes the differences to ``say``.
    """
    programs = legacy_programs()
    if not programs or kernel.absent:  # without nf_tables, no chains of ours can exist
        return {}
    for name in unmarkable() if change else ():
        say(complaint(name))
    found: dict[Place, bool] = {}
    for version, name in programs.items():
        marks = _mark_legacy(name, chains, legacy_mark_of(bit), change, say) if name else {}
        found.update({(version, chain): marked for chain, marked in marks.items()})
    return found


def _mark_legacy(
    name: str, chains: "Mapping[str, str]", mark: int, change: bool, say: "Callable[[str], None]"
) -> "dict[str, bool]":
    from cni.kernel import iptables

    lines, marks = [], {}
    for chain in chains:
        rules = _legacy_rules(name, chain, say)
        ours = [rule for rule in rules if TEXT in rule]
        others = len(rules) > len(ours)
        right = others and ours == rules[-1:] and f"{mark:#x}/{mark:#x}" in ours[0]
        marks[chain] = others or (bool(ours) and not change)
        if others and not right and not change:
            say(f"{name}: the rule at the end of chain {chain} that marks undecided packets is missing")
        if not right:
            lines += [rule.replace("-A", "-D", 1) for rule in ours]
            lines += [f"-A {chain} {nft.printed(_marking(chain, mark))}"] if others else []
    fault = iptables.restore(name, lines) if change and lines else ""
    if fault:
        say(f"failed to add a rule at the end of the nat chains of {name}: {fault}")
        return dict.fromkeys(marks, False)
    return marks


def _legacy_rules(name: str, chain: str, say: "Callable[[str], None]") -> list[str]:
    from cni.kernel import iptables

    fault, text = iptables.run(name, "-t", _NAT, "-S", chain)
    if fault:
        say(f"failed to list chain {chain} with {name}, so its ACCEPT rules are ignored: {fault}")
    listed = [] if fault else [line for line in text.splitlines() if line.startswith("-A ")]
    return [line for line in listed if f"-j {_OF_PLUGINS}" not in line]


def compared(ledger: "Ledger", chains: "Mapping[str, str]") -> "list[str]":
    """The differences from what ADD makes, in iptables' chains and at the beginning of ours; for CHECK."""
    faults: list[str] = []
    bit = _bit_in(ledger.rules)
    legacy = mark_legacy(ledger.kernel, chains, bit, faults.append, change=False)
    return [*Undecided(ledger, chains, bit, legacy).faults(), *faults]


def unmark_legacy(chains: "Mapping[str, str]", say: "Callable[[str], None]") -> None:
    """Remove our rules from iptables-legacy's chains."""
    for name in filter(None, legacy_programs().values()):
        from cni.kernel import iptables

        rules = [rule for chain in chains for rule in _legacy_rules(name, chain, say) if TEXT in rule]
        fault = iptables.restore(name, [rule.replace("-A", "-D", 1) for rule in rules]) if rules else ""
        if fault:
            say(f"failed to remove a rule from the nat chains of {name}: {fault}")
