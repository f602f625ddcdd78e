"""Why there is no lease yet, for people."""

_MOST = 8


class Trouble:
    """Reasons in the order in which they came first, each with its number; few, whatever servers send."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def add(self, reason: str) -> bool:
        """Count a reason, and say whether it is a new one."""
        new = reason not in self._times
        if new and len(self._times) == _MOST:
            return False
        self._times[reason] = self._times.get(reason, 0) + 1
        return new

    @property
    def text(self) -> str:
        """All reasons as one text."""
        return "; ".join(f"{reason} ({times} times)" if times > 1 else reason for reason, times in self._times.items())
