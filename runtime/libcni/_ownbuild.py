"""Plugins of our own build without the start of an interpreter: in a forked child of this process, where that is safe.

A plugin file of pycni is a zip archive whose comment is ``pycni-build:<hex>``. The child puts it first on ``sys.path``,
forgets modules that this process may have from elsewhere, and runs exactly the file's code. Nothing of this process
changes: the plugin enters namespaces in the child. A fork in a process with several threads may inherit a lock that
nobody will release, so there, and for every other plugin, the file is executed as the specification says.
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from typing import Any

from cni.identity import build_of
from libcni import _process
from libcni._cancellation import Cancellation, Deadline
from libcni._errors import PluginFailed
from libcni._execution import ProcessExec, Writer, refuse_to_start
from libcni._inputs import StrPath, path_of
from libcni._process import Child

# What a plugin's file brings along, and must come from it; and so must the plugin's own package, ``cni_…``.
_OWN_PACKAGES = ("cni", "pyroute2", "netaddr")


class OwnBuildExec(ProcessExec):
    """A ``ProcessExec`` that runs plugins of our own build in forked children; ``forked`` counts how often it did."""

    def __init__(
        self,
        stderr: Writer | None = None,
        *,
        own_group: bool = False,
        max_output: int = 64 << 20,
        wait_delay: float = 5.0,
    ) -> None:
        super().__init__(stderr, own_group=own_group, max_output=max_output, wait_delay=wait_delay)
        self.forked = 0

    def exec_plugin(
        self,
        path: StrPath,
        stdin: bytes,
        environ: dict[str, str],
        deadline: Deadline = Deadline(),  # noqa: B008
        cancel: Cancellation | None = None,
    ) -> bytes:
        """As ``ProcessExec.exec_plugin``; which of the two ways it went cannot be seen from the answer."""
        path = path_of(path)
        if not (_alone() and build_of(path)):
            return super().exec_plugin(path, stdin, environ, deadline, cancel)
        refuse_to_start(path, deadline, cancel)
        try:
            child = _fork(os.path.abspath(path), stdin, environ, self._own_group, self._max_output, self._wait_delay)
        except OSError as error:
            reason = _process.start_failure(path, error)
            raise PluginFailed(f"netplugin failed with no error message: {reason}", path=path, status=reason) from None
        self.forked += 1
        return self._attended(child, path, deadline, cancel)


def _alone() -> bool:
    """Whether this process has one thread; ``threading`` does not know those of extension modules."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # no free descriptor: who knows
        return False


def _fork(path: str, stdin: bytes, environ: dict[str, str], own_group: bool, limit: int, wait_delay: float) -> Child:
    (out, out_end), (err, err_end), (given, to) = _process.three_pipes()
    try:
        pid = os.fork()
    except OSError:
        _process.close_all(out, out_end, err, err_end, given, to)
        raise
    if pid == 0:
        status = 70
        try:
            status = _serve(path, environ, (given, out_end, err_end), own_group)
        except BaseException as error:
            os.write(2, f"{path} in a forked child: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
        finally:
            os._exit(status)
    _process.close_all(given, out_end, err_end)
    return Child.adopt(pid, stdin, (to, out, err), limit, wait_delay)


def _serve(path: str, environ: dict[str, str], ends: Sequence[int], own_group: bool) -> int:
    """In the child: the plugin's whole call; the answer is its exit status."""
    if own_group:
        os.setpgid(0, 0)
    for number, end in enumerate(ends):
        os.dup2(end, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    _process.restore_signals()
    os.environ.clear()
    os.environ.update(environ)
    try:
        plugin, main = _imported(path)
    except ImportError:
        os.execve(path, [path], environ)  # a file that only looks like one of ours
    return main(plugin)


def _imported(path: str) -> tuple[Any, Callable[[Any], int]]:
    """The plugin and its frame from the file, as its own front door would import them; raises ``ImportError``."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _OWN_PACKAGES or name.startswith("cni_"):
            del sys.modules[name]
    # without the finders of an editable installation, which know the same packages elsewhere
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, PathFinder]
    library = os.path.dirname(os.__file__)
    sys.path[:] = [path, library, f"{library}/lib-dynload"]
    sys.path_importer_cache.clear()
    module = f"cni_{os.path.basename(path).replace('-', '_')}.plugin"
    __import__(module)
    __import__("cni.skel")
    return sys.modules[module].PLUGIN, sys.modules["cni.skel"].main
