"""The bytes of DHCPv4: messages and the values of options (pure)."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_dhcp_daemon.client import Route
from cni_dhcp_daemon.v4 import options
from cni_dhcp_daemon.v4.packet import FRAMING, Kind, Malformed, Message, packed, text

MAC = bytes.fromhex("0a580a010005")
FOUR = st.binary(min_size=4, max_size=4).map(text)
CODES = st.integers(1, 254).filter(lambda code: code not in FRAMING)
MESSAGES = st.builds(
    Message,
    kind=st.sampled_from(Kind),
    xid=st.integers(0, 2**32 - 1),
    mac=st.binary(min_size=1, max_size=16),
    options=st.dictionaries(CODES, st.binary(max_size=600), max_size=5),
    ciaddr=FOUR,
    yiaddr=FOUR,
    secs=st.integers(0, 0xFFFF),
    broadcast=st.booleans(),
    reply=st.booleans(),
)
OFFER = Message(Kind.OFFER, 7, MAC, yiaddr="10.1.0.5", reply=True)


def raw(field: bytes, file: bytes = b"", sname: bytes = b"") -> bytes:
    """The offer with these bytes as its options and fields."""
    return OFFER.encode()[:44] + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + b"\x63\x82\x53\x63" + field


def test_a_request_is_gos_byte_by_byte() -> None:
    """Ascending options, no hops, padded to 300 bytes."""
    discover = Message(Kind.DISCOVER, 0x01020304, MAC, {61: b"\0c1", 55: b"\3\1", 57: b"\x05\xdc"})
    data = discover.encode()
    assert data[:12] == bytes.fromhex("010106000102030400000000")
    assert data[28:44] == MAC + bytes(10)
    assert data[236:].rstrip(b"\0") == bytes.fromhex("63825363 350101 37020301 390205dc 3d03006331 ff")
    assert len(data) == 300


@given(MESSAGES)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert Message.decode(message.encode()) == message


@given(st.binary(max_size=700) | st.builds(raw, *[st.binary(max_size=64)] * 3))
def test_hostile_bytes_raise_one_error(payload: bytes) -> None:
    try:
        message = Message.decode(payload)
    except Malformed:
        return
    assert Message.decode(message.encode()) == message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        OFFER.encode()[:239],
        b"\3" + OFFER.encode()[1:],
        OFFER.encode()[:2] + b"\x11" + OFFER.encode()[3:],
        OFFER.encode().replace(b"\x63\x82\x53\x63", b"\x63\x82\x53\x64"),
        raw(b"\xff"),
        raw(b"\x35\x01\x00"),
        raw(b"\x35\x01\x09"),
        raw(b"\x35\x02\x02\x02"),
        raw(b"\x35\x01\x02\x01"),
        raw(b"\x35\x01\x02\x01\x04\xff\xff"),
        raw(b"\x35\x01\x02\x34\x01\x04"),
        raw(b"\x35\x01\x02\x34\x01\x01\xff", file=b"\x06".rjust(128, b"\0")),
    ],
)
def test_no_message(payload: bytes) -> None:
    """Too short, no reply, no address that fits, no cookie, no kind, or a cut option."""
    with pytest.raises(Malformed):
        Message.decode(payload)


def test_parts_and_overloaded_fields_are_joined() -> None:
    """RFC 3396: in the order options, file, sname. What follows the end of a field is nothing."""
    message = Message.decode(
        raw(
            b"\x35\x01\x02\x0f\x02ab\0\0\x34\x01\x03\xff\x0f\x01!",
            b"\x0f\x01c\x06\x04\x0a\0\0\1",
            b"\0\x0f\x01d\xff\x0f\x01!",
        )
    )
    assert message.options == {15: b"abcd", 6: packed("10.0.0.1")}
    assert Message.decode(raw(b"\x35\x01\x02\x34\x01\x02", b"\x0f\x01c", b"\x0f\x01d")).options == {15: b"d"}
    assert Message.decode(raw(b"\x35\x01\x02\x0f\x01a")).options == {15: b"a"}, "without an end"
    assert Message.decode(raw(b"\x35\x01\x02\x34\x01\x01", b"\x34\x01\x02", b"\x0f\x01d")).options == {}, "only once"


def test_the_identifier_is_gos_unless_it_was_cut() -> None:
    """Then it differs in what Go would have cut."""
    assert options.identifier("c1/net/eth0") == b"\0c1/net/eth0"
    fits = "c" * 240 + "/networks/eth0"[:14]
    assert options.identifier(fits) == b"\0" + fits.encode()
    long = [options.identifier("c" * 250 + tail) for tail in ("/net/eth0", "/net/eth1", "/tens/eth0")]
    assert len(set(long)) == 3
    assert {len(value) for value in long} == {255}
    assert long[0].startswith(b"\0" + b"c" * 222)


@pytest.mark.parametrize(
    ("mask", "length"),
    [("255.255.255.0", 24), ("128.0.0.0", 1), ("255.255.255.255", 32), ("255.0.255.0", None), ("0.0.0.0", None),
     ("0.0.0.255", None)],
)  # fmt: skip
def test_masks(mask: str, length: int | None) -> None:
    assert options.mask_length(packed(mask)) == length
    assert options.mask_length(b"\xff" * 3) is None


def test_addresses_and_numbers() -> None:
    two = packed("10.0.0.1") + packed("10.0.0.2")
    assert options.addresses(two + bytes(4)) == ("10.0.0.1", "10.0.0.2")
    assert options.addresses(two[:7]) == options.addresses(None) == ()
    assert options.address(two[:4]) == "10.0.0.1"
    assert options.address(two) == options.address(bytes(4)) == options.address(None) == ""
    assert options.number(b"\0\0\1\0") == 256
    assert options.number(b"\5\xdc", 2) == 1500
    assert options.number(b"\1") is options.number(None) is None


def test_names_of_domains() -> None:
    """Nothing that resolv.conf would read as more than a name."""
    assert options.domain(b"example.org\0") == "example.org"
    assert options.domain(b"example.org.") == "example.org"
    assert options.domain(b"_x.a-1") == "_x.a-1"
    for wrong in (b"", b"a b", b"a\nnameserver 6.6.6.6", b"a..b", b"a" * 64, b"a." * 128, "ä.de".encode()):
        assert options.domain(wrong) == ""


def test_search_domains_are_decompressed() -> None:
    """RFC 3397's example: eng.apple.com., marketing.apple.com."""
    value = b"\3eng\5apple\3com\0\x09marketing\xc0\x04\1x\xc0\x0f"
    assert options.domains(value) == ("eng.apple.com", "marketing.apple.com", "x.marketing.apple.com")


@pytest.mark.parametrize(
    "value",
    [b"\3en", b"\1a", b"\xc0\x00", b"\1a\0\xc0\x03", b"\1a\0\xc0", b"\1a\0\x40\x00", b"\0", b"\1 \0",
     b"\1a\0" + b"".join(struct.pack(">H", 0xC000 | at) for at in (0, *range(3, 600, 2)))],
)  # fmt: skip
def test_search_domains_that_are_wrong_are_none(value: bytes) -> None:
    """Cut names, pointers forwards, at themselves or in chains, reserved lengths, the root, a blank."""
    assert options.domains(value) == ()


def test_a_search_domain_that_resolv_conf_cannot_have_is_left_out() -> None:
    assert options.domains(b"\1a\0\3b\n!\0\1c\0") == ("a", "c")


@given(st.binary(max_size=80))
def test_any_bytes_are_values(value: bytes) -> None:
    """No decoder raises, and routes are those that the kernel takes: no bits of the host."""
    options.domains(value)
    options.domain(value)
    options.mask_length(value)
    options.addresses(value)
    assert options.message(value).isprintable()
    for route in (*options.classless_routes(value), *options.static_routes(value)):
        address, length = route.destination.split("/")
        assert int.from_bytes(packed(address)) % (1 << 32 - int(length)) == 0


def test_routes_of_option_33() -> None:
    """A network of its class, a host if bits of it are set; no default; the rest of a cut pair is dropped."""
    pairs = ["10.0.0.0", "10.9.0.1", "172.16.0.0", "10.9.0.1", "192.168.1.0", "0.0.0.0", "10.1.2.3", "10.9.0.2",
             "0.0.0.0", "10.9.0.3"]  # fmt: skip
    value = b"".join(map(packed, pairs)) + b"\1\2"
    assert list(options.static_routes(value)) == [
        Route("10.0.0.0/8", "10.9.0.1"),
        Route("172.16.0.0/16", "10.9.0.1"),
        Route("192.168.1.0/24", ""),
        Route("10.1.2.3/32", "10.9.0.2"),
    ]


def test_routes_of_option_121() -> None:
    """RFC 3442; a router of 0.0.0.0 means that the destination is on the link; one wrong route makes all of them so."""
    value = bytes.fromhex("00 0a090001 18 c0a801 00000000 14 0a11ff 0a090002 20 0a010203 0a090003")
    assert options.classless_routes(value) == (
        Route("0.0.0.0/0", "10.9.0.1"),
        Route("192.168.1.0/24", ""),
        Route("10.17.240.0/20", "10.9.0.2"),
        Route("10.1.2.3/32", "10.9.0.3"),
    )
    assert options.classless_routes(value[:-1]) == options.classless_routes(b"\x21" + bytes(9)) == ()


def test_what_a_server_says_to_people() -> None:
    assert options.message(b"no lease\x1b[2J\n\0") == "no lease?[2J?"
    assert len(options.message(b"x" * 999)) == 200
    assert options.message(None) == ""
