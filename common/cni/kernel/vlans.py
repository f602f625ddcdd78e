"""The VLANs of a bridge's ports (linux/if_bridge.h)."""

import struct

from cni.kernel.netlink import F_DUMP, attribute, attributes, integer
from cni.kernel.rtnl import EXT_MASK, HEADER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Rtnl

_DELLINK, _GETLINK, _SETLINK = 17, 18, 19
_AF_BRIDGE = 7
_AF_SPEC, _BRIDGE_FLAGS, _VLAN_INFO = 26, 0, 2
_FILTER_VLANS = 1 << 1
_TO_THE_MASTER, _OF_THE_MASTER = 1, 1 << 0
_ENTRY = struct.Struct("=HH")


def of(rtnl: "Rtnl", index: int) -> dict[int, int]:
    """VLAN ids on a bridge port with their flags; empty on a bridge that does not filter."""
    message = HEADER.pack(_AF_BRIDGE, 0, 0, 0, 0) + integer(EXT_MASK, _FILTER_VLANS)
    found: dict[int, int] = {}
    for answer in rtnl.request(message, _GETLINK, F_DUMP):
        if HEADER.unpack_from(answer.data, 16)[2] != index:
            continue
        spec = dict(answer.attributes(32)).get(_AF_SPEC, b"")
        for kind, payload in attributes(spec):
            if kind == _VLAN_INFO:
                flags, vid = _ENTRY.unpack(payload)
                found[vid] = flags
    return found


def add(rtnl: "Rtnl", index: int, vid: int, flags: int = 0) -> None:
    """Put a VLAN on a port."""
    rtnl.request(_message(index, vid, flags), _SETLINK)


def delete(rtnl: "Rtnl", index: int, vid: int) -> None:
    """Take a VLAN away from a port."""
    rtnl.request(_message(index, vid, 0), _DELLINK)


def _message(index: int, vid: int, flags: int) -> bytes:
    entry = attribute(_VLAN_INFO, _ENTRY.pack(flags | _OF_THE_MASTER, vid))
    spec = integer(_BRIDGE_FLAGS, _TO_THE_MASTER, 2) + entry
    return HEADER.pack(_AF_BRIDGE, 0, index, 0, 0) + attribute(_AF_SPEC, spec)
