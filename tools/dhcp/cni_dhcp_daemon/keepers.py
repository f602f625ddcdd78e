"""All leases of the daemon: found by their attachment, restored from the files, and ended with their namespace."""

import asyncio
import os
from typing import Any

from cni.attachment import Attachment
from cni.errors import CNIError, KernelError
from cni_dhcp import records
from cni_dhcp_daemon import clock, recorded
from cni_dhcp_daemon.adoption import Returned, Waiting, adopted
from cni_dhcp_daemon.closing import Closer
from cni_dhcp_daemon.flags import Flags
from cni_dhcp_daemon.keeper import Keeper, Waiter, client_name
from cni_dhcp_daemon.log import say
from cni_dhcp_daemon.place import Gone, Place
from cni_dhcp_daemon.sides import sides
from cni_dhcp_daemon.store import Store
from cni_dhcp_daemon.timers import Timers

# Seconds between two looks whether the namespaces still exist.
SWEEP = 30.0
# Seconds for the confirmation of a lease of another daemon's.
_CONFIRM = 10.0
# Seconds in which a repeated DEL is recognised.
_REPEATED = 120.0
# Seconds between the leases that a daemon confirms when it starts.
_PACE = 0.002
# Seconds for it when DEL gives it back afterwards.
_RETURN = 2.0


class Keepers:
    """The leases. Errors of calls go to their waiters."""

    def __init__(self, flags: Flags, store: Store) -> None:
        self.flags = flags
        self.store = store
        self.timers = Timers(asyncio.get_running_loop())
        self.closer = Closer()
        self.due: float | None = None
        # attachments whose address a server has refused to confirm
        self.refused: set[str] = set()
        self._keepers: dict[str, Keeper] = {}
        self._recorded: Waiting | None = None
        # what files have whose places cannot be opened yet
        self._later: list[dict[str, Any]] = []
        # attachments whose DEL has come, and when: a repeated DEL has nothing to find
        self._returned: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """The time in which each call is answered."""
        return max(self.flags.resendtimeout, _CONFIRM)

    # the calls

    def allocate(self, request: dict[str, Any], waiter: Waiter) -> Keeper | None:
        """ADD. Returns the keeper that the call waits for, if it has to wait."""
        who, place = _who(request), self._place(request)
        keeper = self._keepers.get(str(who))
        if keeper is not None and keeper.adopting:
            keeper.end("an ADD acquires a lease", release=False)
            keeper = None
        try:
            with place.opened() as (namespace, link):
                if keeper is not None and (keeper.place.identity, keeper.place.index) != (place.identity, place.index):
                    keeper.end("the container has another namespace or interface now: the old lease is dropped", False)
                    keeper = None
                if keeper is None:
                    if not link.up:
                        namespace.rtnl.change(link.index, up=True)
                    return self._acquire(who, place, request, waiter)
        except Gone as gone:
            where = f"in {gone.where}, of {who}; a daemon in another mount namespace needs -hostprefix"
            raise CNIError(str(gone), where) from None
        except KernelError as error:
            raise CNIError(f'failed to set "{place.ifname}" UP: {error}', f"of {who}") from None
        if keeper.acquiring:
            keeper.wait(waiter, self.flags.resendtimeout)
        elif keeper.loss:
            raise CNIError(keeper.loss, "the daemon asks for it again; see its log")
        else:
            waiter.reply(keeper.leases())
        return keeper

    def _acquire(self, who: Attachment, place: Place, request: dict[str, Any], waiter: Waiter) -> Keeper:
        """Begin to acquire a lease. The place is open."""
        options = {name: request[name] for name in ("provide", "request", "ipv4", "ipv6", "probe", "priority")}
        keeper = Keeper(self, who, place, options)
        with place.opened() as (namespace, link):
            keeper.sides = sides(keeper, link, {})
            for side in keeper.sides:
                side.prepare(namespace, link)
            self.take(keeper)
            self._returned.pop(str(who), None)
            keeper.wait(waiter, self.flags.resendtimeout)
            try:
                keeper.start()
            except Exception:  # what the request has cannot be sent; the next ADD begins anew
                keeper.end("its request cannot be served", release=False)
                raise
        return keeper

    def check(self, request: dict[str, Any], waiter: Waiter) -> Keeper | None:
        """CHECK: nothing is acquired."""
        who = _who(request)
        keeper = self._keepers.get(str(who))
        if keeper is None:
            return self._adopt(who, request, waiter)
        if keeper.adopting:
            keeper.wait(waiter, _CONFIRM)
            return keeper
        if keeper.acquiring:
            raise CNIError(f"{who} has no lease yet", "an ADD still waits for it")
        if keeper.loss:
            raise CNIError(keeper.loss, "the daemon asks for it again; see its log")
        try:
            with keeper.place.opened():
                waiter.reply(keeper.leases())
        except Gone as gone:
            keeper.gone(str(gone))
            raise CNIError(str(gone), f"in {gone.where}, of {who}") from None
        return None

    def _adopt(self, who: Attachment, request: dict[str, Any], waiter: Waiter) -> Keeper:
        keeper = adopted(self, who, self._place(request), request)
        self.take(keeper)
        keeper.wait(waiter, _CONFIRM)
        keeper.start()
        return keeper

    def __len__(self) -> int:
        """The number of attachments with a lease, or that wait for one."""
        return len(self._keepers)

    def knows(self, who: Attachment) -> bool:
        """Whether the attachment has a lease, or waits for one."""
        return str(who) in self._keepers

    def take(self, keeper: Keeper) -> None:
        """Take a new keeper in."""
        self._keepers[str(keeper.who)] = keeper

    def release(self, request: dict[str, Any], waiter: Waiter) -> Keeper | None:
        """DEL. Success if there is no lease."""
        who = _who(request)
        keeper = self._keepers.get(str(who))
        self.refused.discard(str(who))
        unknown = keeper is None and request["netns"] and str(who) not in self._returned
        if unknown and (keeper := self._return(who, request, waiter)) is not None:
            return keeper
        if keeper is not None:
            words = "DEL has ended the ADD" if keeper.acquiring else keeper.given_back
            keeper.end(words, release=not keeper.adopting)
        self._returned[str(who)] = clock.now()
        self.store.remove(who)
        waiter.reply({})
        return None

    def _return(self, who: Attachment, request: dict[str, Any], waiter: Waiter) -> Keeper | None:
        """DEL of a lease that this daemon has not acquired: it is confirmed, to know its server, and given back."""
        try:
            keeper = adopted(self, who, self._place(request), request)
        except CNIError:
            return None
        self.take(keeper)
        keeper.wait(Returned(keeper, waiter), _RETURN)
        keeper.start()
        return None if keeper.ended else keeper

    def leases(self, request: dict[str, Any], waiter: Waiter) -> Keeper | None:  # noqa: ARG002
        """GC, and people: every lease."""
        found = []
        for keeper in self._keepers.values():
            network, container, ifname = keeper.who.parts
            if not keeper.acquiring:
                found.append(
                    {"network": network, "container": container, "ifname": ifname, "addresses": keeper.addresses()}
                )
        waiter.reply({"leases": found})
        return None

    def status(self, request: dict[str, Any], waiter: Waiter) -> Keeper | None:  # noqa: ARG002
        """STATUS: it runs."""
        waiter.reply({})
        return None

    def _place(self, request: dict[str, Any]) -> Place:
        return Place(f"{self.flags.hostprefix}{request['netns']}", request["ifname"], request.get("namespace", ""))

    # what keepers report

    def forget(self, keeper: Keeper) -> None:
        """A keeper has ended."""
        if self._keepers.get(str(keeper.who)) is keeper:
            del self._keepers[str(keeper.who)]
            self.store.remove(keeper.who)

    # the start, and every now and then

    def restore(self) -> None:
        """Go on with the leases of the daemon before, and give back those that DEL has ended meanwhile."""
        loop = asyncio.get_running_loop()
        for place, values in enumerate(self.store.read()):
            keeper = self._restored(values)
            if keeper is not None:  # one after the other, so that no server is flooded
                loop.call_later(place * _PACE, keeper.start)
        self._give_back()
        folder = f"{self.flags.hostprefix}{recorded.FOLDER}"
        self._recorded = Waiting(self, recorded.recorded(folder, self.flags.socketpath))
        self._recorded.look(_CONFIRM)
        self.timers.set(self, clock.now() + SWEEP)

    def _restored(self, values: dict[str, Any]) -> Keeper | None:
        who = values["who"]
        try:
            place = Place(*values["place"])
            keeper = Keeper(self, who, place, values["options"])
            with place.opened() as (_, link):
                keeper.sides = sides(keeper, link, values["leases"])
            for side in keeper.sides:
                side.lost = values["lost"].get(side.name, "")
                side.kept = values["kept"].get(side.name, [])
                side.mac = bytes.fromhex(values["macs"].get(side.name, ""))
        except Gone as gone:
            say(f"{client_name(who)}: {gone}: its lease of {', '.join(values['addresses'])} was dropped")
            self.store.remove(who)
        except (OSError, KernelError, CNIError) as error:  # such as too many open files
            say(f"{client_name(who)}: its lease cannot be restored now, and is tried again: {error}")
            self._later.append(values)
        except Exception as error:  # whatever is in a file, the daemon starts
            self.store.set_aside(values["path"], error)
        else:
            self.take(keeper)
            return keeper
        return None

    def _restore_later(self) -> None:
        """Try again what could not be restored, if its file is there and no ADD has come."""
        later, self._later = self._later, []
        for values in later:
            if not self.knows(values["who"]) and os.path.exists(values["path"]):
                keeper = self._restored(values)
                if keeper is not None:
                    keeper.start()

    def _give_back(self) -> None:
        """Give back the leases that DEL has marked while no daemon was running."""
        for values in self.store.read(records.DELETED):
            who = values["who"]
            keeper = self._keepers.get(str(who)) or self._restored(values)
            if keeper is not None:
                keeper.end(f"{keeper.given_back}: DEL has come without the daemon", True)
                self.store.remove(who)

    def wake(self, now: float) -> None:
        """End the leases whose namespaces have gone without DEL."""
        for keeper in list(self._keepers.values()):
            if keeper.place.ended:
                keeper.gone(f"{keeper.place.path} is gone without DEL")
        if self.store.deleted():
            self._give_back()
        self._restore_later()
        self._returned = {name: when for name, when in self._returned.items() if now < when + _REPEATED}
        if self._recorded is not None:
            self._recorded.look(_CONFIRM)
        self.timers.set(self, now + SWEEP)

    def close(self) -> None:
        """End the daemon: leases are kept, and calls that wait fail."""
        for keeper in list(self._keepers.values()):
            keeper.stop()


def _who(request: dict[str, Any]) -> Attachment:
    return Attachment(request["network"], request["container"], request["ifname"])
