"""The container-networking interface as protocols: a runtime can use them as types, and replace them in its tests."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from libcni._cancellation import Cancellation
from libcni._model import (
    GCArgs,
    GCAttachment,
    NetworkAttachment,
    NetworkConfig,
    NetworkConfigList,
    PluginInfo,
    RuntimeConf,
)
from libcni._results import Result

# A function that returns what GC keeps in a network. Under asyncio it may be a coroutine function.
_Keep = GCArgs | Iterable[GCAttachment]
GCSource = Callable[[], _Keep]
AsyncGCSource = Callable[[], _Keep | Awaitable[_Keep]]
# What GC keeps, for all networks or by network name.
Several = GCArgs | GCSource | Mapping[str, GCArgs | GCSource]
AsyncSeveral = GCArgs | AsyncGCSource | Mapping[str, GCArgs | AsyncGCSource]


class Cached(Protocol):
    """The methods that read the cache."""

    def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The result of ADD from the cache, in the version of the list; None if there is none."""
        ...

    def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The configuration and the arguments that ADD used; None if there are none."""
        ...

    def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None:
        """The result of ADD of a single plugin."""
        ...

    def get_network_cached_config(self, net: NetworkConfig, runtime: RuntimeConf) -> tuple[bytes, RuntimeConf] | None:
        """The configuration and the arguments that ADD of a single plugin used."""
        ...

    def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]:
        """The cached attachments of a container, or of all if the id is empty."""
        ...


class CNI(Cached, Protocol):
    """The interface of ``CNIConfig``, which documents the methods."""

    def add_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of each plugin in order; return the last result, and cache it."""
        ...

    def check_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run CHECK of each plugin in order; raise the first error."""
        ...

    def del_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL of each plugin in reverse order; stop at the first error."""
        ...

    def add_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of one plugin."""
        ...

    def check_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run CHECK of one plugin."""
        ...

    def del_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL of one plugin."""
        ...

    def validate_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """Check that each plugin exists and supports the version; return the enabled capabilities."""
        ...

    def validate_network(
        self, net: NetworkConfig, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """Check one plugin; return its enabled capabilities."""
        ...

    def get_version_info(
        self, plugin: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> PluginInfo:
        """Run VERSION: the versions that a plugin supports."""
        ...

    def gc_network_list(
        self,
        net: NetworkConfigList,
        args: GCArgs | GCSource,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL for cached attachments that are not valid, then GC of each plugin."""
        ...

    def gc_network_lists(
        self,
        nets: Iterable[NetworkConfigList],
        args: Several,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run GC of several networks."""
        ...

    def del_cached_attachments(
        self, container_id: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """Run DEL for all cached attachments of a container."""
        ...

    def attached(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Result]:
        """Run ADD before a block, and DEL after it."""
        ...

    def get_status_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """Run STATUS of each plugin in order; raise the first error."""
        ...


class AsyncCached(Protocol):
    """The methods that read the cache, for asyncio."""

    async def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The result of ADD from the cache, in the version of the list; None if there is none."""
        ...

    async def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The configuration and the arguments that ADD used; None if there are none."""
        ...

    async def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None:
        """The result of ADD of a single plugin."""
        ...

    async def get_network_cached_config(
        self, net: NetworkConfig, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The configuration and the arguments that ADD of a single plugin used."""
        ...

    async def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]:
        """The cached attachments of a container, or of all if the id is empty."""
        ...


class AsyncCNI(AsyncCached, Protocol):
    """The interface of ``AsyncCNIConfig``, which documents the methods. There is no ``cancel``: cancel the task."""

    async def add_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> Result:
        """Run ADD of each plugin in order; return the last result, and cache it."""
        ...

    async def check_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None:
        """Run CHECK of each plugin in order; raise the first error."""
        ...

    async def del_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None:
        """Run DEL of each plugin in reverse order; stop at the first error."""
        ...

    async def add_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> Result:
        """Run ADD of one plugin."""
        ...

    async def check_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> None:
        """Run CHECK of one plugin."""
        ...

    async def del_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> None:
        """Run DEL of one plugin."""
        ...

    async def validate_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> list[str]:
        """Check that each plugin exists and supports the version; return the enabled capabilities."""
        ...

    async def validate_network(self, net: NetworkConfig, *, timeout: float | None = None) -> list[str]:
        """Check one plugin; return its enabled capabilities."""
        ...

    async def get_version_info(self, plugin: str, *, timeout: float | None = None) -> PluginInfo:
        """Run VERSION: the versions that a plugin supports."""
        ...

    async def gc_network_list(
        self, net: NetworkConfigList, args: GCArgs | AsyncGCSource, *, timeout: float | None = None
    ) -> None:
        """Run DEL for cached attachments that are not valid, then GC of each plugin."""
        ...

    async def gc_network_lists(
        self, nets: Iterable[NetworkConfigList], args: AsyncSeveral, *, timeout: float | None = None
    ) -> None:
        """Run GC of several networks."""
        ...

    async def del_cached_attachments(self, container_id: str, *, timeout: float | None = None) -> None:
        """Run DEL for all cached attachments of a container."""
        ...

    def attached(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Result]:
        """Run ADD before a block, and DEL after it."""
        ...

    async def get_status_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> None:
        """Run STATUS of each plugin in order; raise the first error."""
        ...
