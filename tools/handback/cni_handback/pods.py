"""The ports, masqueraded addresses and MAC of each attachment, from our tables, in the form that Go's plugins need."""

from itertools import pairwise

from cni import macspoof, masquerade
from cni.address import ANY, Prefix
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
from cni_portmap.line import key_of, load
from cni_portmap.published import Entry, Published
from cni_portmap.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from cni_portmap.line import Key, Place


class Pod:
    """One attachment with its elements in our tables. ``link`` is the name of its host link."""

    def __init__(self, link: str, comment: str, attachment: Attachment | None) -> None:
        self.link = link
        self.comment = comment
        self.attachment = attachment
        self.published = Published()
        self.masqueraded: list[Prefix] = []
        # the MAC that the spoof check allows
        self.mac = b""
        self.death = ""
        # the owner of a port that this pod waits for, if that owner can only be written after this pod
        self.overtakes = ""

    def look(self, links: "Container[str]") -> None:
        """Set ``death`` if the container's link is gone."""
        link = self.published.link or self.link
        if (self.published.link or not self.published.entries) and link not in links:
            self.death = f"its link {link} is gone"

    def fault(self) -> str:
        """Why Go's plugins cannot take this pod over; empty if they can."""
        if self.attachment is None:
            return f"{self.comment}: its name was too long for a comment, and its link {self.link} does not show it"
        if self.mac and not can_have(self.attachment):
            return f"{self.comment}: its names are too long for Go's MAC spoof check"
        if self.published.groups():
            return f"{self.attachment}: its conditions are in nft's words, which Go's iptables chains cannot have"
        return ""

    def settings(self) -> Settings:
        """A configuration of portmap with the same ports and options."""
        masq_all = any(source in ANY.values() for source in self.published.sources)
        # a mapping of both families has two entries
        ports = {(str(entry), entry.port): _mapping(entry) for entry in self.published.entries}
        keys = {"snat": bool(self.published.sources), "masqAll": masq_all, "guardLocalnet": False}
        return Settings({**keys, "backend": "iptables", "runtimeConfig": {"portMappings": list(ports.values())}})


def _mapping(entry: Entry) -> dict[str, int | str]:
    host = "" if entry.everywhere else str(entry.host)
    return {"hostPort": entry.host_port, "containerPort": entry.port, "protocol": entry.name, "hostIP": host}


def pods(site: Site) -> list[Pod]:
    """Every attachment with ports, masquerading or a MAC spoof check."""
    kernel = site.nftables
    ports, masqueraded = Ledger(kernel, layout.LAYOUT), Ledger(kernel, masquerade.LAYOUT)
    guarded = Ledger(kernel, macspoof.LAYOUT)
    found: dict[str, Pod] = {}
    # links are in the list for their aliases, which hold longer names than comments do
    for thing in walk([HostPorts(site), Masquerade(site), MacSpoofCheck(site), PodLink(site)]):
        if isinstance(thing.kind, PodLink):
            continue
        pod = found.setdefault(thing.identity, Pod(thing.identity, thing.text, thing.attachment))
        if isinstance(thing.kind, HostPorts):
            pod.published = held(ports, thing.identity)[1]
        elif isinstance(thing.kind, Masquerade):
            pod.masqueraded = masquerade.held(masqueraded, thing.identity)
        else:
            pod.mac = macspoof.mac_of(guarded, thing.identity)
    links = {link.name for link in site.rtnl.links()}
    for pod in found.values():
        pod.look(links)
    return _in_order([found[link] for link in sorted(found)], load(ports, _entries(found.values()), whole=True))


def _entries(found: "Iterable[Pod]") -> list[Entry]:
    return [entry for pod in found for entry in pod.published.entries]


def _in_order(unsorted: list[Pod], places: "dict[Key, Place]") -> list[Pod]:
    """Sort: the owner of a port comes before the pods that wait for it, because iptables uses the first rule.

    Two pods can wait for each other's ports if pod of them was added again with more ports. Then pod port gets a new
    owner, and ``command`` reports that.
    """
    by_comment = {pod.comment: pod for pod in unsorted}
    later: dict[str, set[str]] = {pod.comment: set() for pod in unsorted}
    recorded: dict[Key, list[str]] = {}
    for pod in unsorted:
        for entry in pod.published.entries:
            recorded.setdefault(key_of(entry), []).append(pod.comment)
    for key, place in places.items():
        # a pod that lost its port still has a record of it: it comes last
        known = [*(claim.comment for claim in place.in_order()), *recorded[key]]
        order = [comment for comment in dict.fromkeys(known) if comment in by_comment]
        for first, second in pairwise(order):
            later[second].add(first)
    found: dict[str, Pod] = {}
    while len(found) < len(by_comment):
        left = [pod for pod in unsorted if pod.comment not in found]
        free = next((pod for pod in left if later[pod.comment] <= found.keys()), None)
        if free is None:
            free = left[0]
            free.overtakes = min(later[free.comment] - found.keys())
        found[free.comment] = free
    return list(found.values())
