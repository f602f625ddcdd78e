"""Importing single modules of a library without everything that the library imports.

A package's ``__init__`` often imports the whole library, and its modules import ``logging``, ``typing`` or ``enum`` and
hardly use them. Here ``sys.modules`` has placeholders for those while a module is imported, and is restored afterwards:
a later import of the library or of the standard modules gets the real ones.

``cni.kernel.pyroute`` and ``cni.pool`` list the placeholders for their library and the versions they were made for. If
the library is already imported, or has another version, the import is a normal one.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from types import ModuleType
    from typing import Any, TypeVar

    T = TypeVar("T")
    Placeholders = dict[str, dict[str, Any]]


class Placeholder:
    """An object for any name of a module that is not imported: calls, subscripts and attributes give it again."""

    def __call__(self, *_: "Any", **__: "Any") -> "Placeholder":
        """Return the same placeholder."""
        return self

    def __getattr__(self, name: str) -> "Placeholder":
        return self

    def __getitem__(self, key: object) -> "Placeholder":
        return self

    def __or__(self, other: object) -> "Placeholder":
        return self

    __ror__ = __or__


# Every library that is loaded this way, by its package.
LIBRARIES: "dict[str, Library]" = {}


def _plain(name: str) -> "ModuleType":
    __import__(name)
    return sys.modules[name]


def _folder(package: str) -> str:
    """The folder of the package (perhaps in an archive), empty if it is not found."""
    for finder in sys.meta_path:
        spec = finder.find_spec(package, None)
        if spec is not None and spec.submodule_search_locations:
            return next(iter(spec.submodule_search_locations))
    return ""


class Library:
    """A library whose modules are imported one by one."""

    def __init__(self, package: str, placeholders: "Callable[[], Placeholders]", known: "Callable[[], bool]") -> None:
        """``placeholders`` gives the names of each module that is not imported; modules of the package may be among them.

        ``known`` returns whether the placeholders fit this version; it may import the package's modules.
        """
        self.package = package
        self._placeholders = placeholders
        self._known = known
        self.loaded: dict[str, ModuleType] = {}
        self._stand_ins: dict[str, ModuleType] = {}
        LIBRARIES[package] = self

    def load(self, name: str) -> "Any":
        """Import the module ``name`` of the library."""
        if name in self.loaded:
            return self.loaded[name]
        folder = "" if self.package in sys.modules else _folder(self.package)
        if not folder:
            return _plain(name)
        root = type(sys)(self.package)
        root.__path__ = [folder]
        return self._among({self.package: root, **self.loaded}, lambda: self._lean(name, root, folder)) or _plain(name)

    def _lean(self, name: str, root: "ModuleType", folder: str) -> "ModuleType | None":
        """Import it among placeholders; None if they do not fit this version."""
        if not (self.loaded or self._known()):
            return None
        self._stand_ins = self._stand_ins or self._made(folder)
        stand_ins = {}
        for stand_in, module in self._stand_ins.items():
            inside = stand_in.startswith(f"{self.package}.")
            if stand_in == name or stand_in in (self.loaded if inside else sys.modules):
                continue  # the real module is loaded already
            stand_ins[stand_in] = module
            if inside and stand_in.count(".") == 1:
                setattr(root, stand_in.split(".")[1], module)
        return self._among(stand_ins, lambda: self._imported(name, stand_ins))

    def _imported(self, name: str, stand_ins: "Container[str]") -> "ModuleType":
        module = _plain(name)
        for known, imported in sys.modules.items():
            if known.startswith(f"{self.package}.") and known not in stand_ins:
                self.loaded[known] = imported
        return module

    def _made(self, folder: str) -> "dict[str, ModuleType]":
        """A module object for each placeholder; those of the library find their submodules in its folder."""
        made = {}
        for stand_in, names in self._placeholders().items():
            made[stand_in] = module = type(sys)(stand_in)
            vars(module).update(names)
            if stand_in.startswith(f"{self.package}."):
                module.__path__ = [f"{folder}/{stand_in.split('.', 1)[1].replace('.', '/')}"]
        return made

    def _among(self, modules: "dict[str, ModuleType]", work: "Callable[[], T]") -> "T":
        """Run ``work`` while ``sys.modules`` has these modules, and restore it."""
        hidden = {name: sys.modules.get(name) for name in modules}
        sys.modules.update(modules)
        try:
            return work()
        finally:
            for name in [*sys.modules]:
                if name not in hidden and (name == self.package or name.startswith(f"{self.package}.")):
                    del sys.modules[name]
            for name, module in hidden.items():
                if module is None:
                    sys.modules.pop(name, None)
                else:
                    sys.modules[name] = module
