"""firewall: behind a bridge, with each backend that needs no daemon."""

from pathlib import Path

from contract.subject import Network, Subject
from node.configuration import host_local


class Firewall(Subject):
    """The node forwards the packets of containers."""

    type = "firewall"
    keys = {
        "backend": "iptables", "iptablesAdminChainName": "CNI-ADMIN", "firewalldZone": "trusted",
        "ingressPolicy": "same-bridge",
    }  # fmt: skip
    more = [{"backend": "nftables", "ingressPolicy": "isolated"}]

    def networks(self, store: Path) -> dict[str, Network]:
        """Behind the usual bridge. Masquerading names the addresses of a pod of Go's whose result is lost."""
        ipam = host_local(store, "10.1.2.0/24", "fd00:1::/64")
        below = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": ipam}
        masquerading = {**below, "ipMasq": True, "ipMasqBackend": "iptables"}
        leaves, kinds = {"iptables", "note firewall"}, {"go": True, "variant": True}
        closed = {"type": "firewall", "backend": "iptables", "ingressPolicy": "same-bridge"}
        # fmt: off
        return {
            "usual": Network(below, {"type": "firewall"}, leaves=leaves),
            "nftables": Network(
                below, {"type": "firewall", "backend": "nftables", "ingressPolicy": "isolated"},
                leaves={"nftables pycni_firewall", "note firewall"},
            ),
            "swapped": Network(masquerading, {"type": "firewall"}, leaves=leaves, **kinds),
            "swapped policy": Network(masquerading, closed, leaves=leaves, **kinds),
        }
        # fmt: on

    def budget(self, store: Path) -> Network:
        """An address of IPv4."""
        below = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": host_local(store, "10.97.0.0/24")}
        return Network(below, {"type": "firewall"}, leaves=())

    def alone(self, store: Path) -> Network:
        """The result of a plugin before it."""
        previous = {"interfaces": [], "ips": [{"address": "10.9.0.5/16"}]}
        return Network({"type": "firewall", "prevResult": previous}, leaves={"iptables", "note firewall"})


SUBJECT = Firewall()
