"""Side by side with Debian's Go plugins: the same answers, and each clears away what the other left.

With the Go plugins themselves as the subject these tests show that they ask for nothing that Go does not do.
"""

import copy
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local, loopback
from node.plugin import GO, SUBJECT, Outcome
from node.topology import Attachment, Node
from node.traffic import tcp_source, udp_source

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(GO, "bridge").is_file(), reason="containernetworking-plugins is not installed"),
]

SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"
VERSIONS = [None, "0.2.0", "0.3.1", "0.4.0", "1.0.0"]
Object = dict[str, Any]


def normalised(result: Object, pod: str) -> Object:
    """A result with everything that is drawn by lot, or is a namespace's path, replaced by what it stands for."""
    plain = copy.deepcopy(result)
    for interface in plain.get("interfaces", []):
        interface["name"] = re.sub(r"^veth.{4,11}$", "HOST VETH", interface["name"])
        if interface["name"] != "lo":
            assert re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){5}", interface["mac"])
            interface["mac"] = "MAC"
        if "sandbox" in interface:
            assert interface["sandbox"] == pod
            interface["sandbox"] = "POD"
    # 1.x says nothing when there is nothing to say; Go's 1.1 line says {} there as well.
    if plain["cniVersion"].startswith("1.") and plain.get("dns") == {}:
        del plain["dns"]
    return plain


def both(new_node: Callable[[], Node], configure: Callable[[Node], Object]) -> tuple[Object, Object]:
    """The normalised results of Go and of the subject, each on a fresh node of its own."""
    results = []
    for binaries in (GO, SUBJECT):
        node = new_node()
        made = node.attach(configure(node), binaries=binaries)
        results.append(normalised(made.result, made.pod.path))
    return results[0], results[1]


BRIDGES: dict[str, Callable[[Node], Object]] = {
    "plain": lambda node: bridge(host_local(node.data_dir, SUBNET)),
    "gateway": lambda node: bridge(host_local(node.data_dir, SUBNET), isGateway=True),
    "dual stack": lambda node: bridge(host_local(node.data_dir, SUBNET, SUBNET6), isDefaultGateway=True),
    "routes and dns": lambda node: bridge(
        host_local(
            node.data_dir, SUBNET, routes=[{"dst": "198.51.100.0/24"}, {"dst": "203.0.113.0/24", "gw": "10.1.0.9"}]
        ),
        isDefaultGateway=True,
        dns={"nameservers": ["10.1.0.53"], "domain": "example.org", "search": ["example.org"], "options": ["ndots:2"]},
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("configure", BRIDGES.values(), ids=BRIDGES)
def test_bridge_answers_as_go_does(
    new_node: Callable[[], Node], configure: Callable[[Node], Object], version: str | None
) -> None:
    """Key for key the same result in every version that both speak."""

    def in_version(node: Node) -> Object:
        conf = {**configure(node), "cniVersion": version}
        return conf if version else {key: value for key, value in conf.items() if key != "cniVersion"}

    go, subject = both(new_node, in_version)
    assert go.get("ips") or go.get("ip4")
    assert subject == go


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_layer_2_answers_as_go_does(new_node: Callable[[], Node], version: str) -> None:
    """The same three interfaces and nothing else."""
    go, subject = both(new_node, lambda _: bridge(version=version))
    assert [interface["name"] for interface in go["interfaces"]] == ["br0", "HOST VETH", "eth0"]
    assert subject == go


@pytest.mark.parametrize("version", VERSIONS)
def test_host_local_answers_as_go_does(new_node: Callable[[], Node], version: str | None) -> None:
    """IPAM's result, which another maker's main plugin reads."""
    answers = []
    for binaries in (GO, SUBJECT):
        node = new_node()
        ipam = host_local(node.data_dir, SUBNET, SUBNET6, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
        conf = bridge(ipam, version=version)
        outcome = node.cni("host-local", "ADD", conf, container="c", netns="/dummy", binaries=binaries)
        answers.append(normalised(outcome.result, "/dummy"))
    assert answers[1] == answers[0]


@pytest.mark.parametrize("version", [None, "1.0.0"])
def test_loopback_answers_as_go_does(new_node: Callable[[], Node], version: str | None) -> None:
    """`lo` with its addresses."""
    go, subject = both(new_node, lambda _: loopback(version))
    assert subject == go


@pytest.mark.beyond_old_go("prints the newest shape under the old version's number")
@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "0.4.0"])
def test_loopback_answers_in_the_shape_of_its_version(node: Node, version: str) -> None:
    """Where Go prints 1.x's shape whatever the version, ours is what the specification has."""
    made = node.attach(loopback(version))
    shape: Object = {"cniVersion": version, "dns": {}}
    if version == "0.2.0":
        shape |= {"ip4": {"ip": "127.0.0.1/8"}, "ip6": {"ip": "::1/128"}}
    else:
        shape["interfaces"] = [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": made.pod.path}]
        shape["ips"] = [
            {"version": "4", "interface": 0, "address": "127.0.0.1/8"},
            {"version": "6", "interface": 0, "address": "::1/128"},
        ]
    assert made.result == shape


@pytest.mark.parametrize("binaries", [GO, SUBJECT], ids=["go", "subject"])
def test_loopback_brings_lo_up_and_down(node: Node, binaries: str) -> None:
    """`lo` answers after ADD, CHECK sees whether it is up, DEL takes it down, twice."""
    pod = node.pod()
    made = Attachment(node, loopback(), pod)
    assert made.add(binaries=binaries).ok
    assert "UP" in pod.link("lo")["flags"]
    assert tcp_source(pod, pod, "127.0.0.1") == "127.0.0.1"
    assert made.check(binaries=binaries).ok
    pod.ip("link set lo down")
    assert not made.check(binaries=binaries).ok
    pod.ip("link set lo up")
    for _ in range(2):
        assert made.delete(binaries=binaries).ok
        assert "UP" not in pod.link("lo")["flags"]


MADE_BY_GO: list[Any] = [
    pytest.param({"isDefaultGateway": True}, id="plain"),
    pytest.param({"isDefaultGateway": True, "ipMasq": True}, id="masquerade"),
    pytest.param({"isDefaultGateway": True, "ipMasq": True, "macspoofchk": True}, id="masquerade and spoof check"),
]


@pytest.fixture
def settled(node: Node) -> Object:
    """A snapshot of the node after a first pod of Go's came and went: bridge, address and empty tables are there."""
    ipam = host_local(node.data_dir, SUBNET, SUBNET6)
    first = node.attach(bridge(ipam, isDefaultGateway=True, ipMasq=True, macspoofchk=True), binaries=GO)
    assert first.delete(binaries=GO).ok
    return node.snapshot()


@pytest.mark.parametrize("keys", MADE_BY_GO)
@pytest.mark.parametrize("prev_result", [True, False], ids=["with-result", "without-result"])
def test_the_subject_removes_what_go_made(node: Node, settled: Object, keys: Object, prev_result: bool) -> None:
    """Lease, veth, masquerade chain and its jump, spoof rules: all gone; Go's other pod keeps all of its own."""
    conf = bridge(host_local(node.data_dir, SUBNET, SUBNET6), **keys)
    goes = node.attach(conf, binaries=GO)
    if keys.get("ipMasq"):
        assert any("POSTROUTING -s 10.1.0.3/32" in line for line in node.iptables())
    stays = node.attach(conf, binaries=GO)
    before = node.snapshot()
    assert goes.delete(prev_result=prev_result).ok
    assert set(goes.pod.links()) == {"lo"}
    assert stays.check(binaries=GO).ok
    expected = node.ADDRESS if keys.get("ipMasq") else stays.address
    assert udp_source(node.outside, stays.pod, node.OUTSIDE) == expected
    assert node.snapshot() != before
    assert stays.delete(prev_result=prev_result).ok
    assert node.snapshot() == settled


@pytest.mark.beyond_old_go("masquerade and spoof rules stay")
@pytest.mark.parametrize("keys", MADE_BY_GO[1:])
def test_the_subject_removes_what_go_made_when_the_namespace_is_gone(node: Node, settled: Object, keys: Object) -> None:
    """Go's own DEL leaks here; ours finds the chain by its name."""
    made = node.attach(bridge(host_local(node.data_dir, SUBNET, SUBNET6), **keys), binaries=GO)
    made.pod.ip("link del eth0")
    made.pod.close()
    assert made.delete().ok
    assert node.snapshot() == settled


def test_go_checks_and_removes_what_the_subject_made(node: Node, settled: Object) -> None:
    """The way back: Go's CHECK accepts a pod of ours and its DEL removes it, masqueraded by iptables."""
    conf = bridge(
        host_local(node.data_dir, SUBNET, SUBNET6), isDefaultGateway=True, ipMasq=True, ipMasqBackend="iptables"
    )
    made = node.attach(conf)
    assert made.check(binaries=GO).exit == 0
    assert made.delete(binaries=GO).ok
    assert node.snapshot() == settled


def test_pods_of_either_maker_share_a_bridge(node: Node) -> None:
    """One bridge, one store: a pod of Go's and one of ours have different addresses and reach each other."""
    conf = bridge(host_local(node.data_dir, SUBNET), isDefaultGateway=True, ipMasq=True)
    go, ours, again = node.attach(conf, binaries=GO), node.attach(conf), node.attach(conf, binaries=GO)
    assert [go.address, ours.address, again.address] == ["10.1.0.2", "10.1.0.3", "10.1.0.4"]
    for one, other in ((go, ours), (ours, again)):
        assert tcp_source(other.pod, one.pod, other.address) == one.address
        assert tcp_source(one.pod, other.pod, one.address) == other.address
    for pod in (go, ours, again):
        assert udp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS


@pytest.mark.parametrize(("first", "second"), [(GO, SUBJECT), (SUBJECT, GO)], ids=["go-subject", "subject-go"])
def test_host_local_reads_and_releases_the_others_leases(node: Node, first: str, second: str) -> None:
    """CHECK of one finds the other's lease, ADD respects it, DEL frees it; the file is Go's byte for byte."""
    conf = bridge(host_local(node.data_dir, SUBNET, SUBNET6))

    def call(verb: str, binaries: str, container: str = "c1") -> Outcome:
        return node.cni("host-local", verb, conf, container=container, netns="/dummy", binaries=binaries)

    assert call("ADD", first).ok
    store = node.data_dir / "net1"
    for address in ("10.1.0.2", "2001:db8:1::2"):
        assert (store / address).read_bytes() == b"c1\r\neth0"
    assert (store / "last_reserved_ip.0").read_bytes() == b"10.1.0.2"
    assert (store / "last_reserved_ip.1").read_bytes() == b"2001:db8:1::2"
    assert call("CHECK", second).ok
    assert [ip["address"] for ip in call("ADD", second, "c2").result["ips"]] == ["10.1.0.3/24", "2001:db8:1::3/64"]
    assert not call("ADD", second).ok, "the same attachment got a second address"
    assert call("DEL", second).ok
    assert set(node.leases()) == {"10.1.0.3", "2001:db8:1::3"}
    assert not call("CHECK", first).ok
    assert call("DEL", first, "c2").ok
    assert node.leases() == {}


@pytest.mark.beyond_old_go("0644")
def test_lease_files_are_readable_by_their_owner_alone(node: Node) -> None:
    """Newer Go's mode, 0600."""
    made = node.attach(bridge(host_local(node.data_dir, SUBNET)))
    assert (node.data_dir / "net1" / made.address).stat().st_mode & 0o777 == 0o600


def test_leases_of_the_oldest_format_are_released(node: Node) -> None:
    """A file with the bare container id, as Go before 0.7 wrote it."""
    store = node.data_dir / "net1"
    store.mkdir()
    (store / "10.1.0.5").write_text("c1")
    (store / "10.1.0.6").write_text("c10")
    conf = bridge(host_local(node.data_dir, SUBNET))
    assert node.cni("host-local", "DEL", conf, container="c1", netns="/dummy").ok
    assert set(node.leases()) == {"10.1.0.6"}


def test_both_allocate_at_once_and_no_address_twice(node: Node) -> None:
    """60 ADDs into a range of 60, half of them by each, four at a time; then each releases what the other took."""
    conf = bridge(host_local(node.data_dir, SUBNET))
    conf["ipam"]["ranges"] = [[{"subnet": SUBNET, "rangeStart": "10.1.0.2", "rangeEnd": "10.1.0.61"}]]

    def call(verb: str, number: int, binaries: str) -> Outcome:
        return node.cni("host-local", verb, conf, container=f"c{number}", netns="/dummy", binaries=binaries)

    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda number: call("ADD", number, (GO, SUBJECT)[number % 2]), range(60)))
        addresses = [outcome.result["ips"][0]["address"] for outcome in added]
        assert sorted(addresses) == sorted(f"10.1.0.{last}/24" for last in range(2, 62))
        assert {address: lease[0] for address, lease in node.leases().items()} == {
            address.split("/")[0]: f"c{number}" for number, address in enumerate(addresses)
        }
        deleted = list(pool.map(lambda number: call("DEL", number, (SUBJECT, GO)[number % 2]), range(60)))
    assert all(outcome.ok for outcome in deleted)
    assert node.leases() == {}


def mixed(folder: Path, **makers: str) -> str:
    """A folder with plugins of several makers, each by a link."""
    folder.mkdir()
    for name, maker in makers.items():
        name = name.replace("_", "-")
        (folder / name).symlink_to(f"{maker}/{name}")
    return str(folder)


@pytest.mark.parametrize(("main", "ipam"), [(GO, SUBJECT), (SUBJECT, GO)], ids=["go-subject", "subject-go"])
def test_either_makers_ipam_serves_the_others_bridge(node: Node, tmp_path: Path, main: str, ipam: str) -> None:
    """Found in CNI_PATH and executed as the specification says: addresses, CHECK, release."""
    binaries = mixed(tmp_path / "bin", bridge=main, host_local=ipam)
    routes = [{"dst": "203.0.113.0/24", "gw": "10.1.0.1"}]
    conf = bridge(host_local(node.data_dir, SUBNET, SUBNET6, routes=routes), isDefaultGateway=True)
    made = node.attach(conf, binaries=binaries)
    assert made.addresses == ["10.1.0.2", "2001:db8:1::2"]
    assert made.pod.addresses("eth0") == {"10.1.0.2/24", "2001:db8:1::2/64"}
    assert made.check(binaries=binaries).ok
    assert made.delete(binaries=binaries).ok
    assert node.leases() == {}


@pytest.mark.beyond_old_go("takes no DNS from IPAM, and its CHECK wants a gateway for each route")
def test_another_ipam_plugin_of_go_serves_the_subjects_bridge(node: Node, tmp_path: Path) -> None:
    """static: addresses with and without a gateway, routes, DNS; its error passes as it is."""
    binaries = mixed(tmp_path / "bin", bridge=SUBJECT, static=GO)
    addresses = [{"address": "10.1.0.7/24", "gateway": "10.1.0.254"}, {"address": "2001:db8:1::7/64"}]
    ipam = {"type": "static", "addresses": addresses, "routes": [{"dst": "203.0.113.0/24"}], "dns": {"domain": "a.b"}}
    made = node.attach(bridge(ipam, isGateway=True), binaries=binaries)
    assert made.pod.addresses("eth0") == {"10.1.0.7/24", "2001:db8:1::7/64"}
    assert node.addresses("br0") == {"10.1.0.254/24", "2001:db8:1::1/64"}
    assert [(r["dst"], r["gateway"]) for r in made.pod.routes() if "gateway" in r] == [("203.0.113.0/24", "10.1.0.254")]
    assert made.result["dns"] == {"domain": "a.b"}
    assert made.check(binaries=binaries).ok
    assert made.delete(binaries=binaries).ok
    outcome = Attachment(node, bridge({"type": "static", "addresses": [{"address": "x"}]}), node.pod()).add(
        binaries=binaries
    )
    assert "x" in outcome.error["msg"]


# What Go's bridge makes since 1.6.0 for ipMasq with nftables, for two attachments of one network.
GO_NFTABLES = """
table inet cni_plugins_masquerade {
  comment "Masquerading for plugins from github.com/containernetworking/plugins"
  chain masq_checks {
    comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"
    ip saddr 10.1.0.2 ip daddr != 10.1.0.0/24 masquerade comment "ONE"
    ip6 saddr 2001:db8:1::2 ip6 daddr != 2001:db8:1::/64 masquerade comment "ONE"
    ip saddr 10.1.0.2 ip daddr != 10.1.0.0/24 masquerade comment "TWO"
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip daddr 224.0.0.0/4 return
    ip6 daddr ff00::/8 return
    goto masq_checks
  }
}
""".replace("ONE", "6fd94d501e58f0aa-287fc69eff0574a2, net: unit-test, if: eth0, id: one").replace(
    "TWO", "6fd94d501e58f0aa-d750b2c8f0f25d5f, net: unit-test, if: eth0, id: two"
)


@pytest.mark.beyond_old_go("knows iptables only")
@pytest.mark.parametrize("gone", [False, True], ids=["namespace there", "namespace gone"])
def test_the_subject_removes_the_nftables_masquerade_of_newer_go(node: Node, gone: bool) -> None:
    """Both rules of the attachment go, also after its namespace; the other attachment's rule in the chain stays."""
    node.run("nft", "-f", "-", stdin=GO_NFTABLES)
    rules = [item["rule"] for item in node.nft() if "rule" in item]
    conf = bridge(host_local(node.data_dir, SUBNET, SUBNET6), name="unit-test", isDefaultGateway=True, ipMasq=True)
    pod = node.pod("one")
    made = node.attach({**conf, "ipMasq": False}, pod)
    if gone:
        pod.close()
    assert made.delete(ipMasq=True).ok
    left = [item["rule"] for item in node.nft() if "rule" in item]
    assert left == [rule for rule in rules if "id: one" not in rule.get("comment", "")]
    assert len(rules) - len(left) == 2
