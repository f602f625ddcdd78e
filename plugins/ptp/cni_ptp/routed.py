"""Both ends of a routed link. No network is on it: everything goes through the gateways, which the node's end has.

In the container, for the address 10.1.2.5/24 with the gateway 10.1.2.1::

    10.1.2.1 dev eth0 scope link src 10.1.2.5
    10.1.2.0/24 via 10.1.2.1 dev eth0 src 10.1.2.5

On the node: the address 10.1.2.1/32 on the link, and the route ``10.1.2.5 dev LINK scope host``.
"""

from errno import EEXIST

from cni.address import Address, Prefix
from cni.errors import ADDRESS_TAKEN, CheckFailed, CNIError, KernelError, Step
from cni.interface import ConfiguredInterface
from cni.kernel import addresses, routes
from cni.plan import Effect
from cni.result import Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cni.kernel.rtnl import Link
    from cni.plan import Differ
    from cni.result import IPConfig


# Loopback, broadcast and multicast addresses.
_NO_GATEWAYS = tuple(map(Prefix.parse, ("127.0.0.0/8", "255.255.255.255/32", "224.0.0.0/4", "::1/128", "ff00::/8")))


def _alone(address: Address) -> Prefix:
    """The network of one address."""
    return Prefix(address, address.bits)


def gateway_of(ip: "IPConfig") -> Address:
    """The gateway of an address; raises ``CNIError`` if the node's end cannot have it."""
    gateway = ip.gateway
    if gateway is None or not any(gateway.packed):
        fault = "has no gateway"
    elif gateway.version != ip.version:
        fault = f"has a gateway of the other family, {gateway}"
    elif gateway == ip.address.address:
        fault = "is its own gateway"
    elif any(gateway in network for network in _NO_GATEWAYS):
        fault = f"has the gateway {gateway}, which no link can have"
    else:
        return gateway
    remedy = "the node's end of the link has the gateway's address; let the IPAM plugin name one"
    raise CNIError(f"failed to add IP addr to veth: {ip.address} {fault}", remedy)


def through_gateways(ips: "Sequence[IPConfig]", more: "Sequence[Route]") -> "tuple[list[Route], dict[Prefix, Address]]":
    """The container's routes, and the source addresses of packets by destination (pure).

    ``more`` are the IPAM plugin's routes. The kernel takes them while it has its own on-link routes: they come between.
    """
    gateways: dict[Prefix, Route] = {}
    networks: dict[Prefix, Route] = {}
    sources: dict[Prefix, Address] = {}
    for ip in ips:
        gateway, network = gateway_of(ip), ip.address.network
        gateways.setdefault(_alone(gateway), Route(_alone(gateway), scope=routes.SCOPE_LINK))
        networks.setdefault(network, Route(network, gateway))
        for dst in (_alone(gateway), network):
            sources.setdefault(dst, ip.address.address)
    return [*gateways.values(), *more, *networks.values()], sources


class RoutedInterface(ConfiguredInterface):
    """The container's addresses and routes. Packets to its own network go through the gateway too."""

    sources: "Mapping[Prefix, Address]" = {}
    repairable = False

    def make(self) -> None:
        """Addresses and routes; then the kernel's on-link routes are removed."""
        super().make()
        link = self._link()
        for ip in self.ips:
            with Step(f"failed to delete route {ip.address.network}"):
                routes.delete_on_link(self.site.container.rtnl, link.index, ip.address)

    def source(self, route: Route) -> Address | None:
        """The address that a gateway or a network is of."""
        return self.sources.get(route.dst.network)


class HostEnd(Effect[None]):
    """The node's end has the gateways' addresses, and the node routes the container's to it. All go with the link."""

    link: "Link"
    ips: "Sequence[IPConfig]"
    repairable = True

    @property
    def gateways(self) -> list[Prefix]:
        """The addresses of the node's end."""
        return list(dict.fromkeys(_alone(gateway_of(ip)) for ip in self.ips))

    def make(self) -> None:
        """Add what is missing. The address of another container, or of the node, is an error."""
        rtnl, name = self.site.rtnl, self.link.name
        for prefix in self.gateways:
            with Step(f"failed to add IP addr {prefix} to {name}", passed=EEXIST):
                if prefix.version == 6:
                    self.site.sysctls.ensure(f"net/ipv6/conf/{name}/disable_ipv6", "0")
                addresses.add(rtnl, self.link.index, prefix, detect_duplicates=False)
        for ip in self.ips:
            self._add_route(ip.address.address)

    def _add_route(self, address: Address) -> None:
        step = f"failed to add route on host to {address}"
        try:
            routes.add(self.site.rtnl, self.link.index, _alone(address), scope=routes.SCOPE_HOST, exclusive=True)
        except KernelError as error:
            if error.errno != EEXIST:
                raise CNIError(f"{step}: {error}") from None
            leads = self._leads_to(address)
            if leads != self.link.name:
                remedy = "two containers cannot have one address: remove the other one"
                raise CNIError(f"{step}: it leads to {leads}", remedy, ADDRESS_TAKEN) from None
        route = routes.to(self.site.rtnl, address)
        if route is not None and route.kind == routes.RTN_LOCAL:
            raise CNIError(f"{step}: the node has it itself", "give the container another address", ADDRESS_TAKEN)

    def _leads_to(self, address: Address) -> str:
        """The link that the node's route to an address leads to, with its owner if it is another one."""
        route = routes.to(self.site.rtnl, address)
        link = self.site.rtnl.link(index=route.index) if route is not None else None
        if link is None:
            return "nowhere"
        return f"{link.name} of {link.alias}" if link.alias and link.index != self.link.index else link.name

    def compare(self, differ: "Differ") -> None:
        """The link has the gateways' addresses, and the node's routes to the container's lead to it."""
        name = self.link.name
        present = {address.prefix for address in addresses.of(self.site.rtnl, self.link.index)}
        for prefix in self.gateways:
            if prefix not in present:
                differ(CheckFailed(f"gateway address {prefix} is not on {name}"))
        for ip in self.ips:
            address = ip.address.address
            leads = self._leads_to(address)
            if leads != name:
                differ(CheckFailed(f"the node's route to {address} leads to {leads}, not to {name}"))

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        name = self.attachment.link
        lines = [
            f"ip addr add {prefix} dev {name}{' nodad' if prefix.version == 6 else ''}" for prefix in self.gateways
        ]
        return "\n".join([*lines, *(f"ip route add {ip.address.address} dev {name} scope host" for ip in self.ips)])
