"""An attachment for the length of a ``with`` or ``async with`` block: ADD at its beginning, DEL at its end."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


def _noted(error: BaseException, failed: Exception) -> None:
    """The block's error is the one that is raised; that of DEL is its note."""
    error.add_note(f"the attachment could not be removed at the end of its block: {failed}")


class Attached(Generic[T]):
    """The blocking form; the value of the block is what ADD answered.

    A failed ADD is undone, unless the attachment was there before. When the block fails, its error is raised, and an
    error of DEL is a note of it; DEL has the time that undoing has (``Options.undo_timeout``) then.
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
        except Exception as failed:  # the block's own error is not to be hidden
            if error is None:
                raise
            _noted(error, failed)


class AsyncAttached(Generic[T]):
    """The asyncio form of ``Attached``; a block that is cancelled, or a DEL that is, ends in undoing too."""

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
        except Exception as failed:  # the block's own error is not to be hidden
            if error is None:
                raise
            _noted(error, failed)
