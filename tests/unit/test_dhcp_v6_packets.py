"""DHCPv6's messages and router advertisements: what is in a packet and back; hostile packets raise one error."""

import math
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_dhcp_daemon.v6.advertisement import Advertisement, DnsServers, Domains, Onward, Prefix, solicitation
from cni_dhcp_daemon.v6.message import Association, Kind, Leased, Message, Outcome, Status
from cni_dhcp_daemon.v6.wire import Malformed, domains, encode_domains, unicast

SECONDS = st.just(math.inf) | st.integers(0, 0xFFFFFFFE).map(float)
ADDRESSES = st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number)))
DUIDS = st.binary(min_size=1, max_size=130)
LABELS = st.text("abcxyz019-_", min_size=1, max_size=10)
NAMES = st.lists(st.lists(LABELS, min_size=1, max_size=4).map(".".join), max_size=3).map(tuple)
STATUSES = st.builds(Status, st.integers(0, 9), st.text("ab ü", max_size=9))
LEASED = st.builds(Leased, ADDRESSES, SECONDS, SECONDS, STATUSES)
ASSOCIATIONS = st.builds(
    Association, st.integers(0, 2**32 - 1), SECONDS, SECONDS, st.lists(LEASED, max_size=2).map(tuple), STATUSES
)
MESSAGES = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    transaction=st.integers(0, 2**24 - 1),
    client=st.just(b"") | DUIDS,
    server=st.just(b"") | DUIDS,
    associations=st.lists(ASSOCIATIONS, max_size=2).map(tuple),
    status=STATUSES,
    preference=st.integers(0, 255),
    rapid=st.booleans(),
    elapsed=st.none() | st.integers(0, 65535),
    requested=st.lists(st.integers(0, 65535), max_size=4).map(tuple),
    dns_servers=st.lists(ADDRESSES, max_size=2).map(tuple),
    domains=NAMES,
    refresh=st.none() | SECONDS,
    sol_max_rt=st.none() | st.integers(0, 2**32 - 1),
    inf_max_rt=st.none() | st.integers(0, 2**32 - 1),
    others=st.lists(st.tuples(st.integers(100, 200), st.binary(max_size=5)), max_size=2).map(tuple),
)


def networks(*lengths: int) -> st.SearchStrategy[str]:
    return st.tuples(st.integers(0, 2**128 - 1), st.sampled_from(lengths)).map(
        lambda pair: str(IPv6Network(pair, strict=False))
    )


PREFERENCES = st.sampled_from([-1, 0, 1])
ADVERTISEMENTS = st.builds(
    Advertisement,
    managed=st.booleans(),
    other=st.booleans(),
    lifetime=st.integers(0, 65535),
    preference=PREFERENCES,
    mtu=st.integers(0, 2**32 - 1),
    prefixes=st.lists(
        st.builds(Prefix, networks(0, 48, 64, 128), st.booleans(), st.booleans(), SECONDS, SECONDS), max_size=3
    ).map(tuple),
    routes=st.lists(st.builds(Onward, networks(0, 48, 64, 128), SECONDS, PREFERENCES), max_size=3).map(tuple),
    dns=st.lists(st.builds(DnsServers, st.lists(ADDRESSES, max_size=3).map(tuple), SECONDS), max_size=2).map(tuple),
    domains=st.lists(st.builds(Domains, NAMES, SECONDS), max_size=2).map(tuple),
)


@given(MESSAGES)
def test_a_message_survives_its_packet(message: Message) -> None:
    assert Message.decode(message.encode()) == message


@given(ADVERTISEMENTS)
def test_an_advertisement_survives_its_packet(advertisement: Advertisement) -> None:
    assert Advertisement.decode(advertisement.encode()) == advertisement


@given(
    st.binary(max_size=200)
    | st.tuples(st.sampled_from(Kind), st.binary(max_size=200)).map(lambda p: bytes([p[0]]) + p[1])
)
def test_octets_are_a_message_or_malformed(packet: bytes) -> None:
    try:
        Message.decode(packet).encode()
    except Malformed as error:
        assert str(error)


@given(st.binary(max_size=200).map(lambda rest: b"\x86\0" + rest))
def test_octets_are_an_advertisement_or_malformed(packet: bytes) -> None:
    try:
        Advertisement.decode(packet)
    except Malformed as error:
        assert str(error)


@given(MESSAGES | ADVERTISEMENTS, st.data())
def test_a_packet_with_a_wrong_octet_is_decoded_or_malformed(packed: Any, data: st.DataObject) -> None:
    """A flipped octet or a cut comes nearer to the corners than random octets."""
    packet = bytearray(packed.encode())
    packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packet)))
    for octets in (bytes(packet), bytes(packet[:cut])):
        try:
            type(packed).decode(octets)
        except Malformed as error:
            assert str(error)


def option(code: int, data: bytes) -> bytes:
    return code.to_bytes(2) + len(data).to_bytes(2) + data


HEADER = b"\x07\0\0\1"


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"\x07\0", "shorter than its header"),
        (b"\x0c\0\0\1", "12 is no kind of message"),
        (HEADER + b"\0\1\0", "an option is shorter"),
        (HEADER + b"\0\1\0\5ab", "option 1 is longer"),
        (HEADER + option(1, b""), "DUID in option 1"),
        (HEADER + option(2, bytes(131)), "DUID in option 2"),
        (HEADER + option(7, b"ab"), "option 7 has a wrong length"),
        (HEADER + option(13, b"a"), "shorter than its code"),
        (HEADER + option(3, bytes(11)), "IA_NA is shorter"),
        (HEADER + option(3, bytes(12) + option(5, bytes(23))), "an address in an IA_NA is shorter"),
        (HEADER + option(23, bytes(17)), "ends within an address"),
        (HEADER + option(24, b"\x03ab"), "label is too long"),
        (HEADER + option(24, b"\x02ab"), "no end"),
        (HEADER + option(24, b"\xc0\0"), "label is too long"),
        (HEADER + option(6, b"a"), "requested options"),
    ],
)
def test_why_a_message_is_malformed(packet: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        Message.decode(packet)


RA = Advertisement().encode()


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (RA[:15], "shorter than its header"),
        (b"\x85" + RA[1:], "not a router advertisement"),
        (b"\x86\1" + RA[2:], "not a router advertisement"),
        (RA + b"\1", "an option is shorter"),
        (RA + bytes(8), "length 0"),
        (RA + b"\1\2" + bytes(6), "option 1 is longer"),
        (RA + b"\3\1" + bytes(6), "prefix information"),
        (RA + b"\3\4\x81" + bytes(29), "longer than an address"),
        (RA + b"\5\2" + bytes(14), "MTU"),
        (RA + b"\x18\1\x40" + bytes(5), "longer than its option"),
        (RA + b"\x18\4" + bytes(30), "route information"),
        (RA + b"\x19\2" + bytes(14), "ends within an address"),
    ],
)
def test_why_an_advertisement_is_malformed(packet: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        Advertisement.decode(packet)


def test_a_route_of_reserved_preference_is_ignored() -> None:
    """RFC 4191, 2.3; in the header the reserved value counts as medium (2.2)."""
    assert Advertisement.decode(RA[:5] + b"\x10" + RA[6:] + b"\x18\1\0\x10" + bytes(4)) == Advertisement()


def test_a_solicitation_carries_the_mac() -> None:
    assert solicitation(bytes(range(6))).hex() == "8500000000000000" + "0101000102030405"


def test_a_domain_that_could_break_resolv_conf_is_left_out() -> None:
    hostile = b"\x0dnameserver ::\x00" + b"\x04a\nb.\0" + encode_domains(["good.example"])
    assert domains(hostile) == ("good.example",)


def test_a_status_says_its_name_and_text() -> None:
    assert [str(Status(code, text)) for code, text in ((Outcome.NoBinding, "who?"), (0, ""), (77, ""))] == [
        "NoBinding: who?",
        "Success",
        "status 77",
    ]


@pytest.mark.parametrize("text", ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"])
def test_no_host_gets_such_an_address(text: str) -> None:
    assert not unicast(IPv6Address(text))
    assert unicast(IPv6Address("2001:db8::1"))
