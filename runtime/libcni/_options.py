"""Options that users of the Go library asked for. The defaults are what Go's library does (docs/runtime.md, "Options")."""

from collections.abc import Callable
from dataclasses import dataclass

from libcni import _log
from libcni._inputs import StrPath, path_of


class IgnoringErrors:
    """A caller's function that is called with a line. Its errors are ignored, so that the call continues."""

    def __init__(self, function: Callable[[str], object]) -> None:
        self._function = function

    def __call__(self, line: str) -> None:
        """Call the function."""
        try:
            self._function(line)
        except Exception:  # noqa: S110
            pass


@dataclass(frozen=True, slots=True)
class Options:
    """How a ``CNIConfig`` behaves. Each option is one field, so there are more than five.

    - ``undo_failed_add``: if an ADD fails, run DEL of the plugins that ran and of the one that failed, in reverse order.
      Errors of these DELs become notes of the ADD's error, and are reported (cni#797, #530). If all are undone, the
      cache file is removed. An attachment that was in the cache before, and whose namespace exists, is not touched.
    - ``undo_timeout``: seconds for everything that one call undoes; ``math.inf`` means no limit. It also applies to a
      Setup that removes what it made, and to a cancelled asyncio task.
    - ``sync_cache``: write a cache file to the disk before ADD returns, so that it survives a power failure (cni#1055,
      #1149). A file is never half written, with or without this option.
    - ``tolerate_damaged_cache``: CHECK and ``get_…_cached_…`` treat a damaged cache file as missing, and report it. (DEL
      always does.)
    - ``delete_with_cached_config``: DEL uses the configuration and the arguments that ADD used, if the cache has them
      (cni#660).
    - ``delete_continues``: DEL of a list runs the other plugins too if one fails, and raises all errors together. The
      cache file stays then, for a later DEL or GC. For callers that do not repeat a DEL.
    - ``record_before_add``: write the cache file, without a result, before ADD runs its first plugin. If this process is
      killed, a later DEL or GC of any process finds what the plugins have made.
    - ``timeout``: seconds for each call that is given no ``timeout`` (cni#550). ``status_timeout``: the same for STATUS.
    - ``lock_folder``: of each attachment only one ADD, CHECK or DEL runs at a time, in all processes with the same
      folder. GC of a network runs alone (cni#563). Calls that begin while a GC waits run after it. A Setup holds the
      locks of all its networks until it ends. Empty: no locks. ``lock_timeout`` limits the wait, in seconds.
    - ``report``: is called with a line about what was repaired, such as a damaged cache file that was removed, and about
      what could not be undone. By default the line is a warning of the logger ``libcni``. Its errors are ignored.
    """

    undo_failed_add: bool = False
    undo_timeout: float = 10.0
    sync_cache: bool = False
    tolerate_damaged_cache: bool = False
    delete_with_cached_config: bool = False
    delete_continues: bool = False
    record_before_add: bool = False
    timeout: float | None = None
    status_timeout: float | None = None
    lock_folder: StrPath = ""
    lock_timeout: float = 90.0
    report: Callable[[str], object] = _log.warning

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock_folder", path_of(self.lock_folder))
