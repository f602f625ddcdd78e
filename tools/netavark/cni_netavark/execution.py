"""How the driver runs plugins: those of its own build in one process beside it, all others as the specification says.

A plugin of ours takes longer to start than to work. So one child of the driver serves the calls of all of them, one after
the other, as the plugin ``chain`` does. It is a process of its own, so that a plugin that hangs can be killed. When the
driver has its answers it ends, and the child closes its sockets afterwards: the kernel takes its time for that.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports enum
import os
import select
import sys
from marshal import dumps, loads

import cni
from cni.identity import build_of
from libcni import Cancellation, Deadline, PluginFailed, PluginTimeout, ProcessExec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SIZE = 8
_CHUNK = 1 << 20


class OutOfTime(Exception):
    """The child has not answered in time. It was killed."""


class Died(Exception):
    """The child has ended without an answer. The text says how."""


class Beside(ProcessExec):
    """Runs plugins of this build in one child of this process, and the others as files.

    No DEL takes longer than ``longest_delete`` seconds, so that one plugin that hangs does not use up the time of all.
    """

    def __init__(self, longest_delete: float) -> None:
        super().__init__()
        self._longest_delete = longest_delete
        self._child: Child | None = None

    def exec_plugin(
        self,
        path: "os.PathLike[str] | str",
        stdin: bytes,
        environ: dict[str, str],
        deadline: Deadline = Deadline(),  # noqa: B008
        cancel: Cancellation | None = None,
    ) -> bytes:
        """As ``ProcessExec.exec_plugin``. The answer is the same, wherever the plugin has run."""
        path = os.fspath(path)
        if environ["CNI_COMMAND"] == "DEL" and (deadline.left is None or deadline.left > self._longest_delete):
            deadline = Deadline.after(self._longest_delete, "a plugin's")
        if not _is_own(path):
            return super().exec_plugin(path, stdin, environ, deadline, cancel)
        killed = "netplugin failed with no error message: signal: killed"
        if deadline.left == 0:
            raise PluginTimeout(f"{deadline.of} time is over", f"{path} was not started", path=path)
        if self._child is None:
            self._child = Child()
        try:
            status, output, noise = self._child.ask((os.path.basename(path), environ, stdin), deadline.left)
        except OutOfTime:
            self._child = None
            details = f"{path} did not end within {deadline.of} {deadline.seconds:g} s and was killed"
            raise PluginTimeout(killed, details, path=path, status="signal: killed") from None
        except Died as died:
            self._child = None
            raise PluginFailed(f"netplugin failed with no error message: {died}", path=path, status=str(died)) from None
        return self.answer(path, status << 8, output, noise)


def _is_own(path: str) -> bool:
    """Whether a file is a plugin of the build that this driver is of, under its own name."""
    return bool(cni.build) and build_of(path) == cni.build.encode() and _plugin(os.path.basename(path)) is not None


def _plugin(name: str) -> "Any":
    """What the front door of a plugin starts; None if there is no such plugin in this file."""
    module = f"cni_{name.replace('-', '_')}.plugin"
    try:
        __import__(module)
    except ImportError:
        return None
    return sys.modules[module].PLUGIN


class Child:
    """The process that serves calls of plugins."""

    def __init__(self) -> None:
        """Start it. Raises ``OSError``."""
        asked, self._request = os.pipe()
        self._answer, answering = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._request)
            os.close(self._answer)
            _serve(asked, answering)
        os.close(asked)
        os.close(answering)

    def ask(self, request: "tuple[str, dict[str, str], bytes]", seconds: float | None) -> "tuple[int, bytes, bytes]":
        """Exit status, standard output and standard error of a plugin's call. Raises ``OutOfTime`` or ``Died``."""
        deadline = Deadline.after(seconds)
        try:
            _write(self._request, dumps(request))
            size = int.from_bytes(self._read(_SIZE, deadline), "little")
            answer: tuple[int, bytes, bytes] = loads(self._read(size, deadline))  # noqa: S302 -- our own child's
        except OutOfTime:
            self._end()
            raise
        except (BrokenPipeError, EOFError):
            raise Died(self._end()) from None
        return answer

    def _read(self, size: int, deadline: Deadline) -> bytes:
        found, poll = b"", select.poll()
        poll.register(self._answer, select.POLLIN)
        while len(found) < size:
            left = deadline.left
            if not poll.poll(None if left is None else int(left * 1000) + 1):
                raise OutOfTime
            part = os.read(self._answer, min(size - len(found), _CHUNK))
            if not part:
                raise EOFError
            found += part
        return found

    def _end(self) -> str:
        """Kill it, if it still runs. How it ended."""
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        for fd in (self._request, self._answer):
            os.close(fd)
        if os.WIFSIGNALED(status):
            return f"signal: {signal.strsignal(os.WTERMSIG(status))}".lower()
        return f"exit status {os.WEXITSTATUS(status)}"


def _write(fd: int, data: bytes) -> None:
    data = len(data).to_bytes(_SIZE, "little") + data
    while data:
        data = data[os.write(fd, data) :]


def _receive(fd: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = os.read(fd, min(size - len(found), _CHUNK))
        if not part:
            raise EOFError
        found += part
    return found


class _Noise:
    """The standard error of one call."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str, /) -> None:
        self.text += text


def _serve(asked: int, answering: int) -> "NoReturn":
    """The child: serve calls until the driver has ended. What they opened is closed by the end of the process."""
    try:
        # podman waits until nobody has its standard streams any more
        nothing = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        import gc

        gc.disable()
        from cni import skel

        kept = []
        while True:
            size = int.from_bytes(_receive(asked, _SIZE), "little")
            name, environ, stdin = loads(_receive(asked, size))  # noqa: S302 -- the driver's
            noise = _Noise()
            answer = skel.answer(_plugin(name), environ, stdin, noise)
            kept.append(answer)
            _write(answering, dumps((answer.status, answer.output, noise.text.encode("utf-8", "replace"))))
    except (EOFError, BrokenPipeError):
        os._exit(0)
    finally:
        os._exit(70)
