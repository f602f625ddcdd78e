"""sbr: two networks of a pod by source, what moves and comes back, what is refused, what CHECK sees, beside Go's."""

import copy
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cni.errors import KernelError
from cni.kernel import exclusive
from cni.kernel import rules as kernel_rules
from node.chain import Chain
from node.configuration import conflist, host_local
from node.namespace import Netns, Object
from node.plugin import GO, Outcome
from node.served import plugin, serve
from node.topology import Node, Pod
from node.traffic import tcp_source

pytestmark = pytest.mark.real
go_installed = pytest.mark.skipif(
    not Path(GO, "sbr").is_file(), reason="needs Go's plugins: apt install containernetworking-plugins"
)

NET1, NET2 = ("10.1.2.0/24", "fd00:1::/64"), ("10.1.3.0/24", "fd00:2::/64")
DEFAULTS = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
FAR, FAR6 = "198.51.100.1", "2001:db8:aa::1"


def network(
    node: Node, name: str, bridge: str, *subnets: str, version: str = "1.0.0", routes: Any = (), **keys: Any
) -> Object:
    """A bridge with gateways, and sbr after it."""
    ipam = host_local(node.data_dir, *subnets, **({"routes": list(routes)} if routes else {}))
    below = {"type": "bridge", "bridge": bridge, "isGateway": True, "ipam": ipam}
    return conflist(below, {"type": "sbr", **keys}, name=name, version=version)


def one(node: Node, *subnets: str, pod: Pod | None = None, ifname: str = "net1", **keys: Any) -> Chain:
    """A pod's membership in such a network."""
    return Chain(
        node, network(node, keys.pop("name", "net1"), keys.pop("bridge", "br1"), *subnets, **keys), pod, ifname=ifname
    )


def rules(pod: Netns) -> list[str]:
    """The rules that are not the kernel's own, without their priorities."""
    return [
        line.split("\t")[1].split(" proto")[0]
        for line in pod.rule_lines()
        if line.split(":")[0] not in ("0", "32766", "32767")
    ]


def table(pod: Netns, number: int | str, family: int = 4) -> list[str]:
    """The routes of a table, each as far as its device and source, in order of destinations."""
    found: list[Object] = json.loads(pod.run("ip", f"-{family}", "-j", "route", "show", "table", str(number)) or "[]")
    lines = []
    for route in found:
        words = [route["dst"], *(f"{key} {route[key]}" for key in ("gateway", "dev", "prefsrc") if key in route)]
        lines.append(" ".join(words))
    return sorted(line for line in lines if not line.startswith(("fe80", "ff00")))


def routing(pod: Netns) -> Any:
    return [*pod.route_lines(), *pod.rule_lines()]


def sbr(chain: Chain, verb: str, *, binaries: str = "", **keys: Any) -> Outcome:
    """A verb of the list's sbr: ADD with the result of the bridge, the others with that of the list."""
    given: Object = {"prevResult": chain.result, **keys}
    return chain.call(chain.place("sbr"), verb, binaries=binaries, **given)


def served(chain: Chain, verb: str, conf: Object) -> Outcome:
    """A verb of sbr in this process."""
    call = {"container": chain.pod.container, "netns": chain.pod.path, "ifname": "net1"}
    with chain.node.inside():
        return serve(plugin("sbr"), verb, conf, **call)


def below(chain: Chain) -> Any:
    """The ADD of the bridge alone; the pod's routing then."""
    chain.result = copy.deepcopy(chain.call(0, "ADD").result)
    return routing(chain.pod)


@contextmanager
def far(node: Node) -> Iterator[None]:
    """An address beyond both networks, which the node has."""
    node.ip(f"addr add {FAR}/32 dev lo", f"addr add {FAR6}/128 dev lo nodad")
    yield


def leaves_by(pod: Netns, source: str, to: str) -> str:
    """The link through which the kernel sends a packet with this source."""
    words = pod.run("ip", "route", "get", to, *(["from", source] if source else [])).split()
    return words[words.index("dev") + 1]


def came_from(node: Node, pod: Netns, source: str, to: str, device: str) -> str:
    """Who the node sees when the pod connects from this address; the packets leave by this link."""
    before, family = sent(pod, device), socket.AF_INET6 if ":" in to else socket.AF_INET
    with node.socket(family) as server, pod.socket(family) as client:
        server.bind((to, 0))
        server.listen()
        for each in (server, client):
            each.settimeout(3)
        client.bind((source, 0))
        client.connect(server.getsockname()[:2])
        accepted, peer = server.accept()
        with accepted:
            accepted.sendall(b"x")
            assert client.recv(9) == b"x"
    assert sent(pod, device) >= before + 3
    return str(peer[0])


def sent(pod: Netns, device: str) -> int:
    """How many packets a link has sent."""
    with pod.inside():
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split()[10]) for line in lines if line.split()[0] == f"{device}:")


def test_two_networks_of_a_pod_carry_traffic_by_source(node: Node) -> None:
    """eth0 has the pod's default routes, net1 its own, in both families; then the second network once more, as net2."""
    with far(node):
        pod = node.pod()
        eth0 = Chain(
            node, conflist(network(node, "net0", "br0", *NET1, routes=DEFAULTS)["plugins"][0], name="net0"), pod
        ).add()
        net1 = one(node, *NET2, pod=pod, routes=DEFAULTS).add()
        for chain, device in ((eth0, "eth0"), (net1, "net1")):
            for address, to in zip(chain.addresses, (FAR, FAR6), strict=True):
                assert leaves_by(pod, address, to) == device
                assert came_from(node, pod, address, to, device) == address
        # without a source everything leaves by eth0, although IPv6 had made one default route of two
        assert leaves_by(pod, "", FAR) == leaves_by(pod, "", FAR6) == "eth0"
        assert table(pod, "main", 6) == ["default gateway fd00:1::1 dev eth0", "fd00:1::/64 dev eth0"]
        assert tcp_source(node, pod, FAR) == eth0.address
        assert all(outcome.ok for chain in (eth0, net1) for outcome in chain.check()), [c.stdout for c in net1.check()]
        twice = one(node, *NET2, pod=pod, ifname="net2", routes=DEFAULTS).add()
        for chain, device in ((net1, "net1"), (twice, "net2")):
            assert {leaves_by(pod, *way) for way in zip(chain.addresses, (FAR, FAR6), strict=True)} == {device}
        assert leaves_by(pod, "", FAR6) == "eth0"
        twice.remove()
        assert all(outcome.ok for outcome in net1.check())
        net1.remove()
        assert leaves_by(pod, "", FAR6) == "eth0" and rules(pod) == []
        assert all(outcome.ok for outcome in eth0.check())
        eth0.remove()


def test_routes_move_to_free_tables_and_come_back(node: Node) -> None:
    """A table for each address, from 100; one with a rule or with routes is not free. DEL puts all back, once and twice."""
    chain = one(node, *NET1, "10.1.4.0/24", routes=[*DEFAULTS, {"dst": "10.9.0.0/16", "gw": "10.1.4.1"}])
    pod = chain.pod
    pod.ip("link set lo up", "rule add from all fwmark 7 lookup 100", "route add 10.77.0.0/16 dev lo table 101")
    before = below(chain)
    link_local = pod.run("ip", "-6", "route", "show", "dev", "net1", "fe80::/64")
    assert len(table(pod, "main")) == 4 and link_local
    for place in range(2):
        result = sbr(chain, "ADD")
        assert result.result == chain.result
        addresses = chain.addresses
        assert sorted(rules(pod)) == sorted(
            ["from all fwmark 0x7 lookup 100"]
            + [f"from {address} lookup {number}" for address, number in zip(addresses, (102, 103, 104), strict=True)]
        )
        assert table(pod, 102) == [
            "10.1.2.0/24 dev net1 prefsrc 10.1.2." + addresses[0].split(".")[-1],
            "default gateway 10.1.2.1 dev net1",
        ]
        assert table(pod, 103, 6) == ["default gateway fd00:1::1 dev net1", "fd00:1::/64 dev net1"]
        assert [line.split()[0] for line in table(pod, 104)] == ["10.1.4.0/24", "10.9.0.0/16", "default"]
        assert table(pod, "main") == table(pod, "main", 6) == []
        assert pod.run("ip", "-6", "route", "show", "dev", "net1", "fe80::/64") == link_local
        assert all(outcome.ok for outcome in chain.check())
        error = sbr(chain, "ADD").error
        assert "exist" in error["msg"] and "send DEL first" in error["details"]
        keys: Object = {"prevResult": None} if place else {}
        for _ in range(2):
            assert sbr(chain, "DEL", **keys).ok
            assert routing(pod) == before
    chain.remove()


def test_behind_ptp_and_macvlan_every_check_passes(node: Node) -> None:
    """The routes that their CHECK looks for are in the tables of sbr."""
    ipam = host_local(node.data_dir, *NET1, routes=DEFAULTS)
    for kind in ({"type": "ptp"}, {"type": "macvlan", "master": "uplink"}):
        chain = Chain(node, conflist({**kind, "ipam": ipam}, {"type": "sbr"})).add()
        assert table(chain.pod, "main") == [] and "default gateway 10.1.2.1 dev eth0" in table(chain.pod, 100)
        for outcome in chain.check():
            assert outcome.ok, outcome.stdout
        chain.pod.ip("route flush table 100")
        failed = [outcome.error["msg"] for outcome in chain.check()]
        assert "Expected Route" in failed[0] and "not found in table 100" in failed[1]
        chain.remove()


def test_source_hints_keep_the_own_networks_in_main(node: Node) -> None:
    """IPv6's keeps its metric, and has a source; Go's plugin removes the kernel's route."""
    chain = one(node, *NET1, routes=DEFAULTS, addSourceHints=True)
    before = below(chain)
    assert sbr(chain, "ADD").ok
    four, six = chain.addresses
    assert table(chain.pod, "main") == [f"10.1.2.0/24 dev net1 prefsrc {four}"]
    assert table(chain.pod, "main", 6) == [f"fd00:1::/64 dev net1 prefsrc {six}"]
    assert "metric 256" in chain.pod.run("ip", "-6", "route", "show", "fd00:1::/64")
    assert all(outcome.ok for outcome in chain.check())
    assert "exist" in sbr(chain, "ADD").error["msg"]
    chain.pod.ip("route del fd00:1::/64")
    assert sbr(chain, "CHECK").error["msg"] == "Route fd00:1::/64 not found in the main table"
    assert sbr(chain, "DEL").ok and routing(chain.pod) == before
    chain.remove()


def test_which_gateway_the_default_route_has(node: Node) -> None:
    """The one of `gateways`, or of a default route, or of the address; without any ADD says so."""
    cases: list[tuple[Any, Object, str]] = [
        ([], {}, "10.1.2.1"),
        ([], {"gateways": ["10.1.2.9", "fd00:1::9"]}, "10.1.2.9"),
        (DEFAULTS, {"gateways": ["10.1.2.9"]}, "10.1.2.9"),
        ([{"dst": "0.0.0.0/0", "gw": "10.1.2.7"}], {}, "10.1.2.7"),
    ]
    for routes, keys, gateway in cases:
        chain = one(node, *NET1, routes=routes, **keys).add()
        assert f"default gateway {gateway} dev net1" in table(chain.pod, 100), keys
        assert f"via {gateway} dev net1" in chain.pod.run("ip", "route", "get", FAR, "from", chain.address)
        six = "fd00:1::9" if len(keys.get("gateways", ())) == 2 else "fd00:1::1"
        assert f"default gateway {six} dev net1" in table(chain.pod, 101, 6)
        assert all(outcome.ok for outcome in chain.check())
        chain.remove()
    chain = one(node, NET1[0])
    below(chain)
    for ip in chain.result["ips"]:
        del ip["gateway"]
    outcome = sbr(chain, "ADD")
    assert outcome.ok and "no gateway is known for 10.1.2." in outcome.stderr
    assert [line.split()[0] for line in table(chain.pod, 100)] == ["10.1.2.0/24"] and sbr(chain, "CHECK").ok
    chain.remove()


def test_a_gateway_beyond_the_networks_and_a_failed_add(node: Node) -> None:
    """The kernel refuses the gateway, and all is as before. Routes by a next hop in no network move with all the family's."""
    chain = one(node, *NET1, routes=DEFAULTS, gateways=["10.99.0.1"])
    before = below(chain)
    assert sbr(chain, "ADD").error["msg"].startswith("Failed to add default route to 10.99.0.1: network is unreachable")
    assert routing(chain.pod) == before
    pod = chain.pod
    pod.ip("route add default via fe80::1 dev net1 metric 50", "route add fd00:77::/64 via fe80::1 dev net1")
    before = routing(pod)
    assert sbr(chain, "ADD", gateways=None).ok
    for line in ("default gateway fe80::1 dev net1", "fd00:77::/64 gateway fe80::1 dev net1"):
        assert line in table(pod, 101, 6)
    assert table(pod, "main", 6) == [] and sbr(chain, "CHECK", gateways=None).ok
    assert sbr(chain, "DEL").ok and routing(pod) == before
    chain.remove()


def test_a_table_of_the_configuration_gets_rules_alone(node: Node) -> None:
    """`gateways` counts for nothing beside it. An equal rule of an administrator is no hindrance, and stays."""
    for number in (7, 100000):
        chain = one(node, *NET1, routes=DEFAULTS, table=number, gateways=["none"])
        before = below(chain)
        assert sbr(chain, "ADD").ok
        assert rules(chain.pod) == [f"from {address} lookup {number}" for address in chain.addresses]
        assert sbr(chain, "CHECK").ok and "exist" in sbr(chain, "ADD").error["msg"]
        error = sbr(chain, "CHECK", table=8).error["msg"]
        assert error == f"Rule from {chain.address} to table 8 not found"
        assert chain.pod.route_lines() == [line for line in before if isinstance(line, tuple)]
        assert sbr(chain, "DEL", table=None).ok and routing(chain.pod) == before
        chain.pod.ip(f"rule add from {chain.address} lookup {number} priority 32765")
        before = routing(chain.pod)
        assert sbr(chain, "ADD").ok and sbr(chain, "CHECK").ok and sbr(chain, "DEL").ok
        assert routing(chain.pod) == before
        chain.remove()


@pytest.mark.parametrize(
    ("keys", "msg"),
    [
        ({"prevResult": None}, "This plugin must be called as chained plugin"),
        (
            {"prevResult": {"cniVersion": "1.0.0", "interfaces": [], "ips": []}},
            "No IP addresses supplied on interface: net1",
        ),
        (
            {"gateways": ["10.1.2.1", "fd00::1", "fd00::2"]},
            "gateways list cannot contain more than 2 entries (one IPv4, one IPv6)",
        ),
        (
            {"gateways": ["10.1.2.1", "10.1.2.2"]},
            "gateways list contains multiple IPv4 addresses: 10.1.2.1 and 10.1.2.2",
        ),
        (
            {"gateways": ["10.1.2.1", "::ffff:10.1.2.2"]},
            "gateways list contains multiple IPv4 addresses: 10.1.2.1 and 10.1.2.2",
        ),
        ({"gateways": ["x"]}, "invalid static gateway IP address: x"),
        ({"gateways": ["0.0.0.0"]}, "invalid static gateway IP address: 0.0.0.0"),
        ({"gateways": "10.1.2.1"}, "gateways"),
        ({"addSourceHints": 1}, "addSourceHints"),
        ({"table": 0}, "table is 0"),
        ({"table": 255}, "table is 255"),
        ({"table": 1 << 32}, "table is 4294967296"),
        ({"table": "7"}, "table"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(node: Node, keys: Object, msg: str) -> None:
    chain = one(node, NET1[0])
    before = below(chain)
    assert msg in sbr(chain, "ADD", **keys).error["msg"] and routing(chain.pod) == before
    if "prevResult" in keys:
        assert msg in sbr(chain, "CHECK", **keys).error["msg"]
    assert sbr(chain, "DEL", **keys).ok and routing(chain.pod) == before
    chain.remove()


def test_another_interfaces_addresses_and_a_missing_interface(node: Node) -> None:
    """Without an address of its own the interface keeps its routes; Go's plugin removes them all."""
    chain = one(node, NET1[0], routes=DEFAULTS[:1])
    before = below(chain)
    chain.result["interfaces"][0]["name"] = "net1"
    for ip in chain.result["ips"]:
        ip["interface"] = 0  # of the node
    for verb in ("ADD", "CHECK", "DEL"):
        outcome = sbr(chain, verb)
        assert outcome.ok and routing(chain.pod) == before
        assert ("no address of prevResult is of net1" in outcome.stderr) == (verb != "DEL")
    del chain.result["ips"][0]["interface"]
    chain.pod.ip("link delete net1")
    for verb in ("ADD", "CHECK"):
        assert sbr(chain, verb).error["msg"] == "Cannot find network interface net1: Link not found"
    chain.remove()


def test_one_at_a_time_in_a_container(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is that of Go's plugin: on the file of the namespace."""
    chain = one(node, NET1[0], routes=DEFAULTS[:1])
    before = below(chain)
    monkeypatch.setattr(exclusive, "_WAIT", 0.01)
    held = os.open(chain.pod.path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        for verb in ("ADD", "DEL"):
            error = served(chain, verb, chain.configuration(1, prevResult=chain.result)).error
            assert error["code"] == 11 and chain.pod.path in error["msg"]
            assert routing(chain.pod) == before
    finally:
        os.close(held)
    chain.remove()


def test_del_finds_the_rules_whatever_is_gone(node: Node) -> None:
    """The address, the interface, the result, the namespace. An administrator's rules for the same address stay."""
    chains = [one(node, NET1[0]) for _ in range(4)]
    for chain, gone in zip(chains, ("", "addr flush dev net1", "link delete net1", "link delete net1"), strict=True):
        chain.add()
        other = one(node, NET2[0], pod=chain.pod, ifname="net2", name="net2", bridge="br2").add()
        chain.pod.ip("rule add from 10.1.2.0/24 lookup 9", f"rule add from {chain.address} lookup 9")
        if gone:
            chain.pod.ip(gone)
        previous = None if chain is chains[2] else chain.result
        assert sbr(chain, "DEL", prevResult=previous).ok
        kept = [f"from {other.address} lookup 101", "from 10.1.2.0/24 lookup 9", f"from {chain.address} lookup 9"]
        assert sorted(rules(chain.pod)) == sorted(kept), gone
        assert all(outcome.ok for outcome in other.check())
        other.remove()
    path = chains[0].pod.path
    chains[0].pod.close()
    for netns in (path, ""):
        assert sbr(chains[0], "DEL", netns=netns).ok and not Path(path).exists()
    for chain in chains:
        chain.remove(netns="")


def test_check_names_each_difference(node: Node) -> None:
    chain = one(node, *NET1, routes=DEFAULTS).add()
    four, six = chain.addresses
    changes = [
        (f"rule del from {four} table 100", f"rule add from {four} table 100 protocol 140",
         f"Rule from {four} to a routing table not found"),
        ("route del default table 100", "route add default via 10.1.2.1 dev net1 table 100",
         f"Default route to 10.1.2.1 not found in table 100 of {four}"),
        ("route add 10.1.2.0/24 dev net1", "route del 10.1.2.0/24 dev net1",
         "Route 10.1.2.0/24 is in the main table, and not only in table 100"),
        ("route del fd00:1::/64 table 101", "route add fd00:1::/64 dev net1 table 101",
         f"Routes through net1 not found in table 101 of {six}"),
        ("route add 10.50.0.0/16 dev net1", "route del 10.50.0.0/16 dev net1", ""),
        (f"rule add from {four} table 9 priority 5", f"rule del from {four} table 9 priority 5", ""),
    ]  # fmt: skip
    for change, back, text in changes:
        chain.pod.ip(change)
        outcome = sbr(chain, "CHECK")
        assert outcome.ok if not text else text in outcome.error["msg"], change
        chain.pod.ip(back)
        assert sbr(chain, "CHECK").ok, back
    chain.remove()


def test_a_kernel_without_routing_rules(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """STATUS and ADD say so, and DEL succeeds: there is nothing to remove."""
    chain = one(node, NET1[0], version="1.1.0")
    before = below(chain)
    conf = chain.configuration(1, prevResult=chain.result)
    assert node.cni("sbr", "STATUS", conf).ok

    def lacks(*_: Any) -> Any:
        raise KernelError(errno.EOPNOTSUPP)

    monkeypatch.setattr(kernel_rules, "check", lacks)
    monkeypatch.setattr(kernel_rules, "every", lacks)
    for verb, code in (("STATUS", 50), ("ADD", 999)):
        error = served(chain, verb, conf).error
        assert error["code"] == code and error["msg"].startswith("Failed to list all rules: ")
        assert "CONFIG_IP_MULTIPLE_TABLES" in error["details"]
    assert served(chain, "DEL", conf).ok and routing(chain.pod) == before
    chain.remove()


@go_installed
def test_each_removes_what_the_other_has_made(node: Node) -> None:
    """Also the routes that Go's moved, which its own DEL leaves: an interface that stays can be added again."""
    for routes in ((), DEFAULTS[:1]):
        chain = one(node, NET1[0], routes=routes)
        before = below(chain)
        chain.pod.ip("rule add from 10.1.2.0/24 lookup 9", f"rule add from {chain.address} lookup 9 protocol 4")
        for _ in range(2):
            assert sbr(chain, "ADD", binaries=GO).ok
            assert f"from {chain.address} lookup 100" in rules(chain.pod) and sbr(chain, "CHECK").ok
            for _ in range(2):
                assert sbr(chain, "DEL").ok
                assert sorted(rules(chain.pod)) == ["from 10.1.2.0/24 lookup 9", f"from {chain.address} lookup 9"]
        chain.pod.ip("rule del from 10.1.2.0/24 lookup 9", f"rule del from {chain.address} lookup 9")
        assert routing(chain.pod) == before
        chain.remove()
    chain = one(node, NET1[0], routes=DEFAULTS[:1]).add()
    assert sbr(chain, "DEL", binaries=GO).ok and rules(chain.pod) == []
    chain.remove()
