"""Locks between our processes, for something of the node such as iptables: flock(2) on files of ours.

Programs that are executed inherit the descriptor of an ``Exclusive``. When a plugin is killed, its lock lasts until the
programs that it started have ended, so DEL waits for them.
"""

import fcntl
import os

from cni.errors import TryAgainLater
from cni.patience import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.kernel.namespace import Namespace

_FOLDER = "/run/cni/pycni"
_WAIT = 20.0


def _lock(fd: int, kind: int, path: str, longest: float) -> None:
    """Lock a file; ``longest`` is the longest pause between attempts."""
    for _ in attempts(_WAIT, longest=longest):
        try:
            return fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
    fault = f"{path} was held for {_WAIT:g} s"
    raise TryAgainLater(fault, "another plugin is at work (fuser shows which); try again")


def _opened(name: str, flags: int = os.O_CREAT) -> int:
    """The descriptor of a file of ours; raises ``OSError`` if /run cannot be written."""
    if flags:
        os.makedirs(_FOLDER, 0o755, exist_ok=True)
    return os.open(f"{_FOLDER}/{name}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)


class Exclusive:
    """A lock that one process holds at a time, as a context. If /run cannot be written, there is no lock and no wait."""

    def __init__(self, name: str, make: bool = True) -> None:
        """Without ``make``, there is a lock only if a process has made its file since the node booted."""
        self._name = f"{name}.lock"
        self._flags = os.O_CREAT if make else 0
        self._fd = -1

    def __enter__(self) -> "Exclusive":
        """Raises ``TryAgainLater``."""
        try:
            self._fd = _opened(self._name, self._flags)
        except OSError:
            return self
        os.set_inheritable(self._fd, True)
        try:
            _lock(self._fd, fcntl.LOCK_EX, f"{_FOLDER}/{self._name}", 0.05)
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)


class NamespaceLock:
    """A lock on a container's network namespace, which Go's sbr takes too, as a context."""

    def __init__(self, namespace: "Namespace") -> None:
        self._namespace = namespace

    def __enter__(self) -> None:
        """Raises ``TryAgainLater``."""
        _lock(self._namespace.fd, fcntl.LOCK_EX, self._namespace.path, 0.02)

    def __exit__(self, *exception: object) -> None:
        fcntl.flock(self._namespace.fd, fcntl.LOCK_UN)


class SharedLock:
    """A lock that many processes hold at the same time, or one process alone. If /run cannot be written, there is none.

    It has two files. Every process passes the gate; a process that needs the lock alone keeps the gate shut until all
    others have left. ``alone``: this process holds it so.
    """

    __slots__ = ("_name", "_within", "alone")

    def __init__(self, name: str) -> None:
        self._name = name
        self._within = self.alone = False

    def hold(self, work: "Callable[[], None]", alone: bool) -> None:
        """Run ``work`` with the lock. Inside other work the lock is already held. Raises ``TryAgainLater``."""
        if self._within:
            work()
            return
        fds: list[int] = []
        self._within = True
        try:
            self.alone = self._take(fds, alone) and alone
            work()
        finally:
            self._within = self.alone = False
            for fd in fds:
                os.close(fd)

    def _take(self, fds: list[int], alone: bool) -> bool:
        """Add the locked descriptors; returns False if /run cannot be written."""
        try:
            for part in ("gate", "lock"):
                fds.append(_opened(f"{self._name}.{part}"))
        except OSError:
            return False
        for fd in fds:
            _lock(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, f"{_FOLDER}/{self._name}.lock", 0.01)
        if not alone:
            os.close(fds.pop(0))
        return True
