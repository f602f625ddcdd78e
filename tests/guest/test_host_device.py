"""host-device with hardware, the guest's network card: found in the kernel's own /sys, and put back by the kernel."""

import os
import subprocess

import pytest

from node.deadline import eventually
from node.namespace import Netns, Object
from node.plugin import Outcome
from node.served import plugin, serve
from node.topology import NamedNetns

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(os.uname().nodename != "guest", reason="moves devices of the first namespace: make test-guest"),
]
HERE = Netns("/proc/self/ns/net")
CARD = "card0"


@pytest.fixture
def pci() -> str:
    """The PCI address of the network card, which is on the bus of virtio."""
    subprocess.run(["modprobe", "virtio_net"], check=True, timeout=60)
    (name,) = (name for name, link in HERE.links().items() if "linkinfo" not in link and name != "lo")
    HERE.ip(f"link set {name} down", f"link set {name} name {CARD}", f"link set {CARD} mtu 1400 alias uplink up")
    return os.path.basename(os.path.dirname(os.path.realpath(f"/sys/class/net/{CARD}/device")))


def call(verb: str, pod: NamedNetns, **keys: object) -> Outcome:
    """A layer-2 network."""
    conf: Object = {"cniVersion": "1.0.0", "name": "net1", "type": "host-device", **keys}
    return serve(plugin("host-device"), verb, conf, container=pod.name, netns=pod.path)


def came_back() -> None:
    """The card is on the node as it was before."""
    back = HERE.link(CARD)
    assert (back["mtu"], back["ifalias"], "UP" in back["flags"]) == (1400, "uplink", True)


def test_the_network_card_by_its_place_in_sys(pci: str) -> None:
    """By PCI address, from the configuration or from the runtime, and by path. Away, it is seen no more."""
    pod, other = NamedNetns("pod"), NamedNetns("other")
    path = os.path.dirname(os.path.realpath(f"/sys/class/net/{CARD}/device/net"))
    try:
        for keys in ({"pciBusID": pci}, {"runtimeConfig": {"deviceID": pci}}, {"kernelpath": path}):
            added = call("ADD", pod, **keys)
            assert added.ok, f"{keys}: {added.stdout}"
            assert pod.link("eth0")["ifalias"] == CARD
            assert call("ADD", other, **keys).error["msg"].startswith("failed to find host device: ")
            assert call("CHECK", pod, **keys, prevResult=added.document).ok
            assert call("DEL", pod).ok
            came_back()
    finally:
        pod.close()
        other.close()


def test_the_next_container_gets_it_after_one_that_ended_without_del(pci: str) -> None:
    """The kernel has put it back, down and as eth0: it is found by its own name, and by its PCI address keeps that."""
    for keys in ({"device": CARD}, {"pciBusID": pci}):
        first, second = NamedNetns("first"), NamedNetns("second")
        try:
            assert call("ADD", first, **keys).ok
            first.close()
            assert eventually(lambda: any(each.get("ifalias") == CARD for each in HERE.links().values()))
            added = call("ADD", second, **keys)
            assert added.ok, added.stdout
            assert second.link("eth0")["ifalias"] == CARD
            assert call("DEL", first).ok and second.link("eth0")["ifalias"] == CARD
            assert call("DEL", second).ok
            came_back()
        finally:
            first.close()
            second.close()
