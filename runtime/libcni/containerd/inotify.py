"""Changes of folders, noticed by the kernel (inotify(7)); a folder that does not exist yet is waited for too."""

import ctypes
import os
import select
import struct
from collections.abc import Sequence

_CLOSE_WRITE, _MOVED, _CREATE, _DELETE = 0x8, 0xC0, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ATTRIB = 0x400, 0x800, 0x4
# A new link is a creation without a later write; permissions decide what can be read.
_WANTED = _CLOSE_WRITE | _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ATTRIB
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Folders:
    """Watches folders, or the nearest folder above that exists. ``fileno`` is readable when something changed."""

    def __init__(self, folders: Sequence[str]) -> None:
        """Raises ``OSError`` when the kernel has no more watches to give."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folders = [os.path.abspath(folder) for folder in folders]
        self._fd = _checked(self._libc.inotify_init1(_NONBLOCK_CLOEXEC))
        self._watches: dict[int, str] = {}
        self._watch()

    def fileno(self) -> int:
        """The descriptor, for ``select`` or an event loop's ``add_reader``."""
        return self._fd

    def _watch(self) -> None:
        for folder in self._folders:
            here = folder
            while not self._add(here):
                here = os.path.dirname(here)

    def _add(self, folder: str) -> bool:
        try:
            watch = _checked(self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _WANTED))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return False  # the folder above tells when that changes
        self._watches[watch] = folder
        return True

    def changed(self) -> bool:
        """Take what happened, without waiting; whether one of the folders may hold something else now."""
        touched = False
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                break
            offset = 0
            while offset < len(data):
                watch, _, _, length = _EVENT.unpack_from(data, offset)
                name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0")
                offset += _EVENT.size + length
                touched = touched or self._matters(self._watches.get(watch, ""), os.fsdecode(name))
        if touched:
            self._watch()
        return touched

    def _matters(self, folder: str, name: str) -> bool:
        """Whether an event is about a watched folder, and not only about a neighbour of one that does not exist."""
        if not folder or folder in self._folders:
            return True
        there = os.path.join(folder, name)
        return any(wanted == there or wanted.startswith(f"{there}/") for wanted in self._folders)

    def wait(self, timeout: float | None, other: int = -1) -> bool:
        """Wait for a change, at most ``timeout`` seconds (None: for ever) or until ``other`` is readable."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if other >= 0:
            poll.register(other, select.POLLIN)
        ready = poll.poll(None if timeout is None else max(0.0, timeout) * 1000)
        return any(descriptor == self._fd for descriptor, _ in ready)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
