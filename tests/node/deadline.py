"""Waiting for what the kernel or a daemon does in its own time: polling, never one long sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(probe: Callable[[], Value], seconds: float = 5.0, interval: float = 0.02) -> Value:
    """What ``probe`` returns once that is true, or its last answer when the time is over."""
    end = time.monotonic() + seconds
    while not (value := probe()) and time.monotonic() < end:
        time.sleep(interval)
    return value
