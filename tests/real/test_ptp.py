"""ptp: the addresses and routes of both ends, whom a pod reaches, what is refused, what CHECK sees, what DEL removes."""

import json
from pathlib import Path
from typing import Any

import pytest

from node.configuration import host_local
from node.namespace import Netns, Object
from node.plugin import DIST, GO, SUBJECT
from node.topology import Attachment, Node, Pod
from node.traffic import reaches, tcp_source

pytestmark = pytest.mark.real

SUBNET, SUBNET6 = "10.1.2.0/24", "fd00:1::/64"
DEFAULTS = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


def ptp(ipam: Object | None = None, *, version: str = "1.0.0", **keys: Any) -> Object:
    """A ptp network; without ``ipam`` on layer 2."""
    conf: Object = {"cniVersion": version, "name": "net1", "type": "ptp", **keys}
    return conf | ({"ipam": ipam} if ipam else {})


def static(*addresses: tuple[str, str], **keys: Any) -> Object:
    """Addresses with their gateways."""
    stated = [{"address": address, "gateway": gateway} for address, gateway in addresses]
    return {"type": "static", "addresses": stated, **keys}


def shape(at: Netns, name: str) -> Object:
    """Addresses and routes of a link, as `ip` prints them, without its name and what differs by chance."""
    family = [
        (each["family"], each["local"], each["prefixlen"], each.get("broadcast"), each["scope"])
        for each in at.address_objects(name)
        if not each["local"].startswith("fe80::") or each["prefixlen"] == 128
    ]
    found = []
    for version in (4, 6):
        for route in at.routes(version):
            if route["dev"] == name and route["dst"] != "fe80::/64":
                kept = ("dst", "gateway", "scope", "prefsrc", "metric", "metrics", "protocol")
                found.append({key: route[key] for key in kept if key in route})
    return {"addresses": sorted(family), "routes": sorted(map(str, found))}


def host(attachment: Attachment) -> str:
    """The name of the node's end."""
    return str(attachment.result["interfaces"][0]["name"])


def refused(node: Node, conf: Object, pod: Pod | None = None, **call: Any) -> Object:
    """The error of an ADD that leaves the node as it was."""
    before, pod = node.snapshot(), pod or node.pod()
    links = set(pod.links())
    error = Attachment(node, conf, pod, **call).add().error
    assert set(pod.links()) == links
    after = node.snapshot()
    for each in (before, after):
        each["leases"] = {name: held for name, held in each["leases"].items() if held}
    assert after == before
    return error


# what a pod gets


def test_result_addresses_and_routes_are_gos(node: Node) -> None:
    """In both families, on both ends; each CHECK accepts what the other made. A result of plugins before is dropped."""
    if not Path(GO, "ptp").is_file():
        pytest.skip("needs Go's plugins: apt install containernetworking-plugins")
    routes = [*DEFAULTS, {"dst": "10.9.0.0/16", "gw": "10.1.2.9"}, {"dst": "10.8.0.0/16", "gw": "10.1.2.1"}]
    addresses = ("10.1.2.5/24", "10.1.2.1"), ("fd00:1::5/64", "fd00:1::1"), ("fd00:2::5/128", "fd00:2::1")
    dns = {"nameservers": ["10.1.2.1"]}
    earlier = {"cniVersion": "1.0.0", "interfaces": [{"name": "x"}], "ips": [{"address": "10.7.7.7/24"}]}
    conf = ptp(static(*addresses, routes=routes), mtu=1400, dns=dns, prevResult=earlier)
    found = []
    for maker, other in ((GO, SUBJECT), (SUBJECT, GO)):
        made = node.attach(conf, binaries=maker)
        assert made.check(binaries=other).ok
        name = host(made)
        forwards = [node.sysctl(each) for each in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")]
        mtus = made.pod.link("eth0")["mtu"], node.link(name)["mtu"]
        for interface in made.result["interfaces"]:
            assert interface.pop("mac") and interface.pop("sandbox", made.pod.path) == made.pod.path
        made.result["interfaces"][0].pop("name")
        found.append((made.result, shape(made.pod, "eth0"), shape(node, name), forwards, mtus))
        assert made.delete(binaries=maker, prev_result=False).ok
    assert found[1] == found[0]
    assert found[0][3:] == (["1", "1"], (1400, 1400)) and found[0][0]["dns"] == dns


def test_pods_reach_each_other_the_node_and_the_world(node: Node) -> None:
    """At once when ADD returns, both families: as themselves here, and masqueraded outside."""
    conf = ptp(host_local(node.data_dir, SUBNET, SUBNET6, routes=DEFAULTS), ipMasq=True)
    one, two = node.attach(conf), node.attach(conf)
    outside = (node.OUTSIDE, node.ADDRESS), (node.OUTSIDE6, node.ADDRESS6)
    for own, other, (far, near) in zip(one.addresses, two.addresses, outside, strict=True):
        assert tcp_source(two.pod, one.pod, other) == own
        assert tcp_source(node, one.pod, near) == own
        assert reaches(node, one.pod, own)
        assert tcp_source(node.outside, one.pod, far) == near
    # Go's DEL looks for the masquerade only while the configuration has it
    assert one.delete(ipMasq=False).ok and two.delete(ipMasq=False, netns="", prev_result=False).ok
    assert "pycni_masquerade" not in str(node.nft())
    assert not [route for route in node.routes(4) if route["dst"] in one.addresses + two.addresses]


@pytest.mark.parametrize(
    ("version", "addresses"),
    [
        pytest.param(4, [("10.1.2.5/32", "169.254.1.1"), ("10.1.2.6/32", "169.254.1.1")], id="host prefixes"),
        pytest.param(4, [("10.1.2.5/24", "10.9.9.9")], id="outside of the network"),
        pytest.param(6, [("fd00:1::5/128", "fe80::1")], id="link-local"),
        pytest.param(6, [("fd00:1::5/64", "fd00:9::9")], id="outside of the network, IPv6"),
    ],
)
def test_the_gateway_may_be_anywhere(node: Node, version: int, addresses: list[tuple[str, str]]) -> None:
    """Go's fails for all of IPv4's, and where a route needs it. Two pods have the same gateway."""
    section = static(*addresses, routes=[DEFAULTS[version == 6]])
    one = node.attach(ptp(section))
    others = [(address.replace("5/", "15/").replace("6/", "16/"), gateway) for address, gateway in addresses]
    two = node.attach(ptp({**section, "addresses": static(*others)["addresses"]}))
    for address in two.addresses:
        assert tcp_source(two.pod, one.pod, address) in one.addresses
    assert one.check().ok and two.check().ok


def test_two_attachments_of_one_container_share_a_gateway(node: Node) -> None:
    """Go's refuses the second. DEL of one leaves the other whole."""
    conf = ptp(host_local(node.data_dir, SUBNET, SUBNET6, routes=DEFAULTS), ipMasq=True)
    one = node.attach(conf)
    other = node.attach(conf, one.pod, ifname="eth1")
    assert one.check().ok and other.check().ok
    for address in (*one.addresses, *other.addresses):
        assert reaches(node, one.pod, address)
    assert other.delete().ok and one.check().ok
    assert tcp_source(node.outside, one.pod, node.OUTSIDE) == node.ADDRESS


def test_layer_2(node: Node) -> None:
    """Go's needs an IPAM plugin (plugins#987). Both ends are up and have no address."""
    for conf in (ptp(version="1.1.0", mtu=1400, ipMasq=True), ptp({"type": ""})):
        made = node.attach(conf)
        assert [interface["name"] for interface in made.result["interfaces"]] == [host(made), "eth0"]
        assert not made.result.get("ips") and made.check().ok
        for at, name in ((node, host(made)), (made.pod, "eth0")):
            at.ip(f"addr add 10.5.5.{1 + (at is node)}/24 dev {name}")
        assert reaches(node, made.pod, "10.5.5.1")
        made.pod.ip("link set eth0 down")
        assert "eth0 is down" in made.check().error["msg"]
        assert made.delete(prev_result=False).ok
        assert node.sysctl("ipv4/ip_forward") == "0"
    assert "no valid IP addresses" in refused(node, ptp(version="0.2.0"))["msg"]


# what is refused


def test_what_cannot_be_is_refused_and_nothing_is_made(node: Node) -> None:
    """The error names the address."""
    none, own, other = ("10.1.2.5/24", ""), ("10.1.2.5/24", "10.1.2.5"), ("10.1.2.5/24", "fd00::1")
    for addresses, text in ((none, "no gateway"), (own, "its own gateway"), (other, "other family, fd00::1")):
        msg = refused(node, ptp(static(addresses)))["msg"]
        assert "failed to add IP addr" in msg and "10.1.2.5/24" in msg and text in msg
    for gateway in ("127.0.0.1", "224.0.0.1", "255.255.255.255"):
        assert f"gateway {gateway}, which no" in refused(node, ptp(static(("10.1.2.5/24", gateway))))["msg"]
    assert "gateway ::1, which no" in refused(node, ptp(static(("fd00::5/64", "::1"))))["msg"]
    multicast = refused(node, ptp(static(("224.0.0.5/24", "10.1.2.1"))))["msg"]
    assert multicast.startswith("failed to add route '10.1.2.1/32 dev eth0'")
    stray = static(("10.1.2.5/24", "10.1.2.1"), routes=[{"dst": "10.9.0.0/16", "gw": "10.3.3.3"}])
    assert "failed to add route '10.9.0.0/16 via 10.3.3.3" in refused(node, ptp(stray))["msg"]
    backend = refused(node, ptp(static(("10.1.2.5/24", "10.1.2.1")), ipMasq=True, ipMasqBackend="x"))
    assert backend["msg"] == 'unknown ipmasq backend "x"'


def test_an_address_that_another_pod_has_is_refused(node: Node) -> None:
    """Go's gives it to both, and the node reaches the first alone. So with the node's own address."""
    for address, gateway in (("10.1.2.5/24", "10.1.2.1"), ("fd00:1::5/64", "fd00:1::1")):
        one = node.attach(ptp(static((address, gateway))))
        error = refused(node, ptp(static((address, gateway)), name="net2"))
        assert error["code"] == 101 and f"net1/{one.pod.container}/eth0" in error["msg"]
        assert one.check().ok
    for own, gateway in ((node.ADDRESS, "10.1.2.1"), (node.ADDRESS6, "fd00:1::1")):
        error = refused(node, ptp(static((f"{own}/24", gateway))))
        assert error["code"] == 101 and f"to {own}: the node has it itself" in error["msg"]


# CHECK


def test_check_names_each_difference(node: Node) -> None:
    conf = ptp(host_local(node.data_dir, SUBNET, SUBNET6, routes=DEFAULTS), ipMasq=True, dropInvalid=True, mtu=1400)
    made = node.attach(conf)
    v4, v6 = made.addresses
    name = host(made)
    inside: dict[str, tuple[str, str]] = {
        "route del default": ("route add default via 10.1.2.1", "Expected Route 0.0.0.0/0 not found"),
        f"route del {SUBNET}": (f"route add {SUBNET} via 10.1.2.1", f"Expected Route {SUBNET} via 10.1.2.1"),
        "route del fd00:1::1/128 dev eth0": ("route add fd00:1::1/128 dev eth0", "Expected Route fd00:1::1/128"),
        f"addr del {v6}/64 dev eth0": ("", f"Failed to match addr {v6}/64 on interface eth0"),
    }
    outside = {
        f"route del {v4}": (f"route add {v4} dev {name} scope host", f"the node's route to {v4} leads to"),
        f"route del {v6}": (f"route add {v6} dev {name}", f"the node's route to {v6} leads to"),
        f"addr del 10.1.2.1/32 dev {name}": (
            f"addr add 10.1.2.1/32 dev {name}\nroute add {v4} dev {name} scope host",
            "gateway address 10.1.2.1/32 is not on",
        ),
        f"link set {name} mtu 1300": (f"link set {name} mtu 1400", f"mtu of {name} is 1300"),
    }
    for at, changes in ((node, outside), (made.pod, inside)):
        for change, (back, text) in changes.items():
            assert made.check().ok
            at.ip(change)
            assert text in made.check().error["msg"], change
            if back:
                at.ip(back)
    for switch in ("ipv4/ip_forward", f"ipv4/conf/{name}/forwarding"):
        other = node.attach(conf)
        node.sysctl(switch.replace(name, host(other)), "0")
        assert "forwarding of IPv4 is off" in other.check().error["msg"]
        node.sysctl("ipv4/ip_forward", "1")
    missing = made.call("CHECK", conf).error["msg"]
    assert missing == "ptp: Required prevResult missing"
    last = node.attach(conf)
    node.run("nft", "flush", "chain", "inet", "pycni_masquerade", "forward")
    assert "not dropped" in last.check().error["msg"]


def test_dns_is_the_configurations_or_else_ipams(node: Node) -> None:
    """An empty list counts as set, as in Go's."""
    section = static(("10.1.2.5/24", "10.1.2.1"), dns={"nameservers": ["10.0.0.1"]})
    for dns, expected in (({}, ["10.0.0.1"]), ({"dns": {"nameservers": ["10.0.0.2"]}}, ["10.0.0.2"])):
        made = node.attach(ptp(section, version="0.4.0", **dns))
        assert made.result["dns"] == {"nameservers": expected}
        assert made.delete().ok
    made = node.attach(ptp(section, version="0.4.0", dns={"search": []}))
    assert made.result["dns"] == {}


def test_what_the_nodes_defaults_turn_off(node: Node) -> None:
    """New links of the node have no IPv6 and do not forward: the host end has both."""
    defaults = {"ipv4/ip_forward": "1", "ipv4/conf/default/forwarding": "0", "ipv6/conf/default/disable_ipv6": "1"}
    for name, value in defaults.items():
        node.sysctl(name, value)
    made = node.attach(ptp(host_local(node.data_dir, SUBNET, SUBNET6, routes=DEFAULTS), ipMasq=True))
    outside = (node.OUTSIDE, node.ADDRESS), (node.OUTSIDE6, node.ADDRESS6)
    for own, (far, near) in zip(made.addresses, outside, strict=True):
        assert reaches(node, made.pod, own)
        assert tcp_source(node.outside, made.pod, far) == near


def test_the_link_is_up_for_the_ipam_plugin(node: Node, tmp_path: Path) -> None:
    """When its ADD and its DEL run, so that a DHCP client can send through it. Go's has no link yet."""
    answer = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.5/24", "gateway": "10.1.2.1"}]}
    file = tmp_path / "looking"
    look = f'nsenter --net="$CNI_NETNS" ip -brief link show "$CNI_IFNAME" >{tmp_path}/$CNI_COMMAND'
    file.write_text(f"#!/bin/sh\n{look} || exit 1\necho '{json.dumps(answer)}'\n")
    file.chmod(0o755)
    conf, pod = ptp({"type": "looking"}), node.pod()
    for verb in ("ADD", "DEL"):
        path = {"CNI_PATH": str(tmp_path)}
        assert node.cni("ptp", verb, conf, container=pod.container, netns=pod.path, env=path).ok
        assert "LOWER_UP" in (tmp_path / verb).read_text()
    assert set(pod.links()) == {"lo"}


@pytest.mark.skipif(not Path(DIST, "cni-handback").is_file(), reason="dist/cni-handback is not built")
def test_the_way_back_to_go(node: Node) -> None:
    """The masquerade becomes Go's rules, whose DEL leaves nothing; the inventory has a pod of either."""
    conf = ptp(host_local(node.data_dir, SUBNET, routes=DEFAULTS[:1]), ipMasq=True)
    before, handback = node.snapshot(), f"{DIST}/cni-handback"
    made, gos = node.attach(conf), node.attach(conf, binaries=GO)
    listed = json.loads(node.run(handback, "--list", str(node.data_dir)))
    kinds = [
        (thing["kind"], thing["owner"]["container"])
        for thing in listed
        if thing["owner"].get("container") in (made.pod.container, gos.pod.container)
    ]
    assert {("veth pair", made.pod.container), ("masquerade", made.pod.container)} <= set(kinds)
    assert {("lease", gos.pod.container), ("masquerade in Go's form", gos.pod.container)} <= set(kinds)
    assert host(gos) in [thing["identity"] for thing in listed if thing["kind"] == "veth pair of Go's plugins"]
    assert f"masquerading of {made.address}" in node.run(handback, "--write")
    assert tcp_source(node.outside, made.pod, node.OUTSIDE) == node.ADDRESS
    for each in (made, gos):
        assert each.check(binaries=GO).ok and each.delete(binaries=GO).ok
    after = node.snapshot()
    assert (after["links"], after["routes"]) == (before["links"], before["routes"])
    assert not [line for line in after["iptables"] if line.startswith("-A") or "CNI-" in line]
    assert node.leases() == {} and "pycni_masquerade" not in str(after["nft"])
