"""What goes beyond Go's library: undo, DEL with ADD's configuration, locks (docs/runtime.md, "Options")."""

import asyncio
import fcntl
import itertools
import math
import multiprocessing
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    AsyncCNIConfig,
    CacheError,
    CallCancelled,
    Cancellation,
    CNIConfig,
    GCArgs,
    Locked,
    Options,
    ProcessExec,
    RuntimeConf,
    StepFailed,
    conf_from_bytes,
    is_timeout,
    network_conf_from_file,
)
from libcni._cancellation import UndoTime
from libcni._locking import Attachment, HeldLocks, Locks
from libcni._requests import Operation, Pause
from node.deadline import eventually, interrupted

from .conftest import network, optioned
from .stub import Gate, Stubs, error, result


def test_by_default_nothing_is_undone(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", result())
    stubs.add("two", error(7, "no"))
    with pytest.raises(StepFailed):
        optioned(stubs, tmp_path, Options()).add_network_list(network("one", "two"), runtime)
    assert stubs.order == ["ADD one", "ADD two"]


def test_undoing_what_a_failed_add_had_begun(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", result(address="10.0.0.1/24"), DEL=error(11, "stuck"))
    stubs.add("two", error(7, "no"), DEL={})
    stubs.add("three", result())
    capable = {"type": "one", "capabilities": {"mac": True}}
    with pytest.raises(StepFailed, match='plugin type="two" failed') as caught:
        optioned(stubs, tmp_path, Options(undo_failed_add=True)).add_network_list(
            network(capable, "two", "three"), runtime
        )
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]
    for call in stubs.calls[2:]:
        assert call.config["prevResult"]["ips"] == [{"address": "10.0.0.1/24"}]
        assert call.environ["CNI_NETNS"] == runtime.netns
    assert stubs.calls[3].config["runtimeConfig"] == {"mac": "00:11"}
    assert caught.value.__notes__ == ['undoing plugin type="one" failed: stuck']


def test_an_add_that_was_refused_before_it_ran_is_not_undone(stubs: Stubs, tmp_path: Path) -> None:
    stubs.add("one", result())
    library = optioned(stubs, tmp_path, Options(undo_failed_add=True))
    with pytest.raises(StepFailed):
        library.add_network_list(network("one"), RuntimeConf("", "/x", "eth0"))
    with pytest.raises(StepFailed):
        library.add_network_list(network("one", "missing"), RuntimeConf("c", "/x", "eth0"))
    assert stubs.order == ["ADD one", "DEL one"]


def test_undoing_has_its_own_time_and_cannot_be_cancelled(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs.add("one", result())
    stubs.add("two", {"sleep": 60}, DEL={})
    library = optioned(stubs, tmp_path, Options(undo_failed_add=True, timeout=1.5))
    with monkeypatch.context() as patched, pytest.raises(StepFailed) as caught:
        # the time of ADD is over when its second plugin runs, and not before
        patched.setattr("libcni._cancellation.monotonic", lambda: 1000.0 + 2 * (len(stubs.calls) >= 2))
        library.add_network_list(network("one", "two"), runtime)
    assert is_timeout(caught.value)
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]
    stubs.forget()
    with Cancellation() as cancel:
        threading.Thread(target=lambda: eventually(lambda: len(stubs.calls) == 2) and cancel.cancel()).start()
        with pytest.raises(StepFailed, match="cancelled"):
            library.add_network_list(network("one", "two"), runtime, timeout=30, cancel=cancel)
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]


def test_undoing_when_the_cache_cannot_be_written(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", result())
    (tmp_path / "cache").touch()
    with pytest.raises(Exception, match="cached result"):
        optioned(stubs, tmp_path, Options(undo_failed_add=True)).add_network_list(network("one"), runtime)
    assert stubs.order == ["ADD one", "DEL one"]


@pytest.mark.parametrize(("plugins", "stuck", "left"), [(2, False, 0), (3, False, 1), (2, True, 1)])
def test_what_was_undone_is_not_in_the_cache(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, plugins: int, stuck: bool, left: int
) -> None:
    """Of a leftover something is left where a plugin had not begun, or could not be undone: a DEL needs it."""
    for name in ("one", "two", "three"):
        stubs.add(name, result())
    library = optioned(stubs, tmp_path, Options(undo_failed_add=True))
    net = network(*("one", "two", "three")[:plugins])
    library.add_network_list(net, replace(runtime, netns=str(tmp_path / "gone")))
    stubs.forget()
    stubs.add("one", result(), DEL=error(11, "stuck") if stuck else {})
    stubs.add("two", error(7, "no"), DEL={})
    with pytest.raises(StepFailed):
        library.add_network_list(net, runtime)
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]
    assert len(library.get_cached_attachments()) == left


def test_a_namespace_whose_link_may_not_be_read(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc/PID/ns/net is a link that the kernel may refuse to read; ADD ended in an OSError before it had begun."""
    stubs.add("one", result())
    (tmp_path / "ns").symlink_to(tmp_path)
    library = optioned(stubs, tmp_path, Options(undo_failed_add=True))
    library.add_network_list(network("one"), replace(runtime, netns=tmp_path / "ns"))

    def refused(path: str, **_: object) -> str:
        raise PermissionError(13, "Permission denied", path)

    stubs.add("one", error(999, "already exists"))
    for netns in (tmp_path / "ns", "/other"):
        with pytest.raises(StepFailed, match="already exists"), monkeypatch.context() as patched:
            patched.setattr(os, "readlink", refused)
            library.add_network_list(network("one"), replace(runtime, netns=netns))
    assert stubs.order == ["ADD one"] * 3


class Before:
    """A namespace of an earlier ADD, and what the cache has of it."""

    def __init__(self, tmp_path: Path, runtime: RuntimeConf) -> None:
        self.cache, self.there = tmp_path / "cache/results", tmp_path / "there"
        self.there.touch()
        (tmp_path / "link").symlink_to(self.there)
        (tmp_path / "loop").symlink_to(tmp_path / "loop")  # it cannot be looked at, as /proc/PID/ns/net at times
        self.paths = {
            "same": runtime.netns, "there": str(self.there), "gone": str(tmp_path / "gone"), "unknown": "",
            "damaged": str(tmp_path / "gone"), "another's": str(self.there), "closed": str(tmp_path / "loop"),
        }  # fmt: skip

    def note(self, library: CNIConfig, runtime: RuntimeConf, how: str) -> None:
        """An ADD before, and the state of its cache."""
        library.add_network_list(network("one", "two"), replace(runtime, netns=self.paths[how]))
        (file,) = self.cache.iterdir()
        if how == "damaged":
            file.write_bytes(b"")
        if how == "another's":
            file.write_text(file.read_text().replace('"containerId":"ctr1"', '"containerId":"x"'))


@pytest.mark.parametrize("form", ["blocking", "asyncio", "single", "block"])
@pytest.mark.parametrize(
    ("how", "lives"),
    [
        ("same", True),
        ("there", True),
        ("unknown", True),
        ("damaged", True),
        ("gone", False),
        ("another's", False),
        ("closed", True),
    ],
)
def test_what_was_there_before_the_call_is_not_undone(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, form: str, how: str, lives: bool
) -> None:
    """A leftover, whose namespace is gone, is: what this ADD made in its place has to go."""
    stubs.add("one", result())
    stubs.add("two", result())
    options = Options(undo_failed_add=form != "block")
    library = optioned(stubs, tmp_path, options)
    Before(tmp_path, runtime).note(library, runtime, how)
    stubs.forget()
    stubs.add("two", error(999, "eth0 already exists"), DEL={})
    net = network("one", "two")
    with pytest.raises(Exception, match="already exists") as caught:
        if form == "blocking":
            library.add_network_list(net, runtime)
        elif form == "asyncio":
            awaited = AsyncCNIConfig([str(stubs.folder)], str(tmp_path / "cache"), options=options)
            asyncio.run(awaited.add_network_list(net, runtime))
        elif form == "single":
            library.add_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"net1","type":"two"}'), runtime)
        else:
            with library.attached(net, runtime):
                pytest.fail("it was refused")
    added = ["ADD two"] if form == "single" else ["ADD one", "ADD two"]
    undone = ["DEL two"] if form == "single" else ["DEL two", "DEL one"]
    assert stubs.order == (added if lives else added + undone)
    if lives:
        assert caught.value.__notes__ == ["network net1 was attached before: nothing was undone, DEL removes it"]
    assert len(list((tmp_path / "cache/results").iterdir())) == (lives or how == "another's")


@pytest.mark.parametrize("form", ["failed", "cancel"])
def test_undoing_ends_whatever_the_plugins_do(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, form: str) -> None:
    """The one that hangs has its share of the time, and the one before it is undone; the rest is reported."""
    stubs.add("one", result())
    stubs.add("two", {"sleep": 600, "ignore": True}, ADD=error(7, "no") if form == "failed" else {"sleep": 600})
    reports: list[str] = []
    options = Options(undo_failed_add=True, undo_timeout=5.0, report=reports.append)
    library = optioned(stubs, tmp_path, options)
    with interrupted(60), Cancellation() as cancel, pytest.raises(StepFailed) as caught:
        if form == "cancel":
            threading.Thread(target=lambda: eventually(lambda: len(stubs.calls) == 2) and cancel.cancel()).start()
        library.add_network_list(network("one", "two"), runtime, cancel=cancel)
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]
    (note,) = caught.value.__notes__
    assert re.fullmatch(
        r'undoing plugin type="two" failed: .*did not end within undoing\'s 2\.\d+ s and was killed', note
    )
    assert reports == [f"ADD of ctr1 eth0 in network net1: {note}"]
    assert eventually(lambda: not any(os.path.exists(f"/proc/{call.pid}") for call in stubs.calls))


def test_what_another_call_made_meanwhile_is_not_undone(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, gate: Gate
) -> None:
    """Without a lock folder two ADDs may run at once: the one that is refused leaves that of the other."""
    stubs.add("one", result(), ADD={**error(999, "eth0 already exists"), "wait_for": gate.path})
    library = optioned(stubs, tmp_path, Options(undo_failed_add=True))
    with ThreadPoolExecutor(1) as pool:
        refused = pool.submit(library.add_network_list, network("one"), runtime)
        assert eventually(lambda: stubs.calls, 20)
        stubs.add("two", result())
        library.add_network_list(network("two"), runtime)
        gate.open()
        with pytest.raises(StepFailed, match="already exists"):
            refused.result(20)
    assert stubs.order == ["ADD one", "ADD two"]


def test_undoing_has_a_bound_by_default() -> None:
    """It is well below the two minutes that kubelet waits; and each plugin has a share of what is left."""
    assert 1 <= Options().undo_timeout <= 20
    time = UndoTime(9.0)
    shares = [time.share(count).seconds for count in (3, 2, 1)]
    assert shares[0] is not None and 2.5 < shares[0] <= 3 and shares[2] == 9.0
    assert UndoTime(math.inf).share(3).left is None
    over = UndoTime(0.0).share(3)
    assert (over.left, over.seconds) == (0, 0.0)


def test_what_was_undone_after_it_was_cached(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there, but nobody knows whether it outlives a power loss."""
    stubs.add("one", result())

    def unsynced(folder: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("libcni._cache._sync_folder", unsynced)
    library = optioned(stubs, tmp_path, Options(undo_failed_add=True, sync_cache=True))
    with pytest.raises(CacheError, match="Input/output error"):
        library.add_network_list(network("one"), runtime)
    assert stubs.order == ["ADD one", "DEL one"]
    assert library.get_cached_attachments() == []


@pytest.mark.parametrize("wanted", [False, True])
def test_a_delete_that_goes_on_after_an_error(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, wanted: bool) -> None:
    """All plugins run, all errors are told, and the cache file stays for the next DEL."""
    for name in ("one", "two", "three"):
        stubs.add(name, result(), DEL={} if name == "one" else error(7, f"no {name}"))
    library = optioned(stubs, tmp_path, Options(delete_continues=wanted))
    library.add_network_list(network("one", "two", "three"), runtime)
    stubs.forget()
    with pytest.raises(Exception, match="no three") as caught:
        library.del_network_list(network("one", "two", "three"), runtime)
    assert stubs.order == (["DEL three", "DEL two", "DEL one"] if wanted else ["DEL three"])
    assert ("no two" in str(caught.value)) == wanted
    assert len(library.get_cached_attachments()) == 1


def test_an_add_that_is_killed_is_found_by_garbage_collection(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf
) -> None:
    """The file is there before the first plugin runs, without a result; Go's library reads it too."""
    stubs.add("one", result())
    stubs.add("two", error(7, "no"), DEL={})
    library = optioned(stubs, tmp_path, Options(record_before_add=True, undo_failed_add=True))
    with pytest.raises(StepFailed):
        library.add_network_list(network("one", "two", "missing"), runtime)
    assert library.get_cached_attachments() == [], "what is undone is not recorded any more"

    class Killed(BaseException):
        pass

    class Dying(ProcessExec):
        def exec_plugin(self, *arguments: Any, **more: Any) -> bytes:
            super().exec_plugin(*arguments, **more)
            raise Killed

    stubs.forget()
    dying = optioned(stubs, tmp_path, Options(record_before_add=True), Dying())
    with pytest.raises(Killed):
        dying.add_network_list(network("one"), runtime)
    (left,) = library.get_cached_attachments()
    assert (left.container_id, left.if_name) == (runtime.container_id, runtime.if_name)
    assert library.get_network_list_cached_result(network("one"), runtime) is None
    library.gc_network_list(network("one"), GCArgs([]))
    assert stubs.order[:2] == ["ADD one", "DEL one"] and "prevResult" not in stubs.calls[1].config
    assert library.get_cached_attachments() == []


@pytest.mark.parametrize("wanted", [False, True])
def test_deleting_with_the_configuration_of_add(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, wanted: bool
) -> None:
    for name in ("one", "two"):
        stubs.add(name, result())
    library = optioned(stubs, tmp_path, Options(delete_with_cached_config=wanted))
    capable = {"type": "one", "x": 1, "capabilities": {"mac": True}}
    library.add_network_list(network(capable), runtime)
    stubs.forget()
    library.del_network_list(network("two"), RuntimeConf("ctr1", "", "eth0", (("C", "3"),), {"mac": "new"}))
    call = stubs.calls[0]
    if wanted:
        assert (stubs.order, call.config["x"], call.environ["CNI_ARGS"]) == (["DEL one"], 1, "A=1;B=2")
        assert call.config["runtimeConfig"] == {"mac": "00:11"}
        assert call.environ["CNI_NETNS"] == ""
    else:
        assert (stubs.order, call.environ["CNI_ARGS"]) == (["DEL two"], "C=3")


def test_plugins_of_the_networks_folder_are_deleted_too(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    for name in ("one", "two"):
        stubs.add(name, result())
    library = optioned(stubs, tmp_path, Options(delete_with_cached_config=True))
    inlined = network("one")
    whole = replace(inlined, plugins=(*inlined.plugins, conf_from_bytes(b'{"type":"two"}')))
    library.add_network_list(whole, runtime)
    library.del_network_list(whole, runtime)
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]


@pytest.mark.parametrize("how", ["list", "garbage", "by hand", "by id"])
def test_plugins_of_the_networks_folder_get_their_delete_from_the_cache(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, how: str
) -> None:
    """The folder is empty by then, or nobody knows where it was: the cache has the whole list."""
    for name in ("one", "two"):
        stubs.add(name, result())
    folder = tmp_path / "net.d"
    (folder / "net1").mkdir(parents=True)
    (folder / "10.conflist").write_bytes(network("one").bytes)
    (folder / "net1/20.conf").write_text('{"type":"two","n":12345678901234567890}')
    library = optioned(stubs, tmp_path, Options(delete_with_cached_config=True))
    library.add_network_list(network_conf_from_file(str(folder / "10.conflist")), runtime)
    (folder / "net1/20.conf").unlink()
    if how == "by hand":
        cached = library.get_network_list_cached_config(network("one"), runtime)
        assert cached is not None
        (folder / "30.conflist").write_bytes(cached[0])
        (folder / "net1/20.conf").write_text('{"type":"three"}')
        library.del_network_list(network_conf_from_file(str(folder / "30.conflist")), runtime)
    elif how == "by id":
        library.del_cached_attachments("ctr1")
    elif how == "list":
        library.del_network_list(network_conf_from_file(str(folder / "10.conflist")), runtime)
    else:
        library.gc_network_list(network_conf_from_file(str(folder / "10.conflist")), GCArgs([]))
    assert stubs.order == ["ADD one", "ADD two", "DEL two", "DEL one"]


def test_a_single_plugin_is_deleted_with_the_configuration_of_add(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf
) -> None:
    stubs.add("one", result())
    reports: list[str] = []
    library = optioned(stubs, tmp_path, Options(delete_with_cached_config=True, report=reports.append))
    library.add_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"n","type":"one","x":1}'), runtime)
    library.del_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"n","type":"one","x":2}'), runtime)
    assert stubs.calls[1].config["x"] == 1
    library.del_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"n","type":"one","x":2}'), runtime)
    assert stubs.calls[2].config["x"] == 2
    (tmp_path / "cache/results/n-ctr1-eth0").write_bytes(b"")
    library.del_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"n","type":"one","x":2}'), runtime)
    assert stubs.calls[3].config["x"] == 2
    assert any("DEL uses the configuration that it was given" in line for line in reports)


def test_what_one_plugin_had_added_is_no_empty_list(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    """The cache has one plugin's configuration: read as a list it would have no plugins, and DEL would do nothing."""
    stubs.add("one", result())
    reports: list[str] = []
    library = optioned(stubs, tmp_path, Options(delete_with_cached_config=True, report=reports.append))
    library.add_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"net1","type":"one"}'), runtime)
    library.del_network_list(network("one"), runtime)
    library.add_network_list(network("one"), runtime)
    library.del_network(conf_from_bytes(b'{"cniVersion":"1.0.0","name":"net1","type":"one"}'), runtime)
    assert stubs.order == ["ADD one", "DEL one"] * 2
    assert len([line for line in reports if "DEL uses the configuration that it was given" in line]) == 2


@pytest.mark.parametrize("wanted", [False, True])
def test_garbage_is_deleted_with_the_configuration_of_add(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, wanted: bool
) -> None:
    for name in ("one", "two"):
        stubs.add(name, result())
    library = optioned(stubs, tmp_path, Options(delete_with_cached_config=wanted))
    library.add_network_list(network("one"), runtime)
    library.gc_network_list(network("two"), GCArgs([]))
    assert stubs.order == ["ADD one", "DEL one" if wanted else "DEL two"]
    assert library.get_cached_attachments() == []


def _locked(tmp_path: Path, **more: Any) -> Options:
    return Options(lock_folder=str(tmp_path / "locks"), **more)


def _hold(stubs: Stubs, tmp_path: Path, gate: Gate, done: Event) -> None:
    gate.open()  # for its own part: the other end stays with the test
    optioned(stubs, tmp_path, _locked(tmp_path)).add_network_list(network("one"), RuntimeConf("ctr1", "/x", "eth0"))
    done.set()


@pytest.fixture
def holder(stubs: Stubs, tmp_path: Path, gate: Gate) -> Iterator[Callable[[], None]]:
    """Another process that is in the middle of an ADD of ctr1 eth0; a function lets it go on."""
    stubs.add("one", result(), ADD={**result(), "wait_for": gate.path})
    context = multiprocessing.get_context("fork")
    done = context.Event()
    process = context.Process(target=_hold, args=(stubs, tmp_path, gate, done))
    process.start()
    assert eventually(lambda: len(stubs.calls) == 1, 20)
    yield gate.open
    gate.open()
    process.join(20)
    assert done.is_set()


def test_one_at_a_time_for_one_attachment(stubs: Stubs, tmp_path: Path, holder: Any) -> None:
    library = optioned(stubs, tmp_path, _locked(tmp_path, lock_timeout=0.2))
    same, other = RuntimeConf("ctr1", "/x", "eth0"), RuntimeConf("ctr1", "/x", "eth1")
    for call in (library.del_network_list, library.check_network_list, library.add_network_list):
        with pytest.raises(
            Locked, match=r"locked by ADD of ctr1 eth0 in network net1, process \d+ for more than 0\.2 s"
        ):
            call(network("one"), same)
    library.del_network_list(network("one"), other)
    with pytest.raises(Exception, match="GC of network net1: locked by attachments of the network"):
        library.gc_network_list(network("one"), GCArgs([]))
    library.gc_network_list(network("one", name="net2"), GCArgs([]))
    with pytest.raises(Locked) as caught:
        optioned(stubs, tmp_path, _locked(tmp_path)).del_network_list(network("one"), same, timeout=0.2)
    assert "for more than" not in str(caught.value), "the call's own time was over, not that of locks"
    assert is_timeout(caught.value)
    assert stubs.order == ["ADD one", "DEL one"]
    threading.Timer(0.2, holder).start()
    optioned(stubs, tmp_path, _locked(tmp_path)).del_network_list(network("one"), same)
    assert stubs.order[-1] == "DEL one"


def finished(taking: Operation[HeldLocks]) -> HeldLocks:
    """What an operation that need not wait answers."""
    with pytest.raises(StopIteration) as ended:
        next(taking)
    held: HeldLocks = ended.value.value
    return held


def test_a_lock_whose_file_went_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last holder may remove the file between opening and locking: two would hold two files."""
    real, removed = fcntl.flock, []

    def flock(descriptor: int, kind: int) -> None:
        if not removed:
            removed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.unlink(removed[0])
        real(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    with finished(Locks(str(tmp_path), 1.0).network("net1")) as held:
        descriptor, path = held.descriptors[0]
        assert path == removed[0]
        assert os.fstat(descriptor).st_ino == os.stat(path).st_ino


@pytest.mark.parametrize("how", ["gone", "unwritable"])
def test_a_folder_of_locks_that_changed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Both locks of a call are given back all the same, and can be had again."""
    locks = Locks(str(tmp_path / "locks"), 1.0)
    held = finished(locks.attachments("ADD", [Attachment("net1", "ctr1", "eth0")]))
    descriptors = [descriptor for descriptor, _ in held.descriptors]
    assert len(descriptors) == 2
    with monkeypatch.context() as patched:
        if how == "gone":
            shutil.rmtree(tmp_path / "locks")
        else:
            patched.setattr(os, "unlink", _refused)
        held.release()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    finished(locks.attachments("DEL", [Attachment("net1", "ctr1", "eth0")])).release()
    finished(locks.network("net1")).release()


def test_several_attachments_are_locked_all_or_none_and_in_one_order(tmp_path: Path) -> None:
    """Also two that are one; and what was taken before somebody else's is given back."""
    locks = Locks(str(tmp_path / "locks"), 0.0)
    wanted = [Attachment(network, "c", ifname) for network, ifname in (("b", "eth1"), ("a", "eth0"), ("b", "eth1"))]
    held = finished(locks.attachments("ADD", wanted))
    assert len(held.descriptors) == 4
    with pytest.raises(Locked, match="GC of network b: locked by attachments of the network"):
        next(locks.network("b"))
    held.release()
    with finished(locks.network("b")), pytest.raises(Locked, match="ADD of c eth1 in network b: locked by GC"):
        next(locks.attachments("ADD", wanted))
    finished(locks.network("a")).release()


def test_a_gc_that_waits_has_its_turn_on_a_busy_network(tmp_path: Path) -> None:
    """Those who come later wait for it; other networks do not, nor anybody once it has given up."""
    locks = Locks(str(tmp_path), 60.0)
    before = finished(locks.attachments("ADD", [Attachment("net1", "a", "eth0")]))
    collecting = locks.network("net1")
    assert next(collecting) is not None, "it waits for those who were there before"
    adding = locks.attachments("ADD", [Attachment("net1", "b", "eth0")])
    waited = next(adding)
    assert isinstance(waited, Pause) and waited.reason.startswith("ADD of b eth0 in network net1: locked by GC of ")
    finished(locks.attachments("ADD", [Attachment("net2", "b", "eth1")])).release()
    with pytest.raises(CallCancelled):
        collecting.throw(CallCancelled("the call was cancelled"))
    finished(adding).release()
    before.release()
    with finished(locks.network("net1")):
        next(locks.attachments("ADD", [Attachment("net1", "b", "eth0")]))
    assert not list(tmp_path.glob("turnstile-*"))


def test_the_note_of_a_holder_that_was_killed_is_nobodys(tmp_path: Path) -> None:
    """Neither a shorter one's end, nor that of those who have the lock together."""
    locks = Locks(str(tmp_path), 0.0)
    attachment = Attachment("net1", "ctr1", "eth0")
    for taking in (locks.network("net1"), locks.attachments("ADD", [attachment])):
        with finished(taking) as held:
            for _, path in held.descriptors:
                os.link(path, f"{path}.kept") if path else None
    for kept in tmp_path.glob("*.kept"):
        kept.write_text("x" * 1000)
        kept.rename(kept.with_suffix(""))
    with finished(locks.attachments("ADD", [attachment])):
        with pytest.raises(Locked, match=f"locked by ADD of ctr1 eth0 in network net1, process {os.getpid()} for more"):
            next(locks.attachments("DEL", [attachment]))
        with pytest.raises(Locked, match="GC of network net1: locked by attachments of the network for more"):
            next(locks.network("net1"))


def _refused(path: str) -> None:
    raise PermissionError(path)


def test_locks_leave_no_files_of_attachments(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", result())
    library = optioned(stubs, tmp_path, _locked(tmp_path))
    library.add_network_list(network("one"), runtime)
    library.gc_network_list(network("one"), GCArgs([]))
    assert [name for name in os.listdir(tmp_path / "locks") if name.startswith("attachment")] == []


def test_many_threads_one_attachment(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", {**result(), "sleep": 0.02})
    library = optioned(stubs, tmp_path, _locked(tmp_path))
    spans: list[tuple[float, float]] = []

    class Timed(type(library._exec)):  # type: ignore[misc]
        def exec_plugin(self, *arguments: Any) -> bytes:
            before = time.monotonic()
            try:
                answer: bytes = super().exec_plugin(*arguments)
                return answer
            finally:
                spans.append((before, time.monotonic()))

    library._exec = Timed()
    calls = [threading.Thread(target=library.add_network_list, args=(network("one"), runtime)) for _ in range(6)]
    for thread in calls:
        thread.start()
    for thread in calls:
        thread.join()
    spans.sort()
    assert len(spans) == 6
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
