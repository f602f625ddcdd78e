"""Kinds for the inventory: things of Go's plugins, and our own in iptables, which look the same."""

from cni.go import firewall, hostports, ifb, macspoof, masquerade
from cni.plan import Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cni.site import Site


class LeftByGo(Kind):
    """A kind of things of Go's plugins; their names or comments may hold only parts of the owner."""

    noun: str
    listed: "Callable[[Site], Iterable[Found]]"

    def present(self, network: str) -> "Iterable[Found]":
        """The things of a network, all things if the name is empty."""
        return [found for found in self.listed(self.site) if not network or found.owner.startswith(f"{network}/")]


def _links(site: "Site") -> "Iterable[Found]":
    """Host links with names as Go's bridge and ptp make them. Only the chains of the MAC spoof check name an owner."""
    every = site.rtnl.links()
    owners = {found.facts["link"]: found.owner for found in macspoof.listed(site.nftables)}
    bridges = {link.index: link.name for link in every}
    for link in every:
        letters = link.name.removeprefix("veth")
        if link.kind == "veth" and not link.alias and len(letters) == 8 and set(letters) <= set("0123456789abcdef"):
            yield Found(link.name, owners.get(link.name, ""), mac=link.mac, master=bridges.get(link.master, ""))


def kinds(site: "Site") -> "list[Kind]":
    """All kinds of things of Go's plugins."""
    return [
        LeftByGo(site, "veth pair of Go's plugins", _links),
        LeftByGo(site, "ifb of Go's plugins", ifb.listed),
        LeftByGo(site, "masquerade in Go's form", lambda site: masquerade.listed(site.nftables)),
        LeftByGo(site, "host ports in Go's form", lambda site: hostports.listed(site.nftables)),
        LeftByGo(site, "MAC spoof check in Go's form", lambda site: macspoof.listed(site.nftables)),
        LeftByGo(site, "firewall rules in Go's form", lambda site: firewall.listed(site.nftables)),
    ]
