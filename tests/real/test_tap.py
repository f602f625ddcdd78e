"""tap: who may open it, what it is like, what is refused, what CHECK sees, and its bridge in the pod."""

import errno
import fcntl
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cni.attachment import Attachment as Identity
from cni.errors import CNIError
from cni.kernel import program, tun
from cni.site import Node as OwnNode
from cni.site import Roots, Site
from cni.skel import Call
from cni_tap.link import Tap
from cni_tap.settings import Settings
from node.configuration import host_local
from node.namespace import Netns, Object
from node.served import plugin, serve
from node.topology import Attachment, Node

pytestmark = pytest.mark.real

TAP, NO_INFORMATION, VNET_HEADER, MULTI_QUEUE = 0x2, 0x1000, 0x4000, 0x100
# In a process of another user, with an open /dev/net/tun: prints the number of the error.
ATTACH = """
import fcntl, sys
try:
    fcntl.ioctl(int(sys.argv[1]), 0x400454CA, bytes.fromhex(sys.argv[2]))
except OSError as error:
    print(error.errno)
"""


def tap(section: Object | None = None, *, version: str = "1.0.0", **keys: Any) -> Object:
    """A network of taps; without ``section`` on layer 2."""
    conf: Object = {"cniVersion": version, "name": "net1", "type": "tap", **keys}
    return conf | ({"ipam": section} if section else {})


def request(flags: int, name: str = "eth0") -> bytes:
    return struct.pack("=16sH22x", name.encode(), TAP | flags)


def opened(pod: Netns) -> int:
    with pod.inside():
        return os.open(tun.DEVICE, os.O_RDWR)


def attached_by(pod: Netns, user: int, group: int, flags: int = NO_INFORMATION) -> int:
    """A program of this user and group opens the pod's tap: the number of the error, 0 if it may."""
    device = opened(pod)
    try:
        command = [sys.executable, "-c", ATTACH, str(device), request(flags).hex()]
        out = subprocess.check_output(command, pass_fds=[device], user=user, group=group, extra_groups=[])
    finally:
        os.close(device)
    return int(out or 0)


def data(pod: Netns) -> Object:
    found: Object = pod.link("eth0")["linkinfo"]["info_data"]
    return found


def refused(node: Node, conf: Object, **call: Any) -> Object:
    """The error of an ADD that leaves nothing."""
    pod = node.pod()
    error = Attachment(node, conf, pod, **call).add().error
    assert set(pod.links()) == {"lo"} and not any(node.leases().values())
    return error


def test_a_program_gets_the_frames_of_the_pod(node: Node) -> None:
    """With a header or without, as it opens the tap. Until then the tap has no carrier, and ADD does not wait."""
    one = node.attach(tap(host_local(node.data_dir, "10.1.2.0/24", "fd00:1::/64", routes=[{"dst": "0.0.0.0/0"}])))
    assert one.check().ok and "LOWER_UP" not in one.pod.link("eth0")["flags"]
    for flags, before in ((NO_INFORMATION, 0), (NO_INFORMATION | VNET_HEADER, 10)):
        device = opened(one.pod)
        try:
            fcntl.ioctl(device, 0x400454CA, request(flags))
            one.pod.run("ip", "neigh", "flush", "dev", "eth0")
            with one.pod.socket(kind=2) as sender:
                sender.sendto(b"x", ("10.1.2.77", 9))
            while (frame := os.read(device, 2000)[before:])[12:14] != b"\x08\x06":
                pass
            assert frame[6:12].hex(":") == one.mac and frame[38:42] == bytes([10, 1, 2, 77])
        finally:
            os.close(device)
        assert one.check().ok
    assert one.result["interfaces"] == [{"name": "eth0", "mac": one.mac, "sandbox": one.pod.path}]
    assert [ip["interface"] for ip in one.result["ips"]] == [0, 0]
    assert one.pod.sysctl("ipv4/conf/eth0/arp_notify") == "1"


def test_mac_mtu_and_queues_with_owner_and_group(node: Node) -> None:
    """Go's plugin drops MAC and MTU where owner and group are given. The greatest numbers are numbers too."""
    most = (1 << 32) - 2
    given: Iterable[Object] = (
        {},
        {"owner": 1001},
        {"group": 1002},
        {"owner": 1001, "group": 1002},
        {"owner": most, "group": most},
    )
    for numbers in given:
        for more in ({}, {"multiQueue": True}):
            one = node.attach(tap(mtu=1400, mac="02-00-00-00-00-0A", version="1.1.0", **numbers, **more))
            link, found = one.pod.link("eth0"), data(one.pod)
            assert (link["mtu"], one.mac) == (1400, "02:00:00:00:00:0a")
            assert one.result["interfaces"][0]["mtu"] == 1400 and one.result["interfaces"][0]["mac"] == one.mac
            names = {"owner": found.get("user"), "group": found.get("group")}
            assert {key: int(value) for key, value in names.items() if value is not None} == numbers
            assert (found["type"], found["persist"], found["multi_queue"]) == ("tap", True, bool(more))
            assert one.check().ok and one.delete().ok and set(one.pod.links()) == {"lo"}


def test_who_may_open_it(node: Node) -> None:
    one = node.attach(tap(owner=1001, group=1002))
    assert attached_by(one.pod, 1001, 1002) == 0
    assert attached_by(one.pod, 1001, 1003) == attached_by(one.pod, 1003, 1002) == errno.EPERM
    assert attached_by(one.pod, 1001, 1002, NO_INFORMATION | MULTI_QUEUE) == errno.EINVAL
    several = node.attach(tap(owner=1001, multiQueue=True))
    assert attached_by(several.pod, 1001, 5, NO_INFORMATION | MULTI_QUEUE) == 0
    assert attached_by(several.pod, 1001, 5) == errno.EINVAL


def test_a_name_that_is_taken_is_refused_and_the_link_stays(node: Node) -> None:
    """Go's plugin sets up the link that is there, reports it as the tap, and leaves the new one."""
    conf, pod = tap(host_local(node.data_dir, "10.1.2.0/24")), node.pod()
    pod.ip("tuntap add mode tap name eth0")
    before = pod.link("eth0")
    error = Attachment(node, conf, pod).add().error
    assert error["msg"] == "failed to create tap: file exists" and "a link eth0 is in" in error["details"]
    assert pod.link("eth0") == before and set(pod.links()) == {"lo", "eth0"}
    other = node.attach(tap(name="net2"))
    assert f"net2/{other.pod.container}/eth0" in Attachment(node, conf, other.pod).add().error["details"]
    assert "send DEL first" in Attachment(node, other.conf, other.pod).add().error["details"]
    assert other.check().ok
    assert not any(node.leases().values())


def test_the_bridge_in_the_pod(node: Node) -> None:
    """By any of its names. CHECK misses the port, and a bridge that is none or is gone is refused."""
    pod = node.pod()
    pod.ip("link add br0 type bridge", "link property add dev br0 altname the-bridge-of-this-pod", "link set br0 up")
    for name in ("br0", "the-bridge-of-this-pod"):
        one = node.attach(tap(bridge=name), pod)
        assert pod.ports("br0") == {"eth0"} and one.check().ok
        pod.ip("link set eth0 nomaster")
        assert one.check().error["msg"] == f"eth0 is not a port of bridge {name}"
        assert one.delete().ok
    error = Attachment(node, tap(bridge="lo"), pod).add().error
    assert error["msg"].startswith("failed to set tap eth0 as a port of bridge lo: ")
    assert set(pod.links()) == {"lo", "br0"}
    assert refused(node, tap(bridge="br0"))["msg"] == "failed to get bridge br0: Link not found"


@pytest.mark.parametrize(
    ("keys", "args", "msg"),
    [
        ({"owner": -1}, "", "owner is -1"),
        ({"group": (1 << 32) - 1}, "", "group is 4294967295"),
        ({"owner": "root"}, "", "owner"),
        ({"multiQueue": 1}, "", "multiQueue"),
        ({"mtu": 65530}, "", "failed to create tap: "),
        ({"mtu": 20}, "", "mtu is 20"),
        ({"mac": "none"}, "", "invalid args none for MAC addr: "),
        ({"mac": "03:00:00:00:00:01"}, "", "multicast"),
        ({}, "A=b", "ARGS: unknown args"),
        ({"args": []}, "", "args"),
        ({"selinuxContext": "a\nb"}, "", "selinuxContext"),
        ({"selinuxContext": "no:such:context"}, "", "failed set socket label: "),
        ({"version": "0.2.0"}, "", "no valid IP addresses"),
        ({"ipam": {"type": "none"}}, "", 'failed to find plugin "none"'),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_stays(node: Node, keys: Object, args: str, msg: str) -> None:
    assert msg in refused(node, tap(**keys), args=args)["msg"]


def test_the_sources_of_mac_and_dns(node: Node, tmp_path: Path) -> None:
    """The capability counts before CNI_ARGS and the key; the configuration's DNS before the IPAM plugin's."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\n")
    ipam = host_local(node.data_dir, "10.1.2.0/24", resolvConf=str(resolv))
    one = node.attach(tap(ipam, mac="02:00:00:00:00:01"), args="IgnoreUnknown=1;MAC=02:00:00:00:00:02")
    assert (one.mac, one.result["dns"]) == ("02:00:00:00:00:02", {"nameservers": ["192.0.2.53"]})
    conf = tap(ipam, dns={"domain": "a"}, runtimeConfig={"mac": "02:00:00:00:00:03"})
    two = node.attach(conf, args="IgnoreUnknown=1;MAC=02:00:00:00:00:02")
    assert (two.mac, two.result["dns"]) == ("02:00:00:00:00:03", {"domain": "a"})


def test_check_names_each_difference(node: Node) -> None:
    """Of the tap, its addresses and routes. Who opened it may have set the header, which is not compared."""
    ipam = host_local(node.data_dir, "10.1.2.0/24", routes=[{"dst": "0.0.0.0/0"}])
    one = node.attach(tap(ipam, owner=1001, mac="02:00:00:00:00:0a"))
    route = "route add default via 10.1.2.1"
    changes = [
        (["link set eth0 down"], ["link set eth0 up", route], "Interface eth0 is down"),
        (
            [f"addr del {one.address}/24 dev eth0"],
            [f"addr add {one.address}/24 dev eth0", route],
            "Failed to match addr",
        ),
        (["route del default"], [route], "Expected Route"),
        (
            ["link set eth0 address 02:00:00:00:00:0b"],
            ["link set eth0 address 02:00:00:00:00:0a"],
            "doesn't match container Mac",
        ),
    ]
    for change, back, text in changes:
        one.pod.ip(*change)
        assert text in one.check().error["msg"], change
        one.pod.ip(*back)
        assert one.check().ok, change
    for keys, text in (
        ({"owner": 1002}, "Container tap owner 1001 does not match expected value: 1002"),
        ({"group": 7}, "Container tap group -1 does not match expected value: 7"),
        ({"multiQueue": True}, "Container tap multi_queue False does not match expected value: True"),
    ):
        assert one.call("CHECK", {**one.conf, **keys, "prevResult": one.result}).error["msg"] == text
    assert one.call("CHECK", one.conf).error["msg"] == "Required prevResult missing"
    one.pod.ip("link delete eth0", "tuntap add mode tun name eth0")
    assert "Container tap mode tun does not match expected value: tap" in one.check().error["msg"]
    one.pod.ip("link delete eth0", "link add eth0 type veth peer name x")
    assert one.check().error["msg"] == "Error: Container interface eth0 not of type tun"
    one.pod.ip("link delete eth0")
    assert 'failed to lookup "eth0"' in one.check().error["msg"]


def test_status_tries_the_device(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ADD without it leaves nothing."""
    conf = tap(version="1.1.0")
    assert node.cni("tap", "STATUS", conf).ok
    outcome = node.cni("tap", "STATUS", tap({"type": "none"}, version="1.1.0"))
    assert 'failed to find plugin "none"' in outcome.error["msg"]
    monkeypatch.setattr(tun, "DEVICE", "/dev/net/none")
    pod = node.pod()
    for verb, code in (("STATUS", 50), ("ADD", 999)):
        error = serve(plugin("tap"), verb, conf, netns=pod.path).error
        assert error["code"] == code and error["msg"].startswith("failed to create tap: ")
        assert "CONFIG_TUN" in error["details"]


def test_the_selinux_context_is_that_of_the_program_that_makes_it(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The context of the next program is written and taken back; ``ip`` makes the same tap, and may fail."""
    labels = tmp_path / "thread-self" / "attr" / "exec"
    labels.parent.mkdir(parents=True)
    labels.write_text("")
    keys: Object = {"owner": 1001, "group": 1002, "multiQueue": True, "mtu": 1400, "selinuxContext": "a:b:c:s0"}
    pod = node.pod()
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod.container, "CNI_IFNAME": "eth0"}
    settings = Settings(Call(environ, json.dumps(tap(**keys)).encode(), io.StringIO()))
    own = OwnNode(Roots(proc=str(tmp_path)))
    site, other = (Site(Identity("net1", pod.container, ifname), pod.path, own) for ifname in ("eth0", "eth1"))
    try:
        made = Tap(site, settings)
        link, found = made.make(), data(pod)
        assert (link.mtu, found["user"], found["group"], found["multi_queue"]) == (1400, 1001, 1002, True)
        # the context, and over its beginning the byte that clears it: this file is not the kernel's
        assert labels.read_bytes() == b"\0:b:c:s0"
        made.compare(pytest.fail)
        monkeypatch.setattr(program, "find", lambda name: "/bin/false")
        with pytest.raises(CNIError, match="failed to run command ip: exit status 1"):
            Tap(other, settings).make()
    finally:
        site.close()
        other.close()
        own.close()
