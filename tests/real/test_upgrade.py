"""The plugins replaced under living pods, whose tables an earlier build made: nothing is lost, and nothing stays behind."""

import shutil
import socket
import sys
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import port
from node.ports import answers
from node.published import SUBNET, publish, wanted
from node.topology import Node

pytestmark = pytest.mark.real

HOSTS, MASQUERADE, LOCALNET = "inet pycni_hostports", "inet pycni_masquerade", "inet pycni_localnet"
# SO_NETNS_COOKIE of linux/socket.h
_COOKIE = 71


def serves(node: Node, chain: Chain, asked: int) -> bool:
    """Whether the pod answers at a port of the node."""
    return answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, asked)


def published(node: Node, *asked: int, **keys: Any) -> list[Chain]:
    """A pod a port, which are masqueraded too, in IPv4."""
    below = {"ipMasq": True}
    return [publish(node, port(number), subnets=[SUBNET], below=below, **keys) for number in asked]


def as_before(node: Node, *chains: Chain) -> None:
    """What the first builds made: their chains come before everybody's, and shares in the link are in nftables."""
    subnet = f"pods_{SUBNET}"
    lines = [f"flush chain {MASQUERADE} postrouting", f"delete chain {MASQUERADE} postrouting"]
    lines += [f"add chain {MASQUERADE} postrouting {{ type nat hook postrouting priority srcnat; }}"]
    lines += [
        f"add rule {MASQUERADE} postrouting {text}"
        for text in ("ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return")
    ]
    lines += [
        f'add rule {MASQUERADE} postrouting ip saddr @{subnet} ip daddr != {SUBNET} masquerade comment "{subnet}"'
    ]
    for name in ("prerouting", "output"):
        there = node.run("nft", "list", "chain", *HOSTS.split(), name).splitlines()
        jumps = [line.strip() for line in there if " jump " in line]
        lines += [f"flush chain {HOSTS} {name}", f"delete chain {HOSTS} {name}"]
        lines += [f"add chain {HOSTS} {name} {{ type nat hook {name} priority -101; }}"]
        lines += [f"add rule {HOSTS} {name} {jump}" for jump in jumps]
    with node.socket() as asking:
        number = int.from_bytes(asking.getsockopt(socket.SOL_SOCKET, _COOKIE, 8), sys.byteorder)
    shutil.rmtree(f"/run/cni/pycni/localnet/{number}")
    lines += [f"delete table {LOCALNET}", f"add table {LOCALNET}"]
    lines += [f"add map {LOCALNET} attachments {{ type ifname . inet_service : ifname; }}"]
    lines += [
        f"add map {LOCALNET} opened {{ type ifname : inet_service; }}",
        f"add set {LOCALNET} guarded {{ type ifname; }}",
    ]
    for chain in chains:
        name, link = f"net1/{chain.pod.container}/eth0", chain.result["interfaces"][1]["name"]
        lines += [f'add element {LOCALNET} attachments {{ "{link}" . 0 comment "{name}" : "br0" }}']
    lines += [f'add element {LOCALNET} opened {{ "br0" : 0 }}', f'add element {LOCALNET} guarded {{ "br0" }}']
    lines += [f"add chain {LOCALNET} prerouting {{ type filter hook prerouting priority raw; }}"]
    lines += [f"add rule {LOCALNET} prerouting iifname @guarded ip daddr 127.0.0.0/8 drop"]
    node.run("nft", "-f", "-", stdin="\n".join([*lines, ""]))


def content(chain: Chain) -> bool:
    """Whether CHECK of both plugins passes."""
    return chain.portmap("CHECK").ok and chain.call(0, "CHECK", prevResult=chain.result).ok


@pytest.mark.parametrize("iptables", [False, True])
def test_pods_of_an_earlier_build_go_on_beside_new_ones(node: Node, iptables: bool) -> None:
    """CHECK, DEL of one, ADD of another, DEL of all: everybody answers meanwhile, and in the end there is nothing."""
    for chain in ("PREROUTING", "POSTROUTING") if iptables else ():
        node.run("iptables", "-t", "nat", "-A", chain, "-d", "198.51.100.9", "-j", "ACCEPT")
    before = node.run("nft", "-s", "list", "ruleset") if iptables else ""
    pods = published(node, 8080, 8081)
    as_before(node, *pods)
    assert all(content(pod) and serves(node, pod, 8080 + number) for number, pod in enumerate(pods))
    pods[0].remove()
    assert content(pods[1]) and serves(node, pods[1], 8081)
    pods += published(node, 8082)
    assert all(content(pod) and serves(node, pod, 8080 + number) for number, pod in enumerate(pods) if number)
    assert "iif @guarded" in node.run("nft", "list", "table", *LOCALNET.split())
    for pod in pods[1:]:
        assert node.sysctl("ipv4/conf/br0/route_localnet") == "1"
        pod.remove()
    assert node.sysctl("ipv4/conf/br0/route_localnet") == "0"
    assert node.run("nft", "-s", "list", "ruleset") == before


def test_check_misses_the_guard_of_an_earlier_build(node: Node) -> None:
    """What somebody took away of it is reported, and the next ADD makes it of today."""
    (pod,) = published(node, 8080)
    as_before(node, pod)
    node.run("nft", "flush", "set", *LOCALNET.split(), "guarded")
    assert "127.0.0.0/8" in pod.portmap("CHECK").error["msg"]
    published(node, 8081)
    assert content(pod)


def test_gc_finds_the_shares_of_an_earlier_build(node: Node) -> None:
    """The last share that is not valid any more closes the link."""
    pods = published(node, 8080, 8081)
    as_before(node, *pods)
    valid = {"containerID": pods[1].pod.container, "ifname": "eth0"}
    for kept, value in (([valid], "1"), ([], "0")):
        assert pods[1].portmap("GC", **{"cniVersion": "1.1.0", "cni.dev/valid-attachments": kept}).ok
        assert node.sysctl("ipv4/conf/br0/route_localnet") == value


def test_conditions_of_an_earlier_build_go_on(node: Node) -> None:
    """The chains move behind everybody's with the jumps that nft made for living pods."""
    one = publish(node, port(8080), conditionsV4=["ip saddr 0.0.0.0/0", "tcp dport { 8080, 8081 }"])
    published(node, 8090)
    as_before(node, one)
    chain = wanted(node, port(8091)).add()
    assert "priority 1000" in node.run("nft", "list", "chain", *HOSTS.split(), "prerouting")
    assert serves(node, one, 8080) and serves(node, chain, 8091)
    one.remove()
    assert "jump hostports4_" not in node.run("nft", "list", "table", *HOSTS.split())
