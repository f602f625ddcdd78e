"""What the tests of the runtime's side share: stubs, a cache of their own, and both makes of real plugins."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libcni import CNIConfig, NetworkConfigList, Options, ProcessExec, RuntimeConf, network_conf_from_bytes
from node.configuration import bridge, host_local
from node.plugin import GO, SUBJECT
from node.topology import Node

from .stub import Gate, Stubs


@pytest.fixture
def stubs(tmp_path: Path) -> Stubs:
    """A folder for stub plugins."""
    return Stubs(tmp_path / "stubs")


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate before which stubs wait; at the end it is open."""
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


@pytest.fixture
def cni(stubs: Stubs, tmp_path: Path) -> CNIConfig:
    """The library over the stubs, with a cache of its own."""
    return CNIConfig([str(stubs.folder)], str(tmp_path / "cache"))


@pytest.fixture
def runtime() -> RuntimeConf:
    """An attachment."""
    return RuntimeConf("ctr1", "/run/netns/none", "eth0", (("A", "1"), ("B", "2")), {"mac": "00:11", "other": 1})


@pytest.fixture(params=["go", "ours"])
def binaries(request: pytest.FixtureRequest) -> str:
    """The folder of Go's plugins, and of ours."""
    if request.param == "go":
        return GO
    missing = [name for name in ("bridge", "host-local", "loopback") if not Path(SUBJECT, name).is_file()]
    if missing:
        pytest.skip(f"our plugins are not built: {', '.join(missing)} missing in {SUBJECT}")
    return SUBJECT


def on(node: Node) -> ProcessExec:
    """An executor whose plugins run on the pretended node."""
    return ProcessExec(prefix=("nsenter", f"--net={node.path}", "--"))


def chain(node: Node, binaries: str, subnet: str = "10.77.0.0/24", **keys: Any) -> list[dict[str, Any]]:
    """The plugins of a pod's network: bridge with host-local, and portmap where this make has it."""
    main = bridge(host_local(node.data_dir, subnet), **{"isDefaultGateway": True, **keys})
    plugins = [{name: value for name, value in main.items() if name not in ("name", "cniVersion")}]
    if Path(binaries, "portmap").is_file():
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}})
    return plugins


def network(
    *plugins: dict[str, Any] | str, version: str = "1.0.0", name: str = "net1", **keys: Any
) -> NetworkConfigList:
    """A list of plugins, each an object or a type."""
    entries = [{"type": plugin} if isinstance(plugin, str) else plugin for plugin in plugins]
    document = {"cniVersion": version, "name": name, "plugins": entries, **keys}
    return network_conf_from_bytes(json.dumps(document).encode())


def optioned(stubs: Stubs, tmp_path: Path, options: Options, executor: ProcessExec | None = None) -> CNIConfig:
    """The library over the stubs, with options."""
    return CNIConfig([str(stubs.folder)], str(tmp_path / "cache"), executor, options)
