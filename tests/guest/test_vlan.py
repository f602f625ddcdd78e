"""VLAN filtering of bridge: who hears whom, and what each port and the gateway's link have.

tests/guest/run -t 600 python3 -m pytest tests/guest
"""

import socket
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.topology import Attachment, Node
from node.traffic import Wire, frame, reaches, tcp_source

pytestmark = pytest.mark.guest

SUBNET = "10.1.0.0/24"
BROADCAST = "ff:ff:ff:ff:ff:ff"
# Emulated processors are slow, so what has to happen gets plenty of time.
PATIENCE = 15.0
PVID = ["PVID", "Egress Untagged"]


@pytest.fixture
def node(node: Node) -> Node:
    """A pretended node whose kernel has VLAN filtering; elsewhere the tests skip."""
    try:
        node.ip("link add probe type bridge vlan_filtering 1")
    except AssertionError:
        pytest.skip("needs a kernel with bridge VLAN filtering: make test-guest")
    node.ip("link del probe")
    return node


def attach(node: Node, **keys: Any) -> Attachment:
    """A new pod on a layer-3 bridge."""
    return node.attach(bridge(host_local(node.data_dir, SUBNET), **keys))


def port(node: Node, name: str) -> dict[int, list[str]]:
    """A port's VLANs with their flags, ranges written out."""
    found: dict[int, list[str]] = {}
    for vlan in node.vlans().get(name, []):
        for number in range(vlan["vlan"], vlan["vlanEnd"] + 1 if "vlanEnd" in vlan else vlan["vlan"] + 1):
            found[number] = vlan.get("flags", [])
    return found


def filters(node: Node) -> bool:
    """Whether br0 looks at VLANs."""
    return bool(node.link("br0")["linkinfo"]["info_data"]["vlan_filtering"])


def test_pods_of_one_vlan_reach_each_other_and_no_others(node: Node) -> None:
    """One bridge, one subnet: two pods of VLAN 100 talk, the one of VLAN 200 hears nothing of them."""
    one, two, other = (attach(node, vlan=vlan) for vlan in (100, 100, 200))
    assert filters(node)
    assert [port(node, pod.host)[vlan] for pod, vlan in ((one, 100), (two, 100), (other, 200))] == [PVID] * 3
    assert tcp_source(two.pod, one.pod, two.address, PATIENCE) == one.address
    assert not reaches(one.pod, other.pod, other.address, 2)
    assert not reaches(other.pod, two.pod, two.address, 2)


def test_the_gateway_of_a_vlan_is_on_a_link_of_its_own(node: Node) -> None:
    """`br0.100` has the gateway's address and stands in the result; CHECK passes; another VLAN has its own."""
    pod = attach(node, vlan=100, isDefaultGateway=True)
    assert [interface["name"] for interface in pod.result["interfaces"]] == ["br0", pod.host, "eth0", "br0.100"]
    assert pod.result["interfaces"][3]["mac"] == node.link("br0.100")["address"]
    assert node.addresses("br0.100") == {"10.1.0.1/24"}
    switches = [("ipv4", "forwarding"), ("ipv6", "accept_ra"), ("ipv6", "accept_dad")]
    assert [node.sysctl(f"{version}/conf/br0.100/{name}") for version, name in switches] == ["1", "0", "0"]
    assert node.addresses("br0") == set()
    assert tcp_source(node, pod.pod, "10.1.0.1", PATIENCE) == pod.address
    outcome = pod.check()
    assert outcome.exit == 0, outcome.stdout
    conf = bridge(host_local(node.data_dir, "10.2.0.0/24"), name="net2", vlan=200, isGateway=True)
    other = node.attach(conf)
    assert node.addresses("br0.200") == {"10.2.0.1/24"}
    with Wire(other.pod, "eth0") as foreigner, Wire(pod.pod, "eth0") as member, Wire(node, "br0.100") as gateway:
        foreigner.send(frame(BROADCAST, other.mac, b"foreign"))
        member.send(frame(BROADCAST, pod.mac, b"own"))
        assert gateway.received_until(b"own", PATIENCE) == [b"own"]


def test_del_leaves_nothing_of_the_pod(node: Node) -> None:
    """Veth, VLANs and lease are gone, the gateway's link stays; a second DEL succeeds."""
    conf = bridge(host_local(node.data_dir, SUBNET), vlan=100, isGateway=True)
    node.attach(conf).delete()
    before, vlans = node.snapshot(), node.vlans()
    pod = node.attach(conf)
    assert node.snapshot() != before and node.vlans() != vlans
    for _ in range(2):
        assert pod.delete().ok
        assert (node.snapshot(), node.vlans()) == (before, vlans)
        assert set(pod.pod.links()) == {"lo"}


@pytest.mark.beyond_old_go("the port keeps VLAN 1, and preserveDefaultVlan came with 1.3.0")
def test_preserve_default_vlan_decides_about_vlan_1(node: Node) -> None:
    """By default a port has its own VLAN only; with the key it keeps VLAN 1 untagged as well."""
    alone, both = attach(node, vlan=100), attach(node, vlan=100, preserveDefaultVlan=True)
    assert port(node, alone.host) == {100: PVID}
    assert port(node, both.host) == {1: ["Egress Untagged"], 100: PVID}


@pytest.mark.beyond_old_go("vlanTrunk came with 1.3.0")
def test_a_trunk_with_a_native_vlan(node: Node) -> None:
    """Ranges and single ids are tagged, the native VLAN is not; a tagged frame comes out untagged at an access port."""
    trunk = [{"minID": 10, "maxID": 12}, {"id": 20}, {"minID": 30, "maxID": 31, "id": 40}]
    many = attach(node, vlan=5, vlanTrunk=trunk)
    assert port(node, many.host) == {5: PVID} | {number: [] for number in (10, 11, 12, 20, 30, 31, 40)}
    native, access, foreign = attach(node, vlan=5), attach(node, vlan=11), attach(node, vlan=13)
    assert tcp_source(native.pod, many.pod, native.address, PATIENCE) == many.address
    many.pod.ip("link add link eth0 name eth0.11 type vlan id 11", "addr add 10.1.0.200/24 dev eth0.11")
    many.pod.ip("link set eth0.11 up", f"route add {access.address}/32 dev eth0.11 src 10.1.0.200")
    access.pod.ip("route add 10.1.0.200/32 dev eth0")
    assert tcp_source(access.pod, many.pod, access.address, PATIENCE) == "10.1.0.200"
    with (
        Wire(many.pod, "eth0") as sending,
        Wire(foreign.pod, "eth0") as foreigner,
        Wire(access.pod, "eth0") as member,
    ):
        for vlan in (13, 11):
            sending.send(tagged(many.mac, vlan))
        assert member.received_until(b"vlan 11", PATIENCE) == [b"vlan 11"]
        assert foreigner.received_until(b"vlan 13", 0.5) == []


def tagged(source: str, vlan: int) -> bytes:
    """A broadcast frame of our own type with an 802.1Q tag."""
    plain = frame(BROADCAST, source, f"vlan {vlan}".encode())
    return plain[:12] + socket.htons(0x8100).to_bytes(2, "little") + vlan.to_bytes(2, "big") + plain[12:]


@pytest.mark.beyond_old_go("vlanTrunk came with 1.3.0")
def test_a_trunk_without_vlan_has_1_as_its_native_one(node: Node) -> None:
    """VLAN 1 is PVID and untagged; an empty trunk asks for filtering and nothing more."""
    assert port(node, attach(node, vlanTrunk=[{"id": 20}]).host) == {1: PVID, 20: []}
    assert filters(node)
    node.attach(bridge(name="net2", bridge="br1", vlanTrunk=[]))
    assert node.link("br1")["linkinfo"]["info_data"]["vlan_filtering"]


@pytest.mark.beyond_old_go("not compared")
def test_check_sees_a_changed_vlan(node: Node) -> None:
    """A port that somebody put into another VLAN is not what ADD made."""
    pod = attach(node, vlan=100)
    assert pod.check().ok
    node.run("bridge", "vlan", "del", "dev", pod.host, "vid", "100")
    node.run("bridge", "vlan", "add", "dev", pod.host, "vid", "101", "pvid", "untagged")
    assert not pod.check().ok


@pytest.mark.beyond_old_go("a leg that is there is used as it is")
def test_a_gateway_whose_maker_died_is_finished(node: Node) -> None:
    """The pair is there, neither up nor in the VLAN: the next ADD makes it whole, and CHECK tells it from a whole one."""
    keys = {"vlan": 100, "isGateway": True}
    first = attach(node, **keys)
    leg = node.link("br0.100")["link"]
    for part in (f"link set {leg} down", "link set br0.100 down", f"link set {leg} nomaster"):
        node.ip(part)
        assert part.endswith("nomaster") or not first.check().ok, part
    node.ip(f"link set {leg} master br0")
    assert 100 not in port(node, leg)
    second = attach(node, **keys)
    assert port(node, leg) == {100: PVID}
    for pod in (first, second):
        assert pod.check().ok
        assert tcp_source(node, pod.pod, "10.1.0.1", PATIENCE) == pod.address
    node.ip(f"link set {leg} nomaster")
    assert tcp_source(node, attach(node, **keys).pod, "10.1.0.1", PATIENCE)
