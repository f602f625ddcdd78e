"""What should be for one attachment of ipvlan."""

from cni import mainlink
from cni.errors import InvalidConfig
from cni.kernel.kinds import Ipvlan
from cni.links.container_link import ContainerLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.parent import Parent
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_ipvlan.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """An ipvlan on the master, with the addresses of IPAM, or those of an earlier plugin."""
    mainlink.need_previous(call, "ipvlan")
    given = None if settings.ipam else _given(call)
    link = ContainerLink(call.site, settings.kind, _parent(call, settings), mtu=settings.mtu)
    # in the other modes nobody answers for an address: the kernel has no neighbours there
    neighbours = settings.kind.mode == "l2"
    return (yield from mainlink.attached(call, settings, link, neighbours, _layer3(call, settings, given)))


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have left, whatever the configuration says by now."""
    return mainlink.left(call, Ipvlan())


def _parent(call: "Call", settings: "Settings") -> "Parent | None":
    """The master: of the configuration, of an earlier plugin's result, or of the default route.

    CHECK gets the result of the ADD, which does not tell the last two apart: then it is not compared.
    """
    previous = call.site.previous
    if settings.master or previous is None:
        return settings.parent(call.site)
    if call.verb == "CHECK":
        return None
    fault = "chained master failure. PrevResult lacks a single named interface"
    if len(previous.interfaces) != 1 or not previous.interfaces[0].name:
        raise InvalidConfig(fault, "name a link with key master")
    (interface,) = previous.interfaces
    if bool(interface.sandbox) != settings.in_container:
        where = "in the container: name a link of the node with key master, or set linkInContainer"
        raise InvalidConfig(fault, f"{interface.name} is {where if interface.sandbox else 'not in the container'}")
    settings.master = interface.name
    return settings.parent(call.site)


def _given(call: "Call") -> "Result":
    """What an earlier plugin gives; raises ``InvalidConfig`` if that is no address."""
    previous = call.site.previous
    if previous is None or not previous.ips:
        raise InvalidConfig("no plugin name provided", "add ipam with a type, or a plugin before that gives addresses")
    return previous.of(call.attachment.ifname) if call.verb == "CHECK" else previous


def _layer3(call: "Call", settings: "Settings", given: "Result | None") -> "Plan[Result]":
    """Addresses, with the gateways of the configuration where they have none."""
    found = given if given is not None else (yield from mainlink.addresses(call, settings))
    for ip in found.ips:
        if ip.gateway is None:
            ip.gateway = next((gateway for gateway in settings.gateways if gateway in ip.address), None)
    return found
