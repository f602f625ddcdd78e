"""What should be for one attachment of macvlan."""

from cni import mainlink
from cni.kernel.kinds import Macvlan
from cni.links.container_link import ContainerLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_macvlan.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """A macvlan on the master, with the addresses of IPAM if there is one."""
    link = ContainerLink(call.site, settings.kind, settings.parent(call.site), settings.mac, settings.mtu)
    return (yield from mainlink.attached(call, settings, link))


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have left, whatever the configuration says by now."""
    return mainlink.left(call, Macvlan())
