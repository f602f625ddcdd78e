"""All plugins of an everyday pod under a real containerd: bridge, host-local, portmap, firewall, tuning, bandwidth.

As a list, as one process, and with the fork server; through the CRI and through ``ctr run --cni``.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from node.configuration import host_local, port, portmap
from node.deadline import eventually
from node.plugin import SUBJECT
from node.ports import answers
from node.topology import Node
from node.traffic import tcp_source

pytest.importorskip("grpc", reason="grpcio is not installed")

from forkserver.server import running
from node.containerd import Containerd
from node.cripod import CriPod
from node.ctr import Ctr

pytestmark = pytest.mark.real
GATEWAY = "10.88.0.1"
Object = dict[str, Any]


def members(node: Node) -> list[Object]:
    """The plugins as a node's administrator would write them."""
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = host_local(node.data_dir, "10.88.0.0/24", "2001:db8:88::/64", routes=routes)
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": ipam}
    tuning = {"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}, "mtu": 1400}
    shaper = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    return [bridge, portmap(), {"type": "firewall"}, tuning, shaper]


@pytest.fixture(params=["list", "chain", "chain, fork server"])
def containerd(request: pytest.FixtureRequest, node: Node) -> Iterator[Containerd]:
    """A containerd whose network is made of these plugins, on a node that drops what nobody accepts."""
    plugins = members(node)
    if "chain" in request.param:
        plugins = [{"type": "chain", "capabilities": {"portMappings": True, "bandwidth": True}, "plugins": plugins}]
    network = {"cniVersion": "1.0.0", "name": "pods", "plugins": plugins}
    node.run("iptables", "-P", "FORWARD", "DROP")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ctrd-")))
        socket = stack.enter_context(running(folder)).socket if "fork server" in request.param else ""
        made = Containerd(node, folder, SUBJECT, network, socket)
        stack.callback(made.close)
        yield made


def test_a_pod_has_all_that_its_plugins_give(containerd: Containerd) -> None:
    """Addresses, port, accepted packets, sysctl, MTU, rates; after the pods nothing is left of them."""
    node = containerd.node
    one = CriPod(containerd, "one", port(8080), ingress_bandwidth="80M", egress_bandwidth="80M")
    two = CriPod(containerd, "two")
    assert tcp_source(node.outside, one.netns, node.OUTSIDE) == node.ADDRESS
    assert tcp_source(two.netns, one.netns, two.addresses[0]) == one.addresses[0]
    assert answers("tcp", one.netns, 80, two.netns, GATEWAY, 8080)
    assert answers("tcp", one.netns, 80, node, "127.0.0.1", 8080)
    assert one.netns.sysctl("ipv4/conf/eth0/log_martians") == "1"
    assert one.netns.link("eth0")["mtu"] == 1400
    shaped = [line for line in node.run("tc", "qdisc", "show").splitlines() if "tbf" in line]
    assert len(shaped) == 2 and all("rate 80Mbit" in line for line in shaped), shaped
    assert one.addresses[0] in node.rules_as_text()
    one.remove(twice=True)
    assert tcp_source(node.outside, two.netns, node.OUTSIDE) == node.ADDRESS
    assert one.addresses[0] not in node.rules_as_text()
    two.remove()
    assert eventually(lambda: set(node.links()) == {"lo", "uplink", "cni0"}, 10), node.links()
    left = node.rules_as_text()
    assert not any(part in left for part in (*one.addresses, *two.addresses, one.id, two.id))
    assert node.leases("pods") == {}


def test_ctr_runs_a_container_with_all_of_them(containerd: Containerd) -> None:
    """The container reaches the world; ctr names no namespace at the end, and nothing is left."""
    node = containerd.node
    said = Ctr(containerd).run("first", f"ip link show dev eth0 && ping -c 1 -W 5 {node.OUTSIDE}")
    assert "mtu 1400" in said and "1 packets received" in said
    assert eventually(lambda: set(node.links()) == {"lo", "uplink", "cni0"}, 10), node.links()
    assert node.leases("pods") == {} and "10.88.0.2" not in node.rules_as_text()
