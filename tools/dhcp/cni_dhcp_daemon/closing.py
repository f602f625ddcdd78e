"""Closes packet sockets in a thread: the kernel takes 10 ms or more for each, and nothing else could be done meanwhile."""

import queue
import socket
import threading


class Closer:
    """The thread, which starts with the first socket."""

    __slots__ = ("_queue", "_thread")

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[socket.socket | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def close(self, done: socket.socket) -> None:
        """Close a socket soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="closer", daemon=True)
            self._thread.start()
        self._queue.put(done)

    def _run(self) -> None:
        while (done := self._queue.get()) is not None:
            done.close()
