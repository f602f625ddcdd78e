"""bandwidth: behind a bridge, with limits of both ways, from the configuration or the capability."""

from pathlib import Path
from typing import Any

from contract.subject import Network, Subject
from node.configuration import host_local

RATES = {"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 4_000_000, "egressBurst": 400_000}


def behind(store: Path, *plugins: dict[str, Any], **more: Any) -> Network:
    """Behind the usual bridge."""
    ipam = host_local(store, "10.1.2.0/24", "fd00:1::/64")
    return Network({"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": ipam}, *plugins, **more)


class Bandwidth(Subject):
    """Limits of a container's rate."""

    type = "bandwidth"
    keys = {
        **RATES, "shapedSubnets": ["10.0.0.0/8"], "burstTime": 25, "latency": 25,
        "runtimeConfig": {"bandwidth": {**RATES, "shapedSubnets": ["10.0.0.0/8", "fd00::/8"]}},
    }  # fmt: skip
    more = [
        {"shapedSubnets": None, "unshapedSubnets": ["10.0.0.0/8"]},
        {**dict.fromkeys(RATES), "shapedSubnets": None},
    ]
    # tests of bad input have a container without an interface
    working = dict.fromkeys((*RATES, "runtimeConfig"))
    of_the_node = ("has no veth peer",)

    def networks(self, store: Path) -> dict[str, Network]:
        """With the numbers of Go's plugin; as a runtime sends them; and for some subnets."""
        capability = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
        values = {"bandwidth": {"ingressRate": 10_000_000, "ingressBurst": (1 << 32) - 1} | {
            "egressRate": 10_000_000, "egressBurst": (1 << 31) - 1
        }}  # fmt: skip
        # Go's CHECK expects the queues that Go's plugin makes
        swapped = {"go": True, "back": True, "doubted": True}
        some = {"type": "bandwidth", **RATES, "unshapedSubnets": ["10.1.0.0/16", "fd00:1::/64"]}
        return {
            "usual": behind(store, {"type": "bandwidth", **RATES}, leaves={"link"}, **swapped),
            "capability": behind(store, capability, leaves={"link"}, values=values, variant=True, **swapped),
            "subnets": behind(store, some, leaves={"link"}, back=True, variant=True),
        }  # fmt: skip

    def budget(self, store: Path) -> Network:
        """Both ways, as the capability has them."""
        return self.networks(store)["capability"]

    def alone(self, store: Path) -> Network:
        """Without limits, for which the container's link would be needed."""
        return Network({"type": "bandwidth", "prevResult": {"ips": [{"address": "10.9.0.5/16"}]}}, leaves=())


SUBJECT = Bandwidth()
