"""bridge: gateway and masquerade with either backend, layer 2, and all that a port can be."""

from pathlib import Path

from contract.subject import IPAM, RESULT, Network, Subject
from node.configuration import host_local

LINKS = {"link", "interface"}
ADDRESSED = LINKS | {"lease"}


class Bridge(Subject):
    """Containers on a Linux bridge."""

    type = "bridge"
    keys = {
        "bridge": "br0", "isGateway": True, "isDefaultGateway": True, "forceAddress": True,
        "ipMasq": True, "ipMasqBackend": "nftables", "dropInvalid": True,
        "mtu": 1400, "hairpinMode": False, "promiscMode": False, "vlan": 0, "preserveDefaultVlan": False, "macspoofchk": True,
        "enabledad": False, "disableContainerInterface": False, "portIsolation": True, "dns": RESULT["dns"], "ipam": IPAM,
        "runtimeConfig": {"mac": "02:00:00:00:00:01"}, "args": {"cni": {"mac": "02:00:00:00:00:01"}},
    }  # fmt: skip
    more = [
        {"vlanTrunk": [{"minID": 1, "maxID": 5, "id": 9}]},
        {"mtu": 1279, "ipam": {"type": "x", "subnet": "fd00::/64"}},
        {"mtu": 1279, "ipam": {"type": "x", "ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]}},
        {"mtu": 1279, "ipam": {"type": "x", "addresses": [{"address": "fd00::5/64"}]}},
        {"mtu": 1279, "ipam": {"type": "x"}, "runtimeConfig": {"ips": ["fd00::5"]}},
        {"hairpinMode": True, "promiscMode": True},
        {"disableContainerInterface": True},
        {"bridge": "all"},
        {"bridge": "default"},
    ]
    delegated = ("ipam", "isGateway", "isDefaultGateway", "ipMasq")
    passed_on = ("ranges", "routes")
    # one that is there, so that no pair is made, which takes long: the kernel judges the rest before
    refused_ifname = "lo"

    def networks(self, store: Path) -> dict[str, Network]:
        """The usual one as in the README; the others take every way through the plugin."""
        both = host_local(store, "10.1.2.0/24", "fd00:1::/64", routes=[{"dst": "0.0.0.0/0"}])
        usual = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True}
        full = {"isDefaultGateway": True, "macspoofchk": True, "hairpinMode": True, "portIsolation": True}
        tables = {"nftables pycni_masquerade", "nftables pycni_macspoof"}
        layer_2 = {"type": "bridge", "bridge": "br0"}
        return {
            "usual": Network(
                usual | {"ipam": host_local(store, "10.1.2.0/24")},
                leaves=ADDRESSED | {"nftables pycni_masquerade"},
                go=True,
                variant=True,
            ),
            "full": Network(usual | full | {"ipam": both}, leaves=ADDRESSED | tables),
            "iptables": Network(
                usual | {"ipMasqBackend": "iptables", "ipam": both}, leaves=ADDRESSED | {"iptables"}, go=True, back=True
            ),
            "layer 2": Network(layer_2, leaves=LINKS, go=True, back=True, doubted=True),
        }

    def alone(self, store: Path) -> Network:
        """Layer 2: no IPAM plugin is needed."""
        return self.networks(store)["layer 2"]


SUBJECT = Bridge()
