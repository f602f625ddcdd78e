"""macvlan: on the node's uplink, with addresses and on layer 2."""

from pathlib import Path

from contract.subject import IPAM, RESULT, Network, Subject
from node.configuration import host_local


class Macvlan(Subject):
    """A link of the container on one of the node."""

    type = "macvlan"
    keys = {
        "master": "nowhere", "linkInContainer": False, "mode": "bridge", "mtu": 1400, "mac": "02:00:00:00:00:01",
        "bcqueuelen": 500, "isDefaultGateway": True, "hostShim": True, "dns": RESULT["dns"], "ipam": IPAM,
        "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        "args": {"cni": {"mac": "02:00:00:00:00:01"}},
    }  # fmt: skip
    more = [{"linkInContainer": True, "master": "lo"}, {"master": None}]
    working = {"master": "uplink", "hostShim": None}
    # the master is the node's, or in a container, where STATUS cannot look
    of_the_node = ("failed to lookup master", "no default route interface found", "failed to create macvlan")
    in_container = True

    def networks(self, store: Path) -> dict[str, Network]:
        """IPv4 alone: to look for duplicate IPv6 addresses takes the kernel two seconds."""
        on = {"type": "macvlan", "master": "uplink"}
        ipam = host_local(store, "10.1.2.0/24", routes=[{"dst": "0.0.0.0/0"}])
        full = {"mtu": 1400, "mac": "02:00:00:00:00:77", "bcqueuelen": 500, "mode": "private"}
        return {
            "usual": Network({**on, "ipam": ipam}, leaves={"interface", "lease"}, go=True, back=True),
            "full": Network({**on, **full, "ipam": ipam}, leaves={"interface", "lease"}, variant=True),
            "layer 2": Network(on, leaves={"interface"}, go=True, back=True, variant=True),
            "host shim": Network({**on, "hostShim": True, "ipam": ipam}, leaves={"interface", "lease", "link"}),
        }

    def alone(self, store: Path) -> Network:
        """Layer 2: no IPAM plugin is needed."""
        return self.networks(store)["layer 2"]


SUBJECT = Macvlan()
