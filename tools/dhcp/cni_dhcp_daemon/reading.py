"""Reads the packets of a socket in a container's namespace, but not more often than its client can need.

A container, and each of its neighbours, can send any number of packets. What exceeds ``MOST`` packets in ``PERIOD`` seconds
stays in the kernel, which drops what does not fit there. So nobody can spend the time that other containers need.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

MOST, PERIOD = 128, 1.0
# The most packets in one turn of the loop.
_BATCH = 16
Packet = TypeVar("Packet")


def _nothing() -> NoReturn:
    raise OSError


def _ignored(packet: object) -> None:
    """After ``close``."""


class Reader(Generic[Packet]):
    """Calls ``taken`` with each packet that ``receive`` returns, until it is closed."""

    __slots__ = ("_left", "_loop", "_most", "_pause", "_receive", "_socket", "_taken", "_until")

    def __init__(
        self, source: socket.socket, receive: Callable[[], Packet], taken: Callable[[Packet], None], most: int = MOST
    ) -> None:
        """``receive`` raises ``OSError`` if there is no packet; ``most`` are read in a period."""
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = source
        self._receive = receive
        self._taken = taken
        # how many packets are read until then
        self._most = most
        self._left, self._until = most, 0.0
        self._pause: asyncio.TimerHandle | None = None
        self._begin()

    def _begin(self) -> None:
        self._pause = None
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        now = self._loop.time()
        if now >= self._until:
            self._left, self._until = self._most, now + PERIOD
        for _ in range(min(_BATCH, self._left)):
            try:
                packet = self._receive()
            except OSError:  # no more, or the link is down
                return
            self._left -= 1
            self._taken(packet)
            if self._socket is None:  # closed because of the packet
                return
        if not self._left and self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._pause = self._loop.call_at(self._until, self._begin)

    def close(self) -> None:
        """Read no more. The socket is not closed."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket = None
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        # its owner, which they belong to, is freed at once then
        self._receive, self._taken = _nothing, _ignored
