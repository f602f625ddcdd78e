"""pyroute2's message classes without what importing pyroute2 drags in.

``import pyroute2`` executes its ``__init__`` (ndb, asyncio, multiprocessing, ssl): 120 ms. Of the modules with
message classes alone, two thirds are ``logging``, ``typing``, ``multiprocessing`` and their like, which they import
and hardly use. Here they are imported while placeholders stand in ``sys.modules`` for those, and everything is put
back afterwards: 10 ms, and whoever imports pyroute2 or the standard modules later gets the real ones.

This knows the versions in ``KNOWN``; with any other, or when pyroute2 is already imported, the import is the plain one.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

KNOWN = ("0.9.7",)
_LOADED: "dict[str, ModuleType]" = {}


class _Quiet:
    """Stands for any name of a placeholder: may be called, subscripted, combined and asked for more names."""

    def __call__(self, *args: "Any", **kwargs: "Any") -> "_Quiet":
        return self

    def __getattr__(self, name: str) -> "_Quiet":
        return self

    def __getitem__(self, key: object) -> "_Quiet":
        return self

    def __or__(self, other: object) -> "_Quiet":
        return self

    __ror__ = __or__


class _Members(type):
    """Metaclass of the stand-in for ``enum.IntEnum``: members are ints with a name, in order."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: "dict[str, Any]") -> "_Members":
        made = super().__new__(cls, name, bases, {})
        members = []
        for member, value in namespace.items():
            if not member.startswith("_"):
                item = int.__new__(made, value)  # type: ignore[call-overload]
                item.name, item.value = member, value
                setattr(made, member, item)
                members.append(item)
        made._members = members
        return made

    _members: "list[Any]"

    def __iter__(cls) -> "Any":
        return iter(cls._members)


def _placeholders() -> "dict[str, dict[str, Any]]":
    """Names that the message modules want from modules that are dear to import."""
    import _collections
    import _functools
    import _socket
    import _thread
    import _weakref

    quiet = _Quiet()
    socket = {name: value for name, value in vars(_socket).items() if not name.startswith("__")}
    return {
        "logging": {"getLogger": quiet, "error": quiet},
        "traceback": {"format_exc": str, "format_stack": list},
        "typing": {"__getattr__": lambda name: quiet},
        "pkgutil": {},
        "importlib": {},
        "collections": {"OrderedDict": _collections.OrderedDict},  # type: ignore[attr-defined]
        "functools": {"partial": _functools.partial},
        "weakref": {"proxy": _weakref.proxy},
        "threading": {
            "local": _thread._local,
            "Lock": _thread.allocate_lock,
            "RLock": _thread.RLock,
        },
        "enum": {"IntEnum": _Members("IntEnum", (int,), {})},
        "socket": {**socket, "AddressFamily": int},
        "pyroute2.config": {
            "AF_BRIDGE": 7,
            "AF_NETLINK": 16,
            "data_plugins_pkgs": (),
            "data_plugins_path": (),
        },
        "pyroute2.netlink.nlsocket": {"AsyncNetlinkSocket": object, "NetlinkSocket": object},
        "pyroute2.netlink.core": {"SyncAPI": object},
    }


def _found() -> str:
    """The folder of pyroute2 (it may lie in an archive), or the empty text."""
    for finder in sys.meta_path:
        spec = finder.find_spec("pyroute2", None)
        if spec is not None and spec.submodule_search_locations:
            return list(spec.submodule_search_locations)[0]
    return ""


def _plain(name: str) -> "ModuleType":
    __import__(name)
    return sys.modules[name]


def load(name: str) -> "Any":
    """The module ``name`` of pyroute2, one that holds message classes."""
    if name in _LOADED:
        return _LOADED[name]
    folder = "" if "pyroute2" in sys.modules else _found()
    if not folder:
        return _plain(name)
    module_type = type(sys)
    package = module_type("pyroute2")
    package.__path__ = [folder]
    config = module_type("pyroute2.config")
    config.__path__ = [f"{folder}/config"]
    hidden = _hide({"pyroute2": package, "pyroute2.config": config, **_LOADED})
    try:
        version = _plain("pyroute2.config.version").__version__
        if version in KNOWN:
            return _load(name, package)
    finally:
        _restore(hidden)
    return _plain(name)


def _load(name: str, package: "ModuleType") -> "ModuleType":
    module_type = type(sys)
    stand_ins = {}
    for stand_in, names in _placeholders().items():
        module = sys.modules.get(stand_in) if stand_in == "pyroute2.config" else module_type(stand_in)
        assert module is not None  # noqa: S101
        vars(module).update(names)
        stand_ins[stand_in] = module
    # a real module that is loaded already costs nothing and serves better
    for stand_in in [known for known in stand_ins if not known.startswith("pyroute2") and known in sys.modules]:
        del stand_ins[stand_in]
    package.config = stand_ins["pyroute2.config"]  # type: ignore[attr-defined]
    hidden = _hide(stand_ins)
    try:
        module = _plain(name)
        _LOADED.update(
            {loaded: it for loaded, it in sys.modules.items() if loaded.startswith("pyroute2.") and it is not None}
        )
        for stand_in in stand_ins:
            _LOADED.pop(stand_in, None)
        return module
    finally:
        _restore(hidden)


def _hide(modules: "dict[str, ModuleType]") -> "dict[str, ModuleType | None]":
    hidden = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    return hidden


def _restore(hidden: "dict[str, ModuleType | None]") -> None:
    for name in [known for known in sys.modules if known.startswith("pyroute2.") or known == "pyroute2"]:
        if name not in hidden:
            del sys.modules[name]
    for name, module in hidden.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
