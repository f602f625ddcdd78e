"""Other lists as networks of podman 5: ptp, macvlan with static and with DHCP addresses, a bridge with bandwidth."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from node.configuration import conflist, host_local, portmap
from node.dhcp import Daemon, Dnsmasq, Segment
from node.netavark import Netavark, cached, temporary, version
from node.podman import Container
from node.ports import answers
from node.topology import Node
from node.traffic import reaches

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(version() < (5,), reason="podman 5 is not installed"),
]


@pytest.fixture
def podman(node: Node) -> Iterator[Netavark]:
    """A podman without networks of our driver."""
    with temporary() as folder, Netavark(node, Path(folder)) as made:
        yield made


def create(podman: Netavark, name: str, *plugins: dict[str, Any], options: Sequence[str] = ()) -> None:
    """A list and its network."""
    podman.add_network(conflist(*plugins, name=name))
    podman.create(name, *options)


def macs(podman: Netavark, container: Container) -> set[str]:
    """The MACs that podman shows."""
    (told,) = json.loads(podman("inspect", container.name))
    return {found["MacAddress"] for found in told["NetworkSettings"]["Networks"].values()}


def test_ptp_and_a_macvlan_with_addresses_of_its_list(podman: Netavark) -> None:
    """A routed link with ports; a container of the node's own segment, with two addresses of --network."""
    node = podman.node
    routes = [{"dst": "0.0.0.0/0"}]
    ipam = host_local(node.data_dir, "10.90.0.0/24", routes=routes)
    create(podman, "routed", {"type": "ptp", "ipMasq": True, "ipam": ipam}, portmap())
    static = {"type": "static", "routes": routes, "addresses": [{"address": "192.0.2.50/24", "gateway": "192.0.2.2"}]}
    create(podman, "segment", {"type": "macvlan", "master": "uplink", "ipam": static}, options=("-o", "ports=ignore"))
    first = podman.run("--network", "routed", "-p", "8080:80")
    assert answers("tcp", first.netns, 80, node.outside, node.ADDRESS, 8080)
    podman("network", "connect", "segment", first.name)
    assert reaches(node.outside, first.netns, "192.0.2.50")
    assert {first.netns.link(name)["address"] for name in ("eth0", "eth1")} == macs(podman, first)
    first.remove()
    fixed = podman.run("--network", "segment:ip=192.0.2.60,mac=02:00:00:00:00:60,interface_name=lan0")
    assert fixed.netns.link("lan0")["address"] == "02:00:00:00:00:60"
    assert reaches(node.outside, fixed.netns, "192.0.2.60")
    fixed.remove()
    assert cached() == [] and node.leases("routed") == {}


@pytest.mark.skipif(not shutil.which("dnsmasq"), reason="dnsmasq is not installed")
def test_a_macvlan_with_an_address_of_the_segments_server(podman: Netavark) -> None:
    """The daemon keeps the lease while the container runs, and gives it back when it is removed."""
    node = podman.node
    with Segment() as segment, Daemon(node, podman.folder) as daemon:
        segment.attach(node, "lan0")
        server = Dnsmasq(segment, podman.folder)
        ipam = {"type": "dhcp", "daemonSocketPath": str(daemon.socket)}
        create(podman, "lan", {"type": "macvlan", "master": "lan0", "ipam": ipam})
        container = podman.run("--network", "lan")
        assert set(container.addresses) == server.leased()
        podman("restart", "--time", "0", container.name)
        container.remove()
        assert server.leases_become()
    assert cached() == []
