"""cni-forkserver's own socket: what it makes, and what it leaves alone."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cni_forkserver.listening import Own, Unusable

KINDS: dict[str, Callable[[Path], object]] = {
    "file": lambda at: at.write_text("precious"),
    "folder": lambda at: at.mkdir(),
    "pipe": os.mkfifo,
    "link to a socket": lambda at: at.symlink_to(at.with_name("other")),
}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def closed(own: Own) -> None:
    own.remove()
    own.listener.close()
    os.close(own._folder)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_socket_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    """Also at the end, should it have come in the socket's place."""
    tmp_path.chmod(0o700)
    bound(tmp_path / "other")
    at = tmp_path / "at"
    KINDS[kind](at)
    before = os.lstat(at)
    with pytest.raises(Unusable, match=f"{at} is there and is no socket"):
        Own(str(at))
    assert os.lstat(at) == before
    own = Own(str(tmp_path / "run/socket"))
    (tmp_path / "run/socket").unlink()
    at.rename(tmp_path / "run/socket")
    closed(own)
    assert os.path.lexists(tmp_path / "run/socket") and (tmp_path / "other").exists()


def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    bound(tmp_path / "at")
    before = os.lstat(tmp_path / "at").st_ino, os.lstat(tmp_path / "at").st_ctime_ns
    own = Own(str(tmp_path / "at"))
    found = os.lstat(tmp_path / "at")
    assert stat.S_ISSOCK(found.st_mode) and (found.st_ino, found.st_ctime_ns) != before
    closed(own)
    assert os.listdir(tmp_path) == []


@pytest.mark.root
@pytest.mark.parametrize("mask", [0o777, 0o022, 0])
def test_a_folder_that_is_made_is_its_owners_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    """One that was there keeps its mode."""
    for folder, mode in ((tmp_path / "new", 0o700), (tmp_path / "old", 0o500)):
        if mode == 0o500:
            folder.mkdir()
            folder.chmod(mode)
        with umask(mask):
            own = Own(str(folder / "socket"))
        assert folder.stat().st_mode & 0o7777 == mode
        assert (folder / "socket").stat().st_mode & 0o777 == 0o600
        closed(own)


def test_a_relative_path_stays_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process goes, and its successor with it."""
    monkeypatch.chdir(tmp_path)
    own = Own("run/socket")
    monkeypatch.chdir("/")
    assert own.path == f"{tmp_path}/run/socket" and os.path.exists(own.path)
    own.remove()
    assert os.listdir(tmp_path / "run") == []
    closed(own)
