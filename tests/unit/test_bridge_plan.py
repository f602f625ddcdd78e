"""What bridge wants for an attachment, as text, computed without a kernel and without root."""

import json
from typing import Any

import pytest

from cni import plan
from cni.errors import CNIError
from cni.ipam import Addresses
from cni.links.pair import PodLink
from cni.result import parse
from cni.skel import Call
from cni_bridge import settings
from cni_bridge.device import BridgeDevice, gateway_addresses, with_gateways
from cni_bridge.leg import VlanLeg
from cni_bridge.port import wanted_vlans
from cni_bridge.wanted import wanted

Object = dict[str, Any]


class _Lines:
    def write(self, text: str, /) -> None:
        raise AssertionError(f"nothing is to be said: {text}")


class _Link:
    """What the kernel would have answered for a link."""

    def __init__(self, name: str, index: int) -> None:
        self.name, self.index, self.mac, self.mtu = name, index, f"02:00:00:00:00:0{index}", 1500


class _Pair:
    def __init__(self, host: str) -> None:
        self.host, self.container = _Link(host, 2), _Link("eth0", 3)


def _call(cni_args: str = "", **keys: Any) -> Call:
    conf = {"cniVersion": "1.1.0", "name": "mynet", "type": "bridge", **keys}
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "ctr1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/x"}
    return Call({**environ, "CNI_ARGS": cni_args}, json.dumps(conf).encode(), _Lines())


def _described(ipam_result: Object | None = None, **keys: Any) -> str:
    call = _call(**keys)
    said = settings.read(call)

    def values(effect: plan.Effect) -> Any:
        if isinstance(effect, BridgeDevice):
            effect.found = _Link("cni0", 1)  # type: ignore[assignment]
            return effect.found
        if isinstance(effect, PodLink):
            return _Pair(effect.identity)
        if isinstance(effect, Addresses):
            return parse(ipam_result, "1.1.0")
        if isinstance(effect, VlanLeg):
            return _Link("cni0.5", 4)
        return None

    return plan.describe(wanted(call, said), values)


LAYER_2 = """\
ip link add cni0 address RANDOM type bridge
ip link set cni0 up
ip link add vetho2nejzgkkaa type veth peer eth0 netns CONTAINER
bridge link set dev vetho2nejzgkkaa hairpin off isolated off
ip link set vetho2nejzgkkaa up
ip link set eth0 up
wait until vetho2nejzgkkaa forwards
ip link set vetho2nejzgkkaa alias mynet/ctr1/eth0"""

DUAL_STACK = """\
ip link add cni0 address RANDOM mtu 1400 type bridge
ip link set cni0 up
ip link add {link} mtu 1400 type veth peer eth0 address 02:11:22:33:44:55 mtu 1400 netns CONTAINER
bridge link set dev {link} hairpin on isolated on
ip link set {link} up
ip link set eth0 up
wait until {link} forwards
addresses from host-local
ip addr add 10.1.2.5/24 dev eth0
ip addr add fd00::5/64 dev eth0 nodad
ip route add 10.9.0.0/16 mtu 1300 metric 7 table 99 via 10.1.2.1 dev eth0
ip route add 0.0.0.0/0 via 10.1.2.1 dev eth0
ip route add ::/0 via fd00::1 dev eth0
ip addr add 10.1.2.1/24 dev cni0
ip addr add fd00::1/64 dev cni0 nodad
sysctl net/ipv4/ip_forward=1
sysctl net/ipv4/conf/cni0/forwarding=1
sysctl net/ipv6/conf/all/forwarding=1
sysctl net/ipv6/conf/cni0/forwarding=1
announce 10.1.2.5
announce fd00::5
ip link set {link} alias mynet/ctr1/eth0"""

IPAM: Object = {
    "ips": [{"address": "10.1.2.5/24"}, {"address": "fd00::5/64", "gateway": "fd00::1"}],
    "routes": [{"dst": "10.9.0.0/16", "mtu": 1300, "priority": 7, "table": 99}],
}


def test_layer_2_has_neither_addresses_nor_rules() -> None:
    """Without ipam there is a bridge, a pair, and nothing else."""
    link = _call().attachment.link
    assert _described() == LAYER_2.replace("vetho2nejzgkkaa", link)


def test_dual_stack_with_everything() -> None:
    """Up before IPAM, then addresses and routes, gateways and forwarding on the node, the announcement last but one."""
    described = _described(
        IPAM,
        isDefaultGateway=True,
        mtu=1400,
        hairpinMode=True,
        portIsolation=True,
        runtimeConfig={"mac": "02:11:22:33:44:55"},
        ipam={"type": "host-local"},
    )
    assert described == DUAL_STACK.format(link=_call().attachment.link)


def test_a_disabled_container_interface_stays_down() -> None:
    """disableContainerInterface leaves eth0 alone and waits for no port."""
    described = _described(disableContainerInterface=True)
    assert "ip link set eth0 up" not in described
    assert "forwards" not in described


def test_vlan_gateway_is_on_the_leg() -> None:
    """With a VLAN the gateway's address is on BRIDGE.VLAN, and the port is in the VLAN."""
    described = _described(IPAM, vlan=5, isGateway=True, ipam={"type": "x"})
    link = _call().attachment.link
    assert f"bridge vlan add dev {link} vid 5 pvid untagged" in described
    assert "ip addr add 10.1.2.1/24 dev cni0.5" in described
    assert "type bridge vlan_filtering 1" in described
    assert "sysctl net/ipv4/conf/cni0.5/forwarding=1" in described


@pytest.mark.parametrize(
    ("keys", "wanted_flags"),
    [
        ({}, {}),
        ({"vlan": 7}, {7: 6}),
        ({"vlanTrunk": [{"minID": 3, "maxID": 5}, {"id": 4}, {"id": 9}]}, {1: 6, 3: 0, 4: 0, 5: 0, 9: 0}),
        ({"vlan": 4, "vlanTrunk": [{"id": 4}, {"id": 5}]}, {4: 6, 5: 0}),
        ({"vlanTrunk": []}, {}),
    ],
)
def test_vlans_of_a_port(keys: Object, wanted_flags: dict[int, int]) -> None:
    """A trunk without a VLAN has 1 as its native one; the native one is PVID and untagged."""
    said = settings.read(_call(**keys))
    assert wanted_vlans(said) == wanted_flags
    assert said.vlan_filtering is bool(keys)


TRUNKS = {
    "incorrect trunk minID parameter": [{"minID": 0, "maxID": 5}],
    "incorrect trunk maxID parameter": [{"minID": 1, "maxID": 4095}],
    "minID is greater than maxID in trunk parameter": [{"minID": 5, "maxID": 4}],
    "minID and maxID should be configured simultaneously, minID is missing": [{"maxID": 4}],
    "minID and maxID should be configured simultaneously, maxID is missing": [{"minID": 4}],
    "incorrect trunk id parameter": [{"id": 4095}],
}


@pytest.mark.parametrize("text", TRUNKS)
def test_trunks_that_cannot_be(text: str) -> None:
    """Go's texts, code 7."""
    with pytest.raises(CNIError) as caught:
        settings.read(_call(vlanTrunk=TRUNKS[text]))
    assert (caught.value.msg, caught.value.code) == (text, 7)


REFUSED: list[tuple[Object, int, str]] = [
    ({"vlan": 4095}, 7, "invalid VLAN ID 4095 (must be between 0 and 4094)"),
    ({"vlan": -1}, 7, "invalid VLAN ID -1 (must be between 0 and 4094)"),
    ({"bridge": ""}, 7, 'failed to create bridge "": could not add "": LinkAttrs.Name cannot be empty'),
    ({"bridge": "../x"}, 7, 'failed to create bridge "../x": interface name contains / or : or whitespace characters'),
    ({"bridge": "a" * 16}, 7, f'failed to create bridge "{"a" * 16}": interface name is too long'),
    ({"bridge": "br%d"}, 7, 'failed to create bridge "br%d": interface name contains %'),
    ({"bridge": "all"}, 7, 'failed to create bridge "all": interface name is reserved'),
    ({"bridge": "default"}, 7, 'failed to create bridge "default": interface name is reserved'),
    ({"mtu": 1}, 7, "mtu is 1, and must be from 68 to 65535, or 0 for the kernel's"),
    ({"mtu": 67}, 7, "mtu is 67, and must be from 68 to 65535, or 0 for the kernel's"),
    ({"mtu": 65536}, 7, "mtu is 65536, and must be from 68 to 65535, or 0 for the kernel's"),
    ({"mtu": 1 << 32}, 7, "mtu is 4294967296, and must be from 68 to 65535, or 0 for the kernel's"),
    (
        {"mtu": 1279, "ipam": {"type": "x", "ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]}},
        7,
        "mtu is 1279, and must be from 1280 to 65535 with IPv6",
    ),
    ({"hairpinMode": True, "promiscMode": True}, 7, "cannot set hairpin mode and promiscuous mode at the same time"),
    (
        {"disableContainerInterface": True, "ipam": {"type": "x"}},
        7,
        "cannot use IPAM when DisableContainerInterface flag is set",
    ),
    ({"ipMasq": True, "ipMasqBackend": "pf", "ipam": {"type": "x"}}, 7, 'unknown ipmasq backend "pf"'),
    ({"runtimeConfig": {"mac": "nonsense"}}, 7, "failed to make veth pair: address nonsense: invalid MAC address"),
    ({"cniVersion": "0.2.0"}, 7, "cannot convert: no valid IP addresses"),
    ({"mtu": "1500"}, 6, 'failed to load netconf: cannot read key "mtu": it must be an integer, not string'),
    ({"isGateway": 1}, 6, 'failed to load netconf: cannot read key "isGateway": it must be true or false, not number'),
    ({"ipam": "host-local"}, 6, "failed to load netconf: ipam must be an object"),
    (
        {"vlanTrunk": [None]},
        6,
        'failed to load netconf: cannot read key "vlanTrunk"[0]: it must be an object, not null',
    ),
]


@pytest.mark.parametrize(("keys", "code", "text"), REFUSED)
def test_configurations_that_are_refused(keys: Object, code: int, text: str) -> None:
    """Before anything is touched, with the right code, naming the key or the value."""
    with pytest.raises(CNIError) as caught:
        settings.read(_call(**keys))
    assert (caught.value.code, caught.value.msg) == (code, text)


@pytest.mark.parametrize(
    "keys",
    [
        {"mtu": 0},
        {"mtu": -1},
        {"mtu": -(1 << 40), "ipam": {"type": "x", "subnet": "fd00::/64"}},
        {"mtu": 68, "ipam": {"type": "x", "subnet": "10.0.0.0/24"}},
        {"mtu": 1280, "ipam": {"type": "x", "subnet": "fd00::/64"}},
        {"mtu": 1000, "ipam": {"type": "x", "subnet": "::ffff:10.0.0.0/120", "routes": [{"dst": "fd00::/8"}]}},
        {"mtu": 65535},
    ],
    ids=str,
)
def test_an_mtu_that_the_kernel_takes(keys: Object) -> None:
    """At the edges of its range; IPv4-mapped addresses are IPv4's."""
    assert settings.read(_call(**keys)).mtu == max(keys["mtu"], 0)


def test_a_backend_that_is_not_used_is_not_judged() -> None:
    """Go does not look at ipMasqBackend without ipMasq; a configuration with a wrong one keeps working."""
    assert settings.read(_call(ipMasqBackend="pf")).masquerade is False


@pytest.mark.parametrize(
    ("args", "keys", "mac"),
    [
        ("MAC=02:00:00:00:00:01", {}, "02:00:00:00:00:01"),
        ("MAC=02:00:00:00:00:01", {"args": {"cni": {"mac": "02:00:00:00:00:02"}}}, "02:00:00:00:00:02"),
        (
            "MAC=02:00:00:00:00:01",
            {"args": {"cni": {"mac": "02:00:00:00:00:02"}}, "RuntimeConfig": {"MAC": "02:00:00:00:00:0A"}},
            "02:00:00:00:00:0a",
        ),
        ("IgnoreUnknown=1;K8S_POD_NAME=x", {}, ""),
    ],
)
def test_precedence_of_the_mac(args: str, keys: Object, mac: str) -> None:
    """The capability before args.cni before CNI_ARGS."""
    assert settings.read(_call(args, **keys)).mac == mac


def _gateways(result: Object, **keys: Any) -> Object:
    said = settings.read(_call(ipam={"type": "x"}, **keys))
    return with_gateways(parse(result, "1.1.0"), said).document("1.1.0")


def test_missing_gateways_are_the_first_address() -> None:
    """isGateway fills them in, also into the result; without it the result keeps what IPAM gave."""
    assert [ip["gateway"] for ip in _gateways(IPAM, isGateway=True)["ips"]] == ["10.1.2.1", "fd00::1"]
    assert "gateway" not in _gateways(IPAM)["ips"][0]


@pytest.mark.parametrize("address", ["255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"])
def test_the_last_address_of_all_has_none_behind_it(address: str) -> None:
    """So there is no gateway to be had, which is said; one that IPAM names is taken."""
    with pytest.raises(CNIError, match=f"^network {address} has no address for a gateway"):
        _gateways({"ips": [{"address": address}]}, isGateway=True)
    assert _gateways({"ips": [{"address": address, "gateway": "10.0.0.1"}]}, isGateway=True)["ips"][0]["gateway"]


def test_default_route_once_a_family() -> None:
    """isDefaultGateway adds one at the first address of each family."""
    two = {"ips": [{"address": "10.1.2.5/24"}, {"address": "10.3.0.5/24"}, {"address": "fd00::5/64"}]}
    routes = _gateways(two, isDefaultGateway=True)["routes"]
    assert routes == [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0", "gw": "fd00::1"}]


def test_corner_1_default_route_of_ipam_without_gateway() -> None:
    """Go adds a second, equal one and fails with 'file exists'; here IPAM's gets the gateway."""
    given = {**IPAM, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
    routes = _gateways(given, isDefaultGateway=True)["routes"]
    assert routes == [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}, {"dst": "::/0", "gw": "fd00::1"}]


def test_a_default_route_of_another_table_is_none() -> None:
    """It is not what the container goes by; ours is added, and its gateway is left alone."""
    given = {"ips": [{"address": "10.1.2.5/24"}], "routes": [{"dst": "0.0.0.0/0", "table": 99}]}
    routes = _gateways(given, isDefaultGateway=True)["routes"]
    assert routes == [{"dst": "0.0.0.0/0", "table": 99}, {"dst": "0.0.0.0/0", "gw": "10.1.2.1"}]


def test_default_route_of_ipam_with_gateway_is_kept_alone() -> None:
    """As Go."""
    given = {**IPAM, "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.9"}]}
    routes = _gateways(given, isDefaultGateway=True)["routes"]
    assert routes == [{"dst": "0.0.0.0/0", "gw": "10.1.2.9"}, {"dst": "::/0", "gw": "fd00::1"}]


def test_bridge_gets_each_gateway_once_with_its_prefix() -> None:
    """Two addresses of one subnet have one gateway."""
    result = parse({"ips": [{"address": f"10.1.2.{n}/24", "gateway": "10.1.2.1"} for n in (5, 6)]}, "1.1.0")
    assert [str(prefix) for prefix in gateway_addresses(result)] == ["10.1.2.1/24"]
