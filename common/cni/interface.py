"""The interface inside the container: brought up, then configured from an IPAM result with addresses and routes."""

from errno import EEXIST, ENOENT

from cni.address import Address
from cni.errors import CheckFailed, CNIError, InvalidConfig, Step
from cni.kernel import addresses, routes
from cni.kernel.routes import SCOPE_LINK, TABLE_MAIN
from cni.patience import attempts
from cni.plan import Differ, Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cni.kernel.namespace import Namespace
    from cni.kernel.routes import LinkRoute
    from cni.kernel.rtnl import Link
    from cni.result import IPConfig, Route
    from cni.site import Site

# Seconds for duplicate address detection, where it is wanted.
_SETTLE = 5.0
_NONE: "Mapping[str, str]" = {}
# With these the kernel announces the addresses when a link comes up, or is given a MAC.
NOTIFY = {"net/ipv4/conf/IF/arp_notify": "1", "net/ipv6/conf/IF/ndisc_notify": "1"}
# What the kernel keeps of larger ones (ip_metrics_convert).
_MTU_MAX, _ADVMSS_MAX = 65520, 65495


def gateways(ips: "Iterable[IPConfig]") -> dict[int, Address]:
    """The first gateway of each family: what a route without one uses. ``0.0.0.0`` and ``::`` are no gateway."""
    found: dict[int, Address] = {}
    for ip in ips:
        if ip.gateway is not None and any(ip.gateway.packed):
            found.setdefault(ip.gateway.version, ip.gateway)
    return found


def hop(route: "Route", defaults: dict[int, Address]) -> Address | None:
    """A route's next hop; one whose scope says that there is none (link, host) gets none."""
    if route.gw is not None:
        return None if not any(route.gw.packed) else route.gw
    if route.scope is not None and route.scope >= SCOPE_LINK:
        return None
    return defaults.get(route.dst.version)


class InterfaceUp(Effect[None]):
    """The link ``CNI_IFNAME`` is up, before it has an address: an IPAM plugin may have to send through it."""

    link: "Link"
    # those that the kernel reads when the link comes up; ``IF`` in a path is its name
    sysctls: "Mapping[str, str]" = _NONE
    repairable = True

    def make(self) -> None:
        """Sysctls that the kernel reads when the link comes up, or gets an address; then up."""
        with self.site.container:
            _attempt(self.site, self.sysctls)
        _set_up(self.site.container, self.link)

    def compare(self, differ: "Differ") -> None:
        """It is up."""
        if not self.link.up:
            differ(CheckFailed(f"Interface {self.link.name} is down", f"in {self.site.netns}"))

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return f"ip link set {self.attachment.ifname} up"


def _attempt(site: "Site", sysctls: "Mapping[str, str]") -> None:
    """Set sysctls in the namespace that the process is in; what the kernel lacks, or refuses, is left."""
    for path, value in sysctls.items():
        site.sysctls.attempt(path.replace("/IF/", f"/{site.attachment.ifname}/"), value)


def _set_up(namespace: "Namespace", link: "Link") -> None:
    with Step(f'failed to set "{link.name}" UP'):
        namespace.rtnl.change(link.index, up=True)


class ConfiguredInterface(Effect[None]):
    """Addresses and routes on ``CNI_IFNAME``. They go with the link, so there is nothing to remove."""

    ips: "Sequence[IPConfig]"
    routes: "Sequence[Route]" = ()
    # set before the first IPv6 address
    sysctls: "Mapping[str, str]" = _NONE
    # without it IPv6 addresses are usable at once
    detect_duplicates: bool = False
    # the container may have changed its own interface meanwhile
    repairable = False

    def _link(self) -> "Link":
        link = self.site.container.rtnl.link(self.attachment.ifname)
        if link is None:
            raise CheckFailed(f'failed to lookup "{self.attachment.ifname}": Link not found', f"in {self.site.netns}")
        return link

    def make(self) -> None:
        """Sysctls, addresses, routes; raises ``CNIError`` naming the step."""
        link = self._link()
        if any(ip.version == 6 for ip in self.ips):
            with self.site.container:
                self._sysctls()
        self._add_addresses(link)
        if not link.up:  # the IPAM plugin set it down
            _set_up(self.site.container, link)
        if self.detect_duplicates and any(ip.version == 6 for ip in self.ips):
            self._settle(link)
        self._add_routes(link)

    def _sysctls(self) -> None:
        """IPv6's, as Go's plugins set them, in the namespace that the process is in."""
        ifname = self.attachment.ifname
        for name in ("lo", ifname):
            # ENOENT: the kernel has no IPv6, and adding the address will say so
            with Step(f'failed to enable IPv6 for interface "{name}"', passed=ENOENT):
                self.site.sysctls.ensure(f"net/ipv6/conf/{name}/disable_ipv6", "0")
        self.site.sysctls.attempt(f"net/ipv6/conf/{ifname}/keep_addr_on_down", "1")
        _attempt(self.site, self.sysctls)

    def _add_addresses(self, link: "Link") -> None:
        for ip in self.ips:
            with Step(f'failed to add IP addr {ip.address} to "{link.name}"'):
                addresses.add(self.site.container.rtnl, link.index, ip.address, self.detect_duplicates)

    def _settle(self, link: "Link") -> None:
        """Wait until no IPv6 address is tentative any more; one that somebody else has is an error.

        Without a carrier nobody is asked, so there is nothing to wait for.
        """
        for _ in attempts(_SETTLE, first=0.05, longest=0.05):
            found = addresses.of(self.site.container.rtnl, link.index, 10)
            for address in found:
                if address.duplicate:
                    raise CNIError(
                        f'failed to settle addresses for "{link.name}": link {link.name} has address '
                        f"{address.prefix.address} in DADFAILED state",
                        "another host of the segment has this address",
                    )
            if not any(address.tentative for address in found) or not self._link().carrier:
                return
        raise CNIError(f'failed to settle addresses for "{link.name}": still tentative after {_SETTLE:g} s')

    def _add_routes(self, link: "Link") -> None:
        defaults = gateways(self.ips)
        for route in self.routes:
            fault = route.fault()
            if fault:
                raise InvalidConfig(f"route {route.dst}: {fault}", "correct the routes in ipam")
            gw = hop(route, defaults)
            attributes = (route.mtu, route.advmss, route.priority, route.table or TABLE_MAIN, route.scope or 0)
            step = f"failed to add route '{route.dst}{f' via {gw}' if gw else ''} dev {link.name}'"
            with Step(step, "its gateway must lie in the network of one of the addresses", passed=EEXIST):
                routes.add(self.site.container.rtnl, link.index, route.dst, gw, *attributes, self.source(route))

    def source(self, route: "Route") -> Address | None:  # noqa: ARG002 -- for derived effects
        """The source address of packets on a route; None: the kernel's choice. Derived effects may know it."""
        return None

    def compare(self, differ: "Differ") -> None:
        """Every address and every route is there as made; more may be there."""
        link, rtnl = self._link(), self.site.container.rtnl
        present = {address.prefix for address in addresses.of(rtnl, link.index)}
        for ip in self.ips:
            if ip.address not in present:
                differ(CheckFailed(f"Failed to match addr {ip.address} on interface {link.name}"))
        defaults = gateways(self.ips)
        for version, family in ((4, 2), (6, 10)):
            wanted = [route for route in self.routes if route.dst.version == version]
            found = [route for route in routes.every(rtnl, family) if route.index == link.index] if wanted else []
            for route in wanted:
                if not any(_same(route, hop(route, defaults), each) for each in found):
                    fault = f"Expected Route {_words(route)} not found in routing table"
                    differ(CheckFailed(fault, f"on {link.name}"))

    def describe(self) -> str:
        """The ``ip`` command for it."""
        name = self.attachment.ifname
        nodad = "" if self.detect_duplicates else " nodad"
        lines = [f"ip addr add {ip.address} dev {name}{nodad if ip.version == 6 else ''}" for ip in self.ips]
        defaults = gateways(self.ips)
        for route in self.routes:
            gw = hop(route, defaults)
            lines.append(f"ip route add {_words(route)}{f' via {gw}' if gw and not route.gw else ''} dev {name}")
        return "\n".join(lines)


class Announced(Effect[None]):
    """The neighbours learn where the addresses are now."""

    # it is in the container
    link: "Link"
    ips: "Sequence[IPConfig]"
    # returns whether neighbours can hear it by now; None: they can
    reachable: "Callable[[], bool] | None" = None
    # nothing is compared
    repairable = False

    def make(self) -> None:
        """Announce each address."""
        if not self.ips or (self.reachable is not None and not self.reachable()):
            return
        from cni.kernel.announce import announce

        addresses = [ip.address.address for ip in self.ips]
        announce(self.site.container, self.link, addresses, self.site.sysctls, self.site.node.later)

    def compare(self, differ: "Differ") -> None:
        """An announcement leaves nothing on the node."""

    def describe(self) -> str:
        """What is announced."""
        return "\n".join(f"announce {ip.address.address}" for ip in self.ips)


def _words(route: "Route") -> str:
    given = {"via": route.gw, "mtu": route.mtu or None, "advmss": route.advmss or None}
    given |= {"metric": route.priority or None, "table": route.table, "scope": route.scope}
    words = [f"{word} {value}" for word, value in given.items() if value is not None]
    return " ".join([str(route.dst.network), *words])


def _same(route: "Route", gw: Address | None, found: "LinkRoute") -> bool:
    """Whether the kernel's route is the wanted one; what was not asked for may be anything."""
    return (
        found.dst == route.dst.network
        and found.gw == gw
        # a later plugin, such as sbr or vrf, moves those of the main table
        and (found.table == route.table or route.table in (None, 0, TABLE_MAIN))
        and (not route.priority or found.priority == route.priority)
        and (not route.mtu or found.mtu == min(route.mtu, _MTU_MAX))
        and (not route.advmss or found.advmss == min(route.advmss, _ADVMSS_MAX))
        and (not route.scope or route.dst.version == 6 or found.scope == route.scope)
    )
