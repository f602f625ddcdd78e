"""Load the configurations again when their folder changes, as containerd's own watcher does (`cni_conf_syncer.go`).

A file that is moved in from another folder is noticed too; containerd misses it. Several changes within a short time
cause one load.
"""

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Protocol

from libcni import _log
from libcni._cancellation import Cancellation
from libcni._errors import LibcniError
from libcni._inputs import Folders, folders_of
from libcni.containerd import _inotify
from libcni.containerd._errors import LoadFailed
from libcni.containerd._settings import Opt

# The folder is read after so many seconds without another change, but at the latest after so many seconds.
_QUIET, _LONGEST = 0.05, 1.0


def _ignore(_: LibcniError | None) -> None:
    """Do nothing after a load."""


def _cannot_watch(error: Exception) -> LoadFailed:
    return LoadFailed(f"the configuration folder cannot be watched: {error}")


class Loadable(Protocol):
    """A ``Containerd``, an ``AsyncContainerd``, or another object with ``load``."""

    def load(self, *opts: Opt) -> Sequence[LibcniError] | None:
        """Load the networks. Return the errors of bad files, or None."""
        ...


class Watcher:
    """Loads ``target`` with ``opts`` now, and after every change of ``folders``, until it is closed.

    Changes include those of link targets, of a network's plugins in the folder with its name, and mounts over any of
    these. ``folders`` may be one folder.

    The first load runs in the thread that makes the watcher, and every other load in the watcher's own thread.
    ``on_load`` is called after each load in the same thread, with its error or None. It is also called if the kernel has
    no more watches for a new folder. An error that it raises becomes ``last_error``.

    ``last_error`` is the error of the last load, or None. ``skipped`` has the errors of its bad files (see
    ``with_bad_files_skipped``). ``loads`` counts the loads. A ``with`` block closes the watcher at its end.

    Raises ``LoadFailed`` if there are no more watches, threads or file descriptors.
    """

    def __init__(
        self,
        target: Loadable,
        folders: Folders,
        *opts: Opt,
        on_load: Callable[[LibcniError | None], object] = _ignore,
    ) -> None:
        self._target = target
        self._opts = opts
        self._on_load = on_load
        try:
            self._folders = _inotify.Folders(folders_of(folders))
        except (OSError, ValueError) as error:
            raise _cannot_watch(error) from error
        try:
            self._stop = Cancellation()
        except OSError as error:
            self._folders.close()
            raise _cannot_watch(error) from error
        self.last_error: LibcniError | None = None
        self.skipped: Sequence[LibcniError] = ()
        self.loads = 0
        try:
            self._load()
        except BaseException:
            self._close_descriptors()
            raise
        self._thread = threading.Thread(target=self._watch, name="cni-watch", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._close_descriptors()
            raise _cannot_watch(error) from error

    def _load(self) -> None:
        error: LibcniError | None = None
        try:
            self.skipped = tuple(self._target.load(*self._opts) or ())
        except LibcniError as failed:
            self.skipped, error = (), failed
        self.loads += 1
        if error is None:
            _log.info("configuration loaded; bad files: %d", len(self.skipped))
        self._finish_load(error)

    def _load_again(self) -> None:
        """Load in the watcher's thread. An error of the caller's target or options does not end the thread."""
        try:
            self._load()
        except Exception as raised:
            failed = LoadFailed(f"a load failed: {type(raised).__name__}: {raised}")
            failed.__cause__ = raised
            self.skipped = ()
            self.loads += 1
            self._finish_load(failed)

    def _finish_load(self, error: LibcniError | None) -> None:
        self.last_error = error
        if error is not None:
            _log.warning(str(error))
        try:
            self._on_load(error)
        except Exception as raised:  # it must not end the thread
            failed = LoadFailed(f"on_load failed: {type(raised).__name__}: {raised}")
            failed.__cause__ = raised
            self.last_error = failed
            _log.warning(str(failed))

    def _watch(self) -> None:
        try:
            while not self._stop.cancelled:
                self._folders.wait(None, self._stop.fileno())
                if self._stop.cancelled or not self._folders.changed():
                    continue
                self._settle()
                self._load_again()
        except OSError as failed:
            self._finish_load(LoadFailed(f"the configuration folder is not watched any more: {failed}"))

    def _settle(self) -> None:
        """Wait until there are no more changes, but not longer than ``_LONGEST`` seconds."""
        end = monotonic() + _LONGEST
        while (left := end - monotonic()) > 0 and self._folders.wait(min(_QUIET, left), self._stop.fileno()):
            if self._stop.cancelled:
                return
            self._folders.changed()

    def close(self) -> None:
        """End the thread and close all descriptors."""
        self._stop.cancel()
        self._thread.join()
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._folders.close()
        self._stop.close()

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
