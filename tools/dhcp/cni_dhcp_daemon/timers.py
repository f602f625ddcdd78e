"""All deadlines of the daemon in one heap, with one timer of asyncio.

asyncio's clock stops while the node sleeps, and deadlines do not. So the daemon looks at the heap at least every
``LONGEST`` seconds.
"""

import asyncio
import itertools
import traceback
from heapq import heapify, heappop, heappush
from typing import Protocol

from cni_dhcp_daemon import clock
from cni_dhcp_daemon.log import say

LONGEST = 30.0
# The heap is tidied when more entries than this, and more than half of all, have no meaning any more.
_STALE = 64


class Due(Protocol):
    """Something with a deadline."""

    due: float | None

    def wake(self, now: float) -> None:
        """The deadline has come."""


class Timers:
    """The deadlines of everything that is ``Due``."""

    __slots__ = ("_count", "_handle", "_heap", "_loop", "_stale")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Due]] = []
        self._count = itertools.count()
        # how many entries were changed since
        self._stale = 0
        self._handle: asyncio.TimerHandle | None = None

    def set(self, item: Due, due: float | None) -> None:
        """Set the deadline of an item; None: it has none."""
        if due == item.due:
            return
        if item.due is not None:
            self._stale += 1
            self._tidy()
        item.due = due
        if due is None:
            return
        heappush(self._heap, (due, next(self._count), item))
        if self._handle is None or due <= self._heap[0][0]:
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            delay = min(max(0.0, self._heap[0][0] - clock.now()), LONGEST)
            self._handle = self._loop.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._handle, now = None, clock.now()
        try:
            while self._heap and self._heap[0][0] <= now:
                due, _, item = heappop(self._heap)
                if item.due == due:
                    item.due = None
                    self._wake(item, now)
                else:  # it was changed since
                    self._stale -= 1
        finally:
            self._arm()

    def _wake(self, item: Due, now: float) -> None:
        """A fault in one item must not keep the others from being woken. It is tried again."""
        try:
            item.wake(now)
        except Exception as error:
            say("".join(traceback.format_exception(error)).rstrip())
            if item.due is None:
                self.set(item, now + LONGEST)

    def _tidy(self) -> None:
        """Remove entries that were changed, so that they and what they belong to do not accumulate."""
        if self._stale > _STALE and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].due == entry[0]]
            heapify(self._heap)
            self._stale = 0
