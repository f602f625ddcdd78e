"""The leases on disk. Files, names, contents and locks are Go's, so a Go host-local can use the same folder.

A lease is a file. Its name is the address, its content ``ID CR LF IFNAME``; in the oldest format only ``ID``. The file
is written without a name and then linked to its name, so it is never incomplete. The link fails if the name is taken,
so an address is leased only once. Callers lock the file ``lock`` with ``flock``.
"""

import errno
import fcntl
import os
from stat import S_ISDIR, S_ISREG

from cni import file_content
from cni.address import Address
from cni.errors import CNIError, TryAgainLater
from cni.names import is_identifier
from cni.patience import attempts
from cni_host_local.index import Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Seconds to wait for the lock: longer than a queue of a hundred pods, shorter than kubelet's timeout.
LOCK_TIMEOUT = 60.0
_LAST = "last_reserved_ip."
# Larger than any lease: execve(2) passes no variable of more than 128 KiB, so no longer container id.
_LEASE_MAX = 1 << 18
_LAST_MAX = 64
# Errors that mean that there is no lease: the file is gone, or is no regular file.
_NO_LEASE = (errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EFBIG)
# Errors of file systems without nameless files.
_NOT_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EXDEV)
# After this number of taken addresses in a row, reading the folder is cheaper than more attempts.
_PATIENCE = 32


def contents(container: str, ifname: str) -> tuple[bytes, bytes]:
    """The content of an attachment's leases, and of those of its container in the oldest format."""
    container = container.strip()
    return f"{container}\r\n{ifname}".encode("utf-8", "surrogateescape"), container.encode("utf-8", "surrogateescape")


class Store:
    """The leases of one network. ``with`` locks it; all methods except ``exists`` and ``walk`` need the lock."""

    def __init__(self, data_dir: str, network: str, timeout: float = LOCK_TIMEOUT) -> None:
        """Does not access the folder. The caller has checked that ``network`` has no slashes."""
        self.folder = f"{data_dir}/{network}"
        self._timeout = timeout
        self._lock = -1
        self._dirty = False
        self._index = Index(self.folder)
        self._taken: set[str] | None = None

    def exists(self) -> bool:
        """Whether the network has a folder. Raises ``CNIError`` if that cannot be found out."""
        try:
            return S_ISDIR(os.stat(self.folder).st_mode)
        except ValueError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return False
            raise _unreadable(error, self.folder) from None

    # the lock

    def __enter__(self) -> "Store":
        try:
            os.makedirs(self.folder, 0o755, exist_ok=True)
            self._lock = _opened_lock(f"{self.folder}/lock")
        except (OSError, ValueError) as error:
            raise CNIError(f"cannot open the store of leases: {error}", f"{self.folder} must be writable") from None
        for _ in attempts(self._timeout):
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            self._dirty = not self._index.load()
            return self
        holder = self._holder()
        os.close(self._lock)
        raise TryAgainLater(f"{self.folder}/lock is held by {holder} for more than {self._timeout:g} s", "try again")

    def __exit__(self, *exception: object) -> None:
        if self._dirty:
            self._index.seal()
        os.close(self._lock)

    def _holder(self) -> str:
        """The process that holds the lock, from /proc/locks."""
        inode = str(os.fstat(self._lock).st_ino)
        try:
            with open("/proc/locks", encoding="ascii", errors="replace") as locks:
                for line in locks:
                    words = line.split()
                    if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                        with open(f"/proc/{words[4]}/comm", encoding="utf-8", errors="replace") as comm:
                            return f"process {words[4]} ({comm.read().strip()})"
        except OSError:
            pass
        return "another process"

    # reading

    def walk(self) -> "Iterator[tuple[bytes, str]]":
        """Content and relative path of every lease, also in sub-folders.

        Only regular files count. Raises ``CNIError`` for a file that cannot be read: it may be the wanted lease.
        """
        for folder, _, files in os.walk(self.folder, onerror=_raise_unreadable):
            inside = folder[len(self.folder) + 1 :]
            for name in files:
                if not inside and (name == "lock" or name.startswith(_LAST)):
                    continue
                path = f"{inside}/{name}" if inside else name
                content = self._read(path)
                if content:
                    yield content, path

    def _read(self, path: str) -> bytes:
        """A lease's content without surrounding white space; empty if there is no such lease."""
        try:
            return file_content.read(f"{self.folder}/{path}", _LEASE_MAX, os.O_NOFOLLOW).strip()
        except OSError as error:
            if isinstance(error, file_content.NotRegular) or error.errno in _NO_LEASE:
                return b""
            raise _unreadable(error, f"{self.folder}/{path}") from None

    def _find(self, content: bytes) -> list[str]:
        """The files with this content, from the index (and verified) if it is complete, otherwise from a walk."""
        found = self._index.find(content)
        if found is not None and all(self._read(path) == content for path in found):
            return found
        self._index.rebuild(self.walk())
        self._dirty = True
        found = self._index.find(content)
        # without an index, as it cannot be written here
        return [path for other, path in self.walk() if other == content] if found is None else found

    def files(self, container: str, ifname: str) -> list[str]:
        """The leases of the attachment, and those of its container in the oldest format, with any file name."""
        return [path for content in contents(container, ifname) for path in self._find(content)]

    def leases(self, container: str, ifname: str) -> list[Address]:
        """The addresses of these leases. DEL removes a file whose name is no address too, but it leases none."""
        return [Address.parse(path) for path in self.files(container, ifname) if _is_address(path)]

    def last_reserved(self, number: int) -> Address | None:
        """The last address that set ``number`` gave; None if not known."""
        try:
            text = file_content.read(f"{self.folder}/{_LAST}{number}", _LAST_MAX, os.O_NOFOLLOW)
            return Address.parse(text.decode("ascii", "replace"))
        except (OSError, ValueError):
            return None

    def where(self, address: Address | None = None) -> str:
        """A text for people: the path of an address's lease, or the folder of all leases."""
        return f"leases are files in {self.folder}" if address is None else f"its lease is {self.folder}/{address}"

    # writing

    def reserve(self, address: Address, container: str, ifname: str, number: int) -> bool:
        """Lease an address for the attachment, and note it as the last one of set ``number``. False if it is taken."""
        name, (content, _) = str(address), contents(container, ifname)
        held = self._find(content)
        if not self._create(name, content):
            return False
        self._dirty = True
        try:
            with open(f"{self.folder}/{_LAST}{number}", "wb", opener=_private) as file:
                file.write(name.encode())
        except OSError:
            os.unlink(f"{self.folder}/{name}")
            raise
        self._index.note(content, [*held, name])
        return True

    def _create(self, name: str, content: bytes) -> bool:
        """Write a lease. False if its name is taken."""
        write = self._link
        while True:
            try:
                write(name, content)
                return True
            except FileExistsError:
                if not self._abandoned(name):
                    return False
            except OSError as error:
                if write == self._exclusively or error.errno not in _NOT_NAMELESS:
                    raise
                write = self._exclusively

    def _link(self, name: str, content: bytes) -> None:
        """Write the file without a name and flush it, then link it to its name if that is free."""
        file = os.open(self.folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.write(file, content)
            os.fdatasync(file)
            # both folders must be given, otherwise CPython 3.11 calls link() instead of linkat()
            os.link(f"/proc/self/fd/{file}", name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(file)
            os.close(folder)

    def _exclusively(self, name: str, content: bytes) -> None:
        """For file systems without nameless files (NFS, old overlayfs)."""
        file = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, content)
            os.fdatasync(file)
        except OSError:
            os.unlink(f"{self.folder}/{name}")
            raise
        finally:
            os.close(file)

    def _abandoned(self, name: str) -> bool:
        """Remove an empty file: a Go host-local that dies between creating and writing a lease leaves one.

        Nobody else is between the two, because we have the lock. Returns whether the name is free now.
        """
        path = f"{self.folder}/{name}"
        try:
            found = os.lstat(path)
            if found.st_size or not S_ISREG(found.st_mode):
                return False
            os.unlink(path)
        except FileNotFoundError:
            pass
        return True

    def is_taken(self, address: Address, tries: int) -> bool:
        """Whether an address certainly has a lease. After many tries the folder is read once, so tries cost no files."""
        if tries < _PATIENCE:
            return False
        if self._taken is None:
            self._taken = set()
            with os.scandir(self.folder) as entries:
                self._taken = {entry.name for entry in entries if entry.stat(follow_symlinks=False).st_size}
        return str(address) in self._taken

    def release(self, container: str, ifname: str) -> list[str]:
        """Remove the attachment's leases, or if it has none, those in the oldest format. Returns the removed files."""
        current, oldest = contents(container, ifname)
        return self._discard(current, lambda path: True) or self._discard(oldest, lambda path: True)

    def give_back(self, container: str, ifname: str, addresses: "list[Address]") -> None:
        """Remove only these leases, which this call made before it failed."""
        names = {str(address) for address in addresses}
        self._discard(contents(container, ifname)[0], lambda path: path in names)

    def discard(self, content: bytes) -> None:
        """Remove every lease with this content that ``current`` returns."""
        self._discard(content, lambda path: "/" not in path)

    def _discard(self, content: bytes, wanted: "Callable[[str], bool]") -> list[str]:
        found = self._find(content)
        gone, remaining, errors = [], [], []
        for path in found:
            if not wanted(path):
                remaining.append(path)
                continue
            self._dirty = True
            try:
                os.unlink(f"{self.folder}/{path}")
            except FileNotFoundError:
                pass
            except OSError as error:
                remaining.append(path)
                errors.append(error)
            gone.append(path)
        self._index.note(content, remaining)
        if errors:
            raise errors[0]
        return gone

    def current(self) -> "list[tuple[bytes, str]]":
        """Every lease and its file, for GC. Also removes empty files of crashed processes.

        Sub-folders are skipped, because they may be stores of other networks.
        """
        for name in os.listdir(self.folder):
            if _is_address(name) and self._abandoned(name):
                self._dirty = True
        return [(content, path) for content, path in self.walk() if "/" not in path]


def _is_address(name: str) -> bool:
    try:
        Address.parse(name)
    except ValueError:
        return False
    return True


def is_lease(content: bytes, path: str) -> bool:
    """Whether a file is a lease: a container id and an interface, or, if its name is an address, only an id."""
    container, separator, ifname = content.partition(b"\r\n")
    return is_identifier(container.decode("utf-8", "replace")) and (bool(ifname) if separator else _is_address(path))


def _unreadable(error: OSError, path: str) -> CNIError:
    return CNIError(
        f"cannot read {error.filename or path}: {error.strerror}", "a lease may be there: nothing is taken for released"
    )


def _raise_unreadable(error: OSError) -> None:
    """Raise for a folder that cannot be read. A missing folder has no leases."""
    if error.errno not in _NO_LEASE:
        raise _unreadable(error, error.filename)


def _opened_lock(path: str) -> int:
    """Open Go's lock file, or make it. Raises ``OSError`` if it is a link or a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o750)
    if not S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise file_content.NotRegular(errno.EINVAL, "Not a regular file", path)
    return fd


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
