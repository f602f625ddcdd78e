"""static: it makes nothing on the node. Here it is called by itself."""

from pathlib import Path

from contract.subject import RESULT, Network, Subject


class Static(Subject):
    """Addresses as they are stated."""

    type = "static"
    # it is the one that others ask
    delegated = ()
    keys = {
        "ipam": {
            "type": "static",
            "addresses": [{"address": "10.1.2.5/24", "gateway": "10.1.2.1"}, {"address": "fd00::5/64"}],
            "routes": [
                {"dst": "0.0.0.0/0", "gw": "10.1.2.1", "mtu": 1400, "advmss": 1300, "priority": 1, "table": 254, "scope": 0}
            ],
            "dns": RESULT["dns"],
        },
        "args": {"cni": {"ips": ["10.1.2.5/24"]}},
        "runtimeConfig": {"ips": [{"address": "10.1.2.5/24", "gateway": "10.1.2.1"}, "fd00::5/64"]},
    }  # fmt: skip
    more = [{"runtimeConfig": None}, {"runtimeConfig": None, "args": None}]

    def networks(self, store: Path) -> dict[str, Network]:
        """Both families. Nothing is left, so tests about what is left have nothing to do (variant)."""
        addresses = [{"address": "10.1.2.5/24", "gateway": "10.1.2.1"}, {"address": "fd00:1::5/64"}]
        usual = {"type": "static", "ipam": {"type": "static", "addresses": addresses, "routes": [{"dst": "0.0.0.0/0"}]}}
        return {"usual": Network(usual, leaves=(), go=True, back=True, variant=True)}


SUBJECT = Static()
