"""Make 127.0.0.1 of the node lead to the pods' ports: ``route_localnet`` on the link to the pods, with a guard.

route_localnet (ip-sysctl.rst) allows packets between 127.0.0.0/8 and the link. That includes packets from neighbours to
services that listen only on 127.0.0.1. A rule in our own table drops these packets (``guard``)::

    table inet pycni_localnet {
        set guarded { type iface_index; elements = { "cni0" } }
        chain prerouting {
            type filter hook prerouting priority raw;
            iif @guarded ip daddr 127.0.0.0/8 drop
        }
    }

When the last attachment behind a link is removed, the sysctl gets its old value and the guard is removed. The old value
and the attachments that need the sysctl are in files (``shares``). So the next ADD restores the guard after a flush of
the ruleset.
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
    """One attachment's share in a link with ``route_localnet``: 127.0.0.1 of the node leads to its ports."""

    __slots__ = ("address", "guard")
    noun = "share in route_localnet"
    repairable = True

    def __init__(self, site: "Site", address: "Address | None" = None, guard: bool = True) -> None:
        """``address`` is the container's IPv4 address, None on DEL and GC. ``guard``: neighbours are kept out."""
        super().__init__(site)
        self.address = address
        self.guard = guard

    def identify(self, attachment: "Attachment") -> str:
        """The attachment's link name."""
        return attachment.link

    def _link(self) -> "Link | None":
        """The link of the route to the container; None without a route."""
        from cni.kernel import routes

        route = routes.to(self.site.rtnl, self.address) if self.address is not None else None
        link = self.site.rtnl.link(index=route.index) if route is not None and route.index else None
        return link if link is not None and not link.loopback else None

    def _own_shares(self) -> Shares:
        return Shares(self.site.rtnl.namespace, self.site.node.roots.run)

    def _shares(self) -> Shares:
        """The shares of this namespace, including those that an earlier build noted in nftables."""
        shares, kernel = self._own_shares(), self.site.nftables
        if guard.is_earlier(kernel):
            from cni_portmap import earlier

            with Exclusive("localnet"):
                earlier.take_over(kernel, shares, self.site.rtnl, self.site.say)
        return shares

    # make

    def make(self) -> None:
        """First the share and the guard, then the sysctl. Without a route nothing is done, as in Go.

        The lock is needed because a DEL may restore the sysctl at the same time.
        """
        link = self._link()
        if link is None:
            self.site.say(f"portmap: no route to {self.address}: 127.0.0.1 will not lead there")
            return
        shares = self._shares()
        with Exclusive("localnet"):
            self._release(shares, self.identity, link.index)  # an earlier ADD was behind another link
            try:
                was = int(self.site.sysctls.read(_sysctl(link.name)) or "0")
                self._note(shares, link, was)
                guard.close(self.site, {*shares.guarded(), *([link.index] if self.guard else [])})
                self.site.sysctls.ensure(_sysctl(link.name), "1")
            except OSError as error:
                remedy = f"on {link.name}; or set snat to false"
                raise CNIError(f"unable to enable route_localnet: {error}", remedy) from None

    def _note(self, shares: Shares, link: "Link", was: int) -> None:
        """Write the share before anything is changed. If /run cannot be written, the link stays open and guarded."""
        try:
            shares.add(link.index, self.identity, self.attachment.comment, was, self.guard)
        except OSError as error:
            self.site.say(f"portmap: route_localnet of {link.name} will stay on: {error}")

    # compare

    def compare(self, differ: "Differ") -> None:
        """The sysctl is on, and the guard exists. Go's portmap makes no guard, so pods without a record need none."""
        link = self._link()
        if link is None:
            return
        if self.site.sysctls.read(_sysctl(link.name)) != "1":
            fault = f"route_localnet of {link.name} is off"
            differ(CheckFailed(fault, "127.0.0.1 does not lead to the container's ports"))
        if not self.guard:
            return
        recorded = Ledger(self.site.nftables, layout.LAYOUT).recorded
        if not self._own_shares().of(self.identity) and not recorded(layout.ATTACHMENTS, self.identity):
            return
        fault = guard.fault(self.site.nftables, link)
        if fault:
            differ(CheckFailed(fault, "another ADD on the node, or DEL and ADD, makes it again"))

    # remove

    def discard(self, identity: str) -> None:
        """Remove this attachment's share."""
        shares = self._shares()
        if shares.of(identity):
            with Exclusive("localnet"):
                self._release(shares, identity)

    def _release(self, shares: Shares, identity: str, kept: int = 0) -> None:
        """Remove an attachment's shares, except in the link ``kept``. The links may have been renamed.

        With the last share in a link the sysctl is restored, then the guard removed.
        """
        site = self.site
        for index in shares.of(identity):
            if index == kept:
                continue
            if not shares.beside(index, identity):
                link, was = site.rtnl.link(index=index), shares.was(index)
                if link is not None and was is not None and not _go_needs_it(site.nftables, site.rtnl, index):
                    site.sysctls.attempt(_sysctl(link.name), str(was))
                if index in shares.guarded():
                    guard.open_again(site.nftables, index)
            shares.remove(index, identity)

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have a share. Without a network: all, with the names of the links."""
        if network:
            return self._shares().present(network)
        links = {str(link.index): link.name for link in self.site.rtnl.links()}
        found = ((each, str(each.facts["link"])) for each in self._own_shares().present(""))
        return [Found(each, each.owner, link=links.get(index, index)) for each, index in found]

    def describe(self) -> str:
        """The sysctl and the rule in nft's words."""
        closed = f"\niifname LINK-TO-{self.address} ip daddr {guard.LOOPBACK} drop" if self.guard else ""
        return f"sysctl net/ipv4/conf/LINK-TO-{self.address}/route_localnet=1{closed}"


def _go_needs_it(kernel: Nftables, rtnl: "Rtnl", index: int) -> bool:
    """Whether a container behind the link has ports in Go's layouts. Then route_localnet stays on, as in Go."""
    if not names.may_have_ports(kernel):
        return False
    from cni.go import hostports
    from cni.kernel import routes

    found = (routes.to(rtnl, claim.address) for claim in hostports.claims(kernel, 4))
    return any(route is not None and route.index == index for route in found)
