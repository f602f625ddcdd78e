"""What is not the bridge plugin's: links of others, the node's own namespace, daemons that change what they see."""

import json
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.plugin import GO, SUBJECT, go_obeys
from node.topology import Node

pytestmark = pytest.mark.beyond_old_go("a fault of Go's plugins")
Object = dict[str, Any]
ADDRESS_SET = "3"


@pytest.mark.parametrize("ifname", ["eth0", "net7"])
def test_udev_leaves_the_macs_alone(node: Node, ifname: str) -> None:
    """It replaces those that the kernel has drawn (MACAddressPolicy=persistent), after the result has told them."""
    attachment = node.attach(bridge(), ifname=ifname)
    kinds = {
        "host end": node.run(*_inside(node.name), f"/sys/class/net/{attachment.host}/addr_assign_type"),
        "container's end": node.run(*_inside(attachment.pod.name), f"/sys/class/net/{ifname}/addr_assign_type"),
        "bridge": node.run(*_inside(node.name), "/sys/class/net/br0/addr_assign_type"),
    }
    assert {end: kind.strip() for end, kind in kinds.items()} == dict.fromkeys(kinds, ADDRESS_SET)


def _inside(namespace: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace, "cat")


def test_garbage_collection_goes_by_the_form_of_a_name(node: Node) -> None:
    """A veth without an alias whose name only begins as ours do is somebody else's."""
    attachment = node.attach(bridge(version="1.1.0"))
    ours = attachment.host
    prefix = ours[:7]
    theirs = [prefix + "0189xyz1", prefix + "a", prefix + "ABCDEFGH"]
    for number, name in enumerate(theirs):
        node.ip(f"link add {name} type veth peer name x{number}")
    outcome = attachment.call("GC", {**attachment.conf, "cni.dev/valid-attachments": []})
    assert outcome.ok and ours in outcome.stderr
    assert set(theirs) <= set(node.links()) and ours not in node.links()


@pytest.mark.parametrize(
    "entry", [{}, {"containerID": "x"}, {"ifname": "eth0"}, {"containerID": None, "ifname": "eth0"}]
)
def test_garbage_collection_refuses_half_an_attachment(node: Node, entry: Object) -> None:
    """Whom it means is not known: nobody is removed."""
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24"), version="1.1.0"))
    before = node.snapshot()
    outcome = attachment.call("GC", {**attachment.conf, "cni.dev/valid-attachments": [entry]})
    assert outcome.code == 7 and "valid attachment" in outcome.error["msg"]
    assert node.snapshot() == before


def test_remains_of_a_dead_add_do_not_cost_another_its_interface(node: Node) -> None:
    """The pod has an eth0 of Go's plugin by now: it is not of the ADD that died."""
    attachment = node.attach(bridge())
    node.ip(f"link set {attachment.host} alias ''")
    other = node.attach(bridge(host_local(node.data_dir, "10.2.0.0/24"), name="net2", bridge="br1"), binaries=GO)
    before = other.pod.links()["eth0"]
    pod, container = other.pod, attachment.pod.container
    refused = node.cni("bridge", "ADD", attachment.conf, container=container, netns=pod.path)
    assert "already exists" in refused.error["msg"]
    assert pod.links()["eth0"]["address"] == before["address"]


def test_del_in_the_nodes_own_namespace_cleans_the_node(node: Node) -> None:
    """As when CNI_NETNS is /proc/PID/ns/net of a number that another process has by now."""
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24"), isGateway=True, ipMasq=True))
    links = set(node.links())
    outcome = attachment.call("DEL", attachment.conf, netns=node.path)
    assert outcome.ok and "the plugin's own namespace" in outcome.stderr
    assert (node.leases(), node.ports("br0"), node.nft_tables()) == ({}, set(), set())
    assert set(node.links()) == links - {attachment.host}


def test_a_delegate_of_before_garbage_collection_keeps_nothing(node: Node, tmp_path: Path) -> None:
    """Go's host-local of 1.1 answers that it misses a container: what the bridge itself has goes all the same."""
    if go_obeys("nftables"):
        pytest.skip("this is about Go's plugins of the 1.1 line: these know GC")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bridge").symlink_to(f"{SUBJECT}/bridge")
    (folder / "host-local").symlink_to(f"{GO}/host-local")
    conf = bridge(host_local(node.data_dir, "10.1.2.0/24"))
    attachment = node.attach(conf, binaries=str(folder))
    newer = {**conf, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []}
    outcome = attachment.call("GC", newer, binaries=str(folder))
    assert outcome.ok and "host-local does not know GC" in outcome.stderr
    assert node.ports("br0") == set()


def fixed(folder: Path, document: Object) -> Object:
    """The section of an IPAM plugin that always answers the same; it is put into a folder with bridge."""
    folder.mkdir()
    (folder / "bridge").symlink_to(f"{SUBJECT}/bridge")
    text = json.dumps({"cniVersion": "1.0.0", **document})
    (folder / "fixed").write_text(f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] && echo '{text}'\nexit 0\n")
    (folder / "fixed").chmod(0o755)
    return {"type": "fixed"}


def test_a_gateway_serves_the_routes_of_its_own_family(node: Node, tmp_path: Path) -> None:
    """An IPv4 address that comes with an IPv6 gateway: Go's plugin takes it for what it is."""
    answer = {
        "ips": [{"address": "10.1.3.5/24", "gateway": "fd00::1"}, {"address": "10.1.2.5/24", "gateway": "10.1.2.1"}],
        "routes": [{"dst": "10.9.0.0/16"}],
    }
    folder = tmp_path / "bin"
    conf = bridge(fixed(folder, answer))
    attachment = node.attach(conf, binaries=str(folder))
    (route,) = (route for route in attachment.pod.routes() if route["dst"] == "10.9.0.0/16")
    assert route["gateway"] == "10.1.2.1"
    assert attachment.check(binaries=str(folder)).ok


@pytest.mark.parametrize(
    ("key", "value"), [("scope", 256), ("scope", -1), ("table", -1), ("table", 1 << 32), ("priority", -1), ("mtu", -1)]
)
def test_a_route_that_the_kernel_cannot_have_is_refused(node: Node, key: str, value: int) -> None:
    """By its destination and the key, before anything is leased."""
    routes = [{"dst": "10.77.0.0/16", key: value}]
    pod, before = node.pod(), node.snapshot()
    conf = bridge(host_local(node.data_dir, "10.1.2.0/24", routes=routes))
    refused = node.cni("bridge", "ADD", conf, container=pod.container, netns=pod.path)
    assert refused.code == 7
    assert refused.error["msg"].startswith(f"route 10.77.0.0/16: {key} is {value}, ")
    after = node.snapshot()
    for each in (before, after):  # the bridge is the network's
        each["links"].pop("br0", None), each["addresses"].pop("br0", None)
    assert after == before


@pytest.mark.parametrize(("key", "value"), [("mtu", 65536), ("advmss", 70000)])
def test_check_knows_what_the_kernel_keeps_of_large_values(node: Node, key: str, value: int) -> None:
    routes = [{"dst": "10.77.0.0/16", key: value}]
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24", routes=routes), isGateway=True))
    assert attachment.check().ok
