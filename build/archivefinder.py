"""Modules straight out of the archive, each read once, from one open file.

zipimport reads and unmarshals every module twice (building its spec asks for the file's name, and that needs the code),
and opens the file for each time: half of what importing costs. This finder takes the directory that zipimport has read
already, and serves what has a pyc for this Python; everything else is left to zipimport, which stands behind it.
"""

import marshal
import posix
import sys
import zipimport
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

# A pyc's header, and the flags in it of one that is never checked against its source (PEP 552).
_HEADER, _UNCHECKED = 16, b"\x01\x00\x00\x00"
# A local header's fixed part, which ends in the lengths of the name and of the extra field (APPNOTE 4.3.7).
_LOCAL = 30


class ArchiveFinder:
    """Finder and loader for one archive."""

    def __init__(self, path: str, file: int) -> None:
        """``path`` is absolute, and its directory has been read by zipimport; ``file`` is its descriptor."""
        self.archive = path
        self._entries: dict[str, Any] = zipimport._zip_directory_cache[path]  # type: ignore[attr-defined]
        self._file = file

    def _read(self, name: str) -> "tuple[str, bool, CodeType] | None":
        """The directory's entry for a module, whether it is a package, and its code; None where zipimport must do."""
        base = name.replace(".", "/")
        entry, package = self._entries.get(base + ".pyc"), False
        if entry is None:
            entry, package = self._entries.get(base + "/__init__.pyc"), True
        if entry is None:
            return None
        size, offset = entry[2], entry[4]
        header = posix.pread(self._file, _LOCAL, offset)
        names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        data = posix.pread(self._file, size, offset + _LOCAL + names)
        # whatever it is: compressed, for another Python, or to be checked
        if data[:8] != MAGIC_NUMBER + _UNCHECKED or len(data) != size:
            return None
        return entry[0], package, marshal.loads(memoryview(data)[_HEADER:])  # noqa: S302

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: object = None) -> "ModuleSpec | None":  # noqa: ARG002
        """The module's spec, by its full name; ``path`` tells packages of other places, which are left alone."""
        if path is not None and not any(folder.startswith(self.archive) for folder in path):
            return None
        found = self._read(name)
        if found is None:
            return None
        origin, package, code = found
        loader: Any = self
        spec = ModuleSpec(name, loader, origin=origin, loader_state=code, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [self.archive + "/" + name.replace(".", "/")]
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: a module like any other."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run its code, which was read when it was found."""
        spec: Any = module.__spec__
        code, spec.loader_state = spec.loader_state, None
        exec(code, module.__dict__)  # noqa: S102

    def get_code(self, name: str) -> "CodeType | None":
        """The code of a module that this finder found."""
        found = self._read(name)
        return found and found[2]

    def get_source(self, name: str) -> "str | None":
        """The source of a module, for tracebacks."""
        parent = name.rpartition(".")[0].replace(".", "/")
        return zipimport.zipimporter(self.archive + ("/" + parent if parent else "")).get_source(name)


def install(path: str) -> None:
    """Put a finder for the archive at ``path`` first."""
    try:
        file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        if file > 2:
            sys.meta_path.insert(0, ArchiveFinder(path, file))
            return
        posix.close(file)  # a standard stream that is closed must stay so
    except (KeyError, OSError):
        pass
