"""The netlink socket: waits with a bound, errors with the kernel's own words, dumps that were disturbed."""

import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.errors import KernelError, TryAgainLater
from cni.kernel import netlink
from cni.kernel.kinds import Bridge
from cni.kernel.netlink import Answer, Netlink
from cni.kernel.rtnl import Rtnl
from node.topology import NamedNetns

HEADER = struct.Struct("=IHHII")
DONE, ERROR, NEW_LINK = 3, 2, 16
MULTI, INTERRUPTED, CAPPED, TLVS = 0x2, 0x10, 0x100, 0x200


def message(kind: int, sequence: int, body: bytes = b"", flags: int = 0) -> bytes:
    return HEADER.pack(16 + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def acknowledgement(sequence: int, number: int = 0, text: bytes = b"") -> bytes:
    """What the kernel says in the end: 0, or a negative number of an error, with its own words where it has some."""
    original = HEADER.pack(16, 0, 0, sequence, 0)
    extended = struct.pack("=HH", 4 + len(text), 1) + text if text else b""
    flags = CAPPED | (TLVS if text else 0)
    return message(ERROR, sequence, struct.pack("=i", number) + original + extended, flags)


class Kernel:
    """The other end of a socket: its answers are written down before; what is sent is read afterwards."""

    def __init__(self, *datagrams: bytes) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs.settimeout(0.01)
        for datagram in datagrams:
            self.ours.send(datagram or bytes(4))

    @property
    def sent(self) -> list[bytes]:
        self.ours.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.ours.recv(1 << 16))
        except BlockingIOError:
            return found


def connected(kernel: Kernel) -> Netlink:
    """A netlink socket that talks to this kernel."""
    found = Netlink(netlink.ROUTE)
    found._socket.close()
    found._socket = kernel.theirs
    return found


class Request(dict[str, Any]):
    """A message as pyroute2's classes have it."""

    def __init__(self) -> None:
        super().__init__(header={})
        self.data = bytearray()

    def reset(self) -> None:
        self.data = bytearray()

    def encode(self) -> None:
        header = self["header"]
        self.data = bytearray(HEADER.pack(16, header["type"], header["flags"], header["sequence_number"], 0))


def asked(*datagrams: bytes, flags: int = 0) -> tuple[list[Answer], Kernel]:
    """The answers to one request that the kernel answers so."""
    kernel = Kernel(*datagrams)
    return connected(kernel).request(Request(), NEW_LINK, flags), kernel


def test_a_request_ends_with_its_acknowledgement() -> None:
    answers, kernel = asked(message(NEW_LINK, 1, b"data") + acknowledgement(1))
    assert [answer.data[16:] for answer in answers] == [b"data"]
    assert HEADER.unpack(kernel.sent[0])[2] & netlink.F_ACK


def test_a_dump_ends_with_done_and_may_come_in_parts() -> None:
    parts = (message(NEW_LINK, 1, b"a", MULTI), message(NEW_LINK, 1, b"bb", MULTI), message(DONE, 1))
    answers, kernel = asked(*parts, flags=netlink.F_DUMP)
    assert [answer.data[16:] for answer in answers] == [b"a", b"bb"]
    assert not HEADER.unpack(kernel.sent[0])[2] & netlink.F_ACK


def test_the_rest_of_an_earlier_dump_is_passed_over() -> None:
    answers, _ = asked(message(NEW_LINK, 0, b"old") + message(DONE, 0), acknowledgement(7, -5), acknowledgement(1))
    assert answers == []


@pytest.mark.parametrize("flags", [(INTERRUPTED, 0), (0, INTERRUPTED)], ids=["in a part", "at the end"])
def test_a_dump_that_was_disturbed_is_asked_for_again(flags: tuple[int, int]) -> None:
    """Where nothing comes after a change only the end tells."""
    disturbed = message(NEW_LINK, 1, b"a", flags[0]) + message(DONE, 1, bytes(4), flags[1])
    whole = message(NEW_LINK, 2, b"b") + message(DONE, 2)
    answers, kernel = asked(disturbed, whole, flags=netlink.F_DUMP)
    assert [answer.data[16:] for answer in answers] == [b"b"]
    assert len(kernel.sent) == 2


def _disturbed(sequence: int, body: bytes) -> bytes:
    return message(NEW_LINK, sequence, body, INTERRUPTED) + message(DONE, sequence)


def test_a_dump_that_is_disturbed_again_and_again_is_code_11(monkeypatch: pytest.MonkeyPatch) -> None:
    """And another one each time; it is asked for as long as its patience lasts."""
    monkeypatch.setattr(netlink, "_PATIENCE", 0.05)
    with pytest.raises(TryAgainLater, match="disturbed"):
        asked(*(_disturbed(n, n.to_bytes(4, "big")) for n in range(1, 200)), flags=netlink.F_DUMP)


def test_a_disturbed_dump_is_asked_for_more_than_a_few_times() -> None:
    dumps = [_disturbed(n, n.to_bytes(4, "big")) for n in range(1, 30)]
    answers, kernel = asked(*dumps, message(NEW_LINK, 30, b"whole") + message(DONE, 30), flags=netlink.F_DUMP)
    assert [answer.data[16:21] for answer in answers] == [b"whole"]
    assert len(kernel.sent) == 30


def test_a_dump_that_comes_twice_the_same_was_not_concerned() -> None:
    """Disturbed each time, but by changes of something else."""
    answers, kernel = asked(_disturbed(1, b"a"), _disturbed(2, b"b"), _disturbed(3, b"b"), flags=netlink.F_DUMP)
    assert [answer.data[16:17] for answer in answers] == [b"b"]
    assert len(kernel.sent) == 3


def test_a_dump_that_failed_is_an_error() -> None:
    """Its end has a number of its own, and words."""
    body = struct.pack("=i", -errno.EINVAL) + struct.pack("=HH", 12, 1) + b"too bad\0"
    with pytest.raises(KernelError, match=r"^invalid argument \(too bad\)$"):
        asked(message(NEW_LINK, 1, b"a"), message(DONE, 1, body, TLVS), flags=netlink.F_DUMP)


@pytest.mark.parametrize(
    ("text", "told"),
    [(b"", "file exists"), (b"Too bad\0", "file exists (Too bad)"), (b"caf\xff", "file exists (caf\ufffd)")],
)
def test_an_error_has_the_kernels_own_words(text: bytes, told: str) -> None:
    with pytest.raises(KernelError) as caught:
        asked(acknowledgement(1, -errno.EEXIST, text))
    assert (caught.value.errno, str(caught.value)) == (errno.EEXIST, told)


def test_no_answer_in_time_is_code_11() -> None:
    with pytest.raises(TryAgainLater, match="does not answer"):
        asked()


def test_the_wait_of_a_real_socket_has_a_bound() -> None:
    kernel = Netlink(netlink.ROUTE, timeout=0.01)
    with pytest.raises(TryAgainLater):
        next(kernel.receive())
    kernel.close()
    assert 1 <= netlink.TIMEOUT <= 60


@given(st.binary(max_size=80))
def test_whatever_a_datagram_holds_it_comes_to_an_end(data: bytes) -> None:
    for answer in connected(Kernel(data)).receive():
        if answer.kind != ERROR or len(answer.data) >= 36:
            _ = answer.error


@given(st.binary(max_size=60))
def test_whatever_an_extended_acknowledgement_holds_it_comes_to_an_end(tail: bytes) -> None:
    body = struct.pack("=i", -22) + HEADER.pack(16, 0, 0, 1, 0) + tail
    assert Answer(ERROR, CAPPED | TLVS, 1, message(ERROR, 1, body, CAPPED | TLVS)).error is not None


# with the kernel itself


@pytest.fixture
def pod() -> Iterator[NamedNetns]:
    made = NamedNetns("netlink")
    yield made
    made.close()


@pytest.mark.root
def test_a_socket_belongs_to_the_namespace_in_which_it_was_opened(pod: NamedNetns) -> None:
    with pod.inside():
        inside = Rtnl()
    pod.ip("link add here type veth peer name there")
    assert {link.name for link in inside.links()} == set(pod.links())
    assert inside.link("here") is not None and inside.link("nowhere") is None
    assert Rtnl().link("here") is None
    inside.close()


@pytest.mark.root
def test_a_refused_request_is_an_error_and_the_next_one_works(pod: NamedNetns) -> None:
    with pod.inside():
        inside = Rtnl()
    inside.add("br0", Bridge())
    with pytest.raises(KernelError) as caught:
        inside.add("br0", Bridge())
    assert caught.value.errno == errno.EEXIST
    found = inside.link("br0")
    assert found is not None and found.kind == "bridge"
    inside.delete(found.index)
    assert set(pod.links()) == {"lo"}
    inside.close()
