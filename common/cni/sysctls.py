"""Sysctls of the container's network namespace as an effect; the original values can be restored."""

from cni.errors import CheckFailed, Step
from cni.plan import Effect, Kind, all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cni.plan import Differ
    from cni.saved import Saved

# Our key in a file of saved values, next to those of Go's tuning.
_SAVED = "sysctl"


class Sysctls(Effect[None], Kind):
    """Values of sysctls, written in order. Keys are paths below /proc/sys, such as ``net/ipv4/conf/eth0/arp_notify``."""

    values: "Mapping[str, str]"
    # the original values are kept there, and ``remove`` restores them
    saved: "Saved | None" = None
    noun = "sysctls"
    repairable = True

    def make(self) -> None:
        """Save the original values, then write. Raises ``CNIError`` naming the sysctl."""
        with self.site.container as namespace:
            before = {path: self._read(path) for path in self.values}
            if self.saved is not None:
                old = self.saved.values(namespace.identity).get(_SAVED)
                self.saved.keep({_SAVED: {**before, **(old if isinstance(old, dict) else {})}}, namespace.identity)
            for path, value in self.values.items():
                if before[path] != value:
                    self._write(path, value)

    def compare(self, differ: "Differ") -> None:
        """Each sysctl has its value; tabs and blanks between numbers count as equal."""
        with self.site.container:
            for path, value in self.values.items():
                found = self._read(path)
                if found.split() != value.split():
                    differ(CheckFailed(f"sysctl {path} is {found}, configured is {value}", f"in {self.site.netns}"))

    def remove(self) -> None:
        """Restore the saved values, if the namespace still exists."""
        namespace = self.site.remaining
        if self.saved is None or namespace is None:
            return
        old = self.saved.values(namespace.identity).get(_SAVED)
        if isinstance(old, dict):
            with namespace:
                all_of(self._writer(path, str(value)) for path, value in old.items())

    def _read(self, path: str) -> str:
        with Step(f"failed to read sysctl {path}", "the kernel of this node may not have it"):
            return self.site.sysctls.read(path)

    def _writer(self, path: str, value: str) -> "Callable[[], None]":
        return lambda: self._write(path, value)

    def _write(self, path: str, value: str) -> None:
        with Step(f"failed to set sysctl {path} to {value!r}", "it may be read-only"):
            self.site.sysctls.write(path, value)

    def describe(self) -> str:
        """The ``sysctl`` commands for it."""
        return "\n".join(f"sysctl -w {path}={value}" for path, value in self.values.items())
