"""What should be for one attachment of vrf."""

from cni.errors import CheckFailed, InvalidConfig
from cni.settings import chosen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_vrf.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The interface is a member of the VRF. The result is prevResult."""
    previous = call.site.previous
    if previous is None:
        fault = "missing prevResult from earlier plugin"
        raise (
            CheckFailed(fault) if call.verb == "CHECK" else InvalidConfig(fault, "put it behind the interface's plugin")
        )
    from cni.vrf import Membership

    own = previous.of(call.attachment.ifname)
    yield from Membership(call.site, settings.vrf, settings.table, own.ips, own.routes)
    return previous


def left(call: "Call") -> "list[Kind]":
    """What an ADD may have made, with any configuration. It is in the container, where GC does not look."""
    if call.verb == "GC":
        return []
    from cni.vrf import Membership

    named = chosen(call.config, "vrfname")
    return [Membership(call.site, named if isinstance(named, str) else "")]
