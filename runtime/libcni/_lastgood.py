"""The last good version of each configuration file. It stays in use while the file is bad.

A file is bad for a moment while an editor writes it or while it is copied, and for longer if somebody makes a mistake.
A network whose pods run must stay loaded.
"""

import os
from collections.abc import Callable, Iterable

from libcni._errors import LibcniError
from libcni._model import NetworkConfigList


class LastGood:
    """Reads files and remembers the last good version of each. Threads may share one object."""

    def __init__(self) -> None:
        self._good: dict[str, NetworkConfigList] = {}

    def read(
        self, file: str, load: Callable[[str], NetworkConfigList]
    ) -> tuple[NetworkConfigList | None, LibcniError | None]:
        """Return the file's configuration and None. If the file is bad: its last good version or None, and the error.

        A file that was removed has no last good version. A link whose target is missing is a bad file, not a removed
        one.
        """
        try:
            self._good[file] = found = load(file)
        except LibcniError as error:
            if not os.path.lexists(file):
                self._good.pop(file, None)
            return self._good.get(file), error
        return found, None

    def forget_others(self, folders: Iterable[str], files: Iterable[str]) -> None:
        """Forget the files of these folders that are not among ``files``: they were removed."""
        parents = {os.path.dirname(os.path.join(folder, "file")) for folder in folders}  # "/x/" becomes "/x"
        known = {file for file in list(self._good) if os.path.dirname(file) in parents}
        for file in known - set(files):
            self._good.pop(file, None)
