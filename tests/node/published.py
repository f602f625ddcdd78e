"""Pods on a node's bridge with published ports, and everybody who may want to reach them."""

from collections.abc import Iterable, Mapping
from typing import Any

from .chain import Chain
from .configuration import bridge, conflist, host_local, portmap
from .namespace import Netns
from .plugin import DIST, SUBJECT, Object
from .topology import Node, Pod

SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"
GATEWAY, GATEWAY6 = "10.1.0.1", "2001:db8:1::1"
# The bridge is ours also where another portmap is under test: its addresses are usable at once.
BINARIES = {"bridge": DIST, "portmap": SUBJECT}


def network(
    node: Node,
    *,
    name: str = "net1",
    version: str = "1.0.0",
    subnets: Iterable[str] = (SUBNET, SUBNET6),
    link: str = "br0",
    below: Object | None = None,
    **keys: Any,
) -> Object:
    """A network of bridge and portmap. ``below`` are keys of bridge, ``keys`` are portmap's; ``link`` is the bridge."""
    link_local_addresses_are_usable(node)
    ipam = host_local(node.data_dir, *subnets)
    keys_below = {"isDefaultGateway": True, "hairpinMode": True, **(below or {})}
    lower = bridge(ipam, version=None, **{**keys_below, "bridge": link})
    del lower["name"]
    return conflist(lower, portmap(**keys), name=name, version=version)


def link_local_addresses_are_usable(node: Node) -> None:
    """Duplicate address detection takes the kernel a second, in which it forwards no IPv6 to a new neighbour."""
    if node.sysctl("ipv6/conf/all/accept_dad") == "0" == node.sysctl("ipv6/conf/default/accept_dad"):
        return
    for each in ("all", "default"):
        node.sysctl(f"ipv6/conf/{each}/accept_dad", "0")
    for at, address in ((node, "fe80::1"), (node.outside, "fe80::2")):
        at.ip(f"addr add {address}/64 dev uplink nodad")


def wanted(
    node: Node,
    *ports: Object,
    pod: Pod | None = None,
    ifname: str = "eth0",
    binaries: str | Mapping[str, str] = BINARIES,
    **keys: Any,
) -> Chain:
    """A pod that is to be attached with its ports."""
    return Chain(node, network(node, **keys), pod, ifname=ifname, binaries=binaries, portMappings=list(ports))


def publish(node: Node, *ports: Object, **keys: Any) -> Chain:
    """A pod that is attached, and its ports published."""
    return wanted(node, *ports, **keys).add()


def neighbour(node: Node, **keys: Any) -> Chain:
    """A pod on the same bridge that publishes nothing."""
    chain = wanted(node, **keys)
    del chain.conflist["plugins"][1:]
    return chain.add()


def bridged_packets_are_filtered(node: Node, filtered: bool) -> None:
    """Turn br_netfilter on or off on the node."""
    for name in ("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"):
        node.sysctl(name, str(int(filtered)))


def views(node: Node, chain: Chain, beside: Chain, version: int) -> list[tuple[str, Netns, str, str]]:
    """Who reaches a port of all the node's addresses: name, namespace, the address asked for, the client's as it is seen."""
    (uplink, gateway, outside) = (
        (node.ADDRESS, GATEWAY, node.OUTSIDE) if version == 4 else (node.ADDRESS6, GATEWAY6, node.OUTSIDE6)
    )
    found: list[tuple[str, Netns, str, str]] = [
        ("outside", node.outside, uplink, outside),
        ("node, its uplink's address", node, uplink, uplink),
        ("node, the bridge's address", node, gateway, gateway),
        ("neighbour, the bridge's address", beside.pod, gateway, gateway),
        ("neighbour, the uplink's address", beside.pod, uplink, gateway),
        ("itself, the bridge's address", chain.pod, gateway, gateway),
        ("itself, the uplink's address", chain.pod, uplink, gateway),
    ]
    if version == 4:
        found += [(f"node, {address}", node, address, gateway) for address in ("127.0.0.1", "127.0.0.2")]
    return found
