"""Plugins that fail, hang, print rubbish, print much, or leave somebody behind (Go: `pkg/invoke`)."""

import asyncio
import errno
import io
import itertools
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from libcni import (
    AsyncCNIConfig,
    CallCancelled,
    Cancellation,
    CNIConfig,
    Deadline,
    GCArgs,
    LibcniError,
    Options,
    PluginFailed,
    PluginTimeout,
    ProcessExec,
    StepFailed,
    _process,
    is_cancelled,
    is_timeout,
)
from libcni._cancellation import Linked
from libcni._ownbuild import build_of
from libcni._process import Child
from node.deadline import eventually
from node.plugin import SUBJECT

from .conftest import network, optioned
from .stub import Gate, Stubs, error, result

ROOT = Path(__file__).parents[2]


def _run(stubs: Stubs, executor: ProcessExec | None = None, stdin: bytes = b"{}", seconds: float | None = 30) -> bytes:
    path = str(stubs.folder / "one")
    environ = {**os.environ, "CNI_COMMAND": "ADD"}
    return (executor or ProcessExec()).exec_plugin(path, stdin, environ, Deadline.after(seconds))


def _alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def _ended(pid: int) -> bool:
    """Whether a process that is not our child has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("behaviour", "text", "code"),
    [
        ({"exit": 9}, "netplugin failed with no error message: exit status 9", 0),
        ({"exit": 1, "stderr": 'said "so"\n'}, 'netplugin failed: "said \\"so\\"\\n": exit status 1', 0),
        (error(101, "taken", "by another"), "taken; by another", 101),
        ({"exit": 1, "stdout": "{}"}, "", 0),
        ({"exit": 1, "stdout": "null"}, "", 0),
        ({"exit": 1, "stdout": '{"CODE": 7, "Msg": "x", "more": 1}'}, "x", 7),
        (
            {"exit": 1, "stdout": "rubbish\n"},
            'netplugin failed but error parsing its diagnostic message "rubbish\\n": ',
            0,
        ),
        ({"exit": 1, "stdout": '{"code":"7"}'}, "netplugin failed but error parsing its diagnostic message ", 0),
        ({"exit": 1, "stdout": "[]"}, "netplugin failed but error parsing its diagnostic message ", 0),
    ],
)
def test_how_failures_are_told(stubs: Stubs, behaviour: dict[str, Any], text: str, code: int) -> None:
    stubs.add("one", behaviour)
    with pytest.raises(PluginFailed) as caught:
        _run(stubs)
    told = str(caught.value)
    assert told.startswith(text) if text.endswith((": ", "message ")) else told == text
    assert caught.value.code == code
    assert caught.value.status == f"exit status {behaviour['exit']}"


def test_what_a_failing_plugin_said_is_kept(stubs: Stubs) -> None:
    stubs.add("one", {**error(7, "no"), "stderr": "the reason"})
    with pytest.raises(PluginFailed) as caught:
        _run(stubs)
    assert (caught.value.stderr, caught.value.path) == ("the reason", str(stubs.folder / "one"))


def test_what_a_succeeding_plugin_said_is_passed_on(stubs: Stubs) -> None:
    stubs.add("one", {"stdout": "out", "stderr": "a warning"})
    writer = io.StringIO()
    assert _run(stubs, ProcessExec(writer)) == b"out"
    assert writer.getvalue() == "a warning"


class Broken(io.StringIO):
    """A writer with a fault of its own."""

    def write(self, text: str, /) -> int:
        raise RuntimeError(text)


@pytest.mark.parametrize("how", ["a fault", "none", "full", "closed", "nobody reads"])
@pytest.mark.parametrize("form", ["blocking", "asyncio"])
def test_what_nobody_can_take_of_it_does_not_fail_it(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, how: str, form: str
) -> None:
    stubs.add("one", {"stdout": "out", "stderr": "a warning\n"})
    reading, writing = os.pipe()
    os.close(reading)
    raw = io.FileIO(writing if how == "nobody reads" else os.open("/dev/full", os.O_WRONLY), "w")
    stream = io.TextIOWrapper(raw, write_through=True)
    if how == "closed":
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if how == "none" else stream)
    executor = ProcessExec(Broken() if how == "a fault" else None)
    environ = {**os.environ, "CNI_COMMAND": "ADD"}
    if form == "blocking":
        answer = _run(stubs, executor)
    else:
        answer = asyncio.run(executor.exec_plugin_async(str(stubs.folder / "one"), b"{}", environ, Deadline.after(30)))
    assert answer == b"out"
    raw.close()
    if how != "nobody reads":
        os.close(writing)


@pytest.mark.parametrize(
    ("signal", "told"), [("KILL", "killed"), ("TERM", "terminated"), ("SEGV", "segmentation fault")]
)
def test_a_plugin_that_is_killed(tmp_path: Path, signal: str, told: str) -> None:
    at = tmp_path / "plugin"
    at.write_text(f"#!/bin/sh\nkill -{signal} $$\n")
    at.chmod(0o755)
    with pytest.raises(PluginFailed, match=f"netplugin failed with no error message: signal: {told}"):
        ProcessExec().exec_plugin(str(at), b"", dict(os.environ))


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, ""),
        (1 << 8, "exit status 1"),
        (255 << 8, "exit status 255"),
        (9, "signal: killed"),
        (11, "signal: segmentation fault"),
        (11 | 0x80, "signal: segmentation fault (core dumped)"),
    ],
)
def test_how_an_end_is_told(status: int, told: str) -> None:
    """The statuses are wait(2)'s."""
    assert _process.describe_status(status) == told


@pytest.mark.parametrize(("content", "mode", "reason"), [
    ("#!/bin/sh\n", 0o644, "permission denied"), ("\x7fELF", 0o755, "exec format error"),
    ("#!/none/sh\n", 0o755, "no such file or directory"),
])  # fmt: skip
def test_a_file_that_cannot_be_started(tmp_path: Path, content: str, mode: int, reason: str) -> None:
    at = tmp_path / "plugin"
    at.write_text(content)
    at.chmod(mode)
    with pytest.raises(PluginFailed) as caught:
        ProcessExec().exec_plugin(str(at), b"", dict(os.environ))
    assert str(caught.value) == f"netplugin failed with no error message: fork/exec {at}: {reason}"


def test_much_input_and_much_output(stubs: Stubs, tmp_path: Path) -> None:
    at = tmp_path / "echo"
    at.write_text("#!/bin/sh\nexec cat\n")
    at.chmod(0o755)
    data = os.urandom(1 << 21)
    assert ProcessExec().exec_plugin(str(at), data, dict(os.environ), Deadline.after(30)) == data


def test_a_plugin_that_does_not_read(tmp_path: Path) -> None:
    at = tmp_path / "deaf"
    at.write_text("#!/bin/sh\nexec <&-\necho done\n")
    at.chmod(0o755)
    assert ProcessExec().exec_plugin(str(at), b"x" * (1 << 20), dict(os.environ), Deadline.after(30)) == b"done\n"


def test_a_plugin_finds_signals_as_they_should_be(tmp_path: Path) -> None:
    at = tmp_path / "signals"
    at.write_text("#!/bin/sh\ngrep -E 'Sig(Ign|Blk)' /proc/self/status\n")
    at.chmod(0o755)
    lines = ProcessExec().exec_plugin(str(at), b"", dict(os.environ)).split()
    # glibc's posix_spawn leaves the two signals of its own ignored
    assert {int(word, 16) & ~(0b11 << 31) for word in lines[1::2]} == {0}, lines


def test_output_without_an_end_is_ended(stubs: Stubs) -> None:
    stubs.add("one", {"flood": 5_000_000, "sleep": 60})
    with pytest.raises(PluginFailed, match="printed more than 1000000 bytes and was killed"):
        _run(stubs, ProcessExec(max_output=1_000_000))
    assert not _alive(stubs.calls[0].pid)


class Clock:
    """A clock that stands until a stub has been called, and then goes a step a look; it notes whether the stub lives."""

    def __init__(self, stubs: Stubs) -> None:
        self.stubs, self.now = stubs, 1000.0
        self.lived: list[tuple[float, bool]] = []

    def __call__(self) -> float:
        if self.stubs.calls:
            self.lived.append((self.now, _alive(self.stubs.calls[0].pid)))
            self.now += 0.03125
        return self.now


def test_a_plugin_that_hangs_is_killed_when_the_time_is_over(
    stubs: Stubs, cni: CNIConfig, runtime: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not before: it lives each time that the clock is looked at."""
    stubs.add("one", {"wait_for": gate.path})
    clock = Clock(stubs)
    monkeypatch.setattr("libcni._cancellation.monotonic", clock)
    with pytest.raises(StepFailed) as caught:
        cni.add_network_list(network("one"), runtime, timeout=0.125)
    assert clock.now >= 1000.125
    assert clock.lived[:4] == [(1000.0, True), (1000.03125, True), (1000.0625, True), (1000.09375, True)]
    assert isinstance(caught.value.__cause__, PluginTimeout | TimeoutError)
    assert is_timeout(caught.value) and not is_cancelled(caught.value)
    assert "netplugin failed with no error message: signal: killed" in str(caught.value)
    assert f"{stubs.folder}/one did not end within the call's 0.125 s and was killed" in str(caught.value)
    assert not _alive(stubs.calls[0].pid)


def test_the_time_is_the_whole_calls(
    stubs: Stubs, tmp_path: Path, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All plugins of a call have the same moment to be over."""
    moments: list[float | None] = []

    class Noting(ProcessExec):
        def exec_plugin(self, path: str, stdin: bytes, environ: Any, deadline: Any, cancel: Any) -> bytes:
            moments.append(deadline.moment)
            return super().exec_plugin(path, stdin, environ, deadline, cancel)

    for name in ("one", "two"):
        stubs.add(name, result())
    library = optioned(stubs, tmp_path, Options(), Noting())
    clock = itertools.count(1000.0)
    monkeypatch.setattr("libcni._cancellation.monotonic", lambda: next(clock))
    library.add_network_list(network("one", "two"), runtime, timeout=100_000)
    library.del_network_list(network("one", "two"), runtime)
    assert moments == [101_000, 101_000, None, None]


def test_nothing_is_started_once_the_time_is_over(stubs: Stubs) -> None:
    stubs.add("one")
    with pytest.raises(PluginTimeout, match="the call's 0 s were over before"):
        _run(stubs, seconds=0)
    assert stubs.calls == []


@pytest.mark.parametrize("asked", ["call", "option"])
def test_a_status_that_cannot_hang(stubs: Stubs, tmp_path: Path, asked: str) -> None:
    stubs.add("one", {"sleep": 60})
    library = optioned(stubs, tmp_path, Options(status_timeout=0.3) if asked == "option" else Options())
    with pytest.raises(PluginTimeout):
        library.get_status_network_list(network("one", version="1.1.0"), timeout=0.3 if asked == "call" else None)


def test_a_default_time_for_every_call(stubs: Stubs, tmp_path: Path, runtime: Any) -> None:
    stubs.add("one", {"sleep": 60})
    library = optioned(stubs, tmp_path, Options(timeout=0.3))
    with pytest.raises(PluginTimeout):
        library.check_network_list(network("one"), runtime)
    with pytest.raises(PluginTimeout):
        library.get_version_info("one")


def test_cancelling_from_another_thread(stubs: Stubs, cni: CNIConfig, runtime: Any, gate: Gate) -> None:
    """The plugin does not end by itself."""
    stubs.add("one", {"wait_for": gate.path})
    with Cancellation() as cancel:
        thread = threading.Thread(target=lambda: eventually(lambda: stubs.calls) and cancel.cancel())
        thread.start()
        with pytest.raises(CallCancelled, match="the call was cancelled") as caught:
            cni.check_network_list(network("one"), runtime, timeout=60, cancel=cancel)
        thread.join()
        assert is_cancelled(caught.value) and not is_timeout(caught.value)
        assert not _alive(stubs.calls[0].pid)
        with pytest.raises(CallCancelled, match="was not started"):
            cni.check_network_list(network("one"), runtime, cancel=cancel)


def test_a_daemon_that_a_plugin_left_does_not_hold_the_call(stubs: Stubs, gate: Gate) -> None:
    """It has not ended when the call has."""
    stubs.add("one", {"daemon": gate.path, "stdout": "answer"})
    assert _run(stubs, ProcessExec(wait_delay=0.3)) == b"answer"
    assert stubs.daemons == 0
    gate.open()
    assert eventually(lambda: stubs.daemons) == 1


def test_a_plugins_children_die_with_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = tmp_path / "parent"
    note = tmp_path / "child"
    at.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {note}\nwait\n")
    at.chmod(0o755)
    # the time is over when the child is there, and not before
    monkeypatch.setattr("libcni._cancellation.monotonic", lambda: 1000.0 + (note.exists() and note.stat().st_size > 0))
    with pytest.raises(PluginTimeout):
        ProcessExec(own_group=True, wait_delay=0.1).exec_plugin(str(at), b"", dict(os.environ), Deadline.after(0.5))
    child = int(note.read_text())
    assert eventually(lambda: _ended(child))


@pytest.mark.parametrize("how", ["time", "cancelled", "time in asyncio"])
@pytest.mark.parametrize("own_group", [False, True])
def test_what_has_ended_with_an_answer_was_not_killed(stubs: Stubs, gate: Gate, how: str, own_group: bool) -> None:
    """A daemon holds its pipes when the call's time is over: the answer is known; the daemon is of its group."""
    stubs.add("one", {"daemon": gate.path, "stdout": "answer"})
    executor = ProcessExec(own_group=own_group, wait_delay=3600)
    path, environ = str(stubs.folder / "one"), {**os.environ, "CNI_COMMAND": "ADD"}

    class Noticed(Child):
        """Turns the switch, or lets the time be over, once the plugin has ended."""

        def _note_end(self) -> None:
            super()._note_end()
            cancel.cancel()

    class Until(Deadline):
        @property
        def left(self) -> float | None:
            return 0.0 if cancel.cancelled else 3600.0

    with Cancellation() as cancel, pytest.MonkeyPatch.context() as patch:
        patch.setattr("libcni._execution.Child", Noticed)
        deadline = Deadline.after(None) if how == "cancelled" else Until(3600.0, math.inf)
        if how == "time in asyncio":
            answer = asyncio.run(executor.exec_plugin_async(path, b"{}", environ, deadline))
        else:
            answer = executor.exec_plugin(path, b"{}", environ, deadline, cancel if how == "cancelled" else None)
    assert answer == b"answer"
    gate.open()
    if own_group:
        group = stubs.calls[0].pid
        assert eventually(lambda: not _living_of_group(group), 5)
        assert stubs.daemons == 0
    else:
        assert eventually(lambda: stubs.daemons, 5) == 1


def _living_of_group(group: int) -> list[int]:
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [int(pgid) for pgid, state in map(str.split, listed.splitlines()) if int(pgid) == group and state[0] != "Z"]


_EXHAUSTED = """
import errno, os, resource, sys
from libcni import OwnBuildExec, PluginFailed, ProcessExec
executor = (OwnBuildExec if sys.argv[2] == "forked" else ProcessExec)()
environ = {**os.environ, "CNI_COMMAND": "ADD"}
executor.exec_plugin(sys.argv[1], b"{}", environ) if sys.argv[2] == "executed" else None
before = os.listdir("/proc/self/fd")
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

def refused(pid):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

for free in range(7):
    if free < 6:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) - 1 + free, most))
    else:
        os.pidfd_open = refused
    try:
        executor.exec_plugin(sys.argv[1], b"{}", environ)
        print("success")
    except PluginFailed as error:
        assert "too many open files" in str(error), str(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    assert len(os.listdir("/proc/self/fd")) == len(before), (free, os.listdir("/proc/self/fd"))
    try:
        os.waitpid(-1, os.WNOHANG)
        print("a child is left")
    except ChildProcessError:
        pass
"""


@pytest.mark.parametrize("how", ["executed", "forked"])
def test_a_process_without_free_descriptors_loses_nothing(stubs: Stubs, how: str) -> None:
    """Six ends of pipes, and one for the child: whichever cannot be had, the others are closed and the child is ended."""
    stubs.add("one", {})
    path = str(stubs.folder / "one")
    if how == "forked":
        path = f"{SUBJECT}/loopback"
        if not build_of(path):
            pytest.skip(f"{path} is no file of our build")
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime"}
    command = [sys.executable, "-c", _EXHAUSTED, path, how]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", ["os.eventfd", "select.epoll"])
def test_a_switch_that_cannot_be_had_leaves_nothing(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(missing, refused)
    with pytest.raises(OSError, match="Too many open files"):
        Linked(None)
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_file_that_is_being_written_is_tried_again(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second after the other, until nobody has it open for writing."""
    # the interpreter of a script may be busy, never the script: a copy of a program it is
    program = stubs.folder / "busy"
    program.write_bytes(Path("/usr/bin/true").read_bytes())
    program.chmod(0o755)
    holder, pauses = os.open(program, os.O_WRONLY), list[float]()

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(holder)

    monkeypatch.setattr("libcni._execution.time", SimpleNamespace(sleep=sleep))
    assert ProcessExec().exec_plugin(str(program), b"", dict(os.environ), Deadline.after(1000)) == b""
    assert pauses == [1.0, 1.0, 1.0]


def test_a_file_that_stays_busy_is_given_up(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """After six tries, or earlier when the time is over; a pause is not longer than what is left of it."""
    pauses: list[float] = []
    monkeypatch.setattr("libcni._cancellation.monotonic", lambda: 1000.0 + sum(pauses))
    monkeypatch.setattr("libcni._execution.time", SimpleNamespace(sleep=pauses.append))
    program = stubs.folder / "busy"
    program.write_bytes(Path("/usr/bin/true").read_bytes())
    program.chmod(0o755)
    with program.open("r+b"), pytest.raises(PluginFailed):
        ProcessExec().exec_plugin(str(program), b"", dict(os.environ))
    assert pauses == [1.0] * 5
    pauses.clear()
    with program.open("r+b"), pytest.raises(PluginFailed):
        ProcessExec().exec_plugin(str(program), b"", dict(os.environ), Deadline.after(1.25))
    assert pauses == [1.0, 0.25]


def test_waiting_for_a_busy_file_can_be_cancelled(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libcni._execution._BUSY_PAUSE", 5.0)
    program = stubs.folder / "busy"
    program.write_bytes(Path("/usr/bin/true").read_bytes())
    program.chmod(0o755)
    woken: list[bool] = []

    class Turned(Cancellation):
        def wait(self, seconds: float) -> bool:
            turning = threading.Thread(target=self.cancel)
            turning.start()
            woken.append(super().wait(seconds))
            turning.join()
            return woken[-1]

    with Turned() as cancel, program.open("r+b"), pytest.raises(CallCancelled, match="was not started"):
        ProcessExec().exec_plugin(str(program), b"", dict(os.environ), Deadline(), cancel)
    assert woken == [True], "the wait was ended by the switch"


@pytest.mark.parametrize("seconds", [math.inf, 1e12])
def test_a_time_without_an_end_is_none(stubs: Stubs, tmp_path: Path, seconds: float) -> None:
    """Infinity lifts the default of the options; so does what the kernel could not count in milliseconds."""
    stubs.add("one", {"sleep": 0.3})
    library = optioned(stubs, tmp_path, Options(timeout=0.05, status_timeout=0.05))
    library.get_status_network_list(network("one", version="1.1.0"), timeout=seconds)
    assert stubs.order == ["STATUS one"]
    assert Deadline.after(math.inf).left is None


_IGNORING = """
import os, signal, sys
from libcni import Deadline, PluginFailed, ProcessExec
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
before = len(os.listdir("/proc/self/fd"))
for _ in range(20):
    try:
        print(ProcessExec().exec_plugin(sys.argv[1], b"{}", {**os.environ, "CNI_COMMAND": "ADD"}, Deadline.after(30)))
    except PluginFailed as error:
        told = ("its exit status is unknown", "no such process", "no error at all")
        assert any(one in str(error) for one in told), str(error)
assert len(os.listdir("/proc/self/fd")) == before
"""


@pytest.mark.parametrize("behaviour", [result(), error(7, "no error at all"), {}])
def test_an_exit_status_that_nobody_kept_is_no_success(stubs: Stubs, behaviour: dict[str, Any]) -> None:
    """In a process that ignores SIGCHLD the kernel throws it away: success is not made up."""
    stubs.add("one", behaviour)
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime"}
    command = [sys.executable, "-c", _IGNORING, str(stubs.folder / "one")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(stubs.calls) == 20


def test_a_command_that_the_plugin_is_an_argument_of(stubs: Stubs) -> None:
    stubs.add("one", {"stdout": "x"})
    assert _run(stubs, ProcessExec(prefix=("env", "CNI_ADDED=1"))) == b"x"
    assert stubs.calls[0].environ["CNI_ADDED"] == "1"


def test_no_descriptor_and_no_process_is_left(stubs: Stubs, cni: CNIConfig, runtime: Any) -> None:
    stubs.add("one", result(), DEL={"sleep": 60})
    descriptors = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        cni.add_network_list(network("one"), runtime)
        with pytest.raises(StepFailed):
            cni.del_network_list(network("one"), runtime, timeout=0.2)
    assert set(os.listdir("/proc/self/fd")) <= descriptors
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,comm="], capture_output=True, text=True)
    assert "one" not in children.stdout


def test_a_relative_folder_is_one_of_the_working_folder(
    stubs: Stubs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stubs.add("one", {"stdout": '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'})
    monkeypatch.chdir(stubs.folder.parent)
    assert CNIConfig([stubs.folder.name]).get_version_info("one").cni_version == "1.0.0"


def test_the_first_regular_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/x").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/real").touch()
    (tmp_path / "b/x").symlink_to("real")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/x").touch()
    monkeypatch.chdir(tmp_path / "c")  # where an empty element would look
    finder = ProcessExec()
    assert finder.find_in_path("x", [f"{tmp_path}/a", "", f"{tmp_path}/b", f"{tmp_path}/c"]) == f"{tmp_path}/b/x"


def test_an_executor_may_be_replaced(runtime: Any, tmp_path: Path) -> None:
    class Recorder(ProcessExec):
        calls: list[str] = []

        def find_in_path(self, plugin: str, paths: object) -> str:
            return plugin

        def exec_plugin(self, path: str, stdin: bytes, environ: dict[str, str], *_: object) -> bytes:
            self.calls.append(f"{environ['CNI_COMMAND']} {path}")
            return b"{}"

    recorder = Recorder()
    library = CNIConfig([], str(tmp_path), recorder)
    library.add_network_list(network("any"), runtime)
    assert recorder.calls == ["ADD any"]


LATE: dict[str, tuple[str, Any]] = {
    "add": ("1.0.0", lambda cni, net, runtime: cni.add_network_list(net, runtime, timeout=0.05)),
    "check": ("1.0.0", lambda cni, net, runtime: cni.check_network_list(net, runtime, timeout=0.05)),
    "del": ("1.0.0", lambda cni, net, runtime: cni.del_network_list(net, runtime, timeout=0.05)),
    "gc": ("1.1.0", lambda cni, net, _: cni.gc_network_list(net, GCArgs([]), timeout=0.05)),
    "status": ("1.1.0", lambda cni, net, _: cni.get_status_network_list(net, timeout=0.05)),
    "version": ("1.0.0", lambda cni, _, __: cni.get_version_info("one", timeout=0.05)),
    "validate": ("1.0.0", lambda cni, net, _: cni.validate_network_list(net, timeout=0.05)),
    "add one": ("1.0.0", lambda cni, net, runtime: cni.add_network(net.plugins[0], runtime, timeout=0.05)),
    "del one": ("1.0.0", lambda cni, net, runtime: cni.del_network(net.plugins[0], runtime, timeout=0.05)),
}


@pytest.mark.parametrize("form", ["blocking", "asyncio"])
@pytest.mark.parametrize("call", LATE)
def test_a_plugin_that_ran_out_of_time_is_a_timeout_error_in_every_verb(
    stubs: Stubs, tmp_path: Path, runtime: Any, gate: Gate, call: str, form: str
) -> None:
    """The one that Python has for it, whatever the verb wraps around it."""
    stubs.add("one", {"wait_for": gate.path})
    version, run = LATE[call]
    plugin = {"type": "one", "name": "net1", "cniVersion": version}
    kind: Any = CNIConfig if form == "blocking" else AsyncCNIConfig
    library = kind(str(stubs.folder), tmp_path / "cache")
    with pytest.raises(TimeoutError) as caught:
        made = run(library, network(plugin, version=version), runtime)
        if form == "asyncio":
            asyncio.run(made)
    assert isinstance(caught.value, LibcniError) and is_timeout(caught.value)
    assert "0.05 s" in str(caught.value)
