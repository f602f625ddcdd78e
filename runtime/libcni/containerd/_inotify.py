"""Changes of configuration folders, noticed by the kernel; a folder that does not exist yet is waited for too.

Changes of names and of contents come from inotify(7): of the folder, of what its links lead to, and of the folders in
it that hold a network's plugins. It reports no mounts: those are changes of /proc/self/mountinfo (proc(5)).
"""

import ctypes
import errno
import os
import select
import struct
from collections.abc import Iterator, Sequence
from time import monotonic

from libcni._loading import LIST_SUFFIXES, SINGLE_SUFFIXES

_CLOSE_WRITE, _MOVED, _CREATE, _DELETE = 0x8, 0xC0, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ATTRIB = 0x400, 0x800, 0x4
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLY_FOLDERS, _ADD_TO_MASK = 0x01000000, 0x20000000
# On the way: what a name stands for, and whether it may be passed. (A new link is a creation without a later write.)
_ON_THE_WAY = _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ATTRIB | _ONLY_FOLDERS | _ADD_TO_MASK
_IN_THE_FOLDER = _ON_THE_WAY | _CLOSE_WRITE
# A file that a link leads to is changed without a word from the link's folder.
_LINKED = _ON_THE_WAY | _CLOSE_WRITE
# As many links as the kernel follows in one path.
_MOST_LINKS = 40
# The kernel has no more watches to give. (Anything else is about one path: a name too long, a file server that is gone.)
_NO_MORE = (errno.ENOSPC, errno.ENOMEM)
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Folders:
    """Watches folders, what they hold, and the ways that lead there, links too."""

    def __init__(self, folders: Sequence[str]) -> None:
        """Raises ``OSError`` when the kernel has no more watches to give."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folders = [folder if folder.startswith("/") else os.path.join(os.getcwd(), folder) for folder in folders]
        self._fd = _checked(self._libc.inotify_init1(_NONBLOCK_CLOEXEC))
        # which names in a watched folder matter; an empty one stands for all
        self._watches: dict[int, set[str]] = {}
        self._mounts = _mounts()
        self._mounted = False
        self._places: list[tuple[str, int, int]] = []
        try:
            self._watch()
        except BaseException:
            self.close()
            raise

    def _watch(self) -> None:
        before, self._watches = self._watches, {}
        self._places = list(self._found())
        for folder in self._folders:
            self._follow(folder, _ON_THE_WAY)
            self._watch_content(folder)
            for inner in _inner_folders(folder):
                self._follow(inner, _ON_THE_WAY)
                self._watch_content(inner)
        for watch in before.keys() - self._watches.keys():
            self._libc.inotify_rm_watch(self._fd, watch)  # it fails for a folder that has gone

    def _follow(self, path: str, wanted: int) -> None:
        """Watch the way to a path, and the path itself if it is a folder."""
        for here, name in _way(path):
            if not self._add(here, name, wanted if name else _IN_THE_FOLDER):
                break

    def _watch_content(self, folder: str) -> None:
        """Watch what the files of a folder link to."""
        for file in _files(folder):
            if os.path.islink(file):
                self._follow(file, _LINKED)

    def _found(self) -> Iterator[tuple[str, int, int]]:
        """Which folders and files there are: a mount puts others in their places."""
        for folder in self._folders:
            for place in (folder, *_inner_folders(folder)):
                for path in (place, *_files(place)):
                    try:
                        state = os.stat(path)
                    except OSError:
                        continue
                    yield path, state.st_dev, state.st_ino

    def _add(self, folder: str, name: str, wanted: int) -> bool:
        """Watch a name in a folder; whether the way may go on there."""
        try:
            watch = _checked(self._libc.inotify_add_watch(self._fd, os.fsencode(folder), wanted))
        except PermissionError:
            return True  # it may be passed all the same
        except OSError as error:
            if error.errno in _NO_MORE:
                raise
            return False  # no such folder: the one above reports when that changes; or a link that leads nowhere
        self._watches.setdefault(watch, set()).add(name)
        return True

    def changed(self) -> bool:
        """Take what happened, without waiting; whether one of the folders may hold something else now."""
        touched, self._mounted = self._mounted, False
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

    def _remounted(self) -> bool:
        """Whether mounts have changed what is found; the ways may lead through other folders in any case."""
        before = self._places
        self._watch()
        return self._places != before

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
        if self._mounts >= 0:
            poll.register(self._mounts, select.POLLPRI)
        end = None if timeout is None else monotonic() + timeout
        while not self._mounted:
            left = None if end is None else max(0.0, end - monotonic()) * 1000
            ready = {descriptor for descriptor, _ in poll.poll(left)}
            # the kernel reports mounts once, and most of them are elsewhere
            self._mounted = self._mounts in ready and self._remounted()
            if ready != {self._mounts}:
                return self._fd in ready or self._mounted
        return True

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._fd)
        if self._mounts >= 0:
            os.close(self._mounts)


def _mounts() -> int:
    """A descriptor that reports changes of mounts; -1 without /proc."""
    try:
        return os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _files(folder: str) -> list[str]:
    """What may be a configuration file there, links included."""
    wanted = (*LIST_SUFFIXES, *SINGLE_SUFFIXES)
    return [os.path.join(folder, name) for name in _names(folder) if name.endswith(wanted)]


def _inner_folders(folder: str) -> list[str]:
    """The folders there that may hold a network's plugins; a network's name does not begin with a dot."""
    inner = [os.path.join(folder, name) for name in _names(folder) if not name.startswith(".")]
    return [path for path in inner if os.path.isdir(path)]


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
