"""A netlink socket with one request at a time and a limited wait (netlink(7), linux/netlink.h).

Messages are pyroute2's; the socket is our own, because pyroute2's imports asyncio. It belongs to the network namespace
in which it was opened.
"""

import os
import struct
import sys
from _socket import AF_NETLINK, SO_RCVBUF, SO_SNDBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket

from cni.errors import KernelError, TryAgainLater

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import Any

ROUTE, NETFILTER = 0, 12
F_REQUEST, F_ACK, F_ECHO, F_DUMP = 0x1, 0x4, 0x8, 0x300
F_REPLACE, F_EXCL, F_CREATE, F_APPEND = 0x100, 0x200, 0x400, 0x800
# make an object; an error if it exists
F_NEW = F_CREATE | F_EXCL
# for deletions: only an empty object
F_NONREC = 0x100
_F_DUMP_INTR = 0x10
# types of the last message of an answer: an acknowledgement, or the end of a dump
ERROR, DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_NETNS_COOKIE = 32, 33, 71
# Every kernel gives a socket more than this (net.core.wmem_default is 212992).
_BUFFER = 1 << 16
# The part of a buffer that the kernel uses itself.
_BESIDE = 32
_F_ACK_TLVS = 0x200
_ATTRIBUTE_MSG = 1
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")
# Well below kubelet's two minutes; the kernel answers in milliseconds unless the rtnl lock is contended.
TIMEOUT = 20.0
# Seconds for repeating a dump that changes disturb.
_PATIENCE = 15.0
# The most sockets that wait to be closed.
_LATER_MAX = 16


class Later:
    """Sockets that are no longer used, and are closed later, together.

    Closing some sockets waits for an RCU grace period, about 10 ms: packet sockets, and netfilter's after removals. The
    process ends soon anyway; a child of the fork server has answered before that.
    """

    def __init__(self) -> None:
        self._sockets: list[socket | Netlink] = []

    def add(self, done: "socket | Netlink") -> None:
        """Close a socket later, or the oldest one now if there are too many."""
        self._sockets.append(done)
        if len(self._sockets) > _LATER_MAX:
            self._sockets.pop(0).close()

    def close(self) -> None:
        """Close all sockets now."""
        while self._sockets:
            self._sockets.pop().close()


def attributes(data: bytes, offset: int = 0) -> "Iterator[tuple[int, bytes]]":
    """Type and payload of each attribute from ``offset`` on; the payload of a nested one has the same format."""
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += length + 3 & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """An attribute, padded to 4 bytes; 0x8000 in ``kind`` marks a nested one."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) & 3)


def integer(kind: int, value: int, size: int = 4) -> bytes:
    """An attribute with an integer of ``size`` bytes, in the host's order."""
    return attribute(kind, value.to_bytes(size, sys.byteorder))


def number(payload: bytes | None) -> int:
    """An integer of any width in the host's order; 0 for None."""
    return int.from_bytes(payload or b"", sys.byteorder)


def text(payload: bytes | None, errors: str = "surrogateescape") -> str:
    """A text that may end in a zero byte."""
    return (payload or b"").rstrip(b"\0").decode("utf-8", errors)


def framed(body: bytes, kind: int, flags: int, sequence: int) -> bytes:
    """A request: its body behind a header."""
    return _HEADER.pack(16 + len(body), kind, flags | F_REQUEST, sequence, 0) + body


class Answer:
    """One message from the kernel: its type, flags and bytes, with its header."""

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

    @property
    def last(self) -> bool:
        """Whether it ends the answers to a request: an acknowledgement, or the end of a dump."""
        return self.kind in (ERROR, DONE)

    @property
    def error(self) -> KernelError | None:
        """The error in an acknowledgement or at the end of a dump; None for success and for other messages."""
        if not self.last or len(self.data) < 20:
            return None
        (number,) = struct.unpack_from("=i", self.data, 16)
        return KernelError(-number, self._extended()) if number else None

    def _extended(self) -> str:
        """The kernel's words; an acknowledgement has the header of our request before them."""
        found = attributes(self.data, 20 if self.kind == DONE else 36) if self.flags & _F_ACK_TLVS else ()
        return text(dict(found).get(_ATTRIBUTE_MSG), "replace")


class Netlink:
    """A socket of one protocol (``ROUTE``, ``NETFILTER``) in the namespace in which it was made."""

    def __init__(self, protocol: int = ROUTE, timeout: float = TIMEOUT) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._socket.settimeout(timeout)
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    @property
    def cookie(self) -> int:
        """The cookie of the socket's namespace (SO_NETNS_COOKIE), unique until reboot; 0 before Linux 5.14."""
        try:
            return int(struct.unpack("=Q", self._socket.getsockopt(SOL_SOCKET, _SO_NETNS_COOKIE, 8))[0])
        except OSError:
            return 0

    def close(self) -> None:
        """Close the socket; may wait for the kernel (see ``Later``)."""
        self._socket.close()

    @property
    def namespace(self) -> int:
        """The cookie, or before Linux 5.14 the inode of the caller's namespace, which a later namespace may get again."""
        return self.cookie or os.stat("/proc/thread-self/ns/net").st_ino

    def encode(self, message: "Any", kind: int, flags: int) -> bytearray:
        """Encode a message of pyroute2's, or a body in bytes, with type, flags and the next sequence number."""
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
        """A body behind a header with type, flags and the next sequence number."""
        self._sequence += 1
        return framed(body, kind, flags, self._sequence)

    def send(self, data: "bytes | bytearray") -> int:
        """Send encoded messages as one datagram; returns the last sequence number used."""
        self._socket.send(data)
        return self._sequence

    def make_room(self, size: int) -> int:
        """Enlarge the socket's buffers for a datagram of ``size`` bytes and its answers; returns the size that fits now.

        More than net.core.wmem_max is possible only in the first user namespace (socket(7), SO_SNDBUFFORCE).
        """
        if size <= _BUFFER:
            return _BUFFER
        self._grow(SO_RCVBUF, _SO_RCVBUFFORCE, 4 * size)
        return self._grow(SO_SNDBUF, _SO_SNDBUFFORCE, 2 * size) - _BESIDE

    def _grow(self, option: int, forced: int, size: int) -> int:
        """Set the size of a buffer; returns the size that the kernel grants."""
        try:
            self._socket.setsockopt(SOL_SOCKET, forced, size)
        except OSError:
            self._socket.setsockopt(SOL_SOCKET, option, size)
        return self._socket.getsockopt(SOL_SOCKET, option)

    def datagram(self) -> bytes:
        """Receive one datagram; raises ``TryAgainLater`` if none comes in time."""
        try:
            return self._socket.recv(1 << 18)
        except TimeoutError:
            fault = "the kernel does not answer over netlink"
            raise TryAgainLater(fault, "the node is overloaded; try again") from None

    def receive(self) -> "Iterator[Answer]":
        """Receive the messages of one datagram; raises ``TryAgainLater`` if none comes in time."""
        data, offset = self.datagram(), 0
        while offset + 16 <= len(data):
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
            if length < 16:
                break
            yield Answer(kind, flags, sequence, data[offset : offset + length])
            offset += length + 3 & ~3

    def answers(self, first: int, last: int) -> "Iterator[Answer]":
        """Yields the answers to these sequence numbers, and never ends. Answers to earlier requests are skipped."""
        while True:
            for answer in self.receive():
                if first <= answer.sequence <= last:
                    yield answer

    def request(self, message: "Any", kind: int, flags: int = 0, absent: "Container[int]" = ()) -> list[Answer]:
        """Send one message and wait for its acknowledgement, or for the end of a dump; returns the answers before that.

        Raises ``KernelError``; but an error in ``absent`` means that nothing more exists, and ends the answers.
        """
        if flags & F_DUMP == F_DUMP:
            return self._repeated(message, kind, flags, absent)
        return self._asked(message, kind, flags | F_ACK, absent)[0]

    def _repeated(self, message: "Any", kind: int, flags: int, absent: "Container[int]") -> list[Answer]:
        """A dump, which is repeated for some seconds if changes disturb it.

        Two equal dumps in a row are accepted: the changes were elsewhere, as in another table. (The removal of an object
        can make a dump skip another one, but then the dump before had the removed object.)
        """
        from cni.patience import attempts

        before: list[bytes] | None = None
        for _ in attempts(_PATIENCE):
            answers, disturbed = self._asked(message, kind, flags, absent)
            if not disturbed or (seen := self.essence(answers)) == before:
                return answers
            before = seen
        raise TryAgainLater("a netlink dump was disturbed by changes again and again", "try again")

    def first(self, message: "Any", kind: int, most: int) -> list[Answer]:
        """At most the first ``most`` answers of a dump, which is not repeated. Afterwards only ``close`` the socket.

        For what a container has itself: it can have objects without number, and change them all the time.
        """
        found: list[Answer] = []
        sequence = self.send(self.encode(message, kind, F_DUMP))
        for answer in self.answers(sequence, sequence):
            if answer.error is not None:
                raise answer.error
            if answer.last or len(found) == most:
                break
            found.append(answer)
        return found

    def _asked(self, message: "Any", kind: int, flags: int, absent: "Container[int]") -> tuple[list[Answer], bool]:
        """The answers to one message, and whether changes disturbed them."""
        answers: list[Answer] = []
        disturbed, sequence = 0, self.send(self.encode(message, kind, flags))
        for answer in self.answers(sequence, sequence):
            error = answer.error
            if error is not None:
                if error.errno in absent:
                    return answers, False
                raise error
            disturbed |= answer.flags & _F_DUMP_INTR
            if answer.last:
                break
            answers.append(answer)
        return answers, bool(disturbed)

    def essence(self, answers: "list[Answer]") -> "list[bytes]":
        """The parts of a dump that ``request`` compares."""
        return [answer.data[_HEADER.size :] for answer in answers]
