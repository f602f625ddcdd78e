"""host-device: a device found by each of its keys, what a pod gets, how it comes back, what is refused, what CHECK sees."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni import site
from node.configuration import host_local
from node.namespace import Object
from node.plugin import DIST, GO, SUBJECT, Outcome
from node.served import plugin, serve
from node.topology import Attachment, Node, Pod
from node.traffic import tcp_source

pytestmark = pytest.mark.real

SUBNET = "10.1.2.0/24"
ARP = 0x0806
MAC = "02:00:00:00:00:07"
PCI, VIRTIO, AUXILIARY, DRIVEN, BARE = "0000:00:1f.6", "0000:00:03.0", "mlx5_core.sf.2", "0000:3b:00.1", "0000:3b:00.2"
# a network card (SR-IOV) and a virtual function of it
PF, VF = "0000:5e:00.0", "0000:5e:02.1"
NOTES = Path("/run/cni/pycni/moved")


def host_device(ipam: Object | None = None, *, version: str = "1.0.0", **keys: Any) -> Object:
    """A network of a device; without ``ipam`` on layer 2."""
    conf: Object = {"cniVersion": version, "name": "net1", "type": "host-device", **keys}
    return conf | ({"ipam": ipam} if ipam else {})


def host_looks(node: Node, name: str = "dev1") -> Object:
    """What ``ip`` shows of the device but for what the kernel counts or draws."""
    link = node.links()[name]
    own = ("ifindex", "link_index", "stats", "stats64", "operstate", "flags", "qdisc", "link_netnsid")
    return {key: link[key] for key in link if key not in own} | {"up": "UP" in link["flags"]}


def notes(pod: Pod) -> list[str]:
    """The notes of a pod's devices."""
    return [at.name for at in NOTES.glob(f"{pod.container}_*")]


@pytest.fixture
def device(node: Node) -> str:
    """A device with values of its own; the outside's end has an address."""
    name = node.device()
    node.ip(
        f"link set {name} mtu 1400 alias uplink-of-rack-3 address {MAC}",
        f"link property add dev {name} altname enp9s0 altname the-second-card-of-this-node",
    )
    node.outside.ip(f"addr add 10.1.2.1/24 dev {name}")
    assert name == "dev1"
    return name


@pytest.fixture
def sys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /sys in which dev1 is on each bus, and PCI devices without a link."""
    root = tmp_path / "sys"
    folders = {
        f"devices/pci0000:00/{PCI}/net/dev1": "e1000e", f"devices/pci0000:00/{VIRTIO}/virtio1/net/dev1": "virtio-pci",
        f"devices/pci0000:00/{DRIVEN}": "vfio-pci", f"devices/pci0000:00/{BARE}": "",
        f"devices/pci0000:00/{PCI}/{AUXILIARY}/net/dev1": "", "devices/pci0000:00/empty/net": "",
        f"devices/pci0000:00/{PF}/net/uplink": "igb", f"devices/pci0000:00/{VF}/net/dev1": "igbvf",
    }  # fmt: skip
    for folder, driver in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        if driver:
            (root / folder.split("/net")[0].split("/virtio")[0] / "driver").symlink_to(
                f"../../../bus/pci/drivers/{driver}"
            )
    (root / f"devices/pci0000:00/{PF}/virtfn1").symlink_to(f"../{VF}")
    (root / f"devices/pci0000:00/{VF}/physfn").symlink_to(f"../{PF}")
    for bus, names in (("pci", (PCI, VIRTIO, DRIVEN, BARE, PF, VF)), ("auxiliary", (f"{PCI}/{AUXILIARY}",))):
        (root / "bus" / bus / "devices").mkdir(parents=True)
        for name in names:
            (root / "bus" / bus / "devices" / os.path.basename(name)).symlink_to(f"../../../devices/pci0000:00/{name}")
    roots = site.Roots
    monkeypatch.setattr(site, "Roots", lambda: roots(sys=str(root)))
    return root


Call = Callable[..., Outcome]


@pytest.fixture
def call(node: Node, sys: Path) -> Call:
    """A verb on this node, with the /sys of the test."""

    def served(verb: str, conf: Object, pod: Pod, **more: Any) -> Outcome:
        with node.inside():
            place = {"container": pod.container, "netns": pod.path, "path": DIST, **more}
            return serve(plugin("host-device"), verb, conf, **place)

    return served


# what a pod gets, and how it comes back


def test_a_device_there_and_back(node: Node, device: str) -> None:
    """The pod has it with addresses, and reaches its network; renamed or not, DEL gives it back as it was, twice."""
    before = host_looks(node)
    conf = host_device(host_local(node.data_dir, SUBNET, routes=[{"dst": "0.0.0.0/0"}]), device=device, version="1.1.0")
    with node.outside.socket(socket.AF_PACKET, socket.SOCK_RAW, ARP) as wire:
        wire.bind((device, ARP))
        wire.settimeout(10)
        pod = node.attach(conf)
        # the neighbours learn where the address is
        while wire.recv(100)[28:32] != socket.inet_aton(pod.address):
            pass
    assert device not in node.links()
    link = pod.pod.link("eth0")
    assert (link["mtu"], link["address"], link["ifalias"]) == (1400, MAC, device)
    assert pod.result["interfaces"] == [{"name": "eth0", "mac": MAC, "mtu": 1400, "sandbox": pod.pod.path}]
    assert [ip["interface"] for ip in pod.result["ips"]] == [0]
    assert tcp_source(node.outside, pod.pod, "10.1.2.1") == pod.address
    assert pod.pod.sysctl("ipv4/conf/eth0/arp_notify") == "1"
    things = json.loads(node.run(f"{DIST}/cni-handback", "--list", str(node.data_dir)))
    owner = {"network": "net1", "container": pod.pod.container, "ifname": "eth0"}
    assert [each["facts"] for each in things if (each["kind"], each["owner"]) == ("device", owner)] == [
        {"device": device}
    ]
    error = Attachment(node, conf, node.pod()).add().error
    assert error["msg"] == "failed to find host device: Link not found"
    assert error["details"] == f"net1/{pod.pod.container}/eth0 has it"
    assert pod.check().ok
    pod.pod.ip("link set eth0 down", "link set eth0 name data0 mtu 1300 address 02:00:00:00:00:99")
    assert "the device is data0 there" in pod.check().error["details"]
    for keys in ({}, {"prev_result": False, "netns": ""}):
        outcome = pod.delete(**keys)  # type: ignore[arg-type]
        assert outcome.ok, outcome.stdout
        assert host_looks(node) == before and before["up"] and set(pod.pod.links()) == {"lo"}
        assert not any(node.leases().values()) and not notes(pod.pod)


def test_a_reboot_leaks_no_address(node: Node, device: str) -> None:
    """Namespace and notes are gone, the device is the node's again: DEL frees the address and is no error (#1196)."""
    conf = host_device(host_local(node.data_dir, SUBNET), device=device)
    pod = node.attach(conf)
    pod.pod.ip(f"link set eth0 netns {node.name} name {device}")
    pod.pod.close()
    shutil.rmtree(NOTES)
    for netns in (None, ""):
        assert pod.delete(netns=netns).ok
        assert not any(node.leases().values()) and device in node.links()


def test_a_container_that_ended_without_del_does_not_keep_the_next_from_it(node: Node, device: str) -> None:
    """The kernel put the device back under another name: the next ADD finds it by its own, and a late DEL leaves it."""
    before = host_looks(node)
    for keys in ({"device": device}, {"hwaddr": MAC}):
        first = node.attach(host_device(**keys))
        first.pod.ip(f"link set eth0 netns {node.name} name eth0")
        first.pod.close()
        second = node.attach(host_device(**keys))
        assert second.pod.link("eth0")["ifalias"] == device
        assert first.delete().ok and second.check().ok
        assert second.delete().ok
        assert host_looks(node) == before


def test_without_a_note_the_error_names_the_link(node: Node, device: str) -> None:
    """After Go's plugin the kernel has put the device back, and only its alias tells of its name."""
    node.ip(f"link set {device} down", f"link set {device} name eth7 alias {device}")
    error = Attachment(node, host_device(device=device), node.pod()).add().error
    assert (
        error["msg"] == "failed to find host device: Link not found"
        and "eth7 has dev1 as its alias" in error["details"]
    )


def test_the_result_is_gos(node: Node, device: str) -> None:
    """And each returns what the other moved, the rest of what was noted with our DEL."""
    if not Path(GO, "host-device").is_file():
        pytest.skip("needs Go's plugins: apt install containernetworking-plugins")
    before, found = host_looks(node), []
    section = host_local(node.data_dir, SUBNET, routes=[{"dst": "0.0.0.0/0"}])
    for binaries in (GO, SUBJECT):
        for version, ipam in (("0.2.0", section), ("0.3.1", section), ("0.4.0", None), ("1.0.0", section)):
            pod = Attachment(node, host_device(ipam, version=version, device=device), node.pod())
            result = pod.add(binaries=binaries).result
            for interface in result.get("interfaces", []):
                assert interface.pop("sandbox") == pod.pod.path
            found.append({key: value for key, value in result.items() if value})
            assert pod.delete(binaries=binaries).ok
            (node.data_dir / "net1" / "last_reserved_ip.0").unlink(missing_ok=True)
            # Go's leaves it down, under its name as alias
            node.ip(f"link set {device} alias uplink-of-rack-3 up")
    assert found[:4] == found[4:]
    pod = node.attach(host_device(device=device))
    assert pod.delete(binaries=GO).ok and device in node.links() and host_looks(node) != before
    assert pod.delete().ok and host_looks(node) == before and not notes(pod.pod)


# the keys


FOUND: dict[str, Object] = {
    "name": {"device": "dev1"},
    "alternative name": {"device": "the-second-card-of-this-node"},
    "name first": {"device": "dev1", "hwaddr": "02:00:00:00:00:99", "pciBusID": PCI},
    "MAC": {"hwaddr": MAC.upper()},
    "MAC with dashes": {"hwaddr": MAC.replace(":", "-")},
    "MAC with dots": {"hwaddr": "0200.0000.0007"},
    "MAC before path": {"hwaddr": MAC, "kernelpath": "/sys/devices/nowhere"},
    "kernel path": {"kernelpath": f"/sys/devices/pci0000:00/{PCI}"},
    "PCI": {"pciBusID": PCI},
    "virtio": {"pciBusID": VIRTIO},
    "the runtime's PCI": {"pciBusID": DRIVEN, "runtimeConfig": {"deviceID": PCI}},
    "the runtime's virtual function": {"runtimeConfig": {"deviceID": VF}},
    "the runtime's auxiliary": {"pciBusID": DRIVEN, "runtimeConfig": {"deviceID": AUXILIARY}},
    "the runtime's, after the name": {"device": "dev1", "runtimeConfig": {"deviceID": AUXILIARY}},
    "keys in any case": {"DEVICE": "dev1"},
}


@pytest.mark.usefixtures("device")
def test_the_device_by_each_key(node: Node, call: Call) -> None:
    """CHECK passes while it is away, whatever the key."""
    pod = node.pod()
    for name, keys in FOUND.items():
        added = call("ADD", host_device(**keys), pod)
        assert added.ok, f"{name}: {added.stdout}"
        assert pod.link("eth0")["ifalias"] == "dev1", name
        checked = call("CHECK", host_device(**keys, prevResult=added.document), pod)
        assert checked.ok, f"{name}: {checked.stdout}"
        assert call("DEL", host_device(), pod).ok and "dev1" in node.links()


DPDK: dict[str, Object] = {
    "pciBusID": {"pciBusID": DRIVEN},
    "the runtime's": {"runtimeConfig": {"deviceID": DRIVEN}},
    "also with a name": {"device": "dev1", "pciBusID": DRIVEN},
    "DPDKMode": {"device": "dev1", "DPDKMode": True},
}


@pytest.mark.usefixtures("device")
def test_a_device_that_a_program_drives_stays(node: Node, call: Call) -> None:
    """Nothing is moved. The result names the interface without a MAC; the addresses are for the program."""
    before, pod = host_looks(node), node.pod()
    interface = {"name": "eth0", "sandbox": pod.path}
    for name, keys in DPDK.items():
        for ipam in (None, host_local(node.data_dir, SUBNET)):
            conf = host_device(ipam, **keys)
            added = call("ADD", conf, pod)
            assert added.ok, f"{name}: {added.stdout}"
            assert added.result["interfaces"] == [interface]
            assert [ip["interface"] for ip in added.result.get("ips", [])] == ([0] if ipam else [])
            assert host_looks(node) == before and set(pod.links()) == {"lo"} and not notes(pod)
            assert len(node.leases()) == bool(ipam)
            assert call("CHECK", {**conf, "prevResult": added.document}, pod).ok
            assert call("CHECK", conf, pod).error["msg"] == "Required prevResult missing"
            for _ in range(2):
                assert call("DEL", conf, pod).ok and not any(node.leases().values())
    # the kernel's driver is loaded again, and the mode of the key does not count then
    assert call("ADD", host_device(pciBusID=PCI, DPDKMode=True), pod).ok and "eth0" in pod.links()
    assert call("DEL", host_device(), pod).ok and host_looks(node) == before


# refusals


REFUSED: list[tuple[Object, str]] = [
    ({}, 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"'),
    ({"device": "", "hwaddr": None}, 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"'),
    ({"device": "none"}, "failed to find host device: Link not found"),
    ({"device": "dev1\0x"}, "failed to find host device: Link not found"),
    ({"device": "x" * 200}, "failed to find host device: "),
    ({"device": "lo"}, 'failed to move link "lo": it is the loopback device, which cannot be moved'),
    ({"device": "br0"}, 'failed to move link "br0" to '),
    ({"device": 5}, "failed to load netconf: "),
    ({"hwaddr": "none"}, 'failed to parse MAC address "none": address none: invalid MAC address'),
    ({"hwaddr": "02:00:00:00:00:98"}, "failed to find host device: failed to find physical interface"),
    ({"hwaddr": "00:00:00:00:00:00"}, "failed to find host device: failed to find physical interface"),
    ({"hwaddr": "02:" * 19 + "02"}, "failed to find host device: failed to find physical interface"),
    ({"kernelpath": "devices/x"}, 'kernel device path "devices/x" must be absolute and begin with /sys/devices/'),
    ({"kernelpath": "/sys/devices/../../etc"}, 'kernel device path "/sys/devices/../../etc" must be absolute'),
    ({"kernelpath": "/sys/devices/nowhere"}, "failed to find host device: failed to read directory "),
    ({"kernelpath": "/sys/devices/pci0000:00/empty"}, "failed to find host device: failed to find network device in path "),
    ({"pciBusID": "../../x"}, "../../x is no id of a device"),
    ({"pciBusID": ".."}, ".. is no id of a device"),
    ({"pciBusID": "0000:00:00.9"}, "error with host device: lstat "),
    ({"pciBusID": BARE, "device": "dev1"}, "error with host device: lstat "),
    ({"runtimeConfig": {"deviceID": "a/b"}}, "a/b is no id of a device"),
    ({"runtimeConfig": {"deviceID": "0000:00:00.9"}}, "runtime config DeviceID 0000:00:00.9 not found or unsupported"),
    ({"runtimeConfig": {"deviceID": 7}}, "failed to load netconf: "),
    ({"device": "dev1", "ipam": {"type": "none"}}, 'failed to find plugin "none"'),
    ({"device": "dev1", "cniVersion": "0.2.0"}, "no valid IP addresses"),
]  # fmt: skip


@pytest.mark.usefixtures("device")
def test_what_cannot_be_is_refused_and_nothing_is_changed(node: Node, call: Call, sys: Path) -> None:
    """With Go's words where Go has some; neither node nor pod is other than before, and DEL is no error."""
    node.ip("link add br0 type bridge")
    (sys / "devices/pci0000:00" / BARE / "driver").unlink(missing_ok=True)
    pod, before, links = node.pod(), host_looks(node), node.links()
    for keys, msg in REFUSED:
        outcome = call("ADD", {**host_device(), **keys}, pod)
        assert msg in outcome.error["msg"] and outcome.error["msg"].count("failed to move") < 2, outcome.stdout
        assert set(pod.links()) == {"lo"} and set(node.links()) == set(links) and host_looks(node) == before, keys
        assert not notes(pod), keys
        assert call("DEL", {**host_device(), "device": "dev1"}, pod).ok
    (sys / "bus/pci/drivers").mkdir()
    (sys / "devices/pci0000:00" / BARE / "driver").symlink_to("../../../bus/pci/drivers/mlx5_core")
    error = call("ADD", host_device(pciBusID=BARE), pod).error
    assert error["msg"] == f"failed to find host device: no net directory under pci device {BARE}"


@pytest.mark.usefixtures("device")
def test_a_name_that_is_taken_is_refused_and_the_link_stays(node: Node) -> None:
    """Another's link; and this attachment's own, which a second ADD must not harm."""
    pod, before = node.pod(), host_looks(node)
    pod.ip("link add eth0 type veth peer name other")
    error = Attachment(node, host_device(device="dev1"), pod).add().error
    assert (
        "a link eth0 is in" in error["msg"]
        and host_looks(node) == before
        and set(pod.links()) == {"lo", "eth0", "other"}
    )
    pod.ip("link del eth0")
    attached = node.attach(host_device(device="dev1"), pod)
    error = Attachment(node, host_device(device="dev1"), pod).add().error
    assert error["msg"] == "failed to move link: file exists" and "send DEL first" in error["details"]
    assert attached.check().ok and attached.delete().ok and host_looks(node) == before


# CHECK, STATUS


@pytest.mark.usefixtures("device")
def test_check_names_each_difference(node: Node, call: Call) -> None:
    pod = node.pod()
    conf = host_device(host_local(node.data_dir, SUBNET, routes=[{"dst": "0.0.0.0/0"}]), device="dev1")
    result = call("ADD", conf, pod).result
    address, route = result["ips"][0]["address"], "route add default via 10.1.2.1"
    changes: list[tuple[list[str], list[str], str]] = [
        (["link set eth0 down"], ["link set eth0 up", route], "Interface eth0 is down"),
        ([f"addr del {address} dev eth0"], [f"addr add {address} dev eth0", route], "Failed to match addr"),
        (["route del default"], [route], "Expected Route"),
        (["link set eth0 address 02:00:00:00:00:0b"], [f"link set eth0 address {MAC}"],
         f"Interface eth0 Mac {MAC} doesn't match container Mac: 02:00:00:00:00:0b"),
        (["link set eth0 down", "link set eth0 name x0"], ["link set x0 name eth0 up", route], 'failed to lookup "eth0"'),
        (["link set eth0 down", "link set eth0 name x0", "link add eth0 type veth peer name y0"],
         ["link del eth0", "link set x0 name eth0 up", route], "eth0 is not the device dev1 of the node"),
    ]  # fmt: skip
    for there, back, msg in changes:
        pod.ip(*there)
        assert msg in call("CHECK", {**conf, "prevResult": result}, pod).error["msg"], there
        pod.ip(*back)
        checked = call("CHECK", {**conf, "prevResult": result}, pod)
        assert checked.ok, f"{back}: {checked.stdout}"
    assert call("CHECK", conf, pod).error["msg"] == "Required prevResult missing"
    moved = {**result, "interfaces": [{**result["interfaces"][0], "sandbox": "/run/netns/other"}]}
    assert "Sandbox in prevResult" in call("CHECK", {**conf, "prevResult": moved}, pod).error["msg"]
    shutil.rmtree(node.data_dir / "net1")
    assert "host-local" in call("CHECK", {**conf, "prevResult": result}, pod).stdout
    assert call("DEL", conf, pod).ok


@pytest.mark.usefixtures("device")
def test_status_passes_while_a_container_has_the_device(node: Node, call: Call) -> None:
    """The device is no part of STATUS, and neither is the runtime's; the IPAM plugin is."""
    pod = node.pod()
    good = host_device(host_local(node.data_dir, SUBNET), device="dev1", version="1.1.0")
    assert call("ADD", good, pod).ok
    for conf in (good, host_device(version="1.1.0", capabilities={"deviceID": True})):
        assert call("STATUS", conf, pod).ok
    assert call("STATUS", host_device({"type": "none"}, device="dev1", version="1.1.0"), pod).code == 50
    assert call("STATUS", host_device(capabilities={"deviceID": False}, version="1.1.0"), pod).code == 7
    assert call("DEL", good, pod).ok


@pytest.mark.usefixtures("device")
def test_dns_of_the_configuration_or_else_of_ipam(node: Node, call: Call, tmp_path: Path) -> None:
    """Go's plugin loses what the IPAM plugin says, and without IPAM what the configuration says."""
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    section, own = host_local(node.data_dir, SUBNET, resolvConf=str(tmp_path / "resolv.conf")), {"domain": "a"}
    cases: list[tuple[Object, Object]] = [
        (host_device(section, device="dev1"), {"nameservers": ["192.0.2.53"]}),
        (host_device(section, device="dev1", dns=own), own),
        (host_device(device="dev1", dns=own), own),
    ]
    pod = node.pod()
    for conf, dns in cases:
        assert call("ADD", conf, pod).result["dns"] == dns
        assert call("DEL", conf, pod).ok
