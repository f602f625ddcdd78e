"""The interface inside the container: brought up, then configured from an IPAM result with addresses and routes."""

from errno import EEXIST

from cni.address import Address
from cni.errors import CheckFailed, CNIError, InvalidConfig
from cni.kernel import sysctl
from cni.kernel.netlink import KernelError
from cni.kernel.rtnl import IFA_F_DADFAILED, IFA_F_NODAD, IFA_F_TENTATIVE, SCOPE_LINK, TABLE_MAIN
from cni.patience import attempts
from cni.plan import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Link, LinkRoute
    from cni.names import Attachment
    from cni.result import IPConfig, Route

# Seconds for duplicate address detection, where it is wanted.
_SETTLE = 5.0
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


class InterfaceUp(Effect):
    """The link ``CNI_IFNAME`` is up, before it has an address: an IPAM plugin may have to send through it."""

    __slots__ = ("detect_duplicates", "link", "namespace")

    def __init__(
        self,
        attachment: "Attachment",
        namespace: "Namespace | None",
        link: "Link | None",
        detect_duplicates: bool = False,
    ) -> None:
        """``namespace`` and ``link`` are None on DEL and GC."""
        super().__init__(attachment)
        self.namespace = namespace
        self.link = link
        self.detect_duplicates = detect_duplicates

    def make(self) -> None:
        """Sysctls that the kernel reads when the link comes up, or gets an address; then up."""
        if self.link is None or self.namespace is None:
            return
        ifname, accept_dad = self.attachment.ifname, "0"
        with self.namespace:
            if self.detect_duplicates:
                sysctl.attempt(f"net/ipv6/conf/{ifname}/enhanced_dad", "1")
                accept_dad = "1"
            sysctl.attempt(f"net/ipv6/conf/{ifname}/accept_dad", accept_dad)
            sysctl.attempt(f"net/ipv4/conf/{ifname}/arp_notify", "1")
        _set_up(self.namespace, self.link)

    def compare(self) -> None:
        """It is up."""
        assert self.link is not None and self.namespace is not None  # noqa: S101
        if not self.link.up:
            raise CheckFailed(f"Interface {self.link.name} is down", f"in {self.namespace.path}")

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return f"ip link set {self.attachment.ifname} up"


def _set_up(namespace: "Namespace", link: "Link") -> None:
    try:
        namespace.rtnl.set_link(link.index, up=True)
    except KernelError as error:
        raise CNIError(f'failed to set "{link.name}" UP: {error}') from None


class ConfiguredInterface(Effect):
    """Addresses and routes on ``CNI_IFNAME``. They go with the link, so there is nothing to remove."""

    __slots__ = ("detect_duplicates", "ips", "namespace", "routes")

    def __init__(
        self,
        attachment: "Attachment",
        namespace: "Namespace | None",
        ips: "Sequence[IPConfig]" = (),
        routes: "Sequence[Route]" = (),
        detect_duplicates: bool = False,
    ) -> None:
        """``namespace`` is None on DEL and GC. Without ``detect_duplicates`` IPv6 addresses are usable at once."""
        super().__init__(attachment)
        self.namespace = namespace
        self.ips = ips
        self.routes = routes
        self.detect_duplicates = detect_duplicates

    @property
    def _inside(self) -> "Namespace":
        assert self.namespace is not None  # noqa: S101
        return self.namespace

    def _link(self) -> "Link":
        link = self._inside.rtnl.link(self.attachment.ifname)
        if link is None:
            raise CheckFailed(f'failed to lookup "{self.attachment.ifname}": Link not found', f"in {self._inside.path}")
        return link

    # make

    def make(self) -> None:
        """Sysctls, addresses, routes; raises ``CNIError`` naming the step."""
        link = self._link()
        if any(ip.version == 6 for ip in self.ips):
            with self._inside:
                self._sysctls()
        self._add_addresses(link)
        if not link.up:  # the IPAM plugin set it down
            _set_up(self._inside, link)
        if self.detect_duplicates and any(ip.version == 6 for ip in self.ips):
            self._settle(link)
        self._add_routes(link)

    def _sysctls(self) -> None:
        """IPv6's, as Go's plugins set them, in the namespace the process is in; later changes are announced too."""
        ifname = self.attachment.ifname
        for name in ("lo", ifname):
            try:
                sysctl.ensure(f"net/ipv6/conf/{name}/disable_ipv6", "0")
            except FileNotFoundError:
                pass  # the kernel has no IPv6: adding the address will say so
            except OSError as error:
                raise CNIError(f'failed to enable IPv6 for interface "{name}": {error}') from None
        sysctl.attempt(f"net/ipv6/conf/{ifname}/keep_addr_on_down", "1")
        sysctl.attempt(f"net/ipv6/conf/{ifname}/ndisc_notify", "1")

    def _add_addresses(self, link: "Link") -> None:
        for ip in self.ips:
            flags = IFA_F_NODAD if ip.version == 6 and not self.detect_duplicates else 0
            try:
                self._inside.rtnl.add_address(link.index, ip.address, flags)
            except KernelError as error:
                raise CNIError(f'failed to add IP addr {ip.address} to "{link.name}": {error}') from None

    def _settle(self, link: "Link") -> None:
        """Wait until no IPv6 address is tentative any more; one that somebody else has is an error."""
        for _ in attempts(_SETTLE, first=0.05, longest=0.05):
            found = self._inside.rtnl.addresses(link.index, 10)
            for address in found:
                if address.flags & IFA_F_DADFAILED:
                    raise CNIError(
                        f'failed to settle addresses for "{link.name}": link {link.name} has address '
                        f"{address.prefix.address} in DADFAILED state",
                        "another host of the segment has this address",
                    )
            if not any(address.flags & IFA_F_TENTATIVE for address in found):
                return
        raise CNIError(f'failed to settle addresses for "{link.name}": still tentative after {_SETTLE:g} s')

    def _add_routes(self, link: "Link") -> None:
        defaults = gateways(self.ips)
        for route in self.routes:
            fault = route.fault()
            if fault:
                raise InvalidConfig(f"route {route.dst}: {fault}", "correct the routes in ipam")
            gw = hop(route, defaults)
            try:
                self._inside.rtnl.add_route(
                    link.index,
                    route.dst,
                    gw,
                    route.mtu,
                    route.advmss,
                    route.priority,
                    route.table or TABLE_MAIN,
                    route.scope or 0,
                )
            except KernelError as error:
                if error.errno == EEXIST:
                    continue  # the very same route is there
                raise CNIError(
                    f"failed to add route '{route.dst} via {gw} dev {link.name}': {error}",
                    "its gateway must lie in the network of one of the addresses",
                ) from None

    # compare

    def compare(self) -> None:
        """Every address and every route is there as made; more may be there."""
        link = self._link()
        present = {address.prefix for address in self._inside.rtnl.addresses(link.index)}
        for ip in self.ips:
            if ip.address not in present:
                raise CheckFailed(f"Failed to match addr {ip.address} on interface {link.name}")
        defaults = gateways(self.ips)
        for version, family in ((4, 2), (6, 10)):
            wanted = [route for route in self.routes if route.dst.version == version]
            if not wanted:
                continue
            found = [route for route in self._inside.rtnl.routes(family) if route.index == link.index]
            for route in wanted:
                if not any(_same(route, hop(route, defaults), there) for there in found):
                    raise CheckFailed(f"Expected Route {_told(route)} not found in routing table", f"on {link.name}")

    def describe(self) -> str:
        """The ``ip`` command for it."""
        name = self.attachment.ifname
        nodad = "" if self.detect_duplicates else " nodad"
        lines = [f"ip addr add {ip.address} dev {name}{nodad if ip.version == 6 else ''}" for ip in self.ips]
        defaults = gateways(self.ips)
        for route in self.routes:
            gw = hop(route, defaults)
            lines.append(f"ip route add {_told(route)}{f' via {gw}' if gw and not route.gw else ''} dev {name}")
        return "\n".join(lines)


def _told(route: "Route") -> str:
    words = [str(route.dst.network)]
    for word, value in (
        ("via", route.gw),
        ("mtu", route.mtu or None),
        ("advmss", route.advmss or None),
        ("metric", route.priority or None),
        ("table", route.table),
        ("scope", route.scope),
    ):
        if value is not None:
            words += [word, str(value)]
    return " ".join(words)


def _same(route: "Route", gw: Address | None, there: "LinkRoute") -> bool:
    """Whether the kernel's route is the wanted one; what was not asked for may be anything."""
    return (
        there.dst == route.dst.network
        and there.gw == gw
        and there.table == (route.table or TABLE_MAIN)
        and (not route.priority or there.priority == route.priority)
        and (not route.mtu or there.mtu == min(route.mtu, _MTU_MAX))
        and (not route.advmss or there.advmss == min(route.advmss, _ADVMSS_MAX))
        and (not route.scope or route.dst.version == 6 or there.scope == route.scope)
    )
