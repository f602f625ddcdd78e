"""vlan: on the node's uplink. Not every kernel can make one."""

from pathlib import Path

from contract.subject import IPAM, RESULT, Network, Subject
from node.configuration import host_local


class Vlan(Subject):
    """A link of the container for one VLAN of a link of the node. A master has each id once."""

    type = "vlan"
    kind = "vlan"
    keys = {
        "master": "nowhere", "linkInContainer": False, "vlanId": 100, "mtu": 1400, "dns": RESULT["dns"], "ipam": IPAM,
    }  # fmt: skip
    more = [{"linkInContainer": True, "master": "lo"}, {"linkInContainer": True, "master": None}]
    working = {"master": "uplink"}
    # the master is the node's, in a container, or an earlier plugin's
    of_the_node = (
        "failed to lookup master", "failed to create vlan", "without master needs the result", "linkInContainer",
    )  # fmt: skip
    in_container = True

    def networks(self, store: Path) -> dict[str, Network]:
        """Each pod has a master of its own."""
        on = {"type": "vlan", "master": "DEVICE", "vlanId": 100}
        ipam = host_local(store, "10.1.2.0/24", routes=[{"dst": "0.0.0.0/0"}])
        return {
            "usual": Network({**on, "ipam": ipam}, leaves={"interface", "lease"}, go=True, back=True),
            "layer 2": Network({**on, "mtu": 1400}, leaves={"interface"}, variant=True),
        }

    def alone(self, store: Path) -> Network:
        """Layer 2: no IPAM plugin is needed."""
        return self.networks(store)["layer 2"]


SUBJECT = Vlan()
