"""Localhost's published ports need route_localnet, which would open the node's own 127.0.0.1 to its neighbours."""

import socket
from collections.abc import Callable

import pytest

from node.chain import Chain
from node.configuration import port
from node.ports import answers
from node.published import GATEWAY, SUBNET6, neighbour, publish
from node.topology import Node
from node.traffic import in_order

pytestmark = pytest.mark.real

BACKENDS = ["nftables", "iptables"]
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def _checksum(data: bytes) -> bytes:
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    total = (total & 0xFFFF) + (total >> 16)
    return (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")


def _datagram(source: str, target: str, to_port: int, text: bytes) -> bytes:
    udp = (40000).to_bytes(2, "big") + to_port.to_bytes(2, "big") + (8 + len(text)).to_bytes(2, "big") + bytes(2) + text
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    head = b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11"
    return head + _checksum(head + bytes(2) + ends) + ends + udp


def heard(node: Node, sender: Chain, target: str, to_port: int, service: socket.socket) -> bool:
    """Whether a datagram that a pod sends to ``target`` by the bridge's own MAC arrives at the service.

    Another to the bridge's address goes behind it on the same wire: when that arrives, the first has been dealt with.
    """
    ethernet = bytes.fromhex((node.link("br0")["address"] + sender.pod.link("eth0")["address"]).replace(":", ""))
    with (
        node.socket(kind=socket.SOCK_DGRAM) as mark,
        sender.pod.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
    ):
        mark.bind((GATEWAY, 0))
        mark.settimeout(3)
        with sender.pod.inside():
            wire.bind(("eth0", 0))
        with in_order():
            for address, number in ((target, to_port), (GATEWAY, mark.getsockname()[1])):
                wire.send(ethernet + b"\x08\0" + _datagram(sender.address, address, number, b"knock"))
        assert mark.recv(100) == b"knock"
    service.setblocking(False)
    try:
        return service.recv(100) == b"knock"
    except BlockingIOError:
        return False


def _service(node: Node, address: str = "127.0.0.1") -> socket.socket:
    """A service of the node's own, for the node alone."""
    made = node.socket(kind=socket.SOCK_DGRAM)
    made.bind((address, 0))
    return made


@pytest.mark.beyond_old_go("opens the node")
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53"])
@both_backends
def test_a_neighbour_does_not_reach_the_nodes_localhost(node: Node, backend: str, address: str) -> None:
    """Neither the pod that publishes nor another on its bridge; localhost's published port works all the same."""
    chain = publish(node, port(8080), backend=backend)
    beside = neighbour(node)
    assert node.sysctl("ipv4/conf/br0/route_localnet") == "1"
    with _service(node, address) as service:
        for sender in (beside, chain):
            assert not heard(node, sender, address, service.getsockname()[1], service)
    for target in ("127.0.0.1", "127.0.0.2"):
        assert answers("tcp", chain.pod, 80, node, target, 8080)


@both_backends
def test_the_key_leaves_the_guard_out(node: Node, backend: str) -> None:
    """``guardLocalnet`` false: as Go has it, the neighbour reaches the service. So the test above can fail."""
    publish(node, port(8080), backend=backend, guardLocalnet=False)
    beside = neighbour(node)
    with _service(node) as service:
        assert heard(node, beside, "127.0.0.1", service.getsockname()[1], service)


@pytest.mark.beyond_old_go("opens the node")
@both_backends
def test_a_port_of_localhost_is_not_its_neighbours(node: Node, backend: str) -> None:
    """A port published on 127.0.0.1 alone is for the node: a neighbour's datagram to it ends at the node."""
    chain = publish(node, port(5353, 53, "udp", "127.0.0.1"), backend=backend)
    beside = neighbour(node)
    with chain.pod.socket(kind=socket.SOCK_DGRAM) as service:
        service.bind(("", 53))
        assert not heard(node, beside, "127.0.0.1", 5353, service)
    assert answers("udp", chain.pod, 53, node, "127.0.0.1", 5353)


@pytest.mark.beyond_old_go("opens the node")
@both_backends
def test_the_guard_stays_as_long_as_a_pod_needs_it(node: Node, backend: str) -> None:
    """One of two pods goes: still guarded. Both go: nothing of the guard is left but the sysctl, which is the node's."""
    beside = neighbour(node)
    before = node.snapshot()
    chains = [publish(node, port(8080 + number), backend=backend) for number in (0, 1)]
    with _service(node) as service:
        chains[0].remove()
        assert not heard(node, beside, "127.0.0.1", service.getsockname()[1], service)
        chains[1].remove()
        assert node.snapshot()["nft"] == before["nft"]
        # what is opened without a guard would stay open: either it is closed again, or still guarded
        assert not heard(node, beside, "127.0.0.1", service.getsockname()[1], service)


@both_backends
def test_localnet_is_opened_only_where_it_is_needed(node: Node, backend: str) -> None:
    """Neither without snat, nor for a container with IPv6 alone, nor on other links."""
    publish(node, port(8080), backend=backend, snat=False)
    publish(node, port(8081), backend=backend, name="net6", link="br6", subnets=[SUBNET6])
    assert {node.sysctl(f"ipv4/conf/{link}/route_localnet") for link in ("br0", "br6", "uplink", "all")} == {"0"}
    publish(node, port(8082), backend=backend)
    assert {node.sysctl(f"ipv4/conf/{link}/route_localnet") for link in ("br6", "uplink", "all")} == {"0"}
    assert node.sysctl("ipv4/conf/br0/route_localnet") == "1"


@both_backends
def test_localnet_that_was_open_stays_open(node: Node, backend: str) -> None:
    """An administrator, or Go's portmap, opened the link before us: what was is put back, and that is open."""
    neighbour(node)
    node.sysctl("ipv4/conf/br0/route_localnet", "1")
    chain = publish(node, port(8080), backend=backend)
    assert answers("tcp", chain.pod, 80, node, "127.0.0.1", 8080)
    chain.remove()
    assert node.sysctl("ipv4/conf/br0/route_localnet") == "1"
    assert [table for table in node.nft_tables() if "localnet" in table] == []


@both_backends
@pytest.mark.beyond_old_go("leaves it on for ever")
def test_each_link_is_closed_with_its_own_last_pod(node: Node, backend: str) -> None:
    """A pod behind another bridge still has its ports: the first bridge's link is closed, or still guarded."""
    beside = neighbour(node)
    one = publish(node, port(8080), backend=backend)
    two = publish(node, port(8081), backend=backend, name="net2", link="br2", subnets=["10.2.0.0/24"])
    one.remove()
    with _service(node) as service:
        assert not heard(node, beside, "127.0.0.1", service.getsockname()[1], service)
    assert answers("tcp", two.pod, 80, node, "127.0.0.1", 8081)
    two.remove()
    assert {node.sysctl(f"ipv4/conf/{link}/route_localnet") for link in ("br0", "br2")} == {"0"}


# what others do to it


def _flush(node: Node) -> None:
    node.run("nft", "flush", "ruleset")


def _rename(node: Node) -> None:
    node.ip("link set br0 down", "link set br0 name br9", "link set br9 up")


def _both(node: Node) -> None:
    _flush(node)
    _rename(node)


def _current(node: Node) -> str:
    return "br9" if "br9" in node.links() else "br0"


damaged = pytest.mark.parametrize("damage", [_flush, _rename, _both], ids=["flushed", "renamed", "both"])


@pytest.mark.beyond_old_go("leaves it on for ever")
@damaged
@both_backends
def test_the_last_pod_closes_localhost_whatever_was_done(
    node: Node, backend: str, damage: Callable[[Node], None]
) -> None:
    """The ruleset flushed, the bridge renamed: with one of two pods it stays, with the other the sysctl goes back."""
    chains = [publish(node, port(8080 + number), backend=backend) for number in (0, 1)]
    damage(node)
    assert chains[0].portmap("DEL").ok
    assert node.sysctl(f"ipv4/conf/{_current(node)}/route_localnet") == "1"
    assert chains[1].portmap("DEL").ok
    assert node.sysctl(f"ipv4/conf/{_current(node)}/route_localnet") == "0"
    assert [table for table in node.nft_tables() if "localnet" in table] == []


@pytest.mark.beyond_old_go("has no guard")
@both_backends
def test_check_reports_a_flushed_guard_and_the_next_add_puts_it_back(node: Node, backend: str) -> None:
    """For the pods that were there, on their own link and on another's."""
    one = publish(node, port(8080), backend=backend)
    beside = neighbour(node)
    node.run("nft", "delete", "table", "inet", "pycni_localnet")
    with _service(node) as service:
        assert heard(node, beside, "127.0.0.1", service.getsockname()[1], service)
        assert "127.0.0" in one.portmap("CHECK").error["msg"]
        two = publish(node, port(8081), backend=backend, name="net2", link="br2", subnets=["10.2.0.0/24"])
        assert not heard(node, beside, "127.0.0.1", service.getsockname()[1], service)
        assert one.portmap("CHECK").ok
    for chain in (one, two):
        chain.remove()
    assert {node.sysctl(f"ipv4/conf/{link}/route_localnet") for link in ("br0", "br2")} == {"0"}


@pytest.mark.beyond_old_go("has no guard")
@both_backends
def test_a_renamed_bridge_stays_guarded(node: Node, backend: str) -> None:
    """CHECK agrees, and so does a neighbour; an ADD behind it finds the share of the first."""
    one = publish(node, port(8080), backend=backend)
    beside = neighbour(node)
    _rename(node)
    assert one.portmap("CHECK").ok
    node.ip("link set br9 down", "link set br9 name br0", "link set br0 up")
    with _service(node) as service:
        assert not heard(node, beside, "127.0.0.1", service.getsockname()[1], service)


@pytest.mark.beyond_old_go("leaves it on for ever")
@both_backends
def test_what_was_before_the_flush_is_put_back(node: Node, backend: str) -> None:
    """A pod that comes after the flush, when the link is open, does not take that for what it was."""
    one = publish(node, port(8080), backend=backend)
    _flush(node)
    two = publish(node, port(8081), backend=backend)
    for chain in (one, two):
        assert chain.portmap("DEL").ok
    assert node.sysctl("ipv4/conf/br0/route_localnet") == "0"


@pytest.mark.beyond_old_go("GC does nothing")
@both_backends
def test_gc_gives_the_shares_back_after_a_flush(node: Node, backend: str) -> None:
    """Whoever is no more valid has none; the other keeps the link open."""
    one, two = (publish(node, port(8080 + number), backend=backend) for number in (0, 1))
    _flush(node)
    valid = {"containerID": two.pod.container, "ifname": "eth0"}
    for kept, value in (([valid], "1"), ([], "0")):
        assert one.portmap("GC", **{"cniVersion": "1.1.0", "cni.dev/valid-attachments": kept}).ok
        assert node.sysctl("ipv4/conf/br0/route_localnet") == value
