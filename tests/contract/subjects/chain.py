"""chain: other plugins as its members."""

import itertools
from pathlib import Path

from contract.subject import Network, Subject
from node.configuration import host_local, port, portmap
from node.plugin import DIST

_free = itertools.count(21000)


class Chain(Subject):
    """All plugins of a network in one process."""

    type = "chain"
    keys = {"plugins": [{"type": "loopback"}], "capabilities": {"mac": True}}
    more = [
        {"plugins": [{"type": "x", "capabilities": {"mac": True}}], "capabilities": {"ips": True}},
        {"plugins": [{"type": "chain"}]},
    ]
    working = {"capabilities": None, "prevResult": None}
    # its members have to be there; those of its own build it has in its file
    path = DIST
    has_members = True
    repairs = False

    def networks(self, store: Path) -> dict[str, Network]:
        """bridge and portmap as members, and loopback."""
        ipam = host_local(store, "10.1.2.0/24")
        bridge = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True, "ipam": ipam}
        chained = {"type": "chain", "capabilities": {"portMappings": True}}
        values = {"portMappings": [port(8080), port(5353, 53, "udp")]}
        left = {"link", "interface", "lease", "note localnet", "note chain-whole"}
        tables = {"nftables pycni_masquerade", "nftables pycni_hostports", "nftables pycni_localnet"}
        both = host_local(store, "10.1.2.0/24", "fd00:1::/64", routes=[{"dst": "0.0.0.0/0"}])
        by_iptables = {**bridge, "ipMasqBackend": "iptables", "ipam": both}
        iptables = [{"type": "loopback"}, by_iptables, portmap(backend="iptables", snat=True)]
        return {
            "usual": Network({**chained, "plugins": [bridge, portmap()]}, leaves=left | tables, values=values),
            "iptables": Network(
                {**chained, "plugins": iptables},
                leaves={*left, "lo", "iptables", "nftables pycni_localnet"},
                values=values,
                variant=True,
            ),
        }

    def budget(self, store: Path) -> Network:
        """The usual one with one published port."""
        return Network(*self.usual(store).plugins, leaves=(), values={"portMappings": [port(next(_free))]})

    def alone(self, store: Path) -> Network:
        """loopback as its only member."""
        return Network({"type": "chain", "plugins": [{"type": "loopback"}]}, leaves={"lo", "note chain-whole"})


SUBJECT = Chain()
