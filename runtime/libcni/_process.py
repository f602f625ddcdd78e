"""One child process that is fed, read and waited for: a machine that two loops drive, with poll, or with asyncio.


The machine knows which descriptors it waits for and what each one's readiness means; it never blocks. The loops add
time and cancellation. A child is waited for through its pidfd, so a number that was used again is never killed.
"""

import errno
import os
import select
import signal
from collections.abc import Iterable, Sequence
from time import monotonic

from libcni._cancellation import Cancellation, Deadline, milliseconds

_CHUNK = 1 << 16
_DYING = 1
# What Python ignores and a plugin must not find ignored.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


class OutOfTime(Exception):
    """The deadline came first; the child was killed."""


class Cancelled(Exception):
    """The switch was turned first; the child was killed."""


class TooMuchOutput(Exception):
    """The child printed more than it may; it was killed."""


class Child:
    """A running process, its standard input a pipe that is being filled, its output two pipes that are being read.

    ``wait_delay`` is how many seconds after its end others may keep its pipes open (a daemon that it left); what they
    print later is lost.
    """

    def __init__(self, pid: int, stdin: bytes, pipes: tuple[int, int, int], limit: int, wait_delay: float) -> None:
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._stdin = memoryview(stdin)
        self._to, self._out, self._err = pipes
        os.set_blocking(self._to, False)
        self._limit = limit
        self._wait_delay = wait_delay
        self._collected = {self._out: bytearray(), self._err: bytearray()}
        self._open = {*pipes, self._pidfd}
        self._ended: float | None = None
        self.status: int | None = 0

    @classmethod
    def start(
        cls,
        arguments: Sequence[str],
        environ: dict[str, str],
        stdin: bytes,
        *,
        own_group: bool = False,
        limit: int = 1 << 30,
        wait_delay: float = 5.0,
    ) -> "Child":
        """Execute ``arguments``, the first being the file; raises ``OSError`` when it cannot be started."""
        (given, to), (out, out_end), (err, err_end) = three_pipes()
        actions = [
            (os.POSIX_SPAWN_DUP2, given, 0),
            (os.POSIX_SPAWN_DUP2, out_end, 1),
            (os.POSIX_SPAWN_DUP2, err_end, 2),
        ]
        try:
            pid = _spawn(arguments, environ, actions, own_group)
        except BaseException:
            close_all(to, out, err)
            raise
        finally:
            close_all(given, out_end, err_end)
        return cls.adopt(pid, stdin, (to, out, err), limit, wait_delay)

    @classmethod
    def adopt(cls, pid: int, stdin: bytes, pipes: tuple[int, int, int], limit: int, wait_delay: float) -> "Child":
        """The child of that number; raises ``OSError`` after ending it, and closing its pipes, when it cannot be served."""
        try:
            return cls(pid, stdin, pipes, limit, wait_delay)
        except BaseException as error:
            close_all(*pipes)
            if not isinstance(error, ProcessLookupError):  # then it has ended, and nobody kept its status for us
                _end(pid)
            raise

    @property
    def stdout(self) -> bytes:
        """What it printed so far."""
        return bytes(self._collected[self._out])

    @property
    def stderr(self) -> bytes:
        """What it said on standard error so far."""
        return bytes(self._collected[self._err])

    @property
    def readable(self) -> set[int]:
        """The descriptors whose reading (or end) it waits for."""
        return self._open - {self._to}

    @property
    def writable(self) -> set[int]:
        """The descriptor that it waits to write to, if any."""
        return self._open & {self._to}

    @property
    def over(self) -> bool:
        """Whether it has ended and nothing more can come from it, or need not be waited for."""
        if self._ended is None:
            return False
        return self._open <= {self._to} or monotonic() - self._ended >= self._wait_delay

    @property
    def patience(self) -> float | None:
        """How many seconds at most a loop may wait before it asks again whether it is over."""
        return None if self._ended is None else max(0.0, self._ended + self._wait_delay - monotonic())

    def ready(self, descriptor: int) -> None:
        """Do what a descriptor's readiness calls for; raises ``TooMuchOutput``."""
        if descriptor not in self._open:
            return
        if descriptor == self._pidfd:
            self._note_end()
        elif descriptor == self._to:
            self._feed()
        else:
            self._read(descriptor)

    def _note_end(self) -> None:
        """It is reaped at last, in ``close``: until then its number is its process group's and nobody else's."""
        self._ended = monotonic()
        self._open.discard(self._pidfd)

    def _reap(self) -> None:
        try:
            _, self.status = os.waitpid(self._pid, 0)
        except ChildProcessError:  # the embedding program ignores SIGCHLD, or waits for every child
            self.status = None

    def _feed(self) -> None:
        try:
            self._stdin = self._stdin[os.write(self._to, self._stdin) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want to know
            self._stdin = self._stdin[:0]
        if not self._stdin:
            self._close(self._to)

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, _CHUNK)
        if not data:
            self._close(descriptor)
            return
        self._collected[descriptor] += data
        if len(self._collected[descriptor]) > self._limit:
            raise TooMuchOutput

    def _close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        os.close(descriptor)

    def kill(self, group: bool) -> None:
        """SIGKILL, to its whole process group where that is its own; and wait for its end.

        One that sleeps in the kernel dies when it wakes: it is waited for ``_DYING`` seconds, and then left to that.
        """
        if group and self._has_its_number():
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self._ended is not None:
            return
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if _readable([self._pidfd], _DYING):
            self._note_end()

    def _has_its_number(self) -> bool:
        """Whether its number is its own still: it is nobody's once the kernel or somebody else has reaped it."""
        try:
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def has_answered(self) -> bool:
        """Take what is there without waiting; whether it has ended, so that its answer is known. ``TooMuchOutput``."""
        while ready := _readable(self.readable, 0):
            for descriptor in ready:
                self.ready(descriptor)
        return self._ended is not None

    def close(self) -> None:
        """Give all descriptors back, and the process's number if it has ended."""
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
    """Three pipes, or none: raises ``OSError``."""
    opened: list[tuple[int, int]] = []
    try:
        for _ in range(3):
            opened.append(os.pipe2(os.O_CLOEXEC))
    except OSError:
        close_all(*(end for pipe in opened for end in pipe))
        raise
    return opened[0], opened[1], opened[2]


def close_all(*descriptors: int) -> None:
    """Close them."""
    for descriptor in descriptors:
        os.close(descriptor)


def _end(pid: int) -> None:
    """Kill and reap a child of which nothing but its number is known."""
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


def attend(child: Child, deadline: Deadline, cancel: Cancellation | None, group: bool) -> None:
    """Serve the child until it is over; raises ``OutOfTime``, ``Cancelled``, ``TooMuchOutput`` after killing it.

    One that has ended is not waited for any longer then, and its group is killed where that is its own.
    """
    try:
        while not child.over:
            left = deadline.left
            cancelled = cancel is not None and cancel.cancelled
            if left == 0 or cancelled:
                if not child.has_answered():
                    raise Cancelled if cancelled else OutOfTime
                child.kill(group)
                break
            waits = [wait for wait in (left, child.patience) if wait is not None]
            for descriptor in _poll(child, cancel, min(waits, default=None)):
                child.ready(descriptor)
    except BaseException:
        child.kill(group)
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
    """In a forked child: the dispositions and the mask that an executed plugin would find."""
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # those that nobody may change
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def told(status: int | None) -> str:
    """How a process ended, as Go tells it: ``exit status 1``, ``signal: killed``; empty for success."""
    if status is None:
        return "its exit status is unknown, this process ignores SIGCHLD or waits for every child"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        dumped = " (core dumped)" if os.WCOREDUMP(status) else ""
        return f"signal: {(signal.strsignal(number) or str(number)).lower()}{dumped}"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code else ""


def start_failure(path: str, error: OSError) -> str:
    """Why a file could not be started, as Go tells it."""
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"fork/exec {path}: {reason}"


def is_busy(error: OSError) -> bool:
    """Whether somebody has the file open for writing, which passes."""
    return error.errno == errno.ETXTBSY
