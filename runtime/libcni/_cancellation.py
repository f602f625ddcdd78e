"""A caller's way to end a call from another thread, and the time that a call may take."""

import math
import os
import select
from dataclasses import dataclass
from time import monotonic
from types import TracebackType

# The longest wait that is asked of the kernel at once: it counts milliseconds in 31 bits.
_LONGEST = 1e6
_UNDOING = "undoing's"


def milliseconds(seconds: float) -> int:
    """A wait for poll(2), rounded up: rounded down, the last millisecond would be spent spinning."""
    return int(min(max(seconds, 0.0), _LONGEST) * 1000) + 1


class Cancellation:
    """A switch that one thread turns and the calls of others see at once; usable for several calls.

    As a context it gives its descriptor back at the end.
    """

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._cancelled = False

    def cancel(self) -> None:
        """End the calls that have this switch: their plugins are killed, ``CallCancelled`` is raised there."""
        self._cancelled = True
        os.eventfd_write(self._event, 1)

    @property
    def cancelled(self) -> bool:
        """Whether it was turned."""
        return self._cancelled

    def wait(self, seconds: float) -> bool:
        """Whether it is turned within ``seconds``."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(milliseconds(seconds)))

    def fileno(self) -> int:
        """A descriptor that is readable once it was turned."""
        return self._event

    def close(self) -> None:
        """Give the descriptor back; no call may use the switch any more."""
        os.close(self._event)

    def __enter__(self) -> "Cancellation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Linked(Cancellation):
    """A switch that is also turned when another one is, if there is one."""

    def __init__(self, other: Cancellation | None) -> None:
        self._other = other
        self._either = select.epoll()
        try:
            super().__init__()
        except BaseException:
            self._either.close()
            raise
        self._either.register(self._event, select.EPOLLIN)
        if other is not None:
            self._either.register(other.fileno(), select.EPOLLIN)

    @property
    def cancelled(self) -> bool:
        """Whether either was turned."""
        return self._cancelled or (self._other is not None and self._other.cancelled)

    def fileno(self) -> int:
        """A descriptor that is readable once either was turned."""
        return self._either.fileno()

    def close(self) -> None:
        """Give the own descriptors back."""
        self._either.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment at which a call must be over; ``seconds`` is what the caller had said, ``of`` whose time it is.

    None and infinity are no bound.
    """

    seconds: float | None = None
    moment: float | None = None
    of: str = "the call's"

    @classmethod
    def after(cls, seconds: float | None, of: str = "the call's") -> "Deadline":
        """The deadline that many seconds from now."""
        return cls(seconds, None if seconds in (None, math.inf) else monotonic() + seconds, of)

    @property
    def left(self) -> float | None:
        """The seconds that are left, not below 0; None for no bound."""
        return None if self.moment is None else max(0.0, self.moment - monotonic())


class UndoTime:
    """The time in which one call may undo what it made; it begins now.

    Each execution gets an equal share of the time that remains, so that one plugin that hangs does not use up all of it.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds``: for all of it; infinity is no bound."""
        self._whole = Deadline.after(seconds, _UNDOING)

    @property
    def left(self) -> float | None:
        """The seconds that are left; None for no bound."""
        return self._whole.left

    def share(self, count: int) -> Deadline:
        """The deadline of the next one of ``count`` executions that are still to come."""
        left = self._whole.left
        return self._whole if not left or count < 2 else Deadline.after(round(left / count, 3), _UNDOING)
