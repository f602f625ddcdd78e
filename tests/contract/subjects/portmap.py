"""portmap: behind a bridge, with either backend."""

import itertools
from pathlib import Path

from contract.subject import Network, Subject
from node.configuration import host_local, port, portmap

# The file alone is tried many times on one node, and not always with a DEL.
_free = itertools.count(20000)
PORTS = [port(8080), port(8081, 81, "udp"), port(8083, 83, ip="::")]


class Portmap(Subject):
    """Ports of the node that lead to containers."""

    type = "portmap"
    keys = {
        "snat": True, "masqAll": True, "markMasqBit": 13, "externalSetMarkChain": "X", "conditionsV4": ["-s", "10.0.0.0/8"],
        "conditionsV6": ["-s", "fd00::/8"], "backend": "nftables", "conflict": "queue", "guardLocalnet": True,
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "10.0.0.1"}]},
    }  # fmt: skip
    more = [
        {"externalSetMarkChain": None, "backend": "iptables"},
        {"markMasqBit": None, "backend": "iptables"},
        {"conditionsV4": ["ip saddr 10.0.0.0/8"], "conditionsV6": None, "externalSetMarkChain": None},
    ]
    working = {"conditionsV4": None, "conditionsV6": None, "externalSetMarkChain": None}

    def networks(self, store: Path) -> dict[str, Network]:
        """Behind the usual bridge."""
        ipam = host_local(store, "10.1.2.0/24", "fd00:1::/64")
        below = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": ipam}
        note = {"note localnet", "nftables pycni_localnet"}
        values = {"portMappings": PORTS}
        return {
            "usual": Network(below, portmap(), leaves={"nftables pycni_hostports"} | note, values=values, go=True),
            "iptables": Network(below, portmap(backend="iptables"), leaves={"iptables"} | note, values=values, go=True),
        }

    def budget(self, store: Path) -> Network:
        """One published port, of IPv4."""
        below = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": host_local(store, "10.97.0.0/24")}
        return Network(below, portmap(), leaves=(), values={"portMappings": [port(next(_free))]})

    def alone(self, store: Path) -> Network:
        """Without localhost, for which the container's link would be needed."""
        return Network(
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": False,
             "prevResult": {"interfaces": [], "ips": [{"address": "10.9.0.5/16"}]}},
            leaves={"nftables pycni_hostports"}, values={"portMappings": [port(next(_free))]},
        )  # fmt: skip


SUBJECT = Portmap()
