"""What bridge refuses: with which code, and that nothing was made by then."""

from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.topology import Attachment, Node

pytestmark = pytest.mark.real

SUBNET = "10.1.0.0/24"


def refused(node: Node, conf: Any, code: int, **call: Any) -> str:
    """ADD has to fail with this code and leave node and pod as they were; returns the message and the details."""
    pod = node.pod()
    before = node.snapshot()
    call = {"container": pod.container, "netns": pod.path, **call}
    outcome = node.cni("bridge", "ADD", conf, **call)
    assert node.snapshot() == before
    assert set(pod.links()) == {"lo"}
    assert outcome.code == code, outcome.stdout
    return f"{outcome.error['msg']}; {outcome.error.get('details', '')}"


def layer3(node: Node, **keys: Any) -> dict[str, Any]:
    """A layer-3 network."""
    return bridge(host_local(node.data_dir, SUBNET), **keys)


@pytest.mark.parametrize("variable", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"])
def test_a_missing_variable_is_code_4(node: Node, variable: str) -> None:
    """Each variable that ADD needs is named when it is empty."""
    assert variable in refused(node, layer3(node), 4, env={variable: ""})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CNI_CONTAINERID", "../etc"),
        ("CNI_IFNAME", "interface-name-x"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", ".."),
        ("CNI_COMMAND", "add"),
    ],
)
def test_a_malformed_variable_is_code_4(node: Node, variable: str, value: str) -> None:
    """Ids, interface names and verbs are checked before anything else."""
    refused(node, layer3(node), 4, env={variable: value})


@pytest.mark.beyond_old_go("the kernel makes another name of it")
@pytest.mark.parametrize("name", ["%d", "eth%d", "%"])
def test_a_pattern_for_an_interface_name_is_code_4(node: Node, name: str) -> None:
    """The kernel would draw a number: nobody would find that interface again."""
    assert name in refused(node, layer3(node), 4, env={"CNI_IFNAME": name})


@pytest.mark.beyond_old_go("999, after the bridge was made")
@pytest.mark.parametrize("name", ["all", "default"])
def test_a_name_that_stands_for_every_interface_is_code_4(node: Node, name: str) -> None:
    """The kernel makes no link of that name; as a bridge's it would be written to every link's sysctls."""
    assert name in refused(node, layer3(node), 4, env={"CNI_IFNAME": name})
    assert "reserved" in refused(node, layer3(node, bridge=name), 7)
    assert node.sysctl("ipv6/conf/all/accept_ra") == "1"


@pytest.mark.beyond_old_go("999")
@pytest.mark.parametrize(
    "args", ["MAC", "MAC=a=b", "IgnoreUnknown=1;", "UNKNOWN=1", "MAC=02:00", "IgnoreUnknown=maybe"]
)
def test_malformed_arguments_are_code_4(node: Node, args: str) -> None:
    """CNI_ARGS with a bad pair, a bad value, or a key that nobody knows."""
    refused(node, layer3(node), 4, args=args)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', '{"cniVersion":"1.0.0","name":"net1"} {}'])
def test_an_undecodable_configuration_is_code_6(node: Node, text: str) -> None:
    """Standard input has to be one JSON object."""
    refused(node, text, 6)


@pytest.mark.beyond_old_go("999, and dns of a wrong type after the work")
@pytest.mark.parametrize(
    "keys",
    [
        {"bridge": 5},
        {"mtu": "1500"},
        {"mtu": 1.5},
        {"isGateway": "true"},
        {"ipMasq": 1},
        {"vlan": "5"},
        {"vlanTrunk": {}},
        {"dns": []},
        {"ipam": "host-local"},
        {"ipam": {"type": 5}},
        {"runtimeConfig": {"mac": 5}},
    ],
    ids=str,
)
def test_a_wrong_type_is_code_6(node: Node, keys: dict[str, Any]) -> None:
    """A key with a value of another JSON type is named."""
    assert next(iter(keys)) in refused(node, layer3(node) | keys, 6)


@pytest.mark.beyond_old_go("999, and found out after the work")
@pytest.mark.parametrize(
    "keys",
    [
        {"hairpinMode": True, "promiscMode": True},
        {"vlan": 4095},
        {"vlan": -1},
        {"disableContainerInterface": True},
        {"ipMasq": True, "ipMasqBackend": "ipchains"},
        {"vlanTrunk": [{"id": 0}]},
        {"vlanTrunk": [{"minID": 20, "maxID": 10}]},
        {"vlanTrunk": [{"minID": 20}]},
        {"vlanTrunk": [{"maxID": 20}]},
        {"runtimeConfig": {"mac": "02:00"}},
        {"bridge": "a-name-too-long-"},
        {"bridge": "br%d"},
        {"bridge": "br0\0x"},
        {"mtu": 67},
        {"mtu": 65536},
        {"mtu": 1 << 32},
    ],
    ids=str,
)
def test_an_invalid_value_is_code_7(node: Node, keys: dict[str, Any]) -> None:
    """Values that cannot be meant are refused before anything is made."""
    refused(node, layer3(node) | keys, 7)


@pytest.mark.parametrize("name", ["", "../net", "a b", None])
def test_an_invalid_network_name_is_code_7(node: Node, name: str | None) -> None:
    """The name becomes a folder's: it is checked."""
    refused(node, {**layer3(node), "name": name}, 7)


@pytest.mark.parametrize("version", ["9.9.9", "1.0", "x"])
def test_an_unsupported_version_is_code_1(node: Node, version: str) -> None:
    """Versions are compared as texts."""
    assert version in refused(node, layer3(node, version=version), 1)


@pytest.mark.beyond_old_go("999")
def test_an_unusable_namespace_is_code_8(node: Node) -> None:
    """A path with nothing there, and a file that is no namespace; the bridge is not made either."""
    refused(node, layer3(node), 8, netns="/var/run/netns/pycni-nothing-here")
    refused(node, layer3(node), 8, netns="/etc/hostname")


@pytest.mark.beyond_old_go("configures the node itself")
def test_the_plugins_own_namespace_is_code_8(node: Node) -> None:
    """ADD into the namespace where the plugin runs is refused before anything is made."""
    refused(node, layer3(node), 8, netns=node.path)


@pytest.mark.beyond_old_go("the bridge and the veth are made before IPAM is looked for")
def test_a_missing_ipam_plugin_leaves_nothing(node: Node) -> None:
    """The delegate is named; nothing was made."""
    pod = node.pod()
    before = node.snapshot()
    outcome = Attachment(node, bridge({"type": "no-such-ipam"}), pod).add()
    assert "no-such-ipam" in outcome.error["msg"]
    assert set(pod.links()) == {"lo"}
    after = node.snapshot()
    for each in (before, after):  # whether the bridge is made first is the plugin's choice; it is the network's anyway
        each["links"].pop("br0", None)
        each["addresses"].pop("br0", None)
    assert after == before


def test_a_link_that_is_no_bridge_is_refused(node: Node) -> None:
    """A name taken by another kind of link is an error that says so."""
    node.ip("link add br0 type veth peer name br0peer")
    pod = node.pod()
    outcome = Attachment(node, layer3(node), pod).add()
    assert "br0" in outcome.error["msg"]
    assert node.leases() == {}
    assert set(pod.links()) == {"lo"}


@pytest.mark.beyond_old_go("999, after the work, which stays")
@pytest.mark.parametrize("version", [None, "0.1.0", "0.2.0"])
def test_layer_2_has_no_result_below_0_3_0(node: Node, version: str | None) -> None:
    """A result without addresses cannot be told there: so it is refused before anything is made."""
    assert "no valid IP addresses" in refused(node, bridge(version=version), 7)


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_a_verb_without_variables_names_them_all(node: Node, verb: str) -> None:
    """All missing variables are reported at once."""
    empty = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"), "")
    outcome = node.cni("bridge", verb, layer3(node), env=empty)
    needed = {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"} | ({"CNI_NETNS"} if verb != "DEL" else set())
    assert outcome.code == 4
    assert all(name in outcome.error["msg"] for name in needed)


def test_version_tells_what_is_supported(node: Node) -> None:
    """VERSION needs nothing, reads nothing, and lists the versions."""
    for plugin in ("bridge", "host-local", "loopback"):
        outcome = node.cni(
            plugin, "VERSION", '{"cniVersion":"1.1.0"}', env={"CNI_PATH": "dummy", "CNI_IFNAME": "dummy"}
        )
        assert {"0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"} <= set(outcome.result["supportedVersions"])
