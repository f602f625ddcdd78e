"""Routes by two roads: what we read and make, and what ``ip route`` shows and makes."""

import errno
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from cni.address import ANY, Address, Prefix
from cni.errors import KernelError
from cni.kernel import routes
from cni.kernel.routes import SCOPE_LINK, TABLE_MAIN, LinkRoute
from cni.kernel.rtnl import Rtnl
from node.namespace import Netns

pytestmark = pytest.mark.root
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
OWN = {4: Address.parse("10.1.0.2"), 6: Address.parse("fd00::2")}
GATEWAY = {4: Address.parse("10.1.0.1"), 6: Address.parse("fd00::1")}
NET = {4: Prefix.parse("10.2.0.0/16"), 6: Prefix.parse("fd02::/64")}
FAR = 100_000


@pytest.fixture
def rtnl(empty: Netns) -> Iterator[Rtnl]:
    """A socket in a namespace with a veth that has an address of each family."""
    empty.ip(
        "link add eth0 type veth peer name far",
        "link set far up",
        "link set eth0 up",
        f"addr add {OWN[4]}/24 dev eth0",
        f"addr add {OWN[6]}/64 dev eth0 nodad",
    )
    made = Rtnl()
    yield made
    made.close()


def index(rtnl: Rtnl) -> int:
    link = rtnl.link("eth0")
    assert link is not None
    return link.index


def shown(netns: Netns, version: int, table: int) -> list[dict[str, Any]]:
    """The routes of a table that are no multicast and not of the kernel, as ``ip`` shows them."""
    words = ("ip", f"-{version}", "-j", "-d", "route", "show", "table", str(table))
    try:
        listed: list[dict[str, Any]] = json.loads(netns.run(*words) or "[]")
    except AssertionError:  # there is no such table yet
        return []
    return [route for route in listed if route["protocol"] != "kernel"]


def found(rtnl: Rtnl, version: int, table: int) -> list[LinkRoute]:
    return [route for route in routes.every(rtnl, FAMILY[version]) if route.table == table and route.protocol != 2]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("table", [TABLE_MAIN, 7, FAR])
def test_a_route_is_what_ip_shows(empty: Netns, rtnl: Rtnl, version: int, table: int) -> None:
    """With all that it may have, in any table; and what ``ip`` shows is what we read."""
    routes.add(
        rtnl,
        index(rtnl),
        NET[version],
        GATEWAY[version],
        mtu=1400,
        advmss=1300,
        priority=50,
        table=table,
        src=OWN[version],
    )
    routes.add(rtnl, index(rtnl), ANY[version], GATEWAY[version], table=table)
    seen = {route["dst"]: route for route in shown(empty, version, table)}
    route = seen[str(NET[version])]
    assert set(seen) == {str(NET[version]), "default"}
    assert (route["gateway"], route["dev"], route["metric"]) == (str(GATEWAY[version]), "eth0", 50)
    assert (route["prefsrc"], route["metrics"]) == (str(OWN[version]), [{"mtu": 1400, "advmss": 1300}])
    read = {str(each.dst): each for each in found(rtnl, version, table)}
    assert set(read) == {str(NET[version]), str(ANY[version])}
    same = read[str(NET[version])]
    assert (same.gw, same.index, same.priority, same.src) == (GATEWAY[version], index(rtnl), 50, OWN[version])
    assert (same.mtu, same.advmss, same.table) == (1400, 1300, table)
    assert read[str(ANY[version])].src is None


@pytest.mark.parametrize("version", [4, 6])
def test_a_route_that_was_read_is_removed(empty: Netns, rtnl: Rtnl, version: int) -> None:
    """That one alone, whoever made it; that it is gone is success."""
    via = f"via {GATEWAY[version]} dev eth0"
    for words in (
        f"{NET[version]} {via} metric 5",
        f"{NET[version]} {via} metric 6 proto static",
        f"{NET[version]} {via} metric 5 table {FAR}",
        f"default {via} table 7",
        f"unreachable {NET[version]} metric 9",
    ):
        empty.run("ip", f"-{version}", "route", "add", *words.split())
    for table, left in ((FAR, 0), (7, 0), (TABLE_MAIN, 2)):
        gone = found(rtnl, version, table)[0]
        for _ in range(2):
            routes.delete(rtnl, gone)
        assert len(shown(empty, version, table)) == left
        assert len(shown(empty, version, TABLE_MAIN)) == (left or 3)
    for route in found(rtnl, version, TABLE_MAIN):
        routes.delete(rtnl, route)
    assert shown(empty, version, TABLE_MAIN) == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_route_moves_to_another_table(empty: Netns, rtnl: Rtnl, version: int) -> None:
    """As source-based routing has it: what was read is made again."""
    empty.run("ip", f"-{version}", "route", "add", *f"{NET[version]} via {GATEWAY[version]} dev eth0 mtu 1400".split())
    (route,) = found(rtnl, version, TABLE_MAIN)
    routes.add(rtnl, route.index, route.dst, route.gw, route.mtu, priority=route.priority, table=100)
    routes.delete(rtnl, route)
    assert shown(empty, version, TABLE_MAIN) == []
    (moved,) = shown(empty, version, 100)
    assert (moved["dst"], moved["gateway"], moved["metrics"]) == (
        str(NET[version]),
        str(GATEWAY[version]),
        [{"mtu": 1400}],
    )


@pytest.mark.parametrize("version", [4, 6])
def test_a_route_is_replaced(empty: Netns, rtnl: Rtnl, version: int) -> None:
    """And made where there is none; without that an equal one is refused."""
    for mtu in (1400, 1300):
        routes.add(rtnl, index(rtnl), NET[version], GATEWAY[version], mtu=mtu, table=7, replace=True)
        (route,) = shown(empty, version, 7)
        assert route["metrics"] == [{"mtu": mtu}]
    with pytest.raises(KernelError) as refused:
        routes.add(rtnl, index(rtnl), NET[version], GATEWAY[version], mtu=1300, table=7)
    assert refused.value.errno == errno.EEXIST


def test_the_host_route_of_a_pod(empty: Netns, rtnl: Rtnl) -> None:
    """As ptp has it on the node: through a link, from an address of the node."""
    pod = Prefix.parse("10.9.0.5/32")
    routes.add(rtnl, index(rtnl), pod, scope=SCOPE_LINK, src=OWN[4])
    (route,) = shown(empty, 4, TABLE_MAIN)
    assert (route["dst"], route["dev"], route["scope"], route["prefsrc"]) == ("10.9.0.5", "eth0", "link", str(OWN[4]))
    to = routes.to(rtnl, pod.address)
    assert to is not None and (to.index, to.src, to.gw) == (index(rtnl), OWN[4], None)


@pytest.mark.parametrize("version", [4, 6])
def test_each_hop_of_several_is_read(empty: Netns, rtnl: Rtnl, version: int) -> None:
    other = GATEWAY[version] + 8
    hops = [f"nexthop via {via} dev eth0" for via in (GATEWAY[version], other)]
    empty.run("ip", f"-{version}", "route", "add", str(NET[version]), *" ".join(hops).split())
    read = found(rtnl, version, TABLE_MAIN)
    assert {(str(each.dst), each.gw, each.index) for each in read} == {
        (str(NET[version]), via, index(rtnl)) for via in (GATEWAY[version], other)
    }
