"""Router advertisements over days: the laws R1 to R6 of routers.py."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from cni_dhcp_daemon.client import ICMPV6, Bound, Lost, Route
from cni_dhcp_daemon.v6.advertisement import Advertisement, DnsServers, Domains, Onward, Prefix
from cni_dhcp_daemon.v6.routers import MOST, WINDOW
from cni_dhcp_daemon.v6.wish import Mode
from node.dhcp6link import FORMED, PREFIX, ROUTER, Link, advertisement, wish

HOUR, DAY = 3600, 86400


def link(**more: Any) -> Link:
    on = Link(wish(Mode.SLAAC))
    on.routers[ROUTER] = advertisement(**more)
    return on


def valid(on: Link) -> float:
    """How long the address is still valid."""
    assert on.lease
    (address,) = on.lease.addresses
    return address.expires - on.now


def test_everything_that_a_router_says_is_in_the_lease() -> None:
    on = link(
        mtu=1400,
        dns=(DnsServers(("2001:db8::53", "fe80::53", "::", "ff02::1"), 1800),),
        domains=(Domains(("ra.example",), 1800),),
        routes=(Onward("2001:db8:f::/48", 1800), Onward("::/0", 0), Onward("fe80::/64", 9)),
    )
    on.start().run(5)
    lease = on.lease
    assert lease
    assert on.addresses == [f"{FORMED}/64"]
    assert (lease.gateway, lease.mtu, lease.server) == ("", 1400, "")
    assert (lease.names.servers, lease.names.search) == (("2001:db8::53", "fe80::53"), ("ra.example",))
    assert lease.routes == (Route("2001:db8:f::/48", ROUTER),)


def test_the_sockets_are_open_only_around_a_solicitation() -> None:
    """R1: what arrives otherwise changes nothing."""
    on = link().start().run(WINDOW - 0.1)
    assert on.client.listening
    on.run(0.2)
    assert not on.client.listening
    on.client.advertised(advertisement(mtu=1300).encode(), ROUTER, on.now)
    on.collect()
    assert len(on.of(Bound)) == 1
    on.run(900)
    assert len(on.sent) == 2, "half of the router's lifetime of 30 minutes"
    assert not on.client.listening


@pytest.mark.parametrize(
    ("lifetime", "valid", "between"),
    [(1800, 86400, (810, 900)), (9000, 86400, (1620, 1800)), (4, 86400, (9, 10)), (0, 60, (27, 30))],
)
def test_when_routers_are_solicited_again(lifetime: int, valid: float, between: tuple[float, float]) -> None:
    """R1: after half the shortest lifetime, between 10 seconds and half an hour, and not all pods at once."""
    on = link(lifetime=lifetime, valid=valid, preferred=valid).start().run(1900)
    first, second = [at for at, _ in on.sent][:2]
    assert between[0] <= second - first - 0.02 <= between[1]


def test_a_flood_of_advertisements_is_not_heard() -> None:
    """R2."""
    on = link().start()
    for number in range(200):
        prefix = Prefix(f"2001:db8:{number:x}::/64", True, True, 7200, 3600)
        on.client.advertised(Advertisement(lifetime=9, prefixes=(prefix,)).encode(), f"fe80::{number + 5:x}", on.now)
    on.run(3)
    assert len(on.addresses) <= MOST
    assert len(on.of(Bound)) <= MOST + 1


def test_one_advertisement_of_a_thousand_things() -> None:
    """R2."""
    prefixes = tuple(Prefix(f"2001:db8:{number:x}::/64", True, True, 7200, 3600) for number in range(1000))
    on = link(prefixes=prefixes).start().run(3)
    assert len(on.addresses) == MOST


@pytest.mark.parametrize("source", ["2001:db8::1", "::", "nonsense"])
def test_a_router_has_a_link_local_address(source: str) -> None:
    on = Link(wish(Mode.SLAAC)).start()
    on.client.advertised(advertisement().encode(), source, on.now)
    on.run(5)
    assert not on.of(Bound)
    assert f"an advertisement of {source} was ignored" in on.reason


def test_a_router_that_goes_silent() -> None:
    """R3, R6: the gateway ends with the router's lifetime, the address with its own; then it is lost."""
    on = link().start().run(10)
    router = on.routers.pop(ROUTER)
    on.run(1800)
    assert on.lease
    assert (on.addresses, on.lease.gateway) == ([f"{FORMED}/64"], "")
    on.run(7200)
    assert not on.lease
    assert on.of(Lost)[0].reason == f"{FORMED} ended: router: no router has answered"
    on.routers[ROUTER] = router
    on.advertise(ROUTER)
    on.run(2)
    assert on.addresses == [f"{FORMED}/64"]


@pytest.mark.parametrize(
    ("left", "said", "then"),
    [
        (DAY, 2 * DAY, 2 * DAY),
        (DAY, 3 * HOUR, 3 * HOUR),
        (DAY, HOUR, 2 * HOUR),
        (DAY, 0, 2 * HOUR),
        (HOUR, 2 * HOUR, 2 * HOUR),
        (HOUR, 60, HOUR),
        (HOUR, 0, HOUR),
        (HOUR, math.inf, math.inf),
    ],
)
def test_the_two_hour_rule(left: float, said: float, then: float) -> None:
    """R4: RFC 4862, 5.5.3 e."""
    on = link(valid=left, preferred=0).start().run(1.5)
    before = valid(on)
    on.routers[ROUTER] = advertisement(valid=said, preferred=0)
    on.advertise(ROUTER)
    assert valid(on) == (before if then == left else then)


def test_renumbering() -> None:
    """The old prefix is deprecated, the new one is there; two hours later the old address is gone."""
    on = link(valid=DAY, preferred=DAY).start().run(10)
    old, new = (Prefix(f"2001:db8:{n}::/64", True, True, life, life) for n, life in ((1, 0.0), (2, 7200.0)))
    on.routers[ROUTER] = advertisement(prefixes=(old, new))
    on.run(1800)
    assert on.lease
    assert on.addresses == [f"{FORMED}/128", "2001:db8:2::ff:fe00:1/64"], "the old prefix is no longer on the link"
    assert on.lease.addresses[0].preferred <= on.now
    on.routers[ROUTER] = advertisement(prefixes=(new,))
    on.run(3 * HOUR)
    assert on.addresses == ["2001:db8:2::ff:fe00:1/64"]
    assert not on.of(Lost)


@pytest.mark.parametrize(
    "prefix",
    [
        Prefix("2001:db8:1::/63", True, True, 7200, 3600),
        Prefix("2001:db8:1::/64", True, True, 3600, 7200),
        Prefix("2001:db8:1::/64", True, True, 0, 0),
        Prefix("2001:db8:1::/64", True, False, 7200, 3600),
        Prefix("fe80::/64", True, True, 7200, 3600),
        Prefix("ff02::/64", True, True, 7200, 3600),
        Prefix("::/64", True, True, 7200, 3600),
        Prefix("::/0", True, True, 7200, 3600),
    ],
)
def test_a_prefix_that_gives_no_address(prefix: Prefix) -> None:
    """RFC 4862, 5.5.3 a to d."""
    assert not link(prefixes=(prefix,)).start().run(10).lease


def test_a_prefix_that_is_not_on_the_link_has_addresses_of_128_bits() -> None:
    prefix = Prefix(PREFIX, False, True, 7200, 3600)
    assert link(prefixes=(prefix,)).start().run(10).addresses == [f"{FORMED}/128"]


@pytest.mark.parametrize(
    ("first", "second", "gateway"), [(0, 0, ROUTER), (0, 1, "fe80::2"), (-1, 0, "fe80::2"), (1, 0, ROUTER)]
)
def test_the_router_of_the_highest_preference_is_the_gateway(first: int, second: int, gateway: str) -> None:
    """RFC 4191; the one heard first among equals, so that it does not change from advertisement to advertisement."""
    route = Onward("2001:db8:f::/48", 1800)
    on = link(preference=first, routes=(replace(route, preference=first),))
    on.routers["fe80::2"] = advertisement(preference=second, routes=(replace(route, preference=second),))
    on.start().run(4 * HOUR)
    assert on.lease
    assert on.lease.gateway == gateway
    assert on.lease.routes == (Route("2001:db8:f::/48", gateway),)


def test_what_gets_the_lifetime_0_is_forgotten() -> None:
    on = link(dns=(DnsServers(("2001:db8::53",), 1800),), routes=(Onward("2001:db8:f::/48", 1800),)).start().run(2)
    on.routers[ROUTER] = advertisement(
        lifetime=0, dns=(DnsServers(("2001:db8::53",), 0),), routes=(Onward("2001:db8:f::/48", 0),)
    )
    on.advertise(ROUTER)
    assert on.lease
    assert (on.lease.gateway, on.lease.names.servers, on.lease.routes) == ("", (), ())


def test_solicitations_without_an_answer_become_rare() -> None:
    """R6: RFC 7559."""
    on = Link(wish(Mode.SLAAC)).start().run(DAY)
    times = [at for at, datagram in on.sent if datagram.protocol == ICMPV6]
    assert 3.6 <= times[1] - times[0] <= 4.4
    assert max(after - before for before, after in pairwise(times)) <= 3960
    assert 30 < len(times) < 40
