"""The last good version of each configuration file: it stays in use while the file is bad.

An editor truncates a file before it writes it, a copy is half there for a moment, somebody makes a mistake. None of
that may unload a network whose pods run.
"""

import os
from collections.abc import Callable, Iterable

from libcni._errors import LibcniError
from libcni._model import NetworkConfigList


class LastGood:
    """Reads files, and keeps what was good of each; several threads may share one."""

    def __init__(self) -> None:
        self._good: dict[str, NetworkConfigList] = {}

    def read(
        self, file: str, load: Callable[[str], NetworkConfigList]
    ) -> tuple[NetworkConfigList | None, LibcniError | None]:
        """The file's configuration; or its last good version (None: there is none), and the error.

        A file that is gone has no last good version: it was removed. A link is there, also where its target is not.
        """
        try:
            self._good[file] = found = load(file)
        except LibcniError as error:
            if not os.path.lexists(file):
                self._good.pop(file, None)
            return self._good.get(file), error
        return found, None

    def forget_others(self, folders: Iterable[str], files: Iterable[str]) -> None:
        """Forget what was in these folders and is not among these files: a removed file does not come back."""
        places = {os.path.dirname(os.path.join(folder, "file")) for folder in folders}  # /x for /x/ too, as in files
        gone = [file for file in list(self._good) if os.path.dirname(file) in places]
        for file in set(gone) - set(files):
            self._good.pop(file, None)
