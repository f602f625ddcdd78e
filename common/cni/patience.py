"""Waiting with a time limit where there is no descriptor to poll: a lock, the end of a process, a link coming up."""

from time import monotonic, sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def attempts(seconds: float, first: float = 0.0005, longest: float = 0.02) -> "Iterator[None]":
    """Yield for each attempt, with growing pauses: the first at once, the last after ``seconds``.

    If the loop ends, the time ran out.
    """
    deadline, pause = monotonic() + seconds, first
    yield
    while (left := deadline - monotonic()) > 0:
        sleep(min(pause, left))
        yield
        pause = min(pause * 1.5, longest)
