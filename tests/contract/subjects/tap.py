"""tap: with addresses and on layer 2. Debian 12's Go plugins have none."""

from pathlib import Path

from contract.subject import IPAM, RESULT, Network, Subject
from node.configuration import host_local


class Tap(Subject):
    """A link of the container whose other end is a program."""

    type = "tap"
    keys = {
        "owner": 1000, "group": 1000, "multiQueue": True, "mtu": 1400, "mac": "02:00:00:00:00:01", "bridge": "br0",
        "selinuxContext": "x", "dns": RESULT["dns"], "ipam": IPAM, "runtimeConfig": {"mac": "02:00:00:00:00:01"},
        "args": {"cni": {"mac": "02:00:00:00:00:01"}},
    }  # fmt: skip
    more = [{"bridge": None}, {"bridge": None, "selinuxContext": None}]
    # tests of bad input have a container without a bridge, and need no SELinux
    working = {"bridge": None, "selinuxContext": None}
    of_the_node = ("failed to get bridge", "failed set socket label", "failed to create tap")
    in_container = True

    def networks(self, store: Path) -> dict[str, Network]:
        """IPv4, every key, and layer 2."""
        ipam = host_local(store, "10.1.2.0/24", routes=[{"dst": "0.0.0.0/0"}])
        full = {"owner": 1000, "group": 1000, "multiQueue": True, "mtu": 1400, "mac": "02:00:00:00:00:77"}
        return {
            "usual": Network({"type": "tap", "ipam": ipam}, leaves={"interface", "lease"}, go=True, back=True),
            "full": Network({"type": "tap", **full, "ipam": ipam}, leaves={"interface", "lease"}, variant=True),
            "layer 2": Network({"type": "tap"}, leaves={"interface"}, go=True, back=True),
        }

    def alone(self, store: Path) -> Network:
        """Layer 2: no IPAM plugin is needed."""
        return self.networks(store)["layer 2"]


SUBJECT = Tap()
