"""Several networks for one pod, as Multus delegates them: each through libcni with arguments of Kubernetes and a cache.

Multus calls the pod's default network with eth0, and then those of the pod's annotation with net1, net2 and so on. Each
is a configuration of one plugin, or a list. It removes them in reverse order, and one alone if the annotation changes.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    CNIConfig,
    GCArgs,
    GCAttachment,
    NetworkConfig,
    NetworkConfigList,
    PluginFailed,
    ProcessExec,
    Result,
    RuntimeConf,
    conf_from_bytes,
    conf_list_from_bytes,
)
from node.configuration import conflist, host_local, port, portmap
from node.plugin import SUBJECT, Object
from node.topology import Node, Pod
from node.traffic import reaches, tcp_source

pytestmark = pytest.mark.real

VERSION = "1.1.0"
DEFAULTS = [{"dst": "0.0.0.0/0"}]
FAR = "198.51.100.1"
# a request in the pod's annotation
REQUEST: Object = {"ips": ["192.0.2.60/24"], "mac": "02:00:00:00:00:60"}

Conf = NetworkConfig | NetworkConfigList


def listed(*plugins: Object, name: str) -> NetworkConfigList:
    return conf_list_from_bytes(json.dumps(conflist(*plugins, name=name, version=VERSION)).encode())


def default(node: Node) -> NetworkConfigList:
    """The pod's own network, with ports of the node."""
    ipam = host_local(node.data_dir, "10.77.0.0/24")
    return listed({"type": "bridge", "bridge": "br0", "isDefaultGateway": True, "ipam": ipam}, portmap(), name="net0")


def macvlan() -> NetworkConfigList:
    """The one of multus-cni#671: addresses and a MAC of the pod's annotation, in the network of the node."""
    plugins: list[Object] = [
        {"type": "macvlan", "master": "uplink", "capabilities": {"ips": True}, "ipam": {"type": "static"}},
        {"type": "tuning", "capabilities": {"mac": True}},
    ]
    return listed(*plugins, name="macvlan-conf")


def plain(node: Node) -> NetworkConfig:
    """A configuration of one plugin."""
    ipam = host_local(node.data_dir, "10.78.0.0/24")
    conf = {"cniVersion": VERSION, "name": "plain", "type": "bridge", "bridge": "br1", "ipam": ipam}
    return conf_from_bytes(json.dumps(conf).encode())


def by_source(node: Node) -> NetworkConfigList:
    """A network with a default route of its own, for what the pod sends from its address there."""
    ipam = host_local(node.data_dir, "10.79.0.0/24", routes=DEFAULTS)
    return listed(
        {"type": "bridge", "bridge": "br2", "isGateway": True, "ipam": ipam}, {"type": "sbr"}, name="by-source"
    )


class Delegates:
    """One pod with its networks. ``results`` are by interface."""

    def __init__(self, node: Node, cni: CNIConfig, *networks: Conf, **requests: Object) -> None:
        """The first one is the default network; ``requests`` are values of capabilities by interface."""
        self.pod: Pod = node.pod()
        self.cni, self.results = cni, dict[str, Result]()
        names = ["eth0", *(f"net{number}" for number in range(1, len(networks)))]
        self.networks = dict(zip(names, networks, strict=True))
        pairs = [
            ("IgnoreUnknown", "true"), ("K8S_POD_NAMESPACE", "default"), ("K8S_POD_NAME", self.pod.container),
            ("K8S_POD_INFRA_CONTAINER_ID", self.pod.container), ("K8S_POD_UID", "6b2e"),
        ]  # fmt: skip
        self.runtime = {
            name: RuntimeConf(self.pod.container, self.pod.path, name, pairs, requests.get(name, {})) for name in names
        }

    def _call(self, single: Callable[..., Any], whole: Callable[..., Any], name: str) -> Any:
        conf = self.networks[name]
        return (whole if isinstance(conf, NetworkConfigList) else single)(conf, self.runtime[name])

    def add(self) -> "Delegates":
        """ADD of each, the default network first."""
        for name in self.networks:
            self.results[name] = self._call(self.cni.add_network, self.cni.add_network_list, name)
        return self

    def check(self, *names: str) -> None:
        """CHECK of these, of all by default; raises the difference."""
        for name in names or self.networks:
            self._call(self.cni.check_network, self.cni.check_network_list, name)

    def delete(self, *names: str, netns: str | None = None) -> None:
        """DEL of these, of all by default, in reverse order."""
        for name in reversed(names or tuple(self.networks)):
            if netns is not None:
                self.runtime[name] = replace_netns(self.runtime[name], netns)
            self._call(self.cni.del_network, self.cni.del_network_list, name)

    def address(self, name: str) -> str:
        """The first address in a network."""
        return str(self.results[name].ips[0].address).split("/")[0]


def replace_netns(runtime: RuntimeConf, netns: str) -> RuntimeConf:
    return RuntimeConf(runtime.container_id, netns, runtime.if_name, runtime.args, runtime.capability_args)


@pytest.fixture
def cni(node: Node, tmp_path: Path) -> CNIConfig:
    return library(node, tmp_path / "cache")


def library(node: Node, cache: Path) -> CNIConfig:
    return CNIConfig([SUBJECT], str(cache), ProcessExec(prefix=("nsenter", f"--net={node.path}", "--")))


def leaves_by(pod: Pod, source: str) -> str:
    """The link through which a packet with this source leaves for an address beyond all networks."""
    words = pod.run("ip", "route", "get", FAR, "from", source).split()
    return words[words.index("dev") + 1]


def held(node: Node) -> dict[str, list[str]]:
    """The leased addresses of each network that has some."""
    found = {at.name: sorted(node.leases(at.name)) for at in node.data_dir.glob("*")}
    return {name: leases for name, leases in found.items() if leases}


def test_networks_beside_eth0_come_are_checked_and_go(node: Node, cni: CNIConfig) -> None:
    """A port of the node on eth0, requested addresses and MAC, one plugin, and routing by source; one goes before the others."""
    node.ip(f"addr add {FAR}/32 dev lo")
    networks = (default(node), macvlan(), plain(node), by_source(node))
    first = Delegates(node, cni, *networks, eth0={"portMappings": [port(8080)]}, net1=REQUEST).add()
    first.delete()
    before = node.snapshot()
    pod = Delegates(node, cni, *networks, eth0={"portMappings": [port(8080)]}, net1=REQUEST).add()
    at = pod.pod
    assert set(at.links()) == {"lo", "eth0", "net1", "net2", "net3"}
    assert (at.link("net1")["address"], at.addresses("net1")) == (REQUEST["mac"], set(REQUEST["ips"]))
    assert tcp_source(at, node.outside, pod.address("net1")) == node.OUTSIDE
    # the node's port leads to eth0, whatever else the pod has
    for name in ("eth0", "net3"):
        assert leaves_by(at, pod.address(name)) == name
        assert tcp_source(node, at, FAR) == pod.address("eth0")
    with at.socket() as client, node.socket() as server:
        client.bind((pod.address("net3"), 0))
        server.bind((FAR, 0))
        server.listen()
        client.settimeout(3)
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        accepted.close()
    assert peer[0] == pod.address("net3")
    pod.check()
    assert {each.if_name for each in cni.get_cached_attachments(at.container)} == {"eth0", "net1", "net2", "net3"}
    # the annotation loses one network, and the others stay
    pod.delete("net1")
    assert "net1" not in at.links()
    pod.check("eth0", "net2", "net3")
    at.ip("addr flush dev net2")
    with pytest.raises(PluginFailed):
        pod.check("net2")
    pod.check("eth0", "net3")
    pod.delete()
    assert set(at.links()) == {"lo"} and node.snapshot() == before and cni.get_cached_attachments() == []


def test_one_network_twice_for_one_pod(node: Node, cni: CNIConfig) -> None:
    """Each interface is an attachment of its own: of the two either goes, with the namespace or without, the other stays."""
    networks = (default(node), plain(node), plain(node), by_source(node), by_source(node))
    pod, other = (Delegates(node, cni, *networks).add() for _ in range(2))
    at = pod.pod
    pod.check()
    for name in ("net3", "net4"):
        assert leaves_by(at, pod.address(name)) == name
    for one, two in (("net1", "net2"), ("net3", "net4")):
        assert pod.results[one].ips != pod.results[two].ips
        pod.delete(one)
        assert one not in at.links()
        pod.check(two)
        assert reaches(at, other.pod, other.address(two))
    assert leaves_by(at, pod.address("net4")) == "net4"
    for each in (pod, other):
        each.pod.close()
        each.delete(netns="")
    assert held(node) == {} and not {"br0", "br1", "br2"} & {link.get("master") for link in node.links().values()}


@pytest.mark.parametrize("cached", [True, False], ids=["with the cache", "without the cache"])
def test_gc_by_network(node: Node, cni: CNIConfig, tmp_path: Path, cached: bool) -> None:
    """Of pods that ended without DEL, GC of one network removes what is of this network, and keeps the others'."""
    networks = (default(node), plain(node), by_source(node), plain(node))
    lives, ended = (Delegates(node, cni, *networks).add() for _ in range(2))
    ended.pod.close()
    if not cached:
        cni = library(node, tmp_path / "another")
    assert {name: len(leases) for name, leases in held(node).items()} == {"net0": 2, "plain": 4, "by-source": 2}
    valid = GCArgs([GCAttachment(lives.pod.container, name) for name in lives.networks])
    left = {"net0": 2, "plain": 4, "by-source": 2}
    for conf, name, kept in ((networks[1], "plain", 2), (networks[2], "by-source", 1), (networks[0], "net0", 1)):
        whole = conf if isinstance(conf, NetworkConfigList) else listed(dict(json.loads(conf.bytes)), name=name)
        cni.gc_network_list(whole, valid)
        left[name] = kept
        assert {name: len(leases) for name, leases in held(node).items()} == left
    lives.check()
    lives.delete()
    assert held(node) == {}


def test_the_default_route_may_be_another_networks(node: Node, cni: CNIConfig, tmp_path: Path) -> None:
    """With ``default-route`` Multus removes that of eth0, in the pod and in the cache, and sets another one."""
    pod = Delegates(node, cni, default(node), macvlan(), net1=REQUEST).add()
    pod.pod.ip("route del default", f"route add default via {node.OUTSIDE} dev net1")
    file = tmp_path / "cache/results" / f"net0-{pod.pod.container}-eth0"
    document = json.loads(file.read_text())
    document["result"]["routes"] = []
    file.write_text(json.dumps(document))
    pod.check()
    pod.delete()
    assert set(pod.pod.links()) == {"lo"}
