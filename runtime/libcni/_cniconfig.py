"""The synchronous form of the container-networking interface: each method returns when its plugins have ended."""

from collections.abc import Iterable
from typing import TypeVar

from libcni._attached import Attached
from libcni._cacheview import CacheView
from libcni._cancellation import Cancellation
from libcni._driver import Blocking
from libcni._execution import Exec, ProcessExec
from libcni._inputs import Folders, StrPath
from libcni._interface import GCSource, Several
from libcni._model import GCArgs, NetworkConfig, NetworkConfigList, PluginInfo, RuntimeConf
from libcni._operations import as_list, gc_args
from libcni._options import Options
from libcni._requests import Operation
from libcni._results import Result

T = TypeVar("T")


class CNIConfig(CacheView):
    """Drives CNI plugins (Go: ``NewCNIConfig``, ``NewCNIConfigWithCacheDir``).

    ``path``: the folders of the plugins, or one; ``cache_dir``: where attachments are remembered (empty: the attachment's own
    ``cache_dir``, else ``/var/lib/cni``); ``executor``: what runs plugins; ``options``: what goes beyond Go's library.
    Every method takes ``timeout``, seconds for the whole call (None: the options' default), and ``cancel``, a switch
    that ends the call from another thread; both kill the plugin that runs, and raise ``PluginTimeout`` or
    ``CallCancelled`` (in a list as the cause of ``StepFailed``; see ``is_timeout``, ``is_cancelled``). An object may
    be used by several threads at once.
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
        """Drive an operation (see ``_operations``) to its end."""
        limit = self.options.timeout if timeout is None else timeout
        return Blocking(self._exec, limit, cancel).run(operation)

    def add_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """ADD of each plugin in order; the answer is the last one's result, which is cached.

        Stops at the first failure and leaves what was added (see ``Options.undo_failed_add``). Raises ``StepFailed``
        caused by the plugin's ``PluginFailed``, by ``PluginNotFound``, ``InvalidName``, ``ResultError``; ``InvalidArgs``
        before a plugin runs; ``CacheError`` when the result cannot be kept. Spec section "ADD".
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
        """CHECK of each plugin in order, each with the cached result; nothing where the list disables it.

        Raises ``CheckNotSupported`` below 0.4.0, ``CacheError``, and the first plugin's ``PluginFailed`` as it is.
        Spec section "CHECK".
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
        """DEL of each plugin in reverse, each with the cached result (from 0.4.0 on); then the cache file goes.

        Stops at the first error and keeps the cache for a retry. A damaged cache file is removed and reported, the
        plugins run without it. Raises ``StepFailed``, ``InvalidVersion``. Spec section "DEL".
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
        """ADD of one plugin under its own name and version; its error comes as it is."""
        return self._run(self._operations.add_network_list(as_list(net), runtime, single=True), timeout, cancel)

    def check_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """CHECK of one plugin. Otherwise as ``check_network_list``."""
        self._run(self._operations.check_network_list(as_list(net), runtime), timeout, cancel)

    def del_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """DEL of one plugin; its error comes as it is. Otherwise as ``del_network_list``."""
        self._run(self._operations.del_network_list(as_list(net), runtime, single=True), timeout, cancel)

    def validate_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """VERSION of each entry: the capabilities that the list declares, sorted.

        Raises ``SeveralErrors``, all of them in brackets: plugins that are missing or do not speak the list's version.
        """
        return self._run(self._operations.validate_network_list(net), timeout, cancel)

    def validate_network(
        self, net: NetworkConfig, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """VERSION of one plugin: the capabilities that it declares, sorted.

        Raises ``PluginNotFound``, ``UnsupportedByPlugin``, ``VersionInfoError``.
        """
        return self._run(self._operations.validate_network(net), timeout, cancel)

    def get_version_info(
        self, plugin: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> PluginInfo:
        """What the plugin answers to VERSION; raises ``PluginNotFound``, ``PluginFailed``, ``VersionInfoError``."""
        return self._run(self._operations.get_version_info(plugin), timeout, cancel)

    def gc_network_list(
        self,
        net: NetworkConfigList,
        args: GCArgs | GCSource,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Remove what is not valid: DEL for cached attachments, then (from 1.1.0 on) GC of each plugin.

        ``args`` says what is valid; ``GCArgs([])`` removes every attachment. A list that was taken before another
        process's ADD would remove that live attachment: a function that returns the valid attachments is called when
        the network is locked (see ``Options.lock_folder``) and the cache was read. It must name each attachment whose
        ADD may have begun. Goes on after errors and raises them together, ``SeveralErrors``; nothing of a network is
        removed when its function fails. Nothing where the list disables it. Spec section "GC".
        """
        self._run(self._operations.gc_network_lists([net], gc_args(args)), timeout, cancel)

    def gc_network_lists(
        self,
        nets: Iterable[NetworkConfigList],
        args: Several,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """GC of several networks with one reading of the cache (cni#1091); ``args`` for all, or by network's name.

        A function for all is called once a network. Raises ``MissingArgs`` before anything is removed when a network's
        name is not there.
        """
        self._run(self._operations.gc_network_lists(nets, gc_args(args)), timeout, cancel)

    def del_cached_attachments(
        self, container_id: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """DEL of every attachment of a container that the cache has, by its id alone.

        For a container whose sandbox, or whose network's configuration, is gone: each DEL uses the configuration and
        the arguments that ADD used, and an empty ``CNI_NETNS`` where the namespace is gone. Goes on after errors and
        raises them together, ``SeveralErrors``; the cache keeps what failed. That there is nothing is success. Raises
        ``InvalidName`` for an empty id.
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
        """The attachment for a ``with`` block: ADD, whose result is the block's value, and DEL at its end.

        ``timeout`` is for each of both; see ``Attached`` for errors.
        """
        return Attached(
            lambda: self._run(self._operations.add_network_list(net, runtime, undo=True), timeout, cancel),
            lambda failed: self._run(self._operations.release(net, runtime, failed), timeout, cancel),
        )

    def get_status_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """STATUS of each plugin in order; the first error as it is, with its code. Below 1.1.0 no plugin is asked.

        A missing plugin is an error in every version. Its own default of time is ``Options.status_timeout``. Raises
        ``PluginNotFound``, ``PluginFailed``. Spec section "STATUS".
        """
        self._run(
            self._operations.get_status_network_list(net),
            self.options.status_timeout if timeout is None else timeout,
            cancel,
        )
