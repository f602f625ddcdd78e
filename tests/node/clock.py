"""Time that only sleeping moves, for what waits by ``cni.patience``."""

import pytest

from cni import patience


class Clock:
    """Time passes while somebody sleeps."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        patch.setattr(patience, "monotonic", lambda: self.now)
        patch.setattr(patience, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        """What sleeps goes on at once, and the time has passed."""
        assert seconds > 0
        self.pauses.append(seconds)
        self.now += seconds
