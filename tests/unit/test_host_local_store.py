"""The leases on disk: whole or not there, whatever dies when; the index that may be lost or damaged at any time."""

import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cni.address import Address
from cni.errors import TryAgainLater
from cni_host_local import index, store
from cni_host_local.plugin import PLUGIN
from cni_host_local.store import Store
from node.deadline import interrupted
from node.plugin import GO
from node.served import answer

ROOT = Path(__file__).parents[2]
SITE = sysconfig.get_paths()["purelib"]
Object = dict[str, Any]
NET = "net1"


def environment(verb: str, container: str, ifname: str = "eth0") -> dict[str, str]:
    return {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": "/nowhere",
        "CNI_PATH": "/nowhere",
    }


def configuration(data_dir: Path, *subnets: str) -> bytes:
    ranges = [[{"subnet": subnet}] for subnet in subnets or ("10.1.2.0/24",)]
    ipam = {"type": "host-local", "dataDir": str(data_dir), "ranges": ranges}
    return json.dumps({"cniVersion": "1.1.0", "name": NET, "cni.dev/valid-attachments": [], "ipam": ipam}).encode()


def call(verb: str, container: str, conf: bytes, ifname: str = "eth0") -> tuple[int, Object]:
    """One call in this process: exit status and document."""
    status, output = answer(PLUGIN, environment(verb, container, ifname), conf, io.StringIO())
    return status, json.loads(output or b"{}")


def add(container: str, conf: bytes, ifname: str = "eth0") -> str:
    status, document = call("ADD", container, conf, ifname)
    assert status == 0, document
    return str(document["ips"][0]["address"]).split("/")[0]


def leases(data_dir: Path) -> dict[str, bytes]:
    """Address to content; what is no address is left out."""
    found = {}
    for file in (data_dir / NET).glob("*"):
        try:
            Address.parse(file.name)
        except ValueError:
            continue
        found[file.name] = file.read_bytes()
    return found


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stores, with a folder of indexs of its own."""
    monkeypatch.setattr(index, "ROOT", str(tmp_path / "index"))
    return tmp_path / "leases"


# files


def test_the_files_are_gos_byte_for_byte(data_dir: Path) -> None:
    """Content, names and modes; nothing else is in the folder."""
    conf = configuration(data_dir, "10.1.2.0/24", "fd00::/64")
    add("c1", conf)
    files = {file.name: (file.read_bytes(), file.stat().st_mode & 0o777) for file in (data_dir / NET).iterdir()}
    umask = os.umask(0)
    os.umask(umask)
    assert files == {
        "10.1.2.2": (b"c1\r\neth0", 0o600),
        "fd00::2": (b"c1\r\neth0", 0o600),
        "last_reserved_ip.0": (b"10.1.2.2", 0o600),
        "last_reserved_ip.1": (b"fd00::2", 0o600),
        "lock": (b"", 0o750 & ~umask),
    }
    assert (data_dir / NET).stat().st_mode & 0o777 == 0o755 & ~umask


def test_the_index_lies_outside_of_the_store(data_dir: Path, tmp_path: Path) -> None:
    """Go walks the store's folder and deletes by content."""
    add("c1", configuration(data_dir))
    assert {path.name for path in tmp_path.iterdir()} == {"leases", "index"}
    assert any((tmp_path / "index").rglob("stamp"))


@pytest.mark.parametrize(
    ("content", "released"),
    [
        (b"c1\r\neth0", True),
        (b"  c1\r\neth0\n\n", True),
        (b"c1", True),
        (b"c1\n", True),
        (b"c1\neth0", False),
        (b"C1\r\neth0", False),
        (b"c1\r\neth00", False),
        (b"c1\r\neth0\r\nx", False),
        (b"c11\r\neth0", False),
        (b"", False),
        (b"\xff\xfe", False),
    ],
)
def test_release_is_by_content_whatever_the_file_is_called(data_dir: Path, content: bytes, released: bool) -> None:
    """White space around it does not matter; CR LF between the two does. Sub-folders are looked through."""
    inner = data_dir / NET / "inner"
    inner.mkdir(parents=True)
    for file in (inner / "10.9.9.9", data_dir / NET / "10.1.2.3", data_dir / NET / "no address"):
        file.write_bytes(content)
    assert call("DEL", "c1", configuration(data_dir))[0] == 0
    left = sorted(file.name for file in (data_dir / NET).rglob("*") if file.is_file() and file.name != "lock")
    assert left == ([] if released else ["10.1.2.3", "10.9.9.9", "no address"])


def test_one_del_is_one_release(data_dir: Path) -> None:
    """Go releases once a range set: the second time it falls back to the oldest format and frees that too."""
    conf = configuration(data_dir, "10.1.2.0/24", "10.1.3.0/24")
    add("c1", conf)
    (data_dir / NET / "10.1.2.99").write_text("c1")
    assert call("DEL", "c1", conf)[0] == 0
    assert leases(data_dir) == {"10.1.2.99": b"c1"}
    assert call("DEL", "c1", conf)[0] == 0
    assert leases(data_dir) == {}


@pytest.mark.parametrize("indexed", [True, False], ids=["with an index", "without"])
def test_the_note_of_the_last_address_is_no_lease(data_dir: Path, indexed: bool) -> None:
    """A container may have an id that reads like an address: Go's DEL of it removes the note."""
    conf = configuration(data_dir)
    assert add("c1", conf) == "10.1.2.2"
    if not indexed:
        shutil.rmtree(index.ROOT)
    note = data_dir / NET / "last_reserved_ip.0"
    assert call("CHECK", "10.1.2.2", conf)[0] == 1
    assert call("DEL", "10.1.2.2", conf)[0] == 0
    assert note.read_text() == "10.1.2.2" and set(leases(data_dir)) == {"10.1.2.2"}
    assert add("10.1.2.2", conf) == "10.1.2.3"


@pytest.mark.parametrize("name", ["backup", "10.1.2.300", "10.1.2.2~"])
def test_the_duplicate_test_wants_an_address_as_name(data_dir: Path, name: str) -> None:
    """CHECK and DEL go by the content alone."""
    conf = configuration(data_dir)
    (data_dir / NET).mkdir(parents=True)
    (data_dir / NET / name).write_bytes(b"c1\r\neth0")
    assert call("CHECK", "c1", conf)[0] == 0
    assert add("c1", conf) == "10.1.2.2"
    assert call("DEL", "c1", conf)[0] == 0
    assert leases(data_dir) == {} and not (data_dir / NET / name).exists()


def test_an_empty_file_of_a_crash_is_taken_over(data_dir: Path) -> None:
    """Go leaves one when it dies between making and writing it; there it blocks its address for ever."""
    conf = configuration(data_dir, "10.1.2.0/30")
    (data_dir / NET).mkdir(parents=True)
    (data_dir / NET / "10.1.2.2").write_bytes(b"")
    assert add("c1", conf) == "10.1.2.2"
    assert leases(data_dir) == {"10.1.2.2": b"c1\r\neth0"}


def test_an_empty_file_is_taken_over_by_a_request_too(data_dir: Path) -> None:
    conf = json.loads(configuration(data_dir))
    conf["runtimeConfig"] = {"ips": ["10.1.2.7"]}
    (data_dir / NET).mkdir(parents=True)
    (data_dir / NET / "10.1.2.7").write_bytes(b"")
    assert add("c1", json.dumps(conf).encode()) == "10.1.2.7"


def test_empty_files_among_many_are_taken_over(data_dir: Path) -> None:
    """Behind more leases than are tried one by one."""
    (data_dir / NET).mkdir(parents=True)
    for last in range(2, 255):
        (data_dir / NET / f"10.1.2.{last}").write_bytes(b"" if last == 200 else b"other\r\neth0")
    assert add("c1", configuration(data_dir)) == "10.1.2.200"


LINKS = ["link to a lease", "link to an empty file", "dangling link", "link to itself"]
KINDS = ["folder", "pipe", *LINKS, "endless", "no lease's length"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_occupies_its_address_and_is_left_alone(data_dir: Path, kind: str) -> None:
    """And nobody waits for a pipe."""
    at = data_dir / NET / "10.1.2.2"
    at.parent.mkdir(parents=True)
    (data_dir / "empty").write_text("")
    (data_dir / "lease").write_bytes(b"c2\r\neth0")
    {
        "folder": lambda: at.mkdir(),
        "pipe": lambda: os.mkfifo(at),
        "link to a lease": lambda: at.symlink_to(data_dir / "lease"),
        "link to an empty file": lambda: at.symlink_to(data_dir / "empty"),
        "dangling link": lambda: at.symlink_to(data_dir / "nowhere"),
        "link to itself": lambda: at.symlink_to(at),
        "endless": lambda: at.symlink_to("/dev/zero"),
        "no lease's length": lambda: at.write_bytes(b"c2\r\neth0" + b" " * (1 << 20)),
    }[kind]()
    conf = configuration(data_dir)
    with interrupted(10):
        assert add("c1", conf) == "10.1.2.3"
        assert call("CHECK", "c2", conf)[0] == 1
        assert call("GC", "", conf)[0] == 0
    assert os.path.lexists(at) and not (data_dir / NET / "10.1.2.3").exists()


UNREADABLE = [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ESTALE]


@pytest.mark.parametrize("number", UNREADABLE)
@pytest.mark.parametrize("indexed", [True, False], ids=["with an index", "without"])
@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "GC"])
def test_a_lease_that_cannot_be_read_is_an_error_and_stays(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, number: int, indexed: bool, verb: str
) -> None:
    """It may be the one that is looked for; where the index knows that it is not, it is not read."""
    conf = configuration(data_dir)
    at = f"{data_dir}/{NET}/{add('c1', conf)}"
    if not indexed:
        shutil.rmtree(index.ROOT)
    opens = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if path == at:
            raise OSError(number, os.strerror(number), path)
        return opens(path, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        status, error = call(verb, "c1", conf)
    assert (status, error["code"]) == (1, 999)
    assert error["msg"].endswith(f"cannot read {at}: {os.strerror(number)}")
    assert leases(data_dir) == {"10.1.2.2": b"c1\r\neth0"}
    assert call("DEL", "c1", conf)[0] == 0 and leases(data_dir) == {}


def test_a_folder_among_the_leases_that_cannot_be_read_is_an_error(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = data_dir / NET / "inner"
    inner.mkdir(parents=True)
    (inner / "10.1.2.2").write_bytes(b"c1\r\neth0")
    scans = os.scandir

    def refuse(path: Any) -> Any:
        if path == str(inner):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return scans(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        status, error = call("DEL", "c1", configuration(data_dir))
    assert status == 1 and f"cannot read {inner}" in error["msg"]
    assert call("DEL", "c1", configuration(data_dir))[0] == 0 and not (inner / "10.1.2.2").exists()


def test_a_store_that_cannot_be_looked_at_is_an_error(data_dir: Path) -> None:
    """Not one that was never used."""
    data_dir.symlink_to(data_dir)
    status, error = call("DEL", "c1", configuration(data_dir))
    assert status == 1 and f"cannot read {data_dir}/{NET}" in error["msg"]


@pytest.mark.parametrize("kind", ["pipe", "link"])
@pytest.mark.parametrize("name", ["lock", "last_reserved_ip.0"])
def test_what_is_no_file_where_the_stores_own_are_is_refused(data_dir: Path, name: str, kind: str) -> None:
    """Nobody waits for a pipe, nothing is written through a link, and nothing is leased."""
    conf, at = configuration(data_dir), data_dir / NET / name
    at.parent.mkdir(parents=True)
    elsewhere = data_dir / "elsewhere"
    elsewhere.write_text("10.1.2.9")
    if kind == "pipe":
        os.mkfifo(at)
    else:
        at.symlink_to(elsewhere)
    with interrupted(10):
        status, error = call("ADD", "c1", conf)
    assert status == 1 and str(at) in error["msg"]
    assert leases(data_dir) == {} and elsewhere.read_text() == "10.1.2.9"
    at.unlink()
    assert add("c1", conf) == "10.1.2.2"


# without files that have no name (NFS, old overlay file systems)


@pytest.fixture(params=["O_TMPFILE", "O_EXCL"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a lease is made."""
    if request.param == "O_EXCL":

        def refuse(self: Store, name: str, content: bytes) -> bool:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

        monkeypatch.setattr(Store, "_link", refuse)
    return str(request.param)


def test_leases_are_exclusive_either_way(data_dir: Path, way: str) -> None:
    conf = configuration(data_dir, "10.1.2.0/29")
    assert [add(f"c{number}", conf) for number in range(5)] == [f"10.1.2.{last}" for last in range(2, 7)]
    assert call("ADD", "c9", conf)[1]["code"] == 100
    assert len(leases(data_dir)) == 5
    assert call("DEL", "c2", conf)[0] == 0
    (data_dir / NET / "10.1.2.4").write_bytes(b"")
    assert add("c9", conf) == "10.1.2.4"
    assert leases(data_dir)["10.1.2.4"] == b"c9\r\neth0"
    assert (data_dir / NET / "10.1.2.4").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EXDEV])
def test_what_a_file_system_says_that_lacks_them_leads_to_the_other_way(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(self: Store, name: str, content: bytes) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Store, "_link", refuse)
    assert add("c1", configuration(data_dir)) == "10.1.2.2"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fails_is_an_error_and_leaves_nothing(
    data_dir: Path, way: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """While the lease is written, or the note behind it."""
    conf = configuration(data_dir)
    add("c0", conf)

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        if way == "O_EXCL":
            patched.setattr(store.os, "write", refuse)
        else:
            patched.setattr(store.os, "fdatasync", lambda fd: refuse(fd, b""))
        status, error = call("ADD", "c1", conf)
    assert (status, error["code"]) == (1, 999) and os.strerror(number) in error["msg"]
    assert set(leases(data_dir)) == {"10.1.2.2"}
    note = data_dir / NET / "last_reserved_ip.0"
    note.unlink()
    note.mkdir()
    assert call("ADD", "c1", conf)[0] == 1
    assert set(leases(data_dir)) == {"10.1.2.2"}
    note.rmdir()
    assert add("c1", conf) == "10.1.2.3"
    assert call("CHECK", "c1", conf)[0] == 0


def test_a_lease_that_cannot_be_removed_is_an_error_and_the_others_go(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = configuration(data_dir, "10.1.2.0/24", "fd00::/64")
    add("c1", conf)
    real = os.unlink

    def unlink(path: str) -> None:
        if path.endswith("10.1.2.2"):
            raise OSError(errno.EIO, "broken")
        real(path)

    with monkeypatch.context() as patched:
        patched.setattr(store.os, "unlink", unlink)
        status, error = call("DEL", "c1", conf)
    assert status == 1 and "broken" in error["msg"]
    assert set(leases(data_dir)) == {"10.1.2.2"}
    assert call("DEL", "c1", conf)[0] == 0
    assert leases(data_dir) == {}


# whatever dies when


def _mortal(step: int) -> Callable[[], None]:
    """Make this process die at the given step: before each deed on a file, after each opening, before each write."""
    seen = 0

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen == step + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    events = ("open", "os.", "fcntl.")
    sys.addaudithook(lambda event, _: tick() if event.startswith(events) else None)
    real_open, real_write, real_sync = open, os.write, os.fdatasync

    def opened(*arguments: Any, **named: Any) -> Any:
        file = real_open(*arguments, **named)
        tick()
        return file

    def write(fd: int, data: bytes) -> int:
        tick()
        return real_write(fd, data)

    def sync(fd: int) -> None:
        tick()
        real_sync(fd)

    for module in (index, store):
        module.open = opened  # type: ignore[attr-defined]
    os.write, os.fdatasync = write, sync
    return tick


def _die_at(step: int, verb: str, container: str, conf: bytes) -> bool:
    """Serve a call in a child that dies at a step: whether it did."""
    child = os.fork()
    if not child:
        try:
            _mortal(step)
            status, _ = call(verb, container, conf)
            os._exit(status)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert status == 0, f"{verb} failed at step {step}"
    return False


def _fresh(data_dir: Path, conf: bytes) -> None:
    pass


def _used(data_dir: Path, conf: bytes) -> None:
    """Others' leases, and an index that is complete."""
    add("other", conf)
    assert call("CHECK", "other", conf)[0] == 0


def _without_index(data_dir: Path, conf: bytes) -> None:
    add("other", conf)
    shutil.rmtree(index.ROOT)


@pytest.mark.parametrize("prepare", [_fresh, _used, _without_index])
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_killed_at_any_step_nothing_is_half_there_and_nothing_lost(
    data_dir: Path, way: str, verb: str, prepare: Callable[[Path, bytes], None]
) -> None:
    """SIGKILL at every step of a call; then DEL frees everything, and the address can be had again."""
    ranges = [[{"subnet": "10.1.2.0/29", "rangeEnd": "10.1.2.3"}]]  # two addresses, of which "other" may have one
    ipam = {"type": "host-local", "dataDir": str(data_dir), "ranges": ranges}
    conf = json.dumps({"cniVersion": "1.1.0", "name": NET, "ipam": ipam}).encode()
    step = 0
    while True:
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.rmtree(index.ROOT, ignore_errors=True)
        prepare(data_dir, conf)
        others = leases(data_dir)
        if verb == "DEL":
            add("c1", conf)
        died = _die_at(step, verb, "c1", conf)
        found = leases(data_dir)
        assert {name: found.get(name) for name in others} == others, f"step {step}: another's lease was touched"
        for name, content in found.items():
            assert content or way == "O_EXCL", f"step {step}: {name} is empty"
            assert content in (b"", b"c1\r\neth0", b"other\r\neth0"), f"step {step}: {name} is half written"
        held = [name for name, content in found.items() if content == b"c1\r\neth0"]
        # CHECK tells what the files say, whatever the index has come to
        assert (call("CHECK", "c1", conf)[0] == 0) == bool(held), f"step {step}"
        assert call("DEL", "c1", conf)[0] == 0
        assert b"c1\r\neth0" not in leases(data_dir).values(), f"step {step}"
        free = 2 - len(others)
        taken = [add(f"new{number}", conf) for number in range(free)]
        assert len(set(taken)) == free and set(leases(data_dir)) == {"10.1.2.2", "10.1.2.3"}, f"step {step}"
        assert all(leases(data_dir).values())
        if not died:
            break
        step += 1
    assert step > 8, "nothing died"


# the index


class Indexes(RuleBasedStateMachine):
    """Calls of ours, files that others make and remove, and every damage to the index: the files alone count."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(os.environ["PYCNI_TEST_FOLDER"]) / str(time.monotonic_ns())
        self.root = self.folder / "index"
        index.ROOT = str(self.root)
        self.data_dir = self.folder / "leases"
        self.conf = configuration(self.data_dir, "10.1.2.0/26")
        self.model: dict[str, bytes] = {}
        (self.data_dir / NET).mkdir(parents=True)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    containers = st.sampled_from(["a", "b", "c", "d"])
    addresses = st.integers(2, 9).map(lambda last: f"10.1.2.{last}")

    def held(self, container: str) -> list[str]:
        contents = (f"{container}\r\neth0".encode(), container.encode())
        exact = [name for name, content in self.model.items() if content == contents[0]]
        return exact or [name for name, content in self.model.items() if content == contents[1]]

    @rule(container=containers)
    def add(self, container: str) -> None:
        status, document = call("ADD", container, self.conf)
        both = (f"{container}\r\neth0".encode(), container.encode())
        if any(content in both for content in self.model.values()):
            assert status == 1 and "duplicate allocation" in document["msg"]
            return
        assert status == 0
        address = document["ips"][0]["address"].split("/")[0]
        assert address not in self.model
        self.model[address] = both[0]

    @rule(container=containers)
    def delete(self, container: str) -> None:
        assert call("DEL", container, self.conf)[0] == 0
        for name in self.held(container):
            del self.model[name]

    @rule(container=containers)
    def check(self, container: str) -> None:
        assert (call("CHECK", container, self.conf)[0] == 0) == bool(self.held(container))

    @rule(container=containers, address=addresses, old=st.booleans())
    def another_adds(self, container: str, address: str, old: bool) -> None:
        content = container.encode() if old else f"{container}\r\neth0".encode()
        try:
            fd = os.open(self.data_dir / NET / address, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return
        os.write(fd, content)
        os.close(fd)
        self.model[address] = content

    @rule(address=addresses)
    def another_removes(self, address: str) -> None:
        (self.data_dir / NET / address).unlink(missing_ok=True)
        self.model.pop(address, None)

    @rule(address=addresses, other=addresses)
    def another_renames(self, address: str, other: str) -> None:
        if address in self.model:
            os.rename(self.data_dir / NET / address, self.data_dir / NET / other)
            self.model[other] = self.model.pop(address)

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.is_file())

    @rule(whole=st.booleans(), data=st.data())
    def the_index_is_lost(self, whole: bool, data: st.DataObject) -> None:
        if whole:
            shutil.rmtree(self.root, ignore_errors=True)
        elif files := self.files():
            data.draw(st.sampled_from(files)).unlink()

    @rule(data=st.data(), content=st.binary(max_size=40), how=st.sampled_from(["replace", "cut", "append", "flip"]))
    def the_index_is_damaged(self, data: st.DataObject, content: bytes, how: str) -> None:
        files = self.files()
        if not files:
            return
        file = data.draw(st.sampled_from(files))
        old = file.read_bytes()
        if how == "flip" and old:
            place = data.draw(st.integers(0, len(old) - 1))
            new = old[:place] + bytes([old[place] ^ 1]) + old[place + 1 :]
        else:
            new = {"replace": content, "cut": old[: len(old) // 2], "append": old + content}.get(how, b"")
        times = (file.parent.stat().st_atime_ns, file.parent.stat().st_mtime_ns)
        file.write_bytes(new)
        os.utime(file.parent, ns=times)  # even if the folder's time does not tell

    @rule()
    def the_index_is_an_older_one(self) -> None:
        """As after a restored backup: of an earlier state, with times of its own."""
        saved = self.folder / "saved"
        if saved.exists():
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.copytree(saved, self.root)
            shutil.rmtree(saved)
        elif self.root.exists():
            shutil.copytree(self.root, saved)

    @invariant()
    def the_files_are_those_of_the_model(self) -> None:
        if hasattr(self, "model"):
            assert leases(self.data_dir) == self.model


class TestIndexes:
    """The state machine above, with a folder of its own."""

    def test_the_files_alone_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(index, "ROOT", "")
        monkeypatch.setenv("PYCNI_TEST_FOLDER", str(tmp_path))
        from hypothesis.stateful import run_state_machine_as_test

        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Indexes, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
        )


def test_the_stamp_is_a_time_that_no_change_would_leave(data_dir: Path) -> None:
    """Of two changes in one tick of the clock the second may leave no trace: so ours is put seconds back."""
    conf = configuration(data_dir)
    for verb in ("ADD", "DEL"):
        assert call(verb, "c1", conf)[0] == 0
        folders = [data_dir / NET, *Path(index.ROOT).glob("*/entries-*")]
        assert len(folders) == 2
        for folder in folders:
            assert folder.stat().st_mtime_ns < time.time_ns() - 1_000_000_000


def test_an_index_that_is_made_anew_replaces_the_old_one(data_dir: Path) -> None:
    """Nothing piles up in /run, whatever was left there."""
    conf = configuration(data_dir)
    for number in range(5):
        add(f"c{number}", conf)
        (folder,) = Path(index.ROOT).iterdir()
        (folder / "stamp").write_bytes(b"damaged")
        (folder / f"stamp.{number}").write_bytes(b"left of a call that died")
    assert call("DEL", "c0", conf)[0] == 0
    assert len(list(folder.glob("entries-*"))) == 1
    assert {file.name for file in folder.iterdir() if file.is_file()} == {"stamp"}
    assert len(list(folder.glob("entries-*/*"))) == 4


@pytest.mark.parametrize("spoil", ["a file in its place", "not writable"])
def test_where_no_index_can_be_written_there_is_none(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    """The store is walked then: slower, and right."""
    if spoil == "not writable":
        monkeypatch.setattr(index, "ROOT", "/proc/sys/pycni")
    else:
        (tmp_path / "index").write_text("")
    conf = configuration(data_dir, "10.1.2.0/29")
    assert [add(name, conf) for name in "ab"] == ["10.1.2.2", "10.1.2.3"]
    assert call("ADD", "a", conf)[1]["code"] == 101
    assert call("CHECK", "a", conf)[0] == 0 and call("CHECK", "x", conf)[0] == 1
    assert call("DEL", "a", conf)[0] == 0
    assert leases(data_dir) == {"10.1.2.3": b"b\r\neth0"}


def test_what_changes_in_a_sub_folder_is_seen(data_dir: Path) -> None:
    """The store's own folder does not tell of it, so there is no index as long as it has sub-folders."""
    conf = configuration(data_dir)
    add("c1", conf)
    inner = data_dir / NET / "inner"
    inner.mkdir()
    assert call("CHECK", "c2", conf)[0] == 1
    (inner / "10.1.2.99").write_bytes(b"c2\r\neth0")
    assert call("CHECK", "c2", conf)[0] == 0
    assert call("DEL", "c2", conf)[0] == 0 and list(inner.iterdir()) == []


def test_two_stores_of_one_name_have_indexs_of_their_own(data_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / "others"
    for folder in (data_dir, other):
        assert add("c1", configuration(folder)) == "10.1.2.2"
    assert call("DEL", "c1", configuration(other))[0] == 0
    assert call("CHECK", "c1", configuration(data_dir))[0] == 0
    assert call("CHECK", "c1", configuration(other))[0] == 1


def test_a_lease_that_was_rewritten_in_place_is_its_new_owners(data_dir: Path) -> None:
    """The folder does not tell of that: so a file is read again before it is taken for somebody's."""
    conf = configuration(data_dir)
    address = add("c1", conf)
    assert call("CHECK", "c1", conf)[0] == 0
    (data_dir / NET / address).write_bytes(b"c2\r\neth0")
    assert call("CHECK", "c1", conf)[0] == 1
    assert call("DEL", "c1", conf)[0] == 0
    assert leases(data_dir) == {address: b"c2\r\neth0"}
    assert call("CHECK", "c2", conf)[0] == 0
    assert call("DEL", "c2", conf)[0] == 0
    assert leases(data_dir) == {}


# the cost


class Spy:
    """What a call does to files, counted by the interpreter's own events."""

    def __init__(self) -> None:
        self.on = False
        self.events: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: Any) -> None:
        if self.on and (event == "open" or event.startswith("os.")):
            self.events.append(event)

    def count(self, verb: str, container: str, conf: bytes) -> list[str]:
        self.events = []
        self.on = True
        try:
            assert call(verb, container, conf)[0] == 0
        finally:
            self.on = False
        return sorted(self.events)


def test_add_and_del_cost_the_same_at_30_000_leases_as_at_none(data_dir: Path) -> None:
    """Exactly the same deeds on files, and the same number of system calls; the first call may look around once."""
    few, many = configuration(data_dir / "few", "10.0.0.0/8"), configuration(data_dir / "many", "10.0.0.0/8")
    full = data_dir / "many" / NET
    full.mkdir(parents=True)
    first = Address.parse("10.0.0.2")
    for number in range(30_000):
        with open(full / str(first + number), "wb") as file:
            file.write(b"c%d\r\neth0" % number)
    (full / "last_reserved_ip.0").write_text(str(first + 29_999))
    spy = Spy()
    for conf in (few, many):
        add("first", conf)
    for verb in ("ADD", "CHECK", "DEL", "DEL", "ADD", "DEL"):
        assert spy.count(verb, "second", many) == spy.count(verb, "second", few), verb
    for verb in ("ADD", "DEL"):
        _system_calls(verb, few, data_dir)  # Python may write down what it compiled
    assert _system_calls("ADD", many, data_dir) == _system_calls("ADD", few, data_dir)
    assert _system_calls("DEL", many, data_dir) == _system_calls("DEL", few, data_dir)


DRIVER = f"""
import sys
sys.path[:0] = {[str(ROOT / "common"), str(ROOT / "plugins/host-local"), SITE]!r}
import cni_host_local.index
cni_host_local.index.ROOT = sys.argv[1]
from cni import skel
from cni_host_local.plugin import PLUGIN
import os
sys.exit(skel.main(PLUGIN))
"""


def _system_calls(verb: str, conf: bytes, folder: Path) -> dict[str, int]:
    """The calls that touch files, by name, of a whole process as strace counts them."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = folder / "trace"
    command = ["strace", "-o", str(trace), "-e", "trace=%file,getdents64,read,write,flock,fdatasync,lseek"]
    done = subprocess.run(
        [*command, "/usr/bin/python3", "-I", "-S", "-c", DRIVER, index.ROOT],
        input=conf,
        env=environment(verb, "traced"),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts: dict[str, int] = {}
    for line in trace.read_text(errors="replace").splitlines():
        name = line.split("(")[0]
        counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.mark.parametrize("subnet", ["10.1.0.0/16", "fd00::/64"])
def test_a_full_stretch_is_looked_at_once_and_not_tried_address_by_address(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, subnet: str
) -> None:
    """2000 leases in a row and no note where to begin: a look at the folder, and few attempts."""
    folder = data_dir / NET
    folder.mkdir(parents=True)
    first = Address.parse(subnet.split("/")[0]) + 2
    for number in range(2000):
        (folder / str(first + number)).write_bytes(b"other\r\neth0")
    conf = configuration(data_dir, subnet)
    call("CHECK", "c1", conf)
    tried: list[str] = []
    real = Store._create

    def create(self: Store, name: str, content: bytes) -> bool:
        tried.append(name)
        return real(self, name, content)

    monkeypatch.setattr(Store, "_create", create)
    assert add("c1", conf) == str(first + 2000)
    assert len(tried) < 40
    assert len(set(tried)) == len(tried)


# the lock


@pytest.fixture
def holder(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock of the store."""
    (data_dir / NET).mkdir(parents=True)
    command = ["flock", str(data_dir / NET / "lock"), "sh", "-c", "echo; exec cat"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.read(1)
    yield process
    process.communicate()


def test_the_wait_for_the_lock_has_a_bound_and_names_the_holder(
    data_dir: Path, holder: "subprocess.Popen[bytes]"
) -> None:
    with pytest.raises(TryAgainLater) as caught, Store(str(data_dir), NET, timeout=0.05):
        raise AssertionError("locked twice")
    assert caught.value.code == 11
    assert caught.value.msg == (f"{data_dir}/{NET}/lock is held by process {holder.pid} (flock) for more than 0.05 s")


def test_who_waits_gets_the_lock_when_it_is_free(data_dir: Path, holder: "subprocess.Popen[bytes]") -> None:
    child = os.fork()
    if not child:
        try:
            assert holder.stdin is not None
            os.close(holder.stdin.fileno())
            with Store(str(data_dir), NET, timeout=30):
                os._exit(7)
        finally:
            os._exit(1)
    # it waits: neither ended nor inside
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    holder.communicate()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_bound_is_below_kubelets_patience() -> None:
    assert 10 <= store.LOCK_TIMEOUT <= 100


def test_descriptors_are_given_back(data_dir: Path, holder: "subprocess.Popen[bytes]", way: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(TryAgainLater), Store(str(data_dir), NET, timeout=0.01):
        pass
    assert os.listdir("/proc/self/fd") == before
    holder.communicate()
    before = os.listdir("/proc/self/fd")
    conf = configuration(data_dir)
    for verb in ("ADD", "ADD", "CHECK", "DEL"):
        call(verb, "c1", conf)
    assert os.listdir("/proc/self/fd") == before


# many at once

WORKER = f"""
import json, os, random, subprocess, sys
sys.path[:0] = {[str(ROOT / "common"), str(ROOT / "plugins/host-local"), SITE]!r}
root, claims, name, program = sys.argv[1:5]
conf = sys.stdin.buffer.read()
import cni_host_local.index
cni_host_local.index.ROOT = root
from cni import skel
from cni_host_local.plugin import PLUGIN

def serve(verb, container):
    environ = {{"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": "/x", "CNI_PATH": "/x"}}
    if program:
        done = subprocess.run([program], input=conf, env=environ, capture_output=True)
        return done.returncode, done.stdout
    answered = skel.answer(PLUGIN, environ, conf, sys.stderr)
    answered.close()
    return answered.status, answered.output

rng = random.Random(name)
held = {{}}
for number in range(int(sys.argv[5])):
    if held and rng.random() < 0.4:
        container = rng.choice(sorted(held))
        address = held.pop(container)
        os.unlink(f"{{claims}}/{{address}}")
        status, output = serve("DEL", container)
        assert status == 0, output
    else:
        container = f"{{name}}-{{number}}"
        status, output = serve("ADD", container)
        assert status == 0, output
        address = json.loads(output)["ips"][0]["address"].split("/")[0]
        os.close(os.open(f"{{claims}}/{{address}}", os.O_CREAT | os.O_EXCL))  # nobody else may have it now
        held[container] = address
print(json.dumps(held))
"""


def test_many_processes_of_ours_and_gos_allocate_at_once(data_dir: Path, tmp_path: Path) -> None:
    """On one folder, ADD and DEL mixed: an address is one's alone from ADD to DEL, and the files tell the end."""
    conf = configuration(data_dir, "10.1.2.0/25").replace(b'"cniVersion": "1.1.0"', b'"cniVersion": "1.0.0"')
    (tmp_path / "claims").mkdir()
    go = [f"{GO}/host-local"] if Path(GO, "host-local").is_file() else []
    workers = []
    for number, program in enumerate(["", "", "", *go, *go]):
        command = ["/usr/bin/python3", "-I", "-c", WORKER, index.ROOT, str(tmp_path / "claims"), f"w{number}", program]
        process = subprocess.Popen(
            [*command, "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(conf)
        process.stdin.close()
        process.stdin = None
        workers.append(process)
    held: dict[str, str] = {}
    for process in workers:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        held |= json.loads(output)
    assert leases(data_dir) == {address: f"{container}\r\neth0".encode() for container, address in held.items()}
    assert len(set(held.values())) == len(held) > 20
    # and each takes back what the other gave
    order = sorted(held)
    random.Random(1).shuffle(order)
    for place, container in enumerate(order):
        if go and place % 2:
            environ = environment("DEL", container)
            assert subprocess.run([go[0]], input=conf, env=environ, capture_output=True).returncode == 0
        else:
            assert call("DEL", container, conf)[0] == 0
    assert leases(data_dir) == {}


def test_the_first_calls_at_once_make_one_store(data_dir: Path) -> None:
    """Twelve processes on a network that nobody used yet."""
    conf = configuration(data_dir)
    children = []
    for number in range(12):
        child = os.fork()
        if not child:
            try:
                os._exit(call("ADD", f"c{number}", conf)[0])
            finally:
                os._exit(99)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 12
    assert set(leases(data_dir)) == {f"10.1.2.{last}" for last in range(2, 14)}
    assert set(leases(data_dir).values()) == {b"c%d\r\neth0" % number for number in range(12)}
