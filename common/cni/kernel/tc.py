"""Traffic control for limits of a link's rate (tc(8), linux/pkt_sched.h, linux/pkt_cls.h).

A queue on the link, a token bucket (tc-tbf(8)), limits what it sends. Received packets cannot be queued: they are all
redirected to another link, an ``ifb``, and limited there. ``htb`` limits a part of the packets only.

What is sent to change something are pyroute2's messages, and their modules are imported for the kinds that are made.
Everything is read by hand, so that a call that changes nothing does without pyroute2.
"""

import struct
from _socket import htons
from errno import EINVAL, ENODEV, ENOENT

from cni.errors import KernelError
from cni.kernel.netlink import F_DUMP, F_ECHO, F_NEW, attribute, attributes, integer, number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel import pyroute
    from cni.kernel.netlink import Answer
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
_KIND, _OPTIONS, _INGRESS_BLOCK = 1, 2, 13
# Rate, limit and buffer in the numbers of a token bucket (struct tc_tbf_qopt).
_TBF = struct.Struct("=8xI12xII")
_TBF_PARMS, _TBF_RATE64 = 1, 4
# The options of a filter; the place of the first key in a selector (struct tc_u32_sel).
CLASS, SELECT, _ACTIONS = 1, 5, 7
KEYS = 16
_MIRRED_PARMS = 2
# What an action does with packets, and to which link (struct tc_mirred).
_MIRRED = struct.Struct("=20xiI")
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

    def make(self, rtnl: "Rtnl", index: int) -> None:
        """Limit what a link sends; raises ``KernelError``, with EEXIST if the link has another queue."""
        rate = {"rate": min(self.rate, MAX), "rate___reserved": ETHERNET}
        limits = {**rate, "limit": self.limit, "buffer": self.buffer}
        options = [("TCA_TBF_PARMS", limits), ("TCA_TBF_RATE64", self.rate if self.rate > MAX else None)]
        rtnl.request(message("tbf", options, index=index, handle=FIRST, parent=ROOT), NEWQDISC, F_NEW)

    def __eq__(self, other: object) -> bool:
        own = (self.rate, self.limit, self.buffer)
        return isinstance(other, Tbf) and own == (other.rate, other.limit, other.buffer)

    def __hash__(self) -> int:
        return hash((self.rate, self.limit, self.buffer))

    def __repr__(self) -> str:
        return f"Tbf(rate={self.rate}, limit={self.limit}, buffer={self.buffer})"


def queue(rtnl: "Rtnl", index: int) -> Tbf | None:
    """The limit of what a link sends, None if its first queue is no limit."""
    found = queue_at(rtnl, index, ROOT)
    if found.kind == "htb":
        from cni.kernel import htb

        return htb.read(rtnl, index)
    if found.kind != "tbf":
        return None
    rate, limit, buffer = _TBF.unpack_from(found.options[_TBF_PARMS])
    read = Tbf(number(found.options.get(_TBF_RATE64)) or rate, 0, limit)
    read.buffer = buffer
    return read


class Found:
    """A queue, class or filter of the kernel: its kind, handle and options. ``data`` are the options' bytes."""

    __slots__ = ("data", "handle", "kind")

    def __init__(self, answer: "Answer | None" = None) -> None:
        """Without an answer: nothing, with an empty kind."""
        self.handle = _HEADER.unpack_from(answer.data, 16)[2] if answer is not None else 0
        found = dict(attributes(answer.data, 16 + _HEADER.size)) if answer is not None else {}
        self.kind = text(found.get(_KIND))
        self.data = found.get(_OPTIONS, b"")

    @property
    def options(self) -> dict[int, bytes]:
        """The options, for kinds whose options are attributes."""
        return dict(attributes(self.data))


def request(index: int, parent: int = 0) -> bytes:
    """A request for what is at a place of a link."""
    return _HEADER.pack(0, index, 0, parent, 0)


def queue_at(rtnl: "Rtnl", index: int, parent: int) -> Found:
    """The queue at a place of a link; its kind is empty if the kernel names none.

    A dump would have the queues of all links. The kernel answers the request for one only if an echo is asked for.
    """
    answers = rtnl.request(request(index, parent), _GETQDISC, F_ECHO, absent=_ABSENT)
    return Found(answers[0] if answers else None)


def delete_queue(rtnl: "Rtnl", index: int) -> None:
    """Remove the limit, if it exists; the link gets the kernel's default queue. Another's queue stays."""
    found = queue_at(rtnl, index, ROOT)
    if found.kind in ("tbf", "htb") and found.handle == FIRST:
        rtnl.request(message(found.kind, index=index, handle=FIRST, parent=ROOT), _DELQDISC, absent=_ABSENT)


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
    others = False
    for answer in rtnl.request(request(index, _OF_INGRESS), GETTFILTER, F_DUMP, absent=_ABSENT):
        found = Found(answer)
        if found.kind != "u32":
            return None
        select, actions = (found.options.get(number, b"") for number in (SELECT, _ACTIONS))
        # the first key's mask
        if select[KEYS : KEYS + 4] == bytes(4):
            for _, action in attributes(actions):
                to = _redirected(dict(attributes(action)))
                if to is not None:
                    return to
        others = others or bool(select)
    return None if others else 0


def delete_redirect(rtnl: "Rtnl", index: int) -> None:
    """Remove the redirection, if it exists."""
    if queue_at(rtnl, index, _INGRESS).kind == "ingress":
        ingress = message("ingress", index=index, handle=_OF_INGRESS, parent=_INGRESS)
        rtnl.request(ingress, _DELQDISC, absent=_ABSENT)


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


def _redirected(action: dict[int, bytes]) -> int | None:
    """The index of the link that an action redirects to, 0 if that is gone; None for another action."""
    if text(action.get(_KIND)) != "mirred":
        return None
    does, to = _MIRRED.unpack_from(dict(attributes(action[_OPTIONS]))[_MIRRED_PARMS])
    return int(to) if does == _REDIRECT else None


def message(kind: str, options: "pyroute.Attributes | dict[str, Any]" = (), **fields: int) -> "Any":
    """A message about a queue, class or filter of this kind. Options that are None are left out."""
    from cni.kernel import pyroute

    module = pyroute.load("pyroute2.netlink.rtnl.tcmsg")
    if options:
        module.plugins[kind] = _described(kind)
    if not isinstance(options, dict):
        options = {"attrs": [(name, value) for name, value in options if value is not None]} if options else {}
    return pyroute.message(module.tcmsg, [("TCA_KIND", kind), ("TCA_OPTIONS", options or None)], **fields)


def _described(kind: str) -> "Any":
    """pyroute2's module for the options of a kind."""
    from cni.kernel.pyroute import complete, load

    match kind:
        case "tbf":
            found = load("pyroute2.netlink.rtnl.tcmsg.sched_tbf")
            complete(found.options, "TCA_TBF_RATE64", "uint64")
            return found
        case "htb":
            return load("pyroute2.netlink.rtnl.tcmsg.sched_htb")
        case "bfifo":
            return load("pyroute2.netlink.rtnl.tcmsg.sched_pfifo")
        case _:
            return load("pyroute2.netlink.rtnl.tcmsg.cls_u32")
