"""What should be for one attachment of tap."""

from cni import mainlink
from cni.kernel.kinds import Tun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_tap.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """A tap, with the addresses of IPAM if there is one."""
    from cni_tap.link import Tap

    return (yield from mainlink.attached(call, settings, Tap(call.site, settings)))


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have left, whatever the configuration says by now."""
    return mainlink.left(call, Tun())
