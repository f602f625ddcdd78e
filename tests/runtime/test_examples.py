"""The documentation's examples of asyncio, of containerd's interface and of the watcher, run over stubs."""

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from libcni import AsyncCNIConfig, CNIConfig, Result, RuntimeConf
from libcni.containerd import Containerd, with_cache_dir

from .conftest import network
from .stub import Stubs, error, result

EXAMPLES = Path(__file__).parents[2] / "docs/examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_many_pods(stubs: Stubs, tmp_path: Path) -> None:
    stubs.add("one", result())
    many = example("many_pods")
    cni = many.library(str(stubs.folder), str(tmp_path / "cache"))
    pods = [RuntimeConf(f"c{number}", "/run/netns/none", "eth0") for number in range(3)]

    async def run() -> None:
        results = await many.attach(cni, network("one"), pods)
        assert [str(one.ips[0].address) for one in results] == ["10.1.2.3/24"] * 3
        assert sorted(await many.left_over(cni, {"c1"})) == ["c0", "c2"]
        for pod in pods:
            await cni.del_network_list(network("one"), pod)
        stubs.add("one", result(), ADD=error(7, "no"))
        with pytest.raises(ExceptionGroup):
            await many.attach(cni, network("one"), pods)

    asyncio.run(run())
    assert CNIConfig([], str(tmp_path / "cache")).get_cached_attachments() == []


def test_many_pods_of_which_one_lives_already(stubs: Stubs, tmp_path: Path) -> None:
    """It keeps its network; that one pod cannot be detached keeps nobody else attached."""
    many, net = example("many_pods"), network("one")
    cni = many.library(str(stubs.folder), str(tmp_path / "cache"))
    new, living = (RuntimeConf(name, "/proc/self/ns/net", "eth0") for name in ("new", "living"))

    class Serial(AsyncCNIConfig):
        async def add_network_list(self, net: Any, runtime: Any, *, timeout: Any = None) -> Result:
            if runtime is living:
                while len(await self.get_cached_attachments()) < 3:
                    await asyncio.sleep(0.01)
                stubs.add("one", error(7, "already exists"), DEL=error(11, "stuck"))
            return await super().add_network_list(net, runtime, timeout=timeout)

    async def run() -> None:
        stubs.add("one", result())
        await cni.add_network_list(net, living)
        stubs.forget()
        serial = Serial(cni.path, str(tmp_path / "cache"), options=cni.options)
        pods = [new, RuntimeConf("more", "/proc/self/ns/net", "eth0"), living]
        with pytest.raises(ExceptionGroup) as caught:
            await many.attach(serial, net, pods)
        assert [note.split(":")[0] for note in caught.value.__notes__] == [
            "new is attached still",
            "more is attached still",
        ]

    asyncio.run(run())
    deleted = [call.environ["CNI_CONTAINERID"] for call in stubs.calls if call.verb == "DEL"]
    assert deleted == ["new", "more"]


def test_a_pod_through_containerds_interface(
    stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = example("pod_networks")
    monkeypatch.setattr(pods, "new", lambda *opts: Containerd(with_cache_dir(str(tmp_path / "cache")), *opts))
    for name in ("loopback", "one"):
        stubs.add(name, result())
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d/05-bad.conflist").write_text("{")
    listed = network({"type": "one", "capabilities": {"portMappings": True}})
    (tmp_path / "net.d/10.conflist").write_bytes(listed.bytes)
    cni = pods.networks(str(tmp_path / "net.d"), [str(stubs.folder)])
    assert capsys.readouterr().out.startswith("skipped: failed to load CNI config list file ")
    assert pods.start(cni, "pod1", "/run/netns/none", "web") == "10.1.2.3"
    pods.stop(cni, "pod1", "")
    assert sorted(stubs.order) == ["ADD loopback", "ADD one", "DEL loopback", "DEL one"]
    (deleted,) = [call for call in stubs.calls if call.verb == "DEL" and call.plugin == "one"]
    assert deleted.config["runtimeConfig"]["portMappings"][0]["HostPort"] == 8080


def test_networks_that_follow_their_folder(tmp_path: Path) -> None:
    """The loop learns of each load, and nothing is left when the task is cancelled."""
    watched = example("watched_folder")

    async def run() -> list[bool]:
        ready: asyncio.Queue[bool] = asyncio.Queue()
        task = asyncio.ensure_future(watched.follow(str(tmp_path), ready))
        seen = [await asyncio.wait_for(ready.get(), 30)]
        (tmp_path / "10.conflist").write_bytes(network("one").bytes)
        while not seen[-1]:
            seen.append(await asyncio.wait_for(ready.get(), 30))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    seen = asyncio.run(run())
    assert seen[0] is False and seen[-1] is True
