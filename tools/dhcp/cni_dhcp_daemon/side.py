"""One protocol of one attachment: the client, which is pure, with its sockets and its deadline."""

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

from cni.errors import CNIError, KernelError
from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link
from cni_dhcp_daemon import clock
from cni_dhcp_daemon.client import Bound, Client, Datagram, Event, Failed, Lease, Lost, Probe, Route
from cni_dhcp_daemon.place import Gone

if TYPE_CHECKING:
    from cni_dhcp_daemon.keeper import Keeper


# Seconds between looks whether the link is ready.
_LOOK = 0.02


class Open(Protocol):
    """Something with open sockets."""

    def close(self) -> None:
        """Close them."""


class Sockets(Open, Protocol):
    """The sockets of a client, open while it listens."""

    server_mac: bytes
    """The MAC that sent the last answer; empty if there is none, or if it is not needed."""

    def send(self, namespace: Namespace | None, datagram: Datagram, at_once: bytes = b"") -> None:
        """Send a packet; raises ``OSError``."""

    def needs_namespace(self, datagram: Datagram) -> bool:
        """Whether a packet needs another socket of the namespace."""


class Side:
    """A client and what belongs to it. Subclasses know the sockets of a protocol."""

    __slots__ = (
        "_busy",
        "_probing",
        "_sockets",
        "client",
        "due",
        "fault",
        "keeper",
        "kept",
        "lease",
        "lost",
        "mac",
        "settled",
        "told",
    )
    # of the protocol, in files and messages
    name = ""
    words = ""
    # what has happened if nothing has
    silence = ""
    # whether the interface's addresses have lifetimes
    has_lifetimes = False
    # how often is looked whether the link is ready
    looks = 50

    def __init__(self, keeper: "Keeper", client: Client, lease: Lease | None = None) -> None:
        self.keeper = keeper
        self.client = client
        # what the attachment has now
        self.lease = lease
        # why there is none any more
        self.lost = ""
        # routes that went with the lost addresses, for ``interface.restore``
        self.kept: list[dict[str, Any]] = []
        # the server's MAC, of sockets that are closed
        self.mac = b""
        # why the last attempt has failed
        self.fault = ""
        # the fault that was printed last
        self.told = ""
        # there is something to answer to ADD
        self.settled = lease is not None
        self.due: float | None = None
        self._sockets: Sockets | None = None
        self._probing: dict[str, Open] = {}
        self._busy = False

    # what a protocol adds

    def open(self, namespace: Namespace, link: Link) -> Sockets:
        """Open the sockets; raises ``OSError``."""
        raise NotImplementedError

    def probe(self, namespace: Namespace, link: Link, address: str) -> bool:
        """Begin to ask whether another host has an address; False if that is not possible. Raises ``OSError``."""
        raise NotImplementedError

    def routes(self, lease: Lease) -> tuple[Route, ...]:
        """The routes of a lease, the default route too."""
        return lease.routes

    def prepare(self, namespace: Namespace, link: Link) -> None:
        """Prepare the link for a new lease."""

    def ready(self, namespace: Namespace, link: Link) -> bool:  # noqa: ARG002
        """Whether packets can be sent: the link was perhaps set up just now, and would lose them."""
        return link.operstate in ("up", "unknown")

    def seen(self, link: Link) -> None:
        """The link as it is now, before the client is called."""

    # the client's calls

    def begin(self, looks: int = -1) -> None:
        """Begin when the link is ready, or after some looks: confirm the lease, or acquire one."""
        if self.keeper.ended:
            return
        try:
            with self.keeper.place.opened() as (namespace, link):
                ready = self.ready(namespace, link)
        except Gone as gone:
            self.keeper.gone(str(gone))
            return
        except (OSError, KernelError, CNIError):
            ready = False
        left = self.looks if looks < 0 else looks
        if ready or not left:
            self.client.start(clock.now())
            self.pump()
        else:
            asyncio.get_running_loop().call_later(_LOOK, self.begin, left - 1)

    def wake(self, now: float) -> None:
        """The client's deadline has come. Before a new question the link is looked at, and the place stays open for it."""
        with ExitStack() as held:
            if self._sockets is None:
                try:
                    _, link = held.enter_context(self.keeper.place.opened())
                    self.seen(link)
                except Gone as gone:
                    self.keeper.gone(str(gone))
                    return
                except (OSError, KernelError, CNIError):
                    pass  # sending will fail too, and say so
            self.client.advance(now)
            self.pump()

    def received(self, payload: bytes, source: str) -> None:
        """A packet has arrived."""
        self.client.received(payload, source, clock.now())
        self.pump()

    def probed(self, address: str, in_use: bool) -> None:
        """The answer to a probe."""
        self._probing.pop(address, None)
        self.client.probed(address, in_use, clock.now())
        self.pump()

    def release(self) -> str:
        """Give the lease back, and end. Returns why that could not be sent; empty if it was, or if there is no lease."""
        self.client.release(clock.now())
        datagrams, self.fault = self.client.take_datagrams(), ""
        if datagrams:
            self._send(datagrams, at_once=True)
        self.close()
        return self.fault

    def pump(self) -> None:
        """After each call: send what the client wants to send, and do what has happened."""
        if self._busy:  # called by an event
            return
        self._busy = True
        try:
            while self._step():
                pass
        finally:
            self._busy = False
        self._settle()

    def _step(self) -> bool:
        datagrams = self.client.take_datagrams()
        if datagrams or (self.client.listening and self._sockets is None):
            self._send(datagrams)
        events = self.client.take_events()
        for event in events:
            self._happened(event)
        return bool(datagrams or events) and not self.keeper.ended

    def _settle(self) -> None:
        """Sockets are open only while the client listens, and the timer has its deadline."""
        if self.keeper.ended:
            self.close()
            return
        if not self.client.listening:
            self._shut()
        self.keeper.timers.set(self, self.client.deadline)

    def _send(self, datagrams: list[Datagram], at_once: bool = False) -> None:
        try:
            if self._sockets is not None and not any(map(self._sockets.needs_namespace, datagrams)):
                for datagram in datagrams:
                    self._sockets.send(None, datagram)
                return
            with self.keeper.place.opened() as (namespace, link):
                if self._sockets is None:
                    self._sockets = self.open(namespace, link)
                mac = self.server_mac if at_once else b""
                for datagram in datagrams:
                    self._sockets.send(namespace, datagram, mac)
        except Gone as gone:
            self.fault = str(gone)
            self.keeper.gone(self.fault)
        except (OSError, KernelError, CNIError) as error:
            # the client tries again
            self.fault = f"{self.words} cannot be sent on {self.keeper.place.ifname}: {error}"

    @property
    def server_mac(self) -> bytes:
        """The MAC that sent the last answer; empty if it is not known."""
        return (self._sockets.server_mac if self._sockets is not None else b"") or self.mac

    def _shut(self) -> None:
        if self._sockets is not None:
            self.mac = self.server_mac
            self._sockets.close()
            self._sockets = None

    def _happened(self, event: Event) -> None:
        if isinstance(event, Bound):
            self.fault = ""
            self.keeper.bound(self, event.lease)
        elif isinstance(event, Failed):
            self.fault = event.reason
            self.keeper.failed(self)
        elif isinstance(event, Lost):
            self.keeper.lost(self, event.reason)
        else:
            self._ask(event)

    def _ask(self, event: Probe) -> None:
        try:
            with self.keeper.place.opened() as (namespace, link):
                asked = self.keeper.wants_probe and self.probe(namespace, link, event.address)
        except Gone as gone:
            self.keeper.gone(str(gone))
            return
        except (OSError, KernelError, CNIError):
            asked = False
        if not asked:
            self.client.probed(event.address, False, clock.now())

    def close(self) -> None:
        """End without a word to the server."""
        self.keeper.timers.set(self, None)
        self._shut()
        for each in self._probing.values():
            each.close()
        self._probing.clear()
