"""The container's interface, where the daemon changes it: an address that is no longer leased is removed at once.

The plugin that called dhcp has configured the interface. When the lease returns, the routes that the kernel has removed
with the address are restored, those of other plugins too.

A container may have any number of addresses and routes of its own. The daemon reads ``MOST`` of each, so that no container
can make the others wait.
"""

import math
from _socket import AF_INET, AF_INET6
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EEXIST
from typing import Any

from cni.address import Address, Prefix
from cni.errors import KernelError
from cni.kernel import addresses, routes
from cni.kernel.addresses import LinkAddress
from cni.kernel.namespace import Namespace
from cni.kernel.routes import SCOPE_LINK, LinkRoute
from cni.kernel.rtnl import Link, Rtnl
from cni.kernel.sysctl import Sysctls
from cni_dhcp_daemon.client import Lease, Route

# The most addresses and the most routes that are read.
MOST = 128
# Routes that the kernel makes for an address itself.
_PROTO_KERNEL = 2


def prefixes(lease: Lease) -> list[Prefix]:
    """The lease's addresses with the lengths of their networks' prefixes."""
    return [Prefix(Address.parse(each.text), each.length) for each in lease.addresses]


def has(namespace: Namespace, link: Link, address: str) -> Prefix | None:
    """The address on the link, or None."""
    wanted = Address.parse(address)
    found = (each.prefix for each in _addresses(namespace, link, wanted.family))
    return next((prefix for prefix in found if prefix.address == wanted), None)


def remove(namespace: Namespace, link: Link, gone: list[Prefix]) -> list[dict[str, Any]]:
    """Remove addresses. Returns the routes that the kernel has removed with them, for ``restore``."""
    before = _set(namespace, link)
    for prefix in gone:
        addresses.delete(namespace.rtnl, link.index, prefix)
    after = {_key(route) for route in _set(namespace, link)}
    return [_values(route) for route in before if _key(route) not in after]


def put(namespace: Namespace, link: Link, lease: Lease, now: float) -> None:
    """Add the addresses that are missing. Those of IPv6 get the lifetimes of the lease."""
    for address, prefix in zip(lease.addresses, prefixes(lease), strict=True):
        if prefix.version == 6:
            preferred, valid = (_seconds(until, now) for until in (address.preferred, address.expires))
            if valid:
                addresses.keep(namespace.rtnl, link.index, prefix, preferred, valid)
            continue
        try:
            addresses.add(namespace.rtnl, link.index, prefix, False)
        except KernelError as error:
            if error.errno != EEXIST:
                raise


def _seconds(until: float, now: float) -> int:
    return addresses.FOREVER if math.isinf(until) else min(max(0, math.ceil(until - now)), addresses.FOREVER - 1)


def link_local(namespace: Namespace, link: Link) -> str:
    """The link-local address of IPv6 that can be used; empty if there is none yet."""
    found = _addresses(namespace, link, AF_INET6)
    usable = (each for each in found if each.scope == SCOPE_LINK and not each.tentative and not each.duplicate)
    return next((str(each.prefix.address) for each in usable), "")


def take_over(namespace: Namespace, link: Link) -> None:
    """The kernel does no longer act on router advertisements, and what it has made of them is removed."""
    sysctls = Sysctls()
    with namespace:
        for name, value in (("disable_ipv6", "0"), ("accept_ra", "0"), ("autoconf", "0")):
            sysctls.attempt(f"net/ipv6/conf/{link.name}/{name}", value)
    for each in _addresses(namespace, link, AF_INET6):
        if not each.permanent and each.scope != SCOPE_LINK:
            addresses.delete(namespace.rtnl, link.index, each.prefix)
    for route in _routes(namespace, link, AF_INET6):
        if route.protocol == routes.PROTO_RA:
            routes.delete(namespace.rtnl, route)


def restore(namespace: Namespace, link: Link, kept: list[dict[str, Any]]) -> list[str]:
    """Add routes that ``remove`` has returned; returns what could not be added."""
    failed = []
    # those without a gateway first: the gateways are reached through them
    for values in sorted(kept, key=lambda values: bool(values["gw"])):
        try:
            _add(namespace, link, values)
        except (KernelError, ValueError) as error:
            failed.append(f"the route to {values['dst']}: {error}")
    return failed


def add_routes(namespace: Namespace, link: Link, given: Iterable[Route], priority: int) -> list[str]:
    """Add a lease's own routes; returns what could not be added."""
    kept = [
        {
            "dst": route.destination,
            "gw": route.gateway,
            "priority": priority,
            "scope": 0 if route.gateway else SCOPE_LINK,
        }
        for route in given
    ]
    return restore(namespace, link, kept)


def _add(namespace: Namespace, link: Link, values: dict[str, Any]) -> None:
    source, gateway = values.get("src"), values["gw"]
    try:
        routes.add(
            namespace.rtnl,
            link.index,
            Prefix.parse(values["dst"]),
            Address.parse(gateway) if gateway else None,
            values.get("mtu", 0),
            values.get("advmss", 0),
            values["priority"],
            values.get("table", routes.TABLE_MAIN),
            values["scope"],
            Address.parse(source) if source else None,
        )
    except KernelError as error:
        if error.errno != EEXIST:
            raise


@contextmanager
def _asking(namespace: Namespace) -> Iterator[Rtnl]:
    """A socket for one list that may not be read to its end."""
    with namespace:
        rtnl = Rtnl()
    try:
        yield rtnl
    finally:
        rtnl.close()


def _addresses(namespace: Namespace, link: Link, family: int) -> list[LinkAddress]:
    with _asking(namespace) as rtnl:
        return addresses.of(rtnl, link.index, family, MOST)


def _routes(namespace: Namespace, link: Link, family: int) -> list[LinkRoute]:
    with _asking(namespace) as rtnl:
        return [each for each in routes.every(rtnl, family, link.index, MOST) if each.index == link.index]


def _set(namespace: Namespace, link: Link) -> list[LinkRoute]:
    """The routes of IPv4 that somebody has set."""
    every = _routes(namespace, link, AF_INET)
    return [each for each in every if each.kind == routes.RTN_UNICAST and each.protocol != _PROTO_KERNEL]


def _key(route: LinkRoute) -> tuple[Any, ...]:
    return str(route.dst), str(route.gw), route.table, route.priority


def _values(route: LinkRoute) -> dict[str, Any]:
    return {
        "dst": str(route.dst),
        "gw": str(route.gw) if route.gw else "",
        "mtu": route.mtu,
        "advmss": route.advmss,
        "priority": route.priority,
        "table": route.table,
        "scope": route.scope,
        "src": str(route.src) if route.src else "",
    }
