"""A simulated link with routers and DHCPv6 servers, for the IPv6 client: days pass in milliseconds."""

import heapq
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

from cni_dhcp_daemon.client import ICMPV6, Bound, Datagram, Event, Failed, Lease, Lost, Probe
from cni_dhcp_daemon.v6.advertisement import Advertisement, Prefix
from cni_dhcp_daemon.v6.client import V6Client
from cni_dhcp_daemon.v6.message import Association, Kind, Leased, Message
from cni_dhcp_daemon.v6.wish import Mode, Wish

MAC = bytes.fromhex("020000000001")
ROUTER, SERVER = "fe80::1", "fe80::5"
PREFIX = "2001:db8:1::/64"
FORMED = "2001:db8:1::ff:fe00:1"
"""The address of MAC in PREFIX."""
GIVEN = "2001:db8:1::1000"
LATENCY = 0.01
PROBING = 1.0


def wish(mode: Mode = Mode.AUTO, **more: Any) -> Wish:
    return Wish(mode, MAC, "container/network/eth0", **more)


def advertisement(valid: float = 7200, preferred: float = 3600, **more: Any) -> Advertisement:
    """A usual one: a default router, and a prefix for addresses that is on the link."""
    prefix = Prefix(PREFIX, on_link=True, autonomous=True, valid=valid, preferred=preferred)
    return replace(Advertisement(lifetime=1800, prefixes=(prefix,)), **more)


class Server:
    """A server with one address to give, which answers everything; tests replace or wrap ``answer``."""

    def __init__(self, source: str = SERVER, duid: bytes = b"\0\1srv", address: str = GIVEN) -> None:
        self.source, self.duid, self.address = source, duid, address
        self.preferred, self.valid = 3600.0, 7200.0
        self.renew = self.rebind = 0.0
        self.preference = 0
        self.rapid = True
        self.heard: list[Message] = []

    def reply(self, message: Message, kind: Kind = Kind.REPLY, **more: Any) -> Message:
        """An answer with the server's address, if the message has to do with addresses."""
        leased = Leased(self.address, self.preferred, self.valid)
        associations = tuple(
            Association(each.iaid, self.renew, self.rebind, (leased,)) for each in message.associations
        )
        answer = Message(
            kind,
            message.transaction,
            client=message.client,
            server=self.duid,
            associations=associations,
            preference=self.preference if kind is Kind.ADVERTISE else 0,
            dns_servers=("2001:db8::53",),
            domains=("dhcp.example",),
        )
        return replace(answer, **more)

    def answer(self, message: Message) -> Message | None:
        """What to say, if anything."""
        if message.server not in (b"", self.duid):
            return None
        if message.kind == Kind.SOLICIT and not (self.rapid and message.rapid):
            return self.reply(message, Kind.ADVERTISE)
        return self.reply(message, rapid=message.kind == Kind.SOLICIT)

    def kinds(self) -> list[str]:
        """The kinds of messages that were heard."""
        return [Kind(message.kind).name for message in self.heard]


class Link:
    """One client, its clock, and who answers it."""

    def __init__(self, wished: Wish, lease: Lease | None = None, now: float = 1000.0, seed: int = 1) -> None:
        self.now = now
        self.client = V6Client(wished, lease, Random(seed))
        self.routers: dict[str, Advertisement] = {}
        self.servers: list[Server] = []
        self.taken: set[str] = set()
        """Addresses that another host has."""
        self.lease = lease
        self.events: list[tuple[float, Event]] = []
        self.sent: list[tuple[float, Datagram]] = []
        self._coming: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """Do something at a time to come."""
        heapq.heappush(self._coming, (self.now + delay, next(self._order), call))

    def start(self) -> "Link":
        self.client.start(self.now)
        self.collect()
        return self

    def run(self, seconds: float) -> "Link":
        """Let time pass."""
        end = self.now + seconds
        while True:
            deadline = self.client.deadline
            due = min(math.inf if deadline is None else deadline, self._coming[0][0] if self._coming else math.inf)
            if due > end:
                break
            self.now = max(due, self.now)
            if self._coming and self._coming[0][0] <= self.now:
                heapq.heappop(self._coming)[2]()
            else:
                self.client.advance(self.now)
            self.collect()
        self.now = end
        return self

    def collect(self) -> None:
        """What the daemon does after each call, and what must hold then (C1, C4)."""
        for datagram in self.client.take_datagrams():
            self.sent.append((self.now, datagram))
            self._hear(datagram)
        for event in self.client.take_events():
            self.events.append((self.now, event))
            if isinstance(event, Probe):
                self.later(PROBING, lambda at=event.address: self.client.probed(at, at in self.taken, self.now))  # type: ignore[misc]
            elif isinstance(event, Bound):
                self.lease = event.lease
            elif isinstance(event, Lost):
                self.lease = None
        deadline = self.client.deadline
        assert deadline is None or deadline > self.now
        if self.lease:
            assert all(each.expires > self.now for each in self.lease.addresses)

    def _hear(self, datagram: Datagram) -> None:
        if datagram.protocol == ICMPV6:
            for source in self.routers:
                self.later(LATENCY, lambda source=source: self.advertise(source))  # type: ignore[misc]
            return
        message = Message.decode(datagram.payload)
        for server in self.servers:
            server.heard.append(message)
            answer = server.answer(message)
            if answer:
                self.later(LATENCY, lambda answer=answer, server=server: self.deliver(answer, server.source))  # type: ignore[misc]

    def advertise(self, source: str) -> None:
        """What a router says arrives, if anybody listens."""
        if self.client.listening and source in self.routers:
            self.client.advertised(self.routers[source].encode(), source + "%eth0", self.now)
            self.collect()

    def deliver(self, message: Message, source: str = SERVER) -> None:
        """A packet of a server arrives, if anybody listens."""
        if self.client.listening:
            self.client.received(message.encode(), source, self.now)
            self.collect()

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of a kind."""
        return [event for _, event in self.events if isinstance(event, kind)]

    @property
    def reason(self) -> str:
        """What the last failed attempt says."""
        failed = self.of(Failed)
        return failed[-1].reason if failed else ""

    @property
    def addresses(self) -> list[str]:
        """Those of the lease, with their prefixes' lengths."""
        return [f"{each.text}/{each.length}" for each in self.lease.addresses] if self.lease else []
