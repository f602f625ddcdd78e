"""dummy: what a pod gets, what is refused, and what CHECK sees. The contract tests have the rest."""

from typing import Any

import pytest

from node.configuration import host_local
from node.linkkinds import skip_without
from node.namespace import Object
from node.topology import Attachment, Node
from node.traffic import reaches

pytestmark = pytest.mark.guest


@pytest.fixture
def node(node: Node) -> Node:
    """A pretended node whose kernel has dummies; elsewhere the tests skip."""
    skip_without(node, "type dummy", "dummies")
    return node


def dummy(node: Node, *subnets: str, version: str = "1.0.0", **keys: Any) -> Object:
    """A dummy network with addresses."""
    return {"cniVersion": version, "name": "net1", "type": "dummy", "ipam": host_local(node.data_dir, *subnets, **keys)}


def test_a_pod_has_addresses_that_lead_nowhere(node: Node) -> None:
    """Of both families, usable at once, with the routes of IPAM; nobody outside is asked or told."""
    routes = [{"dst": "10.9.0.0/16"}]
    pod = node.attach(dummy(node, "10.1.0.0/24", "fd00:1::/64", version="1.1.0", routes=routes))
    link = pod.pod.link("eth0")
    assert (link["linkinfo"]["info_kind"], link["ifalias"]) == ("dummy", f"net1/{pod.pod.container}/eth0")
    assert pod.pod.addresses("eth0") == {"10.1.0.2/24", "fd00:1::2/64"}
    assert not [each for each in pod.pod.address_objects("eth0") if each.get("tentative")]
    assert "10.9.0.0/16" in [route["dst"] for route in pod.pod.routes()]
    assert pod.result["interfaces"] == [{"name": "eth0", "mac": pod.mac, "mtu": 1500, "sandbox": pod.pod.path}]
    assert [ip["interface"] for ip in pod.result["ips"]] == [0, 0]
    pod.pod.ip("link set lo up")
    assert reaches(pod.pod, pod.pod, pod.address)
    assert pod.check().ok
    assert pod.delete().ok
    assert set(pod.pod.links()) == {"lo"} and not any(node.leases().values())


def test_dns_is_ipams(node: Node, tmp_path: Any) -> None:
    """Of the configuration neither that nor a MAC or an MTU is looked at, as in Go."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.53\n")
    conf = dummy(node, "10.1.0.0/24", resolvConf=str(resolv)) | {"dns": {"domain": "a"}, "mtu": "no key of it"}
    assert node.attach(conf, args="IgnoreUnknown=1;MAC=none").result["dns"] == {"nameservers": ["192.0.2.53"]}


def test_without_ipam_it_is_refused(node: Node) -> None:
    """By STATUS as by ADD; DEL, which has nothing to ask then, removes the link."""
    conf: Object = {"cniVersion": "1.1.0", "name": "net1", "type": "dummy"}
    attachment = Attachment(node, conf, node.pod())
    text = "dummy interface requires an IPAM configuration"
    for verb in ("ADD", "STATUS"):
        assert attachment.call(verb, conf).error["msg"] == text
    attachment.pod.ip("link add eth0 type dummy")
    assert attachment.delete().ok
    assert set(attachment.pod.links()) == {"lo"}


def test_a_name_that_is_taken_is_refused_and_the_link_stays(node: Node) -> None:
    """One of that name on the node is no hindrance."""
    node.ip("link add eth0 type dummy")
    conf = dummy(node, "10.1.0.0/24")
    pod = node.attach(conf)
    assert Attachment(node, conf, pod.pod).add().error["msg"] == "failed to create dummy: file exists"
    other = node.pod()
    other.ip("link add eth0 type veth peer name x")
    before = other.link("eth0")
    assert Attachment(node, conf, other).add().error["msg"] == "failed to create dummy: file exists"
    assert other.link("eth0") == before
    assert pod.check().ok


def test_check_fails_after_tampering_in_gos_words(node: Node) -> None:
    attached = node.attach(dummy(node, "10.1.0.0/24"))
    pod, mac = attached.pod, attached.mac
    changes = [
        ("link set eth0 down", "link set eth0 up", "Interface eth0 is down"),
        ("addr del 10.1.0.2/24 dev eth0", "addr add 10.1.0.2/24 dev eth0", "Failed to match addr 10.1.0.2/24"),
        (
            "link set eth0 address 02:00:00:00:00:0b",
            f"link set eth0 address {mac}",
            f"Interface eth0 Mac {mac} doesn't match container Mac: 02:00:00:00:00:0b",
        ),
    ]
    for change, back, text in changes:
        pod.ip(change)
        assert text in attached.check().error["msg"]
        pod.ip(back)
    assert attached.check().ok
    assert attached.call("CHECK", attached.conf).error["msg"] == "dummy: Required prevResult missing"
    pod.ip("link del eth0", "link add eth0 type veth peer name x")
    assert attached.check().error["msg"] == "Error: Container interface eth0 not of type dummy"


def test_status_asks_the_kernel_and_the_ipam_plugin(node: Node) -> None:
    conf = dummy(node, "10.1.0.0/24", version="1.1.0")
    assert node.cni("dummy", "STATUS", conf).ok
    assert "failed to find plugin" in node.cni("dummy", "STATUS", {**conf, "ipam": {"type": "none"}}).error["msg"]
    assert node.links().keys() == {"lo", "uplink"}
