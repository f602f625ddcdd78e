"""The VLANs of a bridge's ports (linux/if_bridge.h)."""

from cni.kernel.netlink import F_DUMP
from cni.kernel.rtnl import link_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.rtnl import Rtnl

_DELLINK, _GETLINK, _SETLINK = 17, 18, 19
_AF_BRIDGE = 7
_FILTER_VLANS = 1 << 1
_TO_THE_MASTER, _OF_THE_MASTER = 1, 1 << 0


def of(rtnl: "Rtnl", index: int) -> dict[int, int]:
    """The VLAN ids of a bridge port with their flags; empty if the bridge does not filter."""
    message = link_message([("IFLA_EXT_MASK", _FILTER_VLANS)], family=_AF_BRIDGE)
    found: dict[int, int] = {}
    for answer in rtnl.request(message, _GETLINK, F_DUMP):
        link = answer.decode(type(message))
        spec = link.get_attr("IFLA_AF_SPEC") if link["index"] == index else None
        entries = spec.get_attrs("IFLA_BRIDGE_VLAN_INFO") if spec else ()
        found.update({entry["vid"]: entry["flags"] for entry in entries})
    return found


def add(rtnl: "Rtnl", index: int, vid: int, flags: int = 0) -> None:
    """Add a VLAN to a port."""
    rtnl.request(_message(index, vid, flags), _SETLINK)


def delete(rtnl: "Rtnl", index: int, vid: int) -> None:
    """Remove a VLAN from a port."""
    rtnl.request(_message(index, vid, 0), _DELLINK)


def _message(index: int, vid: int, flags: int) -> "Any":
    entry = {"vid": vid, "flags": flags | _OF_THE_MASTER}
    spec = [("IFLA_BRIDGE_FLAGS", _TO_THE_MASTER), ("IFLA_BRIDGE_VLAN_INFO", entry)]
    return link_message([("IFLA_AF_SPEC", {"attrs": spec})], family=_AF_BRIDGE, index=index)
