"""Attachments that Debian's containerd made, read and removed by the library, and the other way round.

containerd's Go library keeps its cache in /var/lib/cni, which is this process's own (``node.machine``).
"""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    CNIConfig,
    GCArgs,
    GCAttachment,
    NetworkAttachment,
    NetworkConfigList,
    Options,
    ProcessExec,
    RuntimeConf,
    load_network_conf,
)
from libcni.containerd import new, with_default_conf, with_lo_network, with_plugin_conf_dir, with_plugin_dir
from libcni.containerd._results import combine
from node.configuration import host_local
from node.deadline import eventually
from node.plugin import GO
from node.topology import Node

pytest.importorskip("grpc", reason="grpcio is not installed")

from node.containerd import Containerd

from .stub import Stubs

pytestmark = pytest.mark.real
NAME = f"rt{os.getpid()}"
CACHE = Path("/var/lib/cni/results")


class Runtime:
    """A containerd, and the library beside it on the same node, with the same network."""

    def __init__(self, containerd: Containerd) -> None:
        self.containerd, self.node = containerd, containerd.node
        self.stubs = Stubs(containerd.bin_dir)
        self.stubs.add("recorder", {"echo": True})
        self.net: NetworkConfigList = load_network_conf(str(containerd.conf_dir), NAME)
        self.pods: list[str] = []

    def library(self, options: Options = Options()) -> CNIConfig:  # noqa: B008
        executor = ProcessExec(prefix=("nsenter", f"--net={self.node.path}", "--"))
        return CNIConfig([str(self.containerd.bin_dir)], executor=executor, options=options)

    def run_pod(self, name: str) -> str:
        self.pods.append(self.containerd.cri.run_pod(name))
        return self.pods[-1]

    def remove_pod(self, pod: str) -> None:
        self.containerd.cri.stop_pod(pod)
        self.containerd.cri.remove_pod(pod)

    def clean(self) -> None:
        """What a test that failed left in the machine's own cache."""
        for pod in self.pods:
            for file in CACHE.glob(f"*-{pod}-*"):
                file.unlink()

    def attachment(self, pod: str) -> RuntimeConf:
        """What ADD of a pod was told, by the cache; the namespace, which Go's library before 1.3 leaves out, by the plugin."""
        (found,) = self.cached(pod)
        netns = next(call.environ["CNI_NETNS"] for call in self.stubs.calls if call.environ["CNI_CONTAINERID"] == pod)
        assert found.netns in ("", netns)
        return RuntimeConf(pod, netns, found.if_name, found.cni_args, found.capability_args)

    def cached(self, pod: str) -> list[NetworkAttachment]:
        """The cache's attachments of a pod, without containerd's own loopback network."""
        return [one for one in self.library().get_cached_attachments(pod) if one.network == NAME]

    def leases(self) -> set[str]:
        return {lines[0] for lines in self.node.leases(NAME).values()}


@pytest.fixture
def runtime(node: Node, binaries: str) -> Iterator[Runtime]:
    recorder = {"type": "recorder", "capabilities": {"io.kubernetes.cri.pod-annotations": True}}
    plugin = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": host_local(node.data_dir, "10.88.0.0/24")}
    conflist: dict[str, Any] = {"cniVersion": "1.0.0", "name": NAME, "plugins": [plugin, recorder]}
    with tempfile.TemporaryDirectory(prefix="rt-") as folder:
        containerd = Containerd(node, Path(folder), binaries, conflist)
        made = Runtime(containerd)
        try:
            yield made
        finally:
            containerd.close()
            made.clean()


def test_what_containerd_made_is_read_checked_and_removed(runtime: Runtime) -> None:
    pod = runtime.run_pod("one")
    library = runtime.library()
    found = runtime.cached(pod)
    assert [(one.container_id, one.if_name) for one in found] == [(pod, "eth0")]
    added = runtime.stubs.calls[0]
    assert dict(found[0].cni_args)["K8S_POD_NAME"] == "one"
    assert found[0].config == runtime.net.bytes
    attachment = runtime.attachment(pod)
    cached = library.get_network_list_cached_config(runtime.net, RuntimeConf(pod, "", "eth0"))
    assert cached is not None
    assert cached[0] == runtime.net.bytes
    assert (cached[1].args, cached[1].capability_args) == (found[0].cni_args, found[0].capability_args)
    result = library.get_network_list_cached_result(runtime.net, attachment)
    assert result is not None
    assert [str(ip.address.address) for ip in result.ips] == runtime.containerd.cri.pod_status(pod)[0]
    library.check_network_list(runtime.net, attachment)
    library.del_network_list(runtime.net, attachment)
    last = runtime.stubs.calls[-1]
    assert last.verb == "DEL"
    assert last.config["prevResult"] == result.document()
    assert last.config["runtimeConfig"] == added.config["runtimeConfig"]
    assert runtime.leases() == set()
    assert runtime.cached(pod) == []
    runtime.remove_pod(pod)


def test_what_the_library_made_is_removed_by_containerd(runtime: Runtime) -> None:
    pod = runtime.run_pod("two")
    library, attachment = runtime.library(), runtime.attachment(pod)
    library.del_network_list(runtime.net, attachment)
    result = library.add_network_list(runtime.net, attachment)
    assert runtime.leases() == {pod}
    runtime.stubs.forget()
    runtime.remove_pod(pod)
    first = runtime.stubs.calls[0]
    assert first.verb == "DEL"
    # an old library writes an empty dns where 1.0.0 has none
    previous = {name: value for name, value in first.config["prevResult"].items() if name != "dns" or value}
    assert previous == result.document(), "Go's library read our cache file"
    assert runtime.leases() == set()
    assert runtime.cached(pod) == [], "and removed it"


def test_our_bytes_are_gos_bytes(runtime: Runtime) -> None:
    """The same attachment's file, once written by Go's library and once by ours: the same JSON, in the same order.

    Debian's containerd has a library from before 1.3, which does not keep the namespace.
    """
    pod = runtime.run_pod("three")
    file = CACHE / f"{NAME}-{pod}-eth0"
    theirs = file.read_bytes()
    library, attachment = runtime.library(), runtime.attachment(pod)
    library.del_network_list(runtime.net, attachment)
    library.add_network_list(runtime.net, attachment)
    netns = f',"netns":"{attachment.netns}"'.encode()
    ours = _without_result(file.read_bytes())
    assert netns in ours
    assert ours.replace(netns, b"") == _without_result(theirs).replace(netns, b"")
    runtime.remove_pod(pod)


def _without_result(data: bytes) -> bytes:
    """Without the result, in which addresses and MACs differ from one ADD to the next."""
    assert json.loads(data)["result"]["ips"]
    return data.partition(b',"result":')[0]


def test_garbage_of_containerd_is_collected(runtime: Runtime, binaries: str) -> None:
    """Debian's Go library has not kept the namespace: Go's bridge cannot find the link then, ours knows its name."""
    keep, lost = runtime.run_pod("keep"), runtime.run_pod("lost")
    assert runtime.leases() == {keep, lost}
    runtime.library().gc_network_list(runtime.net, GCArgs([GCAttachment(keep, "eth0")]))
    assert runtime.leases() == {keep}
    assert [call.environ["CNI_CONTAINERID"] for call in runtime.stubs.calls if call.verb == "DEL"] == [lost]
    if binaries != GO:
        assert eventually(lambda: len(runtime.node.ports("cni0")) == 1, 5)
    for pod in (keep, lost):
        runtime.remove_pod(pod)
    assert runtime.leases() == set()


def test_the_configuration_of_add_serves_after_a_change(runtime: Runtime) -> None:
    pod = runtime.run_pod("four")
    attachment = runtime.attachment(pod)
    other = json.loads(runtime.net.bytes)
    other["plugins"] = [{"type": "missing"}]
    file = runtime.containerd.conf_dir / "10-net.conflist"
    before = file.read_bytes()
    file.write_text(json.dumps(other))
    changed = load_network_conf(str(runtime.containerd.conf_dir), NAME)
    library = runtime.library(Options(delete_with_cached_config=True))
    library.del_network_list(changed, RuntimeConf(pod, attachment.netns, "eth0"))
    assert "K8S_POD_NAME=four" in runtime.stubs.calls[-1].environ["CNI_ARGS"].split(";")
    assert runtime.leases() == set()
    file.write_bytes(before)
    runtime.remove_pod(pod)


def test_configuration_and_result_are_shown_as_containerd_shows_them(runtime: Runtime) -> None:
    """The same networks loaded, the same results put together: the same JSON, without what later libraries changed."""
    loaded = new(
        with_plugin_dir([str(runtime.containerd.bin_dir)]), with_plugin_conf_dir(str(runtime.containerd.conf_dir))
    )
    loaded.load(with_lo_network, with_default_conf)
    shown, theirs = loaded.get_config().document(), runtime.containerd.cri.configuration()
    for network in theirs["Networks"]:
        for plugin in network["Config"]["Plugins"]:
            assert plugin["Network"].pop("dns") == {}, "which later libraries leave out"
    assert _read_sources(shown) == _read_sources(theirs)
    pod = runtime.run_pod("five")
    attachment = runtime.attachment(pod)
    loopback = replace(attachment, if_name="lo")
    configurations = [network.config for network in loaded.get_config().networks]
    results = [
        runtime.library().get_network_list_cached_result(config, one)
        for config, one in zip(configurations, (loopback, attachment), strict=True)
    ]
    together = combine([result for result in results if result is not None], "eth").document()
    for interface in together["Interfaces"].values():
        assert (interface.pop("PciID"), interface.pop("SocketPath")) == ("", ""), "which came later"
    assert together == runtime.containerd.cri.pod_info(pod)["cniResult"]
    assert together["Interfaces"]["eth0"]["IPConfigs"] and together["Interfaces"]["lo"]["IPConfigs"]
    runtime.remove_pod(pod)


def _read_sources(shown: Any) -> Any:
    """Without the blanks in the texts of configurations."""
    if isinstance(shown, list):
        return [_read_sources(one) for one in shown]
    if isinstance(shown, dict):
        return {name: json.loads(one) if name == "Source" else _read_sources(one) for name, one in shown.items()}
    return shown
