"""A client of DHCPv6 (RFC 8415): addresses (stateful), or settings alone (stateless).

Laws (the tests cite them by number):

S1. Only a packet that answers the exchange in progress counts: of a kind that fits, with our transaction and DUID, from a
    named server, and, if one server was asked, from that one. Any other changes nothing; the last one is mentioned
    when the attempt fails.
S2. Every message goes to the multicast address, so a server that was exchanged or moved hears it, and UseMulticast cannot happen.
S3. What a server says about one address or one association does not touch the others: those it does not mention stay
    until they end, even those of another server.
S4. An address is never held beyond its valid lifetime, and never shorter than it only because servers are silent.
S5. The times T1 and T2 are before the addresses end, and an exchange begins at the earliest a second after a binding.
S6. An attempt that has failed by an answer is followed by a pause, which doubles up to ``LONGEST_PAUSE``.
S7. A renewal that finds no binding asks that server for the same addresses. A rebinding does so only after other
    servers had time to answer, so that a stranger's answer does not change the address.
S8. An address that another host has is declined, and not used.
"""

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any

from cni_dhcp_daemon.client import Names
from cni_dhcp_daemon.v6.binding import MOST, Binding, named, times_of, usable_in
from cni_dhcp_daemon.v6.message import Association, Code, Kind, Leased, Message, Outcome, Status
from cni_dhcp_daemon.v6.retransmission import Limits, Retransmission, Step
from cni_dhcp_daemon.v6.wire import Malformed
from cni_dhcp_daemon.v6.wish import Wish

LIMITS = {
    Kind.SOLICIT: Limits(1, 3600, collect=True),
    Kind.REQUEST: Limits(1, 30, count=10),
    Kind.CONFIRM: Limits(1, 4, duration=10),
    Kind.RENEW: Limits(10, 600),
    Kind.REBIND: Limits(10, 600),
    Kind.DECLINE: Limits(1, count=4),
    Kind.INFORMATION_REQUEST: Limits(1, 3600),
}
"""RFC 8415, 7.6."""
IMPATIENT = Limits(1, 30, count=3)
"""A REQUEST, while other servers have offered something too."""
REFRESH, SOONEST_REFRESH = 86400.0, 600.0
"""RFC 8415, 7.6: IRT_DEFAULT and IRT_MINIMUM."""
LONGEST_PAUSE = 64.0
STATEFUL = (Code.DNS_SERVERS, Code.DOMAINS, Code.SOL_MAX_RT)
STATELESS = (Code.DNS_SERVERS, Code.DOMAINS, Code.REFRESH, Code.INF_MAX_RT)
_EXTENDING = (Kind.RENEW, Kind.REBIND)


@dataclass(frozen=True, slots=True)
class Offer:
    """A server that would give addresses."""

    server: bytes
    preference: int
    addresses: tuple[str, ...]


@dataclass(slots=True)
class Exchange:
    """A message that waits for its answer."""

    kind: Kind
    transaction: int
    timer: Retransmission
    addresses: tuple[str, ...]
    server: bytes
    """Empty: any."""
    offers: list[Offer] = field(default_factory=list)
    """What came in; the best first."""
    seen: str = ""
    """The last packet that did not help, and why."""


class Servers:
    """The DHCPv6 servers of one link."""

    def __init__(self, wish: Wish, random: Random) -> None:
        self.stateful = False
        """Whether addresses are wanted."""
        self.started = False
        self.binding: Binding | None = None
        self.informed = False
        """Whether a server has ever answered with settings."""
        self.names = Names()
        self.confirmed = False
        """Whether a binding of a daemon before was confirmed, or nobody has denied it, since the client has looked."""
        self.outbox: list[bytes] = []
        self.trouble = ""
        self.failed = False
        """Whether an attempt has failed since the client has looked."""
        self.wish = wish
        self._random = random
        self._exchange: Exchange | None = None
        self._resume = math.inf
        self._refresh = math.inf
        self._pauses = 0
        self._hint: tuple[str, ...] = ()
        self._declined: tuple[str, ...] = ()
        self._longest: dict[Kind, float] = {}

    # When, and what is sent

    @property
    def listening(self) -> bool:
        """Whether an answer is expected."""
        return self._exchange is not None

    @property
    def settled(self) -> bool:
        """Whether what was wanted is there."""
        return self.binding is not None if self.stateful else self.informed

    @property
    def renew(self) -> float:
        """When a server is asked next."""
        return self.binding.renew if self.binding else self._refresh

    @property
    def deadline(self) -> float:
        """When ``advance`` has something to do."""
        if self._exchange:
            times = [self._exchange.timer.next]
        elif self._resume < math.inf:
            times = [self._resume]
        else:
            times = [self._refresh, self.renew, self.binding.rebind if self.binding else math.inf]
        return min([*times, *(valid for _, valid in self.binding.addresses.values())] if self.binding else times)

    def start(self, begin: float, stateful: bool) -> None:
        """Ask for addresses, or for settings alone; a binding of a daemon before is confirmed."""
        self.started, self.stateful = True, stateful
        self._refresh = math.inf
        self._begin(Kind.CONFIRM if self.binding and stateful else self._first, begin)

    @property
    def _first(self) -> Kind:
        return Kind.SOLICIT if self.stateful else Kind.INFORMATION_REQUEST

    def _begin(self, kind: Kind, begin: float, offer: Offer | None = None) -> None:
        """Begin an exchange, with any server or the one of the offer."""
        held = tuple(self.binding.addresses) if self.binding else self._hint
        addresses = {Kind.DECLINE: self._declined, Kind.INFORMATION_REQUEST: ()}.get(kind, held)
        server = self.binding.server if self.binding and kind in (Kind.RENEW, Kind.DECLINE) else b""
        if offer:
            server, addresses = offer.server, offer.addresses
        timer = Retransmission(self._limits(kind, begin), self._random, begin)
        self._exchange = Exchange(kind, self._random.getrandbits(24), timer, addresses, server)
        self._resume = math.inf

    def _limits(self, kind: Kind, begin: float) -> Limits:
        limits = LIMITS[kind]
        duration = limits.duration
        if self.binding and kind in _EXTENDING:
            duration = (self.binding.rebind if kind is Kind.RENEW else self.binding.expires) - begin
        return Limits(limits.first, self._longest.get(kind, limits.longest), limits.count, duration, limits.collect)

    def _send(self, exchange: Exchange, now: float) -> None:
        """The message of the exchange."""
        kind = exchange.kind
        self.outbox.append(self._message(exchange, min(int((now - exchange.timer.started) * 100), 0xFFFF)).encode())
        if exchange.timer.sent > 1:
            self._fail(exchange.seen or f"no server has answered {kind.name}")

    def _message(self, exchange: Exchange, elapsed: int) -> Message:
        kind = exchange.kind
        leased = tuple(Leased(address) for address in exchange.addresses)
        asks = kind not in (Kind.CONFIRM, Kind.RELEASE, Kind.DECLINE)
        options = STATELESS if kind is Kind.INFORMATION_REQUEST else STATEFUL
        return Message(
            kind,
            exchange.transaction,
            client=self.wish.client,
            server=exchange.server,
            associations=() if kind is Kind.INFORMATION_REQUEST else (Association(self.wish.iaid, addresses=leased),),
            rapid=kind is Kind.SOLICIT and self.wish.rapid,
            elapsed=elapsed,
            requested=tuple(dict.fromkeys((*options, *self.wish.request))) if asks else (),
            others=self.wish.provide if asks else (),
        )

    # Time

    def advance(self, now: float) -> None:
        """Forget what has ended, and go on when it is time."""
        while self.deadline <= now:
            self._expire(now)
            if self._exchange is not None:
                self._step(self._exchange, now)
            elif now >= self._resume or now >= self._refresh:
                self._refresh = math.inf
                self._begin(self._first, now)
            elif self.binding and self._resume == math.inf:
                self._pauses = 0
                self._begin(Kind.REBIND if now >= self.binding.rebind else Kind.RENEW, now)

    def _step(self, exchange: Exchange, now: float) -> None:
        """The timer of the exchange."""
        collected = exchange.offers if exchange.kind in (Kind.SOLICIT, Kind.REBIND) else []
        if collected and exchange.timer.sent and now >= exchange.timer.next:
            self._request(collected, now)
            return
        step = exchange.timer.step(now)
        if step is Step.SEND:
            self._send(exchange, now)
        elif step is Step.OVER:
            self._over(exchange, now)

    def _over(self, exchange: Exchange, now: float) -> None:
        """Nobody has answered (S4)."""
        self._exchange = None
        if exchange.kind is Kind.REQUEST:
            self._fail(exchange.seen or "the server that has offered addresses does not answer REQUEST")
            self._next_offer(exchange, now)
        elif exchange.kind is Kind.CONFIRM:
            self.confirmed = True
        elif exchange.kind is Kind.DECLINE:
            self._after_decline(now)
        elif exchange.kind is Kind.RENEW:
            self._begin(Kind.REBIND, now)

    def _expire(self, now: float) -> None:
        """Drop addresses whose time has come; without one, begin again."""
        if not self.binding:
            return
        ended = tuple(text for text, (_, valid) in self.binding.addresses.items() if valid <= now)
        for text in ended:
            del self.binding.addresses[text]
        if not self.binding.addresses:
            self._lose(ended, f"the lease has ended: {self.trouble or 'no server has extended it'}", now)

    def _lose(self, hint: tuple[str, ...], why: str, now: float) -> None:
        """The binding is gone: begin again, and ask for the same addresses."""
        self.binding, self._hint = None, hint
        self._fail(why)
        paused = self._exchange is None and self._resume < math.inf
        if not paused and (self._exchange is None or self._exchange.kind in (Kind.CONFIRM, *_EXTENDING)):
            self._begin(self._first, now)

    def _pause(self, now: float) -> None:
        """Begin again after a pause (S6)."""
        self._exchange = None
        self._resume = now + min(2.0**self._pauses, LONGEST_PAUSE)
        self._pauses = min(self._pauses + 1, 10)

    def _fail(self, why: str) -> None:
        self.trouble, self.failed = why, True

    # Answers

    def received(self, packet: bytes, source: str, now: float) -> None:
        """A packet arrived (S1)."""
        exchange = self._exchange
        if exchange is None or not exchange.timer.sent:
            return
        try:
            message = Message.decode(packet)
            self._belongs(message, exchange)
        except Malformed as error:
            exchange.seen = f"a packet of {source} was ignored: {error}"
            return
        self._adopt_limits(message, exchange, now)
        if message.kind == Kind.ADVERTISE:
            self._advertised(message, source, exchange, now)
        else:
            self._replied(message, source, exchange, now)

    def _belongs(self, message: Message, exchange: Exchange) -> None:
        """Refuse what does not answer the exchange."""
        fits = {Kind.REPLY} if exchange.kind is not Kind.SOLICIT else {Kind.ADVERTISE, Kind.REPLY}
        if message.kind not in fits:
            raise Malformed(f"a {Kind(message.kind).name} does not answer a {exchange.kind.name}")
        if message.transaction != exchange.transaction:
            raise Malformed("it answers another transaction")
        if message.client != self.wish.client:
            raise Malformed("it is for another client")
        if not message.server:
            raise Malformed("it does not name its server")
        if exchange.server and message.server != exchange.server:
            raise Malformed("it comes from another server than the one that was asked")
        if exchange.kind is Kind.SOLICIT and message.kind == Kind.REPLY and not (message.rapid and self.wish.rapid):
            raise Malformed("it answers SOLICIT with REPLY, but not as a rapid commit")

    def _adopt_limits(self, message: Message, exchange: Exchange, now: float) -> None:
        """SOL_MAX_RT and INF_MAX_RT: even of a server that has nothing to give (RFC 8415, 18.2.9)."""
        pairs = ((Kind.SOLICIT, message.sol_max_rt), (Kind.INFORMATION_REQUEST, message.inf_max_rt))
        for kind, value in pairs:
            if value is not None and 60 <= value <= 86400:
                self._longest[kind] = value
                if exchange.kind is kind:
                    exchange.timer.limits = self._limits(kind, now)

    def _ours(self, message: Message) -> tuple[Association | None, Status]:
        """Our association, and the first status that is no success."""
        ours = next((each for each in message.associations if each.iaid == self.wish.iaid), None)
        if ours and 0 < ours.rebind < ours.renew:
            ours = None  # RFC 8415, 21.4: it is to be ignored
        return ours, ours.status if ours and not message.status.code else message.status

    def _advertised(self, message: Message, source: str, exchange: Exchange, now: float) -> None:
        """A server offers something, or says that it cannot."""
        ours, status = self._ours(message)
        usable = usable_in(ours)
        if status.code or not usable:
            exchange.seen = f"server {source} offers no address ({status if status.code else 'no usable one'})"
            return
        offer = Offer(message.server, message.preference, tuple(each.address for each in usable))
        known = [each for each in exchange.offers if each.server != offer.server]
        exchange.offers = sorted([*known, offer], key=lambda each: -each.preference)[:MOST]
        if message.preference == 255 or exchange.timer.sent > 1:
            self._request(exchange.offers, now)

    def _request(self, offers: list[Offer], now: float) -> None:
        """Ask for what the first has offered; the others are tried if it does not answer."""
        first, *others = offers
        self._begin(Kind.REQUEST, now, first)
        if others and self._exchange:
            self._exchange.timer.limits = IMPATIENT
            self._exchange.offers = others

    def _next_offer(self, exchange: Exchange, now: float) -> None:
        if exchange.offers:
            self._request(exchange.offers, now)
        else:
            self._pause(now)

    def _replied(self, message: Message, source: str, exchange: Exchange, now: float) -> None:
        """An exchange is answered, or is to be continued."""
        ours, status = self._ours(message)
        refused = f"server {source} answered {exchange.kind.name} with {status}"
        if exchange.kind is Kind.DECLINE:
            self._after_decline(now)
        elif exchange.kind is Kind.CONFIRM and status.code == Outcome.NotOnLink:
            self._lose((), refused, now)
        elif exchange.kind is Kind.REQUEST and status.code == Outcome.NotOnLink:
            self._hint = ()
            self._fail(refused)
            self._pause(now)
        elif exchange.kind is Kind.REQUEST and status.code == Outcome.NoAddrsAvail:
            self._fail(refused)
            self._next_offer(exchange, now)
        elif exchange.kind in _EXTENDING and status.code == Outcome.NoBinding:
            self._unbound(Offer(message.server, 0, exchange.addresses), exchange, now)
        elif status.code:
            exchange.seen = refused
        elif exchange.kind is Kind.CONFIRM:
            self._exchange, self.confirmed, self.trouble = None, True, ""
        elif exchange.kind is Kind.INFORMATION_REQUEST:
            self._inform(message, now)
        else:
            self._bind(message, source, ours, exchange, now)

    def _unbound(self, offer: Offer, exchange: Exchange, now: float) -> None:
        """The server does not know the addresses: ask it for them (S7)."""
        if exchange.kind is Kind.RENEW:
            self._request([offer], now)
        else:
            exchange.offers.append(offer)
            exchange.offers = exchange.offers[:MOST]

    def _inform(self, message: Message, now: float) -> None:
        """Settings alone."""
        self._exchange, self.informed, self.trouble = None, True, ""
        self.names = named(message)
        self._refresh = now + max(REFRESH if message.refresh is None else message.refresh, SOONEST_REFRESH)

    # Addresses

    def _bind(self, message: Message, source: str, ours: Association | None, exchange: Exchange, now: float) -> None:
        """The server has given or extended addresses, or taken them back by the lifetime 0."""
        usable = usable_in(ours)
        held = dict(self.binding.addresses) if self.binding else {}
        for each in ours.addresses if ours else ():
            if each.valid == 0:
                held.pop(each.address, None)
        if usable and ours:
            fresh = {each.address: (now + each.preferred, now + each.valid) for each in usable}
            kept = {text: times for text, times in held.items() if text not in fresh}
            addresses = dict([*fresh.items(), *kept.items()][:MOST])
            self.binding = Binding(message.server, source, addresses, *times_of(ours, usable, now))
            self.names = named(message)
            self._exchange, self._hint, self.informed, self.trouble = None, (), True, ""
        elif held and self.binding and exchange.kind in _EXTENDING:
            self.binding.addresses = held
            exchange.seen = f"server {source} extends no address"
        elif exchange.kind in _EXTENDING:
            self._lose((), f"server {source} has taken its addresses back", now)
        elif exchange.kind is Kind.REQUEST:
            self._fail(f"server {source} gives no usable address")
            self._next_offer(exchange, now)
        else:
            exchange.seen = f"server {source} gives no usable address"

    def declined(self, address: str, now: float) -> None:
        """Another host has the address (S8)."""
        if not self.binding or address not in self.binding.addresses:
            return
        del self.binding.addresses[address]
        self._declined = (*self._declined, address)
        self._fail(f"another host has {address}, which server {self.binding.source} has given")
        self._begin(Kind.DECLINE, now)
        if not self.binding.addresses:
            self.binding = None

    def _after_decline(self, now: float) -> None:
        self._exchange, self._declined = None, ()
        if not self.binding:
            self._pause(now)

    def release(self) -> None:
        """Give the addresses back: one message, which is not repeated, because the interface is about to go."""
        if self.binding:
            timer = Retransmission(Limits(1), self._random, 0)
            held = tuple(self.binding.addresses)
            exchange = Exchange(Kind.RELEASE, self._random.getrandbits(24), timer, held, self.binding.server)
            self.outbox.append(self._message(exchange, 0).encode())
        self.binding = self._exchange = None
        self._resume = self._refresh = math.inf

    # For the next daemon

    @property
    def private(self) -> dict[str, Any]:
        """The binding and the settings, as JSON values."""
        return {
            "informed": self.informed,
            "names": [list(self.names.servers), list(self.names.search)],
            "binding": self.binding and self.binding.private,
        }

    def restore(self, private: dict[str, Any]) -> None:
        """Take over what a daemon before had."""
        self.informed = private["informed"]
        servers, search = private["names"]
        self.names = Names(tuple(servers), "", tuple(search))
        if private["binding"]:
            self.binding = Binding.restored(private["binding"])
