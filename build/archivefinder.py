"""Import modules from the archive. The file is opened once, and each module is read once.

zipimport opens the file, reads and unmarshals each module twice: to build its spec, and to execute it. This is half of
the time of an import. This finder uses the directory that zipimport has already read, and imports modules that have a
pyc for this Python. zipimport comes after it, and imports all others.
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

# The words between the file and the program's own arguments; only the native file has some.
WORDS: "tuple[str, ...]" = ()
# The size of a pyc's header, and its flags if it is never checked against its source (PEP 552).
_HEADER, _UNCHECKED = 16, b"\x01\x00\x00\x00"
# The size of a local header's fixed part. It ends with the lengths of the name and of the extra field (APPNOTE 4.3.7).
_LOCAL = 30


class ArchiveFinder:
    """Finder and loader for one archive."""

    def __init__(self, path: str, file: int) -> None:
        """``path`` is absolute, and zipimport has read its directory. ``file`` is its descriptor."""
        self.archive = path
        self._entries: dict[str, Any] = zipimport._zip_directory_cache[path]  # type: ignore[attr-defined]
        self._file = file

    def _read(self, name: str) -> "tuple[str, bool, CodeType] | None":
        """The path of a module, whether it is a package, and its code. None if zipimport must import it."""
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
        # A pyc that is compressed, for another Python, or to be checked against its source.
        if data[:8] != MAGIC_NUMBER + _UNCHECKED or len(data) != size:
            return None
        return entry[0], package, marshal.loads(memoryview(data)[_HEADER:])  # noqa: S302

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: object = None) -> "ModuleSpec | None":  # noqa: ARG002
        """The spec of a module, by its full name. ``path`` is that of its package, which may be elsewhere."""
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
        """Use the default module object."""

    def exec_module(self, module: "ModuleType") -> None:
        """Execute the module's code, which ``find_spec`` has read."""
        spec: Any = module.__spec__
        code, spec.loader_state = spec.loader_state, None
        exec(code, module.__dict__)  # noqa: S102

    def get_code(self, name: str) -> "CodeType | None":
        """The code of a module in the archive."""
        found = self._read(name)
        return found and found[2]

    def get_source(self, name: str) -> "str | None":
        """The source of a module, for tracebacks."""
        parent = name.rpartition(".")[0].replace(".", "/")
        return zipimport.zipimporter(self.archive + ("/" + parent if parent else "")).get_source(name)


def entries(path: str) -> "list[str]":
    """The names of the archive's entries. The archive has been imported from."""
    return sorted(zipimport._zip_directory_cache[path])  # type: ignore[attr-defined]  # as pkgutil does


def install(path: str) -> None:
    """Make a finder for the archive at ``path`` the first one."""
    try:
        file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        if file > 2:
            sys.meta_path.insert(0, ArchiveFinder(path, file))
            return
        posix.close(file)  # a standard stream is closed, and its number must stay free
    except (KeyError, OSError):
        pass
