"""firewall with iptables: Go's chains, rule by rule, whichever of the two plugins made them."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.plugin import DIST, GO, Object
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(GO, "firewall").is_file(), reason="containernetworking-plugins is not installed"),
]

IPS = ("10.1.0.2/24", "2001:db8:1::2/64")


def conf(*ips: str, name: str = "net1", bridge: str = "br0", **keys: Any) -> Object:
    """A configuration with a result as bridge gives it."""
    previous: Object = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": bridge}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/var/run/netns/x"}],
        "ips": [{"address": ip, "interface": 2} for ip in ips or IPS],
    }
    return {"cniVersion": "1.0.0", "name": name, "type": "firewall", "prevResult": previous, **keys}


def call(node: Node, verb: str, conf: Object, container: str = "c1", *, binaries: str = DIST) -> Object:
    """One verb, which has to succeed; returns the result of ADD."""
    outcome = node.cni("firewall", verb, conf, container=container, netns="/var/run/netns/none", binaries=binaries)
    assert outcome.ok, outcome.stdout
    return outcome.document or {}


def saved(node: Node) -> dict[str, list[str]]:
    """``filter`` of each family: the chains, and the rules in their order."""
    found = {}
    for program in ("iptables-save", "ip6tables-save"):
        lines = node.run(program, "-t", "filter").splitlines()
        chains = sorted(line.split(" [")[0] for line in lines if line.startswith(":"))
        found[program] = chains + sorted(
            (line for line in lines if line.startswith("-A")), key=lambda line: line.split()[1]
        )
    return found


def flat(found: dict[str, list[str]]) -> list[str]:
    """The rules of both families without their comments, which Debian's version writes differently."""
    return [re.sub(r' -m comment --comment "[^"]*"', "", line) for lines in found.values() for line in lines]


def test_the_rules_are_gos(new_node: Callable[[], Node]) -> None:
    """Two pods, one of them twice; an administrator's chain; rules of others in FORWARD."""
    found = []
    for binaries in (GO, DIST):
        node = new_node()
        node.run("iptables", "-A", "FORWARD", "-p", "udp", "-j", "ACCEPT")
        for container, keys in (("c1", conf()), ("c2", conf("10.1.0.3/24")), ("c1", conf())):
            assert call(node, "ADD", keys, container, binaries=binaries)["ips"]
            call(node, "CHECK", keys, container)
        found.append(saved(node))
        call(node, "DEL", conf("10.1.0.3/24"), "c2")
        assert "10.1.0.3" not in str(saved(node)) and "10.1.0.2" in str(saved(node))
        call(node, "DEL", conf(), "c1")
        assert [line for lines in saved(node).values() for line in lines if "CNI" in line] == []
        assert "udp" in str(saved(node))
    assert found[1] == found[0]
    assert sum("-j ACCEPT" in line for line in found[1]["iptables-save"]) == 5


def test_the_rules_of_a_policy_are_gos(new_node: Callable[[], Node]) -> None:
    """Two bridges, in Go's order; the comments of 1.7 and later, whose order for `isolated` the digest has."""
    found = []
    for binaries in (GO, DIST):
        node = new_node()
        for bridge, ip in (("br0", IPS[0]), ("br1", "10.1.1.2/24")):
            call(node, "ADD", conf(ip, bridge=bridge, ingressPolicy="same-bridge"), bridge, binaries=binaries)
        found.append(saved(node))
        # Go's rules, comments of 1.1, are found by ours
        call(node, "CHECK", conf(IPS[0], ingressPolicy="same-bridge"), "br0")
        for bridge, ip in (("br0", IPS[0]), ("br1", "10.1.1.2/24")):
            call(node, "DEL", conf(ip, bridge=bridge), bridge)
        assert "CNI" not in str(saved(node))
    assert flat(found[1]) == flat(found[0])
    of_both, of_one = (
        f'"CNI firewall plugin rules (ingressPolicy: {word})"' for word in ("same-bridge|isolated", "isolated")
    )
    node = new_node()
    call(node, "ADD", conf("10.1.0.2/24", ingressPolicy="isolated"))
    rules = [line for line in saved(node)["iptables-save"] if "ISOLATION" in line and line.startswith("-A")]
    assert rules == [
        f"-A CNI-ISOLATION-STAGE-1 -i br0 -o br0 -m comment --comment {of_one} -j DROP",
        f"-A CNI-ISOLATION-STAGE-1 -i br0 ! -o br0 -m comment --comment {of_one} -j CNI-ISOLATION-STAGE-2",
        f"-A CNI-ISOLATION-STAGE-1 -m comment --comment {of_both} -j RETURN",
        f"-A CNI-ISOLATION-STAGE-2 -o br0 -m comment --comment {of_both} -j DROP",
        f"-A CNI-ISOLATION-STAGE-2 -m comment --comment {of_both} -j RETURN",
        f"-A FORWARD -m comment --comment {of_both} -j CNI-ISOLATION-STAGE-1",
    ]


def test_chains_that_others_use_stay(node: Node) -> None:
    """An administrator's rules in, and jumps to, Go's chains: DEL succeeds, and leaves what they need."""
    call(node, "ADD", conf(IPS[0]))
    node.run("iptables", "-A", "INPUT", "-j", "CNI-ADMIN")
    call(node, "DEL", conf(IPS[0]))
    assert [line for line in saved(node)["iptables-save"] if "CNI" in line] == [":CNI-ADMIN -", "-A INPUT -j CNI-ADMIN"]
    call(node, "ADD", conf(IPS[0]))
    node.run("iptables", "-A", "OUTPUT", "-j", "CNI-FORWARD")
    node.run("iptables", "-A", "CNI-FORWARD", "-p", "icmp", "-j", "DROP")
    for mine in (True, False):
        call(node, "DEL", conf(IPS[0]))
        assert "10.1.0.2" not in str(saved(node)) and "-j CNI-FORWARD" in str(saved(node))
        if mine:
            node.run("iptables", "-D", "CNI-FORWARD", "-p", "icmp", "-j", "DROP")
            call(node, "ADD", conf(IPS[0]))


def test_an_address_of_two_networks(node: Node) -> None:
    """Each has rules; the DEL of one leaves those of the other. Rules that Go's plugin left go with the last."""
    call(node, "ADD", conf(IPS[0]), "left", binaries=GO)
    for name in ("net1", "net2"):
        call(node, "ADD", conf(IPS[0], name=name), name)
    call(node, "DEL", conf(IPS[0], name="net1"), "net1")
    call(node, "CHECK", conf(IPS[0], name="net2"), "net2")
    call(node, "DEL", conf(IPS[0], name="net2"), "net2")
    assert "CNI" not in str(saved(node))


def test_many_pods_at_once(node: Node) -> None:
    """The first pods of a node, all at once: each has its rules, the common ones stand once."""
    numbers = range(2, 10)
    with ThreadPoolExecutor(len(numbers)) as pool:
        made = [
            pool.submit(call, node, "ADD", conf(f"10.1.0.{number}/24", ingressPolicy="same-bridge"), f"c{number}")
            for number in numbers
        ]
        assert all(each.result()["ips"] for each in made)
    rules = saved(node)["iptables-save"]
    assert sum("-s 10.1.0." in line for line in rules) == len(numbers)
    for jump in ("CNI-FORWARD", "CNI-ADMIN", "CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"):
        assert sum(line.endswith(f"-j {jump}") for line in rules) == 1
    for number in numbers:
        call(node, "DEL", conf(f"10.1.0.{number}/24"), f"c{number}")
    assert "CNI" not in str(saved(node))


def test_pods_are_handed_back(node: Node) -> None:
    """Rules of nftables become Go's, which Go's CHECK and DEL take; the inventory names their owner before."""
    keys = conf(backend="nftables", ingressPolicy="same-bridge")
    call(node, "ADD", keys)
    things = json.loads(node.run(f"{DIST}/cni-handback", "--list", str(node.data_dir)))
    (ours,) = (each for each in things if each["kind"] == "firewall rules")
    assert ours["owner"] == {"network": "net1", "container": "c1", "ifname": "eth0"}
    assert ours["facts"]["addresses"] == [ip.split("/")[0] for ip in IPS]
    node.run(f"{DIST}/cni-handback", "--write")
    assert "pycni" not in node.run("nft", "list", "tables")
    call(node, "CHECK", keys, binaries=GO)
    things = json.loads(node.run(f"{DIST}/cni-handback", "--list", str(node.data_dir)))
    found = {each["identity"] for each in things if each["kind"] == "firewall rules in Go's form"}
    assert found == {"10.1.0.2", "2001:db8:1::2", "br0"}
    call(node, "DEL", keys, binaries=GO)
    assert "10.1.0.2" not in str(saved(node)) and "STAGE-1 -i br0" in str(saved(node))
    # what Go leaves goes with the next DEL of ours
    call(node, "DEL", keys)
    assert "CNI" not in str(saved(node))
