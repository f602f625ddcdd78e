"""Traffic control, as far as a limit of a link's rate needs it (tc(8), linux/pkt_sched.h, linux/pkt_cls.h).

What a link sends is limited by a queue of its own, a token bucket (tc-tbf(8)). What it receives cannot be queued: all of
it is sent on to another link, an ``ifb``, and limited there.
"""

import struct
from _socket import AF_UNSPEC
from errno import EINVAL, ENODEV, ENOENT

from cni.kernel.netlink import F_CREATE, F_DUMP, F_EXCL, Answer, KernelError, attribute, attributes, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_NEWTFILTER, _GETTFILTER = 44, 46
# family, index of the link, handle, parent, and for filters priority and protocol
_HEADER = struct.Struct("=BxxxiIII")
_KIND, _OPTIONS = 1, 2
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_FIRST, _OF_INGRESS = 0x00010000, 0xFFFF0000
# priority 1, every protocol (ETH_P_ALL in the network's order)
_FOR_ALL = 1 << 16 | int.from_bytes(struct.pack(">H", 3), "little")
# struct tc_tbf_qopt: rate, peak rate, then limit, buffer and mtu
_TBF = struct.Struct("=BBHhHI12xIII")
_TBF_PARMS, _TBF_RATE64 = 1, 4
_ETHERNET = 1
# A tick of the scheduler in nanoseconds, and the largest number in a message.
_TICK, _MAX = 64, (1 << 32) - 1
# struct tc_u32_sel with one struct tc_u32_key: all bits of the mask are 0, so everything fits
_SELECT_ALL = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + bytes(16)
_U32_SEL, _U32_ACT = 5, 7
_ACT_KIND, _ACT_OPTIONS = 1, 2
# struct tc_mirred: what is done with the packet afterwards, how it is sent on, and to which link
_MIRRED, _MIRRED_PARMS = struct.Struct("=IIiiiiI"), 2
_STOLEN, _REDIRECT = 4, 1


class Tbf:
    """A token bucket: bytes a second, bytes at once, and bytes that wait at most.

    The kernel keeps ``buffer``, the time that a burst takes, in ticks; it is cut to microseconds as Go's plugin does.
    """

    __slots__ = ("buffer", "limit", "rate")

    def __init__(self, rate: int, burst: int, limit: int) -> None:
        self.rate = rate
        self.limit = min(limit, _MAX)
        self.buffer = min(burst * 1_000_000 // max(rate, 1) * 1000 // _TICK, _MAX)

    @property
    def burst(self) -> int:
        """Bytes at once, as far as ``buffer`` shows them."""
        return self.buffer * _TICK * self.rate // 1_000_000_000

    def __eq__(self, other: object) -> bool:
        mine = (self.rate, self.limit, self.buffer)
        return isinstance(other, Tbf) and mine == (other.rate, other.limit, other.buffer)

    def __hash__(self) -> int:
        return hash((self.rate, self.limit, self.buffer))

    def __repr__(self) -> str:
        return f"Tbf(rate={self.rate}, limit={self.limit}, buffer={self.buffer})"


def add_tbf(rtnl: "Rtnl", index: int, tbf: Tbf) -> None:
    """Limit what a link sends; raises ``KernelError``, with EEXIST where somebody gave it a queue."""
    parameters = _TBF.pack(0, _ETHERNET, 0, 0, 0, min(tbf.rate, _MAX), tbf.limit, tbf.buffer, 0)
    options = attribute(_TBF_PARMS, parameters)
    if tbf.rate > _MAX:
        options += attribute(_TBF_RATE64, struct.pack("=Q", tbf.rate))
    message = _HEADER.pack(AF_UNSPEC, index, _FIRST, _ROOT, 0) + _named("tbf") + attribute(_OPTIONS, options)
    rtnl.request(message, _NEWQDISC, F_CREATE | F_EXCL)


def tbf(rtnl: "Rtnl", index: int) -> Tbf | None:
    """The limit of what a link sends, None where its first queue is another or the kernel's own."""
    for answer in _qdiscs(rtnl, index, _ROOT):
        found = dict(answer.attributes(16 + _HEADER.size))
        if text(found.get(_KIND)) != "tbf":
            continue
        options = dict(attributes(found.get(_OPTIONS, b"")))
        *_, rate, limit, buffer, _ = _TBF.unpack_from(options[_TBF_PARMS])
        if _TBF_RATE64 in options:
            (rate,) = struct.unpack("=Q", options[_TBF_RATE64])
        read = Tbf(rate, 0, limit)
        read.buffer = buffer
        return read
    return None


def delete_tbf(rtnl: "Rtnl", index: int) -> None:
    """Remove the limit: the kernel's own queue comes back. That it is gone is success."""
    _delete(rtnl, _HEADER.pack(AF_UNSPEC, index, _FIRST, _ROOT, 0))


def add_redirect(rtnl: "Rtnl", index: int, to: int) -> None:
    """Send all that a link receives to another one; raises ``KernelError``, with EEXIST where that is done already."""
    header = _HEADER.pack(AF_UNSPEC, index, _OF_INGRESS, _INGRESS, 0)
    rtnl.request(header + _named("ingress"), _NEWQDISC, F_CREATE | F_EXCL)
    parameters = attribute(_MIRRED_PARMS, _MIRRED.pack(0, 0, _STOLEN, 0, 0, _REDIRECT, to))
    action = attribute(_ACT_KIND, b"mirred\0") + attribute(_ACT_OPTIONS, parameters)
    options = attribute(_U32_SEL, _SELECT_ALL) + attribute(_U32_ACT, attribute(1, action))
    header = _HEADER.pack(AF_UNSPEC, index, 0, _OF_INGRESS, _FOR_ALL)
    try:
        rtnl.request(header + _named("u32") + attribute(_OPTIONS, options), _NEWTFILTER, F_CREATE | F_EXCL)
    except KernelError:
        delete_redirect(rtnl, index)
        raise


def redirect(rtnl: "Rtnl", index: int) -> int:
    """The link to which all that a link receives is sent, 0 where there is none."""
    try:
        header = _HEADER.pack(AF_UNSPEC, index, 0, _OF_INGRESS, 0)
        answers = rtnl.request(header, _GETTFILTER, F_DUMP)
    except KernelError as error:
        if error.errno in (EINVAL, ENOENT, ENODEV):  # nothing can be attached there
            return 0
        raise
    for answer in answers:
        found = dict(answer.attributes(16 + _HEADER.size))
        options = dict(attributes(found.get(_OPTIONS, b"")))
        fits = options.get(_U32_SEL, b"x")[16:20] == bytes(4)
        for _, action in attributes(options.get(_U32_ACT, b"")) if fits else ():
            to = _redirected(dict(attributes(action)))
            if to:
                return to
    return 0


def delete_redirect(rtnl: "Rtnl", index: int) -> None:
    """What a link receives is its own again. That it was is success."""
    _delete(rtnl, _HEADER.pack(AF_UNSPEC, index, _OF_INGRESS, _INGRESS, 0))


def _redirected(action: dict[int, bytes]) -> int:
    """The link to which an action sends a packet, 0 for another action."""
    options = dict(attributes(action.get(_ACT_OPTIONS, b"")))
    if text(action.get(_ACT_KIND)) != "mirred" or _MIRRED_PARMS not in options:
        return 0
    *_, how, to = _MIRRED.unpack_from(options[_MIRRED_PARMS])
    return int(to) if how == _REDIRECT else 0


def _qdiscs(rtnl: "Rtnl", index: int, parent: int) -> list[Answer]:
    """The queues of one link below ``parent``; a dump is of all links."""
    answers = rtnl.request(_HEADER.pack(AF_UNSPEC, index, 0, 0, 0), _GETQDISC, F_DUMP)
    found = [(answer, _HEADER.unpack_from(answer.data, 16)) for answer in answers]
    return [answer for answer, header in found if (header[1], header[3]) == (index, parent)]


def _delete(rtnl: "Rtnl", message: bytes) -> None:
    try:
        rtnl.request(message, _DELQDISC)
    except KernelError as error:
        if error.errno not in (EINVAL, ENOENT, ENODEV):
            raise


def _named(kind: str) -> bytes:
    return attribute(_KIND, kind.encode() + b"\0")
