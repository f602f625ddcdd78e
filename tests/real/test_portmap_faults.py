"""The known faults of Go's portmap and the corners of its behaviour, each with a test that is named after it.

What another file of these tests holds in full is here in its shortest form, so that the list is whole.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import port
from node.deadline import eventually
from node.plugin import subject_is_old_go
from node.ports import answers, source
from node.published import GATEWAY, SUBNET, bridged_packets_are_filtered, neighbour, publish, wanted
from node.topology import Node

pytestmark = pytest.mark.real

SHORT = 0.4
BACKENDS = ["nftables", "iptables"]
Object = dict[str, Any]
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def beyond(reason: str) -> Any:
    """Mark a fault that Go's plugin still has."""
    return pytest.mark.beyond_old_go(reason)


def serves(chain: Chain, number: int, inside: int = 80, protocol: str = "tcp") -> bool:
    """Whether the pod answers at a port of the node, asked from outside."""
    node = chain.node
    return answers(protocol, chain.pod, inside, node.outside, node.ADDRESS, number)


def dnat_rules(node: Node) -> list[str]:
    """Every translation on the node, as rule or as element, by whomever."""
    text = node.run("iptables-save") + node.run("ip6tables-save") + node.run("nft", "list", "ruleset")
    return [line for line in text.splitlines() if "--to-destination" in line or " : 10.1." in line]


# leaks


@beyond("DEL needs runtimeConfig")
@both_backends
def test_fault_del_without_runtime_config_leaks(node: Node, backend: str) -> None:
    """Corner 1 too: hash and comment suffice to find the rules."""
    chain = publish(node, port(8080), backend=backend)
    assert chain.portmap("DEL", runtimeConfig=None).ok
    assert dnat_rules(node) == []


@beyond("its DEL looks into one backend; and 1.1.1 knows but one")
def test_fault_a_changed_backend_leaks(node: Node) -> None:
    """ADD by one, DEL by the other, both ways."""
    for made, removed in (("nftables", "iptables"), ("iptables", "nftables")):
        chain = publish(node, port(8080), backend=made)
        assert chain.portmap("DEL", backend=removed).ok
        assert [line for line in node.nft() if "set" in line or "map" in line] == []
        assert not any("CNI-HOSTPORT" in line for line in node.iptables())


@beyond("a failed ADD leaves what it had made")
@both_backends
def test_fault_a_failed_add_leaks(node: Node, backend: str) -> None:
    """The last of several mappings cannot be had: the first ones are taken back."""
    publish(node, port(8080), backend=backend)
    chain = wanted(node, port(8070), port(8080), backend=backend, conflict="refuse")
    chain.result = chain.call(0, "ADD").result
    before = node.snapshot()
    assert not chain.portmap("ADD").ok
    assert node.snapshot() == before


@beyond("shared chains stay for ever")
@both_backends
def test_fault_shared_chains_and_tables_stay(node: Node, backend: str) -> None:
    """With the last mapping everything goes; route_localnet too, which nobody needs any more."""
    neighbour(node)
    before = node.snapshot(), node.sysctl("ipv4/conf/br0/route_localnet")
    publish(node, port(8080), backend=backend).remove()
    assert (node.snapshot(), node.sysctl("ipv4/conf/br0/route_localnet")) == before


@beyond("does not know GC")
@both_backends
def test_fault_gc_does_nothing(node: Node, backend: str) -> None:
    """What no valid attachment owns is removed."""
    chain = publish(node, port(8080), backend=backend, version="1.1.0")
    outcome = chain.portmap("GC", prev_result=False, **{"cni.dev/valid-attachments": [], "runtimeConfig": None})
    assert outcome.ok, outcome.stdout
    assert dnat_rules(node) == []


# iptables


@beyond("old rules stand first and win")
def test_fault_rules_left_from_before_win(node: Node) -> None:
    """The container's chain holds rules of an ADD that nobody deleted: they are gone after the next ADD."""
    chain = publish(node, port(8080), port(8081), pod=node.pod("ctr1"), name="testnet", backend="iptables")
    own = "CNI-DN-" + hashlib.sha512(b"testnetctr1").hexdigest()[:21]
    node.run("iptables", "-t", "nat", "-I", own, "-p", "tcp", "--dport", "8080", "-j", "DNAT", "--to", "10.1.0.99:80")
    chain.capabilities["portMappings"] = [port(8080)]
    assert chain.portmap("ADD").ok
    assert serves(chain, 8080)
    assert not any("10.1.0.99" in line or "8081" in line for line in node.iptables())


@pytest.mark.skipif(subject_is_old_go(), reason="a race: seen, but not every time")
def test_fault_parallel_adds_double_the_shared_jumps(node: Node) -> None:
    """Twelve first ADDs of a node at once: each jump stands once."""
    chains = [wanted(node, port(8080 + number), backend="iptables") for number in range(12)]
    for chain in chains:
        chain.result = chain.call(0, "ADD").result
    with ThreadPoolExecutor(12) as pool:
        assert all(outcome.ok for outcome in pool.map(lambda chain: chain.portmap("ADD"), chains))
    rules = [
        line for line in node.iptables() if "-A PREROUTING" in line or "-A OUTPUT" in line or "POSTROUTING" in line
    ]
    shared = [line for line in rules if "CNI-HOSTPORT" in line]
    assert len(shared) == len(set(shared)) == 6
    assert all(serves(chain, 8080 + number) for number, chain in enumerate(chains))


@beyond("the name of the chain lacks the interface")
def test_fault_one_network_twice_on_one_container_shares_a_chain(node: Node) -> None:
    """The first DEL leaves the other interface's port."""
    pod = node.pod()
    for name, value in (("arp_ignore", "1"), ("arp_announce", "2")):  # each interface speaks for its own address
        pod.sysctl(f"ipv4/conf/all/{name}", value)
    one, two = (publish(node, port(8080 + n), pod=pod, ifname=f"eth{n}", backend="iptables") for n in (0, 1))
    assert one.portmap("DEL").ok
    assert answers("tcp", pod, 80, node, GATEWAY, 8081)
    assert not answers("tcp", pod, 80, node, GATEWAY, 8080, seconds=SHORT)
    two.remove()


@beyond("net and id are joined without a separator")
@both_backends
def test_fault_names_without_separator(node: Node, backend: str) -> None:
    """`a` + `bc` and `ab` + `c`: the one's DEL leaves the other's port."""
    one = publish(node, port(8080), name="a", pod=node.pod("bc"), backend=backend)
    two = publish(node, port(8081), name="ab", pod=node.pod("c"), link="br2", subnets=["10.2.0.0/24"], backend=backend)
    assert serves(one, 8080) and serves(two, 8081)
    one.remove()
    assert serves(two, 8081)
    two.remove()
    assert dnat_rules(node) == []


# nftables


@pytest.mark.skipif(subject_is_old_go(), reason="knows no nftables")
def test_fault_rules_bear_the_id_alone(node: Node) -> None:
    """DEL of one network leaves the port of another on the same container."""
    pod = node.pod()
    one = publish(node, port(8080), pod=pod)
    more: Object = {"name": "net2", "link": "br2", "subnets": ["10.2.0.0/24"], "below": {"isDefaultGateway": False}}
    two = publish(node, port(8081), pod=pod, ifname="eth1", **more)
    two.remove()
    assert serves(one, 8080)


@pytest.mark.parametrize("length", [128, 129, 180])
def test_fault_an_id_of_more_than_128_bytes_cannot_be_added(node: Node, length: int) -> None:
    """nft's comments are that long; a longer id is added, and removed, all the same."""
    chain = publish(node, port(8080), pod=node.pod("c" * length))
    assert serves(chain, 8080)
    chain.remove(prev_result=False)
    assert dnat_rules(node) == []


@pytest.mark.skipif(subject_is_old_go(), reason="knows no nftables")
def test_fault_conditions_are_those_of_the_last_add(node: Node) -> None:
    """Three networks, one with conditions, one with others, one without: each keeps its own, whatever comes and goes."""
    words = [["ip saddr 192.0.2.0/24"], ["ip saddr 10.1.0.0/24"], []]

    def attached(number: int, conditions: list[str], host_port: int) -> Chain:
        more: Object = {"link": f"br{number}", "subnets": [f"10.{number + 1}.0.0/24"], "conditionsV4": conditions}
        return publish(node, port(host_port), name=f"net{number}", **more)

    chains = [attached(number, conditions, 8080 + number) for number, conditions in enumerate(words)]
    inside = attached(0, words[0], 8090)

    def expect() -> None:
        assert serves(chains[0], 8080) and not serves(chains[1], 8081) and serves(chains[2], 8082)
        seen = [answers("tcp", chains[n].pod, 80, inside.pod, GATEWAY, 8080 + n) for n in range(3)]
        assert seen == [False, True, True]

    expect()
    last = attached(3, [], 8091)
    expect()
    last.remove()
    expect()


@pytest.mark.parametrize("filtered", [False, True], ids=["", "br_netfilter"])
@both_backends
def test_fault_a_neighbour_is_not_masqueraded(node: Node, backend: str, filtered: bool) -> None:
    """Without it the answer goes to the neighbour directly, from an address that it never asked."""
    bridged_packets_are_filtered(node, filtered)
    chain = publish(node, port(8080), backend=backend)
    beside = neighbour(node)
    assert source("tcp", chain.pod, 80, beside.pod, GATEWAY, 8080) == GATEWAY


@beyond("has no masqAll")
@both_backends
def test_fault_masq_all_masquerades_what_is_not_mapped(node: Node, backend: str) -> None:
    """masqAll is for mapped connections: who comes to the container's own address is seen as who it is."""
    chain = publish(node, port(8080), port(81, 81), backend=backend, masqAll=True)
    node.outside.ip(f"route add {SUBNET} via {node.ADDRESS}")
    assert source("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080) == GATEWAY
    assert source("tcp", chain.pod, 81, node.outside, node.ADDRESS, 81) == GATEWAY
    for number in (80, 81, 82):
        assert source("tcp", chain.pod, number, node.outside, chain.address, number) == node.OUTSIDE


# UDP: test_portmap_udp.py has them all; ports: test_portmap_refusals.py


@beyond("no upper bound; conntrack uses the port modulo 65536")
def test_fault_no_upper_port_check(node: Node) -> None:
    """65616 is not 80."""
    chain = wanted(node, port(65536 + 8080))
    chain.result = chain.call(0, "ADD").result
    assert chain.portmap("ADD").code == 7


# corners


@beyond("validates on DEL like on ADD")
@both_backends
def test_corner_2_del_does_not_validate(node: Node, backend: str) -> None:
    """A port 0, an option of the other backend, a result that cannot be read: the rules go nevertheless."""
    bad: list[Object] = [
        {"runtimeConfig": {"portMappings": [port(0)]}},
        {"backend": "nftables", "conditionsV4": ["-s", "x"]},
        {"prevResult": {"cniVersion": "1.0.0", "ips": 5}},
    ]
    for keys in bad:
        chain = publish(node, port(8080), backend=backend)
        assert chain.portmap("DEL", **keys).ok, keys
        assert dnat_rules(node) == [], keys


def test_corner_3_iptables_conditions_stand_on_the_containers_own_entry(node: Node) -> None:
    """Another container's entry has none of them."""
    one = publish(node, port(8080), backend="iptables", conditionsV4=["-s", "192.0.2.0/24"], subnets=[SUBNET])
    publish(node, port(8081), backend="iptables", subnets=[SUBNET])
    entries = [line for line in node.iptables() if "-A CNI-HOSTPORT-DNAT" in line]
    assert [one.pod.container in line for line in entries if "-s 192.0.2.0/24" in line] == [True]
    assert len(entries) == 2


@pytest.mark.skipif(subject_is_old_go(), reason="a client bound to another address of 127/8 times out")
def test_corner_4_localhost_is_more_than_127_0_0_1(node: Node) -> None:
    """Whatever address of 127/8 the client has, and asks."""
    chain = publish(node, port(8080))
    for client in ("127.0.0.1", "127.0.0.9"):
        for target in ("127.0.0.1", "127.0.0.2"):
            assert source("tcp", chain.pod, 80, node, target, 8080, bind=client) == GATEWAY


@both_backends
def test_corner_4_localhost_of_ipv6_does_not_answer(node: Node, backend: str) -> None:
    """The kernel has no route_localnet for ::1: kept as it is, and it is refused or silent, not somebody else's."""
    chain = publish(node, port(8080), backend=backend)
    assert not answers("tcp", chain.pod, 80, node, "::1", 8080, seconds=SHORT)


@pytest.mark.parametrize("hairpin", [False, True], ids=["", "hairpinMode"])
@pytest.mark.parametrize("filtered", [False, True], ids=["", "br_netfilter"])
@both_backends
def test_corner_6_hairpin(node: Node, backend: str, filtered: bool, hairpin: bool) -> None:
    """With br_netfilter the bridge's port needs hairpinMode, which is bridge's matter; without it nothing does."""
    bridged_packets_are_filtered(node, filtered)
    chain = publish(node, port(8080), backend=backend, below={"hairpinMode": hairpin})
    answered = hairpin or not filtered
    assert answers("tcp", chain.pod, 80, chain.pod, GATEWAY, 8080, seconds=3 if answered else SHORT) == answered


@both_backends
def test_corner_7_an_ipv4_mapped_host_ip(node: Node, backend: str) -> None:
    """::ffff:192.0.2.1 is 192.0.2.1."""
    chain = publish(node, port(8080, ip=f"::ffff:{node.ADDRESS}"), backend=backend)
    assert serves(chain, 8080)
    assert not answers("tcp", chain.pod, 80, node, GATEWAY, 8080, seconds=SHORT)


@beyond("unparseable counts as IPv6, and goes to ip6tables")
def test_corner_7_a_prefix_is_no_host_ip(node: Node) -> None:
    """10.0.0.0/8 is refused."""
    chain = wanted(node, port(8080, ip="10.0.0.0/8"))
    chain.result = chain.call(0, "ADD").result
    assert chain.portmap("ADD").code == 7


@beyond("the earlier one wins, in silence")
@both_backends
def test_corner_8_two_containers_with_one_host_port(node: Node, backend: str) -> None:
    """The second names the first, and has the port when that one goes; or it is refused."""
    first = publish(node, port(8080), backend=backend)
    outcome = wanted(node, port(8080), backend=backend, conflict="refuse").try_add()
    assert first.pod.container in outcome.error["msg"]
    second = publish(node, port(8080), backend=backend)
    assert first.pod.container in second.said
    assert serves(first, 8080)
    first.remove()
    assert serves(second, 8080)


def test_corner_9_the_jump_to_masq_stands_before_bridges(node: Node) -> None:
    """Bridge appended its masquerade jumps first: neighbours' connections meet portmap's all the same."""
    below: Object = {"ipMasq": True, "ipMasqBackend": "iptables"}
    beside = neighbour(node, below=below)
    chain = publish(node, port(8080), backend="iptables", below=below)
    jumps = [line for line in node.run("iptables", "-t", "nat", "-S", "POSTROUTING").splitlines() if " -j " in line]
    assert "CNI-HOSTPORT-MASQ" in jumps[0] and len(jumps) == 3, jumps
    assert source("tcp", chain.pod, 80, beside.pod, GATEWAY, 8080) == GATEWAY


def test_corner_11_two_marks_pile_up_but_serve(node: Node) -> None:
    """Networks with different mark bits share the chains: both ports answer, also to neighbours."""
    one = publish(node, port(8080), backend="iptables", markMasqBit=5)
    two = publish(node, port(8081), backend="iptables", markMasqBit=7)
    for chain, number in ((one, 8080), (two, 8081)):
        assert serves(chain, number)
        assert source("tcp", chain.pod, 80, two.pod if chain is one else one.pod, GATEWAY, number) == GATEWAY
    one.remove()
    assert source("tcp", two.pod, 80, node, "127.0.0.1", 8081) == GATEWAY


@both_backends
def test_corner_23_effects_are_in_the_callers_namespace(node: Node, backend: str) -> None:
    """The host of the plugin is the namespace that calls it: the pod's own has nothing of it."""
    chain = publish(node, port(8080), backend=backend)
    assert chain.pod.run("nft", "list", "ruleset") == ""
    assert chain.pod.run("iptables-save") == ""
    assert eventually(lambda: serves(chain, 8080))
