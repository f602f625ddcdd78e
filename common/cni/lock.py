"""One call at a time for an attachment: a lock that ADD and DEL of a plugin hold while they work.

A killed process may sit in the kernel for a while, making a link or a rule, when the runtime's DEL arrives already.
The lock ends with the process and not before, so DEL waits for it. All attachments share one file: each locks a byte
of its own in it (fcntl(2), "Advisory record locking"), so nothing is left behind and nothing grows. The plugin's type
is part of what is locked, for a delegate works for the attachment of the plugin that called it.
"""

import fcntl
import os

from cni.errors import TryAgainLater
from cni.names import sha512
from cni.patience import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment

PATH = "/run/cni/pycni/attachments"
# Seconds to wait for another call to end: longer than the kernel needs to let a killed one go.
TIMEOUT = 30.0
# The process's one descriptor: closing any descriptor of a file gives up all that the process has locked in it.
_file = -1
# What it has locked: a plugin that calls its own kind for the same attachment has the lock already.
_ours: set[int] = set()


def _opened() -> int:
    """The descriptor; -1 where the file cannot be had, as on a node without a writable /run."""
    global _file
    if _file < 0:
        try:
            os.makedirs(os.path.dirname(PATH), 0o755, exist_ok=True)
            _file = os.open(PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return -1
    return _file


def place(plugin: str, attachment: "Attachment") -> int:
    """The byte that a plugin's calls for an attachment lock: 62 bits of a hash."""
    digest = sha512(plugin, attachment.network, attachment.container, attachment.ifname)
    return int.from_bytes(digest[:8], "big") >> 2


class Alone:
    """As a context: no other process serves ADD or DEL of this plugin for this attachment meanwhile."""

    __slots__ = ("_attachment", "_held", "_place", "_plugin", "_timeout")

    def __init__(self, plugin: str, attachment: "Attachment", timeout: float = TIMEOUT) -> None:
        self._plugin = plugin
        self._attachment = attachment
        self._timeout = timeout
        self._place = place(plugin, attachment)
        self._held = False

    def __enter__(self) -> "Alone":
        """Raises ``TryAgainLater``, which names the process that has the lock."""
        file = _opened()
        if file < 0 or self._place in _ours:
            return self
        for _ in attempts(self._timeout):
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place)
            except (BlockingIOError, PermissionError):
                continue
            except OSError:
                return self  # a file system without locks
            else:
                self._held = True
                _ours.add(self._place)
                return self
        raise self._late(file)

    def __exit__(self, *exception: object) -> None:
        if self._held:
            _ours.discard(self._place)
            fcntl.lockf(_file, fcntl.LOCK_UN, 1, self._place)

    def _late(self, file: int) -> TryAgainLater:
        who = f"process {holder(file, self._place)}"
        return TryAgainLater(
            f"{self._plugin}: another call for {self._attachment} has not ended within {self._timeout:g} s",
            f"{who} still serves it; try again when it has ended",
        )


def holder(file: int, place: int) -> int:
    """The process that has locked a byte; 0 if none has or it cannot be seen from here."""
    import struct

    # struct flock: type, whence, start, length, process
    form = struct.Struct("hhqqi")
    found = form.unpack(fcntl.fcntl(file, fcntl.F_GETLK, form.pack(fcntl.F_WRLCK, 0, place, 1, 0)))
    return max(0, found[4]) if found[0] != fcntl.F_UNLCK else 0
