"""Policy routing rules by two roads: what we read and make, and what ``ip rule`` shows and makes."""

import errno
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cni.address import ANY, Prefix
from cni.errors import KernelError
from cni.kernel import rules
from cni.kernel.rtnl import Rtnl
from cni.kernel.rules import Rule
from node.namespace import Netns

pytestmark = pytest.mark.root
ONE = {4: Prefix.parse("10.1.0.2/32"), 6: Prefix.parse("fd00::2/128")}
NET = {4: Prefix.parse("10.2.0.0/16"), 6: Prefix.parse("fd02::/64")}
LOCAL, MAIN, DEFAULT = 255, 254, 253
NAMES = {"local": LOCAL, "main": MAIN, "default": DEFAULT}


@pytest.fixture
def rtnl(empty: Netns) -> Iterator[Rtnl]:
    made = Rtnl()
    yield made
    made.close()


def seen(netns: Netns, version: int) -> list[tuple[int, str, str, int, str]]:
    """Priority, source, destination, table and incoming link of each rule, as ``ip`` shows them."""
    listed: list[dict[str, Any]] = json.loads(netns.run("ip", f"-{version}", "-j", "rule", "show"))
    return [
        (
            rule["priority"],
            _prefix(rule["src"], rule.get("srclen")),
            _prefix(rule.get("dst", "all"), rule.get("dstlen")),
            NAMES.get(rule["table"]) or int(rule["table"]),
            rule.get("iif", ""),
        )
        for rule in listed
    ]


def _prefix(address: str, length: int | None) -> str:
    return address if length is None else f"{address}/{length}"


def told(rule: Rule) -> tuple[int | None, str, str, int, str]:
    """A rule of ours in the same form."""
    src, dst = (
        "all" if prefix == ANY[rule.version] else str(prefix).removesuffix(f"/{prefix.address.bits}")
        for prefix in (rule.src, rule.dst)
    )
    return rule.priority, src, dst, rule.table, rule.iif


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_read_is_what_ip_shows(empty: Netns, rtnl: Rtnl, version: int) -> None:
    for words in (
        f"from {ONE[version]} table 100",
        f"from {NET[version]} to {ONE[version]} table 100000 priority 7",
        "from all iif lo table 255 priority 0",
        "not from all fwmark 0x10/0xf0 oif lo table 9 priority 8",
        "from all tos 0x10 table 3 priority 40000",
    ):
        empty.run("ip", f"-{version}", "rule", "add", *words.split())
    found = rules.every(rtnl, version)
    assert list(map(told, found)) == seen(empty, version) and len(found) > 5
    marked = next(rule for rule in found if rule.priority == 8)
    assert (marked.mark, marked.mask, marked.oif, marked.flags, marked.l3mdev) == (0x10, 0xF0, "lo", 2, False)
    assert found[-1].tos == 0x10
    for rule in found:
        rules.delete(rtnl, rule)
    assert seen(empty, version) == [] == rules.every(rtnl, version)
    for rule in found:
        rules.add(rtnl, rule)
    assert rules.every(rtnl, version) == found and list(map(told, found)) == seen(empty, version)


@pytest.mark.parametrize("version", [4, 6])
def test_a_rule_is_made_and_removed(empty: Netns, rtnl: Rtnl, version: int) -> None:
    """The kernel gives a priority; what is gone already is removed."""
    before, other = seen(empty, version), seen(empty, 10 - version)
    for rule in (
        Rule(100, ONE[version]),
        Rule(5000, NET[version], ONE[version], priority=11),
        Rule(7, ONE[version], priority=11, protocol=140),
    ):
        rules.add(rtnl, rule)
        (made,) = (each for each in rules.every(rtnl, version) if each.table == rule.table)
        assert told(made) in seen(empty, version) and len(seen(empty, version)) == len(before) + 1
        assert made.priority == (11 if rule.priority else 32765)
        assert (made == rule) is (rule.priority is not None)
        rule.priority = made.priority
        assert made == rule and hash(made) == hash(rule) and repr(made) == repr(rule)
        with pytest.raises(KernelError) as refused:
            rules.add(rtnl, rule)
        assert refused.value.errno == errno.EEXIST
        for _ in range(2):
            rules.delete(rtnl, rule)
            assert (seen(empty, version), seen(empty, 10 - version)) == (before, other)


def test_only_the_rule_that_is_meant_is_removed(empty: Netns, rtnl: Rtnl) -> None:
    """Of several for one source each has a table, or a priority, of its own."""
    for table, priority in ((100, 5), (101, 5), (100, 6)):
        rules.add(rtnl, Rule(table, ONE[4], priority=priority))
    rules.delete(rtnl, Rule(100, ONE[4], priority=6))
    assert [(p, t) for p, _, _, t, _ in seen(empty, 4) if p in (5, 6)] == [(5, 100), (5, 101)]
    rules.delete(rtnl, Rule(101, ONE[4], priority=5))
    assert [(p, t) for p, _, _, t, _ in seen(empty, 4) if p in (5, 6)] == [(5, 100)]


def test_a_rule_that_names_no_table_is_told_from_one_that_does(empty: Netns, rtnl: Rtnl) -> None:
    empty.ip("rule add from 10.9.0.0/16 unreachable priority 5")
    rule = next(rule for rule in rules.every(rtnl, 4) if rule.priority == 5)
    assert rule.action != rules.TO_TABLE and rule != Rule(0, Prefix.parse("10.9.0.0/16"), priority=5)
    rules.delete(rtnl, rule)
    assert [priority for priority, *_ in seen(empty, 4)] == [0, 32766, 32767]
