"""pyroute2's message classes without what importing pyroute2 drags in (see ``cni.lean``).

``import pyroute2`` executes its ``__init__`` (ndb, asyncio, multiprocessing, ssl): 120 ms. Of the modules with message
classes alone two thirds are ``logging``, ``typing`` and ``multiprocessing``: 30 ms. What is left is 10 ms.
"""

from cni.lean import Library, Quiet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KNOWN = ("0.9.7",)


class _Members(type):
    """Metaclass of the stand-in for ``enum.IntEnum``: members are ints with a name, in order."""

    _members: "list[Any]"

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: "dict[str, Any]") -> "_Members":
        made = super().__new__(cls, name, bases, {})
        number: Any = int.__new__
        made._members = []
        for member, value in namespace.items():
            if not member.startswith("_"):
                item: Any = number(made, value)
                item.name, item.value = member, value
                setattr(made, member, item)
                made._members.append(item)
        return made

    def __iter__(cls) -> "Any":
        return iter(cls._members)


def _placeholders() -> "dict[str, dict[str, Any]]":
    """Names that the message modules want from modules that are dear to import."""
    import _collections  # type: ignore[import-not-found]
    import _functools  # type: ignore[import-not-found]
    import _socket
    import _thread
    import _weakref

    quiet = Quiet()
    socket = {name: value for name, value in vars(_socket).items() if not name.startswith("__")}
    return {
        "logging": {"getLogger": quiet, "error": quiet},
        "traceback": {"format_exc": str, "format_stack": list},
        "typing": {"__getattr__": lambda name: quiet},
        "collections": {"OrderedDict": _collections.OrderedDict},
        "functools": {"partial": _functools.partial},
        "weakref": {"proxy": _weakref.proxy},
        "threading": {"local": _thread._local, "Lock": _thread.allocate_lock, "RLock": _thread.RLock},
        "enum": {"IntEnum": _Members("IntEnum", (int,), {})},
        "socket": {**socket, "AddressFamily": int},
        "pyroute2.netlink.nlsocket": {"AsyncNetlinkSocket": object, "NetlinkSocket": object},
    }


def _known() -> bool:
    import sys

    config = type(sys)("pyroute2.config")
    config.__path__ = [f"{sys.modules['pyroute2'].__path__[0]}/config"]
    sys.modules["pyroute2.config"] = config
    __import__("pyroute2.config.version")
    known: bool = sys.modules["pyroute2.config.version"].__version__ in KNOWN
    del sys.modules["pyroute2.config"]
    return known


_LIBRARY = Library("pyroute2", _placeholders, _known)


def load(name: str) -> "Any":
    """The module ``name`` of pyroute2, one that holds message classes."""
    return _LIBRARY.load(name)
