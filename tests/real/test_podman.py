"""``podman run -p`` on our bridge and portmap, with firewall and tuning behind them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, conflist, host_local, portmap
from node.plugin import SUBJECT
from node.podman import Podman, knows_cni
from node.ports import answers, source
from node.topology import Node
from node.traffic import reaches, tcp_source

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not knows_cni(), reason="there is no podman 4; podman 5 has no CNI"),
]

BACKENDS = ["nftables", "iptables"]
GATEWAY, GATEWAY6 = "10.88.0.1", "2001:db8:88::1"
Object = dict[str, Any]


def network(node: Node, backend: str, name: str = "podman", number: int = 88) -> Object:
    """podman's usual network, with a second family; or another one."""
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    below = bridge(
        host_local(node.data_dir, f"10.{number}.0.0/16", f"2001:db8:{number}::/64", routes=routes),
        version=None,
        bridge=f"cni-{name}0",
        isGateway=True,
        ipMasq=True,
        hairpinMode=True,
    )
    del below["name"]
    behind = [portmap(backend=backend), {"type": "firewall"}, {"type": "tuning"}]
    return conflist(below, *behind, name=name, version="0.4.0")


@pytest.fixture(params=BACKENDS)
def podman(request: pytest.FixtureRequest, node: Node) -> Iterator[Podman]:
    """A podman on the node, whose network is ours."""
    with tempfile.TemporaryDirectory(prefix="podman-") as folder:
        made = Podman(node, Path(folder), SUBJECT, network(node, request.param))
        try:
            yield made
        finally:
            made.close()


def test_published_ports_answer_and_leave_nothing(podman: Podman) -> None:
    """From outside, from the node, from another container and from itself; after ``podman rm`` nothing is left."""
    node = podman.node
    podman.run().remove()
    before = node.snapshot()
    first = podman.run("-p", "8080:80", "-p", "8053:53/udp", "-p", f"{node.ADDRESS}:8081:81")
    other = podman.run("-p", "9000-9002:90-92")
    for client, target, seen in (
        (node.outside, node.ADDRESS, node.OUTSIDE),
        (node, "127.0.0.1", GATEWAY),
        (node, node.ADDRESS, node.ADDRESS),
        (other.netns, GATEWAY, GATEWAY),
        (first.netns, GATEWAY, GATEWAY),
    ):
        for protocol, inside, number in (("tcp", 80, 8080), ("udp", 53, 8053)):
            assert source(protocol, first.netns, inside, client, target, number) == seen, (protocol, target)
    assert answers("tcp", first.netns, 81, node.outside, node.ADDRESS, 8081)
    assert not answers("tcp", first.netns, 81, node, GATEWAY, 8081, seconds=0.3)
    for number in range(3):
        assert answers("tcp", other.netns, 90 + number, node.outside, node.ADDRESS, 9000 + number)
    first.remove()
    assert answers("tcp", other.netns, 90, node.outside, node.ADDRESS, 9000)
    other.remove()
    left = node.snapshot()
    shared = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")  # which Go's portmap leaves for ever
    for each in (before, left):
        each["iptables"] = [line for line in each["iptables"] if not any(name in line for name in shared)]
    assert left == before


def test_podman_restarts_a_container_on_its_port(podman: Podman) -> None:
    """``podman restart``: DEL and ADD again with the same id; the port answers as before."""
    node = podman.node
    container = podman.run("-p", "8080:80")
    assert answers("tcp", container.netns, 80, node.outside, node.ADDRESS, 8080)
    podman("restart", "--time", "0", container.name)
    again = type(container)(podman, container.name)
    assert again.id == container.id
    assert source("tcp", again.netns, 80, node.outside, node.ADDRESS, 8080) == node.OUTSIDE
    again.remove()
    assert not answers("tcp", node, 80, node.outside, node.ADDRESS, 8080, seconds=0.3)


def test_a_container_on_two_networks_has_its_port_on_either(podman: Podman) -> None:
    """``run -p`` on two networks, then ``network disconnect`` of the first and ``network connect`` again."""
    node = podman.node
    plugin = next(each for each in podman.conflist["plugins"] if each["type"] == "portmap")
    podman.add_network(network(node, plugin["backend"], "second", 89))
    container = podman.run("-p", "8080:80", "--network", "podman,second")

    def has_port() -> bool:
        return answers("tcp", container.netns, 80, node, "127.0.0.1", 8080)

    assert has_port()
    podman("inspect", container.name)
    for left, joined in (("podman", "podman"), ("second", "second"), ("podman", "podman")):
        podman("network", "disconnect", left, container.name)
        assert has_port(), f"without {left}"
        podman("network", "connect", joined, container.name)
        assert has_port(), f"with {joined} again"
    container.remove()
    assert "8080" not in node.run("iptables-save", "-t", "nat")
    assert "pycni_hostports" not in node.run("nft", "list", "tables")


def test_networks_that_podman_makes(podman: Podman) -> None:
    """``network create`` with two families and isolation: names, ports and the world; other networks are refused."""
    node = podman.node
    podman(
        "network", "create", "--ipv6", "--subnet", "10.90.0.0/24", "--subnet", "fd00:90::/64", "-o", "isolate=1", "mine"
    )
    podman("network", "create", "--subnet", "10.91.0.0/24", "-o", "isolate=1", "theirs")
    one, two = podman.run("-p", "8080:80", "--network", "mine"), podman.run("--network", "mine")
    other = podman.run("--network", "theirs")
    given = podman.run("--network", "mine", "--ip", "10.90.0.77", "--mac-address", "02:00:00:00:00:77")
    assert given.addresses[0] == "10.90.0.77"
    assert given.netns.link("eth0")["address"] == "02:00:00:00:00:77"
    for address in one.addresses:
        assert tcp_source(one.netns, two.netns, address) in two.addresses
        assert not reaches(other.netns, one.netns, address, 0.5)
    assert not reaches(one.netns, other.netns, other.addresses[0], 0.5)
    assert tcp_source(node.outside, one.netns, node.OUTSIDE) == node.ADDRESS
    assert source("tcp", one.netns, 80, node.outside, node.ADDRESS, 8080) == node.OUTSIDE
    for container in (one, two, other, given):
        container.remove()
    for network in ("mine", "theirs"):
        podman("network", "rm", network)
    text = node.rules_as_text()
    assert not any(part in text for part in (*one.addresses, *other.addresses, one.id, other.id))


def test_reload_brings_back_what_a_flush_took(podman: Podman) -> None:
    """``podman network reload`` after everybody's rules are gone: the port answers, the world is reached."""
    node = podman.node
    container = podman.run("-p", "8080:80")
    node.run("nft", "flush", "ruleset")
    assert not answers("tcp", container.netns, 80, node.outside, node.ADDRESS, 8080, seconds=0.3)
    podman("network", "reload", container.name)
    assert source("tcp", container.netns, 80, node.outside, node.ADDRESS, 8080) == node.OUTSIDE
    assert tcp_source(node.outside, container.netns, node.OUTSIDE) == node.ADDRESS
    container.remove()
    text = node.rules_as_text()
    assert not any(part in text for part in (*container.addresses, container.id))
