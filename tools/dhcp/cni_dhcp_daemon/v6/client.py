"""The IPv6 client of one interface: what its routers and its DHCPv6 servers give, put together.

Laws (the tests cite them by number):

C1. An address is in a lease only after nobody else was found to have it, and only until its valid lifetime ends.
C2. The first lease waits for what is wanted (the router, DHCPv6, the probes), but not longer than the wish says if there
    is something to begin with. What comes later makes a new ``Bound``.
C3. ``Bound`` is reported when the lease differs from the one before, or was confirmed; ``Lost`` when no address is left.
C4. After each call, the deadline is in the future, or None.
C5. After ``release``, nothing is sent, heard or reported.
C6. In the mode auto, DHCPv6 begins when a router has set M (addresses) or O (settings), and does not end when it clears them.
"""

import math
from dataclasses import replace
from random import Random, SystemRandom
from typing import Any

from cni_dhcp_daemon.client import ICMPV6, UDP, Address, Bound, Datagram, Event, Failed, Lease, Lost, Names, Probe
from cni_dhcp_daemon.v6.advertisement import ROUTERS
from cni_dhcp_daemon.v6.message import SERVERS
from cni_dhcp_daemon.v6.routers import Routers
from cni_dhcp_daemon.v6.servers import Servers
from cni_dhcp_daemon.v6.wish import Mode, Wish

SPREAD = 1.0
"""A daemon that starts again has many leases to confirm: each begins within this time. A new container begins at once,
because containers do not begin all together (RFC 8415 and 4861 would have every client wait)."""


class V6Client:
    """A client that fits ``cni_dhcp_daemon.client.Client6``."""

    def __init__(self, wish: Wish, lease: Lease | None = None, random: Random | None = None) -> None:
        """``lease``: the last one of a daemon before."""
        self._random = random or SystemRandom()
        self._routers = Routers(wish, self._random)
        self._servers = Servers(wish, self._random)
        self._lease = lease
        """As it was reported last."""
        self._good = {each.text for each in lease.addresses} if lease else set()
        """Addresses that nobody else has."""
        self._asked: set[str] = set()
        self._patience: float | None = None
        """When the first lease waits no longer; None: now."""
        self._begin = -math.inf
        """When the first packets leave."""
        self._running = False
        self._events: list[Event] = []
        self._datagrams: list[Datagram] = []

    # The daemon's side

    @property
    def wish(self) -> Wish:
        """The daemon may change it, when the interface has got another MAC; addresses that exist stay."""
        return self._routers.wish

    @wish.setter
    def wish(self, wish: Wish) -> None:
        self._routers.wish = self._servers.wish = wish

    @property
    def deadline(self) -> float | None:
        """When ``advance`` wants to be called (C4)."""
        if not self._running:
            return None
        times = [self._routers.deadline, self._servers.deadline]
        if self._lease is None and self._patience is not None:
            times.append(self._patience)
        soonest = min(times)
        return None if soonest == math.inf else soonest

    @property
    def listening(self) -> bool:
        """Whether an answer of a router or a server is expected."""
        return self._running and (self._routers.listening or self._servers.listening)

    def start(self, now: float) -> None:
        """Begin; with a lease that is still valid, ask whether it still fits the link."""
        self._running = True
        self._patience = now + self.wish.patience
        if self._lease:
            self._restore(self._lease.private)
        self._begin = now + self._random.uniform(0, SPREAD) if self._lease else now
        self._routers.solicit(self._begin)
        if self.wish.mode is Mode.DHCP or self._servers.binding:
            self._servers.start(self._begin, stateful=True)
        elif self.wish.mode is Mode.STATELESS:
            self._servers.start(self._begin, stateful=False)
        self.advance(now)

    def received(self, payload: bytes, source: str, now: float) -> None:
        """A packet arrived at UDP port 546."""
        if self._running:
            self.advance(now)
            self._servers.received(payload, _bare(source), now)
            self.advance(now)

    def advertised(self, payload: bytes, source: str, now: float) -> None:
        """A router advertisement arrived with hop limit 255."""
        if self._running:
            self.advance(now)
            self._routers.received(payload, _bare(source), now)
            self.advance(now)

    def advance(self, now: float) -> None:
        """The deadline has come (or the node has slept past it)."""
        if self._running:
            self._routers.advance(now)
            self._servers.advance(now)
            self._follow(now)

    def probed(self, address: str, in_use: bool, now: float) -> None:
        """The answer to ``Probe``: a late one, for an address that is no longer wanted, changes nothing."""
        if not self._running or address not in self._asked:
            return
        self._asked.discard(address)
        if in_use:
            self._routers.refused(address)
            self._servers.declined(address, now)
        else:
            self._good.add(address)
        self.advance(now)

    def release(self, now: float) -> None:  # noqa: ARG002  # the server needs no time
        """Give the lease back (C5)."""
        if self._running:
            self._datagrams.clear()
            self._servers.release()
            self._send()
        self._running = False
        self._events.clear()

    def take_datagrams(self) -> list[Datagram]:
        """The packets to send now."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def take_events(self) -> list[Event]:
        """What has happened."""
        taken, self._events = self._events, []
        return taken

    # What follows

    def _restore(self, private: dict[str, Any]) -> None:
        """Take over what a daemon before has learnt; from what cannot be read, nothing."""
        try:
            self._routers.restore(private["routers"])
            self._servers.restore(private["servers"])
        except (AttributeError, KeyError, TypeError, ValueError):
            wish = self.wish
            self._routers, self._servers = Routers(wish, self._random), Servers(wish, self._random)

    def _follow(self, now: float) -> None:
        """Whatever has changed, has these consequences."""
        self._obey_router(now)
        self._send()
        self._report_failure()
        self._probe()
        self._conclude(now)

    def _obey_router(self, now: float) -> None:
        """C6."""
        managed, other = self._routers.managed, self._routers.other
        wanted = self.wish.mode is Mode.AUTO and (managed or other)
        if wanted and (not self._servers.started or (managed and not self._servers.stateful)):
            self._servers.start(max(now, self._begin), stateful=managed)
            self._servers.advance(now)
            self._patience = now + self.wish.patience

    def _send(self) -> None:
        pairs = ((self._routers.outbox, ROUTERS, ICMPV6), (self._servers.outbox, SERVERS, UDP))
        for outbox, destination, protocol in pairs:
            self._datagrams += [Datagram(payload, "", destination, protocol) for payload in outbox]
            outbox.clear()

    def _report_failure(self) -> None:
        """The reasons of both, because the last one reported is the one that a person reads."""
        if self._routers.failed or self._servers.failed:
            self._events.append(Failed(self._troubles()))
        self._routers.failed = self._servers.failed = False

    def _troubles(self) -> str:
        named = (("DHCPv6", self._servers.trouble), ("router", self._routers.trouble))
        return "; ".join(f"{name}: {trouble}" for name, trouble in named if trouble)

    def _addresses(self) -> list[Address]:
        """Those that are given, whether they are free or not."""
        held = self._servers.binding.addresses if self._servers.binding else {}
        given = [Address(text, self._routers.length(text), *times) for text, times in held.items()]
        return given + [each for each in self._routers.addresses if each.text not in held]

    def _probe(self) -> None:
        """Ask who has each new address (C1)."""
        given = {each.text for each in self._addresses()}
        self._good &= given
        self._asked &= given
        for text in sorted(given - self._good - self._asked):
            self._asked.add(text)
            self._events.append(Probe(text))

    def _conclude(self, now: float) -> None:
        """Report the lease, if there is something to report (C2, C3)."""
        if self._patience is not None and now >= self._patience:
            self._patience = None
        lease = self._compose()
        there = bool(lease.addresses) or (self.wish.mode is Mode.STATELESS and self._servers.informed)
        confirmed, self._servers.confirmed = self._servers.confirmed, False
        if self._lease is None:
            if there and (self._patience is None or self._complete()):
                self._bound(lease)
        elif not there:
            gone = ", ".join(each.text for each in self._lease.addresses) or "the settings"
            self._lease = self._patience = None
            self._events.append(Lost(f"{gone} ended: {self._troubles() or 'nothing has extended it'}"))
        elif confirmed or replace(lease, renew=0, rebind=0) != replace(self._lease, renew=0, rebind=0):
            self._bound(lease)

    def _bound(self, lease: Lease) -> None:
        self._lease = lease
        self._events.append(Bound(lease))

    def _complete(self) -> bool:
        """Whether everything that is wanted has come."""
        return not self._asked and self._routers.answered and (not self._servers.started or self._servers.settled)

    def _compose(self) -> Lease:
        addresses = tuple(each for each in self._addresses() if each.text in self._good)
        binding = self._servers.binding
        expires = max((each.expires for each in addresses), default=math.inf)
        return Lease(
            addresses,
            gateway=self._routers.gateway,
            routes=self._routers.routes(addresses),
            names=_joined(self._servers.names, self._routers.names),
            renew=min(self._servers.renew, self._routers.renew, expires),
            rebind=min(binding.rebind if binding else expires, expires),
            expires=expires,
            mtu=self._routers.mtu,
            server=binding.source if binding else self._routers.gateway,
            private={"routers": self._routers.private, "servers": self._servers.private},
        )


def _bare(source: str) -> str:
    """An address without its interface."""
    return source.partition("%")[0]


def _joined(first: Names, second: Names) -> Names:
    """DHCPv6's settings come before the router's (RFC 8106, 5.3.1)."""
    servers, search = dict.fromkeys(first.servers + second.servers), dict.fromkeys(first.search + second.search)
    return Names(tuple(servers), "", tuple(search))
