"""containerd's interface (Go: ``go-cni``): one object for all networks of a container, blocking or under asyncio."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import Protocol, TypeVar

from libcni._attached import AsyncAttached, Attached
from libcni._cancellation import Cancellation
from libcni._driver import BlockingDriver
from libcni._errors import LibcniError
from libcni._execution import AsyncExec, Exec, ProcessExec
from libcni._inputs import StrPath
from libcni._requests import Operation
from libcni.containerd._capabilities import NamespaceOpt
from libcni.containerd._operations import Service
from libcni.containerd._results import ConfigResult, Result
from libcni.containerd._settings import Opt

T = TypeVar("T")


class ContainerdCNI(Protocol):
    """The interface of ``Containerd``, which documents the methods. Tests can replace it."""

    def setup(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of all networks at once."""
        ...

    def setup_serially(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of the networks in load order."""
        ...

    def remove(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL of the networks in load order."""
        ...

    def check(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run CHECK of the networks in load order; raise the first error."""
        ...

    def remove_cached(self, id: str, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """Run DEL for all cached attachments of a container."""
        ...

    def attached(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Result]:
        """Run ``setup`` before a block, and ``remove`` after it."""
        ...

    def load(self, *opts: Opt) -> Sequence[LibcniError]:
        """Load the networks again; return the errors of bad files."""
        ...

    def status(self, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """Run STATUS of the networks in order; raise the first error."""
        ...

    def get_config(self) -> ConfigResult:
        """The settings and the loaded networks."""
        ...


class _Loaded:
    """The methods that ``Containerd`` and ``AsyncContainerd`` share."""

    _service: Service

    def load(self, *opts: Opt) -> list[LibcniError]:
        """Unload all networks, then apply the options in order.

        Return the errors of bad files. Such a file is skipped, or its last good version stays in use (see
        ``with_bad_files_skipped``); each error is also reported. Raises ``LoadFailed`` if an option fails; networks of
        the options before it stay. Running calls are not waited for, and keep the networks that they began with.
        """
        return self._service.load(opts)

    def get_config(self) -> ConfigResult:
        """The settings and the loaded networks. It never fails."""
        return self._service.get_config()


class Containerd(_Loaded):
    """All networks of a container (Go: ``cni.New``).

    ``opts`` are applied in order. ``id`` is the container's id, and ``path`` is that of its network namespace, empty on
    ``remove`` if it is gone. ``timeout`` is in seconds for the whole call (None: that of the options). ``cancel`` ends
    the call from another thread. ``setup``, ``setup_serially``, ``remove``, ``check`` and ``status`` raise
    ``NotInitialized`` while too few networks are loaded.
    """

    def __init__(self, *opts: Opt, executor: Exec | None = None) -> None:
        self._exec: Exec = executor or ProcessExec()
        self._service = Service(self._exec, opts)

    def _run(self, operation: Operation[T], timeout: float | None, cancel: Cancellation | None) -> T:
        """Run an operation and return its value."""
        limit = self._service.options.timeout if timeout is None else timeout
        return BlockingDriver(self._exec, limit, cancel).run(operation)

    def setup(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of all networks at once.

        If one fails, the others are waited for, the networks are removed again (see ``with_rollback``), and the first
        error is raised: ``StepFailed``, ``CacheError`` or ``InvalidResult``. A network that was attached before is not
        removed: the cache has it, and its namespace exists.
        """
        return self._run(self._service.setup(id, path, opts), timeout, cancel)

    def setup_serially(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Run ADD of the networks in load order, if one network needs another. Otherwise as ``setup``."""
        return self._run(self._service.setup_serially(id, path, opts), timeout, cancel)

    def remove(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run DEL of the networks in load order.

        As in Go, an error whose text contains ``not found`` is ignored: there is nothing to remove. Without ``path`` so
        is ``no such file or directory``. After any other error the other networks are removed, and the error is raised
        at the end: ``StepFailed``, or ``SeveralErrors`` if there are several.
        """
        self._run(self._service.remove(id, path, opts), timeout, cancel)

    def remove_cached(self, id: str, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """Run DEL for all cached attachments of a container. No network need be loaded.

        As ``CNIConfig.del_cached_attachments``.
        """
        self._run(self._service.remove_cached(id), timeout, cancel)

    def attached(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Attached[Result]:
        """The container's networks for a ``with`` block: ``setup`` at its beginning, ``remove`` at its end.

        Both use the networks that are loaded now, even if others are loaded meanwhile. See ``Attached``.
        """
        now = copy(self._service)
        return Attached(
            lambda: self._run(now.setup(id, path, opts), timeout, cancel),
            lambda failed: self._run(now.release(id, path, opts, failed), timeout, cancel),
        )

    def check(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """Run CHECK of the networks in load order. Raises the first error, as ``CNIConfig.check_network_list`` does.

        With ``with_lo_network`` it always fails, because that network's version 0.3.1 has no CHECK. Use
        ``with_checkable_lo_network``.
        """
        self._run(self._service.check(id, path, opts), timeout, cancel)

    def status(self, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """Run STATUS of the networks in order. Raises the first error.

        The default of ``timeout`` is ``Options.status_timeout``.
        """
        limit = self._service.options.status_timeout if timeout is None else timeout
        self._run(self._service.status(), limit, cancel)


class AsyncContainerd(_Loaded):
    """``Containerd`` for asyncio (go-cni#6). Cancelling the task kills the plugins, and removes what was made."""

    def __init__(self, *opts: Opt, executor: AsyncExec | None = None) -> None:
        self._exec: AsyncExec = executor or ProcessExec()
        self._service = Service(self._exec, opts)

    async def _run(self, operation: Operation[T], timeout: float | None) -> T:
        """Run an operation and return its value."""
        from libcni._aiodriver import AsyncioDriver

        limit = self._service.options.timeout if timeout is None else timeout
        return await AsyncioDriver(self._exec, limit).run(operation)

    async def setup(self, id: str, path: StrPath, *opts: NamespaceOpt, timeout: float | None = None) -> Result:
        """As ``Containerd.setup``."""
        return await self._run(self._service.setup(id, path, opts), timeout)

    async def setup_serially(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
    ) -> Result:
        """As ``Containerd.setup_serially``."""
        return await self._run(self._service.setup_serially(id, path, opts), timeout)

    async def remove(self, id: str, path: StrPath, *opts: NamespaceOpt, timeout: float | None = None) -> None:
        """As ``Containerd.remove``."""
        await self._run(self._service.remove(id, path, opts), timeout)

    async def remove_cached(self, id: str, *, timeout: float | None = None) -> None:
        """As ``Containerd.remove_cached``."""
        await self._run(self._service.remove_cached(id), timeout)

    def attached(
        self, id: str, path: StrPath, *opts: NamespaceOpt, timeout: float | None = None
    ) -> AsyncAttached[Result]:
        """As ``Containerd.attached``, for an ``async with`` block."""
        now = copy(self._service)
        return AsyncAttached(
            lambda: self._run(now.setup(id, path, opts), timeout),
            lambda failed: self._run(now.release(id, path, opts, failed), timeout),
        )

    async def check(self, id: str, path: StrPath, *opts: NamespaceOpt, timeout: float | None = None) -> None:
        """As ``Containerd.check``."""
        await self._run(self._service.check(id, path, opts), timeout)

    async def status(self, *, timeout: float | None = None) -> None:
        """As ``Containerd.status``."""
        limit = self._service.options.status_timeout if timeout is None else timeout
        await self._run(self._service.status(), limit)


def new(*opts: Opt, executor: Exec | None = None) -> Containerd:
    """Make a ``Containerd`` with Go's defaults.

    Plugins in ``/opt/cni/bin``, configurations in ``/etc/cni/net.d``, one file, prefix ``eth``, at least one network.
    """
    return Containerd(*opts, executor=executor)
