"""UDP has no connections, but the kernel tracks its flows: the stale ones are cut, and no others."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from node.configuration import port
from node.deadline import eventually
from node.flows import Tracked, track, tracked
from node.ports import listening
from node.published import GATEWAY, GATEWAY6, neighbour, publish, wanted
from node.topology import Node
from node.tracing import trace

pytestmark = pytest.mark.real

BACKENDS = ["nftables", "iptables"]
SHORT = 0.4
FAMILIES = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def flows(node: Node, version: int = 4, protocol: str = "udp") -> list[str]:
    """The node's tracked flows without what changes by itself, in an order of their own."""
    listed = node.run("conntrack", "-L", "-p", protocol, "-f", f"ipv{version}", check=False).splitlines()
    lasting = [re.sub(r"^(\S+ +\d+) \d+( [A-Z_]+)? ", r"\1 ", line) for line in listed]
    return sorted(re.sub(r" use=\d+", "", line) for line in lasting)  # who looks at it just now is a user too


@pytest.fixture
def node(node: Node) -> Node:
    """A node that tracks flows already, as any with other rules does."""
    chain = "chain seen { type filter hook forward priority 0; ct state new accept; }"
    node.run("nft", "-f", "-", stdin=f"table inet tracks {{\n{chain}\n}}\n")
    return node


def _address(node: Node, version: int) -> str:
    return node.ADDRESS if version == 4 else node.ADDRESS6


@contextmanager
def client(node: Node, version: int, target: str, host_port: int) -> Iterator[socket.socket]:
    """A client outside that keeps its port, so that all it sends is one flow."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with node.outside.socket(family, socket.SOCK_DGRAM) as sending:
        sending.connect((target, host_port))
        sending.settimeout(SHORT)
        yield sending


def _hears(waiting: socket.socket, text: bytes, seconds: float = 3.0) -> bool:
    """Whether a datagram with this text arrives."""
    waiting.settimeout(seconds)
    try:
        while waiting.recv(100) != text:
            pass
    except TimeoutError:
        return False
    return True


@FAMILIES
@both_backends
def test_a_flow_to_the_node_finds_the_new_pod(node: Node, backend: str, version: int) -> None:
    """A client that goes on sending from before ADD is heard by the pod after it."""
    neighbour(node)
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    with client(node, version, _address(node, version), 5353) as sending:
        with listening(node, 5353, family, socket.SOCK_DGRAM) as waiting:
            sending.send(b"before")
            assert _hears(waiting, b"before")
        assert len([line for line in flows(node, version) if "dport=5353" in line]) == 1
        chain = publish(node, port(5353, 53, "udp"), backend=backend)
        with listening(chain.pod, 53, family, socket.SOCK_DGRAM) as waiting:
            sending.send(b"after")
            assert _hears(waiting, b"after")


@FAMILIES
@both_backends
@pytest.mark.beyond_old_go("DEL leaves the flows, IPv6 or not")
def test_del_cuts_the_flows_to_the_pod(node: Node, backend: str, version: int) -> None:
    """After DEL no entry leads to the address any more, and the client's next datagram goes to the node."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    chain = publish(node, port(5353, 53, "udp"), backend=backend)
    with client(node, version, _address(node, version), 5353) as sending:
        with listening(chain.pod, 53, family, socket.SOCK_DGRAM) as waiting:
            sending.send(b"one")
            assert _hears(waiting, b"one")
        mine = [line for line in flows(node, version) if f"src={chain.addresses[version == 6]} " in line]
        assert len(mine) == 1
        assert chain.portmap("DEL").ok
        assert not set(mine) & set(flows(node, version))
        with listening(node, 5353, family, socket.SOCK_DGRAM) as waiting:
            sending.send(b"two")
            assert _hears(waiting, b"two")


@FAMILIES
@both_backends
def test_a_flow_to_a_dead_pod_finds_its_successor(node: Node, backend: str, version: int) -> None:
    """The old pod's flow is in use while the port goes to another pod: the client is heard there."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    old = publish(node, port(5353, 53, "udp"), backend=backend)
    with client(node, version, _address(node, version), 5353) as sending:
        with listening(old.pod, 53, family, socket.SOCK_DGRAM) as waiting:
            sending.send(b"one")
            assert _hears(waiting, b"one")
        old.remove()
        sending.send(b"nobody")
        young = publish(node, port(5353, 53, "udp"), backend=backend)
        with listening(young.pod, 53, family, socket.SOCK_DGRAM) as waiting:
            assert eventually(lambda: _sent(sending), 1)
            assert _hears(waiting, b"two")


def _sent(sending: socket.socket) -> bool:
    """Send; a port that was unreachable a moment ago is told once."""
    try:
        sending.send(b"two")
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.beyond_old_go("cuts every flow with that destination port, whatever the addresses")
@FAMILIES
@both_backends
def test_a_lookup_at_a_remote_port_53_survives_host_port_53(node: Node, backend: str, version: int) -> None:
    """Flows through the node and from it, to somebody else's port 53, are untouched by ADD and DEL of hostPort 53."""
    family, there = (socket.AF_INET, node.OUTSIDE) if version == 4 else (socket.AF_INET6, node.OUTSIDE6)
    beside = neighbour(node, below={"ipMasq": True})
    with listening(node.outside, 53, family, socket.SOCK_DGRAM) as resolver:
        resolver.settimeout(3)
        asking = [at.socket(family, socket.SOCK_DGRAM) for at in (beside.pod, node)]
        peers = []
        for each in asking:
            each.settimeout(3)
            each.connect((there, 53))
            each.send(b"question")
            peers.append(resolver.recvfrom(100)[1])
        before = [line for line in flows(node, version) if f"dst={there} " in line.split(" src=")[1] + " "]
        assert len(before) == 2
        chain = publish(node, port(53, 53, "udp"), backend=backend)
        assert set(before) <= set(flows(node, version))
        assert chain.portmap("DEL").ok
        assert set(before) <= set(flows(node, version))
        for each, peer in zip(asking, peers, strict=True):
            resolver.sendto(b"answer", peer)
            assert each.recv(100) == b"answer"
            each.close()


@pytest.mark.beyond_old_go("cuts every flow with that destination port")
@both_backends
def test_a_host_ip_cuts_flows_to_that_address_alone(node: Node, backend: str) -> None:
    """A service of the node at another of its addresses keeps its flow."""
    beside = neighbour(node)
    with node.socket(kind=socket.SOCK_DGRAM) as service, beside.pod.socket(kind=socket.SOCK_DGRAM) as asking:
        service.bind((GATEWAY, 5353))
        asking.connect((GATEWAY, 5353))
        asking.send(b"one")
        assert _hears(service, b"one")
        before = [line for line in flows(node) if "dport=5353" in line]
        assert len(before) == 1
        publish(node, port(5353, 53, "udp", node.ADDRESS), backend=backend)
        assert [line for line in flows(node) if "dport=5353" in line] == before
        asking.send(b"two")
        assert _hears(service, b"two")


@pytest.mark.beyond_old_go("DEL leaves the flows")
@both_backends
def test_del_leaves_the_flows_of_other_pods_and_of_other_protocols(node: Node, backend: str) -> None:
    """Two pods with UDP ports; the one's DEL leaves the other's flow, and the one's own connections to the world."""
    one, two = (publish(node, port(5353 + n, 53, "udp"), backend=backend, below={"ipMasq": True}) for n in (0, 1))
    with (
        client(node, 4, node.ADDRESS, 5353) as first,
        client(node, 4, node.ADDRESS, 5354) as second,
        listening(one.pod, 53, kind=socket.SOCK_DGRAM) as at_one,
        listening(two.pod, 53, kind=socket.SOCK_DGRAM) as at_two,
        listening(node.outside, 53, kind=socket.SOCK_DGRAM) as resolver,
        one.pod.socket(kind=socket.SOCK_DGRAM) as asking,
    ):
        first.send(b"first")
        second.send(b"second")
        asking.sendto(b"question", (node.OUTSIDE, 53))
        assert _hears(at_one, b"first") and _hears(at_two, b"second") and _hears(resolver, b"question")
        kept = [line for line in flows(node) if "dport=5353" not in line]
        assert len(kept) == 2
        assert one.portmap("DEL").ok
        assert flows(node) == kept


@both_backends
def test_tcp_connections_are_left(node: Node, backend: str) -> None:
    """A connection to the node's own TCP port survives an ADD of the same number in UDP, and one of TCP too."""
    neighbour(node)
    with listening(node, 5353) as waiting, node.outside.socket() as sending:
        waiting.settimeout(3)
        sending.settimeout(3)
        sending.connect((node.ADDRESS, 5353))
        accepted, _ = waiting.accept()
        with accepted:
            for entry in (port(5353, 53, "udp"), port(5353, 53)):
                publish(node, entry, backend=backend)
                sending.send(b"still")
                assert accepted.recv(5) == b"still"


@pytest.mark.beyond_old_go("dumps the whole table for each mapping")
def test_many_udp_ports_read_the_flows_once(node: Node) -> None:
    """20 UDP mappings of two families: at most one look at all flows a family, and none without UDP."""
    publish(node, port(7000))
    chain = wanted(node, *(port(9000 + number, 53, "udp") for number in range(20)), port(9000))
    chain.result = chain.call(0, "ADD").result
    for verb in ("ADD", "DEL"):
        seen = trace(chain, verb)
        assert seen.status == 0, seen.stdout
        assert 1 <= seen.dumps("NFNL_SUBSYS_CTNETLINK") <= 2, verb
    chain = wanted(node, port(9000), port(9001, 80, "sctp"))
    chain.result = chain.call(0, "ADD").result
    for verb in ("ADD", "DEL"):
        seen = trace(chain, verb)
        assert seen.status == 0 and seen.dumps("NFNL_SUBSYS_CTNETLINK") == 0, verb


@pytest.mark.beyond_old_go("DEL leaves the flows")
@both_backends
def test_the_flow_of_a_neighbour_and_of_localhost(node: Node, backend: str) -> None:
    """Flows that were masqueraded are cut on DEL as well: nothing leads to the address any more."""
    chain = publish(node, port(5353, 53, "udp"), backend=backend)
    beside = neighbour(node)
    senders = []
    for at, target in ((beside.pod, GATEWAY), (node, "127.0.0.1"), (beside.pod, GATEWAY6)):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        sending = at.socket(family, socket.SOCK_DGRAM)
        senders.append(sending)
        with listening(chain.pod, 53, family, socket.SOCK_DGRAM) as waiting:
            sending.sendto(b"hello", (target, 5353))
            assert _hears(waiting, b"hello")
    assert len([line for line in flows(node) + flows(node, 6) if "dport=5353" in line]) == 3
    chain.remove()
    left = [line for line in flows(node) + flows(node, 6) if "dport=5353" in line]
    for sending in senders:
        sending.close()
    assert left == []


def _others(node: Node, count: int) -> list[Tracked]:
    """Flows that are nobody's of ours: UDP through the node to as many resolvers, and to the node's other ports."""
    found = []
    for number in range(count):
        high, low = divmod(number, 250)
        found.append(Tracked((node.OUTSIDE, 2000 + number), (f"203.0.{high}.{low + 1}", 53)))
        found.append(Tracked((node.OUTSIDE6, 2000 + number), (f"2001:db8:9::{number + 1:x}", 53)))
        found.append(Tracked((node.OUTSIDE, 2000 + number), (node.ADDRESS, 9000)))
        found.append(Tracked((node.OUTSIDE6, 2000 + number), (node.ADDRESS6, 9000)))
    return found


@pytest.mark.beyond_old_go("reads every flow for each port")
@both_backends
def test_what_is_read_does_not_grow_with_the_flows_of_others(node: Node, backend: str) -> None:
    """ADD and DEL of two UDP ports: 2000 flows to other ports, 400 kB, stay in the kernel."""
    chain = wanted(node, port(5353, 53, "udp"), port(5354, 54, "udp"), backend=backend)
    chain.result = chain.call(0, "ADD").result
    empty = {verb: trace(chain, verb) for verb in ("ADD", "DEL")}
    track(node, _others(node, 500))
    for verb in ("ADD", "DEL"):
        seen = trace(chain, verb)
        assert seen.status == 0, seen.stdout
        assert seen.bytes < empty[verb].bytes + 20_000, verb
        assert len(seen.requests) < len(empty[verb].requests) + 50, verb
    assert tracked(node) >= 2000


@pytest.mark.beyond_old_go("cuts every flow with that destination port, whatever the addresses")
def test_flows_to_everybody_elses_port_53_cost_no_look_up_each(node: Node) -> None:
    """hostPort 53 on a node through which 1000 of them go: they are read, and stay; nothing more is asked."""
    chain = wanted(node, port(53, 53, "udp"))
    chain.result = chain.call(0, "ADD").result
    empty = {verb: trace(chain, verb) for verb in ("ADD", "DEL")}
    track(node, _others(node, 500))
    for verb in ("ADD", "DEL"):
        seen = trace(chain, verb)
        assert seen.status == 0, seen.stdout
        assert len(seen.requests) < len(empty[verb].requests) + 50, verb
    assert tracked(node) >= 2000


@FAMILIES
@pytest.mark.beyond_old_go("DEL leaves the flows")
def test_many_stale_flows_are_cut_by_a_few_messages(node: Node, version: int) -> None:
    """300 flows to the node go when the port becomes a pod's, and 300 to the pod when that goes."""
    chain = wanted(node, port(5353, 53, "udp"))
    chain.result = chain.call(0, "ADD").result
    empty = {verb: trace(chain, verb) for verb in ("ADD", "DEL")}
    client, to = (node.OUTSIDE, node.ADDRESS) if version == 4 else (node.OUTSIDE6, node.ADDRESS6)
    pod = chain.addresses[version == 6]
    for verb, answerer in (("ADD", None), ("DEL", (pod, 53))):
        track(node, [Tracked((client, 2000 + number), (to, 5353), answerer) for number in range(300)])
        seen = trace(chain, verb)
        assert seen.status == 0, seen.stdout
        assert not [line for line in flows(node, version) if "dport=5353" in line], verb
        assert len(seen.requests) < len(empty[verb].requests) + 50, verb


@pytest.mark.beyond_old_go("cuts every flow with that destination port, whatever the addresses")
def test_what_is_the_nodes_own_is_more_than_addresses(node: Node) -> None:
    """A flow to 127.0.0.9, and one to a network that is local as a whole, are the node's; one beside it is not."""
    node.ip("route add local 203.0.113.0/28 dev lo")
    places = {"127.0.0.9": True, "203.0.113.9": True, "203.0.113.99": False, node.ADDRESS: True, node.OUTSIDE: False}
    track(node, [Tracked((node.OUTSIDE, 2000), (place, 5353)) for place in places])
    publish(node, port(5353, 53, "udp"))
    left = "\n".join(flows(node))
    assert {place: f"dst={place} " not in left for place in places} == places
