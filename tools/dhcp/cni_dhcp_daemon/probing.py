"""Asking on a link whether another host has an address. ARP and neighbour discovery differ in their packets alone."""

import asyncio
import socket
from collections.abc import Callable

from cni_dhcp_daemon.closing import Closer
from cni_dhcp_daemon.reading import Reader


class AddressProbe:
    """Asks whether another host has an address; ``answered`` is called once, with True or False."""

    __slots__ = ("_answered", "_closer", "_packets", "_reader", "_timers")
    # Seconds until each probe is sent, and until nobody has answered.
    probes: tuple[float, ...] = ()
    silence = 0.0

    def __init__(self, packets: socket.socket, answered: Callable[[bool], None], closer: Closer) -> None:
        """``packets`` is closed at the end."""
        loop = asyncio.get_running_loop()
        self._answered = answered
        self._closer = closer
        self._packets = packets
        self._reader = Reader(packets, lambda: packets.recv(256), self._heard)
        self._timers = [loop.call_later(delay, self._ask) for delay in self.probes]
        self._timers.append(loop.call_later(self.silence, self._end, False))

    def send(self) -> None:
        """Send a probe; raises ``OSError``."""
        raise NotImplementedError

    def is_conflict(self, packet: bytes) -> bool:
        """Whether a packet shows that another host has the address, or asks for it too."""
        raise NotImplementedError

    def _ask(self) -> None:
        try:
            self.send()
        except OSError:
            pass  # the link is down: nobody can have it there

    def _heard(self, packet: bytes) -> None:
        if self.is_conflict(packet):
            self._end(True)

    def _end(self, in_use: bool) -> None:
        self.close()
        self._answered(in_use)

    def close(self) -> None:
        """End it without an answer."""
        for timer in self._timers:
            timer.cancel()
        self._reader.close()
        self._closer.close(self._packets)
