"""pyroute2's message classes, imported without the rest of pyroute2 (see ``cni.lean``).

``import pyroute2`` takes 120 ms, because its ``__init__`` imports ndb, asyncio, multiprocessing and ssl. The modules with
message classes take 30 ms, of which two thirds are ``logging``, ``typing`` and ``multiprocessing``. Here it takes 10 ms.
"""

import sys

from cni.lean import Library, Placeholder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    # An object of one of pyroute2's classes, which have no types.
    Message = Any
    # Names and values of attributes; those with None are left out.
    Attributes = Iterable[tuple[str, Any]]

KNOWN = ("0.9.7",)
_LINKS, _TC = "pyroute2.netlink.rtnl.ifinfmsg", "pyroute2.netlink.rtnl.tcmsg"
# Modules for single kinds of links, which the module for links imports. ``kinds`` loads those that it needs by name.
_KINDS = (
    "bond", "can", "geneve", "gtp", "ipoib", "ipvlan", "team", "tun", "tuntap", "vlan", "vrf", "vti", "vti6", "vxlan", "xfrm",
)  # fmt: skip
# Modules for single kinds of queues, filters and actions, which the module for these messages imports. ``tc`` loads those
# that it needs by name.
_QUEUES = (
    "act_bpf", "act_connmark", "act_gact", "act_skbedit", "act_vlan", "cls_basic", "cls_flow", "cls_fw", "cls_matchall",
    "cls_u32", "sched_bpf", "sched_cake", "sched_choke", "sched_clsact", "sched_codel", "sched_drr", "sched_fq_codel",
    "sched_hfsc", "sched_htb", "sched_ingress", "sched_netem", "sched_pfifo", "sched_pfifo_fast", "sched_plug",
    "sched_sfq", "sched_tbf",
)  # fmt: skip
# The constants that the message modules use.
_PARENTS = {"TC_H_ROOT": 0xFFFFFFFF, "TC_H_INGRESS": 0xFFFFFFF1, "RTM_NEWQDISC": 36, "RTM_DELQDISC": 37}


class _Enumeration(type):
    """Metaclass of the placeholder for ``enum.IntEnum``: a class gives name and value of its members, in order."""

    def __iter__(cls) -> "Any":
        namespace: Any = type(sys.implementation)  # types.SimpleNamespace
        return (namespace(name=name, value=value) for name, value in vars(cls).items() if not name.startswith("_"))


def _placeholders() -> "dict[str, dict[str, Any]]":
    """The names that the message modules use from modules that are slow to import."""
    import _collections  # type: ignore[import-not-found]
    import _functools  # type: ignore[import-not-found]
    import _socket
    import _thread
    import _weakref

    quiet = Placeholder()
    socket = {name: value for name, value in vars(_socket).items() if not name.startswith("__")}
    return {
        "logging": {"getLogger": quiet, "error": quiet},
        "traceback": {"format_exc": str, "format_stack": list},
        "typing": {"__getattr__": lambda name: quiet},
        "types": {"FunctionType": type(_placeholders)},
        "re": {"compile": quiet},
        "pkgutil": {},
        "importlib": {},
        "collections": {"OrderedDict": _collections.OrderedDict},
        "functools": {"partial": _functools.partial},
        "weakref": {"proxy": _weakref.proxy},
        "threading": {"local": _thread._local, "Lock": _thread.allocate_lock, "RLock": _thread.RLock},
        "enum": {"IntEnum": _Enumeration("IntEnum", (), {})},
        "socket": {**socket, "AddressFamily": int},
        "pyroute2.config": {"AF_BRIDGE": 7, "data_plugins_pkgs": (), "data_plugins_path": ()},
        "pyroute2.netlink.exceptions": dict.fromkeys(
            ("NetlinkError", "NetlinkDecodeError", "NetlinkNLADecodeError"), Exception
        ),
        "pyroute2.netlink.nlsocket": {"AsyncNetlinkSocket": object, "NetlinkSocket": object},
        "pyroute2.netlink.rtnl": {
            **{name: {"unspec": 0, "universe": 0} for name in ("rt_proto", "rt_scope", "rt_type")},
            **_PARENTS,
        },
        f"{_LINKS}.plugins": {},
        **{f"{_LINKS}.plugins.{kind}": {kind: None} for kind in _KINDS},
        "pyroute2.netlink.rtnl.iw_event": {"iw_event": object},
        **{f"{_TC}.{name}": {} for name in _QUEUES},
        # the default for options, which every kind that is made has itself
        f"{_TC}.sched_template": {"options": None},
    }


def _known() -> bool:
    config = type(sys)("pyroute2.config")
    config.__path__ = [f"{sys.modules['pyroute2'].__path__[0]}/config"]
    sys.modules["pyroute2.config"] = config
    __import__("pyroute2.config.version")
    known: bool = sys.modules["pyroute2.config.version"].__version__ in KNOWN
    del sys.modules["pyroute2.config"]
    return known


_LIBRARY = Library("pyroute2", _placeholders, _known)


def load(name: str) -> "Any":
    """Import the module ``name`` of pyroute2, which has message classes."""
    return _LIBRARY.load(name)


def message(cls: "Any", attributes: "Attributes", **fields: int) -> "Message":
    """A message of a class with these attributes; those that are None are left out."""
    made = cls()
    made.update(fields)
    made["attrs"] = [(name, value) for name, value in attributes if value is not None]
    return made


def complete(cls: "Any", name: str, kind: str) -> "Any":
    """The class, with one more attribute after the last one that pyroute2 knows."""
    if (name, kind) not in cls.nla_map:
        cls.nla_map = (*cls.nla_map, (name, kind))
    return cls
