"""ADD at the beginning of a ``with`` or ``async with`` block, and DEL at its end."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


def _add_note(error: BaseException, failed: Exception) -> None:
    """Add the error of DEL to the block's own error, which is the one that is raised."""
    error.add_note(f"the attachment could not be removed at the end of its block: {failed}")


class Attached(Generic[T]):
    """A ``with`` block around an attachment. ``with … as result`` gives the result of ADD.

    A failed ADD is undone, unless the attachment existed before. If the block raises an error, that error is raised,
    and an error of DEL becomes a note of it. DEL then has ``Options.undo_timeout`` seconds.
    """

    def __init__(self, begin: Callable[[], T], end: Callable[[bool], None]) -> None:
        """``begin`` is ADD; ``end`` is DEL, and is given whether the block failed."""
        self._begin = begin
        self._end = end

    def __enter__(self) -> T:
        return self._begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(error is not None)
        except Exception as failed:  # do not hide the block's own error
            if error is None:
                raise
            _add_note(error, failed)


class AsyncAttached(Generic[T]):
    """``Attached`` for asyncio. The attachment is removed even if the block, or the DEL itself, is cancelled."""

    def __init__(self, begin: Callable[[], Awaitable[T]], end: Callable[[bool], Awaitable[None]]) -> None:
        """``begin`` is ADD; ``end`` is DEL, and is given whether the block failed."""
        self._begin = begin
        self._end = end

    async def __aenter__(self) -> T:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._end(error is not None)
        except Exception as failed:  # do not hide the block's own error
            if error is None:
                raise
            _add_note(error, failed)
