"""``CNIConfig`` for asyncio: the same calls with ``await``."""

from collections.abc import Iterable
from typing import TypeVar

from libcni._attached import AsyncAttached
from libcni._cacheview import AsyncCacheView
from libcni._cancellation import Cancellation, Deadline
from libcni._execution import AsyncExec, Exec, ProcessExec
from libcni._inputs import Folders, StrPath
from libcni._interface import AsyncGCSource, AsyncSeveral
from libcni._model import GCArgs, NetworkConfig, NetworkConfigList, PluginInfo, RuntimeConf
from libcni._operations import as_list, checked_gc_args
from libcni._options import Options
from libcni._requests import Operation
from libcni._results import Result

T = TypeVar("T")


class AsyncCNIConfig(AsyncCacheView):
    """Drives CNI plugins from an event loop. Parameters and errors are those of ``CNIConfig``.

    Cancelling the task kills the running plugin and raises ``asyncio.CancelledError``. With ``undo_failed_add`` the ADD
    is undone first. ``timeout`` is in seconds, for the whole call.
    """

    def __init__(
        self,
        path: Folders,
        cache_dir: StrPath = "",
        executor: AsyncExec | None = None,
        options: Options = Options(),  # noqa: B008
    ) -> None:
        self._exec: AsyncExec = executor or ProcessExec()
        super().__init__(path, cache_dir, self._exec, options)

    async def _run(self, operation: Operation[T], timeout: float | None = None) -> T:
        """Run an operation (see ``_operations``) and return its value."""
        from libcni._aiodriver import AsyncioDriver

        limit = self.options.timeout if timeout is None else timeout
        return await AsyncioDriver(self._exec, limit).run(operation)

    async def add_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> Result:
        """As ``CNIConfig.add_network_list``."""
        return await self._run(self._operations.add_network_list(net, runtime), timeout)

    async def check_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None:
        """As ``CNIConfig.check_network_list``."""
        await self._run(self._operations.check_network_list(net, runtime), timeout)

    async def del_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None:
        """As ``CNIConfig.del_network_list``."""
        await self._run(self._operations.del_network_list(net, runtime), timeout)

    async def add_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> Result:
        """As ``CNIConfig.add_network``."""
        return await self._run(self._operations.add_network_list(as_list(net), runtime, single=True), timeout)

    async def check_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> None:
        """As ``CNIConfig.check_network``."""
        await self._run(self._operations.check_network_list(as_list(net), runtime), timeout)

    async def del_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> None:
        """As ``CNIConfig.del_network``."""
        await self._run(self._operations.del_network_list(as_list(net), runtime, single=True), timeout)

    async def validate_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> list[str]:
        """As ``CNIConfig.validate_network_list``."""
        return await self._run(self._operations.validate_network_list(net), timeout)

    async def validate_network(self, net: NetworkConfig, *, timeout: float | None = None) -> list[str]:
        """As ``CNIConfig.validate_network``."""
        return await self._run(self._operations.validate_network(net), timeout)

    async def get_version_info(self, plugin: str, *, timeout: float | None = None) -> PluginInfo:
        """As ``CNIConfig.get_version_info``."""
        return await self._run(self._operations.get_version_info(plugin), timeout)

    async def gc_network_list(
        self, net: NetworkConfigList, args: GCArgs | AsyncGCSource, *, timeout: float | None = None
    ) -> None:
        """As ``CNIConfig.gc_network_list``. A function runs in the event loop, and may be a coroutine function."""
        await self._run(self._operations.gc_network_lists([net], checked_gc_args(args)), timeout)

    async def gc_network_lists(
        self, nets: Iterable[NetworkConfigList], args: AsyncSeveral, *, timeout: float | None = None
    ) -> None:
        """As ``CNIConfig.gc_network_lists``. A function runs in the event loop, and may be a coroutine function."""
        await self._run(self._operations.gc_network_lists(nets, checked_gc_args(args)), timeout)

    async def del_cached_attachments(self, container_id: str, *, timeout: float | None = None) -> None:
        """As ``CNIConfig.del_cached_attachments``."""
        await self._run(self._operations.del_cached_attachments(container_id), timeout)

    def attached(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> AsyncAttached[Result]:
        """As ``CNIConfig.attached``, for an ``async with`` block."""
        return AsyncAttached(
            lambda: self._run(self._operations.add_network_list(net, runtime, undo=True), timeout),
            lambda failed: self._run(self._operations.release(net, runtime, failed), timeout),
        )

    async def get_status_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> None:
        """As ``CNIConfig.get_status_network_list``."""
        await self._run(
            self._operations.get_status_network_list(net), self.options.status_timeout if timeout is None else timeout
        )


class Threaded:
    """Makes an asyncio executor of a blocking one. A thread waits for each plugin."""

    def __init__(self, executor: Exec) -> None:
        self._exec = executor
        self.find_in_path = executor.find_in_path
        self.decode = executor.decode

    async def exec_plugin_async(self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline) -> bytes:
        """Run the plugin in a thread. Cancelling the task cancels the plugin, and waits until it has ended."""
        import asyncio

        with Cancellation() as cancel:
            run = asyncio.ensure_future(
                asyncio.to_thread(self._exec.exec_plugin, path, stdin, environ, deadline, cancel)
            )
            # After a cancellation nobody reads the error of the run. Read it here, or asyncio prints it.
            run.add_done_callback(lambda done: done.cancelled() or done.exception())
            try:
                return await asyncio.shield(run)
            except asyncio.CancelledError:
                cancel.cancel()
                await asyncio.wait([run])
                raise
