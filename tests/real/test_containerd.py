"""Pods of a real containerd, through the CRI as kubelet asks for them and through ``ctr run --cni``."""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.configuration import host_local, port, portmap
from node.deadline import eventually
from node.plugin import SUBJECT
from node.ports import answers, asking, source
from node.topology import Node
from node.traffic import reaches, tcp_source, udp_source

pytest.importorskip("grpc", reason="grpcio is not installed")

from node.containerd import Containerd
from node.cripod import CriPod
from node.ctr import Ctr

pytestmark = pytest.mark.real

SUBNET, SUBNET6 = "10.88.0.0/24", "2001:db8:88::/64"


def conflist(node: Node, version: str) -> dict[str, Any]:
    """A network as people write it for containerd."""
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    plugin = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": host_local(node.data_dir, SUBNET, SUBNET6, routes=routes),
    }
    return {"cniVersion": version, "name": "pods", "plugins": [plugin]}


def chained(conflist: dict[str, Any]) -> dict[str, Any]:
    """The same network in one process."""
    return {**conflist, "plugins": [{"type": "chain", "plugins": conflist["plugins"]}]}


def _serving(node: Node, conflist: dict[str, Any]) -> Iterator[Containerd]:
    with tempfile.TemporaryDirectory(prefix="ctrd-") as folder:  # short: a socket's path has 108 bytes
        made = Containerd(node, Path(folder), SUBJECT, conflist)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def containerd(node: Node) -> Iterator[Containerd]:
    """A containerd on the node, with a network in version 1.0.0."""
    yield from _serving(node, conflist(node, "1.0.0"))


@pytest.fixture(params=["conflist", "chain"])
def either(request: pytest.FixtureRequest, node: Node) -> Iterator[Containerd]:
    """A containerd with the network in each of its two forms."""
    if request.param == "chain" and not Path(SUBJECT, "chain").is_file():
        pytest.skip("the subject has no chain plugin")
    network = conflist(node, "1.0.0")
    yield from _serving(node, chained(network) if request.param == "chain" else network)


def nothing_left(node: Node, before: dict[str, Any]) -> dict[str, Any]:
    """The node's snapshot once its links are those of ``before``, or when the time for that is over."""
    eventually(lambda: node.snapshot()["links"] == before["links"], 10)
    return node.snapshot()


def first_pod(containerd: Containerd, make: Callable[[str], CriPod]) -> dict[str, Any]:
    """The node's snapshot after a first pod came and went: the bridge and its addresses are there."""
    make("first").remove()
    node = containerd.node
    eventually(lambda: len(node.ports("cni0")) == 0, 10)
    return node.snapshot()


def test_pods_of_the_cri_get_addresses_and_leave_nothing(either: Containerd) -> None:
    """What the CRI reports is on eth0; pods reach each other, node and outside; after them nothing is left."""
    containerd, node = either, either.node
    before = first_pod(containerd, lambda name: CriPod(containerd, name))
    one, two = CriPod(containerd, "one"), CriPod(containerd, "two")
    assert one.addresses == ["10.88.0.3", "2001:db8:88::3"]
    assert two.addresses == ["10.88.0.4", "2001:db8:88::4"]
    for pod in (one, two):
        v4, v6 = pod.addresses
        assert pod.netns.addresses("eth0") == {f"{v4}/24", f"{v6}/64"}
        assert pod.netns.link("eth0")["operstate"] == "UP"
        assert "UP" in pod.netns.link("lo")["flags"]
        assert tcp_source(pod.netns, pod.netns, "127.0.0.1") == "127.0.0.1"
        assert [route["gateway"] for route in pod.netns.routes() if route["dst"] == "default"] == ["10.88.0.1"]
    for mine, peers in zip(one.addresses, two.addresses, strict=True):
        assert tcp_source(two.netns, one.netns, peers) == mine
    assert tcp_source(node, one.netns, "10.88.0.1") == one.addresses[0]
    assert tcp_source(one.netns, node, one.addresses[0]) == "10.88.0.1"
    assert eventually(lambda: reaches(two.netns, node, "2001:db8:88::1", 1), 5)
    assert udp_source(node.outside, one.netns, node.OUTSIDE) == node.ADDRESS
    assert {lease[0] for lease in node.leases("pods").values()} == {one.id, two.id}

    one.remove(twice=True)
    assert {lease[0] for lease in node.leases("pods").values()} == {two.id}
    assert udp_source(node.outside, two.netns, node.OUTSIDE) == node.ADDRESS
    two.remove(twice=True)
    assert nothing_left(node, before) == before


def test_a_pod_whose_processes_died_is_removed(containerd: Containerd) -> None:
    """The sandbox's process is killed behind containerd's back; Stop and Remove still leave nothing."""
    node = containerd.node
    before = first_pod(containerd, lambda name: CriPod(containerd, name))
    pod = CriPod(containerd, "victim")
    containerd.ctr("-n", "k8s.io", "task", "kill", "-s", "SIGKILL", pod.id)
    assert eventually(lambda: not containerd.cri.pod_ready(pod.id), 10), "containerd did not notice the death"
    pod.remove()
    assert nothing_left(node, before) == before


def test_containerd_shows_the_plugins_error(containerd: Containerd) -> None:
    """A range without a free address: RunPodSandbox fails with the plugin's words, and nothing is left."""
    node = containerd.node
    before = first_pod(containerd, lambda name: CriPod(containerd, name))
    for last in range(2, 255):
        (node.data_dir / "pods" / f"10.88.0.{last}").write_text("taken\r\neth0")
    with pytest.raises(Exception, match="no IP addresses available in range set"):
        CriPod(containerd, "refused")
    for last in range(2, 255):
        (node.data_dir / "pods" / f"10.88.0.{last}").unlink()
    assert nothing_left(node, before) == before
    CriPod(containerd, "welcome").remove()


def test_host_ports_of_the_cri(node: Node) -> None:
    """Port mappings as kubelet asks for them: TCP, UDP and SCTP answer from outside and from the node, then are gone."""
    network = conflist(node, "1.0.0")
    network["plugins"].append(portmap())
    with tempfile.TemporaryDirectory(prefix="ctrd-") as folder:
        containerd = Containerd(node, Path(folder), SUBJECT, network)
        try:
            before = first_pod(containerd, lambda name: CriPod(containerd, name))
            ports = [port(8080), port(8053, 53, "udp"), port(8132, 132, "sctp"), port(8081, 81, ip=node.ADDRESS)]
            one = CriPod(containerd, "one", *ports)
            two = CriPod(containerd, "two", port(9000))
            for entry in ports:
                asked = (entry["protocol"], one.netns, entry["containerPort"])
                assert source(*asked, node.outside, node.ADDRESS, entry["hostPort"]) == node.OUTSIDE
                here = "hostIP" not in entry
                assert answers(*asked, node, "127.0.0.1", entry["hostPort"], seconds=3 if here else 1) == here
                assert answers(*asked, two.netns, node.ADDRESS, entry["hostPort"])
            assert answers("tcp", two.netns, 80, one.netns, node.ADDRESS, 9000)
            one.remove(twice=True)
            assert not answers("tcp", node, 80, node.outside, node.ADDRESS, 8080, seconds=0.3)
            assert answers("tcp", two.netns, 80, node.outside, node.ADDRESS, 9000)
            two.remove()
            assert without_shared(nothing_left(node, before)) == without_shared(before)
        finally:
            containerd.close()


def test_a_pod_is_replaced_before_its_end(node: Node) -> None:
    """As kubelet does after a forced deletion: the new pod first, then the old one's end; the port is never silent."""
    network = conflist(node, "1.0.0")
    network["plugins"].append(portmap())
    with tempfile.TemporaryDirectory(prefix="ctrd-") as folder, ThreadPoolExecutor(1) as pool:
        containerd = Containerd(node, Path(folder), SUBJECT, network)
        try:
            old = CriPod(containerd, "web", port(8080))
            new = CriPod(containerd, "web-again", port(8080))
            with asking({"old": old.netns, "new": new.netns}, 80, node.outside, node.ADDRESS, 8080) as ask:
                heard = [ask()]
                ending = pool.submit(old.remove)
                while not ending.done():
                    heard.append(ask())
                ending.result()
                heard.append(ask())
            assert set(heard) == {"old", "new"} and heard == sorted(heard, reverse=True), heard
            new.remove()
        finally:
            containerd.close()


def without_shared(snapshot: dict[str, Any]) -> dict[str, Any]:
    """A snapshot without the chains that Go's portmap leaves for ever."""
    kept = [line for line in snapshot["iptables"] if "CNI-HOSTPORT-" not in line]
    return {**snapshot, "iptables": kept}


def test_ctr_gives_a_container_its_network(containerd: Containerd) -> None:
    """The container sees its address and reaches the gateway; after it, lease and links are gone."""
    node, ctr = containerd.node, Ctr(containerd)
    ctr.run("first", "true")
    eventually(lambda: len(node.ports("cni0")) == 0, 10)
    before = node.snapshot()
    said = ctr.run("second", "ip -4 addr show dev eth0 && ip route && ping -c 1 -W 5 10.88.0.1")
    assert "inet 10.88.0.3/24" in said
    assert "default via 10.88.0.1 dev eth0" in said
    assert "1 packets received" in said
    left = nothing_left(node, before)
    assert [left[part] for part in ("links", "addresses", "leases")] == [
        before[part] for part in ("links", "addresses", "leases")
    ]


@pytest.mark.beyond_old_go("without the namespace the masquerade rules stay")
def test_ctr_leaves_nothing_although_it_names_no_namespace(containerd: Containerd) -> None:
    """ctr calls DEL with an empty CNI_NETNS, after the container's end: the rules go all the same."""
    node, ctr = containerd.node, Ctr(containerd)
    ctr.run("first", "true")
    eventually(lambda: len(node.ports("cni0")) == 0, 10)
    snapshot = node.snapshot()
    assert snapshot["nft"] == [] and snapshot["iptables"] == [] and snapshot["leases"] == {"pods": {}}
