"""Addresses, networks and MACs: Go's texts in and out, whatever Python's libraries think of them."""

import ipaddress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cni.address import ANY, MULTICAST, Address, Prefix, parse_mac

V4 = st.binary(min_size=4, max_size=4)
# groups of zeros, which are what the shortest text is about
GROUP = st.sampled_from([b"\0\0", b"\0\0", b"\0\1", b"\x12\x34", b"\xff\xff", b"\x0a\0"])
V6 = st.one_of(st.binary(min_size=16, max_size=16), st.lists(GROUP, min_size=8, max_size=8).map(b"".join))
PACKED = st.one_of(V4, V6)

NO_ADDRESS = [
    "", " ", "10.0.0", "10.0.0.1.2", "10.0.0.256", "10.0.0.-1", "010.0.0.1", "10.0.0.01", "10.0.0.1 ", " 10.0.0.1",
    "10.0.0.1\n", "0x0a.0.0.1", "10.0.0.1/24", "1", "167772161", "10.0.0.a", "10..0.1", "\u06610.0.0.1", "10.0.0.1\0",
    ":", ":::", "1::2::3", "fe80::1%eth0", "fe80::1%", "::1/128", "12345::", "::g", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
    "::ffff:10.0.0.01", "::ffff:10.0.0", "[::1]", "::1 ", "\udcff", "é", "localhost", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("text", NO_ADDRESS, ids=lambda text: ascii(text)[:20])
def test_what_is_no_address_is_refused_with_gos_text(text: str) -> None:
    """No zone, no prefix, no leading zeros, no blanks."""
    with pytest.raises(ValueError, match="^invalid IP address: ") as caught:
        Address.parse(text)
    assert str(caught.value) == f"invalid IP address: {text}"


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("2001:DB8::1", "2001:db8::1"),
        ("2001:db8:0:0:1:0:0:10", "2001:db8::1:0:0:10"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
        ("1:2:3:4:5:6:0:8", "1:2:3:4:5:6:0:8"),
        ("::", "::"),
        ("::1", "::1"),
        ("::2:3", "::2:3"),
        # the C library and netaddr print these with a dotted quad
        ("::10.0.0.2", "::a00:2"),
        ("::a00:2", "::a00:2"),
        ("::ffff:ffff", "::ffff:ffff"),
        ("0:0:0:0:0:1:a00:2", "::1:a00:2"),
        # mapped ones are IPv4
        ("::ffff:10.0.0.2", "10.0.0.2"),
        ("::FFFF:a00:2", "10.0.0.2"),
        ("0:0:0:0:0:ffff:a00:2", "10.0.0.2"),
        ("64:ff9b::10.0.0.2", "64:ff9b::a00:2"),
    ],
)
def test_an_address_is_printed_as_go_prints_it(text: str, printed: str) -> None:
    """It is the name of a lease's file: another text would be another lease."""
    assert str(Address.parse(text)) == printed
    assert Address.parse(text) == Address.parse(printed)


@given(PACKED)
@example(bytes(12) + b"\x0a\0\0\2")
@example(bytes(10) + b"\xff\xff\x0a\0\0\2")
@example(bytes(8) + b"\xff\xff\0\0\x0a\0\0\2")
def test_every_address_is_printed_in_its_shortest_form(packed: bytes) -> None:
    """As RFC 5952 has it, in hexadecimal throughout, which is what ``ipaddress`` prints too."""
    address = Address(packed)
    peer: Any = ipaddress.ip_address(packed)
    peer = getattr(peer, "ipv4_mapped", None) or peer
    assert str(address) == str(peer)
    assert Address.parse(str(address)) == address
    assert (address.version, int(address), address.bits) == (peer.version, int(peer), peer.max_prefixlen)
    assert hash(address) == hash(Address.parse(str(address))) and address != str(address)
    assert repr(address) == f"Address('{address}')"


@given(V4, st.integers(0, 300))
def test_an_address_counts_up(packed: bytes, count: int) -> None:
    number = int.from_bytes(packed, "big") + count
    if number >> 32:
        with pytest.raises(OverflowError):
            Address(packed) + count
    else:
        assert int(Address(packed) + count) == number


NO_PREFIX = [
    "", "/", "10.0.0.1", "10.0.0.1/", "/24", "10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/+24", "10.0.0.1/ 24", "10.0.0.1/24 ",
    "10.0.0.1/255.255.255.0", "10.0.0.1/0.0.0.255", "10.0.0.1/0x18", "10.0.0.1/24/24", "10.0.0.01/24", "10/8",
    "::1", "::1/129", "::1%eth0/64", "::1/+64", "10.0.0.1/\u0662\u0664", "10.0.0.1/" + "9" * 30,
    "::ffff:10.0.0.2/24", "::ffff:10.0.0.2/95",
    " 10.0.0.1/24", "10.0.0.1/24\n",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_PREFIX, ids=lambda text: ascii(text)[:30])
def test_what_is_no_network_is_refused_with_gos_text(text: str) -> None:
    """No prefix, net masks, host masks, zones, ``/+24``: Python's libraries accept some of these."""
    with pytest.raises(ValueError, match="^invalid CIDR address: ") as caught:
        Prefix.parse(text)
    assert str(caught.value) == f"invalid CIDR address: {text}"


@pytest.mark.parametrize(
    ("text", "printed", "network"),
    [
        ("10.0.0.5/24", "10.0.0.5/24", "10.0.0.0/24"),
        ("10.0.0.5/08", "10.0.0.5/8", "10.0.0.0/8"),
        ("10.0.0.5/0", "10.0.0.5/0", "0.0.0.0/0"),
        ("10.0.0.5/32", "10.0.0.5/32", "10.0.0.5/32"),
        ("2001:DB8::5/64", "2001:db8::5/64", "2001:db8::/64"),
        ("::/0", "::/0", "::/0"),
        ("::ffff:10.0.0.2/120", "10.0.0.2/24", "10.0.0.0/24"),
        ("::ffff:10.0.0.2/96", "10.0.0.2/0", "0.0.0.0/0"),
    ],
)
def test_a_network_keeps_its_host_bits(text: str, printed: str, network: str) -> None:
    assert str(Prefix.parse(text)) == printed
    assert str(Prefix.parse(text).network) == network
    assert repr(Prefix.parse(text)) == f"Prefix('{printed}')"


@given(PACKED, st.integers(0, 128), PACKED, st.integers(0, 128))
def test_networks_are_reasoned_about_as_by_ipaddress(one: bytes, length: int, other: bytes, other_length: int) -> None:
    first, second = Address(one), Address(other)
    prefix, than = Prefix(first, min(length, first.bits)), Prefix(second, min(other_length, second.bits))
    network: Any = ipaddress.ip_network(str(prefix), strict=False)
    peer: Any = ipaddress.ip_network(str(than), strict=False)
    assert str(prefix.network) == str(network)
    assert (second in prefix) == (ipaddress.ip_address(str(second)) in network)
    assert first in prefix and first in prefix.network
    assert prefix.overlaps(than) == network.overlaps(peer) == than.overlaps(prefix)
    assert (prefix == than) == (str(prefix) == str(than))
    assert len({prefix, Prefix.parse(str(prefix))}) == 1 and prefix != str(prefix)
    assert prefix.version == network.version


def test_the_networks_that_have_names() -> None:
    assert [str(ANY[4]), str(ANY[6])] == ["0.0.0.0/0", "::/0"]
    assert [str(MULTICAST[4]), str(MULTICAST[6])] == ["224.0.0.0/4", "ff00::/8"]


@pytest.mark.parametrize("text", ["02:00:00:00:00:0A", "02-00-00-00-00-0a", "0200.0000.000a"])
def test_a_mac_may_be_written_in_three_ways(text: str) -> None:
    assert parse_mac(text) == "02:00:00:00:00:0a"


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "02:00:00:00:00", "02:00:00:00:00:00:01", "2:0:0:0:0:a", "02:00:00:00:00:0g", "02:00:00:00:00:  ",
        "020000000a0b", "02:00-00:00:00:0a", "0200:0000:000a", "02.00.00.00.00.0a",
        "02:00:00:00:00:0a ", "02:00:00:00:00:00:00:0a",
        "02: 0:00:00:00:0a", "\u06602:00:00:00:00:0a",
    ],
)  # fmt: skip
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^address .*: invalid MAC address$"):
        parse_mac(text)
