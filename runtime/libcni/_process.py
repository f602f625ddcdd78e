"""A child process: write its input, read its output, wait for its end.

``Child`` knows which descriptors it waits for, and what to do when one is ready. It does not block. Two loops use it:
``attend`` here with poll(2), and the one in ``_aioprocess``. They add deadlines and cancellation. The child is
identified by a pidfd, so a process that gets its pid later is never killed.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports enum
import errno
import os
import select
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import monotonic

from libcni._cancellation import Cancellation, Deadline, milliseconds

_CHUNK = 1 << 16
# Seconds to wait for the end of a child after SIGKILL.
_DEATH_WAIT = 1
# Python ignores these signals. A plugin must start with their default actions.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


class OutOfTime(Exception):
    """The deadline has passed. The child was killed."""


class Cancelled(Exception):
    """The call was cancelled. The child was killed."""


class TooMuchOutput(Exception):
    """The child printed more than ``max_output`` bytes. It was killed."""


@dataclass(frozen=True, slots=True)
class ChildOptions:
    """How a child runs.

    ``own_group``: it leads a process group, which is killed as a whole. ``max_output``: the limit of each output, in
    bytes. ``wait_delay``: for how many seconds after its end other processes, such as a daemon that it started, may keep
    its pipes open. What they print later is lost.
    """

    own_group: bool = False
    max_output: int = 64 << 20
    wait_delay: float = 5.0


class Child:
    """A running process. Pipes are its standard input, standard output and standard error."""

    def __init__(self, pid: int, stdin: bytes, pipes: tuple[int, int, int], options: ChildOptions) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._stdin = memoryview(stdin)
        self._in, self._out, self._err = pipes
        os.set_blocking(self._in, False)
        self._options = options
        self._collected = {self._out: bytearray(), self._err: bytearray()}
        self._open = {*pipes, self._pidfd}
        self._ended: float | None = None
        self.status: int | None = 0

    @classmethod
    def start(cls, arguments: Sequence[str], environ: dict[str, str], stdin: bytes, options: ChildOptions) -> "Child":
        """Execute ``arguments``; the first one is the file. Raises ``OSError`` if it cannot be started."""
        (child_in, parent_in), (parent_out, child_out), (parent_err, child_err) = three_pipes()
        actions = [
            (os.POSIX_SPAWN_DUP2, child_in, 0),
            (os.POSIX_SPAWN_DUP2, child_out, 1),
            (os.POSIX_SPAWN_DUP2, child_err, 2),
        ]
        try:
            pid = _spawn(arguments, environ, actions, options.own_group)
        except BaseException:
            close_all(parent_in, parent_out, parent_err)
            raise
        finally:
            close_all(child_in, child_out, child_err)
        return cls.adopt(pid, stdin, (parent_in, parent_out, parent_err), options)

    @classmethod
    def adopt(cls, pid: int, stdin: bytes, pipes: tuple[int, int, int], options: ChildOptions) -> "Child":
        """Make the object of a running child. Raises ``OSError`` after killing the child and closing its pipes."""
        try:
            return cls(pid, stdin, pipes, options)
        except BaseException as error:
            close_all(*pipes)
            if not isinstance(error, ProcessLookupError):  # else it has already been reaped
                _end(pid)
            raise

    @property
    def stdout(self) -> bytes:
        """What it has written to standard output so far."""
        return bytes(self._collected[self._out])

    @property
    def stderr(self) -> bytes:
        """What it has written to standard error so far."""
        return bytes(self._collected[self._err])

    @property
    def readable(self) -> set[int]:
        """The descriptors to wait for until they are readable."""
        return self._open - {self._in}

    @property
    def writable(self) -> set[int]:
        """The descriptors to wait for until they are writable: standard input, or none."""
        return self._open & {self._in}

    @property
    def over(self) -> bool:
        """Whether it has ended, and its output is complete or no longer waited for."""
        if self._ended is None:
            return False
        return self._open <= {self._in} or monotonic() - self._ended >= self._options.wait_delay

    @property
    def grace_left(self) -> float | None:
        """The rest of ``wait_delay``, in seconds. None if the child has not ended."""
        return None if self._ended is None else max(0.0, self._ended + self._options.wait_delay - monotonic())

    def ready(self, descriptor: int) -> None:
        """Read from a descriptor that is ready, or write to it. Raises ``TooMuchOutput``."""
        if descriptor not in self._open:
            return
        if descriptor == self._pidfd:
            self._note_end()
        elif descriptor == self._in:
            self._feed()
        else:
            self._read(descriptor)

    def _note_end(self) -> None:
        """Note that it has ended. ``close`` reaps it, so until then no other process or group gets its pid."""
        self._ended = monotonic()
        self._open.discard(self._pidfd)

    def _reap(self) -> None:
        try:
            _, self.status = os.waitpid(self._pid, 0)
        except ChildProcessError:  # the program ignores SIGCHLD, or waits for every child
            self.status = None

    def _feed(self) -> None:
        try:
            self._stdin = self._stdin[os.write(self._in, self._stdin) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not read its input
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._close(self._in)

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, _CHUNK)
        if not data:
            self._close(descriptor)
            return
        self._collected[descriptor] += data
        if len(self._collected[descriptor]) > self._options.max_output:
            raise TooMuchOutput

    def _close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        os.close(descriptor)

    def kill(self) -> None:
        """Send SIGKILL to it, or to its process group if it has its own, and wait until it has ended.

        A process that sleeps in the kernel only dies when it wakes, so the wait is ``_DEATH_WAIT`` seconds at most.
        """
        if self._options.own_group and self._still_has_its_pid():
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self._ended is not None:
            return
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if _readable([self._pidfd], _DEATH_WAIT):
            self._note_end()

    def _still_has_its_pid(self) -> bool:
        """Whether it has not been reaped yet. After that, another process may get its pid."""
        try:
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def has_answered(self) -> bool:
        """Read what is available without waiting. Return whether it has ended. Raises ``TooMuchOutput``."""
        while ready := _readable(self.readable, 0):
            for descriptor in ready:
                self.ready(descriptor)
        return self._ended is not None

    def close(self) -> None:
        """Close all descriptors, and reap the process if it has ended."""
        if self._ended is not None:
            self._reap()
        self._open.add(self._pidfd)
        close_all(*self._open)
        self._open.clear()


def _readable(descriptors: Iterable[int], seconds: float) -> list[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(seconds * 1000)]


def three_pipes() -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Open three pipes. Raises ``OSError``; no pipe is open then."""
    opened: list[tuple[int, int]] = []
    try:
        for _ in range(3):
            opened.append(os.pipe2(os.O_CLOEXEC))
    except OSError:
        close_all(*(end for pipe in opened for end in pipe))
        raise
    return opened[0], opened[1], opened[2]


def close_all(*descriptors: int) -> None:
    """Close the descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)


def _end(pid: int) -> None:
    """Kill and reap a child by its pid."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def _spawn(
    arguments: Sequence[str], environ: dict[str, str], actions: list[tuple[int, int, int]], own_group: bool
) -> int:
    spawn = os.posix_spawn if "/" in arguments[0] else os.posix_spawnp
    command = list(arguments)
    if own_group:
        return spawn(
            command[0],
            command,
            environ,
            file_actions=actions,
            setpgroup=0,
            setsigdef=_DEFAULT_SIGNALS,
            setsigmask=(),
        )
    return spawn(command[0], command, environ, file_actions=actions, setsigdef=_DEFAULT_SIGNALS, setsigmask=())


def attend(child: Child, deadline: Deadline, cancel: Cancellation | None) -> None:
    """Feed and read the child until it has ended.

    Raises ``OutOfTime``, ``Cancelled`` or ``TooMuchOutput`` after killing it. If the child itself has already ended at
    the deadline or the cancellation, its output counts; only its process group is killed.
    """
    try:
        while not child.over:
            left = deadline.left
            cancelled = cancel is not None and cancel.cancelled
            if left == 0 or cancelled:
                if not child.has_answered():
                    raise Cancelled if cancelled else OutOfTime
                child.kill()
                break
            waits = [wait for wait in (left, child.grace_left) if wait is not None]
            for descriptor in _poll(child, cancel, min(waits, default=None)):
                child.ready(descriptor)
    except BaseException:
        child.kill()
        raise
    finally:
        child.close()


def _poll(child: Child, cancel: Cancellation | None, timeout: float | None) -> list[int]:
    poll = select.poll()
    for descriptor in child.readable:
        poll.register(descriptor, select.POLLIN)
    for descriptor in child.writable:
        poll.register(descriptor, select.POLLOUT)
    if cancel is not None:
        poll.register(cancel.fileno(), select.POLLIN)
    events = poll.poll(None if timeout is None else milliseconds(timeout))
    return [descriptor for descriptor, _ in events if cancel is None or descriptor != cancel.fileno()]


def restore_signals() -> None:
    """In a forked child: set the signal actions and the signal mask as an executed plugin has them."""
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # some signals cannot be changed
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def describe_status(status: int | None) -> str:
    """How a process ended, in Go's words: ``exit status 1``, ``signal: killed``. Empty for success."""
    if status is None:
        return "its exit status is unknown, this process ignores SIGCHLD or waits for every child"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        dumped = " (core dumped)" if os.WCOREDUMP(status) else ""
        return f"signal: {(signal.strsignal(number) or str(number)).lower()}{dumped}"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code else ""


def start_failure(path: str, error: OSError) -> str:
    """Why a file could not be started, in Go's words."""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"fork/exec {path}: {reason}"


def is_busy(error: OSError) -> bool:
    """Whether the file could not be started because it is open for writing."""
    return error.errno == errno.ETXTBSY
