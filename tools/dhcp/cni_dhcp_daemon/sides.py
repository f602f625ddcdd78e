"""The protocols of an attachment, as its options say."""

import asyncio
import errno
import socket
from dataclasses import replace

from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link
from cni_dhcp_daemon import clock
from cni_dhcp_daemon.client import Lease, Route
from cni_dhcp_daemon.interface import link_local, take_over
from cni_dhcp_daemon.keeper import Keeper
from cni_dhcp_daemon.side import Side
from cni_dhcp_daemon.sockets4 import ArpProbe, Sockets4
from cni_dhcp_daemon.sockets6 import NeighbourProbe, Sockets6
from cni_dhcp_daemon.v4.machine import DHCPv4
from cni_dhcp_daemon.v4.options import identifier
from cni_dhcp_daemon.v4.wish import Wish
from cni_dhcp_daemon.v6.client import V6Client
from cni_dhcp_daemon.v6.wish import Mode
from cni_dhcp_daemon.v6.wish import Wish as Wish6

_ANYWHERE = "::/0"


class Side4(Side):
    """DHCPv4."""

    __slots__ = ()
    name = "4"
    words = "DHCPv4"
    silence = "no DHCPv4 server has answered"

    def __init__(self, keeper: Keeper, client: DHCPv4, lease: Lease | None = None) -> None:
        super().__init__(keeper, client, lease)
        self.client: DHCPv4 = client

    def seen(self, link: Link) -> None:
        """The link may have another MAC by now."""
        mac = _mac(link)
        if mac != self.client.wish.mac:
            self.client.wish = replace(self.client.wish, mac=mac)

    def open(self, namespace: Namespace, link: Link) -> Sockets4:
        """A packet socket."""
        return Sockets4(namespace, link, self.received, self.keeper.keepers.closer)

    def probe(self, namespace: Namespace, link: Link, address: str) -> bool:
        """By ARP, if the link has MACs of Ethernet."""
        if len(link.mac) != 17:
            return False
        answered = lambda in_use: self.probed(address, in_use)  # noqa: E731
        self._probing[address] = ArpProbe(namespace, link, address, answered, self.keeper.keepers.closer)
        return True


class Side6(Side):
    """DHCPv6, and router advertisements."""

    __slots__ = ("_optional",)
    name = "6"
    words = "IPv6"
    silence = "no router and no DHCPv6 server has answered"
    has_lifetimes = True
    # the kernel needs up to two seconds for the link-local address
    looks = 200

    def __init__(self, keeper: Keeper, client: V6Client, lease: Lease | None, optional: bool) -> None:
        super().__init__(keeper, client, lease)
        self.client: V6Client = client
        # ADD succeeds without it
        self._optional = optional

    def routes(self, lease: Lease) -> tuple[Route, ...]:
        """A router is the gateway of all that has no other route."""
        if not lease.gateway or any(route.destination == _ANYWHERE for route in lease.routes):
            return lease.routes
        return *lease.routes, Route(_ANYWHERE, lease.gateway)

    def prepare(self, namespace: Namespace, link: Link) -> None:
        """The kernel leaves the router's advertisements to us."""
        take_over(namespace, link)

    def begin(self, looks: int = -1) -> None:
        """If it is optional, it has not all the time."""
        if looks < 0 and self._optional and not self.settled:
            loop = asyncio.get_running_loop()
            loop.call_later(self.keeper.keepers.flags.timeout, self.keeper.give_up, self)
        super().begin(looks)

    def ready(self, namespace: Namespace, link: Link) -> bool:
        """The link-local address can be used. Its end is that of the addresses too, as if the kernel formed them."""
        own = link_local(namespace, link)
        if own:
            identifier = socket.inet_pton(socket.AF_INET6, own)[8:]
            self.client.wish = replace(self.client.wish, identifier=identifier)
        return bool(own)

    def seen(self, link: Link) -> None:
        """The link may have another MAC by now."""
        mac = _mac(link)
        if mac != self.client.wish.mac:
            self.client.wish = replace(self.client.wish, mac=mac)

    def open(self, namespace: Namespace, link: Link) -> Sockets6:
        """One for DHCPv6, and one for advertisements."""
        own = link_local(namespace, link)
        if not own:
            raise OSError(errno.EADDRNOTAVAIL, f"{self.keeper.place.ifname} has no link-local address that can be used")
        return Sockets6(namespace, link, own, self.received, self._advertised)

    def _advertised(self, payload: bytes, source: str) -> None:
        self.client.advertised(payload, source, clock.now())
        self.pump()

    def probe(self, namespace: Namespace, link: Link, address: str) -> bool:
        """By neighbour discovery."""
        answered = lambda in_use: self.probed(address, in_use)  # noqa: E731
        self._probing[address] = NeighbourProbe(namespace, link, address, answered, self.keeper.keepers.closer)
        return True


def sides(keeper: Keeper, link: Link, leases: dict[str, Lease]) -> list[Side]:
    """The sides, with the leases that a daemon before has kept."""
    found: list[Side] = []
    if keeper.options["ipv4"]:
        found.append(_side4(keeper, link, leases.get("4")))
    mode = keeper.options["ipv6"]
    if mode and (not leases or "6" in leases):  # what ADD went without is not acquired later
        optional = mode == Mode.AUTO and bool(found)
        wish = Wish6(Mode(mode), _mac(link), keeper.name)
        found.append(Side6(keeper, V6Client(wish, leases.get("6")), leases.get("6"), optional))
    return found


def _mac(link: Link) -> bytes:
    return bytes.fromhex(link.mac.replace(":", ""))


def _side4(keeper: Keeper, link: Link, lease: Lease | None) -> Side4:
    options, flags = keeper.options, keeper.keepers.flags
    wish = Wish(
        mac=_mac(link),
        identifier=identifier(keeper.name),
        request=tuple(options["request"]),
        provide={int(code): bytes.fromhex(value) for code, value in options["provide"]},
        # links of ipvlan have one MAC, and the kernel knows no address yet by which it could choose one of them
        broadcast=flags.broadcast or link.kind == "ipvlan",
        probe=keeper.wants_probe,
        timeout=flags.timeout,
        longest=flags.resendmax,
    )
    return Side4(keeper, DHCPv4(wish, lease), lease)
