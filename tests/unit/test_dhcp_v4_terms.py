"""What a lease is made of: the rules of the result, from the options of an acknowledgement (pure)."""

import pytest

from cni_dhcp_daemon.client import Names, Route
from cni_dhcp_daemon.v4.packet import Kind, Message, packed
from cni_dhcp_daemon.v4.terms import lease_of

GIVEN = {1: packed("255.255.255.0"), 54: packed("10.1.0.1"), 51: (100).to_bytes(4)}
ROUTERS = {3: packed("10.1.0.1") + packed("10.1.0.2")}
STATIC = {33: packed("10.9.0.0") + packed("10.1.0.3")}
CLASSLESS = {121: b"\x18\x0a\x08\x01" + bytes(4)}
DEFAULT = Route("0.0.0.0/0", "10.1.0.1")


def ack(given: dict[int, bytes]) -> Message:
    return Message(Kind.ACK, 7, b"\2\0\0\0\0\1", GIVEN | given, yiaddr="10.1.0.5", reply=True)


@pytest.mark.parametrize(
    ("given", "gateway", "routes"),
    [
        ({}, "", ()),
        (ROUTERS, "10.1.0.1", (DEFAULT,)),
        ({3: bytes(4)}, "", ()),
        ({3: b"\1\2"}, "", ()),
        (STATIC, "", (Route("10.9.0.0/32", "10.1.0.3"),)),
        (STATIC | ROUTERS, "10.1.0.1", (Route("10.9.0.0/32", "10.1.0.3"), DEFAULT)),
        (CLASSLESS | STATIC | ROUTERS, "10.1.0.1", (Route("10.8.1.0/24", ""),)),
        ({121: b"\x18\x0a"} | ROUTERS, "10.1.0.1", (DEFAULT,)),
        ({121: b""} | ROUTERS, "10.1.0.1", (DEFAULT,)),
    ],
    ids=["none", "routers", "no router", "cut", "static", "static and default", "classless", "classless cut", "classless none"],
)  # fmt: skip
def test_the_routes(given: dict[int, bytes], gateway: str, routes: tuple[Route, ...]) -> None:
    """The classless ones alone, else the static ones and the default one; the gateway is the first router always."""
    lease = lease_of(ack(given), 0.0)
    assert (lease.gateway, lease.routes) == (gateway, routes)


@pytest.mark.parametrize(
    ("value", "mtu"), [(b"\5\xdc", 1500), (b"\0\x44", 68), (b"\0\x43", 0), (b"\5", 0), (b"\0\0\5\xdc", 0)]
)
def test_the_mtu(value: bytes, mtu: int) -> None:
    """One that no link can have counts as absent."""
    assert lease_of(ack({26: value}), 0.0).mtu == mtu


def test_the_names() -> None:
    given = {6: packed("10.1.0.1") + packed("8.8.8.8"), 15: b"example.org\0", 119: b"\1a\2bc\0\1x\xc0\2"}
    assert lease_of(ack(given), 0.0).names == Names(("10.1.0.1", "8.8.8.8"), "example.org", ("a.bc", "x.bc"))
    assert lease_of(ack({6: b"\1", 15: b"a b", 119: b"\5"}), 0.0).names == Names()


def test_the_clients_of_a_node_do_not_renew_together() -> None:
    """T1 is up to a twentieth earlier; what the server says of T2 and the expiry is exact."""
    leases = [lease_of(ack({}), 1000.0, fuzz) for fuzz in (0.0, 0.5, 1.0)]
    assert [lease.renew for lease in leases] == [1050, 1048.75, 1047.5]
    assert {(lease.rebind, lease.expires) for lease in leases} == {(1085, 1100)}
