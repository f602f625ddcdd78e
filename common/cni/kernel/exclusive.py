"""Locks between our processes, for something of the node such as iptables: flock(2) on files of ours.

Programs that are executed inherit the descriptor of an ``Exclusive``. When a plugin is killed, its lock lasts until the
programs that it started have ended, so DEL waits for them.
"""

import fcntl
import os

from cni.errors import TryAgainLater
from cni.patience import attempts

_FOLDER = "/run/cni/pycni"
_WAIT = 20.0


def _lock(fd: int, kind: int, path: str, longest: float) -> None:
    """Lock a file; ``longest`` is the longest pause between attempts."""
    for _ in attempts(_WAIT, longest=longest):
        try:
            return fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
    raise TryAgainLater(f"{path} was held for {_WAIT:g} s", "another plugin is at work (fuser shows which); try again")


class Exclusive:
    """A lock that one process holds at a time, as a context. If /run cannot be written, there is no lock and no wait."""

    def __init__(self, name: str, make: bool = True) -> None:
        """Without ``make``, there is a lock only if a process has made its file since the node booted."""
        self._path = f"{_FOLDER}/{name}.lock"
        self._make = make
        self._fd = -1

    def __enter__(self) -> "Exclusive":
        """Raises ``TryAgainLater``."""
        try:
            if self._make:
                os.makedirs(_FOLDER, 0o755, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | (os.O_CREAT if self._make else 0) | os.O_NOFOLLOW, 0o600)
        except OSError:
            return self
        os.set_inheritable(self._fd, True)
        try:
            _lock(self._fd, fcntl.LOCK_EX, self._path, 0.05)
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class SharedLock:
    """A lock that many processes hold at the same time, or one process alone. If /run cannot be written, there is none.

    It has two files. Every process passes the gate; a process that needs the lock alone keeps the gate shut until all
    others have left. A thread may have several such objects, but must not enter one twice.
    """

    __slots__ = ("_fds", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._fds: list[int] = []

    def enter(self, alone: bool) -> bool:
        """Take the lock; returns False if /run cannot be written. Raises ``TryAgainLater``."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            os.makedirs(_FOLDER, 0o755, exist_ok=True)
            for part in ("gate", "lock"):
                self._fds.append(os.open(f"{_FOLDER}/{self._name}.{part}", flags, 0o600))
        except OSError:
            self.leave()
            return False
        try:
            for fd in self._fds:
                _lock(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, f"{_FOLDER}/{self._name}.lock", 0.01)
        except BaseException:
            self.leave()
            raise
        if not alone:
            os.close(self._fds.pop(0))
        return True

    def leave(self) -> None:
        """Release the lock."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
