"""Cancelling a call from another thread, and the time limits of a call."""

import math
import os
import select
from dataclasses import dataclass
from time import monotonic
from types import TracebackType

# The longest single wait, in seconds. The kernel counts milliseconds in 31 bits.
_LONGEST = 1e6
_UNDOING = "undoing's"


def milliseconds(seconds: float) -> int:
    """Seconds as a timeout for poll(2). It is rounded up, because poll(2) would otherwise return too early."""
    return int(min(max(seconds, 0.0), _LONGEST) * 1000) + 1


class Cancellation:
    """Cancels calls from another thread. One object may be given to several calls.

    It holds a file descriptor, which ``close`` or the end of a ``with`` block closes.
    """

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._cancelled = False

    def cancel(self) -> None:
        """Cancel the calls that were given this object. Their plugins are killed, and they raise ``CallCancelled``."""
        self._cancelled = True
        os.eventfd_write(self._event, 1)

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for ``cancel``, and return whether it was called."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(milliseconds(seconds)))

    def fileno(self) -> int:
        """A descriptor that becomes readable when ``cancel`` is called."""
        return self._event

    def close(self) -> None:
        """Close the descriptor. No call may use the object after that."""
        os.close(self._event)

    def __enter__(self) -> "Cancellation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Linked(Cancellation):
    """A cancellation that is also cancelled when ``other`` is."""

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
        """Whether ``cancel`` was called on either of them."""
        return self._cancelled or (self._other is not None and self._other.cancelled)

    def fileno(self) -> int:
        """A descriptor that becomes readable when either of them is cancelled."""
        return self._either.fileno()

    def close(self) -> None:
        """Close this object's descriptors, but not those of ``other``."""
        self._either.close()
        super().close()


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time at which a call must have ended.

    ``seconds`` is the timeout that the caller gave. None and infinity mean no limit. ``of`` says in messages whose
    timeout it is.
    """

    seconds: float | None = None
    moment: float | None = None
    of: str = "the call's"

    @classmethod
    def after(cls, seconds: float | None, of: str = "the call's") -> "Deadline":
        """The deadline that is ``seconds`` from now."""
        return cls(seconds, None if seconds in (None, math.inf) else monotonic() + seconds, of)

    @property
    def left(self) -> float | None:
        """The seconds that are left, at least 0; None if there is no limit."""
        return None if self.moment is None else max(0.0, self.moment - monotonic())


class UndoTime:
    """The time that one call has to undo what it made. It begins when the object is made.

    Each plugin gets an equal share of the time that is left, so a plugin that hangs does not use up all of it.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds`` is for all plugins together; infinity means no limit."""
        self._whole = Deadline.after(seconds, _UNDOING)

    @property
    def left(self) -> float | None:
        """The seconds that are left; None if there is no limit."""
        return self._whole.left

    def share(self, count: int) -> Deadline:
        """The deadline of the next plugin, if ``count`` plugins are still to run."""
        left = self._whole.left
        return self._whole if not left or count < 2 else Deadline.after(round(left / count, 3), _UNDOING)
