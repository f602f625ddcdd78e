"""What portmap wants for an attachment, as text and as bytes, computed without a kernel and without root."""

import json
from typing import Any

import pytest

from cni import plan
from cni.address import Address, Prefix
from cni.attachment import Attachment
from cni.errors import CNIError
from cni.kernel import rulespec
from cni.ledger import Change
from cni.skel import Call
from cni_portmap import iptables_rules, layout, settings
from cni_portmap.published import Entry, Published, group_of
from cni_portmap.wanted import left, wanted

Object = dict[str, Any]
WHO = Attachment("testnet", "ctr1", "eth0")
PREV: Object = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "br0"}, {"name": "vethx"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
    "ips": [{"interface": 2, "address": "10.1.2.5/24"}, {"interface": 2, "address": "fd00::5/64"}],
}


class _Lines:
    def write(self, text: str, /) -> None:
        raise AssertionError(f"nothing is to be said: {text}")


def _call(mappings: object = None, prev: Object | None = PREV, **keys: Any) -> Call:
    conf = {"cniVersion": "1.1.0", "name": "testnet", "type": "portmap", **keys}
    if prev is not None:
        conf["prevResult"] = prev
    if mappings is not None:
        conf["runtimeConfig"] = {"portMappings": mappings}
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "ctr1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/x"}
    return Call(environ, json.dumps(conf).encode(), _Lines())


def _published(call: Call) -> Published:
    ips = settings.previous_result(call).of("eth0").ips
    return Published.wanted(settings.read(call), [ip.address for ip in ips])


def _described(mappings: object, **keys: Any) -> str:
    call = _call(mappings, **keys)
    said = settings.read(call)
    return plan.describe(wanted(call, said))


def port(host: int, container: int = 80, protocol: str = "tcp", **keys: Any) -> Object:
    return {"hostPort": host, "containerPort": container, "protocol": protocol, **keys}


NFTABLES = """\
tcp dport 8080 dnat ip to 10.1.2.5:80 of testnet/ctr1/eth0
ip daddr 192.0.2.1 udp dport 53 dnat ip to 10.1.2.5:5353 of testnet/ctr1/eth0
tcp dport 8080 dnat ip6 to [fd00::5]:80 of testnet/ctr1/eth0
ct status dnat ip saddr 10.1.2.0/24 ip daddr 10.1.2.5 masquerade
ct status dnat ip saddr 127.0.0.0/8 ip daddr 10.1.2.5 masquerade
ct status dnat ip6 saddr fd00::/64 ip6 daddr fd00::5 masquerade
sysctl net/ipv4/conf/LINK-TO-10.1.2.5/route_localnet=1
iifname LINK-TO-10.1.2.5 ip daddr 127.0.0.0/8 drop"""

BOTH = [port(8080), port(53, 5353, "UDP", hostIP="192.0.2.1")]


@pytest.mark.root
def test_ports_of_both_families() -> None:
    """A mapping without an address of the node is for both, one with an address for that one's family."""
    assert _described(BOTH) == NFTABLES


@pytest.mark.root
def test_without_snat_nothing_is_masqueraded_and_nothing_opened() -> None:
    """Ports alone."""
    assert _described(BOTH, snat=False) == "\n".join(NFTABLES.splitlines()[:3])


@pytest.mark.root
def test_masq_all_is_for_every_source() -> None:
    """And localhost needs no rule of its own."""
    lines = _described([port(8080)], masqAll=True).splitlines()
    assert [line for line in lines if line.endswith("masquerade")] == [
        "ct status dnat ip saddr 0.0.0.0/0 ip daddr 10.1.2.5 masquerade",
        "ct status dnat ip6 saddr ::/0 ip6 daddr fd00::5 masquerade",
    ]


@pytest.mark.root
def test_the_guard_may_be_left_out() -> None:
    """guardLocalnet false: the sysctl alone."""
    assert "drop" not in _described(BOTH, guardLocalnet=False)


IPTABLES = """\
-A CNI-DN-cd7ce15e03fb592b7aed2 -p tcp --dport 8080 -s 10.1.2.5/24 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-cd7ce15e03fb592b7aed2 -p tcp --dport 8080 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-cd7ce15e03fb592b7aed2 -p tcp --dport 8080 -j DNAT --to-destination 10.1.2.5:80
-A CNI-DN-cd7ce15e03fb592b7aed2 -p udp --dport 53 -d 192.0.2.1 -s 10.1.2.5/24 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-cd7ce15e03fb592b7aed2 -p udp --dport 53 -d 192.0.2.1 -s 127.0.0.1 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-cd7ce15e03fb592b7aed2 -p udp --dport 53 -d 192.0.2.1 -j DNAT --to-destination 10.1.2.5:5353
{entry} -p tcp --destination-ports 8080 -j CNI-DN-cd7ce15e03fb592b7aed2
{entry} -p udp --destination-ports 53 -j CNI-DN-cd7ce15e03fb592b7aed2
-A CNI-DN-cd7ce15e03fb592b7aed2 -p tcp --dport 8080 -s fd00::5/64 -j CNI-HOSTPORT-SETMARK
-A CNI-DN-cd7ce15e03fb592b7aed2 -p tcp --dport 8080 -j DNAT --to-destination [fd00::5]:80
{entry} -p tcp --destination-ports 8080 -j CNI-DN-cd7ce15e03fb592b7aed2
{entry} -p udp --destination-ports 53 -j CNI-DN-cd7ce15e03fb592b7aed2"""
ENTRY = r'-A CNI-HOSTPORT-DNAT -m comment --comment "dnat name: \"testnet\" id: \"ctr1\"" -m multiport'


def test_iptables_rules_are_gos() -> None:
    """Names, order and words of Go's plugin; the ports of the other family are in the entry rules too."""
    described = _described(BOTH, backend="iptables", guardLocalnet=False)
    sysctl, _, rules = described.partition("\n")
    assert sysctl.startswith("sysctl ")
    assert rules == IPTABLES.format(entry=ENTRY)


def test_entry_rules_hold_fifteen_ports() -> None:
    """The sixteenth goes to a further rule; protocols come in the order of their names."""
    call = _call([port(number, protocol="udp") for number in range(1, 17)] + [port(99)], backend="iptables")
    lines = iptables_rules.entries(WHO, settings.read(call), 4)
    assert [line.split("--destination-ports ")[1].split()[0].count(",") for line in lines] == [0, 14, 0]
    assert "-p tcp" in lines[0]


def test_conditions_stand_in_the_entry_rules() -> None:
    """iptables' words, one argument each, quoted where they need it."""
    call = _call([port(8080)], conditionsV4=["-m", "comment", "--comment", 'two "words"', "!", "-s", "10.0.0.0/8"])
    said = settings.read(call)
    assert said.backend == "iptables"
    (line,) = iptables_rules.entries(WHO, said, 4)
    assert r'--comment "two \"words\"" ! -s 10.0.0.0/8 -j CNI-DN-' in line
    assert "10.0.0.0" not in iptables_rules.entries(WHO, said, 6)[0]


@pytest.mark.parametrize(
    ("keys", "mark"),
    [({}, "0x2000/0x2000"), ({"markMasqBit": 0}, "0x1/0x1"), ({"markMasqBit": 31}, "0x80000000/0x80000000")],
)
def test_the_mark_is_one_bit(keys: Object, mark: str) -> None:
    """In the rule that sets it and in the one that looks for it."""
    rules = iptables_rules.marking(settings.read(_call([port(1)], backend="iptables", **keys)))
    assert [rule.split()[-1 if "xmark" in rule else -3] for rule in rules] == [mark, mark]


def test_a_foreign_chain_sets_the_mark() -> None:
    """Then ours are not made."""
    said = settings.read(_call([port(1)], externalSetMarkChain="KUBE-MARK-MASQ"))
    assert (said.backend, iptables_rules.marking(said)) == ("iptables", [])
    assert "-j KUBE-MARK-MASQ" in iptables_rules.translations(WHO, _published(_call([port(1)])), said, 4)[0]


@pytest.mark.parametrize(
    ("keys", "backend"),
    [
        ({}, "nftables"),
        ({"backend": "iptables"}, "iptables"),
        ({"conditionsV4": ["ip saddr 10.0.0.0/8"]}, "nftables"),
        ({"conditionsV6": ["-s", "fd00::/8"]}, "iptables"),
        ({"conditionsV4": ["!", "-s", "10.0.0.0/8"]}, "iptables"),
        ({"conditionsV4": [""], "conditionsV6": []}, "nftables"),
    ],
)
def test_words_choose_the_backend(keys: Object, backend: str) -> None:
    """As Go decides where it is not told."""
    assert settings.read(_call([port(1)], **keys)).backend == backend


FOREIGN = "backend was requested but configuration contains"
REFUSED: list[tuple[Object, int, str]] = [
    ({"backend": "pf"}, 7, 'unrecognized backend "pf"'),
    ({"backend": ""}, 7, 'unrecognized backend ""'),
    ({"markMasqBit": 32}, 7, "MasqMarkBit must be between 0 and 31"),
    ({"markMasqBit": -1}, 7, "MasqMarkBit must be between 0 and 31"),
    (
        {"markMasqBit": 5, "externalSetMarkChain": ""},
        7,
        "Cannot specify externalSetMarkChain and markMasqBit",
    ),
    (
        {"backend": "nftables", "externalSetMarkChain": "X", "conditionsV4": ["-s", "1.2.3.4"]},
        7,
        f"nftables {FOREIGN} iptables-specific options [externalSetMarkChain conditionsV4]",
    ),
    (
        {"backend": "iptables", "conditionsV6": ["ip6 saddr ::1"]},
        7,
        f"iptables {FOREIGN} nftables-specific options [conditionsV6]",
    ),
    ({"conditionsV4": ["ip saddr 1.2.3.4; flush ruleset"]}, 7, "conditionsV4 holds a character"),
    ({"conditionsV4": ["-s\n-A INPUT"]}, 7, "conditionsV4 holds a character"),
    ({"snat": "yes"}, 6, 'failed to load netconf: cannot read key "snat": it must be true or false, not string'),
    ({"runtimeConfig": {"portMappings": {}}}, 6, "failed to load netconf: cannot read runtimeConfig.portMappings"),
]


@pytest.mark.parametrize(("keys", "code", "text"), REFUSED)
def test_configurations_that_are_refused(keys: Object, code: int, text: str) -> None:
    """With the right code, in Go's words where it has some."""
    with pytest.raises(CNIError) as caught:
        settings.read(_call(**keys))
    assert (caught.value.code, caught.value.msg[: len(text)]) == (code, text)


ENTRIES: list[tuple[Object, int, str]] = [
    (port(8080, 0), 7, "Invalid container port number: 0"),
    (port(0, 0), 7, "Invalid container port number: 0"),
    (port(0), 7, "Invalid host port number: 0"),
    (port(-5), 7, "Invalid host port number: -5"),
    (port(65536), 7, "Invalid host port number: 65536"),
    (port(80, 65536), 7, "Invalid container port number: 65536"),
    (port(80, protocol=""), 7, 'unknown protocol ""'),
    (port(80, protocol="icmp"), 7, 'unknown protocol "icmp"'),
    (port(80, hostIP="example.org"), 7, 'invalid hostIP "example.org"'),
    (port(80, hostIP="10.0.0.0/8"), 7, 'invalid hostIP "10.0.0.0/8"'),
    ({**port(80), "hostPort": "80"}, 6, "failed to load netconf: cannot read runtimeConfig.portMappings[1].hostPort"),
    ({**port(80), "hostPort": 80.5}, 6, "failed to load netconf: cannot read runtimeConfig.portMappings[1].hostPort"),
]


@pytest.mark.parametrize(("entry", "code", "text"), ENTRIES)
def test_entries_that_are_refused_are_named(entry: Object, code: int, text: str) -> None:
    """The place in the list is told."""
    with pytest.raises(CNIError) as caught:
        settings.read(_call([port(8080), entry]))
    assert (caught.value.code, caught.value.msg[: len(text)]) == (code, text)
    assert "runtimeConfig.portMappings[1]" in str(caught.value)


def test_wildcards_choose_the_family() -> None:
    """0.0.0.0 is for IPv4 and :: for IPv6, neither with an address of the node; a mapped address is IPv4."""
    mappings = [port(1, hostIP="0.0.0.0"), port(2, hostIP="::"), port(3, hostIP="::ffff:192.0.2.1")]
    published = _published(_call(mappings))
    assert [(one.host_port, str(one.host)) for one in published.of(4)] == [(1, "0.0.0.0"), (3, "192.0.2.1")]
    assert [(one.host_port, one.everywhere) for one in published.of(6)] == [(2, True)]


def test_a_family_without_mappings_has_no_ports() -> None:
    """Nothing is made for it."""
    published = _published(_call([port(1, hostIP="::1")]))
    assert list(published.addresses) == [6] and {source.version for source in published.sources} == {6}


@pytest.mark.parametrize(
    ("ips", "taken"),
    [
        ([{"interface": 1, "address": "10.0.0.9/24"}, {"interface": 2, "address": "10.0.0.5/24"}], "10.0.0.5"),
        ([{"interface": 0, "address": "10.0.0.9/24"}, {"address": "10.0.0.7/24"}], "10.0.0.7"),
        ([{"interface": 7, "address": "10.0.0.8/24"}], "10.0.0.8"),
        ([{"interface": 2, "address": "10.0.0.5/24"}, {"interface": 2, "address": "10.0.0.6/24"}], "10.0.0.5"),
    ],
)
def test_the_first_address_that_is_the_containers(ips: list[Object], taken: str) -> None:
    """As Go: of the container's interface, or of none that is in the list."""
    published = _published(_call([port(1, hostIP="0.0.0.0")], {**PREV, "ips": ips}))
    assert {version: str(address) for version, address in published.addresses.items()} == {4: taken}


def test_a_mapping_that_comes_twice_counts_once() -> None:
    """Two elements with one key would be refused by the kernel."""
    published = _published(_call([port(80), port(80, 81), port(80, protocol="udp")]))
    assert [(one.protocol, one.port) for one in published.of(4)] == [(6, 80), (17, 80)]


def test_it_has_to_be_chained() -> None:
    """Without prevResult there is nobody to publish ports for."""
    with pytest.raises(CNIError, match="must be called as chained plugin"):
        settings.previous_result(_call(prev=None))


def test_del_looks_for_all_that_may_be_there() -> None:
    """Whatever the configuration says: both backends, Go's tables, localhost."""
    kinds = left(_call(prev=None))
    assert [type(kind).__name__ for kind in kinds] == ["Localnet", "HostPorts", "IptablesPorts"]


# the table's bytes


def test_records_come_back_as_they_were_written() -> None:
    """Entry, link and groups."""
    entry = Entry(
        17, (Address.parse("192.0.2.1"), 53), (Address.parse("10.1.2.5"), 5353), group_of("ip saddr 10.0.0.0/8")
    )
    again = Entry.parse(entry.record(), entry.group)
    assert (str(again), again.key, again.data, again.map) == (str(entry), entry.key, entry.data, entry.map)
    published = Published([entry], [Prefix.parse("10.1.2.0/24")], "vethx")
    assert Published.parsed(published.record()) == ("vethx", {4: entry.group, 6: ""})


def test_conditions_have_a_group_of_their_own() -> None:
    """The same words the same, others another, none none; a group is part of the names of maps and chain."""
    one, other = group_of("ip saddr 10.0.0.0/8"), group_of("ip saddr 10.0.0.0/9")
    assert len({one, other, ""}) == 3 and group_of("") == ""
    published = _published(_call(BOTH, conditionsV4=["ip saddr 10.0.0.0/8"]))
    assert set(published.mapped()) == {f"hostports4_{one}", f"hostips4_{one}", "hostports6"}


class NoTable:
    """nf_tables without our table."""

    def generation(self) -> int:
        return 1

    def rules(self, family: int, table: str) -> list[object]:
        return []

    def has_table(self, family: int, table: str) -> bool:
        return False


def test_the_table_as_nft_would_be_told() -> None:
    """The shared part: chains before Go's priorities, the specific map before the general one."""
    change = Change(NoTable(), layout.LAYOUT)  # type: ignore[arg-type]
    change.restore()
    change.need(layout.MASQUERADING, "from4_24")
    rules = [line for line in change.transaction.describe().splitlines() if " rule " in line]
    told = [line for line in rules if line.split()[4] in ("hostports4", "postrouting")]
    chain = "add rule inet pycni_hostports hostports4"
    assert told == [
        f'{chain} dnat ip to ip daddr . meta l4proto . th dport map @hostips4 comment "hostips4"',
        f'{chain} dnat ip to meta l4proto . th dport map @hostports4 comment "hostports4"',
        "add rule inet pycni_hostports postrouting ct status dnat ip saddr & 255.255.255.0 . ip daddr . meta l4proto"
        ' . ct original proto-dst @from4_24 masquerade comment "from4_24"',
    ]


def test_what_check_needs_are_rules_that_add_makes() -> None:
    """Those of an attachment's own families, groups and source networks."""
    group = group_of("ip saddr 10.0.0.0/8")
    four = _published(_call([port(8080, hostIP="0.0.0.0")], snat=False))
    assert layout.needed_rules(four) == {
        ("prerouting", "hostports4"),
        ("output", "hostports4"),
        ("hostports4", "hostips4"),
        ("hostports4", "hostports4"),
    }
    both = _published(_call(BOTH, masqAll=True, conditionsV4=["ip saddr 10.0.0.0/8"]))
    shared = {(chain.name, comment) for chain in layout.LAYOUT.chains for comment, _ in (*chain.front, *chain.rules)}
    assert layout.needed_rules(both) - shared == {
        ("postrouting", "from4_0"),
        ("postrouting", "from6_0"),
        (f"hostports4_{group}", f"hostips4_{group}"),
        (f"hostports4_{group}", f"hostports4_{group}"),
        ("prerouting", f"hostports4_{group}"),
        ("output", f"hostports4_{group}"),
    }
    assert not any(comment == "hostports4" for _, comment in layout.needed_rules(both))


# rules as iptables prints them


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("-A X -p tcp --dport 80 -j Y", "-A X -p tcp -m tcp --dport 80 -j Y"),
        ("-A X -s 10.1.2.5/24 -j Y", "-A X -s 10.1.2.0/24 -j Y"),
        ("-A X -s 127.0.0.1 -j Y", "-A X -s 127.0.0.1/32 -j Y"),
        ("-A X -s 0.0.0.0/0 -j Y", "-A X -j Y"),
        ("-A X -m multiport -p udp --destination-ports 1,2 -j Y", "-A X -p udp -m multiport --dports 1,2 -j Y"),
        (r'-A X -m comment --comment "a \"b\"" -j Y', r'-A X -m comment --comment "a \"b\"" -j Y'),
    ],
)
def test_one_meaning_of_two_spellings(given: str, printed: str) -> None:
    """What iptables-save prints for what was given."""
    assert rulespec.meaning(given) == rulespec.meaning(printed)


@pytest.mark.parametrize(
    "other", ["-A X ! -s 10.1.2.0/24 -j Y", "-A X -d 10.1.2.0/24 -j Y", "-A X -s 10.1.2.0/24 -j Z", "-A X -j Y"]
)
def test_another_meaning_is_another(other: str) -> None:
    """Negation, direction and target count."""
    assert rulespec.meaning("-A X -s 10.1.2.0/24 -j Y") != rulespec.meaning(other)


@pytest.mark.parametrize("word", ["plain", "two words", 'a "b"', "back\\slash", "", "it's"])
def test_quoting_comes_back(word: str) -> None:
    """A word that was quoted is split into itself."""
    assert rulespec.split(f"-A X {rulespec.quoted(word)} -j Y")[2] == word


def test_more_ports_than_records_are_refused() -> None:
    """An attachment's records are numbered with 16 bits: what could not be removed again is not made."""
    ports = [port(number, protocol=protocol) for protocol in ("tcp", "udp") for number in range(1, 32769)]
    call = _call(ports)
    with pytest.raises(CNIError, match="65536 host ports are more than 65535") as caught:
        _published(call)
    assert caught.value.code == 7
    assert len(_published(_call(ports[:-1])).of(4)) == 65535
