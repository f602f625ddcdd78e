"""Operations and their requests.

An operation is a generator that describes one call (ADD, CHECK, DEL …). It never waits: it yields a request, and a
driver serves it. There are two drivers, one that blocks a thread and one for asyncio. So each call is described once.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from libcni._cancellation import Deadline

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Execute:
    """Run a plugin. The driver sends its standard output into the operation, or raises its error there.

    ``cleanup`` is given if the plugin undoes something. It then runs even if the call was cancelled, until this
    deadline instead of the call's.
    """

    path: str
    stdin: bytes
    environ: dict[str, str]
    cleanup: Deadline | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """Call a short function that may wait for a disk. The driver sends its value into the operation."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """Call the caller's own function in the caller's thread or event loop. Under asyncio its value may be awaited."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait. The driver raises ``Locked`` with ``reason`` if the call's time ends first.

    ``cleanup`` says that something is being undone. Neither a cancellation nor the end of the call's time then ends the
    wait.
    """

    seconds: float
    reason: str
    cleanup: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """Run several operations at once. When all have ended, the driver sends a list of their outcomes, in order."""

    operations: Sequence["Operation[Any]"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one of several operations ended. The first one to end has ``order`` 0."""

    value: Any = None
    error: BaseException | None = None
    order: int = 0


Request = Execute | Work | Ask | Pause | Together
Operation = Generator[Request, Any, T]
