"""ipvlan: what a pod gets, what is refused, and what CHECK sees. The contract tests and tests/unit have the rest."""

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
    """A pretended node whose kernel has ipvlans; elsewhere the tests skip."""
    skip_without(node, "link uplink type ipvlan", "ipvlans")
    return node


def ipvlan(node: Node, **keys: Any) -> Object:
    """An ipvlan network on the uplink, with addresses of the outside's network; a key of None is left out."""
    ipam = host_local(node.data_dir, "192.0.2.0/24", routes=[{"dst": "0.0.0.0/0", "gw": Node.OUTSIDE}])
    ipam["ranges"][0][0]["rangeStart"] = "192.0.2.50"
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "ipvlan", "master": "uplink", "ipam": ipam, **keys}
    return {key: value for key, value in conf.items() if value is not None}


def test_a_pod_is_in_the_network_of_the_master(node: Node) -> None:
    """With its MAC, by the default route, which DEL does not need. Pods reach each other and the outside."""
    node.ip(f"route add default via {node.OUTSIDE}")
    conf = ipvlan(node, master=None, mtu=1400)
    one, two = node.attach(conf), node.attach(conf)
    link, mac = one.pod.link("eth0"), node.link("uplink")["address"]
    assert (link["address"], link["mtu"], link["link_index"]) == (mac, 1400, node.link("uplink")["ifindex"])
    assert link["linkinfo"]["info_data"]["mode"] == "l2"
    assert one.result["interfaces"] == [{"name": "eth0", "mac": mac, "mtu": 1400, "sandbox": one.pod.path}]
    assert tcp_source(node.outside, one.pod, node.OUTSIDE, PATIENCE) == one.address
    assert tcp_source(two.pod, one.pod, two.address, PATIENCE) == one.address
    node.ip("route del default")
    assert one.check().ok
    assert one.delete().ok and one.delete().ok
    assert set(one.pod.links()) == {"lo"} and list(node.leases()) == [two.address]


def test_a_pod_is_routed(node: Node) -> None:
    """There are no neighbours in these modes. The addresses may be those of an earlier plugin."""
    for mode, address in (("l3", "192.0.2.77"), ("l3s", "192.0.2.78")):
        node.outside.ip(f"route add {address}/32 via {node.ADDRESS}")
        previous = {"cniVersion": "1.1.0", "interfaces": [{"name": "uplink"}], "ips": [{"address": f"{address}/24"}]}
        dns = {"nameservers": ["192.0.2.53"]}
        attached = node.attach(ipvlan(node, master=None, mode=mode, ipam=None, prevResult=previous, dns=dns))
        assert attached.result["dns"] == dns
        assert attached.pod.link("eth0")["linkinfo"]["info_data"]["mode"] == mode
        assert attached.pod.addresses("eth0") == {f"{address}/24"} and not any(node.leases().values())
        assert tcp_source(node.outside, attached.pod, node.OUTSIDE, PATIENCE) == address
        assert attached.check().ok


def test_what_cannot_be_is_refused_and_nothing_stays(node: Node) -> None:
    """A name that is taken, a master with macvlans, no master."""
    conf, pod = ipvlan(node), node.pod()
    pod.ip("link add eth0 type veth peer name other")
    before = pod.links()
    assert Attachment(node, conf, pod).add().error["msg"] == 'failed to rename ipvlan to "eth0": file exists'
    assert pod.links() == before
    node.ip("link add m0 link uplink type macvlan mode bridge")
    other = node.pod()
    error = Attachment(node, conf, other).add().error
    assert error["msg"] == "failed to create ipvlan: device or resource busy" and "uplink" in error["details"]
    for keys, text in (({"master": None}, "no default route interface found"), ({"master": "none"}, '"none"')):
        assert text in Attachment(node, ipvlan(node, **keys), other).add().error["msg"]
        assert text in node.cni("ipvlan", "STATUS", ipvlan(node, **keys)).error["msg"]
    assert node.cni("ipvlan", "STATUS", conf).ok
    assert set(other.links()) == {"lo"} and not any(node.leases().values())


def test_check_fails_after_tampering_in_gos_words(node: Node) -> None:
    """Another pod's mode is that of all on the master: this CHECK says so too."""
    attached = node.attach(ipvlan(node))
    pod, back = attached.pod, f"route add default via {Node.OUTSIDE}"
    changes = [
        ("link set eth0 down", ["link set eth0 up", back], "Interface eth0 is down"),
        ("route del default", [back], "Expected Route"),
        (f"addr del {attached.address}/24 dev eth0", [f"addr add {attached.address}/24 dev eth0", back], "Failed to match addr"),
    ]  # fmt: skip
    for change, undo, text in changes:
        pod.ip(change)
        assert text in attached.check().error["msg"]
        pod.ip(*undo)
    assert attached.check().ok
    node.attach(ipvlan(node, mode="l3"))
    text = "Container IPVlan mode l3 does not match expected value: l2"
    assert attached.check().error["msg"] == text
    node.ip("link add other type veth peer name far")
    on = Attachment(node, ipvlan(node, master="other", mode="l3"), pod)
    on.result = attached.result
    assert on.check().error["msg"] == "eth0 is not on other"
    pod.ip("link del eth0", "link add eth0 type veth peer name x")
    assert attached.check().error["msg"] == "Error: Container interface eth0 not of type ipvlan"
