"""DHCPv6 with servers that are several, silent, slow, wrong or exchanged: the laws S1 to S8 of servers.py."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from cni_dhcp_daemon.client import Bound, Lost
from cni_dhcp_daemon.v6.binding import MOST
from cni_dhcp_daemon.v6.message import SERVERS, Association, Code, Kind, Leased, Message, Outcome, Status
from cni_dhcp_daemon.v6.retransmission import Limits, Retransmission, Step
from cni_dhcp_daemon.v6.servers import IMPATIENT, LIMITS
from cni_dhcp_daemon.v6.wish import Mode
from node.dhcp6link import GIVEN, PREFIX, ROUTER, Link, Server, advertisement, wish

Answer = Callable[[Message], Message | None]


class Odd(Server):
    """A server that answers some kinds of messages otherwise."""

    def __init__(self, special: dict[Kind, Answer | None] | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.special = special or {}

    def answer(self, message: Message) -> Message | None:
        kind = Kind(message.kind)
        if kind in self.special and message.server in (b"", self.duid):
            special = self.special[kind]
            return special(message) if special else None
        return super().answer(message)

    def says(self, code: Outcome, inner: bool = True) -> Answer:
        """An answer that is a status, of the IA or of the whole message."""
        status = Status(code, "so it is")

        def answer(message: Message) -> Message:
            kind = Kind.ADVERTISE if message.kind == Kind.SOLICIT else Kind.REPLY
            associations = tuple(Association(each.iaid, status=status) for each in message.associations if inner)
            return self.reply(message, kind, associations=associations, status=Status() if inner else status)

        return answer


def link(*servers: Server, **more: Any) -> Link:
    """A router is there too, so that the first lease does not wait for one."""
    on = Link(wish(Mode.DHCP, **more))
    on.routers[ROUTER] = advertisement()
    on.servers += servers
    return on


# Retransmission


@pytest.mark.parametrize("kind", LIMITS)
def test_a_message_is_sent_again_by_its_limits(kind: Kind) -> None:
    """RFC 8415, 15: about doubled, up to MRT, and ended by MRC or MRD."""
    on = Link(wish()).client
    limits = LIMITS[kind]
    timer = Retransmission(limits, on._random, 100.0)
    times = []
    while len(times) < 40 and timer.step(timer.next) is Step.SEND:
        times.append(timer.next)
    gaps = [after - before for before, after in zip([100.0, *times], times, strict=False)]
    assert limits.first * (1.0 if limits.collect else 0.9) <= gaps[0] <= limits.first * 1.1
    for before, after in pairwise(gaps):
        assert after <= max(before * 2.1, limits.first) + 0.001
        assert after <= limits.longest * 1.1
    assert len(times) == {Kind.REQUEST: 10, Kind.DECLINE: 4, Kind.CONFIRM: 4}.get(kind, 40) or kind is Kind.CONFIRM
    assert timer.next - timer.started <= limits.duration


def test_a_node_that_has_slept_sends_once() -> None:
    timer = Retransmission(Limits(1), Link(wish()).client._random, 0.0)
    assert [timer.step(at) for at in (0.0, 90000.0, 90000.0)] == [Step.SEND, Step.SEND, Step.WAIT]


# Acquiring


def test_four_messages_and_two() -> None:
    """Rapid commit where both agree; else the client collects offers for the first interval, at least a second."""
    slow = link(Server(), rapid=False).start().run(10)
    assert slow.servers[0].kinds() == ["SOLICIT", "REQUEST"]
    assert 1001 <= next(at for at, d in slow.sent if d.payload[0] == Kind.REQUEST) < 1001.2
    assert link(Server()).start().run(10).servers[0].kinds() == ["SOLICIT"]


def test_every_message_goes_to_the_multicast_address() -> None:
    """S2."""
    on = link(Server()).start().run(90000)
    assert {d.destination for _, d in on.sent if d.protocol == "udp"} == {SERVERS}
    assert {d.source for _, d in on.sent} == {""}


@pytest.mark.parametrize(("preferences", "chosen"), [((0, 10), 1), ((10, 0), 0), ((0, 0), 0), ((0, 255), 1)])
def test_the_server_of_the_highest_preference_is_asked(preferences: tuple[int, int], chosen: int) -> None:
    """255 ends the waiting."""
    servers = [Server(f"fe80::{n}", bytes([0, 9, n]), f"2001:db8:1::{n}") for n in (1, 2)]
    for server, preference in zip(servers, preferences, strict=True):
        server.preference = preference
    on = link(*servers, rapid=False).start().run(10)
    assert on.addresses == [f"{servers[chosen].address}/64"]
    asked = next(at for at, d in on.sent if d.payload[0] == Kind.REQUEST)
    assert (asked < 1000.5) is (255 in preferences)


def test_a_server_that_offers_and_is_silent_gives_way_to_the_next() -> None:
    """The other has offered too, so three REQUESTs are enough."""
    silent = Odd({Kind.REQUEST: None})
    silent.preference = 9
    good = Server("fe80::6", b"\0\1two", "2001:db8:1::6")
    on = link(silent, good, rapid=False).start().run(12)
    assert on.addresses == ["2001:db8:1::6/64"]
    assert [m.server for m in good.heard if m.kind == Kind.REQUEST] == [silent.duid] * IMPATIENT.count + [good.duid]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("code", "inner", "reason"),
    [
        (Outcome.NoAddrsAvail, True, "server fe80::5 offers no address (NoAddrsAvail: so it is)"),
        (Outcome.NoAddrsAvail, False, "server fe80::5 offers no address (NoAddrsAvail: so it is)"),
        (Outcome.UnspecFail, False, "server fe80::5 offers no address (UnspecFail: so it is)"),
    ],
)
def test_why_there_is_no_offer(code: Outcome, inner: bool, reason: str) -> None:
    server = Odd()
    server.special[Kind.SOLICIT] = server.says(code, inner)
    on = link(server).start().run(10)
    assert on.reason == f"DHCPv6: {reason}"
    server.special.clear()
    assert on.run(20).addresses == [f"{GIVEN}/64"]


@pytest.mark.parametrize("code", [Outcome.NoAddrsAvail, Outcome.NotOnLink])
def test_a_refused_request_is_followed_by_a_pause_that_doubles(code: Outcome) -> None:
    """S6."""
    server = Odd()
    server.special[Kind.REQUEST] = server.says(code, inner=code is Outcome.NoAddrsAvail)
    on = link(server, rapid=False).start().run(600)
    assert on.reason == f"DHCPv6: server fe80::5 answered REQUEST with {code.name}: so it is"
    assert 8 < server.kinds().count("SOLICIT") < 20
    if code is Outcome.NotOnLink:
        assert server.heard[-2].associations[0].addresses == (), "the address is not asked for again"


@pytest.mark.parametrize("code", [Outcome.UnspecFail, Outcome.UseMulticast])
def test_a_request_is_repeated_after_a_passing_failure(code: Outcome) -> None:
    server = Odd()
    server.special[Kind.REQUEST] = server.says(code, inner=False)
    on = link(server, rapid=False).start().run(5)
    assert server.kinds().count("REQUEST") == 3
    assert on.reason == f"DHCPv6: server fe80::5 answered REQUEST with {code.name}: so it is"
    server.special.clear()
    assert on.run(10).addresses == [f"{GIVEN}/64"]


WRONG: dict[str, Callable[[Message], Message]] = {
    "another transaction": lambda m: replace(m, transaction=m.transaction ^ 1),
    "another client": lambda m: replace(m, client=b"\0\1you"),
    "does not name its server": lambda m: replace(m, server=b""),
    "a CONFIRM does not answer": lambda m: replace(m, kind=Kind.CONFIRM),
    "not as a rapid commit": lambda m: replace(m, kind=Kind.REPLY, rapid=False),
    "no usable one": lambda m: replace(m, associations=()),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_wrong_packet_changes_nothing_and_is_mentioned(why: str) -> None:
    """S1."""
    server = Odd()
    server.special[Kind.SOLICIT] = lambda message: WRONG[why](server.reply(message, Kind.ADVERTISE))
    on = link(server).start().run(4)
    assert not on.lease
    assert set(server.kinds()) == {"SOLICIT"}
    assert why in on.reason


def test_a_stranger_cannot_answer_for_the_server_that_was_asked() -> None:
    """S1."""
    server = Odd()
    server.special[Kind.REQUEST] = lambda message: replace(server.reply(message), server=b"\0\1bad")
    on = link(server, rapid=False).start().run(4)
    assert not on.lease
    assert "another server than the one that was asked" in on.reason


@pytest.mark.parametrize(
    "leased",
    [
        Leased(GIVEN, 7200, 3600),
        Leased(GIVEN, 0, 0),
        Leased(GIVEN, 1, 2),
        Leased("fe80::9", 3600, 7200),
        Leased("ff02::9", 3600, 7200),
        Leased("::1", 3600, 7200),
        Leased(GIVEN, 3600, 7200, Status(Outcome.NotOnLink)),
    ],
)
def test_an_address_that_makes_no_sense_is_not_taken(leased: Leased) -> None:
    server = Odd()

    def answer(message: Message) -> Message:
        association = Association(message.associations[0].iaid, addresses=(leased,))
        return server.reply(message, associations=(association,), rapid=message.kind == Kind.SOLICIT)

    server.special = {Kind.SOLICIT: answer, Kind.REQUEST: answer}
    on = link(server).start().run(100)
    assert not on.of(Bound)


# Times


@pytest.mark.parametrize(
    ("t1", "t2", "renew", "rebind"),
    [
        (0, 0, 1800, 2880),
        (600, 1200, 600, 1200),
        (600, 0, 600, 2880),
        (0, 1200, 1200, 1200),
        (9000, 9900, 1800, 2880),
        (math.inf, math.inf, 1800, 2880),
    ],
)
def test_t1_and_t2(t1: float, t2: float, renew: float, rebind: float) -> None:
    """S5: of the server, or half and four fifths of the preferred lifetime of an hour; never after the end."""
    server = Server()
    server.renew, server.rebind = t1, t2
    on = Link(wish(Mode.DHCP))
    on.servers.append(server)
    on.start().run(10)
    assert on.lease
    took = on.lease.addresses[0].expires - 7200
    assert (on.lease.renew - took, on.lease.rebind - took) == pytest.approx((renew, rebind))


def test_t1_after_t2_is_ignored() -> None:
    """RFC 8415, 21.4."""
    server = Server()
    server.renew, server.rebind = 900, 600
    assert not link(server).start().run(60).lease


def test_for_ever_is_never_renewed() -> None:
    server = Server()
    server.preferred = server.valid = math.inf
    on = Link(wish(Mode.DHCP))
    on.servers.append(server)
    on.start().run(10 * 86400)
    assert on.lease
    assert on.lease.expires == math.inf
    assert server.kinds() == ["SOLICIT"]


def test_seconds_are_renewed_in_seconds() -> None:
    server = Server()
    server.preferred = server.valid = 4
    on = link(server).start().run(60)
    assert on.addresses
    assert not on.of(Lost)
    assert 15 < server.kinds().count("RENEW") <= 60 / 2


# Extending


def test_a_silent_server_is_asked_until_t2_then_any_and_the_address_ends_with_its_lifetime() -> None:
    """S4."""
    on = link(Server()).start().run(10)
    assert on.lease
    end = on.lease.expires
    (server,) = on.servers
    server.answer = lambda message: None  # type: ignore[method-assign]
    on.run(end - on.now - 1)
    assert on.lease
    assert not on.of(Lost)
    named = [(m.kind, m.server != b"") for m in server.heard[1:]]
    assert set(named) == {(Kind.RENEW, True), (Kind.REBIND, False)}
    assert 8 <= len(named) <= 30
    on.run(2)
    assert on.of(Lost)[0].reason == f"{GIVEN} ended: DHCPv6: the lease has ended: no server has answered REBIND"
    assert server.heard[-1].kind == Kind.SOLICIT
    assert server.heard[-1].associations[0].addresses[0].address == GIVEN


def test_an_exchanged_server_extends_the_address() -> None:
    """The other server knows the bindings: REBIND finds it, and it is asked from then on."""
    on = link(Server()).start().run(10)
    other = Server("fe80::6", b"\0\1two")
    on.servers = [other]
    on.run(7200)
    assert not on.of(Lost)
    assert on.lease
    assert on.lease.server == "fe80::6"
    assert "RENEW" in other.kinds()
    assert other.heard[-1].server in (b"", other.duid)


def test_a_server_that_has_forgotten_is_asked_for_the_same_address() -> None:
    """S7: NoBinding; the address stays on the interface meanwhile."""
    server = Odd()
    on = link(server).start().run(10)
    server.special[Kind.RENEW] = server.says(Outcome.NoBinding)
    on.run(2000)
    assert server.kinds()[:3] == ["SOLICIT", "RENEW", "REQUEST"]
    assert server.heard[2].associations[0].addresses[0].address == GIVEN
    assert not on.of(Lost)
    assert on.addresses == [f"{GIVEN}/64"]


def test_a_forgetful_server_that_refuses_does_not_cause_a_flood() -> None:
    """S5, S6."""
    server = Odd()
    on = link(server).start().run(10)
    server.special = {Kind.RENEW: server.says(Outcome.NoBinding), Kind.REQUEST: server.says(Outcome.NoAddrsAvail)}
    server.special[Kind.SOLICIT] = server.says(Outcome.NoAddrsAvail)
    on.run(7300)
    assert len(server.heard) < 60
    assert len(on.of(Lost)) == 1


def test_a_stranger_that_knows_no_binding_does_not_change_the_address() -> None:
    """S7: while the server itself is slow to answer REBIND."""
    server, stranger = Odd(), Odd(source="fe80::6", duid=b"\0\1two", address="2001:db8:1::bad")
    on = link(server).start().run(10)
    on.servers.append(stranger)
    server.special[Kind.RENEW] = None
    server.special[Kind.REBIND] = None
    stranger.special[Kind.REBIND] = stranger.says(Outcome.NoBinding)
    rebinds = lambda: server.kinds().count("REBIND")  # noqa: E731
    while not rebinds():
        on.run(1)
    on.deliver(server.reply(server.heard[-1]))
    on.run(30)
    assert on.addresses == [f"{GIVEN}/64"]
    assert "REQUEST" not in server.kinds()


def test_a_stranger_alone_gives_the_next_address() -> None:
    """S7: the server is gone, and the other one is asked after its NoBinding."""
    on = link(Server()).start().run(10)
    other = Odd(source="fe80::6", duid=b"\0\1two", address="2001:db8:1::6")
    other.special[Kind.REBIND] = other.says(Outcome.NoBinding)
    on.servers = [other]
    on.run(7100)
    assert on.addresses == ["2001:db8:1::6/64", f"{GIVEN}/64"], "S3"
    on.run(100)
    assert on.addresses == ["2001:db8:1::6/64"]
    assert not on.of(Lost)


def test_renumbering_by_the_server() -> None:
    """The old address gets the lifetime 0, a new one comes with it and is probed."""
    server = Odd()
    on = link(server).start().run(10)

    def renumber(message: Message) -> Message:
        leased = (Leased(GIVEN, 0, 0), Leased("2001:db8:1::2", 3600, 7200))
        return server.reply(message, associations=(Association(message.associations[0].iaid, addresses=leased),))

    server.special[Kind.RENEW] = renumber
    on.run(2000)
    assert on.addresses == ["2001:db8:1::2/64"]


def test_an_address_that_is_not_mentioned_stays_until_it_ends() -> None:
    """S3; and a short rest of it does not hurry the renewals of the others (S5)."""
    server = Odd()
    two = (Leased(GIVEN, 3600, 7200), Leased("2001:db8:1::2", 3600, 7200))

    def giving(*leased: Leased) -> Answer:
        return lambda message: server.reply(
            message,
            associations=(Association(message.associations[0].iaid, addresses=leased),),
            rapid=message.kind == Kind.SOLICIT,
        )

    server.special = {Kind.SOLICIT: giving(*two), Kind.RENEW: giving(two[0])}
    on = link(server).start().run(7000)
    assert on.addresses == [f"{GIVEN}/64", "2001:db8:1::2/64"]
    on.run(1000)
    assert on.addresses == [f"{GIVEN}/64"]
    assert server.kinds().count("RENEW") < 6


def test_a_server_cannot_pile_up_addresses() -> None:
    """Each renewal brings another one that never ends: the newest ones are kept."""
    server = Odd()
    server.valid = server.preferred = math.inf
    server.renew = 100.0
    on = link(server).start()
    for number in range(40):
        server.address = f"2001:db8:1::{number + 1:x}"
        on.run(100)
    assert len(on.addresses) == MOST


def test_a_server_that_takes_all_back_ends_the_lease() -> None:
    server = Odd()
    on = link(server).start().run(10)

    def take(message: Message) -> Message:
        leased = (Leased(GIVEN, 0, 0),)
        return server.reply(message, associations=(Association(message.associations[0].iaid, addresses=leased),))

    server.special = {Kind.RENEW: take, Kind.SOLICIT: None}
    on.run(2000)
    assert on.of(Lost)[0].reason.endswith("server fe80::5 has taken its addresses back")
    assert not on.lease


def test_one_of_two_addresses_in_use() -> None:
    """S3, S8: only that one is declined."""
    server = Odd()
    two = (Leased(GIVEN, 3600, 7200), Leased("2001:db8:1::2", 3600, 7200))
    server.special[Kind.SOLICIT] = lambda message: server.reply(
        message, associations=(Association(message.associations[0].iaid, addresses=two),), rapid=True
    )
    on = link(server)
    on.taken = {GIVEN}
    on.start().run(20)
    assert on.addresses == ["2001:db8:1::2/64"]
    assert [e.address for e in server.heard[-1].associations[0].addresses] == [GIVEN]
    assert server.kinds() == ["SOLICIT", "DECLINE"]


# Settings


def stateless(server: Server) -> Link:
    on = Link(wish(Mode.STATELESS))
    on.servers.append(server)
    return on


@pytest.mark.parametrize(("refresh", "times"), [(None, 3), (7200.0, 25), (1.0, 289), (math.inf, 1)])
def test_settings_are_asked_for_again(refresh: float | None, times: int) -> None:
    """RFC 8415, 21.23: after a day, or when the server says, but not before 10 minutes."""
    server = Odd()
    server.special[Kind.INFORMATION_REQUEST] = lambda message: server.reply(message, refresh=refresh)
    on = stateless(server).start().run(2 * 86400 + 10)
    assert server.kinds().count("INFORMATION_REQUEST") in (times, 2 * times - 1)
    assert on.lease


def test_settings_that_change_are_reported() -> None:
    server = Odd()
    on = stateless(server).start().run(10)
    server.special[Kind.INFORMATION_REQUEST] = lambda message: server.reply(message, dns_servers=("2001:db8::54",))
    on.run(86400)
    assert on.lease
    assert on.lease.names.servers == ("2001:db8::54",)


@pytest.mark.parametrize("value", [60, 59, 86401])
def test_the_longest_wait_that_a_server_sets(value: int) -> None:
    """SOL_MAX_RT counts even of a server without addresses, between 60 and 86400 seconds."""
    server = Odd()
    refuse = server.says(Outcome.NoAddrsAvail)
    server.special[Kind.SOLICIT] = lambda message: replace(refuse(message), sol_max_rt=value)  # type: ignore[type-var]
    link(server).start().run(4 * 3600)
    assert (len(server.heard) > 100) is (value == 60)


# What is sent


def test_what_a_solicit_contains() -> None:
    on = link(Server(), request=(56,), provide=((16, b"vendor"),)).start()
    message = on.servers[0].heard[0]
    wished = wish()
    assert (message.client, message.associations) == (wished.client, (Association(wished.iaid),))
    assert message.requested == (Code.DNS_SERVERS, Code.DOMAINS, Code.SOL_MAX_RT, 56)
    assert (message.rapid, message.elapsed, message.others) == (True, 0, ((16, b"vendor"),))


def test_the_identifiers_belong_to_the_attachment() -> None:
    """They are the same after a restart, and differ between interfaces with one MAC."""
    one, other = wish(), replace(wish(), name="container/network/net1")
    assert one.client == wish().client
    assert (len(one.client), one.client[:2]) == (18, b"\0\4")
    assert one.client != other.client
    assert one.iaid != other.iaid
    assert wish(duid=b"\0\3\0\1mac...").client == b"\0\3\0\1mac..."
    assert wish(identifier=bytes(7) + b"\7").address(PREFIX, 0) == "2001:db8:1::7"
