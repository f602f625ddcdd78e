"""tuning: it comes after a bridge, and changes the interface."""

from pathlib import Path

from contract.subject import Network, Subject
from node.configuration import host_local

SYSCTL = {"net.core.somaxconn": "512", "net/ipv4/ip_local_port_range": "20000 30000"}


class Tuning(Subject):
    """Another MAC, MTU, queue length, modes and sysctls of the container."""

    type = "tuning"
    keys = {
        "sysctl": {"net.core.somaxconn": "512", "net.ipv4.conf.IFNAME.arp_filter": "1"}, "mac": "02:00:00:00:00:01",
        "promisc": True, "mtu": 1400, "allmulti": False, "txQLen": 500, "dataDir": "tuned",
        "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        "args": {"cni": {"sysctl": {"net.core.somaxconn": "513"}, "mac": "02:00:00:00:00:01", "promisc": True, "mtu": 1300,
                         "allmulti": True, "txQLen": 1}},
    }  # fmt: skip
    # tests of bad input have a container without an interface
    working = {
        "sysctl": {"net.core.somaxconn": "512"}, "mac": None, "promisc": None, "mtu": None, "allmulti": None, "txQLen": None,
        "runtimeConfig": None, "args": None,
    }  # fmt: skip
    # what the container has: neither an interface nor each sysctl
    of_the_node = ("failed to get", "sysctl", "with IPv6")
    in_container = True

    def networks(self, store: Path) -> dict[str, Network]:
        """After the usual bridge. What stays on the node is the bridge's, but for the original values."""
        below = {"type": "bridge", "bridge": "br0", "ipam": host_local(store, "10.1.2.0/24")}
        keys = {"mac": "02:00:00:00:00:77", "promisc": True, "mtu": 1400, "allmulti": True, "sysctl": SYSCTL}
        leaves = {"interface", "note tuning"}
        return {"usual": Network(below, {"type": "tuning", **keys}, leaves=leaves, go=True, back=True, doubted=True)}

    def budget(self, store: Path) -> Network:
        """A sysctl and a MAC."""
        below = {"type": "bridge", "bridge": "br0", "ipam": host_local(store, "10.97.0.0/24")}
        keys = {"sysctl": SYSCTL, "capabilities": {"mac": True}}
        return Network(below, {"type": "tuning", **keys}, leaves=(), values={"mac": "02:00:00:00:00:78"})


SUBJECT = Tuning()
