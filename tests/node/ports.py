"""Connections to published ports, both ways: what the server sees of the client, and that its answer finds back.

TCP and UDP are the kernel's. SCTP is the kernel's where it has it (``IPPROTO_SCTP`` sockets); elsewhere the opening of
an association is written by hand on raw sockets, which the kernel's connection tracking and NAT treat as any other.
"""

import errno
import itertools
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from .namespace import Netns

SCTP, DCCP, SOCK_DCCP = 132, 33, 6
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED, errno.ENETDOWN)
_client_ports = itertools.count(40000)


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _any(family: int) -> str:
    return "::" if family == socket.AF_INET6 else ""


def kernel_has(protocol: str) -> bool:
    """Whether the kernel has sockets of a protocol."""
    kinds = {"sctp": (socket.SOCK_STREAM, SCTP), "dccp": (SOCK_DCCP, DCCP)}
    try:
        socket.socket(socket.AF_INET, *kinds.get(protocol, (socket.SOCK_STREAM, 0))).close()
    except OSError:
        return False
    return True


def source(
    protocol: str,
    server: Netns,
    port: int,
    client: Netns,
    target: str,
    published: int,
    *,
    bind: str = "",
    seconds: float = 3.0,
) -> str:
    """Connect to ``target`` at the port ``published``; the client's address as the server at ``port`` sees it.

    ``bind`` is the address that the client takes. Raises ``TimeoutError`` where nothing arrives or no answer comes
    back in time, another ``OSError`` where the connection is refused.
    """
    if protocol == "sctp" and not kernel_has("sctp"):
        return _association(server, port, client, target, published, bind, seconds)
    if protocol == "udp":
        with listening(server, port, _family(target), socket.SOCK_DGRAM) as waiting:
            return _datagram(waiting, client, target, published, bind, seconds)
    kind, number = (SOCK_DCCP, DCCP) if protocol == "dccp" else (socket.SOCK_STREAM, SCTP if protocol == "sctp" else 0)
    with listening(server, port, _family(target), kind, number) as waiting:
        return _connection(waiting, client, target, published, bind, seconds)


def answers(
    protocol: str,
    server: Netns,
    port: int,
    client: Netns,
    target: str,
    published: int,
    *,
    bind: str = "",
    seconds: float = 3.0,
) -> bool:
    """Whether ``source`` would find the server."""
    try:
        source(protocol, server, port, client, target, published, bind=bind, seconds=seconds)
    except TimeoutError:
        return False
    except OSError as error:
        if error.errno not in _UNREACHABLE:
            raise
        return False
    return True


@contextmanager
def listening(
    server: Netns, port: int, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, number: int = 0
) -> Iterator[socket.socket]:
    """A server's socket at all addresses of the family."""
    with server.socket(family, kind, number) as waiting:
        if kind != SOCK_DCCP:
            waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            waiting.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        waiting.bind((_any(family), port))
        if kind != socket.SOCK_DGRAM:
            waiting.listen(64)
        yield waiting


@contextmanager
def asking(
    servers: Mapping[str, Netns], port: int, client: Netns, target: str, published: int
) -> Iterator[Callable[[], str]]:
    """All servers give their names at ``port`` all the time. The function connects once: the name, or the fault."""

    def serve(waiting: socket.socket, name: str) -> None:
        while True:
            try:
                accepted, _ = waiting.accept()
            except OSError:  # it is over
                return
            with accepted:
                accepted.sendall(name.encode())

    def ask() -> str:
        with client.socket(_family(target), socket.SOCK_STREAM) as sending:
            sending.settimeout(5)
            try:
                sending.connect((target, published))
                return sending.recv(100).decode()
            except OSError as error:
                return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(len(servers)) as pool, ExitStack() as opened:
        for name, server in servers.items():
            waiting = opened.enter_context(listening(server, port, _family(target)))
            opened.callback(waiting.shutdown, socket.SHUT_RDWR)
            pool.submit(serve, waiting, name)
        yield ask


def _connection(waiting: socket.socket, client: Netns, target: str, published: int, bind: str, seconds: float) -> str:
    waiting.settimeout(seconds)
    with client.socket(waiting.family, waiting.type, waiting.proto) as sending:
        sending.settimeout(seconds)
        if bind:
            sending.bind((bind, 0))
        sending.connect((target, published))
        accepted, peer = waiting.accept()
        with accepted:
            accepted.settimeout(seconds)
            accepted.sendall(peer[0].encode())
            assert sending.recv(100).decode() == peer[0]
        return str(peer[0])


def _datagram(waiting: socket.socket, client: Netns, target: str, published: int, bind: str, seconds: float) -> str:
    waiting.settimeout(seconds)
    with client.socket(waiting.family, socket.SOCK_DGRAM) as sending:
        sending.settimeout(seconds)
        if bind:
            sending.bind((bind, 0))
        sending.connect((target, published))  # so that an answer from elsewhere is not taken for one
        sending.send(b"hello")
        peer = waiting.recvfrom(100)[1]
        waiting.sendto(peer[0].encode(), peer)
        assert sending.recv(100).decode() == peer[0]
        return str(peer[0])


def _crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def _sctp_packet(source: int, destination: int, verification: int, kind: int) -> bytes:
    """A packet with one chunk: INIT (1) or INIT ACK (2), of 20 bytes, with the initiate tag 7."""
    chunk = bytes([kind, 0]) + (20).to_bytes(2, "big") + (7).to_bytes(4, "big") + (65535).to_bytes(4, "big")
    chunk += (1).to_bytes(2, "big") * 2 + (1).to_bytes(4, "big")
    header = source.to_bytes(2, "big") + destination.to_bytes(2, "big") + verification.to_bytes(4, "big")
    return header + _crc32c(header + bytes(4) + chunk).to_bytes(4, "little") + chunk


def _sctp_received(at: socket.socket, destination: int, kind: int, seconds: float) -> tuple[int, str]:
    """The next such chunk for a port: the port and the address it comes from."""
    at.settimeout(seconds)
    while True:
        data, peer = at.recvfrom(2000)
        packet = data[(data[0] & 15) * 4 :] if at.family == socket.AF_INET else data
        if int.from_bytes(packet[2:4], "big") == destination and packet[12] == kind:
            return int.from_bytes(packet[:2], "big"), str(peer[0])


def _association(
    server: Netns, port: int, client: Netns, target: str, published: int, bind: str, seconds: float
) -> str:
    family, mine = _family(target), next(_client_ports)
    with (
        server.socket(family, socket.SOCK_RAW, SCTP) as waiting,
        client.socket(family, socket.SOCK_RAW, SCTP) as sending,
    ):
        if bind:
            sending.bind((bind, 0))
        sending.connect((target, 0))
        sending.send(_sctp_packet(mine, published, 0, 1))
        from_port, peer = _sctp_received(waiting, port, 1, seconds)
        waiting.sendto(_sctp_packet(port, from_port, 7, 2), (peer, 0))
        assert _sctp_received(sending, mine, 2, seconds) == (published, target)
        return peer
