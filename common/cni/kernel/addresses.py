"""Addresses of links (rtnetlink(7), linux/if_addr.h)."""

import struct
from _socket import AF_UNSPEC
from errno import EADDRNOTAVAIL

from cni.address import Address, Prefix
from cni.kernel.netlink import F_CREATE, F_DUMP, F_EXCL, Answer, KernelError, attribute, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_HEADER = struct.Struct("=BBBBI")
_ADDRESS, _LOCAL, _BROADCAST, _FLAGS = 1, 2, 4, 8
_NODAD, _DADFAILED, _TENTATIVE = 0x02, 0x08, 0x40


class LinkAddress:
    """An address on a link."""

    __slots__ = ("flags", "index", "prefix", "scope")

    def __init__(self, answer: Answer) -> None:
        _, length, flags, self.scope, self.index = _HEADER.unpack_from(answer.data, 16)
        found = dict(answer.attributes(16 + _HEADER.size))
        # of a point-to-point link ADDRESS is the other end's
        self.prefix = Prefix(Address(found[_LOCAL] if _LOCAL in found else found[_ADDRESS]), length)
        self.flags: int = number(found[_FLAGS]) if _FLAGS in found else flags

    @property
    def tentative(self) -> bool:
        """Whether duplicate address detection goes on: it cannot be used yet."""
        return bool(self.flags & _TENTATIVE)

    @property
    def duplicate(self) -> bool:
        """Whether duplicate address detection has found it elsewhere."""
        return bool(self.flags & _DADFAILED)


def of(rtnl: "Rtnl", index: int, family: int = AF_UNSPEC) -> list[LinkAddress]:
    """The addresses of one link."""
    answers = rtnl.request(_HEADER.pack(family, 0, 0, 0, index), _GETADDR, F_DUMP)
    return [address for address in map(LinkAddress, answers) if address.index == index]


def add(rtnl: "Rtnl", index: int, prefix: Prefix, detect_duplicates: bool = True) -> None:
    """Put an address on a link, with the broadcast address that IPv4 expects; raises ``KernelError``."""
    flags = _NODAD if prefix.version == 6 and not detect_duplicates else 0
    message = _message(index, prefix, flags)
    if prefix.version == 4 and prefix.length < 31:
        last = int(prefix.address) | (1 << 32 - prefix.length) - 1
        message += attribute(_BROADCAST, last.to_bytes(4, "big"))
    rtnl.request(message, _NEWADDR, F_CREATE | F_EXCL)


def delete(rtnl: "Rtnl", index: int, prefix: Prefix) -> None:
    """Take an address away; that it is gone is success."""
    try:
        rtnl.request(_message(index, prefix), _DELADDR)
    except KernelError as error:
        if error.errno != EADDRNOTAVAIL:
            raise


def _message(index: int, prefix: Prefix, flags: int = 0) -> bytes:
    packed = prefix.address.packed
    header = _HEADER.pack(prefix.address.family, prefix.length, flags, 0, index)
    return header + attribute(_LOCAL, packed) + attribute(_ADDRESS, packed)
