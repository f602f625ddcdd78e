"""The masquerading table through its life: by traffic, by two roads of looking at it, under load, damaged, and Go's."""

import hashlib
import ipaddress
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cni.address import Prefix
from cni.attachment import Attachment as Name
from cni.go.names import masquerade_chain
from cni.masquerade import Masquerade
from cni.site import Site
from node.configuration import bridge, host_local
from node.plugin import GO, go_obeys, subject_is_old_go
from node.topology import Attachment, Node
from node.traffic import multicast_source, reaches, tcp_source, udp_source

pytestmark = [pytest.mark.real, pytest.mark.skipif(subject_is_old_go(), reason="these are about tables of our own")]

SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"
TABLE = "inet pycni_masquerade"
Object = dict[str, Any]


def conf(node: Node, *subnets: str, **keys: Any) -> Object:
    """A masqueraded network whose pods route everything through the bridge."""
    section = host_local(node.data_dir, *(subnets or (SUBNET,)))
    return bridge(section, **{"isDefaultGateway": True, "ipMasq": True, **keys})


def listed(node: Node, *words: str) -> str:
    """Our table as nft tells it; empty when it is not there."""
    return node.run("nft", *words, "list", "table", *TABLE.split(), check=False)


def rules(node: Node) -> list[str]:
    """The rules of our table's chain as nft tells them."""
    lines = [line.strip() for line in listed(node).splitlines()]
    return [line for line in lines if line.endswith("return") or " masquerade" in line]


def elements(node: Node) -> dict[str, list[str]]:
    """The elements of each set and map by its name, comments cut off."""
    found: dict[str, list[str]] = {}
    for item in node.nft():
        for kind in ("set", "map"):
            if kind in item and item[kind]["table"] == TABLE.split()[1]:
                found[item[kind]["name"]] = [json.dumps(element) for element in item[kind].get("elem", [])]
    return found


# the same state by two roads


def test_nft_shows_what_the_effect_describes(node: Node) -> None:
    """Each line of ``describe`` is a rule that nft lists, and its address an element under the attachment's name."""
    pod = node.attach(conf(node, SUBNET, SUBNET6))
    who = Name("net1", pod.pod.container, "eth0")
    described = Masquerade(Site(who), [Prefix.parse(ip["address"]) for ip in pod.result["ips"]]).describe().splitlines()
    assert len(described) == 2
    text = listed(node)
    for line in described:
        rule, _, owned = line.partition(": ")
        address, _, owner = owned.partition(" of ")
        assert any(found.startswith(rule) for found in rules(node)), f"{rule} is not in {text}"
        assert f'{address} comment "{owner}"' in text
        assert owner == str(who)


def test_the_table_is_as_the_module_tells(node: Node) -> None:
    """Its layout in nft's own words, for one pod of two families."""
    pod = node.attach(conf(node, SUBNET, SUBNET6))
    text = re.sub(r"\s+", " ", listed(node))
    link, owner = pod.host, f"net1/{pod.pod.container}/eth0"
    for part in (
        "type ifname . inet_service : ipv4_addr . inet_service",
        "type ifname . inet_service : ipv6_addr . inet_service",
        f'"{link}" . 0 comment "{owner}" : 10.1.0.2 . 24',
        f'"{link}" . 0 comment "{owner}" : 2001:db8:1::2 . 64',
        "set pods_10.1.0.0/24 { type ipv4_addr",
        "type nat hook postrouting priority 1000; policy accept;",
        "ip daddr 224.0.0.0/4 return ip6 daddr ff00::/8 return",
        "ip saddr @pods_10.1.0.0/24 ip daddr != 10.1.0.0/24 masquerade",
        "ip6 daddr != 2001:db8:1::/64 masquerade",
    ):
        assert part in text, part


def test_what_nft_lists_can_be_loaded_again(node: Node) -> None:
    """An administrator saves the ruleset and restores it: CHECK, traffic and DEL are as before."""
    pod = node.attach(conf(node, SUBNET, SUBNET6))
    saved = node.run("nft", "list", "ruleset")
    node.run("nft", "-f", "-", stdin="flush ruleset\n" + saved)
    assert node.run("nft", "list", "ruleset") == saved
    assert pod.check().ok, pod.check().stdout
    assert udp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS
    assert pod.delete().ok
    assert node.nft_tables() == set()


# traffic


@pytest.mark.parametrize("group", ["239.1.2.3", "ff0e::1:2:3"])
def test_multicast_keeps_the_pods_address(node: Node, group: str) -> None:
    """Bridged packets pass postrouting with br_netfilter: a member on the bridge sees the sender in both families."""
    node.sysctl("bridge/bridge-nf-call-iptables", "1")
    node.sysctl("bridge/bridge-nf-call-ip6tables", "1")
    one, two = (node.attach(conf(node, SUBNET, SUBNET6)) for _ in range(2))
    expected = one.addresses[1] if ":" in group else one.address
    assert multicast_source(two.pod, one.pod, group, "eth0") == expected
    assert udp_source(node.outside, one.pod, node.OUTSIDE) == node.ADDRESS


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_neighbours_see_the_pods_own_address_where_the_filter_sees_bridged_packets(node: Node, family: int) -> None:
    """With br_netfilter a packet from pod to pod passes postrouting: inside the subnet it stays as it is."""
    for name in ("bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"):
        node.sysctl(name, "1")
    one, two = (node.attach(conf(node, SUBNET, SUBNET6)) for _ in range(2))
    assert udp_source(two.pod, one.pod, two.addresses[family]) == one.addresses[family]
    outside, masked = ((node.OUTSIDE, node.ADDRESS), (node.OUTSIDE6, node.ADDRESS6))[family]
    assert udp_source(node.outside, one.pod, outside) == masked


def test_two_networks_see_each_other_masqueraded_and_their_own_not(node: Node) -> None:
    """The other network's subnet is outside; each bridge answers for its own."""
    one = node.attach(conf(node))
    two = node.attach(conf(node, "10.2.0.0/24", name="net2", bridge="br2"))
    assert udp_source(two.pod, one.pod, two.address) == "10.2.0.1"
    assert udp_source(one.pod, two.pod, one.address) == "10.1.0.1"
    assert udp_source(node.outside, two.pod, node.OUTSIDE) == node.ADDRESS


def test_a_subnet_of_another_networks_subnet_is_told_apart(node: Node) -> None:
    """10.1.0.0/16 and 10.1.128.0/24 at once: each address follows its own network's rule."""
    wide = node.attach(conf(node, "10.1.0.0/16"))
    narrow = node.attach(conf(node, "10.1.128.0/24", name="net2", bridge="br2"))
    for pod in (wide, narrow):
        assert udp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS
    # the node routes 10.1.128.0/24 to br2: for the wide pod that is inside its subnet, for the narrow one it is not
    assert narrow.delete().ok
    assert set(elements(node)) == {"attachments4", "attachments6", "pods_10.1.0.0/16"}
    assert udp_source(node.outside, wide.pod, node.OUTSIDE) == node.ADDRESS


def test_answers_and_new_connections_from_outside_reach_the_pod_unchanged(node: Node) -> None:
    """What comes from outside keeps its address: only what pods begin is masqueraded."""
    pod = node.attach(conf(node))
    node.outside.ip(f"route add {SUBNET} via {node.ADDRESS}")
    assert tcp_source(pod.pod, node.outside, pod.address) == node.OUTSIDE


# cost


def test_the_number_of_rules_does_not_grow_with_pods(node: Node) -> None:
    """One rule a subnet, two elements an address: for one pod and for six."""
    pods = [node.attach(conf(node, SUBNET, SUBNET6))]
    first = rules(node)
    assert len(first) == 4, first
    pods += [node.attach(conf(node, SUBNET, SUBNET6)) for _ in range(5)]
    assert rules(node) == first
    assert {name: len(found) for name, found in elements(node).items()} == {
        "attachments4": 6,
        "attachments6": 6,
        "pods_10.1.0.0/24": 6,
        "pods_2001_0db8_0001_0000_0000_0000_0000_0000/64": 6,
    }
    for pod in pods[1:]:
        assert pod.delete().ok
    assert rules(node) == first
    assert {len(found) for found in elements(node).values()} == {1}


def test_the_last_pod_of_a_subnet_takes_its_set_and_rule_along(node: Node) -> None:
    """The other subnet's stay, and so does the table; the last of all takes it away."""
    one = node.attach(conf(node))
    two = node.attach(conf(node, "10.2.0.0/24", name="net2", bridge="br2"))
    assert len(rules(node)) == 4
    assert one.delete().ok
    assert set(elements(node)) == {"attachments4", "attachments6", "pods_10.2.0.0/24"}
    assert [rule for rule in rules(node) if "10.1.0.0" in rule] == []
    assert len(rules(node)) == 3
    assert two.delete().ok
    assert node.nft_tables() == set()


# an address that comes back


def _reuse(node: Node) -> tuple[Attachment, Attachment]:
    """A pod that is gone without its DEL, and a younger one with the same address (its lease was freed by hand)."""
    network = conf(node, SUBNET, SUBNET6)
    old = node.attach(network)
    old.pod.close()
    for address in old.addresses:
        (node.data_dir / "net1" / address).unlink()
    (node.data_dir / "net1" / "last_reserved_ip.0").unlink()
    (node.data_dir / "net1" / "last_reserved_ip.1").unlink()
    young = node.attach(network)
    assert young.addresses == old.addresses
    return old, young


@pytest.mark.parametrize("prev_result", [True, False], ids=["with-result", "without-result"])
def test_a_late_del_does_not_hurt_the_next_owner_of_the_address(node: Node, prev_result: bool) -> None:
    """The younger pod took the element over: the older one's DEL leaves it, its CHECK and its masquerade alone."""
    old, young = _reuse(node)
    assert old.delete(prev_result=prev_result).ok
    assert young.check().ok, young.check().stdout
    for server, source in ((node.OUTSIDE, node.ADDRESS), (node.OUTSIDE6, node.ADDRESS6)):
        assert udp_source(node.outside, young.pod, server) == source
    text = listed(node)
    assert old.pod.container not in text
    assert young.delete().ok
    assert node.nft_tables() == set()


def test_the_younger_one_may_go_first(node: Node) -> None:
    """Then the older one's record is all that is left, and its DEL takes the table along."""
    old, young = _reuse(node)
    assert young.delete().ok
    assert old.pod.container in listed(node)
    assert old.delete().ok
    assert node.nft_tables() == set()


def test_check_of_the_older_one_says_whose_the_address_is(node: Node) -> None:
    """Both were attached; only one can have it."""
    network = conf(node)
    old, young = node.attach(network), node.pod()
    (node.data_dir / "net1" / old.address).unlink()
    (node.data_dir / "net1" / "last_reserved_ip.0").unlink()
    taken = node.attach(network, young)
    assert taken.address == old.address
    (node.data_dir / "net1" / old.address).unlink()
    (node.data_dir / "net1" / old.address).write_bytes(f"{old.pod.container}\r\neth0".encode())
    outcome = old.check()
    assert not outcome.ok
    assert f"{old.address} belongs to net1/{young.container}/eth0 now" in outcome.error["msg"]


# many at once


def test_many_attach_and_detach_at_once(node: Node) -> None:
    """30 ADDs, eight at a time, while ten others are deleted: afterwards every living pod has its elements, once."""
    network = conf(node, SUBNET, SUBNET6)
    early = [node.attach(network) for _ in range(10)]
    pods = [Attachment(node, network, node.pod()) for _ in range(30)]
    with ThreadPoolExecutor(8) as pool:
        leaving = [pool.submit(pod.delete) for pod in early]
        coming = [pool.submit(pod.add) for pod in pods]
        assert [future.result().exit for future in leaving + coming] == [0] * 40
        found = elements(node)
        assert {name: len(members) for name, members in found.items()} == dict.fromkeys(found, 30)
        assert len(found) == 4 and len(rules(node)) == 4
        text = listed(node)
        for pod in pods:
            assert text.count(f'"net1/{pod.pod.container}/eth0"') == 4
        assert all(outcome.ok for outcome in pool.map(lambda pod: pod.check(), pods[::6]))
        assert all(outcome.ok for outcome in pool.map(lambda pod: pod.delete(), pods))
    assert node.nft_tables() == set()


def test_the_first_and_the_last_pod_at_once(node: Node) -> None:
    """One ADD and one DEL meet where the table is about to go, again and again: the pod that stays is masqueraded."""
    network = conf(node)
    present = node.attach(network)
    with ThreadPoolExecutor(2) as pool:
        for _ in range(8):
            new = Attachment(node, network, node.pod())
            gone, came = pool.submit(present.delete), pool.submit(new.add)
            assert gone.result().ok and came.result().ok
            assert new.check().ok, new.check().stdout
            assert len(rules(node)) == 3
            present = new
    assert udp_source(node.outside, present.pod, node.OUTSIDE) == node.ADDRESS
    assert present.delete().ok
    assert node.nft_tables() == set()


def test_add_repeated_makes_nothing_twice(node: Node) -> None:
    """An ADD that died after its masquerade, and its successor: one element each, one rule."""
    network = conf(node)
    pod = node.attach(network)
    node.ip(f"link del {pod.host}")
    (node.data_dir / "net1" / pod.address).unlink()
    again = node.attach(network, pod.pod)
    assert again.address != pod.address
    assert len(rules(node)) == 3
    assert {len(found) for name, found in elements(node).items() if "6" not in name} == {1}
    assert pod.address + " " not in listed(node)
    assert again.delete().ok
    assert node.nft_tables() == set()


# other people's tables

THEIRS = """
table inet theirs {
  comment "an administrator's"
  set blocked { type ipv4_addr; flags interval; elements = { 198.51.100.0/24 }; }
  map ports { type inet_service : ipv4_addr . inet_service; elements = { 8080 : 10.1.0.2 . 80 }; }
  counter hits { packets 3 bytes 180; }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "nowhere" masquerade comment "x"
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ip saddr @blocked drop
  }
}
table ip pycni_masquerade {
  chain postrouting { type nat hook postrouting priority 90; policy accept; }
}
table inet pycni_masquerade_ {
  chain postrouting { }
}
table bridge other {
  chain input {
    type filter hook input priority filter; policy accept;
    meta mark 7 accept
  }
}
table netdev empty { }
"""


def test_other_peoples_tables_stay_byte_for_byte(node: Node) -> None:
    """ADD, CHECK, GC, DEL: nft prints the same text with the same handles for whatever is not ours."""
    node.run("nft", "-f", "-", stdin=THEIRS)
    before = node.run("nft", "-a", "list", "ruleset")
    network = conf(node, SUBNET, SUBNET6, version="1.1.0", macspoofchk=True)
    pods = [node.attach(network) for _ in range(2)]
    assert udp_source(node.outside, pods[0].pod, node.OUTSIDE) == node.ADDRESS
    assert pods[0].check().ok
    for table in ("inet theirs", "ip pycni_masquerade", "inet pycni_masquerade_", "bridge other"):
        part = node.run("nft", "-a", "list", "table", *table.split())
        assert part.strip() in before, f"{table} changed: {part}"
    assert pods[0].delete().ok
    collected = {**network, "cni.dev/valid-attachments": []}
    assert node.cni("bridge", "GC", collected, ifname="").ok
    assert node.run("nft", "-a", "list", "ruleset") == before


def test_rules_of_others_that_block_pods_still_do(node: Node) -> None:
    """Our table accepts nothing: an administrator's drop holds."""
    node.run("nft", "-f", "-", stdin=THEIRS.replace("198.51.100.0/24", SUBNET))
    pod = node.attach(conf(node))
    assert not reaches(pod.pod, node.outside, node.OUTSIDE, seconds=0.5)


# damage

DAMAGE: list[Any] = [
    pytest.param(("flush", "ruleset"), id="everything flushed"),
    pytest.param(("flush", "table", *TABLE.split()), id="rules flushed"),
    pytest.param(("delete", "table", *TABLE.split()), id="table deleted"),
    pytest.param(("flush", "chain", *TABLE.split(), "postrouting"), id="chain flushed"),
    pytest.param(("flush", "set", *TABLE.split(), "pods_10.1.0.0/24"), id="elements flushed"),
    pytest.param(("flush", "map", *TABLE.split(), "attachments4"), id="records flushed"),
    pytest.param(("delete", "element", *TABLE.split(), "pods_10.1.0.0/24", "{ 10.1.0.2 }"), id="element deleted"),
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_sees_damage_and_del_still_succeeds(node: Node, damage: tuple[str, ...]) -> None:
    """CHECK says what is missing; DEL takes away the rest; the next pod is masqueraded again."""
    pod = node.attach(conf(node))
    assert pod.check().ok
    node.run("nft", " ".join(damage))
    outcome = pod.check()
    assert not outcome.ok
    assert "pycni_masquerade" in outcome.error["msg"]
    assert pod.delete().ok
    assert node.leases() == {}
    after = node.attach(conf(node))
    assert after.check().ok, after.check().stdout
    assert udp_source(node.outside, after.pod, node.OUTSIDE) == node.ADDRESS
    assert after.delete().ok


@pytest.mark.parametrize("which", ["ip daddr 224", "ip6 daddr ff00", "ip saddr"])
def test_check_misses_each_single_rule(node: Node, which: str) -> None:
    """One rule deleted by its handle is enough."""
    pod = node.attach(conf(node))
    (line,) = [line for line in listed(node, "-a").splitlines() if line.strip().startswith(which)]
    handle = line.rsplit("# handle ", 1)[1]
    node.run("nft", f"delete rule {TABLE} postrouting handle {handle}")
    assert not pod.check().ok
    assert pod.delete().ok
    assert node.nft_tables() == set()


def test_a_pod_beside_the_damage_can_be_removed_first(node: Node) -> None:
    """Of three pods the records of one are lost: the other two go, then it goes, and nothing is left."""
    pods = [node.attach(conf(node)) for _ in range(3)]
    node.run("nft", f'delete element {TABLE} attachments4 {{ "{pods[1].host}" . 0 }}')
    assert not pods[1].check().ok
    for pod in (pods[0], pods[2], pods[1]):
        assert pod.delete().ok
    assert node.nft_tables() == set()


# what Go's plugins left


def go_nftables(*owners: tuple[str, str, str, str]) -> str:
    """What Go's bridge makes since 1.6.0, for attachments (network, interface, container, address with length)."""
    lines = []
    for network, ifname, container, address in owners:
        net = hashlib.sha512(network.encode()).hexdigest()[:16]
        one = hashlib.sha512(f"{ifname}:{container}".encode()).hexdigest()[:16]
        comment = f"{net}-{one}, net: {network}, if: {ifname}, id: {container}"[:128]
        at = ipaddress.ip_interface(address)
        word = "ip" if at.version == 4 else "ip6"
        lines.append(f'{word} saddr {at.ip} {word} daddr != {at.network} masquerade comment "{comment}"')
    body = "\n    ".join(lines)
    return f"""
table inet cni_plugins_masquerade {{
  comment "Masquerading for plugins from github.com/containernetworking/plugins"
  chain masq_checks {{
    comment "Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet"
    {body}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip daddr 224.0.0.0/4 return
    ip6 daddr ff00::/8 return
    goto masq_checks
  }}
}}
"""


def masq_checks(node: Node) -> list[str]:
    """Go's rules of the newer form, as nft tells them."""
    text = node.run("nft", "list", "chain", "inet", "cni_plugins_masquerade", "masq_checks", check=False)
    return [line.strip() for line in text.splitlines() if " masquerade " in line]


LONG = "n" * 100


def test_the_newer_form_is_known_by_its_comment_whatever_the_addresses(node: Node) -> None:
    """Another interface, container, network and a name cut to 128 bytes: only the attachment's own rules go."""
    node.run(
        "nft",
        "-f",
        "-",
        stdin=go_nftables(
            ("net1", "eth0", "c1", "10.1.0.2/24"),
            ("net1", "eth0", "c1", "2001:db8:1::2/64"),
            ("net1", "eth1", "c1", "10.1.0.2/24"),
            ("net1", "eth0", "c10", "10.1.0.2/24"),
            ("net2", "eth0", "c1", "10.1.0.2/24"),
            (LONG, "eth0", "c1", "10.1.0.9/24"),
        ),
    )
    before = masq_checks(node)
    assert len(before) == 6
    assert node.cni("bridge", "DEL", conf(node), container="c1").ok
    assert masq_checks(node) == before[2:]
    assert node.cni("bridge", "DEL", conf(node, name=LONG), container="c1").ok
    assert masq_checks(node) == before[2:5]


def test_gc_removes_the_newer_form_of_forgotten_attachments(node: Node) -> None:
    """Of the network that it is for, and not of one that is valid still."""
    owners = [("net1", "eth0", f"c{number}", f"10.1.0.{number}/24") for number in range(2, 5)]
    node.run("nft", "-f", "-", stdin=go_nftables(*owners, ("net2", "eth0", "c2", "10.2.0.2/24")))
    before = masq_checks(node)
    valid = [{"containerID": "c3", "ifname": "eth0"}]
    collected = {**conf(node, version="1.1.0"), "cni.dev/valid-attachments": valid}
    assert node.cni("bridge", "GC", collected, ifname="").ok
    assert masq_checks(node) == [before[1], before[3]]


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
@pytest.mark.parametrize("spoil", ["iptables -t nat -F POSTROUTING", "ip6tables -t nat -F CHAIN"])
def test_check_of_a_pod_that_go_attached_sees_its_chains_and_what_they_lack(
    node: Node, backend: str, spoil: str
) -> None:
    """Debian's bridge made them, ours is asked after the exchange, whichever form it would make itself."""
    if backend == "nftables" and go_obeys(backend):
        pytest.skip("Go's bridge makes no chains of iptables; of its table is the next test")
    pod = node.attach(conf(node, SUBNET, SUBNET6, ipMasqBackend=backend), binaries=GO)
    assert pod.check().ok, pod.check().stdout
    node.run(*spoil.replace("CHAIN", masquerade_chain(Name("net1", pod.pod.container, "eth0"))).split())
    assert not pod.check().ok


@pytest.mark.parametrize(
    "spoil",
    ["flush chain {} masq_checks", "flush chain {} postrouting", "delete table {}", "other", "one family"],
)
def test_check_sees_the_newer_form_and_what_it_lacks(node: Node, spoil: str) -> None:
    """Of a pod whose chains are replaced by what Go's bridge makes since 1.6.0."""
    pod = node.attach(conf(node, SUBNET, SUBNET6), binaries=GO)
    node.run("nft", "flush", "ruleset")
    assert not pod.check().ok
    container, lengths = pod.pod.container, ("24", "64")
    owners = [("net1", "eth0", container, f"{a}/{b}") for a, b in zip(pod.addresses, lengths, strict=True)]
    if spoil == "other":
        owners[0] = ("net1", "eth1", *owners[0][2:])
    elif spoil == "one family":
        owners.pop()
    node.run("nft", "-f", "-", stdin=go_nftables(*owners))
    if "{}" in spoil:
        assert pod.check().ok, pod.check().stdout
        node.run("nft", spoil.format("inet cni_plugins_masquerade"))
    assert not pod.check().ok


def test_a_foreign_table_of_that_name_is_no_fault(node: Node) -> None:
    """No chain masq_checks, or rules without comments: nothing is changed, DEL succeeds."""
    for text in (
        "table inet cni_plugins_masquerade { }",
        "table inet cni_plugins_masquerade {\n chain masq_checks {\n ip saddr 10.1.0.2 masquerade\n }\n}",
    ):
        node.run("nft", "-f", "-", stdin=text)
        before = node.run("nft", "-a", "list", "ruleset")
        assert node.cni("bridge", "DEL", conf(node), container="c1").ok
        assert node.run("nft", "-a", "list", "ruleset") == before


def test_gc_removes_gos_iptables_chains_of_forgotten_containers(node: Node) -> None:
    """Debian's bridge made them, in both families; the valid container's chain, and another network's, stay."""
    network = conf(node, SUBNET, SUBNET6, version="1.0.0")
    kept, forgotten = (node.attach(network, binaries=GO) for _ in range(2))
    other = node.attach(conf(node, "10.2.0.0/24", name="net2", bridge="br2"), binaries=GO)
    names = [masquerade_chain(Name(a.conf["name"], a.pod.container, "eth0")) for a in (kept, forgotten, other)]
    before = node.iptables()
    assert all(any(name in line for line in before) for name in names)
    valid = [{"containerID": kept.pod.container, "ifname": "eth0"}]
    collected = {**network, "cniVersion": "1.1.0", "cni.dev/valid-attachments": valid}
    assert node.cni("bridge", "GC", collected, ifname="").ok
    assert node.iptables() == [line for line in before if names[1] not in line]
    assert udp_source(node.outside, kept.pod, node.OUTSIDE) == node.ADDRESS
    assert other.delete(binaries=GO).ok


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda node, chain: node.run("iptables", "-t", "nat", "-F", chain), id="chain flushed"),
        pytest.param(lambda node, chain: node.run("iptables", "-t", "nat", "-F", "POSTROUTING"), id="jump gone"),
        pytest.param(lambda node, chain: node.run("nft", "delete", "table", "ip", "nat"), id="table gone"),
        pytest.param(
            lambda node, chain: node.run("iptables", "-t", "nat", "-A", "POSTROUTING", "-j", chain), id="a second jump"
        ),
        pytest.param(
            lambda node, chain: node.run("iptables", "-t", "nat", "-A", chain, "-d", "10.9.9.9", "-j", "ACCEPT"),
            id="a rule added",
        ),
    ],
)
def test_damaged_chains_of_go_are_removed(node: Node, spoil: Callable[[Node, str], object]) -> None:
    """Where Go's own DEL may fail, ours clears away what there is."""
    pod = node.attach(conf(node, SUBNET, SUBNET6), binaries=GO)
    chain = masquerade_chain(Name("net1", pod.pod.container, "eth0"))
    assert any(chain in line for line in node.iptables())
    spoil(node, chain)
    assert pod.delete(prev_result=False).ok
    assert [line for line in node.iptables() if chain in line] == []


def test_users_iptables_rules_stay(node: Node) -> None:
    """A user's chain whose name looks like Go's, and rules of theirs in POSTROUTING."""
    pod = node.attach(conf(node), binaries=GO)
    node.run("iptables", "-t", "nat", "-N", "CNI-000000000000000000000000")
    for words in ("-s 10.1.0.2/32 -j ACCEPT", "-j CNI-000000000000000000000000", "-o uplink -j MASQUERADE"):
        node.run("iptables", "-t", "nat", "-A", "POSTROUTING", *words.split())
    chain = masquerade_chain(Name("net1", pod.pod.container, "eth0"))
    expected = [line for line in node.iptables() if chain not in line]
    assert pod.delete().ok
    assert node.iptables() == expected
