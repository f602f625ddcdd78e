"""dhcp under the interface plugins whose links not every kernel has: ipvlan, vlan, dummy."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.dhcp import Daemon, live
from node.dhcpmessage import CLIENT_ID
from node.dhcpserver import Server
from node.linkkinds import skip_without
from node.topology import Attachment, Node

pytestmark = pytest.mark.guest

# A guest's processors may be emulated: what is sent again is sent late.
PATIENT = ("-timeout", "5s")


@pytest.fixture
def daemon(node: Node, tmp_path: Path) -> Iterator[Daemon]:
    skip_without(node, "link uplink type ipvlan", "ipvlans")
    with Daemon(node, tmp_path, "ours", *PATIENT) as daemon:
        yield daemon


def test_ipvlan(node: Node, daemon: Daemon) -> None:
    """Pods share the MAC of the master, and differ by their client ids. DHCP is for the pod, not for the master."""
    with Server(node.outside, "uplink") as server:
        live(node, {"type": "ipvlan", "master": "uplink"}, server, daemon)
        assert {packet.message.chaddr.hex(":") for packet in server.seen} == {node.link("uplink")["address"]}
        assert len({packet.message.get(CLIENT_ID) for packet in server.seen}) == 2
        assert node.addresses("uplink") == {f"{node.ADDRESS}/24", f"{node.ADDRESS6}/64"}


def test_ipvlan_without_a_master(node: Node, daemon: Daemon) -> None:
    """The master is the link of the default route."""
    node.ip(f"route add default via {node.OUTSIDE}")
    with Server(node.outside, "uplink") as server:
        live(node, {"type": "ipvlan"}, server, daemon, pods=1)


def test_vlan(node: Node, daemon: Daemon) -> None:
    """The server is in the VLAN; one outside of it hears nothing."""
    node.outside.ip(
        "link add link uplink name uplink.100 type vlan id 100",
        "addr add 10.7.0.1/24 dev uplink.100",
        "link set uplink.100 up",
    )
    with Server(node.outside, "uplink.100") as server, Server(node.outside, "uplink") as other:
        live(node, {"type": "vlan", "master": "uplink", "vlanId": 100}, server, daemon, pods=1)
        assert not other.heard


def test_dummy(node: Node, tmp_path: Path) -> None:
    """There is nobody to ask: Go's text, and nothing stays."""
    skip_without(node, "type dummy", "dummies")
    with Daemon(node, tmp_path, "ours", "-timeout", "1s", "-resendtimeout", "2s") as daemon:
        ipam = {"type": "dhcp", "daemonSocketPath": str(daemon.socket)}
        client = Attachment(node, {"cniVersion": "1.0.0", "name": "net1", "type": "dummy", "ipam": ipam}, node.pod())
        assert client.add().error["msg"] == "error calling DHCP.Allocate: no more tries"
        assert set(client.pod.links()) == {"lo"} and not daemon.kept()
