"""The plan of one attachment to a bridge, for ADD and CHECK, and the kinds that DEL and GC remove."""

from cni import mainlink
from cni.ipam import Addresses
from cni.links import Labelled
from cni.links.pair import HostUp, PodLink
from cni.versions import CURRENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Link
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_bridge.settings import Settings

# Sysctls that the kernel reads before the first IPv6 address, and those that it reads when the interface comes up:
# without and with duplicate address detection.
_IPV6 = {"net/ipv6/conf/IF/ndisc_notify": "1"}
_SYSCTLS = {"net/ipv6/conf/IF/accept_dad": "0", "net/ipv4/conf/IF/arp_notify": "1"}
_DETECTING = {"net/ipv6/conf/IF/enhanced_dad": "1", **_SYSCTLS, "net/ipv6/conf/IF/accept_dad": "1"}


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """A port of the bridge. Both ends are up before the IPAM plugin runs, because a DHCP client sends through them."""
    from cni.interface import InterfaceUp
    from cni_bridge.device import BridgeDevice
    from cni_bridge.port import PortForwards, PortSettings, PortVlans, announced, wanted_vlans

    if settings.masquerade or settings.mac_spoof_check:
        settings.settle(call.site.nftables)
    site = call.site
    mainlink.need_previous(call, "veth")

    device = BridgeDevice(site, settings)
    bridge = yield from device
    pair = yield from PodLink(site, settings.mac, settings.mtu, lambda: device.index)
    yield from PortSettings(site, pair.host, settings)
    if wanted_vlans(settings):
        yield from PortVlans(site, pair.host, settings)
    if settings.mac_spoof_check:
        from cni.macspoof import MacSpoofCheck

        yield from MacSpoofCheck(site, pair.container.mac)

    yield from HostUp(site, pair.host)
    layer3, leg = None, None
    if not settings.disabled:
        sysctls = _DETECTING if settings.detect_duplicates else _SYSCTLS
        yield from InterfaceUp(site, pair.container, sysctls)
        forwards = yield from PortForwards(site, pair.host)
        if settings.ipam:
            layer3, leg = yield from _layer3(call, settings, bridge)
            yield from announced(site, pair, layer3.ips, forwards)
    yield from Labelled(site, pair.host)

    if call.version == CURRENT and call.verb == "ADD":  # these results have MTUs, and ports change the bridge's MTU
        bridge = site.rtnl.link(settings.bridge) or bridge
    links = [(bridge, ""), (pair.host, ""), (pair.container, call.netns), *([(leg, "")] if leg is not None else [])]
    return mainlink.result(mainlink.interfaces(call, links), layer3, settings.dns)


def _layer3(call: "Call", settings: "Settings", bridge: "Link") -> "Plan[tuple[Result, Link | None]]":
    """Addresses, routes, gateway and masquerade. Returns IPAM's result, completed, and the leg in a VLAN if any."""
    from cni.forwarding import Forwarding
    from cni.interface import ConfiguredInterface
    from cni_bridge.device import GatewayAddresses, gateway_addresses, with_gateways

    site, leg = call.site, None
    result = with_gateways((yield from mainlink.addresses(call, settings)), settings, call.verb == "CHECK")
    if settings.is_gateway and settings.vlan:
        from cni_bridge.leg import VlanLeg

        leg = yield from VlanLeg(site, settings, bridge)
    yield from ConfiguredInterface(site, result.ips, result.routes, _IPV6, settings.detect_duplicates)
    if settings.is_gateway:
        yield from GatewayAddresses(site, settings, gateway_addresses(result))
        versions = sorted({ip.version for ip in result.ips if ip.gateway is not None})
        yield from Forwarding(site, settings.gateway_device, versions)
    yield from mainlink.masqueraded(site, settings, result.ips)
    return result, leg


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have made for an attachment, with any configuration."""
    from cni.macspoof import MacSpoofCheck
    from cni.masquerade import Masquerade

    site = call.site
    return [PodLink(site), MacSpoofCheck(site), Addresses(call), Masquerade(site, site.known())]
