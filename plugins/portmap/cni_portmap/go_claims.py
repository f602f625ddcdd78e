"""Host ports that containers hold in Go's layouts, in iptables' chains or in its tables ``cni_hostport``.

They come first in the packet's path: a container of ours that asks for such a port waits behind them, and answers when
they go. Leftovers of a dead one would take its packets for ever, so they are removed. CHECK finds what a container has
there. Nothing is listed unless one of Go's chains or tables exists: as long as pods of Go's plugins, or of our iptables
backend, run.
"""

from cni.address import Address
from cni.attachment import Attachment
from cni.errors import CheckFailed
from cni.kernel import iptables
from cni.kernel.compat import compared, loaded
from cni.kernel.nftables import Nftables
from cni_portmap import chains
from cni_portmap.go_rules import Listed, Seen
from cni_portmap.go_tables import TABLE, GoTables
from cni_portmap.holder import go_death, refusal, taken_over, waits
from cni_portmap.iptables_release import Removal
from cni_portmap.settings import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from cni.site import Site
    from cni_portmap.owned import Entry

_LEGACY = "iptables-legacy"
# The chains of the tables in the order in which packets meet them.
_ENTERED = ("hostip_hostports", "hostports")


def held(site: "Site", entries: "list[Entry]", refuse: bool) -> "list[Entry]":
    """The entries whose port another container holds there that is not known to be dead; with ``refuse`` raises ``Refused``.

    What dead ones have of these ports is removed.
    """
    found: list[Entry] = []
    lines: dict[str, None] = {}
    dead: dict[tuple[str, str, str], tuple[Claim, Entry, str]] = {}
    for version in iptables.FAMILIES:
        mine = [entry for entry in entries if entry.version == version]
        for claim in _claims(site.nftables, version, mine):
            for entry in mine:
                if claim.is_of(site.attachment) or not claim.overlaps(entry):
                    continue
                why = go_death(site.rtnl, claim.owner, claim.address, site.attachment, entry.address)
                if why:
                    dead[claim.table, claim.place, str(claim.address)] = claim, entry, why
                elif refuse and not claim.is_of_container(site.attachment.container):
                    raise refusal(entry, claim.name, site.attachment)
                elif entry not in found:
                    found.append(entry)
                    lines[waits(entry, claim.name, site.attachment, 1)] = None
    for claim, entry, why in dead.values():
        claim.remove(site)
        lines[taken_over(entry, claim.name, site.attachment, why)] = None
    for line in lines:
        site.say(line)
    return found


def compare(kernel: Nftables, attachment: "Attachment", entries: "list[Entry]") -> bool:
    """Whether the container has its ports there: False where it has nothing, ``CheckFailed`` where a part is missing."""
    families = {version: [entry for entry in entries if entry.version == version] for version in iptables.FAMILIES}
    claims = {
        version: [claim for claim in _claims(kernel, version, mine) if claim.is_of(attachment)]
        for version, mine in families.items()
    }
    if not any(claims.values()):
        return False
    for entry in entries:
        first = next((claim for claim in claims[entry.version] if claim.serves(entry)), None)
        if first is None or not _is_entered(kernel, entry.version, first.table):
            raise CheckFailed(f"{entry} of {attachment} is missing", "in the rules that Go's portmap made")
        if (first.address, first.port) != (entry.address, entry.port):
            raise CheckFailed(f"{entry} of {attachment} leads elsewhere", "in the rules that Go's portmap made")
    return True


def _claims(kernel: Nftables, version: int, mine: "list[Entry]") -> "Iterator[Claim]":
    """Whoever has one of these ports of one family, in the order in which packets meet them."""
    if not mine:
        return
    tables, family = kernel.tables(), iptables.FAMILIES[version]
    size, wanted = len(mine[0].address.packed), {entry.host_port for entry in mine}
    if (family, "nat") in tables and kernel.chain(family, "nat", chains.DNAT) is not None:
        yield from _by_iptables(kernel, family, wanted, size)
    if (family, TABLE) in tables:
        yield from _by_tables(kernel, family, size)
    yield from _by_legacy(version, wanted)


def _is_entered(kernel: Nftables, version: int, table: str) -> bool:
    """Whether packets get to the rules at all."""
    family = iptables.FAMILIES[version]
    if table == TABLE:
        hooked = [chain for chain in ("prerouting", "output") if kernel.chain(family, TABLE, chain) is not None]
        return bool(hooked) and all(kernel.rules(family, TABLE, chain) for chain in hooked)
    hooks = ("PREROUTING", "OUTPUT")
    if table == _LEGACY:
        there = iptables.legacy_rules(version, [*hooks])
        return all(any(Listed(line).target == chains.DNAT for line in there.get(hook, ())) for hook in hooks)
    return all(any(chains.DNAT in rule.jumps_to() for rule in kernel.rules(family, "nat", hook)) for hook in hooks)


class Claim:
    """A port of the node that a rule translates, whose it is, and where it leads to."""

    __slots__ = ("_hosts", "_ports", "_protocol", "address", "name", "owner", "place", "port", "table")

    def __init__(
        self,
        place: "tuple[str, str]",
        owner: "tuple[str, str] | None",
        match: "tuple[str, AbstractSet[int], set[str]]",
        address: Address,
        port: int,
    ) -> None:
        """``place`` is the table, and the container's chain or id; ``match`` protocol, ports of the node, its addresses.

        No addresses of the node stand for all. ``address`` and ``port`` are the container's.
        """
        self.table, self.place = place
        self.owner = owner
        self.name = f"container {self.place}" if self.table == TABLE else "/".join(owner or ("?", self.place))
        self._protocol, self._ports, self._hosts = match
        self.address = address
        self.port = port

    def is_of(self, attachment: "Attachment") -> bool:
        """Whether it is the attachment's container's."""
        if self.table == TABLE:
            return self.place == attachment.container
        return self.place == chains.chain_name(attachment.network, attachment.container)

    def is_of_container(self, container: str) -> bool:
        """Whether it is this container's, in whatever network."""
        return self.place == container if self.table == TABLE else self.owner is not None and self.owner[1] == container

    def remove(self, site: "Site") -> None:
        """Remove what the container has; its owner is known to be dead."""
        if self.table == TABLE:
            GoTables(site.of(Attachment("", self.place, "")), lambda: [self.address]).remove()
        elif self.owner is not None:
            comment = chains.comment(Attachment(*self.owner, ""))
            Removal(self.place, comment, set, site.say).everything()

    def _same_port(self, entry: "Entry") -> bool:
        return entry.host_port in self._ports and NAMES.get(entry.protocol) == self._protocol

    def overlaps(self, entry: "Entry") -> bool:
        """Whether an entry is for the same port, of some address at least."""
        return self._same_port(entry) and (entry.everywhere or not self._hosts or str(entry.host) in self._hosts)

    def serves(self, entry: "Entry") -> bool:
        """Whether it takes all that an entry is for."""
        return self._same_port(entry) and (not self._hosts or str(entry.host) in self._hosts)


def _addresses(found: "Iterable[bytes]", size: int) -> "set[str]":
    return {str(Address(value)) for value in found if len(value) == size}


def _by_iptables(kernel: Nftables, family: int, wanted: "set[int]", size: int) -> "Iterator[Claim]":
    for rule in kernel.rules(family, "nat", chains.DNAT):
        entry = Seen(rule, size)
        if wanted.isdisjoint(entry.ports):
            continue
        for translation in kernel.rules(family, "nat", entry.target):
            seen = Seen(translation, size)
            # what an entry rule does not let in, its chain does not serve
            if seen.target == "DNAT" and (not entry.protocol or seen.protocol in ("", entry.protocol)):
                ports, hosts = seen.ports & entry.ports, _addresses(compared(translation), size)
                match = seen.protocol or entry.protocol, ports, hosts
                owner = chains.owner_of(entry.comment)
                yield Claim(("nat", entry.target), owner, match, Address.parse(seen.leads_to), seen.port)


def _by_legacy(version: int, wanted: "set[int]") -> "Iterator[Claim]":
    there = iptables.legacy_rules(version, [chains.DNAT])
    for entry in map(Listed, there.get(chains.DNAT, ())):
        if wanted.isdisjoint(entry.ports):
            continue
        for rule in map(Listed, there.get(entry.target, ())):
            if rule.target == "DNAT" and rule.protocol == entry.protocol:
                match = rule.protocol, rule.ports & entry.ports, {rule.host} if rule.host else set()
                owner = chains.owner_of(entry.comment)
                yield Claim((_LEGACY, entry.target), owner, match, Address.parse(rule.leads_to), rule.port)


def _by_tables(kernel: Nftables, family: int, size: int) -> "Iterator[Claim]":
    for chain in _ENTERED:
        for rule in kernel.rules(family, TABLE, chain) if kernel.chain(family, TABLE, chain) is not None else ():
            seen, conditions = Seen(rule, size), compared(rule)
            target = loaded(rule)
            addresses = [value for value in target if len(value) == size]
            if addresses:
                match = seen.protocol, seen.ports, _addresses(conditions, size)
                port = next((int.from_bytes(value, "big") for value in target if len(value) == 2), 0)
                yield Claim((TABLE, rule.comment), None, match, Address(addresses[0]), port)
