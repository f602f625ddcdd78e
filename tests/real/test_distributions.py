"""The default networks of podman, nerdctl, Nomad, CRI-O, minikube, kind, k3s and containerd, on a pretended node.

Each is called as its runtime does, through libcni, with no plugin of anybody else in the folder.
"""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from libcni import CNIConfig, ProcessExec, RuntimeConf, network_conf_from_bytes
from node.distributions import DISTRIBUTIONS, Distribution
from node.plugin import DIST, GO, LIMIT, PLUGINS, SUBJECT
from node.ports import answers
from node.published import link_local_addresses_are_usable
from node.topology import Node, Pod
from node.traffic import tcp_source

pytestmark = pytest.mark.real
each = pytest.mark.parametrize("name", DISTRIBUTIONS)
PORT, INSIDE = 8080, 80


class Member:
    """A pod of the network, as the runtime knows it."""

    def __init__(self, network: "Network", pod: Pod, port: int) -> None:
        self.network, self.pod, self.port = network, pod, port
        mapping = {"hostPort": port, "containerPort": INSIDE, "protocol": "tcp"}
        capabilities = {"portMappings": [mapping]} if port else {}
        self.runtime = RuntimeConf(
            pod.container, pod.path, "eth0", network.like.args, capabilities | dict(network.like.capabilities)
        )
        result = network.cni().add_network_list(network.list, self.runtime).document()
        self.addresses = [str(ip["address"]).split("/")[0] for ip in result["ips"]]

    def check(self) -> None:
        """CHECK, if the list's version has it."""
        if self.network.like.version >= "0.4.0":
            self.network.cni().check_network_list(self.network.list, self.runtime)

    def delete(self, *, namespace: bool = True, cache: bool = True) -> None:
        """DEL; without ``namespace`` the pod's is gone, without ``cache`` the runtime has forgotten the result."""
        if not namespace:
            self.pod.close()
        if not cache:
            for file in Path(self.network.cache, "results").glob(f"*{self.pod.container}*"):
                file.unlink()
        self.network.cni().del_network_list(self.network.list, self.runtime)


class Network:
    """One distribution's network on a node. ``binaries`` is the folder of the plugins, and may change."""

    def __init__(self, node: Node, like: Distribution, binaries: str) -> None:
        self.node, self.like, self.binaries = node, like, binaries
        self.cache = str(node.data_dir.parent / f"cache-{node.name}")
        self.list = network_conf_from_bytes(like.text(node.data_dir))
        link_local_addresses_are_usable(node)
        like.prepare(node)
        # what is not masqueraded is routed: the host outside knows the way, as other nodes of a cluster do
        if not like.masqueraded:
            node.outside.ip(f"route add default via {node.ADDRESS}", f"route add default via {node.ADDRESS6}")

    def cni(self) -> CNIConfig:
        """The runtime's library with the plugins of the moment."""
        executor = ProcessExec(prefix=("nsenter", f"--net={self.node.path}", "--"))
        return CNIConfig([self.binaries], self.cache, executor)

    def add(self, port: int = 0) -> Member:
        """A new pod."""
        self.last = Member(self, self.node.pod(), port)
        return self.last

    @property
    def publishes(self) -> bool:
        """Whether the list has a portmap."""
        return self.like.has("portmap", self.node.data_dir)

    def left(self) -> list[str]:
        """What is on the node after the last pod, without what a network keeps: the bridge and Go's empty chains."""
        links = [name for name in self.node.links() if name not in ("lo", "uplink", self.like.bridge)]
        leases = [
            f"{at.name}: {address}" for at in self.node.data_dir.glob("*") for address in self.node.leases(at.name)
        ]
        rules = [line for line in self.node.iptables("nat", "filter") if " -A " in line and not KEPT.search(line)]
        return (
            links
            + leases
            + rules
            + [json.dumps(each) for each in self.node.nft() if "rule" in each or "element" in each]
        )


# What Go's firewall keeps once it has run, and an administrator's own rules
KEPT = re.compile(r"-j (CNI-FORWARD|CNI-ADMIN|NOMAD-ADMIN)\b|-A (NOMAD-ADMIN|CNI-ISOLATION-STAGE-[12])\b|-j CNI-ISOL")
# What Go's portmap keeps
GOS_OWN = re.compile(r"-A CNI-HOSTPORT-(MASQ|SETMARK) |-j CNI-HOSTPORT-(MASQ|DNAT)$")


@pytest.fixture
def network(new_node: Callable[[], Node], name: str) -> Network:
    """The network, with our plugins."""
    return Network(new_node(), DISTRIBUTIONS[name], SUBJECT)


def everything_works(network: Network, server: Member, client: Member) -> None:
    """The pods reach each other, the world and a published port; the world reaches the port."""
    node = network.node
    for inside in server.addresses:
        six = ":" in inside
        assert tcp_source(server.pod, client.pod, inside) in client.addresses
        gateway, outside = (node.ADDRESS6, node.OUTSIDE6) if six else (node.ADDRESS, node.OUTSIDE)
        seen = tcp_source(node.outside, client.pod, outside)
        assert seen == gateway if network.like.masqueraded else seen in client.addresses
        if not network.publishes:
            continue
        assert answers("tcp", server.pod, INSIDE, node.outside, gateway, server.port)
        assert answers("tcp", server.pod, INSIDE, client.pod, gateway, server.port)


@each
def test_pods_on_the_default_network(network: Network) -> None:
    """Pods reach each other, the world and a published port; CHECK passes; each form of DEL leaves nothing."""
    one, two, three, four = (network.add(PORT + number) for number in range(4))
    everything_works(network, one, two)
    for member in (one, two, three, four):
        member.check()
    one.delete()
    one.delete()
    two.delete(namespace=False)
    three.delete(cache=False)
    five = network.add(PORT)
    everything_works(network, five, four)
    four.delete(namespace=False, cache=False)
    four.delete(namespace=False, cache=False)
    five.check()
    five.delete()
    assert network.left() == []


go_is_here = pytest.mark.skipif(not Path(GO, "bridge").is_file(), reason="containernetworking-plugins is not installed")


@each
@go_is_here
def test_from_gos_plugins_with_pods_running(network: Network) -> None:
    """Pods that Go's plugins attached go on working, pass our CHECK and reach pods of ours; our DEL leaves nothing."""
    network.binaries = GO
    one, two = network.add(PORT), network.add(PORT + 1)
    network.binaries = SUBJECT
    three = network.add(PORT + 2)
    for member in (one, two, three):
        member.check()
    everything_works(network, one, three)
    everything_works(network, three, one)
    two.delete(namespace=False)
    everything_works(network, one, three)
    one.delete(cache=False)
    everything_works(network, three, network.add(PORT))
    three.delete()
    network.last.delete()
    assert network.left() == []


@each
@go_is_here
def test_back_to_gos_plugins_with_pods_running(network: Network) -> None:
    """After cni-handback pods of ours work with Go's plugins on the node, and Go's DEL leaves nothing of them."""
    one, two = network.add(PORT), network.add(PORT + 1)
    network.node.run(f"{DIST}/cni-handback", "--write")
    network.binaries = GO
    three = network.add(PORT + 2)
    everything_works(network, one, three)
    everything_works(network, three, two)
    for member in (one, two, three):
        member.delete()
    assert [line for line in network.left() if not GOS_OWN.search(line)] == []


@pytest.mark.parametrize("kind", PLUGINS)
def test_nomad_and_nerdctl_can_read_the_version(kind: str) -> None:
    """Nomad takes the first word that is a semantic version; nerdctl reads what follows "CNI firewall plugin "."""
    done = subprocess.run([f"{DIST}/{kind}"], env={"PATH": "/bin"}, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, "")
    version = r"v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"
    words = [found for word in done.stderr.split() if (found := re.fullmatch(version, word))]
    after = re.search(rf"^CNI {kind} plugin (.*)$", done.stderr, re.MULTILINE)
    assert after and words and after[1] == words[0][0]
    # nerdctl isolates networks from each other with a firewall of 1.1.0 or later
    assert tuple(map(int, words[0].groups()[:3])) >= (1, 1, 0)
