"""The host ports of one attachment in Go's forms, as effects: iptables' chains, and the tables of newer versions.

Chains are made where a configuration asks for iptables. What Go's own plugin made looks the same, so DEL and GC look
there for every attachment.
"""

from cni.address import PROTOCOL_NAMES, PROTOCOLS, Address
from cni.errors import CheckFailed
from cni.go import names
from cni.kernel.transaction import IPV4, IPV6
from cni.plan import Effect, Found, Kind
from cni_portmap import flows
from cni_portmap.owned import Entry, Owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni.address import Prefix
    from cni.attachment import Attachment
    from cni.go.chains import Other
    from cni.go.make_hostports import HostPorts
    from cni.go.rules import Printed, Rule
    from cni.plan import Differ
    from cni.site import Site
    from cni_portmap.settings import Settings, Target


def forget_flows(site: "Site") -> "Callable[[Sequence[Rule]], None]":
    """What removes the flows of translations that went."""

    def gone(translations: "Sequence[Rule]") -> None:
        entries = []
        for rule in translations:
            protocol, address = PROTOCOLS[rule.protocol], Address(rule.leads_to)
            anywhere = Address(bytes(len(rule.leads_to)))
            entries += [Entry(protocol, anywhere, port, address, rule.port) for port in rule.ports]
        flows.after_delete(entries, site)

    return gone


class IptablesPorts(Effect[None], Kind):
    """The host ports of one attachment, in iptables."""

    __slots__ = ("behind", "known", "lines", "said", "targets")
    noun = "host ports in iptables"
    repairable = True

    def __init__(
        self,
        site: "Site",
        targets: "Sequence[Target]" = (),
        said: "Settings | None" = None,
        known: "Callable[[], Sequence[Address]]" = tuple,
    ) -> None:
        """``known`` returns the attachment's addresses, if any: used where the container's namespace is gone.

        Without ``said`` (DEL, GC) nothing can be made.
        """
        super().__init__(site)
        self.targets = list(targets)
        self.said = said
        self.known = known
        # whose rules stand first, by family, protocol and number of the port
        self.behind: dict[tuple[int, str, int], list[str]] = {}
        # lines for operators, once the rules are made; each one once
        self.lines: dict[str, None] = {}

    def identify(self, attachment: "Attachment") -> str:
        """The container's own chain."""
        return names.ports_chain(attachment)

    def other(self) -> "Other":
        """Which addresses are those of the container's other interfaces."""
        from cni.go import chains

        return chains.beside(self.attachment.ifname, self.site.remaining, self.known)

    def _wanted(self) -> "HostPorts":
        from cni.go.make_hostports import HostPorts

        assert self.said is not None  # noqa: S101
        return HostPorts(self.attachment, self.targets, self.said, self.other(), self._is_dead)

    def make(self) -> None:
        """Raises ``Refused`` for a port that another container has, ``CNIError``."""
        from cni_portmap.holder import waits

        self.make_way()
        self._wanted().make()
        entries = []
        for entry in self._owned().entries:
            owners = self.behind.get((entry.version, PROTOCOL_NAMES[entry.protocol], entry.host_port))
            if owners:
                self.lines[waits(entry, owners[0], self.attachment, len(owners))] = None
            else:
                entries.append(entry)
        for line in self.lines:
            self.site.say(line)
        flows.after_add(entries, self.site)

    def _owned(self) -> Owned:
        return Owned.wanted(self.targets, False, False)

    def make_way(self) -> None:
        """Our table of nftables comes after these rules: a port's owner there is dead, or the ADD is refused."""
        from cni.ledger import changed
        from cni_portmap.change import Change, Request

        request = Request(self.attachment, self._owned(), self.said is not None and self.said.refuse)

        def work(change: Change) -> Change:
            change.make_way(request)
            return change

        changed(self.site.nftables, lambda kernel: Change(kernel, self.site.rtnl), work).report(self.site)

    def _is_dead(self, prefix: "Prefix", entry: "Printed", rule: "Printed") -> bool:
        """Whether a mapping's owner is dead; one that lives stands first, so ours waits: or raises ``Refused``."""
        from cni_portmap.holder import go_death, refusal, taken_over

        owner = names.owner_of(entry.comment)
        name = "/".join(owner or ("?", entry.target))
        port = f"{rule.protocol} port {', '.join(map(str, sorted(rule.ports)))}"
        why = go_death(self.site.rtnl, owner, Address(rule.leads_to), self.attachment, prefix.address)
        if why:
            self.lines[taken_over(port, name, self.attachment, why)] = None
            return True
        assert self.said is not None  # noqa: S101
        if self.said.refuse and (owner is None or owner[1] != self.attachment.container):
            raise refusal(port, name, self.attachment)
        for number in rule.ports:
            owners = self.behind.setdefault((prefix.version, rule.protocol, number), [])
            owners += [] if name in owners else [name]
        return False

    def compare(self, differ: "Differ") -> None:
        """Every rule is there."""
        try:
            self._wanted().compare()
        except CheckFailed as error:
            differ(error)

    def remove(self) -> None:
        """This attachment's rules, and the shared chains with the last of all."""
        kernel, chain = self.site.nftables, self.identity
        if names.may_exist(kernel, chain, names.old_ports_chain(chain)):
            from cni.go import hostports

            comment = names.ports_comment(self.attachment.network, self.attachment.container)
            hostports.remove(kernel, hostports.Part(chain, comment, self.other()), forget_flows(self.site))

    def collect(self, network: str, valid: "Sequence[Attachment]") -> list[Found]:  # type: ignore[override]
        """What the network's containers have, of which none is valid."""
        kernel = self.site.nftables
        if not names.may_exist(kernel, names.DNAT):
            return []
        from cni.go import hostports

        return hostports.collect(kernel, network, valid, forget_flows(self.site))

    def describe(self) -> str:
        """The rules in iptables' words."""
        from cni.go import make_hostports as made

        assert self.said is not None  # noqa: S101
        return "\n".join(
            line
            for target in self.targets
            for line in (
                *made.translations(self.attachment, target, self.said),
                *made.entries(self.attachment, self.said, target.version),
            )
        )


class GoTables(Kind):
    """The rules of one container in the tables of newer versions; GC cannot know their network, so it leaves them to DEL."""

    __slots__ = ("known",)
    noun = "host ports of Go's portmap"

    def __init__(self, site: "Site", known: "Callable[[], Sequence[Address]]" = tuple) -> None:
        """``known`` returns the attachment's addresses, if any: used where the container's namespace is gone."""
        super().__init__(site)
        self.known = known

    def identify(self, attachment: "Attachment") -> str:
        """The comment that the rules bear."""
        return attachment.container

    def remove(self) -> None:
        """The rules, and a table with its last one."""
        kernel = self.site.nftables
        if any(kernel.has_table(family, names.PORTS_TABLE) for family in (IPV4, IPV6)):
            from cni.go import chains, hostports

            other = chains.beside(self.attachment.ifname, self.site.remaining, self.known)
            hostports.remove_from_tables(kernel, self.identity, other)
