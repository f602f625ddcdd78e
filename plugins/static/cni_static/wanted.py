"""static: nothing is made on the node. CHECK looks for the addresses in prevResult."""

from cni.errors import CheckFailed
from cni.plan import Effect
from cni.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Differ, Kind, Plan
    from cni.skel import Call
    from cni_static.settings import Settings


class StatedAddresses(Effect[Result]):
    """The addresses of an attachment; the value is the result."""

    __slots__ = ("settings",)
    # there is nothing to repair
    repairable = False

    def __init__(self, call: "Call", settings: "Settings") -> None:
        super().__init__(call.site)
        self.settings = settings

    def make(self) -> Result:
        """The result as stated."""
        return Result((), self.settings.ips, self.settings.routes, self.settings.dns)

    def compare(self, differ: "Differ") -> Result:
        """Each address is in prevResult, with its gateway. Later plugins may have added others."""
        previous, ifname = self.site.previous, self.attachment.ifname
        if previous is None:
            raise CheckFailed("Required prevResult missing")
        there = {ip.address: ip.gateway for ip in previous.of(ifname).ips}
        for ip in self.settings.ips:
            fault = ""
            if ip.address not in there:
                fault = f"{ip.address} is not in prevResult"
            elif ip.gateway not in (None, there[ip.address]):
                fault = f"its gateway is {there[ip.address] or 'missing'} in prevResult, not {ip.gateway}"
            if fault:
                differ(CheckFailed(f"static: Failed to match addr {ip.address} on interface {ifname}", fault))
        return self.make()

    def describe(self) -> str:
        """The addresses."""
        return "\n".join(f"{ip.address}{f' via {ip.gateway}' if ip.gateway else ''}" for ip in self.settings.ips)


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The addresses that count."""
    return (yield from StatedAddresses(call, settings))


def left(call: "Call") -> "list[Kind]":  # noqa: ARG001
    """Nothing, so DEL needs no valid configuration."""
    return []
