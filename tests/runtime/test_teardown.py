"""The end of a container: by its id alone, out of the cache; and at the end of a block."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    CNI,
    AsyncCNIConfig,
    CallCancelled,
    Cancellation,
    CNIConfig,
    InvalidName,
    Options,
    RuntimeConf,
    SeveralErrors,
    StepFailed,
    conf_from_bytes,
)
from libcni._locking import HeldLocks, Locks
from node.deadline import interrupted

from .conftest import network, optioned
from .stub import Stubs, error, result

forms = pytest.mark.parametrize("form", ["blocking", "asyncio"])


@pytest.fixture
def three(stubs: Stubs) -> Stubs:
    for name in ("one", "two", "three"):
        stubs.add(name, result())
    return stubs


def _attach(cni: CNI, container: str, netns: str = "/none") -> None:
    runtime = RuntimeConf(container, netns, "eth0", (("A", "1"),), {"mac": "00:11"})
    cni.add_network_list(network({"type": "one", "capabilities": {"mac": True}}, "two", name="a"), runtime)
    cni.add_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"b","type":"three"}'), runtime)


def _remove(cni: CNIConfig, container: str, form: str, **more: Any) -> None:
    if form == "blocking":
        cni.del_cached_attachments(container, **more)
    else:
        awaited = AsyncCNIConfig(cni.path, cni._operations._cache.folder, options=cni.options)
        asyncio.run(awaited.del_cached_attachments(container, **more))


@forms
def test_all_attachments_of_a_container_by_its_id(cni: CNIConfig, three: Stubs, tmp_path: Path, form: str) -> None:
    """A list and one plugin, with the configuration and the arguments of ADD; other containers' stay."""
    for container in ("c", "other"):
        _attach(cni, container, str(tmp_path))
    three.forget()
    _remove(cni, "c", form)
    assert three.order == ["DEL two", "DEL one", "DEL three"]
    for call in three.calls:
        assert (call.environ["CNI_CONTAINERID"], call.environ["CNI_NETNS"]) == ("c", str(tmp_path))
        assert call.environ["CNI_ARGS"] == "A=1"
        assert call.config["prevResult"]["ips"] == [{"address": "10.1.2.3/24"}]
    assert three.calls[1].config["runtimeConfig"] == {"mac": "00:11"}
    assert [call.config["name"] for call in three.calls] == ["a", "a", "b"]
    assert sorted(os.listdir(tmp_path / "cache/results")) == ["a-other-eth0", "b-other-eth0"]
    three.forget()
    _remove(cni, "c", form)
    assert three.order == [], "there is nothing, which is success"


@forms
def test_a_namespace_that_is_gone_is_an_empty_one(cni: CNIConfig, three: Stubs, form: str) -> None:
    _attach(cni, "c", "/none/of/this")
    three.forget()
    _remove(cni, "c", form)
    assert {call.environ["CNI_NETNS"] for call in three.calls} == {""}


@forms
def test_it_goes_on_after_errors_and_keeps_what_failed(cni: CNIConfig, three: Stubs, tmp_path: Path, form: str) -> None:
    _attach(cni, "c")
    three.add("two", DEL=error(11, "stuck"))
    three.forget()
    with pytest.raises(SeveralErrors) as caught:
        _remove(cni, "c", form)
    assert str(caught.value) == (
        'failed to delete attachment c eth0 of network a: plugin type="two" failed (delete): stuck'
    )
    assert three.order == ["DEL two", "DEL three"]
    assert os.listdir(tmp_path / "cache/results") == ["a-c-eth0"]


@forms
def test_what_the_cache_cannot_say_is_an_error(three: Stubs, tmp_path: Path, form: str) -> None:
    """No configuration, or none that can be read; what is damaged altogether is reported, as where it is read."""
    reports: list[str] = []
    cni = optioned(three, tmp_path, Options(report=reports.append))
    _attach(cni, "c")
    folder = tmp_path / "cache/results"
    text = (folder / "b-c-eth0").read_text()
    begin = text.index('"config":"') + 10
    config = text[begin : text.index('"', begin)]
    (folder / "b-c-eth0").write_text(text.replace(config, "e30="))
    (folder / "c-c-eth0").write_text(
        text.replace(f'"{config}"', "null").replace('"networkName":"b"', '"networkName":"c"')
    )
    (folder / "d-c-eth0").write_text("")
    three.forget()
    with pytest.raises(SeveralErrors) as caught:
        _remove(cni, "c", form)
    first, second = (str(one) for one in caught.value.errors)
    assert "c eth0 of network b: error parsing configuration" in first
    assert second.endswith('of network c: the cache has no configuration of network "c"')
    assert three.order == ["DEL two", "DEL one"]
    assert sum("d-c-eth0 is damaged" in line for line in reports) == 1


def test_an_empty_id_is_not_every_container(cni: CNIConfig, three: Stubs) -> None:
    _attach(cni, "c")
    three.forget()
    for form in ("blocking", "asyncio"):
        with pytest.raises(InvalidName, match="missing containerID"):
            _remove(cni, "", form)
    assert three.order == []


def test_a_cancelled_removal_begins_nothing_more(cni: CNIConfig, three: Stubs) -> None:
    _attach(cni, "c")
    three.forget()
    with Cancellation() as cancel, pytest.raises(SeveralErrors) as caught:
        cancel.cancel()
        cni.del_cached_attachments("c", cancel=cancel)
    assert len(caught.value.errors) == 1
    assert three.order == []


def test_an_attachment_gives_what_another_call_takes(cni: CNIConfig, three: Stubs) -> None:
    _attach(cni, "c")
    found = cni.get_cached_attachments("c")[0]
    assert found.runtime_conf() == RuntimeConf("c", "/none", "eth0", (("A", "1"),), {"mac": "00:11"})
    assert found.gc_attachment().document() == {"containerID": "c", "ifname": "eth0"}
    cni.del_network_list(network("one", "two", name="a"), found.runtime_conf())
    assert [one.network for one in cni.get_cached_attachments("c")] == ["b"]


@forms
@pytest.mark.parametrize("fails", [False, True])
def test_an_attachment_for_a_block(three: Stubs, tmp_path: Path, runtime: RuntimeConf, form: str, fails: bool) -> None:
    """Removed at its end, however it ends; the block's error is the one that is raised."""
    cni = optioned(three, tmp_path, Options(lock_folder=str(tmp_path / "locks")))
    awaited = AsyncCNIConfig(cni.path, str(tmp_path / "cache"), options=cni.options)
    net = network("one", "two")

    def work(found: Any) -> None:
        assert str(found.ips[0].address) == "10.1.2.3/24"
        assert len(cni.get_cached_attachments("ctr1")) == 1
        if fails:
            raise ValueError("the block's own")

    async def run() -> None:
        async with awaited.attached(net, runtime) as found:
            work(found)

    def call() -> None:
        if form == "asyncio":
            asyncio.run(run())
        else:
            with cni.attached(net, runtime, timeout=60) as found:
                work(found)

    if fails:
        three.add("two", result(), DEL=error(11, "stuck"))
        with pytest.raises(ValueError, match="the block's own") as caught:
            call()
        (note,) = caught.value.__notes__
        assert note.endswith('at the end of its block: plugin type="two" failed (delete): stuck')
    else:
        call()
    assert three.order == ["ADD one", "ADD two", "DEL two", "DEL one"]
    assert len(cni.get_cached_attachments()) == fails, "what could not be removed can be, later"


@forms
def test_a_block_that_cannot_be_left_as_it_should(
    three: Stubs, tmp_path: Path, runtime: RuntimeConf, form: str
) -> None:
    three.add("two", result(), DEL=error(11, "stuck"))
    cni = optioned(three, tmp_path, Options())

    async def run() -> None:
        async with AsyncCNIConfig(cni.path, str(tmp_path / "cache")).attached(network("one", "two"), runtime):
            pass

    with pytest.raises(StepFailed, match="stuck"):
        if form == "asyncio":
            asyncio.run(run())
        with cni.attached(network("one", "two"), runtime):
            pass
    assert three.order[-1] == "DEL two"


def test_a_failed_add_is_undone_for_a_block(three: Stubs, cni: CNIConfig, runtime: RuntimeConf) -> None:
    """Also where the options do not say so: nobody else knows of it."""
    three.add("two", error(7, "no"), DEL={})
    with pytest.raises(StepFailed, match="no"), cni.attached(network("one", "two"), runtime):
        pytest.fail("it has failed")
    assert three.order == ["ADD one", "ADD two", "DEL two", "DEL one"]


@pytest.mark.parametrize("where", ["block", "end"])
def test_a_cancelled_block_is_left_and_ends(three: Stubs, tmp_path: Path, runtime: RuntimeConf, where: str) -> None:
    """Cancelled inside it, or in the DEL at its end, which hangs: it is tried anew, and bounded."""
    three.add("one", result(), DEL={"sleep": 600, "ignore": True} if where == "end" else {})
    cni = AsyncCNIConfig([str(three.folder)], str(tmp_path / "cache"), options=Options(undo_timeout=1.0))

    async def run() -> None:
        async with cni.attached(network("one"), runtime):
            if where == "block":
                await asyncio.Event().wait()

    async def cancelled() -> None:
        task = asyncio.create_task(run())
        while len(three.calls) < (1 if where == "block" else 2):
            await asyncio.sleep(0.01)
        while where == "block" and not await cni.get_cached_attachments():
            await asyncio.sleep(0.01)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task

    with interrupted(60):
        asyncio.run(cancelled())
    assert len(asyncio.run(cni.get_cached_attachments())) == (where == "end")


def test_an_interrupted_block_is_left(three: Stubs, cni: CNIConfig, runtime: RuntimeConf) -> None:
    with pytest.raises(KeyboardInterrupt), cni.attached(network("one"), runtime):
        raise KeyboardInterrupt
    assert three.order == ["ADD one", "DEL one"]
    with Cancellation() as cancel:
        with pytest.raises(StepFailed) as caught, cni.attached(network("one"), runtime, cancel=cancel):
            cancel.cancel()
        assert isinstance(caught.value.__cause__, CallCancelled)
        assert len(cni.get_cached_attachments()) == 1, "the caller wanted no more plugins to run"


@forms
def test_a_block_that_failed_waits_for_the_lock_as_long_as_undoing_may_take(
    three: Stubs, tmp_path: Path, runtime: RuntimeConf, form: str
) -> None:
    """Neither as long as a lock is waited for, nor until a second cancellation; what stays attached is reported."""
    reports: list[str] = []
    cni = optioned(three, tmp_path, Options(lock_folder=tmp_path / "locks", undo_timeout=0.5, report=reports.append))
    awaited = AsyncCNIConfig(cni.path, tmp_path / "cache", options=cni.options)
    net = network("one")

    async def run() -> None:
        async with awaited.attached(net, runtime):
            await asyncio.Event().wait()

    def held() -> HeldLocks:
        waiting = Locks(tmp_path / "locks", 1).network("net1")
        with pytest.raises(StopIteration) as got:
            next(waiting)
        lock: HeldLocks = got.value.value
        return lock

    three.add("one", result(), DEL={})
    with interrupted(60):
        if form == "asyncio":

            async def busy() -> None:
                task = asyncio.create_task(run())
                while not await awaited.get_cached_attachments():
                    await asyncio.sleep(0.01)
                with held():
                    while not task.done():
                        task.cancel()
                        await asyncio.sleep(0.01)
                with pytest.raises(asyncio.CancelledError):
                    await task

            asyncio.run(busy())
        else:
            with (
                Cancellation() as cancel,
                pytest.raises(ValueError, match="own") as caught,
                cni.attached(net, runtime, cancel=cancel),
            ):
                lock = held()
                cancel.cancel()
                raise ValueError("the block's own")
            lock.release()
            assert "locked by GC of network net1" in caught.value.__notes__[0]
    (report,) = reports
    assert report.startswith("DEL of ctr1 eth0 in network net1: DEL of ctr1 eth0 in network net1: locked by GC")
    assert report.endswith("for more than 0.5 s")
    assert three.order == ["ADD one"]


def test_a_block_whose_removal_waits_for_a_lock_when_it_is_cancelled(
    three: Stubs, tmp_path: Path, runtime: RuntimeConf
) -> None:
    """It is undone as soon as the lock is free."""
    options = Options(lock_folder=tmp_path / "locks", undo_timeout=60)
    cni = AsyncCNIConfig(three.folder, tmp_path / "cache", options=options)

    async def run() -> None:
        async with cni.attached(network("one"), runtime):
            waiting = Locks(tmp_path / "locks", 1).network("net1")
            with pytest.raises(StopIteration) as got:
                next(waiting)
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(0.05, task.cancel)
            asyncio.get_running_loop().call_later(0.2, got.value.value.release)

    with interrupted(60), pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert three.order == ["ADD one", "DEL one"]


@forms
@pytest.mark.parametrize(
    "text",
    [
        b'{"CNIVersion":"1.0.0","Name":"b","type":"one"}',
        b'{"cniVersion":"1.0.0","name":"b","type":"one","plugins":[{"of":"its own"}]}',
        b'{"cniVersion":"1.0.0","name":"b","type":"one","disableCheck":4}',
    ],
)
def test_one_plugins_configuration_is_read_as_such(cni: CNIConfig, three: Stubs, form: str, text: bytes) -> None:
    """A list's rules are others: its keys match exactly, and more of them mean something."""
    cni.add_network(conf_from_bytes(text), RuntimeConf("c", "/none", "eth0"))
    _remove(cni, "c", form)
    assert three.order == ["ADD one", "DEL one"]
    assert cni.get_cached_attachments() == []
