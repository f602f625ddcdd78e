"""An error in one effect of a call. An observer, which the executor calls before and after each effect, raises it."""

import contextlib
from collections.abc import Iterator
from typing import Any

from cni.errors import CNIError


class Injected(CNIError):
    """The error that a test raises in an effect."""

    def __init__(self) -> None:
        super().__init__("put there by a test")


class Fault:
    """An observer: the deed number ``number`` fails, after it was done where ``late``.

    ``where`` names it once it was reached. The method of the effect's class is replaced for that one call.
    """

    def __init__(self, deed: str, number: int, *, late: bool) -> None:
        self.deed, self.number, self.late = deed, number, late
        self.where = ""
        self._seen = 0
        self._undo: list[Any] = []

    def __call__(self, deed: str, effect: Any, moment: str) -> None:
        """Told before and after each deed."""
        if deed != self.deed or moment != "before":
            return
        if self._seen == self.number:
            self._put(effect)
        self._seen += 1

    def _put(self, effect: Any) -> None:
        kind = type(effect)
        self.where = f"{self.deed} {kind.__name__}, {'after' if self.late else 'before'}"
        mine, real = kind.__dict__.get(self.deed), getattr(kind, self.deed)

        def restore() -> None:
            if mine is None:
                delattr(kind, self.deed)
            else:
                setattr(kind, self.deed, mine)

        def failing(this: Any, *arguments: Any) -> Any:
            if this is not effect:
                return real(this, *arguments)
            restore()
            self._undo.clear()
            if self.late:
                real(this, *arguments)
            raise Injected

        setattr(kind, self.deed, failing)
        self._undo.append(restore)

    def end(self) -> None:
        """Put the method back, in case that it was not called."""
        for restore in self._undo:
            restore()


@contextlib.contextmanager
def fault(deed: str, number: int, *, late: bool) -> Iterator[Fault]:
    """Such an observer, for one call."""
    found = Fault(deed, number, late=late)
    try:
        yield found
    finally:
        found.end()
