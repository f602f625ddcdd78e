"""Waiting for what the kernel or a daemon does in its own time: polling, never one long sleep."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Value = TypeVar("Value")


def eventually(probe: Callable[[], Value], seconds: float = 30.0, interval: float = 0.02) -> Value:
    """What ``probe`` returns once that is true, or its last answer when the time is over.

    The time is for what never comes; it is looked at before the last probe, so that a machine which stood still for a
    while has that probe left.
    """
    end = time.monotonic() + seconds
    while True:
        late = time.monotonic() >= end
        if (value := probe()) or late:
            return value
        time.sleep(interval)


@contextmanager
def interrupted(seconds: int) -> Iterator[None]:
    """What waits for ever in here ends with an error."""

    def ring(number: int, frame: Any) -> None:
        raise AssertionError(f"still there after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
