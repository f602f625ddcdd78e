"""The leases on disk: Go's files, names, contents and locks, so that a Go host-local on the same folder agrees.

A lease is a file named as the address, whose content is ``ID CR LF IFNAME``; the oldest format is ``ID`` alone.
It is made with its content in it and then linked to its name, so it is there whole or not at all; that the link fails
when the name is taken is what makes an address unique. ``flock`` on the file ``lock`` keeps callers apart.
"""

import errno
import fcntl
import os
from stat import S_ISDIR, S_ISREG

from cni import file_content
from cni.address import Address
from cni.errors import CNIError, TryAgainLater
from cni.patience import attempts
from cni_host_local.index import Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds to wait for the lock: longer than a queue of a hundred pods, shorter than kubelet's patience.
LOCK_TIMEOUT = 60.0
_LAST = "last_reserved_ip."
# More than any lease has: execve(2) passes no variable, so no container's id, of more than 128 KiB.
_LEASE_MAX = 1 << 18
_LAST_MAX = 64
# What these say of a lease file is that there is none: it is gone, or something else has its name.
_NO_LEASE = (errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EFBIG)
# After so many taken addresses in a row one look at the folder is cheaper than further attempts.
_PATIENCE = 32


def _content(container: str, ifname: str) -> bytes:
    return f"{container.strip()}\r\n{ifname}".encode("utf-8", "surrogateescape")


def _legacy(container: str) -> bytes:
    return container.strip().encode("utf-8", "surrogateescape")


class Store:
    """The leases of one network. As a context it is locked; every method but ``exists`` and ``walk`` wants that."""

    def __init__(self, data_dir: str, network: str, timeout: float = LOCK_TIMEOUT) -> None:
        """Nothing is touched yet; ``network`` has been checked to be a name without slashes."""
        self.folder = f"{data_dir}/{network}"
        self._timeout = timeout
        self._lock = -1
        self._dirty = False
        self._index = Index(self.folder)
        self._taken: set[str] | None = None

    def exists(self) -> bool:
        """Whether the network ever had a lease here; raises ``CNIError`` when that cannot be found out."""
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
        """Who holds the lock, by /proc/locks."""
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
        """Content and relative path of every lease, sub-folders included.

        What is no regular file is skipped. Raises ``CNIError`` for what cannot be read: it may be the lease looked for.
        """
        for folder, _, files in os.walk(self.folder, onerror=_told):
            inside = folder[len(self.folder) + 1 :]
            for name in files:
                if not inside and (name == "lock" or name.startswith(_LAST)):
                    continue
                path = f"{inside}/{name}" if inside else name
                content = self._read(path)
                if content:
                    yield content, path

    def _read(self, path: str) -> bytes:
        """A lease's content without white space around it; empty when there is none of that name."""
        try:
            return file_content.read(f"{self.folder}/{path}", _LEASE_MAX, os.O_NOFOLLOW).strip()
        except file_content.NotRegular:
            return b""
        except OSError as error:
            if error.errno in _NO_LEASE:
                return b""
            raise _unreadable(error, f"{self.folder}/{path}") from None

    def _find(self, content: bytes) -> list[str]:
        """The files that hold this content: from the index where that is complete, and then verified; else from a walk."""
        found = self._index.find(content)
        if found is not None and all(self._read(path) == content for path in found):
            return found
        self._index.rebuild(self.walk())
        self._dirty = True
        found = self._index.find(content)
        if found is None:  # the index cannot be written here
            found = [path for other, path in self.walk() if other == content]
        return found

    def leases(self, container: str, ifname: str) -> list[Address]:
        """The addresses that the attachment, or in the oldest format the container, holds."""
        found = []
        for path in self._find(_content(container, ifname)) + self._find(_legacy(container)):
            try:
                found.append(Address.parse(path))
            except ValueError:
                pass  # a match by content that is no address: released with the others, never handed out
        return found

    def holds(self, container: str, ifname: str) -> bool:
        """Whether there is any lease of the attachment, whatever its file is called."""
        return bool(self._find(_content(container, ifname)) or self._find(_legacy(container)))

    def last_reserved(self, number: int) -> Address | None:
        """The address that set ``number`` handed out last; None where that is not known."""
        try:
            text = file_content.read(f"{self.folder}/{_LAST}{number}", _LAST_MAX, os.O_NOFOLLOW)
            return Address.parse(text.decode("ascii", "replace"))
        except (OSError, ValueError):
            return None

    def where(self, address: Address | None = None) -> str:
        """Where the lease of an address, or all of them, are; for people."""
        return f"leases are files in {self.folder}" if address is None else f"its lease is {self.folder}/{address}"

    # writing

    def reserve(self, address: Address, container: str, ifname: str, number: int) -> bool:
        """Lease an address for the attachment and note it as the last of set ``number``; False if it is taken."""
        name, content = str(address), _content(container, ifname)
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
        try:
            return self._link(name, content)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EXDEV):
                raise
        return self._exclusively(name, content)

    def _link(self, name: str, content: bytes) -> bool:
        """Make the file without a name, whole and on disk, then give it its name if that is free."""
        file = os.open(self.folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.write(file, content)
            os.fdatasync(file)
            # both folders must be given: CPython 3.11 calls link() instead of linkat() otherwise
            source = f"/proc/self/fd/{file}"
            while True:
                try:
                    os.link(source, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
                except FileExistsError:
                    if not self._abandoned(name):
                        return False
                else:
                    return True
        finally:
            os.close(file)
            os.close(folder)

    def _exclusively(self, name: str, content: bytes) -> bool:
        """Where files without a name cannot be had (NFS, old overlayfs)."""
        while True:
            try:
                file = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                if not self._abandoned(name):
                    return False
            else:
                break
        try:
            os.write(file, content)
            os.fdatasync(file)
        except OSError:
            os.unlink(f"{self.folder}/{name}")
            raise
        finally:
            os.close(file)
        return True

    def _abandoned(self, name: str) -> bool:
        """Remove the empty file that a Go host-local leaves when it dies between creating and writing a lease.

        Under the lock nobody is between the two. The answer is whether the name is free now.
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
        """Whether a lease is certainly there; after many tries the folder is read once, so that no file is made in vain."""
        if tries < _PATIENCE:
            return False
        if self._taken is None:
            self._taken = set()
            with os.scandir(self.folder) as entries:
                self._taken = {entry.name for entry in entries if entry.stat(follow_symlinks=False).st_size}
        return str(address) in self._taken

    def release(self, container: str, ifname: str) -> list[str]:
        """Remove the attachment's leases, or those in the oldest format if it has none: the files removed."""
        for content in (_content(container, ifname), _legacy(container)):
            found = self._find(content)
            if found:
                self._discard(content, found)
                return found
        return []

    def give_back(self, container: str, ifname: str, addresses: "list[Address]") -> None:
        """Remove these leases alone: what this call reserved before it failed."""
        content = _content(container, ifname)
        names = {str(address) for address in addresses}
        held = self._find(content)
        self._discard(content, [path for path in held if path in names], [path for path in held if path not in names])

    def _discard(self, content: bytes, paths: "list[str]", kept: "list[str] | None" = None) -> None:
        self._dirty = True
        left, errors = list(kept or ()), []
        for path in paths:
            try:
                os.unlink(f"{self.folder}/{path}")
            except FileNotFoundError:
                pass
            except OSError as error:
                left.append(path)
                errors.append(error)
        self._index.note(content, left)
        if errors:
            raise errors[0]

    def contents(self) -> "list[tuple[bytes, str]]":
        """Every lease and its file, for GC, which also removes the empty files that a crash left.

        Sub-folders are left out: below them are the stores of other networks, if anything.
        """
        for name in os.listdir(self.folder):
            try:
                Address.parse(name)
            except ValueError:
                continue
            if os.path.isfile(f"{self.folder}/{name}") and not os.path.getsize(f"{self.folder}/{name}"):
                self._abandoned(name)
                self._dirty = True
        return [(content, path) for content, path in self.walk() if "/" not in path]

    def discard(self, content: bytes) -> None:
        """Remove every lease with this content that ``contents`` tells."""
        found = self._find(content)
        self._discard(content, [path for path in found if "/" not in path], [path for path in found if "/" in path])


def _unreadable(error: OSError, path: str) -> CNIError:
    return CNIError(
        f"cannot read {error.filename or path}: {error.strerror}", "a lease may be there: nothing is taken for released"
    )


def _told(error: OSError) -> None:
    """A folder that cannot be read; one that is gone has no leases."""
    if error.errno not in _NO_LEASE:
        raise _unreadable(error, error.filename)


def _opened_lock(path: str) -> int:
    """Go's lock file, made where it is missing; raises ``OSError`` where a link or a pipe has its name."""
    fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o750)
    if not S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise file_content.NotRegular(errno.EINVAL, "Not a regular file", path)
    return fd


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
