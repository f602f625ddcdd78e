"""The MAC spoof check: which frames pass, who else is not touched, damage, many at once, and what Go's bridge left."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.plugin import GO, subject_is_old_go
from node.topology import Attachment, Node
from node.traffic import Wire, frame, reaches, tcp_source

pytestmark = [pytest.mark.real, pytest.mark.skipif(subject_is_old_go(), reason="these are about tables of our own")]

SUBNET = "10.1.0.0/24"
TABLE = "bridge pycni_macspoof"
FOREIGN = "02:00:00:00:00:99"
Object = dict[str, Any]


def conf(node: Node, **keys: Any) -> Object:
    """A guarded network of addresses."""
    return bridge(host_local(node.data_dir, SUBNET), **{"isDefaultGateway": True, "macspoofchk": True, **keys})


def elements(node: Node) -> dict[str, int]:
    """How many elements each set and map of our table has."""
    found = {}
    for item in node.nft():
        for kind in ("set", "map"):
            if kind in item and item[kind]["table"] == TABLE.split()[1]:
                found[item[kind]["name"]] = len(item[kind].get("elem", []))
    return found


def rules(node: Node) -> list[str]:
    """The rules of our table's chain as nft tells them."""
    text = node.run("nft", "list", "chain", *TABLE.split(), "prerouting", check=False)
    return [line.strip() for line in text.splitlines() if line.strip().startswith("iifname")]


def passing(sender: Attachment, receiver: Attachment, *sources: str, destination: str = "") -> set[str]:
    """Of frames that a pod sends under these MACs, those that arrive; then one of its own to end the wait."""
    with Wire(sender.pod, "eth0") as out, Wire(receiver.pod, "eth0") as into:
        for source in sources:
            out.send(frame(destination or receiver.mac, source, source.encode()))
        out.send(frame(destination or receiver.mac, sender.mac, b"last"))
        seen = into.received_until(b"last")
    assert b"last" in seen, "frames under its own MAC must pass"
    return {payload.decode() for payload in seen} - {"last"}


# frames


def test_only_frames_under_the_pods_own_mac_pass(node: Node) -> None:
    """To a neighbour and to everybody; a neighbour's MAC, a group's and one that differs in a bit are foreign."""
    one, two = (node.attach(conf(node)) for _ in range(2))
    nearly = f"{one.mac[:-1]}{int(one.mac[-1], 16) ^ 1:x}"
    for destination in ("", "ff:ff:ff:ff:ff:ff"):
        assert passing(one, two, FOREIGN, two.mac, nearly, "00:00:00:00:00:00", destination=destination) == set()


def test_without_the_key_foreign_macs_pass(node: Node) -> None:
    """The test above can fail; and a guarded pod's neighbour is not guarded by it."""
    guarded, free = node.attach(conf(node)), node.attach(conf(node, macspoofchk=False))
    assert passing(free, guarded, FOREIGN) == {FOREIGN}
    assert passing(guarded, free, FOREIGN) == set()


def test_arp_under_a_foreign_mac_is_dropped_too(node: Node) -> None:
    """Corner 24: the MAC is the one at creation; a later change cuts the pod off until it is changed back."""
    one, two = (node.attach(conf(node)) for _ in range(2))
    assert tcp_source(two.pod, one.pod, two.address) == one.address
    own = one.mac
    one.pod.ip(f"link set eth0 address {FOREIGN}", "neigh flush dev eth0")
    assert not reaches(one.pod, two.pod, two.address, seconds=0.5)
    one.pod.ip(f"link set eth0 address {own}")
    assert tcp_source(two.pod, one.pod, two.address) == one.address


def test_a_mac_that_was_asked_for_is_the_one_that_passes(node: Node) -> None:
    """runtimeConfig's MAC is on the interface and in the set."""
    wanted = "02:11:22:33:44:55"
    one = node.attach(conf(node, capabilities={"mac": True}, runtimeConfig={"mac": wanted}))
    two = node.attach(conf(node))
    assert one.mac == wanted
    assert passing(one, two, FOREIGN) == set()
    assert wanted in node.run("nft", "list", "table", *TABLE.split())


def test_two_interfaces_of_one_pod_have_a_guard_each(node: Node) -> None:
    """The MAC of one does not pass on the other, and DEL of one leaves the other guarded."""
    network, pod = conf(node), node.pod()
    first, second = node.attach(network, pod), node.attach(network, pod, ifname="eth1")
    witness = node.attach(network)
    other = str(pod.link("eth1")["address"])
    assert passing(first, witness, other) == set()
    assert second.delete().ok
    assert elements(node) == {"attachments": 2, "guarded": 2, "allowed": 2}
    assert passing(first, witness, FOREIGN) == set()
    assert first.check().ok


def test_layer_2_is_guarded_too(node: Node) -> None:
    """Without IPAM, the table comes and goes with the pods."""
    one, two = (node.attach(bridge(macspoofchk=True)) for _ in range(2))
    assert passing(one, two, FOREIGN) == set()
    assert one.check().ok
    assert one.delete().ok and two.delete().ok
    assert node.nft_tables() == set()


# the same state by two roads


def test_the_table_is_as_the_module_tells(node: Node) -> None:
    """Its layout in nft's own words."""
    pod = node.attach(conf(node))
    text = re.sub(r"\s+", " ", node.run("nft", "list", "table", *TABLE.split()))
    owner = f"net1/{pod.pod.container}/eth0"
    for part in (
        "type ifname . inet_service : ether_addr",
        f'"{pod.host}" . 0 comment "{owner}" : {pod.mac}',
        f'"{pod.host}" . {pod.mac}',
        "type filter hook prerouting priority dstnat; policy accept;",
        "iifname . ether saddr @allowed accept iifname @guarded drop",
    ):
        assert part in text, f"{part} is not in {text}"


def test_the_number_of_rules_does_not_grow_with_pods(node: Node) -> None:
    """Two, and three elements a pod."""
    pods = [node.attach(conf(node))]
    first = rules(node)
    assert len(first) == 2
    pods += [node.attach(conf(node)) for _ in range(4)]
    assert rules(node) == first
    assert elements(node) == {"attachments": 5, "guarded": 5, "allowed": 5}


# again, many, damaged


def test_add_without_del_leaves_one_guard(node: Node) -> None:
    """A pair that was taken away by hand and made anew has another MAC: the old one no longer passes."""
    network = conf(node)
    pod = node.attach(network)
    witness = node.attach(network)
    old = pod.mac
    node.ip(f"link del {pod.host}")
    (node.data_dir / "net1" / pod.address).unlink()
    again = node.attach(network, pod.pod)
    assert again.mac != old
    assert elements(node) == {"attachments": 2, "guarded": 2, "allowed": 2}
    assert passing(again, witness, old) == set()


def test_many_attach_and_detach_at_once(node: Node) -> None:
    """24 ADDs, eight at a time, while eight others are deleted; then all go, and the table with the last."""
    network = conf(node)
    early = [node.attach(network) for _ in range(8)]
    pods = [Attachment(node, network, node.pod()) for _ in range(24)]
    with ThreadPoolExecutor(8) as pool:
        leaving = [pool.submit(pod.delete) for pod in early]
        coming = [pool.submit(pod.add) for pod in pods]
        assert [future.result().exit for future in leaving + coming] == [0] * 32
        assert elements(node) == {"attachments": 24, "guarded": 24, "allowed": 24}
        assert len(rules(node)) == 2
        assert all(outcome.ok for outcome in pool.map(lambda pod: pod.check(), pods[::6]))
        assert all(outcome.ok for outcome in pool.map(lambda pod: pod.delete(), pods))
    assert node.nft_tables() == set()


DAMAGE = [
    "flush ruleset",
    f"flush table {TABLE}",
    f"delete table {TABLE}",
    f"flush chain {TABLE} prerouting",
    f"flush set {TABLE} guarded",
    f"flush set {TABLE} allowed",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_sees_damage_and_del_still_succeeds(node: Node, damage: str) -> None:
    """CHECK says what is missing; DEL takes away the rest; the next pod is guarded again."""
    pod = node.attach(conf(node))
    assert pod.check().ok
    node.run("nft", damage)
    outcome = pod.check()
    assert not outcome.ok
    assert "pycni_macspoof" in outcome.error["msg"]
    assert pod.delete().ok
    assert node.nft_tables() == set()
    one, two = (node.attach(conf(node)) for _ in range(2))
    assert one.check().ok
    assert passing(one, two, FOREIGN) == set()


def test_check_sees_each_single_rule(node: Node) -> None:
    """Without the first rule everything of guarded pods is dropped, without the second nothing."""
    for which in ("accept", "drop"):
        pod = node.attach(conf(node))
        text = node.run("nft", "-a", "list", "table", *TABLE.split())
        (line,) = [line for line in text.splitlines() if f" {which} # handle" in line and "iifname" in line]
        node.run("nft", f"delete rule {TABLE} prerouting handle {line.rsplit(' ', 1)[1]}")
        assert not pod.check().ok
        assert pod.delete().ok
        assert node.nft_tables() == set()


def test_other_peoples_tables_stay_byte_for_byte(node: Node) -> None:
    """Also a chain in Go's table whose name another tool chose, and jumps to it."""
    theirs = """
table bridge nat {
  chain cni-br-iface-theirs { }
  chain PREROUTING {
    type filter hook prerouting priority dstnat; policy accept;
    iifname "nowhere" jump cni-br-iface-theirs
  }
}
table bridge pycni_macspoof2 {
  set guarded { type ifname; elements = { "eth0" }; }
}
table inet pycni_macspoof { }
"""
    node.run("nft", "-f", "-", stdin=theirs)
    before = node.run("nft", "-a", "list", "ruleset")
    network = conf(node, version="1.1.0")
    pods = [node.attach(network) for _ in range(2)]
    for table in ("bridge nat", "bridge pycni_macspoof2", "inet pycni_macspoof"):
        assert node.run("nft", "-a", "list", "table", *table.split()).strip() in before
    assert pods[0].delete().ok
    assert node.cni("bridge", "GC", {**network, "cni.dev/valid-attachments": []}, ifname="").ok
    assert node.run("nft", "-a", "list", "ruleset") == before


def test_gc_keeps_the_guard_of_valid_attachments(node: Node) -> None:
    """And removes that of a pod which is forgotten, also where another network's pods are guarded."""
    network = conf(node, version="1.1.0")
    kept, forgotten = (node.attach(network) for _ in range(2))
    other = node.attach(bridge(name="net2", macspoofchk=True))
    valid = [{"containerID": kept.pod.container, "ifname": "eth0"}]
    assert node.cni("bridge", "GC", {**network, "cni.dev/valid-attachments": valid}, ifname="").ok
    text = node.run("nft", "list", "table", *TABLE.split())
    assert kept.host in text and other.host in text
    assert forgotten.host not in text
    assert kept.check().ok and other.check().ok


# what Go's bridge left


def go_chains(node: Node) -> set[str]:
    """The chains of the table that Go's bridge uses."""
    listed = json.loads(node.run("nft", "-j", "list", "chains", "bridge"))["nftables"]
    return {item["chain"]["name"] for item in listed if "chain" in item and item["chain"]["table"] == "nat"}


def go_rules(node: Node) -> list[str]:
    """The jumps of Go's base chain."""
    text = node.run("nft", "list", "chain", "bridge", "nat", "PREROUTING", check=False)
    return [line.strip() for line in text.splitlines() if "jump" in line]


@pytest.mark.parametrize("gone", [False, True], ids=["namespace there", "namespace gone"])
def test_gos_chains_of_a_pod_are_removed_and_only_those(node: Node, gone: bool) -> None:
    """Its two chains and its jump; table, base chain and the other pod's guard stay and work."""
    one, two = (node.attach(conf(node), binaries=GO) for _ in range(2))
    names = [f"cni-br-iface-{pod.pod.container}-eth0" for pod in (one, two)]
    assert go_chains(node) == {"PREROUTING", *names, *(f"{name}-mac" for name in names)}
    if gone:
        one.pod.close()
    assert one.delete().ok
    assert go_chains(node) == {"PREROUTING", names[1], f"{names[1]}-mac"}
    assert len(go_rules(node)) == 1 and names[1] in go_rules(node)[0]
    assert passing(two, node.attach(conf(node)), FOREIGN) == set()


def test_gos_doubled_rule_is_removed(node: Node) -> None:
    """Go's ADD without DEL doubles the jump; its chains cannot go while one is left."""
    pod = node.attach(conf(node), binaries=GO)
    name = f"cni-br-iface-{pod.pod.container}-eth0"
    node.run("nft", f'add rule bridge nat PREROUTING iifname "{pod.host}" jump {name}')
    assert len(go_rules(node)) == 2
    assert pod.delete().ok
    assert go_chains(node) == {"PREROUTING"}
    assert go_rules(node) == []


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "flush chain bridge nat PREROUTING",
        "flush chain bridge nat {}",
        "flush chain bridge nat {}-mac",
        'flush chain bridge nat PREROUTING; add rule bridge nat PREROUTING iifname "gone" jump {}',
        "flush chain bridge nat {}-mac; add rule bridge nat {}-mac ether saddr 02:00:00:00:00:99 return; "
        "add rule bridge nat {}-mac drop",
    ],
)
def test_check_of_a_pod_that_go_attached_sees_its_guard_and_what_it_lacks(node: Node, damage: str) -> None:
    """The plugins were exchanged under it; a jump that Go left for a link that is gone is no guard."""
    pod = node.attach(conf(node), binaries=GO)
    assert pod.check().ok, pod.check().stdout
    node.run("nft", damage.replace("{}", f"cni-br-iface-{pod.pod.container}-eth0"))
    assert "pycni_macspoof" in pod.check().error["msg"]


@pytest.mark.parametrize("damage", ["flush chain bridge nat PREROUTING", "flush ruleset", "mac chain"])
def test_damaged_chains_of_go_are_removed(node: Node, damage: str) -> None:
    """Whatever is left of them."""
    pod = node.attach(conf(node), binaries=GO)
    name = f"cni-br-iface-{pod.pod.container}-eth0"
    if damage == "mac chain":
        node.run("nft", f"flush chain bridge nat {name}; delete chain bridge nat {name}-mac")
    else:
        node.run("nft", damage)
    assert pod.delete().ok
    assert go_chains(node) <= {"PREROUTING"}


def test_a_pod_of_gos_and_one_of_ours_are_guarded_side_by_side(node: Node) -> None:
    """Two tables, one hook: each drops its own pod's foreign frames and passes the other's."""
    theirs, ours = node.attach(conf(node), binaries=GO), node.attach(conf(node))
    assert passing(theirs, ours, FOREIGN, ours.mac) == set()
    assert passing(ours, theirs, FOREIGN, theirs.mac) == set()
    assert theirs.delete().ok
    assert passing(ours, node.attach(conf(node)), FOREIGN) == set()
