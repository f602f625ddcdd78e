"""What should be for one attachment of host-device."""

from cni.ipam import Addresses
from cni.links.moved_link import MovedLink, Settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_host_device.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The device in the container, with the addresses of IPAM if there is one."""
    from cni import mainlink
    from cni_host_device.device import Device

    mainlink.need_previous(call, "host-device")
    device = Device(call.site, settings)
    if device.dpdk:
        return (yield from _driven_by_a_program(call, settings))
    moved = MovedLink(call.site, device.link)
    link = yield from moved
    layer3 = yield from mainlink.configured(call, settings, link)
    yield from Settled(moved)
    return mainlink.result(mainlink.interfaces(call, [(link, call.netns)]), layer3, settings.dns)


def _driven_by_a_program(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The addresses alone: a program of the container drives the device, and reads them in the result."""
    from cni import mainlink
    from cni.result import Interface

    layer3 = (yield from mainlink.addresses(call, settings)) if settings.ipam else None
    for ip in layer3.ips if layer3 is not None else ():
        ip.interface = 0
    return mainlink.result([Interface(call.attachment.ifname, sandbox=call.netns)], layer3, settings.dns)


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have left, with any configuration."""
    return [MovedLink(call.site), Addresses(call)]
