"""One process that waits with everything imported, and a child for each call.

A spare child, forked in advance, accepts the next caller, so that no caller waits for a fork: when it has one the
server forks the next spare. The server itself is in nobody's way: when it dies its children finish what they serve,
and the spare, which sees the end of the lifeline, goes.
"""

import _signal  # type: ignore[import-not-found]  # `signal` drags in enum, and `cni.lean` would use that then
import os
import select
from time import monotonic

from cni.identity import build_of
from cni_forkserver import child, listening, peer, warming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from cni.skel import Plugin

# Callers beyond these wait, and serve themselves when they have waited too long.
CHILDREN_MAX = 256
# Seconds before a spare is forked again that could not be forked, or died for no reason.
PAUSE = 1.0
_SIGNALS = (_signal.SIGTERM, _signal.SIGINT)


class Ended(BaseException):
    """A signal asked for the end."""


def _end(number: int, frame: object) -> None:  # noqa: ARG001
    raise Ended


def _mark(path: str) -> tuple[int, ...]:
    """What tells one file from another that got its name."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Server:
    """The process that forks."""

    def __init__(self, listener: "socket", plugins: "dict[str, Plugin]", command: list[str]) -> None:
        """``command`` starts this program again; its first word is the program's file."""
        self._listener = listener
        self._plugins = plugins
        self._command = command
        self._file = _mark(command[0])
        self._powers = peer.powers("self")
        self._memory = warming.written_to()
        # the children have the one end, and see when the other is closed
        self._lifeline, self._life = os.pipe2(os.O_CLOEXEC)
        self._poll = select.poll()
        self._children: set[int] = set()  # their pidfds
        self._spare = -1  # the line on which the spare says that it has a caller
        self._not_before = 0.0
        self._told = ""

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
                    self._hear()
                else:
                    self._forget(fd)
                    self._children.discard(fd)
            self._reap()

    def _adopt(self) -> None:
        """Children of the program that this process was before (see ``_renew``)."""
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for pid in file.read().split():
                    self._hold(int(pid))
        except OSError:
            pass  # they are reaped when something else happens

    def _hold(self, pid: int) -> None:
        held = os.pidfd_open(pid)
        self._children.add(held)
        self._poll.register(held, select.POLLIN)

    def _fork(self) -> None:
        """A spare; where processes or descriptors have run out, a try later."""
        opened: list[int] = []
        try:
            opened += os.pipe2(os.O_CLOEXEC)
            pid = os.fork()
            if not pid:
                self._become_spare(opened[1])
            os.close(opened.pop())  # which leaves room for the descriptor that holds the child
            self._hold(pid)
            self._poll.register(opened[0], select.POLLIN)
            self._spare = opened.pop()
        except OSError:
            self._not_before = monotonic() + PAUSE
        finally:
            for fd in opened:
                os.close(fd)

    def _become_spare(self, taken: int) -> None:
        """In the child, which ends here."""
        status = 70
        try:
            for number in _SIGNALS:
                _signal.signal(number, _signal.SIG_DFL)
            # a spare that has time makes ready for its call; when many are served at once nobody has
            memory = self._memory if len(self._children) <= 1 else []
            status = child.serve(self._listener, self._lifeline, taken, self._plugins, self._powers, memory)
        finally:
            os._exit(status)

    def _hear(self) -> None:
        """The spare has a caller, or is dead."""
        taken = os.read(self._spare, 1)
        self._forget(self._spare)
        self._spare = -1
        if not taken:
            self._not_before = monotonic() + PAUSE
        self._renew()

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        os.close(fd)

    def _reap(self) -> None:
        """Take the status of every process that has ended; as PID 1 of a container others' too."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    def _renew(self) -> None:
        """If another file has been installed, become it; the listening socket stays. Calls that run are not disturbed."""
        try:
            if _mark(self._command[0]) == self._file or not build_of(self._command[0]):
                return  # one that is being copied has no end yet
        except OSError:
            return
        environ = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
        kept = _copied(listening.FIRST)
        try:
            os.dup2(self._listener.fileno(), listening.FIRST)
            os.set_inheritable(listening.FIRST, True)
            os.execve(self._command[0], self._command, environ)
        except OSError as error:  # it is tried again at the next call
            self._tell(f"cni-forkserver: the new {self._command[0]} cannot be started: {error.strerror}\n")
        finally:
            if kept < 0:
                os.close(listening.FIRST)
            else:
                os.dup2(kept, listening.FIRST, inheritable=False)
                os.close(kept)

    def _tell(self, line: str) -> None:
        """A line for the journal, not with every call."""
        if line == self._told:
            return
        self._told = line
        try:
            os.write(2, line.encode("utf-8", "replace"))
        except OSError:
            pass  # nobody listens


def _copied(fd: int) -> int:
    """Another descriptor of the same, -1 where there is none."""
    try:
        return os.dup(fd)
    except OSError:
        return -1
