"""What an operation asks of its driver. Operations are generators without waiting of their own (see ``operations``).

So there is one description of what ADD, CHECK, DEL and the rest do, and two drivers: threads may block in one, an event
loop waits in the other.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a plugin's file; the answer is its standard output, its failure is raised in the operation.

    ``cleanup`` marks what undoes: it runs also when the call was cancelled, with the call's time anew.
    """

    path: str
    stdin: bytes
    environ: dict[str, str]
    cleanup: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Something short that may block on a disk; the answer is what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; raises ``Locked`` with ``reason`` when the call's time is over first."""

    seconds: float
    reason: str


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


Request = Execute | Work | Pause | Together
Operation = Generator[Request, Any, T]
