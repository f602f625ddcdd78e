"""What Go's plugins leave, as kinds that the inventory walks. Ours in iptables look the same, and are among them."""

from cni.go import names
from cni.plan import Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.site import Site


def _is_drawn(name: str) -> bool:
    """Whether a link's name has the form that Go's plugins draw: ``veth`` and 8 hexadecimal digits."""
    return len(name) == 12 and name.startswith("veth") and all(letter in "0123456789abcdef" for letter in name[4:])


class GoLinks(Kind):
    """Host ends of the pairs that Go's bridge and ptp make. Nothing on them names an owner."""

    __slots__ = ()
    noun = "veth pair of Go's plugins"

    def present(self, network: str) -> "Iterable[Found]":
        """Links without an alias whose name was drawn. A guarded one's owner is known by its chains."""
        from cni.go import macspoof

        rtnl = self.site.rtnl
        links = [link for link in rtnl.links() if link.kind == "veth" and not link.alias and _is_drawn(link.name)]
        owners = {found.facts["link"]: found.owner for found in macspoof.listed(self.site.nftables)} if links else {}
        bridges = {link.master: rtnl.link(index=link.master) for link in links if link.master}
        for link in () if network else links:
            bridge = bridges.get(link.master)
            yield Found(link.name, owners.get(link.name, ""), mac=link.mac, master=bridge.name if bridge else "")


class GoMasquerade(Kind):
    """Masquerading in both of Go's forms."""

    __slots__ = ()
    noun = "masquerade in Go's form"

    def present(self, network: str) -> "Iterable[Found]":
        """By the comments of the rules."""
        if not names.may_be_masqueraded(self.site.nftables, names.POSTROUTING):
            return []
        from cni.go import masquerade

        return [found for found in masquerade.listed(self.site.nftables) if _is_of(found, network)]


class GoSpoofChecks(Kind):
    """The MAC spoof checks of Go's bridge."""

    __slots__ = ()
    noun = "MAC spoof check in Go's form"

    def present(self, network: str) -> "Iterable[Found]":
        """By the names of the chains, which have no network."""
        from cni.go import macspoof

        return [] if network else macspoof.listed(self.site.nftables)


class GoHostPorts(Kind):
    """Host ports in Go's three forms."""

    __slots__ = ()
    noun = "host ports in Go's form"

    def present(self, network: str) -> "Iterable[Found]":
        """By the rules that lead to containers."""
        if not names.may_have_ports(self.site.nftables):
            return []
        from cni.go import hostports

        return [found for found in hostports.listed(self.site.nftables) if _is_of(found, network)]


def _is_of(found: Found, network: str) -> bool:
    return not network or found.owner.startswith(f"{network}/")


def kinds(site: "Site") -> "list[Kind]":
    """All of them."""
    return [GoLinks(site), GoMasquerade(site), GoHostPorts(site), GoSpoofChecks(site)]
