"""DEL, GC and STATUS of bridge, beyond what tests/contract has for every plugin."""

import itertools
from typing import Any

import pytest

from cni.attachment import Attachment as Names
from cni.attachment import network_prefix
from node.configuration import bridge, host_local
from node.deadline import eventually
from node.topology import Attachment, Node
from node.traffic import udp_source

pytestmark = pytest.mark.real

OTHER = "10.2.0.0/24"
SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"
PLAIN: dict[str, Any] = {"isDefaultGateway": True}
MASQUERADED = {**PLAIN, "ipMasq": True}
EVERYTHING = {**MASQUERADED, "macspoofchk": True, "hairpinMode": True}


def configuration(node: Node, *subnets: str, version: str = "1.0.0", name: str = "net1", **keys: Any) -> dict[str, Any]:
    """A layer-3 network."""
    return bridge(host_local(node.data_dir, *(subnets or (SUBNET,))), name=name, version=version, **keys)


def settled(node: Node) -> dict[str, Any]:
    """A snapshot of a node whose bridge exists and has its addresses already, as after the first pod of its life."""
    first = node.attach(configuration(node, SUBNET, SUBNET6, **PLAIN))
    assert first.delete().ok
    return node.snapshot()


def links_are(node: Node, snapshot: dict[str, Any]) -> bool:
    """Whether the links are the snapshot's, soon: a namespace is taken down in the background."""
    return eventually(lambda: bool(node.snapshot()["links"] == snapshot["links"]), 10)


@pytest.mark.beyond_old_go("two addresses of one chain: only the first jump is removed")
def test_del_leaves_nothing_of_several_addresses(node: Node) -> None:
    """Two addresses of one family and one of the other, all masqueraded by iptables."""
    before = settled(node)
    conf = configuration(node, SUBNET, SUBNET6, **{**MASQUERADED, "ipMasqBackend": "iptables"})
    conf["ipam"]["ranges"].insert(1, [{"subnet": SUBNET, "rangeStart": "10.1.0.200"}])
    conf["ipam"]["ranges"][0][0]["rangeEnd"] = "10.1.0.100"
    pod = node.attach(conf)
    assert len(pod.addresses) == 3
    assert pod.delete().ok
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("iptables rules are found through the interface's addresses only")
def test_del_leaves_nothing_when_the_interface_is_gone(node: Node) -> None:
    """Somebody removed the interface inside the pod."""
    before = settled(node)
    pod = node.attach(configuration(node, **MASQUERADED, ipMasqBackend="iptables"))
    pod.pod.ip("link del eth0")
    assert pod.delete().ok
    assert node.snapshot() == before


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param({"bridge": "br7"}, id="another bridge"),
        pytest.param({"hairpinMode": True, "mtu": 1400, "isDefaultGateway": False}, id="other features"),
        pytest.param(
            {"ipMasq": True},
            id="masquerade switched on",
            marks=pytest.mark.beyond_old_go("DEL fails when the chain is not there"),
        ),
        pytest.param(
            {"ipMasq": False, "macspoofchk": False},
            id="features switched off",
            marks=pytest.mark.beyond_old_go("only what the configuration names is removed"),
        ),
        pytest.param(
            {"ipMasqBackend": "iptables"}, id="another backend", marks=pytest.mark.beyond_old_go("no nftables backend")
        ),
    ],
)
def test_del_leaves_nothing_after_the_configuration_was_edited(node: Node, edits: dict[str, Any]) -> None:
    """What ADD made is what goes, not what the configuration says today."""
    before = settled(node)
    full = edits.get("ipMasq") is False or "ipMasqBackend" in edits
    pod = node.attach(configuration(node, **(EVERYTHING if full else PLAIN)))
    assert pod.delete(**edits).ok
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("DEL reads what it does not need")
@pytest.mark.parametrize(
    "edits",
    [
        {"vlan": 9999, "mtu": "x", "bridge": 5, "vlanTrunk": [{"id": 0}], "dns": "x"},
        {"hairpinMode": True, "promiscMode": True, "disableContainerInterface": True},
        {"ipMasq": True, "ipMasqBackend": "x", "runtimeConfig": 5, "args": {"cni": {"mac": "x"}}},
        {"prevResult": {"cniVersion": "0.3.1", "ips": [None]}},
        {"prevResult": {"cniVersion": "9.9.9"}},
        {"prevResult": "x"},
    ],
    ids=str,
)
def test_del_does_not_read_what_it_does_not_need(node: Node, edits: dict[str, Any]) -> None:
    """Neither broken keys nor broken arguments nor a prevResult of another family keep it from cleaning."""
    before = settled(node)
    pod = node.attach(configuration(node, **EVERYTHING))
    pod.args = "UNKNOWN=1;MAC=x;;"
    assert pod.delete(prev_result=False, **edits).ok
    assert node.snapshot() == before
    assert set(pod.pod.links()) == {"lo"}


@pytest.mark.beyond_old_go("nothing is removed")
@pytest.mark.parametrize("ipam", ["x", {"type": 5}, {"type": "no-such-ipam"}, {"type": "../host-local"}], ids=str)
def test_del_with_an_ipam_that_cannot_be_removes_all_but_the_lease(node: Node, ipam: Any) -> None:
    """It is an error, for the address stays; links and rules are gone, and with the section mended DEL succeeds."""
    before = settled(node)
    pod = node.attach(configuration(node, **EVERYTHING))
    outcome = pod.delete(ipam=ipam)
    assert "ipam" in outcome.error["msg"] or "plugin" in outcome.error["msg"]
    assert list(node.leases()) == [pod.address]
    assert set(pod.pod.links()) == {"lo"}
    assert pod.delete().ok
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("an error, and nothing is removed")
@pytest.mark.parametrize("path", ["/etc/hostname", "/proc/self/ns/uts", "/"])
def test_del_of_a_path_that_is_no_namespace_leaves_nothing_on_the_node(node: Node, path: str) -> None:
    """As the mount point that a removed namespace left: taken for gone, and said on standard error."""
    before = settled(node)
    pod = node.attach(configuration(node, **EVERYTHING))
    outcome = pod.delete(netns=path)
    assert outcome.ok and f'"{path}"' in outcome.stderr and "taken for gone" in outcome.stderr
    assert node.snapshot() == before


def test_del_of_an_edited_subnet_releases_the_old_address(node: Node) -> None:
    """The lease is found by its owner, outside today's range too."""
    before = settled(node)
    pod = node.attach(configuration(node, **PLAIN))
    assert pod.delete(ipam=host_local(node.data_dir, "10.200.0.0/24")).ok
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("two interfaces of one container share a chain")
def test_del_leaves_the_containers_other_interface_alone(node: Node) -> None:
    """One container, one network, two interfaces: DEL of one keeps the other's masquerade."""
    conf = configuration(node, **MASQUERADED)
    first = node.attach(conf)
    before = node.snapshot()
    second = node.attach({**conf, "isDefaultGateway": False, "isGateway": True}, first.pod, ifname="net1")
    assert second.delete().ok
    assert node.snapshot() == before
    assert udp_source(node.outside, first.pod, node.OUTSIDE) == node.ADDRESS


def test_the_bridge_stays_with_its_address(node: Node) -> None:
    """The bridge is the network's, not the pod's: it outlives the last one."""
    pod = node.attach(configuration(node, **PLAIN))
    assert pod.delete().ok
    assert node.addresses("br0") == {"10.1.0.1/24"}


def test_an_address_can_be_had_again_after_del(node: Node) -> None:
    """A range of one address serves pod after pod."""
    for _ in range(3):
        pod = node.attach(configuration(node, "10.1.0.0/30", **MASQUERADED))
        assert pod.address == "10.1.0.2"
        assert udp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS
        assert pod.delete().ok


def collect(node: Node, conf: dict[str, Any], valid: list[Attachment], **more: Any) -> None:
    """GC with these attachments as the valid ones; it has to succeed."""
    keep = [{"containerID": one.pod.container, "ifname": one.ifname} for one in valid]
    outcome = node.cni("bridge", "GC", {**conf, "cni.dev/valid-attachments": keep, **more}, ifname="")
    assert outcome.exit == 0, outcome.stdout


@pytest.mark.beyond_old_go("no GC")
def test_gc_removes_exactly_what_is_not_valid(node: Node) -> None:
    """Of three pods of a network and one of another, only the forgotten two go, one of which ended before."""
    conf = configuration(node, version="1.1.0", **EVERYTHING)
    other = configuration(node, version="1.1.0", name="net2", **EVERYTHING)
    valid, foreign = (
        node.attach(conf),
        node.attach({**other, "bridge": "br1", "ipam": host_local(node.data_dir, OTHER)}),
    )
    before = node.snapshot()
    forgotten, gone = node.attach(conf), node.attach(conf)
    gone.pod.close()
    collect(node, conf, [valid])
    assert links_are(node, before)
    assert node.snapshot() == before
    assert set(forgotten.pod.links()) == {"lo"}
    assert valid.check().ok and foreign.check().ok


@pytest.mark.beyond_old_go("no GC")
def test_gc_reads_the_lists_older_name(node: Node) -> None:
    """``cni.dev/attachments``, as an earlier text of the specification had it, counts where the newer one is absent."""
    conf = configuration(node, version="1.1.0", **MASQUERADED)
    valid = node.attach(conf)
    before = node.snapshot()
    node.attach(conf)
    keep = [{"containerID": valid.pod.container, "ifname": valid.ifname}]
    assert node.cni("bridge", "GC", {**conf, "cni.dev/attachments": keep}, ifname="").ok
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("no GC")
def test_gc_with_an_empty_list_removes_the_whole_network(node: Node) -> None:
    """Nothing is valid: all of this network goes, a second interface of a pod too."""
    before = settled(node)
    conf = configuration(node, version="1.1.0", **EVERYTHING)
    pod = node.attach(conf)
    node.attach({**conf, "isDefaultGateway": False, "isGateway": True}, pod.pod, ifname="net1")
    collect(node, conf, [])
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("no GC")
def test_gc_tells_the_interfaces_of_a_container_apart(node: Node) -> None:
    """The pair of container and interface is what is valid or not."""
    conf = configuration(node, version="1.1.0", **MASQUERADED)
    first = node.attach(conf)
    before = node.snapshot()
    node.attach({**conf, "isDefaultGateway": False, "isGateway": True}, first.pod, ifname="net1")
    collect(node, conf, [first])
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("no GC")
def test_gc_without_a_list_removes_nothing(node: Node) -> None:
    """The safe reading of a missing key."""
    conf = configuration(node, version="1.1.0", **EVERYTHING)
    node.attach(conf)
    before = node.snapshot()
    assert node.cni("bridge", "GC", conf, ifname="").ok
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("no GC")
def test_gc_removes_leases_without_a_link(node: Node) -> None:
    """What a crash left in the store of leases alone goes too."""
    conf = configuration(node, version="1.1.0", **PLAIN)
    valid = node.attach(conf)
    (node.data_dir / "net1" / "10.1.0.9").write_text("lost\r\neth0")
    collect(node, conf, [valid])
    assert list(node.leases()) == [valid.address]


@pytest.mark.beyond_old_go("no GC")
def test_gc_removes_half_made_links_of_its_network_alone(node: Node) -> None:
    """A link that an ADD left when it died has no alias: its name tells the network. Others' links stay, whatever they say."""
    conf = configuration(node, version="1.1.0", **PLAIN)
    valid = node.attach(conf)
    names = [Names(network, "lost", "eth0").link for network in ("net1", "net2")]
    for number, name in enumerate([*names, "vethforeign"]):
        node.ip(f"link add {name} type veth peer name peer{number}")
    node.ip("link set vethforeign alias net1/lost/eth1")
    collect(node, conf, [valid])
    left = set(node.links())
    assert names[0] not in left and {names[1], "vethforeign", valid.host} <= left


@pytest.mark.beyond_old_go("no GC")
def test_gc_tells_networks_apart_whose_links_are_named_alike(node: Node) -> None:
    """Once in 32768 two networks share the beginning of their links' names: then the alias tells."""
    seen: dict[str, str] = {}
    for name in (f"net{number}" for number in itertools.count()):
        one, other = seen.setdefault(network_prefix(name), name), name
        if one != other:
            break
    conf, alike = (configuration(node, version="1.1.0", name=name, **PLAIN) for name in (one, other))
    foreign = node.attach({**alike, "bridge": "br1", "ipam": host_local(node.data_dir, OTHER)})
    before = node.snapshot()
    forgotten = node.attach(conf)
    assert forgotten.host[:7] == foreign.host[:7]
    collect(node, conf, [])
    assert forgotten.host not in node.links() and foreign.host in node.links()
    assert foreign.check().ok
    assert node.snapshot()["leases"][other] == before["leases"][other]


@pytest.mark.beyond_old_go("no STATUS")
def test_status_is_ready(node: Node) -> None:
    """With and without IPAM, before any pod exists; nothing is made by asking."""
    before = node.snapshot()
    for conf in (configuration(node, version="1.1.0", **MASQUERADED), bridge(version="1.1.0")):
        outcome = node.cni("bridge", "STATUS", conf, ifname="")
        assert outcome.exit == 0, outcome.stdout
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("no STATUS")
def test_status_is_an_error_when_ipam_is_missing(node: Node) -> None:
    """A delegate that is not installed cannot serve an ADD."""
    conf = bridge({"type": "no-such-ipam"}, version="1.1.0")
    outcome = node.cni("bridge", "STATUS", conf, ifname="")
    assert outcome.code == 50 and "no-such-ipam" in outcome.error["msg"]
