"""The driver that runs operations and blocks the thread (see ``_requests``). ``_aiodriver`` is the one for asyncio."""

import itertools
import time
from copy import copy
from functools import partial
from typing import Any, TypeVar

from libcni._cancellation import Cancellation, Deadline, Linked
from libcni._errors import CallCancelled, LibcniError, Locked
from libcni._execution import Exec
from libcni._requests import Ask, Execute, Operation, Outcome, Pause, Request, Together, Work

T = TypeVar("T")


class BlockingDriver:
    """Runs one call. The thread waits for it."""

    def __init__(self, executor: Exec, timeout: float | None, cancel: Cancellation | None) -> None:
        """``timeout`` is in seconds for the whole call; None means no limit."""
        self._exec = executor
        self._deadline = Deadline.after(timeout)
        self._cancel = cancel

    def run(self, operation: Operation[T]) -> T:
        """Return the operation's value, or raise its error."""
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
        if isinstance(request, Work | Ask):
            return request.function()
        if isinstance(request, Execute):
            deadline = request.cleanup or self._deadline
            cancel = None if request.cleanup else self._cancel
            return self._exec.exec_plugin(request.path, request.stdin, request.environ, deadline, cancel)
        if isinstance(request, Pause):
            return self._pause(request)
        return self._together(request)

    def _pause(self, request: Pause) -> None:
        """Wait. A cancellation, or the end of the call's time, raises an error, so nothing is begun after the wait."""
        left = self._deadline.left
        seconds = request.seconds if left is None else min(request.seconds, left)
        if request.cleanup:
            time.sleep(request.seconds)
            return
        if self._cancel is None:
            time.sleep(seconds)
        elif self._cancel.cancelled or self._cancel.wait(seconds):
            raise CallCancelled("the call was cancelled", request.reason)
        if self._deadline.left == 0:
            raise Locked(request.reason)

    def _together(self, request: Together) -> list[Outcome]:
        import threading

        order = itertools.count()
        lock = threading.Lock()

        def run(driver: BlockingDriver, operation: Operation[Any]) -> Outcome:
            try:
                value = driver.run(operation)
            except BaseException as error:
                with lock:
                    return Outcome(error=error, order=next(order))
            with lock:
                return Outcome(value, order=next(order))

        if len(request.operations) == 1:
            return [run(self, request.operations[0])]
        from concurrent.futures import ThreadPoolExecutor  # it imports logging, which takes 9 ms

        try:
            with Linked(self._cancel) as cancel, ThreadPoolExecutor(max(1, len(request.operations)), "cni") as pool:
                try:
                    driver = self._with(cancel)
                    return list(pool.map(partial(run, driver), request.operations))
                except BaseException:  # Ctrl-C reaches only this thread: cancel the others
                    cancel.cancel()
                    raise
        except (OSError, RuntimeError) as error:  # no free descriptor, or no more threads
            raise LibcniError(f"cannot work on several networks at once: {error}") from error

    def _with(self, cancel: Cancellation) -> "BlockingDriver":
        """A driver of the same call with another cancellation."""
        driver = copy(self)
        driver._cancel = cancel
        return driver
