"""Hardware, the guest's own: when its namespace ends the kernel puts it back, under any name."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.links.moved_link import MovedLink, Settled
from cni.site import Node, Roots, Site
from node.deadline import eventually
from node.namespace import Netns
from node.topology import NamedNetns

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(os.uname().nodename != "guest", reason="moves devices of the first namespace: make test-guest"),
]
HERE = Netns("/proc/self/ns/net")


@pytest.fixture
def device() -> Iterator[str]:
    """The network card, up, with values of its own."""
    subprocess.run(["modprobe", "virtio_net"], check=True, timeout=60)
    (name,) = (name for name, link in HERE.links().items() if "linkinfo" not in link and name != "lo")
    HERE.ip(f"link set {name} down", f"link set {name} name card0", "link set card0 mtu 1400 alias uplink up")
    yield "card0"


@pytest.mark.parametrize("taken", [False, True], ids=["name kept", "name drawn"])
@pytest.mark.parametrize("late", [False, True], ids=["before DEL", "after DEL began"])
def test_the_kernel_puts_it_back(device: str, tmp_path: Path, taken: bool, late: bool) -> None:
    """Its namespace ends while or before DEL asks; and if the name that it had there is taken, it gets another one."""
    pod, other = NamedNetns("pod"), "link add eth0 type veth peer name eth1"
    try:
        site = Site(Attachment("net1", "c1", "eth0"), pod.path, Node(Roots(run=str(tmp_path))))
        moved = MovedLink(site, lambda: site.rtnl.link(device))  # type: ignore[arg-type,return-value]
        link = moved.make()
        Settled(moved).make()
        assert (link.kind, link.alias) == ("", device) and device not in HERE.links()
        if taken:
            HERE.ip(other)
        site.container.close()
        pod.close()
        if not late:
            assert eventually(lambda: any(each.get("ifalias") == device for each in HERE.links().values()))
        for _ in range(2):
            MovedLink(Site(site.attachment, pod.path, Node(Roots(run=str(tmp_path))))).remove()
            back = HERE.link(device)
            assert (back["mtu"], back["ifalias"], "UP" in back["flags"]) == (1400, "uplink", True)
    finally:
        if taken and "eth1" in HERE.links():
            HERE.ip("link del eth1")
        pod.close()
