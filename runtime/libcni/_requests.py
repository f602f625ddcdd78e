"""What an operation asks of its driver. Operations are generators without waiting of their own (see ``_operations``).

So there is one description of what ADD, CHECK, DEL and the rest do, and two drivers: threads may block in one, an event
loop waits in the other.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from libcni._cancellation import Deadline

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a plugin's file; the answer is its standard output, its failure is raised in the operation.

    ``cleanup`` marks what undoes: it runs also when the call was cancelled, within the time that undoing has of its
    own: the deadline is this execution's share of that time.
    """

    path: str
    stdin: bytes
    environ: dict[str, str]
    cleanup: Deadline | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Something short that may block on a disk; the answer is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """Call a function of the caller's own where the caller is: its thread, its event loop, which also awaits the value."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; raises ``Locked`` with ``reason`` when the call's time is over first.

    ``cleanup`` marks what undoes, which bounds itself: neither a cancellation nor the call's time ends it.
    """

    seconds: float
    reason: str
    cleanup: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """Several operations at once; the answer is a list of ``Outcome`` in their order, once all have ended."""

    operations: Sequence["Operation[Any]"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of several operations ended; ``place`` tells the order in which they ended, from 0."""

    value: Any = None
    error: BaseException | None = None
    place: int = 0


Request = Execute | Work | Ask | Pause | Together
Operation = Generator[Request, Any, T]
