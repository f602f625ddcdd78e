"""The two drivers of operations: one that blocks, one for asyncio. Both know the time that the whole call may take."""

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from libcni.cancellation import Cancellation, Deadline
from libcni.errors import CallCancelled, Locked
from libcni.execution import AsyncExec, Exec
from libcni.requests import Execute, Operation, Outcome, Pause, Request, Together, Work

T = TypeVar("T")
_TICK = 0.05


class Blocking:
    """Drives one call; the thread waits."""

    def __init__(self, executor: Exec, timeout: float | None, cancel: Cancellation | None) -> None:
        """``timeout``: seconds for the whole call, None for no bound."""
        self._exec = executor
        self._timeout = timeout
        self._deadline = Deadline.after(timeout)
        self._cancel = cancel

    def run(self, operation: Operation[T]) -> T:
        """The operation's value, or its error."""
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
                answer = self._serve(request)
            except BaseException as raised:
                error = raised

    def _serve(self, request: Request) -> Any:
        if isinstance(request, Work):
            return request.function()
        if isinstance(request, Execute):
            deadline = Deadline.after(self._timeout) if request.cleanup else self._deadline
            cancel = None if request.cleanup else self._cancel
            return self._exec.exec_plugin(request.path, request.stdin, request.environ, deadline, cancel)
        if isinstance(request, Pause):
            return self._pause(request)
        return self._together(request)

    def _pause(self, request: Pause) -> None:
        if self._cancel is not None and self._cancel.cancelled:
            raise CallCancelled("the call was cancelled", request.reason)
        if self._deadline.left == 0:
            raise Locked(request.reason)
        time.sleep(request.seconds)

    def _together(self, request: Together) -> list[Outcome]:
        places = itertools.count()
        lock = threading.Lock()

        def one(operation: Operation[Any]) -> Outcome:
            try:
                value = self.run(operation)
            except BaseException as error:
                with lock:
                    return Outcome(error=error, place=next(places))
            with lock:
                return Outcome(value, place=next(places))

        if len(request.operations) == 1:
            return [one(request.operations[0])]
        with ThreadPoolExecutor(max(1, len(request.operations)), "cni") as pool:
            return list(pool.map(one, request.operations))


class Looping:
    """Drives one call under asyncio. Cancelling the task kills the plugin that runs and undoes as the options say."""

    def __init__(self, executor: AsyncExec, timeout: float | None) -> None:
        """``timeout``: seconds for the whole call, None for no bound."""
        self._exec = executor
        self._timeout = timeout
        self._deadline = Deadline.after(timeout)

    async def run(self, operation: Operation[T]) -> T:
        """The operation's value, or its error."""
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
                answer = await self._serve(request)
            except BaseException as raised:
                error = raised

    async def _serve(self, request: Request) -> Any:
        if isinstance(request, Work):
            # to the end, even if the task is cancelled meanwhile: half of it must not go on behind our back
            return await _whole(asyncio.ensure_future(asyncio.to_thread(request.function)))
        if isinstance(request, Execute):
            run = self._exec.exec_plugin_async
            if not request.cleanup:
                return await run(request.path, request.stdin, request.environ, self._deadline)
            undo = run(request.path, request.stdin, request.environ, Deadline.after(self._timeout))
            return await _whole(asyncio.ensure_future(undo))
        if isinstance(request, Pause):
            if self._deadline.left == 0:
                raise Locked(request.reason)
            return await asyncio.sleep(request.seconds)
        return await self._together(request.operations)

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


async def _whole(future: "asyncio.Future[T]") -> T:
    """The future's value; a cancellation meanwhile is raised after it has ended."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:
            break
    if cancelled is not None:
        raise cancelled
    return future.result()
