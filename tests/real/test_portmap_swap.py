"""From Go's plugins to ours and back on a node whose pods go on running: their ports answer, and nothing is left."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import port
from node.deadline import eventually
from node.plugin import DIST, GO, PLUGINS, go_obeys, subject_is_old_go
from node.ports import answers, source
from node.published import GATEWAY, GATEWAY6, SUBNET, neighbour, publish, wanted
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(GO, "portmap").is_file(), reason="containernetworking-plugins is not installed"),
    pytest.mark.skipif(subject_is_old_go(), reason="these are about the change from it"),
]

BACKENDS = ["nftables", "iptables"]
GOS, OURS = {"bridge": GO, "portmap": GO}, {"bridge": DIST, "portmap": DIST}
Object = dict[str, Any]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
PORTS = [port(8080), port(8081, 81, "udp"), port(8082, ip=Node.ADDRESS), port(8083, 82, "sctp", "0.0.0.0")]
ASKED = [("tcp", 80, 8080), ("udp", 81, 8081), ("tcp", 80, 8082), ("sctp", 82, 8083)]


def all_answer(node: Node, chain: Chain, asked: list[tuple[str, int, int]] = ASKED) -> None:
    """Every port from outside, localhost where it is published there, and from the pod itself."""
    for protocol, inside, number in asked:
        assert source(protocol, chain.pod, inside, node.outside, node.ADDRESS, number) == node.OUTSIDE, number
        assert answers(protocol, chain.pod, inside, chain.pod, node.ADDRESS, number), number
        if number != 8082:
            assert answers(protocol, chain.pod, inside, node, "127.0.0.1", number), number


def traces(node: Node, chain: Chain) -> list[str]:
    """What on the node still tells of a pod: rules by its id or its addresses, its link, its leases."""
    told = (chain.pod.container, *(f"{address}" for address in chain.addresses), "CNI-DN-")
    text = node.run("iptables-save") + node.run("ip6tables-save") + node.run("nft", "list", "ruleset")
    words = [line for line in text.splitlines() if any(f"{word}" in line for word in told)]
    leases = [address for address, owner in node.leases().items() if owner[0] == chain.pod.container]
    return words + leases + [name for name in node.links() if name == chain.host]


# pods that Debian's Go plugins attached


@both_backends
def test_pods_of_go_keep_their_ports_and_our_del_removes_them(node: Node, backend: str) -> None:
    """bridge and portmap of 1.1.1 attached two pods; ours attach a third, then remove one of Go's, then the rest."""
    one = publish(node, *PORTS, binaries=GOS, backend=backend, below={"ipMasq": True})
    two = publish(node, port(9000), binaries=GOS, backend=backend, below={"ipMasq": True})
    all_answer(node, one)
    young = publish(node, port(9001), binaries=OURS, backend=backend, below={"ipMasq": True})
    all_answer(node, one)
    assert answers("tcp", young.pod, 80, node.outside, node.ADDRESS, 9001)
    assert answers("tcp", two.pod, 80, young.pod, GATEWAY, 9000)
    one.remove(binaries=OURS)
    assert [line for line in traces(node, one) if "CNI-DN-" not in line] == []
    assert not answers("tcp", one.pod, 80, node.outside, node.ADDRESS, 8080, seconds=0.4)
    for chain, number in ((two, 9000), (young, 9001)):
        for client, target in ((node.outside, node.ADDRESS), (node, "127.0.0.1"), (young.pod, GATEWAY)):
            assert answers("tcp", chain.pod, 80, client, target, number)
    two.remove(binaries=OURS)
    young.remove(binaries=OURS)
    for chain in (one, two, young):
        assert traces(node, chain) == []
    assert node.nft() == []
    assert [line for line in node.iptables() if "CNI-" in line] == []


@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp", "dccp"])
def test_every_protocols_port_of_a_go_pod_is_seen(node: Node, protocol: str) -> None:
    """However iptables has the kernel match it: a living pod of Go's keeps it."""
    old = publish(node, port(8080, protocol=protocol), binaries=GOS)
    young = wanted(node, port(8080, protocol=protocol), binaries=OURS, conflict="refuse")
    assert old.pod.container in young.try_add().error["msg"]


@pytest.mark.parametrize("told", ["all", "nothing"])
@both_backends
def test_our_del_of_a_go_pod_needs_nothing(node: Node, backend: str, told: str) -> None:
    """Neither prevResult nor runtimeConfig nor the namespace; other pods of Go's keep their ports."""
    other = publish(node, port(9000), binaries=GOS)
    chain = publish(node, *PORTS, binaries=GOS)
    if told == "nothing":
        chain.pod.close()
        chain.remove(binaries=OURS, netns="", prev_result=False, runtimeConfig=None, backend=backend)
    else:
        chain.remove(binaries=OURS, backend=backend)
    text = "\n".join(node.iptables())
    assert chain.pod.container not in text and chain.address not in text
    assert answers("tcp", other.pod, 80, node.outside, node.ADDRESS, 9000)


@both_backends
def test_a_port_of_a_go_pod_is_taken_and_freed(node: Node, backend: str) -> None:
    """A living pod of Go's goes on answering, ours waits and says so; both CHECKs pass; after either's DEL ours has it."""
    for removed_by in (OURS, GOS):
        old = publish(node, port(8080), binaries=GOS, backend=backend)
        young = publish(node, port(8080), binaries=OURS, backend=backend)
        assert old.pod.container in young.said and "next in line" in young.said, young.said
        for target in (node.ADDRESS, node.ADDRESS6):
            assert answers("tcp", old.pod, 80, node.outside, target, 8080)
        assert answers("tcp", old.pod, 80, node, "127.0.0.1", 8080)
        for chain in (old, young):
            checked = chain.portmap("CHECK", binaries=OURS, guardLocalnet=False)
            assert checked.ok, checked.stdout
        old.remove(binaries=removed_by)
        for target in (node.ADDRESS, node.ADDRESS6):
            assert answers("tcp", young.pod, 80, node.outside, target, 8080)
        assert answers("tcp", young.pod, 80, node, "127.0.0.1", 8080)
        young.remove(binaries=OURS)


# pods that 1.6 to 1.9 published by nftables


def _rules_of_a_pod(version: str, chain: Chain) -> tuple[list[str], list[str]]:
    """The rules of one pod with PORTS in both families' tables, as a version of Go's portmap writes them."""
    four, six = chain.addresses
    said = f'comment "{chain.pod.container}"'
    hostip = "hostports" if version.startswith(("1.9", "main")) else "hostip_hostports"
    ip: list[str] = []
    ip6: list[str] = []
    for entry in PORTS:
        protocol, number, inside = entry["protocol"], entry["hostPort"], entry["containerPort"]
        address = entry.get("hostIP", "")
        specific = address not in ("", "0.0.0.0")
        # 1.6.0 writes `dnat ip addr . port to A . P`, at which Debian's nft crashes; the kernel gets the same either way
        match = f"ip protocol {protocol} th dport {number}" if version == "1.6.0" else f"{protocol} dport {number}"
        to = f"dnat to {four}:{inside}"
        front = f"ip daddr {address} " if specific else ""
        ip.append(f"add rule ip cni_hostport {hostip if specific else 'hostports'} {front}{match} {to} {said}")
        if not address:
            to6, match6 = f"dnat to [{six}]:{inside}", match.replace("ip protocol", "ip6 nexthdr")
            ip6.append(f"add rule ip6 cni_hostport hostports {match6} {to6} {said}")
    if version == "main":
        ip.append(f"add rule ip cni_hostport masquerading ip saddr 0.0.0.0/0 ip daddr {four} masquerade {said}")
        ip6.append(f"add rule ip6 cni_hostport masquerading ip6 saddr ::/0 ip6 daddr {six} masquerade {said}")
    else:
        ip.append(f"add rule ip cni_hostport masquerading ip saddr {four} ip daddr {four} masquerade {said}")
        ip.append(f"add rule ip cni_hostport masquerading ip saddr 127.0.0.1 ip daddr {four} masquerade {said}")
        ip6.append(f"add rule ip6 cni_hostport masquerading ip6 saddr {six} ip6 daddr {six} masquerade {said}")
    return ip, ip6


def _frame(version: str, family: str) -> list[str]:
    """The table and its chains, with the jumps, as a version's ADD leaves them."""
    at = f"{family} cni_hostport"
    chains = ["hostports", "hostip_hostports"] + (["hostports_all"] if version.startswith(("1.9", "main")) else [])
    lines = [f'add table {at} {{ comment "CNI portmap plugin" ; }}', *(f"add chain {at} {name}" for name in chains)]
    first = "input" if version == "1.6.0" else "prerouting"
    for name in (first, "output"):
        lines.append(f"add chain {at} {name} {{ type nat hook {name} priority -100 ; }}")
    lines.append(f"add chain {at} masquerading {{ type nat hook postrouting priority 100 ; }}")
    if version.startswith(("1.9", "main")):
        lines += [f"add rule {at} hostports_all jump {name}" for name in ("hostip_hostports", "hostports")]
        lines += [f"add rule {at} {name} fib daddr type local jump hostports_all" for name in ("prerouting", "output")]
    else:
        # 1.6.0 jumps from hook input, from which today's kernels let nothing be redirected: the chain is there, empty
        if first == "prerouting":
            lines += [f"add rule {at} prerouting jump {name}" for name in ("hostip_hostports", "hostports")]
        lines += [f"add rule {at} output jump hostip_hostports"]
        lines += [f"add rule {at} output fib daddr type local jump hostports"]
    return lines


def publish_by_nftables(node: Node, version: str, *pods: Chain) -> None:
    """Write what a version's portmap writes for pods that bridge attached, with route_localnet."""
    lines = _frame(version, "ip") + _frame(version, "ip6")
    for chain in pods:
        for rules in _rules_of_a_pod(version, chain):
            lines += rules
    node.run("nft", "-f", "-", stdin="\n".join(lines) + "\n")
    node.sysctl("ipv4/conf/br0/route_localnet", "1")


def _attached(node: Node, **keys: Any) -> Chain:
    """A pod that bridge alone attached so far."""
    chain = wanted(node, *PORTS, **keys)
    chain.pod.ip("link set lo up")  # as in every pod: its 127.0.0.1 is in one of Go's rules too
    chain.result = chain.call(0, "ADD").result
    return chain


VERSIONS = ["1.6.0", "1.8.0", "1.9.1", "main"]


@pytest.mark.parametrize("version", VERSIONS)
def test_pods_of_gos_nftables_layout(node: Node, version: str) -> None:
    """Two such pods; ours attach a third; our DEL of the first removes its rules alone, of the last everything."""
    one = _attached(node)
    two = wanted(node, port(9000))
    two.result = two.call(0, "ADD").result
    publish_by_nftables(node, version, one)
    # of another pod: one rule, with a comment that begins alike
    node.run("nft", "add", "rule", "ip", "cni_hostport", "hostports", "tcp", "dport", "9000", "dnat", "to",
             f"{two.address}:80", "comment", f'"{two.pod.container}"')  # fmt: skip
    if version != "1.6.0":  # that version only serves the node
        for protocol, inside, number in ASKED:
            assert answers(protocol, one.pod, inside, node.outside, node.ADDRESS, number), number
    young = publish(node, port(9001))
    for chain, number in ((one, 8080), (two, 9000), (young, 9001)):
        assert answers("tcp", chain.pod, 80, node, node.ADDRESS, number)
    assert answers("tcp", young.pod, 80, node.outside, node.ADDRESS, 9001)
    before = node.run("nft", "-s", "list", "table", "ip", "cni_hostport").splitlines()
    one.remove()
    after = node.run("nft", "-s", "list", "table", "ip", "cni_hostport").splitlines()
    assert after == [line for line in before if one.pod.container not in line]
    assert one.pod.container not in node.run("nft", "list", "ruleset")
    for chain, number in ((two, 9000), (young, 9001)):
        assert answers("tcp", chain.pod, 80, node, node.ADDRESS, number)
    two.remove()
    young.remove()
    ruleset = node.run("nft", "list", "ruleset")
    for chain in (one, two, young):
        assert chain.pod.container not in ruleset and f"{chain.address}:" not in ruleset


def test_our_del_of_gos_nftables_layout_needs_nothing(node: Node) -> None:
    """Neither prevResult nor runtimeConfig nor the namespace, in either backend's configuration."""
    for backend in (None, *BACKENDS):
        chain = _attached(node)
        publish_by_nftables(node, "1.9.1", chain)
        chain.pod.close()
        chain.remove(netns="", prev_result=False, runtimeConfig=None, backend=backend)
        assert chain.pod.container not in node.run("nft", "list", "ruleset")


@pytest.mark.parametrize("netns", [None, ""])
def test_two_interfaces_in_gos_nftables_layout(node: Node, netns: str | None) -> None:
    """Its rules tell the container alone: the namespace tells whose they are, or else prevResult."""
    one = _attached(node)
    two = _attached(node, pod=one.pod, ifname="eth1")
    publish_by_nftables(node, "1.9.1", one, two)

    def told(chain: Chain) -> list[str]:
        text = "".join(node.run("nft", "list", "table", family, "cni_hostport") for family in ("ip", "ip6"))
        return [line for line in text.splitlines() if any(f"{address}" in line.split() or f"{address}:" in line or
                f"[{address}]" in line for address in chain.addresses)]  # fmt: skip

    kept = told(two)
    assert one.portmap("DEL", netns=netns).ok
    assert told(one) == [] and told(two) == kept
    assert two.portmap("DEL", netns=netns).ok
    assert "cni_hostport" not in node.run("nft", "list", "tables")


def _check_fails_when(chain: Chain, *command: str) -> None:
    """CHECK passes, changes nothing, and tells of the loss once the command has taken something away."""
    before = chain.node.snapshot()
    outcome = chain.portmap("CHECK", binaries=OURS)
    assert outcome.ok, outcome.stdout
    assert chain.node.snapshot() == before
    for ports in ([*PORTS, port(8099)], [port(8080, 99)], [port(8080, 80, "udp")]):
        assert not chain.portmap("CHECK", binaries=OURS, runtimeConfig={"portMappings": ports}).ok
    chain.node.run(*command)
    assert not chain.portmap("CHECK", binaries=OURS).ok


LOSSES = ["-F", "-F PREROUTING", "-F OUTPUT", "-D CNI-HOSTPORT-DNAT 1", "-F {chain}", "-R {chain} 3 -j RETURN"]


@pytest.mark.parametrize("loss", LOSSES)
@both_backends
def test_our_check_of_a_pod_that_go_attached(node: Node, backend: str, loss: str) -> None:
    """What runs when the plugins are swapped is as it should be, without a guard of localhost; a loss is seen."""
    if backend == "nftables" and go_obeys(backend):
        pytest.skip("Go's portmap makes no chains of iptables; of its tables is the next test")
    neighbour(node, binaries=OURS)
    chain = publish(node, *PORTS, binaries=GOS, backend=backend)
    name = next(line.split()[1][1:] for line in node.iptables() if ":CNI-DN-" in line)
    _check_fails_when(chain, "iptables", "-t", "nat", *loss.format(chain=name).split())


@pytest.mark.parametrize("version", ["1.8.0", "1.9.1", "main"])
@pytest.mark.parametrize("loss", ["ip cni_hostport hostports", "ip6 cni_hostport hostports", "ip cni_hostport output"])
def test_our_check_of_gos_nftables_layout(node: Node, version: str, loss: str) -> None:
    """The same for the tables of 1.6 to 1.9, beside a pod of ours."""
    young = publish(node, port(9001))
    chain = _attached(node)
    publish_by_nftables(node, version, chain)
    _check_fails_when(chain, "nft", "flush", "chain", *loss.split())
    assert young.portmap("CHECK").ok


def test_a_table_of_that_name_with_somebodys_rules(node: Node) -> None:
    """Rules without the comment stay, the table with them."""
    chain = _attached(node)
    publish_by_nftables(node, "1.9.1", chain)
    node.run("nft", "add rule ip cni_hostport hostports tcp dport 7777 dnat to 10.1.0.99:80 comment mine")
    node.run("nft", "add rule ip cni_hostport hostports tcp dport 7778 counter")
    chain.remove()
    table = node.run("nft", "list", "table", "ip", "cni_hostport")
    assert "7777" in table and "7778" in table and chain.pod.container not in table


# iptables-legacy


@pytest.fixture
def legacy_path(tmp_path: Path) -> str:
    """A PATH on which iptables is the one that keeps its rules in the kernel's old tables."""
    folder = tmp_path / "legacy"
    folder.mkdir()
    for program in ("iptables", "ip6tables"):
        if not Path(f"/usr/sbin/{program}-legacy").exists():
            pytest.skip("iptables-legacy is not installed")
        for form in ("", "-save", "-restore"):
            (folder / f"{program}{form}").symlink_to(f"/usr/sbin/{program}-legacy{form}")
    return f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"


def legacy_rules(node: Node) -> list[str]:
    """The nat rules and chains of both families in the old tables."""
    text = "".join(node.run(f"{program}-legacy-save", "-t", "nat") for program in ("iptables", "ip6tables"))
    return [line for line in text.splitlines() if "CNI" in line]


@pytest.mark.parametrize("maker", ["Go", "us"])
def test_our_del_removes_rules_of_iptables_legacy(node: Node, legacy_path: str, maker: str) -> None:
    """Two pods in the old tables: our DEL, whatever PATH says by then, removes the one's rules, then all."""
    chains = []
    for number in (0, 1):
        chain = wanted(node, port(8080 + number), port(8090 + number, 80, "udp"), backend="iptables", subnets=[SUBNET])
        chain.result = chain.call(0, "ADD").result
        added = chain.portmap("ADD", env={"PATH": legacy_path}, binaries=GO if maker == "Go" else DIST)
        assert added.ok, added.stdout
        chains.append(chain)
    one, two = chains
    for number, chain in enumerate(chains):
        assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080 + number)
        assert answers("tcp", chain.pod, 80, node, "127.0.0.1", 8080 + number)
    assert one.portmap("DEL", prev_result=False, runtimeConfig=None).ok
    left = legacy_rules(node)
    assert not any(one.pod.container in line or "8080" in line for line in left)
    assert any(two.pod.container in line for line in left)
    assert answers("tcp", two.pod, 80, node.outside, node.ADDRESS, 8081)
    assert answers("tcp", two.pod, 80, node, "127.0.0.1", 8081)
    assert two.portmap("DEL", prev_result=False, runtimeConfig=None, netns="").ok
    assert legacy_rules(node) == []


@pytest.mark.parametrize("words", ["-F CNI-HOSTPORT-DNAT", "-F PREROUTING"])
def test_our_check_of_rules_of_iptables_legacy(node: Node, legacy_path: str, words: str) -> None:
    """Where Go's iptables kept them in the old tables, which netlink does not show."""
    chain = _attached(node, subnets=[SUBNET])
    added = chain.portmap("ADD", env={"PATH": legacy_path}, binaries=GO, backend="iptables")
    assert added.ok, added.stdout
    _check_fails_when(chain, "iptables-legacy", "-t", "nat", *words.split())


# the way back


def handback(node: Node) -> list[str]:
    """Run cni-handback on the node: its lines about attachments, the tables that it removed left out."""
    lines = node.run(f"{DIST}/cni-handback", "--write").splitlines()
    return [line for line in lines if not line.startswith("removed table ")]


handed = pytest.mark.skipif(not Path(DIST, "cni-handback").is_file(), reason="dist/cni-handback is not built")


@handed
@pytest.mark.parametrize("masq", [False, True], ids=["", "ipMasq"])
def test_the_way_back_to_go(node: Node, masq: bool) -> None:
    """Our tables become Go's rules: the ports answer, and Go's DEL run after it finds and removes all."""
    below = {"ipMasq": masq}
    pods = [
        publish(node, *PORTS, binaries=OURS, below=below),
        publish(node, port(9000), port(9001, 80, ip="::"), binaries=OURS, below=below),
        publish(node, port(9002), binaries=OURS, below=below, snat=False),
        neighbour(node, binaries=OURS, below=below),
    ]
    lines = handback(node)
    published = pods[:3]
    for chain in pods if masq else published:
        assert sum(chain.pod.container in line for line in lines) == 1, lines
    assert len(lines) == (4 if masq else 3)
    assert [table for table in node.nft_tables() if "pycni" in table] == []
    all_answer(node, pods[0])
    for client, target in ((node.outside, node.ADDRESS6), (pods[0].pod, GATEWAY6)):
        assert answers("tcp", pods[0].pod, 80, client, target, 8080)
        assert answers("tcp", pods[1].pod, 80, client, target, 9001)
    assert not answers("tcp", pods[1].pod, 80, node.outside, node.ADDRESS, 9001, seconds=0.4)
    assert answers("tcp", pods[2].pod, 80, node.outside, node.ADDRESS, 9002)
    assert not answers("tcp", pods[2].pod, 80, node, "127.0.0.1", 9002, seconds=0.4)
    if masq:
        for chain in pods:
            assert source("udp", node.outside, 7777, chain.pod, node.OUTSIDE, 7777) == node.ADDRESS
            assert source("udp", node.outside, 7777, chain.pod, node.OUTSIDE6, 7777) == node.ADDRESS6
    again = handback(node)
    assert again == [], "nothing of ours is left to hand back"
    for chain in pods:
        chain.remove(binaries=GOS)
        assert traces(node, chain) == [] or any("CNI-DN-" in line for line in traces(node, chain))
    for chain in pods:
        assert traces(node, chain) == []
    text = node.run("iptables-save") + node.run("ip6tables-save")
    rules = [line for line in text.splitlines() if line.startswith("-A")]
    shared = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")
    assert [line for line in rules if not any(name in line for name in shared)] == []
    assert node.leases() == {}


@handed
def test_what_is_handed_back_is_what_go_had_written(new_node: Callable[[], Node]) -> None:
    """Rule by rule, in the nat tables of two nodes: one attached by Go, one by us and handed back."""
    found: list[list[str]] = []
    for binaries in (GOS, OURS):
        node = new_node()
        pod = node.pod("ctr1")
        publish(node, *PORTS, pod=pod, binaries=binaries, below={"ipMasq": True}, subnets=[SUBNET, "2001:db8:1::/64"])
        if binaries == OURS:
            handback(node)
        text = node.run("iptables-save", "-t", "nat") + node.run("ip6tables-save", "-t", "nat")
        found.append(sorted(line for line in text.splitlines() if line.startswith("-A")))
    assert found[1] == found[0]


@handed
def test_a_file_that_is_run_without_words_changes_nothing(node: Node) -> None:
    """Nomad does that with every file in the plugins' folder, as root, to find its version; only plugins have one."""
    publish(node, port(8080), binaries=OURS, below={"ipMasq": True})
    before = node.snapshot()
    for program in sorted(at for at in Path(DIST).iterdir() if at.is_file() and at.name[0] != "."):
        with node.inside():
            done = subprocess.run(
                [program], env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )
        plugin = program.name in PLUGINS
        assert done.returncode == 0 or not plugin, done
        assert done.stderr.startswith(f"CNI {program.name} plugin v1.") == plugin, done
    assert node.snapshot() == before


@handed
def test_handing_back_nothing(node: Node) -> None:
    """A node without anything of ours: no line, no error, nothing made; so with Go's pods and others' rules."""
    before = node.snapshot()
    assert handback(node) == []
    assert node.snapshot() == before
    chain = publish(node, port(8080), binaries=GOS)
    before = node.snapshot()
    assert handback(node) == []
    assert node.snapshot() == before
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)


@handed
def test_a_dead_pods_mapping_is_not_handed_back(node: Node) -> None:
    """Only live mappings are written: of a pod that ended without a DEL nothing is left."""
    chain = publish(node, port(8080), binaries=OURS)
    alive = publish(node, port(8081), binaries=OURS)
    chain.pod.close()
    assert eventually(lambda: chain.host not in node.links())
    lines = handback(node)
    assert sum(alive.pod.container in line for line in lines) == 1
    assert not any("dport 8080" in line for line in node.iptables())
    assert answers("tcp", alive.pod, 80, node.outside, node.ADDRESS, 8081)
    assert [table for table in node.nft_tables() if "pycni" in table] == []


@handed
def test_a_port_that_was_taken_over_is_handed_back_to_the_living(node: Node) -> None:
    """The dead pod's record of a port that another has by now is not written in front of the other's."""
    dead = publish(node, port(8080), port(8081), binaries=OURS)
    dead.pod.close()
    assert eventually(lambda: dead.host not in node.links())
    young = publish(node, port(8080), binaries=OURS)
    handback(node)
    for client, target in ((node.outside, node.ADDRESS), (node.outside, node.ADDRESS6), (node, "127.0.0.1")):
        assert answers("tcp", young.pod, 80, client, target, 8080), target
    for chain in (dead, young):
        chain.remove(binaries=GOS, netns="")
    assert not any("dport 808" in line for line in node.iptables())


@handed
def test_our_del_after_handing_back(node: Node) -> None:
    """Changed one's mind: our DEL removes what was handed back."""
    neighbour(node)
    before = node.snapshot()
    chain = publish(node, *PORTS, binaries=OURS)
    handback(node)
    chain.remove(binaries=OURS)
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("the earlier wins, silently")
@pytest.mark.parametrize("program", ["iptables", "iptables-legacy"])
def test_a_port_is_seen_however_iptables_writes_it(node: Node, program: str) -> None:
    """As a compat match, which older programs write for every port, and in iptables-legacy, which netlink does not show."""
    if not Path(f"/usr/sbin/{program}").exists():
        pytest.skip(f"{program} is not installed")
    entry = ("-p", "tcp", "-m", "comment", "--comment", 'dnat name: "net1" id: "other"')
    for words in (
        ("-N", "CNI-HOSTPORT-DNAT"),
        ("-N", "CNI-DN-x"),
        ("-A", "CNI-DN-x", "-p", "tcp", "--dport", "8080", "--tcp-option", "8", "-j", "DNAT", "--to", "192.0.2.9:80"),
        ("-A", "CNI-HOSTPORT-DNAT", *entry, "-m", "multiport", "--dports", "8080", "-j", "CNI-DN-x"),
    ):
        node.run(program, "-t", "nat", *words)
    refused = wanted(node, port(8080), conflict="refuse")
    refused.result = refused.call(0, "ADD").result
    outcome = refused.portmap("ADD")
    assert outcome.code == 101 and "net1/other" in outcome.error["msg"]
    publish(node, port(8081))


@handed
def test_handing_back_leaves_no_rule_of_ours_in_iptables_chains(node: Node) -> None:
    """The rules at the ends of others' chains go with our tables."""
    for chain in ("PREROUTING", "OUTPUT", "POSTROUTING"):
        node.run("iptables", "-t", "nat", "-A", chain, "-s", "192.168.77.1", "-j", "ACCEPT")
    publish(node, port(8080), binaries=OURS, below={"ipMasq": True})
    assert node.run("iptables-save", "-t", "nat").count("pycni") == 3
    handback(node)
    assert "pycni" not in node.run("iptables-save", "-t", "nat")
