"""The verbs of loopback. CNI_IFNAME is ignored: the link is always ``lo``."""

from cni import plan
from cni.address import Prefix
from cni.errors import CheckFailed, CNIError, Refused
from cni.result import Interface, IPConfig, Result, printed_mtu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Link
    from cni.skel import Call

_LOOPBACK = (Prefix.parse("127.0.0.0/8"), Prefix.parse("::1/128"))


class LoopbackUp(plan.Effect):
    """``lo`` is up in the container's namespace; the value is its MTU and its addresses."""

    __slots__ = ("namespace",)

    def __init__(self, call: "Call", namespace: "Namespace") -> None:
        super().__init__(call.attachment)
        self.namespace = namespace

    @property
    def _link(self) -> "Link":
        link = self.namespace.rtnl.link("lo")
        if link is None:
            raise CNIError(f"no link lo in {self.namespace.path}")
        return link

    def make(self) -> "tuple[int, list[Prefix]]":
        """Refuse a ``lo`` that has other than loopback addresses, before it is touched."""
        rtnl, link = self.namespace.rtnl, self._link
        for address in rtnl.addresses(link.index):
            if not any(address.prefix.address in network for network in _LOOPBACK):
                raise Refused(
                    f'loopback interface found with non-loopback address "{address.prefix.address}"',
                    f"remove it from lo in {self.namespace.path}",
                )
        if not link.up:
            rtnl.set_link(link.index, up=True)
        return link.mtu, [address.prefix for address in rtnl.addresses(link.index)]

    def compare(self) -> None:
        """Up is all there is to it."""
        if not self._link.up:
            raise CheckFailed("loopback interface is down", f"lo in {self.namespace.path}")

    def remove(self) -> None:
        """Set it down."""
        self.namespace.rtnl.set_link(self._link.index, up=False)

    def describe(self) -> str:
        """As ``ip`` would be told."""
        return "ip link set lo up"


def _plan(effect: LoopbackUp, values: "list[Any]") -> "plan.Plan":
    def stages() -> "plan.Stages":
        values.extend((yield [effect]) or ())

    return stages


def add(call: "Call") -> Result:
    """Bring ``lo`` up; a prevResult is passed through."""
    from cni.kernel.namespace import Namespace

    previous = call.previous()
    values: list[Any] = []
    plan.make(_plan(LoopbackUp(call, Namespace(call.netns)), values), call.observe)
    if previous is not None:
        return previous
    ips = []
    mtu, addresses = values[0]
    for version in (4, 6):
        first = next((prefix for prefix in addresses if prefix.version == version), None)
        if first is not None:
            ips.append(IPConfig(first, interface=0))
    return Result([Interface("lo", "00:00:00:00:00:00", call.netns, printed_mtu(mtu, call.version))], ips)


def delete(call: "Call") -> None:
    """Set ``lo`` down; without a namespace there is nothing to do."""
    from cni.kernel.namespace import Namespace

    namespace = Namespace.remaining(call.netns, call.say)
    if namespace is not None:
        plan.remove(_plan(LoopbackUp(call, namespace), []), call.observe)


def check(call: "Call") -> None:
    """``lo`` must be up."""
    from cni.kernel.namespace import Namespace

    plan.compare(_plan(LoopbackUp(call, Namespace(call.netns)), []), call.observe)


def gc(call: "Call") -> None:
    """Nothing on the node is made by this plugin: what was, went with the namespaces."""


def status(call: "Call") -> None:
    """There is nothing that could be missing."""
