"""Faults of the Go plugins that are absent here, each by the name that docs/compatibility/bridge.md gives it."""

import json
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.topology import Node

Object = dict[str, Any]
OLD = "a fault of Go's plugins"


def fixed(folder: Path, **result: Any) -> dict[str, str]:
    """The variables for calls whose IPAM plugin ``fixed`` answers with this."""
    folder.mkdir()
    document = json.dumps({"cniVersion": "1.0.0", **result})
    (folder / "fixed").write_text(f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] && echo '{document}'\nexit 0\n")
    (folder / "fixed").chmod(0o755)
    return {"CNI_PATH": str(folder)}


@pytest.mark.beyond_old_go(OLD)
def test_a_bridge_with_a_zero_mac_gets_one(node: Node) -> None:
    """Corner 2: a bridge that lost its last port has MAC zero until it is given one; ADD works at once, CHECK too."""
    node.ip("link add br0 type bridge", "link add x type veth peer name y")
    node.ip("link set x master br0", "link del x")
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24"), isGateway=True))
    mac = node.link("br0")["address"]
    assert mac != "00:00:00:00:00:00"
    other = node.attach(attachment.conf)
    other.delete()
    assert node.link("br0")["address"] == mac
    assert attachment.check().ok


@pytest.mark.beyond_old_go(OLD)
def test_route_attributes_are_made_and_checked(node: Node) -> None:
    """mtu, advmss, priority, table and scope reach the kernel, and CHECK sees each of them changed."""
    routes = [{"dst": "10.77.0.0/16", "mtu": 1300, "advmss": 1200, "priority": 7, "table": 99}]
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24", routes=routes), isGateway=True))
    found = attachment.pod.run("ip", "route", "show", "table", "99")
    assert found.split() == [
        "10.77.0.0/16",
        "via",
        "10.1.2.1",
        "dev",
        "eth0",
        "metric",
        "7",
        "mtu",
        "1300",
        "advmss",
        "1200",
    ]
    assert attachment.check().ok
    for change in ("mtu 1301 advmss 1200", "mtu 1300 advmss 1201"):
        attachment.pod.ip(f"route replace 10.77.0.0/16 via 10.1.2.1 dev eth0 table 99 metric 7 {change}")
        assert "10.77.0.0/16" in attachment.check().error["msg"]
    attachment.pod.ip("route replace 10.77.0.0/16 via 10.1.2.1 dev eth0 table 99 metric 7 mtu 1300 advmss 1200")
    assert attachment.check().ok
    attachment.pod.ip(
        "route del 10.77.0.0/16 table 99", "route add 10.77.0.0/16 via 10.1.2.1 table 99 metric 8 mtu 1300"
    )
    assert not attachment.check().ok


@pytest.mark.beyond_old_go(OLD)
def test_a_route_of_link_scope_has_no_gateway(node: Node) -> None:
    """Corner 10: the gateway is not filled in where the scope says that there is none."""
    routes = [{"dst": "10.78.0.0/16", "scope": 253}]
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24", routes=routes), isGateway=True))
    (route,) = (route for route in attachment.pod.routes() if route["dst"] == "10.78.0.0/16")
    assert route.get("scope") == "link"
    assert attachment.check().ok


@pytest.mark.parametrize("gateway", [True, False])
@pytest.mark.beyond_old_go(OLD)
def test_check_passes_with_a_host_prefix(node: Node, gateway: bool, tmp_path: Path) -> None:
    """Corner 8: an address with /32 has no route to its own prefix, and needs none."""
    path = fixed(tmp_path / "bin", ips=[{"address": "10.1.2.9/32"}])
    conf = bridge({"type": "fixed"}, isGateway=gateway)
    pod = node.pod()
    added = node.cni("bridge", "ADD", conf, container="c", netns=pod.path, env=path)
    assert added.ok, added.stdout
    checked = node.cni("bridge", "CHECK", {**conf, "prevResult": added.result}, container="c", netns=pod.path, env=path)
    assert checked.ok, checked.stdout


@pytest.mark.parametrize("keys", [{"vlan": 5000}, {"hairpinMode": True, "promiscMode": True}, {"mtu": "x"}])
@pytest.mark.beyond_old_go(OLD)
def test_status_refuses_what_add_refuses(node: Node, keys: Object) -> None:
    """Corner 29."""
    conf = bridge(version="1.1.0", **keys)
    status = node.cni("bridge", "STATUS", conf)
    added = node.cni("bridge", "ADD", conf, container="c", netns=node.pod().path)
    assert status.error["msg"] == added.error["msg"]
    assert node.cni("bridge", "STATUS", bridge(version="1.1.0")).ok


@pytest.mark.beyond_old_go(OLD)
def test_status_sees_a_bridge_name_that_is_taken(node: Node) -> None:
    """A link of another type has the bridge's name: an ADD would fail, and STATUS says so with code 50."""
    node.ip("link add br0 type veth peer name br0p")
    assert node.cni("bridge", "STATUS", bridge(version="1.1.0")).code == 50


@pytest.mark.beyond_old_go(OLD)
def test_a_capture_on_the_bridge_does_not_fail_check(node: Node) -> None:
    """Somebody else's promiscuous use of the bridge is no fault of the attachment."""
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24"), isGateway=True))
    node.ip("link set br0 promisc on")
    assert attachment.check().ok


@pytest.mark.beyond_old_go(OLD)
@pytest.mark.parametrize("name", ["net1", "n" * 250], ids=["a name", "a name that no alias can hold"])
def test_del_leaves_the_interface_of_another_attachment(node: Node, name: str) -> None:
    """A late DEL whose namespace path is another pod's by now does not cut that pod off."""
    conf = bridge(host_local(node.data_dir, "10.1.2.0/24"), name=name, isGateway=True)
    old, new = node.attach(conf), node.attach(conf)
    late = node.cni("bridge", "DEL", conf, container=old.pod.container, netns=new.pod.path)
    assert late.ok, late.stdout
    assert new.check().ok
    assert old.host not in node.links()


@pytest.mark.beyond_old_go(OLD)
def test_two_ipv4_range_sets_share_a_bridge(node: Node) -> None:
    """The gateways of one configuration do not conflict with each other."""
    attachment = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24", "10.3.0.0/24"), isGateway=True))
    assert node.addresses("br0") == {"10.1.2.1/24", "10.3.0.1/24"}
    assert attachment.pod.addresses("eth0") == {"10.1.2.2/24", "10.3.0.2/24"}
    assert attachment.check().ok
    assert node.attach(attachment.conf).check().ok


@pytest.mark.beyond_old_go("draws names")
def test_a_name_taken_by_another_owner_is_an_error_that_says_so(node: Node) -> None:
    """A link that has our derived name and another's alias is neither used nor removed."""
    conf = bridge()
    attachment = node.attach(conf)
    host = attachment.host
    attachment.delete()
    node.ip(f"link add {host} type veth peer name stranger", f"link set {host} alias other/net/eth9")
    again = node.cni("bridge", "ADD", conf, container=attachment.pod.container, netns=attachment.pod.path)
    assert "belongs to other/net/eth9" in again.error["msg"]
    assert attachment.delete(netns="").ok
    assert host in node.links()


def test_what_other_plugins_answered_is_dropped(node: Node) -> None:
    """Corner 30: behind others in a chain the result holds the bridge's own interfaces and addresses alone."""
    previous = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "net0", "mac": "02:00:00:00:00:09", "sandbox": "/x"}],
        "ips": [{"interface": 0, "address": "192.0.2.77/24"}],
        "routes": [{"dst": "203.0.113.0/24"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    made = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24"), prevResult=previous))
    assert [interface["name"] for interface in made.result["interfaces"]] == ["br0", made.host, "eth0"]
    assert made.addresses == ["10.1.2.2"]
    assert not made.result.get("routes") and not made.result.get("dns")
    assert made.pod.addresses("eth0") == {"10.1.2.2/24"}


@pytest.mark.beyond_old_go("an equal route is an error")
def test_a_route_that_is_told_twice_is_there_once(node: Node) -> None:
    """By the IPAM plugin, of both families."""
    routes = [{"dst": "203.0.113.0/24", "gw": "10.1.2.1"}, {"dst": "2001:db8:77::/64", "gw": "fd00:1::1"}]
    ipam = host_local(node.data_dir, "10.1.2.0/24", "fd00:1::/64", routes=routes * 2)
    made = node.attach(bridge(ipam, isGateway=True))
    for family, route in zip((4, 6), routes, strict=True):
        assert [found["dst"] for found in made.pod.routes(family)].count(route["dst"]) == 1
    assert made.check().ok


def test_routes_to_one_network_by_two_gateways_are_both_there(node: Node) -> None:
    """As Go makes them: another gateway is another route."""
    routes = [{"dst": "203.0.113.0/24", "gw": f"10.1.2.{last}"} for last in (7, 8)]
    made = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24", routes=routes), isGateway=True))
    found = [route["gateway"] for route in made.pod.routes() if route["dst"] == "203.0.113.0/24"]
    assert sorted(found) == ["10.1.2.7", "10.1.2.8"]


@pytest.mark.beyond_old_go("0")
def test_the_host_ends_queue_has_the_kernels_length(node: Node) -> None:
    """A token bucket that the bandwidth plugin puts there takes its limit from it."""
    made = node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24")))
    assert [link.get("txqlen") for link in (node.link(made.host), made.pod.link("eth0"))] == [1000, 1000]


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        (4, {}),
        (4, {"isGateway": True}),
        pytest.param(4, {"isDefaultGateway": True}, marks=pytest.mark.beyond_old_go("file exists")),
        pytest.param(6, {}, marks=pytest.mark.beyond_old_go("invalid argument")),
        pytest.param(6, {"isGateway": True}, marks=pytest.mark.beyond_old_go("invalid argument")),
        pytest.param(6, {"isDefaultGateway": True}, marks=pytest.mark.beyond_old_go("invalid argument")),
    ],
    ids=str,
)
def test_an_unspecified_gateway_is_none(node: Node, tmp_path: Path, version: int, keys: Object) -> None:
    """0.0.0.0 and :: : the container's default route is its link, and CHECK finds all that ADD has made."""
    address, gateway = {4: ("10.1.2.9/24", "0.0.0.0"), 6: ("fd00:1::9/64", "::")}[version]
    routes = [{"dst": f"{gateway}/0"}]
    path = fixed(tmp_path / "bin", ips=[{"address": address, "gateway": gateway}], routes=routes)
    conf, pod = bridge({"type": "fixed"}, **keys), node.pod()
    call: Object = {"container": pod.container, "netns": pod.path, "env": path}
    added = node.cni("bridge", "ADD", conf, **call)
    assert added.ok, added.stdout
    assert [route.get("gateway") for route in pod.routes(version) if route["dst"] == "default"] == [None]
    assert node.addresses("br0") == set()
    assert node.cni("bridge", "CHECK", {**conf, "prevResult": added.result}, **call).ok


@pytest.mark.beyond_old_go("invalid argument")
def test_an_mtu_too_small_for_what_ipam_answers_is_named(node: Node, tmp_path: Path) -> None:
    """That the pod gets IPv6 is known after IPAM's answer only: it is taken back."""
    path = fixed(tmp_path / "bin", ips=[{"address": "10.1.2.9/24"}, {"address": "fd00:1::9/64"}])
    pod = node.pod()
    conf = bridge({"type": "fixed"}, mtu=1279)
    refused = node.cni("bridge", "ADD", conf, container=pod.container, netns=pod.path, env=path)
    assert (refused.code, refused.error["msg"]) == (7, "mtu is 1279, and must be from 1280 to 65535 with IPv6")
    assert set(pod.links()) == {"lo"} and node.ports("br0") == set()


@pytest.mark.beyond_old_go("invalid argument")
def test_a_bridge_whose_ports_leave_no_ipv6_is_named(node: Node) -> None:
    """Another network's pods have an MTU with which the bridge has no IPv6."""
    node.attach(bridge(host_local(node.data_dir, "10.1.2.0/24"), mtu=1200))
    conf = bridge(host_local(node.data_dir, "fd00:1::/64"), name="net2", isGateway=True)
    pod = node.pod()
    refused = node.cni("bridge", "ADD", conf, container=pod.container, netns=pod.path)
    assert "br0" in refused.error["msg"]
    assert refused.error.get("details") == "its MTU is 1200, and IPv6 needs 1280: a port has a smaller one"


@pytest.mark.beyond_old_go("exchange full")
def test_a_bridge_that_is_full_is_named_as_such(node: Node) -> None:
    """The kernel's errno alone would not tell anybody what to do."""
    ends = [f"{end}{number}" for number in range(512) for end in "ab"][:1023]
    node.ip("link add br0 type bridge", *(f"link add a{n} type veth peer name b{n}" for n in range(512)))
    node.ip(*(f"link set {end} master br0" for end in ends))
    pod = node.pod()
    refused = node.cni("bridge", "ADD", bridge(), container=pod.container, netns=pod.path)
    assert "exchange full" in refused.error["msg"]
    assert "1023; use another bridge" in refused.error.get("details", "")
    assert set(pod.links()) == {"lo"}
