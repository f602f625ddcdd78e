"""The host ports of one attachment in nftables, as an effect. ``layout`` describes the table."""

from errno import EEXIST, ENOENT

from cni.errors import CheckFailed, CNIError, InvalidConfig
from cni.kernel.nftables import Nftables, NftablesError
from cni.kernel.transaction import INET, WORD
from cni.ledger import Ledger, changed
from cni.plan import Effect, Found, Kind
from cni.undecided import compared, legacy_lock, mark_legacy, unmark_legacy
from cni_portmap import flows, go_ports, layout
from cni_portmap.change import Change, held
from cni_portmap.layout import TABLE, WHERE
from cni_portmap.line import Claim, key_of, load
from cni_portmap.published import PLAIN, Published, group_of, named, source_set
from cni_portmap.settings import MASQ_BIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.plan import Differ


class HostPorts(Effect[None], Kind):
    """The host ports of one attachment, in nftables."""

    # none on DEL and GC
    published: Published = Published()
    # markMasqBit, see ``cni.undecided``
    bit: int = MASQ_BIT
    # ADD fails if another container has a port
    refuse: bool = False
    noun = "host ports"
    repairable = True

    def identify(self, attachment: "Attachment") -> str:
        """The attachment's link name."""
        return attachment.link

    def make(self) -> None:
        """Can be repeated: the attachment's old ports are replaced in the same transaction. Raises ``Refused``."""
        thorough = partly = False

        def begin(_: Nftables) -> Change:
            if partly:  # the records of that attempt name its elements; the next attempt would replace the records
                attempt = Change(self.site)
                attempt.remove(self.identity)
                attempt.commit()
            return Change(self.site, self.published, self.refuse)

        def work(change: Change) -> Change:
            nonlocal thorough, partly
            change.make(thorough, self.bit, legacy)
            try:
                change.commit()
            except NftablesError as error:
                partly = partly or error.partly
                thorough = thorough or partly or error.errno in (EEXIST, ENOENT)
                raise
            return change

        held = go_ports.held(self.site, self.published.entries, self.refuse)
        judge(self._unknown_conditions())
        with legacy_lock():
            legacy = mark_legacy(self.site.nftables, layout.FOLLOWED, self.bit, self.site.say)
            change = changed(self.site.nftables, begin, work)
        # look again: now the group has an element of ours, so nobody removes it
        _add_with_nft(self.site.nftables, self._unknown_conditions())
        change.report()
        flows.after_add([entry for entry in change.answered if entry not in held], self.site)

    def _unknown_conditions(self) -> "dict[int, str]":
        """The conditions that have no jump yet."""
        groups = self.published.groups()
        rules = self.site.nftables.rules(INET, TABLE) if groups else []
        comments = {(rule.chain, rule.comment) for rule in rules}
        return {
            version: self.published.conditions[version]
            for version, group in groups.items()
            if not comments.issuperset(layout.jumps(version, group))
        }

    def compare(self, differ: "Differ") -> None:
        """This attachment's rules, elements and records exist. Without a record, ports in Go's layouts also pass."""
        ledger = Ledger(self.site.nftables, layout.LAYOUT)
        recorded = bool(ledger.recorded(layout.ATTACHMENTS, self.attachment.link))
        try:
            if recorded or not go_ports.compare(ledger.kernel, self.attachment, self.published.entries):
                _compare(ledger, self.attachment, self.published)
        except CheckFailed as error:
            differ(error)

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have records."""
        ledger = Ledger(self.site.nftables, layout.LAYOUT)
        return ledger.found(network, lambda link: {"ports": _ports(ledger, link)})

    def discard(self, identity: str) -> None:
        """Remove all that the attachment with this link name has. Ports that another one took over stay."""

        with legacy_lock():
            begin, work = lambda _: Change(self.site), lambda change: (change, change.remove(identity))
            change, last = changed(self.site.nftables, begin, work)
            if last:
                unmark_legacy(layout.FOLLOWED, self.site.say)
        change.report()

    def describe(self) -> str:
        """The rules in nft's words, without the parts that all attachments share."""
        lines = []
        for entry in self.published.entries:
            words = self.published.conditions.get(entry.version, "")
            lines.append(f"{words + ' ' if words else ''}{entry.describe()} of {self.attachment}")
        for source in self.published.sources:
            word, pod = WORD[source.version], self.published.addresses[source.version]
            lines.append(f"ct status dnat {word} saddr {source.network} {word} daddr {pod} masquerade")
        return "\n".join(lines)


def _ports(ledger: Ledger, link: str) -> list[str]:
    """The ports of an attachment with their targets; ``in line`` marks a port that another attachment has."""
    comment, published = held(ledger, link)
    places = load(ledger, published.entries)
    found = []
    for entry in published.entries:
        host = "" if entry.everywhere else f"{entry.host} "
        waits = "" if places[key_of(entry)].has(Claim(comment, entry)) else ", in line"
        found.append(f"{entry.name} {host}{entry.host_port} to {entry.address.with_port(entry.port)}{waits}")
    return found


# conditions


def judge(conditions: "dict[int, str]") -> None:
    """Let nft parse conditions by family, before anything is changed. Raises ``InvalidConfig`` with nft's error."""
    for version, text in conditions.items():
        if not text:
            continue
        from cni.kernel import program

        chain = named("hostports", version, group_of(text))
        lines = [
            f"add table inet {TABLE}",
            f"add chain inet {TABLE} {chain}",
            f"add rule inet {TABLE} {chain} meta nfproto ipv{version} {text} return",
        ]
        fault, _ = program.run("nft", "-c", "-f", "-", stdin="\n".join([*lines, ""]))
        if fault:
            raise InvalidConfig(f"conditionsV{version} is nothing that nft understands: {text}", fault)


def _add_with_nft(kernel: Nftables, conditions: "dict[int, str]") -> None:
    """Add the jumps with conditions before the jumps without. Raises ``CNIError``."""
    if not conditions:
        return
    from cni.kernel import program

    plain = {comment for version in layout.FAMILIES for _, comment in layout.jumps(version, PLAIN)}
    # after the rules that all packets pass first, and before the jumps without conditions
    places = {
        entrance: next(rule.handle for rule in kernel.rules(INET, TABLE, entrance) if rule.comment in plain)
        for entrance in layout.FOLLOWED.values()
    }
    lines = [
        f"insert rule inet {TABLE} {entrance} position {place} {layout.conditional_jump(version, text)}"
        for version, text in conditions.items()
        for entrance, place in places.items()
    ]
    fault, _ = program.run("nft", "-f", "-", stdin="\n".join([*lines, ""]))
    if fault:
        raise CNIError(f"failed to set up conditions with nft: {fault}", f"the script was: {'; '.join(lines)}")


# CHECK


def _compare(ledger: Ledger, attachment: "Attachment", wanted: Published) -> None:
    _compare_chains(ledger, wanted)
    _compare_claims(ledger, attachment, wanted)
    for source, keys in wanted.masqueraded().items():
        if any(element is None for element in ledger.elements(source_set(source), list(keys))):
            raise CheckFailed(f"{WHERE}: connections from {source.network} to {attachment} are not masqueraded")
    for version in layout.FAMILIES:
        if sorted(ledger.fields(layout.MAPPINGS[version], attachment.link)) != sorted(wanted.records(version)):
            fault = f"the records of {attachment} are not those of its ports"
            raise CheckFailed(f"{WHERE}: {fault}", "DEL and ADD repair it")


def _compare_claims(ledger: Ledger, attachment: "Attachment", wanted: Published) -> None:
    """Each port answers, or waits in line behind its owner. A difference raises ``CheckFailed``."""
    places = load(ledger, wanted.entries)
    for entry in (entry for elements in wanted.mapped().values() for entry in elements.values()):
        claim, place = Claim(attachment.comment, entry), places[key_of(entry)]
        found = next((other for other in place.line if claim.is_same(other)), None)
        first = place.answering.get(claim.host)
        if first is not None and claim.is_same(first):
            found = first
        elif found is None and first is not None:
            raise CheckFailed(f"{WHERE}: {entry} of {attachment} belongs to {first.comment} now")
        elif found is None:
            raise CheckFailed(f"{WHERE}: {entry} of {attachment} is missing", f"in map {entry.map}")
        elif place.waits_for_nobody(claim):
            fault = f"{entry} of {attachment} waits in line, but no container has it"
            raise CheckFailed(f"{WHERE}: {fault}", "ADD of it repairs that")
        if found.entry.data != entry.data:
            raise CheckFailed(f"{WHERE}: {entry} of {attachment} leads elsewhere", f"in map {entry.map}")


def _compare_chains(ledger: Ledger, wanted: Published) -> None:
    """The rules that use the maps and sets. A rule's comment is the name of its map, set or chain."""
    needed = layout.needed_rules(wanted)
    # chains of an earlier version still work; the next ADD moves them behind the chains of others
    earlier = layout.misplaced(ledger)
    missing = needed.difference(ledger.rules, layout.leaving() if earlier else ())
    hooked = [*layout.FOLLOWED.values(), layout.MASQUERADING.name]
    for chain in dict.fromkeys([*hooked, *sorted(chain for chain, _ in needed)]):
        found = ledger.chain(chain)
        if found is None or (chain in hooked and found.hook is None):
            raise CheckFailed(f"{WHERE}: its chain {chain} is missing", "DEL and ADD make it again")
        lost = sorted(comment for where, comment in missing if where == chain)
        if lost:
            raise CheckFailed(f"{WHERE}: chain {chain} has no rule for {', '.join(lost)}")
    for fault in () if earlier else compared(ledger, layout.FOLLOWED):
        raise CheckFailed(f"host ports: {fault}", "the next ADD or DEL of a pod with host ports repairs it")
