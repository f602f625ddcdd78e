"""An index where an attachment's leases are, so that no call has to read every lease: an index outside the store.

Only the store's files count. The index is used only if it is certainly complete: its stamp has the modification times
of the store's folder and of the index's folder, and we set both to a time in the past that no other change would leave.
Any other change of a folder (by a Go host-local, an administrator, or a crash of ours) leaves another time. Then the
index is made again from a walk of the store. It may be deleted or damaged at any time. All of this is under the store's
lock.
"""

import os
from time import time_ns

from cni.names import raw_sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = "/run/cni/pycni/host-local"
_PAST = 2_000_000_000
# The number of hard links of a folder without sub-folders. File systems that do not count them have 1.
_FLAT = 2


def _digest(data: bytes) -> str:
    return raw_sha512(data).hex()[:32]


def _sealed(lines: "list[str]") -> bytes:
    text = "\n".join(lines).encode("utf-8", "surrogateescape")
    return _digest(text).encode() + b"\n" + text


def _unsealed(data: bytes) -> "list[str]":
    seal, _, text = data.partition(b"\n")
    if seal != _digest(text).encode():
        raise ValueError("damaged")
    return text.decode("utf-8", "surrogateescape").split("\n") if text else []


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _replace(path: str, data: bytes) -> None:
    """Write a file and rename it. It is in /run, so it need not survive a power cut."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(data)
    os.rename(temporary, path)


class Index:
    """The index of one store: which files hold which content. Used under the store's lock."""

    def __init__(self, store: str, root: str = "") -> None:
        """``store`` is the folder of the leases, ``root`` the folder of all indexes."""
        self.store = store
        try:
            store = os.path.realpath(store)
        except ValueError:
            pass  # an impossible path: opening the store reports it
        self.folder = f"{root or ROOT}/{_digest(store.encode('utf-8', 'surrogateescape'))}"
        self._entries = ""
        self._trusted = False

    def _state(self) -> "list[str]":
        """The state of both folders, which shows whether one was changed."""
        store, entries = os.stat(self.store), os.stat(f"{self.folder}/{self._entries}")
        if store.st_nlink > _FLAT:
            raise OSError("a change in a sub-folder does not change this folder's time")
        identity = [str(store.st_dev), str(store.st_ino), str(store.st_mtime_ns)]
        return [self._entries, *identity, str(entries.st_mtime_ns)]

    def load(self) -> bool:
        """Whether the index exists and is complete."""
        try:
            stamp = _unsealed(_read(f"{self.folder}/stamp"))
            self._entries = stamp[0]
            self._trusted = "/" not in self._entries and stamp == self._state()
        except (OSError, ValueError, IndexError):
            self._trusted = False
        return self._trusted

    def find(self, content: bytes) -> "list[str] | None":
        """The files with this content, as paths relative to the store; None if the index is not usable."""
        if not self._trusted:
            return None
        try:
            return _unsealed(_read(f"{self.folder}/{self._entries}/{_digest(content)}"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError):
            self._trusted = False
            return None

    def rebuild(self, contents: "Iterable[tuple[bytes, str]]") -> None:
        """Make the index from (content, path) of every lease. If it cannot be written, there is no index."""
        paths: dict[bytes, list[str]] = {}
        for content, path in contents:
            paths.setdefault(content, []).append(path)
        try:
            os.makedirs(self.folder, 0o700, exist_ok=True)
            self._clear()
            self._entries = f"entries-{time_ns()}"
            os.mkdir(f"{self.folder}/{self._entries}", 0o700)
            for content, found in paths.items():
                _replace(f"{self.folder}/{self._entries}/{_digest(content)}", _sealed(found))
            self._trusted = True
        except OSError:
            self._trusted = False

    def _clear(self) -> None:
        for name in os.listdir(self.folder):
            path = f"{self.folder}/{name}"
            if name.startswith("entries-"):
                for entry in os.listdir(path):
                    os.unlink(f"{path}/{entry}")
                os.rmdir(path)
            else:
                os.unlink(path)

    def note(self, content: bytes, paths: "list[str]") -> None:
        """Note that these files, or no files, have this content now."""
        if not self._trusted:
            return
        path = f"{self.folder}/{self._entries}/{_digest(content)}"
        try:
            if paths:
                _replace(path, _sealed(paths))
            elif os.path.exists(path):
                os.unlink(path)
        except OSError:
            self._trusted = False

    def seal(self) -> None:
        """Stamp both folders after a change of the store, as the last step under the lock."""
        if not self._trusted:
            return
        past = time_ns() - _PAST
        try:
            os.utime(f"{self.folder}/{self._entries}", ns=(past, past))
            os.utime(self.store, ns=(past, past))
            _replace(f"{self.folder}/stamp", _sealed(self._state()))
        except OSError:
            self._trusted = False
