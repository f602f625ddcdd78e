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

    # Of one family: for each port of the node, its address (empty: all), and the pod's address and port.
    Ports = dict[bytes, list[tuple[bytes, tuple[bytes, bytes]]]]

_UDP = PROTOCOLS["udp"]


def _own_addresses(rtnl: "Rtnl", version: int) -> "Callable[[bytes], bool]":
    """Tells whether an address is the node's own. The addresses are read when the first flow needs them."""
    known: dict[bytes, bool] = {}
    networks: list[Prefix] = []

    def own(address: bytes) -> bool:
        if not known:
            from cni.kernel import routes

            prefixes = routes.local_prefixes(rtnl, version)
            # a node may have thousands of single addresses; networks can be local as a whole
            known.update((each.address.packed, True) for each in prefixes if each.length == each.address.bits)
            networks.extend(each for each in prefixes if each.length < each.address.bits)
        if address not in known:
            known[address] = any(Address(address) in network for network in networks)
        return known[address]

    return own


def after_add(entries: "Iterable[Entry]", site: "Site") -> None:
    """Remove flows to a mapped port of this node that do not go to the new pod."""

    def judge(version: int, ports: "Ports") -> "Callable[[Ends], bool]":
        own = _own_addresses(site.rtnl, version)

        def stale(ends: "Ends") -> bool:
            to, port, *_ = ends
            for host, pod in ports.get(port, ()):
                if to == host if host else own(to):
                    return ends[2:] != pod
            return False

        return stale

    _forget(entries, lambda entry: (entry.host_port, None if entry.everywhere else entry.host), judge, site)


def after_delete(entries: "Iterable[Entry]", site: "Site") -> None:
    """Remove flows to a port that is no longer mapped, if the removed pod answers them."""

    def judge(_: int, ports: "Ports") -> "Callable[[Ends], bool]":
        return lambda ends: any(ends[2:] == pod for _, pod in ports.get(ends[1], ()))

    _forget(entries, lambda entry: (entry.host_port, None, entry.address, entry.port), judge, site)


def _forget(
    entries: "Iterable[Entry]",
    known: "Callable[[Entry], tuple[Any, ...]]",
    judge: "Callable[[int, Ports], Callable[[Ends], bool]]",
    site: "Site",
) -> None:
    """Look for flows with the ``known`` fields of an entry, and remove each flow that ``judge`` finds stale.

    A failure is only reported, as in Go: the ports themselves work.
    """
    by_family: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.protocol == _UDP:
            by_family.setdefault(entry.version, []).append(entry)
    if not by_family:
        return
    from cni.kernel.conntrack import Conntrack, Sought

    try:
        conntrack = Conntrack()
        site.node.later.add(conntrack)
        for version, members in by_family.items():
            ports: Ports = {}
            for entry in members:
                place = b"" if entry.everywhere else entry.host.packed, (entry.address.packed, two_bytes(entry.port))
                ports.setdefault(two_bytes(entry.host_port), []).append(place)
            conntrack.forget(version, [Sought(*known(entry)) for entry in members], judge(version, ports))
    except (CNIError, KernelError, OSError) as error:
        site.say(f"portmap: stale UDP flows were not looked for: {error}")
