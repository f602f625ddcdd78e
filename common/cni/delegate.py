"""Another plugin, executed as the specification says (section "Delegated plugins"): found in CNI_PATH, same stdin.

A delegate of the same build is run in this process instead: the same code, without a second start of Python.
"""

import os
import sys

from cni import wire
from cni.errors import CNIError, TryAgainLater

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.skel import Call

# Seconds that a delegate may take: DHCP is slow, kubelet gives two minutes.
TIMEOUT = 90.0
_OUTPUT_MAX = 1 << 24
_MARK = b"pycni-build:"


def find(name: str, folders: list[str]) -> str:
    """The first regular file of that name; the execute bit is not looked at, as in Go. Raises ``CNIError``."""
    if not name:
        raise CNIError("no plugin name provided", "set ipam.type to the IPAM plugin's name")
    if "/" in name or "\0" in name or name in (".", ".."):
        raise CNIError(f"invalid plugin name: {name}", "the name of a file in CNI_PATH, without a path")
    if not folders:
        raise CNIError("no paths provided", "set CNI_PATH to the folders with the plugins")
    for folder in folders:
        path = f"{folder}/{name}"
        if os.path.isfile(path):
            return path
    raise CNIError(
        f'failed to find plugin "{name}" in path [{" ".join(folders)}]', "install it there, or add its folder to CNI_PATH"
    )


def run(call: "Call", name: str, verb: str) -> "Any":
    """Run the plugin ``name`` with ``verb`` on the call's configuration: the document it printed, None if nothing.

    Raises ``CNIError``: the delegate's own error as it gave it, or code 0 with what it said where it gave none.
    """
    path = find(name, call.path)
    environ = {**call.environ, "CNI_COMMAND": verb}
    ours = _same_build(path)
    if ours:
        status, output, noise = _here(call, path, name, environ)
    else:
        status, output, noise = execute(path, environ, call.stdin)
    if status:
        raise _failure(status, output, noise)
    if noise:
        call.say(noise.decode("utf-8", "replace").rstrip("\n"))
    if verb != "ADD":
        return None
    try:
        document = wire.decode(output)
    except CNIError as error:
        raise CNIError(f"failed to unmarshal raw result: {error.msg}", f"{path} printed {_quoted(output)}") from None
    if document is not None and not isinstance(document, dict):
        raise CNIError("failed to unmarshal raw result: not an object", f"{path} printed {_quoted(output)}")
    return document or {}


def _quoted(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return f'"{text[:500]}{"…" if len(text) > 500 else ""}"'


def _failure(status: str, output: bytes, noise: bytes) -> CNIError:
    if not output.strip():
        if noise.strip():
            return CNIError(f"netplugin failed: {_quoted(noise)}: {status}", code=0)
        return CNIError(f"netplugin failed with no error message: {status}", code=0)
    try:
        document = wire.decode(output) or {}
        code, msg, details = document.get("code", 0), document.get("msg", ""), document.get("details", "")
        if not (type(code) is int and code >= 0 and isinstance(msg, str) and isinstance(details, str)):
            raise ValueError("code, msg or details has the wrong type")
    except (CNIError, ValueError, AttributeError) as error:
        text = f"netplugin failed but error parsing its diagnostic message {_quoted(output)}: {error}"
        return CNIError(text, code=0)
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
    archive = getattr(globals().get("__loader__"), "archive", "")
    return bool(archive) and _build_of(archive) == _build_of(path) != b""


class _Noise:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str, /) -> None:
        self.text += text


def _here(call: "Call", path: str, name: str, environ: dict[str, str]) -> tuple[str, bytes, bytes]:
    """Run a delegate of the same build in this process; the answer is as ``execute``'s."""
    from cni import skel

    if path not in sys.path:
        sys.path.append(os.path.abspath(path))
    module = f"cni_{name.replace('-', '_')}.plugin"
    __import__(module)
    noise = _Noise()
    status, output = skel.call(sys.modules[module].PLUGIN, environ, call.stdin, noise)
    return f"exit status {status}" if status else "", output, noise.text.encode()


def execute(
    path: str, environ: dict[str, str], stdin: bytes, timeout: float = TIMEOUT, arguments: tuple[str, ...] = ()
) -> tuple[str, bytes, bytes]:
    """Execute a file with ``stdin``: how it failed (empty text: it did not), its standard output and standard error.

    It is killed when it takes longer than ``timeout`` seconds; raises ``TryAgainLater`` then.
    """
    source = os.memfd_create("cni-stdin")
    (out, out_end), (err, err_end) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    try:
        os.write(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, out_end, 1), (os.POSIX_SPAWN_DUP2, err_end, 2)]
        try:
            child = os.posix_spawn(path, [path, *arguments], environ, file_actions=actions)
        except OSError as error:
            return f"exec {path}: {os.strerror(error.errno).lower()}", b"", b""
    except BaseException:
        os.close(out)
        os.close(err)
        raise
    finally:
        for fd in (source, out_end, err_end):
            os.close(fd)
    return _await(child, path, out, err, timeout)


def _await(child: int, path: str, out: int, err: int, timeout: float) -> tuple[str, bytes, bytes]:
    """Collect a child's output until it ends; kill it, and reap it, when the time is over."""
    import select
    from time import monotonic

    deadline = monotonic() + timeout
    collected = {out: bytearray(), err: bytearray()}
    poll = select.poll()
    for fd in collected:
        poll.register(fd, select.POLLIN)
    waiting = set(collected)
    status: int | None = None
    try:
        while waiting:
            left = deadline - monotonic()
            # a grandchild may hold the pipes open: the child's own end is looked for too
            ready = poll.poll(max(0, min(left, 0.5)) * 1000)
            for fd, _ in ready:
                data = os.read(fd, 1 << 16)
                collected[fd] += data
                if not data or len(collected[fd]) > _OUTPUT_MAX:
                    poll.unregister(fd)
                    waiting.discard(fd)
            if not ready:
                ended, status_now = os.waitpid(child, os.WNOHANG)
                if ended:
                    status = status_now
                    break
                if left <= 0:
                    raise TryAgainLater(f"{path} did not end within {timeout:g} s and was killed")
        if status is None:
            status = _reap(child, deadline, path, timeout)
    except BaseException:
        if status is None:
            os.kill(child, 9)
            os.waitpid(child, 0)
        raise
    finally:
        os.close(out)
        os.close(err)
    return _told(status), bytes(collected[out]), bytes(collected[err])


def _reap(child: int, deadline: float, path: str, timeout: float) -> int:
    from time import monotonic, sleep

    pause = 0.0002
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if monotonic() > deadline:
            raise TryAgainLater(f"{path} did not end within {timeout:g} s and was killed")
        sleep(pause)
        pause = min(pause * 2, 0.05)


def _told(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal: {os.WTERMSIG(status)}"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code else ""
