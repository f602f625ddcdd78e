"""An IPAM plugin that talks over the container's link: it can during ADD, and during DEL."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge
from node.deadline import eventually
from node.plugin import GO, SUBJECT
from node.topology import Attachment, NamedNetns, Node
from node.traffic import Wire, reaches

Object = dict[str, Any]

# ADD and DEL send a frame with the verb from the container's interface, as it is when the plugin is called.
TALKER = """#!/bin/sh
[ $CNI_COMMAND = ADD ] || [ $CNI_COMMAND = DEL ] || exit 0
nsenter --net=$CNI_NETNS {python} -c '
import os, socket
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((os.environ["CNI_IFNAME"], 0))
link.send(b"\\xff" * 6 + link.getsockname()[4] + b"\\x88\\xb5" + os.environ["CNI_COMMAND"].encode().ljust(46, b"\\0"))
' || exit 1
[ $CNI_COMMAND = DEL ] || echo '{result}'
"""


def talker(folder: Path, result: str) -> str:
    """A folder with the plugins under test and an IPAM plugin that talks."""
    folder.mkdir()
    (folder / "bridge").symlink_to(f"{SUBJECT}/bridge")
    plugin = folder / "talker"
    plugin.write_text(TALKER.format(python=sys.executable, result=result))
    plugin.chmod(0o755)
    return str(folder)


@pytest.fixture
def listener(node: Node) -> Iterator[Wire]:
    """A neighbour on the bridge, whose port forwards."""
    node.ip(
        "link add br0 type bridge",
        "link set br0 up",
        f"link add near type veth peer name near netns {node.outside.name}",
        "link set near master br0 up",
    )
    node.outside.ip("link set near up")
    assert eventually(lambda: node.port("near")["state"] == "forwarding", interval=0.001)
    with Wire(node.outside, "near") as wire:
        yield wire


@pytest.mark.beyond_old_go("the link is removed before IPAM's DEL")
@pytest.mark.parametrize("keys", [{}, {"isGateway": True, "ipMasq": True, "macspoofchk": True}], ids=["plain", "full"])
def test_an_ipam_plugin_is_heard_during_add_and_del(node: Node, tmp_path: Path, listener: Wire, keys: Object) -> None:
    """The first frame that it sends reaches the neighbours, and so does the one before the address is given back."""
    folder = talker(tmp_path / "bin", '{"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.9/24"}]}')
    pod = node.attach(bridge({"type": "talker"}, **keys), binaries=folder)
    assert pod.pod.addresses("eth0") == {"10.1.0.9/24"}
    assert pod.delete(binaries=folder).ok
    assert listener.received_until(b"DEL") == [b"ADD", b"DEL"]
    assert "eth0" not in pod.pod.links()


@pytest.mark.beyond_old_go("the link is down during IPAM's ADD")
def test_an_ipam_plugin_is_heard_when_add_is_taken_back(node: Node, tmp_path: Path, listener: Wire) -> None:
    """Its answer cannot be used: it is asked to give back what it gave while it can still send."""
    routes = '"routes": [{"dst": "10.9.0.0/16", "gw": "192.0.2.77"}]'
    folder = talker(tmp_path / "bin", f'{{"cniVersion": "1.0.0", "ips": [{{"address": "10.1.0.9/24"}}], {routes}}}')
    pod = Attachment(node, bridge({"type": "talker"}), node.pod())
    assert "10.9.0.0/16" in pod.add(binaries=folder).error["msg"]
    assert listener.received_until(b"DEL") == [b"ADD", b"DEL"]
    assert set(pod.pod.links()) == {"lo"}


@pytest.mark.parametrize("routes", ["", '"routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]'], ids=["none", "default"])
def test_an_ipam_plugin_may_leave_the_link_down(node: Node, tmp_path: Path, routes: str) -> None:
    """Some DHCP clients do: it is up when ADD returns."""
    result = f'"ips": [{{"address": "10.1.0.9/24"}}]{", " if routes else ""}{routes}'
    folder = talker(tmp_path / "bin", f'{{"cniVersion": "1.0.0", {result}}}')
    with Path(folder, "talker").open("a") as script:
        script.write("nsenter --net=$CNI_NETNS ip link set $CNI_IFNAME down\n")
    pod = node.attach(bridge({"type": "talker"}, isGateway=True), binaries=folder)
    assert "UP" in pod.pod.link("eth0")["flags"]
    assert reaches(pod.pod, node, "10.1.0.1")
    assert pod.check(binaries=folder).ok


class Leases:
    """A DHCP server on the bridge (busybox), Go's DHCP daemon on the node, and every DHCP message that is seen."""

    NAMES = ("", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")
    CONF = """start 10.7.0.50
end 10.7.0.60
interface near
lease_file {folder}/leases
pidfile {folder}/pid
option subnet 255.255.255.0
option router 10.7.0.1
option lease 600
"""

    def __init__(self, node: Node, folder: Path) -> None:
        self.socket = folder / "dhcp.sock"
        node.outside.ip("addr add 10.7.0.1/24 dev near")
        (folder / "leases").touch()
        (folder / "udhcpd.conf").write_text(self.CONF.format(folder=folder))
        self._seen = node.outside.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        with node.outside.inside():
            self._seen.bind(("near", 3))
        with (folder / "log").open("wb") as log:
            self._processes = [
                self._start(node.outside, log, "busybox", "udhcpd", "-f", str(folder / "udhcpd.conf")),
                self._start(node, log, f"{GO}/dhcp", "daemon", "-socketpath", str(self.socket)),
            ]
        assert eventually(self.socket.exists), (folder / "log").read_text()

    @staticmethod
    def _start(at: NamedNetns, log: Any, *command: str) -> subprocess.Popen[bytes]:
        with at.inside():
            return subprocess.Popen(command, stdout=log, stderr=log)

    def seen_until(self, last: str, seconds: float = 30.0) -> list[str]:
        """The client's messages up to and with ``last``, or all that came when the time is over."""
        found: list[str] = []
        end = time.monotonic() + seconds
        while last not in found and (left := end - time.monotonic()) > 0:
            self._seen.settimeout(left)
            try:
                data = self._seen.recv(2000)
            except TimeoutError:
                break
            if len(data) > 240 and data[9] == socket.IPPROTO_UDP and data[20:24] == b"\0\x44\0\x43":
                found.append(self.NAMES[self._kind(data[28 + 240 :])])
        return found

    @staticmethod
    def _kind(options: bytes) -> int:
        while options and options[0] != 53:
            options = options[1:] if not options[0] else options[2 + options[1] :]
        return options[2]

    def close(self) -> None:
        self._seen.close()
        for process in self._processes:
            process.terminate()
            process.wait(20)


@contextmanager
def leases(node: Node, folder: Path) -> Iterator[Leases]:
    """The servers, ended with the block."""
    served = Leases(node, folder)
    try:
        yield served
    finally:
        served.close()


@pytest.mark.beyond_old_go("the link is removed before IPAM's DEL")
@pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox's DHCP server")
def test_gos_dhcp_gets_a_lease_and_gives_it_back(node: Node, tmp_path: Path, listener: Wire) -> None:
    """The first DISCOVER is answered: none is sent twice. The RELEASE is seen on the wire."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bridge").symlink_to(f"{SUBJECT}/bridge")
    (folder / "dhcp").symlink_to(f"{GO}/dhcp")
    with leases(node, tmp_path) as served:
        conf = bridge({"type": "dhcp", "daemonSocketPath": str(served.socket)})
        pod = node.attach(conf, binaries=str(folder))
        assert pod.result["ips"][0]["gateway"] == "10.7.0.1"
        assert pod.pod.addresses("eth0") == {f"{pod.address}/24"}
        assert {route["dst"] for route in pod.pod.routes()} == {"default", "10.7.0.0/24"}
        assert pod.delete(binaries=str(folder)).ok
        assert served.seen_until("RELEASE") == ["DISCOVER", "REQUEST", "RELEASE"]
