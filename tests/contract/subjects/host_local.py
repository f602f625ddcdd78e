"""host-local: the one that is asked by others; here it is called by itself."""

from pathlib import Path

from contract.subject import IPAM, Network, Subject
from node.configuration import host_local


class HostLocal(Subject):
    """Addresses from ranges."""

    type = "host-local"
    # it is the one that others ask
    delegated = ()
    keys = {
        "ipam": IPAM, "args": {"cni": {"ips": ["10.1.2.8"]}},
        "runtimeConfig": {"ips": ["10.1.2.7"], "ipRanges": [[{"subnet": "10.9.0.0/24"}]]},
    }  # fmt: skip
    working = {"runtimeConfig": None, "args": None, "prevResult": None}

    def networks(self, store: Path) -> dict[str, Network]:
        """One family, and both."""
        one = host_local(store, "10.1.2.0/24")
        both = host_local(store, "10.1.2.0/24", "fd00:1::/64", routes=[{"dst": "0.0.0.0/0"}])
        usual, dual = ({"type": "host-local", "ipam": ipam} for ipam in (one, both))
        return {
            "usual": Network(usual, leaves={"lease"}, go=True, back=True, variant=True),
            "dual stack": Network(dual, leaves={"lease"}, go=True, back=True),
        }


SUBJECT = HostLocal()
