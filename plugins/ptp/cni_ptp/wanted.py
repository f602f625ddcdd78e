"""The plan of one routed link, for ADD and CHECK, and the kinds that DEL and GC remove."""

from cni import mainlink
from cni.ipam import Addresses
from cni.links import Labelled
from cni.links.pair import HostUp, PodLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.links.pair import Pair
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_ptp.settings import Settings

# nobody else is on the link, so no duplicate addresses are looked for
_SYSCTLS = {"net/ipv6/conf/IF/accept_dad": "0"}


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """A pair. Both ends are up before the IPAM plugin runs, because a DHCP client sends through them."""
    from cni.interface import InterfaceUp

    if settings.masquerade:
        settings.settle(call.site.nftables)
    site = call.site
    mainlink.need_previous(call, "ptp")
    pair = yield from PodLink(site, mtu=settings.mtu)
    yield from HostUp(site, pair.host, detect_duplicates=not settings.ipam)
    yield from InterfaceUp(site, pair.container, _SYSCTLS if settings.ipam else {})
    layer3 = (yield from _layer3(call, settings, pair)) if settings.ipam else None
    yield from Labelled(site, pair.host)
    links = [(pair.host, ""), (pair.container, call.netns)]
    return mainlink.result(mainlink.interfaces(call, links), layer3, settings.dns)


def _layer3(call: "Call", settings: "Settings", pair: "Pair") -> "Plan[Result]":
    """Addresses and routes of both ends, forwarding and masquerade. Returns IPAM's result."""
    from cni.forwarding import Forwarding
    from cni_ptp.routed import HostEnd, RoutedInterface, through_gateways

    site = call.site
    result = yield from mainlink.addresses(call, settings)
    routes, sources = through_gateways(result.ips, result.routes)
    for ip in result.ips:
        ip.interface = 1
    yield from RoutedInterface(site, result.ips, routes, sources=sources)
    yield from HostEnd(site, pair.host, result.ips)
    yield from Forwarding(site, pair.host.name, sorted({ip.version for ip in result.ips}))
    yield from mainlink.masqueraded(site, settings, result.ips)
    return result


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have made for an attachment, with any configuration."""
    from cni.masquerade import Masquerade

    return [PodLink(call.site), Addresses(call), Masquerade(call.site, call.site.known())]
