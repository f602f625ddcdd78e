"""Traffic control for limits of a link's rate (tc(8), linux/pkt_sched.h, linux/pkt_cls.h).

A queue on the link, a token bucket (tc-tbf(8)), limits what it sends. Received packets cannot be queued: they are all
redirected to another link, an ``ifb``, and limited there. ``htb`` limits a part of the packets only.
"""

import struct
from _socket import htons
from errno import EINVAL, ENODEV, ENOENT

from cni.errors import KernelError
from cni.kernel import pyroute
from cni.kernel.netlink import F_DUMP, F_ECHO, F_NEW, attribute, integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.rtnl import Rtnl

NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
NEWTFILTER, GETTFILTER, _NEWACTION = 44, 46, 48
ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
FIRST, _OF_INGRESS = 0x00010000, 0xFFFF0000
# priority 1, every protocol (ETH_P_ALL)
_FOR_ALL = 1 << 16 | htons(3)
ETHERNET = 1
# A tick of the scheduler in nanoseconds, and the largest number in a message.
_TICK, MAX = 64, (1 << 32) - 1
# The options of the kernel by the names of queues, classifiers and actions.
OPTIONS = {
    "tbf": "CONFIG_NET_SCH_TBF", "htb": "CONFIG_NET_SCH_HTB", "ingress": "CONFIG_NET_SCH_INGRESS",
    "u32": "CONFIG_NET_CLS_U32", "mirred": "CONFIG_NET_ACT_MIRRED",
}  # fmt: skip
_HEADER = struct.Struct("=BxxxiIII")
_KIND, _INGRESS_BLOCK = 1, 13
# Errors for what does not exist, or cannot exist on that link.
_ABSENT = (EINVAL, ENOENT, ENODEV)
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
        self.limit = min(limit, MAX)
        self.buffer = min(burst * 1_000_000 // max(rate, 1) * 1000 // _TICK, MAX)

    @property
    def burst(self) -> int:
        """Bytes at once, computed from ``buffer``."""
        return self.buffer * _TICK * self.rate // 1_000_000_000

    @property
    def part(self) -> str:
        """The packets that it is for, in words."""
        return "all packets"

    def __eq__(self, other: object) -> bool:
        own = (self.rate, self.limit, self.buffer)
        return isinstance(other, Tbf) and own == (other.rate, other.limit, other.buffer)

    def __hash__(self) -> int:
        return hash((self.rate, self.limit, self.buffer))

    def __repr__(self) -> str:
        return f"Tbf(rate={self.rate}, limit={self.limit}, buffer={self.buffer})"


def add_queue(rtnl: "Rtnl", index: int, limit: Tbf) -> None:
    """Limit what a link sends; raises ``KernelError``, with EEXIST if the link has another queue."""
    if type(limit) is not Tbf:
        from cni.kernel import htb

        htb.add(rtnl, index, limit)
        return
    limits = {"rate": min(limit.rate, MAX), "limit": limit.limit, "buffer": limit.buffer, "rate___reserved": ETHERNET}
    options = [("TCA_TBF_PARMS", limits), ("TCA_TBF_RATE64", limit.rate if limit.rate > MAX else None)]
    rtnl.request(message("tbf", options, index=index, handle=FIRST, parent=ROOT), NEWQDISC, F_NEW)


def queue(rtnl: "Rtnl", index: int) -> Tbf | None:
    """The limit of what a link sends, None if its first queue is no limit."""
    found = queue_at(rtnl, index, ROOT)
    kind = found.get_attr("TCA_KIND") if found is not None else ""
    if kind == "htb":
        from cni.kernel import htb

        return htb.read(rtnl, index)
    if kind != "tbf":
        return None
    options = found.get_attr("TCA_OPTIONS")
    limits = options.get_attr("TCA_TBF_PARMS")
    read = Tbf(options.get_attr("TCA_TBF_RATE64") or limits["rate"], 0, limits["limit"])
    read.buffer = limits["buffer"]
    return read


def queue_at(rtnl: "Rtnl", index: int, parent: int) -> "Any":
    """The message about the queue at a place of a link; None if the kernel names none.

    A dump would have the queues of all links. The kernel answers the request for one only if an echo is asked for.
    """
    request = message(index=index, parent=parent)
    answers = rtnl.request(request, _GETQDISC, F_ECHO, absent=_ABSENT)
    return answers[0].decode(type(request)) if answers else None


def delete_queue(rtnl: "Rtnl", index: int) -> None:
    """Remove the limit, if it exists; the link gets the kernel's default queue. Another's queue stays."""
    for kind in ("tbf", "htb"):
        rtnl.request(message(kind, index=index, handle=FIRST, parent=ROOT), _DELQDISC, absent=_ABSENT)


def add_redirect(rtnl: "Rtnl", index: int, to: int) -> None:
    """Redirect all packets that a link receives to another; raises ``KernelError``, with EEXIST if that is already done."""
    ingress = message("ingress", index=index, handle=_OF_INGRESS, parent=_INGRESS)
    rtnl.request(ingress, NEWQDISC, F_NEW)
    where = {"action": _STOLEN, "eaction": _REDIRECT, "ifindex": to}
    action = [("TCA_ACT_KIND", "mirred"), ("TCA_ACT_OPTIONS", {"attrs": [("TCA_MIRRED_PARMS", where)]})]
    options = [
        ("TCA_U32_SEL", {"keys": [_EVERYTHING]}),
        ("TCA_U32_ACT", {"attrs": [("TCA_ACT_PRIO_1", {"attrs": action})]}),
    ]
    try:
        rtnl.request(message("u32", options, index=index, parent=_OF_INGRESS, info=_FOR_ALL), NEWTFILTER, F_NEW)
    except KernelError:
        delete_redirect(rtnl, index)
        raise


def redirect(rtnl: "Rtnl", index: int) -> int | None:
    """The index of the link that gets all packets that this link receives.

    0 if there is no filter, or if the link that it redirects to is gone. None if others' filters are there.
    """
    request, others = message(index=index, parent=_OF_INGRESS), False
    for answer in rtnl.request(request, GETTFILTER, F_DUMP, absent=_ABSENT):
        found = answer.decode(type(request))
        kind, options = found.get_attr("TCA_KIND"), found.get_attr("TCA_OPTIONS")
        if kind != "u32":
            return None
        select, actions = (options.get_attr(name) if options else None for name in ("TCA_U32_SEL", "TCA_U32_ACT"))
        # pyroute2 reads keys at a wrong offset; this is the first key's mask
        if select and actions and select.data[select.offset + 20 : select.offset + 24] == bytes(4):
            for _, action in actions["attrs"]:
                to = _redirected(action)
                if to is not None:
                    return to
        others = others or bool(select)
    return None if others else 0


def delete_redirect(rtnl: "Rtnl", index: int) -> None:
    """Remove the redirection, if it exists."""
    rtnl.request(message("ingress", index=index, handle=_OF_INGRESS, parent=_INGRESS), _DELQDISC, absent=_ABSENT)


def lacks(rtnl: "Rtnl", kind: str) -> bool:
    """Whether the kernel lacks a queue or an action; loads its module. Raises ``KernelError``.

    For STATUS, which does without pyroute2. The requests lack what the kernel needs, so that it makes nothing.
    """
    if kind == "mirred":
        action = attribute(1, attribute(1, attribute(_KIND, b"mirred\0")))
        body, number = bytes(4) + action, _NEWACTION
    else:
        lo = rtnl.link("lo")
        parent, handle = (_INGRESS, _OF_INGRESS) if kind == "ingress" else (ROOT, FIRST)
        block = integer(_INGRESS_BLOCK, 0) if kind == "ingress" else b""
        header = _HEADER.pack(0, lo.index if lo is not None else 0, handle, parent, 0)
        body, number = header + attribute(_KIND, kind.encode() + b"\0") + block, NEWQDISC
    try:
        rtnl.request(body, number, F_NEW)
    except KernelError as error:
        return error.errno == ENOENT
    return False


def _redirected(action: "Any") -> int | None:
    """The index of the link that an action redirects to, 0 if that is gone; None for another action."""
    if action.get_attr("TCA_ACT_KIND") != "mirred":
        return None
    where = action.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    return int(where["ifindex"]) if where["eaction"] == _REDIRECT else None


def message(kind: str = "", options: "pyroute.Attributes" = (), **fields: int) -> "Any":
    """A message about a queue, class or filter of this kind."""
    module = pyroute.load("pyroute2.netlink.rtnl.tcmsg")
    pyroute.complete(module.sched_tbf.options, "TCA_TBF_RATE64", "uint64")
    given = [(name, value) for name, value in options if value is not None]
    attributes = [("TCA_KIND", kind or None), ("TCA_OPTIONS", {"attrs": given} if given else None)]
    return pyroute.message(module.tcmsg, attributes, **fields)
