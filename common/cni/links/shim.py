"""A macvlan of the node on the master of a network's macvlans: through it the node reaches the containers.

The kernel passes no frame between a link and the macvlans on it, but it does between two macvlans. So the node gets one
too, the shim, and a route through it to each address of a container. All attachments of a network share the shim. The
first one makes it, and the last one removes it. The metric of a route is the number of its attachment, by which DEL and
GC find it: nothing is kept in files.

The shim has no IPv4 address of its own. The node sends from its address on the master, and answers the containers that
ask for this address (sysctl ``arp_filter``), but no other host: for these the node keeps the MAC of the master. For the
same reason the shim never asks all hosts for the MAC of a container (``mcast_solicit`` 0): it gets the MAC with the
route, and learns a new one when the container announces it (``arp_accept``). For IPv6 the node sends from the shim's
link-local address.
"""

from errno import EEXIST

from cni.errors import CheckFailed, CNIError, InvalidConfig, KernelError, Refused, Step
from cni.names import sha512
from cni.plan import Differ, Effect, Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.address import Address
    from cni.attachment import Attachment
    from cni.kernel.exclusive import Exclusive
    from cni.kernel.routes import LinkRoute
    from cni.kernel.rtnl import Link
    from cni.result import IPConfig

# Of a route of ours; other routes have smaller metrics.
_NUMBER = 1 << 31
_ALIAS = "the node's interface in the network "
# Those that it cannot do without, and those that it may lack.
_NEEDED = {"net/ipv4/conf/%s/arp_filter": "1", "net/ipv4/neigh/%s/mcast_solicit": "0"}
_WANTED = {
    "net/ipv4/conf/%s/arp_accept": "1", "net/ipv4/conf/%s/rp_filter": "1", "net/ipv6/conf/%s/accept_ra": "0",
    "net/ipv6/conf/%s/autoconf": "0", "net/ipv6/conf/%s/addr_gen_mode": "1",
}  # fmt: skip


def _lock() -> "Exclusive":
    from cni.kernel.exclusive import Exclusive

    return Exclusive("shim")


def name_of(network: str) -> str:
    """The name of a network's shim."""
    return f"shim{sha512(network).hex()[:11]}"


def _link_local(mac: str) -> "Address":
    """The link-local address that belongs to a MAC (RFC 4291, appendix A)."""
    from cni.address import Address

    octets = bytes.fromhex(mac.replace(":", ""))
    return Address(b"\xfe\x80" + bytes(6) + bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:])


class HostShim(Effect[None], Kind):
    """The node reaches the container's addresses through a macvlan of its own, which the network's attachments share."""

    # None for DEL and GC
    parent: "Link | None" = None
    ips: "Sequence[IPConfig]" = ()
    noun = "route of the node"
    repairable = True

    def identify(self, attachment: "Attachment") -> str:
        """The shim, and the metric of the attachment's routes; of 2147483648 other attachments one has the same."""
        number = int.from_bytes(sha512(*attachment.parts)[:4], "big") | _NUMBER
        return f"{name_of(attachment.network)} metric {number}"

    @property
    def _number(self) -> int:
        return int(self.identity.rpartition(" ")[2])

    def make(self) -> None:
        """Make the shim, or complete it; then a route to each address, and the MAC of those of IPv4."""
        with _lock():
            link = self._shim()
            for ip in self.ips:
                self._route(link, ip.address.address)

    def _shim(self) -> "Link":
        from cni.kernel.kinds import Macvlan
        from cni.kernel.rtnl import random_mac

        rtnl, name, parent = self.site.rtnl, name_of(self.attachment.network), self.parent
        link = rtnl.link(name)
        if link is not None and link.kind == "macvlan" and not self._is_on_parent(link) and not self._routes(link):
            rtnl.delete(link.index)
            link = None
        if parent is not None and link is None:
            try:
                rtnl.add(name, Macvlan("bridge"), parent=parent.index, mac=random_mac())
            except KernelError as error:
                fault = f"failed to create macvlan {name} of the node: {error}"
                raise Refused(fault, f"another link on {parent.name} may exclude it; or remove key hostShim") from None
            link = rtnl.link(name)
        if link is None:
            raise CNIError(f"the link {name} vanished while it was made", "did something remove it?")
        if not self._is_on_parent(link):
            fault = f"{name}, the node's interface in the network {self.attachment.network}, is on another master"
            raise Refused(
                fault, "it is removed with the last container there; or change key master, or the network's name"
            )
        self._configure(link)
        return link

    def _configure(self, link: "Link") -> None:
        from cni.address import Prefix
        from cni.kernel import addresses

        rtnl, sysctls = self.site.rtnl, self.site.sysctls
        for path, value in _NEEDED.items():
            with Step(f"failed to set sysctl {path % link.name} to {value}"):
                sysctls.ensure(path % link.name, value)
        for path, value in _WANTED.items():
            sysctls.attempt(path % link.name, value)
        rtnl.change(link.index, alias=f"{_ALIAS}{self.attachment.network}"[:254], up=True)
        if any(ip.version == 6 for ip in self.ips):
            with Step(f"failed to add a link-local address to {link.name}", passed=EEXIST):
                sysctls.ensure(f"net/ipv6/conf/{link.name}/disable_ipv6", "0")
                addresses.add(rtnl, link.index, Prefix(_link_local(link.mac), 64), detect_duplicates=False)

    def _is_on_parent(self, link: "Link") -> bool:
        """Whether it is a macvlan on the master; the kernel puts a macvlan on what a macvlan is on."""
        parent = self.parent
        while parent is not None and parent.kind == "macvlan" and parent.other_namespace == -1:
            parent = self.site.rtnl.link(index=parent.parent)
        return link.kind == "macvlan" and parent is not None and link.parent in (parent.index, parent.parent)

    def _route(self, link: "Link", address: "Address") -> None:
        from cni.address import Prefix
        from cni.kernel import neighbours, routes

        source, scope = _link_local(link.mac), routes.SCOPE_UNIVERSE
        if address.version == 4:
            source, scope = self._source(address), routes.SCOPE_LINK
            neighbours.put(self.site.rtnl, link.index, address, self._mac())
        with Step(f"failed to add route of the node to {address}", passed=EEXIST):
            routes.add(
                self.site.rtnl, link.index, Prefix(address, address.bits), priority=self._number, scope=scope, src=source
            )  # fmt: skip

    def _source(self, address: "Address") -> "Address":
        """The node's address on the master, in the container's network if there is one."""
        from cni.kernel import addresses

        parent = self.parent
        found = [each.prefix for each in addresses.of(self.site.rtnl, parent.index, 2)] if parent is not None else []
        if parent is None or not found:
            fault = f"the node has no IPv4 address on {parent.name if parent is not None else 'master'}"
            raise InvalidConfig(fault, "with hostShim the node sends from it to containers: add one, or remove the key")
        return next((prefix.address for prefix in found if address in prefix), found[0].address)

    def _mac(self) -> str:
        ifname = self.attachment.ifname
        inside = self.site.container.rtnl.link(ifname)
        if inside is None:
            raise CNIError(f'failed to lookup "{ifname}": Link not found', f"in {self.site.netns}")
        return inside.mac

    def _routes(self, link: "Link") -> "list[LinkRoute]":
        """The routes of all attachments."""
        from cni.kernel import routes

        found = [route for family in (2, 10) for route in routes.every(self.site.rtnl, family, link.index)]
        return [route for route in found if route.index == link.index and route.priority >= _NUMBER]

    def compare(self, differ: "Differ") -> None:
        """The shim is on the master and up, and the node's route to each address leads to it."""
        from cni.kernel import routes

        name, rtnl = name_of(self.attachment.network), self.site.rtnl
        link = rtnl.link(name)
        if link is None:
            return differ(CheckFailed(f"{name}, the node's interface in the network, is missing"))
        if not self._is_on_parent(link):
            differ(CheckFailed(f"{name}, the node's interface in the network, is not on the master"))
        if not link.up:
            differ(CheckFailed(f"{name}, the node's interface in the network, is down"))
        owned = {route.dst.address for route in self._routes(link) if route.priority == self._number}
        for ip in self.ips:
            address = ip.address.address
            taken = routes.to(rtnl, address)
            if address not in owned or taken is None or taken.index != link.index:
                differ(CheckFailed(f"the node's route to {address} through {name} is missing, or another one is taken"))
        return None

    def discard(self, identity: str) -> None:
        """Remove the routes of one attachment, and the shim with the last ones."""
        name, _, number = identity.partition(" metric ")
        rtnl = self.site.rtnl
        if rtnl.link(name) is None:  # the usual case
            return
        from cni.kernel import neighbours, routes

        with _lock():
            link = rtnl.link(name)
            if link is None or link.kind != "macvlan":
                return
            found = self._routes(link)
            kept = [route for route in found if str(route.priority) != number]
            if not kept:
                rtnl.delete(link.index)
                return
            for route in found:
                if str(route.priority) == number:
                    routes.delete(rtnl, route)
                    if all(other.dst != route.dst for other in kept):
                        neighbours.delete(rtnl, link.index, route.dst.address)

    def present(self, network: str) -> list[Found]:
        """The attachments with routes; a shim without any has the metric 0."""
        rtnl, found = self.site.rtnl, []
        if network:
            named = rtnl.link(name_of(network))
            links = [named] if named is not None else []
        else:
            links = [link for link in rtnl.links() if link.alias.startswith(_ALIAS)]
        for link in links:
            if link.kind != "macvlan":
                continue
            held: dict[int, list[str]] = {}
            for route in self._routes(link):
                held.setdefault(route.priority, []).append(str(route.dst.address))
            for number, addresses in (held or {0: []}).items():
                found.append(Found(f"{link.name} metric {number}", addresses=addresses))
        return found

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        name, parent = name_of(self.attachment.network), self.parent
        made = f"ip link add {name} link {parent.name if parent is not None else 'MASTER'} type macvlan mode bridge"
        lines = [f"ip route add {ip.address.address} dev {name} metric {self._number}" for ip in self.ips]
        return "\n".join([made, *lines])
