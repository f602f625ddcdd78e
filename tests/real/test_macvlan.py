"""macvlan on the node's uplink: what a pod gets, whom it reaches, what is refused, what CHECK sees, what DEL leaves alone."""

import itertools
import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.deadline import eventually
from node.dying import die_in_the_kernel
from node.namespace import Netns, Object
from node.plugin import GO, SUBJECT
from node.topology import Attachment, Node
from node.traffic import reaches, tcp_source

pytestmark = pytest.mark.real

SUBNET, SUBNET6 = "192.0.2.0/24", "2001:db8:ff::/64"
DEFAULT = [{"dst": "0.0.0.0/0", "gw": Node.OUTSIDE}]


def ipam(node: Node, *subnets: str, **keys: Any) -> Object:
    """Addresses of the outside's network, beyond those that are in use there."""
    found = host_local(node.data_dir, *(subnets or (SUBNET,)), **keys)
    for ((each,),) in ((entry,) for entry in found["ranges"]):
        each["rangeStart"] = each["subnet"].split("/")[0].removesuffix(".0") + (
            "50" if ":" in each["subnet"] else ".50"
        )
    return found


def macvlan(section: Object | None = None, *, version: str = "1.0.0", **keys: Any) -> Object:
    """A macvlan network on the uplink; without ``section`` on layer 2."""
    conf: Object = {"cniVersion": version, "name": "net1", "type": "macvlan", "master": "uplink", **keys}
    return {key: value for key, value in conf.items() if value is not None} | ({"ipam": section} if section else {})


def data(at: Netns, name: str = "eth0") -> Object:
    """What the kernel has of a link by its kind."""
    found: Object = at.link(name)["linkinfo"]["info_data"]
    return found


def refused(node: Node, conf: Object, **call: Any) -> Object:
    """The error of an ADD that leaves nothing: neither in the pod nor on the node."""
    pod, before = node.pod(), node.snapshot()
    error = Attachment(node, conf, pod, **call).add().error
    assert set(pod.links()) == {"lo"}
    after = node.snapshot()
    assert after["links"] == before["links"]
    assert {name: held for name, held in after["leases"].items() if held} == before["leases"]
    return error


# what a pod gets


def test_a_pod_is_in_the_network_of_the_master(node: Node) -> None:
    """It reaches the outside and other pods, and its interface is what was asked for."""
    conf = macvlan(ipam(node, routes=DEFAULT), mtu=1400, bcqueuelen=50, version="1.1.0")
    one, two = node.attach(conf), node.attach(conf)
    assert tcp_source(node.outside, one.pod, node.OUTSIDE) == one.address
    assert tcp_source(two.pod, one.pod, two.address) == one.address
    link = one.pod.link("eth0")
    assert (link["mtu"], link["txqlen"], link["ifalias"]) == (1400, 1000, f"net1/{one.pod.container}/eth0")
    assert (data(one.pod)["mode"], data(one.pod)["bcqueuelen"]) == ("bridge", 50)
    assert one.pod.routes()[0] == {"dst": "default", "gateway": node.OUTSIDE, "dev": "eth0", "flags": []}
    assert one.result["interfaces"] == [{"name": "eth0", "mac": one.mac, "mtu": 1400, "sandbox": one.pod.path}]
    assert [ip["interface"] for ip in one.result["ips"]] == [0]
    assert one.check().ok


def test_the_result_is_gos(node: Node) -> None:
    """But for the MAC, which is random, and the empty DNS that 1.1.1 always prints."""
    if not Path(GO, "macvlan").is_file():
        pytest.skip("needs Go's plugins: apt install containernetworking-plugins")
    found = []
    for binaries in (GO, SUBJECT):
        for version, section in (("0.3.1", ipam(node)), ("0.4.0", None), ("1.0.0", ipam(node)), ("0.2.0", ipam(node))):
            attachment = Attachment(node, macvlan(section, version=version), node.pod())
            result = attachment.add(binaries=binaries).result
            assert attachment.delete(binaries=binaries).ok
            for interface in result.get("interfaces", []):
                assert interface.pop("mac") and interface.pop("sandbox") == attachment.pod.path
            found.append({key: value for key, value in result.items() if value})
            (node.data_dir / "net1" / "last_reserved_ip.0").unlink(missing_ok=True)
    assert found[:4] == found[4:]


@pytest.mark.parametrize("mode", ["", "bridge", "private", "vepa"])
def test_the_mode_decides_who_is_reached_on_one_master(node: Node, mode: str) -> None:
    """In bridge mode pods reach each other without the wire; in the other two the outside would have to turn frames round."""
    conf = macvlan(ipam(node), mode=mode)
    one, two = node.attach(conf), node.attach(conf)
    assert data(one.pod)["mode"] == (mode or "bridge")
    bridged = mode in ("", "bridge")
    assert reaches(one.pod, two.pod, two.address, 3 if bridged else 0.3) == bridged
    assert tcp_source(node.outside, one.pod, node.OUTSIDE) == one.address


def test_passthru_has_the_master_alone_and_its_mac(node: Node) -> None:
    mac = node.link("uplink")["address"]
    one = node.attach(macvlan(ipam(node), mode="passthru"))
    assert one.mac == mac
    assert one.check().ok
    assert refused(node, macvlan(mode="passthru"))["msg"] == "failed to create macvlan: invalid argument"
    assert one.delete().ok
    # the MAC that was asked for: Go's plugin drops it without a word
    two = node.attach(macvlan(mode="passthru", mac="02:00:00:00:00:0a"))
    assert two.mac == two.result["interfaces"][0]["mac"] == node.link("uplink")["address"] == "02:00:00:00:00:0a"
    assert two.delete().ok
    assert node.link("uplink")["address"] == mac


def test_the_mac_asked_for(node: Node) -> None:
    """The capability counts before ``args.cni.mac``, CNI_ARGS and the key."""
    sources: list[Object] = [{"mac": "02-00-00-00-00-01"}, {}, {"args": {"cni": {"mac": "0200.0000.0003"}}}]
    sources += [{"runtimeConfig": {"mac": "02:00:00:00:00:0A"}}]
    wanted = ["02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03", "02:00:00:00:00:0a"]
    keys: Object = {}
    for place, (more, mac) in enumerate(zip(sources, wanted, strict=True)):
        keys |= more
        pod = node.attach(macvlan(**keys), args="MAC=02:00:00:00:00:02" if place else "")
        assert pod.mac == pod.result["interfaces"][0]["mac"] == mac
        assert pod.delete().ok


@pytest.mark.parametrize("name", ["uplink", "up", "the-uplink-of-this-node"])
def test_the_master_by_any_of_its_names(node: Node, name: str) -> None:
    node.ip("link property add dev uplink altname up altname the-uplink-of-this-node")
    assert node.attach(macvlan(master=name)).check().ok


ROUTES = {
    "the only one": (["route add default via 192.0.2.2"], "uplink"),
    "of IPv6": (["route add default via 2001:db8:ff::2"], "uplink"),
    "the lowest metric": (
        ["route add default via 192.0.2.2 metric 50", "route add default dev other metric 40"], "other",
    ),
    "IPv4 before IPv6": (
        ["route add default dev other metric 4000", "route add default via 2001:db8:ff::2 metric 1"], "other",
    ),
    "not of another table": (
        ["route add default dev other table 7", "route add default via 192.0.2.2 metric 9"], "uplink",
    ),
    "no device, passed over": (
        ["route add unreachable default metric 1", "route add default via 192.0.2.2 metric 9"], "uplink",
    ),
    "multipath": (["route add default nexthop dev other nexthop via 192.0.2.2 dev uplink"], "other"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROUTES)
def test_the_master_by_the_default_route(node: Node, name: str) -> None:
    """Go's plugin stops with `invalid argument` at a route that has no device of its own."""
    lines, master = ROUTES[name]
    node.ip("link add other type veth peer name far", "link set other up", "link set far up", *lines)
    pod = node.attach(macvlan(master=None))
    assert pod.pod.link("eth0")["link_index"] == node.link(master)["ifindex"]
    assert pod.check().ok


@pytest.mark.parametrize("keys", [{"master": "m0"}, {"master": None}])
def test_the_master_may_be_in_the_container(node: Node, keys: Object) -> None:
    pod = node.pod()
    pod.ip("link add m0 type veth peer name m1", "link set m0 up", "link set m1 up", "route add default dev m0")
    attached = node.attach(macvlan(ipam(node), linkInContainer=True, **keys), pod)
    assert pod.link("eth0")["link"] == "m0"
    assert attached.check().ok
    assert attached.delete().ok
    assert set(pod.links()) == {"lo", "m0", "m1"}


def test_a_master_that_is_a_macvlan_itself(node: Node) -> None:
    """The kernel takes what that one is on."""
    node.ip("link add m0 link uplink type macvlan mode bridge")
    pod = node.attach(macvlan(master="m0"))
    assert pod.pod.link("eth0")["link_index"] == node.link("uplink")["ifindex"]
    assert pod.check().ok


def test_a_link_of_the_node_may_be_called_as_the_interface(node: Node) -> None:
    node.ip("link add eth0 type veth peer name other")
    assert node.attach(macvlan()).check().ok


def test_dns_of_the_configuration_or_else_of_ipam(node: Node, tmp_path: Path) -> None:
    """Go's plugin loses what the IPAM plugin says."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\n")
    section = ipam(node, resolvConf=str(resolv))
    assert node.attach(macvlan(section)).result["dns"] == {"nameservers": ["192.0.2.53"]}
    assert node.attach(macvlan(section, dns={"domain": "a"})).result["dns"] == {"domain": "a"}


# neighbours


def test_neighbours_learn_where_an_address_is_now(node: Node) -> None:
    """The outside has the address at a MAC that is gone; a packet to it reaches the new pod at once."""
    conf = macvlan(ipam(node, SUBNET, SUBNET6))
    one = node.attach(conf)
    for address in one.addresses:
        assert reaches(node.outside, one.pod, address)
    mac = one.mac
    assert one.delete().ok
    (node.data_dir / "net1" / "last_reserved_ip.0").unlink()
    (node.data_dir / "net1" / "last_reserved_ip.1").unlink()
    two = node.attach(conf)
    assert two.addresses == one.addresses and two.mac != mac
    known = node.outside.run("ip", "neigh", "show", "dev", "uplink")
    assert mac not in known and known.count(two.mac) == 2
    for name in ("ipv4/conf/eth0/arp_notify", "ipv6/conf/eth0/ndisc_notify"):
        assert two.pod.sysctl(name) == "1"


def test_an_ipv6_address_that_a_neighbour_has_is_refused(node: Node) -> None:
    section = ipam(node, SUBNET6)
    node.outside.ip("addr add 2001:db8:ff::50/64 dev uplink nodad")
    assert "DADFAILED" in refused(node, macvlan(section))["msg"]


def test_ipv6_addresses_are_usable_when_add_returns(node: Node) -> None:
    """Without a gateway too, where Go's plugin does not wait."""
    pod = node.attach(macvlan(ipam(node, SUBNET6)))
    assert not [each for each in pod.pod.address_objects("eth0") if each.get("tentative")]
    with pod.pod.socket(socket.AF_INET6) as bound:
        bound.bind((pod.address, 0))


def test_a_master_that_is_down_is_no_fault_and_not_waited_for(node: Node) -> None:
    """The interface works once the master is up."""
    node.ip("link set uplink down")
    pod = node.attach(macvlan(ipam(node, SUBNET, SUBNET6)))
    assert pod.pod.link("eth0")["operstate"] == "DOWN"
    node.ip("link set uplink up")
    assert eventually(lambda: reaches(pod.pod, node.outside, node.OUTSIDE, 1))


# refusals


@pytest.mark.parametrize(
    ("keys", "args", "msg"),
    [
        ({"master": "none"}, "", 'failed to lookup master "none": Link not found'),
        ({"master": "uplink\0x"}, "", 'failed to lookup master "uplink\0x": Link not found'),
        ({"master": "x" * 200}, "", "failed to lookup master"),
        ({"master": None}, "", "no default route interface found"),
        ({"mtu": 1501}, "", "invalid MTU 1501, must be [0, master MTU(1500)]"),
        ({"mtu": -1}, "", "invalid MTU -1, must be [0, master MTU(1500)]"),
        ({"mtu": 20}, "", "failed to create macvlan: invalid argument"),
        ({"mode": "l2"}, "", 'unknown macvlan mode: "l2"'),
        ({"mac": "none"}, "", "invalid args none for MAC addr: "),
        ({"mac": "03:00:00:00:00:01"}, "", "multicast"),
        ({}, "MAC=x", "MAC"),
        ({}, "A=b", "ARGS: unknown args"),
        ({"bcqueuelen": -1}, "", "bcqueuelen is -1"),
        ({"bcqueuelen": 1 << 32}, "", "bcqueuelen is 4294967296"),
        ({"linkInContainer": True}, "", 'failed to lookup master "uplink": Link not found'),
        ({"linkInContainer": True, "master": "lo"}, "", "failed to create macvlan: invalid argument"),
    ],
)
def test_what_cannot_be_is_refused_with_gos_words(node: Node, keys: Object, args: str, msg: str) -> None:
    error = refused(node, macvlan(**keys), args=args)
    assert msg in error["msg"] + error.get("details", "")


def test_layer_2_has_no_result_below_0_3_0(node: Node) -> None:
    """Refused before anything is made, where Go's plugin leaves the interface."""
    assert "no valid IP addresses" in refused(node, macvlan(version="0.2.0"))["msg"]


def test_a_mac_that_another_pod_has_is_refused_and_nothing_stays(node: Node) -> None:
    """The kernel finds out when the interface comes up; Go's plugin leaves it there, down, with its addresses."""
    first = node.attach(macvlan(mac="02:00:00:00:00:0a"))
    error = refused(node, macvlan(ipam(node), mac="02:00:00:00:00:0a"))
    assert error["msg"] == 'failed to set "eth0" UP: address already in use'
    assert first.check().ok


def test_a_name_that_is_taken_is_refused_and_the_link_stays(node: Node) -> None:
    """An administrator's, another network's, and this attachment's own."""
    conf, pod = macvlan(ipam(node)), node.pod()
    text = 'failed to rename macvlan to "eth0": file exists'
    pod.ip("link add eth0 type veth peer name other")
    before = pod.link("eth0")
    assert Attachment(node, conf, pod).add().error["msg"] == text
    assert pod.link("eth0") == before and set(pod.links()) == {"lo", "eth0", "other"}
    other = node.attach(macvlan(name="net2"))
    error = Attachment(node, conf, other.pod).add().error
    assert error["msg"] == text and f"net2/{other.pod.container}/eth0" in error["details"]
    assert other.check().ok
    error = other.add().error
    assert error["msg"] == text and "send DEL first" in error["details"]
    assert not any(node.leases().values())


# CHECK


def _changes(node: Node, attached: Attachment) -> Iterable[tuple[list[str], list[str], str]]:
    """Commands in the pod that change something, those that put it back, and what CHECK says of it."""
    address, mac, up = f"{attached.address}/24", attached.mac, "link set eth0 up"
    route = f"route add default via {node.OUTSIDE}"
    yield ["link set eth0 down"], [up, route], "Interface eth0 is down"
    yield [f"addr del {address} dev eth0"], [f"addr add {address} dev eth0", route], "Failed to match addr"
    yield ["route del default"], [route], "Expected Route"
    back = ["link set eth0 down", f"link set eth0 address {mac}", up, route]
    other = ["link set eth0 down", "link set eth0 address 02:00:00:00:00:0b", up, route]
    yield other, back, f"interface eth0 Mac {mac} doesn't match container Mac: 02:00:00:00:00:0b"
    text = "container macvlan mode vepa does not match expected value: bridge"
    yield ["link set eth0 type macvlan mode vepa"], ["link set eth0 type macvlan mode bridge"], text
    text = "container macvlan broadcast_queue 7 does not match expected value: 50"
    yield ["link set eth0 type macvlan bcqueuelen 7"], ["link set eth0 type macvlan bcqueuelen 50"], text


def test_check_fails_after_tampering_in_gos_words(node: Node) -> None:
    attached = node.attach(macvlan(ipam(node, routes=DEFAULT), mtu=1400, bcqueuelen=50))
    for change, back, text in _changes(node, attached):
        attached.pod.ip(*change)
        assert text in attached.check().error["msg"], change
        attached.pod.ip(*back)
        assert attached.check().ok, change


def test_check_compares_what_the_link_is_and_is_on(node: Node) -> None:
    node.ip("link add other type veth peer name far")
    attached = node.attach(macvlan())
    on = Attachment(node, macvlan(master="other"), attached.pod)
    on.result = attached.result
    assert on.check().error["msg"] == "eth0 is not on other"
    pod = attached.pod
    inside = Attachment(node, macvlan(master="m0", linkInContainer=True), pod)
    inside.result = attached.result
    # a link of the container with the index that the master has on the node
    pod.ip("link delete eth0", f"link add m0 index {node.link('uplink')['ifindex']} type veth peer name m1")
    pod.ip(
        f"link add eth0 address {attached.result['interfaces'][0]['mac']} link m0 type macvlan mode bridge",
        "link set eth0 up",
    )
    assert attached.check().error["msg"] == "eth0 is not on uplink"
    assert inside.check().ok
    pod.ip("link delete eth0")
    assert 'failed to lookup "eth0"' in attached.check().error["msg"]
    pod.ip("link add eth0 type veth peer name x")
    assert attached.check().error["msg"] == "error: Container interface eth0 not of type macvlan"
    assert attached.check().error["details"] == "it is of type veth"


def test_check_compares_with_prev_result(node: Node) -> None:
    attached = node.attach(macvlan())
    kept = attached.result
    attached.result = {**kept, "interfaces": [{**kept["interfaces"][0], "sandbox": "/other"}]}
    text = f"sandbox in prevResult /other doesn't match configured netns: {attached.pod.path}"
    assert attached.check().error["msg"] == text
    attached.result = {**kept, "interfaces": []}
    assert attached.check().error["msg"] == "container interface name missing in prevResult: eth0"
    assert attached.call("CHECK", attached.conf).error["msg"] == "required prevResult missing"


# DEL, GC and STATUS


def test_del_leaves_another_attachments_link_alone(node: Node) -> None:
    """Also beside bridge, whose link tells its owner on the node."""
    for theirs, ours in (
        (macvlan(), macvlan(name="net2")),
        (bridge(), macvlan(name="net2")),
        (macvlan(), bridge(name="net2")),
    ):
        attached = node.attach(theirs)
        outcome = Attachment(node, ours, attached.pod).delete()
        assert outcome.ok and "belongs to net1/" in outcome.stderr
        assert attached.check().ok


def test_del_removes_any_link_without_an_owner(node: Node) -> None:
    """As Go's plugin does."""
    pod = node.pod()
    pod.ip("link add eth0 type veth peer name other")
    assert Attachment(node, macvlan(), pod).delete().ok
    assert set(pod.links()) == {"lo"}


def test_status_asks_for_the_master_and_the_ipam_plugin(node: Node) -> None:
    for keys, msg in (({}, ""), ({"master": "none"}, "Link not found"), ({"master": None}, "no default route")):
        outcome = node.cni("macvlan", "STATUS", macvlan(ipam(node), version="1.1.0", **keys))
        assert outcome.ok if not msg else (outcome.error["code"] == 50 and msg in outcome.error["msg"])
    outcome = node.cni("macvlan", "STATUS", macvlan({"type": "none"}, version="1.1.0"))
    assert 'failed to find plugin "none"' in outcome.error["msg"]
    assert node.links().keys() == {"lo", "uplink"}


def test_gc_gives_back_the_addresses_of_the_forgotten(node: Node) -> None:
    """Go's plugins do not pass GC on to IPAM."""
    conf = macvlan(ipam(node), version="1.1.0")
    kept, forgotten = node.attach(conf), node.attach(conf)
    valid = [{"containerID": kept.pod.container, "ifname": "eth0"}]
    assert node.cni("macvlan", "GC", {**conf, "cni.dev/valid-attachments": valid}).ok
    assert list(node.leases()) == [kept.address] and forgotten.address != kept.address
    assert kept.check().ok


def test_killed_at_any_call_to_the_kernel_nothing_stays_that_is_not_known(node: Node) -> None:
    """Also between making the link and giving it its name: the next ADD is whole, and DEL leaves nothing."""
    conf, before = macvlan(), node.snapshot()
    for number in itertools.count(1):
        attached = Attachment(node, conf, node.pod())
        called = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": attached.pod.container, "CNI_NETNS": attached.pod.path}
        died, where = die_in_the_kernel(node, conf, number, **called)
        whole = any(
            link.get("ifalias") == f"net1/{attached.pod.container}/eth0" for link in attached.pod.links().values()
        )
        if died and not whole:
            assert attached.add().ok, where
            assert attached.check().ok, where
        assert attached.delete(prev_result=False).ok, where
        assert set(attached.pod.links()) == {"lo"}, where
        if not died:
            break
    assert number > 5 and node.snapshot() == before


def test_the_gateway_of_ipam_may_be_the_default_route(node: Node) -> None:
    """With the key, as bridge has it. Without it a gateway alone makes no route, and one of ipam gets the gateway."""
    sections = [ipam(node), ipam(node, SUBNET, SUBNET6, routes=[{"dst": "0.0.0.0/0"}])]
    for section in sections:
        for (each,) in section["ranges"]:
            each["gateway"] = node.OUTSIDE6 if ":" in each["subnet"] else node.OUTSIDE
    four, six = ({"dst": dst, "gw": gw} for dst, gw in (("0.0.0.0/0", node.OUTSIDE), ("::/0", node.OUTSIDE6)))
    for section, keys, wanted in (
        (sections[0], {}, []),
        (sections[0], {"isDefaultGateway": True}, [four]),
        (sections[1], {"isDefaultGateway": True}, [four, six]),
    ):
        one = node.attach(macvlan(section, **keys))
        assert one.result.get("routes", []) == wanted
        assert reaches(one.pod, node.outside, node.OUTSIDE) and one.check().ok
        gateways = [route["gateway"] for route in one.pod.routes() if route["dst"] == "default"]
        assert gateways == ([node.OUTSIDE] if keys else [])
        assert one.delete().ok


# the node and its pods


def shims(node: Node) -> list[str]:
    return [name for name in node.links() if name.startswith("shim")]


def routes_of_shim(node: Node) -> set[str]:
    """The addresses to which the node's routes through its shim lead."""
    found: set[str] = set()
    for shim in shims(node):
        for family in ("-4", "-6"):
            routes = json.loads(node.run("ip", family, "-j", "route", "show", "dev", shim))
            found |= {route["dst"] for route in routes if route.get("metric", 0) >= 1 << 31}
    return found


def test_the_node_and_its_pods_reach_each_other_through_a_shim(node: Node) -> None:
    """In both directions, and with strict reverse path filters. For other hosts the node keeps the master's MAC.

    The attachments of a network share the shim, and the last one removes it; CHECK compares it.
    """
    master = node.link("uplink")["address"]
    node.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.uplink.rp_filter=1")
    # with the key only: without it the kernel keeps them apart
    alone = node.attach(macvlan(ipam(node), name="alone"))
    assert not reaches(node, alone.pod, alone.address, 0.3) and not shims(node)
    assert alone.delete().ok
    conf = macvlan(ipam(node, SUBNET, SUBNET6), hostShim=True)
    one, two = node.attach(conf), node.attach(conf)
    assert len(shims(node)) == 1 and routes_of_shim(node) == {*one.addresses, *two.addresses}
    assert tcp_source(one.pod, node, one.address) == node.ADDRESS
    assert tcp_source(node, one.pod, node.ADDRESS) == one.address
    assert tcp_source(two.pod, node, two.addresses[1]).startswith("fe80::")
    assert tcp_source(two.pod, one.pod, two.address) == one.address
    for each in (one, two):
        assert tcp_source(node.outside, each.pod, node.OUTSIDE) == each.address
        assert tcp_source(node.outside, node, node.OUTSIDE) == node.ADDRESS
        assert each.check().ok
    # the outside has heard all that was asked there
    (heard,) = {each["lladdr"] for each in json.loads(node.outside.run("ip", "-j", "neigh", "show", node.ADDRESS))}
    assert heard == master
    assert one.delete(prev_result=False, hostShim=None).ok
    assert routes_of_shim(node) == set(two.addresses) and two.check().ok
    two.pod.close()
    assert two.delete(netns="", prev_result=False).ok and not shims(node)


def test_check_compares_the_shim_and_the_next_add_completes_it(node: Node) -> None:
    """Whatever somebody does to it. Routes of others that are more usual than the shim's lead away."""
    conf = macvlan(ipam(node), hostShim=True)
    for change, words in (
        ("link set {shim} down", "is down"),
        ("route flush dev {shim}", "route to {address} through {shim}"),
        ("route add {address} dev uplink", "route to {address} through {shim}"),
        ("link del {shim}", "is missing"),
    ):
        one = node.attach(conf)
        (shim,) = shims(node)
        node.ip(change.format(shim=shim, address=one.address))
        assert words.format(shim=shim, address=one.address) in one.check().error["msg"]
        two = node.attach(conf)
        assert two.check().ok and reaches(node, two.pod, two.address)
        assert one.delete().ok and two.delete().ok and not shims(node)


def test_a_mac_that_a_later_plugin_sets_is_learnt_by_the_shim(node: Node) -> None:
    """It announces itself, as tuning's does."""
    one = node.attach(macvlan(ipam(node), hostShim=True))
    assert reaches(node, one.pod, one.address, 3)
    one.pod.ip("link set eth0 address 02:00:00:00:00:78")
    assert reaches(node, one.pod, one.address, 3)


def test_gc_removes_the_routes_and_the_shim_of_the_forgotten(node: Node) -> None:
    conf = macvlan(ipam(node), hostShim=True, version="1.1.0")
    kept, forgotten = node.attach(conf), node.attach(conf)
    valid = [{"containerID": kept.pod.container, "ifname": "eth0"}]
    assert kept.call("GC", {**conf, "cni.dev/valid-attachments": valid}).ok
    assert routes_of_shim(node) == set(kept.addresses) and kept.check().ok
    assert kept.call("GC", {**conf, "cni.dev/valid-attachments": []}).ok
    assert not shims(node)
    assert kept.delete().ok and forgotten.delete().ok


def test_a_shim_that_cannot_be_is_refused(node: Node) -> None:
    """By the configuration; on another master, while there are pods on the first one; without an address there."""
    for keys, words in (
        ({"mode": "passthru"}, "in mode passthru"),
        ({"mode": "private"}, "in mode private"),
        ({"mode": "vepa"}, "in mode vepa"),
        ({"linkInContainer": True}, "in the container"),
    ):
        error = refused(node, macvlan(ipam(node), hostShim=True, **keys))
        assert error["code"] == 7 and words in error["msg"]
    assert "no ipam" in refused(node, macvlan(hostShim=True))["msg"]
    device = node.device()
    on_device = macvlan(ipam(node), hostShim=True, master=device)
    assert f"no IPv4 address on {device}" in refused(node, on_device)["msg"] and not shims(node)
    node.ip(f"addr add 192.0.2.9/32 dev {device}")
    one = node.attach(macvlan(ipam(node), hostShim=True))
    assert "is on another master" in refused(node, on_device)["msg"]
    assert one.check().ok and one.delete().ok
    assert node.attach(on_device).check().ok
