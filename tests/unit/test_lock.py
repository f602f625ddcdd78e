"""One call at a time for an attachment: who waits for whom, how long, and what is left behind."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cni import lock
from cni.attachment import Attachment
from cni.errors import TryAgainLater
from cni.site import Roots
from node.served import probe, serve

ONE = Attachment("net1", "ctr1", "eth0")
OTHERS = [
    ("bridge", Attachment("net1", "ctr1", "eth1")),
    ("bridge", Attachment("net1", "ctr2", "eth0")),
    ("bridge", Attachment("net2", "ctr1", "eth0")),
    ("host-local", ONE),
]


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of this test's own."""
    monkeypatch.setattr(Roots.__init__, "__defaults__", ("/proc", "/sys", str(tmp_path / "run/cni"), "/etc/cni"))
    return tmp_path / "run/cni/attachments"


@pytest.fixture
def ours(file: Path) -> Iterator[lock.Locks]:
    """The locks of this process."""
    made = lock.Locks(str(file))
    yield made
    made.close()


@contextmanager
def another_process(
    file: Path, plugin: str = "bridge", attachment: Attachment = ONE
) -> Iterator["subprocess.Popen[str]"]:
    """One that holds a lock until the context ends, or it is killed."""
    code = (
        "import sys; from cni import lock; from cni.attachment import Attachment\n"
        "with lock.AttachmentLock(lock.Locks(sys.argv[1]), sys.argv[2], Attachment(*sys.argv[3:])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    words = [str(file), plugin, attachment.network, attachment.container, attachment.ifname]
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_waits_and_then_says_for_whom(file: Path, ours: lock.Locks) -> None:
    """The error is for another try; it names the attachment and the process."""
    with another_process(file) as holder:
        with pytest.raises(TryAgainLater) as caught, lock.AttachmentLock(ours, "bridge", ONE, timeout=0.05):
            raise AssertionError("it was not held")
        assert "net1/ctr1/eth0" in caught.value.msg and "bridge" in caught.value.msg
        assert f"process {holder.pid} " in caught.value.details


@pytest.mark.parametrize(("plugin", "attachment"), OTHERS)
def test_nobody_else_waits(file: Path, ours: lock.Locks, plugin: str, attachment: Attachment) -> None:
    """Another interface, container, network; or the same attachment's delegate."""
    with another_process(file), lock.AttachmentLock(ours, plugin, attachment, timeout=0):
        pass


def test_separators_count() -> None:
    """Names that are equal when joined are not the same attachment."""
    places = {
        lock.place("bridge", Attachment("a", "bc", "d")),
        lock.place("bridge", Attachment("ab", "c", "d")),
        lock.place("bridge", Attachment("a", "b", "cd")),
        lock.place("bridgea", Attachment("", "bc", "d")),
    }
    assert len(places) == 4 and all(0 <= place < 1 << 62 for place in places)


def test_a_killed_process_has_no_lock(file: Path, ours: lock.Locks) -> None:
    """The kernel gives it up with the process; there is nothing to clear away."""
    with another_process(file) as holder:
        holder.kill()
        holder.wait()
        with lock.AttachmentLock(ours, "bridge", ONE, timeout=0):
            pass


def test_who_waits_goes_on_when_the_other_ends(file: Path, ours: lock.Locks) -> None:
    """Within moments."""
    with another_process(file) as holder:
        assert holder.stdin is not None
        holder.stdin.close()
        with lock.AttachmentLock(ours, "bridge", ONE, timeout=30):
            holder.wait(30)
        holder.stdin = None


def test_afterwards_it_is_free_also_after_an_error(file: Path, ours: lock.Locks) -> None:
    """For other processes."""
    with pytest.raises(ZeroDivisionError), lock.AttachmentLock(ours, "bridge", ONE):
        raise ZeroDivisionError
    with another_process(file):
        pass


def test_a_plugin_that_calls_its_own_kind_does_not_wait_for_itself(file: Path, ours: lock.Locks) -> None:
    """And the inner call does not free the outer one's lock."""
    with lock.AttachmentLock(ours, "bridge", ONE, timeout=0):
        with lock.AttachmentLock(ours, "bridge", ONE, timeout=0):
            pass
        code = "import sys; from cni import lock; from cni.attachment import Attachment\n"
        code += "with lock.AttachmentLock(lock.Locks(sys.argv[1]), 'bridge', Attachment('net1', 'ctr1', 'eth0'), timeout=0): pass"
        done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "TryAgainLater" in done.stderr


def test_one_small_file_is_all_that_is_left(file: Path, ours: lock.Locks) -> None:
    """However many attachments there were; nobody else may read or lock it."""
    for number in range(200):
        with lock.AttachmentLock(ours, "bridge", Attachment("net1", f"ctr{number}", "eth0")):
            pass
    assert [at.name for at in file.parent.iterdir()] == [file.name]
    assert (file.stat().st_size, file.stat().st_mode & 0o777) == (0, 0o600)


def test_where_no_file_can_be_had_calls_go_on(tmp_path: Path) -> None:
    """A node without a writable /run is no worse off than before; a symbolic link is not followed."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "file/below/attachments", tmp_path / "link"):
        with lock.AttachmentLock(lock.Locks(str(path)), "bridge", ONE, timeout=0):
            pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("verb", "waits"), [("ADD", True), ("DEL", True), ("CHECK", False), ("GC", False), ("STATUS", False)]
)
def test_the_frame_locks_what_makes_and_removes(
    file: Path, monkeypatch: pytest.MonkeyPatch, verb: str, waits: bool
) -> None:
    """ADD and DEL of one attachment go one after the other, before the plugin is asked; the others do not wait."""
    monkeypatch.setattr(lock.AttachmentLock.__init__, "__defaults__", (0.05,))
    seen: list[str] = []
    functions: dict[str, Any] = dict.fromkeys(
        ("add", "delete", "check", "gc", "status"), lambda call: seen.append(call.verb)
    )
    conf = {"cniVersion": "1.1.0", "name": "net1"}
    with probe(**functions) as plugin, another_process(file, "probe"):
        if waits:
            assert serve(plugin, verb, conf, container="ctr1").code == 11
            assert seen == []
        else:
            assert serve(plugin, verb, conf, container="ctr1").ok and seen == [verb]
        assert serve(plugin, "DEL", conf, container="ctr2").ok
