"""Reading a regular file up to a maximum size, without waiting for a pipe's writer or reading a device forever."""

import errno
import os
from stat import S_ISCHR, S_ISDIR, S_ISREG

_NULL = os.makedev(1, 3)
_PIECE = 1 << 16


class NotRegular(OSError):
    """The file is a pipe, a socket or a device."""


def read(path: str, most: int, flags: int = 0) -> bytes:
    """The content of a file of at most ``most`` bytes; /dev/null counts as an empty file.

    ``flags`` are more flags for open(2), such as O_NOFOLLOW. Raises ``NotRegular``, ``IsADirectoryError``, ``OSError``
    (EFBIG for more than ``most`` bytes), and ``ValueError`` for a path with a NUL.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    try:
        found = os.fstat(fd)
        if S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not S_ISREG(found.st_mode) and not (S_ISCHR(found.st_mode) and found.st_rdev == _NULL):
            raise NotRegular(errno.EINVAL, "Not a regular file", path)
        pieces: list[bytes] = []
        size = 0
        # the size in stat is not used: it is 0 for files in /proc, and a file may grow
        while size <= most:
            piece = os.read(fd, _PIECE)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
    finally:
        os.close(fd)
    raise OSError(errno.EFBIG, f"File of more than {most} bytes", path)
