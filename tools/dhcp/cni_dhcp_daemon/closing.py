"""Closes packet sockets in a thread: the kernel takes 10 ms or more for each, and nothing else could be done meanwhile.

Where very many leases are acquired together, up to ``MOST`` threads close their sockets at the same time.
"""

import queue
import socket
import threading

# The most threads, and how many sockets may wait before there is another one.
MOST, WAITING = 8, 512


class Closer:
    """The threads. The first one starts with the first socket, and they end with the process."""

    __slots__ = ("_count", "_queue")

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._count = 0

    def close(self, done: socket.socket) -> None:
        """Close a socket soon."""
        self._queue.put(done)
        if not self._count or (self._count < MOST and self._queue.qsize() > WAITING * self._count):
            self._count += 1
            threading.Thread(target=self._run, name="closer", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._queue.get().close()
