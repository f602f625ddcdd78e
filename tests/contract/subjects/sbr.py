"""sbr: after a bridge, with free tables and with a table of the configuration."""

from pathlib import Path

from contract.subject import Network, Subject
from node.configuration import host_local


class Sbr(Subject):
    """Rules and tables of the container."""

    type = "sbr"
    keys = {"table": 7, "gateways": ["10.1.2.1", "fd00::1"], "addSourceHints": True}
    more = [{"table": None}]
    # tests of bad input have a container without an interface: here no address is of it
    working = {
        "prevResult": {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "br0"}],
            "ips": [{"interface": 0, "address": "10.1.2.1/24"}],
        }
    }
    of_the_node = ("Cannot find network interface",)
    in_container = True
    routes = True

    def networks(self, store: Path) -> dict[str, Network]:
        """The interface and its address stay as they are: what the plugin makes is in the container's routing."""
        below = {
            "type": "bridge",
            "bridge": "br0",
            "isGateway": True,
            "ipam": host_local(store, "10.1.2.0/24"),
        }
        return {
            "usual": Network(below, {"type": "sbr"}, leaves={"routing"}, go=True, back=True),
            "table": Network(below, {"type": "sbr", "table": 7}, leaves={"routing"}, variant=True),
        }


SUBJECT = Sbr()
