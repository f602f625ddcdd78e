# ruff: noqa: D102 -- the methods are documented where they are implemented
"""The container-networking interface as types: what a runtime may rely on, and replace in its tests."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from libcni.cancellation import Cancellation
from libcni.model import (
    GCArgs,
    GCAttachment,
    NetworkAttachment,
    NetworkConfig,
    NetworkConfigList,
    PluginInfo,
    RuntimeConf,
)
from libcni.results import Result

# What GC keeps in a network; a function returns it when the network is locked, that of asyncio may be awaited.
_Keep = GCArgs | Iterable[GCAttachment]
GCSource = Callable[[], _Keep]
AsyncGCSource = Callable[[], _Keep | Awaitable[_Keep]]
# The same for all networks, or by a network's name.
Several = GCArgs | GCSource | Mapping[str, GCArgs | GCSource]
AsyncSeveral = GCArgs | AsyncGCSource | Mapping[str, GCArgs | AsyncGCSource]


class Cached(Protocol):
    """What the cache tells, in both forms."""

    def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None: ...

    def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None: ...

    def get_network_cached_result(self, net: NetworkConfig, runtime: RuntimeConf) -> Result | None: ...

    def get_network_cached_config(
        self, net: NetworkConfig, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None: ...

    def get_cached_attachments(self, container_id: str = "") -> list[NetworkAttachment]: ...


class CNI(Cached, Protocol):
    """The synchronous form; ``CNIConfig`` documents the methods."""

    def add_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result: ...

    def check_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None: ...

    def del_network_list(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None: ...

    def add_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result: ...

    def check_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None: ...

    def del_network(
        self,
        net: NetworkConfig,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None: ...

    def validate_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]: ...

    def validate_network(
        self, net: NetworkConfig, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> list[str]: ...

    def get_version_info(
        self, plugin: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> PluginInfo: ...

    def gc_network_list(
        self,
        net: NetworkConfigList,
        args: GCArgs | GCSource,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None: ...

    def gc_network_lists(
        self,
        nets: Iterable[NetworkConfigList],
        args: Several,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None: ...

    def del_cached_attachments(
        self, container_id: str, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None: ...

    def attached(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        *,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Result]: ...

    def get_status_network_list(
        self, net: NetworkConfigList, *, timeout: float | None = None, cancel: Cancellation | None = None
    ) -> None: ...


class AsyncCNI(Cached, Protocol):
    """The asyncio form; cancelling the task takes the place of ``cancel``. ``AsyncCNIConfig`` documents the methods."""

    async def add_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> Result: ...

    async def check_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None: ...

    async def del_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None: ...

    async def add_network(
        self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> Result: ...

    async def check_network(
        self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> None: ...

    async def del_network(self, net: NetworkConfig, runtime: RuntimeConf, *, timeout: float | None = None) -> None: ...

    async def validate_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> list[str]: ...

    async def validate_network(self, net: NetworkConfig, *, timeout: float | None = None) -> list[str]: ...

    async def get_version_info(self, plugin: str, *, timeout: float | None = None) -> PluginInfo: ...

    async def gc_network_list(
        self, net: NetworkConfigList, args: GCArgs | AsyncGCSource, *, timeout: float | None = None
    ) -> None: ...

    async def gc_network_lists(
        self, nets: Iterable[NetworkConfigList], args: AsyncSeveral, *, timeout: float | None = None
    ) -> None: ...

    async def del_cached_attachments(self, container_id: str, *, timeout: float | None = None) -> None: ...

    def attached(
        self, net: NetworkConfigList, runtime: RuntimeConf, *, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Result]: ...

    async def get_status_network_list(self, net: NetworkConfigList, *, timeout: float | None = None) -> None: ...
