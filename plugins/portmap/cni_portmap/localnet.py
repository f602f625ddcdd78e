"""The node's 127.0.0.1 leads to the pods' ports: ``route_localnet`` on the link to them, and the node is not opened by it.

route_localnet (ip-sysctl.rst) lets packets between 127.0.0.0/8 and that link through, also those that neighbours send
to services which listen on 127.0.0.1 alone. So a rule in a table of our own keeps those out (``guard``)::

    table inet pycni_localnet {
        set guarded { type iface_index; elements = { "cni0" } }
        chain prerouting {
            type filter hook prerouting priority raw;
            iif @guarded ip daddr 127.0.0.0/8 drop
        }
    }

With the last attachment behind a link the sysctl is put back to what it was, and the guard goes. What it was, and the
attachments that need it, are in files (``shares``): after a flush of the ruleset the next ADD puts the guard back.
"""

from cni.address import Address
from cni.errors import CheckFailed, CNIError
from cni.go import names
from cni.kernel.exclusive import Exclusive
from cni.kernel.nftables import Nftables
from cni.ledger import Ledger
from cni.plan import Effect, Found, Kind
from cni_portmap import guard, layout
from cni_portmap.shares import Shares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.kernel.rtnl import Link, Rtnl
    from cni.plan import Differ
    from cni.site import Site


def _sysctl(link: str) -> str:
    return f"net/ipv4/conf/{link}/route_localnet"


class Localnet(Effect[None], Kind):
    """One attachment's share in a link that 127.0.0.1 leads to."""

    __slots__ = ("address", "guard")
    noun = "share in route_localnet"
    repairable = True

    def __init__(self, site: "Site", address: "Address | None" = None, guard: bool = True) -> None:
        """``address`` is the container's IPv4 address, None on DEL and GC; ``guard`` keeps neighbours out."""
        super().__init__(site)
        self.address = address
        self.guard = guard

    def identify(self, attachment: "Attachment") -> str:
        """The attachment's link name."""
        return attachment.link

    def _link(self) -> "Link | None":
        """The link that packets to the container leave by; None where there is no route to it."""
        from cni.kernel import routes

        route = routes.to(self.site.rtnl, self.address) if self.address is not None else None
        link = self.site.rtnl.link(index=route.index) if route is not None and route.index else None
        return link if link is not None and not link.loopback else None

    def _own_shares(self) -> Shares:
        return Shares(self.site.rtnl.namespace, self.site.node.roots.run)

    def _shares(self) -> Shares:
        """Those of this namespace, with what an earlier build noted in nftables."""
        shares, kernel = self._own_shares(), self.site.nftables
        if guard.is_earlier(kernel):
            from cni_portmap import earlier

            with Exclusive("localnet"):
                earlier.take_over(kernel, shares, self.site.rtnl, self.site.say)
        return shares

    # make

    def make(self) -> None:
        """First the share and the guard, then the sysctl. Where there is no route there is nothing to open, as in Go.

        Under a lock: the last attachment behind a link may put the sysctl back while the next one comes.
        """
        link = self._link()
        if link is None:
            self.site.say(f"portmap: no route to {self.address}: 127.0.0.1 will not lead there")
            return
        shares, mine = self._shares(), self.identity
        with Exclusive("localnet"):
            for index in shares.of(mine):
                if index != link.index:  # the container came back elsewhere
                    _release(self.site, shares, index, mine)
            try:
                was = int(self.site.sysctls.read(_sysctl(link.name)) or "0")
                self._note(shares, link, was)
                guard.close(self.site, {*shares.guarded(), *([link.index] if self.guard else [])})
                self.site.sysctls.ensure(_sysctl(link.name), "1")
            except OSError as error:
                remedy = f"on {link.name}; or set snat to false"
                raise CNIError(f"unable to enable route_localnet: {error}", remedy) from None

    def _note(self, shares: Shares, link: "Link", was: int) -> None:
        """Before anything is changed; where /run cannot be written the link stays open, and guarded."""
        try:
            shares.add(link.index, self.attachment, was, self.guard)
        except OSError as error:
            self.site.say(f"portmap: route_localnet of {link.name} will stay on: {error}")

    # compare

    def compare(self, differ: "Differ") -> None:
        """The sysctl is on, and neighbours are kept out; Go's portmap, of whose containers we have no record, did not."""
        link = self._link()
        if link is None:
            return
        if self.site.sysctls.read(_sysctl(link.name)) != "1":
            fault = f"route_localnet of {link.name} is off"
            differ(CheckFailed(fault, "127.0.0.1 does not lead to the container's ports"))
        if not self.guard:
            return
        kernel, mine = self.site.nftables, self.identity
        recorded = Ledger(kernel, layout.LAYOUT).recorded
        if not self._own_shares().of(mine) and not recorded(layout.ATTACHMENTS, mine):
            return
        fault = _unguarded(kernel, link)
        if fault:
            differ(CheckFailed(fault, "another ADD on the node, or DEL and ADD, makes it again"))

    # remove

    def discard(self, identity: str) -> None:
        """Give this attachment's share back; the last one behind a link puts the sysctl back before the guard goes."""
        shares = self._shares()
        if shares.of(identity):
            with Exclusive("localnet"):
                for index in shares.of(identity):
                    _release(self.site, shares, index, identity)

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have a share; of all of them, with the links' names, for no name."""
        if network:
            return self._shares().present(network)
        links = {str(link.index): link.name for link in self.site.rtnl.links()}
        found = ((each, str(each.facts["link"])) for each in self._own_shares().present(""))
        return [Found(each, each.owner, link=links.get(index, index)) for each, index in found]

    def describe(self) -> str:
        """The sysctl and the rule in nft's words."""
        closed = f"\niifname LINK-TO-{self.address} ip daddr {guard.LOOPBACK} drop" if self.guard else ""
        return f"sysctl net/ipv4/conf/LINK-TO-{self.address}/route_localnet=1{closed}"


def _unguarded(kernel: Nftables, link: "Link") -> str:
    """What is missing of the guard for a link, be it one that an earlier build made."""
    if not guard.is_earlier(kernel):
        return guard.fault(kernel, link)
    from cni_portmap import earlier

    return earlier.fault(kernel, link)


def _release(site: "Site", shares: Shares, index: int, identity: str) -> None:
    """Of one link; its name is what it is called now."""
    if not shares.beside(index, identity):
        link, was = site.rtnl.link(index=index), shares.was(index)
        if link is not None and was is not None and not _go_needs_it(site.nftables, site.rtnl, index):
            site.sysctls.attempt(_sysctl(link.name), str(was))
        if index in shares.guarded():
            guard.open_again(site.nftables, index)
    shares.remove(index, identity)


# containers of Go's


def _go_needs_it(kernel: Nftables, rtnl: "Rtnl", index: int) -> bool:
    """Whether a container behind the link has ports in Go's layouts: then route_localnet stays on, as Go leaves it."""
    if not names.may_have_ports(kernel):
        return False
    from cni.go import hostports
    from cni.kernel import routes

    found = (routes.to(rtnl, claim.address) for claim in hostports.claims(kernel, 4))
    return any(route is not None and route.index == index for route in found)
