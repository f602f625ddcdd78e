"""skeleton: it comes after a bridge, and changes the interface."""

from pathlib import Path

from contract.subject import Network, Subject
from node.configuration import host_local


class Skeleton(Subject):
    """A promiscuous interface."""

    type = "skeleton"
    keys = {"promisc": True}
    # tests of bad input have a container without an interface
    working = {"promisc": None}
    of_the_node = ("failed to lookup",)
    in_container = True

    def networks(self, store: Path) -> dict[str, Network]:
        """After the usual bridge. The interface changes; what is on the node is the bridge's."""
        below = {"type": "bridge", "bridge": "br0", "ipam": host_local(store, "10.1.2.0/24")}
        return {"usual": Network(below, {"type": "skeleton", "promisc": True}, leaves={"interface"})}


SUBJECT = Skeleton()
