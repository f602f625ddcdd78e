"""Neighbours: the MACs of the addresses on a link (rtnetlink(7), linux/neighbour.h)."""

from errno import ENOENT

from cni.kernel import pyroute
from cni.kernel.netlink import F_CREATE, F_REPLACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.address import Address
    from cni.kernel.rtnl import Rtnl

_NEWNEIGH, _DELNEIGH = 28, 29
_STALE, _LEARNED = 0x04, 0x10


def put(rtnl: "Rtnl", index: int, address: "Address", mac: str) -> None:
    """Tell the kernel the MAC of an address. It asks there before it relies on it, and never forgets it by itself."""
    message = _message(index, address, mac, state=_STALE, flags=_LEARNED)
    rtnl.request(message, _NEWNEIGH, F_CREATE | F_REPLACE)


def delete(rtnl: "Rtnl", index: int, address: "Address") -> None:
    """Remove the MAC of an address, if one is known."""
    rtnl.request(_message(index, address), _DELNEIGH, absent=(ENOENT,))


def _message(index: int, address: "Address", mac: str | None = None, **fields: int) -> "pyroute.Message":
    attributes = (("NDA_DST", str(address)), ("NDA_LLADDR", mac))
    fields.update(family=address.family, ifindex=index)
    return pyroute.message(pyroute.load("pyroute2.netlink.rtnl.ndmsg").ndmsg, attributes, **fields)
