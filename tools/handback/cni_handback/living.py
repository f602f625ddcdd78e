"""What our tables hold: every attachment with its ports and its masqueraded addresses, as Go's plugins need it."""

from itertools import pairwise

from cni import macspoof, masquerade
from cni.address import PROTOCOL_NAMES, Address, Prefix
from cni.attachment import Attachment
from cni.go.macspoof import can_have
from cni.inventory import walk
from cni.ledger import Ledger
from cni.links.pair import PodLink
from cni.macspoof import MacSpoofCheck
from cni.masquerade import Masquerade
from cni.site import Site
from cni_portmap import layout
from cni_portmap.change import held
from cni_portmap.hostports import HostPorts
from cni_portmap.owned import EVERYWHERE, Entry, Owned
from cni_portmap.places import key_of, load
from cni_portmap.settings import Mapping, Settings, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from cni_portmap.line import Place
    from cni_portmap.places import Key


class Living:
    """One attachment, by its host link's name, with what it has in our tables."""

    def __init__(self, link: str, comment: str, attachment: Attachment | None) -> None:
        self.link = link
        self.comment = comment
        self.attachment = attachment
        self.owned = Owned()
        self.masqueraded: list[Prefix] = []
        # the MAC that its frames are checked for
        self.mac = b""
        self.death = ""
        # another that has a port which this one waits for, and is written after it all the same
        self.overtakes = ""

    def look(self, links: "Container[str]") -> None:
        """Note why the container does not live any more, as far as its link shows."""
        link = self.owned.link or self.link
        if (self.owned.link or not self.owned.entries) and link not in links:
            self.death = f"its link {link} is gone"

    @property
    def addresses(self) -> set[Address]:
        """The container's addresses that ports lead to."""
        return {entry.address for entry in self.owned.entries}

    def fault(self) -> str:
        """Why Go's plugins cannot have it; the empty text if they can."""
        if self.attachment is None:
            return f"{self.comment}: its name was too long for a comment, and its link {self.link} does not tell it"
        if self.mac and not can_have(self.attachment):
            return f"{self.comment}: its names are too long for Go's MAC spoof check"
        if self.owned.groups():
            return f"{self.attachment}: its conditions are in nft's words, which Go's iptables chains cannot have"
        return ""

    def settings(self) -> Settings:
        """The configuration of portmap that gives the same."""
        masq_all = any(source in EVERYWHERE.values() for source in self.owned.sources)
        keys = {"snat": bool(self.owned.sources), "masqAll": masq_all, "guardLocalnet": False}
        mappings = {
            str((one.protocol, one.host, one.host_port, one.port)): one for one in map(_mapping, self.owned.entries)
        }
        settings = Settings({**keys, "backend": "iptables"})
        settings.mappings = list(mappings.values())
        return settings

    def targets(self) -> list[Target]:
        """The container's address of each family, with the subnet that it is masqueraded for."""
        found = []
        for version in layout.FAMILIES:
            entries = [entry for entry in self.owned.entries if entry.version == version]
            if entries:
                address = entries[0].address
                lengths = [source.length for source in self.owned.sources if source.length and address in source]
                length = max(lengths, default=address.bits)
                found.append(Target(Prefix(address, length), [_mapping(entry) for entry in entries]))
        return found


def _mapping(entry: Entry) -> Mapping:
    return Mapping(
        PROTOCOL_NAMES[entry.protocol], entry.host_port, entry.port, None if entry.everywhere else entry.host
    )


def living(site: Site) -> list[Living]:
    """Every attachment that has ports, is masqueraded, or has a MAC spoof check."""
    kernel = site.nftables
    ports, masqueraded = Ledger(kernel, layout.LAYOUT), Ledger(kernel, masquerade.LAYOUT)
    guarded = Ledger(kernel, macspoof.LAYOUT)
    found: dict[str, Living] = {}
    # the links are longest: where a comment was shortened, their aliases may not be
    for thing in walk([HostPorts(site), Masquerade(site), MacSpoofCheck(site), PodLink(site)]):
        if isinstance(thing.kind, PodLink):
            continue
        one = found.setdefault(thing.identity, Living(thing.identity, thing.text, thing.attachment))
        if isinstance(thing.kind, HostPorts):
            one.owned = held(ports, thing.identity)[1]
        elif isinstance(thing.kind, Masquerade):
            one.masqueraded = masquerade.held(masqueraded, thing.identity)
        else:
            one.mac = macspoof.mac_of(guarded, thing.identity)
    links = {link.name for link in site.rtnl.links()}
    for one in found.values():
        one.look(links)
    return _in_order([found[link] for link in sorted(found)], load(ports, _entries(found.values()), whole=True))


def _entries(every: "Iterable[Living]") -> list[Entry]:
    return [entry for one in every for entry in one.owned.entries]


def _in_order(every: list[Living], places: "dict[Key, Place]") -> list[Living]:
    """The owner of each port before those in line for it: of iptables' rules the first one counts.

    Two may wait for each other's ports only if one of them was added again with more ports; then one port changes
    hands, which ``command`` reports.
    """
    by_comment = {one.comment: one for one in every}
    later: dict[str, set[str]] = {one.comment: set() for one in every}
    recorded: dict[Key, list[str]] = {}
    for one in every:
        for entry in one.owned.entries:
            recorded.setdefault(key_of(entry), []).append(one.comment)
    for key, place in places.items():
        # one that lost its port to another still has it recorded: it comes last
        known = [*(claim.comment for claim in place.in_order()), *recorded[key]]
        order = [comment for comment in dict.fromkeys(known) if comment in by_comment]
        for first, second in pairwise(order):
            later[second].add(first)
    found: dict[str, Living] = {}
    while len(found) < len(by_comment):
        left = [one for one in every if one.comment not in found]
        free = next((one for one in left if later[one.comment] <= found.keys()), None)
        if free is None:
            free = left[0]
            free.overtakes = min(later[free.comment] - found.keys())
        found[free.comment] = free
    return list(found.values())
