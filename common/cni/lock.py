"""One call at a time for an attachment: a lock that ADD and DEL of a plugin hold while they work.

A killed process may stay in the kernel for a while, making a link or a rule, when the runtime's DEL arrives. The lock
ends with the process, so DEL waits for it. All attachments share one file, and each locks its own byte in it (fcntl(2),
"Advisory record locking"): nothing has to be removed later. The byte depends on the plugin's type too, because a
delegate works for the same attachment as the plugin that called it.
"""

import fcntl
import os

from cni.errors import TryAgainLater
from cni.names import sha512
from cni.patience import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment

# Seconds to wait for another call to end: longer than a killed process stays in the kernel.
TIMEOUT = 30.0


def place(plugin: str, attachment: "Attachment") -> int:
    """The byte that a plugin's calls for an attachment lock: 62 bits of a hash."""
    return int.from_bytes(sha512(plugin, *attachment.parts)[:8], "big") >> 2


class Locks:
    """The file of locks, and the bytes that a call and its delegates have locked.

    A process has one of these at a time: closing any descriptor of a file releases all locks of the process in it.
    """

    __slots__ = ("_file", "_path", "held")

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        # a plugin that delegates to its own type for the same attachment has the lock already
        self.held: set[int] = set()

    @property
    def file(self) -> int:
        """The descriptor; -1 if the file cannot be opened, as on a node without a writable /run."""
        if self._file < 0:
            try:
                os.makedirs(os.path.dirname(self._path), 0o755, exist_ok=True)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError:
                return -1
        return self._file

    def close(self) -> None:
        """Release all locks."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    __del__ = close  # a process may serve several calls, one after the other


class AttachmentLock:
    """A context in which no other process serves ADD or DEL of this plugin for this attachment."""

    __slots__ = ("_attachment", "_locked", "_locks", "_place", "_plugin", "_timeout")

    def __init__(self, locks: Locks, plugin: str, attachment: "Attachment", timeout: float = TIMEOUT) -> None:
        self._locks = locks
        self._plugin = plugin
        self._attachment = attachment
        self._timeout = timeout
        self._place = place(plugin, attachment)
        self._locked = False

    def __enter__(self) -> "AttachmentLock":
        """Raises ``TryAgainLater``, which names the process that has the lock."""
        file = self._locks.file
        if file < 0 or self._place in self._locks.held:
            return self
        for _ in attempts(self._timeout):
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place)
            except (BlockingIOError, PermissionError):
                continue
            except OSError:
                return self  # a file system without locks
            else:
                self._locked = True
                self._locks.held.add(self._place)
                return self
        fault = f"{self._plugin}: another call for {self._attachment} has not ended within {self._timeout:g} s"
        raise TryAgainLater(fault, f"process {holder(file, self._place)} still serves it; try again when it has ended")

    def __exit__(self, *exception: object) -> None:
        if self._locked:
            self._locks.held.discard(self._place)
            fcntl.lockf(self._locks.file, fcntl.LOCK_UN, 1, self._place)


def holder(file: int, place: int) -> int:
    """The id of the process that has locked a byte; 0 if it is free, or the process is not visible from here."""
    import struct

    # struct flock: type, whence, start, length, process
    form = struct.Struct("hhqqi")
    found = form.unpack(fcntl.fcntl(file, fcntl.F_GETLK, form.pack(fcntl.F_WRLCK, 0, place, 1, 0)))
    return max(0, found[4]) if found[0] != fcntl.F_UNLCK else 0
