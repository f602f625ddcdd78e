"""One attempt at a change of the table: what is there was looked at in one generation, and is changed in the same.

A first attempt is bold: it takes the table for whole and the attachment for new, and adds elements exclusively, so
that the kernel refuses it if either is not so. The next one is thorough: it looks at all that may be in the way.
"""

from cni.address import Address, Prefix
from cni.kernel.nftables import Element, Nftables
from cni.kernel.transaction import INET, Transaction
from cni.undecided import Undecided
from cni_portmap import layout
from cni_portmap.holder import death, take_over
from cni_portmap.layout import FAMILIES, TABLE
from cni_portmap.owned import Entry, Owned, named, number, source_set, two_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cni.kernel.records import Records
    from cni.kernel.rtnl import Rtnl
    from cni.names import Attachment


class Change:
    """An attempt. What it deletes is noted, so that it does not stand in the way of what it adds."""

    def __init__(self, kernel: Nftables, rtnl: "Rtnl", say: "Callable[[str], None]") -> None:
        self.kernel = kernel
        self.rtnl = rtnl
        self.say = say
        self.generation = kernel.generation()
        self.mappings = {version: layout.mappings(kernel, version) for version in FAMILIES}
        self.sources = {version: layout.sources(kernel, version) for version in FAMILIES}
        self.attachments = layout.attachments(kernel)
        self.transaction = Transaction(INET, TABLE)
        # what the attachment really had, as against what was another's by then
        self.released: list[Entry] = []
        self._gone: dict[str, set[bytes]] = {}
        self._counted: dict[tuple[int, str, bytes], int] = {}

    @property
    def _records(self) -> "list[Records]":
        return [*self.mappings.values(), *self.sources.values(), self.attachments]

    # make

    def make(
        self,
        attachment: "Attachment",
        wanted: Owned,
        thorough: bool,
        bit: int | None = None,
        legacy: "Mapping[tuple[int, str], bool] | None" = None,
    ) -> None:
        """Add what is wanted; ``thorough`` replaces what the attachment had, and makes room. Raises ``Refused``.

        Rules that somebody took away are put back: a map that no packet is looked up in would serve nobody. ``bit`` and
        ``legacy`` are ``Undecided``'s.
        """
        listed = self.kernel.rule_comments(INET, TABLE)
        order = Undecided(self.kernel, TABLE, layout.FOLLOWED, listed, bit, legacy)
        rules = set(listed)
        misplaced = layout.misplaced(self.kernel, rules)
        if misplaced:
            layout.replace_entrances(self.transaction)
            rules = {(chain, comment) for chain, comment in rules if chain not in layout.FOLLOWED.values()}
        missing = (layout.shared_rules() | layout.needed_rules(wanted)) - rules
        fresh = not rules and not self.kernel.has_table(INET, TABLE)
        if missing:
            self._repair(wanted, rules, missing, fresh)
        order.write(self.transaction, emptied=misplaced)
        if thorough and not fresh:
            self._forget(attachment.link)
        # first: what is too large for one batch and fails half-way is found by its records, and counted at least
        self._write_records(attachment, wanted)
        for name, elements in wanted.mapped().items():
            if not fresh:
                self._make_room(attachment, wanted, name, elements, thorough)
            for entry in elements.values():
                if not entry.everywhere:
                    self._count(entry, 1)
        self._write_counts(fresh)
        for name, elements in wanted.mapped().items():
            for key, entry in elements.items():
                self.transaction.add_element(name, key, entry.data, attachment.comment)
        for source, keys in wanted.masqueraded().items():
            self._add_sources(attachment, source_set(source), list(keys), thorough and not fresh)
        self.kernel.commit(self.transaction, self.generation)

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

    def make_way(self, attachment: "Attachment", wanted: Owned) -> None:
        """Only make room, for rules that are made elsewhere. Raises ``Refused``."""
        for name, elements in wanted.mapped().items():
            self._make_room(attachment, wanted, name, elements, True)
        self._write_counts(False)
        self.kernel.commit(self.transaction, self.generation)

    def _make_room(
        self, attachment: "Attachment", wanted: Owned, name: str, elements: "dict[bytes, Entry]", thorough: bool
    ) -> None:
        """Whoever holds the same, or the same port on other addresses, is dead, or the ADD is refused.

        Two elements with one key are the kernel's to refuse, so they are looked for only then.
        """
        entries = list(elements.values())
        first = entries[0]
        if thorough:
            self._take_over(attachment, wanted, name, entries, self._elements(name, list(elements)))
        plain = [entry.plain_key for entry in entries]
        if not first.everywhere:
            general = named("hostports", first.version, first.group)
            self._take_over(attachment, wanted, general, entries, self._elements(general, plain))
            return
        counts = self._elements(named("hostip_ports", first.version, first.group), plain)
        for entry, count in zip(entries, counts, strict=True):
            place = first.version, first.group, entry.plain_key
            if (number(count.data) if count else 0) + self._counted.get(place, 0) > 0:
                self._clear_hostips(attachment, wanted, entry)

    def _clear_hostips(self, attachment: "Attachment", wanted: Owned, entry: Entry) -> None:
        """Find, in the whole map, who holds a port on single addresses: only where somebody does."""
        name = named("hostips", entry.version, entry.group)
        found = [
            element
            for element in self.kernel.elements(INET, TABLE, name)
            if element.key.endswith(entry.plain_key) and element.comment != attachment.comment
        ]
        self._take_over(attachment, wanted, name, [entry] * len(found), found)

    def _take_over(
        self,
        attachment: "Attachment",
        wanted: Owned,
        name: str,
        entries: "list[Entry]",
        found: "list[Element] | list[Element | None]",
    ) -> None:
        """Remove elements whose holders are dead; raises ``Refused`` for one that lives."""
        for entry, element in zip(entries, found, strict=True):
            if element is None or element.key in self._gone.get(name, ()):
                continue
            if element.comment != attachment.comment:
                given = {each.address.packed for each in wanted.entries}
                why = death(self.kernel, self.rtnl, element, attachment, given)
                take_over(entry, element.comment, attachment, why, self.say)
            self._delete(name, element.key)
            if name.startswith("hostips"):
                self._count(entry, -1)

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
        """Take an attachment's elements and records away; an element that is another's by now stays. What it had."""
        owner, held = self._held(link)
        if not owner:
            return held
        for name, elements in held.mapped().items():
            for entry, element in zip(elements.values(), self._elements(name, list(elements)), strict=True):
                if element is not None and element.comment == owner:
                    self._delete(name, element.key)
                    self.released.append(entry)
                    if not entry.everywhere:
                        self._count(entry, -1)
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
        layout.delete_group(self.transaction, version, group)

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

    def _count(self, entry: Entry, change: int) -> None:
        place = (entry.version, entry.group, entry.plain_key)
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
