"""One attempt to change the table of host ports.

The first attempt is fast: it assumes that the table is complete and the attachment is new. It adds elements
exclusively, so the kernel refuses them if the assumption is wrong. The next attempt is thorough: it reads all elements
that may conflict.
"""

from cni import ledger
from cni.address import Address, Prefix
from cni.undecided import Undecided
from cni_portmap import flows, layout
from cni_portmap.holder import Liveness, refusal, taken_over, waits
from cni_portmap.layout import ATTACHMENTS, FAMILIES, MAPPINGS, MASQUERADING, NAMESPACES, SOURCES
from cni_portmap.line import Claim, Place, key_of, line_data, line_key, load
from cni_portmap.published import Entry, Published, named, number, source_set, two_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cni.site import Site
    from cni_portmap.line import Key

_MIXED = (
    "the other container has it in nftables, and rules of iptables would take it away: leave backend out here,"
    " remove the other container, or choose another port"
)


def held(table: ledger.Ledger, link: str) -> "tuple[str, Published]":
    """An attachment's comment, and its ports from the records."""
    found = table.recorded(ATTACHMENTS, link)
    if not found:
        return "", Published()
    name, groups = Published.parsed(table.unpacked(ATTACHMENTS, found[0]))
    entries = [
        Entry.parse(fields, groups[version]) for version in FAMILIES for fields in table.fields(MAPPINGS[version], link)
    ]
    sources = [
        Prefix(Address(address), number(length))
        for version in FAMILIES
        for address, length in table.fields(SOURCES[version], link)
    ]
    return found[0].comment, Published(entries, sources, name)


class Change(ledger.Change):
    """An attempt to change the table."""

    def __init__(self, site: "Site", published: Published | None = None, refuse: bool = False) -> None:
        """``published`` are the ports that the attachment asks for. With ``refuse``, another's port is an error."""
        self.published = published or Published()
        super().__init__(site.nftables, layout.described(self.published.groups()))
        self.site = site
        self.attachment = site.attachment
        self.refuse = refuse
        self.liveness = Liveness(self, site, self.published)
        # entries that removed attachments still had; others may have taken over the rest
        self.released: list[Entry] = []
        # entries that the asking attachment has now, after those of other owners of the ports on single addresses
        self.answered: list[Entry] = []
        # lines for operators, printed after the change is made
        self.lines: list[str] = []
        # the ports that it changes
        self._places: dict[Key, Place] = {}

    def report(self) -> None:
        """After the change is made: print its lines, and remove UDP flows to released ports."""
        for line in dict.fromkeys(self.lines):
            self.site.say(line)
        flows.after_delete(self.released, self.site)

    # make

    def make(self, thorough: bool, bit: int, legacy: "Mapping[tuple[int, str], bool]") -> None:
        """Add the ports. ``thorough`` replaces the attachment's old ports, and looks at the owners of its ports.

        The attachment waits in line for a port that another one has, or ``Refused`` is raised with ``refuse``. Missing
        rules are restored. ``bit`` and ``legacy`` are for ``Undecided``.
        """
        misplaced = layout.misplaced(self)
        if misplaced and layout.has_conditions(self):
            from cni_portmap import earlier

            earlier.move_behind(self.kernel)
        thorough = thorough and self.exists
        self.restore(*(chain.name for chain in layout.ENTRANCES if misplaced))
        sources = self.published.masqueraded()
        self._restore_masquerading({source_set(source) for source in sources})
        Undecided(self, layout.FOLLOWED, bit, legacy).write(self)
        before = Published()
        if thorough:
            for name, kind in self.table.sets.items():  # a table of an earlier version lacks some
                self.transaction.add_set(name, kind)
            before = self._forget_records(self.attachment.link)
        # records and counts first: if several batches are needed and one fails, the records name the elements
        self._write_records()
        self._ask(before, thorough)
        self._write_counts()
        self._write_places()
        for source, keys in sources.items():
            self._add_sources(source_set(source), list(keys), thorough)

    def _restore_masquerading(self, names: "set[str]") -> None:
        """Restore the sets of source networks and their rules; if one of these has no rule, restore all such rules."""
        if self.exists and not names.issubset(self.comments(MASQUERADING.name)):
            names = {*names, *self.kernel.sets(*self.at)}
        for name in sorted(names):
            self.need(MASQUERADING, name)

    def make_way(self) -> "Change":
        """Remove dead owners of ports that get rules outside of this table. Raises ``Refused`` for a live owner.

        Packets meet those rules first, so a live owner would lose its port.
        """
        claims, attachment = self._claims(), self.attachment
        self._places = load(self, self.published.entries, whole=True)
        for key, place in self._places.items():
            place.take_out(attachment.comment)
            for claim in claims.get(key, ()):
                while self._take_out_dead(place, claim):
                    place.settle(self.liveness.death)
                for rival in place.rivals(claim):
                    if not self.liveness.is_of(rival.comment, attachment.container):
                        raise refusal(claim.entry, rival.comment, attachment, "" if self.refuse else _MIXED)
                    self.lines.append(f"portmap: {claim.entry} leads to {attachment} first, then to {rival.comment}")
        self._write_places()
        self._write_counts()
        return self

    # owners and lines

    def _claims(self) -> "dict[Key, list[Claim]]":
        """The new claims by place. Claims for single addresses come first, or the one for all would take them."""
        claims: dict[Key, list[Claim]] = {}
        for elements in self.published.mapped().values():
            for entry in elements.values():
                claim = Claim(self.attachment.comment, entry, self.attachment.link)
                claims.setdefault(key_of(entry), []).append(claim)
        return {key: sorted(asked, key=lambda claim: not claim.host) for key, asked in claims.items()}

    def _ask(self, before: Published, thorough: bool) -> None:
        """Claim every port: a free one is taken, for others the claim waits.

        An attempt that is not thorough does not look for elements with the same key: the kernel refuses them.
        """
        claims = self._claims()
        every = [claim.entry for asked in claims.values() for claim in asked]
        contested = [*every, *before.entries] if thorough else self._contested(every) if self.exists else []
        read = load(self, contested, whole=True)
        self._places = {**{key: Place() for key in claims if key not in read}, **read}
        for key, place in self._places.items():
            self._ask_at(place, claims.get(key, []))

    def _contested(self, entries: "list[Entry]") -> "list[Entry]":
        """The entries whose port has an owner on other addresses."""
        kinds: dict[tuple[str, int, str], list[Entry]] = {}
        for entry in entries:
            kind = "hostip_ports" if entry.everywhere else "hostports"
            kinds.setdefault((kind, entry.version, entry.group), []).append(entry)
        found = []
        for at, members in kinds.items():
            elements = self.elements(named(*at), [entry.plain_key for entry in members])
            found += [entry for entry, element in zip(members, elements, strict=True) if element is not None]
        ports = {key_of(entry) for entry in found}
        return [entry for entry in entries if key_of(entry) in ports]

    def _ask_at(self, place: Place, asked: "list[Claim]") -> None:
        """Put the attachment's claims into a place: those that it has stay, new ones go to the end of the line."""
        hosts, attachment = {claim.host for claim in asked}, self.attachment
        place.take_out(attachment.comment, lambda claim: claim.host in hosts)
        dead: list[tuple[Claim, Claim, str]] = []
        for claim in asked:
            dead += [(claim, *found) for found in self._take_out_dead(place, claim)]
            if self.refuse and not place.has(claim) and not place.position(claim):
                self._refuse(place, claim)
            place.ask(claim)
        place.settle(self.liveness.death)
        for claim, owner, why in dead:
            # an older claim in line may get the port instead
            has = place.has(claim)
            text = taken_over(claim.entry, owner.comment, attachment, why)
            self.lines.append(text if has else f"portmap: {owner.comment} loses {owner.entry}: {why}")
        for claim in asked:
            if place.has(claim):
                self.answered += [rival.entry for rival in place.rivals(claim) if rival.host]
                self.answered.append(claim.entry)
            self._report(place, claim)

    def _refuse(self, place: Place, claim: Claim) -> None:
        """Raise ``Refused`` if another live container answers or waits in the claim's place."""
        for other in (*place.rivals(claim), *place.waiting(claim)):
            same_container = self.liveness.is_of(other.comment, self.attachment.container)
            if not same_container and not self.liveness.death(other):
                raise refusal(claim.entry, other.comment, self.attachment)

    def _report(self, place: Place, claim: Claim) -> None:
        """Lines for operators if the attachment waits for the port, or does not have it on all addresses."""
        rivals, position = list(place.rivals(claim)), place.position(claim)
        if rivals and position:
            first = next((each for each in rivals if each.host == claim.host), rivals[0])
            self.lines.append(waits(claim.entry, first.comment, self.attachment, position))
            return
        for rival in rivals if not claim.host else ():
            self.lines.append(
                f"portmap: {rival.entry} is held by {rival.comment};"
                f" {self.attachment} has the port on all other addresses, and there too when that one is gone"
            )

    def _take_out_dead(self, place: Place, claim: Claim) -> "list[tuple[Claim, str]]":
        """Remove dead owners from the claim's place. Returns their claims, each with the reason why it is dead."""
        found = [(rival, why) for rival in place.rivals(claim) if (why := self.liveness.death(rival))]
        for rival, _ in found:
            place.take_out(rival.comment)
            self.released.append(rival.entry)
        return found

    def _write_places(self) -> None:
        """Write the changes of the places into the maps."""
        for (version, group, port), place in self._places.items():
            answering, line = place.before
            for host in dict.fromkeys([*answering, *place.answering]):
                name, old, new = "hostips" if host else "hostports", answering.get(host), place.answering.get(host)
                self._replace(named(name, version, group), host + port, old, new, lambda new: new.entry.data)
            name = named("line", version, group)
            for at in range(max(len(line), len(place.line))):
                old, new = (claims[at] if at < len(claims) else None for claims in (line, place.line))
                self._replace(name, line_key(port, at), old, new, line_data)

    def _write_counts(self) -> None:
        """Write the number of single addresses of each port that have an owner."""
        for (version, group, key), place in self._places.items():
            change = sum(map(bool, place.answering)) - sum(map(bool, place.before[0]))
            if not change:
                continue
            name = named("hostip_ports", version, group)
            element = self.element(name, key) if self.exists else None
            count = change
            if element is not None:
                count += number(element.data)
                self.delete(name, key)
            if count > 0:
                self.add(name, key, two_bytes(count))

    def _replace(
        self, name: str, key: bytes, old: "Claim | None", new: "Claim | None", data: "Callable[[Claim], bytes]"
    ) -> None:
        if old is not None and old is not new:
            self.delete(name, key)
        if new is not None and old is not new:
            self.add(name, key, data(new), new.comment)

    def _add_sources(self, name: str, keys: "list[bytes]", thorough: bool) -> None:
        """Add elements to a set of source networks; elements of a dead attachment are replaced."""
        if thorough:
            for key, element in zip(keys, self.elements(name, keys), strict=True):
                if element is not None and not self.deletes(name, key):
                    self.delete(name, key)
        for key in keys:
            self.add(name, key, comment=self.attachment.comment)

    def _write_records(self) -> None:
        attachment, published = self.attachment, self.published
        self.record(ATTACHMENTS, attachment, [published.record()])
        identity = [published.namespace[at : at + 4] for at in range(0, len(published.namespace), 4)]
        self.record(NAMESPACES, attachment, [identity] if identity else [])
        for version in FAMILIES:
            sources = [source for source in published.sources if source.version == version]
            fields = [[source.network.address.packed, two_bytes(source.length)] for source in sources]
            self.record(SOURCES[version], attachment, fields)
            self.record(MAPPINGS[version], attachment, published.records(version))

    # remove

    def remove(self, link: str) -> bool:
        """Remove all that the attachment with this link name has. Returns whether the table is removed or did not exist."""
        before = self._release(link)
        if self.exists and not self.transaction:
            return False
        order = Undecided(self, layout.FOLLOWED)
        if not self.exists or self.drop_if_last():
            order.withdraw(self)
            return True
        # chains of an earlier version come before iptables' chains, so packets have no mark there
        if not layout.misplaced(self):
            order.write(self)
        self._write_counts()
        self.remove_sets(name for name in {source_set(source) for source in before.sources} if self.empties(name))
        for version, group in before.groups().items():
            self._tidy_group(version, group)
        return False

    def _release(self, link: str) -> Published:
        """Remove an attachment's claims and records, and return its ports. The next in line answer instead."""
        owner, before = held(self, link)
        self._places = load(self, before.entries)
        for place in self._places.values():
            self.released += [claim.entry for claim in place.answering.values() if claim.comment == owner]
            place.take_out(owner)
            place.settle(self.liveness.death)
        self._write_places()
        # records last: if a batch fails, the next attempt needs them
        self._forget_records(link)
        return before

    def _forget_records(self, link: str) -> Published:
        """Remove an attachment's records and masquerading, and return its ports."""
        owner, before = held(self, link)
        if not owner:
            return before
        for source, keys in before.masqueraded().items():
            name = source_set(source)
            for element in self.elements(name, list(keys)):
                if element is not None and element.comment == owner:
                    self.delete(name, element.key)
        for version in FAMILIES:
            self.erase(MAPPINGS[version], link, len(before.records(version)))
            self.erase(SOURCES[version], link, sum(source.version == version for source in before.sources))
        self.erase(ATTACHMENTS, link, 1)
        self.erase(NAMESPACES, link, len(self.recorded(NAMESPACES, link)))
        return before

    def _tidy_group(self, version: int, group: str) -> None:
        """Remove a group's jumps, chain and maps if it has no ports any more."""
        if not all(self.empties(named(kind, version, group)) for kind in ("hostips", "hostports")):
            return
        for entrance, chain in layout.jumps(version, group):
            self.delete_rules(entrance, {chain})
        has_line = self.kernel.has_set(*self.at, named("line", version, group))
        self.transaction.flush_chain(named("hostports", version, group))
        self.transaction.delete_chain(named("hostports", version, group))
        for kind in ("hostips", "hostports", "hostip_ports", *(("line",) if has_line else ())):
            self.transaction.delete_set(named(kind, version, group))
