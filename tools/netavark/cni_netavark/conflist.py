"""What a CNI configuration list serves, as far as its keys tell (pure): capabilities, ranges of addresses, the link."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cni import wire
from cni.settings import chosen
from libcni import NetworkConfigList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True)
class Range:
    """A range of addresses of the IPAM plugin host-local."""

    subnet: "IPv4Network | IPv6Network"
    gateway: str
    """The stated one, or else the first address of the subnet, as host-local has it."""
    start: str
    """Empty: not stated."""
    end: str

    def document(self) -> dict[str, Any]:
        """The range as a subnet of a podman network."""
        found: dict[str, Any] = {"subnet": str(self.subnet), "gateway": self.gateway}
        lease = {"start_ip": self.start, "end_ip": self.end}
        given = {name: text for name, text in lease.items() if text}
        return found | ({"lease_range": given} if given else {})


class Conflist:
    """A list, read for what podman wants to know about it."""

    def __init__(self, net: NetworkConfigList) -> None:
        self.net = net
        self._documents: list[dict[str, Any]] = [wire.decode(plugin.bytes) for plugin in net.plugins]

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities that a plugin of the list declares."""
        return frozenset(
            name for plugin in self.net.plugins for name, wanted in plugin.network.capabilities.items() if wanted
        )

    @property
    def ipam(self) -> str:
        """The type of the IPAM plugin; empty if the list has none."""
        return next((plugin.network.ipam_type for plugin in self.net.plugins if plugin.network.ipam_type), "")

    @property
    def link(self) -> str:
        """The node's interface of the network: the bridge, or the parent. Empty if no key names one."""
        for document in self._documents:
            for key in ("bridge", "master", "hostInterface", "device"):
                if isinstance(found := chosen(document, key), str) and found:
                    return found
        return ""

    @property
    def ranges(self) -> list[Range]:
        """The ranges of host-local. Those that cannot be read are left out: ADD reports them."""
        return [found for document in self._documents for found in _ranges(chosen(document, "ipam"))]

    def length(self, address: str) -> int:
        """The length of the prefix that an address has in this network; that of a single address if it is not known."""
        import ipaddress

        wanted = ipaddress.ip_address(address)
        for found in self.ranges:
            if wanted in found.subnet:
                return found.subnet.prefixlen
        return wanted.max_prefixlen


def _ranges(ipam: Any) -> Iterator[Range]:
    import ipaddress

    if not isinstance(ipam, dict) or chosen(ipam, "type") != "host-local":
        return
    sets = chosen(ipam, "ranges")
    entries = [[ipam]] if chosen(ipam, "subnet") else []
    entries += [found for found in sets if isinstance(found, list)] if isinstance(sets, list) else []
    for entry in (entry for found in entries for entry in found if isinstance(entry, dict)):
        try:
            subnet = ipaddress.ip_network(chosen(entry, "subnet"))
        except (ValueError, TypeError):
            continue
        stated = {name: chosen(entry, name) or "" for name in ("gateway", "rangeStart", "rangeEnd")}
        yield Range(subnet, stated["gateway"] or str(subnet[1]), stated["rangeStart"], stated["rangeEnd"])
