"""The socket for the plugin: passed by systemd (sd_listen_fds(3)), or made here. Only root can connect."""

import contextlib
import fcntl
import os
import socket
import stat

_FIRST = 3
BACKLOG = 4096


class Unusable(Exception):
    """The socket cannot be used. The text says why, and the remedy."""


def passed() -> socket.socket | None:
    """The socket that systemd has passed, or None. Raises ``Unusable``."""
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise Unusable(f"Too many ({count}) FDs passed through socket activation")
    found = socket.socket(fileno=_FIRST)
    os.set_inheritable(_FIRST, False)
    if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
        raise Unusable("the socket that was passed is no stream socket of Unix: ListenStream= makes one")
    found.setblocking(False)
    return found


class Claim:
    """This process is the only daemon with this folder of leases. The kernel ends the claim with the process."""

    def __init__(self, folder: str, path: str) -> None:
        """Raises ``Unusable`` if another daemon has the folder, and ``OSError``."""
        os.makedirs(folder, 0o700, exist_ok=True)
        self._fd = os.open(f"{folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 20).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise Unusable(f"process {holder or '?'} is the daemon of {path} already: stop it first") from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def end(self) -> None:
        """Let another daemon start."""
        os.close(self._fd)


def own(path: str) -> socket.socket:
    """Make the socket, which does not listen yet; one that nobody listens at any more is replaced.

    Raises ``Unusable`` and ``OSError``.
    """
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, 0o700, exist_ok=True)
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        made.bind(path)
    except OSError as error:
        made.close()
        raise Unusable(f"listen unix {path}: bind: {(error.strerror or str(error)).lower()}") from None
    finally:
        os.umask(mask)
    made.setblocking(False)
    return made


def _remove_stale(path: str) -> None:
    try:
        found = os.lstat(path)
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Unusable(f"listen unix {path}: it exists and is no socket: remove it, or set -socketpath")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except OSError:
            pass
    raise Unusable(f"listen unix {path}: bind: address already in use: another daemon, such as Go's, listens: stop it")


def write_pid(path: str) -> None:
    """Write the process id; raises ``Unusable``."""
    if not path.startswith("/"):
        raise Unusable(f'Error writing pidfile "{path}": path not absolute')
    try:
        with open(path, "w", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
            file.write(str(os.getpid()))
    except OSError as error:
        raise Unusable(f'Error writing pidfile "{path}": {error}') from None


def remove(path: str) -> None:
    """Remove a file of ours, if it exists."""
    with contextlib.suppress(OSError):
        os.unlink(path)
