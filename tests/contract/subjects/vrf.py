"""vrf: after a bridge. Not every kernel can make one."""

from pathlib import Path

from contract.subject import Network, Subject
from node.configuration import host_local


class Vrf(Subject):
    """A link of the container that another one joins."""

    type = "vrf"
    kind = "vrf"
    keys = {"vrfname": "vrf0", "table": 7}
    more = [{"table": 0}]
    # tests of bad input have a container without an interface, which is looked at before anything is made
    of_the_node = ("could not get link by name",)
    in_container = True
    on_an_interface = True

    def networks(self, store: Path) -> dict[str, Network]:
        """What the plugin makes is in the container."""
        ipam = host_local(store, "10.1.2.0/24")
        below = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipam": ipam}
        return {
            "usual": Network(below, {"type": "vrf", "vrfname": "vrf0"}, leaves={"interface"}, go=True, back=True),
        }


SUBJECT = Vrf()
