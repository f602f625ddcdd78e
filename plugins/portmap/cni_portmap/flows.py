"""Remove UDP flows from connection tracking that a change of host ports makes stale.

The kernel does not see the end of a UDP flow. A flow keeps its old translation as long as packets come, also if a port
was mapped in the meantime or its pod is gone. Other flows stay: a flow through the node to another host's port 53 has
nothing to do with a hostPort 53.
"""

from cni.address import PROTOCOLS, Address
from cni.errors import CNIError, KernelError
from cni_portmap.published import two_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from cni.address import Prefix
    from cni.kernel.conntrack import Ends
    from cni.kernel.rtnl import Rtnl
    from cni.site import Site
    from cni_portmap.published import Entry

    # The entries of one family by their port on the node.
    Ports = dict[bytes, list[Entry]]

_UDP = PROTOCOLS["udp"]


class _OwnAddresses(dict[bytes, bool]):
    """Whether an address is the node's own. Read once per family, when the first flow needs it."""

    def __init__(self, rtnl: "Rtnl", version: int) -> None:
        super().__init__()
        self._rtnl = rtnl
        self._version = version
        self._networks: list[Prefix] | None = None

    def __missing__(self, address: bytes) -> bool:
        if self._networks is None:
            from cni.kernel import routes

            prefixes = routes.local_prefixes(self._rtnl, self._version)
            # a node may have thousands of single addresses; networks can be local as a whole
            self.update((each.address.packed, True) for each in prefixes if each.length == each.address.bits)
            self._networks = [each for each in prefixes if each.length < each.address.bits]
            return self[address]
        own = self[address] = any(Address(address) in network for network in self._networks)
        return own


def after_add(entries: "Iterable[Entry]", site: "Site") -> None:
    """Remove flows to a mapped port of this node that do not go to the new pod."""

    def judge(version: int, ports: "Ports") -> "Callable[[Ends], bool]":
        own = _OwnAddresses(site.rtnl, version)
        places = {
            port: [(b"" if each.everywhere else each.host.packed, _pod(each)) for each in group]
            for port, group in ports.items()
        }

        def stale(ends: "Ends") -> bool:
            to, port, *_ = ends
            for host, pod in places.get(port, ()):
                if to == host if host else own[to]:
                    return ends[2:] != pod
            return False

        return stale

    _forget(entries, lambda entry: (entry.host_port, None if entry.everywhere else entry.host), judge, site)


def after_delete(entries: "Iterable[Entry]", site: "Site") -> None:
    """Remove flows to a port that is no longer mapped, if the removed pod answers them."""

    def judge(version: int, ports: "Ports") -> "Callable[[Ends], bool]":  # noqa: ARG001 -- as the other judge
        pods = {port: {_pod(entry) for entry in group} for port, group in ports.items()}
        return lambda ends: ends[2:] in pods.get(ends[1], ())

    _forget(entries, lambda entry: (entry.host_port, None, entry.address, entry.port), judge, site)


def _pod(entry: "Entry") -> tuple[bytes, bytes]:
    """The pod's address and port."""
    return entry.address.packed, two_bytes(entry.port)


def _forget(
    entries: "Iterable[Entry]",
    known: "Callable[[Entry], tuple[Any, ...]]",
    judge: "Callable[[int, Ports], Callable[[Ends], bool]]",
    site: "Site",
) -> None:
    """Look for flows with the ``known`` fields of an entry, and remove each flow that ``judge`` finds stale.

    A failure is only reported, as in Go: the ports themselves work.
    """
    by_family: dict[int, Ports] = {}
    for entry in entries:
        if entry.protocol == _UDP:
            by_family.setdefault(entry.version, {}).setdefault(two_bytes(entry.host_port), []).append(entry)
    if not by_family:
        return
    from cni.kernel.conntrack import Conntrack, Sought

    try:
        conntrack = Conntrack()
        site.node.later.add(conntrack)
        for version, ports in by_family.items():
            sought = [Sought(*known(entry)) for group in ports.values() for entry in group]
            conntrack.forget(version, sought, judge(version, ports))
    except (CNIError, KernelError, OSError) as error:
        site.say(f"portmap: stale UDP flows were not looked for: {error}")
