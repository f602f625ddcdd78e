"""The container-networking interface as types: what a runtime may rely on, and replace in its tests."""

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

# What GC keeps in a network; a function returns it when the network is locked, that of asyncio may be awaited.
_Keep = GCArgs | Iterable[GCAttachment]
GCSource = Callable[[], _Keep]
AsyncGCSource = Callable[[], _Keep | Awaitable[_Keep]]
# The same for all networks, or by a network's name.
Several = GCArgs | GCSource | Mapping[str, GCArgs | GCSource]
AsyncSeveral = GCArgs | AsyncGCSource | Mapping[str, GCArgs | AsyncGCSource]


class Cached(Protocol):
    """What the cache holds, in the synchronous form."""

    def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The result that ADD left in the cache, in the list's version; None when there is none."""
        ...

    def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The configuration that ADD used, and the arguments of then; None when there is none."""
        ...

    def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None:
        """The same result for one plugin's configuration."""
        ...

    def get_network_cached_config(self, net: NetworkConfig, runtime: RuntimeConf) -> tuple[bytes, RuntimeConf] | None:
        """The same for one plugin's configuration."""
        ...

    def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]:
        """The cached attachments of a container, of all where it is empty."""
        ...


class CNI(Cached, Protocol):
    """The synchronous form; ``CNIConfig`` documents the methods."""

    def add_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """ADD of each plugin in order; the last one's result, which goes to the cache."""
        ...

    def check_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """CHECK of each plugin in order; the first error is raised."""
        ...

    def del_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """DEL of each plugin in reverse; stops at the first error."""
        ...

    def add_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """ADD of one plugin."""
        ...

    def check_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """CHECK of one plugin."""
        ...

    def del_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """DEL of one plugin."""
        ...

    def validate_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """Whether each plugin is there and knows the version; the enabled capabilities."""
        ...

    def validate_network(
        self, net: NetworkConfig, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]:
        """The same of one plugin."""
        ...

    def get_version_info(
        self, plugin: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> PluginInfo:
        """VERSION: what a plugin supports."""
        ...

    def gc_network_list(
        self,
        net: NetworkConfigList,
        args: GCArgs | GCSource,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """DEL of what is cached and not valid, then GC of each plugin."""
        ...

    def gc_network_lists(
        self,
        nets: Iterable[NetworkConfigList],
        args: Several,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """The same of several networks."""
        ...

    def del_cached_attachments(
        self, container_id: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """DEL of all attachments of a container, as the cache has them."""
        ...

    def attached(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Result]:
        """ADD and DEL around a block."""
        ...

    def get_status_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None:
        """STATUS of each plugin; the first error is raised."""
        ...


class AsyncCached(Protocol):
    """What the cache holds, in the asyncio form."""

    async def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The result that ADD left in the cache, in the list's version; None when there is none."""
        ...

    async def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The configuration that ADD used, and the arguments of then; None when there is none."""
        ...

    async def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None:
        """The same result for one plugin's configuration."""
        ...

    async def get_network_cached_config(
        self, net: NetworkConfig, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The same for one plugin's configuration."""
        ...

    async def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]:
        """The cached attachments of a container, of all where it is empty."""
        ...


class AsyncCNI(AsyncCached, Protocol):
    """The asyncio form; cancelling the task takes the place of ``cancel``. ``AsyncCNIConfig`` documents the methods."""

    async def add_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> Result:
        """ADD of each plugin in order; the last one's result, which goes to the cache."""
        ...

    async def check_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None:
        """CHECK of each plugin in order; the first error is raised."""
        ...

    async def del_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None:
        """DEL of each plugin in reverse; stops at the first error."""
        ...

    async def add_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> Result:
        """ADD of one plugin."""
        ...

    async def check_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> None:
        """CHECK of one plugin."""
        ...

    async def del_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> None:
        """DEL of one plugin."""
        ...

    async def validate_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> list[str]:
        """Whether each plugin is there and knows the version; the enabled capabilities."""
        ...

    async def validate_network(self, net: NetworkConfig, *, timeout: float | None = None) -> list[str]:
        """The same of one plugin."""
        ...

    async def get_version_info(self, plugin: str, *, timeout: float | None = None) -> PluginInfo:
        """VERSION: what a plugin supports."""
        ...

    async def gc_network_list(
        self, net: NetworkConfigList, args: GCArgs | AsyncGCSource, *, timeout: float | None = None
    ) -> None:
        """DEL of what is cached and not valid, then GC of each plugin."""
        ...

    async def gc_network_lists(
        self, nets: Iterable[NetworkConfigList], args: AsyncSeveral, *, timeout: float | None = None
    ) -> None:
        """The same of several networks."""
        ...

    async def del_cached_attachments(self, container_id: str, *, timeout: float | None = None) -> None:
        """DEL of all attachments of a container, as the cache has them."""
        ...

    def attached(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Result]:
        """ADD and DEL around a block."""
        ...

    async def get_status_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> None:
        """STATUS of each plugin; the first error is raised."""
        ...
