"""Host ports in the layouts of Go's plugin: as an effect of one attachment, and as rivals of ours.

ADD makes iptables' chains if the configuration asks for iptables. Go's plugin makes the same chains, so DEL and GC look
for them for every attachment.

A packet meets Go's rules first. So a container of ours that asks for the same port waits, and answers when Go's rules
are gone. Rules of a dead container would take the packets for ever, so they are removed. CHECK also accepts ports in
Go's layouts. Rules are listed only if one of Go's chains or tables exists.
"""

from cni.address import PROTOCOLS, Address
from cni.attachment import ALIAS_MAX, beginning, is_alias
from cni.errors import CheckFailed
from cni.go import names
from cni.kernel.transaction import IPV4, IPV6
from cni.ledger import changed
from cni.plan import Effect, Found, Kind, all_of
from cni_portmap import flows
from cni_portmap.change import Change
from cni_portmap.holder import REUSED, refusal, taken_over, waits
from cni_portmap.published import Entry, Published
from cni_portmap.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni.address import Prefix
    from cni.attachment import Attachment
    from cni.go.chains import Other
    from cni.go.hostports import Claim
    from cni.go.rules import Rule
    from cni.kernel.nftables import Nftables
    from cni.kernel.rtnl import Link, Rtnl
    from cni.plan import Differ
    from cni.site import Site
    from cni_portmap.iptables_rules import HostPorts, Judge


def forget_flows(site: "Site") -> "Callable[[Sequence[Rule]], None]":
    """A function that removes the flows of removed translations."""

    def gone(translations: "Sequence[Rule]") -> None:
        entries = []
        for rule in translations:
            protocol, address = PROTOCOLS[rule.protocol], Address(rule.leads_to)
            anywhere = Address(bytes(len(rule.leads_to)))
            entries += [Entry(protocol, (anywhere, port), (address, rule.port)) for port in rule.ports]
        flows.after_delete(entries, site)

    return gone


class IptablesPorts(Effect[None], Kind):
    """The host ports of one attachment in Go's layouts: made in iptables, removed in each."""

    # none on DEL and GC
    published: Published = Published()
    settings: Settings = Settings({})
    # returns the attachment's addresses, if any; used when the container's namespace is gone
    known: "Callable[[], Sequence[Address]]" = tuple
    noun = "host ports in iptables"
    repairable = True

    def identify(self, attachment: "Attachment") -> str:
        """The container's own chain."""
        return names.ports_chain(attachment)

    def _other(self) -> "Other":
        """Tells whether addresses belong to another interface of the container."""
        from cni.go import chains

        return chains.other_interfaces(self.attachment.ifname, self.site.remaining, self.known)

    def _wanted(self, judge: "Judge") -> "HostPorts":
        from cni_portmap.iptables_rules import HostPorts

        return HostPorts(self.attachment, self.published, self.settings, self._other(), judge)

    def make(self) -> None:
        """Raises ``Refused`` for a port that another container has, ``CNIError``."""
        # the owners whose rules come first, and lines for operators, printed after the rules are made
        behind: dict[Entry, list[str]] = {}
        lines: dict[str, None] = {}

        def is_dead(claim: "Claim", entry: Entry) -> bool:
            """Whether a port's owner is dead. A live owner comes first and ours waits, or ``Refused`` is raised."""
            why = _death(self.site, claim, entry, self.settings.refuse)
            if why:
                lines[taken_over(entry, claim.name, self.attachment, why)] = None
            elif claim.name not in behind.setdefault(entry, []):
                behind[entry].append(claim.name)
            return bool(why)

        # packets come to our nftables table later: dead owners there are removed, live ones refuse the ADD
        begin, work = lambda _: Change(self.site, self.published, self.settings.refuse), Change.make_way
        changed(self.site.nftables, begin, work).report()
        self._wanted(is_dead).make()
        for entry, owners in behind.items():
            lines[waits(entry, owners[0], self.attachment, len(owners))] = None
        for line in lines:
            self.site.say(line)
        flows.after_add([entry for entry in self.published.entries if entry not in behind], self.site)

    def compare(self, differ: "Differ") -> None:
        """Every rule exists."""
        self._wanted(lambda claim, entry: False).compare(differ)

    def remove(self) -> None:
        """Remove this attachment's rules; after the last attachment, also the shared chains and tables."""
        kernel, chain = self.site.nftables, self.identity
        in_tables = any(kernel.has_table(family, names.PORTS_TABLE) for family in (IPV4, IPV6))
        if names.may_exist(kernel, chain, names.old_ports_chain(chain)) or in_tables:
            from cni.go import chains, hostports

            comment = names.ports_comment(self.attachment.network, self.attachment.container)
            part, gone = chains.Part(chain, comment, self._other()), forget_flows(self.site)
            steps: list[Callable[[], None]] = [
                lambda: hostports.remove_from_tables(kernel, self.attachment.container, part.other),
                lambda: hostports.remove(kernel, part, gone),
            ]
            all_of(steps)

    def collect(self, network: str, valid: "Sequence[Attachment]") -> list[Found]:
        """Remove the rules of containers of the network that have no valid attachment.

        The rules in the tables of Go's newer versions name no network, so only DEL removes them.
        """
        kernel = self.site.nftables
        if not names.may_exist(kernel, names.DNAT):
            return []
        from cni.go import hostports

        return hostports.collect(kernel, network, valid, forget_flows(self.site))

    def describe(self) -> str:
        """The rules in iptables' words."""
        from cni_portmap.iptables_rules import entries, translations

        lines: list[str] = []
        for version in self.published.addresses:
            lines += translations(self.attachment, self.published, self.settings, version)
            lines += entries(self.attachment, self.settings, version)
        return "\n".join(lines)


# ports that containers have in Go's layouts


def _claims(kernel: "Nftables", entries: "list[Entry]") -> "list[Claim]":
    """The claims on these ports in Go's layouts. In each family they are in the order in which packets meet them."""
    if not names.may_have_ports(kernel):
        return []
    from cni.go import hostports

    ports: dict[int, set[int]] = {}
    for entry in entries:
        ports.setdefault(entry.version, set()).add(entry.host_port)
    return [claim for version, wanted in ports.items() for claim in hostports.claims(kernel, version, wanted)]


def meet(claim: "Claim", entry: Entry) -> bool:
    """Whether both are for the same port, on any address of the node."""
    same = claim.address.version == entry.version and claim.is_for(entry.protocol, entry.host_port)
    return same and (entry.everywhere or claim.serves(entry.host))


def _death(site: "Site", claim: "Claim", entry: Entry, refuse: bool) -> str:
    """Why the owner of a claim for a port counts as dead; empty if it is or may be alive.

    With ``refuse``, a live container other than the asking one raises ``Refused``.
    """
    address, attachment, why = claim.address, site.attachment, ""
    if address == entry.address:
        same = _links_to(site.rtnl, address) == 1 if claim.owner is None else claim.owner[0] == attachment.network
        why = REUSED if same else ""
    if claim.owner is not None:
        why = why or _container_gone(site.rtnl, *claim.owner, address)
    if not why and refuse and not claim.is_of_container(attachment.container):
        raise refusal(entry, claim.name, attachment)
    return why


def _links_to(rtnl: "Rtnl", address: Address) -> int:
    """The number of links of the node with the subnet of an address. Two links may be of two networks."""
    return sum(any(address in subnet for subnet in _subnets(rtnl, link, address)) for link in rtnl.links())


def _subnets(rtnl: "Rtnl", link: "Link", address: Address) -> "list[Prefix]":
    """The subnets of a link, in the family of an address. IPv4 subnets stay while the link is down."""
    from cni.kernel import addresses

    return [each.prefix.network for each in addresses.of(rtnl, link.index, address.family) if not each.scope]


def _container_gone(rtnl: "Rtnl", network: str, container: str, address: Address) -> str:
    """Why the container counts as gone: it was behind a bridge, and no link has its name or may be its link.

    Routes do not count: a bridge that is down has none, but its containers are alive.
    """
    links = rtnl.links()
    bridges = [link for link in links if link.kind == "bridge"]
    if not any(address in subnet for bridge in bridges for subnet in _subnets(rtnl, bridge, address)):
        return ""
    named = beginning(f"{network}/{container}/", ALIAS_MAX)
    for link in links:
        if link.alias.startswith(named) or (not is_alias(link.alias) and _may_lead_to(rtnl, links, link, address)):
            return ""
    return "no link of the node is its"


def _may_lead_to(rtnl: "Rtnl", links: "list[Link]", link: "Link", address: Address) -> bool:
    """Whether a link may belong to a container with this address. Links of Go's plugins do not name their owner.

    A port of a bridge with only other subnets does not, unless the bridge separates networks with VLANs.
    """
    from cni.kernel.kinds import Bridge

    if link.kind != "veth" or not (link.master or link.name.startswith("veth")):
        return False
    for bridge in links:
        if bridge.index == link.master and bridge.data == Bridge():
            subnets = _subnets(rtnl, bridge, address)
            return not subnets or any(address in subnet for subnet in subnets)
    return True


def held(site: "Site", entries: "list[Entry]", refuse: bool) -> "list[Entry]":
    """The entries whose port another live container holds in Go's layouts; with ``refuse`` raises ``Refused``.

    Rules of dead containers for these ports are removed.
    """
    found: list[Entry] = []
    lines: dict[str, None] = {}
    dead: dict[tuple[str, str, str], tuple[Claim, Entry, str]] = {}
    others = [claim for claim in _claims(site.nftables, entries) if not claim.is_of(site.attachment)]
    for claim, entry in ((claim, entry) for claim in others for entry in entries if meet(claim, entry)):
        why = _death(site, claim, entry, refuse)
        if why:
            dead[claim.where, claim.place, str(claim.address)] = claim, entry, why
        elif entry not in found:
            found.append(entry)
            lines[waits(entry, claim.name, site.attachment, 1)] = None
    for claim, entry, why in dead.values():
        claim.remove(site.nftables, forget_flows(site))
        lines[taken_over(entry, claim.name, site.attachment, why)] = None
    for line in lines:
        site.say(line)
    return found


def compare(kernel: "Nftables", attachment: "Attachment", entries: "list[Entry]") -> bool:
    """Whether the container has its ports in Go's layouts. Raises ``CheckFailed`` if it has only a part of them."""
    own = [claim for claim in _claims(kernel, entries) if claim.is_of(attachment)]
    if not own:
        return False
    from cni.go.hostports import is_entered

    for entry in entries:
        first = next((claim for claim in own if meet(claim, entry) and claim.serves(entry.host)), None)
        if first is None or not is_entered(kernel, entry.version, first.where):
            raise CheckFailed(f"{entry} of {attachment} is missing", "in the rules that Go's portmap made")
        if (first.address, first.port) != (entry.address, entry.port):
            raise CheckFailed(f"{entry} of {attachment} leads elsewhere", "in the rules that Go's portmap made")
    return True
