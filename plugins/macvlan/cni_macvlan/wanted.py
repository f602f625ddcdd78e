"""What should be for one attachment of macvlan."""

from cni import mainlink
from cni.kernel.kinds import Macvlan
from cni.links.container_link import ContainerLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.parent import Parent
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_macvlan.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """A macvlan on the master, with the addresses of IPAM if there is one."""
    parent = settings.parent(call.site)
    link = ContainerLink(call.site, settings.kind, parent, settings.mac, settings.mtu)
    given = _layer3(call, settings, parent) if settings.ipam else None
    return (yield from mainlink.attached(call, settings, link, given=given))


def _layer3(call: "Call", settings: "Settings", parent: "Parent") -> "Plan[Result]":
    """The result of IPAM, with default routes. The node has its routes before the container announces its addresses."""
    found = yield from mainlink.addresses(call, settings)
    if settings.is_default_gateway and call.verb == "ADD":  # CHECK's result has them
        mainlink.add_default_routes(found.ips, found.routes)
    if settings.host_shim:
        from cni.links.shim import HostShim

        yield from HostShim(call.site, parent.link, found.ips)
    return found


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have left, whatever the configuration says by now."""
    from cni.links.shim import HostShim

    return [*mainlink.left(call, Macvlan()), HostShim(call.site)]
