"""Waiting, with a bound, for what gives no descriptor to poll: a lock, the end of a process, a link that comes up."""

from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def attempts(seconds: float, first: float = 0.0005, longest: float = 0.02) -> "Iterator[None]":
    """One round for each attempt: the first at once, the last when ``seconds`` are over, with growing pauses between.

    Who falls out of the loop has waited in vain.
    """
    deadline, pause = monotonic() + seconds, first
    yield
    while (left := deadline - monotonic()) > 0:
        sleep(min(pause, left))
        yield
        pause = min(pause * 1.5, longest)
