"""Connection tracking over netlink (linux/netfilter/nfnetlink_conntrack.h): flows found by protocol and port, removed.

UDP has no end that the kernel sees: a flow that was tracked before a port was mapped, or that goes to a pod which is
gone, keeps its translation for as long as packets come. The kernel filters the dump (since Linux 5.8; what an older
one sends beside is dropped here), and only what the caller names is removed, by its whole tuple.
"""

from errno import ENOENT

from cni.address import Address
from cni.kernel import pyroute
from cni.kernel.netlink import F_DUMP, NETFILTER, KernelError, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

_SUBSYSTEM = 1
_GET, _DELETE = 1, 2
_FILTER_PROTO_NUM, _FILTER_DST_PORT = 1 << 3, 1 << 5
_FAMILIES = {4: 2, 6: 10}


class Flow:
    """A tracked flow: where it was sent to (``to``, ``port``), and who answers it (``answerer``, ``answering_port``)."""

    __slots__ = ("answerer", "answering_port", "identifier", "original", "port", "to", "zone")

    def __init__(self, message: "Any") -> None:
        get = message.get_attr
        self.original = get("CTA_TUPLE_ORIG")
        self.to, self.port = _end(self.original, "DST")
        self.answerer, self.answering_port = _end(get("CTA_TUPLE_REPLY"), "SRC")
        self.identifier: int = get("CTA_ID") or 0
        self.zone: int = get("CTA_ZONE") or 0


def _end(tuple_: "Any", end: str) -> tuple[Address, int]:
    addresses, protocol = tuple_.get_attr("CTA_TUPLE_IP"), tuple_.get_attr("CTA_TUPLE_PROTO")
    text = addresses.get_attr(f"CTA_IP_V4_{end}") or addresses.get_attr(f"CTA_IP_V6_{end}")
    return Address.parse(text), protocol.get_attr(f"CTA_PROTO_{end}_PORT") or 0


class Conntrack(Netlink):
    """A socket to the connection tracking of the namespace in which it is made."""

    def __init__(self) -> None:
        super().__init__(NETFILTER)

    def _message(self, version: int, attributes: "list[tuple[str, Any]]") -> "Any":
        message = pyroute.load("pyroute2.netlink.nfnetlink.nfctsocket").nfct_msg()
        message["nfgen_family"] = _FAMILIES[version]
        message["attrs"] = attributes
        return message

    def flows(self, version: int, protocol: int, ports: "Collection[int]") -> list[Flow]:
        """The flows of one protocol that were sent to one of these ports; one dump, filtered by the kernel."""
        tuple_ = [("CTA_PROTO_NUM", protocol), ("CTA_PROTO_SRC_PORT", 0), ("CTA_PROTO_DST_PORT", next(iter(ports), 0))]
        wanted = _FILTER_PROTO_NUM | (_FILTER_DST_PORT if len(ports) == 1 else 0)
        message = self._message(
            version,
            [
                ("CTA_TUPLE_ORIG", {"attrs": [("CTA_TUPLE_PROTO", {"attrs": tuple_})]}),
                ("CTA_FILTER", {"attrs": [("CTA_FILTER_ORIG_FLAGS", wanted), ("CTA_FILTER_REPLY_FLAGS", 0)]}),
            ],
        )
        found = []
        for answer in self.request(message, _SUBSYSTEM << 8 | _GET, F_DUMP):
            decoded = answer.decode(type(message))
            told = decoded.get_attr("CTA_TUPLE_ORIG").get_attr("CTA_TUPLE_PROTO")
            if told.get_attr("CTA_PROTO_NUM") == protocol and told.get_attr("CTA_PROTO_DST_PORT") in ports:
                found.append(Flow(decoded))
        return found

    def forget(self, version: int, protocol: int, ports: "Collection[int]", stale: "Callable[[Flow], bool]") -> int:
        """Remove the flows to these ports that are ``stale``: how many there were."""
        count = 0
        for flow in self.flows(version, protocol, ports):
            if stale(flow):
                count += self._remove(version, flow)
        return count

    def _remove(self, version: int, flow: Flow) -> bool:
        addresses, ports = flow.original.get_attr("CTA_TUPLE_IP"), flow.original.get_attr("CTA_TUPLE_PROTO")
        original = {
            "attrs": [
                ("CTA_TUPLE_IP", {"attrs": _plain(addresses)}),
                ("CTA_TUPLE_PROTO", {"attrs": _plain(ports)}),
            ]
        }
        attributes: list[tuple[str, Any]] = [("CTA_TUPLE_ORIG", original), ("CTA_ID", flow.identifier)]
        if flow.zone:
            attributes.append(("CTA_ZONE", flow.zone))
        try:
            self.request(self._message(version, attributes), _SUBSYSTEM << 8 | _DELETE)
        except KernelError as error:
            if error.errno == ENOENT:
                return False
            raise
        return True


def _plain(nested: "Any") -> "list[tuple[str, Any]]":
    return [(slot[0], slot[1]) for slot in nested["attrs"]]
