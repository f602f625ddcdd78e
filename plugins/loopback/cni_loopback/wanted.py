"""loopback: ``lo`` is up in the container. CNI_IFNAME is ignored."""

from cni.errors import CheckFailed, CNIError, Refused
from cni.plan import Differ, Effect, Kind, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.address import Prefix
    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Link
    from cni.result import Result
    from cni.skel import Call

_LOOPBACK = ("127.0.0.0/8", "::1/128")


class LoopbackUp(Effect["tuple[int, list[Prefix]]"], Kind):
    """``lo`` is up in the container's namespace. The value is its MTU and its addresses."""

    noun = "lo"
    repairable = True

    def make(self) -> "tuple[int, list[Prefix]]":
        """Set it up. A ``lo`` with other addresses than loopback addresses is refused before it is changed."""
        from cni.address import Prefix
        from cni.kernel import addresses

        loopback = [Prefix.parse(text) for text in _LOOPBACK]
        rtnl, link = self.site.container.rtnl, _lo(self.site.container)
        for address in addresses.of(rtnl, link.index):
            if not any(address.prefix.address in network for network in loopback):
                raise Refused(
                    f'loopback interface found with non-loopback address "{address.prefix.address}"',
                    f"remove it from lo in {self.site.netns}",
                )
        if not link.up:
            rtnl.change(link.index, up=True)
        return link.mtu, [address.prefix for address in addresses.of(rtnl, link.index)]

    def compare(self, differ: "Differ") -> "tuple[int, list[Prefix]]":
        """It is up. Nothing else is compared."""
        link = _lo(self.site.container)
        if not link.up:
            differ(CheckFailed("loopback interface is down", f"lo in {self.site.netns}"))
        return link.mtu, []

    def remove(self) -> None:
        """Set it down. Without a namespace there is nothing to do."""
        namespace = self.site.remaining
        if namespace is not None:
            namespace.rtnl.change(_lo(namespace).index, up=False)

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return "ip link set lo up"


def _lo(namespace: "Namespace") -> "Link":
    link = namespace.rtnl.link("lo")
    if link is None:
        raise CNIError(f"no link lo in {namespace.path}")
    return link


def wanted(call: "Call", settings: None) -> "Plan[Result]":  # noqa: ARG001
    """``lo`` is up. A prevResult is passed through."""
    previous = call.site.previous if call.verb == "ADD" else None
    mtu, addresses = yield from LoopbackUp(call.site)
    if previous is not None:
        return previous
    from cni.result import Interface, IPConfig, Result, printed_mtu

    firsts = (next((prefix for prefix in addresses if prefix.version == version), None) for version in (4, 6))
    ips = [IPConfig(first, interface=0) for first in firsts if first is not None]
    return Result([Interface("lo", "00:00:00:00:00:00", call.netns, printed_mtu(mtu, call.version))], ips)


def left(call: "Call") -> list[Kind]:
    """``lo`` may be up. On the node this plugin makes nothing, so GC has nothing to look for."""
    return [] if call.verb == "GC" else [LoopbackUp(call.site)]
