"""On a node whose kernel has no nf_tables, but iptables-legacy: what the configuration leaves open takes that."""

import shutil
from pathlib import Path

import pytest

from node.absence import without_nf_tables
from node.configuration import port
from node.plugin import DIST, SUBJECT
from node.ports import answers
from node.published import publish, wanted
from node.topology import Node
from node.traffic import tcp_source

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(SUBJECT != DIST, reason="the stand-ins are for ours"),
    pytest.mark.skipif(not shutil.which("iptables-legacy"), reason="needs iptables-legacy"),
]


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The folder of plugins that find no nf_tables."""
    return without_nf_tables(tmp_path / "old")


def _legacy(node: Node) -> list[str]:
    """What there is of plugins in iptables-legacy, of both families."""
    found = []
    for program in ("iptables-legacy-save", "ip6tables-legacy-save"):
        lines = node.run(program).splitlines()
        found += [line for line in lines if line.startswith(("-A", ":CNI"))]
    return found


def test_nothing_said_is_iptables(node: Node, old: str) -> None:
    """ADD, CHECK, packets, GC and DEL, of bridge and portmap; then nothing is left, and nftables was not touched."""
    chains = [publish(node, port(8080 + n), binaries=old, below={"ipMasq": True}, version="1.1.0") for n in (0, 1)]
    assert all(outcome.ok for chain in chains for outcome in chain.check())
    for target in ("192.0.2.1", "127.0.0.1"):
        assert answers("tcp", chains[0].pod, 80, node, target, 8080)
    assert answers("tcp", chains[0].pod, 80, node.outside, node.ADDRESS, 8080)
    assert tcp_source(node.outside, chains[1].pod, node.OUTSIDE) == node.ADDRESS
    assert node.nft() == []
    valid = [{"containerID": chains[1].pod.container, "ifname": "eth0"}]
    assert chains[0].portmap("GC", **{"cni.dev/valid-attachments": valid}).ok
    assert not chains[0].check()[1].ok
    assert all(outcome.ok for outcome in chains[1].check())
    for chain in chains:
        chain.remove()
    assert _legacy(node) == []
    assert node.sysctl("ipv4/conf/br0/route_localnet") == "0"


def test_neighbours_are_kept_from_localhost(node: Node, old: str) -> None:
    """By a rule of iptables, which goes with the last pod, also when the bridge was renamed; CHECK misses it."""
    chain = publish(node, port(8080), binaries=old)
    (rule,) = [line for line in _legacy(node) if "pycni_localnet" in line]
    assert "-i br0" in rule and "-d 127.0.0.0/8" in rule and rule.endswith("-j DROP")
    node.run("iptables-legacy", "-w", "-t", "raw", "-F")
    assert "127.0.0.0/8" in chain.portmap("CHECK").error["msg"]
    second = publish(node, port(8081), binaries=old)
    assert chain.portmap("CHECK").ok
    node.ip("link set br0 down", "link set br0 name br9", "link set br9 up")
    for each in (chain, second):
        assert each.portmap("DEL").ok
    assert node.sysctl("ipv4/conf/br9/route_localnet") == "0"
    assert [line for line in _legacy(node) if "pycni_localnet" in line] == []


def test_a_port_has_one_owner(node: Node, old: str) -> None:
    """As elsewhere: the first keeps it, the second is next in line, or refused where that is wanted."""
    first = publish(node, port(8080), binaries=old)
    assert wanted(node, port(8080), binaries=old, conflict="refuse").try_add().code == 101
    second = publish(node, port(8080), binaries=old)
    assert answers("tcp", first.pod, 80, node, node.ADDRESS, 8080)
    first.remove()
    assert answers("tcp", second.pod, 80, node, node.ADDRESS, 8080)


@pytest.mark.parametrize(
    ("below", "keys", "place"),
    [
        ({"ipMasq": True, "ipMasqBackend": "nftables"}, {}, 0),
        ({"macspoofchk": True}, {}, 0),
        ({}, {"backend": "nftables"}, 1),
        ({}, {"conditionsV4": ["meta mark 7"]}, 1),
    ],
    ids=["ipMasqBackend", "macspoofchk", "backend", "conditions"],
)
def test_what_only_nftables_can_do_is_refused_before_anything_is_made(
    node: Node, old: str, below: dict[str, object], keys: dict[str, object], place: int
) -> None:
    """The message names the kernel's option; STATUS says it too."""
    chain = wanted(node, port(8080), binaries=old, below=below, version="1.1.0", **keys)
    before = node.snapshot()
    error = chain.try_add().error
    assert "CONFIG_NF_TABLES" in error["msg"]
    if place == 0:
        assert node.snapshot() == before
    status = chain.call(place, "STATUS").error
    assert (status["code"], status["msg"]) == (50, error["msg"])


def test_status_says_what_add_would_do(node: Node, old: str) -> None:
    """With iptables there all is well."""
    chain = wanted(node, port(8080), binaries=old, below={"ipMasq": True}, version="1.1.0")
    assert all(chain.call(place, "STATUS").ok for place in (0, 1))
