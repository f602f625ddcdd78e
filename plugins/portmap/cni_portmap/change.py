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
from cni_portmap.line import Claim, Place
from cni_portmap.places import key_of, line_data, line_key, load
from cni_portmap.published import Entry, Published, named, number, source_set, two_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cni.attachment import Attachment
    from cni.kernel.nftables import Nftables
    from cni.kernel.rtnl import Rtnl
    from cni.site import Site
    from cni_portmap.places import Key

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


class Request:
    """The ports that an attachment asks for. With ``refuse``, a port of another container is an error."""

    __slots__ = ("attachment", "given", "published", "refuse")

    def __init__(self, attachment: "Attachment", published: Published, refuse: bool = False) -> None:
        self.attachment = attachment
        self.published = published
        self.refuse = refuse
        self.given = {address.packed for address in published.addresses.values()}


class Change(ledger.Change):
    """An attempt to change the table."""

    def __init__(
        self, kernel: "Nftables", rtnl: "Rtnl", groups: "dict[int, str] | None" = None, asking: bytes = b""
    ) -> None:
        """``asking`` is the identity of the namespace of the container that asks for ports, if known."""
        super().__init__(kernel, layout.described(groups or {}))
        self.liveness = Liveness(self, rtnl, asking)
        # entries that removed attachments still had; others may have taken over the rest
        self.released: list[Entry] = []
        # entries that the asking attachment has now, after those of other owners of the ports on single addresses
        self.answered: list[Entry] = []
        # lines for operators, printed after the change is made
        self.lines: list[str] = []
        self._counted: dict[Key, int] = {}

    def report(self, site: "Site") -> None:
        """After the change is made: print its lines, and remove UDP flows to released ports."""
        for line in dict.fromkeys(self.lines):
            site.say(line)
        flows.after_delete(self.released, site)

    # make

    def make(self, request: Request, thorough: bool, bit: int, legacy: "Mapping[tuple[int, str], bool]") -> None:
        """Add the ports. ``thorough`` replaces the attachment's old ports, and looks at the owners of its ports.

        The attachment waits in line for a port that another one has, or ``Refused`` is raised if the request asks for
        that. Missing rules are restored. ``bit`` and ``legacy`` are for ``Undecided``.
        """
        misplaced = layout.misplaced(self)
        if misplaced and layout.has_conditions(self):
            from cni_portmap import earlier

            earlier.move_behind(self.kernel)
        thorough = thorough and self.exists
        self.restore(*(chain.name for chain in layout.ENTRANCES if misplaced))
        self._restore_masquerading({source_set(source) for source in request.published.masqueraded()})
        Undecided(self, layout.FOLLOWED, bit, legacy).write(self)
        before = Published()
        if thorough:
            for name, kind in self.table.sets.items():  # a table of an earlier version lacks some
                self.transaction.add_set(name, kind)
            before = self._forget_records(request.attachment.link)
        # records and counts first: if several batches are needed and one fails, the records name the elements
        self._write_records(request)
        changes = self._ask(request, before, thorough)
        self._write_counts()
        for key, old, new in changes:
            self._write_place(key, old, new)
        for source, keys in request.published.masqueraded().items():
            self._add_sources(request.attachment, source_set(source), list(keys), thorough)

    def _restore_masquerading(self, names: "set[str]") -> None:
        """Restore the sets of source networks and their rules; if one of these has no rule, restore all such rules."""
        if self.exists and not names.issubset(self.comments(MASQUERADING.name)):
            names = {*names, *self.kernel.sets(*self.at)}
        for name in sorted(names):
            self.need(MASQUERADING, name)

    def make_way(self, request: Request) -> None:
        """Remove dead owners of ports that get rules outside of this table. Raises ``Refused`` for a live owner.

        Packets meet those rules first, so a live owner would lose its port.
        """
        claims, attachment = self._claims(request), request.attachment
        places = load(self, request.published.entries, whole=True)
        for key, place in places.items():
            before = place.copy()
            place.take_out(attachment.comment)
            for claim in claims.get(key, ()):
                while any(self._take_out_dead(request, place, claim)):
                    place.settle(lambda other: bool(self.liveness.death(other)))
                for rival in place.rivals(claim):
                    if not self.liveness.is_of(rival.comment, attachment.container):
                        raise refusal(claim.entry, rival.comment, attachment, "" if request.refuse else _MIXED)
                    self.lines.append(f"portmap: {claim.entry} leads to {attachment} first, then to {rival.comment}")
            self._count_place(key, before, place)
            self._write_place(key, before, place)
        self._write_counts()

    # owners and lines

    def _claims(self, request: Request) -> "dict[Key, list[Claim]]":
        """The request's claims by place. Claims for single addresses come first, or the one for all would take them."""
        claims: dict[Key, list[Claim]] = {}
        attachment = request.attachment
        for elements in request.published.mapped().values():
            for entry in elements.values():
                claims.setdefault(key_of(entry), []).append(Claim(attachment.comment, entry, attachment.link))
        return {key: sorted(asked, key=lambda claim: not claim.host) for key, asked in claims.items()}

    def _ask(self, request: Request, before: Published, thorough: bool) -> "list[tuple[Key, Place, Place]]":
        """Claim every port: a free one is taken, for others the claim waits. Returns each place before and after.

        An attempt that is not thorough does not look for elements with the same key: the kernel refuses them.
        """
        claims = self._claims(request)
        every = [claim.entry for asked in claims.values() for claim in asked]
        contested = [*every, *before.entries] if thorough else self._contested(every) if self.exists else []
        places = load(self, contested, whole=True)
        changes = []
        for key, asked in claims.items():
            if key not in places:
                self.answered += [claim.entry for claim in asked]
                changes.append((key, Place(), Place({claim.host: claim for claim in asked})))
        for key, place in places.items():
            old = place.copy()
            self._ask_at(request, place, claims.get(key, []))
            changes.append((key, old, place))
        for key, old, new in changes:
            self._count_place(key, old, new)
        return changes

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

    def _ask_at(self, request: Request, place: Place, asked: "list[Claim]") -> None:
        """Put the attachment's claims into a place: those that it has stay, new ones go to the end of the line."""
        hosts, attachment = {claim.host for claim in asked}, request.attachment
        place.take_out(attachment.comment, lambda claim: claim.host in hosts)
        dead: list[tuple[Claim, Claim, str]] = []
        for claim in asked:
            dead += [(claim, *found) for found in self._take_out_dead(request, place, claim)]
            if request.refuse and not place.has(claim) and not place.position(claim):
                self._refuse(request, place, claim)
            place.ask(claim)
        place.settle(
            lambda claim: (
                claim.comment != attachment.comment and bool(self.liveness.death(claim, attachment, request.given))
            )
        )
        for claim, owner, why in dead:
            # an older claim in line may get the port instead
            has = place.has(claim)
            text = taken_over(claim.entry, owner.comment, attachment, why)
            self.lines.append(text if has else f"portmap: {owner.comment} loses {owner.entry}: {why}")
        for claim in asked:
            if place.has(claim):
                self.answered += [rival.entry for rival in place.rivals(claim) if rival.host]
                self.answered.append(claim.entry)
            self._report(attachment, place, claim)

    def _refuse(self, request: Request, place: Place, claim: Claim) -> None:
        """Raise ``Refused`` if another live container answers or waits in the claim's place."""
        attachment = request.attachment
        for other in (*place.rivals(claim), *place.waiting(claim)):
            same_container = self.liveness.is_of(other.comment, attachment.container)
            if not same_container and not self.liveness.death(other, attachment, request.given):
                raise refusal(claim.entry, other.comment, attachment)

    def _report(self, attachment: "Attachment", place: Place, claim: Claim) -> None:
        """Lines for operators if the attachment waits for the port, or does not have it on all addresses."""
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

    def _take_out_dead(self, request: Request, place: Place, claim: Claim) -> "list[tuple[Claim, str]]":
        """Remove dead owners from the claim's place. Returns their claims, each with the reason why it is dead."""
        found = []
        for rival in list(place.rivals(claim)):
            why = self.liveness.death(rival, request.attachment, request.given)
            if why:
                place.take_out(rival.comment)
                self.released.append(rival.entry)
                found.append((rival, why))
        return found

    def _write_place(self, key: "Key", before: Place, after: Place) -> None:
        """Write the difference between two states of a place into the maps."""
        version, group, port = key
        for host in dict.fromkeys([*before.answering, *after.answering]):
            old, new = before.answering.get(host), after.answering.get(host)
            if old is new:
                continue
            name = named("hostips" if host else "hostports", version, group)
            if old is not None:
                self.delete(name, host + port)
            if new is not None:
                self.add(name, host + port, new.entry.data, new.comment)
        name = named("line", version, group)
        for place in range(max(len(before.line), len(after.line))):
            was = before.line[place] if place < len(before.line) else None
            now = after.line[place] if place < len(after.line) else None
            if was is now:
                continue
            if was is not None:
                self.delete(name, line_key(port, place))
            if now is not None:
                self.add(name, line_key(port, place), line_data(now), now.comment)

    def _add_sources(self, attachment: "Attachment", name: str, keys: "list[bytes]", thorough: bool) -> None:
        """Add elements to a set of source networks; elements of a dead attachment are replaced."""
        if thorough:
            for key, element in zip(keys, self.elements(name, keys), strict=True):
                if element is not None and not self.deletes(name, key):
                    self.delete(name, key)
        for key in keys:
            self.add(name, key, comment=attachment.comment)

    def _write_records(self, request: Request) -> None:
        attachment, published = request.attachment, request.published
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
        for key, place in load(self, before.entries).items():
            old = place.copy()
            place.take_out(owner)
            self.released += [claim.entry for claim in old.answering.values() if claim.comment == owner]
            place.settle(lambda claim: bool(self.liveness.death(claim)))
            self._count_place(key, old, place)
            self._write_place(key, old, place)
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

    # counts

    def _count_place(self, key: "Key", before: Place, after: Place) -> None:
        """Count the change in the number of single addresses of the port that have an owner."""
        change = sum(map(bool, after.answering)) - sum(map(bool, before.answering))
        if change:
            self._counted[key] = self._counted.get(key, 0) + change

    def _write_counts(self) -> None:
        for (version, group, key), change in self._counted.items():
            name = named("hostip_ports", version, group)
            element = self.element(name, key) if change and self.exists else None
            count = (number(element.data) if element is not None else 0) + change
            if element is not None:
                self.delete(name, key)
            if change and count > 0:
                self.add(name, key, two_bytes(count))
