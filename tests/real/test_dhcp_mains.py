"""dhcp under the interface plugins: bridge, macvlan, host-device. tests/guest/test_dhcp.py has those that need another kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.deadline import eventually
from node.dhcp import Daemon, live
from node.dhcpmessage import CLASSLESS_ROUTES, ROUTER, addresses, classless
from node.dhcpserver import Server
from node.dhcpsite import OURS_ALONE
from node.namespace import Object
from node.plugin import SUBJECT
from node.topology import Attachment, Node

pytestmark = [
    pytest.mark.real,
    OURS_ALONE,
    pytest.mark.skipif(not Path(SUBJECT, "dhcp").is_file(), reason="needs dhcp"),
]


@pytest.fixture
def daemon(node: Node, tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(node, tmp_path) as daemon:
        yield daemon


@pytest.mark.parametrize("keys", [{}, {"isGateway": True, "ipMasq": True, "macspoofchk": True}], ids=["plain", "full"])
def test_bridge(node: Node, daemon: Daemon, keys: Object) -> None:
    """The server is behind a port of the bridge. The first DISCOVER is heard: no second one is sent."""
    node.ip(
        "link add br0 type bridge",
        "link set br0 up",
        f"link add near type veth peer name near netns {node.outside.name}",
        "link set near master br0 up",
    )
    node.outside.ip("addr add 10.7.0.1/24 dev near", "link set near up")
    assert eventually(lambda: node.port("near")["state"] == "forwarding", interval=0.001)
    with Server(node.outside, "near") as server:
        # isGateway: the bridge has the router's address
        server.options[ROUTER] = addresses("10.7.0.254" if keys else server.address)
        live(node, {"type": "bridge", "bridge": "br0", **keys}, server, daemon)
        assert server.kinds().count("DISCOVER") == 2


@pytest.mark.parametrize("mode", ["bridge", "private"])
def test_macvlan(node: Node, daemon: Daemon, mode: str) -> None:
    """The server is in the network of the master."""
    with Server(node.outside, "uplink") as server:
        live(node, {"type": "macvlan", "master": "uplink", "mode": mode}, server, daemon)


def test_host_device(node: Node, daemon: Daemon) -> None:
    """The address is given back before the device leaves the pod."""
    name = node.device()
    node.outside.ip(f"addr add 10.7.0.1/24 dev {name}")
    with Server(node.outside, name) as server:
        live(node, {"type": "host-device", "device": name}, server, daemon, pods=1)
        assert name in node.links()


def test_an_add_that_fails_gives_the_lease_back(node: Node, daemon: Daemon) -> None:
    """The interface plugin cannot use the answer: it asks dhcp to take it back while the link is there."""
    with Server(node.outside, "uplink") as server:
        server.options[CLASSLESS_ROUTES] = classless(("10.9.0.0/16", "203.0.113.9"))
        ipam = {"type": "dhcp", "daemonSocketPath": str(daemon.socket)}
        conf = {"cniVersion": "1.0.0", "name": "net1", "type": "macvlan", "master": "uplink", "ipam": ipam}
        client = Attachment(node, conf, node.pod())
        assert "10.9.0.0/16" in client.add().error["msg"]
        server.wait_heard("RELEASE")
        assert set(client.pod.links()) == {"lo"} and not daemon.kept()
