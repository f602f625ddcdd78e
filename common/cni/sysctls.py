"""Sysctls of the container's network namespace as an effect; the original values can be restored."""

from errno import EACCES, EINVAL, EPERM, EROFS

from cni.errors import CheckFailed, InvalidConfig, Step
from cni.plan import Differ, Effect, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cni.saved import Saved

# Our key in a file of saved values, next to those of Go's tuning.
_SAVED = "sysctl"
# The folders that hold one folder for each interface.
_OF_INTERFACES = (["conf"], ["neigh"])
_REMEDIES = {
    EINVAL: "the kernel does not take this value", EACCES: "it is read-only", EPERM: "it is read-only",
    EROFS: "/proc/sys is read-only",
}  # fmt: skip


def path_of(name: str, ifname: str) -> str:
    """The path of a sysctl of the network below /proc/sys; ``IFNAME`` in its name stands for ``ifname``.

    Dots and slashes separate. An interface's name may have dots. Raises ``InvalidConfig``.
    """
    parts = [part for part in name.replace(".", "/").split("/") if part]
    place = next((place for place, part in enumerate(parts) if "IFNAME" in part), None)
    if place is not None:
        parts[place] = parts[place].replace("IFNAME", ifname, 1)
    if parts[2:3] in _OF_INTERFACES and len(parts) > 5:
        parts[3:-1] = [".".join(parts[3:-1])]
    path = "/".join(parts)
    if not _is_of_network(path):
        raise InvalidConfig(f'invalid net sysctl key: "{path}"', f'key "{name}" of sysctl must begin with net')
    return path


def _is_of_network(path: str) -> bool:
    return path.startswith("net/") and "\0" not in path and ".." not in path.split("/")


class Sysctls(Effect[None], Kind):
    """Values of sysctls, written in order. Keys are paths below /proc/sys, such as ``net/ipv4/conf/eth0/arp_notify``."""

    values: "Mapping[str, str]"
    # the original values are kept there, and ``remove`` restores them
    saved: "Saved | None" = None
    # what this ADD has changed
    before: "dict[str, str] | None" = None
    noun = "sysctls"
    repairable = True

    def make(self) -> None:
        """Save the original values, then write. Raises ``CNIError`` naming the sysctl."""
        self.before = {}
        with self.site.container as namespace:
            # some can only be written: they have no value to restore
            before = {path: found for path in self.values if (found := self._read(path)) is not None}
            if self.saved is not None:
                # an attachment before this one may have changed them
                others = self.saved.beside(_SAVED, namespace.identity)
                originals = {path: others.get(path, value) for path, value in before.items()}
                self.saved.keep({_SAVED: originals}, namespace.identity)
            for path, value in self.values.items():
                if path in before:
                    self.before[path] = before[path]
                if self._read(path) != value:  # one written before may have changed it
                    self._write(path, value)

    def compare(self, differ: "Differ") -> None:
        """Each sysctl has its value; tabs and blanks between numbers count as equal."""
        with self.site.container:
            for path, value in self.values.items():
                found = self._read(path)
                if found is not None and found.split() != value.split():
                    text = f"Error: Tuning configured value of /proc/sys/{path} is {value}, current value is {found}"
                    differ(CheckFailed(text, f"in {self.site.netns}"))

    def remove(self) -> None:
        """Restore what this ADD has changed; for DEL, what is saved, and what no other attachment of the container needs.

        The namespace may be gone.
        """
        namespace = self.site.remaining
        if self.saved is None or namespace is None:
            return
        undo, old = self.before is not None, self.before
        if old is None:
            old = self.saved.restorable(namespace, self.site.say).get(_SAVED)
            if isinstance(old, dict):
                others = self.saved.beside(_SAVED, namespace.identity)
                old = {path: value for path, value in old.items() if path not in others}
        if old and isinstance(old, dict):
            from cni.saved import restore

            values = {path: str(old[path]) for path in reversed(old) if _is_of_network(path)}
            with namespace:
                for path, value in values.items():
                    self.site.sysctls.attempt(path, value)
                # those of `all` have changed others, in any order
                restore(self.site, values, self.site.sysctls.ensure, undo)

    def _read(self, path: str) -> "str | None":
        """The value, None if it cannot be read; raises ``CNIError`` without such a sysctl."""
        with Step(f"failed to read sysctl {path}", "the kernel of this node may not have it"):
            try:
                return self.site.sysctls.read(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise
            except OSError:
                return None

    def _write(self, path: str, value: str) -> None:
        with Step(f"failed to set sysctl {path} to {value!r}", _REMEDIES):
            self.site.sysctls.write(path, value)

    def describe(self) -> str:
        """The ``sysctl`` commands for it."""
        return "\n".join(f"sysctl -w {path}={value}" for path, value in self.values.items())
