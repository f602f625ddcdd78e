"""Run pycni's own plugins in a forked child of this process, without starting an interpreter.

A plugin file of pycni is a zip archive whose comment is ``pycni-build:<hex>``. The child puts the file first on
``sys.path``, drops modules that it inherited, and runs the file's code. This process does not change: the plugin enters
namespaces in the child.

A fork of a process with several threads may inherit a lock that is never released. So in such a process, and for every
other plugin, the file is executed as the specification says.
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
from libcni._process import Child, ChildOptions

# Packages that must be imported from the plugin's file. So must the plugin's own package, ``cni_…``.
_OWN_PACKAGES = ("cni", "pyroute2", "netaddr")


class OwnBuildExec(ProcessExec):
    """A ``ProcessExec`` that runs pycni's own plugins in forked children. ``forked`` counts them."""

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
        """As ``ProcessExec.exec_plugin``. The result is the same whether the plugin was forked or executed."""
        path = path_of(path)
        if not (_has_one_thread() and build_of(path)):
            return super().exec_plugin(path, stdin, environ, deadline, cancel)
        refuse_to_start(path, deadline, cancel)
        try:
            child = _fork(os.path.abspath(path), stdin, environ, self._options)
        except OSError as error:
            reason = _process.start_failure(path, error)
            raise PluginFailed(f"netplugin failed with no error message: {reason}", path=path, status=reason) from None
        self.forked += 1
        return self._run_to_answer(child, path, deadline, cancel)


def _has_one_thread() -> bool:
    """Whether this process has one thread. (``threading`` does not know the threads of extension modules.)"""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # no free descriptor: it is not known
        return False


def _fork(path: str, stdin: bytes, environ: dict[str, str], options: ChildOptions) -> Child:
    (parent_out, child_out), (parent_err, child_err), (child_in, parent_in) = _process.three_pipes()
    try:
        pid = os.fork()
    except OSError:
        _process.close_all(parent_out, child_out, parent_err, child_err, child_in, parent_in)
        raise
    if pid == 0:
        status = 70
        try:
            status = _serve(path, environ, (child_in, child_out, child_err), options.own_group)
        except BaseException as error:
            os.write(2, f"{path} in a forked child: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
        finally:
            os._exit(status)
    _process.close_all(child_in, child_out, child_err)
    return Child.adopt(pid, stdin, (parent_in, parent_out, parent_err), options)


def _serve(path: str, environ: dict[str, str], ends: Sequence[int], own_group: bool) -> int:
    """In the child: run the plugin's call, and return its exit status."""
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
        os.execve(path, [path], environ)  # the file has our mark, but not our modules
    return main(plugin)


def _imported(path: str) -> tuple[Any, Callable[[Any], int]]:
    """Import the plugin from its file, and return it with its main function. Raises ``ImportError``."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _OWN_PACKAGES or name.startswith("cni_"):
            del sys.modules[name]
    # Without the finders of an editable installation: they would find the same packages elsewhere.
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, PathFinder]
    library = os.path.dirname(getattr(os, "__file__", ""))  # a native file has no such folder
    sys.path[:] = [path, library, f"{library}/lib-dynload"]
    sys.path_importer_cache.clear()
    module = f"cni_{os.path.basename(path).replace('-', '_')}.plugin"
    __import__(module)
    __import__("cni.skel")
    return sys.modules[module].PLUGIN, sys.modules["cni.skel"].main
