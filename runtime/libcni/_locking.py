"""Locks between invocations, also of other processes: one an attachment, and one a network for GC.

The specification wants one operation at a time per attachment, and no ADD or DEL beside GC (section "Lifecycle &
Ordering", "GC"); Go's library leaves both to its callers. ADD, CHECK and DEL share the network's lock and hold their
attachment's alone; GC holds the network's alone. A GC that waits holds the network's turnstile, where those who come
later wait for it: on a busy network it would never have its turn.
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
    """What is locked: a container's interface in a network."""

    network: str
    container: str
    ifname: str


# Each lock by its name, and for whom it is.
_Wanted = dict[tuple[str, ...], Attachment]


class Held:
    """Locks that are held; ``release``, and the end of it as a context, give them back, the last first."""

    def __init__(self) -> None:
        self.descriptors: list[tuple[int, str]] = []

    def release(self) -> None:
        """Give all of them back."""
        while self.descriptors:
            descriptor, path = self.descriptors.pop()
            try:
                if path:  # held alone: the file may go while nobody else can hold it
                    os.unlink(path)
            except OSError:  # somebody has cleaned the folder; and a file that stays does no harm
                pass
            finally:
                os.close(descriptor)

    def __enter__(self) -> "Held":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Locks:
    """The locks in one folder; an empty folder means none."""

    def __init__(self, folder: StrPath, timeout: float, undoing: bool = False) -> None:
        """``undoing``: the wait is a part of it, and goes on when the call is cancelled."""
        self._folder = path_of(folder)
        self._timeout = timeout
        self._undoing = undoing

    def undoing(self, left: float | None) -> "Locks":
        """The same locks for what undoes, and has so many seconds left; None is no bound."""
        return Locks(self._folder, self._timeout if left is None else min(self._timeout, round(left, 3)), undoing=True)

    def attachments(self, verb: str, which: Sequence[Attachment]) -> Operation[Held]:
        """Lock attachments for a verb, all or none; raises ``Locked``, which names the holder, and ``LockFailed``.

        Networks come before attachments and each kind by name, so whoever wants several waits for nobody in a circle.
        """
        held = Held()
        if self._folder:
            end = monotonic() + self._timeout
            networks: _Wanted = {("network", one.network): one for one in which}
            interfaces: _Wanted = {("attachment", one.container, one.ifname): one for one in which}
            try:
                for kind, wanted in ((fcntl.LOCK_SH, networks), (fcntl.LOCK_EX, interfaces)):
                    for what, one in sorted(wanted.items(), key=lambda item: item[0]):
                        who = f"{verb} of {one.container} {one.ifname} in network {one.network}"
                        if kind == fcntl.LOCK_SH:
                            yield from self._pass(one.network, who, end)
                        yield from self._take(held, what, kind, who, end)
            except BaseException as error:
                held.release()
                self._name(error)
                raise
        return held

    def network(self, network: str) -> Operation[Held]:
        """Lock a whole network for GC; raises ``Locked``, which names the holder, and ``LockFailed``."""
        held = Held()
        if self._folder:
            end, who = monotonic() + self._timeout, f"GC of network {network}"
            try:
                for name in ("turnstile", "network"):
                    yield from self._take(held, (name, network), fcntl.LOCK_EX, who, end)
            except BaseException as error:
                held.release()
                self._name(error)
                raise
        return held

    def _name(self, error: BaseException) -> None:
        """Raise an error of the system as ``LockFailed``, which names the folder."""
        if isinstance(error, OSError | ValueError) and not isinstance(error, LibcniError):
            raise LockFailed(f"lock folder {self._folder} cannot be used: {error}") from error

    def _path(self, what: tuple[str, ...]) -> str:
        make_folder(self._folder)
        return os.path.join(self._folder, f"{what[0]}-{sha512(*what).hex()[:32]}.lock")

    def _take(self, held: Held, what: tuple[str, ...], kind: int, who: str, end: float) -> Operation[None]:
        path, alone = self._path(what), kind == fcntl.LOCK_EX
        descriptor = yield from self._until(partial(_try, path, kind), path, who, end)
        held.descriptors.append((descriptor, path if alone else ""))
        note = f"{who}, process {os.getpid()}".encode("utf-8", "replace") if alone else b""
        os.pwrite(descriptor, note, 0)
        os.ftruncate(descriptor, len(note))  # a holder that was killed has left its own

    def _pass(self, network: str, who: str, end: float) -> Operation[None]:
        path = self._path(("turnstile", network))
        yield from self._until(partial(_passable, path), path, who, end)

    def _until(self, attempt: Callable[[], T | None], path: str, who: str, end: float) -> Operation[T]:
        """The attempt's value once it has one; raises ``Locked`` when the time is over."""
        pause = _FIRST_PAUSE
        while (value := attempt()) is None:
            reason = f"{who}: locked by {_holder(path)}"
            if monotonic() >= end:
                raise Locked(f"{reason} for more than {self._timeout:g} s")
            yield Pause(min(pause, max(0.0, end - monotonic())), reason, self._undoing)
            pause = min(pause * 2, _LONGEST_PAUSE)
        return value


def _passable(path: str) -> bool | None:
    """True if nobody holds the turnstile; None if somebody does."""
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
    """The locked descriptor of the file that is at ``path`` now, None if another holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its last holder has removed it meanwhile


def _is_at(descriptor: int, path: str) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _holder(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read() or "attachments of the network"
    except OSError:
        return "somebody who has just ended"
