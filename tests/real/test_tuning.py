"""tuning behind bridge and macvlan: what the interface gets, what CHECK sees, and that DEL restores what was before."""

import json
from pathlib import Path
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import conflist, host_local
from node.plugin import GO, SUBJECT
from node.topology import Node, Pod

pytestmark = pytest.mark.real

MAC = "02:00:00:00:00:77"
LINK = {"mac": MAC, "promisc": True, "mtu": 1400, "allmulti": True, "txQLen": 77}
# the order counts: what is written to `all` is written to each interface too
FORWARDING = {"net.ipv4.conf.all.forwarding": "1", "net/ipv4/conf/IFNAME/forwarding": "0"}
RANGE = {"net.ipv4.ip_local_port_range": "20000 30000"}
go_installed = pytest.mark.skipif(not Path(GO, "tuning").is_file(), reason=f"{GO}/tuning is not installed")


def tuning(**keys: Any) -> dict[str, Any]:
    return {"type": "tuning", **keys}


def chain(node: Node, folder: Path, *entries: dict[str, Any], version: str = "1.1.0", **more: Any) -> Chain:
    """A bridge with both families, and tuning behind it; the original values are in ``folder``."""
    ipam = host_local(node.data_dir, "10.1.2.0/24", "fd00:1::/64")
    entries = tuple({"dataDir": str(folder), **entry} for entry in entries)
    return Chain(node, conflist({"type": "bridge", "bridge": "br0", "ipam": ipam}, *entries, version=version), **more)


def state(pod: Pod, ifname: str = "eth0") -> dict[str, Any]:
    """What tuning may change."""
    link = pod.link(ifname)
    modes = [flag in link["flags"] for flag in ("PROMISC", "ALLMULTI")]
    sysctls = [pod.sysctl(f"ipv4/conf/{name}/forwarding") for name in ("all", ifname)]
    return {
        "mac": link["address"], "mtu": link["mtu"], "txQLen": link["txqlen"], "modes": modes, "forwarding": sysctls,
        "range": pod.sysctl("ipv4/ip_local_port_range").split(),
    }  # fmt: skip


TUNED = {
    "mac": MAC, "mtu": 1400, "txQLen": 77, "modes": [True, True], "forwarding": ["1", "0"],
    "range": ["20000", "30000"],
}  # fmt: skip


def files(folder: Path) -> list[Path]:
    """What tuning has saved there."""
    return list(folder.glob("*_*"))


def below(one: Chain) -> dict[str, Any]:
    """The state after the plugin before tuning, which is called alone."""
    one.result = one.call(0, "ADD").result
    return state(one.pod, one.ifname)


def add(one: Chain, place: int = 1, **more: Any) -> None:
    """ADD of tuning, which keeps the result."""
    one.result = one.call(place, "ADD", prevResult=one.result, **more).result


def test_everything_is_changed_compared_and_restored(node: Node, tmp_path: Path) -> None:
    """With an interface's name that has a dot. CHECK names each difference in Go's words; bridge's CHECK passes."""
    sysctl = {**FORWARDING, "net.ipv4.ip_local_port_range": " 20000 30000\n"}
    one = chain(node, tmp_path / "a/b", tuning(**LINK, sysctl=sysctl), ifname="eth0.5")
    below(one)
    # restoring `all` changes it
    one.pod.sysctl("ipv4/conf/eth0.5/forwarding", "1")
    before = state(one.pod, "eth0.5")
    # a link of the node with the same name
    one.result["interfaces"].append({"name": "eth0.5", "mac": "02:00:00:00:00:02"})
    add(one)
    assert one.result["interfaces"].pop()["mac"] == "02:00:00:00:00:02"
    assert state(one.pod, "eth0.5") == TUNED
    inside = one.result["interfaces"][2]
    assert (inside["mac"], inside["mtu"]) == (MAC, 1400)
    file = tmp_path / f"a/b/{one.pod.container}_eth0.5.json"
    saved = json.loads(file.read_text())
    assert {name: saved[name] for name in LINK} == {
        "mac": before["mac"], "promisc": False, "mtu": 1500, "allmulti": False, "txQLen": before["txQLen"]
    }  # fmt: skip
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o755
    assert all(outcome.ok for outcome in one.check())
    for change, back, text in (
        (
            "address 02:00:00:00:00:01",
            f"address {MAC}",
            f"Ethernet of eth0.5 is {MAC}, current value is 02:00:00:00:00:01",
        ),
        ("mtu 1300", "mtu 1400", "MTU of eth0.5 is 1400, current value is 1300"),
        ("promisc off", "promisc on", "link eth0.5 configured promisc is true, current value is false"),
        ("allmulticast off", "allmulticast on", "all-multicast mode of eth0.5 is true, current value is false"),
        ("txqueuelen 5", "txqueuelen 77", "TX queue length of eth0.5 is 77, current value is 5"),
    ):
        one.pod.ip(f"link set eth0.5 {change}")
        assert text in one.check()[1].error["msg"]
        one.pod.ip(f"link set eth0.5 {back}")
    one.pod.sysctl("ipv4/conf/eth0.5/forwarding", "1")
    text = "configured value of /proc/sys/net/ipv4/conf/eth0.5/forwarding is 0, current value is 1"
    assert text in one.check()[1].error["msg"]
    # promiscuous because of a packet capture, and not because somebody set it
    assert one.call(1, "CHECK", prevResult=one.result, sysctl=None, promisc=False).ok
    assert one.call(1, "DEL").ok
    assert state(one.pod, "eth0.5") == before and not files(file.parent)
    one.remove()


def test_a_second_add_and_a_second_entry_keep_the_original_values(node: Node, tmp_path: Path) -> None:
    """And an ADD that fails takes back only its own. Each DEL restores everything that is saved."""
    one = chain(node, tmp_path, tuning(mtu=1400), tuning(mtu=1350, promisc=True, sysctl=RANGE))
    before = below(one)
    add(one, 1)
    add(one, 2)
    add(one, 1, mtu=1300, txQLen=5)
    tuned = state(one.pod)
    assert (tuned["mtu"], tuned["txQLen"], tuned["range"]) == (1300, 5, ["20000", "30000"])
    refused = {
        "sysctl": {"net.ipv4.ip_local_port_range": "30000 40000", "net.ipv4.tcp_congestion_control": "none"},
        "mac": MAC,
    }
    failed = one.call(1, "ADD", prevResult=one.result, **refused)
    assert "failed to set sysctl net/ipv4/tcp_congestion_control to 'none'" in failed.error["msg"]
    assert state(one.pod) == tuned
    for place in (2, 1):
        assert one.call(place, "DEL").ok
        assert state(one.pod) == before and not files(tmp_path)
    one.remove()


def test_attachments_of_one_container_share_its_sysctls(node: Node, tmp_path: Path) -> None:
    """The last one that has set a sysctl restores it, whichever came first."""
    one = chain(node, tmp_path, tuning(sysctl=RANGE, mtu=1400))
    before = below(one)
    other = chain(node, tmp_path, tuning(sysctl=RANGE), pod=one.pod, ifname="eth1")
    other.conflist["name"] = "net2"
    below(other)
    for first, second in ((one, other), (other, one)):
        add(first)
        add(second)
        assert first.call(1, "DEL").ok
        assert second.call(1, "CHECK", prevResult=second.result).ok
        assert second.call(1, "DEL").ok
        assert state(one.pod) == before and not files(tmp_path)
    other.remove()
    one.remove()


def test_gc_removes_the_files_of_the_forgotten(node: Node, tmp_path: Path) -> None:
    """In the folder that is configured; those of another network stay."""
    forgotten, valid, foreign = (chain(node, tmp_path, tuning(mtu=1400)) for _ in range(3))
    foreign.conflist["name"] = "net10"
    for one in (forgotten, valid, foreign):
        below(one)
        add(one)
    listed = {"cni.dev/valid-attachments": [{"containerID": valid.pod.container, "ifname": "eth0"}]}
    for _ in range(2):
        assert valid.call(1, "GC", **listed).ok
        assert {at.name.split("_")[0] for at in files(tmp_path)} == {valid.pod.container, foreign.pod.container}
    for one in (forgotten, valid, foreign):
        one.remove()


@pytest.mark.parametrize("version", ["0.4.0", "1.1.0"])
def test_behind_a_macvlan_with_its_own_mtu(node: Node, tmp_path: Path, version: str) -> None:
    """Each CHECK of the list passes, in every version. What the kernel refuses is named, and taken back."""
    ipam = host_local(node.data_dir, "10.1.2.0/24")
    master = {"type": "macvlan", "master": "uplink", "mtu": 1400, "ipam": ipam}
    entry = tuning(mac=MAC, mtu=1300, dataDir=str(tmp_path))
    one = Chain(node, conflist(master, entry, version=version))
    before = below(one)
    failed = one.call(1, "ADD", prevResult=one.result, mtu=9000)
    assert 'failed to set mtu of "eth0" to 9000' in failed.error["msg"]
    assert state(one.pod) == before and not files(tmp_path)
    one.remove()
    one.add()
    assert [outcome.code for outcome in one.check()] == [0, 0]
    assert one.result["interfaces"][0]["mac"] == MAC
    # the kernel does not give the old MTU back, and that is no reason for DEL to fail
    node.ip("link set uplink mtu 1350")
    deleted = one.call(1, "DEL")
    assert deleted.ok and "mtu could not be set back to 1400" in deleted.stderr
    assert state(one.pod)["mtu"] == 1300 and state(one.pod)["mac"] != MAC and not files(tmp_path)
    one.remove()


def test_first_in_the_list_it_sets_what_new_interfaces_inherit(node: Node, tmp_path: Path) -> None:
    """Sysctls of IPv6 count before the interface gets an address: here it makes none of its own."""
    entry = tuning(sysctl={"net.ipv6.conf.default.addr_gen_mode": "1"}, dataDir=str(tmp_path))
    ipam = host_local(node.data_dir, "fd00:1::/64")
    one = Chain(node, conflist(entry, {"type": "bridge", "bridge": "br0", "ipam": ipam})).add()
    assert {each["scope"] for each in one.pod.address_objects("eth0")} == {"global"}
    assert [outcome.code for outcome in one.check()] == [0, 0]
    one.remove()
    assert one.pod.sysctl("ipv6/conf/default/addr_gen_mode") == "0" and not files(tmp_path)
    for keys in ({"mtu": 1400}, {"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}, {"cniVersion": "0.2.0"}):
        assert one.call(0, "ADD", **keys).error["msg"] == "Required prevResult missing"
    assert one.call(0, "CHECK").error["msg"] == "Required prevResult missing"


def test_what_cannot_be_is_refused_and_nothing_changes(node: Node, tmp_path: Path) -> None:
    """The error names the key, the sysctl or the interface."""
    one = chain(node, tmp_path / "data", tuning())
    before = below(one)
    (tmp_path / "file").touch()
    for keys, text in (
        ({"mtu": 1200}, "mtu is 1200, and must be from 1280"),
        ({"sysctl": {"net.ipv4.none": "1"}, "mtu": 1400}, "net/ipv4/none"),
        ({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "x"}, "mtu": 1400}, "net/ipv4/conf/eth0/arp_filter to 'x'"),
        ({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": ""}, "mtu": 1400}, "net/ipv4/conf/eth0/arp_filter to ''"),
        ({"sysctl": {"kernel.shmmax": "1"}}, 'invalid net sysctl key: "kernel/shmmax"'),
        ({"mtu": 1400, "dataDir": str(tmp_path / "file")}, f"{tmp_path}/file/"),
    ):
        error = one.call(1, "ADD", prevResult=one.result, **keys).error
        assert text in error["msg"] and error["details"], keys
        assert "'x'" not in text or error["details"] == "the kernel does not take this value"
        assert state(one.pod) == before and not files(tmp_path / "data")
    one.pod.ip("link set eth0 down", "link set eth0 name eth9")
    assert one.call(1, "ADD", prevResult=one.result, mtu=1400).error["msg"] == 'failed to get "eth0": Link not found'
    assert one.call(1, "CHECK", prevResult=one.result).error["msg"] == "Cannot find container link eth0"
    assert one.call(1, "ADD", prevResult=one.result, sysctl=RANGE).ok and one.call(1, "DEL").ok


def test_del_whatever_became_of_file_and_interface(node: Node, tmp_path: Path) -> None:
    """A file that cannot be read, an interface that is gone, another namespace: reported if need be, and removed."""
    one = chain(node, tmp_path, tuning(mtu=1400, sysctl={"net.ipv4.conf.IFNAME.arp_filter": "1"}))
    before = below(one)
    file = tmp_path / f"{one.pod.container}_eth0.json"
    add(one)
    values = file.read_text()
    file.write_text("{")
    assert str(file) in one.call(1, "ADD", prevResult=one.result).error["msg"]
    # its configuration does not count either
    deleted = one.call(1, "DEL", mtu="x", sysctl=[], env={"CNI_ARGS": "A"})
    assert deleted.ok and str(file) in deleted.stderr and not file.exists()
    file.write_text(values.replace('"mtu": 1500', '"mtu": "x", "mac": "y"'))
    assert one.call(1, "DEL").ok and not file.exists() and state(one.pod)["mtu"] == 1400
    file.write_text(values.replace('"net/ipv4/conf/eth0/arp_filter"', f'"net/../../..{tmp_path}/planted"'))
    (tmp_path / "planted").touch()
    assert one.call(1, "DEL").ok and not file.exists() and not (tmp_path / "planted").read_text()
    file.write_text(values)
    other = node.pod(one.pod.container)
    other.ip("link add eth0 mtu 1300 type veth peer name far")
    assert one.call(1, "DEL", netns=other.path).ok
    assert other.link("eth0")["mtu"] == 1300, "the values of a container that is gone"
    file.write_text(values)
    one.pod.ip("link delete eth0")
    for _ in range(2):
        deleted = one.call(1, "DEL")
        assert deleted.ok and not deleted.stderr and not file.exists()
    assert before["mtu"] == 1500


@go_installed
def test_each_restores_what_the_other_has_changed(node: Node, tmp_path: Path) -> None:
    """Ours adds to Go's file and keeps what is there; Go's ignores what it does not know, and restores no sysctls."""
    entry = tuning(mac=MAC, promisc=True, mtu=1400, allmulti=True)
    one = chain(node, tmp_path, entry, version="1.0.0")
    before = below(one)
    add(one, binaries=GO)
    add(one, sysctl=RANGE, mtu=1300, txQLen=77)
    assert one.call(1, "CHECK", prevResult=one.result, sysctl=RANGE, mtu=1300, txQLen=77).ok
    assert one.call(1, "DEL", binaries=SUBJECT).ok
    assert state(one.pod) == before and not files(tmp_path)
    add(one, sysctl=RANGE)
    checked = one.call(1, "CHECK", prevResult=one.result, binaries=GO)
    assert checked.ok, checked.stdout
    assert one.call(1, "DEL", binaries=GO).ok
    assert state(one.pod) == {**before, "range": ["20000", "30000"]} and not files(tmp_path)
    one.remove()
