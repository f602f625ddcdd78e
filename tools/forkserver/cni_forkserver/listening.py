"""The listening socket: passed by systemd (sd_listen_fds(3)), or made in a folder of its own.

The folder belongs to root and has mode 0700, so that only root can reach the socket.
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
# Another server that is ending may keep the folder locked for so many seconds.
_LOCK_WAIT = 2.0


class Unusable(Exception):
    """The socket cannot be used. The text says why."""


def passed() -> socket | None:
    """The socket that systemd has passed, or None. Raises ``Unusable``."""
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
    """A socket that this process makes, and removes at its end."""

    def __init__(self, path: str, listener: socket | None = None) -> None:
        """``listener`` is the existing socket, if this program has just been upgraded and executed again.

        Raises ``OSError``. Raises ``Unusable`` if other users can access the folder, if another server uses it, or if
        there is a file with the socket's name that is no socket.
        """
        self.path = os.path.abspath(path)
        folder = os.path.dirname(self.path)
        new = _make_folder(folder)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        if new:
            os.fchmod(self._folder, 0o700)  # whatever the umask is
        found = os.fstat(self._folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise Unusable(f"{folder} must belong to root and have mode 0700")
        self._lock_folder()
        self.listener = listener or self._make_socket()

    def _lock_folder(self) -> None:
        """Lock the folder until this process ends. The spare child of a server that was killed may still hold the lock."""
        for _ in attempts(_LOCK_WAIT):
            try:
                return fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
        raise Unusable(f"another server listens at {self.path}")

    def _make_socket(self) -> socket:
        """Replace a socket at which nobody listens. Spare children of a server that was killed may still listen for a while."""
        for _ in attempts(_LOCK_WAIT):
            if not _somebody_listens(self.path):
                break
        else:
            raise Unusable(
                f"somebody listens at {self.path}: stop cni-forkserver.socket of systemd, or name another path"
            )
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
        """Remove the socket's file. Plugins then serve themselves at once."""
        try:
            _remove_socket(self.path)
        except (OSError, Unusable):
            pass


def _somebody_listens(path: str) -> bool:
    """Whether a connection succeeds, as it does if systemd listens and has no server yet."""
    trial = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    trial.settimeout(0)
    try:
        trial.connect(path)
    except BlockingIOError:  # others wait already
        return True
    except OSError:
        return False
    finally:
        trial.close()
    return True


def _make_folder(path: str) -> bool:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    return True


def _remove_socket(path: str) -> None:
    """Remove the socket, if there is one. Raises ``Unusable`` if the file is something else, which is not removed."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Unusable(f"{path} is there and is no socket: remove it, or name another path")
    os.unlink(path)
