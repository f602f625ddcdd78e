"""Beside others who write rules: theirs stay as they are, byte for byte, and their ports go on answering."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.configuration import port
from node.plugin import DIST, GO, go_obeys
from node.ports import answers, source
from node.published import neighbour, publish, wanted
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(GO, "portmap").is_file(), reason="containernetworking-plugins is not installed"),
]

BACKENDS = ["nftables", "iptables"]
GO_PORTMAP = {"bridge": DIST, "portmap": GO}
both_backends = pytest.mark.parametrize("backend", BACKENDS)
Object = dict[str, Any]

# Rules as others write them. {target} is a pod of theirs that serves TCP at port 80.
IPTABLES = {
    "kube-proxy": """*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SEP-BBBBBBBBBBBBBBBB - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web" -m tcp --dport 30080 -j KUBE-SVC-AAAAAAAAAAAAAAAA
-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-MARK-MASQ
-A KUBE-SVC-AAAAAAAAAAAAAAAA -m statistic --mode random --probability 0.99 -j KUBE-SEP-BBBBBBBBBBBBBBBB
-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-BBBBBBBBBBBBBBBB
-A KUBE-SEP-BBBBBBBBBBBBBBBB -p tcp -m tcp -j DNAT --to-destination {target}:80
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic" -j MASQUERADE
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
COMMIT
""",
    "Docker": """*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 30080 -j DNAT --to-destination {target}:80
COMMIT
*filter
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
""",
}
NATIVE = {
    "kube-proxy by nftables": """table ip kube-proxy {
    comment "rules for kube-proxy"
    map service-nodeports {
        type inet_proto . inet_service : verdict
        elements = { tcp . 30080 : goto service-web }
    }
    chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }
    chain nat-output { type nat hook output priority -100; policy accept; jump services; }
    chain services { fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @service-nodeports; }
    chain service-web { meta mark set meta mark or 0x4000; meta l4proto tcp dnat to {target}:80; }
    chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; jump masquerading; }
    chain masquerading { meta mark & 0x4000 == 0 return; meta mark set meta mark ^ 0x4000; masquerade fully-random; }
}
""",
    "firewalld": """table inet firewalld {
    chain nat_PREROUTING {
        type nat hook prerouting priority dstnat + 10; policy accept
        jump nat_PREROUTING_ZONES
    }
    chain nat_PREROUTING_ZONES { goto nat_PRE_public; }
    chain nat_PRE_public { tcp dport 30080 dnat ip to {target}:80; }
    chain nat_OUTPUT { type nat hook output priority -90; policy accept; tcp dport 30080 dnat ip to {target}:80; }
    chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; ip saddr 10.9.0.0/16 masquerade; }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept
        ct state { established, related } accept
        ct status dnat accept
    }
}
""",
    "a user": """table ip nat_of_mine {
    set ports { type inet_service; flags interval; elements = { 30000-30100 } }
    counter hits { packets 5 bytes 500 }
    chain pre { type nat hook prerouting priority -100; tcp dport @ports counter name "hits" dnat to {target}:80; }
    chain out { type nat hook output priority -100; fib daddr type local tcp dport @ports dnat to {target}:80; }
}
table ip cni_of_mine { chain hostports { comment "not Go's" ; }; }
table netdev early { chain in { type filter hook ingress device "uplink" priority 0; policy accept; }; }
""",
}


class Others:
    """Somebody's rules on a node, and a pod of theirs."""

    def __init__(self, node: Node, name: str) -> None:
        self.node = node
        self.pod = neighbour(node, name="theirs", link="br9", subnets=["10.9.0.0/24"])
        if name in IPTABLES:
            self._load("iptables-restore", IPTABLES[name])
        else:
            self._load("nft", NATIVE[name])
        # the tables are there from the start, as they are with anybody who uses iptables
        for program in ("iptables", "ip6tables"):
            node.run(program, "-t", "nat", "-N", "A-USERS-OWN")
            node.run(
                program, "-t", "nat", "-A", "POSTROUTING", "-m", "comment", "--comment", "mine", "-j", "A-USERS-OWN"
            )

    def _load(self, program: str, text: str) -> None:
        arguments = ("--noflush",) if program != "nft" else ("-f", "-")
        self.node.run(program, *arguments, stdin=text.replace("{target}", self.pod.address))

    def rules(self) -> str:
        """All that is theirs, as the programs print it: what bears our names, or Go's, is left out.

        So is the one rule at the end of their chains by which ours learn that nobody has decided.
        """
        lines: list[str] = []
        for program in ("iptables-save", "ip6tables-save"):
            text = self.node.run(program)
            lines += [
                line.split(" [")[0]
                for line in text.splitlines()
                if not any(word in line for word in ("CNI-", "pycni: undecided")) and not line.startswith("#")
            ]
        for table in sorted(self.node.nft_tables()):
            if not table.split()[1].startswith(("pycni_", "cni_hostport")):
                lines.append(self.node.run("nft", "-s", "list", "table", *table.split()))
        return "\n".join(lines)

    def answer(self) -> bool:
        """Whether their port answers from outside."""
        return answers("tcp", self.pod.pod, 80, self.node.outside, self.node.ADDRESS, 30080)


@pytest.mark.parametrize("name", [*IPTABLES, *NATIVE])
@both_backends
def test_others_rules_stay_byte_for_byte(node: Node, backend: str, name: str) -> None:
    """Through ADD, CHECK, GC and DEL; both ports answer, theirs and ours, before and after."""
    others = Others(node, name)
    before = others.rules()
    assert "30080" in before or "30100" in before
    assert others.answer()
    chain = publish(node, port(8080), port(8081, 81, "udp"), backend=backend)
    assert others.rules() == before
    assert others.answer()
    for protocol, number, inside in (("tcp", 8080, 80), ("udp", 8081, 81)):
        assert source(protocol, chain.pod, inside, node.outside, node.ADDRESS, number) == node.OUTSIDE
        assert answers(protocol, chain.pod, inside, node, "127.0.0.1", number)
    chain.portmap("CHECK")
    assert others.rules() == before
    chain.remove()
    assert others.rules() == before
    assert "pycni" not in node.run("iptables-save") + node.run("ip6tables-save")
    assert others.answer()


@pytest.mark.parametrize("first", ["Go", "us"])
@both_backends
def test_gos_portmap_on_the_same_node(node: Node, backend: str, first: str) -> None:
    """A pod by Go's portmap and one by ours, whichever came first: all ask both; each DEL leaves the other's port."""
    ours = {"bridge": DIST}
    order = [GO_PORTMAP, ours] if first == "Go" else [ours, GO_PORTMAP]
    chains = [publish(node, port(8080 + n), backend=backend, binaries=order[n]) for n in (0, 1)]
    beside = neighbour(node)
    clients = [
        (node.outside, node.ADDRESS),
        (node.outside, node.ADDRESS6),
        (node, "127.0.0.1"),
        (beside.pod, "10.1.0.1"),
        *((chain.pod, "10.1.0.1") for chain in chains),
    ]
    for number, chain in enumerate(chains):
        for client, target in clients:
            assert answers("tcp", chain.pod, 80, client, target, 8080 + number), (number, target)
        assert source("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080 + number) == node.OUTSIDE
    chains[0].remove()
    for client, target in clients[:4]:
        assert answers("tcp", chains[1].pod, 80, client, target, 8081), target
    chains[0].add()
    chains[1].remove()
    for client, target in clients[:4]:
        assert answers("tcp", chains[0].pod, 80, client, target, 8080), target
    chains[0].remove()
    left = [line for line in node.iptables() if "CNI-DN-" in line or "dnat name" in line]
    assert left == [] and not any(chain.pod.container in node.rules_as_text() for chain in chains)
    # Go's own tables stay for ever
    assert node.nft() == [] or (backend == "nftables" and go_obeys(backend))


@both_backends
def test_many_of_both_at_once(node: Node, backend: str) -> None:
    """Go's ADDs and ours interleave: every port answers, and the shared jumps stand once."""
    both = [GO_PORTMAP, {"bridge": DIST}]
    chains = [wanted(node, port(8080 + n), backend=backend, binaries=both[n % 2]) for n in range(8)]
    publish(node, port(8070), backend=backend, binaries=GO_PORTMAP)
    for chain in chains:
        chain.result = chain.call(0, "ADD").result
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda chain: chain.portmap("ADD"), chains))
    assert all(outcome.ok for outcome in outcomes), [outcome.stdout for outcome in outcomes]
    for number, chain in enumerate(chains):
        assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080 + number)
    jumps = [line for line in node.iptables() if line.startswith("iptables -A PREROUTING") and "-j CNI-" in line]
    assert len(jumps) == (0 if backend == "nftables" and go_obeys(backend) else 1), jumps


@pytest.mark.beyond_old_go("an earlier rule of its own would be found first")
def test_our_port_wins_over_go_rules_of_a_dead_pod(node: Node) -> None:
    """Go's rule for a pod that died without a DEL still stands in iptables: ours comes first."""
    dead = publish(node, port(8080), binaries=GO_PORTMAP)
    dead.pod.close()
    young = publish(node, port(8080))
    assert answers("tcp", young.pod, 80, node.outside, node.ADDRESS, 8080)
    dead.remove(netns="", binaries={"bridge": DIST})
    assert answers("tcp", young.pod, 80, node.outside, node.ADDRESS, 8080)
