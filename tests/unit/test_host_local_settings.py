"""host-local's configuration: what is read of it, in which order, and what is refused with Go's texts (pure)."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cni.errors import CNIError, InvalidConfig, InvalidEnvironment
from cni.skel import Call
from cni_host_local import DATA_DIR
from cni_host_local.settings import Settings, parse_resolv_conf, read
from cni_host_local.wanted import data_dir

Object = dict[str, Any]
SUBNET, OTHER, SUBNET6 = "10.1.2.0/24", "10.1.3.0/24", "fd00:1::/64"
EXAMPLE = Path(__file__).parents[2] / "plugins" / "host-local" / "example.conflist"


def call(ipam: Any, cni_args: str = "", **top: Any) -> Call:
    """A call whose configuration has this ``ipam`` and these members beside it."""
    conf = {"name": "net1", "cniVersion": "1.0.0", "type": "bridge", "ipam": ipam, **top}
    environ = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/x",
        "CNI_ARGS": cni_args,
    }
    return Call(environ, json.dumps(conf).encode(), io.StringIO())


def settings(ipam: Any, cni_args: str = "", **top: Any) -> Settings:
    return read(call(ipam, cni_args, **top))


def sets(ipam: Any, **top: Any) -> list[str]:
    """The final list of range sets, as messages print them."""
    return [str(one) for one in settings(ipam, **top).sets]


def requested(cni_args: str = "", **top: Any) -> list[str]:
    return [str(address) for address in settings({"subnet": SUBNET}, cni_args, **top).requested]


def refusal(ipam: Any, cni_args: str = "", **top: Any) -> CNIError:
    with pytest.raises(CNIError) as caught:
        settings(ipam, cni_args, **top)
    return caught.value


def dns(data: bytes) -> Object:
    return parse_resolv_conf(data.decode("utf-8", "replace")).document()


# ranges


@pytest.mark.parametrize(
    ("ipam", "top", "expected"),
    [
        pytest.param({"ranges": [[{"subnet": SUBNET}]]}, {}, ["10.1.2.1-10.1.2.254"], id="one set"),
        pytest.param(
            {"ranges": [[{"subnet": SUBNET}, {"subnet": OTHER}]]},
            {},
            ["10.1.2.1-10.1.2.254,10.1.3.1-10.1.3.254"],
            id="two ranges in a set",
        ),
        pytest.param({"subnet": SUBNET}, {}, ["10.1.2.1-10.1.2.254"], id="legacy"),
        pytest.param(
            {"subnet": SUBNET, "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.20", "gateway": "10.1.2.254"},
            {},
            ["10.1.2.9-10.1.2.20"],
            id="legacy, all keys",
        ),
        pytest.param(
            {"subnet": SUBNET, "ranges": [[{"subnet": OTHER}]]},
            {},
            ["10.1.2.1-10.1.2.254", "10.1.3.1-10.1.3.254"],
            id="legacy before ranges",
        ),
        pytest.param(
            {"subnet": SUBNET, "ranges": [[{"subnet": OTHER}]]},
            {"runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.0/30"}]]}},
            ["10.9.0.1-10.9.0.2", "10.1.2.1-10.1.2.254", "10.1.3.1-10.1.3.254"],
            id="the runtime's before both",
        ),
        pytest.param(
            {},
            {"runtimeConfig": {"ipRanges": [[{"subnet": SUBNET}], [{"subnet": SUBNET6}]]}},
            ["10.1.2.1-10.1.2.254", "fd00:1::1-fd00:1::ffff:ffff:ffff:ffff"],
            id="the runtime's alone",
        ),
        pytest.param(
            {"ranges": [[{"subnet": OTHER}]], "rangeStart": "10.1.2.9", "gateway": "x"},
            {},
            ["10.1.3.1-10.1.3.254"],
            id="legacy keys without subnet are ignored",
        ),
    ],
)
def test_sources_of_range_sets_and_their_order(ipam: Object, top: Object, expected: list[str]) -> None:
    """The runtime's, then the legacy range as a set of its own, then ``ranges``."""
    assert sets(ipam, **top) == expected


def test_the_legacy_gateway_is_kept() -> None:
    (one,) = settings({"subnet": SUBNET, "gateway": "10.1.2.254"}).sets
    assert str(one.ranges[0].gateway) == "10.1.2.254"


@pytest.mark.parametrize("ipam", [{}, {"ranges": []}, {"ranges": None}, {"rangeStart": "10.1.2.9"}])
def test_no_range_at_all(ipam: Object) -> None:
    error = refusal(ipam)
    assert (error.code, error.msg) == (7, "no IP ranges specified")


def test_keys_match_without_regard_to_case() -> None:
    """As Go's decoder has it, on every level."""
    assert sets({"Ranges": [[{"SUBNET": SUBNET, "rangestart": "10.1.2.50"}]]}) == ["10.1.2.50-10.1.2.254"]
    assert sets({}, RuntimeConfig={"IPRANGES": [[{"Subnet": SUBNET}]]}) == ["10.1.2.1-10.1.2.254"]
    assert requested(Args={"CNI": {"IPs": ["10.1.2.5"]}}) == ["10.1.2.5"]


def test_of_two_spellings_the_later_counts() -> None:
    assert sets({"ranges": [[{"subnet": SUBNET, "SUBNET": OTHER}]]}) == ["10.1.3.1-10.1.3.254"]
    assert sets({"SUBNET": SUBNET, "subnet": OTHER}) == ["10.1.3.1-10.1.3.254"]


@pytest.mark.parametrize("top", [{"ipam": None}, {}])
def test_ipam_has_to_be_there(top: Object) -> None:
    conf = {"name": "net1", "cniVersion": "1.0.0", **top}
    with pytest.raises(InvalidConfig, match="IPAM config missing 'ipam' key"):
        read(Call({"CNI_COMMAND": "ADD"}, json.dumps(conf).encode(), io.StringIO()))


@pytest.mark.parametrize("version", ["", "0.1.0", "0.2.0"])
def test_several_addresses_of_a_family_need_a_newer_version(version: str) -> None:
    """A result of those has one place for each family; one of each is fine."""
    two = {"ranges": [[{"subnet": SUBNET}], [{"subnet": OTHER}]]}
    error = refusal(two, cniVersion=version)
    assert error.msg == f"CNI version {version} does not support more than 1 address per family"
    assert error.code == 7
    assert len(sets({"ranges": [[{"subnet": SUBNET}], [{"subnet": SUBNET6}]]}, cniVersion=version)) == 2
    assert len(sets(two, cniVersion="0.3.0")) == 2


@pytest.mark.parametrize(
    ("ipam", "where"),
    [
        ([], "ipam"),
        ("x", "ipam"),
        ({"ranges": {}}, "ipam.ranges"),
        ({"ranges": [{"subnet": SUBNET}]}, "ipam.ranges[0]"),
        ({"ranges": [[SUBNET]]}, "ipam.ranges[0][0]"),
        ({"ranges": [[None]]}, "ipam.ranges[0][0]"),
        ({"ranges": [[{"subnet": 5}]]}, "ipam.ranges[0][0].subnet"),
        ({"subnet": 5}, "ipam.subnet"),
        ({"subnet": SUBNET, "gateway": 5}, "ipam.gateway"),
        ({"subnet": SUBNET, "dataDir": 5}, "ipam.dataDir"),
        ({"subnet": SUBNET, "resolvConf": []}, "ipam.resolvConf"),
        ({"subnet": SUBNET, "routes": {}}, "ipam.routes"),
        ({"subnet": SUBNET, "routes": [None]}, "ipam.routes[0]"),
        ({"subnet": SUBNET, "routes": [{"dst": "0.0.0.0/0", "mtu": "9"}]}, "ipam.routes[0].mtu"),
    ],
)
def test_a_wrong_type_is_code_6_and_named(ipam: Any, where: str) -> None:
    error = refusal(ipam)
    assert error.code == 6
    assert f"cannot read {where}: it must be " in error.msg


@pytest.mark.parametrize(
    ("top", "where"),
    [
        ({"runtimeConfig": []}, "runtimeConfig"),
        ({"runtimeConfig": {"ips": "10.1.2.5"}}, "runtimeConfig.ips"),
        ({"runtimeConfig": {"ips": [None]}}, "runtimeConfig.ips[0]"),
        ({"runtimeConfig": {"ipRanges": [[5]]}}, "runtimeConfig.ipRanges[0][0]"),
        ({"args": []}, "args"),
        ({"args": {"cni": "x"}}, "args.cni"),
        ({"args": {"cni": {"ips": ["10.1.2.5", None]}}}, "args.cni.ips[1]"),
    ],
)
def test_a_wrong_type_beside_ipam_is_code_6_and_named(top: Object, where: str) -> None:
    """A ``null`` in a list of requested addresses among them, which makes Go's plugin crash."""
    error = refusal({"subnet": SUBNET}, **top)
    assert error.code == 6
    assert f"cannot read {where}: it must be " in error.msg


# requested addresses


def test_requested_addresses_of_all_sources_are_added() -> None:
    """No source has precedence, and an address told twice counts once."""
    top = {"args": {"cni": {"ips": ["10.1.2.6", "fd00:1::6"]}}, "runtimeConfig": {"ips": ["10.1.2.7", "10.1.2.5"]}}
    assert requested("IP=10.1.2.5", **top) == ["10.1.2.5", "10.1.2.6", "fd00:1::6", "10.1.2.7"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.1.2.5", "10.1.2.5"),
        ("10.1.2.5/24", "10.1.2.5"),
        ("10.1.2.5/0", "10.1.2.5"),
        ("10.1.2.5/08", "10.1.2.5"),
        ("10.1.2.5/32", "10.1.2.5"),
        ("FD00:1:0:0::5", "fd00:1::5"),
        ("fd00:1::5/128", "fd00:1::5"),
        ("::ffff:10.1.2.5", "10.1.2.5"),
        ("::ffff:10.1.2.5/120", "10.1.2.5"),
    ],
)
def test_a_requested_address_may_have_a_prefix_that_is_ignored(text: str, address: str) -> None:
    assert requested(f"IP={text}") == [address]
    assert requested(args={"cni": {"ips": [text]}}) == [address]
    assert requested(runtimeConfig={"ips": [text]}) == [address]


BAD = [
    "x",
    "10.1.2",
    "10.1.2.5/33",
    "fd00:1::5/129",
    "10.1.2.5/",
    "10.1.2.5/+24",
    "10.1.2.5/-1",
    " 10.1.2.5",
    "10.1.2.05",
]
BAD += ["10.1.2.5/255.255.255.0", "10.1.2.5,10.1.2.6", "fe80::1%eth0", "10.1.2.5/1000000000000000024", "/24"]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_requested_address_is_refused_with_gos_text(text: str) -> None:
    error = refusal({"subnet": SUBNET}, f"IP={text}")
    assert isinstance(error, InvalidEnvironment)
    assert error.msg == f'CNI_ARGS: error parsing value of pair "IP={text}": invalid IP address {text}'
    for top in ({"args": {"cni": {"ips": [text]}}}, {"runtimeConfig": {"ips": [text]}}):
        error = refusal({"subnet": SUBNET}, **top)
        assert (error.code, error.msg) == (7, f"invalid IP address {text}")


def test_an_empty_request() -> None:
    """``IP=`` asks for none; an empty text in a list is no address."""
    assert requested("IP=") == []
    assert requested(runtimeConfig={"ips": []}, args={"cni": None}) == []
    error = refusal({"subnet": SUBNET}, runtimeConfig={"ips": [""]})
    assert error.msg == "cannot understand ip: IP <nil> not v4 nor v6"


@pytest.mark.parametrize(
    ("args", "msg"),
    [
        ("IP=10.1.2.5;", 'CNI_ARGS: invalid pair ""'),
        ("IP", 'CNI_ARGS: invalid pair "IP"'),
        ("ip=10.1.2.5", 'CNI_ARGS: unknown args ["ip=10.1.2.5"]'),
        ("IP=10.1.2.5;K8S_POD_NAME=p", 'CNI_ARGS: unknown args ["K8S_POD_NAME=p"]'),
    ],
)
def test_arguments_that_are_no_pairs_or_unknown_are_code_4(args: str, msg: str) -> None:
    error = refusal({"subnet": SUBNET}, args)
    assert (error.code, error.msg) == (4, msg)


def test_unknown_arguments_are_ignored_when_told_so() -> None:
    assert requested("K8S_POD_NAME=p;IP=10.1.2.5;IgnoreUnknown=true") == ["10.1.2.5"]


def test_arguments_are_checked_before_requests_and_those_before_ranges() -> None:
    """Go's order of validation: the first fault is the one that is told."""
    everything: Object = {"runtimeConfig": {"ips": ["x"]}}
    assert isinstance(refusal({"subnet": "10.1.2.3/24"}, "IP=y", **everything), InvalidEnvironment)
    assert refusal({"subnet": "10.1.2.3/24"}, **everything).msg == "invalid IP address x"
    assert refusal({"subnet": "10.1.2.3/24"}).msg.startswith("invalid range set 0: Network has host bits set")
    two = {"ranges": [[{"subnet": SUBNET}], [{"subnet": SUBNET}]]}
    assert "more than 1 address per family" in refusal(two, cniVersion="0.2.0").msg
    assert refusal(two).msg == "range set 0 overlaps with 1"


# routes


def test_routes_are_copied_with_all_their_attributes() -> None:
    routes: list[Object] = [
        {"dst": "0.0.0.0/0"},
        {"dst": "10.9.0.1/16", "gw": "10.1.2.9"},
        {"dst": "fd01::/64", "gw": "fd00:1::9", "mtu": 1400, "advmss": 1300, "priority": 7, "table": 0, "scope": 253},
    ]
    read_back = [route.document() for route in settings({"subnet": SUBNET, "routes": routes}).routes]
    assert read_back == routes


def test_a_route_without_destination_is_refused() -> None:
    """Go prints it with the destination ``<nil>``."""
    error = refusal({"subnet": SUBNET, "routes": [{"gw": "10.1.2.9"}]})
    assert (error.code, error.msg) == (7, "a route has no dst")
    assert refusal({"subnet": SUBNET, "routes": [{"dst": "10.0.0.1"}]}).msg == "invalid CIDR address: 10.0.0.1"


# the folder


@pytest.mark.parametrize(
    ("ipam", "folder"),
    [
        ({"dataDir": "/x/y"}, "/x/y"),
        ({"DATADIR": "/x/y"}, "/x/y"),
        ({"dataDir": "leases"}, "leases"),
        ({"dataDir": ""}, DATA_DIR),
        ({"dataDir": None}, DATA_DIR),
        ({"dataDir": 5}, DATA_DIR),
        ({}, DATA_DIR),
        ("broken", DATA_DIR),
        (None, DATA_DIR),
    ],
)
def test_the_folder_is_known_whatever_else_is_broken(ipam: Any, folder: str) -> None:
    """DEL and GC need it alone."""
    assert DATA_DIR == "/var/lib/cni/networks"
    assert data_dir(call(ipam)) == folder


# resolv.conf


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", {}, id="empty"),
        pytest.param(b"nameserver 192.0.2.1\n", {"nameservers": ["192.0.2.1"]}, id="plain"),
        pytest.param(b"nameserver 192.0.2.1", {"nameservers": ["192.0.2.1"]}, id="no newline at the end"),
        pytest.param(
            b" \t nameserver\t192.0.2.1 192.0.2.2\r\n", {"nameservers": ["192.0.2.1"]}, id="second word alone"
        ),
        pytest.param(b"nameserver a\nnameserver b\nnameserver a\n", {"nameservers": ["a", "b", "a"]}, id="several"),
        pytest.param(b"nameserver fe80::1%eth0\n", {"nameservers": ["fe80::1%eth0"]}, id="not validated"),
        pytest.param(b"domain a x\ndomain b\n", {"domain": "b"}, id="last domain"),
        pytest.param(b"search a b\nsearch c\n", {"search": ["a", "b", "c"]}, id="search adds up"),
        pytest.param(b"options x:1\noptions y z\n", {"options": ["x:1", "y", "z"]}, id="options add up"),
        pytest.param(b"# nameserver 1\n;nameserver 1\n  #x y\n", {}, id="comments"),
        pytest.param(b"search a # b\n", {"search": ["a", "#", "b"]}, id="no comment at a line's end"),
        pytest.param(b"nameserver\nsearch\ndomain\noptions\n", {}, id="fewer than two words"),
        pytest.param(b"Nameserver 1\nSEARCH a\nsortlist 1\nlookup x\n", {}, id="other keywords"),
        pytest.param(b"search a\x0bb\x0cc\n", {"search": ["a", "b", "c"]}, id="other white space ends no line"),
        pytest.param("search a\u2028b\u0085c\n".encode(), {"search": ["a", "b", "c"]}, id="nor does Unicode's"),
        pytest.param(b"search a\rdomain b\n", {"search": ["a", "domain", "b"]}, id="nor does a lone CR"),
    ],
)
def test_resolv_conf_is_read_as_go_does(data: bytes, expected: Object) -> None:
    assert dns(data) == expected


# the page's example


def test_the_example_is_one_that_works() -> None:
    """The sets that the example of the page says."""
    (bridge,) = json.loads(EXAMPLE.read_text())["plugins"]
    assert sets(bridge["ipam"]) == ["10.88.1.0-10.88.9.255", "fd00:88::1-fd00:88::ffff:ffff:ffff:ffff"]
