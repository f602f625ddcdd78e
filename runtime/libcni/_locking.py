"""Locks of attachments and networks, between all processes that use the same lock folder.

The specification requires one operation at a time for each attachment, and no ADD or DEL during GC (sections "Lifecycle
& Ordering" and "GC"). Go's library leaves both to its callers.

ADD, CHECK and DEL take the lock of the network shared, and that of the attachment exclusively. GC takes the lock of the
network exclusively. Before that, GC takes the network's turnstile. The others pass the turnstile first, so they wait
while a GC waits. Without it, a GC might wait forever on a busy network.
"""

import fcntl
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TypeVar

from cni.names import sha512
from libcni._cache import make_folder
from libcni._errors import LibcniError, Locked, LockFailed
from libcni._inputs import StrPath, path_of
from libcni._requests import Operation, Pause

_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.1
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attachment to lock: a container's interface in a network."""

    network: str
    container: str
    ifname: str


# The names of the locks to take, and the attachment that needs each.
_Locks = dict[tuple[str, ...], Attachment]


class HeldLocks:
    """The locks that a call holds. ``release``, or the end of a ``with`` block, releases them in reverse order."""

    def __init__(self) -> None:
        self.descriptors: list[tuple[int, str]] = []

    def release(self) -> None:
        """Release all locks."""
        while self.descriptors:
            descriptor, path = self.descriptors.pop()
            try:
                if path:  # an exclusive lock: nobody else can have it, so the file can be removed
                    os.unlink(path)
            except OSError:  # the file is already gone; and if it stays, it does no harm
                pass
            finally:
                os.close(descriptor)

    def __enter__(self) -> "HeldLocks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Locks:
    """The locks in a folder. Without a folder, nothing is locked."""

    def __init__(self, folder: StrPath, timeout: float, undoing: bool = False) -> None:
        """``undoing``: the locks are for undoing something, so a cancellation of the call does not end the wait."""
        self._folder = path_of(folder)
        self._timeout = timeout
        self._undoing = undoing

    def undoing(self, left: float | None) -> "Locks":
        """The same locks for undoing something. The wait takes at most ``left`` seconds; None means no limit."""
        return Locks(self._folder, self._timeout if left is None else min(self._timeout, round(left, 3)), undoing=True)

    def attachments(self, verb: str, which: Sequence[Attachment]) -> Operation[HeldLocks]:
        """Lock all of the attachments for a verb. Raises ``Locked``, which names the owner of the lock, or ``LockFailed``.

        All callers lock networks before attachments, and each of them sorted by name. So they cannot deadlock.
        """
        held = HeldLocks()
        if self._folder:
            end = monotonic() + self._timeout
            networks: _Locks = {("network", item.network): item for item in which}
            interfaces: _Locks = {("attachment", item.container, item.ifname): item for item in which}
            try:
                for kind, locks in ((fcntl.LOCK_SH, networks), (fcntl.LOCK_EX, interfaces)):
                    for name, item in sorted(locks.items(), key=lambda pair: pair[0]):
                        call = f"{verb} of {item.container} {item.ifname} in network {item.network}"
                        if kind == fcntl.LOCK_SH:
                            yield from self._wait_at_turnstile(item.network, call, end)
                        yield from self._take(held, name, kind, call, end)
            except BaseException as error:
                held.release()
                self._raise_lock_failed(error)
                raise
        return held

    def network(self, network: str) -> Operation[HeldLocks]:
        """Lock a network for GC. Raises ``Locked``, which names the owner of the lock, or ``LockFailed``."""
        held = HeldLocks()
        if self._folder:
            end, call = monotonic() + self._timeout, f"GC of network {network}"
            try:
                for kind in ("turnstile", "network"):
                    yield from self._take(held, (kind, network), fcntl.LOCK_EX, call, end)
            except BaseException as error:
                held.release()
                self._raise_lock_failed(error)
                raise
        return held

    def _raise_lock_failed(self, error: BaseException) -> None:
        """Raise ``LockFailed``, which names the folder, for an error of the system."""
        if isinstance(error, OSError | ValueError) and not isinstance(error, LibcniError):
            raise LockFailed(f"lock folder {self._folder} cannot be used: {error}") from error

    def _path(self, name: tuple[str, ...]) -> str:
        make_folder(self._folder)
        return os.path.join(self._folder, f"{name[0]}-{sha512(*name).hex()[:32]}.lock")

    def _take(self, held: HeldLocks, name: tuple[str, ...], kind: int, call: str, end: float) -> Operation[None]:
        path, exclusive = self._path(name), kind == fcntl.LOCK_EX
        descriptor = yield from self._retry(partial(_try, path, kind), path, call, end)
        held.descriptors.append((descriptor, path if exclusive else ""))
        owner = f"{call}, process {os.getpid()}".encode("utf-8", "replace") if exclusive else b""
        os.pwrite(descriptor, owner, 0)
        os.ftruncate(descriptor, len(owner))  # an owner that was killed has left its own text

    def _wait_at_turnstile(self, network: str, call: str, end: float) -> Operation[None]:
        path = self._path(("turnstile", network))
        yield from self._retry(partial(_is_turnstile_free, path), path, call, end)

    def _retry(self, attempt: Callable[[], T | None], path: str, call: str, end: float) -> Operation[T]:
        """Call ``attempt`` until it returns a value. Raises ``Locked`` when the time is over."""
        pause = _FIRST_PAUSE
        while (value := attempt()) is None:
            reason = f"{call}: locked by {_owner(path)}"
            if monotonic() >= end:
                raise Locked(f"{reason} for more than {self._timeout:g} s")
            yield Pause(min(pause, max(0.0, end - monotonic())), reason, self._undoing)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return value


def _is_turnstile_free(path: str) -> bool | None:
    """True if no GC holds the turnstile, else None."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    finally:
        os.close(descriptor)
    return True


def _try(path: str, kind: int) -> int | None:
    """Lock the file that is at ``path``, and return its descriptor. None if the lock is taken."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its last owner removed the file meanwhile: open the new one


def _is_at(descriptor: int, path: str) -> bool:
    try:
        named = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


def _owner(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read() or "attachments of the network"
    except OSError:
        return "a call that has just ended"
