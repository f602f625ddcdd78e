"""A child of the driver that serves the calls of plugins of this build, one after the other, as the plugin ``chain`` does.

A plugin of ours takes longer to start than to work. The child is a process of its own, so that a plugin that hangs can be
killed. It starts before the driver has imported libcni, and imports meanwhile what the usual plugins need. When the driver
has its answers it ends, and the child closes its sockets afterwards: the kernel takes its time for that.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports enum
import os
import select
import sys
from marshal import dumps, loads
from time import monotonic

import cni
from cni.identity import build_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

_SIZE = 8
_CHUNK = 1 << 20
# What the calls of bridge, host-local and portmap import: most lists of podman have these plugins.
USUAL = (
    *("cni.verbs", "cni.plan", "cni.lock", "cni.ledger", "cni.masquerade"),
    *("cni.kernel.rtnl", "cni.kernel.nftables", "cni.kernel.transaction"),
    *(f"cni_{name}.{part}" for name in ("bridge", "host_local", "portmap") for part in ("settings", "wanted")),
    "cni_portmap.hostports",
)


class OutOfTime(Exception):
    """The child has not answered in time. It was killed."""


class Died(Exception):
    """The child has ended without an answer. The text says how."""


def served_elsewhere() -> bool:
    """Whether a fork server serves the native file's plugins: their front door, which is not Python, is faster still."""
    socket = os.environ.get("CNI_FORKSERVER", "/run/cni-forkserver/socket")
    return "_pycni" in sys.modules and bool(socket) and os.path.exists(socket)


def is_own(path: str) -> bool:
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


# Started before it is needed.
_early: "list[Child]" = []


def start_early(folders: "Iterable[str]") -> None:
    """Start a child if the first of these folders that has a bridge has ours, so that it will probably be needed."""
    if served_elsewhere():
        return
    bridge = next((path for path in (f"{folder}/bridge" for folder in folders) if os.path.exists(path)), "")
    if bridge and is_own(bridge):
        _early.append(Child(USUAL))


def child() -> "Child":
    """The child that was started early, for whoever asks first, or a new one."""
    return _early.pop() if _early else Child()


class Child:
    """The process that serves calls of plugins."""

    def __init__(self, modules: "Iterable[str]" = ()) -> None:
        """Start it, and have it import modules before the first call. Raises ``OSError``."""
        asked, self._request = os.pipe()
        self._answer, answering = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            os.close(self._request)
            os.close(self._answer)
            _serve(asked, answering, modules)
        os.close(asked)
        os.close(answering)

    def ask(self, request: "tuple[str, dict[str, str], bytes]", seconds: float | None) -> "tuple[int, bytes, bytes]":
        """Exit status, standard output and standard error of a plugin's call. Raises ``OutOfTime`` or ``Died``."""
        deadline = None if seconds is None else monotonic() + seconds
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

    def _read(self, size: int, deadline: float | None) -> bytes:
        found, poll = b"", select.poll()
        poll.register(self._answer, select.POLLIN)
        while len(found) < size:
            if not poll.poll(None if deadline is None else max(0, int((deadline - monotonic()) * 1000)) + 1):
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


def _serve(asked: int, answering: int, modules: "Iterable[str]") -> "NoReturn":
    """The child: serve calls until the driver has ended. What they opened is closed by the end of the process."""
    try:
        # podman waits until nobody has its standard streams any more
        nothing = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        import gc

        gc.disable()
        from cni import skel

        for module in modules:
            __import__(module)
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
