"""One attempt at a change of the table: what is there was looked at in one generation, and is changed in the same.

A first attempt is bold: it takes the table for whole and the attachment for new, and adds elements exclusively, so
that the kernel refuses it if either is not so. The next one is thorough: it looks at all that may be in the way.
"""

from cni.address import Address, Prefix
from cni.kernel.nftables import Element, Nftables
from cni.kernel.transaction import INET, Transaction
from cni.undecided import Undecided
from cni_portmap import layout
from cni_portmap.holder import Lives, refusal, taken_over, waits
from cni_portmap.layout import FAMILIES, TABLE
from cni_portmap.line import Claim, Place
from cni_portmap.owned import Entry, Owned, named, number, source_set, two_bytes
from cni_portmap.places import key_of, line_data, line_key, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cni.attachment import Attachment
    from cni.kernel.records import Records
    from cni.kernel.rtnl import Rtnl
    from cni_portmap.places import Key

_MIXED = (
    "the other container has it in nftables, and rules of iptables would take it away: leave backend out here,"
    " remove the other container, or choose another port"
)


class Change:
    """An attempt. What it deletes is noted, so that it does not stand in the way of what it adds."""

    def __init__(self, kernel: Nftables, rtnl: "Rtnl", asking: bytes = b"") -> None:
        """``asking`` is the identity of the namespace of the container that asks for ports, where that is known."""
        self.kernel = kernel
        self.generation = kernel.generation()
        self.mappings = {version: layout.mappings(kernel, version) for version in FAMILIES}
        self.sources = {version: layout.sources(kernel, version) for version in FAMILIES}
        self.attachments = layout.attachments(kernel)
        self.namespaces = layout.namespaces(kernel)
        self.transaction = Transaction(INET, TABLE)
        self.lives = Lives(kernel, rtnl, asking)
        # what attachments that go had in the end; another one may have taken over the rest
        self.released: list[Entry] = []
        # what the attachment that asks has now, behind other owners of the same ports on single addresses
        self.answered: list[Entry] = []
        # lines for operators, once the change is made
        self.lines: list[str] = []
        self._gone: dict[str, set[bytes]] = {}
        self._counted: dict[Key, int] = {}

    @property
    def _records(self) -> "list[Records]":
        return [*self.mappings.values(), *self.sources.values(), self.attachments, self.namespaces]

    # make

    def make(
        self,
        attachment: "Attachment",
        wanted: Owned,
        thorough: bool,
        refuse: bool = False,
        marks: "tuple[int, Mapping[tuple[int, str], bool]] | None" = None,
    ) -> None:
        """Add what is wanted; ``thorough`` replaces what the attachment had, and looks at the owners of its ports.

        A port that another attachment has is waited for, or, with ``refuse``, raises ``Refused``. Rules that somebody
        took away are put back: a map that no packet is looked up in would serve nobody. ``marks`` are ``Undecided``'s
        bit and what iptables-legacy has.
        """
        listed = self.kernel.rule_comments(INET, TABLE)
        order = Undecided(self.kernel, TABLE, layout.FOLLOWED, listed, *(marks or ()))
        rules = set(listed)
        misplaced = layout.misplaced(self.kernel, rules)
        if misplaced and layout.has_conditions(rules):
            from cni_portmap import earlier

            earlier.move_behind(self.kernel)
        if misplaced:
            layout.replace_entrances(self.transaction)
            rules = {(chain, comment) for chain, comment in rules if chain not in layout.FOLLOWED.values()}
        missing = (layout.shared_rules() | layout.needed_rules(wanted)) - rules
        fresh = not rules and not self.kernel.has_table(INET, TABLE)
        if missing:
            self._repair(wanted, rules, missing, fresh)
        order.write(self.transaction, emptied=misplaced)
        held = Owned()
        if thorough and not fresh:
            self._complete(wanted)
            held = self._forget_records(attachment.link)
        # first: what is too large for one batch and fails half-way is found by its records, and counted at least
        self._write_records(attachment, wanted)
        changes = self._ask(attachment, wanted, held, thorough and not fresh, fresh, refuse)
        self._write_counts(fresh)
        for key, before, after in changes:
            self._write_place(key, before, after)
        for source, keys in wanted.masqueraded().items():
            self._add_sources(attachment, source_set(source), list(keys), thorough and not fresh)
        self.kernel.commit(self.transaction, self.generation)

    def _complete(self, wanted: Owned) -> None:
        """The maps that a table of an earlier version has not."""
        for records in self._records:
            self.transaction.add_set(records.name, records.type)
        for version, group in {(entry.version, entry.group) for entry in wanted.entries}:
            layout.add_line(self.transaction, version, group)

    def _repair(
        self, wanted: Owned, rules: "set[tuple[str, str]]", missing: "set[tuple[str, str]]", fresh: bool
    ) -> None:
        """Make the table, or what is missing of it beside the ``rules`` that are there."""
        layout.add_table(self.transaction, self._records)
        layout.add_rules(self.transaction, missing)
        for version, group in wanted.groups().items():
            if not missing.isdisjoint(layout.group_rules(version, group)):
                layout.add_group(self.transaction, version, group)
        for source in wanted.masqueraded():
            layout.add_source_set(self.transaction, source)
        sets = [] if fresh else self.kernel.sets(INET, TABLE)
        lengths = {layout.source_of(name) for name in (*sets, *(source_set(source) for source in wanted.masqueraded()))}
        there = {comment for chain, comment in rules if chain == layout.POSTROUTING_CHAIN}
        for found in sorted(length for length in lengths if length is not None):
            if f"from{found[0]}_{found[1]}" not in there:
                layout.add_source_rule(self.transaction, *found)

    def make_way(self, attachment: "Attachment", wanted: Owned, refuse: bool = False) -> None:
        """Only make room, for rules that are made elsewhere. Raises ``Refused``.

        An owner of a port here answers after those rules, so it would lose the port while it lives.
        """
        claims = self._claims(attachment, wanted)
        places = load(self.kernel, wanted.entries, whole=True)
        for key, place in places.items():
            before = place.copy()
            place.take_out(attachment.comment)
            for claim in claims.get(key, ()):
                while any(self._take_out_dead(place, claim, attachment, wanted)):
                    place.settle(lambda other: bool(self.lives.death(other)))
                for rival in place.rivals(claim):
                    if not self.lives.is_of(rival.comment, attachment.container):
                        raise refusal(claim.entry, rival.comment, attachment, "" if refuse else _MIXED)
                    self.lines.append(f"portmap: {claim.entry} leads to {attachment} first, then to {rival.comment}")
            self._count_place(key, before, place)
            self._write_place(key, before, place)
        self._write_counts(False)
        self.kernel.commit(self.transaction, self.generation)

    # owners and lines

    def _claims(self, attachment: "Attachment", wanted: Owned) -> "dict[Key, list[Claim]]":
        """What is asked for at each place: single addresses first, which the one for all would take otherwise."""
        claims: dict[Key, list[Claim]] = {}
        for elements in wanted.mapped().values():
            for entry in elements.values():
                claims.setdefault(key_of(entry), []).append(Claim(attachment.comment, entry, attachment.link))
        return {key: sorted(asked, key=lambda claim: not claim.host) for key, asked in claims.items()}

    def _ask(
        self, attachment: "Attachment", wanted: Owned, held: Owned, thorough: bool, fresh: bool, refuse: bool
    ) -> "list[tuple[Key, Place, Place]]":
        """Claim every port: at once where nobody has it, in line elsewhere. Places, each before and after it.

        Two elements with one key are the kernel's to refuse, so an attempt that is not thorough does not look for them.
        """
        claims = self._claims(attachment, wanted)
        every = [claim.entry for asked in claims.values() for claim in asked]
        contested = [*every, *held.entries] if thorough else [] if fresh else self._contested(every)
        places = load(self.kernel, contested, whole=True)
        changes = []
        for key, asked in claims.items():
            if key not in places:
                self.answered += [claim.entry for claim in asked]
                changes.append((key, Place(), Place({claim.host: claim for claim in asked})))
        for key, place in places.items():
            before = place.copy()
            self._ask_at(attachment, wanted, place, claims.get(key, []), refuse)
            changes.append((key, before, place))
        for key, before, after in changes:
            self._count_place(key, before, after)
        return changes

    def _contested(self, entries: "list[Entry]") -> "list[Entry]":
        """Those whose port somebody has on other addresses."""
        kinds: dict[tuple[str, int, str], list[Entry]] = {}
        for entry in entries:
            kind = "hostip_ports" if entry.everywhere else "hostports"
            kinds.setdefault((kind, entry.version, entry.group), []).append(entry)
        found = []
        for at, members in kinds.items():
            there = self._elements(named(*at), [entry.plain_key for entry in members])
            found += [entry for entry, element in zip(members, there, strict=True) if element is not None]
        ports = {key_of(entry) for entry in found}
        return [entry for entry in entries if key_of(entry) in ports]

    def _ask_at(
        self, attachment: "Attachment", wanted: Owned, place: Place, asked: "list[Claim]", refuse: bool
    ) -> None:
        """The attachment's claims of one place: those that it has stay, further ones go to the end of the line."""
        hosts = {claim.host for claim in asked}
        given = {entry.address.packed for entry in wanted.entries}
        place.take_out(attachment.comment, lambda claim: claim.host in hosts)
        dead: list[tuple[Claim, Claim, str]] = []
        for claim in asked:
            dead += [(claim, *found) for found in self._take_out_dead(place, claim, attachment, wanted)]
            if refuse and not place.has(claim) and not place.position(claim):
                self._refuse(attachment, place, claim, given)
            place.ask(claim)
        place.settle(
            lambda claim: claim.comment != attachment.comment and bool(self.lives.death(claim, attachment, given))
        )
        for claim, owner, why in dead:
            # the oldest in line may come before the one that asks
            has = place.has(claim)
            text = taken_over(claim.entry, owner.comment, attachment, why)
            self.lines.append(text if has else f"portmap: {owner.comment} loses {owner.entry}: {why}")
        for claim in asked:
            if place.has(claim):
                self.answered += [rival.entry for rival in place.rivals(claim) if rival.host]
                self.answered.append(claim.entry)
            self._report(attachment, place, claim)

    def _refuse(self, attachment: "Attachment", place: Place, claim: Claim, given: "set[bytes]") -> None:
        """Raise ``Refused`` for a claim in whose place another container answers or waits, and lives."""
        for other in (*place.rivals(claim), *place.waiting(claim)):
            if self.lives.is_of(other.comment, attachment.container) or self.lives.death(other, attachment, given):
                continue
            raise refusal(claim.entry, other.comment, attachment)

    def _report(self, attachment: "Attachment", place: Place, claim: Claim) -> None:
        """Lines for operators about a port that the attachment has to wait for, or has not on all addresses."""
        rivals = list(place.rivals(claim))
        if not rivals:
            return
        position = place.position(claim)
        if position:
            first = next((each for each in rivals if each.host == claim.host), rivals[0])
            self.lines.append(waits(claim.entry, first.comment, attachment, position))
            return
        for rival in rivals if not claim.host else ():
            self.lines.append(
                f"portmap: {rival.entry} is held by {rival.comment};"
                f" {attachment} has the port on all other addresses, and there too when that one is gone"
            )

    def _take_out_dead(
        self, place: Place, claim: Claim, attachment: "Attachment", wanted: Owned
    ) -> "list[tuple[Claim, str]]":
        """Remove those who answer in the claim's place and are dead: who they were, and how that is known."""
        given = {entry.address.packed for entry in wanted.entries}
        found = []
        for rival in list(place.rivals(claim)):
            why = self.lives.death(rival, attachment, given)
            if why:
                place.take_out(rival.comment)
                self.released.append(rival.entry)
                found.append((rival, why))
        return found

    def _count_place(self, key: "Key", before: Place, after: Place) -> None:
        """How many single addresses of the port are answered for."""
        change = sum(map(bool, after.answering)) - sum(map(bool, before.answering))
        if change:
            self._count(key, change)

    def _write_place(self, key: "Key", before: Place, after: Place) -> None:
        """The difference in the maps: an element whose key goes and comes again is replaced."""
        version, group, port = key
        for host in dict.fromkeys([*before.answering, *after.answering]):
            old, new = before.answering.get(host), after.answering.get(host)
            if old is new:
                continue
            name = named("hostips" if host else "hostports", version, group)
            if old is not None:
                self._delete(name, host + port)
            if new is not None:
                self._add(name, host + port, new.entry.data, new.comment)
        name = named("line", version, group)
        for place in range(max(len(before.line), len(after.line))):
            was = before.line[place] if place < len(before.line) else None
            now = after.line[place] if place < len(after.line) else None
            if was is now:
                continue
            if was is not None:
                self._delete(name, line_key(port, place))
            if now is not None:
                self._add(name, line_key(port, place), line_data(now), now.comment)

    def _add_sources(self, attachment: "Attachment", name: str, keys: "list[bytes]", thorough: bool) -> None:
        """Elements of a set of source networks; what a dead attachment left there goes."""
        if thorough:
            for key, element in zip(keys, self._elements(name, keys), strict=True):
                if element is not None and key not in self._gone.get(name, ()):
                    self._delete(name, key)
        for key in keys:
            self.transaction.add_element(name, key, comment=attachment.comment)

    def _write_records(self, attachment: "Attachment", wanted: Owned) -> None:
        self.attachments.write(self.transaction, attachment, [wanted.record()])
        identity = [wanted.namespace[at : at + 4] for at in range(0, len(wanted.namespace), 4)]
        self.namespaces.write(self.transaction, attachment, [identity] if identity else [])
        for version in FAMILIES:
            entries = [entry for entry in wanted.entries if entry.version == version]
            sources = [source for source in wanted.sources if source.version == version]
            fields = [[source.network.address.packed, two_bytes(source.length)] for source in sources]
            self.sources[version].write(self.transaction, attachment, fields)
            self.mappings[version].write(self.transaction, attachment, [entry.record() for entry in entries])

    # remove

    def remove(self, link: str) -> bool:
        """Remove what the attachment with this link name has. Whether nothing is left after that."""
        held = self._forget(link)
        rules = self.kernel.rule_comments(INET, TABLE)
        there = bool(rules) or self.kernel.has_table(INET, TABLE)
        if there and not self.transaction:
            return False
        order = Undecided(self.kernel, TABLE, layout.FOLLOWED, rules)
        last = not there or not self._held_beside(self.attachments.name)
        if last:
            self.transaction = Transaction(INET, TABLE)
            if there:
                self.transaction.delete_table()
            order.withdraw(self.transaction)
        else:
            # chains of an earlier version come before iptables': there no mark is to be found yet
            if not layout.misplaced(self.kernel, set(rules)):
                order.write(self.transaction)
            self._write_counts(False)
            self._tidy_sources({source_set(source) for source in held.sources})
            for version, group in held.groups().items():
                self._tidy_group(version, group)
        self.kernel.commit(self.transaction, self.generation)
        return last

    def held(self, link: str) -> Owned:
        """What the records tell of an attachment."""
        return self._held(link)[1]

    def _held(self, link: str) -> "tuple[str, Owned]":
        """The same behind the comment that tells whose it is."""
        owner, told = self.attachments.owned(link)
        if not told:
            return owner, Owned()
        name, groups = Owned.told(told[0])
        entries = [
            Entry.parse(fields, groups[version]) for version in FAMILIES for fields in self.mappings[version].of(link)
        ]
        sources = [
            Prefix(Address(address), number(length))
            for version in FAMILIES
            for address, length in self.sources[version].of(link)
        ]
        return owner, Owned(entries, sources, name)

    def _forget(self, link: str) -> Owned:
        """Take an attachment's claims and records away: what it had. The next in line answer instead."""
        owner, held = self._held(link)
        for key, place in load(self.kernel, held.entries).items():
            before = place.copy()
            place.take_out(owner)
            self.released += [claim.entry for claim in before.answering.values() if claim.comment == owner]
            place.settle(lambda claim: bool(self.lives.death(claim)))
            self._count_place(key, before, place)
            self._write_place(key, before, place)
        # last: a batch that fails half-way is taken up again from the records
        self._forget_records(link)
        return held

    def _forget_records(self, link: str) -> Owned:
        """Take an attachment's records and masquerading away: what it had."""
        owner, held = self._held(link)
        if not owner:
            return held
        for source, keys in held.masqueraded().items():
            name = source_set(source)
            for element in self._elements(name, list(keys)):
                if element is not None and element.comment == owner:
                    self._delete(name, element.key)
        for version in FAMILIES:
            entries = [entry for entry in held.entries if entry.version == version]
            sources = [source for source in held.sources if source.version == version]
            self._erase(self.mappings[version], link, len(entries))
            self._erase(self.sources[version], link, len(sources))
        self._erase(self.attachments, link, 1)
        self._erase(self.namespaces, link, len(self.namespaces.of(link)))
        return held

    def _erase(self, records: "Records", link: str, count: int) -> None:
        self._gone.setdefault(records.name, set()).update(records.erase(self.transaction, link, count))

    def _tidy_sources(self, names: "set[str]") -> None:
        """Sets of source networks whose last element goes lose their rule, and go."""
        empty = {name for name in names if not self._held_beside(name)}
        if empty:
            self._delete_rules(layout.POSTROUTING_CHAIN, empty)
            for name in sorted(empty):
                self.transaction.delete_set(name)

    def _tidy_group(self, version: int, group: str) -> None:
        """A group of conditions whose last attachment goes loses its jumps, its chain and its maps."""
        if any(self._held_beside(named(kind, version, group)) for kind in ("hostips", "hostports")):
            return
        for name, comment in layout.jumps(version, group):
            self._delete_rules(name, {comment})
        has_line = self.kernel.has_set(INET, TABLE, named("line", version, group))
        layout.delete_group(self.transaction, version, group, has_line)

    # both

    def _delete_rules(self, chain: str, comments: "set[str]") -> None:
        for rule in self.kernel.rules(INET, TABLE, chain):
            if rule.comment in comments:
                self.transaction.delete_rule(chain, rule.handle)

    def _elements(self, name: str, keys: "list[bytes]") -> "list[Element | None]":
        return self.kernel.elements_of(INET, TABLE, name, keys)

    def _held_beside(self, name: str) -> bool:
        return self.kernel.holds_beside(INET, TABLE, name, list(self._gone.get(name, ())))

    def _delete(self, name: str, key: bytes) -> None:
        self._gone.setdefault(name, set()).add(key)
        self.transaction.delete_element(name, key)

    def _add(self, name: str, key: bytes, data: bytes, comment: str) -> None:
        self._gone.get(name, set()).discard(key)
        self.transaction.add_element(name, key, data, comment)

    def _count(self, place: "Key", change: int) -> None:
        self._counted[place] = self._counted.get(place, 0) + change

    def _write_counts(self, fresh: bool) -> None:
        for (version, group, key), change in self._counted.items():
            name = named("hostip_ports", version, group)
            (element,) = self._elements(name, [key]) if change and not fresh else (None,)
            count = (number(element.data) if element is not None else 0) + change
            if element is not None:
                self.transaction.delete_element(name, key)
            if change and count > 0:
                self.transaction.add_element(name, key, two_bytes(count))
