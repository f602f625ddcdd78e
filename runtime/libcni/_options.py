"""What users of the Go library asked for, as options; every default is what Go's does (docs/runtime.md, "Options")."""

from collections.abc import Callable
from dataclasses import dataclass

from libcni import _log
from libcni._inputs import StrPath, path_of


class Guarded:
    """A caller's function that takes a line: what it raises is ignored."""

    def __init__(self, function: Callable[[str], object]) -> None:
        self._function = function

    def __call__(self, line: str) -> None:
        """Hand the line on."""
        try:
            self._function(line)
        except Exception:  # noqa: S110 -- its own affair: the call that it hears about goes on
            pass


@dataclass(frozen=True, slots=True)
class Options:
    """How a ``CNIConfig`` behaves.

    - ``undo_failed_add``: when an ADD fails half-way in a list, DEL goes to the plugins that had run and to the one
      that failed, in reverse; their errors become notes of the ADD's error, and are reported (cni#797, #530). The cache
      forgets what is undone whole. An attachment that was in the cache before, and whose namespace is still there, is
      not touched.
    - ``undo_timeout``: seconds for all that one call undoes, whatever the plugins do; ``math.inf`` is no bound. It also
      holds for a Setup that removes what it made, and for a cancelled asyncio task.
    - ``sync_cache``: a cache file is on the disk before ADD returns, and so outlives a power loss (cni#1055, #1149).
      Whole or not at all it is written in any case.
    - ``tolerate_damaged_cache``: CHECK and ``get_…_cached_…`` take a damaged cache file for none, and report it. (DEL
      always does.)
    - ``delete_with_cached_config``: DEL uses the configuration and the arguments that ADD had used, where the cache has
      them (cni#660).
    - ``timeout``: seconds that a call may take where its caller says none (cni#550); ``status_timeout``: the same for
      STATUS alone.
    - ``lock_folder``: ADD, CHECK and DEL of one attachment exclude each other, in this process and in others with the
      same folder, and GC excludes all of its network (cni#563); who comes while a GC waits is behind it. A Setup holds
      the locks of all its networks to its end. Empty: no lock. ``lock_timeout`` bounds the wait, in seconds.
    - ``report``: takes a line about what was mended silently, such as a damaged cache file that was removed, and about
      what could not be undone. By default it is a warning of the logger ``libcni``. An error that it raises is ignored:
      the call goes on.
    """

    undo_failed_add: bool = False
    undo_timeout: float = 10.0
    sync_cache: bool = False
    tolerate_damaged_cache: bool = False
    delete_with_cached_config: bool = False
    timeout: float | None = None
    status_timeout: float | None = None
    lock_folder: StrPath = ""
    lock_timeout: float = 90.0
    report: Callable[[str], object] = _log.warning

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock_folder", path_of(self.lock_folder))
