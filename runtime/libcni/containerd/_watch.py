"""A watcher that loads again when the configuration folder changes, as containerd does beside its Go library.

A file that is moved in from another folder is noticed too, which containerd misses (its `cni_conf_syncer.go`); several
changes within a short time are one.
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

# Seconds without a further change after which the folder is read, and after which it is read in any case.
_QUIET, _LONGEST = 0.05, 1.0


def _unheard(_: LibcniError | None) -> None:
    """Nobody listens."""


class Loadable(Protocol):
    """What is loaded: either form of containerd's interface."""

    def load(self, *opts: Opt) -> Sequence[LibcniError] | None:
        """Load; the answer is the errors of files that were bad, if it says so."""
        ...


class Watcher:
    """Loads ``target`` with ``opts`` now and at every change of ``folders``, until closed.

    Files count as changed with what they link to, plugins in the folder of a network's name, and mounts over them.
    The first load runs in the thread that makes the watcher, every other one in a thread of its own; ``on_load`` is
    called in the same, after each load, and when the kernel has no watch for a folder that came later. What it raises
    becomes ``last_error``. ``last_error`` is the last load's error, None if it succeeded; ``skipped`` the errors of
    files that were bad then (see ``with_bad_files_skipped``); ``loads`` counts loads. As a context it closes itself.
    Raises ``LoadFailed`` when the kernel has no more watches, or no thread or descriptor, to give.
    """

    def __init__(
        self,
        target: Loadable,
        folders: Folders,
        *opts: Opt,
        on_load: Callable[[LibcniError | None], object] = _unheard,
    ) -> None:
        self._target = target
        self._opts = opts
        self._on_load = on_load
        try:
            self._folders = _inotify.Folders(folders_of(folders))
        except (OSError, ValueError) as error:
            raise LoadFailed(f"the configuration folder cannot be watched: {error}") from error
        try:
            self._stop = Cancellation()
        except OSError as error:
            self._folders.close()
            raise LoadFailed(f"the configuration folder cannot be watched: {error}") from error
        self.last_error: LibcniError | None = None
        self.skipped: Sequence[LibcniError] = ()
        self.loads = 0
        try:
            self._load()
        except BaseException:
            self._give_back()
            raise
        self._thread = threading.Thread(target=self._watch, name="cni-watch", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._give_back()
            raise LoadFailed(f"the configuration folder cannot be watched: {error}") from error

    def _load(self) -> None:
        error: LibcniError | None = None
        try:
            self.skipped = tuple(self._target.load(*self._opts) or ())
        except LibcniError as failed:
            self.skipped, error = (), failed
        self.loads += 1
        if error is None:
            _log.info("configuration loaded; bad files: %d", len(self.skipped))
        self._tell(error)

    def _load_again(self) -> None:
        """A load by the thread, which goes on whatever a target or an option of the caller's own raises."""
        try:
            self._load()
        except Exception as raised:
            failed = LoadFailed(f"a load failed: {type(raised).__name__}: {raised}")
            failed.__cause__ = raised
            self.skipped = ()
            self.loads += 1
            self._tell(failed)

    def _tell(self, error: LibcniError | None) -> None:
        self.last_error = error
        if error is not None:
            _log.warning(str(error))
        try:
            self._on_load(error)
        except Exception as raised:  # it must not end the thread
            told = LoadFailed(f"who was told of a load failed: {type(raised).__name__}: {raised}")
            told.__cause__ = raised
            self.last_error = told
            _log.warning(str(told))

    def _watch(self) -> None:
        try:
            while not self._stop.cancelled:
                self._folders.wait(None, self._stop.fileno())
                if self._stop.cancelled or not self._folders.changed():
                    continue
                self._settle()
                self._load_again()
        except OSError as failed:
            self._tell(LoadFailed(f"the configuration folder is not watched any more: {failed}"))

    def _settle(self) -> None:
        """Wait until nothing changes any more; a file that is always written does not hold up the others."""
        end = monotonic() + _LONGEST
        while (left := end - monotonic()) > 0 and self._folders.wait(min(_QUIET, left), self._stop.fileno()):
            if self._stop.cancelled:
                return
            self._folders.changed()

    def close(self) -> None:
        """End the thread and give all descriptors back."""
        self._stop.cancel()
        self._thread.join()
        self._give_back()

    def _give_back(self) -> None:
        self._folders.close()
        self._stop.close()

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
