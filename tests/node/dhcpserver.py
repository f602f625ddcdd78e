"""A DHCPv4 server that does what a test tells it, right or wrong, and remembers every packet that it saw.

It answers what arrives on its interface as a raw frame. Beside that it has an ordinary UDP socket on port 67, as dnsmasq
has: the kernel drops what a server must not hear, such as a packet to its address from 0.0.0.0.
"""

import heapq
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Interface

from .deadline import eventually
from .dhcpmessage import (
    CLIENT_ID,
    EVERYONE,
    KIND,
    KINDS,
    LEASE_TIME,
    NOWHERE,
    REQUESTED_ADDRESS,
    ROUTER,
    SERVER_ID,
    SUBNET_MASK,
    T1,
    T2,
    Message,
    Packet,
    addresses,
    frame,
    seconds,
)
from .namespace import Netns

ETH_P_IP = 0x0800
# What a test makes of an answer: another one, several, bytes that are no message, or None: silence.
Answer = Message | bytes | None
Edit = Callable[[Packet, Message], "Answer | Iterable[Answer]"]


def _as_it_is(request: Packet, answer: Message) -> Answer:
    return answer


class Server:
    """A server on an interface of a namespace, which has its address. What it says can be changed at any time."""

    def __init__(self, at: Netns, ifname: str = "eth0", *, first: int = 50, count: int = 200) -> None:
        (found,) = (each for each in at.addresses(ifname) if ":" not in each)
        interface = IPv4Interface(found)
        self.at, self.ifname, self.address = at, ifname, str(interface.ip)
        self.pool = [str(interface.network[first + number]) for number in range(count)]
        self.silent = False
        self.delay = 0.0
        # what each answer holds besides kind and server id; a value of None leaves an option out
        self.lease: int | None = 3600
        self.t1: int | None = None
        self.t2: int | None = None
        self.options: dict[int, bytes | None] = {
            SUBNET_MASK: interface.netmask.packed,
            ROUTER: addresses(self.address),
        }
        self.edit: Edit = _as_it_is
        self.refuse: Callable[[Packet], bool] = lambda request: False
        # addresses by client, and those that another host has
        self.leases: dict[bytes, str] = {}
        self.declined: set[str] = set()
        self.seen: list[Packet] = []
        self.heard: list[Packet] = []
        self._later: list[tuple[float, int, bytes]] = []
        self.mac = str(at.link(ifname)["address"])
        self._mac = bytes.fromhex(self.mac.replace(":", ""))
        self._raw = at.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._udp = at.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with at.inside():
            self._raw.bind((ifname, ETH_P_IP))
        self._raw.setsockopt(socket.SOL_SOCKET, 33, 1 << 22)  # SO_RCVBUFFORCE
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, ifname.encode())
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._udp.bind(("", 67))
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop: from now on nobody listens."""
        os.close(self._woken)
        self._thread.join()
        os.close(self._wake)
        self._raw.close()
        self._udp.close()

    @property
    def router(self) -> str:
        """What its answers have as the first router."""
        return str(IPv4Address((self.options[ROUTER] or b"")[:4]))

    # what tests ask

    def kinds(self, client: bytes | None = None) -> list[str]:
        """What was seen, in order, of all clients or of one by its hardware address."""
        return [packet.what for packet in list(self.seen) if client in (None, packet.message.chaddr)]

    def wait(self, what: str, count: int = 1, seconds: float = 30.0) -> Packet:
        """The packet number ``count`` of this kind, once it was seen on the wire."""
        return self._wait(self.seen, what, count, seconds)

    def wait_heard(self, what: str, count: int = 1, seconds: float = 30.0) -> Packet:
        """The same, once it came out of the ordinary socket; only the message and the source address are known."""
        return self._wait(self.heard, what, count, seconds)

    def _wait(self, where: list[Packet], what: str, count: int, seconds: float) -> Packet:
        def found() -> list[Packet]:
            return [packet for packet in list(where) if packet.what.startswith(what)]

        assert eventually(lambda: len(found()) >= count, seconds, 0.005), f"{len(found())} {what}: {where}"
        return found()[count - 1]

    def take_over(self, other: "Server") -> None:
        """Know the leases of another server."""
        self.leases.update(other.leases)

    # how it answers

    def answered(self, request: Packet, kind: str, address: str = NOWHERE) -> Message:
        """An answer as it should be."""
        asked = request.message
        answer = Message(xid=asked.xid, flags=asked.flags, giaddr=asked.giaddr, chaddr=asked.chaddr, yiaddr=address)
        answer.options = [(KIND, bytes([KINDS.index(kind)])), (SERVER_ID, addresses(self.address))]
        if kind == "NAK":
            return answer
        if kind == "ACK":
            answer.ciaddr = asked.ciaddr
        for code, value in ((LEASE_TIME, self.lease), (T1, self.t1), (T2, self.t2)):
            answer.set(code, None if value is None else seconds(value))
        for code, data in self.options.items():
            answer.set(code, data)
        return answer

    def _usual(self, request: Packet) -> Message | None:
        message = request.message
        client = message.get(CLIENT_ID) or message.chaddr
        kind = message.kind
        if kind == "DISCOVER":
            address = self._address(client)
            return self.answered(request, "OFFER", address) if address else None
        if kind == "REQUEST":
            return self._requested(request, client)
        if kind == "DECLINE":
            self.declined.add(message.address(REQUESTED_ADDRESS))
            self.leases.pop(client, None)
        return None

    def _requested(self, request: Packet, client: bytes) -> Message | None:
        message = request.message
        if message.get(SERVER_ID) and message.address(SERVER_ID) != self.address:
            return None
        address = message.address(REQUESTED_ADDRESS) or message.ciaddr
        if self.refuse(request) or self.leases.get(client) != address:
            return self.answered(request, "NAK")
        return self.answered(request, "ACK", address)

    def _address(self, client: bytes) -> str:
        if client not in self.leases:
            taken = self.declined | set(self.leases.values())
            free = [address for address in self.pool if address not in taken]
            if not free:
                return ""
            self.leases[client] = free[0]
        return self.leases[client]

    def frame(self, request: Packet, answer: Answer) -> bytes:
        """The answer's frame: to the client's address, as most servers do it; a NAK goes to everyone."""
        assert answer is not None
        mac = request.message.chaddr
        if isinstance(answer, bytes):
            return frame((self._mac, mac), (self.address, EVERYONE), (67, 68), answer)
        to = answer.ciaddr if answer.ciaddr != NOWHERE else answer.yiaddr
        if to == NOWHERE or answer.flags & 0x8000:
            to, mac = EVERYONE, b"\xff" * 6
        return frame((self._mac, mac), (self.address, to), (67, 68), answer.written())

    def send(self, data: bytes) -> None:
        """Put a frame on the wire."""
        self._raw.send(data)

    def _answer(self, request: Packet) -> None:
        answer = None if self.silent else self._usual(request)
        if answer is None:
            return
        edited = self.edit(request, answer)
        several = [edited] if edited is None or isinstance(edited, Message | bytes) else list(edited)
        for each in several:
            if each is not None:
                at = time.monotonic() + self.delay
                heapq.heappush(self._later, (at, len(self.seen), self.frame(request, each)))

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            for each in (self._raw, self._udp, self._wake):
                ready.register(each, selectors.EVENT_READ)
            while True:
                while self._later and self._later[0][0] <= time.monotonic():
                    self._raw.send(heapq.heappop(self._later)[2])
                wait = max(self._later[0][0] - time.monotonic(), 0) if self._later else None
                for key, _ in ready.select(wait):
                    if key.fileobj == self._wake:
                        return
                    self._received(key.fileobj == self._raw)

    def _received(self, raw: bool) -> None:
        try:
            if raw:
                data, (_, _, direction, *_) = self._raw.recvfrom(65536)
                if direction == socket.PACKET_OUTGOING:
                    return
                packet = Packet.read(data, time.monotonic())
                if packet.message.op == 1:
                    self.seen.append(packet)
                    self._answer(packet)
            else:
                data, (host, port) = self._udp.recvfrom(65536)
                packet = Packet(("", ""), (host, ""), (port, 67), Message.read(data), time.monotonic())
                self.heard.append(packet)
                if packet.what == "RELEASE":
                    self.leases.pop(packet.message.get(CLIENT_ID) or packet.message.chaddr, None)
        except (ValueError, IndexError, OSError):  # no DHCP message; or the link is down, and its server ends soon
            return
