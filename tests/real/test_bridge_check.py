"""CHECK of bridge: passes on what ADD made, fails on each kind of tampering, and changes nothing either way."""

from collections.abc import Callable
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.topology import Attachment, Node

pytestmark = pytest.mark.real

SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"
Tamper = Callable[[Node, Attachment], object]


def attach(node: Node, *subnets: str, version: str = "1.0.0", **keys: Any) -> Attachment:
    """A new pod that routes everything through the bridge."""
    section = host_local(node.data_dir, *(subnets or (SUBNET,)))
    return node.attach(bridge(section, version=version, isDefaultGateway=True, **keys))


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", pytest.param("1.1.0", marks=pytest.mark.beyond_old_go("1.1.0"))])
def test_check_passes_after_add(node: Node, version: str) -> None:
    """Twice for each of two pods, in every version that has CHECK, and the kernel is as before."""
    pods = [attach(node, SUBNET, SUBNET6, version=version, ipMasq=True, hairpinMode=True) for _ in range(2)]
    before = node.snapshot()
    for pod in pods * 2:
        assert pod.check().exit == 0, pod.check().stdout
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("CHECK asks an IPAM plugin that is not there")
def test_check_passes_on_layer_2(node: Node) -> None:
    """Without IPAM there is nothing to ask IPAM."""
    pod = node.attach(bridge())
    assert pod.check().exit == 0, pod.check().stdout
    node.run("ip", "link", "set", pod.host, "nomaster")
    assert not pod.check().ok


def _beyond(reason: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.beyond_old_go(reason)]


NOT_COMPARED = _beyond("not compared")
TAMPERING: list[Any] = [
    pytest.param(lambda node, pod: pod.pod.ip("addr del 10.1.0.2/24 dev eth0"), id="address removed"),
    pytest.param(
        lambda node, pod: pod.pod.ip(
            "addr del 10.1.0.2/24 dev eth0", "addr add 10.1.0.9/24 dev eth0", "route add default via 10.1.0.1"
        ),
        id="address replaced",
    ),
    pytest.param(lambda node, pod: pod.pod.ip("route del default"), id="default route removed"),
    pytest.param(lambda node, pod: pod.pod.ip("route del ::/0"), id="IPv6 default route removed"),
    pytest.param(lambda node, pod: pod.pod.ip("link set eth0 down"), id="link down"),
    pytest.param(lambda node, pod: pod.pod.ip("link set eth0 address 02:00:00:00:00:99"), id="MAC changed"),
    pytest.param(
        lambda node, pod: pod.pod.ip("link set eth0 down", "link set eth0 name eth9", "link set eth9 up"), id="renamed"
    ),
    pytest.param(lambda node, pod: node.ip(f"link del {pod.host}"), id="veth removed"),
    pytest.param(lambda node, pod: node.ip(f"link set {pod.host} nomaster"), id="host veth unplugged"),
    pytest.param(
        lambda node, pod: node.ip("link add br9 type bridge", f"link set {pod.host} master br9"),
        id="host veth in another bridge",
    ),
    pytest.param(
        lambda node, pod: [at.unlink() for at in (node.data_dir / "net1").glob("[12]*")], id="all leases removed"
    ),
    pytest.param(lambda node, pod: node.ip(f"link set {pod.host} down"), id="host veth down", marks=NOT_COMPARED),
    pytest.param(
        lambda node, pod: node.ip(f"link set {pod.host} type bridge_slave hairpin off"),
        id="hairpin flipped",
        marks=NOT_COMPARED,
    ),
    pytest.param(
        lambda node, pod: node.ip("addr del 10.1.0.1/24 dev br0"), id="gateway address removed", marks=NOT_COMPARED
    ),
]


@pytest.mark.parametrize("tamper", TAMPERING)
def test_check_fails_after_tampering(node: Node, tamper: Tamper) -> None:
    """Passes before, fails after, and says so with an error that the runtime can show."""
    pod = attach(node, SUBNET, SUBNET6, ipMasq=True, hairpinMode=True)
    assert pod.check().ok, "the test needs a CHECK that passes first"
    tamper(node, pod)
    outcome = pod.check()
    assert not outcome.ok
    assert outcome.error["msg"]


@pytest.mark.beyond_old_go("not compared")
@pytest.mark.parametrize(
    ("keys", "tamper"),
    [
        pytest.param(
            {"portIsolation": True},
            lambda node, pod: node.ip(f"link set {pod.host} type bridge_slave isolated off"),
            id="isolation off",
        ),
        pytest.param(
            {"portIsolation": False},
            lambda node, pod: node.ip(f"link set {pod.host} type bridge_slave isolated on"),
            id="isolation on",
        ),
        pytest.param({"mtu": 1400}, lambda node, pod: node.ip(f"link set {pod.host} mtu 1300"), id="host veth's mtu"),
        pytest.param({}, lambda node, pod: node.sysctl("ipv4/ip_forward", "0"), id="forwarding off"),
        pytest.param({}, lambda node, pod: node.sysctl("ipv6/conf/all/forwarding", "0"), id="IPv6 forwarding off"),
        pytest.param({}, lambda node, pod: node.ip("link set br0 down"), id="bridge down"),
    ],
)
def test_check_fails_when_what_a_key_asked_for_is_no_longer_so(
    node: Node, keys: dict[str, Any], tamper: Tamper
) -> None:
    """On the node's side, which is nobody else's to change."""
    pod = attach(node, SUBNET, SUBNET6, **keys)
    assert pod.check().ok
    tamper(node, pod)
    assert pod.check().error["msg"]


@pytest.mark.beyond_old_go("CHECK asks an IPAM plugin that is not there")
def test_check_sees_the_host_end_of_an_interface_that_is_kept_down(node: Node) -> None:
    """With disableContainerInterface there is no carrier to go by."""
    pod = node.attach(bridge(disableContainerInterface=True))
    assert pod.check().ok
    node.ip(f"link set {pod.host} down")
    assert pod.host in pod.check().error["msg"]


@pytest.mark.beyond_old_go("not compared")
def test_check_leaves_the_containers_mtu_to_later_plugins(node: Node) -> None:
    """Go's tuning changes it, and the result goes on telling the one that ADD made; that of the host end is compared."""
    pod = attach(node, version="1.1.0", mtu=1400)
    assert pod.result["interfaces"][2]["mtu"] == 1400
    pod.pod.ip("link set eth0 mtu 1300")
    assert pod.check().exit == 0, pod.check().stdout
    node.ip(f"link set {pod.host} mtu 1300")
    assert "1300" in pod.check().error["msg"]


@pytest.mark.beyond_old_go("not compared")
@pytest.mark.parametrize(
    "keys", [{"ipMasq": True}, {"ipMasq": True, "ipMasqBackend": "iptables"}, {"macspoofchk": True}]
)
def test_check_fails_when_somebody_flushed_the_rules(node: Node, keys: dict[str, Any]) -> None:
    """A pod without its masquerade or its guard may not pass as having them, whichever packet filter has the rules."""
    pod = attach(node, SUBNET, SUBNET6, **keys)
    assert pod.check().ok
    node.run("nft", "flush", "ruleset")
    assert not pod.check().ok


@pytest.mark.beyond_old_go("not compared")
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_check_fails_when_one_masquerade_rule_is_missing(node: Node, family: str) -> None:
    """The POSTROUTING jump of one of two families is enough."""
    pod = attach(node, SUBNET, SUBNET6, ipMasq=True, ipMasqBackend="iptables")
    assert pod.check().ok
    node.run("iptables" if family == "-4" else "ip6tables", "-t", "nat", "-F", "POSTROUTING")
    assert not pod.check().ok


def test_check_fails_when_the_bridge_is_no_longer_promiscuous(node: Node) -> None:
    """promiscMode is what was asked for; without it, what others do to the bridge (a packet capture) is theirs."""
    pod = attach(node, promiscMode=True)
    assert pod.check().ok
    node.ip("link set br0 promisc off")
    assert not pod.check().ok


def test_check_tolerates_what_later_plugins_did(node: Node) -> None:
    """More addresses, routes and another MTU are other plugins' business."""
    pod = attach(node)
    pod.pod.ip("addr add 10.55.0.1/32 dev eth0", "route add 198.51.100.0/24 via 10.1.0.1", "link set eth0 mtu 1300")
    assert pod.check().exit == 0, pod.check().stdout


@pytest.mark.beyond_old_go("wants every address on its own interface")
def test_check_leaves_other_plugins_addresses_to_them(node: Node) -> None:
    """prevResult is the whole chain's: what it puts on other interfaces is theirs to check."""
    pod = attach(node)
    interfaces = pod.result["interfaces"]
    interfaces.append({"name": "net1", "sandbox": pod.pod.path})
    pod.result["ips"].append({"interface": len(interfaces) - 1, "address": "198.51.100.7/24"})
    assert pod.check().exit == 0, pod.check().stdout
    pod.result["ips"].append({"interface": 2, "address": "198.51.100.8/24"})
    assert "198.51.100.8/24" in pod.check().error["msg"]


def test_check_needs_the_result_of_add(node: Node) -> None:
    """Without prevResult CHECK cannot know what should be."""
    pod = attach(node)
    assert "prevResult" in pod.call("CHECK", pod.conf).error["msg"]


@pytest.mark.beyond_old_go("CHECK asks an IPAM plugin that is not there")
def test_check_needs_the_result_of_add_on_layer_2_too(node: Node) -> None:
    """Where no IPAM plugin asks for it."""
    pod = node.attach(bridge())
    assert pod.call("CHECK", pod.conf).error["msg"] == "Required prevResult missing"


def test_check_refuses_another_pods_result(node: Node) -> None:
    """The sandbox of the result has to be the namespace that is asked for."""
    one, two = attach(node), attach(node)
    assert not one.call("CHECK", {**one.conf, "prevResult": two.result}).ok
    assert one.check().ok and two.check().ok
