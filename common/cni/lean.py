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
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

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
        module_type = type(sys)
        root = module_type(self.package)
        root.__path__ = [folder]
        hidden = self._hide({self.package: root, **self.loaded})
        try:
            if self.loaded or self._known():
                return self._load(name, root, folder)
        finally:
            self._restore(hidden)
        return _plain(name)

    def _load(self, name: str, root: "ModuleType", folder: str) -> "ModuleType":
        self._stand_ins = self._stand_ins or self._made(folder)
        stand_ins: dict[str, ModuleType] = {}
        for stand_in, module in self._stand_ins.items():
            inside = stand_in.startswith(f"{self.package}.")
            if stand_in == name or stand_in in (self.loaded if inside else sys.modules):
                continue  # the real module is loaded already
            stand_ins[stand_in] = module
            if inside and stand_in.count(".") == 1:
                setattr(root, stand_in.split(".")[1], module)
        hidden = self._hide(stand_ins)
        try:
            module = _plain(name)
            self.loaded.update({known: it for known, it in sys.modules.items() if known.startswith(f"{self.package}.")})
            for stand_in in stand_ins:
                self.loaded.pop(stand_in, None)
            return module
        finally:
            self._restore(hidden)

    def _made(self, folder: str) -> "dict[str, ModuleType]":
        """A module object for each placeholder; those of the library find their submodules in its folder."""
        module_type = type(sys)
        made = {}
        for stand_in, names in self._placeholders().items():
            made[stand_in] = module = module_type(stand_in)
            vars(module).update(names)
            if stand_in.startswith(f"{self.package}."):
                module.__path__ = [f"{folder}/{stand_in.split('.', 1)[1].replace('.', '/')}"]
        return made

    def _hide(self, modules: "dict[str, ModuleType]") -> "dict[str, ModuleType | None]":
        hidden = {name: sys.modules.get(name) for name in modules}
        sys.modules.update(modules)
        return hidden

    def _restore(self, hidden: "dict[str, ModuleType | None]") -> None:
        prefix = f"{self.package}."
        for name in [known for known in sys.modules if known.startswith(prefix) or known == self.package]:
            if name not in hidden:
                del sys.modules[name]
        for name, module in hidden.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
