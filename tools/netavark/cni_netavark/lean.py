"""Importing libcni without what it hardly needs: podman waits for two starts of this program in each ``podman run``.

``typing``, ``dataclasses`` and what these import take longer than all of the driver. So while libcni and the driver are
imported, small modules stand in for them, as ``cni.lean`` does for the libraries of plugins. A class made by the stand-in
for ``dataclass`` has no slots and is not frozen; nothing here depends on either.
"""

import _collections_abc
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any


class _Anything:
    """Stands in for a type, and for functions of ``typing``."""

    def __call__(self, *_: "Any", **__: "Any") -> "Any":
        return self

    def __getitem__(self, key: object) -> "Any":
        return self

    def __or__(self, other: object) -> "Any":
        return self

    __ror__ = __or__


class _Variable(_Anything):
    """Stands in for a ``TypeVar``, as far as ``Generator[…, T]`` needs one."""

    def __typing_subst__(self, given: object) -> object:
        return given


class _Generic:
    """Stands in for ``Generic`` and ``Protocol``."""

    def __class_getitem__(cls, item: object) -> type:
        return cls


class _Factory:
    """The default of a field that is made for each object."""

    def __init__(self, make: "Callable[[], Any]") -> None:
        self.make = make


def field(*, default_factory: "Callable[[], Any]") -> "Any":
    """As in ``dataclasses``."""
    return _Factory(default_factory)


def _init(self: "Any", *args: "Any", **given: "Any") -> None:
    own = vars(self)
    names = type(self).__match_args__
    if len(args) > len(names):
        raise TypeError(f"{type(self).__name__} takes {len(names)} arguments, {len(args)} were given")
    own.update(zip(names, args, strict=False))
    own.update(given)
    for name in names:
        if name not in own:
            default = getattr(type(self), name)  # AttributeError: it is missing
            own[name] = default.make() if isinstance(default, _Factory) else default
    if len(own) != len(names):
        raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(set(own) - set(names)))}")
    finish = getattr(self, "__post_init__", None)
    if finish:
        finish()


def _values(self: "Any") -> "tuple[Any, ...]":
    return tuple(getattr(self, name) for name in type(self).__match_args__)


def _eq(self: "Any", other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: "Any") -> int:
    return hash(_values(self))


def _repr(self: "Any") -> str:
    parts = (f"{name}={getattr(self, name)!r}" for name in type(self).__match_args__)
    return f"{type(self).__name__}({', '.join(parts)})"


def dataclass(**options: bool) -> "Callable[[type], type]":
    """As in ``dataclasses``, for classes without parents that are frozen."""

    def made(cls: "Any") -> type:
        setattr(cls, "__match_args__", tuple(cls.__annotations__))  # noqa: B010 -- mypy knows it as an instance's
        methods = {"__init__": _init, "__repr__": _repr, "__eq__": _eq, "__hash__": _hash}
        kept = {"__init__": "init", "__repr__": "repr", "__eq__": "eq", "__hash__": "eq"}
        for name, method in methods.items():
            if options.get(kept[name], True) and name not in cls.__dict__:
                setattr(cls, name, method)
        return cls  # type: ignore[no-any-return]

    return made


def replace(value: "Any", /, **changes: "Any") -> "Any":
    """As in ``dataclasses``."""
    return type(value)(**{name: getattr(value, name) for name in type(value).__match_args__} | changes)


def copied(value: "Any") -> "Any":
    """As ``copy.copy``."""
    from copy import copy

    return copy(value)


def _stand_ins() -> "Iterator[tuple[str, dict[str, Any]]]":
    anything = _Anything()
    names = ("Any", "Literal", "Self", "cast", "overload")
    yield (
        "typing",
        {
            **dict.fromkeys(names, anything),
            "Generic": _Generic,
            "Protocol": _Generic,
            "TypeVar": lambda name, **_: _Variable(),
            "TYPE_CHECKING": False,
        },
    )
    yield "dataclasses", {"dataclass": dataclass, "field": field, "replace": replace}
    yield "collections", {"__path__": [], "abc": _collections_abc}
    yield "contextlib", dict.fromkeys(("AbstractContextManager", "AbstractAsyncContextManager"), anything)
    from _functools import partial  # type: ignore[import-not-found]

    yield "functools", {"partial": partial}
    yield "copy", {"copy": copied}


def load(module: str) -> "ModuleType":
    """Import a module among the stand-ins. Those that are imported already stay."""
    hidden = []
    for name, names in _stand_ins():
        if name not in sys.modules:
            sys.modules[name] = made = type(sys)(name)
            vars(made).update(names)
            hidden.append(name)
    if "collections.abc" not in sys.modules:
        sys.modules["collections.abc"] = _collections_abc
        hidden.append("collections.abc")
    try:
        __import__(module)
    finally:
        for name in hidden:
            del sys.modules[name]
    return sys.modules[module]
