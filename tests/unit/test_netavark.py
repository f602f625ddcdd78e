"""netavark's driver: its documents, what create refuses and shows, and a request in the words of CNI (pure)."""

import json
from typing import Any

import pytest

from cni_netavark.conflist import Conflist
from cni_netavark.create import created
from cni_netavark.documents import Attached, Network, Port, ports, status
from cni_netavark.names import Record
from cni_netavark.parameters import parameters, publishes, unmet, with_addresses
from cni_netavark.refusal import Refused
from libcni import DNS, Result, network_conf_from_bytes

ID = "c" * 64
RANGES = [[{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.10", "rangeEnd": "10.7.0.99"}], [{"subnet": "fd07::/64"}]]
REQUEST = {
    "container_id": ID,
    "container_name": "web",
    "port_mappings": [{"container_port": 80, "host_port": 8080, "host_ip": "", "protocol": "tcp", "range": 1}],
    "network": {"name": "net", "id": "1", "driver": "cni", "options": {"conflist": "mynet"}},
    "network_options": {"interface_name": "eth0", "static_ips": None, "static_mac": None, "aliases": ["w"]},
}


def conflist(*plugins: dict[str, Any], **first: Any) -> Conflist:
    """A list of a bridge with two ranges, and other plugins."""
    ipam = {"type": "host-local", "ranges": RANGES}
    bridge = {"type": "bridge", "bridge": "br7", "ipam": ipam, **first}
    document = {"cniVersion": "1.0.0", "name": "mynet", "plugins": [bridge, *plugins]}
    return Conflist(network_conf_from_bytes(json.dumps(document)))


PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


def network(options: dict[str, str] | None = None, **members: Any) -> Network:
    """A network as podman asks for it."""
    document = {"name": "net", "id": "1", "driver": "cni", "internal": False, "ipv6_enabled": False}
    return Network.parse({**document, "options": {"conflist": "mynet", **(options or {})}, **members})


def request(
    options: dict[str, str] | None = None, network_options: dict[str, str] | None = None, **own: Any
) -> Attached:
    """A request of ``setup``; ``own`` are members of the container's options in the network."""
    document = json.loads(json.dumps(REQUEST))
    document["network"]["options"] |= network_options or {}
    document["network_options"] |= {"options": options, **own}
    return Attached.parse(document)


# documents


def test_ports_one_by_one() -> None:
    """Ranges and lists of protocols; podman 5 leaves out nothing, older ones the range."""
    entry = {"container_port": 9000, "host_port": 9100, "host_ip": "127.0.0.1", "protocol": "tcp,udp", "range": 2}
    assert ports([entry, {"container_port": 53, "host_port": 53, "protocol": "udp"}]) == (
        Port("127.0.0.1", 9100, 9000, "tcp"),
        Port("127.0.0.1", 9100, 9000, "udp"),
        Port("127.0.0.1", 9101, 9001, "tcp"),
        Port("127.0.0.1", 9101, 9001, "udp"),
        Port("", 53, 53, "udp"),
    )


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param([], id="no object"),
        pytest.param({"host_port": 0, "container_port": 80}, id="no port"),
        pytest.param({"host_port": 65535, "container_port": 80, "range": 2}, id="past the last port"),
        pytest.param({"host_port": "80", "container_port": 80}, id="a text"),
        pytest.param({"host_port": True, "container_port": 80}, id="a truth value"),
        pytest.param({"host_port": 80, "container_port": 80, "range": -1}, id="negative"),
    ],
)
def test_bad_ports_are_refused(entry: Any) -> None:
    with pytest.raises(Refused):
        ports([entry])


@pytest.mark.parametrize("document", [None, [], {"network": None}, {"network": {"options": {"a": 1}}}])
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(Refused):
        Attached.parse(document)


def test_status_lists_the_interface_of_the_container() -> None:
    """Not the host's end, and no address of another interface; names of servers and domains as podman reads them."""
    document = {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "br7", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/x"},
            {"name": "lo", "sandbox": "/run/netns/x"},
        ],
        "ips": [
            {"address": "10.7.0.10/24", "gateway": "10.7.0.1", "interface": 1},
            {"address": "127.0.0.1/8", "interface": 2},
            {"address": "fd07::2/64"},
        ],
    }
    dns = DNS(["10.7.0.1"], "example.org", ["a.example"])
    assert status(result(document), "eth0", dns) == {
        "dns_server_ips": ["10.7.0.1"],
        "dns_search_domains": ["a.example", "example.org"],
        "interfaces": {
            "eth0": {
                "mac_address": "02:00:00:00:00:02",
                "subnets": [{"ipnet": "10.7.0.10/24", "gateway": "10.7.0.1"}, {"ipnet": "fd07::2/64"}],
            }
        },
    }


def result(document: dict[str, Any]) -> Result:
    """A result of plugins."""
    from libcni import _results

    return _results.from_document(document, document["cniVersion"])


# create


def test_create_shows_what_the_list_serves() -> None:
    """Ranges, gateways and the bridge, and no IPAM of podman's own. Other members stay as they are."""
    document = created(network(labels={"a": "b"}, dns_enabled=True), conflist())
    assert document["labels"] == {"a": "b"} and document["dns_enabled"] is True
    assert document["network_interface"] == "br7"
    assert document["ipam_options"] == {"driver": "none"}
    assert document["ipv6_enabled"] is True
    lease = {"start_ip": "10.7.0.10", "end_ip": "10.7.0.99"}
    assert document["subnets"] == [
        {"subnet": "10.7.0.0/24", "gateway": "10.7.0.1", "lease_range": lease},
        {"subnet": "fd07::/64", "gateway": "fd07::1"},
    ]


def test_disabled_names_are_remembered() -> None:
    """podman itself forgets ``--disable-dns``."""
    assert created(network(dns_enabled=False), conflist())["options"]["dns"] == "false"


@pytest.mark.parametrize(
    "members",
    [
        {"subnets": [{"subnet": "10.7.0.0/24", "gateway": "10.7.0.1"}]},
        {"subnets": [{"subnet": "fd07::/64"}], "ipv6_enabled": True},
        {"network_interface": "br7"},
        {"ipam_options": {"driver": "none"}},
        {"ipam_options": {"driver": "host-local"}},
    ],
    ids=str,
)
def test_options_that_the_list_serves(members: dict[str, Any]) -> None:
    assert created(network(**members), conflist())["name"] == "net"


@pytest.mark.parametrize(
    ("members", "option"),
    [
        ({"subnets": [{"subnet": "10.8.0.0/24"}]}, "--subnet 10.8.0.0/24"),
        ({"subnets": [{"subnet": "10.7.0.0/24", "gateway": "10.7.0.9"}]}, "--gateway 10.7.0.9"),
        ({"subnets": [{"subnet": "10.7.0.0/24", "lease_range": {"start_ip": "10.7.0.128"}}]}, "--ip-range"),
        ({"internal": True}, "--internal"),
        ({"ipam_options": {"driver": "dhcp"}}, "--ipam-driver dhcp"),
        ({"network_interface": "br8"}, "--interface-name br8"),
        ({"routes": [{"destination": "10.9.0.0/16", "gateway": "10.7.0.1"}]}, "--route"),
        ({"options": {"mtu": "1400"}}, "-o mtu=1400"),
        ({"options": {"args.": "x"}}, "option args."),
        ({"options": {"ports": "yes"}}, "option ports"),
    ],
    ids=str,
)
def test_options_that_it_does_not_serve_are_named(members: dict[str, Any], option: str) -> None:
    with pytest.raises(Refused, match=option):
        created(network(**members), conflist())


def test_every_refused_option_is_named_at_once() -> None:
    with pytest.raises(Refused) as refused:
        created(network({"a": "1"}, internal=True), conflist())
    assert "-o a=1" in str(refused.value) and "--internal" in str(refused.value)


def test_a_link_of_the_node_needs_root() -> None:
    net = Conflist(network_conf_from_bytes('{"cniVersion":"1.0.0","name":"m","plugins":[{"type":"macvlan"}]}'))
    assert created(network(), net)["name"] == "net"
    with pytest.raises(Refused, match="macvlan"):
        created(network(), net, rootless=True)


# parameters


def test_a_request_in_the_words_of_cni() -> None:
    """The pairs that podman 4 gave, ports, and an address with its prefix in CNI_ARGS."""
    attached = request(static_ips=["10.7.0.50"], static_mac="02:00:00:00:00:AA")
    runtime = parameters(attached, conflist(PORTMAP), "/run/netns/x", publish=True)
    assert (runtime.container_id, runtime.netns, runtime.if_name) == (ID, "/run/netns/x", "eth0")
    assert dict(runtime.args) == {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": "web",
        "K8S_POD_NAME": "web",
        "K8S_POD_INFRA_CONTAINER_ID": ID,
        "IP": "10.7.0.50/24",
        "MAC": "02:00:00:00:00:aa",
    }
    assert runtime.capability_args == {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}


def test_capabilities_come_first() -> None:
    """Where a plugin declares them, they are used in place of CNI_ARGS; a container's option replaces a network's."""
    declared = {"ips": True, "mac": True, "bandwidth": True, "aliases": True}
    attached = request(
        {"args.COLOUR": "red", "capability.bandwidth": '{"ingressRate": 1}'},
        {"args.COLOUR": "blue", "args.SIZE": "1"},
        static_ips=["10.7.0.50", "fd07::50"],
        static_mac="02:00:00:00:00:aa",
    )
    runtime = parameters(attached, conflist(capabilities=declared), "", publish=False)
    assert runtime.capability_args == {
        "bandwidth": {"ingressRate": 1},
        "ips": ["10.7.0.50/24", "fd07::50/64"],
        "mac": "02:00:00:00:00:aa",
        "aliases": {"mynet": ["w"]},
    }
    args = dict(runtime.args)
    assert (args["COLOUR"], args["SIZE"]) == ("red", "1")
    assert not {"IP", "MAC"} & set(args)


@pytest.mark.parametrize(
    ("options", "own", "text"),
    [
        ({"host_interface_name": "x0"}, {}, "option host_interface_name"),
        ({"capability.bandwidth": "{}"}, {}, "no plugin of list mynet declares bandwidth"),
        ({"capability.bandwidth": "{"}, {}, "no JSON"),
        ({}, {"static_ips": ["nonsense"]}, "--ip nonsense"),
    ],
    ids=str,
)
def test_wishes_that_cannot_be_met_are_refused(options: dict[str, str], own: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused, match=text):
        parameters(request(options, **own), conflist(), "", publish=False)


def test_several_addresses_without_the_capability() -> None:
    """In ``args`` of the plugin with the IPAM, beside what is there. The list that is remembered stays as it is."""
    attached = request(static_ips=["10.7.0.5", "fd07::5"])
    net = conflist(PORTMAP, args={"cni": {"mac": "x"}, "other": 1})
    changed = with_addresses(attached, net)
    bridge, portmap = (json.loads(plugin.bytes) for plugin in changed.plugins)
    assert bridge["args"] == {"cni": {"mac": "x", "ips": ["10.7.0.5/24", "fd07::5/64"]}, "other": 1}
    assert "args" not in portmap and changed.bytes == net.net.bytes
    assert "IP" not in dict(parameters(attached, net, "", publish=False).args)
    for other, plugins in ((request(static_ips=["10.7.0.5"]), net), (attached, conflist(capabilities={"ips": True}))):
        assert with_addresses(other, plugins) is plugins.net


def test_ports_are_published_once() -> None:
    """By the first network that can; one that cannot has to say so."""
    assert publishes(request(), conflist(PORTMAP), [])
    assert not publishes(request(), conflist(PORTMAP), ["eth1"])
    assert not publishes(request(network_options={"ports": "ignore"}), conflist(), [])
    with pytest.raises(Refused, match="ports=ignore"):
        publishes(request(), conflist(), [])


def test_a_wish_that_plugins_ignored_is_noticed() -> None:
    document = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "x"}],
        "ips": [{"address": "10.7.0.10/24"}, {"address": "fd07::a/64"}],
    }
    got = result(document)
    assert unmet(request(static_ips=["fd07:0::a"], static_mac="02:00:00:00:00:02"), got) == ""
    assert "10.7.0.50" in unmet(request(static_ips=["10.7.0.50"]), got)
    assert "02:00:00:00:00:03" in unmet(request(static_mac="02:00:00:00:00:03"), got)


def test_a_record_as_aardvark_dns_reads_it() -> None:
    record = Record(ID, ("fd07::2", "10.7.0.10"), ("web", "w"))
    assert record.line() == f"{ID} 10.7.0.10 fd07::2 web,w"
    assert Record(ID, ("10.7.0.10",), ("web",)).line() == f"{ID} 10.7.0.10  web"
