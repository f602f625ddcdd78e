"""Watch configuration folders for changes. A folder may appear later.

inotify(7) reports changes of names and contents: in the folder, of the targets of its links, and in its folders with a
network's plugins. It does not report mounts: /proc/self/mountinfo (proc(5)) does.
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
# In a parent folder: events that change where a path leads, or whether it is accessible. (A new link is a creation, and
# is not written to.)
_ON_THE_WAY = _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ATTRIB | _ONLY_FOLDERS | _ADD_TO_MASK
_IN_THE_FOLDER = _ON_THE_WAY | _CLOSE_WRITE
# Writing to the target of a link causes no event in the link's folder.
_LINKED = _ON_THE_WAY | _CLOSE_WRITE
# The kernel follows this many links in one path.
_MAX_LINKS = 40
# The kernel has no more watches. (Other errors are about one path: a name that is too long, a file server that is down.)
_NO_MORE_WATCHES = (errno.ENOSPC, errno.ENOMEM)
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


class Folders:
    """Watches folders, their files, and all folders and links on the paths to them."""

    def __init__(self, folders: Sequence[str]) -> None:
        """Begin to watch. Raises ``OSError`` if the kernel has no more watches."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folders = [folder if folder.startswith("/") else os.path.join(os.getcwd(), folder) for folder in folders]
        self._fd = _checked(self._libc.inotify_init1(_NONBLOCK_CLOEXEC))
        # The names in each watched folder that matter. An empty name means all of them.
        self._watches: dict[int, set[str]] = {}
        self._mounts = _mounts()
        self._mounted = False
        self._inodes: list[tuple[str, int, int]] = []
        try:
            self._watch()
        except BaseException:
            self.close()
            raise

    def _watch(self) -> None:
        before, self._watches = self._watches, {}
        self._inodes = list(self._existing())
        for folder in self._folders:
            self._follow(folder, _ON_THE_WAY)
            self._watch_content(folder)
            for inner in _inner_folders(folder):
                self._follow(inner, _ON_THE_WAY)
                self._watch_content(inner)
        for watch in before.keys() - self._watches.keys():
            self._libc.inotify_rm_watch(self._fd, watch)  # it fails if the folder is gone

    def _follow(self, path: str, wanted: int) -> None:
        """Watch each folder on the way to a path, and the path itself if it is a folder."""
        for folder, name in _way(path):
            if not self._add(folder, name, wanted if name else _IN_THE_FOLDER):
                break

    def _watch_content(self, folder: str) -> None:
        """Watch the targets of the links in a folder."""
        for file in _files(folder):
            if os.path.islink(file):
                self._follow(file, _LINKED)

    def _existing(self) -> Iterator[tuple[str, int, int]]:
        """The folders and files that exist, with device and inode. A mount replaces them by others."""
        for folder in self._folders:
            for parent in (folder, *_inner_folders(folder)):
                for path in (parent, *_files(parent)):
                    try:
                        state = os.stat(path)
                    except OSError:
                        continue
                    yield path, state.st_dev, state.st_ino

    def _add(self, folder: str, name: str, wanted: int) -> bool:
        """Watch a name in a folder. Return whether the rest of the path can be followed."""
        try:
            watch = _checked(self._libc.inotify_add_watch(self._fd, os.fsencode(folder), wanted))
        except PermissionError:
            return True  # the folder cannot be watched, but can be passed
        except OSError as error:
            if error.errno in _NO_MORE_WATCHES:
                raise
            return False  # the folder does not exist: the watch of its parent reports when it appears
        self._watches.setdefault(watch, set()).add(name)
        return True

    def changed(self) -> bool:
        """Read the events, without waiting. Return whether one of the folders may have changed."""
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
        """Watch the paths again after a mount. Return whether it has changed the files or folders."""
        before = self._inodes
        self._watch()
        return self._inodes != before

    def _matters(self, watch: int, mask: int, name: str) -> bool:
        """Whether an event is about a watched name, and not about another name in the same folder."""
        if mask & _OVERFLOW:
            return True
        wanted = self._watches.get(watch, set())
        if mask & _IGNORED or not wanted:
            return False  # the end of a watch: another event has reported the reason
        return not name or name in wanted or "" in wanted

    def wait(self, timeout: float | None, other: int = -1) -> bool:
        """Wait for a change, for at most ``timeout`` seconds (None: no limit) or until ``other`` is readable."""
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
            # The kernel reports every mount on the node once. Most of them are elsewhere.
            self._mounted = self._mounts in ready and self._remounted()
            if ready != {self._mounts}:
                return self._fd in ready or self._mounted
        return True

    def close(self) -> None:
        """Close the descriptors."""
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
    """The names in a folder that may be configuration files, including links."""
    wanted = (*LIST_SUFFIXES, *SINGLE_SUFFIXES)
    return [os.path.join(folder, name) for name in _names(folder) if name.endswith(wanted)]


def _inner_folders(folder: str) -> list[str]:
    """The folders in a folder that may have a network's plugins. A network's name does not begin with a dot."""
    inner = [os.path.join(folder, name) for name in _names(folder) if not name.startswith(".")]
    return [path for path in inner if os.path.isdir(path)]


def _way(path: str) -> Iterator[tuple[str, str]]:
    """Yield each folder on the way to a path, with the next name in it. Links are followed. The last name is empty.

    A name is only read after the caller has watched it and asked for the next one, so that no change is missed.
    """
    folder, names, links = "/", path.split("/"), 0
    while names:
        name = names.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            folder = os.path.dirname(folder)
            continue
        yield folder, name
        try:
            target = os.readlink(os.path.join(folder, name))
        except OSError:  # not a link, or it does not exist
            folder = os.path.join(folder, name)
            continue
        links += 1
        if links > _MAX_LINKS:
            return
        folder = "/" if target.startswith("/") else folder
        names = [*target.split("/"), *names]
    yield folder, ""
