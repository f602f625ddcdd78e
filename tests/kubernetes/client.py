"""A client that asks a server for its name, again and again, and notes when it had no answer."""

import http.client
import socket
import threading
import time
from dataclasses import dataclass

from node.namespace import Netns


def name_of(at: Netns, address: str, port: int, seconds: float = 3.0) -> str:
    """The name that the server gives; raises ``OSError`` where nobody answers."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with at.socket(family) as connection:
        connection.settimeout(seconds)
        connection.connect((address, port))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.read().decode().strip()


def serves(at: Netns, address: str, port: int, seconds: float = 3.0) -> str:
    """As ``name_of``; empty if nobody answers."""
    try:
        return name_of(at, address, port, seconds)
    except (OSError, http.client.HTTPException):
        return ""


@dataclass(frozen=True)
class Request:
    """One request: when it began and ended, and the name of who answered, if anybody did."""

    began: float
    ended: float
    name: str


class Client:
    """Asks in a thread of its own, one request after the other, until it is left."""

    def __init__(self, at: Netns, address: str, port: int) -> None:
        self._at, self._address, self._port = at, address, port
        self.requests: list[Request] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Client":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(0.01):
            began = time.monotonic()
            name = serves(self._at, self._address, self._port, 0.5)
            self.requests.append(Request(began, time.monotonic(), name))

    @property
    def names(self) -> list[str]:
        """Who answered, each name once for every time that it followed another."""
        found: list[str] = []
        for request in self.requests:
            if request.name and request.name not in found[-1:]:
                found.append(request.name)
        return found

    def answered_by(self, others: list[str]) -> bool:
        """Whether somebody answered who is none of these."""
        return any(request.name and request.name not in others for request in list(self.requests))

    @property
    def silence(self) -> float:
        """The longest time without an answer, in seconds, between two that were answered."""
        longest, last = 0.0, None
        for request in self.requests:
            if request.name:
                if last is not None:
                    longest = max(longest, request.began - last)
                last = request.ended
        return longest
