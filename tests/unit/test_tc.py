"""Limits of links' rates by two roads: what we set and read, and what ``tc`` shows and sets."""

import errno
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.address import Prefix
from cni.errors import KernelError
from cni.kernel import tc
from cni.kernel.htb import Htb
from cni.kernel.kinds import Ifb
from cni.kernel.rtnl import Rtnl
from cni.kernel.tc import Tbf
from node.deadline import eventually
from node.namespace import Netns

real = pytest.mark.root
# Bytes a second and at once: Go's example, usual ones, more than 32 bits hold, a burst of seconds.
LIMITS = [(1000, 10), (125_000, 10_000), (12_500_000, 1_000_000), (6_000_000_000, 2_000_000), (1, 268_435_455)]


def limit(rate: int, burst: int) -> Tbf:
    """As Go's plugin has it: what comes within 25 ms waits."""
    return Tbf(rate, burst, rate // 40 + burst)


@pytest.fixture
def links(empty: Netns) -> Iterator[tuple[Rtnl, int, int]]:
    """A socket, a veth and an ifb."""
    empty.ip("link add host type veth peer name pod", "link set host up", "link set pod up")
    rtnl = Rtnl()
    rtnl.add("ifb0", Ifb())
    found = {link.name: link.index for link in rtnl.links()}
    rtnl.change(found["ifb0"], up=True)
    yield rtnl, found["host"], found["ifb0"]
    rtnl.close()


def shown(netns: Netns, what: str, *words: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(netns.run("tc", "-j", "-s", what, "show", *words))
    return listed


def ask(netns: Netns, line: str) -> None:
    netns.run("tc", *line.split())


def root(netns: Netns, device: str) -> dict[str, Any]:
    return next((each for each in shown(netns, "qdisc", "dev", device) if each.get("root")), {})


def test_numbers_as_gos_plugin_has_them() -> None:
    """Of its own tests: 8000 bit/s with 80 bit at once."""
    assert limit(1000, 10) == Tbf(1000, 10, 35) and limit(1000, 10).buffer == 10_000 * 1000 // 64
    assert repr(Tbf(1000, 10, 35)) == "Tbf(rate=1000, limit=35, buffer=156250)"
    assert Tbf(1000, 10, 35) != Tbf(1000, 10, 36) != Tbf(1001, 10, 36) and len({limit(8, 1), limit(8, 1)}) == 1


@given(st.integers(1, 1 << 40), st.integers(1, (1 << 32) - 2))
def test_a_burst_is_read_from_the_time_that_it_takes(rate: int, burst: int) -> None:
    """As well as microseconds show it, and as far as 32 bits go."""
    found = limit(rate, burst)
    if found.buffer < (1 << 32) - 1:
        assert 0 <= burst - found.burst <= 2 * rate // 1_000_000 + 1


@real
@pytest.mark.parametrize(("rate", "burst"), LIMITS)
@pytest.mark.parametrize("device", ["host", "ifb0"])
def test_a_limit_is_what_tc_shows(
    empty: Netns, links: tuple[Rtnl, int, int], device: str, rate: int, burst: int
) -> None:
    rtnl, index = links[0], links[1 if device == "host" else 2]
    wanted, before = limit(rate, burst), root(empty, device).get("kind")
    assert tc.queue(rtnl, index) is None
    wanted.make(rtnl, index)
    assert tc.queue(rtnl, index) == wanted
    seen = root(empty, device)
    assert (seen["kind"], seen["handle"], seen["options"]["rate"]) == ("tbf", "1:", rate)
    assert abs(seen["options"]["burst"] - wanted.burst) <= 1 + rate / 1_000_000
    with pytest.raises(KernelError) as refused:
        wanted.make(rtnl, index)
    assert refused.value.errno == errno.EEXIST
    other = links[2 if device == "host" else 1]
    assert tc.queue(rtnl, other) is None
    for _ in range(2):
        tc.delete_queue(rtnl, index)
        assert (tc.queue(rtnl, index), root(empty, device).get("kind")) == (None, before)


@real
def test_a_limit_that_tc_sets_is_read(empty: Netns, links: tuple[Rtnl, int, int]) -> None:
    rtnl, host, _ = links
    ask(empty, "qdisc add dev host root handle 7: tbf rate 8mbit burst 10000 limit 35000")
    assert tc.queue(rtnl, host) == Tbf(1_000_000, 10_000, 35_000)
    tc.delete_queue(rtnl, host)
    assert tc.queue(rtnl, host) == Tbf(1_000_000, 10_000, 35_000), "another's queue stays"


@real
def test_all_that_a_link_receives_goes_to_another(empty: Netns, links: tuple[Rtnl, int, int]) -> None:
    """``tc`` shows the filter; frames that the other end sends are counted where they are limited."""
    rtnl, host, ifb = links
    assert tc.redirect(rtnl, host) == 0
    tc.add_redirect(rtnl, host, ifb)
    limit(1_000_000, 100_000).make(rtnl, ifb)
    assert tc.redirect(rtnl, host) == ifb and tc.redirect(rtnl, ifb) == 0
    (seen,) = (
        each for each in shown(empty, "filter", "dev", "host", "ingress") if "actions" in each.get("options", {})
    )
    assert (seen["kind"], seen["protocol"], seen["pref"]) == ("u32", "all", 1)
    assert seen["options"]["match"] == {"value": "0", "mask": "0", "offmask": "", "off": 0}
    (action,) = seen["options"]["actions"]
    assert [action[key] for key in ("kind", "mirred_action", "direction", "to_dev")] == [
        "mirred", "redirect", "egress", "ifb0",
    ]  # fmt: skip
    assert action["control_action"] == {"type": "stolen"}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
        sending.bind(("pod", 0))
        for _ in range(20):
            sending.send(b"\xff" * 6 + bytes(6) + b"\x88\xb5" + bytes(80))
    assert eventually(lambda: root(empty, "ifb0")["packets"] >= 20)
    with pytest.raises(KernelError) as refused:
        tc.add_redirect(rtnl, host, ifb)
    assert refused.value.errno == errno.EEXIST and tc.redirect(rtnl, host) == ifb
    for _ in range(2):
        tc.delete_redirect(rtnl, host)
        assert tc.redirect(rtnl, host) == 0 and {each["kind"] for each in shown(empty, "qdisc", "dev", "host")} <= {
            "noqueue"
        }


@real
def test_only_a_redirection_of_everything_counts(empty: Netns, links: tuple[Rtnl, int, int]) -> None:
    """One of some packets, and one that mirrors, limit nothing."""
    rtnl, host, ifb = links
    ask(empty, "qdisc add dev host ingress")
    some = "filter add dev host parent ffff: protocol ip pref 1 u32 match ip dst 10.1.0.0/16"
    every = "filter add dev host parent ffff: protocol all pref 2 u32 match u32 0 0"
    ask(empty, f"{some} action mirred egress redirect dev ifb0")
    ask(empty, f"{every} action mirred egress mirror dev ifb0")
    assert tc.redirect(rtnl, host) is None
    ask(empty, f"{every.replace('pref 2', 'pref 3')} action mirred egress redirect dev ifb0")
    assert tc.redirect(rtnl, host) == ifb


@real
def test_a_redirection_to_a_link_that_is_gone_is_none(empty: Netns, links: tuple[Rtnl, int, int]) -> None:
    """It drops all packets, until it is removed."""
    rtnl, host, ifb = links
    tc.add_redirect(rtnl, host, ifb)
    rtnl.delete(ifb)
    assert tc.redirect(rtnl, host) == 0
    tc.delete_redirect(rtnl, host)
    assert "ingress" not in {each["kind"] for each in shown(empty, "qdisc", "dev", "host")}


@real
def test_a_redirection_to_nowhere_leaves_nothing(empty: Netns, links: tuple[Rtnl, int, int]) -> None:
    rtnl, host, _ = links
    with pytest.raises(KernelError):
        tc.add_redirect(rtnl, host, 9999)
    assert "ingress" not in {each["kind"] for each in shown(empty, "qdisc", "dev", "host")}


SUBNETS = ["10.1.0.0/16", "10.2.3.4/32", "0.0.0.0/0", "fd00:1::/47", "fd00:2::5/128", "2001:db8::/32", "::/0"]


@real
@pytest.mark.parametrize(("rest", "by_source"), [(False, True), (True, False)])
def test_a_limit_of_some_subnets_is_what_tc_shows(
    empty: Netns, links: tuple[Rtnl, int, int], rest: bool, by_source: bool
) -> None:
    """Class, queue and filters; all are read again, and removed together."""
    rtnl, host, _ = links
    for subnets, burst in (([*map(Prefix.parse, SUBNETS)], 2_000_000), ([], tc.MAX)):
        wanted = Htb(limit(6_000_000_000, burst), subnets, rest, by_source)
        wanted.make(rtnl, host)
        assert tc.queue(rtnl, host) == wanted
        assert tc.queue(rtnl, host) != Htb(wanted, [*subnets, Prefix.parse("10.9.0.0/16")], rest, by_source)
        assert (root(empty, "host")["options"]["default"]) == ("0x30" if rest else "0")
        seen = empty.run("tc", "class", "show", "dev", "host")
        assert "1:30" in seen and "rate 48Gbit ceil 48Gbit" in seen
        (leaf,) = (each for each in shown(empty, "qdisc", "dev", "host") if each["kind"] == "bfifo")
        assert (leaf["parent"], leaf["options"]["limit"]) == ("1:30", wanted.limit)
        filters = empty.run("tc", "filter", "show", "dev", "host")
        assert filters.count("key ht") == len(subnets)
        if subnets:
            assert ("match 0a010000/ffff0000 at 12" in filters) == by_source
            assert ("match fd000002/ffffffff at 24" in filters) == (not by_source)
        with pytest.raises(KernelError) as refused:
            wanted.make(rtnl, host)
        assert refused.value.errno == errno.EEXIST and tc.queue(rtnl, host) == wanted
        tc.delete_queue(rtnl, host)
        assert tc.queue(rtnl, host) is None and "htb" not in empty.run("tc", "qdisc", "show", "dev", "host")


@real
def test_what_a_kernel_has_is_asked_without_making_it(empty: Netns) -> None:
    """STATUS: a queue that no kernel has is lacking, and nothing is made on the way."""
    rtnl, before = Rtnl(), empty.run("tc", "qdisc", "show")
    for kind in ("tbf", "htb", "ingress", "mirred"):
        assert not tc.lacks(rtnl, kind) and kind in tc.OPTIONS
    assert tc.lacks(rtnl, "nosuchqueue")
    assert empty.run("tc", "qdisc", "show") == before
    rtnl.close()
