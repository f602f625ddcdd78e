"""The server: a process that has imported everything, and forks a child for each call.

A spare child is forked in advance and accepts the next caller, so that no caller waits for a fork. Then the server forks
the next spare child. If the server dies, its children finish their calls, and the spare child ends: it notices that the
server's end of a pipe, the lifeline, is closed.
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
# Seconds until the next fork of a spare child, if one could not be forked or has died.
PAUSE = 1.0
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
        self._memory = warming.writable_memory()
        # A pipe. The children have the first end, and notice when the server's end is closed.
        self._lifeline, self._servers_end = os.pipe2(os.O_CLOEXEC)
        self._poll = select.poll()
        self._children: set[int] = set()  # pidfds
        self._spare = -1  # a pipe: the spare child writes to it when it has accepted a caller
        self._not_before = 0.0
        self._last_line = ""

    def run(self) -> None:
        """Serve until a signal raises ``Ended``."""
        for number in _SIGNALS:
            _signal.signal(number, _end)
        self._adopt()
        while True:
            wait = self._not_before - monotonic()
            if self._spare < 0 and wait <= 0 and len(self._children) < CHILDREN_MAX:
                self._fork()
            for fd, _ in self._poll.poll(max(wait, 0) * 1000 if wait > 0 else None):
                if fd == self._spare:
                    self._spare_is_taken()
                else:
                    self._unwatch(fd)
                    self._children.discard(fd)
            self._reap()

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
            self._spare = opened.pop()
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
            # A spare child prepares its memory, unless many calls are served at once: then there is no time for it.
            memory = self._memory if len(self._children) <= 1 else []
            status = child.serve(self._listener, self._lifeline, taken, self._plugins, self._privileges, memory)
        finally:
            os._exit(status)

    def _spare_is_taken(self) -> None:
        """The spare child has accepted a caller, or has died."""
        taken = os.read(self._spare, 1)
        self._unwatch(self._spare)
        self._spare = -1
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
