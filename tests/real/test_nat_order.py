"""Who decides first: rules of others in the NAT hooks, before and after ours, in both kinds of iptables and families."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local, port
from node.namespace import Netns
from node.plugin import SUBJECT
from node.ports import answers, source
from node.published import SUBNET, SUBNET6, neighbour, publish
from node.topology import Attachment, Node
from node.tracing import without_programs
from node.traffic import tcp_source

pytestmark = pytest.mark.real

TEXT = "pycni: undecided"
KINDS = ["nft", "legacy"]
SECOND = {"name": "net2", "bridge": "br1"}
SERVICE = {4: "10.96.0.1", 6: "fd00:96::1"}
OUTSIDE = {4: Node.OUTSIDE, 6: Node.OUTSIDE6}
UPLINK = {4: Node.ADDRESS, 6: Node.ADDRESS6}
both_kinds = pytest.mark.parametrize("kind", KINDS)
both_families = pytest.mark.parametrize("version", [4, 6])


def _has_legacy() -> bool:
    return Path("/usr/sbin/iptables-legacy").exists() and Path("/proc/net/ip_tables_names").exists()


class Iptables:
    """One of the two iptables, for one family, on a node."""

    def __init__(self, node: Node, kind: str, version: int) -> None:
        if kind == "legacy" and not _has_legacy():
            pytest.skip("this kernel, or this machine, has no iptables-legacy")
        self.node, self.name = node, f"ip{'6' if version == 6 else ''}tables{'-legacy' if kind == 'legacy' else ''}"

    def __call__(self, words: str) -> str:
        return self.node.run(self.name, "-t", "nat", *words.split())

    def rules(self, chain: str) -> list[str]:
        """A chain's rules."""
        return [line for line in self(f"-S {chain}").splitlines() if line.startswith("-A")]

    @property
    def whole(self) -> str:
        """What iptables-save prints of the table."""
        return self.node.run(f"{self.name}-save", "-t", "nat")


@contextmanager
def service(node: Node, address: str, number: int, family: int) -> Iterator[None]:
    """A server on the node at an address that is local, as those of services are in IPVS mode."""
    with node.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, number))
        listening.listen()
        listening.setblocking(False)
        yield


def connects(client: Netns, address: str, number: int, seconds: float = 3.0) -> bool:
    """Whether somebody answers there; a refusal is no answer, a time-out is an error."""
    with client.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sending:
        sending.settimeout(seconds)
        try:
            sending.connect((address, number))
        except ConnectionRefusedError:
            return False
    return True


def masqueraded(node: Node, *subnets: str, **keys: Any) -> Attachment:
    """A pod whose network masquerades, in both families unless told otherwise."""
    section = host_local(node.data_dir, *(subnets or (SUBNET, SUBNET6)))
    return node.attach(bridge(section, isDefaultGateway=True, ipMasq=True, **keys))


def routed(node: Node) -> None:
    """The host outside knows the way to the pods, so that a connection that is not masqueraded is answered."""
    node.outside.ip(f"route add {SUBNET} via {Node.ADDRESS}", f"route add {SUBNET6} via {Node.ADDRESS6}")


def seen(node: Node, pod: Attachment, version: int) -> str:
    """The pod's address as the host outside sees it."""
    return tcp_source(node.outside, pod.pod, OUTSIDE[version])


def pods_address(pod: Attachment, version: int) -> str:
    """The pod's own."""
    return next(address for address in pod.addresses if (":" in address) == (version == 6))


# ACCEPT


@both_families
@both_kinds
def test_a_service_address_that_iptables_accepts_stays_the_nodes(node: Node, kind: str, version: int) -> None:
    """kube-proxy in IPVS mode: host port 443 takes neither pods nor node the service at 443 away, and answers itself."""
    iptables, address = Iptables(node, kind, version), SERVICE[version]
    length = 32 if version == 4 else 128
    node.ip("link add kube-ipvs0 type bridge", f"addr add {address}/{length} dev kube-ipvs0 nodad")
    for chain in ("PREROUTING", "OUTPUT"):
        iptables("-N KUBE-SERVICES" if chain == "PREROUTING" else "-S OUTPUT")
        iptables(f"-A {chain} -j KUBE-SERVICES")
    iptables(f"-A KUBE-SERVICES -d {address} -p tcp --dport 443 -j ACCEPT")
    chain, family = publish(node, port(443)), socket.AF_INET6 if version == 6 else socket.AF_INET
    beside = neighbour(node)
    with service(node, address, 443, family):
        assert connects(node, address, 443)
        assert connects(beside.pod, address, 443)
        assert connects(chain.pod, address, 443)
    assert source("tcp", chain.pod, 80, node.outside, UPLINK[version], 443) == OUTSIDE[version]
    assert answers("tcp", chain.pod, 80, node, UPLINK[version], 443)
    if version == 4:
        assert answers("tcp", chain.pod, 80, node, "127.0.0.1", 443)
    chain.portmap("CHECK")
    assert iptables.whole.count(TEXT) == 2
    chain.remove()
    assert TEXT not in iptables.whole


@both_families
@both_kinds
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_iptables_exempts_is_not_masqueraded(node: Node, kind: str, version: int, when: str) -> None:
    """``-I POSTROUTING -d … -j ACCEPT``, the usual exemption for a VPN, also when it comes after the pod."""
    iptables = Iptables(node, kind, version)
    routed(node)
    exempt = f"-I POSTROUTING -d {OUTSIDE[version]} -m comment --comment CNI-less -j ACCEPT"
    iptables(
        "-A POSTROUTING -s 192.168.77.0/24 -j MASQUERADE"
        if version == 4
        else "-A POSTROUTING -s fd77::/64 -j MASQUERADE"
    )
    if when == "before":
        iptables(exempt)
    pod = masqueraded(node)
    if when == "after":
        assert seen(node, pod, version) == UPLINK[version]
        iptables(exempt)
    assert seen(node, pod, version) == pods_address(pod, version)
    assert pod.check().ok
    iptables(exempt.replace("-I", "-D"))
    assert seen(node, pod, version) == UPLINK[version]
    assert TEXT in iptables.rules("POSTROUTING")[-1]
    pod.delete()
    assert TEXT not in iptables.whole and len(iptables.rules("POSTROUTING")) == 1


def test_both_kinds_of_iptables_have_to_pass_it_on(node: Node) -> None:
    """What either of the two accepts is decided, whichever of their chains comes first."""
    kinds = [Iptables(node, kind, 4) for kind in KINDS]
    routed(node)
    for iptables in kinds:
        iptables("-A POSTROUTING -s 192.168.77.0/24 -j MASQUERADE")
    pod = masqueraded(node)
    assert seen(node, pod, 4) == UPLINK[4]
    for iptables in kinds:
        iptables(f"-I POSTROUTING -d {OUTSIDE[4]} -j ACCEPT")
        assert seen(node, pod, 4) == pod.address, iptables.name
        iptables(f"-D POSTROUTING -d {OUTSIDE[4]} -j ACCEPT")
        assert seen(node, pod, 4) == UPLINK[4], iptables.name
    assert pod.check().ok
    pod.delete()
    assert not any(TEXT in iptables.whole for iptables in kinds)


# translations


@both_families
@both_kinds
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_administrators_translation_comes_first(node: Node, kind: str, version: int, when: str) -> None:
    """Of a virtual address of the node, with the port that a pod has as host port."""
    iptables, virtual = Iptables(node, kind, version), "192.0.2.100" if version == 4 else "2001:db8:ff::100"
    node.ip(f"addr add {virtual}/{24 if version == 4 else 64} dev uplink nodad")
    theirs = neighbour(node)
    address = theirs.addresses[0 if version == 4 else 1]
    rule = f"-A PREROUTING -d {virtual} -p tcp --dport 8080 -j DNAT --to-destination"
    target = f"{address}:80" if version == 4 else f"[{address}]:80"
    if when == "before":
        iptables(f"{rule} {target}")
    chain = publish(node, port(8080))
    if when == "after":
        iptables(f"{rule} {target}")
    assert answers("tcp", theirs.pod, 80, node.outside, virtual, 8080)
    assert answers("tcp", chain.pod, 80, node.outside, UPLINK[version], 8080)


@pytest.mark.parametrize("priority", ["-150", "dstnat", "dstnat + 10", "500"])
def test_a_translation_in_nftables_comes_first_at_any_priority(node: Node, priority: str) -> None:
    """kube-proxy's, firewalld's, an administrator's; also between iptables' chain and ours."""
    node.run("iptables", "-t", "nat", "-A", "PREROUTING", "-s", "192.168.77.1", "-j", "ACCEPT")
    theirs, chain = neighbour(node), publish(node, port(8080), port(8081, 80))
    rule = f"tcp dport 8080 dnat ip to {theirs.address}:80"
    chains = f"chain pre {{ type nat hook prerouting priority {priority}; {rule}; }};"
    node.run("nft", "-f", "-", stdin=f"table inet administrator {{ {chains} }}")
    assert source("tcp", theirs.pod, 80, node.outside, Node.ADDRESS, 8080) == Node.OUTSIDE
    assert source("tcp", chain.pod, 80, node.outside, Node.ADDRESS, 8081) == Node.OUTSIDE


def test_masquerading_in_nftables_comes_first(node: Node) -> None:
    """An address that somebody else's source translation gives (firewalld's at srcnat + 10) is kept."""
    node.ip("addr add 192.0.2.77/24 dev uplink")
    pod = masqueraded(node)
    assert seen(node, pod, 4) == UPLINK[4]
    rules = f"ip saddr {SUBNET} oifname uplink snat ip to 192.0.2.77"
    chain = f"chain post {{ type nat hook postrouting priority srcnat + 10; {rules}; }};"
    node.run("nft", "-f", "-", stdin=f"table inet firewalld {{ {chain} }}")
    assert seen(node, pod, 4) == "192.0.2.77"


# change over, repair


@both_kinds
def test_a_table_that_comes_later_is_followed_from_the_next_add_on(node: Node, kind: str) -> None:
    """CHECK reports it, the next ADD of any pod changes over, for host ports and masquerading."""
    node.outside.ip(f"route add 10.2.0.0/24 via {Node.ADDRESS}")
    chain, pod = publish(node, port(8080)), masqueraded(node, "10.2.0.0/24", **SECOND)
    iptables = Iptables(node, kind, 4)
    for words in (
        "PREROUTING -d 192.0.2.1 -p tcp --dport 8080",
        "OUTPUT -p tcp --dport 8080",
        "POSTROUTING -d 192.0.2.2",
    ):
        iptables(f"-A {words} -j ACCEPT")
    assert answers("tcp", chain.pod, 80, node.outside, UPLINK[4], 8080)
    assert "PREROUTING" in chain.call(1, "CHECK", prevResult=chain.result).error["msg"]
    assert "POSTROUTING" in pod.check().error["msg"]
    publish(node, port(9090))
    masqueraded(node, "10.2.0.0/24", **SECOND)
    assert not answers("tcp", chain.pod, 80, node.outside, UPLINK[4], 8080)
    assert seen(node, pod, 4) == pod.address
    assert pod.check().ok
    iptables("-D PREROUTING -d 192.0.2.1 -p tcp --dport 8080 -j ACCEPT")
    # now PREROUTING has ours alone, and all goes on
    chain.portmap("CHECK")
    assert answers("tcp", chain.pod, 80, node.outside, UPLINK[4], 8080)


@both_kinds
def test_a_flushed_table_is_mended_by_the_next_add(node: Node, kind: str) -> None:
    """``iptables -t nat -F``: CHECK reports it; the next ADD of any pod, or DEL, brings ports and masquerading back."""
    iptables = Iptables(node, kind, 4)
    for name in ("PREROUTING", "OUTPUT", "POSTROUTING"):
        iptables(f"-A {name} -s 192.168.77.1 -j ACCEPT")
    pod = masqueraded(node, "10.2.0.0/24", **SECOND)
    chain = publish(node, port(8080))
    iptables("-F")
    assert not pod.check().ok
    other = masqueraded(node, "10.2.0.0/24", **SECOND)
    publish(node, port(9090))
    assert answers("tcp", chain.pod, 80, node.outside, UPLINK[4], 8080)
    assert seen(node, pod, 4) == seen(node, other, 4) == UPLINK[4]
    assert pod.check().ok
    assert TEXT not in iptables.whole


@both_kinds
def test_a_rule_that_is_no_longer_the_last_goes_to_the_end(node: Node, kind: str) -> None:
    """Docker and others append theirs: CHECK reports it, the next ADD moves ours; there is one, whatever happens."""
    iptables = Iptables(node, kind, 4)
    iptables("-A POSTROUTING -s 192.168.77.1 -j ACCEPT")
    pod = masqueraded(node)
    iptables("-A POSTROUTING -s 192.168.77.2 -j ACCEPT")
    assert "end" in pod.check().error["msg"]
    for _ in range(2):
        other = masqueraded(node)
        rules = iptables.rules("POSTROUTING")
        assert TEXT in rules[-1] and len(rules) == 3
    assert pod.check().ok
    other.delete()
    assert iptables.rules("POSTROUTING") == rules


def test_the_rule_is_plain_to_both_programs(node: Node) -> None:
    """``iptables-save``, ``iptables -S`` and ``nft list ruleset`` print it, and iptables-restore reads it again."""
    node.run("iptables", "-t", "nat", "-A", "PREROUTING", "-s", "192.168.77.1", "-j", "ACCEPT")
    publish(node, port(8080))
    line = f'-A PREROUTING -m comment --comment "{TEXT}" -m addrtype --dst-type LOCAL -j MARK --set-xmark 0x1000/0x1000'
    saved = node.run("iptables-save", "-t", "nat")
    assert line in saved.splitlines()
    assert line in node.run("iptables", "-t", "nat", "-S").splitlines()
    assert "meta mark set mark or 0x1000" in node.run("nft", "list", "table", "ip", "nat")
    node.run("iptables-restore", stdin=saved)
    assert line in node.run("iptables-save", "-t", "nat").splitlines()


def test_the_bits_follow_mark_masq_bit(node: Node) -> None:
    """The two below it, whatever it is; another network's ADD moves all to its own."""
    node.run("iptables", "-t", "nat", "-A", "PREROUTING", "-s", "192.168.77.1", "-j", "ACCEPT")
    first = publish(node, port(8080), markMasqBit=5)
    assert "--set-xmark 0x10/0x10" in node.run("iptables-save", "-t", "nat")
    publish(node, port(8081), markMasqBit=0)
    text = node.run("iptables-save", "-t", "nat")
    assert "--set-xmark 0x80000000/0x80000000" in text and text.count(TEXT) == 1
    assert answers("tcp", first.pod, 80, node.outside, UPLINK[4], 8080)
    first.portmap("CHECK")


def test_a_table_of_ours_that_was_removed_leaves_no_rule_for_ever(node: Node) -> None:
    """``nft delete table`` of ours, then DEL: nothing is left in iptables' chains."""
    node.run("iptables", "-t", "nat", "-A", "PREROUTING", "-s", "192.168.77.1", "-j", "ACCEPT")
    chain = publish(node, port(8080))
    node.run("nft", "delete", "table", "inet", "pycni_hostports")
    chain.remove()
    assert TEXT not in node.run("iptables-save", "-t", "nat")


# localhost


def test_localhost_of_ipv6_is_answered_by_the_node(node: Node) -> None:
    """``[::1]:hostPort`` is refused at once, or served by who listens there; the node's other addresses lead to the pod."""
    chain = publish(node, port(8080))
    assert not connects(node, "::1", 8080)
    with service(node, "::1", 8080, socket.AF_INET6):
        assert connects(node, "::1", 8080)
    assert answers("tcp", chain.pod, 80, node, UPLINK[6], 8080)


# what stands in our chains


def test_conditions_are_looked_at_behind_what_iptables_has_decided(node: Node) -> None:
    """The jumps that nft makes stand behind the rules that everybody's packets pass first."""
    accept = f"-s {Node.OUTSIDE} -p tcp --dport 8080 -j ACCEPT"
    node.run("iptables", "-t", "nat", "-A", "PREROUTING", *accept.split())
    chain = publish(node, port(8080), port(8081, 80), conditionsV4=["ip", "daddr", Node.ADDRESS])
    assert answers("tcp", chain.pod, 80, node.outside, Node.ADDRESS, 8081)
    assert not answers("tcp", chain.pod, 80, node.outside, Node.ADDRESS, 8080)
    node.run("iptables", "-t", "nat", "-D", "PREROUTING", *accept.split())
    assert answers("tcp", chain.pod, 80, node.outside, Node.ADDRESS, 8080)
    chain.portmap("CHECK")


def test_chains_of_an_earlier_version_move_behind_everybodys(node: Node) -> None:
    """Those that came first are replaced by the next ADD, and the pods that are there go on."""
    chain, pod = publish(node, port(8080)), masqueraded(node, "10.2.0.0/24", **SECOND)
    table, hosts = "inet pycni_masquerade", "inet pycni_hostports"
    subnet = "10.2.0.0/24"
    rule = f"ip saddr @pods_{subnet} ip daddr != {subnet} masquerade"
    script = [f"delete chain {table} postrouting"]
    script += [f"add chain {table} postrouting {{ type nat hook postrouting priority srcnat; }}"]
    script += [
        f"add rule {table} postrouting {text}" for text in ("ip daddr 224.0.0.0/4 return", "ip6 daddr ff00::/8 return")
    ]
    script += [f'add rule {table} postrouting {rule} comment "pods_{subnet}"']
    for name in ("prerouting", "output"):
        script += [f"flush chain {hosts} {name}", f"delete chain {hosts} {name}"]
        script += [f"add chain {hosts} {name} {{ type nat hook {name} priority -101; }}"]
        script += [
            f'add rule {hosts} {name} meta nfproto ipv{n} fib daddr type local jump hostports{n} comment "hostports{n}"'
            for n in (4, 6)
        ]
    node.run("nft", "-f", "-", stdin="\n".join(["flush chain inet pycni_masquerade postrouting", *script, ""]))
    publish(node, port(9090))
    masqueraded(node, subnet, **SECOND)
    for name in ("pycni_masquerade postrouting", "pycni_hostports prerouting", "pycni_hostports output"):
        assert "priority 1000" in node.run("nft", "list", "chain", "inet", *name.split())
    assert answers("tcp", chain.pod, 80, node.outside, UPLINK[4], 8080)
    assert seen(node, pod, 4) == UPLINK[4]


def test_without_legacys_programs_status_says_so_and_ports_answer(node: Node, tmp_path: Path) -> None:
    """A nat table of iptables-legacy that no program can change: a line on standard error, from ADD and STATUS."""
    Iptables(node, "legacy", 4)("-A PREROUTING -s 192.168.77.1 -j ACCEPT")
    chain = publish(node, port(8080))
    for name in ("portmap", "bridge"):
        conf = chain.configuration(chain.place(name), cniVersion="1.1.0", ipMasq=True)
        assert "iptables-legacy" not in node.cni(name, "STATUS", conf).stderr
        (tmp_path / name).mkdir()
        outcome = node.cni(name, "STATUS", conf, binaries=without_programs(tmp_path / name, f"{SUBJECT}/{name}"))
        assert "no program iptables-legacy" in outcome.stderr
    outcome = chain.portmap("ADD", binaries=without_programs(tmp_path / "portmap", f"{SUBJECT}/portmap"))
    assert "no program iptables-legacy" in outcome.stderr
    assert answers("tcp", chain.pod, 80, node.outside, UPLINK[4], 8080)
