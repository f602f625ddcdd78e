"""Published ports answer, from wherever they are asked, and whoever answers sees who asks."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import port
from node.ports import answers, kernel_has, listening, source
from node.published import (
    GATEWAY,
    GATEWAY6,
    SUBNET,
    SUBNET6,
    bridged_packets_are_filtered,
    neighbour,
    publish,
    views,
    wanted,
)
from node.topology import Node
from node.tracing import trace

pytestmark = pytest.mark.real

BACKENDS = ["nftables", "iptables"]
PROTOCOLS = ["tcp", "udp", "sctp"]
# For what is not to arrive: enough for a packet between namespaces, and refused at once where somebody refuses.
SHORT = 0.4
Object = dict[str, Any]

both_backends = pytest.mark.parametrize("backend", BACKENDS)
both_families = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


def test_hand_written_sctp_is_used_only_where_the_kernel_has_none() -> None:
    """The tests' own SCTP is a makeshift: say so in the report where it is one."""
    if not kernel_has("sctp"):
        pytest.skip("this kernel has no SCTP sockets: associations are opened by hand on raw sockets")


# who reaches a port


@pytest.mark.parametrize("filtered", [False, True], ids=["", "br_netfilter"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@both_backends
def test_everybody_reaches_a_published_port(node: Node, backend: str, protocol: str, filtered: bool) -> None:
    """From outside, from the node by each of its addresses, from a neighbour and from the pod itself, both families."""
    bridged_packets_are_filtered(node, filtered)
    chain = publish(node, port(8080, 80, protocol), backend=backend)
    beside = neighbour(node)
    wrong = []
    for version in (4, 6):
        for name, client, target, seen in views(node, chain, beside, version):
            try:
                found = source(protocol, chain.pod, 80, client, target, 8080)
            except OSError as error:
                found = repr(error)
            if found != seen:
                wrong.append(f"IPv{version} {name} ({target}): {found} instead of {seen}")
    assert not wrong, "\n".join(wrong)


@both_backends
def test_after_del_nobody_reaches_it(node: Node, backend: str) -> None:
    """The port is the node's again: refused at once from outside and from the node."""
    before = node.snapshot()
    neighbour(node).remove()
    chain = publish(node, port(8080), backend=backend)
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)
    chain.remove()
    for client, target in ((node.outside, node.ADDRESS), (node, "127.0.0.1")):
        with pytest.raises(ConnectionRefusedError):
            source("tcp", chain.pod, 80, client, target, 8080)
    left = node.snapshot()
    assert left["nft"] == before["nft"]
    assert [line for line in left["iptables"] if chain.pod.container in line or "CNI-DN-" in line] == []


@both_backends
def test_other_traffic_goes_where_it_went(node: Node, backend: str) -> None:
    """Neither the same port of another host, nor the node's other ports, nor the pod's own address are changed."""
    chain = publish(node, port(8080), port(8080, 80, "udp"), backend=backend)
    beside = neighbour(node)
    node.outside.ip(f"route add {SUBNET} via {node.ADDRESS}", f"route add {SUBNET6} via {node.ADDRESS6}")
    for protocol in ("tcp", "udp"):
        for client, seen in ((node, node.ADDRESS), (beside.pod, beside.address), (chain.pod, chain.address)):
            assert source(protocol, node.outside, 8080, client, node.OUTSIDE, 8080) == seen
        assert source(protocol, node, 8081, node.outside, node.ADDRESS, 8081) == node.OUTSIDE
        assert source(protocol, node, 8081, node, "127.0.0.1", 8081) == "127.0.0.1"
        assert source(protocol, chain.pod, 8080, node.outside, chain.address, 8080) == node.OUTSIDE
        assert source(protocol, chain.pod, 80, beside.pod, chain.address, 80) == beside.address
        assert source(protocol, chain.pod, 80, node, chain.addresses[1], 80) == GATEWAY6
    assert not answers("sctp", chain.pod, 80, node.outside, node.ADDRESS, 8080, seconds=SHORT)


@both_backends
def test_a_port_of_one_protocol_is_not_the_others(node: Node, backend: str) -> None:
    """8080 of TCP, of UDP and of SCTP lead to three pods."""
    pods = {protocol: publish(node, port(8080, 80, protocol), backend=backend) for protocol in PROTOCOLS}
    for target, seen in ((node.ADDRESS, node.OUTSIDE), (node.ADDRESS6, node.OUTSIDE6)):
        for protocol, chain in pods.items():
            assert source(protocol, chain.pod, 80, node.outside, target, 8080) == seen


@both_backends
def test_several_pods_answer_each_for_its_own_port(node: Node, backend: str) -> None:
    """Three pods; after one's end the two others go on, and a fourth takes the port that is free."""
    pods = [publish(node, port(8080 + number), backend=backend) for number in range(3)]
    for number, chain in enumerate(pods):
        assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080 + number)
    pods[1].remove()
    pods[1] = publish(node, port(8081), backend=backend)
    for number, chain in enumerate(pods):
        for client, target in ((node.outside, node.ADDRESS), (node.outside, node.ADDRESS6), (node, "127.0.0.1")):
            assert answers("tcp", chain.pod, 80, client, target, 8080 + number)


@both_backends
def test_200_ports_in_one_call(node: Node, backend: str) -> None:
    """Each leads to its own port of the container, in both families; after DEL none of them is left."""
    ports = [port(10000 + number, 20000 + number) for number in range(200)]
    neighbour(node).remove()
    before = node.snapshot()
    chain = publish(node, *ports, backend=backend)
    for entry in ports:
        assert answers("tcp", chain.pod, entry["containerPort"], node.outside, node.ADDRESS, entry["hostPort"])
    for entry in (ports[0], ports[14], ports[15], ports[-1]):
        for client, target in ((node, "127.0.0.1"), (chain.pod, GATEWAY), (node.outside, node.ADDRESS6)):
            assert answers("tcp", chain.pod, entry["containerPort"], client, target, entry["hostPort"])
    chain.remove()
    assert node.snapshot()["nft"] == before["nft"]
    assert [line for line in node.iptables() if "10000" in line or "CNI-DN" in line] == []


def test_ports_of_the_whole_range(node: Node) -> None:
    """The lowest and the highest number, on both sides."""
    chain = publish(node, port(1, 65535), port(65535, 1))
    assert answers("tcp", chain.pod, 65535, node.outside, node.ADDRESS, 1)
    assert answers("tcp", chain.pod, 1, node.outside, node.ADDRESS6, 65535)


@both_backends
def test_the_same_mapping_twice_is_one(node: Node, backend: str) -> None:
    """An entry that the runtime says twice is no conflict with itself."""
    chain = publish(node, port(8080), port(8080), port(8080, ip="0.0.0.0"), backend=backend)
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)
    chain.remove()
    assert not answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080, seconds=SHORT)


# hostIP


@pytest.mark.parametrize("protocol", PROTOCOLS)
@both_families
@both_backends
def test_a_host_ip_publishes_on_that_address_alone(node: Node, backend: str, version: int, protocol: str) -> None:
    """The port of the uplink's address is not that of the bridge's, nor of localhost, nor of the other family."""
    mine = node.ADDRESS if version == 4 else node.ADDRESS6
    others = [GATEWAY, "127.0.0.1", node.ADDRESS6] if version == 4 else [GATEWAY6, node.ADDRESS, "127.0.0.1"]
    chain = publish(node, port(8080, 80, protocol, mine), backend=backend)
    seen = node.OUTSIDE if version == 4 else node.OUTSIDE6
    assert source(protocol, chain.pod, 80, node.outside, mine, 8080) == seen
    assert source(protocol, chain.pod, 80, node, mine, 8080) == mine
    for other in others:
        assert not answers(protocol, chain.pod, 80, node, other, 8080, seconds=0.15), other


@both_backends
def test_one_port_of_two_addresses_leads_to_two_pods(node: Node, backend: str) -> None:
    """Different addresses of the node do not overlap; each of both families has its own pod."""
    addresses = [node.ADDRESS, GATEWAY, node.ADDRESS6, GATEWAY6]
    neighbour(node)
    pods = {address: publish(node, port(8080, ip=address), backend=backend) for address in addresses}
    for address, chain in pods.items():
        assert answers("tcp", chain.pod, 80, node, address, 8080)
    pods.pop(GATEWAY).remove()
    for address, chain in pods.items():
        assert answers("tcp", chain.pod, 80, node, address, 8080)


@both_backends
def test_an_address_of_its_own_goes_before_all_addresses(node: Node, backend: str) -> None:
    """One pod has a port for the uplink's address, and the same for all: who asks that address gets the first."""
    chain = publish(node, port(8080, 81, ip=node.ADDRESS), port(8080, 80), backend=backend)
    assert answers("tcp", chain.pod, 81, node.outside, node.ADDRESS, 8080)
    assert answers("tcp", chain.pod, 80, node, GATEWAY, 8080)
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS6, 8080)
    chain.remove()
    assert not answers("tcp", chain.pod, 81, node.outside, node.ADDRESS, 8080, seconds=SHORT)


@both_backends
def test_wildcards_restrict_to_their_family(node: Node, backend: str) -> None:
    """0.0.0.0 is all of IPv4 and nothing of IPv6, :: the other way round; two pods share the port so."""
    four = publish(node, port(8080, ip="0.0.0.0"), backend=backend)
    assert not answers("tcp", four.pod, 80, node.outside, node.ADDRESS6, 8080, seconds=SHORT)
    six = publish(node, port(8080, ip="::"), backend=backend)
    for client, target in ((node.outside, node.ADDRESS), (node, "127.0.0.1"), (four.pod, GATEWAY), (six.pod, GATEWAY)):
        assert answers("tcp", four.pod, 80, client, target, 8080), target
    for client, target in ((node.outside, node.ADDRESS6), (four.pod, GATEWAY6), (six.pod, GATEWAY6)):
        assert answers("tcp", six.pod, 80, client, target, 8080), target
    six.remove()
    assert not answers("tcp", six.pod, 80, node.outside, node.ADDRESS6, 8080, seconds=SHORT)
    assert answers("tcp", four.pod, 80, node.outside, node.ADDRESS, 8080)


@both_backends
def test_localhost_alone(node: Node, backend: str) -> None:
    """hostIP 127.0.0.1: the node reaches it there, nobody else anywhere."""
    chain = publish(node, port(8080, ip="127.0.0.1"), backend=backend)
    assert source("tcp", chain.pod, 80, node, "127.0.0.1", 8080) == GATEWAY
    for client, target in ((node.outside, node.ADDRESS), (node, node.ADDRESS), (chain.pod, GATEWAY)):
        assert not answers("tcp", chain.pod, 80, client, target, 8080, seconds=SHORT), target


@both_families
@both_backends
def test_a_container_of_one_family_takes_the_mappings_of_that_family(node: Node, backend: str, version: int) -> None:
    """What is for the other family is left out; a mapping for it alone makes nothing and is no error."""
    subnet = SUBNET if version == 4 else SUBNET6
    other = "::" if version == 4 else "0.0.0.0"
    at = node.ADDRESS if version == 4 else node.ADDRESS6
    none = publish(node, port(8080, ip=other), backend=backend, subnets=[subnet])
    assert not answers("tcp", none.pod, 80, node.outside, at, 8080, seconds=SHORT)
    some = publish(node, port(8081, ip=other), port(8082), backend=backend, subnets=[subnet])
    assert answers("tcp", some.pod, 80, node.outside, at, 8082)
    none.remove()
    some.remove()


# snat, masqAll


@both_backends
def test_without_snat_nothing_is_masqueraded(node: Node, backend: str) -> None:
    """Outside is served and seen; where bridged packets are filtered so is a neighbour, under its own address."""
    bridged_packets_are_filtered(node, True)
    chain = publish(node, port(8080), backend=backend, snat=False)
    beside = neighbour(node)
    assert source("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080) == node.OUTSIDE
    assert source("tcp", chain.pod, 80, beside.pod, GATEWAY, 8080) == beside.address
    assert source("tcp", chain.pod, 80, beside.pod, GATEWAY6, 8080) == beside.addresses[1]
    assert not answers("tcp", chain.pod, 80, node, "127.0.0.1", 8080, seconds=SHORT)
    assert node.sysctl("ipv4/conf/br0/route_localnet") == "0"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@both_backends
@pytest.mark.beyond_old_go("there is no masqAll yet")
def test_masq_all_masquerades_whoever_asks(node: Node, backend: str, protocol: str) -> None:
    """Also the world outside, in both families, by this port; and not what comes to the pod without it."""
    chain = publish(node, port(8080, 80, protocol), backend=backend, masqAll=True)
    beside = neighbour(node)
    node.outside.ip(f"route add {SUBNET} via {node.ADDRESS}")
    for version, gateway in ((4, GATEWAY), (6, GATEWAY6)):
        for name, client, target, _ in views(node, chain, beside, version):
            seen = source(protocol, chain.pod, 80, client, target, 8080)
            assert seen in (gateway, node.ADDRESS, node.ADDRESS6), name
            assert seen == gateway or client is node, name
    assert source(protocol, chain.pod, 80, node.outside, chain.address, 80) == node.OUTSIDE
    plain = publish(node, port(8081, 80, protocol), backend=backend)
    assert source(protocol, plain.pod, 80, node.outside, node.ADDRESS, 8081) == node.OUTSIDE


@both_backends
def test_every_address_of_localhost_leads_to_the_pod(node: Node, backend: str) -> None:
    """127.0.0.1 and others, asked from 127.0.0.1."""
    chain = publish(node, port(8080), backend=backend)
    for target in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
        assert source("tcp", chain.pod, 80, node, target, 8080, bind="127.0.0.1") == GATEWAY


@pytest.mark.beyond_old_go("the first of the two takes both")
@both_backends
@pytest.mark.parametrize("turned", [False, True])
def test_a_port_of_all_addresses_and_of_one(node: Node, backend: str, turned: bool) -> None:
    """In either order the one address has its own, the others the general one; CHECK passes, DEL leaves nothing."""
    neighbour(node)
    before = node.snapshot()
    ports = [port(8080, 80), port(8080, 81, ip=node.ADDRESS), port(8080, 82, ip=node.ADDRESS6), port(8081, 83)]
    chain = publish(node, *(reversed(ports) if turned else ports), backend=backend)
    assert answers("tcp", chain.pod, 81, node.outside, node.ADDRESS, 8080)
    assert answers("tcp", chain.pod, 82, node.outside, node.ADDRESS6, 8080)
    assert answers("tcp", chain.pod, 80, node, GATEWAY, 8080)
    assert answers("tcp", chain.pod, 83, node.outside, node.ADDRESS, 8081)
    outcome = chain.portmap("CHECK")
    assert outcome.ok, outcome.stdout
    chain.remove()
    assert node.snapshot() == before


# conditions


@pytest.mark.parametrize(
    ("backend", "v4", "v6"),
    [
        pytest.param("iptables", ["-s", "192.0.2.0/24"], ["-s", "2001:db8:ff::/64"], id="iptables"),
        pytest.param(
            "nftables",
            ["ip saddr 192.0.2.0/24"],
            ["ip6", "saddr", "2001:db8:ff::/64"],
            id="nftables",
            marks=pytest.mark.beyond_old_go("knows iptables alone"),
        ),
    ],
)
def test_conditions_choose_who_is_served(node: Node, backend: str, v4: list[str], v6: list[str]) -> None:
    """Who does not match them finds the node itself; another network's pod is not touched by them."""
    chain = publish(node, port(8080), backend=backend, conditionsV4=v4, conditionsV6=v6)
    other = publish(
        node, port(8081), name="net2", link="br2", subnets=["10.2.0.0/24", "2001:db8:2::/64"], backend=backend
    )
    for target, seen in ((node.ADDRESS, node.OUTSIDE), (node.ADDRESS6, node.OUTSIDE6)):
        assert source("tcp", chain.pod, 80, node.outside, target, 8080) == seen
    for target in (GATEWAY, GATEWAY6):
        assert not answers("tcp", chain.pod, 80, other.pod, target, 8080, seconds=SHORT)
        assert answers("tcp", other.pod, 80, chain.pod, target, 8081)
    other.remove()
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)
    assert not answers("tcp", chain.pod, 80, neighbour(node).pod, GATEWAY, 8080, seconds=SHORT)


# the result, and which addresses


@pytest.mark.parametrize(
    "version",
    [
        "0.2.0",
        "0.3.1",
        "0.4.0",
        "1.0.0",
        pytest.param("1.1.0", marks=pytest.mark.beyond_old_go("does not know 1.1.0")),
    ],
)
def test_the_result_is_the_one_it_was_given(node: Node, version: str) -> None:
    """In every version of the specification; CHECK and DEL take it too."""
    chain = wanted(node, port(8080), version=version)
    chain.result = chain.call(0, "ADD").result
    answer = chain.portmap("ADD").result
    assert {key: value for key, value in answer.items() if value} == {k: v for k, v in chain.result.items() if v}
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)
    chain.remove()
    assert not answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080, seconds=SHORT)


@both_backends
def test_the_first_address_of_the_containers_interface_is_taken(node: Node, backend: str) -> None:
    """An address of the host's end, or of another interface, is skipped; one without interface is taken."""
    chain = wanted(node, port(8080), backend=backend)
    chain.result = chain.call(0, "ADD").result
    chain.pod.ip("addr add 10.1.0.77/24 dev eth0", "addr add 10.1.0.78/24 dev eth0")
    inside, outside = 2, 1
    assert chain.result["interfaces"][inside]["name"] == "eth0"
    chain.result["ips"] = [
        {"address": "10.1.0.76/24", "interface": outside},
        {"address": "10.1.0.77/24", "interface": inside},
        {"address": "10.1.0.78/24"},
    ]
    chain.portmap("ADD").result  # noqa: B018  asserts success
    assert _served_at(chain) == "10.1.0.77"
    assert chain.portmap("DEL").ok
    chain.result["ips"] = [
        {"address": "10.1.0.78/24", "interface": 9},
        {"address": "10.1.0.77/24", "interface": inside},
    ]
    chain.portmap("ADD").result  # noqa: B018  asserts success
    assert _served_at(chain) == "10.1.0.78"


def _served_at(chain: Chain) -> str:
    """The container's address at which a client from outside arrives."""
    node = chain.node
    with listening(chain.pod, 80) as waiting, node.outside.socket() as client:
        for each in (waiting, client):
            each.settimeout(3)
        client.connect((node.ADDRESS, 8080))
        accepted, _ = waiting.accept()
        with accepted:
            return str(accepted.getsockname()[0])


@pytest.mark.parametrize("capabilities", [{}, {"portMappings": None}, {"portMappings": []}], ids=str)
def test_without_mappings_nothing_is_made(node: Node, capabilities: Object) -> None:
    """The result goes through, nothing on the node changes, CHECK and DEL are content."""
    chain = wanted(node)
    chain.result = chain.call(0, "ADD").result
    chain.capabilities = capabilities
    before = node.snapshot()
    assert chain.portmap("ADD").result["ips"] == chain.result["ips"]
    assert chain.portmap("CHECK").ok
    assert node.snapshot() == before
    assert chain.portmap("DEL").ok
    assert node.snapshot() == before


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_it_has_to_be_chained(node: Node, verb: str) -> None:
    """Without the result of a plugin before it there is no address to lead to."""
    words = {"ADD": "must be called as chained plugin", "CHECK": "Required prevResult missing"}
    outcome = wanted(node, port(8080)).portmap(verb)
    assert words[verb] in outcome.error["msg"]


# what it costs


def _rules(node: Node) -> int:
    """All nftables rules on the node that are not iptables'."""
    return sum("rule" in item for item in node.nft())


def _traced(node: Node, container: str) -> tuple[list[int], list[int]]:
    """Requests, answers and bytes of an ADD and of a DEL of portmap for one more pod with three ports."""
    ports = [port(9000, 80, protocol) for protocol in ("tcp", "udp")] + [port(9001, ip=node.ADDRESS)]
    chain = wanted(node, *ports, pod=node.pod(container))
    chain.result = chain.call(0, "ADD").result
    found = []
    for verb in ("ADD", "DEL"):
        seen = trace(chain, verb)
        assert seen.status == 0, seen.stdout
        assert seen.requests and seen.bytes, seen.stdout
        found.append([len(seen.requests), seen.answers, seen.bytes])
    chain.call(0, "DEL")
    return found[0], found[1]


@pytest.mark.beyond_old_go("a rule, and a dozen processes, for each mapping")
def test_the_packet_path_and_the_calls_do_not_grow_with_the_pods(node: Node) -> None:
    """As many rules with one pod as with ten of 30 ports; ADD and DEL say as much to the kernel, and read no list of all.

    Whether a map has elements of others is seen from the first part of a list, one buffer at most.
    """
    publish(node, port(8080), port(8080, 80, "udp"), port(8081, ip=node.ADDRESS))
    rules, before = _rules(node), _traced(node, "probe-a")
    for number in range(9):
        base = 10000 + 100 * number
        many = [port(base + place, 80, protocol) for place in range(15) for protocol in ("tcp", "udp")]
        publish(node, *many, port(base, 80, "sctp", node.ADDRESS))
    assert _rules(node) == rules
    after = _traced(node, "probe-b")
    for one, ten in zip(before, after, strict=True):
        assert ten[:2] == one[:2], f"{before} with one pod, {after} with ten"
        assert ten[2] < one[2] + 32_000, f"{before} with one pod, {after} with ten"


@pytest.mark.beyond_old_go("starts iptables for every rule")
def test_no_program_is_started(node: Node, tmp_path: Path) -> None:
    """nftables over netlink: ADD, CHECK and DEL are one process each, and find no other on an empty PATH."""
    chain = wanted(node, port(8080), port(8053, 53, "udp"))
    chain.result = chain.call(0, "ADD").result
    for verb in ("ADD", "CHECK", "DEL"):
        seen = trace(chain, verb, path=str(tmp_path))
        assert seen.status == 0, seen.stdout
        ours = [program for program in seen.programs if not program.endswith(("/portmap", "/env", "/python3"))]
        assert ours == [], verb
        if verb != "DEL":
            assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)


@pytest.mark.beyond_old_go("starts iptables for every rule")
def test_the_ports_change_at_once(node: Node) -> None:
    """One transaction an ADD and one a DEL for all ports of both families: nobody sees half of them."""
    publish(node, port(8080))
    chain = wanted(node, *(port(9000 + number, 80, protocol) for number in range(20) for protocol in ("tcp", "udp")))
    chain.result = chain.call(0, "ADD").result
    for verb in ("ADD", "DEL"):
        with _transactions(node) as seen:
            assert chain.portmap(verb).ok
        assert len(seen) == 1, verb
        assert seen[0] >= 80, verb


@contextmanager
def _transactions(node: Node) -> Iterator[list[int]]:
    """Of each transaction while the block runs that changed elements with our pods' addresses: how many elements."""
    netfilter, group, elements, new_generation = 12, 1 << 6, (0x0A0C, 0x0A0E), 0x0A0F
    seen: list[int] = []
    with node.socket(socket.AF_NETLINK, socket.SOCK_RAW, netfilter) as heard:
        heard.setsockopt(socket.SOL_SOCKET, 33, 1 << 25)  # SO_RCVBUFFORCE
        heard.bind((0, group))
        yield seen
        heard.setblocking(False)
        count = 0
        with suppress(BlockingIOError):
            while data := heard.recv(1 << 16):
                while data:
                    size, kind = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:6], "little")
                    count += kind in elements and b"hostports" in data[:size]
                    if kind == new_generation and count:
                        seen.append(count)
                        count = 0
                    data = data[size + 3 & ~3 :]
