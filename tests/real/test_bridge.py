"""ADD of bridge, key by key: what the kernel has afterwards, what the result says, and what the pods can do."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.deadline import eventually
from node.topology import Attachment, Node
from node.traffic import Wire, frame, reaches, tcp_source

pytestmark = pytest.mark.real

SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"
BROADCAST = "ff:ff:ff:ff:ff:ff"


def attach(
    node: Node, *subnets: str, version: str = "1.0.0", ipam: dict[str, Any] | None = None, **keys: Any
) -> Attachment:
    """A new pod on a layer-3 bridge."""
    section = host_local(node.data_dir, *(subnets or (SUBNET,)), **(ipam or {}))
    return node.attach(bridge(section, version=version, **keys))


def test_a_layer_3_result_names_what_the_kernel_has(node: Node) -> None:
    """Bridge, host veth and pod interface stand in the result in this order, each with its own MAC."""
    pod = attach(node, isGateway=True)
    result = dict(pod.result)
    assert result.pop("dns", {}) == {}
    host = pod.host
    assert result == {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "br0", "mac": node.link("br0")["address"]},
            {"name": host, "mac": node.link(host)["address"]},
            {"name": "eth0", "mac": pod.mac, "sandbox": pod.pod.path},
        ],
        "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2}],
    }
    assert node.link("br0")["linkinfo"]["info_kind"] == "bridge"
    assert node.ports("br0") == {host}
    eth0 = pod.pod.link("eth0")
    assert eth0["linkinfo"]["info_kind"] == "veth"
    assert eth0["link_index"] == node.link(host)["ifindex"], "the host veth is not eth0's other end"
    assert "UP" in eth0["flags"] and "UP" in node.link(host)["flags"]
    assert pod.pod.addresses("eth0") == {"10.1.0.2/24"}
    assert node.leases() == {"10.1.0.2": [pod.pod.container, "eth0"]}


def test_two_pods_and_the_gateway_reach_each_other(node: Node) -> None:
    """TCP goes from pod to pod and from pod to the bridge's address, each seen under its own address."""
    one, two = attach(node, isGateway=True), attach(node, isGateway=True)
    assert tcp_source(two.pod, one.pod, two.address) == one.address
    assert tcp_source(node, one.pod, "10.1.0.1") == one.address
    assert tcp_source(one.pod, node, one.address) == "10.1.0.1"


def test_without_is_gateway_the_bridge_has_no_address(node: Node) -> None:
    """The pods reach each other; the bridge has no address, the node does not forward, the gateway stays IPAM's."""
    node.sysctl("ipv4/ip_forward", "0")
    one, two = attach(node), attach(node)
    assert node.addresses("br0") == set()
    assert node.sysctl("ipv4/ip_forward") == "0"
    assert one.result["ips"][0]["gateway"] == "10.1.0.1"
    assert tcp_source(two.pod, one.pod, two.address) == one.address


def test_is_gateway_gives_the_bridge_the_gateways_and_forwards(node: Node) -> None:
    """Both families' gateways are on the bridge, forwarding is on for both."""
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        node.sysctl(switch, "0")
    attach(node, SUBNET, SUBNET6, isGateway=True)
    assert node.addresses("br0") == {"10.1.0.1/24", "2001:db8:1::1/64"}
    assert node.sysctl("ipv4/ip_forward") == "1"
    assert node.sysctl("ipv6/conf/all/forwarding") == "1"


def test_is_gateway_forwards_only_the_families_it_serves(node: Node) -> None:
    """An IPv4 network leaves IPv6 forwarding as it was."""
    node.sysctl("ipv6/conf/all/forwarding", "0")
    attach(node, isGateway=True)
    assert node.sysctl("ipv6/conf/all/forwarding") == "0"


def test_is_default_gateway_routes_both_families_through_the_bridge(node: Node) -> None:
    """The pod has, and the result names, one default route a family; it alone implies isGateway."""
    pod = attach(node, SUBNET, SUBNET6, isDefaultGateway=True)
    defaults = {(route["dst"], route["gw"]) for route in pod.result["routes"]}
    assert defaults == {("0.0.0.0/0", "10.1.0.1"), ("::/0", "2001:db8:1::1")}
    for family, gateway in ((4, "10.1.0.1"), (6, "2001:db8:1::1")):
        routes = [route for route in pod.pod.routes(family) if route["dst"] == "default"]
        assert [(route["gateway"], route["dev"]) for route in routes] == [(gateway, "eth0")]
    assert node.addresses("br0") == {"10.1.0.1/24", "2001:db8:1::1/64"}


def test_routes_of_ipam_are_made_in_the_pod(node: Node) -> None:
    """A route with a gateway keeps it, one without takes the address's."""
    routes = [{"dst": "198.51.100.0/24"}, {"dst": "203.0.113.0/24", "gw": "10.1.0.77"}]
    pod = attach(node, isGateway=True, ipam={"routes": routes})
    assert pod.result["routes"] == routes
    made = {route["dst"]: route.get("gateway") for route in pod.pod.routes()}
    assert made == {"10.1.0.0/24": None, "198.51.100.0/24": "10.1.0.1", "203.0.113.0/24": "10.1.0.77"}


def test_dual_stack_works_in_both_families(node: Node) -> None:
    """Two pods with two addresses each reach each other and the gateway over IPv4 and IPv6."""
    one, two = (attach(node, SUBNET, SUBNET6, isGateway=True) for _ in range(2))
    assert one.pod.addresses("eth0") == {"10.1.0.2/24", "2001:db8:1::2/64"}
    for mine, peers in zip(one.addresses, two.addresses, strict=True):
        assert tcp_source(two.pod, one.pod, peers) == mine
    # Go leaves the bridge's own address to duplicate address detection: a second
    assert eventually(lambda: reaches(one.pod, node, "2001:db8:1::1", 1), 5)


def test_ipv6_works_in_a_pod_that_came_with_ipv6_switched_off(node: Node) -> None:
    """Runtimes make namespaces with disable_ipv6 set: an IPv6 address switches it on for `lo` and the interface."""
    pod = node.pod()
    for each in ("all", "default", "lo"):
        pod.sysctl(f"ipv6/conf/{each}/disable_ipv6", "1")
    made = node.attach(bridge(host_local(node.data_dir, SUBNET6), isGateway=True), pod)
    assert [pod.sysctl(f"ipv6/conf/{each}/disable_ipv6") for each in ("lo", "eth0")] == ["0", "0"]
    assert eventually(lambda: reaches(pod, node, "2001:db8:1::1", 1), 5)
    assert pod.addresses("eth0") == {f"{made.address}/64"}


@pytest.mark.beyond_old_go("keep_addr_on_down is not set")
def test_ipv6_addresses_survive_a_link_that_goes_down(node: Node) -> None:
    """As IPv4 ones do."""
    made = attach(node, SUBNET, SUBNET6, isGateway=True)
    made.pod.ip("link set eth0 down", "link set eth0 up")
    assert made.pod.addresses("eth0") == {"10.1.0.2/24", "2001:db8:1::2/64"}


def test_the_host_side_takes_no_router_advertisements(node: Node) -> None:
    """A pod may not give the node routes: accept_ra is off on the bridge and on the host veth."""
    made = attach(node, isGateway=True)
    assert [node.sysctl(f"ipv6/conf/{each}/accept_ra") for each in ("br0", made.host)] == ["0", "0"]


@pytest.mark.beyond_old_go("the bridge's own IPv6 address goes through duplicate address detection")
def test_ipv6_addresses_are_usable_when_add_returns(node: Node) -> None:
    """Neither the pod's address nor the gateway's is tentative: the first packet goes."""
    pod = attach(node, SUBNET6, isGateway=True)
    found = [*pod.pod.address_objects("eth0"), *node.address_objects("br0")]
    assert not [address for address in found if address["scope"] == "global" and address.get("tentative")]
    assert all(address.get("nodad") for address in found if address["scope"] == "global"), "not by a sysctl alone"
    assert tcp_source(node, pod.pod, "2001:db8:1::1", 0.5) == pod.address


def test_enabledad_detects_duplicates_and_waits(node: Node) -> None:
    """DAD is on for the pod's interface, and its address has passed it when ADD returns."""
    pod = attach(node, SUBNET6, isGateway=True, enabledad=True)
    assert pod.pod.sysctl("ipv6/conf/eth0/accept_dad") == "1"
    (address,) = (a for a in pod.pod.address_objects("eth0") if a["scope"] == "global")
    assert not address.get("tentative") and not address.get("nodad")


@pytest.mark.beyond_old_go("the outcome of duplicate address detection is ignored")
def test_enabledad_refuses_an_address_that_is_in_use(node: Node) -> None:
    """An address that a neighbour answers for is no success; it is given back and nothing stays in the pod."""
    first = attach(node, SUBNET6, isGateway=True, enabledad=True)
    first.pod.ip("addr add 2001:db8:1::3/64 dev eth0 nodad")
    second = Attachment(node, first.conf, node.pod())
    outcome = second.add()
    assert "2001:db8:1::3" in outcome.error["msg"]
    assert list(node.leases()) == ["2001:db8:1::2"]


def test_force_address_replaces_what_the_bridge_had(node: Node) -> None:
    """Another address of the same family is refused without the key, replaced with it."""
    node.ip("link add br0 type bridge", "addr add 10.9.0.1/16 dev br0", "link set br0 up")
    conf = bridge(host_local(node.data_dir, SUBNET), isGateway=True)
    refused = Attachment(node, conf, node.pod()).add()
    assert "br0" in refused.error["msg"] and "10.1.0.1/24" in refused.error["msg"]
    assert node.addresses("br0") == {"10.9.0.1/16"}
    assert node.leases() == {}
    node.attach({**conf, "forceAddress": True})
    assert node.addresses("br0") == {"10.1.0.1/24"}


def test_ipv6_networks_that_do_not_overlap_share_a_bridge(node: Node) -> None:
    """A second IPv6 network's gateway is added to the first's."""
    attach(node, SUBNET6, isGateway=True)
    node.attach(bridge(host_local(node.data_dir, "2001:db8:2::/64"), name="net2", isGateway=True))
    assert node.addresses("br0") == {"2001:db8:1::1/64", "2001:db8:2::1/64"}


@pytest.mark.parametrize("hairpin", [True, False])
def test_hairpin_mode_sends_a_frame_back_to_where_it_came_from(node: Node, hairpin: bool) -> None:
    """With hairpinMode a pod's own broadcast comes back to it; without, only the other pod hears it."""
    one, two = (attach(node, hairpinMode=hairpin) for _ in range(2))
    assert node.port(one.host)["hairpin"] is hairpin
    with Wire(one.pod, "eth0") as sent, Wire(two.pod, "eth0") as heard, Wire(one.pod, "eth0") as back:
        sent.send(frame(BROADCAST, one.mac, b"hello"))
        assert heard.received_until(b"hello") == [b"hello"]
        assert back.received_until(b"hello", 3 if hairpin else 0.2) == [b"hello"] * hairpin


def test_promisc_mode_sets_the_bridge(node: Node) -> None:
    """The bridge itself listens promiscuously, and does not without the key."""
    attach(node)
    assert node.link("br0")["promiscuity"] == 0
    attach(node, promiscMode=True)
    assert node.link("br0")["promiscuity"] == 1
    assert "PROMISC" in node.link("br0")["flags"]


def test_mtu_is_given_to_the_whole_path(node: Node) -> None:
    """Pod's interface, host veth and a bridge that this ADD made have it; a packet of that size passes."""
    one, two = (attach(node, mtu=1400, isGateway=True) for _ in range(2))
    assert one.pod.link("eth0")["mtu"] == 1400
    assert node.link(one.host)["mtu"] == 1400
    assert node.link("br0")["mtu"] == 1400
    with one.pod.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: do not fragment
        sending.sendto(bytes(1400 - 28), (two.address, 9))
        with pytest.raises(OSError, match="too long"):
            sending.sendto(bytes(1401 - 28), (two.address, 9))


@pytest.mark.parametrize("mtu", [0, 1400])
def test_the_result_has_the_mtu_of_each_interface(node: Node, mtu: int) -> None:
    """From 1.1.0 on, which brought the member; the bridge's is what it has when the port is there."""
    for version in ("1.1.0", "1.0.0", "0.4.0"):
        pod = attach(node, version=version, mtu=mtu, isGateway=True)
        there = [node.link("br0"), node.link(pod.host), pod.pod.link("eth0")]
        found = [interface.get("mtu") for interface in pod.result["interfaces"]]
        assert found == [link["mtu"] if version == "1.1.0" else None for link in there], version
        assert pod.check().exit == 0


def test_without_mtu_the_kernels_is_kept(node: Node) -> None:
    """Absent or 0, the links have the kernel's 1500."""
    pod = attach(node, mtu=0)
    assert (pod.pod.link("eth0")["mtu"], node.link(pod.host)["mtu"]) == (1500, 1500)


MACS = {"runtime": "02:00:00:00:00:01", "args": "02:00:00:00:00:02", "environment": "02:00:00:00:00:03"}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (("runtime", "args", "environment"), "runtime"),
        (("args", "environment"), "args"),
        (("environment",), "environment"),
        (("runtime", "environment"), "runtime"),
        (("runtime",), "runtime"),
        (("args",), "args"),
    ],
)
def test_mac_is_the_capabilitys_then_the_arguments_then_the_environments(
    node: Node, given: tuple[str, ...], taken: str
) -> None:
    """runtimeConfig.mac beats args.cni.mac beats CNI_ARGS's MAC, in the kernel and in the result."""
    conf = bridge(host_local(node.data_dir, SUBNET), capabilities={"mac": True})
    if "runtime" in given:
        conf["runtimeConfig"] = {"mac": MACS["runtime"]}
    if "args" in given:
        conf["args"] = {"cni": {"mac": MACS["args"]}}
    args = f"IgnoreUnknown=1;MAC={MACS['environment']}" if "environment" in given else ""
    pod = node.attach(conf, args=args)
    assert pod.mac == MACS[taken]
    assert pod.result["interfaces"][2]["mac"] == MACS[taken]


def test_without_mac_every_pod_gets_its_own(node: Node) -> None:
    """Two pods have different, locally administered unicast addresses."""
    macs = [bytes.fromhex(attach(node).mac.replace(":", "")) for _ in range(2)]
    assert macs[0] != macs[1]
    assert all(mac[0] & 3 == 2 for mac in macs)


def test_ips_capability_asks_for_an_address(node: Node) -> None:
    """runtimeConfig.ips reaches host-local, with and without a prefix."""
    for asked, got in (("10.1.0.77", "10.1.0.77/24"), ("10.1.0.78/24", "10.1.0.78/24")):
        conf = bridge(host_local(node.data_dir, SUBNET), capabilities={"ips": True}, runtimeConfig={"ips": [asked]})
        pod = node.attach(conf)
        assert pod.pod.addresses("eth0") == {got}
        assert pod.result["ips"][0]["address"] == got


def test_kubernetes_arguments_are_ignored_when_told_so(node: Node) -> None:
    """The arguments that kubelet's runtimes send do not disturb ADD, CHECK and DEL."""
    conf = bridge(host_local(node.data_dir, SUBNET), isDefaultGateway=True)
    args = "K8S_POD_NAMESPACE=default;IgnoreUnknown=1;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u"
    pod = node.attach(conf, args=args)
    assert pod.check().ok
    assert pod.delete().ok


def test_dns_of_the_configuration_is_in_the_result(node: Node) -> None:
    """All four parts come back as they were given."""
    dns = {
        "nameservers": ["10.1.0.1", "2001:db8::53"],
        "domain": "example.org",
        "search": ["a", "b"],
        "options": ["x:1"],
    }
    assert attach(node, dns=dns).result["dns"] == dns


@pytest.mark.beyond_old_go("dns was the configuration's alone until 1.2")
def test_dns_of_ipam_is_in_the_result_when_the_configuration_has_none(node: Node, tmp_path: Path) -> None:
    """host-local's resolvConf arrives."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 10.1.0.53\nsearch example.org\n")
    result = attach(node, ipam={"resolvConf": str(resolv_conf)}).result
    assert result["dns"] == {"nameservers": ["10.1.0.53"], "search": ["example.org"]}


@pytest.mark.beyond_old_go("dns was the configuration's alone until 1.2")
@pytest.mark.parametrize(
    ("dns", "expected"),
    [
        ({"domain": "b.c"}, {"domain": "b.c"}),
        ({"search": []}, None),
        ({"nameservers": [], "domain": ""}, None),
        ({"domain": ""}, {"nameservers": ["10.1.0.53"]}),
        ({}, {"nameservers": ["10.1.0.53"]}),
    ],
    ids=str,
)
def test_dns_is_the_configurations_whole_where_that_says_something(
    node: Node, tmp_path: Path, dns: dict[str, Any], expected: Any
) -> None:
    """Nothing is mixed; an empty list is something said."""
    (tmp_path / "resolv.conf").write_text("nameserver 10.1.0.53\n")
    result = attach(node, ipam={"resolvConf": str(tmp_path / "resolv.conf")}, dns=dns).result
    assert result.get("dns") == expected


def test_layer_2_connects_pods_without_addresses(node: Node) -> None:
    """Without IPAM the result has three interfaces and nothing else; frames go from pod to pod."""
    one, two = node.attach(bridge()), node.attach(bridge())
    assert set(one.result) - {"dns"} == {"cniVersion", "interfaces"}
    assert [interface["name"] for interface in one.result["interfaces"]] == ["br0", one.host, "eth0"]
    assert one.pod.addresses("eth0") == set()
    with Wire(one.pod, "eth0") as sending, Wire(two.pod, "eth0") as receiving:
        sending.send(frame(two.mac, one.mac, b"hello"))
        assert receiving.received_until(b"hello") == [b"hello"]


def test_many_pods_at_once(node: Node) -> None:
    """Twelve ADDs, four at a time, onto a bridge that is not there yet; then as many DELs, and nothing is left."""
    conf = bridge(host_local(node.data_dir, SUBNET), isDefaultGateway=True, ipMasq=True)
    first = node.attach(conf)
    first.delete()
    node.ip("link del br0")
    pods = [Attachment(node, conf, node.pod()) for _ in range(12)]
    with ThreadPoolExecutor(4) as pool:
        for outcome in pool.map(Attachment.add, pods):
            assert outcome.exit == 0, outcome.stdout
    assert {pod.address for pod in pods} == {f"10.1.0.{last}" for last in range(3, 15)}
    assert node.ports("br0") == {pod.host for pod in pods}
    for pod in pods:
        assert tcp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS
    with ThreadPoolExecutor(4) as pool:
        for outcome in pool.map(Attachment.delete, pods):
            assert outcome.exit == 0, outcome.stdout
    assert node.ports("br0") == set()
    assert (node.leases(), node.iptables(), node.nft()) == ({}, [], [])


def test_one_pod_has_two_interfaces_on_one_network(node: Node) -> None:
    """The pair of container and interface name is the attachment: each has its own address and veth."""
    conf = bridge(host_local(node.data_dir, SUBNET), isGateway=True)
    first = node.attach(conf)
    second = node.attach(conf, first.pod, ifname="net1")
    assert first.host != second.host
    assert first.pod.addresses("eth0") == {"10.1.0.2/24"}
    assert first.pod.addresses("net1") == {"10.1.0.3/24"}
    assert {name: lease[1] for name, lease in node.leases().items()} == {"10.1.0.2": "eth0", "10.1.0.3": "net1"}


def test_a_taken_interface_name_is_refused_and_left_alone(node: Node) -> None:
    """ADD onto an existing interface fails; that interface stays what it was, no lease and no veth remain."""
    conf = bridge(host_local(node.data_dir, SUBNET))
    node.attach(conf)
    pod = node.pod()
    pod.ip("link add eth0 type bridge")
    before, present = node.snapshot(), pod.link("eth0")
    assert not Attachment(node, conf, pod).add().ok
    assert pod.link("eth0") == present
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("a failed ADD leaves the veth pair")
def test_a_failed_add_leaves_nothing(node: Node) -> None:
    """No address left in the range: ADD fails, and neither node nor pod keep anything of it."""
    conf = bridge(host_local(node.data_dir, "10.1.0.0/30"), isGateway=True, ipMasq=True, macspoofchk=True)
    node.attach(conf)
    before = node.snapshot()
    pod = node.pod()
    outcome = Attachment(node, conf, pod).add()
    assert "no IP addresses available" in outcome.error["msg"]
    assert node.snapshot() == before
    assert set(pod.links()) == {"lo"}


def test_macspoofchk_drops_frames_under_a_foreign_mac(node: Node) -> None:
    """A frame with the pod's MAC passes, one with another does not; a pod without the key may send what it likes."""
    conf = bridge(host_local(node.data_dir, SUBNET), isGateway=True)
    guarded, free, other = node.attach({**conf, "macspoofchk": True}), node.attach(conf), node.attach(conf)
    spoofed = "02:00:00:00:be:ef"
    with Wire(guarded.pod, "eth0") as bad, Wire(free.pod, "eth0") as good, Wire(other.pod, "eth0") as heard:
        bad.send(frame(BROADCAST, spoofed, b"spoofed"))
        bad.send(frame(BROADCAST, guarded.mac, b"honest"))
        good.send(frame(BROADCAST, spoofed, b"unguarded"))
        assert heard.received_until(b"unguarded") == [b"honest", b"unguarded"]
    assert tcp_source(node, guarded.pod, "10.1.0.1") == guarded.address


@pytest.mark.beyond_old_go("portIsolation came with 1.7.0")
def test_port_isolation_keeps_pods_from_each_other(node: Node) -> None:
    """Isolated pods reach the gateway and pods that are not isolated, never each other."""
    one, two = (attach(node, isGateway=True, portIsolation=True) for _ in range(2))
    free = attach(node, isGateway=True)
    assert node.port(one.host)["isolated"] is True and node.port(free.host)["isolated"] is False
    assert tcp_source(node, one.pod, "10.1.0.1") == one.address
    assert tcp_source(free.pod, one.pod, free.address) == one.address
    assert not reaches(one.pod, two.pod, two.address, 0.5)


@pytest.mark.beyond_old_go("disableContainerInterface came with 1.4.1")
def test_disable_container_interface_leaves_the_link_down(node: Node) -> None:
    """The pod's end is there and down, the host's end is a port."""
    pod = node.attach(bridge(disableContainerInterface=True))
    assert "UP" not in pod.pod.link("eth0")["flags"]
    assert node.ports("br0") == {pod.host}


@pytest.mark.beyond_old_go("the bridge's MAC follows its ports")
def test_the_bridges_mac_stays_when_pods_come_and_go(node: Node) -> None:
    """Its MAC is one of its own from the start: neighbours need not learn it again with each pod."""
    conf = bridge(host_local(node.data_dir, SUBNET), isGateway=True)
    pods = [node.attach({**conf, "runtimeConfig": {"mac": None}}) for _ in range(3)]
    layer2 = [node.attach(bridge(name="net2", bridge="br1")) for _ in range(3)]
    macs = {pod.result["interfaces"][0]["mac"] for pod in pods}, {pod.result["interfaces"][0]["mac"] for pod in layer2}
    assert all(len(seen) == 1 for seen in macs), macs
    for pod in [*pods[:2], *layer2[:2]]:
        pod.delete()
    assert ({node.link("br0")["address"]}, {node.link("br1")["address"]}) == macs


@pytest.mark.beyond_old_go("host veths have random names")
def test_host_veth_names_are_derived_from_the_attachment(node: Node) -> None:
    """The same attachment gets the same name again; all names of a network begin alike, another network's otherwise."""
    conf = bridge(host_local(node.data_dir, SUBNET))
    pod, other = node.attach(conf), node.attach(conf)
    first = pod.host
    assert pod.delete().ok
    pod.add()
    assert pod.host == first
    foreign = node.attach(bridge(name="net2"), pod.pod, ifname="net1")
    assert len({pod.host, other.host, foreign.host}) == 3
    assert all(len(name) == 15 and name.startswith("veth") for name in (pod.host, other.host, foreign.host))
    assert pod.host[:7] == other.host[:7] != foreign.host[:7]
