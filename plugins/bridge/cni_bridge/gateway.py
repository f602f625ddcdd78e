"""The node as the containers' gateway: addresses on the bridge, or on its leg in a VLAN, and forwarding."""

from errno import EEXIST

from cni.address import ANY, Address, Prefix
from cni.errors import CheckFailed, CNIError, Step
from cni.kernel import addresses
from cni.kernel.rtnl import NATIVE_VLAN, Link, random_mac
from cni.links.pair import REFUSALS
from cni.linksettings import MTU_MIN_IPV6
from cni.names import sha512
from cni.plan import Differ, Effect
from cni.result import IPConfig, Result, Route
from cni_bridge.port import set_vlans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni_bridge.settings import Settings

_MAIN = (None, 0, 254)
_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def with_gateways(result: Result, settings: "Settings") -> Result:
    """IPAM's result, with the gateways and default routes of this configuration (pure).

    A missing gateway becomes the first address of the network. Each family gets one default route, through the gateway
    of its first address. If IPAM gave a default route, that one is used, and gets the gateway if it has none.
    """
    ips = []
    routes = [Route(r.dst, r.gw, r.mtu, r.advmss, r.priority, r.table, r.scope) for r in result.routes]
    for ip in result.ips:
        gateway = ip.gateway
        if gateway is None and settings.is_gateway:
            gateway = _first_host(ip.address.network)
        ips.append(IPConfig(ip.address, gateway, 2))
        first = not any(other.version == ip.version for other in ips[:-1])
        if settings.is_default_gateway and first and gateway is not None:
            defaults = [route for route in routes if route.dst == ANY[ip.version] and route.table in _MAIN]
            for route in defaults:
                route.gw = route.gw or gateway
            if not defaults:
                routes.append(Route(ANY[ip.version], gateway))
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


class Forwarding(Effect[None]):
    """The node and the gateways' link forward the families that have a gateway. It is shared: nothing turns it off."""

    # the link with the gateways; its own sysctl may be off although the node's is on
    device: str
    versions: "Sequence[int]"
    shared = True
    repairable = True

    def _switches(self, version: int) -> tuple[str, str]:
        return _FORWARDING[version], f"net/ipv{version}/conf/{self.device}/forwarding"

    def make(self) -> None:
        """Write only the sysctls that are not 1, because /proc/sys may be read-only.

        For IPv6 only the node's sysctl decides in the kernel, so a failure on the link itself is no error.
        """
        for version in self.versions:
            node, own = self._switches(version)
            self._switch_on(version, node, f"set {node} to 1")
            try:
                self._switch_on(version, own, f"{self.device} does not forward: set {own} to 1")
            except CNIError:
                if version == 4:
                    raise

    def _switch_on(self, version: int, switch: str, remedy: str) -> None:
        with Step("failed to enable forwarding", remedy):
            if self.site.sysctls.read(switch) == "1":
                return
            if version == 6:
                from cni_bridge import advertisements

                advertisements.keep(self.site)
            self.site.sysctls.write(switch, "1")

    def compare(self, differ: "Differ") -> None:
        """The sysctls that forwarding needs are 1: the node's, and for IPv4 also the link's own."""
        for version in self.versions:
            node, own = self._switches(version)
            for switch in (node, own) if version == 4 else (node,):
                if self.site.sysctls.read(switch) != "1":
                    differ(CheckFailed(f"forwarding of IPv{version} is off", f"{switch} is not 1"))

    def describe(self) -> str:
        """The ``sysctl`` commands for it."""
        return "\n".join(f"sysctl {switch}=1" for version in self.versions for switch in self._switches(version))


class VlanLeg(Effect[Link]):
    """The node's leg in a VLAN of the bridge: a pair ``BRIDGE.VLAN`` and a port. Nothing removes it."""

    settings: "Settings"
    bridge: Link
    shared = True
    repairable = True

    @property
    def port(self) -> str:
        """The port's name, derived from the bridge and the VLAN. Links of attachments never have such a name."""
        settings = self.settings
        return "vleg" + sha512("vlan", settings.bridge, str(settings.vlan)).hex()[:11]

    def make(self) -> Link:
        """Make the pair if it is missing, or finish a pair of ours. Another link with that name is used unchanged."""
        name = self.settings.gateway_device
        step = f'failed to create vlan interface "{name}"'
        leg = self.site.rtnl.link(name)
        made = leg is None
        if made:
            with Step(step, REFUSALS, passed=EEXIST):  # another ADD was faster
                self._create(name)
            leg = self.site.rtnl.link(name)
        port = self.site.rtnl.link(self.port)
        whole = leg is not None and port is not None and (port.peer, leg.peer) == (leg.index, port.index)
        if leg is None or (made and not whole):
            raise CNIError(f"{step}: {self.port} or {name} is missing or another's")
        if whole and port is not None:
            with Step(step, REFUSALS):
                self._finish(port, leg)
        return leg

    def _create(self, name: str) -> None:
        from cni.kernel.kinds import Veth

        bridge, kind = self.bridge, Veth(name, random_mac(), self.bridge.mtu)
        self.site.rtnl.add(self.port, kind, mac=random_mac(), mtu=bridge.mtu, master=bridge.index)

    def _finish(self, port: Link, leg: Link) -> None:
        """Configure the pair. Done at each ADD, because the ADD that made the pair may have died before this."""
        rtnl, sysctls = self.site.rtnl, self.site.sysctls
        if port.master != self.bridge.index:  # the bridge is a new one
            rtnl.change(port.index, master=self.bridge.index)
        set_vlans(rtnl, port, self.settings, {self.settings.vlan: NATIVE_VLAN})
        for link in (port, leg):
            sysctls.attempt(f"net/ipv6/conf/{link.name}/accept_ra", "0")
        # its link-local address can be used at once: the node needs it to find its neighbours
        sysctls.attempt(f"net/ipv6/conf/{leg.name}/accept_dad", "0")
        for link in (port, leg):
            rtnl.change(link.index, up=True)

    def compare(self, differ: "Differ") -> Link:
        """Both ends exist and are up, and the port is in the VLAN."""
        leg = self.site.rtnl.link(self.settings.gateway_device)
        if leg is None:
            raise CheckFailed(f"{self.settings.gateway_device} is missing")
        if not leg.up:
            differ(CheckFailed(f"{self.settings.gateway_device} is down"))
        port = self.site.rtnl.link(index=leg.peer) if leg.peer else None
        if port is not None and port.master == self.bridge.index:
            if not port.up:
                differ(CheckFailed(f"port {port.name} of {leg.name} is down"))
            from cni.kernel import vlans

            if self.settings.vlan not in vlans.of(self.site.rtnl, port.index):
                differ(CheckFailed(f"vlan {self.settings.vlan} is not on port {port.name}"))
        return leg

    def describe(self) -> str:
        """The ``ip`` and ``bridge`` commands for it."""
        settings = self.settings
        return (
            f"ip link add {self.port} master {settings.bridge} type veth peer {settings.gateway_device}\n"
            f"bridge vlan add dev {self.port} vid {settings.vlan} pvid untagged"
        )
