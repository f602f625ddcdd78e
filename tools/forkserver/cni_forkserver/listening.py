"""The socket at which callers are awaited: passed by systemd (sd_listen_fds(3)), or made in a folder of its own.

The folder is what keeps others away: 0700 and root's, so that only root reaches the socket at all.
"""

import fcntl
import os
import stat
from _socket import AF_UNIX, SO_ACCEPTCONN, SO_TYPE, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket

from cni.patience import attempts

SOCKET = "/run/cni-forkserver/socket"
# The first descriptor that systemd passes.
FIRST = 3
_BACKLOG = 4096
# Seconds for which a folder may be another server's that is just ending.
_HANDING_OVER = 2.0


class Unusable(Exception):
    """There is no socket to listen at; the text says why."""


def passed() -> socket | None:
    """The socket that whoever started this process has passed; None where none was. Raises ``Unusable``."""
    environ = os.environ
    count, pid = environ.pop("LISTEN_FDS", "0"), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if count == "0" or pid != str(os.getpid()):
        return None
    if count != "1":
        raise Unusable(f"{count} sockets were passed, one is expected")
    found = socket(fileno=FIRST)
    os.set_inheritable(FIRST, False)
    if (
        found.family != AF_UNIX
        or found.getsockopt(SOL_SOCKET, SO_TYPE) != SOCK_SEQPACKET
        or not found.getsockopt(SOL_SOCKET, SO_ACCEPTCONN)
    ):
        raise Unusable("the socket that was passed is none that listens for packets: ListenSequentialPacket= makes one")
    found.settimeout(0)
    return found


class Own:
    """A socket that this process makes and, at its end, removes."""

    def __init__(self, path: str, listener: socket | None = None) -> None:
        """``listener`` is the same socket, made before this program replaced itself.

        Raises ``OSError``, or ``Unusable`` when the folder is not root's alone, another server has it, or what has the
        socket's name is none.
        """
        self.path = os.path.abspath(path)
        folder = os.path.dirname(self.path)
        new = _made_folder(folder)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if new:
            os.fchmod(self._folder, 0o700)  # whatever the umask is
        found = os.fstat(self._folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise Unusable(f"{folder} must belong to root and have mode 0700")
        self._take_folder()
        self.listener = listener or self._made()

    def _take_folder(self) -> None:
        """For as long as this process lives. A spare of a killed server, which closes its own, may be about to."""
        for _ in attempts(_HANDING_OVER):
            try:
                return fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
        raise Unusable(f"another server listens at {self.path}")

    def _made(self) -> socket:
        _remove_socket(self.path)
        made = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            made.bind(self.path)
        finally:
            os.umask(mask)
        made.listen(_BACKLOG)
        made.settimeout(0)
        return made

    def remove(self) -> None:
        """Take the socket's name away: callers find nobody, at once."""
        try:
            _remove_socket(self.path)
        except (OSError, Unusable):
            pass


def _made_folder(path: str) -> bool:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    return True


def _remove_socket(path: str) -> None:
    """That there is none is fine; raises ``Unusable`` for anything else of that name: it is nobody's to delete."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Unusable(f"{path} is there and is no socket: remove it, or name another path")
    os.unlink(path)
