"""Flows found and removed: what the kernel is asked for, and what comes of each kind of answer."""

import socket
import struct
from collections.abc import Iterator
from errno import ENOENT, EPERM

import pytest

from cni.address import Address
from cni.errors import KernelError
from cni.kernel.conntrack import Conntrack, Sought
from node.flows import Tracked, body, track, tracked
from node.topology import NamedNetns

NODE, OTHER = {4: "192.0.2.1", 6: "2001:db8:ff::1"}, {4: "203.0.113.9", 6: "2001:db8:9::9"}
POD, CLIENT = {4: "10.1.0.2", 6: "2001:db8:1::2"}, {4: "198.51.100.7", 6: "2001:db8:7::7"}
FAMILIES = pytest.mark.parametrize("version", [4, 6])
HEADER = struct.Struct("=IHHII")
ERROR, DONE, NEW, GET, DELETE = 2, 3, 0x100, 0x101, 0x102
Ends = tuple[bytes, bytes, bytes, bytes]


def ends(to: str, port: int, answerer: str, answering_port: int) -> Ends:
    ports = [number.to_bytes(2, "big") for number in (port, answering_port)]
    return Address.parse(to).packed, ports[0], Address.parse(answerer).packed, ports[1]


def many(count: int, to: str, port: int, **more: object) -> Iterator[Tracked]:
    version = 6 if ":" in to else 4
    for number in range(count):
        yield Tracked((CLIENT[version], 2000 + number), (to, port), **more)  # type: ignore[arg-type]


class Counting(Conntrack):
    """Counts what it is sent, and how often it asks."""

    messages = requests = 0

    def datagram(self) -> bytes:
        data, offset = super().datagram(), 0
        while offset < len(data):
            self.messages += 1
            offset += HEADER.unpack_from(data, offset)[0] + 3 & ~3
        return data

    def send(self, data: bytes | bytearray) -> int:
        self.requests += 1
        return super().send(data)


@pytest.fixture
def netns() -> Iterator[NamedNetns]:
    made = NamedNetns("flows")
    yield made
    made.close()


@pytest.fixture
def conntrack(netns: NamedNetns) -> Counting:
    with netns.inside():
        return Counting()


def forget(conntrack: Conntrack, version: int, *sought: Sought, stale: bool = True) -> tuple[int, list[Ends]]:
    """How many were removed, and the ends of all that were looked at."""
    seen: list[Ends] = []

    def judge(found: Ends) -> bool:
        seen.append(found)
        return stale

    return conntrack.forget(version, sought, judge), seen


@pytest.mark.root
@FAMILIES
def test_the_kernel_sends_what_is_sought_alone(netns: NamedNetns, conntrack: Counting, version: int) -> None:
    """By both ports, and in IPv4 both addresses: of 300 flows and as many TCP connections one comes."""
    pod, node, other = POD[version], NODE[version], OTHER[version]
    track(netns, many(100, node, 53))
    track(netns, many(100, other, 5353, answerer=(other, 53 if version == 4 else 5353)))
    track(netns, many(99, node, 5353, answerer=(node, 5354)))
    track(netns, many(300, node, 5353, protocol=socket.IPPROTO_TCP))
    track(netns, [Tracked((CLIENT[version], 1), (node, 5353), (pod, 53))])
    asked = Sought(5353, Address.parse(node), Address.parse(pod), 53)
    count, seen = forget(conntrack, version, asked)
    assert (count, seen) == (1, [ends(node, 5353, pod, 53)])
    assert conntrack.messages <= 4  # the flow, the end of the dump, the acknowledgement of the removal
    assert tracked(netns) == 599


@pytest.mark.root
@FAMILIES
def test_each_end_narrows_it_by_itself(netns: NamedNetns, conntrack: Conntrack, version: int) -> None:
    """Not IPv6 addresses: Linux 5.8 to 6.18 at least would send the other flows instead."""
    pod, node, other = POD[version], NODE[version], OTHER[version]
    track(netns, [Tracked((CLIENT[version], 1), (node, 53), (pod, 5300)), Tracked((CLIENT[version], 2), (other, 54))])
    one, both = {ends(node, 53, pod, 5300)}, {ends(node, 53, pod, 5300), ends(other, 54, other, 54)}
    for asked in (Sought(53), Sought(answering_port=5300)):
        assert set(forget(conntrack, version, asked, stale=False)[1]) == one
    for asked in (Sought(to=Address.parse(node)), Sought(answerer=Address.parse(pod))):
        assert set(forget(conntrack, version, asked, stale=False)[1]) == (one if version == 4 else both)
    assert set(forget(conntrack, version, Sought(), stale=False)[1]) == both
    assert forget(conntrack, 10 - version, Sought(), stale=False)[1] == []


@pytest.mark.root
def test_flows_are_removed_together(netns: NamedNetns, conntrack: Counting) -> None:
    """500 of them in a few messages; what is not stale stays."""
    track(netns, many(500, NODE[4], 5353))
    track(netns, many(10, OTHER[4], 5353))
    node = Address.parse(NODE[4]).packed
    assert conntrack.forget(4, [Sought(5353)], lambda found: found[0] == node) == 500
    assert tracked(netns) == 10
    assert conntrack.requests <= 10


@pytest.mark.root
@FAMILIES
@pytest.mark.parametrize("one_way", [False, True])
def test_a_flow_in_a_zone_is_removed_too(netns: NamedNetns, conntrack: Conntrack, version: int, one_way: bool) -> None:
    """And the one with the same addresses in another zone stays."""
    track(netns, many(1, NODE[version], 5353, answerer=(POD[version], 53), zone=7, one_way=one_way))
    asked = Sought(5353, None, Address.parse(POD[version]), 53)
    assert forget(conntrack, version, asked) == (1, [ends(NODE[version], 5353, POD[version], 53)])
    assert tracked(netns) == 0


@pytest.mark.root
def test_more_ports_than_a_few_are_one_walk(netns: NamedNetns, conntrack: Counting) -> None:
    """What they have in common is still the kernel's to compare: here, who answers."""
    track(netns, many(50, OTHER[4], 9000))
    track(netns, [Tracked((CLIENT[4], 1), (NODE[4], 9000), (POD[4], 53))])
    pod = Address.parse(POD[4])
    forget(conntrack, 4, *(Sought(9000 + number, None, pod, 53 + number) for number in range(20)), stale=False)
    assert (conntrack.requests, conntrack.messages) == (1, 2)
    forget(conntrack, 4, *(Sought(9000 + number) for number in range(3)), stale=False)
    assert conntrack.requests == 4


# what no kernel at hand does


def message(kind: int, sequence: int, content: bytes = b"") -> bytes:
    return HEADER.pack(16 + len(content), kind, 0, sequence, 0) + content


def acknowledgement(sequence: int, number: int = 0) -> bytes:
    return message(ERROR, sequence, struct.pack("=i", number) + bytes(16))


def answering(*datagrams: bytes) -> tuple[Conntrack, socket.socket]:
    """A socket to a kernel that answers so, and the kernel's end."""
    found = Conntrack()
    found._socket.close()
    kernel, found._socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # type: ignore[assignment]
    found._socket.settimeout(0.01)
    kernel.settimeout(0)
    for datagram in datagrams:
        kernel.send(datagram)
    return found, kernel


def told(sequence: int, *flows: Tracked) -> bytes:
    return b"".join(message(NEW, sequence, body(flow)) for flow in flows)


def test_a_kernel_that_does_not_filter_is_asked_once() -> None:
    """Before Linux 5.8: all flows of the family come, TCP and ICMP among them, and only the right ones are judged."""
    right = Tracked((CLIENT[4], 1), (NODE[4], 5353))
    wrong = [
        Tracked((CLIENT[4], 1), (NODE[4], 80), protocol=socket.IPPROTO_TCP),
        Tracked((CLIENT[4], 2), (NODE[4], 5353), protocol=socket.IPPROTO_TCP),
        Tracked((CLIENT[4], 3), (NODE[4], 5353), protocol=socket.IPPROTO_TCP, zone=5, one_way=True),
    ]
    conntrack, kernel = answering(told(1, *wrong, right) + message(DONE, 1), acknowledgement(2))
    count, seen = forget(conntrack, 4, Sought(5353), Sought(5354), Sought(5355))
    assert (count, seen) == (1, [ends(NODE[4], 5353, NODE[4], 5353)])
    assert [HEADER.unpack_from(kernel.recv(1 << 16))[1] for _ in range(2)] == [GET, DELETE]
    with pytest.raises(BlockingIOError):
        kernel.recv(1)


def test_a_flow_that_went_by_itself_is_no_error_and_another_fault_is_one_after_the_rest() -> None:
    flows = list(many(3, NODE[4], 5353))
    dump = told(1, *flows) + message(DONE, 1)
    conntrack, _ = answering(dump, acknowledgement(2, -ENOENT), acknowledgement(4))
    assert forget(conntrack, 4, Sought(5353))[0] == 3
    conntrack, _ = answering(dump, acknowledgement(3, -EPERM), acknowledgement(4))
    with pytest.raises(KernelError, match="not permitted"):
        forget(conntrack, 4, Sought(5353))


def test_a_dump_that_is_refused_is_an_error() -> None:
    conntrack, _ = answering(message(DONE, 1, struct.pack("=i", -EPERM)))
    with pytest.raises(KernelError, match="not permitted"):
        forget(conntrack, 4, Sought(5353))


def test_what_another_request_is_answered_is_passed_over() -> None:
    conntrack, _ = answering(told(9, *many(1, NODE[4], 5353)) + message(DONE, 9), message(DONE, 1))
    assert forget(conntrack, 4, Sought(5353)) == (0, [])
