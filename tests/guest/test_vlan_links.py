"""vlan: what a pod gets, what is refused and who has an id, and what CHECK sees. tests/unit and the contract have the rest."""

from typing import Any

import pytest

from node.configuration import host_local
from node.linkkinds import skip_without
from node.namespace import Object
from node.topology import Attachment, Node
from node.traffic import tcp_source

pytestmark = pytest.mark.guest

PATIENCE = 15.0


@pytest.fixture
def node(node: Node) -> Node:
    """A pretended node whose kernel has VLANs; elsewhere the tests skip. The outside has VLAN 100."""
    skip_without(node, "link uplink type vlan id 9", "802.1Q")
    node.outside.ip("link add v100 link uplink type vlan id 100", "addr add 10.1.0.1/24 dev v100", "link set v100 up")
    return node


def vlan(node: Node, **keys: Any) -> Object:
    """A network of VLAN 100 on the uplink; a key of None is left out."""
    ipam = host_local(node.data_dir, "10.1.0.0/24", routes=[{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}])
    conf = {
        "cniVersion": "1.1.0",
        "name": "net1",
        "type": "vlan",
        "master": "uplink",
        "vlanId": 100,
        "ipam": ipam,
        **keys,
    }
    return {key: value for key, value in conf.items() if value is not None}


def test_a_pod_is_in_the_vlan_and_the_second_one_learns_who_has_it(node: Node) -> None:
    """The master may go down meanwhile: the routes stay. DEL does not need it."""
    one = node.attach(vlan(node, mtu=1400))
    link, mac = one.pod.link("eth0"), node.link("uplink")["address"]
    assert (link["address"], link["mtu"], link["linkinfo"]["info_data"]["id"]) == (mac, 1400, 100)
    assert one.result["interfaces"] == [{"name": "eth0", "mac": mac, "mtu": 1400, "sandbox": one.pod.path}]
    node.ip("link set uplink down", "link set uplink up")
    assert one.check().ok
    assert tcp_source(node.outside, one.pod, "10.1.0.1", PATIENCE) == one.address
    second, leases = node.pod(), node.leases()
    error = Attachment(node, vlan(node, name="net2"), second).add().error
    assert error["msg"].startswith("failed to create vlan: file exists")
    assert f"net1/{one.pod.container}/eth0" in error["details"] and "Change vlanId" in error["details"]
    assert "send DEL first" in one.add().error["details"]
    assert set(second.links()) == {"lo"} and node.leases() == leases
    node.ip("link del uplink")
    assert one.delete().ok and one.delete().ok
    assert not any(node.leases().values())


def test_what_cannot_be_is_refused_and_nothing_stays(node: Node) -> None:
    """A link of the node has the id; the name is taken; STATUS says what ADD says of the master."""
    node.ip("link add v7 link uplink type vlan id 7", "link add eth0 type veth peer name other")
    pod = node.pod()
    for keys, text in (
        ({"vlanId": 7}, "link v7 of the node"),
        ({"mtu": 1501}, "invalid MTU 1501, must be [0, master MTU(1500)]"),
        ({"master": "none"}, 'failed to lookup master "none": Link not found'),
    ):
        error = Attachment(node, vlan(node, **keys), pod).add().error
        assert text in error["msg"] + error.get("details", "")
        assert "vlanId" in keys or text in node.cni("vlan", "STATUS", vlan(node, **keys)).error["msg"]
    assert node.cni("vlan", "STATUS", vlan(node)).ok
    pod.ip("link add eth0 type veth peer name other")
    before = pod.links()
    assert Attachment(node, vlan(node), pod).add().error["msg"] == 'failed to rename vlan to "eth0": file exists'
    assert pod.links() == before and not any(node.leases().values())


def test_a_second_pod_waits_for_the_end_of_a_namespace(node: Node) -> None:
    """A pod that ended without DEL has the id until the kernel has removed its links. The master may be down."""
    node.attach(vlan(node)).pod.close()
    node.ip("link set uplink down")
    second = node.attach(vlan(node))
    assert second.check().ok
    node.ip("link set uplink up")
    assert tcp_source(node.outside, second.pod, "10.1.0.1", PATIENCE) == second.address


def test_check_fails_after_tampering(node: Node) -> None:
    node.ip("link add other type veth peer name far")
    attached = node.attach(vlan(node))
    pod = attached.pod
    for conf, text in (
        (vlan(node, vlanId=101), "Container vlan id 100 does not match expected value: 101"),
        (vlan(node, master="other"), "eth0 is not on other"),
    ):
        changed = Attachment(node, conf, pod)
        changed.result = attached.result
        assert changed.check().error["msg"] == text
    pod.ip("route del default")
    assert "Expected Route" in attached.check().error["msg"]
    pod.ip("link set eth0 down")
    assert attached.check().error["msg"] == "Interface eth0 is down"
    assert attached.call("CHECK", attached.conf).error["msg"] == "vlan: Required prevResult missing"
    pod.ip("link del eth0", "link add eth0 type veth peer name x")
    assert attached.check().error["msg"] == "Error: Container interface eth0 not of type vlan"


def test_chained_it_is_on_the_interface_of_the_plugin_before(node: Node) -> None:
    """Two VLANs beside the interface; each is checked and removed alone, and the interface stays."""
    first = node.attach({"cniVersion": "1.1.0", "name": "net1", "type": "macvlan", "master": "uplink"})
    result, chained = first.result, []
    for id in (100, 200):
        ipam = host_local(node.data_dir / str(id), f"10.1.{id}.0/24", routes=[{"dst": "10.9.0.0/16"}])
        conf = vlan(node, master=None, linkInContainer=True, vlanId=id, ipam=ipam)
        chained.append(node.attach({**conf, "prevResult": result}, first.pod))
        result = chained[-1].result
    assert [each["name"] for each in result["interfaces"]] == ["eth0", "eth0.100", "eth0.200"]
    assert [(ip["address"], ip["interface"]) for ip in result["ips"]] == [("10.1.100.2/24", 1), ("10.1.200.2/24", 2)]
    assert first.pod.link("eth0.100")["ifalias"] == f"net1/{first.pod.container}/eth0.100"
    for each in (first, *chained):
        each.result = result
        assert each.check().ok
    assert "send DEL first" in chained[0].add().error["details"]
    chained[0].result = result
    first.pod.ip("link set eth0.100 down")
    assert chained[0].check().error["msg"] == "Interface eth0.100 is down" and chained[1].check().ok
    assert chained[0].delete().ok and chained[0].delete().ok
    assert set(first.pod.links()) == {"lo", "eth0", "eth0.200"}
    assert chained[1].delete().ok and first.delete().ok
    assert set(first.pod.links()) == {"lo"}
