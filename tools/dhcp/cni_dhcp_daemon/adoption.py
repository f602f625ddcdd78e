"""Leases that this daemon has not acquired: of Go's daemon, which keeps nothing, or whose file was lost.

The interface still has the address, so the server is asked to confirm it (INIT-REBOOT). If it does, the lease is kept
from then on. Nothing else is ever acquired for it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cni.address import Prefix
from cni.attachment import Attachment
from cni.errors import CNIError, KernelError
from cni_dhcp_daemon import interface
from cni_dhcp_daemon.client import Address, Lease, Names
from cni_dhcp_daemon.keeper import Keeper, Waiter, client_name
from cni_dhcp_daemon.log import say
from cni_dhcp_daemon.place import Gone, Place
from cni_dhcp_daemon.recorded import Recorded
from cni_dhcp_daemon.sides import sides

if TYPE_CHECKING:
    from cni_dhcp_daemon.keepers import Keepers

# The options of DHCPv4 that Go's plugin asks for by default, if those of ADD are not known.
_REQUESTED = [3, 1]


def options(request: dict[str, Any]) -> dict[str, Any]:
    """The options of a keeper whose lease is adopted: Go's daemon has IPv4 only."""
    found: dict[str, Any] = {"provide": [], "request": _REQUESTED, "priority": 0}
    found |= {name: request[name] for name in found if name in request}
    return {**found, "ipv4": True, "ipv6": "", "probe": False}


def _assumed(text: str) -> Lease | None:
    """A lease of an address of IPv4 in a result, of which nothing else is known."""
    try:
        prefix = Prefix.parse(text)
    except ValueError:
        return None
    if prefix.version != 4:
        return None
    address = Address(str(prefix.address), prefix.length, math.inf, math.inf)
    return Lease((address,), "", (), Names(), math.inf, math.inf, math.inf)


def adopted(keepers: Keepers, who: Attachment, place: Place, request: dict[str, Any]) -> Keeper:
    """A keeper for an address that a result has and the interface too; it is not started. Raises ``CNIError``."""
    leases = [found for found in map(_assumed, request.get("addresses", ())) if found is not None]
    if not leases:
        raise CNIError(f"{who} has no lease", "DEL and a new ADD acquire one")
    lease = leases[0]
    try:
        with place.opened() as (namespace, link):
            if interface.has(namespace, link, lease.addresses[0].text) is None:
                fault = f"{who} has no lease, and {place.ifname} does not have {lease.addresses[0].text}"
                raise CNIError(fault, "DEL and a new ADD acquire one")
            keeper = Keeper(keepers, who, place, options(request))
            keeper.sides = sides(keeper, link, {"4": lease})
    except Gone as gone:
        raise CNIError(str(gone), f"in {gone.where}; {who} has no lease") from None
    except (OSError, KernelError) as error:
        raise CNIError(f"{place.ifname} cannot be looked at: {error}", f"{who} has no lease") from None
    keeper.adopting = True
    for side in keeper.sides:  # it is none before the server has confirmed it
        side.lease, side.settled = None, False
    return keeper


class Returned:
    """Waits for the confirmation of a lease that DEL then gives back; DEL succeeds in any case."""

    __slots__ = ("_keeper", "_waiter")

    def __init__(self, keeper: Keeper, waiter: Waiter) -> None:
        self._keeper = keeper
        self._waiter = waiter

    @property
    def gone(self) -> bool:
        """It does its work without the plugin."""
        return False

    def reply(self, values: dict[str, Any]) -> None:  # noqa: ARG002
        """The server has confirmed it, so it is known."""
        self._keeper.end(f"lease of another daemon given back: {', '.join(self._keeper.addresses())}", release=True)
        self._waiter.reply({})

    def fail(self, error: CNIError) -> None:  # noqa: ARG002
        """No server knows it, or none answers."""
        self._waiter.reply({})


class Silent:
    """Waits for nothing: the log has what happens."""

    __slots__ = ()
    gone = False

    def reply(self, values: dict[str, Any]) -> None:
        """It was confirmed."""

    def fail(self, error: CNIError) -> None:
        """It was not."""


class Waiting:
    """The recorded attachments whose leases are not confirmed yet. While no server answers, they are tried again."""

    __slots__ = ("_keepers", "_left")

    def __init__(self, keepers: Keepers, found: Iterable[Recorded]) -> None:
        self._keepers = keepers
        self._left = list(found)

    def look(self, seconds: float) -> None:
        """Try those that are left. One that a server has refused, or whose attachment has ended, is left out."""
        self._left = [each for each in self._left if self._tried(each, seconds)]

    def _tried(self, each: Recorded, seconds: float) -> bool:
        """Whether it has to be tried again later."""
        keepers, who = self._keepers, each.who
        if keepers.knows(who) or str(who) in keepers.refused or not os.path.exists(each.path):
            return False
        try:
            keeper = adopted(keepers, who, Place(f"{keepers.flags.hostprefix}{each.netns}", who.ifname), each.request)
        except CNIError as error:
            say(f"{client_name(who)}: recorded by the runtime, and not adopted: {error}")
            return False
        keepers.take(keeper)
        keeper.wait(Silent(), seconds)
        keeper.start()
        return True
