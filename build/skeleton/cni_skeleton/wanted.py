"""skeleton: the container's interface, which an earlier plugin made, is promiscuous."""

from cni.errors import CheckFailed, CNIError, InvalidConfig
from cni.plan import Effect, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Link
    from cni.plan import Differ, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_skeleton.settings import Settings


class Promiscuous(Effect[None], Kind):
    """The container's interface is promiscuous."""

    noun = "promiscuous interface"
    repairable = True

    def make(self) -> None:
        """Make it promiscuous."""
        self.site.container.rtnl.change(self._link().index, promisc=True)

    def compare(self, differ: "Differ") -> None:
        """It is promiscuous."""
        link = self._link()
        if not link.promisc:
            differ(CheckFailed(f"{link.name} is not promiscuous", f"in {self.site.netns}"))

    def remove(self) -> None:
        """Make it not promiscuous. Without the namespace or the interface there is nothing to do."""
        namespace = self.site.remaining
        link = namespace.rtnl.link(self.attachment.ifname) if namespace is not None else None
        if namespace is not None and link is not None:
            namespace.rtnl.change(link.index, promisc=False)

    def _link(self) -> "Link":
        ifname = self.attachment.ifname
        link = self.site.container.rtnl.link(ifname)
        if link is None:
            raise CNIError(f'failed to lookup "{ifname}": Link not found', f"in {self.site.netns}")
        return link

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return f"ip link set {self.attachment.ifname} promisc on"


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The result is prevResult."""
    previous = call.site.previous
    if previous is None:
        raise InvalidConfig("must be called as chained plugin", "put it behind a plugin that makes an interface")
    if settings.promisc:
        yield from Promiscuous(call.site)
    return previous


def left(call: "Call") -> list[Kind]:
    """The interface may be promiscuous. It goes with the container, so GC has nothing to do."""
    return [Promiscuous(call.site)]
