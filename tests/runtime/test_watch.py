"""The watcher of the configuration folder: every way in which a file comes, changes and goes."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from libcni.containerd import Containerd, LoadFailed, Watcher, new, with_all_conf, with_plugin_conf_dir
from libcni.containerd._inotify import Folders
from node.deadline import eventually

from .conftest import network

MOUNTS = Path(__file__).with_name("mounting.py")


class Watched:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cni: Containerd = new(with_plugin_conf_dir(str(folder)))
        self.watcher = Watcher(self.cni, str(folder), with_all_conf)

    @property
    def names(self) -> list[str]:
        return [network.config.name for network in self.cni.get_config().networks]

    def becomes(self, *names: str) -> bool:
        return eventually(lambda: self.names == list(names))


def _write(file: Path, name: str) -> None:
    file.write_bytes(network("one", name=name).bytes)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    (tmp_path / "net.d").mkdir()
    found = Watched(tmp_path / "net.d")
    yield found
    found.watcher.close()


def test_files_come_change_and_go(watched: Watched, tmp_path: Path) -> None:
    assert isinstance(watched.watcher.last_error, LoadFailed)
    _write(watched.folder / "10.conflist", "a")
    assert watched.becomes("a")
    assert watched.watcher.last_error is None
    _write(watched.folder / "10.conflist", "b")
    assert watched.becomes("b")
    _write(tmp_path / "elsewhere", "c")
    shutil.move(tmp_path / "elsewhere", watched.folder / "20.conflist")
    assert watched.becomes("b", "c"), "moved in from another folder"
    os.rename(watched.folder / "20.conflist", watched.folder / "05.conflist")
    assert watched.becomes("c", "b"), "renamed"
    _write(tmp_path / "target", "d")
    (watched.folder / "30.conflist").symlink_to(tmp_path / "target")
    assert watched.becomes("c", "b", "d"), "linked"
    os.unlink(watched.folder / "05.conflist")
    assert watched.becomes("b", "d"), "removed"


def test_a_bad_file_is_told_and_mended(watched: Watched) -> None:
    _write(watched.folder / "10.conflist", "a")
    assert watched.becomes("a")
    (watched.folder / "20.conflist").write_text("{")
    assert eventually(lambda: "20.conflist" in str(watched.watcher.skipped))
    assert watched.names == ["a"] and watched.watcher.last_error is None
    _write(watched.folder / "20.conflist", "b")
    assert watched.becomes("a", "b")
    assert watched.watcher.skipped == ()


def test_the_last_good_version_stays_while_a_file_is_bad(watched: Watched) -> None:
    """Every network of the folder was unloaded before; a file that is removed is removed."""
    for number in (1, 2):
        _write(watched.folder / f"{number}.conflist", f"n{number}")
    assert watched.becomes("n1", "n2")
    (watched.folder / "1.conflist").write_text("")
    assert eventually(lambda: len(watched.watcher.skipped) == 1)
    assert watched.names == ["n1", "n2"]
    os.unlink(watched.folder / "1.conflist")
    assert watched.becomes("n2")
    (watched.folder / "1.conflist").write_text("{")
    assert eventually(lambda: len(watched.watcher.skipped) == 1)
    assert watched.names == ["n2"], "what was removed does not come back"


def test_plugins_in_the_folder_of_a_network(watched: Watched) -> None:
    def kinds() -> list[str]:
        return [plugin.network.type for net in watched.cni.get_config().networks for plugin in net.config.plugins]

    _write(watched.folder / "10.conflist", "net1")
    assert watched.becomes("net1")
    inner = watched.folder / "net1"
    inner.mkdir()
    (inner / "20.conf").write_text('{"type":"two"}')
    assert eventually(lambda: kinds() == ["one", "two"])
    (inner / "20.conf").write_text('{"type":"three"}')
    assert eventually(lambda: kinds() == ["one", "three"]), "the folder itself is watched now"
    (inner / "20.conf").write_text("{")
    assert eventually(lambda: len(watched.watcher.skipped) == 1)
    assert kinds() == ["one", "three"], "the last good version"
    shutil.rmtree(inner)
    assert eventually(lambda: kinds() == ["one"])


def test_what_a_file_links_to_is_changed(watched: Watched, tmp_path: Path) -> None:
    """Written, replaced by a rename, and through a second link, as kubelet swaps a mounted ConfigMap."""
    volume = tmp_path / "volume"
    for version in ("old", "new"):
        (volume / version).mkdir(parents=True)
        _write(volume / version / "cni.json", version)
    (volume / "..data").symlink_to("old")
    (volume / "cni.json").symlink_to("..data/cni.json")
    (watched.folder / "10.conflist").symlink_to(volume / "cni.json")
    assert watched.becomes("old")
    _write(volume / "old/cni.json", "written")
    assert watched.becomes("written")
    _write(volume / "old/aside", "renamed")
    os.rename(volume / "old/aside", volume / "old/cni.json")
    assert watched.becomes("renamed")
    (volume / "..data_tmp").symlink_to("new")
    os.rename(volume / "..data_tmp", volume / "..data")
    assert watched.becomes("new")


def test_what_a_file_links_to_is_away_for_a_moment(watched: Watched, tmp_path: Path) -> None:
    """The file is there, its content is not: that is bad, not removed."""
    _write(tmp_path / "target", "a")
    (watched.folder / "10.conflist").symlink_to(tmp_path / "target")
    assert watched.becomes("a")
    os.unlink(tmp_path / "target")
    assert eventually(lambda: len(watched.watcher.skipped) == 1)
    assert watched.names == ["a"]
    _write(tmp_path / "target", "b")
    assert watched.becomes("b")


@pytest.mark.root
def test_mounts_over_a_folder_and_a_file_are_seen(tmp_path: Path) -> None:
    """In a mount namespace of its own; inotify says nothing of either."""
    (tmp_path / "net.d").mkdir()
    for file, name in (("net.d/10.conflist", "below"), ("over", "over")):
        _write(tmp_path / file, name)
    command = ["unshare", "--mount", sys.executable, str(MOUNTS), str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["below", "over", "below", "empty", "below"]), done.stderr


def test_changes_within_a_short_time_are_one_load(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first change the folder has to be quiet before it is read."""
    noticed, quiet = [], threading.Event()
    changed, wait = Folders.changed, Folders.wait

    def watched_change(self: Folders) -> bool:
        noticed.append(changed(self))
        return noticed[-1]

    def until_told(self: Folders, seconds: float | None, *more: int) -> bool:
        """A wait that has a limit reaches it when the test says so."""
        while seconds is not None and not quiet.is_set():
            if wait(self, 0.01, *more):
                return True
        return seconds is None and wait(self, None, *more)

    monkeypatch.setattr(Folders, "changed", watched_change)
    monkeypatch.setattr(Folders, "wait", until_told)
    before = watched.watcher.loads
    for number in range(3):
        _write(watched.folder / f"{number}.conflist", f"n{number}")
        assert eventually(lambda number=number: len(noticed) > number)
    assert watched.watcher.loads == before
    quiet.set()
    assert watched.becomes("n0", "n1", "n2")
    assert watched.watcher.loads == before + 1


def test_neighbours_of_a_folder_that_is_not_there_do_not_matter(tmp_path: Path) -> None:
    folders = Folders([str(tmp_path / "a/b")])
    try:
        (tmp_path / "other").mkdir()
        assert folders.wait(30)
        assert not folders.changed()
        (tmp_path / "a").mkdir()
        assert folders.wait(30)
        assert folders.changed()
        (tmp_path / "a/c").touch()
        assert folders.wait(30)
        assert not folders.changed()
        (tmp_path / "a/b").mkdir()
        assert folders.wait(30)
        assert folders.changed()
    finally:
        folders.close()


def test_a_folder_that_is_made_later_and_again(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "a/b/net.d")
    try:
        for name in ("first", "second"):
            watched.folder.mkdir(parents=True)
            _write(watched.folder / "10.conflist", name)
            assert watched.becomes(name)
            _write(watched.folder / "20.conflist", "more")
            assert watched.becomes(name, "more"), "the folder itself is watched now"
            shutil.rmtree(tmp_path / "a")
            assert watched.becomes()
    finally:
        watched.watcher.close()


def test_a_folder_above_goes_and_comes_again(tmp_path: Path) -> None:
    """Also before the folder itself was there once."""
    (tmp_path / "a").mkdir()
    watched = Watched(tmp_path / "a/b/net.d")
    try:
        for name in ("first", "second"):
            loads = watched.watcher.loads
            (tmp_path / "a").rmdir()
            assert eventually(lambda loads=loads: watched.watcher.loads > loads), "it was noticed"
            watched.folder.mkdir(parents=True)
            _write(watched.folder / "10.conflist", name)
            assert watched.becomes(name)
            shutil.rmtree(tmp_path / "a/b")
            assert watched.becomes()
    finally:
        watched.watcher.close()


def test_a_folder_above_is_renamed(tmp_path: Path) -> None:
    for name in ("a", "other"):
        (tmp_path / name / "b/net.d").mkdir(parents=True)
        _write(tmp_path / name / "b/net.d/10.conflist", name)
    watched = Watched(tmp_path / "a/b/net.d")
    try:
        assert watched.becomes("a")
        os.rename(tmp_path / "a", tmp_path / "before")
        assert watched.becomes()
        os.rename(tmp_path / "other", tmp_path / "a")
        assert watched.becomes("other")
        loads = watched.watcher.loads
        _write(tmp_path / "before/b/net.d/20.conflist", "unwatched")
        _write(watched.folder / "20.conflist", "more")
        assert watched.becomes("other", "more")
        assert watched.watcher.loads == loads + 1, "what is elsewhere now does not matter"
    finally:
        watched.watcher.close()


@pytest.mark.parametrize("links", [["net.d"], ["net.d", "middle"]])
def test_a_link_on_the_way_is_swapped(tmp_path: Path, links: list[str]) -> None:
    """The folder is a link, perhaps to another one, which is replaced in one step."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        _write(tmp_path / name / "10.conflist", name)
    for link, target in zip(links, [*links[1:], "old"], strict=True):
        (tmp_path / link).symlink_to(target)
    watched = Watched(tmp_path / "net.d")
    try:
        assert watched.becomes("old")
        (tmp_path / "next").symlink_to(tmp_path / "new")
        os.rename(tmp_path / "next", tmp_path / links[-1])
        assert watched.becomes("new")
        _write(tmp_path / "new/20.conflist", "more")
        assert watched.becomes("new", "more")
    finally:
        watched.watcher.close()


def test_a_link_that_leads_in_a_circle_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("net.d")
    (tmp_path / "net.d").symlink_to("one")
    watched = Watched(tmp_path / "net.d")
    try:
        os.unlink(tmp_path / "one")
        (tmp_path / "one").mkdir()
        _write(tmp_path / "one/10.conflist", "a")
        assert watched.becomes("a")
    finally:
        watched.watcher.close()


def test_a_link_that_leads_nowhere_is_one_bad_file(watched: Watched) -> None:
    """It ended the thread, and the library could not be started with it."""
    _write(watched.folder / "10.conflist", "a")
    assert watched.becomes("a")
    (watched.folder / "20.conflist").symlink_to("x" * 300 + "/y")
    assert eventually(lambda: len(watched.watcher.skipped) == 1)
    _write(watched.folder / "30.conflist", "b")
    assert watched.becomes("a", "b")
    Watcher(watched.cni, watched.folder, with_all_conf).close()


def test_an_option_of_the_callers_own_may_fail(tmp_path: Path) -> None:
    """The first load raises it, and gives everything back; a later one reports it, and the watcher goes on."""
    faulty = [True]

    def own(_: object) -> None:
        if faulty:
            raise KeyError("its own")

    descriptors = set(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError, match="its own"):
        Watcher(new(), tmp_path, own)
    assert set(os.listdir("/proc/self/fd")) <= descriptors
    faulty.clear()
    cni = new(with_plugin_conf_dir(tmp_path))
    with Watcher(cni, tmp_path, own, with_all_conf) as watcher:
        faulty.append(True)
        _write(tmp_path / "10.conflist", "a")
        assert eventually(lambda: "a load failed: KeyError: 'its own'" in str(watcher.last_error))
        faulty.clear()
        _write(tmp_path / "20.conflist", "b")
        assert eventually(lambda: len(cni.get_config().networks) == 2 and watcher.last_error is None)


def test_a_file_that_is_always_written_does_not_hold_up_the_others(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no quiet time before the load."""
    monkeypatch.setattr("libcni.containerd._watch._QUIET", 3600.0)
    monkeypatch.setattr("libcni.containerd._watch._LONGEST", 0.2)
    ended = threading.Event()

    def write() -> None:
        while not ended.wait(0.01):
            (watched.folder / "log").write_text("a line")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        _write(watched.folder / "10.conflist", "a")
        assert watched.becomes("a")
    finally:
        ended.set()
        writer.join()


def test_who_is_told_of_a_load_may_fail(tmp_path: Path) -> None:
    """The watcher goes on, and tells it."""
    told: list[object] = []

    def on_load(error: object) -> None:
        told.append(error)
        if len(told) != 3:
            raise RuntimeError(f"number {len(told)}")

    cni = new(with_plugin_conf_dir(str(tmp_path)))
    with Watcher(cni, str(tmp_path), with_all_conf, on_load=on_load) as watcher:
        assert "on_load failed: RuntimeError: number 1" in str(watcher.last_error)
        _write(tmp_path / "10.conflist", "a")
        assert eventually(lambda: "number 2" in str(watcher.last_error))
        _write(tmp_path / "20.conflist", "b")
        assert eventually(lambda: len(cni.get_config().networks) == 2 and watcher.last_error is None)


def test_a_kernel_without_more_watches_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends; what is loaded stays, and closing works."""
    (tmp_path / "net.d").mkdir()
    watched = Watched(tmp_path / "net.d")

    def exhausted(self: Folders) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Folders, "changed", exhausted)
    _write(watched.folder / "10.conflist", "a")
    try:
        assert eventually(lambda: "not watched any more: " in str(watched.watcher.last_error))
        assert isinstance(watched.watcher.last_error, LoadFailed)
        assert watched.names == []
    finally:
        watched.watcher.close()


def test_relative_folders_are_those_of_the_working_folder_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.d").mkdir()
    monkeypatch.chdir(tmp_path / "net.d")
    relative = Folders(["../net.d/."])
    os.rename(tmp_path / "net.d", tmp_path / "other")
    try:
        assert relative.wait(5) and relative.changed()
    finally:
        relative.close()
    os.rmdir(tmp_path / "other")
    Folders([str(tmp_path)]).close()


def test_closing_gives_everything_back(tmp_path: Path) -> None:
    descriptors, threads = set(os.listdir("/proc/self/fd")), set(os.listdir("/proc/self/task"))
    with Watcher(new(), str(tmp_path)):
        pass
    assert set(os.listdir("/proc/self/fd")) <= descriptors
    # a thread that was joined has a moment left in the kernel
    assert eventually(lambda: set(os.listdir("/proc/self/task")) <= threads)
