"""Check a caller: it is served only if it has exactly the privileges of the server, and so could do the work itself.

Only root can reach the socket. That is not enough, because the folder may be mounted into a container. The caller must be
in the user and PID namespaces of the server, and have its capabilities, seccomp mode and security label.
"""

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# The lines of /proc/PID/status (proc(5)) that must be the same for the caller and the server.
_PRIVILEGES = ("Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
_CAP_SYS_ADMIN = 21


class Refused(Exception):
    """The caller is not served. The text says why."""


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def _status(pid: "int | str") -> "Mapping[str, str]":
    """The lines of a process's status, by name (proc(5))."""
    lines = _read(f"/proc/{pid}/status").decode("ascii", "replace").splitlines()
    return {name: value for name, _, value in (line.partition(":\t") for line in lines)}


def privileges(pid: "int | str", status: "Mapping[str, str] | None" = None) -> "Mapping[str, str]":
    """The privileges of a process: lines of its status, its security label, its user and PID namespaces."""
    status = status or _status(pid)
    found = {name: status[name] for name in _PRIVILEGES if name in status}
    try:
        found["label"] = _read(f"/proc/{pid}/attr/current").decode("utf-8", "replace").rstrip("\0\n")
    except OSError:
        found["label"] = ""  # there is no security module with labels
    for kind in ("user", "pid"):
        namespace = os.stat(f"/proc/{pid}/ns/{kind}")
        found[f"{kind} namespace"] = f"{namespace.st_dev}:{namespace.st_ino}"
    return found


def cannot_serve(own: "Mapping[str, str]") -> str:
    """Why a server with these privileges cannot serve; empty if it can."""
    if own.get("Uid", "").split() != ["0"] * 4:
        return "it must run as root"
    if not int(own.get("CapEff", "0"), 16) >> _CAP_SYS_ADMIN & 1:
        return "it needs CAP_SYS_ADMIN"
    return ""


class Caller:
    """The process at the other end of the connection. A pidfd shows if its pid becomes that of another process."""

    def __init__(self, pid: int) -> None:
        """``pid`` is that of the process that connected (SO_PEERCRED), or 0 if it is in another PID namespace."""
        self.pid = pid
        self.ignored = 0
        """The signals that it ignores, one bit for each. It is set by ``verify``."""
        # Raised only after the call was read: closing a socket with unread data would discard the answer.
        self._fault = "" if pid > 0 else "the caller is in another PID namespace"
        try:
            self._pidfd = os.pidfd_open(pid) if pid > 0 else -1
        except OSError:
            self._fault = "the caller is gone"

    def verify(self, own: "Mapping[str, str]", sender: int) -> None:
        """Raise ``Refused`` unless the caller has exactly the privileges ``own``.

        ``sender`` is the pid of the process that sent the call (SCM_CREDENTIALS), after this object was made. If it is
        the same pid, and the process of the pidfd is still alive, the pid was that of one process all the time. So what
        is read from /proc is about the sender.
        """
        if self._fault:
            raise Refused(self._fault)
        if sender != self.pid:
            raise Refused("one process connected and another one sent the call")
        try:
            status = _status(self.pid)
            theirs = privileges(self.pid, status)
        except OSError:
            raise Refused("the caller is gone") from None
        self.must_be_alive()
        for name, value in own.items():
            if theirs.get(name) != value:
                raise Refused(f"the caller's {name} is {theirs.get(name)}, the server's {value}")
        self.ignored = int(status["SigIgn"], 16)

    def must_be_alive(self) -> None:
        """Raise ``Refused`` if the caller has ended: what was read with its pid may be about another process."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if poll.poll(0):
            raise Refused("the caller is gone")
