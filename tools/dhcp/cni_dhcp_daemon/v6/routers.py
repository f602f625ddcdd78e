"""What the routers of a link say: solicited, remembered for as long as they say, and turned into addresses (RFC 4861, 4862).

Laws (the tests cite them by number):

R1. Only an answer counts: advertisements are heard from a solicitation until shortly after the first one that is
    enough, and then not until the next solicitation. So a container that is bound has no socket open. It costs one
    solicitation and its answer in half the shortest lifetime (10 seconds to half an hour; 15 minutes with radvd's
    defaults); and what a router takes back is noticed no earlier than that.
R2. After one solicitation, at most ``MOST`` advertisements count, and at most ``MOST`` things of each kind are remembered.
R3. Nothing is valid for longer than its lifetime, except an address by R4.
R4. The lifetime of an address that exists is not shortened below two hours (RFC 4862, 5.5.3 e); it can be deprecated.
R5. An address is formed once for each autonomous prefix of 64 bits. Is it in use, then other ones are tried, ``TRIES`` in all.
R6. Without an answer, solicitations become rarer, up to one an hour (RFC 7559).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network
from random import Random
from typing import Any

from cni_dhcp_daemon.client import Address, Names, Route
from cni_dhcp_daemon.v6.advertisement import Advertisement, Prefix, solicitation
from cni_dhcp_daemon.v6.retransmission import Limits, Retransmission, Step
from cni_dhcp_daemon.v6.wire import Malformed, nameservers, unicast
from cni_dhcp_daemon.v6.wish import Mode, Wish

SOLICITING = Limits(first=4, longest=3600)
WINDOW = 4.0
"""How long other routers may answer after the first."""
SOONEST, LATEST = 10.0, 1800.0
"""When routers are solicited again."""
MOST = 16
TRIES = 4
TWO_HOURS = 7200.0
SMALLEST_MTU = 1280

ROUTER, LINK, ROUTE, SERVER, DOMAIN = "router", "link", "route", "server", "domain"
Key = tuple[str, str, str]
"""The kind of a fact; what it is about; and the router, where that belongs to it."""


@dataclass(slots=True)
class Fact:
    """Something that a router has said."""

    expires: float
    preference: int = 0


@dataclass(slots=True)
class Formed:
    """The address in an autonomous prefix."""

    address: str
    """Empty: all tries were in use."""
    preferred: float
    expires: float
    tries: int = 0


_SILENT = {Mode.AUTO: "no router has answered (where none advertises, the mode dhcp asks for addresses without one)"}
_network = lru_cache(IPv6Network)
"""The same few prefixes are asked about again and again."""


class Routers:
    """The routers of one link."""

    def __init__(self, wish: Wish, random: Random) -> None:
        self.managed = self.other = False
        """Whether a router has ever set M or O."""
        self.answered = False
        """Whether what is known of the routers is enough for the wish."""
        self.renew = math.inf
        """When they are solicited again."""
        self.mtu = 0
        self.outbox: list[bytes] = []
        self.trouble = ""
        self.failed = False
        """Whether an attempt has failed since the client has looked."""
        self.wish = wish
        self._random = random
        self._facts: dict[Key, Fact] = {}
        self._formed: dict[str, Formed] = {}
        self._timer: Retransmission | None = None
        self._until: float | None = None
        self._heard = 0

    # When, and what is sent

    @property
    def listening(self) -> bool:
        """Whether an advertisement would count."""
        return self._timer is not None or self._until is not None

    @property
    def deadline(self) -> float:
        """When ``advance`` has something to do."""
        times = [each.expires for each in self._facts.values()] + [each.expires for each in self._formed.values()]
        times.append(self._timer.next if self._timer else self.renew)
        if self._until is not None:
            times.append(self._until)
        return min(times)

    def solicit(self, begin: float) -> None:
        """Ask the routers, from ``begin`` on until one answers."""
        self._timer = Retransmission(SOLICITING, self._random, begin)
        self._until = None
        self.renew = math.inf

    def advance(self, now: float) -> None:
        """Forget what has ended, and solicit when it is time."""
        self._facts = {key: fact for key, fact in self._facts.items() if fact.expires > now}
        self._formed = {prefix: formed for prefix, formed in self._formed.items() if formed.expires > now}
        if self._until is not None and now >= self._until:
            self._until = None
        if self._timer is None and now >= self.renew:
            self.solicit(now)
        if self._timer is not None and self._timer.step(now) is Step.SEND:
            if self._timer.sent > 1:
                self.failed = True
                self.trouble = self.trouble or _SILENT.get(self.wish.mode, "no router has answered")
            self._heard = 0
            self.outbox.append(solicitation(self.wish.mac))

    def received(self, packet: bytes, source: str, now: float) -> None:
        """An ICMPv6 packet arrived (R1, R2)."""
        if not self.listening or self._heard >= MOST:
            return
        try:
            if not IPv6Address(source).is_link_local:
                raise Malformed("its source is no link-local address")
            said = Advertisement.decode(packet)
        except ValueError as error:
            self.trouble = f"an advertisement of {source} was ignored: {error}"
            return
        self._heard += 1
        self._learn(said, source, now)
        if self._enough():
            self._settle(said, now)
        else:
            self.trouble = f"router {source} advertises no prefix of 64 bits for addresses"

    def _enough(self) -> bool:
        mode = self.wish.mode
        return bool(self._formed) or mode in (Mode.DHCP, Mode.STATELESS) or (mode is Mode.AUTO and self.managed)

    def _settle(self, said: Advertisement, now: float) -> None:
        """The solicitation was answered: when is the next one?"""
        if self._timer is not None:
            self._timer = None
            self._until = now + WINDOW
        self.answered = True
        self.trouble = ""
        lifetimes: list[float] = [said.lifetime]
        lifetimes += [route.lifetime for route in said.routes]
        lifetimes += [each.lifetime for each in said.dns] + [each.lifetime for each in said.domains]
        lifetimes += [life for each in said.prefixes for life in (each.preferred, each.valid)]
        shortest = min((life for life in lifetimes if life > 0), default=LATEST)
        wait = min(max(shortest / 2, SOONEST), LATEST) * self._random.uniform(0.9, 1)
        self.renew = min(self.renew, now + wait)

    # What is remembered

    def _learn(self, said: Advertisement, source: str, now: float) -> None:
        """Remember, or forget what has the lifetime 0."""
        self.managed |= said.managed
        self.other |= said.other
        if said.mtu >= SMALLEST_MTU:
            self.mtu = said.mtu
        self._fact((ROUTER, source, ""), now + said.lifetime, now, said.preference)
        for route in said.routes:
            # RFC 4191, 3.1: the default route in an option overrides the one in the header.
            key = (ROUTER, source, "") if route.prefix == "::/0" else (ROUTE, route.prefix, source)
            if key[0] == ROUTER or unicast(IPv6Network(route.prefix).network_address):
                self._fact(key, now + route.lifetime, now, route.preference)
        for dns in said.dns:
            for server in nameservers(dns.servers):
                self._fact((SERVER, server, ""), now + dns.lifetime, now)
        for each in said.domains:
            for domain in each.domains:
                self._fact((DOMAIN, domain, ""), now + each.lifetime, now)
        for prefix in said.prefixes:
            network = IPv6Network(prefix.prefix)
            if network.prefixlen and unicast(network.network_address):
                if prefix.on_link:
                    self._fact((LINK, prefix.prefix, ""), now + prefix.valid, now)
                if prefix.autonomous and network.prefixlen == 64 and self.wish.mode is not Mode.DHCP:
                    self._form(prefix, now)

    def _fact(self, key: Key, expires: float, now: float, preference: int = 0) -> None:
        if expires <= now:
            self._facts.pop(key, None)
        elif key in self._facts or sum(other[0] == key[0] for other in self._facts) < MOST:
            self._facts[key] = Fact(expires, preference)

    def _form(self, prefix: Prefix, now: float) -> None:
        """RFC 4862, 5.5.3."""
        if prefix.preferred > prefix.valid:
            return
        formed = self._formed.get(prefix.prefix)
        if formed is None:
            if prefix.valid and len(self._formed) < MOST:
                address = self.wish.address(prefix.prefix, 0)
                self._formed[prefix.prefix] = Formed(address, now + prefix.preferred, now + prefix.valid)
            return
        left = formed.expires - now
        if prefix.valid > TWO_HOURS or prefix.valid > left:
            formed.expires = now + prefix.valid
        elif left > TWO_HOURS:
            formed.expires = now + TWO_HOURS
        formed.preferred = min(now + prefix.preferred, formed.expires)

    def refused(self, address: str) -> None:
        """Another host has the address (R5)."""
        for prefix, formed in self._formed.items():
            if formed.address == address:
                formed.tries += 1
                self.failed = True
                self.trouble = f"another host has {address}"
                formed.address = self.wish.address(prefix, formed.tries) if formed.tries < TRIES else ""

    # What follows from it

    @property
    def addresses(self) -> list[Address]:
        """Those that were formed."""
        return [
            Address(each.address, self.length(each.address), each.preferred, each.expires)
            for each in self._formed.values()
            if each.address
        ]

    @property
    def gateway(self) -> str:
        """The router to use: of the highest preference, the one that was heard first; empty: none."""
        return self._best((value, fact) for (kind, value, _), fact in self._facts.items() if kind == ROUTER)

    @property
    def names(self) -> Names:
        """The DNS settings."""
        return Names(self._values(SERVER), "", self._values(DOMAIN))

    def length(self, address: str) -> int:
        """The length of the prefix on the link that the address belongs to; 128: of none."""
        at = IPv6Address(address)
        return max((link.prefixlen for link in self._links() if at in link), default=128)

    def routes(self, addresses: Iterable[Address]) -> tuple[Route, ...]:
        """The prefixes on the link, apart from those of the addresses, and the routes over routers."""
        own = {f"{IPv6Network((each.text, each.length), strict=False)}" for each in addresses}
        found = [Route(str(link), "") for link in self._links() if str(link) not in own]
        for destination in dict.fromkeys(self._values(ROUTE)):
            known = (
                (via, fact) for (kind, value, via), fact in self._facts.items() if (kind, value) == (ROUTE, destination)
            )
            if destination not in self._values(LINK):
                found.append(Route(destination, self._best(known)))
        return tuple(found)

    def _links(self) -> list[IPv6Network]:
        return [_network(prefix) for prefix in self._values(LINK)]

    def _values(self, wanted: str) -> tuple[str, ...]:
        return tuple(value for kind, value, _ in self._facts if kind == wanted)

    @staticmethod
    def _best(known: Iterable[tuple[str, Fact]]) -> str:
        return max(known, key=lambda pair: pair[1].preference, default=("", None))[0]

    # For the next daemon

    @property
    def private(self) -> dict[str, Any]:
        """Everything that was learnt, as JSON values."""
        return {
            "managed": self.managed,
            "other": self.other,
            "mtu": self.mtu,
            "facts": [[*key, each.expires, each.preference] for key, each in self._facts.items()],
            "formed": [
                [prefix, each.address, each.preferred, each.expires, each.tries]
                for prefix, each in self._formed.items()
            ],
        }

    def restore(self, private: dict[str, Any]) -> None:
        """Take over what a daemon before has learnt."""
        self.managed, self.other, self.mtu = private["managed"], private["other"], private["mtu"]
        for kind, value, via, expires, preference in private["facts"]:
            self._facts[kind, value, via] = Fact(expires, preference)
        for prefix, *formed in private["formed"]:
            self._formed[prefix] = Formed(*formed)
