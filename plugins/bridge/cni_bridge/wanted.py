"""What should be for one attachment to a bridge, in stages: the one description that every verb walks."""

from cni.errors import CNIError
from cni.interface import ConfiguredInterface, InterfaceUp
from cni.ipam import Addresses
from cni.podlink import Labelled, PodLink
from cni.result import Result
from cni_bridge.device import BridgeDevice
from cni_bridge.gateway import Forwarding, GatewayAddresses, VlanLeg, gateway_addresses, with_gateways
from cni_bridge.port import Announced, PortForwards, PortSettings, PortUp, PortVlans, wanted_vlans
from cni_bridge.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.address import Address, Prefix
    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Link, Rtnl
    from cni.plan import Effect, Stages
    from cni.podlink import Pair
    from cni.skel import Call


class Attached:
    """What the stages learnt, for the result of an ADD."""

    __slots__ = ("bridge", "leg", "pair", "result")

    def __init__(self) -> None:
        self.bridge: Link | None = None
        self.pair: Pair | None = None
        self.leg: Link | None = None
        self.result: Result | None = None


def wanted(
    call: "Call",
    settings: Settings,
    rtnl: "Rtnl",
    namespace: "Namespace | None",
    learnt: Attached,
    expected: "Result | None" = None,
) -> "Stages":
    """The stages of ADD and CHECK; ``expected`` is CHECK's prevResult."""
    who = call.attachment
    bridge = BridgeDevice(who, rtnl, settings, expected)
    link = PodLink(who, rtnl, namespace, settings.mac, settings.mtu, lambda: bridge.index, expected, call.say)
    values = yield [bridge, link]
    assert values is not None  # noqa: S101
    learnt.bridge, pair = values[0], values[1]
    learnt.pair = pair

    second: list[Effect] = [PortSettings(who, rtnl, pair.host, settings)]
    if wanted_vlans(settings):
        second.append(PortVlans(who, rtnl, pair.host, settings))
    if settings.mac_spoof_check:
        from cni.macspoof import MacSpoofCheck

        second.append(MacSpoofCheck(who, pair.container.mac))
    yield second

    if settings.disabled:
        yield [PortUp(who, rtnl, pair.host)]
    else:
        # both ends up before IPAM is asked: a DHCP client sends through them
        up = InterfaceUp(who, namespace, pair.container, settings.detect_duplicates)
        values = yield [PortUp(who, rtnl, pair.host), up, PortForwards(who, rtnl, pair.host)]
        forwards = bool(values and values[-1])
        if settings.ipam:
            yield from _layer_3(call, settings, rtnl, namespace, learnt, bridge, forwards)
    yield [Labelled(who, rtnl, pair.host.index)]


def _layer_3(
    call: "Call",
    settings: Settings,
    rtnl: "Rtnl",
    namespace: "Namespace | None",
    learnt: Attached,
    bridge: BridgeDevice,
    forwards: bool,
) -> "Stages":
    who, pair = call.attachment, learnt.pair
    assert pair is not None  # noqa: S101
    values = yield [Addresses(call, settings.ipam)]
    assert values is not None  # noqa: S101
    result = with_gateways(_own(values[0], who.ifname), settings)
    learnt.result = result
    settings.check_mtu(any(ip.version == 6 for ip in result.ips))

    third: list[Effect] = [
        ConfiguredInterface(who, namespace, result.ips, result.routes, settings.detect_duplicates),
    ]
    if settings.is_gateway:
        prefixes = gateway_addresses(result)
        if settings.vlan:
            leg = yield [VlanLeg(who, rtnl, settings, bridge)]
            learnt.leg = leg[0] if leg else None
        third.append(GatewayAddresses(who, rtnl, settings, prefixes))
        versions = sorted({ip.version for ip in result.ips if ip.gateway is not None})
        third.append(Forwarding(who, rtnl, settings.gateway_device, versions, call.say))
    if settings.masquerade:
        from cni.masquerade import Masquerade

        third.append(Masquerade(who, [ip.address for ip in result.ips], settings.masquerade_backend or "nftables"))
    third.append(Announced(who, rtnl, namespace, pair, result.ips, forwards))
    yield third


def _own(result: "Result", ifname: str) -> "Result":
    """The result without the addresses that a prevResult puts on other interfaces (those of other plugins)."""

    def ours(index: int | None) -> bool:
        if index is None or not 0 <= index < len(result.interfaces):
            return True
        interface = result.interfaces[index]
        return bool(interface.sandbox) and interface.name == ifname

    return Result((), [ip for ip in result.ips if ours(ip.interface)], result.routes, result.dns)


def removable(call: "Call", rtnl: "Rtnl", namespace: "Namespace | None", ipam: str) -> "Stages":
    """What may be there of an attachment, whatever the configuration says today: all that DEL and GC look for."""
    from cni.macspoof import MacSpoofCheck
    from cni.masquerade import Masquerade

    who = call.attachment
    yield [PodLink(who, rtnl, namespace, say=call.say), MacSpoofCheck(who, "")]
    if ipam:
        yield [Addresses(call, ipam)]

    def living() -> "set[Address]":
        return namespace.addresses_beside(who.ifname) if namespace is not None else set()

    yield [Masquerade(who, _known(call), living=living)]


def _known(call: "Call") -> "list[Prefix]":
    """The attachment's addresses as far as prevResult tells them: a help for telling apart what Go's plugins share."""
    try:
        previous = call.previous()
    except CNIError:
        return []
    return [ip.address for ip in _own(previous, call.attachment.ifname).ips] if previous is not None else []
