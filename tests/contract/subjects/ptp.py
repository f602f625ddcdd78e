"""ptp: masquerade with either backend, both families, layer 2."""

from pathlib import Path

from contract.subject import IPAM, RESULT, Network, Subject
from node.configuration import host_local

LINKS = {"link", "interface"}
ADDRESSED = LINKS | {"lease"}


class Ptp(Subject):
    """A routed link to each container."""

    type = "ptp"
    keys = {
        "ipMasq": True, "ipMasqBackend": "nftables", "dropInvalid": True, "mtu": 1400, "dns": RESULT["dns"], "ipam": IPAM,
    }  # fmt: skip
    more = [{"ipMasqBackend": "iptables"}, {"mtu": 1279, "ipam": {"type": "x", "subnet": "fd00::/64"}}]
    delegated = ("ipam", "ipMasq")
    passed_on = ("ranges", "routes")
    refused_ifname = "lo"

    def networks(self, store: Path) -> dict[str, Network]:
        """The usual one as in the README, Go's chains, and layer 2, which Go's does not have."""
        both = host_local(store, "10.1.2.0/24", "fd00:1::/64", routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
        one = host_local(store, "10.1.2.0/24", routes=[{"dst": "0.0.0.0/0"}])
        usual = {"type": "ptp", "ipMasq": True}
        return {
            "usual": Network(
                usual | {"ipam": one}, leaves=ADDRESSED | {"nftables pycni_masquerade"}, go=True, variant=True
            ),
            "full": Network(
                usual | {"dropInvalid": True, "mtu": 1400, "ipam": both},
                leaves=ADDRESSED | {"nftables pycni_masquerade"},
            ),
            "iptables": Network(
                usual | {"ipMasqBackend": "iptables", "ipam": both}, leaves=ADDRESSED | {"iptables"}, go=True, back=True
            ),
            "layer 2": Network({"type": "ptp"}, leaves=LINKS),
        }

    def alone(self, store: Path) -> Network:
        """Layer 2: no IPAM plugin is needed."""
        return self.networks(store)["layer 2"]


SUBJECT = Ptp()
