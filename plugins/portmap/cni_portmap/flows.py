"""UDP flows that outlive a change of host ports: found precisely, and removed.

UDP has no end that the kernel sees: a flow tracked before a port was mapped, or one that goes to a pod which is gone,
keeps its translation as long as packets come. What is not ours to judge stays: a flow through the node to somebody
else's port 53 has nothing to do with a hostPort 53.
"""

from cni.errors import CNIError
from cni.kernel.netlink import KernelError
from cni_portmap.settings import PROTOCOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cni.address import Address
    from cni.kernel.conntrack import Flow
    from cni.kernel.rtnl import Rtnl
    from cni_portmap.owned import Entry

_UDP = PROTOCOLS["udp"]


def after_add(entries: "Iterable[Entry]", rtnl: "Rtnl", say: "Callable[[str], None]") -> None:
    """Remove flows to a mapped port of this node that somebody else than the new pod answers."""
    local: dict[Address, bool] = {}

    def of_this_node(address: "Address") -> bool:
        if address not in local:
            local[address] = rtnl.is_local(address)
        return local[address]

    def stale(flow: "Flow", mapped: "list[Entry]") -> bool:
        for entry in mapped:
            if (entry.everywhere and of_this_node(flow.to)) or entry.host == flow.to:
                return (flow.answerer, flow.answering_port) != (entry.address, entry.port)
        return False

    _forget(entries, stale, say)


def after_delete(entries: "Iterable[Entry]", say: "Callable[[str], None]") -> None:
    """Remove flows to a port that was mapped which the pod that goes answers."""

    def orphaned(flow: "Flow", mapped: "list[Entry]") -> bool:
        return any((flow.answerer, flow.answering_port) == (entry.address, entry.port) for entry in mapped)

    _forget(entries, orphaned, say)


def _forget(
    entries: "Iterable[Entry]", judge: "Callable[[Flow, list[Entry]], bool]", say: "Callable[[str], None]"
) -> None:
    """A fault is told and is no error, as in Go: the ports themselves are in order."""
    by_family: dict[int, dict[int, list[Entry]]] = {}
    for entry in entries:
        if entry.protocol == _UDP:
            by_family.setdefault(entry.version, {}).setdefault(entry.host_port, []).append(entry)
    if not by_family:
        return
    from cni.kernel.conntrack import Conntrack

    try:
        conntrack = Conntrack()
        try:
            for version, ports in by_family.items():
                conntrack.forget(version, _UDP, list(ports), lambda flow, ports=ports: judge(flow, ports[flow.port]))  # type: ignore[misc]
        finally:
            conntrack.close()
    except (CNIError, KernelError, OSError) as error:
        say(f"portmap: stale UDP flows were not looked for: {error}")
