"""Packets between namespaces that the tests made, seen at the far end."""

import errno
import itertools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .namespace import Netns

# An EtherType for local experiments (IEEE 802), so that a frame of ours is nobody else's.
ETHERTYPE = 0x88B5
_ports = itertools.count(20000)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _sockets(server: Netns, client: Netns, address: str, kind: int) -> tuple[socket.socket, socket.socket, int]:
    family, port = _family(address), next(_ports)
    listening, sending = server.socket(family, kind), client.socket(family, kind)
    listening.bind(("::" if family == socket.AF_INET6 else "", port))
    return listening, sending, port


def tcp_source(server: Netns, client: Netns, address: str, seconds: float = 3.0) -> str:
    """The client's address as the server sees it, after a TCP connection; the server's word comes back."""
    listening, sending, port = _sockets(server, client, address, socket.SOCK_STREAM)
    with listening, sending:
        listening.listen()
        for each in (listening, sending):
            each.settimeout(seconds)
        sending.connect((address, port))
        connection, peer = listening.accept()
        with connection:
            connection.settimeout(seconds)
            connection.sendall(peer[0].encode())
            assert sending.recv(100).decode() == peer[0]
        return str(peer[0])


def udp_source(server: Netns, client: Netns, address: str, seconds: float = 3.0) -> str:
    """The client's address as the server sees it in a UDP packet; nothing has to come back."""
    listening, sending, port = _sockets(server, client, address, socket.SOCK_DGRAM)
    with listening, sending:
        listening.settimeout(seconds)
        sending.sendto(b"hello", (address, port))
        return str(listening.recvfrom(100)[1][0])


def multicast_source(receiver: Netns, sender: Netns, group: str, ifname: str, seconds: float = 3.0) -> str:
    """The sender's address as a member of a multicast group sees it on its link ``ifname``."""
    port = next(_ports)
    with receiver.inside():
        index = socket.if_nametoindex(ifname)
    with sender.inside():
        out = socket.if_nametoindex(ifname)
    family = _family(group)
    with receiver.socket(family, socket.SOCK_DGRAM) as listening, sender.socket(family, socket.SOCK_DGRAM) as sending:
        listening.bind(("::" if family == socket.AF_INET6 else "", port))
        listening.settimeout(seconds)
        if family == socket.AF_INET6:
            member = socket.inet_pton(family, group) + index.to_bytes(4, "little")
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
            sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, out)
        else:
            member = socket.inet_aton(group) + bytes(4) + index.to_bytes(4, "little")
            listening.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            sending.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + out.to_bytes(4, "little"))
        sending.sendto(b"hello", (group, port))
        return str(listening.recvfrom(100)[1][0])


def reaches(client: Netns, server: Netns, address: str, seconds: float = 3.0) -> bool:
    """Whether a TCP connection comes about before the time is over."""
    try:
        tcp_source(server, client, address, seconds)
    except TimeoutError:
        return False
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED):
            return False
        raise
    return True


@contextmanager
def in_order() -> Iterator[None]:
    """Packets that the calling thread sends in here are received in that order: each processor has a queue of its own."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def frame(destination: str, source: str, payload: bytes) -> bytes:
    """An Ethernet frame of our own type."""
    header = bytes.fromhex((destination + source).replace(":", "")) + ETHERTYPE.to_bytes(2, "big")
    return (header + payload).ljust(60, b"\0")


class Wire:
    """A packet socket on one link: sends frames as they are, receives those of our own EtherType that arrive there."""

    def __init__(self, at: Netns, ifname: str) -> None:
        self._socket = at.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        with at.inside():
            self._socket.bind((ifname, ETHERTYPE))

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Put a frame on the link, behind those that were sent before, by whatever wire."""
        with in_order():
            self._socket.send(data)

    def received_until(self, last: bytes, seconds: float = 3.0) -> list[bytes]:
        """The payloads that arrived up to and with ``last``, or all that came when the time is over."""
        payloads: list[bytes] = []
        end = time.monotonic() + seconds
        while last not in payloads and (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data, (_, _, kind, *_) = self._socket.recvfrom(2000)
            except TimeoutError:
                break
            if kind != socket.PACKET_OUTGOING:
                payloads.append(data[14:].rstrip(b"\0"))
        return payloads
