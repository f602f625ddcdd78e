"""Whatever arrives, and whenever: the IPv6 client never floods, never holds an address too long, and goes on."""

import json
import math
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cni_dhcp_daemon.client import Bound
from cni_dhcp_daemon.v6.advertisement import Advertisement, DnsServers, Onward, Prefix
from cni_dhcp_daemon.v6.message import Association, Kind, Leased, Message, Outcome, Status
from cni_dhcp_daemon.v6.wish import Mode
from node.dhcp6link import GIVEN, PREFIX, ROUTER, Link, Server, advertisement, wish

SECONDS = st.sampled_from([0.0, 1.0, 3.0, 10.0, 600.0, 7300.0, 100000.0, math.inf])
STATUS = st.sampled_from([Status(), *map(Status, Outcome)])
ADDRESS = st.sampled_from([GIVEN, "2001:db8:1::2", "2001:db8:9::3", "fe80::1", "ff02::1"])
LEASED = st.builds(Leased, ADDRESS, SECONDS, SECONDS, st.just(Status()) | STATUS)
ASSOCIATION = st.builds(
    Association, st.sampled_from([wish().iaid, 1]), SECONDS, SECONDS, st.lists(LEASED, max_size=3).map(tuple), STATUS
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from([Kind.ADVERTISE, Kind.REPLY, Kind.SOLICIT]),
        "transaction": st.just(7),
        "client": st.sampled_from([b"", b"\0\1you"]),
        "server": st.sampled_from([b"", b"\0\1bad"]),
        "associations": st.lists(ASSOCIATION, max_size=2).map(tuple),
        "status": STATUS,
        "preference": st.sampled_from([0, 255]),
        "rapid": st.booleans(),
        "refresh": SECONDS,
        "sol_max_rt": st.sampled_from([0, 60, 2**32 - 1]),
    },
)
PREFIXES = st.builds(
    Prefix,
    st.sampled_from([PREFIX, "2001:db8:2::/64", "2001:db8:3::/48", "::/0", "fe80::/64"]),
    st.booleans(),
    st.booleans(),
    SECONDS,
    SECONDS,
)
ADVERTISEMENTS = st.builds(
    Advertisement,
    managed=st.booleans(),
    other=st.booleans(),
    lifetime=st.sampled_from([0, 1, 1800, 65535]),
    mtu=st.sampled_from([0, 1, 1280, 2**32 - 1]),
    prefixes=st.lists(PREFIXES, max_size=3).map(tuple),
    routes=st.lists(st.builds(Onward, st.sampled_from(["2001:db8:f::/48", "::/0"]), SECONDS), max_size=2).map(tuple),
    dns=st.lists(st.builds(DnsServers, st.just(("2001:db8::53",)), SECONDS), max_size=1).map(tuple),
)
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 2.0, 30.0, 1000.0, 9000.0])),
    st.tuples(st.just("server"), st.lists(CHANGES, max_size=4)),
    st.tuples(st.just("router"), ADVERTISEMENTS),
    st.tuples(st.just("octets"), st.binary(max_size=60)),
    st.tuples(st.just("taken"), st.sampled_from([(), (GIVEN,), ("2001:db8:1::2", GIVEN)])),
    st.tuples(st.just("sleep"), st.sampled_from([100.0, 10000.0])),
    st.tuples(st.just("restart"), st.sampled_from([0.0, 100.0, 10000.0])),
)


class Fickle(Server):
    """A server whose answers change, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[dict[str, Any]] = []

    def answer(self, message: Message) -> Message | None:
        answer = super().answer(message)
        return (
            replace(answer, **self.changes[len(self.heard) % len(self.changes)]) if answer and self.changes else answer
        )


def act(on: Link, what: str, how: Any) -> Link:
    server = on.servers[0]
    assert isinstance(server, Fickle)
    if what == "wait":
        on.run(how)
    elif what == "server":
        server.changes = how
    elif what == "router":
        on.routers[ROUTER] = how
        on.advertise(ROUTER)
    elif what == "octets" and on.client.listening:
        on.client.received(how, "fe80::9", on.now)
        on.client.advertised(how, "fe80::9", on.now)
        on.collect()
    elif what == "taken":
        on.taken = set(how)
    elif what == "sleep":
        on.now += how
        on.client.advance(on.now)
        on.collect()
    elif what == "restart":
        on = restarted(on, how)
    return on


def restarted(on: Link, after: float) -> Link:
    lease = on.lease and replace(on.lease, private=json.loads(json.dumps(on.lease.private)))
    following = Link(on.client.wish, lease, on.now + after)
    following.routers, following.servers, following.taken = on.routers, on.servers, on.taken
    if lease and following.now >= lease.expires:
        following.lease = None  # The daemon itself sees that it has ended.
    following.client.start(following.now)
    following.collect()
    return following


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(Mode), st.booleans(), st.lists(STEPS, max_size=12))
def test_whatever_happens(mode: Mode, rapid: bool, steps: list[tuple[str, Any]]) -> None:
    """Link checks after each call that the deadline is to come, and that no address is beyond its valid lifetime."""
    on = Link(wish(mode, rapid=rapid))
    on.servers.append(Fickle())
    on.start()
    for what, how in steps:
        on = act(on, what, how)
        times = [at for at, _ in on.sent]
        assert all(after - before >= 5 for before, after in zip(times, times[30:], strict=False)), "a flood"
        assert len(on.of(Bound)) <= 40 + 4 * len(on.sent)
    # In a network that is in order again, it gets a lease after the longest wait.
    server = Fickle()
    on.servers, on.routers, on.taken = [server], {ROUTER: advertisement(managed=True)}, set()
    on.run(3 * 3600)
    assert on.lease
    assert on.lease.addresses
