"""The driver of operations for asyncio; it knows the time that the whole call may take. Imported when it is used."""

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
# Seconds after its deadline that an executor may take to end a plugin that undoes; then it is left to itself.
_GRACE = 2.0


class Looping:
    """Drives one call under asyncio. Cancelling the task kills the plugin that runs and undoes as the options say."""

    def __init__(self, executor: AsyncExec, timeout: float | None) -> None:
        """``timeout``: seconds for the whole call, None for no bound."""
        self._exec = executor
        self._deadline = Deadline.after(timeout)

    async def run(self, operation: Operation[T]) -> T:
        """The operation's value, or its error; ``CancelledError`` also for a cancellation while it undid something."""
        late: list[asyncio.CancelledError] = []
        try:
            value = await self._drive(operation, late)
        except Exception as failed:
            if late:
                raise late[0] from failed
            raise
        if late:
            raise late[0]
        return value

    async def _drive(self, operation: Operation[T], late: list[asyncio.CancelledError]) -> T:
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
                answer = await self._serve(request, late)
            except BaseException as raised:
                error = raised

    async def _serve(self, request: Request, late: list[asyncio.CancelledError]) -> Any:
        if isinstance(request, Work):
            # to the end, even if the task is cancelled meanwhile: half of it must not go on behind our back
            work = asyncio.ensure_future(asyncio.to_thread(request.function))
            if cancelled := await _ended(work):
                raise cancelled from work.exception()  # asked for here, or asyncio prints that nobody did
            return work.result()
        if isinstance(request, Execute):
            run = self._exec.exec_plugin_async
            if not request.cleanup:
                return await run(request.path, request.stdin, request.environ, self._deadline)
            part = run(request.path, request.stdin, request.environ, request.cleanup)
            return await _undoing(part, late, request.cleanup, request.path)
        if isinstance(request, Ask):
            value = request.function()
            if not inspect.isawaitable(value):
                return value
            return await self._answer(value)
        if isinstance(request, Pause):
            if request.cleanup:
                if cancelled := await _ended(asyncio.ensure_future(asyncio.sleep(request.seconds))):
                    late.append(cancelled)
                return None
            left = self._deadline.left
            await asyncio.sleep(request.seconds if left is None else min(request.seconds, left))
            if self._deadline.left == 0:
                raise Locked(request.reason)
            return None
        return await self._together(request.operations)

    async def _answer(self, value: Awaitable[T]) -> T:
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
        places = itertools.count()

        async def one(operation: Operation[Any]) -> Outcome:
            try:
                value = await self.run(operation)
            except BaseException as error:
                return Outcome(error=error, place=next(places))
            return Outcome(value, place=next(places))

        tasks = [asyncio.ensure_future(one(operation)) for operation in operations]
        try:
            return list(await asyncio.gather(*tasks))
        except asyncio.CancelledError:
            # gather has cancelled them; each undoes what it does before it ends
            await asyncio.gather(*tasks, return_exceptions=True)
            raise


async def _undoing(
    part: Coroutine[Any, Any, T], late: list[asyncio.CancelledError], deadline: Deadline, path: str
) -> T:
    """A part of undoing, to its end: a cancellation meanwhile is noted, and raised when all of it is done.

    An executor that does not keep to the deadline is cancelled, and no longer waited for.
    """
    future = asyncio.ensure_future(part)
    left = deadline.left
    for seconds in (None,) if left is None else (left + _GRACE, _GRACE):
        if cancelled := await _ended(future, seconds):
            late.append(cancelled)
        if future.done() and not future.cancelled():
            return future.result()
        future.cancel()
    raise PluginTimeout(f"{path} was still undoing when {deadline.of} {deadline.seconds:g} s were over", path=path)


async def _ended(future: "asyncio.Future[Any]", seconds: float | None = None) -> asyncio.CancelledError | None:
    """Wait for the future's end, at most ``seconds``; the answer is a cancellation that came meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    wait = Deadline.after(seconds)
    while not future.done() and wait.left != 0:
        try:
            await asyncio.wait([future], timeout=wait.left)
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
