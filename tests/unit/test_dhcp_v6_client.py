"""The IPv6 client as a whole, on a simulated link: its modes, and the laws C1 to C6 of client.py."""

import json
from dataclasses import replace

import pytest

from cni_dhcp_daemon.client import Bound, Client6, Failed, Lost, Probe, Route
from cni_dhcp_daemon.v6.message import Kind, Outcome, Status
from cni_dhcp_daemon.v6.routers import TRIES
from cni_dhcp_daemon.v6.wish import Mode
from node.dhcp6link import FORMED, GIVEN, PREFIX, ROUTER, Link, Server, advertisement, wish


def link(mode: Mode, router: bool = True, server: bool = True, **flags: bool) -> Link:
    made = Link(wish(mode))
    if router:
        made.routers[ROUTER] = advertisement(**flags)  # type: ignore[arg-type]
    if server:
        made.servers.append(Server())
    return made


def test_the_client_fits_the_daemons_contract() -> None:
    client: Client6 = Link(wish()).client
    assert client.deadline is None
    assert not client.listening


@pytest.mark.parametrize(
    ("mode", "flags", "addresses", "heard"),
    [
        (Mode.AUTO, {}, [f"{FORMED}/64"], []),
        (Mode.AUTO, {"other": True}, [f"{FORMED}/64"], ["INFORMATION_REQUEST"]),
        (Mode.AUTO, {"managed": True}, [f"{GIVEN}/64", f"{FORMED}/64"], ["SOLICIT"]),
        (Mode.SLAAC, {"managed": True, "other": True}, [f"{FORMED}/64"], []),
        (Mode.DHCP, {}, [f"{GIVEN}/64"], ["SOLICIT"]),
        (Mode.STATELESS, {}, [f"{FORMED}/64"], ["INFORMATION_REQUEST"]),
    ],
)
def test_each_mode_has_its_addresses_and_exchanges(
    mode: Mode, flags: dict[str, bool], addresses: list[str], heard: list[str]
) -> None:
    """One lease, as soon as everything is there: in the time of a probe; then nothing is listened to (C2, C3, R1)."""
    on = link(mode, **flags).start().run(4.5)
    assert on.addresses == addresses
    assert on.servers[0].kinds() == heard
    (bound,) = on.of(Bound)
    assert bound.lease.gateway == ROUTER
    assert bound.lease.names.search == (("dhcp.example",) if heard else ())
    assert next(at for at, event in on.events if isinstance(event, Bound)) < 1001.1
    assert not on.client.listening


def test_dhcp_without_a_router_has_an_address_of_its_own_and_no_gateway() -> None:
    """It waits for a router as long as the wish says (C2); one that comes later adds the gateway, and the prefix's length."""
    on = link(Mode.DHCP, router=False).start().run(4.9)
    assert not on.lease
    on.run(0.2)
    assert on.lease
    assert (on.addresses, on.lease.gateway) == ([f"{GIVEN}/128"], "")
    on.routers[ROUTER] = advertisement()
    on.advertise(ROUTER)
    assert (on.addresses, on.lease.gateway) == ([f"{GIVEN}/64"], ROUTER)


def test_a_silent_server_does_not_hold_up_the_routers_addresses() -> None:
    """M is set, but nobody answers SOLICIT: the first lease has what there is; the address of DHCPv6 follows (C2)."""
    on = link(Mode.AUTO, server=False, managed=True).start().run(6)
    assert on.addresses == [f"{FORMED}/64"]
    assert "DHCPv6: no server has answered SOLICIT" in on.reason
    on.servers.append(Server())
    on.run(20)
    assert on.addresses == [f"{GIVEN}/64", f"{FORMED}/64"]


def test_settings_alone_are_a_lease_of_stateless() -> None:
    on = link(Mode.STATELESS, router=False).start().run(6)
    assert on.lease
    assert (on.lease.addresses, on.lease.names.servers) == ((), ("2001:db8::53",))


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.SLAAC])
def test_nobody_answers(mode: Mode) -> None:
    """The reason says so; the solicitations become rare (R6)."""
    on = link(mode, router=False).start().run(86400)
    assert not on.lease
    assert on.reason.startswith("router: no router has answered")
    assert ("the mode dhcp" in on.reason) is (mode is Mode.AUTO)
    assert len(on.sent) < 40
    assert on.client.listening


def test_a_router_without_a_prefix_for_addresses_is_named() -> None:
    on = Link(wish(Mode.SLAAC))
    on.routers[ROUTER] = advertisement(prefixes=())
    on.start().run(60)
    assert on.reason == f"router: router {ROUTER} advertises no prefix of 64 bits for addresses"


def test_each_address_is_probed_before_it_is_used() -> None:
    """C1; a renewed one is not probed again."""
    on = link(Mode.AUTO, managed=True).start().run(86400)
    assert sorted(event.address for event in on.of(Probe)) == [GIVEN, FORMED]


def test_an_address_in_use_is_declined_and_another_is_taken() -> None:
    """S8."""
    on = link(Mode.DHCP)
    on.taken = {GIVEN}
    server = on.servers[0]
    normal = server.answer

    def other_after_decline(message):  # type: ignore[no-untyped-def]
        if message.kind == Kind.DECLINE:
            server.address = "2001:db8:1::1001"
        return normal(message)

    server.answer = other_after_decline  # type: ignore[method-assign]
    on.start().run(10)
    assert on.addresses == ["2001:db8:1::1001/64"]
    assert server.kinds() == ["SOLICIT", "DECLINE", "SOLICIT"]
    assert on.reason == f"DHCPv6: another host has {GIVEN}, which server fe80::5 has given"


def test_a_formed_address_in_use_is_replaced_by_an_opaque_one() -> None:
    """R5: RFC 7217; after the last try the prefix has none."""
    on = link(Mode.SLAAC)
    on.taken = {FORMED}
    on.start().run(10)
    (address,) = on.addresses
    assert address.startswith("2001:db8:1:0:")
    assert address != FORMED
    assert Link(wish(Mode.SLAAC)).client.wish.address(PREFIX, 1) == address.removesuffix("/64")


def test_every_formed_address_is_in_use() -> None:
    on = link(Mode.SLAAC)
    on.taken = {on.client.wish.address(PREFIX, tries) for tries in range(9)}
    on.start().run(86400)
    assert not on.lease
    assert len(on.of(Probe)) == TRIES
    assert "another host has 2001:db8:1:" in on.of(Failed)[TRIES - 1].reason


@pytest.mark.parametrize("mode", list(Mode))
def test_days_pass_quietly(mode: Mode) -> None:
    """Two days with lifetimes of two hours: bound all the time, the sockets closed nearly all of it."""
    on = link(mode, managed=True).start().run(2 * 86400)
    assert on.lease
    assert not on.of(Lost)
    assert len(on.sent) < 2 * 96 * 1.2 + 2 * 48
    assert not on.client.listening


def test_release_gives_the_address_back_once_and_ends_everything() -> None:
    """C5."""
    on = link(Mode.DHCP).start().run(10)
    on.client.release(on.now)
    on.collect()
    before = len(on.sent), len(on.events)
    assert on.servers[0].kinds()[-1] == "RELEASE"
    assert on.servers[0].heard[-1].associations[0].addresses[0].address == GIVEN
    assert on.client.deadline is None
    assert not on.client.listening
    on.client.advance(on.now + 9999)
    on.client.release(on.now + 9999)
    on.collect()
    assert (len(on.sent), len(on.events)) == before


def test_another_mac_is_for_what_comes() -> None:
    """The routers answer to it; the address stays."""
    on = link(Mode.SLAAC).start().run(10)
    on.client.wish = replace(on.client.wish, mac=bytes(6))
    on.run(1000)
    assert on.sent[-1][1].payload.endswith(bytes(6))
    assert on.addresses == [f"{FORMED}/64"]


@pytest.mark.parametrize("mode", [Mode.SLAAC, Mode.DHCP])
def test_without_a_lease_a_release_sends_nothing(mode: Mode) -> None:
    on = link(mode, router=False, server=False).start()
    before = len(on.sent)
    on.client.release(on.now)
    on.collect()
    assert len(on.sent) == before


# A daemon that starts again


def again(on: Link, after: float, mode: Mode) -> Link:
    """The next daemon, with the lease from its file."""
    assert on.lease
    stored = replace(on.lease, private=json.loads(json.dumps(on.lease.private)))
    following = Link(wish(mode), stored, on.now + after, seed=2)
    following.routers, following.servers = on.routers, on.servers
    for server in on.servers:
        server.heard.clear()
    return following


def test_a_restart_confirms_the_lease_and_keeps_the_address() -> None:
    """C3."""
    first = link(Mode.DHCP).start().run(10)
    on = again(first, 60, Mode.DHCP).start()
    assert not on.events
    assert not on.sent, "confirmations of many leases are spread over a second"
    on.run(5)
    assert on.servers[0].kinds() == ["CONFIRM"]
    assert on.addresses == [f"{GIVEN}/64"]
    assert on.of(Bound)
    assert not on.of(Lost) + on.of(Probe)


def test_a_restart_on_another_link_loses_the_address() -> None:
    """NotOnLink."""
    first = link(Mode.DHCP).start().run(10)
    on = again(first, 60, Mode.DHCP)
    server, normal = on.servers[0], on.servers[0].answer
    moved = Status(Outcome.NotOnLink, "you have moved")

    def refuse(message):  # type: ignore[no-untyped-def]
        return server.reply(message, associations=(), status=moved) if message.kind == Kind.CONFIRM else normal(message)

    server.answer = refuse  # type: ignore[method-assign]
    server.address = "2001:db8:1::2000"
    on.start().run(10)
    (lost,) = on.of(Lost)
    assert lost.reason == f"{GIVEN} ended: DHCPv6: server fe80::5 answered CONFIRM with NotOnLink: you have moved"
    assert on.addresses == ["2001:db8:1::2000/64"]


@pytest.mark.parametrize("mode", [Mode.DHCP, Mode.SLAAC])
def test_after_a_restart_nobody_answers(mode: Mode) -> None:
    """The lease stays until it ends (S4, R3)."""
    first = link(mode).start().run(10)
    on = again(first, 60, mode)
    on.routers, on.servers = {}, []
    on.start().run(3000)
    assert on.lease
    assert on.lease.addresses
    on.run(7200)
    assert not on.lease
    assert len(on.of(Lost)) == 1


def test_a_lease_that_ended_while_no_daemon_ran_is_lost_at_once() -> None:
    first = link(Mode.DHCP).start().run(10)
    on = again(first, 9000, Mode.DHCP).start()
    assert len(on.of(Lost)) == 1
    on.run(10)
    assert on.addresses == [f"{GIVEN}/64"]
    assert on.servers[0].heard[0].associations[0].addresses[0].address == GIVEN, "the same address is asked for"


def test_what_cannot_be_read_is_lost() -> None:
    first = link(Mode.DHCP).start().run(10)
    assert first.lease
    first.lease = replace(first.lease, private={"routers": []})
    on = again(first, 60, Mode.DHCP).start()
    assert len(on.of(Lost)) == 1
    on.run(10)
    assert on.addresses == [f"{GIVEN}/64"]


def test_a_restart_of_auto_goes_on_with_both() -> None:
    first = link(Mode.AUTO, managed=True).start().run(10)
    on = again(first, 60, Mode.AUTO).start().run(6)
    assert on.addresses == first.addresses
    assert on.servers[0].kinds() == ["CONFIRM"]
    assert not on.of(Lost)


def test_m_that_is_set_later_begins_dhcp_and_that_is_cleared_does_not_end_it() -> None:
    """C6."""
    on = link(Mode.AUTO).start().run(10)
    on.routers[ROUTER] = advertisement(managed=True)
    on.run(3600)
    assert on.addresses == [f"{GIVEN}/64", f"{FORMED}/64"]
    on.routers[ROUTER] = advertisement()
    on.run(86400)
    assert on.addresses == [f"{GIVEN}/64", f"{FORMED}/64"]


def test_a_prefix_on_the_link_without_an_address_is_a_route() -> None:
    on = link(Mode.DHCP)
    on.servers[0].address = "2001:db8:2::5"
    on.start().run(5)
    assert on.lease
    assert on.addresses == ["2001:db8:2::5/128"]
    assert on.lease.routes == (Route(PREFIX, ""),)
