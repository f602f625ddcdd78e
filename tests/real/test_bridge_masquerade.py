"""ipMasq of bridge: under which address the world outside, neighbours and multicast groups see a pod."""

import json
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.plugin import subject_is_old_go
from node.topology import Attachment, Node
from node.traffic import in_order, multicast_source, tcp_source, udp_source

pytestmark = pytest.mark.real

SUBNET, SUBNET6 = "10.1.0.0/24", "2001:db8:1::/64"


def attach(node: Node, *subnets: str, **keys: Any) -> Attachment:
    """A new pod that routes everything through the bridge."""
    section = host_local(node.data_dir, *(subnets or (SUBNET,)))
    return node.attach(bridge(section, isDefaultGateway=True, **keys))


def test_without_ip_masq_pods_keep_their_address_outside(node: Node) -> None:
    """The host outside sees the pod's own address."""
    pod = attach(node)
    assert udp_source(node.outside, pod.pod, node.OUTSIDE) == pod.address


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"ipMasqBackend": "iptables"},
        pytest.param(
            {"ipMasqBackend": "nftables"},
            marks=pytest.mark.beyond_old_go("the key is not read: everything goes to iptables"),
        ),
    ],
    ids=["default", "iptables", "nftables"],
)
class TestEitherBackend:
    """What ipMasq does, whichever packet filter does it."""

    def test_the_outside_sees_the_nodes_address(self, node: Node, keys: dict[str, Any]) -> None:
        """UDP and TCP arrive under the node's address; answers find back to the pod."""
        pod = attach(node, ipMasq=True, **keys)
        assert udp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS
        assert tcp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS
        if keys.get("ipMasqBackend") == "nftables":
            assert node.iptables() == []
        if keys.get("ipMasqBackend") == "iptables":
            assert not node.nft_tables()

    def test_ipv6_is_masqueraded_too(self, node: Node, keys: dict[str, Any]) -> None:
        """A dual-stack pod appears outside under the node's address in both families."""
        pod = attach(node, SUBNET, SUBNET6, ipMasq=True, **keys)
        assert tcp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS
        assert tcp_source(node.outside, pod.pod, node.OUTSIDE6) == node.ADDRESS6
        if keys.get("ipMasqBackend") == "nftables":
            assert node.iptables() == []

    def test_the_own_subnet_is_not_masqueraded(self, node: Node, keys: dict[str, Any]) -> None:
        """A neighbour sees the pod's own address: over the bridge, and when the node itself forwards the packet."""
        one, two = (attach(node, ipMasq=True, **keys) for _ in range(2))
        assert tcp_source(two.pod, one.pod, two.address) == one.address
        one.pod.ip(f"route add {two.address}/32 via 10.1.0.1")
        assert udp_source(two.pod, one.pod, two.address) == one.address
        assert_masquerades(node, one)
        if keys.get("ipMasqBackend") == "nftables":
            assert node.iptables() == []

    def test_multicast_is_not_masqueraded(self, node: Node, keys: dict[str, Any]) -> None:
        """Members of a group on the bridge see the pod's own address although the packet filter sees the packet."""
        node.sysctl("bridge/bridge-nf-call-iptables", "1")
        one, two = (attach(node, ipMasq=True, **keys) for _ in range(2))
        assert multicast_source(two.pod, one.pod, "239.1.2.3", "eth0") == one.address
        assert_masquerades(node, one)
        if keys.get("ipMasqBackend") == "nftables":
            assert node.iptables() == []

    def test_a_pod_without_ip_masq_beside_one_with_it_keeps_its_address(self, node: Node, keys: dict[str, Any]) -> None:
        """Masquerade is the attachment's, not the bridge's."""
        masked, plain = attach(node, ipMasq=True, **keys), attach(node)
        assert udp_source(node.outside, plain.pod, node.OUTSIDE) == plain.address
        assert_masquerades(node, masked)
        if keys.get("ipMasqBackend") == "nftables":
            assert node.iptables() == []


def assert_masquerades(node: Node, pod: Attachment) -> None:
    """Shows that what a test found untouched would have been touched had it gone outside."""
    assert udp_source(node.outside, pod.pod, node.OUTSIDE) == node.ADDRESS


def test_the_iptables_backend_has_the_layout_of_the_reference(node: Node) -> None:
    """Chain name, rules and comment are those that a Go plugin's DEL looks for."""
    pod = attach(node, ipMasq=True, ipMasqBackend="iptables", name="n1", bridge="br1")
    pod_conf = {**pod.conf}
    known = node.pod("ctr1")
    node.attach(pod_conf, known)
    chain, comment = "CNI-c189d8b6a7b4d184c9f70d4a", r'-m comment --comment "name: \"n1\" id: \"ctr1\""'
    assert [line for line in node.iptables() if chain in line] == [
        f"iptables -A {chain} ! -d 224.0.0.0/4 {comment} -j MASQUERADE",
        f"iptables -A {chain} -d 10.1.0.0/24 {comment} -j ACCEPT",
        f"iptables -A POSTROUTING -s 10.1.0.3/32 {comment} -j {chain}",
        f"iptables :{chain} -",
    ]


@pytest.mark.beyond_old_go("knows iptables only")
def test_the_default_backend_is_a_table_of_our_own(node: Node) -> None:
    """Without ipMasqBackend one nftables table of ours holds everything; iptables' tables are not touched."""
    pod = attach(node, SUBNET, SUBNET6, ipMasq=True)
    assert node.iptables() == []
    assert node.nft_tables() == {"inet pycni_masquerade"}
    ruleset = json.dumps(node.nft())
    assert all(text in ruleset for text in (*pod.addresses, f"net1/{pod.pod.container}/eth0"))


@pytest.mark.beyond_old_go("its tables stay")
@pytest.mark.parametrize("keys", [{"ipMasq": True}, {"macspoofchk": True}, {"ipMasq": True, "macspoofchk": True}])
def test_the_last_attachment_takes_our_tables_along(node: Node, keys: dict[str, Any]) -> None:
    """The tables are there as long as one attachment needs them, and no longer."""
    one, two = (attach(node, **keys) for _ in range(2))
    expected = {"ipMasq": "inet pycni_masquerade", "macspoofchk": "bridge pycni_macspoof"}
    assert node.nft_tables() == {expected[key] for key in keys}
    assert one.delete().ok
    assert node.nft_tables() == {expected[key] for key in keys}
    if "ipMasq" in keys:
        assert_masquerades(node, two)
    assert two.delete().ok
    assert node.nft_tables() == set()


@pytest.mark.skipif(subject_is_old_go(), reason="the key is ours")
@pytest.mark.parametrize("version", [4, 6])
def test_what_connection_tracking_cannot_place_is_dropped_on_request(node: Node, version: int) -> None:
    """Nothing translates an answer to nothing: it leaves under the pod's address, unless ``dropInvalid``."""
    keys, target = {"ipMasq": True}, node.OUTSIDE if version == 4 else node.OUTSIDE6
    node.sysctl("netfilter/nf_conntrack_tcp_loose", "0")
    pod = attach(node, SUBNET, SUBNET6, **keys)
    address = next(each for each in pod.addresses if (":" in each) == (version == 6))
    assert _stray_acknowledgement(node, pod, address, target) == address
    other = attach(node, SUBNET, SUBNET6, **keys, dropInvalid=True)
    assert other.check().ok
    assert _stray_acknowledgement(node, pod, address, target) == ""
    assert tcp_source(node.outside, pod.pod, target) in (node.ADDRESS, node.ADDRESS6)
    node.run("nft", "flush", "chain", "inet", "pycni_masquerade", "forward")
    assert "not dropped" in other.check().error["msg"]
    other.delete()
    pod.delete()
    assert node.nft_tables() == set()


def _stray_acknowledgement(node: Node, pod: Attachment, source: str, target: str) -> str:
    """Send a TCP segment of no connection, then a datagram: whose address the former had, empty if it did not come."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    port, end = 45678, 45679
    segment = struct.pack("!HHIIBBHHH", port, end, 1, 1, 5 << 4, 0x10, 1024, 0, 0)
    with (
        node.outside.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as received,
        pod.pod.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as sending,
    ):
        received.settimeout(3)
        sending.bind((source, 0))
        with in_order():
            if family == socket.AF_INET:
                pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, 6, 20)
                segment = segment[:16] + struct.pack("!H", _checksum(pseudo + segment)) + segment[18:]
            else:
                sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, 16)
            sending.sendto(segment, (target, 0))
            # behind it, the end of the wait: the opening of a connection, which nobody answers
            with pod.pod.socket(family) as opening:
                opening.setblocking(False)
                with suppress(BlockingIOError):
                    opening.connect((target, end + 1))
        while True:
            data, peer = received.recvfrom(200)
            head = data[(data[0] & 15) * 4 :] if family == socket.AF_INET else data
            ports = struct.unpack("!HH", head[:4])
            if ports == (port, end):
                return str(peer[0])
            if ports[1] == end + 1:
                return ""


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
