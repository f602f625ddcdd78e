"""containerd's interface: one object for all networks of a container, blocking or awaited (Go: ``go-cni``)."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import Protocol, TypeVar

from libcni._attached import AsyncAttached, Attached
from libcni._cancellation import Cancellation
from libcni._driver import Blocking
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
    """The interface, for those who replace it in tests; ``Containerd`` documents the methods."""

    def setup(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """ADD of all networks at once."""
        ...

    def setup_serially(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """ADD of the networks in load order."""
        ...

    def remove(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """DEL of the networks in load order."""
        ...

    def check(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """CHECK of the networks in load order; the first error is raised."""
        ...

    def remove_cached(self, id: str, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """DEL of all attachments of a container, as the cache has them."""
        ...

    def attached(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> AbstractContextManager[Result]:
        """``setup`` and ``remove`` around a block."""
        ...

    def load(self, *opts: Opt) -> Sequence[LibcniError]:
        """Load networks again; the errors of files that were bad."""
        ...

    def status(self, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """STATUS of the networks in order; the first error is raised."""
        ...

    def get_config(self) -> ConfigResult:
        """The settings and the loaded networks."""
        ...


class _Loaded:
    """What both forms have in common."""

    _service: Service

    def load(self, *opts: Opt) -> list[LibcniError]:
        """Forget all networks, then apply the options in order.

        The answer is the errors of files that were bad and are skipped, or in use as they last were good (see
        ``with_bad_files_skipped``); each is reported, too. Raises ``LoadFailed``; networks of the options before the
        failing one stay. Calls that run are not waited for, and go on with the networks of their time.
        """
        return self._service.load(opts)

    def get_config(self) -> ConfigResult:
        """The settings and the loaded networks; never fails."""
        return self._service.get_config()


class Containerd(_Loaded):
    """The synchronous form (Go: ``cni.New``).

    ``opts`` are applied in order. ``id`` is the container's, ``path`` its namespace's (empty on remove when it is
    gone). ``timeout`` is seconds for the whole call (None: the options' default), ``cancel`` ends it from another
    thread. All calls but ``load`` and ``get_config`` raise ``NotInitialized`` while too few networks are loaded.
    """

    def __init__(self, *opts: Opt, executor: Exec | None = None) -> None:
        self._exec: Exec = executor or ProcessExec()
        self._service = Service(self._exec, opts)

    def _run(self, operation: Operation[T], timeout: float | None, cancel: Cancellation | None) -> T:
        """Drive an operation to its end."""
        limit = self._service.options.timeout if timeout is None else timeout
        return Blocking(self._exec, limit, cancel).run(operation)

    def setup(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> Result:
        """ADD of all networks at once.

        When one fails the others are waited for, what was made is removed (see ``with_rollback``), and the error that
        came first is raised: ``StepFailed``, ``CacheError``, ``InvalidResult``. A network that was attached before, so
        that the cache has it and its namespace is still there, is not removed.
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
        """ADD of the networks in load order, for chains that need one another; otherwise as ``setup``."""
        return self._run(self._service.setup_serially(id, path, opts), timeout, cancel)

    def remove(
        self,
        id: str,
        path: StrPath,
        *opts: NamespaceOpt,
        timeout: float | None = None,
        cancel: Cancellation | None = None,
    ) -> None:
        """DEL of the networks in load order.

        An error whose text has ``not found`` (without ``path`` also ``no such file or directory``) is taken for
        nothing to remove, as in Go. Goes on to the other networks after any other, and raises them at the end:
        ``StepFailed``, of several ``SeveralErrors``.
        """
        self._run(self._service.remove(id, path, opts), timeout, cancel)

    def remove_cached(self, id: str, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """DEL of every attachment of a container that the cache has, by its id alone; no network need be loaded.

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
        """The container's networks for a ``with`` block: ``setup``, and ``remove`` at its end (see ``Attached``).

        Both work on the networks that are loaded now: a load meanwhile changes nothing.
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
        """CHECK of the networks in load order; the first error, as ``CNIConfig.check_network_list`` raises it.

        With ``with_lo_network`` it always fails, 0.3.1 has no CHECK; with ``with_checkable_lo_network`` it works.
        """
        self._run(self._service.check(id, path, opts), timeout, cancel)

    def status(self, *, timeout: float | None = None, cancel: Cancellation | None = None) -> None:
        """STATUS of the networks in order, the first error; its default of time is ``Options.status_timeout``."""
        limit = self._service.options.status_timeout if timeout is None else timeout
        self._run(self._service.status(), limit, cancel)


class AsyncContainerd(_Loaded):
    """The asyncio form (go-cni#6); cancelling the task kills the plugins and removes what was made."""

    def __init__(self, *opts: Opt, executor: AsyncExec | None = None) -> None:
        self._exec: AsyncExec = executor or ProcessExec()
        self._service = Service(self._exec, opts)

    async def _run(self, operation: Operation[T], timeout: float | None) -> T:
        """Drive an operation to its end."""
        from libcni._aiodriver import Looping

        limit = self._service.options.timeout if timeout is None else timeout
        return await Looping(self._exec, limit).run(operation)

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
    """An object with Go's defaults: ``/opt/cni/bin``, ``/etc/cni/net.d``, one file, ``eth``, one network at least."""
    return Containerd(*opts, executor=executor)
