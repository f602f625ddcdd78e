"""containerd's interface over Go's plugins and ours: pods with a loopback and a network, on a pretended node."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from libcni import CacheError, LibcniError, PluginFailed, StepFailed
from libcni.containerd import (
    AsyncContainerd,
    Containerd,
    IPRange,
    Opt,
    PortMapping,
    new,
    with_all_conf,
    with_cache_dir,
    with_capability_ip_ranges,
    with_capability_port_map,
    with_checkable_lo_network,
    with_default_conf,
    with_labels,
    with_lo_network,
    with_min_network_count,
    with_plugin_conf_dir,
    with_plugin_dir,
    with_rollback,
)
from node.topology import Node, Pod

from .conftest import chain, network, on

pytestmark = pytest.mark.real
LABELS = with_labels({"K8S_POD_NAME": "one", "IgnoreUnknown": "1"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The configuration folder."""
    (tmp_path / "net.d").mkdir()
    return tmp_path / "net.d"


@pytest.fixture
def base(node: Node, binaries: str, folder: Path, tmp_path: Path) -> list[Opt]:
    """containerd's options, in folders of the test's own, with one network that has addresses."""
    (folder / "10-pods.conflist").write_bytes(network(*chain(node, binaries), name="pods").bytes)
    return [
        with_plugin_dir([binaries]),
        with_plugin_conf_dir(str(folder)),
        with_cache_dir(str(tmp_path / "cache")),
        with_min_network_count(2),
    ]


def up(pod: Pod) -> bool:
    return "UP" in pod.link("lo")["flags"]


@pytest.mark.parametrize("form", ["blocking", "asyncio"])
def test_a_second_setup_of_a_living_pod_takes_nothing_away(node: Node, base: list[Opt], form: str) -> None:
    pod = node.pod()
    cni, awaited = new(*base, executor=on(node)), AsyncContainerd(*base, executor=on(node))
    for loaded in (cni, awaited):
        loaded.load(with_checkable_lo_network, with_default_conf)
    cni.setup(pod.container, pod.path, LABELS)
    leases = node.leases()
    with pytest.raises(StepFailed, match="already exists"):
        if form == "asyncio":
            asyncio.run(awaited.setup(pod.container, pod.path, LABELS))
        else:
            cni.setup(pod.container, pod.path, LABELS)
    assert (node.leases(), pod.addresses("eth0"), up(pod)) == (leases, {"10.77.0.2/24"}, True)
    cni.check(pod.container, pod.path, LABELS)
    cni.remove(pod.container, pod.path, LABELS)
    assert (node.leases(), node.ports("br0")) == ({}, set())


@pytest.mark.parametrize("serially", [False, True])
@pytest.mark.parametrize("loopback", [with_lo_network, with_checkable_lo_network])
def test_a_pod_comes_is_checked_and_goes(node: Node, base: list[Opt], loopback: Opt, serially: bool) -> None:
    cni, pod = new(*base, executor=on(node)), node.pod()
    cni.load(loopback, with_default_conf)
    cni.status()
    found = (cni.setup_serially if serially else cni.setup)(pod.container, pod.path, LABELS)
    assert [ip.ip for ip in found.interfaces["eth0"].ip_configs] == ["10.77.0.2"]
    assert found.interfaces["eth0"].mac == pod.link("eth0")["address"]
    assert found.interfaces["eth0"].sandbox == found.interfaces["lo"].sandbox == pod.path
    assert (pod.addresses("eth0"), up(pod)) == ({"10.77.0.2/24"}, True)
    assert [raw.version for raw in found.raw()] == ["1.1.0", "1.1.0"]
    if loopback is with_checkable_lo_network:
        cni.check(pod.container, pod.path, LABELS)
        pod.ip("addr flush dev eth0")
    with pytest.raises(LibcniError):  # Go's own loopback has no CHECK; the other one finds what was tampered with
        cni.check(pod.container, pod.path, LABELS)
    cni.remove(pod.container, pod.path, LABELS)
    cni.remove(pod.container, pod.path, LABELS)
    assert (node.leases("pods"), "eth0" in pod.links(), up(pod)) == ({}, False, False)


def test_a_pod_whose_namespace_is_gone_is_removed(node: Node, base: list[Opt]) -> None:
    """containerd's second and third DEL come with an empty path."""
    cni, pod = new(*base, executor=on(node)), node.pod()
    cni.load(with_lo_network, with_default_conf)
    cni.setup(pod.container, pod.path)
    pod.close()
    cni.remove(pod.container, "")
    assert node.leases("pods") == {}


def test_many_pods_at_once_under_asyncio(node: Node, base: list[Opt]) -> None:
    pods = [node.pod() for _ in range(4)]

    async def run() -> list[str]:
        cni = AsyncContainerd(*base, executor=on(node))
        cni.load(with_checkable_lo_network, with_default_conf)
        found = await asyncio.gather(*(cni.setup(pod.container, pod.path) for pod in pods))
        await asyncio.gather(*(cni.check(pod.container, pod.path) for pod in pods))
        assert all(up(pod) and pod.addresses("eth0") for pod in pods)
        await cni.status()
        await asyncio.gather(*(cni.remove(pod.container, pod.path) for pod in pods))
        return [result.interfaces["eth0"].ip_configs[0].ip for result in found]

    assert sorted(asyncio.run(run())) == [f"10.77.0.{number}" for number in range(2, 6)]
    assert node.leases("pods") == {}


@pytest.mark.parametrize("serially", [False, True])
@pytest.mark.parametrize("rollback", [True, False])
def test_what_failed_half_way_is_removed(
    node: Node, base: list[Opt], folder: Path, serially: bool, rollback: bool
) -> None:
    """The second network's bridge cannot be made; the first one's lease and link go again, unless Go's way is asked for."""
    bad = chain(node, "", "10.78.0.0/24")[0] | {"bridge": "a name that is too long"}
    (folder / "20-bad.conflist").write_bytes(network(bad, name="bad").bytes)
    cni, pod = new(*base, with_rollback(rollback), executor=on(node)), node.pod()
    cni.load(with_all_conf)
    with pytest.raises(StepFailed) as caught:
        (cni.setup_serially if serially else cni.setup)(pod.container, pod.path)
    assert isinstance(caught.value.__cause__, PluginFailed)
    assert ("eth0" in pod.links(), len(node.leases("pods"))) == ((False, 0) if rollback else (True, 1))
    assert "eth1" not in pod.links() and node.leases("bad") == {}


def test_published_ports_arrive_with_capitals(node: Node, base: list[Opt], binaries: str) -> None:
    """As containerd's Go library sends them: both makes read ``HostPort``."""
    if not Path(binaries, "portmap").is_file():
        pytest.skip(f"no portmap in {binaries}")
    cni, pod = new(*base, executor=on(node)), node.pod()
    cni.load(with_lo_network, with_default_conf)
    ports = with_capability_port_map([PortMapping(8080, 80)])
    cni.setup(pod.container, pod.path, ports)
    with pod.socket() as listening, node.outside.socket() as client:
        listening.bind(("", 80))
        listening.listen()
        client.settimeout(5)
        client.connect((node.ADDRESS, 8080))
    cni.remove(pod.container, pod.path, ports)
    with node.outside.socket() as client:
        client.settimeout(1)
        with pytest.raises(OSError):
            client.connect((node.ADDRESS, 8080))


def test_ranges_that_host_local_takes(node: Node, base: list[Opt], folder: Path) -> None:
    """Nested, as the plugin wants them; the flat list of Go's library it refuses."""
    plugin = chain(node, "")[0] | {"capabilities": {"ipRanges": True}}
    plugin["ipam"] = {name: value for name, value in plugin["ipam"].items() if name != "ranges"}
    (folder / "10-pods.conflist").write_bytes(network(plugin, name="pods").bytes)
    cni, pod = new(*base, executor=on(node)), node.pod()
    cni.load(with_checkable_lo_network, with_default_conf)
    wanted = [IPRange("10.79.0.0/24", range_start="10.79.0.7")]
    found = cni.setup(pod.container, pod.path, with_capability_ip_ranges(wanted, nested=True))
    assert [ip.ip for ip in found.interfaces["eth0"].ip_configs] == ["10.79.0.7"]
    cni.remove(pod.container, pod.path, with_capability_ip_ranges(wanted, nested=True))
    assert node.leases("pods") == {}
    with pytest.raises(StepFailed):
        cni.setup(pod.container, pod.path, with_capability_ip_ranges(wanted))


def test_two_makes_answer_alike(new_node: Callable[[], Node], base: list[Opt], binaries: str, tmp_path: Path) -> None:
    """The result, without what is random, and the configuration shown."""

    def shown(folder: str) -> tuple[dict[str, object], object]:
        node = new_node()
        pod = node.pod()
        net = network(*chain(node, ""), name="pods")
        cni: Containerd = new(with_plugin_dir([folder]), with_cache_dir(str(tmp_path)), executor=on(node))
        cni.load(with_lo_network, lambda settings: settings.attach(net, "eth0"))
        document = cni.setup(pod.container, pod.path).document()
        cni.remove(pod.container, pod.path)
        interfaces = {name[:4]: value for name, value in document["Interfaces"].items()}
        for interface in interfaces.values():
            interface["Mac"] = len(interface["Mac"])
            interface["Sandbox"] = interface["Sandbox"].replace(pod.path, "pod")
        text = json.dumps([interfaces, document["DNS"], document["Routes"]], sort_keys=True)
        return json.loads(text), [network.if_name for network in cni.get_config().networks]

    assert shown(binaries) == shown("/usr/lib/cni")


def test_a_cache_that_cannot_be_written_fails_the_setup(node: Node, base: list[Opt], tmp_path: Path) -> None:
    """And what the plugins had made is removed."""
    (tmp_path / "file").touch()
    cni, pod = new(*base, with_cache_dir(str(tmp_path / "file")), executor=on(node)), node.pod()
    cni.load(with_checkable_lo_network, with_default_conf)
    with pytest.raises(CacheError):
        cni.setup(pod.container, pod.path)
    assert (node.leases("pods"), "eth0" in pod.links()) == ({}, False)
