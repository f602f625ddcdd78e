"""One attempt at a change of the table of host ports.

A first attempt is bold: it takes the table for whole and the attachment for new, and adds elements exclusively, so
that the kernel refuses it if either is not so. The next one is thorough: it looks at all that may be in the way.
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
    """What the records say of an attachment, behind the comment that names it."""
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
    """What an attachment asks for; ``refuse`` a port that another container has."""

    __slots__ = ("attachment", "given", "published", "refuse")

    def __init__(self, attachment: "Attachment", published: Published, refuse: bool = False) -> None:
        self.attachment = attachment
        self.published = published
        self.refuse = refuse
        # the addresses that it was given
        self.given = {entry.address.packed for entry in published.entries}


class Change(ledger.Change):
    """An attempt."""

    def __init__(
        self, kernel: "Nftables", rtnl: "Rtnl", groups: "dict[int, str] | None" = None, asking: bytes = b""
    ) -> None:
        """``asking`` is the identity of the namespace of the container that asks for ports, where that is known."""
        super().__init__(kernel, layout.described(groups or {}))
        self.liveness = Liveness(self, rtnl, asking)
        # what attachments that go had in the end; another one may have taken over the rest
        self.released: list[Entry] = []
        # what the attachment that asks has now, behind other owners of the same ports on single addresses
        self.answered: list[Entry] = []
        # lines for operators, once the change is made
        self.lines: list[str] = []
        self._counted: dict[Key, int] = {}

    def report(self, site: "Site") -> None:
        """Once the change is made: its lines, and the end of the flows to ports that are released."""
        for line in dict.fromkeys(self.lines):
            site.say(line)
        flows.after_delete(self.released, site)

    # make

    def make(self, request: Request, thorough: bool, bit: int, legacy: "Mapping[tuple[int, str], bool]") -> None:
        """Add what is wanted; ``thorough`` replaces what the attachment had, and looks at the owners of its ports.

        A port that another attachment has is waited for, or raises ``Refused`` where the request says so. Rules that
        are missing are restored. ``bit`` and ``legacy`` are ``Undecided``'s.
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
            for name, kind in self.table.sets.items():  # a table of an earlier version has not all
                self.transaction.add_set(name, kind)
            before = self._forget_records(request.attachment.link)
        # first: what is too large for one batch and fails half-way is found by its records, and counted at least
        self._write_records(request)
        changes = self._ask(request, before, thorough)
        self._write_counts()
        for key, old, new in changes:
            self._write_place(key, old, new)
        for source, keys in request.published.masqueraded().items():
            self._add_sources(request.attachment, source_set(source), list(keys), thorough)

    def _restore_masquerading(self, names: "set[str]") -> None:
        """The sets of source networks with their rules; of others too where one of these has no rule."""
        if self.exists and not names.issubset(self.comments(MASQUERADING.name)):
            names = {*names, *self.kernel.sets(*self.at)}
        for name in sorted(names):
            self.need(MASQUERADING, name)

    def make_way(self, request: Request) -> None:
        """Only make room, for rules that are made elsewhere. Raises ``Refused``.

        An owner of a port here answers after those rules, so it would lose the port while it lives.
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
        """What is asked for at each place: single addresses first, which the one for all would take otherwise."""
        claims: dict[Key, list[Claim]] = {}
        attachment = request.attachment
        for elements in request.published.mapped().values():
            for entry in elements.values():
                claims.setdefault(key_of(entry), []).append(Claim(attachment.comment, entry, attachment.link))
        return {key: sorted(asked, key=lambda claim: not claim.host) for key, asked in claims.items()}

    def _ask(self, request: Request, before: Published, thorough: bool) -> "list[tuple[Key, Place, Place]]":
        """Claim every port: at once where nobody has it, in line elsewhere. Places, each before and after it.

        Two elements with one key are the kernel's to refuse, so an attempt that is not thorough does not look for them.
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
        """Those whose port somebody has on other addresses."""
        kinds: dict[tuple[str, int, str], list[Entry]] = {}
        for entry in entries:
            kind = "hostip_ports" if entry.everywhere else "hostports"
            kinds.setdefault((kind, entry.version, entry.group), []).append(entry)
        found = []
        for at, members in kinds.items():
            there = self.elements(named(*at), [entry.plain_key for entry in members])
            found += [entry for entry, element in zip(members, there, strict=True) if element is not None]
        ports = {key_of(entry) for entry in found}
        return [entry for entry in entries if key_of(entry) in ports]

    def _ask_at(self, request: Request, place: Place, asked: "list[Claim]") -> None:
        """The attachment's claims of one place: those that it has stay, further ones go to the end of the line."""
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
            # the oldest in line may come before the one that asks
            has = place.has(claim)
            text = taken_over(claim.entry, owner.comment, attachment, why)
            self.lines.append(text if has else f"portmap: {owner.comment} loses {owner.entry}: {why}")
        for claim in asked:
            if place.has(claim):
                self.answered += [rival.entry for rival in place.rivals(claim) if rival.host]
                self.answered.append(claim.entry)
            self._report(attachment, place, claim)

    def _refuse(self, request: Request, place: Place, claim: Claim) -> None:
        """Raise ``Refused`` for a claim in whose place another container answers or waits, and lives."""
        attachment = request.attachment
        for other in (*place.rivals(claim), *place.waiting(claim)):
            of_it = self.liveness.is_of(other.comment, attachment.container)
            if of_it or self.liveness.death(other, attachment, request.given):
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

    def _take_out_dead(self, request: Request, place: Place, claim: Claim) -> "list[tuple[Claim, str]]":
        """Remove those who answer in the claim's place and are dead: who they were, and how that is known."""
        found = []
        for rival in list(place.rivals(claim)):
            why = self.liveness.death(rival, request.attachment, request.given)
            if why:
                place.take_out(rival.comment)
                self.released.append(rival.entry)
                found.append((rival, why))
        return found

    def _write_place(self, key: "Key", before: Place, after: Place) -> None:
        """The difference in the maps: an element whose key goes and comes again is replaced."""
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
        """Elements of a set of source networks; what a dead attachment left there goes."""
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
        """Remove what the attachment with this link name has. Whether nothing is left after that."""
        before = self._release(link)
        if self.exists and not self.transaction:
            return False
        order = Undecided(self, layout.FOLLOWED)
        if not self.exists or self.drop_if_last():
            order.withdraw(self)
            return True
        # chains of an earlier version come before iptables': there no mark is to be found yet
        if not layout.misplaced(self):
            order.write(self)
        self._write_counts()
        self.remove_sets(name for name in {source_set(source) for source in before.sources} if self.empties(name))
        for version, group in before.groups().items():
            self._tidy_group(version, group)
        return False

    def _release(self, link: str) -> Published:
        """Take an attachment's claims and records away: what it had. The next in line answer instead."""
        owner, before = held(self, link)
        for key, place in load(self, before.entries).items():
            old = place.copy()
            place.take_out(owner)
            self.released += [claim.entry for claim in old.answering.values() if claim.comment == owner]
            place.settle(lambda claim: bool(self.liveness.death(claim)))
            self._count_place(key, old, place)
            self._write_place(key, old, place)
        # last: a batch that fails half-way is taken up again from the records
        self._forget_records(link)
        return before

    def _forget_records(self, link: str) -> Published:
        """Take an attachment's records and masquerading away: what it had."""
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
        """A group of conditions whose last attachment goes loses its jumps, its chain and its maps."""
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
        """How many single addresses of the port are answered for."""
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
