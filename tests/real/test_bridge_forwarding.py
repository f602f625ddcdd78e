"""The node forwards for its containers, and keeps what it has itself: its IPv6 routes, its neighbours, its addresses."""

import json
import socket
import struct
import subprocess
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.deadline import eventually
from node.plugin import LIMIT, SUBJECT, Outcome, environment, held
from node.topology import Attachment, Node, Pod
from node.traffic import reaches

Object = dict[str, Any]
SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"
ROUTER = "fe80::99"


def attach(node: Node, *subnets: str, **keys: Any) -> Attachment:
    """A new pod whose gateway is the node."""
    return node.attach(bridge(host_local(node.data_dir, *subnets), **{"isGateway": True, **keys}))


def advertise(node: Node) -> None:
    """The host outside says once that it is a router (RFC 4861, 4.2)."""
    with node.outside.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sending:
        with node.outside.inside():
            index = socket.if_nametoindex("uplink")
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sending.bind((ROUTER, 0, 0, index))
        sending.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))


def default_routes(node: Node, ifname: str = "uplink") -> list[str]:
    """The gateways of the default routes of a link that came with an advertisement."""
    routes = [route for route in node.routes(6) if (route["dst"], route["dev"]) == ("default", ifname)]
    return [str(route["gateway"]) for route in routes if route["protocol"] == "ra"]


@pytest.fixture
def slaac(node: Node) -> Node:
    """A node that does not forward, whose IPv6 default route came with an advertisement."""
    node.sysctl("ipv6/conf/all/forwarding", "0")
    node.outside.ip(f"addr add {ROUTER}/64 dev uplink nodad")
    advertise(node)
    assert eventually(lambda: default_routes(node)) == [ROUTER]
    return node


@pytest.mark.beyond_old_go("the node loses its default route")
def test_the_first_ipv6_gateway_leaves_the_nodes_default_route(slaac: Node) -> None:
    """The uplink accepts advertisements further on, one line says so, and other links are as they were."""
    slaac.ip("link add other type veth peer name rehto", "link set other up", "link set rehto up")
    pod = Attachment(slaac, bridge(host_local(slaac.data_dir, SUBNET6), isGateway=True), slaac.pod())
    first = pod.add()
    assert first.ok
    assert default_routes(slaac) == [ROUTER]
    assert slaac.sysctl("ipv6/conf/all/forwarding") == "1"
    switches = {name: slaac.sysctl(f"ipv6/conf/{name}/accept_ra") for name in ("uplink", "other", "br0", "default")}
    assert switches == {"uplink": "2", "other": "1", "br0": "0", "default": "1"}
    lines = [line for line in first.stderr.splitlines() if "accept_ra" in line]
    assert len(lines) == 1 and "accept_ra is 2 on uplink," in lines[0]
    assert pod.check().ok
    slaac.ip(f"route del default via inet6 {ROUTER} dev uplink proto ra")
    advertise(slaac)
    assert eventually(lambda: default_routes(slaac)) == [ROUTER], "the next advertisement counts too"
    assert "accept_ra" not in Attachment(slaac, pod.conf, slaac.pod()).add().stderr


@pytest.mark.beyond_old_go("the node loses its default route")
def test_a_lan_bridge_of_the_user_keeps_its_default_route(slaac: Node) -> None:
    """The node's uplink is a port of the bridge that pods are attached to, and the bridge lives on advertisements."""
    slaac.ip("addr flush dev uplink", "link add br0 type bridge", "link set uplink master br0", "link set br0 up")
    assert eventually(lambda: slaac.port("uplink")["state"] == "forwarding")
    assert eventually(lambda: advertise(slaac) or default_routes(slaac, "br0")) == [ROUTER]
    attach(slaac, SUBNET6)
    assert default_routes(slaac, "br0") == [ROUTER]
    assert slaac.sysctl("ipv6/conf/br0/accept_ra") == "2"


def test_our_own_switch_does_not_cost_the_node_its_default_route(slaac: Node) -> None:
    """The node forwards, but not from its uplink, so that advertisements count there; the bridge's switch is off."""
    slaac.sysctl("ipv6/conf/all/forwarding", "1")
    for name in ("default", "uplink"):
        slaac.sysctl(f"ipv6/conf/{name}/forwarding", "0")
    advertise(slaac)
    assert eventually(lambda: default_routes(slaac)) == [ROUTER]
    attach(slaac, SUBNET6)
    assert default_routes(slaac) == [ROUTER]
    assert slaac.sysctl("ipv6/conf/uplink/forwarding") == "0"


@pytest.mark.parametrize(
    ("subnet", "forwards", "accepts"),
    [(SUBNET6, "1", "1"), (SUBNET6, "0", "0"), (SUBNET6, "0", "2"), (SUBNET, "0", "1")],
    ids=["the node forwards", "no advertisements", "always accepted", "IPv4 only"],
)
def test_a_node_that_loses_nothing_is_not_touched(slaac: Node, subnet: str, forwards: str, accepts: str) -> None:
    """accept_ra stays, and no line says anything."""
    slaac.sysctl("ipv6/conf/all/forwarding", forwards)
    slaac.sysctl("ipv6/conf/uplink/accept_ra", accepts)
    added = Attachment(slaac, bridge(host_local(slaac.data_dir, subnet), isGateway=True), slaac.pod()).add()
    assert added.ok and "accept_ra" not in added.stderr
    assert slaac.sysctl("ipv6/conf/uplink/accept_ra") == accepts


@pytest.mark.beyond_old_go("the bridge does not forward")
def test_a_second_bridge_forwards_though_new_links_do_not(node: Node) -> None:
    """systemd sets conf.default.forwarding to 0 under all.forwarding 1: the bridge's own switch is set."""
    for version in ("ipv4", "ipv6"):
        node.sysctl(f"{version}/conf/all/forwarding", "1")
        node.sysctl(f"{version}/conf/default/forwarding", "0")
    node.outside.ip(f"route add {SUBNET} via {node.ADDRESS}", f"route add {SUBNET6} via {node.ADDRESS6}")
    pod = attach(node, SUBNET, SUBNET6, isDefaultGateway=True)
    assert reaches(pod.pod, node.outside, node.OUTSIDE)
    assert reaches(pod.pod, node.outside, node.OUTSIDE6)
    assert [node.sysctl(f"ipv{version}/conf/br0/forwarding") for version in (4, 6)] == ["1", "1"]
    assert [node.sysctl(f"ipv{version}/conf/default/forwarding") for version in (4, 6)] == ["0", "0"]


@pytest.mark.parametrize(
    ("version", "switch"), [(4, "ipv4/conf/br0/forwarding"), (4, "ipv4/ip_forward"), (6, "ipv6/conf/all/forwarding")]
)
@pytest.mark.beyond_old_go("forwarding is not compared")
def test_check_compares_the_switches_that_decide(node: Node, version: int, switch: str) -> None:
    """Somebody has switched one off: CHECK says which, and the next ADD switches it on."""
    pod = attach(node, SUBNET, SUBNET6)
    assert pod.check().ok
    node.sysctl(switch, "0")
    refused = pod.check().error
    assert refused["msg"] == f"forwarding of IPv{version} is off"
    assert refused["details"] == f"net/{switch} is not 1"
    node.attach(pod.conf)
    assert pod.check().ok


def test_the_bridges_own_switch_does_not_decide_for_ipv6(node: Node) -> None:
    """Packets pass without it, so CHECK is content: an older build did not set it."""
    node.outside.ip(f"route add {SUBNET6} via {node.ADDRESS6}")
    pod = attach(node, SUBNET6, isDefaultGateway=True)
    node.sysctl("ipv6/conf/br0/forwarding", "0")
    assert pod.check().ok
    assert reaches(pod.pod, node.outside, node.OUTSIDE6)


def read_only(node: Node, verb: str, conf: Object, pod: Pod) -> Outcome:
    """A call in a mount namespace whose /proc/sys cannot be written, as in a container."""
    variables = environment(verb, SUBJECT, CNI_CONTAINERID=pod.container, CNI_IFNAME="eth0", CNI_NETNS=pod.path)
    script = 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$0"'
    with node.inside():
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, f"{SUBJECT}/{conf['type']}"],
            input=json.dumps(conf), env=variables, capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip
    return held(conf["type"], verb, json.dumps(conf), done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("subnet", "default"),
    [
        (SUBNET, "1"),
        (SUBNET6, "1"),
        (SUBNET6, "0"),
        pytest.param(SUBNET, "0", marks=pytest.mark.beyond_old_go("a bridge that does not forward is not noticed")),
    ],
)
def test_a_read_only_proc_sys_is_refused_only_where_nothing_would_pass(node: Node, subnet: str, default: str) -> None:
    """A node in a container (kind): it forwards already, and the bridge's own switch has the default's value."""
    for version in ("ipv4", "ipv6"):
        node.sysctl(f"{version}/conf/all/forwarding", "1")
        node.sysctl(f"{version}/conf/default/forwarding", default)
    node.outside.ip(f"route add {SUBNET} via {node.ADDRESS}", f"route add {SUBNET6} via {node.ADDRESS6}")
    conf, pod = bridge(host_local(node.data_dir, subnet), isDefaultGateway=True), node.pod()
    added = read_only(node, "ADD", conf, pod)
    if (subnet, default) == (SUBNET, "0"):
        assert "net/ipv4/conf/br0/forwarding" in added.error["msg"]
        assert added.error["details"] == "br0 does not forward: set net/ipv4/conf/br0/forwarding to 1"
        assert node.leases() == {}
        return
    assert reaches(pod, node.outside, node.OUTSIDE6 if subnet == SUBNET6 else node.OUTSIDE)
    assert read_only(node, "CHECK", {**conf, "prevResult": added.result}, pod).ok
    assert read_only(node, "DEL", {**conf, "prevResult": added.result}, pod).ok


def link_local(node: Node) -> list[Object]:
    """The bridge's link-local addresses that are usable."""
    found = [address for address in node.address_objects("br0") if address["scope"] == "link"]
    return [address for address in found if not address.get("tentative")]


@pytest.mark.beyond_old_go("the bridge's link-local address is tentative for a second or two")
def test_the_bridges_own_ipv6_address_is_not_probed(node: Node) -> None:
    """The node asks for a pod's MAC from it, so the first packet from outside would wait until it is known to be unique."""
    attach(node, SUBNET6)
    assert eventually(lambda: link_local(node))
    with node.inside(), open("/proc/thread-self/net/dev_snmp6/br0") as counters:
        sent = dict(line.split() for line in counters)
    assert sent["Icmp6OutNeighborSolicits"] == "0"


@pytest.mark.beyond_old_go("accept_ra is switched off")
def test_a_bridge_that_the_user_made_keeps_its_ways(node: Node) -> None:
    """Neither detection nor router advertisements are switched off on it."""
    node.ip("link add br0 type bridge", "link set br0 up")
    attach(node, SUBNET6)
    assert [node.sysctl(f"ipv6/conf/br0/{name}") for name in ("accept_dad", "accept_ra")] == ["1", "1"]


@pytest.mark.beyond_old_go("the bridge's automatic address counts as a conflict")
@pytest.mark.parametrize("force", [False, True], ids=["kept", "forced"])
def test_a_link_local_gateway_stands_beside_the_automatic_address(node: Node, force: bool) -> None:
    """fe80::1 is each pod's gateway, before and after the bridge has its own link-local address."""
    keys: Object = {"gateway": "fe80::1"}
    ipam = host_local(node.data_dir)
    ipam["ranges"] = [[{"subnet": SUBNET6} | keys]]
    conf = bridge(ipam, isDefaultGateway=True, forceAddress=force)
    first = node.attach(conf)
    assert eventually(lambda: len(link_local(node)) == 2), node.address_objects("br0")
    second = node.attach(conf)
    assert {address["local"] for address in link_local(node)} > {"fe80::1"}
    assert len(link_local(node)) == 2
    for pod in (first, second):
        assert [route["gateway"] for route in pod.pod.routes(6) if route["dst"] == "default"] == ["fe80::1"]
        assert pod.check().ok


@pytest.mark.beyond_old_go("EEXIST is an error")
def test_a_link_local_gateway_with_another_length_is_a_conflict(node: Node) -> None:
    """The kernel has an address once a link: the other's prefix is told."""
    node.ip("link add br0 type bridge", "addr add fe80::1/10 dev br0 nodad", "link set br0 up")
    ipam = host_local(node.data_dir)
    ipam["ranges"] = [[{"subnet": SUBNET6, "gateway": "fe80::1"}]]
    refused = Attachment(node, bridge(ipam, isGateway=True), node.pod()).add().error
    assert "fe80::1/64" in refused["msg"] and "fe80::1/10" in refused.get("details", "")
