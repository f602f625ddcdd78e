"""The iptables backend: Go's chains and rules, word for word, by one iptables-restore a family."""

import hashlib
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.configuration import port
from node.plugin import DIST, GO, subject_is_old_go
from node.ports import answers, source
from node.published import SUBNET, neighbour, publish, views, wanted
from node.topology import Node
from node.tracing import trace, without_programs

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(GO, "portmap").is_file(), reason="containernetworking-plugins is not installed"),
]

SHORT = 0.4
GO_PORTMAP = {"bridge": DIST, "portmap": GO}
SET_MARK = "-N SETS-MARK"
Object = dict[str, Any]


def saved(node: Node) -> dict[str, list[str]]:
    """The nat table of each family: the rules in their order, after the chains."""
    tables: dict[str, list[str]] = {}
    for program in ("iptables-save", "ip6tables-save"):
        lines = node.run(program, "-t", "nat").splitlines()
        chains = sorted(line.split(" [")[0] for line in lines if line.startswith(":"))
        # the order of chains is that in which they were made; the order of rules counts within a chain
        rules = sorted((line for line in lines if line.startswith("-A")), key=lambda line: line.split()[1])
        tables[program] = chains + rules
    return tables


CONFIGURATIONS: dict[str, tuple[list[Object], Object]] = {
    "one port": ([port(8080)], {}),
    "three protocols": ([port(8080), port(8080, 81, "udp"), port(8081, 82, "sctp"), port(8082, 83)], {}),
    "more ports than a rule holds": ([port(9000 + number, 100 + number) for number in range(33)], {}),
    "host addresses": (
        [
            port(8080, ip="192.0.2.1"),
            port(8081, ip="0.0.0.0"),
            port(8082, ip="2001:db8:ff::1"),
            port(8083, ip="::"),
            port(8084, ip="127.0.0.1"),
        ],
        {},
    ),
    "no snat": ([port(8080), port(8081, ip="192.0.2.1")], {"snat": False}),
    "another mark": ([port(8080)], {"markMasqBit": 5}),
    "the lowest mark": ([port(8080)], {"markMasqBit": 0}),
    "the highest mark": ([port(8080)], {"markMasqBit": 31}),
    "somebody else's mark": ([port(8080)], {"externalSetMarkChain": "SETS-MARK"}),
    "conditions": (
        [port(8080), port(8081, 81, "udp")],
        {
            "conditionsV4": ["!", "-s", "198.51.100.0/24", "-i", "uplink"],
            "conditionsV6": ["-s", "2001:db8:ff::/64", "-m", "mark", "--mark", "0x4/0x4"],
        },
    ),
    "conditions that are quoted": (
        [port(8080)],
        {"conditionsV4": ["-m", "comment", "--comment", "two words, \"quoted\" 'so'"]},
    ),
}


@pytest.mark.parametrize("ports", [entry[0] for entry in CONFIGURATIONS.values()], ids=CONFIGURATIONS)
def test_the_rules_are_gos(new_node: Callable[[], Node], ports: list[Object], request: pytest.FixtureRequest) -> None:
    """The nat tables of two nodes, the one by Go's portmap, are equal, rule by rule in its order; so after DEL of ours."""
    keys = CONFIGURATIONS[request.node.callspec.id][1]
    found = []
    for binaries in (GO_PORTMAP, {}):
        node = new_node()
        for program in ("iptables", "ip6tables"):
            node.run(program, "-t", "nat", *SET_MARK.split())
        more = {"binaries": binaries} if binaries else {}
        publish(node, *ports, pod=node.pod("ctr1"), name="testnet", backend="iptables", **keys, **more)
        found.append(saved(node))
    assert found[1] == found[0]
    assert any("CNI-DN-cd7ce15e03fb592b7aed2" in line for line in found[1]["iptables-save"])


def test_the_rules_are_gos_beside_bridges_masquerade(new_node: Callable[[], Node]) -> None:
    """The jump to CNI-HOSTPORT-MASQ stands before bridge's, whichever was there first; two pods on one node."""
    found = []
    for binaries in (GO_PORTMAP, {"bridge": DIST}):
        node = new_node()
        below = {"ipMasq": True, "ipMasqBackend": "iptables"}
        for number in (1, 2):
            pod = node.pod(f"ctr{number}")
            publish(node, port(8080 + number), pod=pod, below=below, backend="iptables", binaries=binaries)
        found.append(saved(node))
    assert found[1] == found[0]
    jumps = [line.split()[-1] for line in found[1]["iptables-save"] if line.startswith("-A POSTROUTING")]
    assert jumps[0] == "CNI-HOSTPORT-MASQ" and len(jumps) == 3


@pytest.mark.parametrize("length", [200, 234, 235, 300])
def test_a_long_comment_is_cut_as_go_does(new_node: Callable[[], Node], length: int) -> None:
    """iptables takes 255 bytes of comment; the name of the network and the id of the container may be longer."""
    found = []
    for binaries in (GO_PORTMAP, {"bridge": DIST}):
        node = new_node()
        chain = wanted(node, port(8080), pod=node.pod("c" * length), backend="iptables", binaries=binaries)
        chain.result = {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "sandbox": chain.pod.path}],
            "ips": [{"address": "10.1.0.2/24", "interface": 0}],
        }
        chain.portmap("ADD").result  # noqa: B018  asserts success
        found.append(saved(node))
    assert found[1] == found[0]


def test_the_names_are_gos_in_words(node: Node) -> None:
    """As written down, not as Go's program has it: names, comments, marks, multiport, the whole subnet as source."""
    publish(node, port(8080), port(8082, 82), pod=node.pod("ctr1"), name="testnet", backend="iptables")
    name = "CNI-DN-cd7ce15e03fb592b7aed2"
    assert name == "CNI-DN-" + hashlib.sha512(b"testnetctr1").hexdigest()[:21]
    lines = saved(node)["iptables-save"]
    comment = '-m comment --comment "dnat name: \\"testnet\\" id: \\"ctr1\\""'
    assert f"-A CNI-HOSTPORT-DNAT -p tcp {comment} -m multiport --dports 8080,8082 -j {name}" in lines
    mapping = [
        f"-A {name} -s 10.1.0.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
        f"-A {name} -s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
        f"-A {name} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80",
    ]
    assert [line for line in lines if line.startswith(f"-A {name}")][:3] == mapping
    for line in (
        "-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
        "-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
        '-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ',
        "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
        '-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000',
    ):
        assert line in lines, line
    assert (
        f"-A {name} -p tcp -m tcp --dport 8080 -j DNAT --to-destination [2001:db8:1::2]:80"
        in saved(node)["ip6tables-save"]
    )


@pytest.mark.beyond_old_go("there is no masqAll yet")
def test_masq_all_marks_whatever_the_source(node: Node) -> None:
    """As Go since 1.2: one rule that marks, without a source, and none for localhost."""
    publish(node, port(8080), pod=node.pod("ctr1"), name="testnet", backend="iptables", masqAll=True)
    name = "CNI-DN-cd7ce15e03fb592b7aed2"
    for program, target in (("iptables-save", "10.1.0.2:80"), ("ip6tables-save", "[2001:db8:1::2]:80")):
        assert [line for line in saved(node)[program] if line.startswith(f"-A {name}")] == [
            f"-A {name} -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
            f"-A {name} -p tcp -m tcp --dport 8080 -j DNAT --to-destination {target}",
        ]


# each other's rules


@pytest.mark.parametrize("ports", [entry[0] for entry in CONFIGURATIONS.values()], ids=CONFIGURATIONS)
@pytest.mark.parametrize("made_by", ["Go", "us"])
def test_del_of_the_other_removes_all(
    node: Node, made_by: str, ports: list[Object], request: pytest.FixtureRequest
) -> None:
    """What Go's ADD made our DEL removes, and the other way round; another pod's rules stay as they are."""
    keys = CONFIGURATIONS[request.node.callspec.id.split("-", 1)[1]][1]
    ours = {"bridge": DIST}
    maker, remover = (GO_PORTMAP, ours) if made_by == "Go" else (ours, GO_PORTMAP)
    for program in ("iptables", "ip6tables"):
        node.run(program, "-t", "nat", *SET_MARK.split())
    other = publish(node, port(7000), backend="iptables", binaries=maker)
    before = saved(node)
    chain = publish(node, *ports, backend="iptables", binaries=maker, **keys)
    assert saved(node) != before
    assert chain.portmap("DEL", binaries=remover).ok
    after = saved(node)
    if "markMasqBit" in keys:  # what marks and masquerades is shared by all, so Go's DEL leaves it
        before, after = ({p: [line for line in t[p] if "mark" not in line.lower()] for p in t} for t in (before, after))
    assert after == before
    assert answers("tcp", other.pod, 80, node.outside, node.ADDRESS, 7000)


@pytest.mark.beyond_old_go("CHECK fails wherever both families work")
def test_check_of_what_go_made(node: Node) -> None:
    """Our CHECK takes Go's rules for its own, they are the same; only a guard of localhost Go has not made."""
    ports = port(8080), port(8081, 81, "udp")
    chain = publish(node, *ports, backend="iptables", binaries=GO_PORTMAP, guardLocalnet=False)
    outcome = chain.portmap("CHECK", binaries={"bridge": DIST})
    assert outcome.ok, outcome.stdout


# conditions


SPELT: list[list[str]] = [
    ["--in-interface", "uplink"],
    ["-m", "conntrack", "--ctstate", "ESTABLISHED,NEW"],
    ["-s", "192.0.2.0/255.255.255.0"],
    ["-m", "mark", "--mark", "16"],
    ["-m", "tcp", "--syn"],
    ["-s", "192.0.2.2,192.0.2.3"],
    ["-m", "mark", "--mark", "1", "-m", "connmark", "--mark", "2"],
    ["!", "--src", "198.51.100.7/24", "-m", "comment", "--comment", "two words"],
]


@pytest.mark.beyond_old_go("the earlier one wins in silence")
@pytest.mark.parametrize("words", SPELT, ids=" ".join)
@pytest.mark.parametrize("maker", ["Go", "us"])
def test_the_same_conditions_are_the_same_however_iptables_prints_them(
    node: Node, maker: str, words: list[str]
) -> None:
    """Of two pods of one configuration the second is refused, and nothing is left of it; CHECK of the first passes."""
    keys: Object = {"backend": "iptables", "conditionsV4": words, "subnets": [SUBNET], "guardLocalnet": False}
    first = publish(node, port(8080), binaries=GO_PORTMAP if maker == "Go" else {"bridge": DIST}, **keys)
    second = wanted(node, port(8080), binaries={"bridge": DIST}, conflict="refuse", **keys)
    second.result = second.call(0, "ADD").result
    before = saved(node)
    for chain in (first, second):
        chain.binaries = {"bridge": DIST}
    for ports in ([port(8080)], [port(9000), port(8080)]):
        outcome = second.portmap("ADD", runtimeConfig={"portMappings": ports})
        assert outcome.code == 101 and first.pod.container in outcome.error["msg"]
        assert saved(node) == before
    assert first.portmap("CHECK").ok
    assert second.portmap("ADD", runtimeConfig={"portMappings": [port(9000)]}).ok
    kept = saved(node)
    assert second.portmap("ADD", runtimeConfig={"portMappings": [port(9000), port(8080)]}).code == 101
    assert saved(node) == kept


@pytest.mark.parametrize("words", [["-i", "br0"], ["-s", "192.0.2.3"], ["-m", "mark", "--mark", "0x11"]], ids=" ".join)
def test_other_conditions_are_others(node: Node, words: list[str]) -> None:
    """Two networks may divide a port between them by conditions; iptables prints neither's as they were given."""
    first = publish(node, port(8080), backend="iptables", conditionsV4=["--source", "192.0.2.2"], subnets=[SUBNET])
    other: Object = {"name": "net2", "link": "br2", "subnets": ["10.2.0.0/24"]}
    second = publish(node, port(8080), backend="iptables", conditionsV4=words, **other)
    assert answers("tcp", first.pod, 80, node.outside, node.ADDRESS, 8080)
    assert all(chain.portmap("CHECK").ok for chain in (first, second))


# programs


def _wrapped(folder: Path, **behaviour: str) -> str:
    """A PATH on which iptables' programs write down how they were called; ``behaviour`` are lines of shell in front."""
    log = folder / "log"
    for program in ("iptables", "ip6tables"):
        for form in ("", "-restore", "-save", "-nft", "-nft-restore", "-nft-save", "-legacy"):
            name = f"{program}{form}"
            before = behaviour.get(name.replace("-", "_"), "")
            script = f'#!/bin/sh\necho {name} "$@" >>{shlex.quote(str(log))}\n{before}\nexec /usr/sbin/{name} "$@"\n'
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
    log.write_text("")
    return f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin"


def _called(folder: Path) -> list[str]:
    lines = (folder / "log").read_text().splitlines()
    (folder / "log").write_text("")
    return lines


@pytest.mark.beyond_old_go("a process for every rule")
def test_one_restore_a_family(node: Node, tmp_path: Path) -> None:
    """ADD and DEL call iptables-restore and ip6tables-restore once each, without flushing, waiting for the lock so long."""
    path = _wrapped(tmp_path)
    counts = []
    for many in (1, 40):
        chain = wanted(node, *(port(9000 + number) for number in range(many)), backend="iptables")
        chain.result = chain.call(0, "ADD").result
        for verb in ("ADD", "DEL"):
            assert chain.portmap(verb, env={"PATH": path}).ok
            called = _called(tmp_path)
            restores = sorted(line for line in called if "-restore" in line)
            if verb == "ADD" or restores:  # what is removed may be so without a program
                assert [line.split()[0] for line in restores] == ["ip6tables-restore", "iptables-restore"], called
            for line in restores:
                words = line.split()
                assert {"--noflush", "-n"} & set(words), line
                waits = [i for i, word in enumerate(words) if word in ("-w", "--wait")]
                bounded = any(word.startswith(("--wait=", "-w")) and word[-1].isdigit() for word in words)
                assert bounded or (waits and words[waits[0] + 1].isdigit()), f"no bound of the wait: {line}"
            counts.append(len(called))
    assert counts[:2] == counts[2:], "the programs grow with the ports"


def test_a_container_of_one_family_needs_that_familys_program_alone(node: Node, tmp_path: Path) -> None:
    """With IPv4 alone ADD calls no ip6tables, so it need not be there."""
    path = _wrapped(tmp_path)
    chain = wanted(node, port(8080), backend="iptables", subnets=[SUBNET])
    chain.result = chain.call(0, "ADD").result
    assert chain.portmap("ADD", env={"PATH": path}).ok
    assert [line for line in _called(tmp_path) if line.startswith("ip6tables")] == []
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8080)


@pytest.mark.beyond_old_go("leaves what it had made")
@pytest.mark.parametrize("program", ["iptables_restore", "ip6tables_restore"])
def test_a_failing_restore_fails_add_and_leaves_nothing(node: Node, tmp_path: Path, program: str) -> None:
    """Its words are in the error; what the other family had is taken back."""
    path = _wrapped(tmp_path, **{program: "echo 'iptables-restore: line 3 failed' >&2; exit 4"})
    neighbour(node)
    chain = wanted(node, port(8080), backend="iptables")
    chain.result = chain.call(0, "ADD").result
    before = node.snapshot()
    outcome = chain.portmap("ADD", env={"PATH": path})
    assert "line 3 failed" in outcome.error["msg"] + outcome.error.get("details", "")
    assert node.snapshot() == before


@pytest.mark.beyond_old_go("999")
def test_missing_programs_are_named(node: Node, tmp_path: Path) -> None:
    """backend iptables on a node without iptables: an error that says what is missing, nothing made; DEL is content."""
    chain = wanted(node, port(8080), backend="iptables")
    chain.result = chain.call(0, "ADD").result
    before = node.snapshot()
    without = without_programs(tmp_path, f"{chain.portmap_folder}/portmap")
    outcome = chain.portmap("ADD", binaries=without)
    assert "iptables" in outcome.error["msg"] + outcome.error.get("details", "")
    assert node.snapshot() == before
    assert chain.portmap("DEL", binaries=without).ok


def test_del_works_without_programs_where_there_are_rules(node: Node, tmp_path: Path) -> None:
    """ADD had iptables, DEL finds none: it says so instead of leaving the rules in silence, or removes them without it."""
    chain = publish(node, port(8080), backend="iptables")
    outcome = chain.portmap("DEL", binaries=without_programs(tmp_path, f"{chain.portmap_folder}/portmap"))
    gone = not any("CNI-DN-" in line for line in node.iptables())
    assert outcome.ok == gone, f"{outcome.stdout}{outcome.stderr}"
    chain.remove()
    assert not any("CNI-DN-" in line for line in node.iptables())


# the backend that is meant


@pytest.mark.parametrize(
    ("keys", "backend"),
    [
        ({}, "nftables"),
        ({"backend": "nftables"}, "nftables"),
        ({"backend": "iptables"}, "iptables"),
        ({"conditionsV4": ["-s", "192.0.2.0/24"]}, "iptables"),
        ({"conditionsV6": ["!", "-s", "192.0.2.0/24"]}, "iptables"),
        ({"externalSetMarkChain": "SETS-MARK"}, "iptables"),
        ({"conditionsV4": []}, "nftables"),
        ({"conditionsV4": ["ip saddr 192.0.2.0/24"]}, "nftables"),
        ({"markMasqBit": 5}, "nftables"),
    ],
    ids=str,
)
@pytest.mark.skipif(subject_is_old_go(), reason="knows iptables alone")
def test_the_backend_follows_from_the_words(node: Node, keys: Object, backend: str) -> None:
    """Ours is nftables unless the configuration asks for iptables, or speaks its language."""
    node.run("iptables", "-t", "nat", *SET_MARK.split())
    before = node.snapshot()
    chain = publish(node, port(8080), subnets=[SUBNET], **keys)
    after = node.snapshot()
    assert (after["iptables"] != before["iptables"]) == (backend == "iptables")
    assert any("CNI-DN-" in line for line in after["iptables"]) == (backend == "iptables")
    chain.remove()


def test_an_external_chain_decides_what_is_masqueraded(node: Node) -> None:
    """The mark is somebody else's; whoever they mark and masquerade is masqueraded, and nobody by us."""
    for program in ("iptables", "ip6tables"):
        node.run(program, "-t", "nat", *SET_MARK.split())
        node.run(program, "-t", "nat", "-A", "SETS-MARK", "-j", "MARK", "--set-xmark", "0x4000/0x4000")
        node.run(program, "-t", "nat", "-A", "POSTROUTING", "-m", "mark", "--mark", "0x4000/0x4000", "-j", "MASQUERADE")
    chain = publish(node, port(8080), backend="iptables", externalSetMarkChain="SETS-MARK")
    beside = neighbour(node)
    for version in (4, 6):
        for name, client, target, seen in views(node, chain, beside, version):
            assert source("tcp", chain.pod, 80, client, target, 8080) == seen, name
    assert not any(line.split()[1].startswith(":CNI-HOSTPORT-MASQ") for line in node.iptables())


def test_the_trace_counts_programs(node: Node) -> None:
    """The counting is seen to work: Go's portmap starts dozens for one port of two families."""
    chain = wanted(node, port(8080), binaries=GO_PORTMAP)
    chain.result = chain.call(0, "ADD").result
    programs = [os.path.basename(program) for program in trace(chain, "ADD").programs]
    assert programs.count("iptables") > 10 and programs.count("ip6tables") > 10


def test_chain_names_without_ifname_are_shared_only_as_long_as_needed(node: Node) -> None:
    """Two interfaces of one container on one network share Go's chain: DEL of one leaves the other's port."""
    if subject_is_old_go():
        pytest.skip("its first DEL removes both")
    first = publish(node, port(8080), backend="iptables")
    second = publish(node, port(8081), backend="iptables", pod=first.pod, ifname="eth1")
    first_removed = first.portmap("DEL")
    assert first_removed.ok
    assert not answers("tcp", first.pod, 80, node.outside, node.ADDRESS, 8080, seconds=SHORT)
    assert answers("tcp", first.pod, 80, node.outside, node.ADDRESS, 8081)
    second.remove()
    assert not any("CNI-DN-" in line for line in node.iptables())
