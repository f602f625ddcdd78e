"""What should be for one attachment of dummy."""

from cni import mainlink
from cni.kernel.kinds import Dummy
from cni.links.container_link import ContainerLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_dummy.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """A dummy with the addresses of IPAM. It has no neighbours."""
    return (yield from mainlink.attached(call, settings, ContainerLink(call.site, Dummy()), neighbours=False))


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have left, whatever the configuration says by now."""
    return mainlink.left(call, Dummy())
