"""dhcp: it asks the daemon, which asks a server outside. Here it is called by itself, for the interface of a macvlan."""

from pathlib import Path

from contract.subject import Network, Subject
from node.dhcp import CALM, Daemon
from node.dhcpserver import Server
from node.topology import Node


def socket(store: Path) -> str:
    """The daemon's socket; a store belongs to one node."""
    return str(store.parent / f"{store.name}-ours.sock")


class Dhcp(Subject):
    """A lease for the interface of another plugin."""

    type = "dhcp"
    # it is the one that others ask
    delegated = ()
    keys = {
        "ipam": {
            "type": "dhcp",
            "daemonSocketPath": "/nowhere/dhcp.sock",
            "provide": [{"option": "host-name", "value": "pod", "fromArg": "K8S_POD_NAME"}],
            "request": [{"option": "121", "skipDefault": False}],
            "priority": 10,
            "ipv4": True,
            "ipv6": "auto",
            "probe": False,
        }
    }  # fmt: skip
    daemon = "error dialing DHCP daemon"
    of_the_node = (daemon,)
    in_container = True
    on_an_interface = True

    def networks(self, store: Path) -> dict[str, Network]:
        """A server on the segment of the uplink."""
        below = {"type": "macvlan", "master": "uplink", "mode": "bridge"}
        entry = {"type": "dhcp", "ipam": {"type": "dhcp", "daemonSocketPath": socket(store), "probe": False}}
        return {
            "usual": Network(
                below, entry, leaves={"note dhcp"}, around=lambda node: self.serve(node, store), apart=True
            )
        }

    def serve(self, node: Node, store: Path) -> None:
        """A server and the daemon for a node, once."""
        if Path(socket(store)).exists():
            return
        node.with_it(Server(node.outside, "uplink").close)
        daemon = Daemon(node, store.parent, "ours", *CALM, start=False)
        daemon.socket = Path(socket(store))
        daemon.arguments = ["-socketpath", str(daemon.socket)]
        node.with_it(daemon.close)
        daemon.start()


SUBJECT = Dhcp()
