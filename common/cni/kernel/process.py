"""Executing a program, such as another plugin or iptables, with limits on its time and output."""

import errno
import os
from time import monotonic, sleep

from cni.errors import CNIError, TryAgainLater
from cni.patience import attempts

_OUTPUT_MAX = 1 << 24
# Seconds between checks whether a child has ended, while its output is still open.
_LOOK = 0.1
_BUSY_TRIES, _BUSY_PAUSE = 5, 1.0
# SIGPIPE and SIGXFSZ: Python ignores them, and a child would inherit that.
_IGNORED_BY_PYTHON = (13, 25)
UNKNOWN = "its exit status is unknown, this process ignores SIGCHLD or waits for every child"


def execute(
    path: str, environ: dict[str, str], stdin: bytes, timeout: float, arguments: tuple[str, ...] = ()
) -> tuple[str, bytes, bytes]:
    """Execute a file with ``stdin``; returns its failure (empty: none), standard output and standard error.

    It is killed if it takes longer than ``timeout`` seconds (raises ``TryAgainLater``), or prints too much.
    """
    deadline = monotonic() + timeout
    opened: list[int] = []
    try:
        source = os.memfd_create("cni-stdin")
        opened.append(source)
        out, out_end = os.pipe2(os.O_CLOEXEC)
        opened += [out, out_end]
        err, err_end = os.pipe2(os.O_CLOEXEC)
        opened += [err, err_end]
        unwritten = stdin
        while unwritten:
            unwritten = unwritten[os.write(source, unwritten) :]
        os.lseek(source, 0, os.SEEK_SET)
        try:
            child = _spawn([path, *arguments], environ, (source, out_end, err_end), deadline)
        except OSError as error:
            return f"exec {path}: {os.strerror(error.errno or 0).lower()}", b"", b""
        try:
            for fd in (source, out_end, err_end):
                opened.remove(fd)
                os.close(fd)
            output, noise = _collect(child, path, out, err, deadline, timeout)
            status = _reap(child, path, deadline, timeout)
        except BaseException:
            _kill(child)
            raise
    finally:
        for fd in opened:
            os.close(fd)
    return _failure(status), output, noise


def _spawn(command: list[str], environ: dict[str, str], streams: tuple[int, int, int], deadline: float) -> int:
    """Start a file; retries while it is being written, as libcni does. Raises ``OSError``."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    for _ in range(_BUSY_TRIES):
        try:
            return os.posix_spawn(command[0], command, environ, file_actions=actions, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as error:
            if error.errno != errno.ETXTBSY or monotonic() + _BUSY_PAUSE >= deadline:
                raise
        sleep(_BUSY_PAUSE)
    return os.posix_spawn(command[0], command, environ, file_actions=actions, setsigdef=_IGNORED_BY_PYTHON)


def _collect(child: int, path: str, out: int, err: int, deadline: float, timeout: float) -> tuple[bytes, bytes]:
    """The output of a child until it closes both streams or ends (a grandchild may keep them open)."""
    import select

    collected = {out: bytearray(), err: bytearray()}
    poll = select.poll()
    for fd in collected:
        poll.register(fd, select.POLLIN)
    waiting = set(collected)
    look = monotonic() + _LOOK
    while waiting:
        now = monotonic()
        if now >= deadline:
            raise _late(path, timeout)
        for fd, _ in poll.poll(max(0.0, min(deadline, look) - now) * 1000):
            data = os.read(fd, 1 << 16)
            collected[fd] += data
            if len(collected[fd]) > _OUTPUT_MAX:
                raise CNIError(f"{path} printed more than {_OUTPUT_MAX >> 20} MiB and was killed")
            if not data:
                poll.unregister(fd)
                waiting.discard(fd)
        if monotonic() >= look:
            look += _LOOK
            if _has_ended(child):
                for fd, _ in poll.poll(0):  # its last output; a pipe holds no more than 1 MiB
                    collected[fd] += os.read(fd, 1 << 20)
                break
    return bytes(collected[out]), bytes(collected[err])


def _has_ended(child: int) -> bool:
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _reap(child: int, path: str, deadline: float, timeout: float) -> "int | None":
    """The wait status of a child that has closed its streams, or has ended.

    None if it is lost, because this process ignores SIGCHLD, or waits for every child elsewhere.
    """
    for _ in attempts(deadline - monotonic(), first=0.0002, longest=0.05):
        try:
            ended, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended:
            return status
    raise _late(path, timeout)


def _kill(child: int) -> None:
    """Kill a child, and wait a moment for its end; init reaps it if it hangs in the kernel."""
    try:
        os.kill(child, 9)
        for _ in attempts(1.0):
            if os.waitpid(child, os.WNOHANG)[0]:
                return
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended, and its status is lost


def _late(path: str, timeout: float) -> TryAgainLater:
    return TryAgainLater(f"{path} did not end within {timeout:g} s and was killed")


def _failure(status: "int | None") -> str:
    if status is None:
        return UNKNOWN
    if os.WIFSIGNALED(status):
        return f"signal: {os.WTERMSIG(status)}"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code else ""
