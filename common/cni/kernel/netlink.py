"""A netlink socket that asks one thing at a time and waits with a bound (netlink(7), linux/netlink.h).

The socket is our own, because pyroute2's brings asyncio along; of pyroute2 are the messages. It
belongs to the network namespace in which it was opened, wherever the process goes afterwards.
"""

import os
import struct
import sys
from _socket import AF_NETLINK, SO_RCVBUF, SO_SNDBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

from cni.errors import TryAgainLater
from cni.patience import attempts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

ROUTE, NETFILTER = 0, 12
F_REQUEST, F_ACK, F_DUMP = 0x1, 0x4, 0x300
F_REPLACE, F_EXCL, F_CREATE, F_APPEND = 0x100, 0x200, 0x400, 0x800
# of a request to delete: only what holds nothing
F_NONREC = 0x100
_F_DUMP_INTR = 0x10
# types of the messages that end an answer: an acknowledgement, and the end of a dump
ERROR, DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_NETNS_COOKIE = 32, 33, 71
# Below what every kernel gives a socket (net.core.wmem_default is 212992).
_BUFFER = 1 << 16
# The part of a buffer that the kernel keeps for itself.
_BESIDE = 32
_F_CAPPED, _F_ACK_TLVS = 0x100, 0x200
_ATTRIBUTE_MSG = 1
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
# Well below kubelet's two minutes; the kernel answers in milliseconds unless the rtnl lock is contended.
TIMEOUT = 20.0
# How long a dump is asked for again that others disturb; seconds.
_PATIENCE = 15.0
# Sockets that wait for their end.
_LATER_MAX = 16


class Later:
    """Sockets that are done, and are closed together, or when there are too many of them.

    The end of some waits until every processor has looked up (RCU), about 10 ms: of netfilter's, for what transactions
    have removed, and of packet sockets. The process ends soon; the fork server's child has answered before it does.
    """

    def __init__(self) -> None:
        self._sockets: list[socket | Netlink] = []

    def add(self, done: "socket | Netlink") -> None:
        """Close a socket, but not now."""
        self._sockets.append(done)
        if len(self._sockets) > _LATER_MAX:
            self._sockets.pop(0).close()

    def close(self) -> None:
        """Close them now."""
        while self._sockets:
            self._sockets.pop().close()


class KernelError(Exception):
    """The kernel refused a request; the text is its own, with its extended acknowledgement if it gave one."""

    def __init__(self, number: int, message: str = "") -> None:
        self.errno = number
        self.text = message
        super().__init__(f"{os.strerror(number).lower()}{f' ({message})' if message else ''}")


def attributes(data: bytes, offset: int = 0) -> "Iterator[tuple[int, bytes]]":
    """Type and payload of each attribute from ``offset`` on; nested ones are payloads of the same make."""
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += length + 3 & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute, padded to 4 bytes; 0x8000 in ``kind`` marks one that holds others."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) & 3)


def integer(kind: int, value: int, size: int = 4) -> bytes:
    """An attribute with an integer of ``size`` bytes, in the host's order."""
    return attribute(kind, value.to_bytes(size, sys.byteorder))


def number(payload: bytes | None) -> int:
    """An integer of any width, in the host's order; 0 where there is none."""
    return int.from_bytes(payload or b"", sys.byteorder)


def text(payload: bytes | None) -> str:
    """A text that may end in a zero byte."""
    return (payload or b"").rstrip(b"\0").decode("utf-8", "surrogateescape")


def message_header(length: int, kind: int, flags: int, sequence: int) -> bytes:
    """The header of a request whose body has this length."""
    return _HEADER.pack(16 + length, kind, flags | F_REQUEST, sequence, 0)


class Answer:
    """One message from the kernel: its type, flags and the bytes from its header on."""

    __slots__ = ("data", "flags", "kind", "sequence")

    def __init__(self, kind: int, flags: int, sequence: int, data: bytes) -> None:
        self.kind = kind
        self.flags = flags
        self.sequence = sequence
        self.data = data

    def decode(self, cls: "Any") -> "Any":
        """The message as an object of the pyroute2 class ``cls``."""
        message = cls(self.data)
        message.decode()
        return message

    def attributes(self, offset: int) -> "Iterator[tuple[int, bytes]]":
        """Type and payload of the attributes that begin at ``offset``: where decoding all would cost too much."""
        return attributes(self.data, offset)

    @property
    def error(self) -> KernelError | None:
        """What an acknowledgement, or the end of a dump, says; None for success and for messages of other kinds."""
        if self.kind not in (ERROR, DONE) or len(self.data) < 20:
            return None
        (number,) = struct.unpack_from("=i", self.data, 16)
        return KernelError(-number, self._extended()) if number else None

    def _extended(self) -> str:
        if not self.flags & _F_ACK_TLVS:
            return ""
        offset = 20 if self.kind == DONE else 36
        if self.kind == ERROR and not self.flags & _F_CAPPED:
            (length,) = struct.unpack_from("=I", self.data, 20)
            offset += length - 16
        for kind, payload in self.attributes(offset):
            if kind == _ATTRIBUTE_MSG:
                return payload.rstrip(b"\0").decode("utf-8", "replace")
        return ""


class Netlink:
    """A socket of one protocol (``ROUTE``, ``NETFILTER``) in the namespace in which it was made."""

    def __init__(self, protocol: int, timeout: float = TIMEOUT) -> None:
        self._protocol = protocol
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._socket.settimeout(timeout)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    @property
    def cookie(self) -> int:
        """The number of the socket's namespace that no other gets (SO_NETNS_COOKIE); 0 before Linux 5.14."""
        try:
            return int(struct.unpack("=Q", self._socket.getsockopt(SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
        except OSError:
            return 0

    def close(self) -> None:
        """Give the descriptor back. That of netfilter waits for the kernel after a removal (see ``Later``)."""
        self._socket.close()

    @property
    def namespace(self) -> int:
        """A number of the socket's network namespace that no other one has had since the node was started.

        Before Linux 5.14 that of the file by which the caller's is known, which may come again.
        """
        return self.cookie or os.stat("/proc/thread-self/ns/net").st_ino

    def encode(self, message: "Any", kind: int, flags: int) -> bytearray:
        """A message with its header filled in: type, flags and the next sequence number; pyroute2's, or a body as bytes."""
        if isinstance(message, bytes):
            return bytearray(self.packed(message, kind, flags))
        self._sequence += 1
        message["header"].update(
            {"type": kind, "flags": flags | F_REQUEST, "sequence_number": self._sequence, "pid": 0}
        )
        message.reset()
        message.encode()
        data: bytearray = message.data
        return data

    def packed(self, body: bytes, kind: int, flags: int) -> bytes:
        """A message of our own making behind a header with type, flags and the next sequence number."""
        self._sequence += 1
        return message_header(len(body), kind, flags, self._sequence) + body

    def send(self, data: "bytes | bytearray") -> int:
        """Send encoded messages as one datagram; the answer is the last sequence number used."""
        self._socket.send(data)
        return self._sequence

    def make_room(self, size: int) -> int:
        """Let the socket hold a datagram of ``size`` bytes, and the answers to it: the size that it takes now.

        More than net.core.wmem_max is granted in the first user namespace alone (socket(7), SO_SNDBUFFORCE).
        """
        if size <= _BUFFER:
            return _BUFFER
        self._grow(SO_RCVBUF, _SO_RCVBUFFORCE, 4 * size)
        return self._grow(SO_SNDBUF, _SO_SNDBUFFORCE, 2 * size) - _BESIDE

    def _grow(self, option: int, forced: int, size: int) -> int:
        """Ask for a buffer of a size: the one that there is then."""
        try:
            self._socket.setsockopt(SOL_SOCKET, forced, size)
        except OSError:
            self._socket.setsockopt(SOL_SOCKET, option, size)
        return self._socket.getsockopt(SOL_SOCKET, option)

    def datagram(self) -> bytes:
        """One datagram from the kernel; raises ``TryAgainLater`` when none comes in time."""
        try:
            return self._socket.recv(1 << 18)
        except TimeoutError:
            raise TryAgainLater(
                "the kernel does not answer over netlink", "the node is overloaded; try again"
            ) from None

    def receive(self) -> "Iterator[Answer]":
        """The messages of one datagram; raises ``TryAgainLater`` when none comes in time."""
        data, offset = self.datagram(), 0
        while offset + 16 <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if length < 16:
                break
            yield Answer(kind, flags, sequence, data[offset : offset + length])
            offset += length + 3 & ~3

    def request(self, message: "Any", kind: int, flags: int = 0) -> list[Answer]:
        """Send one message and wait for its acknowledgement: the answers that came before it.

        Raises ``KernelError``. A dump that changes disturbed is asked for again, for some seconds. Two equal dumps in a
        row are an answer too: the changes were elsewhere, as in another table. (The removal of an object can make a
        dump skip another one; but then the dump before still had the removed one.)
        """
        if flags & F_DUMP != F_DUMP:
            flags |= F_ACK
        before: list[bytes] | None = None
        for _ in attempts(_PATIENCE):
            *answers, last = self._once(self.encode(message, kind, flags))
            if not any(answer.flags & _F_DUMP_INTR for answer in (*answers, last)):
                return answers
            seen = self.essence(answers)
            if seen == before:
                return answers
            before = seen
        raise TryAgainLater("a netlink dump was disturbed by changes again and again", "try again")

    def essence(self, answers: "list[Answer]") -> "list[bytes]":
        """The parts of a dump that are compared."""
        return [answer.data[_HEADER.size :] for answer in answers]

    def _once(self, data: bytearray) -> list[Answer]:
        """The answers to one request, with the one that ends them, which may report a disturbance."""
        sequence = self.send(data)
        answers: list[Answer] = []
        while True:
            for answer in self.receive():
                if answer.sequence != sequence:
                    continue  # the rest of a dump that was given up
                error = answer.error
                if error is not None:
                    raise error
                answers.append(answer)
                if answer.kind in (DONE, ERROR):
                    return answers
