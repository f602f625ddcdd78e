"""How the driver runs plugins: those of its own build in one child, all others as the specification says."""

import os

from cni_netavark.beside import Child, Died, OutOfTime, child, is_own, served_elsewhere
from libcni import Cancellation, Deadline, PluginFailed, PluginTimeout, ProcessExec


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
        if served_elsewhere() or not is_own(path):
            return super().exec_plugin(path, stdin, environ, deadline, cancel)
        killed = "netplugin failed with no error message: signal: killed"
        if deadline.left == 0:
            raise PluginTimeout(f"{deadline.of} time is over", f"{path} was not started", path=path)
        if self._child is None:
            self._child = child()
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
