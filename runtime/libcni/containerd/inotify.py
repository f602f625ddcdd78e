"""Changes of folders, noticed by the kernel (inotify(7)); a folder that does not exist yet is waited for too."""

import ctypes
import os
import select
import struct
from collections.abc import Iterator, Sequence

_CLOSE_WRITE, _MOVED, _CREATE, _DELETE = 0x8, 0xC0, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ATTRIB = 0x400, 0x800, 0x4
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_FOLDERS, _ADD_TO_MASK = 0x01000000, 0x20000000
# On the way: what a name stands for, and whether it may be passed. (A new link is a creation without a later write.)
_ON_THE_WAY = _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ATTRIB | _ONLY_FOLDERS | _ADD_TO_MASK
_IN_THE_FOLDER = _ON_THE_WAY | _CLOSE_WRITE
# As many links as the kernel follows in one path.
_MOST_LINKS = 40
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Folders:
    """Watches folders and the ways that lead to them, links too. ``fileno`` is readable when something changed."""

    def __init__(self, folders: Sequence[str]) -> None:
        """Raises ``OSError`` when the kernel has no more watches to give."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folders = [folder if folder.startswith("/") else os.path.join(os.getcwd(), folder) for folder in folders]
        self._fd = _checked(self._libc.inotify_init1(_NONBLOCK_CLOEXEC))
        # which names in a watched folder matter; an empty one stands for all
        self._watches: dict[int, set[str]] = {}
        try:
            self._watch()
        except BaseException:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """The descriptor, for ``select`` or an event loop's ``add_reader``."""
        return self._fd

    def _watch(self) -> None:
        before, self._watches = self._watches, {}
        for folder in self._folders:
            for here, name in _way(folder):
                if not self._add(here, name):
                    break
        for watch in before.keys() - self._watches.keys():
            self._libc.inotify_rm_watch(self._fd, watch)  # it fails for a folder that has gone

    def _add(self, folder: str, name: str) -> bool:
        """Watch a name in a folder; whether the way may go on there."""
        wanted = _ON_THE_WAY if name else _IN_THE_FOLDER
        try:
            watch = _checked(self._libc.inotify_add_watch(self._fd, os.fsencode(folder), wanted))
        except (FileNotFoundError, NotADirectoryError):
            return False  # the folder above tells when that changes
        except PermissionError:
            return True  # it may be passed all the same
        self._watches.setdefault(watch, set()).add(name)
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
                watch, mask, _, length = _EVENT.unpack_from(data, offset)
                name = data[offset + _EVENT.size : offset + _EVENT.size + length].rstrip(b"\0")
                offset += _EVENT.size + length
                touched = touched or self._matters(watch, mask, os.fsdecode(name))
        if touched:
            self._watch()
        return touched

    def _matters(self, watch: int, mask: int, name: str) -> bool:
        """Whether an event is about a watched folder or its way, and not only about a neighbour of those."""
        if mask & _OVERFLOW:
            return True
        wanted = self._watches.get(watch, set())
        if mask & _IGNORED or not wanted:
            return False  # the end of a watch, of which other events have told
        return not name or name in wanted or "" in wanted

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


def _way(folder: str) -> Iterator[tuple[str, str]]:
    """Each folder on the way with the name in it that leads on, links followed; at last the folder and no name.

    A name is looked at when the caller comes back for the next: it is watched by then, and no change is missed.
    """
    here, names, links = "/", folder.split("/"), 0
    while names:
        name = names.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        yield here, name
        try:
            target = os.readlink(os.path.join(here, name))
        except OSError:  # no link, or nothing at all
            here = os.path.join(here, name)
            continue
        links += 1
        if links > _MOST_LINKS:
            return
        here = "/" if target.startswith("/") else here
        names = [*target.split("/"), *names]
    yield here, ""
