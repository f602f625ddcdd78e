"""Modules of a library without what importing the library drags in.

A package's ``__init__`` often imports all there is, and its modules import ``logging``, ``typing``, ``enum`` and their
like and hardly use them. Here a module is imported while placeholders stand in ``sys.modules`` for those, and
everything is put back afterwards: whoever imports the library or the standard modules later gets the real ones.

What each library may be given is said, with the versions that it is known for, by the module that asks
(``cni.kernel.pyroute``, ``cni.pool``). When the library is imported already, or is of another version, the import is
the plain one.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    Placeholders = dict[str, dict[str, Any]]


class Placeholder:
    """Stands for any name of a placeholder: may be called, subscripted, combined and asked for more names."""

    def __call__(self, *_: "Any", **__: "Any") -> "Placeholder":
        """Whatever it is called with, it is what is called next."""
        return self

    def __getattr__(self, name: str) -> "Placeholder":
        return self

    def __getitem__(self, key: object) -> "Placeholder":
        return self

    def __or__(self, other: object) -> "Placeholder":
        return self

    __ror__ = __or__


# Every library that is loaded in this way, by its package.
LIBRARIES: "dict[str, Library]" = {}


def _plain(name: str) -> "ModuleType":
    __import__(name)
    return sys.modules[name]


def _folder(package: str) -> str:
    """Where the package is found (it may lie in an archive), or the empty text."""
    for finder in sys.meta_path:
        spec = finder.find_spec(package, None)
        if spec is not None and spec.submodule_search_locations:
            return next(iter(spec.submodule_search_locations))
    return ""


class Library:
    """A library of which single modules are wanted."""

    def __init__(self, package: str, placeholders: "Callable[[], Placeholders]", known: "Callable[[], bool]") -> None:
        """``placeholders`` gives the names that stand in for modules' own; a name within the package may be one too.

        ``known`` tells, with the package's own modules importable, whether this version is known.
        """
        self.package = package
        self._placeholders = placeholders
        self._known = known
        self.loaded: dict[str, ModuleType] = {}
        self._stand_ins: dict[str, ModuleType] = {}
        LIBRARIES[package] = self

    def load(self, name: str) -> "Any":
        """The module ``name`` of the library."""
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
                continue  # a real module that is loaded already costs nothing and serves better
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
        """A module for each placeholder; in those of the library more of it is found."""
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
