"""GC: what is stale in the cache is deleted, then the plugins are asked; errors are gathered (Go: `GCNetworkList`)."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    AsyncCNIConfig,
    CNIConfig,
    GCArgs,
    GCAttachment,
    Locked,
    MissingArgs,
    Options,
    RuntimeConf,
    SeveralErrors,
    code_of,
    is_timeout,
)
from node.deadline import interrupted

from .conftest import network
from .stub import Stubs, error, result


def _attach(cni: CNIConfig, name: str, *containers: str, version: str = "1.1.0") -> None:
    for container in containers:
        args = (("K", container),)
        runtime = RuntimeConf(container, f"/run/netns/{container}", "eth0", args, {"mac": container})
        cni.add_network_list(network("one", name=name, version=version), runtime)


@pytest.fixture
def one(stubs: Stubs) -> Stubs:
    stubs.add("one", result("1.1.0"))
    return stubs


def test_only_what_is_not_valid_goes(cni: CNIConfig, one: Stubs, tmp_path: Path) -> None:
    _attach(cni, "net1", "a", "b", "c")
    _attach(cni, "net2", "a")
    one.forget()
    capable = {"type": "one", "capabilities": {"mac": True}}
    valid = GCArgs([GCAttachment("b", "eth0"), GCAttachment("c", "eth9")])
    cni.gc_network_list(network(capable, version="1.1.0"), valid)
    assert one.order == ["DEL one", "DEL one", "GC one"]
    first, _, collected = one.calls
    assert first.environ["CNI_CONTAINERID"] == "a"
    assert first.environ["CNI_NETNS"] == "/run/netns/a"
    assert first.environ["CNI_ARGS"] == "K=a"
    assert first.config["runtimeConfig"] == {"mac": "a"}, "the given list and the cached arguments"
    assert "prevResult" in first.config
    listed = [{"containerID": "b", "ifname": "eth0"}, {"containerID": "c", "ifname": "eth9"}]
    assert collected.config["cni.dev/valid-attachments"] == collected.config["cni.dev/attachments"] == listed
    assert "prevResult" not in collected.config and "runtimeConfig" not in collected.config
    assert {collected.environ[name] for name in ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS")} == {""}
    left = sorted(file.name for file in (tmp_path / "cache/results").iterdir())
    assert left == ["net1-b-eth0", "net2-a-eth0"]


def test_an_empty_list_removes_everything(cni: CNIConfig, one: Stubs) -> None:
    _attach(cni, "net1", "a")
    one.forget()
    cni.gc_network_list(network("one", version="1.1.0"), GCArgs([]))
    assert one.order == ["DEL one", "GC one"]
    config = one.calls[1].config
    assert config["cni.dev/valid-attachments"] == config["cni.dev/attachments"] == []


def test_before_1_1_0_only_the_cache_is_cleared(cni: CNIConfig, one: Stubs) -> None:
    one.add("one", result("0.3.1"))
    _attach(cni, "net1", "a", version="0.3.1")
    one.forget()
    cni.gc_network_list(network("one", version="0.3.1"), GCArgs([]))
    assert one.order == ["DEL one"]


def test_a_list_may_disable_it(cni: CNIConfig, one: Stubs) -> None:
    _attach(cni, "net1", "a")
    one.forget()
    cni.gc_network_list(network("one", version="1.1.0", disableGC=True), GCArgs([]))
    assert one.order == []


def test_it_goes_on_after_errors_and_tells_them_all(cni: CNIConfig, one: Stubs) -> None:
    _attach(cni, "net1", "a", "b")
    one.add("one", DEL=error(11, "busy"), GC=error(999, "broken"))
    one.add("two", GC=error(7, "also"))
    one.forget()
    with pytest.raises(SeveralErrors) as caught:
        cni.gc_network_list(network("one", version="1.1.0"), GCArgs([]))
    assert str(caught.value).splitlines() == [
        'failed to delete stale attachment a eth0: plugin type="one" failed (delete): busy',
        'failed to delete stale attachment b eth0: plugin type="one" failed (delete): busy',
        "failed to GC plugin one: broken",
    ]
    assert code_of(caught.value) == 11
    with pytest.raises(
        SeveralErrors, match=r"failed to GC plugin none: failed to find plugin.*\nfailed to GC plugin two"
    ):
        cni.gc_network_list(network("none", "two", version="1.1.0"), GCArgs([GCAttachment(x, "eth0") for x in "ab"]))


def test_several_networks_in_one_call(cni: CNIConfig, one: Stubs, tmp_path: Path) -> None:
    _attach(cni, "net1", "a", "b")
    _attach(cni, "net2", "a", "b")
    _attach(cni, "net3", "a")
    one.forget()
    nets = [network("one", name=name, version="1.1.0") for name in ("net1", "net2")]
    by_name = {"net1": GCArgs([GCAttachment("a", "eth0")]), "net2": GCArgs([GCAttachment("b", "eth0")])}
    cni.gc_network_lists(nets, by_name)
    assert one.order == ["DEL one", "GC one"] * 2
    left = sorted(file.name for file in (tmp_path / "cache/results").iterdir())
    assert left == ["net1-a-eth0", "net2-b-eth0", "net3-a-eth0"]
    cni.gc_network_lists(nets, GCArgs([GCAttachment("a", "eth0")]))
    assert sorted(file.name for file in (tmp_path / "cache/results").iterdir()) == ["net1-a-eth0", "net3-a-eth0"]


def test_a_network_that_was_forgotten_is_not_emptied(cni: CNIConfig, one: Stubs) -> None:
    """Nothing at all is removed; a network that disables GC needs no arguments."""
    _attach(cni, "net1", "a", "b")
    _attach(cni, "net2", "a")
    one.forget()
    nets = [network("one", name=name, version="1.1.0") for name in ("net1", "net2")]
    with pytest.raises(MissingArgs, match='no GC arguments for network "net2": nothing was removed'):
        cni.gc_network_lists(nets, {"net1": GCArgs([GCAttachment("a", "eth0")])})
    assert one.order == []
    disabled = network("one", name="net2", version="1.1.0", disableGC=True)
    cni.gc_network_lists([nets[0], disabled], {"net1": GCArgs([GCAttachment("a", "eth0")])})
    assert one.order == ["DEL one", "GC one"]


def test_cached_attachments(cni: CNIConfig, one: Stubs) -> None:
    assert cni.get_cached_attachments() == []
    _attach(cni, "net1", "a", "b")
    _attach(cni, "net2", "a")
    assert [(found.network, found.container_id) for found in cni.get_cached_attachments("a")] == [
        ("net1", "a"), ("net2", "a"),
    ]  # fmt: skip
    assert len(cni.get_cached_attachments()) == 3


def test_what_is_no_file_or_too_long_in_the_cache_is_reported_and_skipped(one: Stubs, tmp_path: Path) -> None:
    """Nobody waits for a pipe that has an attachment's name; DEL of that attachment takes it away."""
    reports: list[str] = []
    library = CNIConfig([str(one.folder)], str(tmp_path / "cache"), options=Options(report=reports.append))
    _attach(library, "net1", "a", "b")
    folder = tmp_path / "cache/results"
    os.mkfifo(folder / "net1-pipe-eth0")
    (folder / "net1-zero-eth0").symlink_to("/dev/zero")
    (folder / "net1-long-eth0").write_bytes((folder / "net1-b-eth0").read_bytes() + b" " * (16 << 20))
    odd = [f"net1-{name}-eth0" for name in ("long", "pipe", "zero")]
    with interrupted(20):
        library.gc_network_list(network("one", version="1.1.0"), GCArgs([GCAttachment("b", "eth0")]))
        assert [line.split()[2] for line in reports] == [str(folder / name) for name in odd]
        assert sorted(file.name for file in folder.iterdir()) == ["net1-b-eth0", *odd]
        for name in ("long", "pipe", "zero"):
            runtime = RuntimeConf(name, "", "eth0")
            assert library.get_network_list_cached_result(network("one", version="1.1.0"), runtime) is None
            library.del_network_list(network("one", version="1.1.0"), runtime)
    assert [file.name for file in folder.iterdir()] == ["net1-b-eth0"]


@pytest.mark.parametrize("form", ["blocking", "asyncio"])
def test_what_is_valid_must_be_written_out(cni: CNIConfig, one: Stubs, tmp_path: Path, form: str) -> None:
    """There is no default, and what is no list of attachments keeps nothing: refused before anything is removed."""
    _attach(cni, "net1", "a")
    one.forget()
    net = network("one", version="1.1.0")
    awaited = AsyncCNIConfig(cni.path, str(tmp_path / "cache"))
    several: Any = cni.gc_network_lists if form == "blocking" else awaited.gc_network_lists
    single: Any = cni.gc_network_list if form == "blocking" else awaited.gc_network_list

    def call(function: Any, *arguments: Any) -> None:
        answer = function(*arguments)
        if form == "asyncio":
            asyncio.run(answer)

    for make in (lambda: GCArgs(), lambda: GCArgs(None), lambda: GCArgs([("a", "eth0")]), lambda: GCArgs("a")):  # type: ignore[call-arg, arg-type, list-item]
        with pytest.raises(TypeError):
            make()
    with pytest.raises(TypeError):
        call(single, net)
    with pytest.raises(TypeError):
        call(several, [net])
    for bad in (None, [GCAttachment("a", "eth0")]):
        for function, given in ((single, net), (several, [net])):
            with pytest.raises(TypeError, match=r"GCArgs\(\[\]\) removes every attachment"):
                call(function, given, bad)
        with pytest.raises(TypeError, match="args must be GCArgs or a function"):
            call(several, [net], {"net1": bad})
    assert one.order == []
    call(single, net, GCArgs(one for one in [GCAttachment("a", "eth0")]))
    assert one.order == ["GC one"]
    assert one.calls[0].config["cni.dev/valid-attachments"] == [{"containerID": "a", "ifname": "eth0"}]


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("form", ["blocking", "asyncio", "awaited"])
def test_a_function_says_what_is_valid_under_the_lock(one: Stubs, tmp_path: Path, form: str, locked: bool) -> None:
    """An attachment that came before it is called is kept; nobody can add one until GC has ended."""
    options = Options(lock_folder=str(tmp_path / "locks") if locked else "", lock_timeout=0.0)
    cni = CNIConfig([str(one.folder)], str(tmp_path / "cache"), options=options)
    awaited = AsyncCNIConfig(cni.path, str(tmp_path / "cache"), options=options)
    _attach(cni, "net1", "a", "b")
    nets = [network("one", version="1.1.0"), network("one", version="1.1.0", name="net2")]
    kept, calls = [GCAttachment("b", "eth0")], []

    def valid() -> list[GCAttachment]:
        runtime = RuntimeConf(f"new{len(calls)}", "/x", "eth0")
        if locked:
            with pytest.raises(Locked, match="locked by GC of network"):
                cni.add_network_list(nets[len(calls)], runtime)
        calls.append(threading.get_ident())
        return kept

    async def later() -> GCArgs:
        await asyncio.sleep(0)
        return GCArgs(valid())

    one.forget()
    if form == "blocking":
        cni.gc_network_lists(nets, valid)
    else:
        asyncio.run(awaited.gc_network_lists(nets, {"net1": later, "net2": later} if form == "awaited" else valid))
    assert calls == [threading.get_ident()] * 2, "where the caller is, once a network"
    assert one.order == ["DEL one", "GC one", "GC one"]
    assert [found.container_id for found in cni.get_cached_attachments()] == ["b"]
    assert one.calls[1].config["cni.dev/valid-attachments"] == [kept[0].document()]


def test_a_function_that_waits_has_the_time_of_the_call(one: Stubs, tmp_path: Path) -> None:
    async def never() -> GCArgs:
        await asyncio.Event().wait()
        return GCArgs([])

    cni = AsyncCNIConfig([str(one.folder)], str(tmp_path / "cache"))
    with interrupted(30), pytest.raises(SeveralErrors, match="net1 are not known, nothing was removed") as caught:
        asyncio.run(cni.gc_network_list(network("one", version="1.1.0"), never, timeout=0.2))
    assert is_timeout(caught.value) and isinstance(caught.value, TimeoutError)
    assert str(caught.value).endswith(": the function was still awaited when the call's 0.2 s were over")
    assert one.order == []


def test_a_time_out_of_the_functions_own_is_not_the_calls(one: Stubs, tmp_path: Path) -> None:
    async def valid() -> GCArgs:
        raise TimeoutError("the store is slow")

    cni = AsyncCNIConfig([str(one.folder)], str(tmp_path / "cache"))
    with pytest.raises(SeveralErrors, match="the store is slow") as caught:
        asyncio.run(cni.gc_network_list(network("one", version="1.1.0"), valid, timeout=60))
    assert not is_timeout(caught.value)


@pytest.mark.parametrize("answer", [None, [("a", "eth0")], OSError("the store is away")])
def test_a_function_that_fails_removes_nothing(cni: CNIConfig, one: Stubs, answer: Any) -> None:
    """Of its network; the others are collected."""
    _attach(cni, "net1", "a")
    _attach(cni, "net2", "a")
    one.forget()

    def valid() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    nets = [network("one", name=name, version="1.1.0") for name in ("net1", "net2")]
    with pytest.raises(SeveralErrors, match="the valid attachments of network net1 are not known, nothing was removed"):
        cni.gc_network_lists(nets, {"net1": valid, "net2": list})
    assert one.order == ["DEL one", "GC one"]
    assert [found.network for found in cni.get_cached_attachments()] == ["net1"]
