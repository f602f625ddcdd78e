"""vrf: two networks of a pod with traffic, what moves and comes back, who keeps the VRF. tests/unit has what is pure."""

import json
import socket
from typing import Any

import pytest

from cni.attachment import Attachment
from node.chain import Chain
from node.configuration import conflist, host_local
from node.linkkinds import skip_without
from node.namespace import Netns, Object
from node.topology import Node, Pod

pytestmark = pytest.mark.guest

DEFAULTS = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


@pytest.fixture
def node(node: Node) -> Node:
    """A pretended node whose kernel has VRFs; elsewhere the tests skip."""
    skip_without(node, "type vrf table 9", "VRFs")
    return node


def network(node: Node, place: int, vrf: str, pod: Pod, **keys: Any) -> Chain:
    """A pod on a bridge of its own network with default routes of both families, and vrf after it."""
    subnets = (f"10.1.{place}.0/24", f"fd00:{place}::/64")
    ipam = host_local(node.data_dir, *subnets, routes=DEFAULTS)
    below = {"type": "bridge", "bridge": f"br{place}", "isGateway": True, "ipam": ipam}
    conf = conflist(below, {"type": "vrf", "vrfName": vrf, **keys}, name=f"net{place}")
    return Chain(node, conf, pod, ifname=f"net{place}")


def table(pod: Netns, number: int | str, family: int = 4) -> set[str]:
    """Destinations, gateways and links of a table's routes, link-local and multicast ones left out."""
    found: list[Object] = json.loads(
        pod.run("ip", f"-{family}", "-j", "route", "show", "table", str(number), "type", "unicast", check=False) or "[]"
    )
    hops = [(route["dst"], hop) for route in found if route for hop in route.get("nexthops", [route])]
    lines = {f"{dst} {hop.get('gateway', '')} {hop['dev']}" for dst, hop in hops}
    return {line for line in lines if not line.startswith(("fe80:", "ff00:", "multicast"))}


def both(pod: Netns, number: int | str) -> set[str]:
    return table(pod, number) | table(pod, number, 6)


def of(place: int) -> set[str]:
    """The routes of a network."""
    name, four, six = f"net{place}", f"10.1.{place}", f"fd00:{place}::"
    return {f"default {four}.1 {name}", f"{four}.0/24  {name}", f"default {six}1 {name}", f"{six}/64  {name}"}


def vrf(chain: Chain, verb: str, **keys: Any) -> Any:
    """A verb of the list's vrf."""
    given: Object = {"prevResult": chain.result, **keys}
    return chain.call(1, verb, **given)


def attachment(chain: Chain) -> str:
    """The name under which the VRF is made."""
    return Attachment(str(chain.conflist["name"]), chain.pod.container, chain.ifname).link


def vrfs(pod: Netns) -> dict[str, int]:
    """The VRFs with their tables."""
    found = pod.links().items()
    return {name: link["linkinfo"]["info_data"]["table"] for name, link in found if "table" in _data(link)}


def _data(link: Object) -> Object:
    data: Object = link.get("linkinfo", {}).get("info_data", {}) if _kind(link) == "vrf" else {}
    return data


def _kind(link: Object) -> str:
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def talks(node: Node, pod: Netns, to: str, device: str) -> str:
    """Who an address of the node sees when a program of the pod that is bound to this link connects."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with node.socket(family) as server, pod.socket(family) as client:
        server.bind((to, 0))
        server.listen()
        for each in (server, client):
            each.settimeout(20)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        client.connect(server.getsockname()[:2])
        accepted, peer = server.accept()
        with accepted:
            accepted.sendall(b"x")
            assert client.recv(9) == b"x"
    return str(peer[0])


def test_two_networks_of_a_pod_carry_traffic_each_in_its_vrf(node: Node) -> None:
    """Each by a default route of its own, in both families. Tables in use are not chosen; everything moves back."""
    far, far6, pod = "198.51.100.1", "2001:db8:aa::1", node.pod()
    node.ip(f"addr add {far}/32 dev lo", f"addr add {far6}/128 dev lo nodad")
    pod.ip("link set lo up", "rule add from 192.0.2.9 lookup 1 pref 900", "route add 192.0.2.0/24 dev lo table 2")
    one, two = (network(node, place, f"vrf{place}", pod) for place in (1, 2))
    for chain in (one, two):
        assert chain.add().result == chain.result and vrf(chain, "ADD").error["msg"].startswith("interface net")
    assert list(vrfs(pod).values()) == [3, 4]
    for chain, at in ((one, 3), (two, 4)):
        assert both(pod, at) == of(at - 2)
        for address, to in zip(chain.addresses, (far, far6), strict=True):
            assert talks(node, pod, to, f"vrf{at - 2}") == address
        for outcome in chain.check():
            assert outcome.ok, outcome.stdout
    assert not both(pod, "main")
    assert not [each for at in ("net1", "net2") for each in pod.address_objects(at) if each.get("tentative")]
    two_s = pod.addresses("net2")
    assert vrf(one, "DEL").ok and vrf(two, "DEL", prevResult=None, vrfName=7).ok
    assert not vrfs(pod) and pod.addresses("net2") == two_s
    assert both(pod, "main") >= of(1) and both(pod, "main") >= of(2)
    for chain in (one, two):
        chain.remove()
    assert set(pod.links()) == {"lo"}


def test_several_interfaces_in_one_vrf_and_what_del_finds(node: Node) -> None:
    """The VRF goes with its last interface, which may be gone; CHECK names each difference."""
    pod = node.pod()
    pod.ip("link set lo up")
    one, two = network(node, 1, "blue", pod, table=70), network(node, 2, "blue", pod)
    one.add(), two.add()
    assert vrfs(pod) == {"blue": 70} and both(pod, 70) >= of(1)
    changes = [
        ("link set blue down", ["link set blue up"], "VRF blue is down"),
        ("rule del pref 1000", ["rule add l3mdev pref 1000"], "rule for VRFs"),
        (
            "route del 10.1.1.0/24 dev net1 table 70",
            ["route add 10.1.1.0/24 dev net1 table 70"],
            "Route 10.1.1.0/24 not",
        ),
        ("route add 10.9.0.0/16 dev net1", ["route del 10.9.0.0/16 dev net1"], "10.9.0.0/16 of net1 is in the main"),
    ]
    for change, back, text in changes:
        pod.ip(change)
        assert text in vrf(one, "CHECK").error["msg"]
        pod.ip(*back)
    assert "has routing table 70, and not 71" in vrf(one, "CHECK", table=71).error["msg"]
    assert vrf(one, "ADD", vrfName="red").error["msg"] == "interface net1 has already a master set: blue"
    pod.ip("link add other type veth peer name far")
    assert vrf(one, "CHECK", vrfName="other").error["msg"] == "Netlink other is not a VRF"
    assert vrf(one, "DEL", vrfName="other").ok and vrf(one, "DEL").ok
    assert vrf(one, "CHECK").error["msg"] == "failed to find net1 associated to vrf blue"
    assert vrfs(pod) == {"blue": 70} and vrf(two, "CHECK").ok
    assert vrf(one, "ADD", vrfName="other").error["msg"] == "Netlink other is not a VRF"
    text = "VRF blue already exist with different routing table 70"
    assert vrf(one, "ADD", table=71).error["msg"] == text
    assert set(table(pod, "main")) >= {"default 10.1.1.1 net1"}
    pod.ip("link del net2")
    assert vrf(two, "DEL").ok and vrf(two, "DEL").ok
    assert not vrfs(pod)


def test_vrfs_and_masters_of_others_stay(node: Node) -> None:
    """One that was there before is used, set up and kept; an interface that has moved on stays where it is."""
    pod = node.pod()
    pod.ip("link set lo up", "link add blue type vrf table 500", "link add name br type bridge")
    one = network(node, 1, "blue", pod)
    one.add()
    assert pod.link("blue")["flags"].count("UP") and vrf(one, "CHECK").ok
    assert vrf(one, "DEL").ok
    assert vrfs(pod) == {"blue": 500} and not pod.link("blue").get("ifalias")
    assert vrf(one, "ADD").ok
    pod.ip("link set net1 nomaster", "link set net1 master br")
    assert vrf(one, "DEL").ok
    assert vrfs(pod) == {"blue": 500} and pod.link("net1")["master"] == "br"


def test_after_an_add_that_died_the_next_one_succeeds(node: Node) -> None:
    """The alias of the VRF says that it has not ended; what the kernel has removed comes back. A VRF may have no name yet."""
    pod = node.pod()
    one = network(node, 1, "blue", pod)
    pod.ip("link set lo up", f"link add {attachment(one)} type vrf table 1")
    one.add()
    before, routes = pod.addresses("net1"), both(pod, 1)
    pod.ip(
        "link set blue alias 'made by pycni, unfinished: net1'", "addr del 10.1.1.2/24 dev net1", "addr add 10.1.1.2/24 dev net1",
        f"addr del {one.addresses[1]}/64 dev net1",
    )  # fmt: skip
    assert vrf(one, "ADD").ok
    assert pod.addresses("net1") == before and both(pod, 1) == routes == of(1)
    assert pod.link("blue")["ifalias"] == "made by pycni"


def test_status(node: Node) -> None:
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "vrf", "vrfname": "blue"}
    assert node.cni("vrf", "STATUS", conf).ok
    assert node.links().keys() == {"lo", "uplink"}
