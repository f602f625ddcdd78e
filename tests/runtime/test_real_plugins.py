"""Go's plugins and ours through the library, side by side, with the same lists, on a pretended node."""

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    AsyncCNIConfig,
    CNIConfig,
    GCArgs,
    GCAttachment,
    LibcniError,
    NetworkConfigList,
    Options,
    PluginFailed,
    RuntimeConf,
    StepFailed,
    UnsupportedByPlugin,
    code_of,
    conf_from_bytes,
    load_network_conf,
)
from node.deadline import eventually
from node.plugin import GO
from node.topology import Node, Pod
from node.traffic import tcp_source

from .conftest import chain, network, on

pytestmark = pytest.mark.real


def listed(node: Node, version: str = "1.0.0", **keys: Any) -> NetworkConfigList:
    """A network with addresses."""
    return network(chain(node, "")[0], version=version, **keys)


def attachment(pod: Pod, ifname: str = "eth0") -> RuntimeConf:
    return RuntimeConf(pod.container, pod.path, ifname)


@pytest.fixture
def cni(node: Node, binaries: str, tmp_path: Path) -> CNIConfig:
    return CNIConfig([binaries], str(tmp_path / "cache"), on(node))


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
def test_a_pod_comes_is_checked_and_goes(cni: CNIConfig, node: Node, version: str) -> None:
    net, one, two = listed(node, version), node.pod(), node.pod()
    found = cni.add_network_list(net, attachment(one))
    assert found.version == version
    cni.add_network_list(net, attachment(two))
    assert [str(ip.address) for ip in found.ips] == ["10.77.0.2/24"]
    assert one.addresses("eth0") == {"10.77.0.2/24"}
    assert tcp_source(two, one, "10.77.0.3") == "10.77.0.2"
    cached = cni.get_network_list_cached_result(net, attachment(one))
    assert cached is not None and cached.document() == found.document()
    kept = cni.get_network_list_cached_config(net, attachment(one))
    assert kept is not None and kept[0] == net.bytes
    if version != "0.3.1":
        cni.check_network_list(net, attachment(one))
        one.ip("addr flush dev eth0")
        with pytest.raises(PluginFailed):
            cni.check_network_list(net, attachment(one))
    for pod in (one, two):
        cni.del_network_list(net, attachment(pod))
        cni.del_network_list(net, attachment(pod))
    assert node.leases() == {}
    assert node.ports("br0") == set()
    assert cni.get_cached_attachments() == []


def test_a_second_add_of_a_living_attachment(cni: CNIConfig, node: Node) -> None:
    """It is refused, and undoing does not take the living one away; by its id alone it can be removed."""
    net, pod = listed(node), node.pod()
    undoing = CNIConfig(cni.path, cni._operations._cache.folder, on(node), Options(undo_failed_add=True))
    undoing.add_network_list(net, attachment(pod))
    before = (node.leases(), node.ports("br0"), pod.addresses("eth0"))
    with pytest.raises(LibcniError, match="already exists"):
        undoing.add_network_list(net, attachment(pod))
    with pytest.raises(LibcniError, match="already exists"), undoing.attached(net, attachment(pod)):
        pytest.fail("it is attached already")
    assert (node.leases(), node.ports("br0"), pod.addresses("eth0")) == before
    undoing.check_network_list(net, attachment(pod))
    pod.close()
    undoing.del_cached_attachments(pod.container)
    assert (node.leases(), undoing.get_cached_attachments()) == ({}, [])
    assert eventually(lambda: not node.ports("br0"))  # the kernel takes its time for a namespace


def test_the_asyncio_form_does_the_same(node: Node, binaries: str, tmp_path: Path) -> None:
    net, pods = listed(node), [node.pod() for _ in range(4)]
    # Go's bridge changes its MAC when the first pods come at once, and then its CHECK fails
    node.ip("link add br0 address 02:00:00:00:00:01 type bridge")
    cni = AsyncCNIConfig([binaries], str(tmp_path / "cache"), on(node))

    async def run() -> None:
        found = await asyncio.gather(*(cni.add_network_list(net, attachment(pod)) for pod in pods))
        assert len({str(result.ips[0].address) for result in found}) == 4
        for pod in pods:
            await cni.check_network_list(net, attachment(pod))
        await asyncio.gather(*(cni.del_network_list(net, attachment(pod)) for pod in pods))

    asyncio.run(run())
    assert (node.leases(), node.ports("br0")) == ({}, set())


def test_single_plugins(cni: CNIConfig, node: Node) -> None:
    pod = node.pod()
    conf = conf_from_bytes(json.dumps({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}).encode())
    found = cni.add_network(conf, attachment(pod, "lo"))
    assert [interface.name for interface in found.interfaces] == ["lo"]
    assert "UP" in pod.link("lo")["flags"]
    cni.check_network(conf, attachment(pod, "lo"))
    cached = cni.get_network_cached_result(conf, attachment(pod, "lo"))
    assert cached is not None and cached.document() == found.document()
    kept = cni.get_network_cached_config(conf, attachment(pod, "lo"))
    assert kept is not None and kept[0] == conf.bytes
    assert cni.validate_network(conf) == []
    cni.del_network(conf, attachment(pod, "lo"))
    assert cni.get_network_cached_result(conf, attachment(pod, "lo")) is None
    with pytest.raises(PluginFailed):
        cni.check_network(conf, attachment(pod, "lo"))


def test_versions(cni: CNIConfig, node: Node, binaries: str) -> None:
    supported = cni.get_version_info("bridge").supported_versions
    assert ("1.1.0" in supported) == (binaries != GO)
    assert cni.validate_network_list(listed(node)) == []
    future = conf_from_bytes(b'{"cniVersion":"9.9.9","name":"n","type":"bridge"}')
    with pytest.raises(UnsupportedByPlugin):
        cni.validate_network(future)


def test_the_plugins_own_error_survives(cni: CNIConfig, node: Node) -> None:
    with pytest.raises(StepFailed) as caught:
        cni.add_network_list(listed(node, "9.9.9"), attachment(node.pod()))
    assert code_of(caught.value) == 1
    assert str(caught.value).startswith('plugin type="bridge" failed (add): incompatible CNI versions; ')


def test_a_list_that_fails_half_way_is_undone_where_that_is_asked(node: Node, binaries: str, tmp_path: Path) -> None:
    net, pod = listed(node), node.pod()
    bad = network(json.loads(net.plugins[0].bytes), {"type": "loopback", "dns": {}}, "missing")
    careful = CNIConfig([binaries], str(tmp_path), on(node), Options(undo_failed_add=True))
    with pytest.raises(StepFailed, match='failed to find plugin "missing" in path'):
        careful.add_network_list(bad, attachment(pod))
    assert node.leases() == {}
    assert "eth0" not in pod.links()


def test_garbage_is_collected(cni: CNIConfig, node: Node) -> None:
    net, pods = listed(node), [node.pod() for _ in range(3)]
    for pod in pods:
        cni.add_network_list(net, attachment(pod))
    cni.gc_network_list(net, GCArgs([GCAttachment(pods[1].container, "eth0")]))
    assert [lines[0] for lines in node.leases().values()] == [pods[1].container]
    assert [found.container_id for found in cni.get_cached_attachments()] == [pods[1].container]
    cni.gc_network_list(net, GCArgs([]))
    assert node.leases() == {}


def test_status_and_garbage_reach_plugins_that_know_them(cni: CNIConfig, node: Node, binaries: str) -> None:
    net = listed(node, "1.1.0")
    if binaries == GO:
        # plugins of the 1.1 line look for the container's id before they look at the verb
        with pytest.raises(PluginFailed, match="missing containerID"):
            cni.get_status_network_list(net)
        return
    pod, gone = node.pod(), node.pod()
    cni.get_status_network_list(net)
    for one in (pod, gone):
        cni.add_network_list(net, attachment(one))
    # without the cache only the plugins' own GC can know
    forgetful = CNIConfig([binaries], "/none", on(node))
    forgetful.gc_network_list(net, GCArgs([GCAttachment(pod.container, "eth0")]))
    assert [lines[0] for lines in node.leases().values()] == [pod.container]


def test_several_networks_are_collected_in_one_call(cni: CNIConfig, node: Node) -> None:
    nets = []
    for number in (1, 2):
        plugin = chain(node, "", f"10.7{number}.0.0/24", isGateway=False, isDefaultGateway=False)[0]
        nets.append(network(plugin, name=f"net{number}"))
    pods = [node.pod() for _ in range(2)]
    for net in nets:
        for pod in pods:
            cni.add_network_list(net, attachment(pod, f"eth{net.name[-1]}"))
    cni.gc_network_lists(nets, {"net1": GCArgs([GCAttachment(pods[0].container, "eth1")]), "net2": GCArgs([])})
    assert [lines[0] for lines in node.leases("net1").values()] == [pods[0].container]
    assert node.leases("net2") == {}
    assert [(found.network, found.container_id) for found in cni.get_cached_attachments()] == [
        ("net1", pods[0].container)
    ]
    assert [set(pod.links()) for pod in pods] == [{"lo", "eth1"}, {"lo"}]


def test_a_chain_with_published_ports(cni: CNIConfig, node: Node, binaries: str) -> None:
    """portmap behind bridge: the port is reached from outside, CHECK passes, nothing is left."""
    plugins = chain(node, binaries)
    if len(plugins) == 1:
        pytest.skip(f"no portmap in {binaries}")
    net, pod = network(*plugins), node.pod()
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    runtime = replace(attachment(pod), capability_args={"portMappings": ports})
    assert cni.validate_network_list(net) == ["portMappings"]
    before = node.snapshot()
    cni.add_network_list(net, runtime)
    if binaries != GO:  # Go's 1.1 looks for IPv6 rules of a pod that has none
        cni.check_network_list(net, runtime)
    with pod.socket() as listening, node.outside.socket() as client:
        listening.bind(("", 80))
        listening.listen()
        client.settimeout(5)
        client.connect((node.ADDRESS, 8080))
        client.sendall(b"hello")
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.recv(100) == b"hello"
    cni.del_network_list(net, runtime)
    assert node.leases() == {}
    if binaries != GO:
        after = node.snapshot()
        assert (after["nft"], after["iptables"]) == (before["nft"], before["iptables"])


@pytest.fixture
def both_ways(binaries: str) -> tuple[str, str]:
    return binaries, GO


def test_made_with_one_make_and_removed_with_the_other(node: Node, both_ways: tuple[str, str], tmp_path: Path) -> None:
    """The cache carries what the other make needs: leases, results, arguments."""
    for maker, remover in (both_ways, both_ways[::-1]):
        net, pod = listed(node), node.pod()
        CNIConfig([maker], str(tmp_path), on(node)).add_network_list(net, attachment(pod))
        other = CNIConfig([remover], str(tmp_path), on(node))
        other.check_network_list(net, attachment(pod))
        other.del_network_list(net, attachment(pod))
        assert node.leases() == {}
        assert "eth0" not in pod.links()


def test_from_a_folder(cni: CNIConfig, node: Node, tmp_path: Path) -> None:
    folder = tmp_path / "net.d"
    (folder / "net1").mkdir(parents=True)
    (folder / "10-net1.conflist").write_text('{"cniVersion":"0.4.0","cniVersions":["1.0.0"],"name":"net1"}')
    (folder / "net1" / "10-bridge.conf").write_bytes(listed(node).plugins[0].bytes)
    net, pod = load_network_conf(str(folder), "net1"), node.pod()
    assert net.cni_version == "1.0.0"
    cni.add_network_list(net, attachment(pod))
    assert pod.addresses("eth0") == {"10.77.0.2/24"}
    cni.del_network_list(net, attachment(pod))


def test_capabilities_arrive(cni: CNIConfig, node: Node) -> None:
    entry = json.loads(listed(node).plugins[0].bytes) | {"capabilities": {"mac": True}}
    net, pod = network(entry), node.pod()
    runtime = RuntimeConf(pod.container, pod.path, "eth0", (), {"mac": "c2:11:22:33:44:55"})
    cni.add_network_list(net, runtime)
    assert pod.link("eth0")["address"] == "c2:11:22:33:44:55"
    cni.del_network_list(net, runtime)


def test_two_makes_answer_alike(new_node: Callable[[], Node], binaries: str, tmp_path: Path) -> None:
    """The results of both makes for one list, without what is random, are the same."""

    def shape(folder: str) -> Any:
        node = new_node()
        pod = node.pod()
        library = CNIConfig([folder], str(tmp_path / os.path.basename(folder)), on(node))
        document = library.add_network_list(listed(node), attachment(pod)).document()
        names = [interface["name"][:4] for interface in document.pop("interfaces")]
        return names, {name: value for name, value in document.items() if name != "dns" or value}

    assert shape(binaries) == shape(GO)
