"""Addresses of links (rtnetlink(7), linux/if_addr.h)."""

from _socket import AF_UNSPEC
from errno import EADDRNOTAVAIL

from cni.address import Address, Prefix
from cni.kernel import pyroute
from cni.kernel.netlink import F_CREATE, F_DUMP, F_NEW, F_REPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
FOREVER = 0xFFFFFFFF
_NODAD, _DADFAILED, _TENTATIVE, _PERMANENT = 0x02, 0x08, 0x40, 0x80


class LinkAddress:
    """An address on a link. Duplicate address detection may still run (``tentative``), or have failed (``duplicate``).

    One that is not ``permanent`` has a lifetime, as those that routers advertise.
    """

    __slots__ = ("duplicate", "index", "permanent", "prefix", "scope", "tentative")

    def __init__(self, message: "pyroute.Message") -> None:
        # on a point-to-point link IFA_ADDRESS is the other end's
        text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        self.prefix = Prefix(Address.parse(text), message["prefixlen"])
        flags = message.get_attr("IFA_FLAGS") or message["flags"]
        self.tentative, self.duplicate = bool(flags & _TENTATIVE), bool(flags & _DADFAILED)
        self.permanent = bool(flags & _PERMANENT)
        self.scope: int = message["scope"]
        self.index: int = message["index"]


def of(rtnl: "Rtnl", index: int, family: int = AF_UNSPEC, most: int = 0) -> list[LinkAddress]:
    """The addresses of one link; with ``most``, only the first ones (``Netlink.first``)."""
    message = _message(family=family, index=index)
    answers = rtnl.first(message, _GETADDR, most) if most else rtnl.request(message, _GETADDR, F_DUMP)
    found = [LinkAddress(answer.decode(type(message))) for answer in answers]
    return [address for address in found if address.index == index]


def add(rtnl: "Rtnl", index: int, prefix: Prefix, detect_duplicates: bool = True) -> None:
    """Add an address to a link, with a broadcast address for IPv4; raises ``KernelError``."""
    flags = _NODAD if prefix.version == 6 and not detect_duplicates else 0
    broadcast = None
    if prefix.version == 4 and prefix.length < 31:
        last = int(prefix.address) | (1 << 32 - prefix.length) - 1
        broadcast = str(Address(last.to_bytes(4, "big")))
    rtnl.request(_message(prefix, broadcast, index=index, flags=flags), _NEWADDR, F_NEW)


def keep(rtnl: "Rtnl", index: int, prefix: Prefix, preferred: int, valid: int) -> None:
    """Add an IPv6 address that has no duplicate, or change its lifetimes, in seconds; ``FOREVER`` never ends."""
    message = _message(prefix, index=index, flags=_NODAD)
    message["attrs"].append(("IFA_CACHEINFO", {"ifa_preferred": preferred, "ifa_valid": valid}))
    rtnl.request(message, _NEWADDR, F_CREATE | F_REPLACE)


def delete(rtnl: "Rtnl", index: int, prefix: Prefix) -> None:
    """Remove an address, if it exists."""
    rtnl.request(_message(prefix, index=index), _DELADDR, absent=(EADDRNOTAVAIL,))


def _message(prefix: Prefix | None = None, broadcast: str | None = None, **fields: int) -> "pyroute.Message":
    text = str(prefix.address) if prefix else None
    if prefix:
        fields.update(family=prefix.address.family, prefixlen=prefix.length)
    attributes = [("IFA_LOCAL", text), ("IFA_ADDRESS", text), ("IFA_BROADCAST", broadcast)]
    return pyroute.message(pyroute.load("pyroute2.netlink.rtnl.ifaddrmsg").ifaddrmsg, attributes, **fields)
