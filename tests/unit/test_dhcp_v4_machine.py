"""Each state of the DHCPv4 client, packet by packet. The numbers of laws are those of ``machine``'s docstring (pure)."""

import json
import math
from dataclasses import asdict, replace
from typing import Any

import pytest

from cni_dhcp_daemon.client import (
    BROADCAST,
    UNSPECIFIED,
    Address,
    Bound,
    Client,
    Event,
    Failed,
    Lease,
    Lost,
    Names,
    Probe,
    Route,
)
from cni_dhcp_daemon.v4 import options
from cni_dhcp_daemon.v4.machine import DHCPv4, State
from cni_dhcp_daemon.v4.packet import Kind, Message, packed
from cni_dhcp_daemon.v4.wish import Wish

MAC, OTHER = bytes.fromhex("0a580a010005"), bytes.fromhex("0a580a010006")
WISH = Wish(MAC, options.identifier("c1/net/eth0"), provide={12: b"pod"})
SERVER, OTHER_SERVER, ADDRESS = "10.1.0.1", "10.1.0.2", "10.1.0.5"
MASK = {options.MASK: packed("255.255.255.0")}
TIMES = {51: (100).to_bytes(4), 58: (50).to_bytes(4), 59: (80).to_bytes(4)}
GIVEN = {**MASK, **TIMES, options.ROUTERS: packed(SERVER)}
ASKING = [Kind.DISCOVER, Kind.REQUEST]


class Talk:
    """A client, the time, and what it was told and has said."""

    def __init__(self, wish: Wish = WISH, lease: Lease | None = None) -> None:
        self.now = 1000.0
        self.numbers = 0
        self.machine = DHCPv4(wish, lease, self.random)
        self.client: Client = self.machine
        self.sent: list[Message] = []
        self.ways: list[tuple[str, str]] = []
        self.events: list[Event] = []
        self.client.start(self.now)
        self.take()
        if lease and self.machine.state is State.REBOOTING:
            self.wait()

    def random(self) -> float:
        """Always a half, with another tail, so that no two transactions are the same."""
        self.numbers += 1
        return 0.5 + self.numbers / 2**30

    def take(self) -> None:
        for datagram in self.client.take_datagrams():
            self.sent.append(Message.decode(datagram.payload))
            self.ways.append((datagram.source, datagram.destination))
        self.events += self.client.take_events()

    @property
    def kinds(self) -> list[Kind]:
        return [message.kind for message in self.sent]

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        assert self.client.deadline is not None
        return self.client.deadline - self.now

    def hear(self, kind: Kind, given: dict[int, bytes] = GIVEN, server: str = SERVER, **fields: Any) -> None:
        """Answer the last question."""
        given = {options.SERVER: packed(server), **given} if server else given
        asked = self.sent[-1]
        message = Message(
            kind, asked.xid, asked.mac, given, yiaddr=ADDRESS if kind is not Kind.NAK else UNSPECIFIED, reply=True
        )
        self.client.received(replace(message, **fields).encode(), server or "10.1.0.9", self.now)
        self.take()

    def wait(self, seconds: float | None = None) -> None:
        """Until the deadline, or so many seconds."""
        self.now += self.left if seconds is None else seconds
        self.client.advance(self.now)
        self.take()

    def new(self) -> list[Event]:
        """The events since the last call."""
        events, self.events = self.events, []
        return events

    def failure(self) -> str:
        """The text of the last event, which is a failure."""
        last = self.new()[-1]
        assert isinstance(last, Failed)
        return last.reason


def bound(wish: Wish = WISH, given: dict[int, bytes] = GIVEN) -> Talk:
    """A client that has just got its lease."""
    talk = Talk(wish)
    talk.hear(Kind.OFFER, given)
    talk.hear(Kind.ACK, given)
    talk.sent.clear()
    talk.ways.clear()
    talk.new()
    return talk


def reached(state: State) -> Talk:
    """A client that has asked its question in this state, and waits for an answer."""
    if state is State.SELECTING:
        talk = Talk()
    elif state is State.REQUESTING:
        talk = Talk()
        talk.hear(Kind.OFFER)
    elif state is State.REBOOTING:
        talk = Talk(lease=stored())
    else:
        talk = bound()
        talk.wait()
        while talk.machine.state is not state:
            talk.wait()
    assert talk.machine.state is state
    talk.new()
    return talk


def stored(expires: float = 1090.0) -> Lease:
    """A lease as it is after the daemon has written and read it."""
    talk = bound()
    lease = talk.machine._lease
    assert lease is not None
    assert json.loads(json.dumps(lease.private)) == lease.private
    address = replace(lease.addresses[0], expires=expires, preferred=expires)
    return replace(lease, addresses=(address,), expires=expires, renew=expires - 50, rebind=expires - 20)


LISTENING = [State.SELECTING, State.REQUESTING, State.REBOOTING, State.RENEWING, State.REBINDING]


def test_a_lease_is_acquired() -> None:
    """DISCOVER, REQUEST with the same transaction and seconds; what they contain is what Go's do."""
    talk = Talk()
    talk.wait()
    discover = talk.sent[-1]
    assert discover.options == {12: b"pod", 55: b"\3\1", 57: b"\5\xdc", 61: b"\0c1/net/eth0"}
    assert (discover.ciaddr, discover.secs, discover.broadcast, discover.mac) == (UNSPECIFIED, 10, False, MAC)
    talk.wait(3)
    talk.hear(Kind.OFFER)
    request = talk.sent[-1]
    assert request.options == discover.options | {50: packed(ADDRESS), 54: packed(SERVER)}
    assert (request.xid, request.secs, request.ciaddr) == (discover.xid, 10, UNSPECIFIED)
    assert talk.ways == [(UNSPECIFIED, BROADCAST)] * 3
    asked = talk.now
    talk.wait(1)
    talk.hear(Kind.ACK, GIVEN | {6: packed(SERVER), 15: b"example.org", 26: (1400).to_bytes(2)})
    assert isinstance(talk.events[-1], Bound)
    lease = talk.events[-1].lease
    expires = asked + 100
    assert lease.addresses == (Address(ADDRESS, 24, expires, expires),)
    assert (lease.expires, lease.rebind, lease.server) == (expires, asked + 80, SERVER), "from the request on"
    assert asked + 47.5 <= lease.renew <= asked + 50, "a little earlier, so that not all renew at once"
    assert (lease.gateway, lease.routes, lease.mtu) == (SERVER, (Route("0.0.0.0/0", SERVER),), 1400)
    assert lease.names == Names((SERVER,), "example.org", ())
    assert (talk.client.deadline, talk.client.listening) == (lease.renew, False), "law 10"


def test_the_wish_of_a_broadcast_is_for_answers_without_an_address() -> None:
    talk = bound(replace(WISH, broadcast=True))
    talk.wait()
    talk.client.release(talk.now)
    talk.take()
    assert [message.broadcast for message in talk.sent] == [False, False]
    assert Talk(replace(WISH, broadcast=True)).sent[0].broadcast


def test_provided_options_replace_all_but_the_protocols_own() -> None:
    """Law 12: a provided identifier is in all messages."""
    provide = {61: b"mine", 57: b"\2\x40", 53: b"\1", 50: b"1234", 54: b"1234", 0: b"x", 255: b"x", 52: b"\3", 77: b"u"}
    talk = Talk(replace(WISH, provide=provide, request=(121, 3, 1)))
    assert talk.sent[0].options == {55: b"\x79\3\1", 57: b"\2\x40", 61: b"mine", 77: b"u"}
    talk.hear(Kind.OFFER)
    talk.hear(Kind.ACK)
    talk.client.release(talk.now)
    talk.take()
    assert talk.sent[-1].options == {54: packed(SERVER), 61: b"mine"}


@pytest.mark.parametrize("state", LISTENING)
@pytest.mark.parametrize(
    "fields",
    [{"xid": 1}, {"mac": OTHER}, {"mac": MAC + b"\0"}, {"reply": False}],
    ids=["xid", "mac", "size", "request"],
)
@pytest.mark.parametrize("kind", [Kind.OFFER, Kind.ACK, Kind.NAK])
def test_messages_of_others_change_nothing(state: State, kind: Kind, fields: dict[str, Any]) -> None:
    """Law 1."""
    talk = reached(state)
    before = (talk.left, len(talk.sent))
    talk.hear(kind, **fields)
    talk.client.received(b"\0" * 300, SERVER, talk.now)
    assert (talk.left, len(talk.sent)) == before
    assert (talk.machine.state, talk.new()) == (state, [])


@pytest.mark.parametrize(
    ("state", "kinds"),
    [(State.SELECTING, {Kind.ACK, Kind.NAK}), *((state, {Kind.OFFER}) for state in LISTENING[1:])],
)
def test_messages_that_are_not_awaited_change_nothing(state: State, kinds: set[Kind]) -> None:
    """Law 1: in each state, all kinds but its own."""
    talk = reached(state)
    for kind in kinds | {Kind.DISCOVER, Kind.REQUEST, Kind.DECLINE, Kind.RELEASE, Kind.INFORM}:
        talk.hear(kind)
    assert (talk.machine.state, talk.new()) == (state, [])


@pytest.mark.parametrize(
    ("given", "fields", "reason"),
    [
        (TIMES, {}, "no subnet mask"),
        (GIVEN | {1: packed("255.0.255.0")}, {}, "255.0.255.0 is no subnet mask"),
        (GIVEN | {1: b"\xff\0"}, {}, "255.0 is no subnet mask"),
        (GIVEN | {51: bytes(4)}, {}, "a lease time of 0"),
        (GIVEN, {"yiaddr": UNSPECIFIED}, "no address"),
        (GIVEN, {"yiaddr": "224.0.0.5"}, "224.0.0.5 is no address of a host"),
        (GIVEN, {"yiaddr": "127.0.0.5"}, "127.0.0.5 is no address of a host"),
        (GIVEN, {"yiaddr": "0.1.0.5"}, "0.1.0.5 is no address of a host"),
        (GIVEN, {"yiaddr": BROADCAST}, "255.255.255.255 is no address of a host"),
        (GIVEN | {54: bytes(4)}, {}, "no server identifier"),
        (GIVEN | {54: packed(SERVER)[:3]}, {}, "no server identifier"),
    ],
)
def test_an_offer_that_cannot_be_used_is_refused_and_said(
    given: dict[int, bytes], fields: dict[str, Any], reason: str
) -> None:
    """Law 2: at once, once, counted, and a good offer after it is taken."""
    talk = Talk()
    for _ in range(3):
        talk.hear(Kind.OFFER, given, **fields)
    assert (talk.kinds, len(talk.events)) == ([Kind.DISCOVER], 1)
    assert talk.failure() == f"an offer of {SERVER} was refused: {reason}"
    talk.wait()
    assert talk.failure() == f"an offer of {SERVER} was refused: {reason} (3 times)"
    talk.hear(Kind.OFFER, server=OTHER_SERVER)
    assert talk.sent[-1].options[54] == packed(OTHER_SERVER)


def test_the_first_good_offer_is_taken() -> None:
    """Law 2: a second one is nothing."""
    talk = reached(State.REQUESTING)
    talk.hear(Kind.OFFER, server=OTHER_SERVER)
    assert talk.kinds == ASKING
    assert talk.sent[-1].options[54] == packed(SERVER)


def test_a_server_without_name_is_said_by_its_address() -> None:
    talk = Talk()
    talk.hear(Kind.OFFER, server="")
    assert talk.failure() == "an offer of 10.1.0.9 was refused: no server identifier"


def test_reasons_are_few_whatever_servers_send() -> None:
    """Law 2, against a server that invents addresses."""
    talk = Talk()
    for number in range(200):
        talk.hear(Kind.OFFER, server=f"10.2.0.{number + 1}", yiaddr="224.0.0.1")
    assert len(talk.new()) == 8
    talk.wait()
    assert len(talk.failure()) < 1000


def test_without_an_answer_there_are_three_packets_and_a_pause() -> None:
    """Law 8: Go's waits and pauses; each failed wait is said, because nobody knows which of them is the last."""
    talk = Talk()
    waits: list[float] = []
    for _ in range(9 * 4):
        waits.append(round(talk.left, 3))
        talk.wait()
    assert [waits[at : at + 3] for at in range(0, 36, 4)] == [[10, 20, 40]] * 9
    assert waits[3::4] == [2, 2, 2, 2, 8, 16, 32, 64, 64]
    assert talk.kinds == [Kind.DISCOVER] * 28
    assert len({message.xid for message in talk.sent}) == 10, "one transaction a try"
    assert talk.failure() == "no answer to DISCOVER (27 times)"


@pytest.mark.parametrize(
    ("longest", "fuzz", "pauses"),
    [
        (62, 0, [1, 1, 1, 1, 7, 15, 31, 63, 63]),
        (62, 1, [3, 3, 3, 3, 9, 17, 33, 65, 65]),
        (8, 0.5, [2] * 4 + [8] * 5),
        (0, 0.5, [2] * 4 + [4] * 5),
    ],
)
def test_pauses_follow_the_flag(longest: float, fuzz: float, pauses: list[float]) -> None:
    wish = replace(WISH, longest=longest)
    assert [wish.pause(failures, fuzz) for failures in range(1, 10)] == pauses
    assert wish.pause(10**6, fuzz) == pauses[-1]


def test_nothing_is_done_before_the_deadline() -> None:
    talk = Talk()
    talk.wait(9.9)
    assert (talk.kinds, talk.events) == ([Kind.DISCOVER], [])


def test_an_unacknowledged_offer_is_asked_for_anew() -> None:
    """From the DISCOVER on; the pause between hears nothing."""
    talk = reached(State.REQUESTING)
    for _ in range(3):
        talk.wait()
    assert talk.failure() == f"no answer to REQUEST of {ADDRESS} (3 times)"
    assert (talk.client.listening, round(talk.left)) == (False, 2)
    talk.hear(Kind.ACK)
    talk.wait()
    assert talk.kinds == [Kind.DISCOVER, *[Kind.REQUEST] * 3, Kind.DISCOVER]


def test_a_server_that_rejects_its_offer() -> None:
    """Its reason is said; another server's rejection, or one of nobody, is nothing."""
    talk = reached(State.REQUESTING)
    talk.hear(Kind.NAK, server=OTHER_SERVER)
    talk.hear(Kind.NAK, server="")
    talk.hear(Kind.ACK, server=OTHER_SERVER)
    assert (talk.machine.state, talk.new()) == (State.REQUESTING, [])
    talk.hear(Kind.NAK, {56: b"no more leases\n"})
    assert talk.failure() == f"{SERVER} rejected request with Nak (msg: no more leases?)"
    assert (talk.machine.state, round(talk.left)) == (State.INIT, 2)


@pytest.mark.parametrize(
    ("given", "fields", "reason"),
    [
        (GIVEN, {"yiaddr": "10.1.0.6"}, f"{SERVER} acknowledged 10.1.0.6 instead of {ADDRESS}"),
        (GIVEN | {51: bytes(4)}, {}, f"an acknowledgement of {SERVER} was refused: a lease time of 0"),
        (GIVEN | {1: bytes(4)}, {}, f"an acknowledgement of {SERVER} was refused: 0.0.0.0 is no subnet mask"),
        (
            GIVEN | {51: b"\0\0\0\1"},
            {},
            f"an acknowledgement of {SERVER} was refused: the lease had ended when it came",
        ),
    ],
)
def test_an_acknowledgement_that_is_not_what_was_offered(
    given: dict[int, bytes], fields: dict[str, Any], reason: str
) -> None:
    talk = reached(State.REQUESTING)
    talk.wait(2)
    talk.hear(Kind.ACK, given, **fields)
    assert [event.reason for event in talk.new() if isinstance(event, Failed)] == [reason]
    assert talk.machine.state is State.INIT


def test_what_an_acknowledgement_lacks_is_the_offers() -> None:
    """The server and the mask; without a lease time it is an hour, as with Go."""
    talk = reached(State.REQUESTING)
    talk.hear(Kind.ACK, {}, server="")
    [event] = talk.new()
    assert isinstance(event, Bound)
    assert (event.lease.server, event.lease.addresses[0].length, event.lease.routes) == (SERVER, 24, ())
    assert event.lease.expires == talk.now + 3600


@pytest.mark.parametrize(
    ("lease", "renew", "rebind", "times"),
    [
        (100, 50, 80, (50, 80)),
        (100, None, None, (50, 85)),
        (100, 0, 0, (50, 85)),
        (100, 200, 300, (50, 85)),
        (100, 90, 80, (50, 85)),
        (100, 50, 100, (50, 85)),
        (100, 50, 50, (50, 85)),
        (100, 10, None, (10, 85)),
        (1, None, None, (0.5, 0.85)),
        (None, None, None, (1800, 3060)),
    ],
)
def test_times_are_sane_whatever_the_server_says(
    lease: int | None, renew: int | None, rebind: int | None, times: tuple[float, float]
) -> None:
    """T1 < T2 < lease."""
    stated = {51: lease, 58: renew, 59: rebind}
    given = MASK | {code: time.to_bytes(4) for code, time in stated.items() if time is not None}
    talk = reached(State.REQUESTING)
    talk.hear(Kind.ACK, given)
    [event] = talk.new()
    assert isinstance(event, Bound)
    assert event.lease.renew - talk.now == pytest.approx(times[0] * 0.975)
    assert event.lease.rebind - talk.now == pytest.approx(times[1])
    assert event.lease.expires - talk.now == (lease or 3600)


@pytest.mark.parametrize("given", [{}, {58: b"\0\0\0\5", 59: b"\0\0\0\6"}])
def test_an_infinite_lease_is_left_alone(given: dict[int, bytes]) -> None:
    """It is confirmed after a restart, and released; silence ends nothing."""
    talk = bound(given=MASK | {51: b"\xff" * 4} | given)
    lease = talk.machine._lease
    assert lease is not None
    assert (lease.renew, lease.rebind, lease.expires, talk.client.deadline) == (math.inf, math.inf, math.inf, None)
    talk = Talk(lease=lease)
    for _ in range(3):
        talk.wait()
    assert (talk.client.deadline, talk.client.listening, talk.kinds) == (None, False, [Kind.REQUEST] * 3)
    talk.client.release(talk.now)
    talk.take()
    assert talk.kinds[-1] is Kind.RELEASE


def test_a_lease_is_renewed_by_its_server() -> None:
    """Law 6: from the leased address, with nothing that belongs to a new lease; the answer's data is the new lease."""
    talk = bound()
    talk.wait()
    [request] = talk.sent
    assert talk.ways == [(ADDRESS, SERVER)]
    assert (request.kind, request.ciaddr, request.secs) == (Kind.REQUEST, ADDRESS, 0)
    assert request.options == {12: b"pod", 55: b"\3\1", 57: b"\5\xdc", 61: b"\0c1/net/eth0"}
    assert talk.client.listening
    talk.hear(Kind.ACK, GIVEN | {1: packed("255.255.0.0"), 3: packed("10.1.0.2")})
    [event] = talk.new()
    assert isinstance(event, Bound)
    assert event.lease.addresses[0].length == 16
    assert (event.lease.gateway, event.lease.routes) == ("10.1.0.2", (Route("0.0.0.0/0", "10.1.0.2"),))
    assert (event.lease.expires, talk.machine.state) == (talk.now + 100, State.BOUND)


def test_a_renewal_without_an_answer_is_repeated_and_then_anyones() -> None:
    """Laws 6 and 8: after half of the time that is left, at least a twentieth of the lease; T2; the expiry."""
    talk = bound()
    start = talk.now
    times: list[float] = []
    while talk.machine.state is not State.SELECTING:
        talk.wait()
        times.append(round(talk.now - start, 1))
    # T1, half of 31.2, half of 15.6, half of 7.8 would be less than 5.1; T2, half of 20, half of 10; the expiry
    assert times == [48.7, 64.4, 72.2, 77.3, 80, 90, 95.1, 100]
    assert talk.ways == [(ADDRESS, SERVER)] * 4 + [(ADDRESS, BROADCAST)] * 3 + [(UNSPECIFIED, BROADCAST)]
    assert talk.kinds == [Kind.REQUEST] * 7 + [Kind.DISCOVER]
    assert len({message.xid for message in talk.sent[:7]}) == 1, "a slow answer is still ours"
    assert {50, 54}.isdisjoint(talk.sent[6].options)
    lost = talk.new()[-1]
    assert lost == Lost(f"the lease of {ADDRESS} has expired")
    assert talk.sent[-1].options[50] == packed(ADDRESS), "law 5"


def test_a_lease_of_seconds_is_renewed_every_second_at_most() -> None:
    """Law 8; only T2 and the expiry come sooner."""
    talk = bound(given=MASK | {51: (4).to_bytes(4)})
    start = talk.now
    times: list[float] = []
    while talk.machine._lease:
        talk.wait()
        times.append(round(talk.now - start, 1))
    assert times == [1.9, 2.9, 3.4, 4]


def test_a_long_lease_is_renewed_every_minute_at_most() -> None:
    """Law 8."""
    talk = bound(given=MASK | {51: (3600).to_bytes(4)})
    talk.wait()
    waits = []
    while talk.machine._lease:
        waits.append(talk.left)
        talk.wait()
    assert len(waits) < 14
    assert sorted(waits)[2] >= 60, "only T2 and the expiry come sooner"


def test_any_server_may_extend_a_lease_when_its_own_is_silent() -> None:
    talk = reached(State.REBINDING)
    talk.hear(Kind.ACK, server=OTHER_SERVER)
    [event] = talk.new()
    assert isinstance(event, Bound)
    assert event.lease.server == OTHER_SERVER
    talk.wait()
    assert talk.ways[-1] == (ADDRESS, OTHER_SERVER)


@pytest.mark.parametrize(
    ("given", "fields", "reason"),
    [(GIVEN | {51: bytes(4)}, {}, "a lease time of 0"), (GIVEN, {"yiaddr": UNSPECIFIED}, "no address")],
)
@pytest.mark.parametrize("state", LISTENING[2:])
def test_an_answer_that_makes_no_sense_ends_no_lease(
    state: State, given: dict[int, bytes], fields: dict[str, Any], reason: str
) -> None:
    talk = reached(state)
    left = talk.left
    talk.hear(Kind.ACK, given, **fields)
    assert talk.failure().endswith(f"an acknowledgement of {SERVER} was refused: {reason}")
    assert (talk.machine.state, talk.left) == (state, left)


@pytest.mark.parametrize("state", LISTENING[2:])
def test_a_rejected_lease_is_lost_at_once(state: State) -> None:
    """Law 5: the same address is asked for again, and nobody else's is taken (law 4)."""
    talk = reached(state)
    talk.hear(Kind.NAK, {56: b"wrong network"})
    reason = f"{SERVER} rejected request with Nak (msg: wrong network)"
    assert talk.new() == [Lost(f"the lease of {ADDRESS} has ended: {reason}")]
    assert talk.sent[-1].kind is Kind.DISCOVER
    assert talk.sent[-1].options[50] == packed(ADDRESS)
    talk.hear(Kind.OFFER, yiaddr="10.1.0.6")
    other = "10.1.0.6 is another address than 10.1.0.5, which the pod has and cannot change"
    assert talk.failure() == f"an offer of {SERVER} was refused: {other}"
    talk.hear(Kind.OFFER)
    talk.hear(Kind.ACK)
    [event] = talk.new()
    assert isinstance(event, Bound)


@pytest.mark.parametrize("state", LISTENING[2:])
def test_an_acknowledgement_of_another_address_ends_the_lease(state: State) -> None:
    """Law 4."""
    talk = reached(state)
    talk.hear(Kind.ACK, yiaddr="10.1.0.6")
    assert talk.new() == [
        Lost(f"the lease of {ADDRESS} has ended: {SERVER} acknowledged 10.1.0.6 instead of {ADDRESS}")
    ]
    assert talk.sent[-1].kind is Kind.DISCOVER


def test_another_server_cannot_reject_a_renewal() -> None:
    talk = reached(State.RENEWING)
    talk.hear(Kind.NAK, server=OTHER_SERVER)
    assert (talk.machine.state, talk.new()) == (State.RENEWING, [])


@pytest.mark.parametrize("state", LISTENING[1:])
def test_a_server_that_does_not_say_who_it_is_rejects_nothing(state: State) -> None:
    talk = reached(state)
    talk.hear(Kind.NAK, server="")
    assert (talk.machine.state, talk.new()) == (state, [])


def test_after_a_restart_a_lease_is_confirmed() -> None:
    """Law 7: RFC 2131's INIT-REBOOT: option 50, no 54, no ciaddr."""
    talk = Talk(lease=stored())
    [request] = talk.sent
    assert talk.ways == [(UNSPECIFIED, BROADCAST)]
    assert (request.kind, request.ciaddr) == (Kind.REQUEST, UNSPECIFIED)
    assert request.options == {12: b"pod", 50: packed(ADDRESS), 55: b"\3\1", 57: b"\5\xdc", 61: b"\0c1/net/eth0"}
    talk.hear(Kind.ACK, server=OTHER_SERVER)
    [event] = talk.new()
    assert isinstance(event, Bound)
    assert (event.lease.server, event.lease.expires, talk.machine.state) == (OTHER_SERVER, talk.now + 100, State.BOUND)


@pytest.mark.parametrize(
    ("expires", "waits", "then"),
    [
        (9000, [10, 20, 40], State.BOUND),
        (1100, [10, 20, 19.5], State.RENEWING),  # T1 comes meanwhile
        (1050.2, [], State.RENEWING),  # T1 comes before the confirmation began
        (1045, [10, 14.5], State.REBINDING),  # T1 has passed
        (1015, [10, 4.5], State.SELECTING),  # T2 has passed: the expiry comes
    ],
)
def test_silence_after_a_restart_is_no_refusal(expires: float, waits: list[float], then: State) -> None:
    """Law 7: the lease goes on by its times."""
    talk = Talk(lease=stored(expires))
    for wait in waits:
        assert round(talk.left, 3) == wait
        assert talk.machine.state is State.REBOOTING
        talk.wait()
    assert talk.machine.state is then
    assert [type(event) for event in talk.new() if not isinstance(event, Failed)] == [Lost] * (then is State.SELECTING)
    whom = {State.RENEWING: (ADDRESS, SERVER), State.REBINDING: (ADDRESS, BROADCAST)}.get(
        then, (UNSPECIFIED, BROADCAST)
    )
    assert talk.ways[-1] == whom


@pytest.mark.parametrize(("renew", "rebind"), [(math.inf, math.inf), (5000.0, 6000.0), (0.0, 0.0)])
def test_a_stored_lease_whose_times_are_wrong_ends_in_time(renew: float, rebind: float) -> None:
    """Law 5."""
    talk = Talk(lease=replace(stored(), renew=renew, rebind=rebind))
    while talk.machine._lease:
        talk.wait()
    assert talk.now == 1090


def test_a_lease_that_expired_without_a_daemon_is_lost() -> None:
    """Law 5; the pod keeps its address, so it is asked for (law 4)."""
    talk = Talk(lease=stored(999))
    assert talk.new() == [Lost(f"the lease of {ADDRESS} expired while no daemon ran")]
    assert (talk.kinds, talk.sent[0].options[50]) == ([Kind.DISCOVER], packed(ADDRESS))
    talk.hear(Kind.OFFER, yiaddr="10.1.0.6")
    assert "which the pod has and cannot change" in talk.failure()


@pytest.mark.parametrize("state", [State.BOUND, *LISTENING[2:]])
def test_a_node_that_slept_past_the_expiry_has_lost_its_lease(state: State) -> None:
    """Law 5, also if a late answer is read before the time is."""
    for first in ("time", "answer"):
        talk = bound() if state is State.BOUND else reached(state)
        if first == "time" or state is State.BOUND:
            talk.wait(500)
        else:
            talk.now += 500
            talk.hear(Kind.ACK)
        assert talk.new() == [Lost(f"the lease of {ADDRESS} has expired")]
        assert talk.machine.state is State.SELECTING


def test_an_address_is_probed_before_it_is_told() -> None:
    """Law 3; the answer to another probe is nothing. A renewal is not probed."""
    talk = Talk(replace(WISH, probe=True))
    talk.hear(Kind.OFFER)
    talk.hear(Kind.ACK)
    assert talk.new() == [Probe(ADDRESS)]
    assert not talk.client.listening
    talk.client.probed("10.1.0.6", True, talk.now)
    talk.client.probed(ADDRESS, False, talk.now + 3)
    talk.take()
    [event] = talk.new()
    assert isinstance(event, Bound)
    assert event.lease.expires == talk.now + 100
    talk.client.probed(ADDRESS, True, talk.now)
    talk.wait()
    talk.hear(Kind.ACK)
    assert [type(event) for event in talk.new()] == [Bound]


def test_an_address_of_another_host_is_declined() -> None:
    """Law 9."""
    talk = Talk(replace(WISH, probe=True))
    talk.hear(Kind.OFFER)
    talk.hear(Kind.ACK)
    talk.client.probed(ADDRESS, True, talk.now)
    talk.take()
    assert talk.failure() == f"another host uses {ADDRESS}, which {SERVER} gave"
    decline = talk.sent[-1]
    assert decline.kind is Kind.DECLINE
    assert decline.options == {50: packed(ADDRESS), 54: packed(SERVER), 61: b"\0c1/net/eth0"}
    assert (talk.ways[-1], decline.ciaddr) == ((UNSPECIFIED, BROADCAST), UNSPECIFIED)
    assert (talk.left, talk.client.listening) == (10, False)
    talk.wait()
    assert 50 not in talk.sent[-1].options
    talk.hear(Kind.OFFER)
    assert talk.failure().endswith(f"an offer of {SERVER} was refused: another host uses {ADDRESS}")
    talk.now += 600
    talk.hear(Kind.OFFER)
    assert talk.kinds[-1] is Kind.REQUEST


def test_a_lost_address_that_another_host_has_taken() -> None:
    """Laws 4 and 9: no other is taken, and for ten minutes it is not asked for."""
    talk = bound(replace(WISH, probe=True))
    assert talk.machine.state is State.PROBING
    talk.client.probed(ADDRESS, False, talk.now)
    talk.wait()
    talk.hear(Kind.NAK)
    talk.hear(Kind.OFFER)
    talk.hear(Kind.ACK)
    talk.client.probed(ADDRESS, True, talk.now)
    talk.take()
    talk.wait()
    assert (talk.kinds[-1], 50 in talk.sent[-1].options) == (Kind.DISCOVER, False)
    talk.hear(Kind.OFFER, yiaddr="10.1.0.6")
    assert talk.machine.state is State.SELECTING
    talk.wait(600)
    assert talk.sent[-1].options[50] == packed(ADDRESS)


@pytest.mark.parametrize("late", [True, False], ids=["answer", "silence"])
def test_a_probe_that_outlasts_the_lease(late: bool) -> None:
    """Law 5: nothing is told."""
    talk = Talk(replace(WISH, probe=True))
    talk.hear(Kind.OFFER)
    talk.hear(Kind.ACK)
    talk.new()
    if late:
        talk.now += 100
        talk.client.probed(ADDRESS, False, talk.now)
        talk.take()
    else:
        assert talk.left == 100
        talk.wait()
    assert talk.failure() == "the lease ended before its address was probed"


@pytest.mark.parametrize("state", [State.BOUND, *LISTENING[1:]])
def test_a_lease_is_given_back(state: State) -> None:
    """Law 11: to its server, from its address; also one whose acknowledgement is still under way."""
    talk = bound() if state is State.BOUND else reached(state)
    talk.client.release(talk.now)
    talk.take()
    release = talk.sent[-1]
    assert (release.kind, release.ciaddr, talk.ways[-1]) == (Kind.RELEASE, ADDRESS, (ADDRESS, SERVER))
    assert release.options == {54: packed(SERVER), 61: b"\0c1/net/eth0"}
    talk.client.release(talk.now)
    assert talk.client.take_datagrams() == [], "once"
    assert (talk.client.deadline, talk.client.listening, talk.new()) == (None, False, [])


@pytest.mark.parametrize("state", [State.SELECTING, State.INIT])
def test_without_a_lease_nothing_is_given_back(state: State) -> None:
    """Law 11; nor twice, nor after its end."""
    talk = Talk()
    while talk.machine.state is not state:
        talk.wait()
    sent = len(talk.sent)
    talk.client.release(talk.now)
    talk.take()
    assert (len(talk.sent), talk.client.deadline) == (sent, None)
    talk = bound()
    talk.now += 100
    talk.client.release(talk.now)
    talk.client.release(talk.now)
    talk.take()
    assert (talk.sent, talk.events) == ([], [])


def test_the_mac_may_change() -> None:
    """Corner of Go's: renewals ended. The server knows the client by its identifier."""
    talk = bound()
    talk.machine.wish = replace(talk.machine.wish, mac=OTHER)
    talk.wait()
    assert talk.sent[-1].mac == OTHER
    talk.hear(Kind.ACK)
    assert isinstance(talk.new()[-1], Bound)


def test_the_state_is_json() -> None:
    """What the daemon writes of a lease is enough to go on with it."""
    lease = stored()
    read = json.loads(json.dumps(asdict(lease)))
    again = replace(
        lease,
        addresses=tuple(Address(**address) for address in read["addresses"]),
        routes=tuple(Route(**route) for route in read["routes"]),
        server=read["server"],
        private=read["private"],
    )
    assert again == lease
    talk = Talk(lease=again)
    talk.client.release(talk.now)
    talk.take()
    assert talk.ways[-1] == (ADDRESS, SERVER)
