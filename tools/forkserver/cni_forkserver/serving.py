"""The server: a process that has imported everything, and forks a child for each call.

Spare children are forked in advance, and accept the next callers, so that no caller waits for a fork. If the server dies,
its children finish their calls, and the spare children end: they notice that the server's end of a pipe, the lifeline, is
closed.
"""

import _signal  # type: ignore[import-not-found]  # `signal` imports enum, and `cni.lean` would then use the real enum
import os
import select
from time import monotonic

from cni.identity import build_of
from cni_forkserver import child, listening, peer, warming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from cni.skel import Plugin

# Further callers wait, and serve themselves after a timeout.
CHILDREN_MAX = 256
# The plugins of a list follow each other at once, and a list rarely has more.
SPARES = 3
# Seconds without a new call after which missing spare children are forked. Before, this would delay the calls that are
# being served, so only the last one is replaced.
QUIET = 0.05
# Seconds until the next fork of a spare child, if one could not be forked or has died.
PAUSE = 1.0
# Seconds that the end of a server waits for calls. Kubernetes waits 30 seconds before it kills all of a container.
GRACE = 25.0
_SIGNALS = (_signal.SIGTERM, _signal.SIGINT)


class Ended(BaseException):
    """A signal has ended the server."""


def _end(number: int, frame: object) -> None:  # noqa: ARG001
    raise Ended


def _file_identity(path: str) -> tuple[int, ...]:
    """What distinguishes the file from another one with the same name."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Server:
    """The process that forks."""

    def __init__(self, listener: "socket", plugins: "dict[str, Plugin]", command: list[str]) -> None:
        """``command`` executes this program again. Its first word is the program's file."""
        self._listener = listener
        self._plugins = plugins
        self._command = command
        self._file = _file_identity(command[0])
        self._privileges = peer.privileges("self")
        self._pages = warming.Pages()
        # A pipe. The children have the first end, and notice when the server's end is closed.
        self._lifeline, self._servers_end = os.pipe2(os.O_CLOEXEC)
        self._poll = select.poll()
        self._children: set[int] = set()  # pidfds
        self._spares: set[int] = set()  # pipes: a spare child writes to its own when it has accepted a caller
        self._not_before = self._quiet_at = 0.0
        self._last_line = ""

    def run(self) -> None:
        """Serve until a signal raises ``Ended``."""
        for number in _SIGNALS:
            _signal.signal(number, _end)
        self._adopt()
        while True:
            if self._due() == 0:
                self._fork()
            due = self._due()
            for fd, _ in self._poll.poll(None if due is None else due * 1000):
                if fd in self._spares:
                    self._spare_is_taken(fd)
                else:
                    self._forget_child(fd)
            self._reap()

    def finish(self) -> None:
        """Wait up to ``GRACE`` seconds for the calls that are being served. Spare children end at once."""
        os.close(self._servers_end)
        for fd in self._spares:
            self._unwatch(fd)
        end = monotonic() + GRACE
        while self._children and (left := end - monotonic()) > 0:
            for fd, _ in self._poll.poll(left * 1000):
                self._forget_child(fd)

    def _due(self) -> float | None:
        """Seconds until a spare child is to be forked. None if there are enough, or too many children."""
        if len(self._spares) >= SPARES or len(self._children) >= CHILDREN_MAX:
            return None
        at = max(self._not_before, self._quiet_at) if self._spares else self._not_before
        return max(at - monotonic(), 0)

    def _adopt(self) -> None:
        """Watch the children of the older version that executed this program (see ``_upgrade``)."""
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for pid in file.read().split():
                    self._watch_child(int(pid))
        except OSError:
            pass  # they are reaped at the next event

    def _watch_child(self, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        self._children.add(pidfd)
        self._poll.register(pidfd, select.POLLIN)

    def _forget_child(self, pidfd: int) -> None:
        """A child has ended."""
        self._unwatch(pidfd)
        self._children.discard(pidfd)

    def _fork(self) -> None:
        """Fork a spare child. If there are no processes or descriptors left, try again later."""
        opened: list[int] = []
        try:
            opened += os.pipe2(os.O_CLOEXEC)
            pid = os.fork()
            if not pid:
                self._become_spare(opened[1])
            os.close(opened.pop())  # it makes room for the pidfd
            self._watch_child(pid)
            self._poll.register(opened[0], select.POLLIN)
            self._spares.add(opened.pop())
        except OSError:
            self._not_before = monotonic() + PAUSE
        finally:
            for fd in opened:
                os.close(fd)

    def _become_spare(self, taken: int) -> None:
        """In the child: serve a call, and exit."""
        status = 70
        try:
            for number in _SIGNALS:
                _signal.signal(number, _signal.SIG_DFL)
            # The last spare child is replaced in a hurry. Such a child prepares itself after the others.
            idle = 0.0 if monotonic() >= self._quiet_at else 2 * QUIET
            status = child.serve(
                self._listener, self._lifeline, taken, self._plugins, self._privileges, self._pages, idle
            )
        finally:
            os._exit(status)

    def _spare_is_taken(self, spare: int) -> None:
        """A spare child has accepted a caller, or has died."""
        taken = os.read(spare, 1)
        self._unwatch(spare)
        self._spares.discard(spare)
        self._quiet_at = monotonic() + QUIET
        if not taken:
            self._not_before = monotonic() + PAUSE
        self._upgrade()

    def _unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)
        os.close(fd)

    def _reap(self) -> None:
        """Reap all processes that have ended. As PID 1 of a container, the server reaps those of others too."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def _upgrade(self) -> None:
        """If another file has been installed, execute it with the same listening socket. Running calls continue."""
        try:
            if _file_identity(self._command[0]) == self._file or not build_of(self._command[0]):
                return  # a file that is still being copied has no mark at its end
        except OSError:
            return
        environ = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
        kept = _duplicate(listening.FIRST)
        try:
            os.dup2(self._listener.fileno(), listening.FIRST)
            os.set_inheritable(listening.FIRST, True)
            os.execve(self._command[0], self._command, environ)
        except OSError as error:  # it is tried again after the next call
            self._log_once(f"cni-forkserver: the new {self._command[0]} cannot be started: {error.strerror}\n")
        finally:
            if kept < 0:
                os.close(listening.FIRST)
            else:
                os.dup2(kept, listening.FIRST, inheritable=False)
                os.close(kept)

    def _log_once(self, line: str) -> None:
        """Write a line to standard error, but not twice in a row."""
        if line == self._last_line:
            return
        self._last_line = line
        try:
            os.write(2, line.encode("utf-8", "replace"))
        except OSError:
            pass  # standard error is closed


def _duplicate(fd: int) -> int:
    """Duplicate a descriptor. -1 if it is not open."""
    try:
        return os.dup(fd)
    except OSError:
        return -1
