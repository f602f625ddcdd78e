"""What both forms have in common: the operations of one configuration; and what the cache holds, in either form."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from libcni._cache import Cache
from libcni._execution import Finder
from libcni._inputs import Folders, StrPath, path_of, plugin_folders
from libcni._model import NetworkAttachment, NetworkConfig, NetworkConfigList, RuntimeConf
from libcni._operations import Operations, as_list
from libcni._options import Options
from libcni._requests import Operation, Work
from libcni._results import Result

T = TypeVar("T")


class Driven:
    """The base of ``CNIConfig`` and ``AsyncCNIConfig``."""

    def __init__(self, path: Folders, cache_dir: StrPath, finder: Finder, options: Options) -> None:
        self.path = plugin_folders(path)
        self.options = options
        self._operations = Operations(self.path, finder, Cache(path_of(cache_dir), options.sync_cache), options)


class CacheView(Driven):
    """The cache for a caller that may wait for a disk."""

    def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The result that ADD left in the cache, in the list's version; None when there is no file.

        Raises ``CacheDamaged`` for a file that cannot be read, ``CacheError`` when it has no form in that version.
        """
        return self._operations.get_network_list_cached_result(net, runtime)

    def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The configuration that ADD used, and ``runtime`` with the arguments of then; None when there is no file.

        ``netns`` stays the given one. Raises ``CacheDamaged``, ``CacheError``.
        """
        return self._operations.get_network_list_cached_config(net, runtime)

    def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None:
        """The same for one plugin's configuration, by its own name and version."""
        return self._operations.get_network_list_cached_result(as_list(net), runtime)

    def get_network_cached_config(self, net: NetworkConfig, runtime: RuntimeConf) -> tuple[bytes, RuntimeConf] | None:
        """The same for one plugin's configuration."""
        return self._operations.get_network_list_cached_config(as_list(net), runtime)

    def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]:
        """The cached attachments of a container, of all where it is empty, by file name.

        Damaged files and those of another kind are skipped and reported; no folder is no attachment. Raises
        ``CacheError`` when the folder cannot be read.
        """
        return self._operations.get_cached_attachments(container_id)


def _working(function: Callable[[], T]) -> Operation[T]:
    found: T = yield Work(function)
    return found


class AsyncCacheView(Driven):
    """The cache for an event loop: a thread waits for the disk. Parameters and errors are ``CacheView``'s."""

    async def _run(self, operation: Operation[T], timeout: float | None = None) -> T:
        """Drive an operation to its end."""
        raise NotImplementedError

    async def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """As ``CNIConfig.get_network_list_cached_result``."""
        return await self._run(_working(partial(self._operations.get_network_list_cached_result, net, runtime)))

    async def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """As ``CNIConfig.get_network_list_cached_config``."""
        return await self._run(_working(partial(self._operations.get_network_list_cached_config, net, runtime)))

    async def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None:
        """As ``CNIConfig.get_network_cached_result``."""
        return await self.get_network_list_cached_result(as_list(net), runtime)

    async def get_network_cached_config(
        self, net: NetworkConfig, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """As ``CNIConfig.get_network_cached_config``."""
        return await self.get_network_list_cached_config(as_list(net), runtime)

    async def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]:
        """As ``CNIConfig.get_cached_attachments``."""
        return await self._run(_working(partial(self._operations.get_cached_attachments, container_id)))
