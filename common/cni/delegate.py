"""Another plugin, executed as the specification says (section "Delegated plugins"): found in CNI_PATH, told on stdin.

One of the same build is run in this process instead: the same code, without a second start of Python.
"""

import os
import sys
from time import monotonic, sleep

from cni import build, wire
from cni.config import chosen
from cni.errors import CNIError, Refused, TryAgainLater
from cni.patience import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.skel import Call

# Seconds that a delegate may take: DHCP is slow, kubelet gives two minutes for all. So one that comes after a slow one
# (DEL after a failed ADD) gets what is left of the call's time, and at least a few seconds.
TIMEOUT, CALL_TIME, TIMEOUT_MIN = 90.0, 100.0, 10.0
_OUTPUT_MAX = 1 << 24
# Seconds between looks at whether a child has ended whose output goes on.
_LOOK = 0.1
_BUSY_TRIES, _BUSY_PAUSE = 5, 1.0
_ETXTBSY = 26
# SIGPIPE and SIGXFSZ: a program that Python starts would ignore them too.
_IGNORED_BY_PYTHON = (13, 25)
_UNKNOWN = "its exit status is unknown, this process ignores SIGCHLD or waits for every child"
_MARK = b"pycni-build:"


def find(name: str, folders: list[str]) -> str:
    """The first regular file of that name; the execute bit is not looked at, as in Go. Raises ``CNIError``."""
    if not name:
        raise CNIError("no plugin name provided", "set type to the plugin's name, that of ipam too")
    if "/" in name or "\0" in name or name in (".", ".."):
        raise CNIError(f"invalid plugin name: {name}", "the name of a file in CNI_PATH, without a path")
    if not folders:
        raise CNIError("no paths provided", "set CNI_PATH to the folders with the plugins")
    for folder in folders:
        path = f"{folder}/{name}"
        if os.path.isfile(path):
            return path
    raise CNIError(
        f'failed to find plugin "{name}" in path [{" ".join(folders)}]',
        "install it there, or add its folder to CNI_PATH",
    )


def run(call: "Call", name: str, verb: str, stdin: bytes | None = None) -> "Any":
    """Run the plugin ``name`` with ``verb`` on the call's configuration: the document it printed, None if nothing.

    ``stdin`` is a configuration other than the call's. Raises ``CNIError``: the plugin's own error as it gave it, or
    code 0 with what it said where it gave none; ``Refused`` when one of the same build says that it made nothing.
    """
    path = find(name, call.path)
    environ = {**call.environ, "CNI_COMMAND": verb}
    if stdin is None:
        stdin = call.stdin
    output = _here(call, path, name, environ, stdin) if _same_build(path) else None
    if output is None:
        output = _there(call, path, environ, stdin)
    if verb != "ADD":
        return None
    try:
        document = wire.decode(output)
    except CNIError as error:
        reason = error.msg.removeprefix("error unmarshall network config: ")
        raise CNIError(f"failed to unmarshal raw result: {reason}", f"{path} printed {_quoted(output)}") from None
    if document is not None and not isinstance(document, dict):
        raise CNIError("failed to unmarshal raw result: not an object", f"{path} printed {_quoted(output)}")
    return document or {}


def _there(call: "Call", path: str, environ: dict[str, str], stdin: bytes) -> bytes:
    """Run it in a process of its own, within what is left of the call's time: what it printed."""
    status, output, noise = execute(path, environ, stdin, max(TIMEOUT_MIN, min(TIMEOUT, CALL_TIME - call.elapsed)))
    if status:
        raise _failure(status, output, noise)
    if noise:
        call.say(noise.decode("utf-8", "replace").rstrip("\n"))
    return output


def _quoted(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return f'"{text[:500]}{"…" if len(text) > 500 else ""}"'


def _failure(status: str, output: bytes, noise: bytes) -> CNIError:
    if not output.strip():
        if noise.strip():
            return CNIError(f"netplugin failed: {_quoted(noise)}: {status}", code=0)
        return CNIError(f"netplugin failed with no error message: {status}", code=0)
    try:
        document = wire.decode(output)
        if document is not None and not isinstance(document, dict):
            raise ValueError("it is no object")
        code, msg, details = (chosen(document or {}, name) for name in ("code", "msg", "details"))
        code, msg, details = (
            default if value is None else value for value, default in ((code, 0), (msg, ""), (details, ""))
        )
        if not (type(code) is int and code >= 0 and isinstance(msg, str) and isinstance(details, str)):
            raise ValueError("code, msg or details has the wrong type")
    except (CNIError, ValueError) as error:
        text = f"netplugin failed but error parsing its diagnostic message {_quoted(output)}: {error}"
        return CNIError(text, code=0)
    if not msg and status == _UNKNOWN:  # a result, it seems, but who knows how it ended
        return _failure(status, b"", noise)
    return CNIError(msg, details, code)


def _build_of(path: str) -> bytes:
    """The build identity at the end of a single file, empty for any other file."""
    try:
        with open(path, "rb") as file:
            file.seek(-min(200, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read()
    except OSError:
        return b""
    return tail[tail.rfind(_MARK) :] if _MARK in tail else b""


def _same_build(path: str) -> bool:
    own = _MARK + build.encode() if build else _build_of(getattr(globals().get("__loader__"), "archive", ""))
    return bool(own) and _build_of(path) == own


class _Noise:
    """Passes on the lines of a plugin that runs in this process."""

    def __init__(self, call: "Call") -> None:
        self._call = call

    def write(self, text: str, /) -> None:
        self._call.say(text.rstrip("\n"))


def _importable(module: str, path: str = "") -> bool:
    """Whether a plugin's module is in this process's file, or in the one at ``path``."""
    if path and path not in sys.path:
        sys.path.append(path)
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        return False
    return True


def _here(call: "Call", path: str, name: str, environ: dict[str, str], stdin: bytes) -> bytes | None:
    """Run a plugin of the same build in this process: what it printed; None for a renamed file."""
    from cni import skel

    module = f"cni_{name.replace('-', '_')}.plugin"
    if not (_importable(module) or _importable(module, os.path.abspath(path))):
        return None
    plugin = sys.modules[module].PLUGIN
    output, fault = skel.answer(plugin, environ, stdin, _Noise(call), call.watch, call.began)
    if fault is None:
        return output
    # of the error's classes this one alone means something to another plugin's plan
    raise (Refused if isinstance(fault, Refused) else CNIError)(fault.msg, fault.details, fault.code)


def execute(
    path: str, environ: dict[str, str], stdin: bytes, timeout: float = TIMEOUT, arguments: tuple[str, ...] = ()
) -> tuple[str, bytes, bytes]:
    """Execute a file with ``stdin``: how it failed (empty text: it did not), its standard output and standard error.

    It is killed when it takes longer than ``timeout`` seconds (raises ``TryAgainLater``) or prints without end.
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
        for fd in (source, out_end, err_end):
            opened.remove(fd)
            os.close(fd)
        try:
            output, noise = _collect(child, path, out, err, deadline, timeout)
            status = _reap(child, path, deadline, timeout)
        except BaseException:
            _kill(child)
            raise
    finally:
        for fd in opened:
            os.close(fd)
    return _told(status), output, noise


def _spawn(command: list[str], environ: dict[str, str], streams: tuple[int, int, int], deadline: float) -> int:
    """Start a file; one that is being written just now is tried again, as libcni does. Raises ``OSError``."""
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    for _ in range(_BUSY_TRIES):
        try:
            return os.posix_spawn(command[0], command, environ, file_actions=actions, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as error:
            if error.errno != _ETXTBSY or monotonic() + _BUSY_PAUSE >= deadline:
                raise
        sleep(_BUSY_PAUSE)
    return os.posix_spawn(command[0], command, environ, file_actions=actions, setsigdef=_IGNORED_BY_PYTHON)


def _collect(child: int, path: str, out: int, err: int, deadline: float, timeout: float) -> tuple[bytes, bytes]:
    """What a child prints until it closes both streams or ends (a grandchild may hold them open for ever)."""
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
                for fd, _ in poll.poll(0):  # what it printed last: a pipe holds no more than this
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

    None if nobody kept it: a program that runs plugins in its own process ignores SIGCHLD, or waits for every child.
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
    """Kill it, and wait a moment for its end: one that hangs in the kernel is left to init."""
    try:
        os.kill(child, 9)
        for _ in attempts(1.0):
            if os.waitpid(child, os.WNOHANG)[0]:
                return
    except (ProcessLookupError, ChildProcessError):
        pass  # it has ended, and nobody kept its status


def _late(path: str, timeout: float) -> TryAgainLater:
    return TryAgainLater(f"{path} did not end within {timeout:g} s and was killed")


def _told(status: "int | None") -> str:
    if status is None:
        return _UNKNOWN
    if os.WIFSIGNALED(status):
        return f"signal: {os.WTERMSIG(status)}"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code else ""
