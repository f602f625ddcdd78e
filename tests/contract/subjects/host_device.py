"""host-device: each pod gets a device of its own, with addresses and on layer 2; or a program drives the device."""

from pathlib import Path

from contract.subject import IPAM, RESULT, Network, Subject
from node.configuration import host_local


class HostDevice(Subject):
    """A device of the node that is moved into the container."""

    type = "host-device"
    keys = {
        "device": "nowhere", "hwaddr": "02:00:00:00:00:01", "kernelpath": "/sys/devices/nowhere", "pciBusID": "0000:00:1f.6",
        "DPDKMode": False, "dns": RESULT["dns"], "ipam": IPAM, "runtimeConfig": {"deviceID": "nowhere"},
    }  # fmt: skip
    more = [
        {"pciBusID": None, "runtimeConfig": None},
        {"pciBusID": None, "runtimeConfig": None, "device": None},
        {"pciBusID": None, "runtimeConfig": None, "device": None, "hwaddr": None},
    ]
    working = {"device": "uplink", "pciBusID": None, "runtimeConfig": None}
    of_the_node = (
        "failed to find host device", "error with host device", "failed to move link", "runtime config DeviceID",
    )  # fmt: skip

    def networks(self, store: Path) -> dict[str, Network]:
        """IPv4 alone: to look for duplicate IPv6 addresses takes the kernel two seconds."""
        on = {"type": "host-device", "device": "DEVICE"}
        ipam = host_local(store, "10.1.2.0/24", routes=[{"dst": "0.0.0.0/0"}])
        moved = {"interface", "note moved"}
        return {
            "usual": Network({**on, "ipam": ipam}, leaves={*moved, "lease"}, go=True),
            "layer 2": Network(on, leaves=moved, go=True),
            "DPDK": Network({**on, "DPDKMode": True, "ipam": ipam}, leaves={"lease"}, variant=True),
        }

    def alone(self, store: Path) -> Network:
        """Layer 2: no IPAM plugin is needed."""
        return self.networks(store)["layer 2"]


SUBJECT = HostDevice()
