"""The asyncio form: the same calls, many at once, and cancelled tasks."""

import asyncio
import gc
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    AsyncCNIConfig,
    Deadline,
    GCArgs,
    Options,
    PluginFailed,
    PluginTimeout,
    ProcessExec,
    RuntimeConf,
    StepFailed,
    Threaded,
    conf_from_bytes,
)
from libcni._cache import Cache
from libcni.containerd import (
    AsyncContainerd,
    with_cache_dir,
    with_conf_list_bytes,
    with_options,
    with_plugin_dir,
)
from node.deadline import eventually, interrupted

from .conftest import network
from .stub import Gate, Stubs, error, result


def _library(stubs: Stubs, tmp_path: Path, **options: Any) -> AsyncCNIConfig:
    return AsyncCNIConfig([str(stubs.folder)], str(tmp_path / "cache"), options=Options(**options))


async def _begun(stubs: Stubs, count: int) -> None:
    while len(stubs.calls) < count:
        await asyncio.sleep(0.01)


def test_every_call(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    version = {"stdout": '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}'}
    stubs.add("one", result("1.1.0"), VERSION=version)
    net = network("one", version="1.1.0")
    single = conf_from_bytes(b'{"cniVersion":"1.1.0","name":"solo","type":"one"}')

    async def run() -> None:
        cni = _library(stubs, tmp_path)
        found = await cni.add_network_list(net, runtime)
        cached = await cni.get_network_list_cached_result(net, runtime)
        assert cached is not None and cached.document() == found.document()
        assert await cni.get_network_list_cached_config(net, runtime) == (net.bytes, runtime)
        assert len(await cni.get_cached_attachments("ctr1")) == 1
        await cni.check_network_list(net, runtime)
        await cni.del_network_list(net, runtime)
        await cni.add_network(single, runtime)
        assert await cni.get_network_cached_result(single, runtime) is not None
        assert await cni.get_network_cached_config(single, runtime) == (single.bytes, runtime)
        await cni.check_network(single, runtime)
        await cni.del_network(single, runtime)
        assert await cni.validate_network_list(net) == []
        assert await cni.validate_network(single) == []
        assert (await cni.get_version_info("one")).cni_version == "1.1.0"
        await cni.get_status_network_list(net)
        await cni.gc_network_list(net, GCArgs([]))
        await cni.gc_network_lists([net], GCArgs([]))

    asyncio.run(run())
    verbs = ["ADD", "CHECK", "DEL", "ADD", "CHECK", "DEL", "VERSION", "VERSION", "VERSION", "STATUS", "GC", "GC"]
    assert [call.verb for call in stubs.calls] == verbs


def test_errors_are_the_same(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", error(7, "no"))
    library = _library(stubs, tmp_path)
    with pytest.raises(StepFailed, match=r'^plugin type="one" failed \(add\): no$'):
        asyncio.run(library.add_network_list(network("one"), runtime))
    with pytest.raises(PluginFailed, match="^no$"):
        asyncio.run(library.check_network_list(network("one"), runtime))


def test_many_at_once_on_one_thread(stubs: Stubs, tmp_path: Path, gate: Gate) -> None:
    """None of them ends before all have begun."""
    stubs.add("one", {**result(), "wait_for": gate.path})

    async def run() -> None:
        cni = _library(stubs, tmp_path)
        adds = [cni.add_network_list(network("one"), RuntimeConf(f"c{number}", "/x", "eth0")) for number in range(10)]
        all_of_them = asyncio.gather(*adds)
        await _begun(stubs, 10)
        gate.open()
        await all_of_them

    asyncio.run(asyncio.wait_for(run(), 30))
    assert len(os.listdir(tmp_path / "cache/results")) == 10


@pytest.mark.parametrize("threaded", [False, True])
def test_a_cancelled_task_kills_its_plugin_and_undoes(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, gate: Gate, threaded: bool
) -> None:
    """The plugin does not end by itself."""
    stubs.add("one", result())
    stubs.add("two", {"wait_for": gate.path}, DEL={})
    executor = Threaded(ProcessExec()) if threaded else None
    cni = AsyncCNIConfig([str(stubs.folder)], str(tmp_path), executor, Options(undo_failed_add=True))

    async def run() -> None:
        task = asyncio.create_task(cni.add_network_list(network("one", "two"), runtime))
        await _begun(stubs, 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(run(), 60))
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]
    assert eventually(lambda: not os.path.exists(f"/proc/{stubs.calls[1].pid}"))


@pytest.mark.parametrize("why", ["cancelled", "failed"])
def test_undoing_is_not_cancelled(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, gate: Gate, why: str) -> None:
    """A task that is cancelled while it undoes goes on undoing, and ends as cancelled."""
    stubs.add("one", result())
    stubs.add("two", {"sleep": 60} if why == "cancelled" else error(7, "no"), DEL={"wait_for": gate.path})
    cni = _library(stubs, tmp_path, undo_failed_add=True)

    async def run() -> None:
        task = asyncio.create_task(cni.add_network_list(network("one", "two"), runtime))
        for begun in (2, 3) if why == "cancelled" else (3,):
            await _begun(stubs, begun)
            task.cancel()
            await asyncio.sleep(0)
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(run(), 30))
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]


@pytest.mark.parametrize("form", ["cancel", "timeout"])
@pytest.mark.parametrize("what", ["list", "setup", "serially", "block", "executor"])
def test_a_cancelled_call_ends_whatever_the_plugin_does(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, monkeypatch: pytest.MonkeyPatch, what: str, form: str
) -> None:
    """It hangs in ADD and in DEL and ignores what asks it to end; what could not be undone is reported."""
    monkeypatch.setattr("libcni._aiodriver._GRACE", 0.1)
    stubs.add("one", {"sleep": 600, "ignore": True})
    reports: list[str] = []
    options = Options(undo_failed_add=what != "block", undo_timeout=1.0, report=reports.append)
    executor = _Stubborn() if what == "executor" else None
    cni = AsyncCNIConfig([str(stubs.folder)], str(tmp_path / "cache"), executor, options)
    service = AsyncContainerd(
        with_plugin_dir([str(stubs.folder)]), with_cache_dir(str(tmp_path / "cache")), with_options(options),
        with_conf_list_bytes(network("one").bytes),
    )  # fmt: skip

    async def call() -> None:
        if what == "setup":
            await service.setup("ctr1", "/x")
        elif what == "serially":
            await service.setup_serially("ctr1", "/x")
        elif what == "block":
            async with cni.attached(network("one"), runtime):
                pytest.fail("its ADD does not end")
        else:
            await cni.add_network_list(network("one"), runtime)

    async def cancelled() -> None:
        task = asyncio.create_task(call())
        await _begun(stubs, 1)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task

    async def timed() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await call()

    with interrupted(60):
        asyncio.run(cancelled() if form == "cancel" else timed())
    (report,) = reports
    assert report.startswith("ADD of ctr1 eth0 in network net1: ")
    assert "undoing's 1 s" in report
    if what != "executor":
        assert eventually(lambda: not any(os.path.exists(f"/proc/{call.pid}") for call in stubs.calls))


def test_a_cancelled_call_prints_nothing_on_its_own(
    stubs: Stubs,
    tmp_path: Path,
    runtime: RuntimeConf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cache that fails meanwhile is the cause; asyncio took it for an error that nobody looked at."""
    stubs.add("one", result())
    begun, end = threading.Event(), threading.Event()

    def failing(*_: Any) -> None:
        begun.set()
        end.wait(30)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Cache, "add", failing)

    async def run() -> BaseException | None:
        task = asyncio.create_task(_library(stubs, tmp_path).add_network_list(network("one"), runtime))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        asyncio.get_running_loop().call_soon(end.set)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value.__cause__

    with caplog.at_level(logging.DEBUG):
        assert str(asyncio.run(run())) == "[Errno 28] No space left on device"
        gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_cancelled_thread_prints_nothing_on_its_own(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, caplog: pytest.LogCaptureFixture
) -> None:
    stubs.add("one", {"sleep": 600})
    cni = AsyncCNIConfig([str(stubs.folder)], str(tmp_path / "cache"), Threaded(ProcessExec()))

    async def run() -> None:
        task = asyncio.create_task(cni.add_network_list(network("one"), runtime))
        await _begun(stubs, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class _Stubborn(ProcessExec):
    """An executor of the user's own that keeps to no deadline."""

    async def exec_plugin_async(self, path: str, stdin: bytes, environ: dict[str, str], *rest: Any) -> bytes:
        if environ["CNI_COMMAND"] == "ADD":
            return await super().exec_plugin_async(path, stdin, environ, *rest)
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.again:
                    raise
                self.again = True

    again = False


@pytest.mark.parametrize("undo", [False, True])
def test_the_cache_is_written_to_its_end(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, monkeypatch: pytest.MonkeyPatch, undo: bool
) -> None:
    """A task that is cancelled meanwhile ends afterwards: no thread goes on behind its back. Undone, it is forgotten."""
    stubs.add("one", result())
    begun, go_on, real = threading.Event(), threading.Event(), Cache.add

    def slow(self: Cache, *arguments: Any) -> None:
        begun.set()
        assert go_on.wait(30)
        real(self, *arguments)

    monkeypatch.setattr(Cache, "add", slow)
    cni = _library(stubs, tmp_path, undo_failed_add=undo)

    async def run() -> None:
        task = asyncio.create_task(cni.add_network_list(network("one"), runtime))
        assert await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(tmp_path / "cache/results") == ([] if undo else ["net1-ctr1-eth0"])
        assert stubs.order == (["ADD one", "DEL one"] if undo else ["ADD one"])

    asyncio.run(run())


def test_time_is_over(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", {"sleep": 60})
    with pytest.raises(PluginTimeout, match="did not end within the call's 0.3 s"):
        asyncio.run(_library(stubs, tmp_path).check_network_list(network("one"), runtime, timeout=0.3))

    for options in ({"timeout": 0.3}, {"status_timeout": 0.3}):
        with pytest.raises(PluginTimeout):
            asyncio.run(_library(stubs, tmp_path, **options).get_status_network_list(network("one", version="1.1.0")))
    with pytest.raises(PluginTimeout):
        asyncio.run(_library(stubs, tmp_path, timeout=0.3).get_version_info("one"))

    async def outside() -> None:
        async with asyncio.timeout(0.3):
            await _library(stubs, tmp_path).check_network_list(network("one"), runtime)

    with pytest.raises(TimeoutError):
        asyncio.run(outside())
    assert eventually(lambda: not any(os.path.exists(f"/proc/{call.pid}") for call in stubs.calls))


def test_much_of_everything(tmp_path: Path) -> None:
    at = tmp_path / "echo"
    at.write_text("#!/bin/sh\nexec cat\n")
    at.chmod(0o755)
    data = os.urandom(1 << 20)
    environ = dict(os.environ)
    run = ProcessExec(max_output=1 << 21).exec_plugin_async(str(at), data, environ, Deadline.after(30))
    assert asyncio.run(run) == data
    with pytest.raises(PluginFailed, match="printed more than"):
        asyncio.run(ProcessExec(max_output=1 << 16).exec_plugin_async(str(at), data, environ, Deadline.after(30)))


def test_a_daemon_and_a_busy_file(stubs: Stubs, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one has not ended when the call has; the other is tried again, a second after the other."""
    stubs.add("one", {"daemon": gate.path, "stdout": "answer"})
    program = stubs.folder / "busy"
    program.write_bytes(Path("/usr/bin/true").read_bytes())
    program.chmod(0o755)
    executor = ProcessExec(wait_delay=0.2)
    environ = {**os.environ, "CNI_COMMAND": "ADD"}
    answer = asyncio.run(executor.exec_plugin_async(str(stubs.folder / "one"), b"", environ, Deadline.after(60)))
    assert answer == b"answer" and stubs.daemons == 0
    gate.open()
    assert eventually(lambda: stubs.daemons) == 1

    holder, pauses = os.open(program, os.O_WRONLY), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            os.close(holder)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert asyncio.run(executor.exec_plugin_async(str(program), b"", environ, Deadline.after(1000))) == b""
    assert pauses == [1.0, 1.0]


def test_waiting_for_a_lock_does_not_stop_the_loop(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, gate: Gate
) -> None:
    stubs.add("one", {**result(), "wait_for": gate.path})
    cni = _library(stubs, tmp_path, lock_folder=str(tmp_path / "locks"))

    async def run() -> None:
        both = asyncio.gather(*(cni.add_network_list(network("one"), runtime) for _ in range(2)))
        await _begun(stubs, 1)
        for _ in range(10):
            await asyncio.sleep(0.01)
        assert len(stubs.calls) == 1, "the other one waits, and the loop goes round"
        gate.open()
        await both

    asyncio.run(asyncio.wait_for(run(), 30))
    assert stubs.order == ["ADD one", "ADD one"]
