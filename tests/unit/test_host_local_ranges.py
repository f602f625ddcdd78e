"""Ranges and range sets: Go's defaults and texts, and the order in which addresses are tried (pure)."""

import ipaddress
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.address import Address, Prefix
from cni.errors import InvalidConfig
from cni.pool import RANGES, Range, RangeSet, read_sets

SUBNET, SUBNET6 = "10.1.2.0/24", "fd00:1::/64"


def member(subnet: str, start: str = "", end: str = "", gateway: str = "") -> Range:
    """One range as a configuration would say it."""
    first, last, router = (Address.parse(text) if text else None for text in (start, end, gateway))
    return Range(Prefix.parse(subnet), first, last, router)


def read(*sets: list[dict[str, str]], version: str = "1.0.0") -> list[RangeSet]:
    return read_sets(RANGES(list(sets), "ipam.ranges"), version)


def refusal(*sets: list[dict[str, str]]) -> str:
    with pytest.raises(InvalidConfig) as caught:
        read(*sets)
    assert caught.value.code == 7
    return caught.value.msg


def order(one: RangeSet, last: str = "", limit: int = 1000) -> list[str]:
    """The addresses in the order in which they are tried."""
    return [str(found) for _, found in islice(one.candidates(Address.parse(last) if last else None), limit)]


# defaults


@pytest.mark.parametrize(
    ("subnet", "start", "end", "gateway"),
    [
        ("10.1.2.0/24", "10.1.2.1", "10.1.2.254", "10.1.2.1"),
        ("10.1.2.0/30", "10.1.2.1", "10.1.2.2", "10.1.2.1"),
        ("0.0.0.0/0", "0.0.0.1", "255.255.255.254", "0.0.0.1"),
        ("fd00:1::/64", "fd00:1::1", "fd00:1::ffff:ffff:ffff:ffff", "fd00:1::1"),
        ("fd00:1::/126", "fd00:1::1", "fd00:1::3", "fd00:1::1"),
        ("::/96", "::1", "::ffff:ffff", "::1"),
    ],
)
def test_defaults(subnet: str, start: str, end: str, gateway: str) -> None:
    """From the one after the network address to the last: of IPv4 without the broadcast address, of IPv6 with all ones."""
    one = member(subnet)
    assert (str(one.start), str(one.end), str(one.gateway)) == (start, end, gateway)


def test_a_range_prints_as_gos() -> None:
    assert str(member(SUBNET)) == "10.1.2.1-10.1.2.254"
    assert str(RangeSet([member(SUBNET), member("10.1.3.0/30")])) == "10.1.2.1-10.1.2.254,10.1.3.1-10.1.3.2"
    assert str(member("::/96", "::10.0.0.2", "::10.0.0.3")) == "::a00:2-::a00:3"


# refusals


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"subnet": "10.1.2.0/31"}, "Network 10.1.2.0/31 too small to allocate from"),
        ({"subnet": "10.1.2.0/32"}, "Network 10.1.2.0/32 too small to allocate from"),
        ({"subnet": "fd00::/127"}, "Network fd00::/127 too small to allocate from"),
        (
            {"subnet": "10.1.2.3/24"},
            "Network has host bits set. For a subnet mask of length 24 the network address is 10.1.2.0",
        ),
        (
            {"subnet": "fd00::1:0:0:0:1/64"},
            "Network has host bits set. For a subnet mask of length 64 the network address is fd00:0:0:1::",
        ),
        ({}, "IP <nil> not v4 nor v6"),
        ({"subnet": SUBNET, "rangeStart": "10.1.3.1"}, "RangeStart 10.1.3.1 not in network 10.1.2.0/24"),
        ({"subnet": SUBNET, "rangeStart": "fd00::1"}, "RangeStart fd00::1 not in network 10.1.2.0/24"),
        ({"subnet": SUBNET, "rangeEnd": "10.1.3.1"}, "RangeEnd 10.1.3.1 not in network 10.1.2.0/24"),
        ({"subnet": SUBNET, "rangeEnd": "10.1.2.0"}, "RangeEnd 10.1.2.0 not in network 10.1.2.0/24"),
        (
            {"subnet": SUBNET, "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.8"},
            "RangeStart 10.1.2.9 not in network 10.1.2.0/24",
        ),
    ],
)
def test_a_range_that_cannot_be_is_refused_with_gos_text(document: dict[str, str], text: str) -> None:
    """With the number of its set before the text."""
    assert refusal([document]) == f"invalid range set 0: {text}"
    assert refusal([{"subnet": "192.0.2.0/24"}], [document]) == f"invalid range set 1: {text}"


@pytest.mark.parametrize(
    ("key", "text", "msg"),
    [
        ("subnet", "", "invalid CIDR address: "),
        ("subnet", "10.1.2.0", "invalid CIDR address: 10.1.2.0"),
        ("subnet", "10.1.2.0/255.255.255.0", "invalid CIDR address: 10.1.2.0/255.255.255.0"),
        ("subnet", "10.1.2.0/+24", "invalid CIDR address: 10.1.2.0/+24"),
        ("rangeStart", "10.1.2.5/24", "invalid IP address: 10.1.2.5/24"),
        ("rangeEnd", "10.1.2", "invalid IP address: 10.1.2"),
        ("gateway", "fe80::1%eth0", "invalid IP address: fe80::1%eth0"),
    ],
)
def test_a_text_that_is_no_address_is_refused_with_gos_bare_text(key: str, text: str, msg: str) -> None:
    assert refusal([{"subnet": SUBNET, key: text}]) == msg


def test_a_mapped_subnet_is_refused() -> None:
    assert refusal([{"subnet": "::ffff:10.0.0.0/120"}]).endswith("IPNet IP and Mask version mismatch")


@pytest.mark.parametrize("unset", ["", None])
def test_empty_and_null_are_as_absent(unset: Any) -> None:
    (one,) = read([{"subnet": SUBNET, "rangeStart": unset, "rangeEnd": unset, "gateway": unset}])
    assert str(one) == "10.1.2.1-10.1.2.254"
    assert str(one.ranges[0].gateway) == "10.1.2.1"


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ([], "empty range set"),
        ([{"subnet": SUBNET}, {"subnet": SUBNET6}], "mixed address families"),
        (
            [{"subnet": SUBNET}, {"subnet": SUBNET, "rangeStart": "10.1.2.254"}],
            "subnets 10.1.2.1-10.1.2.254 and 10.1.2.254-10.1.2.254 overlap",
        ),
        (
            [{"subnet": "fd00::/32"}, {"subnet": "fd00:0:1::/48"}],
            "subnets fd00::1-fd00:0:ffff:ffff:ffff:ffff:ffff:ffff and "
            "fd00:0:1::1-fd00:0:1:ffff:ffff:ffff:ffff:ffff overlap",
        ),
    ],
)
def test_a_set_that_cannot_be_is_refused_with_gos_text(members: list[dict[str, str]], text: str) -> None:
    assert refusal(members) == f"invalid range set 0: {text}"


def test_sets_that_overlap_are_refused() -> None:
    """By their intervals: two parts of one subnet that do not meet are fine, and so are two families."""
    low, high = {"subnet": SUBNET, "rangeEnd": "10.1.2.10"}, {"subnet": SUBNET, "rangeStart": "10.1.2.11"}
    far: dict[str, str] = {"subnet": "10.9.0.0/24"}
    assert len(read([low], [high])) == 2
    assert len(read([low, high])) == 1
    assert len(read([{"subnet": SUBNET}], [{"subnet": SUBNET6}])) == 2
    assert refusal([low], [far, {**high, "rangeStart": "10.1.2.10"}]) == "range set 0 overlaps with 1"
    assert refusal([far], [low], [{"subnet": SUBNET}]) == "range set 1 overlaps with 2"
    inner = {"subnet": "10.1.0.0/16", "rangeStart": "10.1.2.5", "rangeEnd": "10.1.2.5"}
    assert refusal([inner], [{"subnet": SUBNET}]) == "range set 0 overlaps with 1"


# the order of addresses


def test_a_fresh_range_starts_behind_its_gateway() -> None:
    """A /29 gives five addresses: neither the network's, nor the gateway's, nor the broadcast one."""
    assert order(RangeSet([member("10.1.2.0/29")])) == [f"10.1.2.{number}" for number in range(2, 7)]


def test_the_next_is_the_one_after_the_last_and_the_last_comes_last() -> None:
    one = RangeSet([member("10.1.2.0/29")])
    assert order(one, "10.1.2.4") == ["10.1.2.5", "10.1.2.6", "10.1.2.2", "10.1.2.3", "10.1.2.4"]
    assert order(one, "10.1.2.6") == ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]


@pytest.mark.parametrize("last", ["10.1.2.0", "10.1.2.7", "10.9.9.9", "fd00::1"])
def test_a_last_reserved_outside_the_set_is_as_none(last: str) -> None:
    """It is bound to the set's position, so another configuration may have written it."""
    one = RangeSet([member("10.1.2.0/29")])
    assert order(one, last) == order(one)


def test_ranges_are_walked_in_turn_and_round() -> None:
    """After a range's end the next one's start, after the last range the first."""
    one = RangeSet([member("10.1.2.0/30"), member("10.1.9.0/29", "10.1.9.3", "10.1.9.4"), member("10.1.4.0/30")])
    assert order(one) == ["10.1.2.2", "10.1.9.3", "10.1.9.4", "10.1.4.2"]
    assert order(one, "10.1.2.2") == ["10.1.9.3", "10.1.9.4", "10.1.4.2", "10.1.2.2"]
    assert order(one, "10.1.9.3") == ["10.1.9.4", "10.1.4.2", "10.1.2.2", "10.1.9.3"]
    assert order(one, "10.1.4.2") == ["10.1.2.2", "10.1.9.3", "10.1.9.4", "10.1.4.2"]


def test_each_range_skips_its_own_gateway() -> None:
    """Wherever it lies; one outside the range, or of the other family, takes nothing away."""
    middle = member("10.1.2.0/29", gateway="10.1.2.4")
    assert order(RangeSet([middle])) == [f"10.1.2.{number}" for number in (1, 2, 3, 5, 6)]
    assert order(RangeSet([member("10.1.2.0/30", gateway="192.0.2.1")])) == ["10.1.2.1", "10.1.2.2"]
    # fd00::a01:201 has in its low bits the number of 10.1.2.1
    assert order(RangeSet([member("10.1.2.0/30", gateway="::a01:201")])) == ["10.1.2.1", "10.1.2.2"]
    two = RangeSet([member("10.1.2.0/30"), member("10.1.3.0/30", gateway="10.1.2.2")])
    assert order(two) == ["10.1.2.2", "10.1.3.1", "10.1.3.2"]
    assert order(RangeSet([member("10.1.2.0/30", "10.1.2.1", "10.1.2.1")])) == []


def test_network_and_broadcast_addresses_only_when_named() -> None:
    """An explicit start or end may be either; then it is handed out."""
    assert order(RangeSet([member("10.1.2.0/30", "10.1.2.0", "10.1.2.3")])) == ["10.1.2.0", "10.1.2.2", "10.1.2.3"]
    assert order(RangeSet([member("10.1.2.0/24", "10.1.2.255")])) == ["10.1.2.255"]
    assert order(RangeSet([member("fd00::/126", "fd00::")])) == ["fd00::", "fd00::2", "fd00::3"]


def test_ipv6_goes_to_all_ones() -> None:
    assert order(RangeSet([member("fd00::/126")])) == ["fd00::2", "fd00::3"]
    whole = RangeSet([member("ffff:ffff:ffff:ffff::/64")])
    top = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    assert order(whole, top, 2) == ["ffff:ffff:ffff:ffff::2", "ffff:ffff:ffff:ffff::3"]


@st.composite
def sets(draw: st.DrawFn) -> tuple[RangeSet, set[str], str]:
    """A set of up to three small ranges, the addresses that it may hand out, and a last one from inside or outside."""
    version = draw(st.sampled_from([4, 6]))
    network = ipaddress.IPv4Network if version == 4 else ipaddress.IPv6Network
    base = int(ipaddress.ip_address("10.1.0.0" if version == 4 else "fd00::"))
    bits = 32 if version == 4 else 128
    members, free = [], set()
    for place in range(draw(st.integers(1, 3))):
        subnet = network((base + (place << 8), draw(st.integers(bits - 5, bits - 2))))
        hosts = [subnet[number] for number in range(subnet.num_addresses)]
        start, end = draw(st.sampled_from(hosts[1:-1])), None
        if draw(st.booleans()):
            end = draw(st.sampled_from([host for host in hosts[:-1] if host >= start]))
        gateway = draw(st.none() | st.sampled_from([*hosts, ipaddress.ip_address("192.0.2.1")]))
        members.append(member(str(subnet), str(start), str(end or ""), str(gateway or "")))
        last = end or (hosts[-2] if version == 4 else hosts[-1])
        free |= {str(host) for host in hosts if start <= host <= last and host != (gateway or hosts[1])}
    outside = ["198.51.100.7", "fd99::7"]
    return RangeSet(members), free, draw(st.sampled_from([*sorted(free), *outside, ""]))


@given(sets())
def test_every_free_address_is_tried_once_and_no_other(drawn: tuple[RangeSet, set[str], str]) -> None:
    """Neither a gateway nor, by default, network and broadcast address; the last one is the final candidate."""
    one, free, last = drawn
    tried = order(one, last)
    assert len(tried) == len(free)
    assert set(tried) == free
    if last in free:
        assert tried[-1] == last


@given(sets())
def test_the_order_is_a_rotation(drawn: tuple[RangeSet, set[str], str]) -> None:
    """Whatever was last, the addresses follow one another in the same circle."""
    one, free, last = drawn
    circle = order(one)
    if last in free:
        place = circle.index(last) + 1
        assert order(one, last) == circle[place:] + circle[:place]
    else:
        assert order(one, last) == circle


@given(sets(), st.data())
def test_holding_and_candidates_agree(drawn: tuple[RangeSet, set[str], str], data: st.DataObject) -> None:
    """Each candidate comes with the range that holds it."""
    one, _, last = drawn
    for found, address in one.candidates(Address.parse(last) if last else None):
        assert one.holding(address) is found
        assert str(found.start.version) == str(address.version)
