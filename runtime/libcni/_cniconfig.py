"""``CNIConfig``: the container-networking interface. Each method returns when its plugins have ended."""

from collections.abc import Iterable
from typing import TypeVar

from libcni._attached import Attached
from libcni._cacheview import CacheView
from libcni._cancellation import Cancellation
from libcni._driver import BlockingDriver
from libcni._execution import Exec, ProcessExec
from libcni._inputs import Folders, StrPath
from libcni._interface import GCSource, Several
from libcni._model import GCArgs, NetworkConfig, NetworkConfigList, PluginInfo, RuntimeConf
from libcni._operations import as_list, checked_gc_args
from libcni._options import Options
from libcni._requests import Operation
from libcni._results import Result

T = TypeVar("T")


class CNIConfig(CacheView):
    """Drives CNI plugins (Go: ``NewCNIConfig``, ``NewCNIConfigWithCacheDir``).

    ``path`` is the folder of the plugins, or several. ``cache_dir`` is the folder of the cache; if it is empty, the
    attachment's ``cache_dir`` is used, or else ``/var/lib/cni``. ``executor`` runs the plugins. ``options`` change what
    the Go library does.

    Every method takes ``timeout``, seconds for the whole call (None: that of the options), and ``cancel``, which ends
    the call from another thread. Both kill the running plugin. The method then raises ``PluginTimeout`` or
    ``CallCancelled``; calls for a list raise ``StepFailed``, caused by one of them. ``is_timeout`` and ``is_cancelled``
    recognise them.

    Threads may share one object.
    """

    def __init__(
        self,
        path: Folders,
        cache_dir: StrPath = "",
        executor: Exec | None = None,
        options: Options = Options(),  # noqa: B008
    ) -> None:
        self._exec: Exec = executor or ProcessExec()
        super().__init__(path, cache_dir, self._exec, options)

    def _run(self, operation: Operation[T], timeout: float | None = None, cancel: Cancellation | None = None) -> T:
        """Run an operation (see ``_operations``) and return its value."""
        limit = self.options.timeout if timeout is None else timeout
        return BlockingDriver(self._exec, limit, cancel).run(operation)

    def add_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of each plugin in order. Return the result of the last one, and write it to the cache.

        Stops at the first failure. What was added before stays (see ``Options.undo_failed_add``). Spec section "ADD".

        Raises ``InvalidArgs`` before any plugin runs; ``StepFailed``, caused by ``PluginFailed``, ``PluginNotFound``,
        ``InvalidName`` or ``ResultError``; ``CacheError`` if the cache cannot be written.
        """
        return self._run(self._operations.add_network_list(net, runtime), timeout, cancel)

    def check_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run CHECK of each plugin in order, each with the cached result.

        Does nothing if the list has ``disableCheck``. Spec section "CHECK".

        Raises ``CheckNotSupported`` below version 0.4.0, ``CacheError``, and the ``PluginFailed`` of the first plugin
        that fails.
        """
        self._run(self._operations.check_network_list(net, runtime), timeout, cancel)

    def del_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL of each plugin in reverse order, each with the cached result (from 0.4.0 on). Remove the cache file.

        Stops at the first error, and keeps the cache file for a retry. A damaged cache file is removed and reported,
        and the plugins run without a result. Spec section "DEL".

        Raises ``StepFailed`` or ``InvalidVersion``.
        """
        self._run(self._operations.del_network_list(net, runtime), timeout, cancel)

    def add_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of one plugin, with its own name and version. Its error is not wrapped in ``StepFailed``."""
        return self._run(self._operations.add_network_list(as_list(net), runtime, single=True), timeout, cancel)

    def check_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run CHECK of one plugin. Otherwise as ``check_network_list``."""
        self._run(self._operations.check_network_list(as_list(net), runtime), timeout, cancel)

    def del_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL of one plugin. Its error is not wrapped in ``StepFailed``. Otherwise as ``del_network_list``."""
        self._run(self._operations.del_network_list(as_list(net), runtime, single=True), timeout, cancel)

    def validate_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """Run VERSION of each plugin. Return the capabilities that the list declares, sorted.

        Raises ``SeveralErrors`` with an error for each plugin that is missing or does not support the list's version.
        """
        return self._run(self._operations.validate_network_list(net), timeout, cancel)

    def validate_network(
        self, net: NetworkConfig, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """Run VERSION of one plugin. Return the capabilities that its configuration declares, sorted.

        Raises ``PluginNotFound``, ``UnsupportedByPlugin`` or ``VersionInfoError``.
        """
        return self._run(self._operations.validate_network(net), timeout, cancel)

    def get_version_info(
        self, plugin: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> PluginInfo:
        """Run VERSION of a plugin. Raises ``PluginNotFound``, ``PluginFailed`` or ``VersionInfoError``."""
        return self._run(self._operations.get_version_info(plugin), timeout, cancel)

    def gc_network_list(
        self,
        net: NetworkConfigList,
        args: GCArgs | GCSource,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL for cached attachments that are not valid, then (from 1.1.0 on) GC of each plugin.

        ``args`` lists the valid attachments; ``GCArgs([])`` removes every attachment. A list that was made before
        another process's ADD does not have that attachment, and GC would remove it. So ``args`` may also be a function
        that returns the valid attachments. It is called after the network was locked (see ``Options.lock_folder``) and
        the cache was read, and must return each attachment whose ADD may have begun.

        Continues after errors, and raises them as one ``SeveralErrors``. If the function fails, nothing is removed. Does
        nothing if the list has ``disableGC``. Spec section "GC".
        """
        self._run(self._operations.gc_network_lists([net], checked_gc_args(args)), timeout, cancel)

    def gc_network_lists(
        self,
        nets: Iterable[NetworkConfigList],
        args: Several,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run GC of several networks, and read the cache once (cni#1091).

        ``args`` is for all networks, or a mapping by network name. A function for all is called once for each network.
        Raises ``MissingArgs`` if a mapping lacks a network; nothing is removed then.
        """
        self._run(self._operations.gc_network_lists(nets, checked_gc_args(args)), timeout, cancel)

    def del_cached_attachments(
        self, container_id: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """Run DEL for every attachment of a container that is in the cache.

        It is for a container whose sandbox or configuration is gone. Each DEL uses the configuration and the arguments
        that ADD used, and an empty ``CNI_NETNS`` if the namespace is gone. It is no error if there is no attachment.

        Continues after errors, and raises them as one ``SeveralErrors``. Attachments that failed stay in the cache.
        Raises ``InvalidName`` for an empty id.
        """
        self._run(self._operations.del_cached_attachments(container_id), timeout, cancel)

    def attached(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Attached[Result]:
        """An attachment for a ``with`` block: ADD at its beginning, and DEL at its end.

        ``with … as result`` gives the result of ADD. ``timeout`` is for each of the two calls. ``Attached`` describes
        the errors.
        """
        return Attached(
            lambda: self._run(self._operations.add_network_list(net, runtime, undo=True), timeout, cancel),
            lambda failed: self._run(self._operations.release(net, runtime, failed), timeout, cancel),
        )

    def get_status_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """Run STATUS of each plugin in order. Below 1.1.0 only check that each plugin exists. Spec section "STATUS".

        The default of ``timeout`` is ``Options.status_timeout``. Raises ``PluginNotFound``, or the ``PluginFailed`` of
        the first plugin that fails.
        """
        self._run(
            self._operations.get_status_network_list(net),
            self.options.status_timeout if timeout is None else timeout,
            cancel,
        )
