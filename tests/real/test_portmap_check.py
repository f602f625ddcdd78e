"""CHECK sees what is no longer as ADD made it; STATUS what keeps ADD, or the traffic, from working."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import port
from node.plugin import subject_is_old_go
from node.ports import answers
from node.published import GATEWAY, SUBNET, publish, wanted
from node.topology import Node
from node.tracing import without_programs

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(subject_is_old_go(), reason="its CHECK fails always, and it has no STATUS"),
]

BACKENDS = ["nftables", "iptables"]
OURS = "inet pycni_hostports"
Object = dict[str, Any]
both_backends = pytest.mark.parametrize("backend", BACKENDS)

PORTS = [
    port(8080),
    port(8081, 81, "udp"),
    port(8082, 82, "sctp"),
    port(8083, 83, ip=Node.ADDRESS),
    port(8084, ip="::"),
]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"snat": False},
        {"masqAll": True},
        {"guardLocalnet": False},
        {"subnets": [SUBNET]},
        {"version": "0.4.0"},
        {"version": "1.1.0"},
    ],
    ids=str,
)
@both_backends
def test_check_passes_after_add(node: Node, backend: str, keys: Object) -> None:
    """And changes nothing; also beside another pod, and after that one's DEL."""
    chain = publish(node, *PORTS, backend=backend, **keys)
    other = publish(node, port(9000), backend=backend, **keys)
    before = node.snapshot()
    assert chain.portmap("CHECK").ok, chain.portmap("CHECK").stdout
    assert node.snapshot() == before
    other.remove()
    assert chain.portmap("CHECK").ok, chain.portmap("CHECK").stdout


def test_check_passes_with_conditions(node: Node) -> None:
    """In either language."""
    words: list[Object] = [{"conditionsV4": ["-s", "192.0.2.0/24"]}, {"conditionsV4": ["ip saddr 192.0.2.0/24"]}]
    for number, keys in enumerate(words):
        chain = publish(node, port(8080 + number), **keys)
        assert chain.portmap("CHECK").ok, chain.portmap("CHECK").stdout


def _elements(node: Node, kind: str, name: str) -> list[str]:
    """The elements of one of our sets or maps as nft takes them."""
    text = node.run("nft", "list", kind, *OURS.split(), name)
    body = text.split("elements = {", 1)[1].rsplit("}", 2)[0] if "elements" in text else ""
    return [part.strip() for part in body.split(",") if part.strip()]


def _nft(node: Node, *commands: str) -> None:
    node.run("nft", "-f", "-", stdin="\n".join(commands) + "\n")


def _redirect(node: Node) -> None:
    """Somebody gives port 8080 to another address, under the same name."""
    (old,) = [each for each in _elements(node, "map", "hostports4") if each.startswith("tcp . 8080")]
    key = old.split(" comment ")[0].split(" : ")[0]
    _nft(
        node,
        f"delete element {OURS} hostports4 {{ {key} }}",
        f"add element {OURS} hostports4 {{ {old.rsplit(' : ', 1)[0]} : 10.1.0.99 . 80 }}",
    )


def _take(node: Node) -> None:
    """Somebody else has port 8080 now, in his own name."""
    (old,) = [each for each in _elements(node, "map", "hostports4") if each.startswith("tcp . 8080")]
    key, value = old.split(" comment ")[0].split(" : ")[0], old.rsplit(" : ", 1)[1]
    _nft(
        node,
        f"delete element {OURS} hostports4 {{ {key} }}",
        f'add element {OURS} hostports4 {{ {key} comment "net1/another/eth0" : {value} }}',
    )


def _without(kind: str, name: str) -> Callable[[Node], None]:
    return lambda node: _nft(node, f"flush {kind} {OURS} {name}")


def _rule_gone(chain: str) -> Callable[[Node], None]:
    def remove(node: Node) -> None:
        lines = node.run("nft", "-a", "list", "chain", *OURS.split(), chain).splitlines()
        handle = next(line.rsplit("handle ", 1)[1] for line in lines if "handle" in line and "{" not in line)
        _nft(node, f"delete rule {OURS} {chain} handle {handle}")

    return remove


def _source_sets(node: Node) -> list[str]:
    return [item["set"]["name"] for item in node.nft() if "set" in item and item["set"]["name"].startswith("from4")]


NFTABLES: dict[str, Callable[[Node], None]] = {
    "the ruleset was flushed": lambda node: _nft(node, "flush ruleset"),
    "the table is gone": lambda node: _nft(node, f"delete table {OURS}"),
    "the table was emptied": lambda node: _nft(node, f"flush table {OURS}"),
    "the ports were emptied": _without("map", "hostports4"),
    "the ports of IPv6 were emptied": _without("map", "hostports6"),
    "the ports of one address were emptied": _without("map", "hostips4"),
    "one port is gone": lambda node: _nft(node, f"delete element {OURS} hostports4 {{ tcp . 8080 }}"),
    "one UDP port is gone": lambda node: _nft(node, f"delete element {OURS} hostports4 {{ udp . 8081 }}"),
    "a port leads elsewhere": _redirect,
    "a port is another's": _take,
    "the rules of the ports are gone": _without("chain", "hostports4"),
    "one rule of the ports is gone": _rule_gone("hostports4"),
    "prerouting is empty": _without("chain", "prerouting"),
    "output is empty": _without("chain", "output"),
    "postrouting is empty": _without("chain", "postrouting"),
    "one rule of postrouting is gone": _rule_gone("postrouting"),
    "the sources are not known": lambda node: _nft(node, *(f"flush set {OURS} {name}" for name in _source_sets(node))),
    "localnet is off": lambda node: node.sysctl("ipv4/conf/br0/route_localnet", "0") and None,
}


@pytest.fixture(scope="module")
def to_damage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """A pod with its ports by one backend, for all damages: the ADD that mends one makes it whole for the next."""
    node = Node(tmp_path_factory.mktemp("leases"))
    try:
        yield publish(node, *PORTS, backend=request.param)
    finally:
        node.close()


def _noticed_and_mended(chain: Chain, damage: Callable[[Node], None]) -> None:
    """CHECK fails with some words after it, and is content after another ADD, as is who asks for the port."""
    node = chain.node
    assert chain.portmap("ADD").ok
    assert chain.portmap("CHECK").ok, chain.portmap("CHECK").stdout
    damage(node)
    assert chain.portmap("CHECK").error["msg"]
    assert chain.portmap("ADD").ok
    assert chain.portmap("CHECK").ok, chain.portmap("CHECK").stdout
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)
    assert answers("tcp", chain.pod, 80, node, "127.0.0.1", 8080)


@pytest.mark.parametrize("to_damage", ["nftables"], indirect=True)
@pytest.mark.parametrize("damage", NFTABLES.values(), ids=NFTABLES)
def test_check_fails_after_damage(to_damage: Chain, damage: Callable[[Node], None]) -> None:
    """CHECK says what is missing, and a second ADD mends it."""
    _noticed_and_mended(to_damage, damage)


def _iptables(*commands: str) -> Callable[[Node], None]:
    def change(node: Node) -> None:
        for command in commands:
            node.run("iptables", "-t", "nat", *command.split())

    return change


def _chain(node: Node) -> str:
    return next(line.split()[1][1:] for line in node.iptables() if line.startswith("iptables :CNI-DN-"))


def _first_entry(node: Node) -> None:
    node.run("iptables", "-t", "nat", "-D", "CNI-HOSTPORT-DNAT", "1")


IPTABLES: dict[str, Callable[[Node], None]] = {
    "everything was flushed": _iptables("-F"),
    "the pod's chain was flushed": lambda node: _iptables(f"-F {_chain(node)}")(node),
    "one rule of it is gone": lambda node: _iptables(f"-D {_chain(node)} 3")(node),
    "the last rule of it is gone": lambda node: node.run("ip6tables", "-t", "nat", "-F", _chain(node)) and None,
    "an entry rule is gone": _first_entry,
    "the jump from prerouting is gone": _iptables("-F PREROUTING"),
    "the jump from output is gone": _iptables("-F OUTPUT"),
    "the jump from postrouting is gone": _iptables("-F POSTROUTING"),
    "nothing is marked": _iptables("-F CNI-HOSTPORT-SETMARK"),
    "nothing marked is masqueraded": _iptables("-F CNI-HOSTPORT-MASQ"),
    "a port leads elsewhere": lambda node: _iptables(
        f"-I {_chain(node)} 1 -p tcp --dport 8080 -j DNAT --to-destination 10.1.0.99:80"
    )(node),
}


@pytest.mark.parametrize("to_damage", ["iptables"], indirect=True)
@pytest.mark.parametrize("damage", IPTABLES.values(), ids=IPTABLES)
def test_check_fails_after_damage_by_iptables(to_damage: Chain, damage: Callable[[Node], None]) -> None:
    """The same for the iptables backend; the shared chains too, which Go does not look at."""
    _noticed_and_mended(to_damage, damage)


def test_check_asks_for_the_rules_of_its_own_families(node: Node) -> None:
    """What another family's ports are reached by is no matter of a pod without any, though ADD makes it for all."""
    chain = publish(node, port(8080, ip="0.0.0.0"))
    _nft(node, f"flush chain {OURS} hostports6")
    assert chain.portmap("CHECK").ok, chain.portmap("CHECK").stdout
    _rule_gone("hostports4")(node)
    assert "hostips4" in chain.portmap("CHECK").error["msg"]
    assert chain.portmap("ADD").ok and chain.portmap("CHECK").ok


@both_backends
def test_check_fails_when_the_configuration_asks_for_more(node: Node, backend: str) -> None:
    """A mapping that ADD did not make, another container port, another host address."""
    chain = publish(node, port(8080), backend=backend)
    for ports in ([port(8080), port(8081)], [port(8080, 81)], [port(8080, ip=GATEWAY)], [port(8080, 80, "udp")]):
        assert not chain.portmap("CHECK", runtimeConfig={"portMappings": ports}).ok, ports
    assert chain.portmap("CHECK").ok


@both_backends
def test_check_tells_whose_a_port_is(node: Node, backend: str) -> None:
    """The pod lost its port to another: its own CHECK fails, the other's passes."""
    chain = publish(node, port(8080), backend=backend)
    assert chain.portmap("DEL").ok
    other = publish(node, port(8080), backend=backend)
    assert not chain.portmap("CHECK").ok
    assert other.portmap("CHECK").ok


# STATUS


def _status(node: Node, **keys: Any) -> Any:
    return wanted(node, version="1.1.0", **keys).portmap("STATUS", prev_result=False)


@both_backends
def test_status_of_a_good_node(node: Node, backend: str) -> None:
    """Before the first pod, and beside one; nothing is made."""
    before = node.snapshot()
    assert _status(node, backend=backend).ok, _status(node, backend=backend).stdout
    assert node.snapshot() == before
    publish(node, port(8080), backend=backend)
    assert _status(node, backend=backend).ok


POLICIES: dict[str, tuple[str, ...]] = {
    "iptables": ("iptables", "-P", "FORWARD", "DROP"),
    "nftables": (
        "nft", "add table inet strict; add chain inet strict forward { type filter hook forward priority 0; policy drop; }",
    ),
}  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
@both_backends
def test_status_tells_of_a_forward_policy_of_drop(node: Node, backend: str, policy: tuple[str, ...]) -> None:
    """What no rule of ours can overrule: the chain is named."""
    chain = publish(node, port(8080), backend=backend)
    node.run(*policy)
    assert not answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080, seconds=0.4)
    outcome = _status(node, backend=backend)
    assert outcome.code in (50, 51), outcome.stdout
    said = f"{outcome.error['msg']} {outcome.error.get('details', '')}".lower()
    assert "forward" in said and "drop" in said


def test_status_refuses_what_add_refuses(node: Node) -> None:
    """A bad configuration, with the words of ADD."""
    for keys in ({"backend": "ipchains"}, {"markMasqBit": 32}, {"backend": "nftables", "conditionsV4": ["-s", "x"]}):
        assert not _status(node, **keys).ok, keys


def test_status_misses_the_programs_of_iptables(node: Node, tmp_path: Path) -> None:
    """Where the configuration asks for iptables and there is none; nftables needs none."""
    for backend, well in (("iptables", False), ("nftables", True)):
        chain = wanted(node, version="1.1.0", backend=backend)
        without = without_programs(tmp_path / backend, f"{chain.portmap_folder}/portmap")
        outcome = chain.portmap("STATUS", prev_result=False, binaries=without)
        assert outcome.ok == well, outcome.stdout
        if not well:
            assert "iptables" in outcome.error["msg"] + outcome.error.get("details", "")
