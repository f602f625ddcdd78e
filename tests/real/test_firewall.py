"""firewall's traffic: what passes a node that drops forwarded packets, and what an ingress policy closes."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cni import plan
from cni.notes import Notes
from node.absence import without_nf_tables
from node.filtered import address, attached, bridged_packets_are_filtered, forwarding_is_dropped
from node.plugin import DIST
from node.topology import Node
from node.tracing import without_programs
from node.traffic import reaches

pytestmark = pytest.mark.real

SHORT = 0.4
BACKENDS = ("iptables", "nftables")
VERSIONS = (4, 6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_pods_pass_where_forwarded_packets_are_dropped(node: Node, backend: str) -> None:
    """Connections from a pod and their replies, in both families, and nothing else; an administrator's rule comes first."""
    forwarding_is_dropped(node)
    pod, other = (attached(node, backend=backend, iptablesAdminChainName="MINE") for _ in range(2))
    outside = {4: node.OUTSIDE, 6: node.OUTSIDE6}
    for version in VERSIONS:
        assert reaches(pod.pod, node.outside, outside[version])
        assert not reaches(node.outside, pod.pod, address(pod, version), SHORT)
    other.remove_all()
    assert reaches(pod.pod, node.outside, node.OUTSIDE)
    node.run("iptables", "-A", "MINE", "-s", address(pod, 4), "-j", "DROP")
    assert not reaches(pod.pod, node.outside, node.OUTSIDE, SHORT)
    pod.remove_all()
    rules = node.run("iptables", "-S") + node.run("ip6tables", "-S")
    assert [line for line in rules.splitlines() if "CNI" in line] == []
    assert "-A MINE" in rules
    assert "pycni_firewall" not in node.run("nft", "list", "tables")


def seen(node: Node, policy: str, backend: str) -> dict[str, bool]:
    """Who reaches whom, if two bridges have a policy and a third one has none."""
    first, beside, closed, free = (
        attached(node, link, backend=backend, ingressPolicy=of)
        for link, of in (("br0", policy), ("br0", policy), ("br1", "same-bridge"), ("br2", "open"))
    )
    pairs = {"same": (first, beside), "other": (first, closed), "back": (closed, first), "free": (first, free)}
    pairs["from free"] = free, first
    found = {}
    for filtered in (False, True):
        bridged_packets_are_filtered(node, filtered)
        # all at once: a connection that is dropped does not end before its time
        with ThreadPoolExecutor(12) as pool:
            asked = {
                f"{name} {version} {filtered}": pool.submit(
                    reaches, client.pod, server.pod, address(server, version), SHORT if name in ("other", "back") else 2
                )
                for version in VERSIONS
                for name, (client, server) in pairs.items()
            }
            for version, at in ((4, node.OUTSIDE), (6, node.OUTSIDE6)):
                asked[f"outside {version} {filtered}"] = pool.submit(reaches, first.pod, node.outside, at)
            found.update({name: each.result() for name, each in asked.items()})
    for pod in (first, beside, closed, free):
        checked = pod.firewall("CHECK")
        assert checked.ok, checked.stdout
    for pod in (first, beside, closed, free):
        pod.remove_all()
    assert "ISOLATION" not in node.run("iptables", "-S")
    assert "pycni" not in node.run("nft", "list", "tables")
    return found


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("policy", ["same-bridge", "isolated"])
def test_an_ingress_policy_closes_bridges(node: Node, policy: str, backend: str) -> None:
    """Corner 32: other bridges with a policy; isolated: neighbours, too, with iptables only where br_netfilter is on."""
    for name, passes in seen(node, policy, backend).items():
        who, _, filtered = name.rsplit(" ", 2)
        open_inside = policy == "same-bridge" or (backend == "iptables" and filtered == "False")
        expected = {"same": open_inside, "other": False, "back": False}.get(who, True)
        assert passes == expected, name


# nftables beside the filters of others


def accepting(node: Node, program: str = "iptables") -> list[str]:
    """The rules for marked packets in iptables."""
    return [line for line in node.run(program, "-S").splitlines() if "pycni: forwarded" in line]


def test_one_rule_of_iptables_accepts_all_pods(node: Node) -> None:
    """However many pods; a chain that is made later (Docker's): CHECK tells, the next ADD adds the rule; tools read it."""
    first = attached(node, backend="nftables")
    assert "FORWARD" not in node.run("nft", "list", "ruleset")
    forwarding_is_dropped(node, "iptables")
    assert "-j CNI-FORWARD] not found" in first.firewall("CHECK").error["msg"]
    assert not reaches(first.pod, node.outside, node.OUTSIDE, SHORT)
    pods = [first, *(attached(node, backend="nftables") for _ in range(2))]
    for pod in pods:
        assert reaches(pod.pod, node.outside, node.OUTSIDE)
        assert pod.firewall("CHECK").ok
    assert len(accepting(node)) == 1 and accepting(node, "ip6tables") == []
    saved = node.run("iptables-nft-save")
    assert "pycni: forwarded" in saved and "incompatible" not in saved
    node.run("iptables-restore", stdin=saved)
    assert "mark" in node.run("nft", "list", "chain", "ip", "filter", "CNI-FORWARD")
    # no mark is left on a packet that goes on, and none that comes with one is a pod's
    node.run("nft", "-f", "-", stdin="""
table inet seen {
  counter lost { }
  chain post { type filter hook postrouting priority 0; meta mark & 0x1000 != 0 counter name lost; }
}""")  # fmt: skip
    assert reaches(first.pod, node.outside, node.OUTSIDE)
    assert "packets 0 " in node.run("nft", "list", "counter", "inet", "seen", "lost")
    for pod in pods[:2]:
        pod.remove_all()
    assert reaches(pods[2].pod, node.outside, node.OUTSIDE)
    pods[2].remove_all()
    assert accepting(node) == [] and "CNI" not in node.run("iptables", "-S")


def test_iptables_legacy_has_the_rule_too(node: Node) -> None:
    """Its chain FORWARD drops: one rule there, by its programs."""
    if not shutil.which("iptables-legacy") or not Path("/proc/net/ip_tables_names").exists():
        pytest.skip("this machine has no iptables-legacy")
    forwarding_is_dropped(node, "iptables-legacy")
    pods = [attached(node, backend="nftables") for _ in range(2)]
    assert all(reaches(pod.pod, node.outside, node.OUTSIDE) for pod in pods)
    assert len(accepting(node, "iptables-legacy")) == 1
    assert pods[0].firewall("CHECK").ok
    node.run("iptables-legacy", "-w", "-D", "FORWARD", "1")
    assert not pods[0].firewall("CHECK").ok
    assert pods[0].firewall("ADD").ok and pods[0].firewall("CHECK").ok
    for pod in pods:
        pod.remove_all()
    assert "CNI" not in node.run("iptables-legacy", "-w", "-S")


def test_a_kernel_without_nf_tables(node: Node, tmp_path: Path) -> None:
    """By default, and asked for iptables: Go's chains in iptables-legacy, also for two pods at once; nftables is refused."""
    if not shutil.which("iptables-legacy"):
        pytest.skip("needs iptables-legacy")
    old = without_nf_tables(tmp_path / "old")
    forwarding_is_dropped(node, "iptables-legacy", "ip6tables-legacy")
    with ThreadPoolExecutor(2) as pool:
        pods = [*pool.map(lambda link: attached(node, link, binaries=old, ingressPolicy="isolated"), ("br0", "br1"))]
    for version, at in ((4, node.OUTSIDE), (6, node.OUTSIDE6)):
        assert reaches(pods[0].pod, node.outside, at)
        assert not reaches(pods[0].pod, pods[1].pod, address(pods[1], version), SHORT)
    assert pods[0].firewall("CHECK").ok and "CNI" not in node.run("iptables-nft-save")
    refused = pods[0].firewall("ADD", backend="nftables").error
    assert "the kernel lacks CONFIG_NF_TABLES" in refused["msg"]
    pods[0].remove_all(prevResult=None)
    assert pods[1].firewall("CHECK").ok and not pods[0].firewall("CHECK").ok
    pods[1].remove_all(prevResult=None)
    assert "CNI" not in node.run("iptables-legacy-save") + node.run("ip6tables-legacy-save")


def test_a_chain_of_an_administrator_that_drops(node: Node) -> None:
    """It is left alone; standard error and STATUS name the rule to add, which then lets every pod pass."""
    node.run(
        "nft",
        "-f",
        "-",
        stdin="table inet mine {\n chain mine { type filter hook forward priority 0; policy drop; }\n}",
    )
    pod = attached(node, backend="nftables")
    told = pod.firewall("STATUS", cniVersion="1.1.0")
    assert told.ok and "chain mine of table inet mine" in told.stderr and told.stderr in pod.said
    assert not reaches(pod.pod, node.outside, node.OUTSIDE, SHORT)
    node.run(*told.stderr[told.stderr.index("nft add rule") :].split())
    assert reaches(pod.pod, node.outside, node.OUTSIDE)
    second = attached(node, backend="nftables")
    assert reaches(second.pod, node.outside, node.OUTSIDE)


def test_a_node_without_iptables(node: Node, tmp_path: Path) -> None:
    """Where Go would take iptables nftables is taken; asked for, iptables is an error that names it, from STATUS too."""
    folder = without_programs(tmp_path, f"{DIST}/firewall")
    pod = attached(node, binaries=folder, ingressPolicy="isolated")
    beside = attached(node, binaries=folder, ingressPolicy="isolated")
    assert "pycni_firewall" in node.run("nft", "list", "tables")
    assert not reaches(pod.pod, beside.pod, address(beside, 4), SHORT)
    assert "no program iptables" in pod.firewall("ADD", backend="iptables").error["msg"]
    assert pod.firewall("CHECK").ok
    told = pod.firewall("STATUS", backend="iptables", cniVersion="1.1.0").error
    assert told["code"] == 50 and "no program iptables" in told["msg"]
    assert pod.firewall("STATUS", cniVersion="1.1.0").ok
    for each in (pod, beside):
        each.remove_all(prevResult=None)
    assert "pycni" not in node.run("nft", "list", "tables")


# corners


def test_the_policy_stays_first(node: Node) -> None:
    """Corner 34: whatever is made again, the policy comes before the accepts; CHECK looks at the order."""
    first, other = (attached(node, link, backend="iptables", ingressPolicy="same-bridge") for link in ("br0", "br1"))
    jump = ("-m", "comment", "--comment", "CNI firewall plugin rules", "-j", "CNI-FORWARD")
    node.run("iptables", "-D", "FORWARD", *jump)
    node.run("iptables", "-I", "FORWARD", "1", *jump)
    assert "no effect" in first.firewall("CHECK").error["msg"]
    assert reaches(first.pod, other.pod, address(other, 4))
    assert first.firewall("ADD").ok and first.firewall("CHECK").ok
    assert not reaches(first.pod, other.pod, address(other, 4), SHORT)
    # without the jump to CNI-FORWARD Go puts it above
    node.run("iptables", "-D", "FORWARD", *jump)
    third = attached(node, backend="iptables")
    assert first.firewall("CHECK").ok
    for pod in (first, other, third):
        pod.remove_all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_del_needs_neither_result_nor_namespace(node: Node, backend: str) -> None:
    """Fault: without prevResult nothing is removed. An address that another pod has by now stays its own; twice."""
    pod, other = (attached(node, backend=backend, ingressPolicy="isolated") for _ in range(2))
    pod.pod.close()
    for _ in range(2):
        assert pod.firewall("DEL", prevResult=None, netns="").ok
    assert other.firewall("CHECK").ok
    # a late DEL with the result, after the address went to another pod
    pod.result["ips"] = other.result["ips"]
    assert pod.firewall("DEL", netns="").ok
    assert other.firewall("CHECK").ok
    other.remove_all()
    assert "CNI" not in node.run("iptables-save") and "pycni" not in node.run("nft", "list", "tables")


@pytest.mark.parametrize("backend", BACKENDS)
def test_pods_that_are_removed_together(node: Node, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """The DEL of one runs within that of another, and their bridge's come last: the policy does not stay."""
    one, other = (attached(node, backend=backend, ingressPolicy="same-bridge") for _ in range(2))
    remove = Notes.remove

    def together(notes: Notes, link: str) -> None:
        monkeypatch.undo()
        assert other.firewall("DEL").ok
        assert "br0" in node.run("nft", "list", "ruleset")
        remove(notes, link)

    monkeypatch.setattr(Notes, "remove", together)
    with node.inside():
        plan.remove(one.left())
    assert "br0" not in node.run("nft", "list", "ruleset")


def test_del_if_the_note_is_lost(node: Node) -> None:
    """A damaged one counts as lost. The addresses are in the result, or in the namespace, or in our table."""
    other = attached(node, "br1", backend="nftables", ingressPolicy="isolated")
    for keys in ({}, {"prevResult": None}, {"prevResult": None, "netns": ""}):
        pod = attached(node, backend="nftables", ingressPolicy="isolated")
        note = next(Path("/run/cni/pycni/firewall").glob(f"*/{pod.host}"))
        note.write_text("{")
        if "netns" in keys:
            # without any note the table is searched
            other.remove_all()
            note.unlink()
        # twice the same, as a result may have it
        pod.result["ips"] *= 2
        pod.result["interfaces"].append(pod.result["interfaces"][1])
        assert pod.firewall("DEL", **keys).ok and not note.exists()
        rules = node.run("nft", "list", "ruleset")
        assert pod.pod.container not in rules and "br0" not in rules
        assert pod.call(0, "DEL").ok
    assert "pycni" not in rules
    # an ADD died while it wrote the note
    pod = attached(node, backend="nftables")
    note = next(Path("/run/cni/pycni/firewall").glob(f"*/{pod.host}"))
    note.rename(note.parent / f".{note.name}")
    node.run("nft", "flush", "ruleset")
    assert pod.firewall("DEL").ok and not note.parent.exists()


def test_the_first_interface_of_a_policy(node: Node) -> None:
    """Corner 33: one in the container is no link of the node; none, and one without a name, are Go's errors."""
    pod = attached(node, backend="nftables")
    inside = {**pod.result, "interfaces": [{"name": "uplink", "sandbox": pod.pod.path}]}
    outcome = pod.firewall("ADD", prevResult=inside, ingressPolicy="same-bridge")
    assert outcome.ok and "uplink, the first interface, is not on the node" in outcome.stderr
    assert "uplink" not in node.run("nft", "list", "table", "inet", "pycni_firewall")
    before = node.nft()
    for interfaces, text in (([], "interface needs to be set"), ([{"name": ""}], "got empty bridge name"),
                             ([{"name": "a b"}], "interface name contains")):  # fmt: skip
        found = pod.firewall("ADD", prevResult={**pod.result, "interfaces": interfaces}, ingressPolicy="same-bridge")
        assert found.code == 7 and text in found.error["msg"]
    assert node.nft() == before


@pytest.mark.parametrize("name", ["a b", "-j", "!x", "x" * 29, 'a"b', "a\nb", "ACCEPT", "INPUT", "CNI-FORWARD", "LOG"])
def test_a_name_that_is_no_chain_changes_nothing(node: Node, name: str) -> None:
    """Corner 31: refused before anything is made; in Go by iptables, when CNI-FORWARD is there already."""
    conf = {"cniVersion": "1.0.0", "name": "n", "prevResult": {"ips": [{"address": "10.0.0.2/24"}]}}
    found = node.cni("firewall", "ADD", {**conf, "type": "firewall", "iptablesAdminChainName": name},
                     container="c1", netns="/nowhere")  # fmt: skip
    assert found.code == 7 and "iptablesAdminChainName" in found.error["msg"]
    assert "CNI" not in node.run("iptables-save")


def test_gc_removes_pods_that_are_not_valid(node: Node) -> None:
    """Of the network alone, in each backend, and standard error names them."""
    pods = [attached(node, link, backend=backend) for backend in BACKENDS for link in ("br0", "br0", "br1")]
    valid = [{"containerID": pod.pod.container, "ifname": "eth0"} for pod in (pods[0], pods[3])]
    outcome = pods[0].firewall("GC", cniVersion="1.1.0", **{"cni.dev/valid-attachments": valid})
    assert outcome.ok and outcome.stderr.count("removed firewall rules") == 2
    assert [pod.firewall("CHECK").ok for pod in pods] == [True, False, True] * 2
    for pod in pods:
        pod.remove_all()
    assert "CNI" not in node.run("iptables-save") and "pycni" not in node.run("nft", "list", "tables")


def test_what_of_prevresult_counts(node: Node, tmp_path: Path) -> None:
    """Corner 13: every address, of whatever interface; none makes nothing. IPv4 alone does not need ip6tables."""
    pod = attached(node, backend="nftables")
    pod.remove_all()
    before = node.nft(), node.run("iptables-save")
    for backend in BACKENDS:
        empty = pod.firewall("ADD", backend=backend, prevResult={**pod.result, "ips": []})
        assert empty.ok and (node.nft(), node.run("iptables-save")) == before
    assert pod.firewall("ADD", prevResult=None).error["msg"] == "missing prevResult from earlier plugin"
    folder = tmp_path / "alone"
    folder.mkdir()
    (folder / "ip6tables").write_text("#!/bin/sh\nexit 127\n")
    (folder / "ip6tables").chmod(0o755)
    env = {"PATH": f"{folder}:/usr/sbin:/usr/bin"}
    ips = [{"address": "10.1.0.9/24", "interface": 0}, {"address": "10.1.0.8/24"}]
    result = {**pod.result, "ips": ips}
    for backend in ("iptables", "of no such name"):
        for verb in ("ADD", "CHECK"):
            assert pod.call(1, verb, prevResult=result, backend=backend, env=env).ok
        assert node.run("iptables", "-S", "CNI-FORWARD").count("10.1.0.") == 4
    assert "CNI" not in node.run("ip6tables-save")
    assert pod.firewall("DEL", prevResult=None).ok
    assert "CNI" not in node.run("iptables-save")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_policy_behind_ptp_goes_with_the_pod(node: Node, backend: str) -> None:
    """Corner 33: the first interface is the pod's own host veth; DEL removes its rules, before the veth or after it."""
    pod = attached(node, backend="nftables")
    pod.remove_all()
    for number, late in enumerate((False, True)):
        name = f"veth{number}"
        node.ip(f"link add {name} type veth peer name peer{number}", f"link set {name} up")
        result = {**pod.result, "interfaces": [{"name": name}, {"name": "eth0", "sandbox": pod.pod.path}]}
        for verb in ("ADD", "CHECK"):
            assert pod.firewall(verb, prevResult=result, backend=backend, ingressPolicy="same-bridge").ok
        rules = node.run("iptables-save") + node.run("nft", "list", "ruleset")
        assert name in rules
        if late:
            node.ip(f"link del {name}")
        assert pod.firewall("DEL", prevResult=None).ok
        rules = node.run("iptables-save") + node.run("nft", "list", "ruleset")
        assert name not in rules and "ISOLATION" not in rules
