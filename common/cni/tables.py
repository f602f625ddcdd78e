"""Which routes of an interface go to which table, and which tables are free (pure)."""

from itertools import count, islice

from cni.address import Address, Prefix
from cni.kernel.routes import PROTO_RA, TABLE_LOCAL, TABLE_MAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from cni.kernel.routes import LinkRoute
    from cni.result import IPConfig

# The metric of a route that names none.
USUAL_METRIC = {4: 0, 6: 1024}
_FIRST, _RESERVED = 100, range(253, 256)
_LINK_LOCAL, _MULTICAST = Prefix.parse("fe80::/10"), Prefix.parse("ff00::/8")


def free(taken: "Collection[int]", number: int, first: int = _FIRST) -> list[int]:
    """The first tables that nobody uses, from ``first``."""
    return list(islice((each for each in count(first) if each not in taken and each not in _RESERVED), number))


def to_move(own: "Iterable[LinkRoute]") -> "list[LinkRoute]":
    """Those of the main table, without link-local ones, which neighbour discovery needs there."""
    return [route for route in own if route.table == TABLE_MAIN and route.dst.address not in _LINK_LOCAL]


def learnt(route: "LinkRoute") -> bool:
    """Whether the kernel puts it into the main table again with each router advertisement."""
    return route.protocol == PROTO_RA


def carried(own: "Iterable[LinkRoute]", source: int, target: int) -> "list[tuple[LinkRoute, int]]":
    """The routes of an interface that joins or leaves a VRF, and the table of each afterwards.

    The kernel removes all of them. It makes link-local and multicast ones again itself, and those that routers advertise.
    """
    return [
        (route, target if route.table == source else route.table)
        for route in own
        if route.table != TABLE_LOCAL
        and not learnt(route)
        and route.dst.address not in _LINK_LOCAL
        and route.dst.address not in _MULTICAST
    ]


def of_address(ip: "IPConfig", ips: "Sequence[IPConfig]", moved: "Iterable[LinkRoute]") -> "list[LinkRoute]":
    """The routes for the table of an address: by their source or gateway, or else those of all addresses of the family."""
    return [route for route in moved if route.dst.version == ip.version and ip in (_owners(route, ips) or [ip])]


def _owners(route: "LinkRoute", ips: "Sequence[IPConfig]") -> "list[IPConfig]":
    marks: list[Address] = [mark for mark in (route.src, route.gw) if mark is not None]
    return [ip for ip in ips if any(mark in ip.address for mark in marks)]
