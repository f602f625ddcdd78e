"""ipvlan: on the node's uplink. Not every kernel can make one."""

from pathlib import Path

from contract.subject import IPAM, RESULT, Network, Subject
from node.configuration import host_local
from node.plugin import DIST


class Ipvlan(Subject):
    """A link of the container on one of the node, with its MAC."""

    type = "ipvlan"
    kind = "ipvlan"
    keys = {
        "master": "nowhere", "linkInContainer": False, "mode": "l2", "mtu": 1400, "gateways": ["10.1.2.1", "fd00::1"],
        "dns": RESULT["dns"], "ipam": IPAM,
    }  # fmt: skip
    more = [{"linkInContainer": True, "master": "lo"}, {"master": None}]
    working = {"master": "uplink"}
    # the master is the node's, in a container, or an earlier plugin's
    of_the_node = (
        "failed to lookup master", "no default route interface found", "failed to create ipvlan",
        "chained master failure", "no plugin name provided",
    )  # fmt: skip
    # it needs an IPAM plugin
    path = DIST
    in_container = True

    def networks(self, store: Path) -> dict[str, Network]:
        """IPv4 alone: to look for duplicate IPv6 addresses takes the kernel two seconds."""
        on = {"type": "ipvlan", "master": "uplink"}
        ipam = host_local(store, "10.1.2.0/24", routes=[{"dst": "0.0.0.0/0"}])
        leaves = {"interface", "lease"}
        return {
            "usual": Network({**on, "ipam": ipam}, leaves=leaves, go=True, back=True),
            "full": Network({**on, "mode": "l3s", "mtu": 1400, "ipam": ipam}, leaves=leaves, variant=True),
        }


SUBJECT = Ipvlan()
