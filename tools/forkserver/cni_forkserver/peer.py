"""Whether a caller may have what it asks for: only who could do it itself, with just the powers that the server has.

The socket's folder keeps others than root away. Root in a container, with the folder mounted into it, is not enough:
the caller must be in the server's user and PID namespaces and have its capabilities, seccomp mode and security label.
"""

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# Lines of /proc/PID/status (proc(5)) in which the caller must be as the server is.
_POWERS = ("Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
_CAP_SYS_ADMIN = 21


class Refused(Exception):
    """The caller is not served; the text says why."""


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def _status(pid: "int | str") -> "Mapping[str, str]":
    """A process's status, line by line (proc(5))."""
    lines = _read(f"/proc/{pid}/status").decode("ascii", "replace").splitlines()
    return {name: value for name, _, value in (line.partition(":\t") for line in lines)}


def powers(pid: "int | str", status: "Mapping[str, str] | None" = None) -> "Mapping[str, str]":
    """What a process may do: the lines of its status that tell, its security label, its user and PID namespaces."""
    status = status or _status(pid)
    found = {name: status[name] for name in _POWERS if name in status}
    try:
        found["label"] = _read(f"/proc/{pid}/attr/current").decode("utf-8", "replace").rstrip("\0\n")
    except OSError:
        found["label"] = ""  # no security module that has labels
    for kind in ("user", "pid"):
        place = os.stat(f"/proc/{pid}/ns/{kind}")
        found[f"{kind} namespace"] = f"{place.st_dev}:{place.st_ino}"
    return found


def insufficient(own: "Mapping[str, str]") -> str:
    """What keeps a process with these powers from serving; empty if it can."""
    if own.get("Uid", "").split() != ["0"] * 4:
        return "it must run as root"
    if not int(own.get("CapEff", "0"), 16) >> _CAP_SYS_ADMIN & 1:
        return "it needs CAP_SYS_ADMIN"
    return ""


class Caller:
    """The process at the other end, held so that its number cannot come to mean another process unnoticed."""

    def __init__(self, pid: int) -> None:
        """``pid`` is who connected (SO_PEERCRED), 0 for one that this PID namespace does not know."""
        self.pid = pid
        self.ignored = 0
        """Signals that it ignores, a bit each; known once it is verified."""
        # told only when the call has been read: a socket that is closed with something unread takes the answer with it
        self._fault = "" if pid > 0 else "the caller is in another PID namespace"
        try:
            self._held = os.pidfd_open(pid) if pid > 0 else -1
        except OSError:
            self._fault = "the caller is gone"

    def verify(self, own: "Mapping[str, str]", sender: int) -> None:
        """Raise ``Refused`` unless the caller has just the powers ``own``.

        ``sender`` is who sent the packet that came after this object was made (SCM_CREDENTIALS). That this was the
        same number, and that the process which was held then is alive still, tells that the number meant one process
        all the time, and so that what is read under it is the sender's.
        """
        if self._fault:
            raise Refused(self._fault)
        if sender != self.pid:
            raise Refused("one process connected and another one sent the call")
        try:
            status = _status(self.pid)
            theirs = powers(self.pid, status)
        except OSError:
            raise Refused("the caller is gone") from None
        self.must_live()
        for name, value in own.items():
            if theirs.get(name) != value:
                raise Refused(f"the caller's {name} is {theirs.get(name)}, the server's {value}")
        self.ignored = int(status["SigIgn"], 16)

    def must_live(self) -> None:
        """Raise ``Refused`` if the caller has ended: what was read under its number may be another's."""
        poll = select.poll()
        poll.register(self._held, select.POLLIN)
        if poll.poll(0):
            raise Refused("the caller is gone")
