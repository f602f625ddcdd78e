"""A link as we read it is what ``ip`` says of it: each field, of links of several kinds."""

from typing import Any

from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from cni.kernel.kinds import Bridge, Veth
from cni.kernel.netlink import Answer
from cni.kernel.rtnl import Link, Rtnl
from node.topology import Node

MADE = (
    "link add br7 type bridge",
    "link add one type veth peer name two",
    "link set one master br7 up alias net1/ctr1/eth0 mtu 1400",
    "link set two up address 02:00:00:00:00:07",
    "link set one type bridge_slave hairpin on isolated on",
    "link set two promisc on",
    "link add three type veth peer name four",
    "link set three master br7",
    "link set three type bridge_slave hairpin on",
    "link set four master br7",
    "link set four type bridge_slave isolated on",
)


def told(link: dict[str, Any], indexes: dict[str, int]) -> dict[str, Any]:
    """What ``ip -j -d link`` says, by the names of our fields."""
    info = link.get("linkinfo", {})
    port = info.get("info_slave_data", {}) if info.get("info_slave_kind") == "bridge" else {}
    states = {"disabled": 0, "listening": 1, "learning": 2, "forwarding": 3, "blocking": 4}
    return {
        "index": link["ifindex"],
        "name": link["ifname"],
        "mac": link.get("address", ""),
        "mtu": link["mtu"],
        "master": indexes.get(link.get("master", ""), 0),
        "other": indexes.get(link.get("link", ""), 0),
        "alias": link.get("ifalias", ""),
        "operstate": link["operstate"].lower(),
        "promiscuity": link["promiscuity"],
        "kind": info.get("info_kind", ""),
        "hairpin": port.get("hairpin", False),
        "isolated": port.get("isolated", False),
        "port_state": states[port["state"]] if port else -1,
        "promisc": "PROMISC" in link["flags"],
        "tx_queue_length": link.get("txqlen", 0),
        "up": "UP" in link["flags"],
        "loopback": "LOOPBACK" in link["flags"],
    }


def test_every_field_is_what_ip_says(node: Node) -> None:
    """In one listing and one by one, by name and by index."""
    node.ip(*MADE)
    said = node.links()
    indexes = {name: link["ifindex"] for name, link in said.items()}
    wanted = {name: told(link, indexes) for name, link in said.items() if name != "uplink"}
    with node.inside():
        rtnl = Rtnl()
    found = {link.name: link for link in rtnl.links()}
    assert {"br7", "one", "two"} <= set(wanted)
    for name, fields in wanted.items():
        for link in (found[name], rtnl.link(name), rtnl.link(index=indexes[name])):
            assert isinstance(link, Link)
            assert {field: getattr(link, field) for field in fields} == fields
            assert link.data == {"bridge": Bridge(), "veth": Veth()}.get(link.kind)
    assert found["lo"].loopback
    assert rtnl.link("absent") is None
    assert found["one"].peer == indexes["two"] and wanted["one"]["hairpin"]
    rtnl.close()


def test_a_bridge_that_filters_vlans() -> None:
    """Which not every kernel that tests run on has: the message is pyroute2's."""
    for value in (0, 1):
        message = ifinfmsg()
        data = {"attrs": [("IFLA_BR_FORWARD_DELAY", 256), ("IFLA_BR_VLAN_FILTERING", value)]}
        info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
        message["index"], message["attrs"] = 7, [("IFLA_IFNAME", "br0"), ("IFLA_LINKINFO", info)]
        message.encode()
        link = Link(Answer(16, 0, 1, bytes(message.data)))
        assert (link.index, link.name, link.kind, link.data) == (7, "br0", "bridge", Bridge(bool(value)))
        assert (link.alias, link.mac, link.peer, link.port_state, link.operstate) == ("", "", 0, -1, "unknown")


def test_links_of_kinds_that_we_do_not_make_are_read_too() -> None:
    """Their data is left as it is."""
    for kind in ("bond", "vxlan", "unheard-of"):
        message = ifinfmsg()
        info = {"attrs": [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", b"\x08\0\x01\0\x07\0\0\0")]}
        message["attrs"] = [("IFLA_IFNAME", "it0"), ("IFLA_LINKINFO", info)]
        message.encode()
        link = Link(Answer(16, 0, 1, bytes(message.data)))
        assert (link.name, link.kind, link.data) == ("it0", kind, None)
