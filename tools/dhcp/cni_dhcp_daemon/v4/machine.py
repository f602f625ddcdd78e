"""The states of a DHCPv4 client (RFC 2131, figure 5), without input or output.

Laws, which the tests cite by number:

1.  An answer counts only if it is a reply, has the identifier of our transaction and our MAC, and is of a kind that the
    state waits for. Everything else changes nothing.
2.  The first offer that can be used is taken. Why others were refused is remembered, and said by ``Failed``.
3.  A lease is told (``Bound``) after it was acknowledged and, if that is wanted, probed.
4.  The address of a pod does not change. Once it was told, offers of another address are refused, and an
    acknowledgement of another address ends the lease.
5.  A lease is not used past its end: at its expiry and when a server rejects it, it is lost at once (``Lost``), and the
    same address is asked for anew.
6.  A lease is extended by one REQUEST: from T1 on by its server, from T2 on by any server. There is no DISCOVER, and the
    old lease is valid meanwhile.
7.  After a restart the lease is confirmed; a daemon has many, so each begins within a second. Silence is no refusal: the
    lease is used until its end.
8.  There is never a flood. An exchange has three packets, a failed try is followed by a pause of at least a second, and
    an unanswered renewal is repeated after half of the time that is left: at least a minute or, of a short lease, a
    twentieth, and never less than a second. A server can make the client send three packets for each lease that it gives.
9.  An address that another host has is declined. It is not asked for or accepted for ten minutes, and for ten seconds
    nothing is asked for.
10. Packets are expected only while a question is open; in the state bound nothing is.
11. After ``release`` there are no packets, no events and no deadline. The address goes back if a server may have given
    it, so also while its acknowledgement is still awaited.
12. The identifier is the same in all messages, because a server finds the lease by it.
"""

import math
from collections.abc import Callable
from enum import Enum
from random import SystemRandom

from cni_dhcp_daemon.client import BROADCAST, UNSPECIFIED, Bound, Datagram, Event, Failed, Lease, Lost, Probe
from cni_dhcp_daemon.v4 import options
from cni_dhcp_daemon.v4.packet import FRAMING, Kind, Malformed, Message, packed
from cni_dhcp_daemon.v4.terms import Unusable, lease_of
from cni_dhcp_daemon.v4.trouble import Trouble
from cni_dhcp_daemon.v4.wish import Wish

_PACKETS = 3  # of an exchange
_LARGEST = (1500).to_bytes(2)  # what Go says that it accepts
_LEAST_RENEWAL, _MOST_RENEWAL = 1.0, 60.0
_AFTER_DECLINE, _DECLINED = 10.0, 600.0
_SPREAD = 1.0
_EVERYONE = UNSPECIFIED, BROADCAST
_OWN = FRAMING | {0, 255, options.ADDRESS, options.SERVER}


def _address(lease: Lease) -> str:
    return lease.addresses[0].text


class State(Enum):
    """What a client is doing."""

    INIT = "pausing before the next try"
    SELECTING = "waiting for an offer"
    REQUESTING = "waiting for the acknowledgement of an offer"
    PROBING = "waiting for the result of a probe"
    REBOOTING = "waiting for the confirmation of a lease after a restart"
    BOUND = "using a lease"
    RENEWING = "asking the server to extend the lease"
    REBINDING = "asking any server to extend the lease"
    RELEASED = "released"


_LISTENING = {State.SELECTING, State.REQUESTING, State.REBOOTING, State.RENEWING, State.REBINDING}


class DHCPv4:
    """The client of one interface (``cni_dhcp_daemon.client.Client``).

    ``lease`` is that of a daemon before, even if it has expired: the pod keeps its address. ``random`` gives numbers
    from 0 to 1.
    """

    def __init__(self, wish: Wish, lease: Lease | None = None, random: Callable[[], float] | None = None) -> None:
        self.wish = wish
        self.state = State.INIT
        self._random = random or SystemRandom().random
        self._lease = lease
        self._offer: Lease | None = None
        # the address that the pod was told
        self._kept = _address(lease) if lease else ""
        self._declined: dict[str, float] = {}
        self._deadline: float | None = None
        self._limit = math.inf
        # the exchange: its transaction, its packets, when it began, when the last packet was sent
        self._xid = self._sent = self._secs = 0
        self._began = self._asked = 0.0
        self._answered = False
        self._failures = 0
        self._trouble = Trouble()
        self._datagrams: list[Datagram] = []
        self._events: list[Event] = []

    @property
    def deadline(self) -> float | None:
        """When ``advance`` wants to be called; None: never."""
        return self._deadline

    @property
    def listening(self) -> bool:
        """Whether packets are expected (law 10)."""
        return self.state in _LISTENING

    def take_datagrams(self) -> list[Datagram]:
        """The packets to send now; each is returned once."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def take_events(self) -> list[Event]:
        """What has happened, in order; each event is returned once."""
        taken, self._events = self._events, []
        return taken

    def start(self, now: float) -> None:
        """Begin: confirm the lease that is still valid, or acquire one."""
        lease = self._lease
        if lease is None:
            self._acquire(now)
        elif lease.expires <= now:
            self._lose(f"the lease of {self._kept} expired while no daemon ran", now)
        else:
            self._limit = min(time for time in (lease.renew, lease.rebind, lease.expires) if time > now)
            self._begin(State.REBOOTING, now)
            self._wake(now + _SPREAD * self._random())

    def advance(self, now: float) -> None:
        """The deadline has come (or the node has slept past it)."""
        if self._deadline is None or now < self._deadline:
            return
        if self._lease and now >= self._lease.expires:
            self._lose(f"the lease of {self._kept} has expired", now)
        elif self.state is State.INIT:
            self._discover(now)
        elif self.state is State.PROBING:
            self._fail("the lease ended before its address was probed", now)
        elif self._lease and self.state is not State.REBOOTING:
            self._extend(self._lease, now)
        else:
            self._ask_again(now)

    def received(self, payload: bytes, source: str, now: float) -> None:
        """A packet arrived. Packets of others, late, wrong or hostile ones change nothing (law 1)."""
        if self._lease and now >= self._lease.expires:
            self.advance(now)
        answer = self._answer(payload) if self.listening else None
        if answer is None:
            return
        server = options.address(answer.options.get(options.SERVER))
        if self.state is State.SELECTING:
            if answer.kind is Kind.OFFER:
                self._offered(answer, server or source, now)
        elif before := self._lease or self._offer:
            if answer.kind is Kind.ACK:
                self._acknowledged(answer, before, server, now)
            elif answer.kind is Kind.NAK:
                self._rejected(answer, before, server, now)

    def probed(self, address: str, in_use: bool, now: float) -> None:
        """The answer to ``Probe``."""
        offer = self._offer
        if self.state is not State.PROBING or offer is None or address != _address(offer):
            return
        if in_use:
            self._decline(offer, now)
        elif now >= offer.expires:
            self._fail("the lease ended before its address was probed", now)
        else:
            self._bind(offer)

    def release(self, now: float) -> None:
        """Give the lease back (law 11)."""
        lease = self._lease or self._offer
        if lease and now < lease.expires:
            address = _address(lease)
            asked = {options.SERVER: packed(lease.server)}
            self._put(self._message(Kind.RELEASE, asked, address), address, lease.server)
        self.state, self._deadline = State.RELEASED, None
        self._lease = self._offer = None

    # acquiring

    def _acquire(self, now: float) -> None:
        self._failures = 0
        self._trouble = Trouble()
        self._began = now
        self._discover(now)

    def _discover(self, now: float) -> None:
        self._begin(State.SELECTING, self._began)
        self._ask(now)

    def _offered(self, answer: Message, server: str, now: float) -> None:
        address = answer.yiaddr
        try:
            offer = lease_of(answer, self._asked)
            if self._kept not in ("", address):
                raise Unusable(f"{address} is another address than {self._kept}, which the pod has and cannot change")
            if now < self._declined.get(address, 0):
                raise Unusable(f"another host uses {address}")
        except Unusable as reason:
            self._refuse(f"an offer of {server} was refused: {reason}")
        else:
            self._offer = offer
            self.state, self._sent = State.REQUESTING, 0
            self._ask(now)

    def _acknowledged(self, answer: Message, before: Lease, server: str, now: float) -> None:
        """A server gives or extends the lease; ``before`` is its offer, or the lease until now."""
        offered, address = self.state is State.REQUESTING, _address(before)
        if offered and server not in ("", before.server):
            return
        server = server or before.server
        try:
            lease = lease_of(answer, self._asked, self._random(), before)
            if lease.expires <= now:
                raise Unusable("the lease had ended when it came")
        except Unusable as reason:
            said = f"an acknowledgement of {server} was refused: {reason}"
            if offered:
                self._fail(said, now)
            else:
                self._refuse(said)
            return
        if answer.yiaddr != address:
            self._refused(f"{server} acknowledged {answer.yiaddr} instead of {address}", now)
        elif offered and self.wish.probe:
            self._probe(lease)
        else:
            self._bind(lease)

    def _rejected(self, answer: Message, before: Lease, server: str, now: float) -> None:
        """Whom the question went to may reject it: one server, or any that says who it is."""
        if not server or (self.state in (State.REQUESTING, State.RENEWING) and server != before.server):
            return
        said = options.message(answer.options.get(options.MESSAGE))
        said = f" (msg: {said})" if said else ""
        self._refused(f"{server} rejected request with Nak{said}", now)

    def _refused(self, reason: str, now: float) -> None:
        if self._lease:
            self._lose(f"the lease of {self._kept} has ended: {reason}", now)
        else:
            self._fail(reason, now)

    def _probe(self, lease: Lease) -> None:
        self._offer, self.state = lease, State.PROBING
        self._wake(lease.expires)
        self._events.append(Probe(_address(lease)))

    def _decline(self, offer: Lease, now: float) -> None:
        address = _address(offer)
        asked = {options.ADDRESS: packed(address), options.SERVER: packed(offer.server)}
        self._put(self._message(Kind.DECLINE, asked))
        self._declined = {other: until for other, until in self._declined.items() if now < until}
        self._declined[address] = now + _DECLINED
        self._fail(f"another host uses {address}, which {offer.server} gave", now, _AFTER_DECLINE)

    def _fail(self, reason: str, now: float, least: float = 0.0) -> None:
        """End this try; the next one is after a pause (law 8)."""
        self._say(reason)
        self._failures += 1
        self._offer, self.state = None, State.INIT
        self._wake(now + max(least, self.wish.pause(self._failures, self._random())))

    # having a lease

    def _bind(self, lease: Lease) -> None:
        self._lease, self._offer, self._kept = lease, None, _address(lease)
        self._trouble = Trouble()
        self._events.append(Bound(lease))
        self._rest(lease)

    def _rest(self, lease: Lease) -> None:
        self.state = State.BOUND
        self._wake(lease.renew)

    def _extend(self, lease: Lease, now: float) -> None:
        """Ask for more time, again if nobody has answered (laws 6 and 8)."""
        if self.state is State.BOUND:
            self._begin(State.RENEWING, now)
        else:
            self._no_answer()
        if now >= lease.rebind:
            self.state = State.REBINDING
        until = lease.expires if self.state is State.REBINDING else lease.rebind
        self._send(now)
        least = max(_LEAST_RENEWAL, min(_MOST_RENEWAL, (lease.expires - lease.renew) / 10))
        self._wake(min(until, now + max((until - now) / 2, least)))

    def _lose(self, reason: str, now: float) -> None:
        self._lease = None
        self._events.append(Lost(reason))
        self._acquire(now)

    # an exchange

    def _answer(self, payload: bytes) -> Message | None:
        """The message, if it is an answer to our question (law 1)."""
        try:
            message = Message.decode(payload)
        except Malformed:
            return None
        return message if message.reply and (message.xid, message.mac) == (self._xid, self.wish.mac) else None

    def _begin(self, state: State, began: float) -> None:
        self.state, self._began = state, began
        self._xid, self._sent = int(self._random() * (1 << 32)) % (1 << 32), 0

    def _ask(self, now: float) -> None:
        """Send the question, and wait for an answer."""
        self._send(now)
        until = self._limit if self.state is State.REBOOTING else math.inf
        self._wake(min(until, now + self.wish.wait(self._sent)))

    def _send(self, now: float) -> None:
        """Send the question of this state, once more."""
        if self.state is not State.REQUESTING:  # its seconds are those of DISCOVER (RFC 2131, 4.3.1)
            self._secs = min(int(now - self._began), 0xFFFF)
        self._sent += 1
        self._asked, self._answered = now, False
        message, source, destination = self._question(now)
        self._put(message, source, destination)

    def _question(self, now: float) -> tuple[Message, str, str]:
        """RFC 2131, table 4: which state states the address how, and whom it asks."""
        lease = self._lease or self._offer
        if lease is None:
            kept = self._kept if now >= self._declined.get(self._kept, 0) else ""
            return self._message(Kind.DISCOVER, {options.ADDRESS: packed(kept)} if kept else {}), *_EVERYONE
        address = _address(lease)
        if self.state is State.REQUESTING:
            asked = {options.ADDRESS: packed(address), options.SERVER: packed(lease.server)}
            return self._message(Kind.REQUEST, asked), *_EVERYONE
        if self.state is State.REBOOTING:
            return self._message(Kind.REQUEST, {options.ADDRESS: packed(address)}), *_EVERYONE
        whom = lease.server if self.state is State.RENEWING else BROADCAST
        return self._message(Kind.REQUEST, {}, address), address, whom

    def _message(self, kind: Kind, asked: dict[int, bytes], ciaddr: str = UNSPECIFIED) -> Message:
        provided = {code: value for code, value in self.wish.provide.items() if code not in _OWN}
        who = {options.CLIENT: provided.get(options.CLIENT, self.wish.identifier)}
        if kind in (Kind.DISCOVER, Kind.REQUEST):
            asked = {options.REQUESTED: bytes(self.wish.request), options.LARGEST: _LARGEST} | provided | asked
        broadcast = self.wish.broadcast and ciaddr == UNSPECIFIED
        return Message(kind, self._xid, self.wish.mac, asked | who, ciaddr, secs=self._secs, broadcast=broadcast)

    def _put(self, message: Message, source: str = UNSPECIFIED, destination: str = BROADCAST) -> None:
        self._datagrams.append(Datagram(message.encode(), source, destination))

    def _ask_again(self, now: float) -> None:
        """Nobody has answered: send again, or end the exchange. A confirmation sends its first packet here, too."""
        if self._sent:
            self._no_answer()
        if self._lease and (self._sent == _PACKETS or now >= self._limit):
            self._rest(self._lease)  # law 7
            self.advance(now)
        elif self._sent < _PACKETS:
            self._ask(now)
        else:
            self._fail("", now)

    def _wake(self, time: float) -> None:
        if self._lease:
            time = min(time, self._lease.expires)  # law 5
        self._deadline = time if time < math.inf else None

    # what people are told

    def _no_answer(self) -> None:
        lease = self._lease or self._offer
        question = f"REQUEST of {_address(lease)}" if lease else "DISCOVER"
        self._say("" if self._answered else f"no answer to {question}")

    def _say(self, reason: str) -> None:
        if reason:
            self._trouble.add(reason)
        self._events.append(Failed(self._trouble.text))

    def _refuse(self, reason: str) -> None:
        """An answer came that cannot be used. It is told once, and counted: a server could send any number of them."""
        self._answered = True
        if self._trouble.add(reason):
            self._say("")
