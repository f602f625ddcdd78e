"""A host port that another container has: the later one is next in line, and answers when the earlier one goes."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import port
from node.deadline import eventually
from node.plugin import DIST, GO, subject_is_old_go
from node.ports import answers, asking, listening
from node.published import GATEWAY, SUBNET, neighbour, publish, wanted
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(subject_is_old_go(), reason="it knows no line"),
]

BACKENDS = ["nftables", "iptables"]
HERE = Node.ADDRESS
GONE = "/var/run/netns/pycni-gone"
Object = dict[str, Any]
both_backends = pytest.mark.parametrize("backend", BACKENDS)
needs_go = pytest.mark.skipif(not Path(GO, "portmap").is_file(), reason="containernetworking-plugins is not installed")


def rules(node: Node) -> list[Any]:
    """All rules and elements on the node."""
    snapshot = node.snapshot()
    return [snapshot["nft"], snapshot["iptables"]]


def serves(chain: Chain, number: int = 8080, target: str = HERE) -> bool:
    """Whether the pod answers at a port of the node, asked from outside or, for its inner addresses, from the node."""
    client = chain.node if target in (GATEWAY, "127.0.0.1") else chain.node.outside
    return answers("tcp", chain.pod, 80, client, target, number, seconds=1.0)


def passes(*chains: Chain) -> None:
    """CHECK of each portmap."""
    for chain in chains:
        checked = chain.portmap("CHECK")
        assert checked.ok, checked.stdout


def die(chain: Chain) -> None:
    """The pod ends without a DEL."""
    host = chain.host
    chain.pod.close()
    assert eventually(lambda: host not in chain.node.links())


@both_backends
def test_the_next_in_line_answers_when_the_holder_goes(node: Node, backend: str) -> None:
    """Three ask for one port of both families: the others' ADDs name the holder and their place; DEL hands it on."""
    neighbour(node)
    before = rules(node)
    first, second, third = (publish(node, port(8080), port(9000 + n), backend=backend) for n in range(3))
    assert first.pod.container not in first.said
    for waiting, place in ((second, "is next in line"), (third, "is number 2 in line")):
        told = [line for line in waiting.said.splitlines() if "held by" in line]
        assert len(told) == 1 and place in told[0], waiting.said
        assert f"tcp port 8080 is held by net1/{first.pod.container}" in told[0]
    assert all(serves(chain, 9000 + n) for n, chain in enumerate((first, second, third)))
    for holder, rest in ((first, (second, third)), (second, (third,)), (third, ())):
        passes(holder, *rest)
        for target in (HERE, node.ADDRESS6, GATEWAY, "127.0.0.1"):
            assert serves(holder, 8080, target), target
        holder.remove()
    assert rules(node) == before


@both_backends
def test_whoever_leaves_the_line_is_not_waited_for(node: Node, backend: str) -> None:
    """DEL of one that waits, without namespace and result: the holder goes on, and the one behind is next."""
    first, second, third = (publish(node, port(8080), backend=backend) for _ in range(3))
    second.remove(netns="", prev_result=False)
    assert serves(first)
    passes(first, third)
    first.remove()
    assert serves(third)


def test_gc_hands_on(node: Node) -> None:
    """GC of the holder, and of one that waits."""
    first, second, third = (publish(node, port(8080), version="1.1.0") for _ in range(3))
    valid = [{"containerID": third.pod.container, "ifname": "eth0"}]
    collected = third.portmap("GC", prev_result=False, **{"cni.dev/valid-attachments": valid, "runtimeConfig": None})
    assert collected.ok, collected.stdout
    assert serves(third)
    passes(third)
    for chain in (first, second):
        chain.remove()
    assert serves(third)


@both_backends
def test_asking_again_keeps_the_place(node: Node, backend: str) -> None:
    """A second ADD of the holder and of one that waits changes nothing."""
    first, second, third = (publish(node, port(8080), backend=backend) for _ in range(3))
    once = node.snapshot()
    for chain in (first, second):
        added = chain.portmap("ADD")
        assert added.ok, added.stdout
    assert node.snapshot() == once
    first.remove()
    assert serves(second)
    passes(second, third)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # who asks, one after the other; who answers at HERE and at GATEWAY, with all, and after each DEL from the left
        (["", HERE], ["00", "1-"]),
        ([HERE, ""], ["01", "11"]),
        ([HERE, HERE, ""], ["02", "12", "22"]),
        ([HERE, "", HERE], ["01", "11", "2-"]),
        ([HERE, GATEWAY, ""], ["01", "21", "22"]),
    ],
    ids=str,
)
@both_backends
def test_addresses_of_the_node_overlap(node: Node, backend: str, asked: list[str], expected: list[str]) -> None:
    """A claim for all addresses has at once those that nobody has; the oldest claim of each answers there."""
    chains = [publish(node, port(8080, ip=ip), backend=backend) for ip in asked]
    for gone, seen in enumerate(expected):
        for target, number in zip((HERE, GATEWAY), seen, strict=True):
            for at, chain in enumerate(chains):
                if at >= gone and (number == str(at) or number == "-"):
                    assert serves(chain, 8080, target) == (number != "-"), (seen, target, at)
        passes(*chains[gone:])
        chains[gone].remove()


def test_there_is_always_one_answer(node: Node) -> None:
    """A client that asks all the time, while the port is handed on twice: never refused, never another's turn."""
    chains = [publish(node, port(8080)) for _ in range(3)]
    names = [chain.pod.container for chain in chains]
    servers = {chain.pod.container: chain.pod for chain in chains}
    with asking(servers, 80, node.outside, HERE, 8080) as ask, ThreadPoolExecutor(1) as pool:
        heard: list[str] = []
        for chain in chains[:2]:
            heard.append(ask())
            going = pool.submit(chain.portmap, "DEL")
            while not going.done():
                heard.append(ask())
            assert going.result().ok
        heard.append(ask())
    assert set(heard) == set(names), heard
    assert heard == sorted(heard, key=names.index)


@pytest.mark.parametrize(("backend", "held"), [("nftables", ""), ("nftables", HERE), ("iptables", "")])
def test_a_udp_client_that_goes_on_is_heard_by_the_next(node: Node, backend: str, held: str) -> None:
    """The holder's flow outlives the other's ADD; after the DEL the same socket's next datagram finds the other."""
    entry = port(5353, 53, "udp")
    first = publish(node, {**entry, "hostIP": held}, backend=backend)
    with node.outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.connect((HERE, 5353))
        sending.settimeout(5)

        def heard_by(chain: Chain, text: bytes) -> socket.socket:
            with listening(chain.pod, 53, kind=socket.SOCK_DGRAM) as waiting:
                waiting.settimeout(5)
                sending.send(text)
                data, peer = waiting.recvfrom(100)
                assert data == text
                waiting.sendto(b"back", peer)
                assert sending.recv(100) == b"back"
                return waiting

        heard_by(first, b"one")
        tracked = numbers(node)
        assert len(tracked) == 1
        second = publish(node, entry, backend=backend)
        assert numbers(node) == tracked
        heard_by(first, b"two")
        first.remove()
        heard_by(second, b"three")


def numbers(node: Node) -> list[str]:
    """The kernel's numbers of the tracked flows to port 5353."""
    listed = node.run("conntrack", "-L", "-p", "udp", "-o", "id", check=False)
    return [line.split(" id=")[1] for line in listed.splitlines() if "dport=5353" in line]


def test_many_at_once(node: Node) -> None:
    """Six ask for one port at the same moment, and go at the same moment: all succeed, one answers, nothing is left."""
    neighbour(node)
    before = rules(node)
    chains = [wanted(node, port(8080), port(9000 + number)) for number in range(6)]
    for chain in chains:
        chain.result = chain.call(0, "ADD").result
    with ThreadPoolExecutor(6) as pool:
        for outcome in pool.map(lambda chain: chain.portmap("ADD"), chains):
            assert outcome.ok, outcome.stdout
        passes(*chains)
        with asking({chain.pod.container: chain.pod for chain in chains}, 80, node.outside, HERE, 8080) as ask:
            assert ask() in [chain.pod.container for chain in chains]
        for outcome in pool.map(lambda chain: chain.portmap("DEL"), chains):
            assert outcome.ok, outcome.stdout
    assert rules(node) == before


# the dead


def test_a_newcomer_goes_behind_those_in_line(node: Node) -> None:
    """The holder dies without a DEL: the newcomer's ADD finds it, and the one that waited has the port."""
    dead, second = publish(node, port(8080)), publish(node, port(8080))
    die(dead)
    third = publish(node, port(8080))
    assert dead.pod.container in third.said and "is next in line" in third.said, third.said
    assert serves(second)
    passes(second, third)
    dead.remove(netns=GONE)
    second.remove()
    assert serves(third)


def test_one_that_died_in_line_is_passed_over(node: Node) -> None:
    """Its late DEL finds nothing of it, and changes nothing."""
    first, dead, third = (publish(node, port(8080)) for _ in range(3))
    die(dead)
    first.remove()
    assert serves(third)
    dead.remove(netns=GONE)
    assert serves(third)
    passes(third)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.1"])
def test_a_dead_holder_is_known_in_every_version(node: Node, version: str) -> None:
    """A result of 0.2.0 names no link; the name that ours is given tells all the same."""
    dead = publish(node, port(8080), version=version)
    host = next(name for name, link in node.links().items() if dead.pod.container in link.get("ifalias", ""))
    living = wanted(node, port(8080), version=version, conflict="refuse")
    assert dead.pod.container in living.try_add().error["msg"]
    dead.pod.close()
    assert eventually(lambda: host not in node.links())
    young = publish(node, port(8080), version=version, conflict="refuse")
    assert dead.pod.container in young.said
    assert serves(young)


def macvlan(node: Node, **keys: Any) -> Chain:
    """A pod that Go's macvlan attaches to the bridge, so that no link on the node is the container's."""
    chain = wanted(node, port(8080), subnets=[SUBNET], **keys)
    below = chain.conflist["plugins"][0]
    chain.conflist["plugins"][0] = {"type": "macvlan", "master": "br0", "ipam": below["ipam"]}
    chain.binaries = {"macvlan": GO, "portmap": DIST}
    return chain


def _numbered(node: Node) -> list[str]:
    return node.run("ip", "netns", "list-id").splitlines()


@pytest.mark.skipif(not Path(GO, "macvlan").is_file(), reason="containernetworking-plugins is not installed")
def test_a_dead_holder_behind_macvlan_is_known(node: Node) -> None:
    """By its namespace: while a mount or a descriptor keeps that, the container may live."""
    neighbour(node, subnets=[SUBNET])
    dead = macvlan(node).add()
    number = next(line for line in _numbered(node) if Path(dead.pod.path).name in line).split(" (")[0].strip()
    with open(dead.pod.path) as held:
        assert dead.pod.container in macvlan(node, conflict="refuse").try_add().error["msg"]
        dead.pod.close()
        assert dead.pod.container in macvlan(node, conflict="refuse").try_add().error["msg"]
        assert not held.closed
    eventually(
        lambda: number not in [line.strip() for line in _numbered(node)]
    )  # the kernel forgets it in its own time
    young = macvlan(node, conflict="refuse").add()
    assert f"over from net1/{dead.pod.container}" in young.said and "its network namespace is gone" in young.said, (
        young.said
    )
    assert node.run("nft", "list", "map", "inet", "pycni_hostports", "hostports4").count("8080") == 1
    passes(young)


# one container


@both_backends
@pytest.mark.parametrize("conflict", ["queue", "refuse"])
@pytest.mark.parametrize("networks", [1, 2])
def test_a_container_is_not_refused_its_own_port(node: Node, backend: str, conflict: str, networks: int) -> None:
    """eth0 and eth1 of one container, on one network or two: the first has the port, the other takes over."""
    neighbour(node)
    before = rules(node)
    keys: Object = {"backend": backend, "conflict": conflict}
    more: Object = {"name": "net2", "link": "br2", "subnets": ["10.2.0.0/24"]} if networks == 2 else {}
    pod = node.pod()
    pod.sysctl("ipv4/conf/all/arp_ignore", "1")  # each interface speaks for its own address
    pod.sysctl("ipv4/conf/all/arp_announce", "2")
    one = publish(node, port(8080), pod=pod, **keys)
    two = publish(
        node, port(8080), pod=pod, ifname="eth1", **keys, **more, below={"isDefaultGateway": False, "isGateway": True}
    )
    # of two interfaces on one network, Go's chains know only that they are one container's
    assert (pod.container in two.said) == ((networks, backend) != (1, "iptables")), two.said
    other = wanted(node, port(8080), backend=backend, conflict="refuse").try_add()
    assert pod.container in other.error["msg"]
    passes(one, two)
    assert answers("tcp", pod, 80, node, "127.0.0.1", 8080)
    one.remove()
    passes(two)
    assert answers("tcp", pod, 80, node, "127.0.0.1", 8080)
    two.remove()
    assert not answers("tcp", pod, 80, node, GATEWAY, 8080, seconds=0.4)
    assert [line for line in node.iptables() if "8080" in line] == []
    assert before[0] == node.snapshot()["nft"] or networks == 2


# the two backends beside each other


def test_nftables_waits_behind_iptables(node: Node) -> None:
    """The order of the chains does it."""
    old = publish(node, port(8080), backend="iptables")
    young = publish(node, port(8080), backend="nftables")
    assert old.pod.container in young.said
    passes(old, young)
    assert serves(old)
    old.remove()
    assert serves(young)
    passes(young)


def test_iptables_is_refused_what_nftables_has(node: Node) -> None:
    """Its rules would come first and take the port from one that lives: the remedy is named, nothing is changed."""
    old = publish(node, port(8080), backend="nftables")
    young = wanted(node, port(8080), backend="iptables")
    young.result = young.call(0, "ADD").result
    before = node.snapshot()
    error = young.portmap("ADD").error
    assert error["code"] == 101 and old.pod.container in error["msg"] and "leave backend out" in error["details"]
    assert node.snapshot() == before
    assert serves(old)


@pytest.mark.parametrize("backends", [("nftables", "iptables"), ("iptables", "nftables")])
def test_a_container_may_mix_backends(node: Node, backends: tuple[str, str]) -> None:
    """Two networks of one container with different backends: either leads to it, also when the other's is gone."""
    pod = node.pod()
    keys: Object = {"conflict": "refuse", "pod": pod}
    one = publish(node, port(8080), backend=backends[0], **keys)
    more: Object = {"name": "net2", "link": "br2", "subnets": ["10.2.0.0/24"], "ifname": "eth1"}
    two = publish(
        node, port(8080), backend=backends[1], **keys, **more, below={"isDefaultGateway": False, "isGateway": True}
    )
    for gone in (one, two):
        assert answers("tcp", pod, 80, node, "127.0.0.1", 8080)
        gone.remove()
    assert not answers("tcp", pod, 80, node, "127.0.0.1", 8080, seconds=0.4)


# CHECK


@pytest.mark.parametrize(
    ("damage", "fails"),
    [
        ("delete element inet pycni_hostports line4 { tcp . 8080 . 0 }", (False, True)),
        ("delete element inet pycni_hostports hostports4 { tcp . 8080 }", (True, True)),
        ("flush map inet pycni_hostports line4", (False, True)),
    ],
    ids=str,
)
def test_check_sees_a_line_that_is_out_of_order(node: Node, damage: str, fails: tuple[bool, bool]) -> None:
    """A place that is gone, or one in line for a port that nobody has; ADD of the holder mends the second."""
    chains = [publish(node, port(8080)) for _ in range(2)]
    passes(*chains)
    node.run("nft", damage)
    assert tuple(not chain.portmap("CHECK").ok for chain in chains) == fails
    assert chains[1].portmap("ADD").ok
    passes(chains[1])


def test_a_table_of_an_earlier_version_gets_its_line(node: Node) -> None:
    """Its maps for the line are not there yet: the first that has to wait makes them; DEL of the last removes all."""
    neighbour(node)
    before = rules(node)
    first = publish(node, port(8080), conditionsV4=["ip saddr 0.0.0.0/0"])
    names = [word for word in node.run("nft", "list", "table", "inet", "pycni_hostports").split() if "line" in word]
    for name in (*names, "namespaces"):
        node.run("nft", "delete", "map", "inet", "pycni_hostports", name)
    second = publish(node, port(8080), conditionsV4=["ip saddr 0.0.0.0/0"])
    assert first.pod.container in second.said
    first.remove()
    assert serves(second)
    second.remove()
    assert rules(node) == before


def test_a_group_whose_line_is_of_no_version_goes(node: Node) -> None:
    """DEL of a group that an earlier version made: the map that it never had is not missed."""
    other = publish(node, port(8070))
    before = rules(node)
    first = publish(node, port(8080), conditionsV4=["ip saddr 0.0.0.0/0"])
    names = [word for word in node.run("nft", "list", "table", "inet", "pycni_hostports").split() if "line4_" in word]
    node.run("nft", "delete", "map", "inet", "pycni_hostports", names[0])
    first.remove()
    assert rules(node) == before and serves(other, 8070)


# back to Go's plugins


@needs_go
def test_a_line_is_handed_back_in_order(node: Node) -> None:
    """Each of three is first for one port, so no order of names is right by chance; Go's DELs hand the port on."""
    ours = {"bridge": DIST, "portmap": DIST}
    chains = [publish(node, port(8080), port(9000 + n), port(9100, ip=HERE if n == 1 else ""), binaries=ours)
              for n in range(5)]  # fmt: skip
    node.run(f"{DIST}/cni-handback", "--write")
    assert "pycni" not in node.run("nft", "list", "tables")
    for number, chain in enumerate(chains):
        for asked in (8080, 9000 + number, 9100):
            assert serves(chain, asked), (number, asked)
        chain.portmap("CHECK", binaries=GO)
        chain.remove(binaries=GO)
    assert not any("dport" in line for line in node.iptables())
