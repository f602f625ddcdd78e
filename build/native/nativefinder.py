"""Import modules from the native file. It takes the place of the single file's module with the same name.

The launcher (launcher.c) has mapped the file and read its directory. Nothing else is searched: no other module of Python's
library is in this process.
"""

import sys
from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec

import _pycni  # type: ignore[import-not-found]  # the launcher's own module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any

WORDS: "tuple[str, ...]" = _pycni.words


class ArchiveFinder:
    """Finder and loader for the archive of this file."""

    def __init__(self, path: str) -> None:
        self.archive = path

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: object = None) -> "ModuleSpec | None":  # noqa: ARG002
        """The spec of a module, by its full name."""
        found = _pycni.find(name)
        if found is None:
            return None
        code, package = found
        loader: Any = self
        place = self.archive + "/" + name.replace(".", "/")
        origin = place + "/__init__.pyc" if package else place + ".pyc"
        spec = ModuleSpec(name, loader, origin=origin, loader_state=code, is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [place]
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
        found = _pycni.find(name)
        return None if found is None else found[0]

    def get_source(self, name: str) -> None:
        """No source is in the file: tracebacks have lines without their text."""


def entries(path: str) -> "list[str]":  # noqa: ARG001
    """The names of the archive's entries."""
    return _pycni.entries()  # type: ignore[no-any-return]


def install(path: str) -> None:
    """Change the path of the file, which is absolute now."""
    sys.meta_path[0].archive = path  # type: ignore[attr-defined]


def take_over() -> None:
    """Import from this file only. The launcher calls this before it imports anything else."""
    finder: Any = ArchiveFinder(sys.path[0])
    sys.meta_path[:] = [finder, BuiltinImporter, FrozenImporter]
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
