"""Traffic control for limits of a link's rate (tc(8), linux/pkt_sched.h, linux/pkt_cls.h).

A queue on the link, a token bucket (tc-tbf(8)), limits what it sends. Received packets cannot be queued: they are all
redirected to another link, an ``ifb``, and limited there.
"""

from _socket import htons
from errno import EINVAL, ENODEV, ENOENT

from cni.errors import KernelError
from cni.kernel import pyroute
from cni.kernel.netlink import F_CREATE, F_DUMP, F_EXCL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.rtnl import Rtnl

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_NEWTFILTER, _GETTFILTER = 44, 46
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_FIRST, _OF_INGRESS = 0x00010000, 0xFFFF0000
# priority 1, every protocol (ETH_P_ALL)
_FOR_ALL = 1 << 16 | htons(3)
_ETHERNET = 1
# A tick of the scheduler in nanoseconds, and the largest number in a message.
_TICK, _MAX = 64, (1 << 32) - 1
# a filter that compares no bit
_EVERYTHING = "0/0+0"
_STOLEN, _REDIRECT = 4, 1


class Tbf:
    """A token bucket: bytes per second, bytes at once, and the most bytes that wait.

    The kernel stores ``buffer``, the duration of a burst in ticks. As in Go's plugin, it has whole microseconds.
    """

    __slots__ = ("buffer", "limit", "rate")

    def __init__(self, rate: int, burst: int, limit: int) -> None:
        self.rate = rate
        self.limit = min(limit, _MAX)
        self.buffer = min(burst * 1_000_000 // max(rate, 1) * 1000 // _TICK, _MAX)

    @property
    def burst(self) -> int:
        """Bytes at once, computed from ``buffer``."""
        return self.buffer * _TICK * self.rate // 1_000_000_000

    def __eq__(self, other: object) -> bool:
        own = (self.rate, self.limit, self.buffer)
        return isinstance(other, Tbf) and own == (other.rate, other.limit, other.buffer)

    def __hash__(self) -> int:
        return hash((self.rate, self.limit, self.buffer))

    def __repr__(self) -> str:
        return f"Tbf(rate={self.rate}, limit={self.limit}, buffer={self.buffer})"


def add_tbf(rtnl: "Rtnl", index: int, tbf: Tbf) -> None:
    """Limit what a link sends; raises ``KernelError``, with EEXIST if the link has another queue."""
    limits = {"rate": min(tbf.rate, _MAX), "limit": tbf.limit, "buffer": tbf.buffer, "rate___reserved": _ETHERNET}
    options = [("TCA_TBF_PARMS", limits), ("TCA_TBF_RATE64", tbf.rate if tbf.rate > _MAX else None)]
    message = _message("tbf", options, index=index, handle=_FIRST, parent=_ROOT)
    rtnl.request(message, _NEWQDISC, F_CREATE | F_EXCL)


def tbf(rtnl: "Rtnl", index: int) -> Tbf | None:
    """The limit of what a link sends, None if its first queue is no token bucket."""
    message = _message(index=index)
    for answer in rtnl.request(message, _GETQDISC, F_DUMP):  # of all links
        queue = answer.decode(type(message))
        if (queue["index"], queue["parent"], queue.get_attr("TCA_KIND")) == (index, _ROOT, "tbf"):
            options = queue.get_attr("TCA_OPTIONS")
            limits = options.get_attr("TCA_TBF_PARMS")
            read = Tbf(options.get_attr("TCA_TBF_RATE64") or limits["rate"], 0, limits["limit"])
            read.buffer = limits["buffer"]
            return read
    return None


def delete_tbf(rtnl: "Rtnl", index: int) -> None:
    """Remove the limit, if it exists; the link gets the kernel's default queue."""
    _delete(rtnl, _message(index=index, handle=_FIRST, parent=_ROOT))


def add_redirect(rtnl: "Rtnl", index: int, to: int) -> None:
    """Redirect all packets that a link receives to another; raises ``KernelError``, with EEXIST if that is already done."""
    message = _message("ingress", index=index, handle=_OF_INGRESS, parent=_INGRESS)
    rtnl.request(message, _NEWQDISC, F_CREATE | F_EXCL)
    where = {"action": _STOLEN, "eaction": _REDIRECT, "ifindex": to}
    action = [("TCA_ACT_KIND", "mirred"), ("TCA_ACT_OPTIONS", {"attrs": [("TCA_MIRRED_PARMS", where)]})]
    options = [
        ("TCA_U32_SEL", {"keys": [_EVERYTHING]}),
        ("TCA_U32_ACT", {"attrs": [("TCA_ACT_PRIO_1", {"attrs": action})]}),
    ]
    try:
        message = _message("u32", options, index=index, parent=_OF_INGRESS, info=_FOR_ALL)
        rtnl.request(message, _NEWTFILTER, F_CREATE | F_EXCL)
    except KernelError:
        delete_redirect(rtnl, index)
        raise


def redirect(rtnl: "Rtnl", index: int) -> int:
    """The index of the link that gets all packets that this link receives; 0 if none does."""
    message = _message(index=index, parent=_OF_INGRESS)
    try:
        answers = rtnl.request(message, _GETTFILTER, F_DUMP)
    except KernelError as error:
        if error.errno in (EINVAL, ENOENT, ENODEV):  # nothing can be attached there
            return 0
        raise
    for answer in answers:
        found = answer.decode(type(message))
        options = found.get_attr("TCA_OPTIONS") if found.get_attr("TCA_KIND") == "u32" else None
        select, actions = (options.get_attr(name) if options else None for name in ("TCA_U32_SEL", "TCA_U32_ACT"))
        # pyroute2 reads keys at a wrong offset; this is the first key's mask
        if select and actions and select.data[select.offset + 20 : select.offset + 24] == bytes(4):
            for _, action in actions["attrs"]:
                to = _redirected(action)
                if to:
                    return to
    return 0


def delete_redirect(rtnl: "Rtnl", index: int) -> None:
    """Remove the redirection, if it exists."""
    _delete(rtnl, _message(index=index, handle=_OF_INGRESS, parent=_INGRESS))


def _redirected(action: "Any") -> int:
    """The index of the link that an action redirects to, 0 for another action."""
    if action.get_attr("TCA_ACT_KIND") != "mirred":
        return 0
    where = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    return int(where["ifindex"]) if where["eaction"] == _REDIRECT else 0


def _delete(rtnl: "Rtnl", message: "Any") -> None:
    try:
        rtnl.request(message, _DELQDISC)
    except KernelError as error:
        if error.errno not in (EINVAL, ENOENT, ENODEV):
            raise


def _message(kind: str = "", options: "pyroute.Attributes" = (), **fields: int) -> "Any":
    module = pyroute.load("pyroute2.netlink.rtnl.tcmsg")
    pyroute.complete(module.sched_tbf.options, "TCA_TBF_RATE64", "uint64")
    given = [(name, value) for name, value in options if value is not None]
    attributes = [("TCA_KIND", kind or None), ("TCA_OPTIONS", {"attrs": given} if given else None)]
    return pyroute.message(module.tcmsg, attributes, **fields)
