"""A link as we read it is what ``ip`` says of it: each field, of links of several kinds."""

from typing import Any

from cni.kernel import pyroute
from cni.kernel.netlink import Answer
from cni.kernel.rtnl import IFF_LOOPBACK, Link, Rtnl
from node.topology import Node

MADE = (
    "link add br7 type bridge",
    "link add one type veth peer name two",
    "link set one master br7 up alias net1/ctr1/eth0 mtu 1400",
    "link set two up address 02:00:00:00:00:07",
    "link set one type bridge_slave hairpin on isolated on",
    "link set two promisc on",
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
        "peer": indexes.get(link.get("link", ""), 0),
        "alias": link.get("ifalias", ""),
        "operstate": link["operstate"].lower(),
        "promiscuity": link["promiscuity"],
        "kind": info.get("info_kind", ""),
        "hairpin": port.get("hairpin", False),
        "isolated": port.get("isolated", False),
        "port_state": states[port["state"]] if port else -1,
        "vlan_filtering": bool(info.get("info_data", {}).get("vlan_filtering", 0)),
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
    assert found["lo"].flags & IFF_LOOPBACK
    assert rtnl.link("absent") is None
    assert wanted["one"]["peer"] == indexes["two"] and wanted["one"]["hairpin"]
    rtnl.close()


def test_a_bridge_that_filters_vlans() -> None:
    """Which not every kernel that tests run on has: the message is pyroute2's."""
    for value in (0, 1):
        message = pyroute.load("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg()
        data = {"attrs": [("IFLA_BR_FORWARD_DELAY", 256), ("IFLA_BR_VLAN_FILTERING", value)]}
        info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
        message["index"], message["attrs"] = 7, [("IFLA_IFNAME", "br0"), ("IFLA_LINKINFO", info)]
        message.encode()
        link = Link(Answer(16, 0, 1, bytes(message.data)))
        assert (link.index, link.name, link.kind, link.vlan_filtering) == (7, "br0", "bridge", bool(value))
        assert (link.alias, link.mac, link.peer, link.port_state, link.operstate) == ("", "", 0, -1, "unknown")
