"""Who holds a host port: the living keep it, the dead lose it, and DEL takes nothing that is somebody else's."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import port
from node.deadline import eventually
from node.plugin import DIST, GO, subject_is_old_go
from node.ports import answers
from node.published import GATEWAY, SUBNET, neighbour, publish, wanted
from node.topology import Node

pytestmark = pytest.mark.real

SHORT = 0.4
BACKENDS = ["nftables", "iptables"]
GONE = "/var/run/netns/pycni-gone"
Object = dict[str, Any]

needs_go = pytest.mark.skipif(not Path(GO, "portmap").is_file(), reason="containernetworking-plugins is not installed")
both_backends = pytest.mark.parametrize("backend", BACKENDS)


def serves(chain: Chain, host_port: int, target: str = "", protocol: str = "tcp") -> bool:
    """Whether the pod answers at a port of the node, asked from outside."""
    at = target or chain.node.ADDRESS
    return answers(protocol, chain.pod, 80, chain.node.outside, at, host_port)


def rules(node: Node) -> list[Any]:
    """All rules and elements on the node, but for shared chains that stay with Go's iptables layout."""
    snapshot = node.snapshot()
    shared = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK")
    return [snapshot["nft"], [line for line in snapshot["iptables"] if not any(name in line for name in shared)]]


def die(chain: Chain) -> None:
    """The pod ends without a DEL: its namespace goes, and with it the link; its lease and its rules stay."""
    host = chain.host
    chain.pod.close()
    assert eventually(lambda: host not in chain.node.links())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], tuple[Chain, Chain]]]:
    """Two pods of two networks that bridge attached, by the backend of their portmap: for tests that leave nothing."""
    made: dict[str, tuple[Chain, Chain]] = {}
    nodes: list[Node] = []

    def pods(backend: str) -> tuple[Chain, Chain]:
        if backend not in made:
            node = Node(tmp_path_factory.mktemp("leases"))
            nodes.append(node)
            more: Object = {"name": "net2", "link": "br2", "subnets": ["10.2.0.0/24", "2001:db8:2::/64"]}
            pair = wanted(node, name="net1", backend=backend), wanted(node, backend=backend, **more)
            for chain in pair:
                chain.result = chain.call(0, "ADD").result
            made[backend] = pair
        for chain in made[backend]:
            assert chain.portmap("DEL").ok
        return made[backend]

    try:
        yield pods
    finally:
        for node in nodes:
            node.close()


Shared = Callable[[str], tuple[Chain, Chain]]


# the living


WILD4, WILD6, HERE, THERE, HERE6 = "0.0.0.0", "::", Node.ADDRESS, GATEWAY, Node.ADDRESS6


@pytest.mark.beyond_old_go("the earlier one wins in silence")
@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("", ""),
        ("", WILD4),
        (WILD6, ""),
        (WILD4, WILD4),
        ("", HERE),
        (HERE, ""),
        (WILD4, HERE),
        (HERE, WILD4),
        (HERE, HERE),
        (HERE6, WILD6),
        (HERE6, "2001:DB8:FF:0::1"),
        (HERE, "::ffff:192.0.2.1"),
    ],
)
@both_backends
def test_a_port_of_a_living_pod_is_refused(shared: Shared, backend: str, held: str, asked: str) -> None:
    """By ``"conflict": "refuse"``: both owners are named, nothing changes, the first goes on serving."""
    first, second = shared(backend)
    node = first.node
    first.capabilities["portMappings"] = [port(8080, ip=held)]
    second.capabilities["portMappings"] = [port(8080, ip=asked), port(8099)]
    assert first.portmap("ADD").ok
    before = node.snapshot()
    error = second.portmap("ADD", conflict="refuse").error
    assert node.snapshot() == before
    said = f"{error['msg']} {error.get('details', '')}"
    for part in (first.pod.container, second.pod.container, "8080", "net1", "net2"):
        assert part in said, said
    assert serves(first, 8080, node.ADDRESS6 if ":" in held and "ffff" not in held else node.ADDRESS)
    assert second.portmap("DEL").ok
    assert node.snapshot() == before


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (port(8080), port(8080, 80, "udp")),
        (port(8080, 80, "udp"), port(8080, 80, "sctp")),
        (port(8080, ip=HERE), port(8080, ip=THERE)),
        (port(8080, ip=WILD4), port(8080, ip=WILD6)),
        (port(8080, ip=HERE), port(8080, ip=WILD6)),
        (port(8080), port(8081)),
    ],
    ids=str,
)
@both_backends
def test_what_does_not_overlap_is_not_refused(shared: Shared, backend: str, held: Object, asked: Object) -> None:
    """Another protocol, another address, the other family, another port."""
    first, second = shared(backend)
    node = first.node
    for chain, entry in ((first, held), (second, asked)):
        chain.capabilities["portMappings"] = [entry]
        added = chain.portmap("ADD")
        assert added.ok, added.stdout
    for chain, entry in ((first, held), (second, asked)):
        target = {WILD4: HERE, WILD6: HERE6, "": HERE}.get(entry.get("hostIP", ""), entry.get("hostIP", ""))
        client = node if target == GATEWAY else node.outside
        assert answers(entry["protocol"], chain.pod, 80, client, target, entry["hostPort"])


@pytest.mark.beyond_old_go("no ownership")
@both_backends
def test_one_taken_port_of_several_fails_the_whole(node: Node, backend: str) -> None:
    """No part of the mappings is made when the last of them is refused."""
    first = publish(node, port(8080), backend=backend)
    second = wanted(node, port(8070), port(8071, 80, "udp"), port(8080), backend=backend, conflict="refuse")
    second.result = second.call(0, "ADD").result
    before = node.snapshot()
    assert not second.portmap("ADD").ok
    assert node.snapshot() == before
    assert not serves(second, 8070)
    assert serves(first, 8080)


@pytest.mark.beyond_old_go("no ownership")
@pytest.mark.parametrize(("held_by", "asked_by"), [("nftables", "iptables"), ("iptables", "nftables")])
def test_a_port_of_the_other_backend_is_refused_too(node: Node, held_by: str, asked_by: str) -> None:
    """Two networks of one node with different backends share the node's ports."""
    first = publish(node, port(8080), backend=held_by)
    second = wanted(node, port(8080), name="net2", link="br2", subnets=["10.2.0.0/24"], backend=asked_by)
    second.result = second.call(0, "ADD").result
    before = node.snapshot()
    said = str(second.portmap("ADD", conflict="refuse").error)
    assert first.pod.container in said and second.pod.container in said
    assert node.snapshot() == before
    assert serves(first, 8080)


@pytest.mark.beyond_old_go("no ownership")
@both_backends
def test_an_equal_address_in_another_network_is_no_death(node: Node, backend: str) -> None:
    """Two networks with one subnet, each with its own store: both pods live, so the second is refused, by either backend."""
    first = publish(node, port(8080), link="br1", subnets=[SUBNET], backend=backend)
    second = wanted(node, port(8080), name="net2", link="br2", subnets=[SUBNET], backend=backend)
    second.result = second.call(0, "ADD").result
    assert second.address == first.address
    before = node.snapshot()
    for asked in BACKENDS:
        assert first.pod.container in second.portmap("ADD", backend=asked, conflict="refuse").error["msg"]
    assert node.snapshot() == before
    assert serves(first, 8080)


@pytest.mark.beyond_old_go("no ownership")
@pytest.mark.parametrize("asked", BACKENDS)
@pytest.mark.parametrize("binaries", [DIST, pytest.param(GO, marks=needs_go)], ids=["ours", "Go's"])
def test_a_pod_behind_a_bridge_that_is_down_keeps_its_ports(node: Node, binaries: str, asked: str) -> None:
    """No route leads to it, and it lives: whoever asks for its port is refused, and it serves when the bridge is up again."""
    made = {"bridge": binaries, "portmap": binaries}
    first = publish(node, port(8080), link="br1", subnets=[SUBNET], backend="iptables", binaries=made)
    young: Object = {"name": "net2", "link": "br2", "subnets": ["10.2.0.0/24"], "backend": asked, "conflict": "refuse"}
    for command in ("link set br1 down", "route add 10.1.0.0/24 dev uplink"):
        node.ip(command)
        error = wanted(node, port(8080), **young).try_add().error
        assert error["code"] == 101 and first.pod.container in error["msg"]
    node.ip("route del 10.1.0.0/24 dev uplink", "link set br1 up")
    assert serves(first, 8080)


@pytest.mark.beyond_old_go("the earlier one wins in silence")
@both_backends
def test_of_many_at_once_one_gets_the_port(node: Node, backend: str) -> None:
    """Eight pods ask for one port at the same moment: one has it and serves, seven are refused."""
    chains = [wanted(node, port(8080), port(9000 + number), backend=backend, conflict="refuse") for number in range(8)]
    for chain in chains:
        chain.result = chain.call(0, "ADD").result
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda chain: chain.portmap("ADD"), chains))
    assert [outcome.ok for outcome in outcomes].count(True) == 1, [outcome.stdout for outcome in outcomes]
    winner = next(number for number, outcome in enumerate(outcomes) if outcome.ok)
    assert serves(chains[winner], 8080) and serves(chains[winner], 9000 + winner)
    for number, outcome in enumerate(outcomes):
        assert serves(chains[number], 9000 + number) == outcome.ok


@pytest.mark.skipif(subject_is_old_go(), reason="its DELs get into each other's way, sometimes")
@both_backends
def test_many_at_once_get_their_own_ports(node: Node, backend: str) -> None:
    """Eight pods with different ports at the same moment: all serve; ten DELs of one at the same moment all succeed."""
    chains = [wanted(node, port(9000 + number), backend=backend) for number in range(8)]
    neighbour(node)
    before = rules(node)
    for chain in chains:
        chain.result = chain.call(0, "ADD").result
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda chain: chain.portmap("ADD"), chains))
        assert all(outcome.ok for outcome in outcomes), [outcome.stdout for outcome in outcomes]
        assert all(serves(chain, 9000 + number) for number, chain in enumerate(chains))
        deletes = list(pool.map(lambda _: chains[0].portmap("DEL"), range(10)))
        assert all(outcome.ok for outcome in deletes), [outcome.stdout for outcome in deletes]
        assert all(serves(chain, 9001 + number) for number, chain in enumerate(chains[1:]))
        deletes = list(pool.map(lambda chain: chain.portmap("DEL"), chains))
        assert all(outcome.ok for outcome in deletes), [outcome.stdout for outcome in deletes]
    assert rules(node) == before


@pytest.mark.skipif(subject_is_old_go(), reason="its calls get into each other's way, sometimes")
@both_backends
def test_coming_and_going_at_once(node: Node, backend: str) -> None:
    """Four pods come and go four times each, so that the first and the last meet: who is there serves, then all is gone."""
    neighbour(node)
    before = rules(node), node.sysctl("ipv4/conf/br0/route_localnet")
    chains = [wanted(node, port(9000 + number), port(9000 + number, 80, "udp"), backend=backend) for number in range(4)]
    for chain in chains:
        chain.result = chain.call(0, "ADD").result

    def live(number: int) -> list[str]:
        faults = []
        for turn in range(4):
            added = chains[number].portmap("ADD")
            if not added.ok:
                faults.append(f"ADD {turn}: {added.stdout}")
            for client, target in ((node.outside, node.ADDRESS), (node, "127.0.0.1")):
                if not answers("tcp", chains[number].pod, 80, client, target, 9000 + number):
                    faults.append(f"ADD {turn}: {target} does not answer")
            deleted = chains[number].portmap("DEL")
            if not deleted.ok:
                faults.append(f"DEL {turn}: {deleted.stdout}")
        return faults

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(live, range(4))) == [[]] * 4
    assert (rules(node), node.sysctl("ipv4/conf/br0/route_localnet")) == before


# the dead


@pytest.mark.beyond_old_go("the dead pod's rule stands first")
@pytest.mark.parametrize(
    ("held", "asked"), [("", ""), ("", HERE), (HERE, ""), (WILD4, HERE), (HERE, HERE), (HERE6, "")]
)
@both_backends
def test_a_port_of_a_dead_pod_is_taken_over(node: Node, backend: str, held: str, asked: str) -> None:
    """Its link is gone, nobody called DEL: the next has the port, a line on standard error tells of whom."""
    dead = publish(node, port(8080, ip=held), port(8077), backend=backend)
    die(dead)
    young = publish(node, port(8080, ip=asked), backend=backend)
    assert serves(young, 8080)
    assert dead.pod.container in young.said, young.said
    dead.remove(netns=GONE)
    assert serves(young, 8080)
    assert all(outcome.ok for outcome in young.check()), young.portmap("CHECK").stdout


@pytest.mark.beyond_old_go("the dead pod's rule stands first")
@both_backends
def test_a_dead_pods_address_and_port_may_come_back(node: Node, backend: str) -> None:
    """The young pod has both of the dead one; a late DEL of the dead, with and without prevResult, leaves it alone."""
    dead = publish(node, port(8080), backend=backend)
    die(dead)
    (node.data_dir / "net1" / dead.address).unlink()
    (node.data_dir / "net1" / dead.addresses[1]).unlink()
    for last in node.data_dir.glob("net1/last_reserved_ip.*"):
        last.unlink()
    young = publish(node, port(8080), backend=backend)
    assert young.addresses == dead.addresses
    assert serves(young, 8080)
    for prev_result in (True, False):
        dead.remove(netns=GONE, prev_result=prev_result)
        assert serves(young, 8080) and serves(young, 8080, node.ADDRESS6)
        assert young.portmap("CHECK").ok, young.portmap("CHECK").stdout


@both_backends
def test_a_late_del_of_a_removed_pod_leaves_its_successor(node: Node, backend: str) -> None:
    """DEL, then a new pod with the port, then DEL of the old one again: the new pod serves."""
    old = publish(node, port(8080), backend=backend)
    old.remove()
    young = publish(node, port(8080), backend=backend)
    old.remove(netns="")
    old.remove(netns=GONE, prev_result=False)
    assert serves(young, 8080)


@both_backends
@pytest.mark.beyond_old_go("old rules stay and stand first")
def test_add_again_replaces(node: Node, backend: str) -> None:
    """ADD of the same attachment with other ports, as after a crash of the runtime: the old ones are closed."""
    neighbour(node)
    before = rules(node)
    chain = publish(node, port(8080), port(8081), backend=backend)
    assert serves(chain, 8080)
    chain.capabilities["portMappings"] = [port(8081), port(8082)]
    assert chain.portmap("ADD").ok
    assert serves(chain, 8081) and serves(chain, 8082)
    assert not serves(chain, 8080)
    assert chain.portmap("CHECK").ok
    other = publish(node, port(8080), backend=backend)
    assert serves(other, 8080)
    chain.remove()
    other.remove()
    assert rules(node) == before


@both_backends
def test_add_again_is_add_once(node: Node, backend: str) -> None:
    """The same ADD twice leaves what one leaves."""
    chain = publish(node, port(8080), port(8081, 81, "udp"), port(8082, ip=HERE), backend=backend)
    once = node.snapshot()
    assert chain.portmap("ADD").ok
    assert node.snapshot() == once
    assert serves(chain, 8080)


# DEL


DELS: dict[str, Object] = {
    "as ADD was": {},
    "without runtimeConfig": {"runtimeConfig": None},
    "with other ports": {"runtimeConfig": {"portMappings": [port(1234)]}},
    "without prevResult": {"prev_result": False},
    "with nothing": {"runtimeConfig": None, "prev_result": False, "netns": ""},
    "when the namespace is gone": {"netns": GONE},
    "with a bad port": {"runtimeConfig": {"portMappings": [port(0)]}},
    "with a foreign option": {"conditionsV4": ["-s", "192.0.2.0/24"], "conditionsV6": ["ip6 saddr ::1"]},
    "with a bad prevResult": {"prevResult": {"cniVersion": "0.2.0", "ip4": 5}},
    "with an unknown backend": {"backend": "ipchains"},
    "with snat off": {"snat": False},
}


def _mended(case: str) -> Any:
    mended = ("without runtimeConfig", "with nothing", "with a bad port", "with a bad prevResult")
    kept = case not in mended
    reason = "DEL needs what ADD had, and validates it"
    return pytest.param(case, id=case, marks=() if kept else pytest.mark.beyond_old_go(reason))


@pytest.mark.parametrize("case", [_mended(case) for case in DELS])
@both_backends
def test_del_removes_all(shared: Shared, backend: str, case: str) -> None:
    """However little it is told, and twice; another pod's port is not touched."""
    other, chain = shared(backend)
    node = chain.node
    other.capabilities["portMappings"] = [port(8070), port(8071, ip=HERE)]
    chain.capabilities["portMappings"] = [port(8080), port(8081, 81, "udp"), port(8082, ip=HERE), port(8083, ip=HERE6)]
    assert other.portmap("ADD").ok
    before = rules(node)
    assert chain.portmap("ADD").ok
    assert serves(chain, 8080)
    for _ in range(2):
        outcome = chain.portmap("DEL", **DELS[case])
        assert outcome.ok, outcome.stdout
    assert not serves(chain, 8080)
    assert rules(node) == before
    assert serves(other, 8070) and serves(other, 8071)


@pytest.mark.beyond_old_go("looks into the backend that the configuration has today")
@pytest.mark.parametrize(("made", "removed"), [("nftables", "iptables"), ("iptables", "nftables"), ("iptables", None)])
def test_del_removes_what_the_other_backend_made(node: Node, made: str, removed: str | None) -> None:
    """The configuration was edited between ADD and DEL."""
    neighbour(node)
    before = rules(node)
    chain = publish(node, port(8080), backend=made)
    assert chain.portmap("DEL", backend=removed, runtimeConfig=None).ok
    chain.call(0, "DEL")
    assert rules(node) == before


def test_del_of_what_never_was(node: Node) -> None:
    """A pod that was never added, on a node that never had a mapping: no error, nothing made."""
    before = node.snapshot()
    for backend in BACKENDS:
        chain = wanted(node, port(8080), backend=backend)
        assert chain.portmap("DEL").ok
    assert node.nft() == before["nft"]


@pytest.mark.beyond_old_go("leaves shared chains and their jumps for ever")
@both_backends
def test_the_last_del_leaves_nothing(node: Node, backend: str) -> None:
    """Neither table nor chain nor jump."""
    neighbour(node)
    before = node.snapshot()
    chains = [
        publish(node, port(8080 + n), port(8080 + n, 80, "udp"), port(8090 + n, ip=HERE), backend=backend)
        for n in (0, 1)
    ]
    for chain in chains:
        chain.remove()
    after = node.snapshot()
    assert after == before


@pytest.mark.skipif(subject_is_old_go(), reason="these are about tables of our own")
@pytest.mark.parametrize(
    "keys",
    [
        {"subnets": ["10.2.0.0/25", "2001:db8:2::/80"]},
        {"conditionsV4": ["ip saddr 192.0.2.0/24"], "conditionsV6": ["ip6 saddr 2001:db8:ff::/64"]},
        {"masqAll": True},
    ],
    ids=str,
)
def test_what_only_one_needs_goes_with_it(node: Node, keys: Object) -> None:
    """Sets and rules for one length of prefix, for one's conditions, for masqAll: DEL leaves what the others need."""
    other = publish(node, port(8070), port(8071, ip=HERE))
    more: Object = {"name": "net2", "link": "br2", "subnets": ["10.2.0.0/24"], **keys}
    neighbour(node, **{name: more[name] for name in ("name", "link", "subnets")})
    before = node.snapshot()
    chain = publish(node, port(8080), port(8081, ip=GATEWAY), **more)
    assert serves(chain, 8080)
    twin = publish(node, port(8082), **more)
    chain.remove()
    assert serves(twin, 8082)
    twin.remove()
    after = node.snapshot()
    assert after == before
    assert serves(other, 8070) and serves(other, 8071)


# several networks and interfaces of one container


@pytest.mark.beyond_old_go("the interface is not in any name")
@both_backends
def test_two_interfaces_of_one_network_do_not_touch_each_other(node: Node, backend: str) -> None:
    """eth0 and eth1 of one container on one network, each with a port; either DEL leaves the other's."""
    for first_gone in (0, 1):
        pod = node.pod()
        pod.sysctl("ipv4/conf/all/arp_ignore", "1")  # each interface speaks for its own address
        pod.sysctl("ipv4/conf/all/arp_announce", "2")
        chains = [publish(node, port(8080 + n), pod=pod, ifname=f"eth{n}", backend=backend) for n in (0, 1)]
        assert answers("tcp", pod, 80, node, GATEWAY, 8080)
        assert answers("tcp", pod, 80, node, GATEWAY, 8081)
        chains[first_gone].remove()
        kept = 1 - first_gone
        pod.ip("route replace default via 10.1.0.1")
        assert answers("tcp", pod, 80, node.outside, node.ADDRESS, 8080 + kept)
        assert chains[kept].portmap("CHECK").ok
        chains[kept].remove()


@pytest.mark.beyond_old_go("its first DEL removes both")
@pytest.mark.parametrize("netns", ["", GONE])
@both_backends
def test_prevresult_tells_interfaces_apart_where_no_namespace_does(node: Node, backend: str, netns: str) -> None:
    """DEL of eth0 without a namespace leaves the ports of eth1, in Go's chains too; the last DEL leaves nothing."""
    neighbour(node)
    before = rules(node)
    pod = node.pod()
    one, two = (publish(node, port(8080 + n), pod=pod, ifname=f"eth{n}", backend=backend) for n in (0, 1))
    assert one.portmap("DEL", netns=netns).ok
    assert two.portmap("CHECK").ok, two.portmap("CHECK").stdout
    assert not any("8080" in line for line in node.iptables())
    assert two.portmap("DEL", netns=netns).ok
    assert rules(node) == before


@both_backends
def test_two_networks_of_one_container_do_not_touch_each_other(node: Node, backend: str) -> None:
    """One container, two networks; DEL of the second leaves the first's port, and the other way round."""
    for first_gone in (0, 1):
        pod = node.pod()
        one = publish(node, port(8080), pod=pod, backend=backend)
        two = publish(
            node,
            port(8081),
            pod=pod,
            ifname="eth1",
            name="net2",
            link="br2",
            subnets=["10.2.0.0/24"],
            backend=backend,
            below={"isDefaultGateway": False, "isGateway": True},
        )
        gone, kept = ((one, two), (two, one))[first_gone]
        assert answers("tcp", pod, 80, node, "127.0.0.1", 8080) and answers("tcp", pod, 80, node, "127.0.0.1", 8081)
        gone.remove()
        kept_port = kept.capabilities["portMappings"][0]["hostPort"]
        assert answers("tcp", pod, 80, node, "127.0.0.1", kept_port)
        kept.remove()


@pytest.mark.beyond_old_go("net and id are joined without a separator")
@both_backends
def test_names_that_join_alike_are_two(node: Node, backend: str) -> None:
    """Network `net` with container `1x`, and network `net1` with container `x`."""
    one = publish(node, port(8080), pod=node.pod("1x"), name="net", backend=backend)
    two = publish(
        node, port(8081), pod=node.pod("x"), name="net1", link="br2", subnets=["10.2.0.0/24"], backend=backend
    )
    assert serves(one, 8080) and serves(two, 8081)
    one.remove()
    assert serves(two, 8081)


@pytest.mark.parametrize("length", [64, 128, 200])
@both_backends
def test_long_ids(node: Node, backend: str, length: int) -> None:
    """Ids longer than a comment of nftables; two that begin alike are two."""
    neighbour(node)
    before = rules(node)
    one, two = (publish(node, port(8080 + n), pod=node.pod("c" * length + str(n)), backend=backend) for n in (0, 1))
    assert serves(one, 8080) and serves(two, 8081)
    one.remove(prev_result=False)
    assert not serves(one, 8080) and serves(two, 8081)
    two.remove()
    assert rules(node) == before


@pytest.mark.parametrize("length", [232, 233, 234, 300])
@pytest.mark.parametrize("maker", ["Go", "us"])
def test_ids_longer_than_a_comment_of_iptables(node: Node, maker: str, length: int) -> None:
    """The kernel keeps 255 bytes: CHECK finds the rules, DEL and GC remove them, also those of Go's portmap."""
    if maker == "Go" and not Path(GO, "portmap").is_file():
        pytest.skip("containernetworking-plugins is not installed")
    binaries = {"bridge": DIST, "portmap": GO if maker == "Go" else DIST}
    keys: Object = {"name": "net", "version": "1.1.0" if maker == "us" else "1.0.0", "backend": "iptables"}
    other = publish(node, port(8080), pod=node.pod("c" * length + "0"), binaries=binaries, **keys)
    before = node.snapshot()["iptables"]
    for collected in (False, True):
        chain = publish(node, port(8081), pod=node.pod("c" * length + "1"), binaries=binaries, **keys)
        chain.binaries = {"bridge": DIST, "portmap": DIST}
        assert chain.portmap("CHECK", guardLocalnet=False).ok
        if collected:
            chain.conflist["cniVersion"] = "1.1.0"
            _collect(chain, (other.pod.container, "eth0"))
        else:
            assert chain.portmap("DEL").ok
        assert node.snapshot()["iptables"] == before
        chain.call(0, "DEL")
    assert serves(other, 8080)


# GC


def _collect(chain: Chain, *valid: tuple[str, str]) -> None:
    """GC of the chain's network by its portmap, with what is still valid."""
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
    outcome = chain.portmap("GC", prev_result=False, **{"cni.dev/valid-attachments": listed, "runtimeConfig": None})
    assert outcome.ok, outcome.stdout


@pytest.mark.beyond_old_go("does not know GC")
@both_backends
def test_gc_removes_exactly_the_forgotten(node: Node, backend: str) -> None:
    """The valid attachment, one of another network, and Go's rules of another network stay."""
    other = publish(
        node, port(8079), name="net2", link="br2", subnets=["10.2.0.0/24"], version="1.1.0", backend=backend
    )
    valid = publish(node, port(8080), port(8080, 80, "udp"), version="1.1.0", backend=backend)
    before = rules(node)
    dead = publish(node, port(8081), version="1.1.0", backend=backend)
    living = publish(node, port(8082), port(8083, ip=HERE6), version="1.1.0", backend=backend)
    assert serves(living, 8082)
    for chain in (dead, living):
        chain.call(0, "DEL")
    _collect(valid, (valid.pod.container, "eth0"))
    assert rules(node) == before
    assert serves(valid, 8080) and serves(other, 8079)
    assert valid.portmap("CHECK").ok
    _collect(valid)
    assert not serves(valid, 8080)
    assert serves(other, 8079)


@pytest.mark.beyond_old_go("does not know GC")
@both_backends
def test_gc_tells_interfaces_apart(node: Node, backend: str) -> None:
    """One container, two interfaces: the one that is not valid any more loses its port.

    In Go's chains, which do not tell the interface, it keeps it as long as the container has a valid one.
    """
    pod = node.pod()
    pod.sysctl("ipv4/conf/all/arp_ignore", "1")  # each interface speaks for its own address
    pod.sysctl("ipv4/conf/all/arp_announce", "2")
    chains = [
        publish(node, port(8080 + n), pod=pod, ifname=f"eth{n}", version="1.1.0", backend=backend) for n in (0, 1)
    ]
    _collect(chains[0], (pod.container, "eth0"))
    assert answers("tcp", pod, 80, node, GATEWAY, 8080)
    assert answers("tcp", pod, 80, node, GATEWAY, 8081) is (backend == "iptables")
    _collect(chains[0])
    for number in (8080, 8081):
        assert not answers("tcp", pod, 80, node, GATEWAY, number, seconds=SHORT)


@pytest.mark.beyond_old_go("does not know GC")
def test_gc_of_a_node_without_mappings(node: Node) -> None:
    """Nothing to collect: no error, nothing made."""
    before = node.snapshot()
    chain = wanted(node, version="1.1.0")
    _collect(chain)
    assert node.snapshot() == before
