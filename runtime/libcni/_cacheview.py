"""The base classes of ``CNIConfig`` and ``AsyncCNIConfig``: their parameters, and the methods that read the cache."""

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
    """The methods of ``CNIConfig`` that read the cache. The caller waits for the disk."""

    def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The result of ADD from the cache, in the version of the list; None if there is no file.

        Raises ``CacheDamaged`` if the file is damaged, ``CacheError`` if the result cannot be converted to the version.
        """
        return self._operations.get_network_list_cached_result(net, runtime)

    def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The configuration that ADD used, and ``runtime`` with the arguments that ADD used; None if there is no file.

        ``netns`` is still that of ``runtime``. Raises ``CacheDamaged`` or ``CacheError``.
        """
        return self._operations.get_network_list_cached_config(net, runtime)

    def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None:
        """As ``get_network_list_cached_result``, for a single plugin's configuration with its own name and version."""
        return self._operations.get_network_list_cached_result(as_list(net), runtime)

    def get_network_cached_config(self, net: NetworkConfig, runtime: RuntimeConf) -> tuple[bytes, RuntimeConf] | None:
        """As ``get_network_list_cached_config``, for a single plugin's configuration."""
        return self._operations.get_network_list_cached_config(as_list(net), runtime)

    def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]:
        """The cached attachments of a container, or of all if the id is empty, sorted by file name.

        Damaged files, and files of another kind, are skipped and reported. Raises ``CacheError`` if the folder exists
        and cannot be read.
        """
        return self._operations.get_cached_attachments(container_id)


def _in_a_thread(function: Callable[[], T]) -> Operation[T]:
    value: T = yield Work(function)
    return value


class AsyncCacheView(Driven):
    """The methods of ``AsyncCNIConfig`` that read the cache. A thread waits for the disk."""

    async def _run(self, operation: Operation[T], timeout: float | None = None) -> T:
        """Run an operation and return its value."""
        raise NotImplementedError

    async def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """As ``CNIConfig.get_network_list_cached_result``."""
        return await self._run(_in_a_thread(partial(self._operations.get_network_list_cached_result, net, runtime)))

    async def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """As ``CNIConfig.get_network_list_cached_config``."""
        return await self._run(_in_a_thread(partial(self._operations.get_network_list_cached_config, net, runtime)))

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
        return await self._run(_in_a_thread(partial(self._operations.get_cached_attachments, container_id)))
