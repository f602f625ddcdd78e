"""The driver that runs operations under asyncio (see ``_requests``). It is imported when the first call needs it."""

import asyncio
import inspect
import itertools
from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any, TypeVar

from libcni._cancellation import Deadline
from libcni._errors import FunctionTimeout, Locked, PluginTimeout
from libcni._execution import AsyncExec
from libcni._requests import Ask, Execute, Operation, Outcome, Pause, Request, Work

T = TypeVar("T")
# An executor has this many seconds after the deadline to end a plugin that undoes something. Then it is abandoned.
_GRACE = 2.0


class AsyncioDriver:
    """Runs one call. Cancelling the task kills the running plugin, and undoes what the options say."""

    def __init__(self, executor: AsyncExec, timeout: float | None) -> None:
        """``timeout`` is in seconds for the whole call; None means no limit."""
        self._exec = executor
        self._deadline = Deadline.after(timeout)

    async def run(self, operation: Operation[T]) -> T:
        """Return the operation's value, or raise its error.

        A cancellation while something is undone raises ``CancelledError`` when the undoing is complete.
        """
        cancellations: list[asyncio.CancelledError] = []
        try:
            value = await self._drive(operation, cancellations)
        except Exception as failed:
            if cancellations:
                raise cancellations[0] from failed
            raise
        if cancellations:
            raise cancellations[0]
        return value

    async def _drive(self, operation: Operation[T], cancellations: list[asyncio.CancelledError]) -> T:
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                request = operation.send(answer) if error is None else operation.throw(error)
            except StopIteration as stop:
                value: T = stop.value
                return value
            answer, error = None, None
            try:
                answer = await self._serve(request, cancellations)
            except BaseException as raised:
                error = raised

    async def _serve(self, request: Request, cancellations: list[asyncio.CancelledError]) -> Any:
        if isinstance(request, Work):
            # Wait for the end even if the task is cancelled: the thread must not go on after the call has returned.
            work = asyncio.ensure_future(asyncio.to_thread(request.function))
            if cancelled := await _wait_for(work):
                raise cancelled from work.exception()  # read here, or asyncio prints it
            return work.result()
        if isinstance(request, Execute):
            run = self._exec.exec_plugin_async
            if not request.cleanup:
                return await run(request.path, request.stdin, request.environ, self._deadline)
            part = run(request.path, request.stdin, request.environ, request.cleanup)
            return await _run_to_end(part, cancellations, request.cleanup, request.path)
        if isinstance(request, Ask):
            value = request.function()
            if not inspect.isawaitable(value):
                return value
            return await self._await(value)
        if isinstance(request, Pause):
            if request.cleanup:
                if cancelled := await _wait_for(asyncio.ensure_future(asyncio.sleep(request.seconds))):
                    cancellations.append(cancelled)
                return None
            left = self._deadline.left
            await asyncio.sleep(request.seconds if left is None else min(request.seconds, left))
            if self._deadline.left == 0:
                raise Locked(request.reason)
            return None
        return await self._together(request.operations)

    async def _await(self, value: Awaitable[T]) -> T:
        bound = asyncio.timeout(self._deadline.left)
        try:
            async with bound:
                return await value
        except TimeoutError as error:
            if not bound.expired():
                raise
            msg = f"the function was still awaited when the call's {self._deadline.seconds:g} s were over"
            raise FunctionTimeout(msg) from error

    async def _together(self, operations: Sequence[Operation[Any]]) -> list[Outcome]:
        order = itertools.count()

        async def run(operation: Operation[Any]) -> Outcome:
            try:
                value = await self.run(operation)
            except BaseException as error:
                return Outcome(error=error, order=next(order))
            return Outcome(value, order=next(order))

        tasks = [asyncio.ensure_future(run(operation)) for operation in operations]
        try:
            return list(await asyncio.gather(*tasks))
        except asyncio.CancelledError:
            # gather has cancelled the tasks. Each of them undoes its own work before it ends.
            await asyncio.gather(*tasks, return_exceptions=True)
            raise


async def _run_to_end(
    part: Coroutine[Any, Any, T], cancellations: list[asyncio.CancelledError], deadline: Deadline, path: str
) -> T:
    """Run one plugin of an undoing to its end. A cancellation is only recorded, and raised when all is undone.

    An executor that exceeds the deadline is cancelled, and then abandoned.
    """
    future = asyncio.ensure_future(part)
    left = deadline.left
    for seconds in (None,) if left is None else (left + _GRACE, _GRACE):
        if cancelled := await _wait_for(future, seconds):
            cancellations.append(cancelled)
        if future.done() and not future.cancelled():
            return future.result()
        future.cancel()
    raise PluginTimeout(f"{path} was still undoing when {deadline.of} {deadline.seconds:g} s were over", path=path)


async def _wait_for(future: "asyncio.Future[Any]", seconds: float | None = None) -> asyncio.CancelledError | None:
    """Wait until the future is done, for at most ``seconds``. Return a cancellation that arrived during the wait."""
    cancelled: asyncio.CancelledError | None = None
    wait = Deadline.after(seconds)
    while not future.done() and wait.left != 0:
        try:
            await asyncio.wait([future], timeout=wait.left)
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
