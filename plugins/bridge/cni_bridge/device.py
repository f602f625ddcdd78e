"""The bridge and the gateways' addresses on it. Other attachments use both too, so nothing removes them."""

from errno import EEXIST, EOPNOTSUPP, EPERM

from cni.address import Address, Prefix
from cni.errors import CheckFailed, CNIError, InvalidConfig, KernelError, Refused, Step
from cni.kernel import addresses
from cni.kernel.rtnl import Link, random_mac
from cni.kernel.sysctl import mac_was_set
from cni.linksettings import MTU_MIN_IPV6
from cni.mainlink import add_default_routes
from cni.plan import Differ, Effect
from cni.result import IPConfig, Result, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.kernel.kinds import Bridge
    from cni_bridge.settings import Settings

_NO_VLANS = "the kernel of this node has no bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)"

_REFUSALS = {EOPNOTSUPP: "the kernel of this node has no bridge (CONFIG_BRIDGE)", EPERM: "this needs CAP_NET_ADMIN"}


class BridgeDevice(Effect[Link]):
    """The bridge exists, is up and keeps its MAC; the value is its ``Link``."""

    settings: "Settings"
    found: Link | None = None
    shared = True
    repairable = True

    @property
    def index(self) -> int:
        """The bridge's index after ``make`` or ``compare``, 0 before."""
        return self.found.index if self.found is not None else 0

    @property
    def _kind(self) -> "Bridge":
        from cni.kernel.kinds import Bridge

        return Bridge(self.settings.vlan_filtering)

    def make(self) -> Link:
        """Make the bridge if it is missing, with a fixed MAC. A link of another kind is refused."""
        settings = self.settings
        link = self.site.rtnl.link(settings.bridge) or self._create()
        if link.kind != "bridge":
            raise Refused(
                f'failed to create bridge "{settings.bridge}": "{settings.bridge}" already exists but is not a bridge',
                f"it is of type {link.kind or 'device'}; choose another name with key bridge",
            )
        if settings.vlan_filtering and link.data != self._kind:
            self._filter(link)
        # the MAC of a bridge that Go's plugin or a user made may follow its ports
        floating = not mac_was_set(self.site.node.roots.sys, link.name, link.index)
        promisc = settings.promisc and not link.promisc
        if floating or promisc or not link.up:
            mac = link.mac if link.mac.strip("0:") else random_mac()
            name = f'"{link.name}"'
            with Step(f"could not set promiscuous mode on {name}" if promisc else f"failed to set {name} up"):
                self.site.rtnl.change(link.index, mac=mac if floating else "", up=True, promisc=promisc or None)
            link.mac = mac if floating else link.mac
        self.found = link
        return link

    def _create(self) -> Link:
        settings = self.settings
        try:
            self.site.rtnl.add(settings.bridge, self._kind, mac=random_mac(), mtu=settings.mtu)
        except KernelError as error:
            if error.errno == EOPNOTSUPP and settings.vlan_filtering:
                raise Refused(f'failed to create bridge "{settings.bridge}": {_NO_VLANS}') from None
            if error.errno != EEXIST:  # another ADD was faster
                remedy = _REFUSALS.get(error.errno, "")
                raise Refused(f'failed to create bridge "{settings.bridge}": {error}', remedy) from None
        self.site.sysctls.attempt(f"net/ipv6/conf/{settings.bridge}/accept_ra", "0")
        # its link-local address can be used at once: the node needs it to find the containers' MACs
        self.site.sysctls.attempt(f"net/ipv6/conf/{settings.bridge}/accept_dad", "0")
        link = self.site.rtnl.link(settings.bridge)
        if link is None:
            raise CNIError(f'could not lookup "{settings.bridge}" after creating it', "did something remove it?")
        return link

    def _filter(self, link: Link) -> None:
        """Turn VLAN filtering on. Go accepts VLANs on a bridge without it, where they have no effect."""
        try:
            self.site.rtnl.change(link.index, kind=self._kind)
        except KernelError as error:
            text = _NO_VLANS if error.errno == EOPNOTSUPP else str(error)
            raise InvalidConfig(f'cannot filter VLANs on "{link.name}": {text}', "drop vlan and vlanTrunk") from None

    def compare(self, differ: "Differ") -> Link:
        """It is a bridge, is up, has prevResult's MAC, and filters VLANs and is promiscuous if configured."""
        settings, name = self.settings, self.settings.bridge
        link = self.site.rtnl.link(name)
        if link is None:
            raise CheckFailed(f"Bridge interface {name} is missing")
        if link.kind != "bridge":
            raise CheckFailed(f"Interface {name} is not a bridge")
        if not link.up:
            differ(CheckFailed(f"Bridge interface {name} is down"))
        if settings.promisc and not link.promiscuity:
            text = "configured Promisc Mode true doesn't match current state: false"
            differ(CheckFailed(f"Bridge interface {name} {text}"))
        if settings.vlan_filtering and link.data != self._kind:
            differ(CheckFailed(f"Bridge interface {name} does not filter VLANs"))
        previous = self.site.previous
        for interface in previous.interfaces if previous is not None else ():
            if interface.name == name and not interface.sandbox and interface.mac not in ("", link.mac):
                fault = f"Bridge interface {name} Mac doesn't match: {interface.mac}"
                differ(CheckFailed(fault, f"it is {link.mac}"))
        self.found = link
        return link

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        settings = self.settings
        mtu = f" mtu {settings.mtu}" if settings.mtu else ""
        filtering = " vlan_filtering 1" if settings.vlan_filtering else ""
        promisc = " promisc on" if settings.promisc else ""
        made = f"ip link add {settings.bridge} address RANDOM{mtu} type bridge{filtering}"
        return f"{made}\nip link set {settings.bridge} up{promisc}"


def with_gateways(result: Result, settings: "Settings", check: bool = False) -> Result:
    """IPAM's result, with the gateways and default routes of this configuration (pure).

    A missing gateway becomes the first address of the network. Each family gets one default route, through the gateway
    of its first address. If IPAM gave a default route, that one is used, and gets the gateway if it has none. For CHECK
    the result has these routes, unless the runtime has given the container another default route, as Multus can.
    """
    ips = []
    routes = [Route(r.dst, r.gw, r.mtu, r.advmss, r.priority, r.table, r.scope) for r in result.routes]
    for ip in result.ips:
        gateway = ip.gateway
        if gateway is None and settings.is_gateway:
            gateway = _first_host(ip.address.network)
        ips.append(IPConfig(ip.address, gateway, 2))
    if settings.is_default_gateway and not check:
        add_default_routes(ips, routes)
    return Result((), ips, routes, result.dns)


def _first_host(network: Prefix) -> Address:
    try:
        return network.address + 1
    except OverflowError:
        raise CNIError(f"network {network} has no address for a gateway", "let the IPAM plugin name one") from None


def gateway_addresses(result: Result) -> list[Prefix]:
    """The bridge's addresses: each gateway with the prefix length of its network. ``0.0.0.0`` and ``::`` do not count."""
    gateways = [(ip.gateway, ip.address.length) for ip in result.ips if ip.gateway is not None]
    return list(dict.fromkeys(Prefix(address, length) for address, length in gateways if any(address.packed)))


def _conflicts(existing: Prefix, wanted: Prefix) -> bool:
    """A bridge has one IPv4 subnet. IPv6 subnets must not overlap, except link-local addresses."""
    if existing.version != wanted.version:
        return False
    beside = _link_local(existing.address) and existing.address != wanted.address
    return wanted.version == 4 or (existing.overlaps(wanted) and not beside)


def _link_local(address: Address) -> bool:
    return address.packed[0] == 0xFE and address.packed[1] & 0xC0 == 0x80


class GatewayAddresses(Effect[None]):
    """The gateways' addresses on the bridge or its VLAN leg. Other attachments use them too, so nothing removes them."""

    settings: "Settings"
    prefixes: "Sequence[Prefix]"
    shared = True
    repairable = True

    def _existing(self, prefix: Prefix, link: Link) -> list[Prefix]:
        found = addresses.of(self.site.rtnl, link.index, prefix.address.family)
        return [address.prefix for address in found]

    def make(self) -> None:
        """Add missing addresses. A conflicting address is an error, or is replaced with ``forceAddress``."""
        link = self.site.rtnl.link(self.settings.gateway_device)
        if link is None:
            text = f'failed to set bridge addr: could not lookup "{self.settings.gateway_device}"'
            raise CNIError(text, "did something remove it?")
        for prefix in self.prefixes:
            self._add(link, prefix)

    def _add(self, link: Link, prefix: Prefix) -> None:
        existing = self._existing(prefix, link)
        if prefix in existing:
            return
        for other in existing:
            if other in self.prefixes or not _conflicts(other, prefix):
                continue
            if not self.settings.force_address:
                raise CNIError(
                    f'failed to set bridge addr: "{link.name}" already has an IP address different from {prefix}',
                    f"it has {other}; set forceAddress to replace it, or use another bridge",
                )
            addresses.delete(self.site.rtnl, link.index, other)
        small = prefix.version == 6 and link.mtu < MTU_MIN_IPV6
        reason = f"its MTU is {link.mtu}, and IPv6 needs {MTU_MIN_IPV6}: a port has a smaller one" if small else ""
        with Step(f'could not add IP address {prefix} to "{link.name}"', reason, passed=EEXIST):  # by another ADD
            addresses.add(self.site.rtnl, link.index, prefix, detect_duplicates=False)

    def compare(self, differ: "Differ") -> None:
        """Each gateway's address exists."""
        link = self.site.rtnl.link(self.settings.gateway_device)
        for prefix in self.prefixes:
            if link is None or prefix not in self._existing(prefix, link):
                differ(CheckFailed(f"gateway address {prefix} is not on {self.settings.gateway_device}"))

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        return "\n".join(
            f"ip addr add {prefix} dev {self.settings.gateway_device}{' nodad' if prefix.version == 6 else ''}"
            for prefix in self.prefixes
        )
