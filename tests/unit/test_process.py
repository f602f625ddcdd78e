"""A program that is executed, within a bound on its time and on what it prints."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from cni import patience
from cni.errors import CNIError, TryAgainLater
from cni.kernel import process
from node.program import shell


def gone(pid: Path) -> bool:
    """Whether the process that wrote its number there has ended."""
    text = pid.read_text().strip() if pid.exists() else ""
    return bool(text) and not Path("/proc", text).exists()


SECONDS = 600.0


@pytest.fixture
def pid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a program writes its number: as soon as it has, ``SECONDS`` are over, however slow its start was.

    The clock jumps twice: a bound that was computed just before the first jump, and counted from just after it, ends
    with the second one.
    """
    path, jumps = tmp_path / "pid", [0.0]

    def now() -> float:
        begun = path.exists() and path.read_text().endswith("\n")
        if begun and len(jumps) < 3:
            jumps.append(jumps[-1] + SECONDS)
        return monotonic() + jumps[-1]

    for module in (process, patience):
        monkeypatch.setattr(module, "monotonic", now)
    return path


def test_one_that_does_not_end_is_killed_and_named(program: Callable[..., Path], pid: Path) -> None:
    """Nothing waits without a bound."""
    file = program(**shell(f"echo $$ > {pid}; exec sleep 600"))
    with pytest.raises(TryAgainLater) as caught:
        process.execute(str(file), {}, b"", SECONDS)
    assert caught.value.code == 11
    assert caught.value.msg == f"{file} did not end within 600 s and was killed"
    assert gone(pid)


def test_one_that_closes_its_streams_and_does_not_end_is_killed(program: Callable[..., Path], pid: Path) -> None:
    file = program(**shell(f"exec >&- 2>&-; echo $$ > {pid}; exec sleep 600"))
    with pytest.raises(TryAgainLater):
        process.execute(str(file), {}, b"", SECONDS)
    assert gone(pid)


@pytest.mark.parametrize("stream", ["", ">&2"])
def test_one_that_prints_without_end_is_killed(
    program: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    monkeypatch.setattr(process, "_OUTPUT_MAX", 1 << 20)
    pid = tmp_path / "pid"
    file = program(**shell(f"echo $$ > {pid}; exec yes {stream}"))
    with pytest.raises(CNIError, match="printed more than 1 MiB and was killed"):
        process.execute(str(file), {}, b"", timeout=30)
    assert gone(pid)


def test_as_much_as_is_allowed_is_read_whole(program: Callable[..., Path]) -> None:
    file = program("import sys; sys.stdout.write('x' * 3000000); sys.stderr.write('y' * 3000000)")
    status, output, noise = process.execute(str(file), {}, b"", timeout=30)
    assert (status, output == b"x" * 3000000, noise == b"y" * 3000000) == ("", True, True)


@pytest.mark.parametrize("streams", ["", ">/dev/null", "2>/dev/null"])
def test_a_grandchild_that_holds_the_streams_keeps_nobody(
    program: Callable[..., Path], tmp_path: Path, streams: str
) -> None:
    """The delegate has ended; what it left running (a daemon) may go on."""
    pid = tmp_path / "pid"
    file = program(**shell(f"sleep 600 {streams} & echo $! > {pid}; echo '{{}}'; echo said >&2"))
    status, output, noise = process.execute(str(file), {"PATH": "/bin"}, b"", timeout=30)
    assert (status, output, noise) == ("", b"{}\n", b"said\n")
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_file_that_is_being_written_is_tried_again(
    program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As libcni does: text file busy, a pause, another try; here the writer ends in the first pause."""
    file = program(**shell("echo '{}'"))
    writer = os.open(file, os.O_WRONLY)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        if seconds == process._BUSY_PAUSE:
            pauses.append(seconds)
            os.close(writer)

    monkeypatch.setattr(process, "sleep", pause)
    assert process.execute(str(file), {}, b"", timeout=30)[1] == b"{}\n"
    assert len(pauses) == 1


def test_a_file_that_stays_busy_is_an_error_in_the_end(
    program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = program(**shell("echo '{}'"))
    monkeypatch.setattr(process, "_BUSY_PAUSE", 0.001)
    with open(file, "r+b"):
        status, output, _ = process.execute(str(file), {}, b"", timeout=30)
    assert status == f"exec {file}: text file busy" and output == b""


def test_descriptors_are_given_back(program: Callable[..., Path]) -> None:
    """After a success, a failure, a file that cannot be executed and a kill."""
    good, bad = program("print('{}')"), program(**shell("exec sleep 600"), name="slow")
    before = sorted(os.listdir("/proc/self/fd"))
    process.execute(str(good), {}, b"x", 30)
    process.execute("/nowhere/at/all", {}, b"x", 30)
    with pytest.raises(TryAgainLater):
        process.execute(str(bad), {}, b"x", timeout=0.1)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_one_that_hangs_is_killed_where_nobody_keeps_its_status(program: Callable[..., Path], pid: Path) -> None:
    file = program(**shell(f"echo $$ > {pid}; exec sleep 600"))
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(TryAgainLater, match="did not end within 600 s"):
            process.execute(str(file), {}, b"", SECONDS)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert gone(pid)
