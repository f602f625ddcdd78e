"""Keeps the lease of one attachment: acquires, renews, and gives it back; tells the interface and the file of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from cni.address import Prefix
from cni.attachment import Attachment
from cni.errors import CNIError, KernelError, TryAgainLater
from cni_dhcp_daemon import clock, interface, store
from cni_dhcp_daemon.client import Lease, Route
from cni_dhcp_daemon.log import say
from cni_dhcp_daemon.place import Gone, Place

if TYPE_CHECKING:
    from cni_dhcp_daemon.keepers import Keepers
    from cni_dhcp_daemon.side import Side
    from cni_dhcp_daemon.timers import Timers


_ABANDONED = "the call that asked for a lease has ended, so none is acquired"


class Waiter(Protocol):
    """A call that waits for a lease."""

    @property
    def gone(self) -> bool:
        """Whether nobody would get the answer."""

    def reply(self, values: dict[str, Any]) -> None:
        """It has succeeded."""

    def fail(self, error: CNIError) -> None:
        """It has failed."""


def client_name(who: Attachment) -> str:
    """The client's name, in lines for people and, with a limit of its length, for the servers."""
    return f"{who.container}/{who.network}/{who.ifname}"


class Keeper:
    """The lease of one attachment, in each of its protocols."""

    __slots__ = (
        "_waiters",
        "_within",
        "adopting",
        "due",
        "ended",
        "keepers",
        "kept",
        "name",
        "options",
        "place",
        "sides",
        "who",
    )  # fmt: skip

    def __init__(self, keepers: Keepers, who: Attachment, place: Place, options: dict[str, Any]) -> None:
        """``options`` are those of the request, as JSON values."""
        self.keepers = keepers
        self.who = who
        self.place = place
        self.options = options
        self.name = client_name(who)
        self.sides: list[Side] = []
        self.ended = False
        # a lease of another daemon's is confirmed, and none is acquired
        self.adopting = False
        # when the calls that wait have waited long enough
        self.due: float | None = None
        self._waiters: list[Waiter] = []
        self._within = 0.0

    @property
    def timers(self) -> Timers:
        """The daemon's."""
        return self.keepers.timers

    @property
    def wants_probe(self) -> bool:
        """Whether other hosts are asked for an address before it is used."""
        return bool(self.options.get("probe", True))

    def say(self, text: str) -> None:
        """Print a line about it."""
        say(f"{self.name}: {text}")

    # calls of the plugin

    @property
    def acquiring(self) -> bool:
        """Whether ADD has no answer yet."""
        return not all(side.settled for side in self.sides)

    @property
    def loss(self) -> str:
        """Why a lease has ended; empty if none has."""
        return "; ".join(side.lost for side in self.sides if side.lost)

    def wait(self, waiter: Waiter, seconds: float) -> None:
        """Answer when there is a lease, at most after some seconds."""
        self._waiters.append(waiter)
        if self.due is None:
            self._within = seconds
            self.timers.set(self, clock.now() + seconds)

    def abandon(self, waiter: Waiter) -> None:
        """A call has ended before its answer. If it was the only one, the lease is not acquired."""
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            if not self._waiters and self.acquiring:
                self.end(_ABANDONED, release=not self.adopting)

    def start(self) -> None:
        """Begin with each protocol."""
        for side in list(self.sides):
            if not self.ended:
                side.begin()

    def give_up(self, side: Side) -> None:
        """A protocol that need not be there has given nothing."""
        if self.ended or side.settled or side not in self.sides:
            return
        side.close()
        self.sides.remove(side)
        self.say(f"without {side.words}: {side.fault or side.silence}")
        if not self.acquiring:
            self.write()
            self._answer()

    def wake(self, now: float) -> None:  # noqa: ARG002
        """The time to acquire a lease is over."""
        if self.acquiring:
            reason = "; ".join(side.fault for side in self.sides if side.fault and not side.settled)
            reason = reason or "; ".join(side.silence for side in self.sides if not side.settled)
            if self.adopting:
                self._unconfirmed(reason)
                return
            details = f"no lease for {self.place.ifname} of {self.name} within {self._within:g} s: {reason}"
            self._fail(CNIError("no more tries", details))
            self.end(f"no lease was acquired: {reason}", release=True)

    def _fail(self, error: CNIError) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.fail(error)

    def leases(self) -> dict[str, Any]:
        """The reply with the leases."""
        return {
            "leases": [_printed(side.lease, side.routes(side.lease)) for side in self.sides if side.lease is not None]
        }

    def addresses(self) -> list[str]:
        """The addresses with the lengths of their prefixes."""
        found = (prefix for side in self.sides if side.lease is not None for prefix in interface.prefixes(side.lease))
        return list(map(str, found))

    @property
    def given_back(self) -> str:
        """What is printed when the lease is given back. One that has ended is not."""
        return f"lease {'that had ended is forgotten' if self.loss else 'given back'}: {', '.join(self.addresses())}"

    # events of the clients

    def bound(self, side: Side, lease: Lease) -> None:
        """There is a lease: the first, the same for longer, or another one."""
        before, was_lost, side.lease, side.lost = side.lease, side.lost, lease, ""
        if not side.settled:
            side.settled = True
            self.say(f"lease {'of another daemon confirmed' if self.adopting else 'acquired'}: {_words(lease)}")
        elif was_lost or (before is not None and interface.prefixes(before) != interface.prefixes(lease)):
            self._changed(side, before, lease, was_lost)
        elif before is not None:
            self._extended(side, before, lease)
        self.write()
        if not self.acquiring:
            self._answer()

    def _answer(self) -> None:
        waiters, self._waiters = self._waiters, []
        if waiters and not self.adopting and all(waiter.gone for waiter in waiters):
            self.end(_ABANDONED, release=True)
            return
        self.adopting = False
        self.timers.set(self, None)
        for waiter in waiters:
            waiter.reply(self.leases())

    def _extended(self, side: Side, before: Lease, lease: Lease) -> None:
        """The same addresses for longer, perhaps with other routes."""
        if (before.routes, before.gateway) != (lease.routes, lease.gateway):
            self.say(f"the server now gives gateway {lease.gateway or 'none'} and routes {_routes(lease)}: not changed")
        if not side.has_lifetimes:
            return
        try:
            with self.place.opened() as (namespace, link):
                interface.put(namespace, link, lease, clock.now())
        except Gone as gone:
            self.gone(str(gone))
        except (OSError, KernelError, CNIError) as error:
            self.say(f"the lifetimes on {self.place.ifname} cannot be changed: {error}")

    def _changed(self, side: Side, before: Lease | None, lease: Lease, was_lost: str) -> None:
        """Another address than before, or the same one again after it was lost."""
        old = interface.prefixes(before) if before is not None else []
        new = interface.prefixes(lease)
        try:
            with self.place.opened() as (namespace, link):
                if not was_lost:
                    side.kept = interface.remove(namespace, link, [each for each in old if each not in new])
                interface.put(namespace, link, lease, clock.now())
                same = before is not None and old == new and before.gateway == lease.gateway
                failed = interface.restore(namespace, link, side.kept) if same else []
                failed += interface.add_routes(
                    namespace, link, side.routes(lease), int(self.options.get("priority", 0))
                )
        except Gone as gone:
            self.gone(str(gone))
            return
        except (OSError, KernelError, CNIError) as error:
            failed = [f"the address: {error}"]
        side.kept = []
        words = f"the lease is back, and {_words(lease)} is on {self.place.ifname} again"
        if not was_lost or old != new:
            words = f"the server has given another address: {', '.join(map(str, old))} was replaced by {_words(lease)}"
        self.say(words)
        for text in failed:
            self.say(f"could not be added to {self.place.ifname}: {text}")

    def failed(self, side: Side) -> None:
        """An attempt has failed; the client goes on, unless a lease was only to be confirmed."""
        if side.fault and side.fault != side.told:
            side.told = side.fault
            self.say(side.fault)
        if self.adopting:
            self._unconfirmed(side.fault)

    def _unconfirmed(self, reason: str) -> None:
        self._fail(CNIError(f"{self.who} has no lease: {reason}", "DEL and a new ADD acquire one"))
        self.end(f"the lease of another daemon was not confirmed and is not kept: {reason}", release=False)

    def lost(self, side: Side, reason: str) -> None:
        """The lease has ended: its addresses are removed from the interface now."""
        if self.adopting:
            self.keepers.refused.add(str(self.who))
            side.fault = reason
            self.failed(side)
            return
        lease = side.lease
        gone: list[Prefix] = interface.prefixes(lease) if lease is not None else []
        words = ", ".join(map(str, gone))
        side.lost = reason
        try:
            with self.place.opened() as (namespace, link):
                side.kept += interface.remove(namespace, link, gone)
            self.say(f"{side.lost}: {words} was removed from {self.place.ifname}, and is asked for again")
        except Gone as error:
            self.gone(str(error))
            return
        except (OSError, KernelError, CNIError) as error:
            self.say(f"{side.lost}; {words} could not be removed from {self.place.ifname}: {error}")
        self.write()

    # the end

    def gone(self, reason: str) -> None:
        """The namespace or the link has gone without DEL."""
        if not self.ended:
            self._fail(CNIError(reason, "nothing was acquired"))
            self.end(f"{reason}: the lease is no longer renewed, and ends at the server by itself", release=False)

    def end(self, words: str, release: bool) -> None:
        """End, and forget the lease; ``release`` gives it back to the server."""
        if self.ended:
            return
        self.ended = True
        faults = [side.release() for side in self.sides] if release else []
        fault = "; ".join(each for each in faults if each)
        for side in self.sides:
            side.close()
        self.timers.set(self, None)
        self.keepers.forget(self)
        self._fail(TryAgainLater(f"no lease was acquired: {words}", f"of {self.name}"))
        self.say(f"{words}{f'; no RELEASE was sent: {fault}' if fault else ''}")

    def stop(self) -> None:
        """The daemon ends, and the lease is kept in its file. One that is not complete is given back."""
        if self.acquiring:
            self.end("the daemon ends", release=not self.adopting)
        for side in self.sides:
            side.close()

    # the file

    def write(self) -> None:
        """Write the file, so that a daemon that starts goes on."""
        if self.ended or not any(side.lease is not None for side in self.sides):
            return
        try:
            self.keepers.store.write(self.who, self._values())
        except OSError as error:
            self.say(f"its file cannot be written, so the lease will be forgotten when the daemon ends: {error}")

    def _values(self) -> dict[str, Any]:
        sides = [side for side in self.sides if side.lease is not None]
        place = self.place
        return {
            "place": [place.path, place.ifname, place.inode, place.identity, place.index],
            "options": self.options,
            "addresses": self.addresses(),
            "leases": {side.name: store.document(side.lease) for side in sides if side.lease is not None},
            "lost": {side.name: side.lost for side in sides if side.lost},
            "kept": {side.name: side.kept for side in sides if side.kept},
            "macs": {side.name: side.server_mac.hex() for side in sides if side.server_mac},
        }


def _printed(lease: Lease, routes: Iterable[Route]) -> dict[str, Any]:
    """A lease as the plugin reads it."""
    return {
        "addresses": list(map(str, interface.prefixes(lease))),
        "gateway": lease.gateway,
        "routes": [[route.destination, route.gateway] for route in routes],
        "servers": lease.names.servers,
        "domain": lease.names.domain,
        "search": lease.names.search,
    }


def _words(lease: Lease) -> str:
    addresses = ", ".join(map(str, interface.prefixes(lease))) or "no address"
    left = lease.expires - clock.now()
    ends = f"for {left:.0f} s" if left < 1 << 40 else "for ever"
    return f"{addresses} from {lease.server or 'an unknown server'} {ends}"


def _routes(lease: Lease) -> str:
    return ", ".join(f"{each.destination} via {each.gateway or 'the link'}" for each in lease.routes) or "none"
