"""What portmap refuses: with which code, in which words, and that the node is as it was."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.configuration import port
from node.plugin import SUBJECT, call, environment, subject_is_old_go
from node.ports import answers
from node.published import SUBNET, network, wanted
from node.topology import Node

pytestmark = pytest.mark.real

Object = dict[str, Any]
GOOD = port(8080)
beyond = pytest.mark.beyond_old_go("999, and no upper bound")


class Untouched(Node):
    """A node on which nothing but refusals happens: one serves for all, and how it was need be looked at once."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        network(self)
        self._before = self.snapshot()

    def expect_untouched(self) -> None:
        """Nothing changed since the last look; what did change is the fault of this test alone."""
        before, self._before = self._before, self.snapshot()
        assert self._before == before


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Untouched]:
    """The node of all these tests."""
    made = Untouched(tmp_path_factory.mktemp("leases"))
    try:
        yield made
    finally:
        made.close()


def bare(node: Untouched, **keys: Any) -> Any:
    """A chain whose bridge has not run: a result by hand is enough for what is to be refused."""
    chain = wanted(node, **keys)
    chain.result = {
        "cniVersion": chain.conflist["cniVersion"],
        "interfaces": [{"name": "eth0", "sandbox": chain.pod.path}],
        "ips": [{"address": "10.1.0.2/24", "interface": 0}],
    }
    return chain


def refused(
    node: Untouched, code: int, *, verb: str = "ADD", ports: Any = None, runtime: Any = None, **keys: Any
) -> str:
    """ADD has to fail with this code and change nothing: its message and details."""
    chain = bare(node)
    conf: Object = dict(keys)
    if runtime is not None:
        conf["runtimeConfig"] = runtime
    elif ports is not None:
        conf["runtimeConfig"] = {"portMappings": ports}
    else:
        conf.setdefault("runtimeConfig", {"portMappings": [GOOD]})
    outcome = chain.portmap(verb, **conf)
    chain.pod.close()
    node.expect_untouched()
    assert outcome.code == code, outcome.stdout
    return f"{outcome.error['msg']}; {outcome.error.get('details', '')}"


@beyond
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
@pytest.mark.parametrize("number", [0, -1, 65536, 65616, 2**31, 2**63 - 1])
@pytest.mark.parametrize("key", ["hostPort", "containerPort"])
def test_a_port_that_is_none(node: Untouched, key: str, number: int, verb: str) -> None:
    """Zero, negative, above 65535 (where Go goes on modulo 65536): the entry, the key and the number are named."""
    said = refused(node, 7, verb=verb, ports=[GOOD, {**port(8081), key: number}])
    assert key in said and str(number) in said and "portMappings[1]" in said, said


@beyond
@pytest.mark.parametrize("value", ["80", "http", 80.5, True, [80], {"port": 80}, "80-90"], ids=str)
@pytest.mark.parametrize("key", ["hostPort", "containerPort"])
def test_a_port_that_is_no_number(node: Untouched, key: str, value: Any) -> None:
    """A text, a fraction, a list: code 6, the entry and the key are named."""
    said = refused(node, 6, ports=[GOOD, GOOD, {**port(8081), key: value}])
    assert key in said and "portMappings[2]" in said, said


@beyond
@pytest.mark.parametrize("key", ["hostPort", "containerPort"])
def test_a_port_that_is_not_said(node: Untouched, key: str) -> None:
    """Neither port has a default."""
    entry = {name: value for name, value in GOOD.items() if name != key}
    assert key in refused(node, 7, ports=[entry])


@beyond
@pytest.mark.parametrize(
    "protocol", ["", "icmp", "tcp6", "6", "all", "tcp,udp", "tcp; drop", " tcp", "TCP\n", "udplite"]
)
def test_an_unknown_protocol(node: Untouched, protocol: str) -> None:
    """It is named, with its entry."""
    said = refused(node, 7, ports=[GOOD, port(8081, 81, protocol)])
    assert "protocol" in said and "portMappings[1]" in said, said
    assert json.dumps(protocol)[1:-1] in said or repr(protocol)[1:-1] in said or protocol in said


@beyond
@pytest.mark.parametrize("value", [6, None, ["tcp"], {"name": "tcp"}], ids=str)
def test_a_protocol_that_is_no_text(node: Untouched, value: Any) -> None:
    """Code 6; null counts as absent, and an absent one is unknown."""
    said = refused(node, 7 if value is None else 6, ports=[{**GOOD, "protocol": value}])
    assert "protocol" in said and "portMappings[0]" in said, said


@beyond
@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "example.org",
        "256.1.1.1",
        "10.0.0.1/32",
        "10.0.0.0/8",
        "10.0.0",
        "10.0.0.01",
        "0x0a000001",
        "::1%lo",
        "fe80::1%eth0",
        "[::1]",
        "2001:db8::/64",
        ":",
        "*",
        "any",
        " 10.0.0.1",
        "10.0.0.1 -j ACCEPT",
    ],
)
def test_a_host_ip_that_is_none(node: Untouched, address: str) -> None:
    """No name, prefix, zone or shorthand: Go hands such texts to iptables, which even resolves names."""
    said = refused(node, 7, ports=[GOOD, port(8081, ip=address)])
    assert "hostIP" in said and address in said and "portMappings[1]" in said, said


@beyond
def test_a_host_ip_that_is_no_text(node: Untouched) -> None:
    """Code 6."""
    said = refused(node, 6, ports=[{**GOOD, "hostIP": 2130706433}])
    assert "hostIP" in said and "portMappings[0]" in said, said


@beyond
@pytest.mark.parametrize("ports", ["8080", 8080, {"hostPort": 8080}, [8080], [None], ["8080:80"], [[]]], ids=str)
def test_mappings_that_are_no_list_of_objects(node: Untouched, ports: Any) -> None:
    """Code 6, and the key is named."""
    assert "portMappings" in refused(node, 6, ports=ports)


@beyond
@pytest.mark.parametrize("runtime", [5, "text", []], ids=str)
def test_a_runtime_config_that_is_no_object(node: Untouched, runtime: Any) -> None:
    """Code 6, and the key is named."""
    assert "runtimeConfig" in refused(node, 6, runtime=runtime)


@beyond
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"backend": "ipchains"}, ['unrecognized backend "ipchains"']),
        ({"backend": ""}, ['unrecognized backend ""']),
        ({"backend": "NFTABLES"}, ["unrecognized backend"]),
        ({"conflict": "wait"}, ['unrecognized conflict "wait"', "queue or refuse"]),
        ({"conflict": ""}, ['unrecognized conflict ""']),
        ({"markMasqBit": -1}, ["MasqMarkBit must be between 0 and 31"]),
        ({"markMasqBit": 32}, ["MasqMarkBit must be between 0 and 31"]),
        ({"markMasqBit": 5, "externalSetMarkChain": "X"}, ["Cannot specify externalSetMarkChain and markMasqBit"]),
        ({"markMasqBit": 5, "externalSetMarkChain": ""}, ["Cannot specify externalSetMarkChain and markMasqBit"]),
        (
            {"backend": "nftables", "conditionsV4": ["-s", "10.0.0.0/8"]},
            ["nftables backend was requested but configuration contains iptables-specific options [conditionsV4]"],
        ),
        (
            {"backend": "nftables", "externalSetMarkChain": "X", "conditionsV4": ["!", "-i", "lo"]},
            ["iptables-specific options [externalSetMarkChain conditionsV4]"],
        ),
        (
            {"backend": "iptables", "conditionsV6": ["ip6 saddr ::1"]},
            ["iptables backend was requested but configuration contains nftables-specific options [conditionsV6]"],
        ),
        (
            {"conditionsV4": ["-s", "10.0.0.0/8"], "conditionsV6": ["ip6 saddr ::1"]},
            ["specific options", "conditionsV"],
        ),
        ({"externalSetMarkChain": "X", "conditionsV6": ["ip6 saddr ::1"]}, ["conditionsV6"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_options_that_contradict(node: Untouched, verb: str, keys: Object, words: list[str]) -> None:
    """In Go's words, code 7."""
    said = refused(node, 7, verb=verb, **keys)
    for word in words:
        assert word in said, said


@beyond
@pytest.mark.parametrize(
    "keys",
    [
        {"backend": 5},
        {"snat": "true"},
        {"snat": 1},
        {"masqAll": "no"},
        {"markMasqBit": "13"},
        {"markMasqBit": 1.5},
        {"externalSetMarkChain": 5},
        {"conditionsV4": "-s 10.0.0.0/8"},
        {"conditionsV4": [5]},
        {"conditionsV6": {"s": 1}},
        {"guardLocalnet": "yes"},
        {"conflict": True},
    ],
    ids=str,
)
def test_a_wrong_type(node: Untouched, keys: Object) -> None:
    """Code 6, and the key is named."""
    assert next(iter(keys)) in refused(node, 6, **keys)


@beyond
@pytest.mark.parametrize(
    "conditions",
    [
        ["ip saddr 10.0.0.0/8 drop"],
        ["ip saddr 10.0.0.0/8; drop"],
        ["ip saddr 10.0.0.0/8", "accept"],
        ["ip saddr 10.0.0.0/8 }\nflush ruleset"],
        ['include "/etc/passwd"'],
        ["no such match"],
        ["ip saddr 300.0.0.0/8"],
        ["ip saddr"],
        ["ip6 saddr ::1 # comment"],
    ],
    ids=str,
)
def test_nft_conditions_that_are_no_match(node: Untouched, conditions: list[str]) -> None:
    """What is no match of nft's language, or more than a match, is refused, and its key named."""
    assert "conditionsV4" in refused(node, 7, backend="nftables", conditionsV4=conditions)


@pytest.mark.skipif(subject_is_old_go(), reason="leaves what it had made by then")
@pytest.mark.parametrize(
    "conditions", [["-s", "10.0.0.0/8", "-j", "DROP"], ["-m", "nosuchmatch"], ["-s", "x\n-F"]], ids=str
)
def test_iptables_conditions_that_are_no_match(node: Untouched, conditions: list[str]) -> None:
    """What iptables refuses, or a target in place of a match: an error, nothing made."""
    chain = bare(node)
    conf = {"backend": "iptables", "conditionsV4": conditions, "runtimeConfig": {"portMappings": [GOOD]}}
    outcome = chain.portmap("ADD", **conf)
    assert not outcome.ok
    node.expect_untouched()


# prevResult and the frame


@pytest.mark.parametrize(
    "previous",
    [
        5,
        [],
        {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.1.0.2/24"}]},
        {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2"}]},
        {"cniVersion": "1.0.0", "ips": "10.1.0.2/24"},
        {"cniVersion": "7.0.0", "ips": []},
    ],
    ids=str,
)
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_a_bad_prev_result(node: Untouched, verb: str, previous: Any) -> None:
    """It is named; nothing is made."""
    chain = bare(node)
    outcome = chain.portmap(verb, prevResult=previous, runtimeConfig={"portMappings": [GOOD]})
    assert not outcome.ok
    assert "result" in f"{outcome.error['msg']} {outcome.error.get('details', '')}".lower()
    node.expect_untouched()


@pytest.mark.parametrize("variable", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"])
def test_a_missing_variable_is_code_4(node: Untouched, variable: str) -> None:
    """Each variable that ADD needs is named when it is empty."""
    chain = bare(node)
    outcome = chain.portmap("ADD", env={variable: ""}, runtimeConfig={"portMappings": [GOOD]})
    assert outcome.code == 4 and variable in outcome.error["msg"]
    node.expect_untouched()


@pytest.mark.beyond_old_go("does not look, or only after the deed")
def test_the_plugins_own_namespace_is_code_8(node: Untouched) -> None:
    """Refused before anything is made, with one document."""
    chain = bare(node)
    outcome = chain.portmap("ADD", netns=node.path, runtimeConfig={"portMappings": [GOOD]})
    node.expect_untouched()
    assert outcome.code == 8, outcome.stdout


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null"])
def test_an_undecodable_configuration_is_code_6(node: Untouched, text: str) -> None:
    """Standard input has to be one JSON object."""
    pod = node.pod()
    env = environment("ADD", SUBJECT, CNI_CONTAINERID="c", CNI_NETNS=pod.path, CNI_IFNAME="eth0")
    outcome = call(node, "portmap", text, env)
    assert not outcome.ok
    if not subject_is_old_go():
        assert outcome.code == (7 if text == "null" else 6), outcome.stdout
    node.expect_untouched()


@beyond
def test_all_is_checked_before_anything_is_touched(node: Untouched) -> None:
    """Two hundred good entries and a bad last one: nothing of the good ones is made."""
    ports = [port(10000 + number) for number in range(200)] + [port(70000)]
    assert "portMappings[200]" in refused(node, 7, ports=ports)


def test_keys_match_without_case_and_unknown_ones_are_ignored(new_node: Callable[[], Node]) -> None:
    """As Go decodes JSON: this is accepted, and does what it says."""
    node = new_node()
    chain = wanted(node, subnets=[SUBNET])
    chain.result = chain.call(0, "ADD").result
    entry = {"HOSTPORT": 8080, "containerport": 80, "Protocol": "tcp", "color": "blue"}
    conf = {"RuntimeConfig": {"portmappings": [entry], "other": 1}, "SNAT": True, "unknown": {}}
    assert chain.portmap("ADD", runtimeConfig=None, **conf).ok
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)


@pytest.mark.parametrize("protocol", ["TCP", "Tcp", "UDP"])
def test_protocols_match_without_case(new_node: Callable[[], Node], protocol: str) -> None:
    """In either backend, although nft itself knows lower case only."""
    node = new_node()
    chain = wanted(node, port(8080, 80, protocol), subnets=[SUBNET])
    for backend in ("nftables", "iptables"):
        chain.conflist["plugins"][1]["backend"] = backend
        chain.add()
        assert answers(protocol.lower(), chain.pod, 80, node.outside, node.ADDRESS, 8080)
        chain.remove()
