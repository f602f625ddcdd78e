"""A child of the server: it waits for a caller, verifies it, becomes as the caller is, and serves its one call.

Until the plugin's code starts every fault is answered with N: then the caller serves itself. From the moment that the
call is known the child dies with its caller: the kernel kills the child's process group when the connection is hung up
(fcntl(2), F_SETSIG), whatever it is doing just then, and with it the plugins that it has started.
"""

import fcntl
import gc
import os
import select
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_TRUNC,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SO_PASSCRED,
    SO_PEERCRED,
    SOL_SOCKET,
    socket,
)
from struct import Struct
from time import sleep

import cni
from cni import skel
from cni.kernel import nftables
from cni_forkserver import surroundings, warming
from cni_forkserver.peer import Caller, Refused
from cni_forkserver.surroundings import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cni.skel import Plugin

# Seconds that a caller may take to send its call, and to read the answer.
PATIENCE, READING = 5.0, 20.0
# Seconds that a process stays which has an nftables socket: by then what it removed is freed (RCU, some 20 ms).
LINGER = 0.2
# No packet is larger than a socket's buffer, 208 KiB unless the node's administrator has raised it.
_PACKET_MAX = 1 << 18
_PIECE = 1 << 16
_CREDENTIALS = Struct("=iII")
# Three streams; working directory, root, network and mount namespace.
_DESCRIPTORS = 7
_F_SETSIG, _SIGKILL = 10, 9


def serve(
    listener: socket,
    lifeline: int,
    taken: int,
    plugins: "dict[str, Plugin]",
    powers: "Mapping[str, str]",
    memory: "list[tuple[int, int]]",
) -> int:
    """Wait for a caller as long as the server lives, and serve it; the answer is this process's exit status."""
    _close_all_but(listener.fileno(), lifeline, taken)
    warming.populate(memory)
    connection = _accepted(listener, lifeline)
    if connection is None:
        return 0
    connection.settimeout(PATIENCE)
    connection.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
    _send(connection, cni.build.encode())
    _tell(taken)
    try:
        _close_all_but(connection.fileno())
        plugin = _taken_over(connection, plugins, powers)
    except (Refused, OSError, ValueError) as error:
        _send(connection, b"N" + str(error).encode("utf-8", "replace"))
        return 0
    status, output = skel.served(plugin)
    _survive(connection)
    connection.settimeout(READING)
    # a runtime reads the streams to their end, and this process's own end may take the kernel a while
    os.closerange(0, 3)
    answer(connection, status, output)
    connection.close()
    if nftables.used():
        # whoever closes a netfilter socket while the kernel frees what was removed holds up all transactions meanwhile
        sleep(LINGER)
    return 0


def answer(connection: socket, status: int, output: bytes) -> None:
    """Send what the plugin printed, and then its status: without that the caller knows that the answer is not whole."""
    for at in range(0, len(output), _PIECE):
        if not _send(connection, b"O" + output[at : at + _PIECE]):
            return
    _send(connection, b"S" + bytes([status & 0xFF]))


def _accepted(listener: socket, lifeline: int) -> "socket | None":
    poll = select.poll()
    for fd in (listener.fileno(), lifeline):
        poll.register(fd, select.POLLIN)
    while True:
        if any(fd == lifeline for fd, _ in poll.poll()):
            return None
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]  # what `socket` makes accept() of
        except (BlockingIOError, ConnectionAbortedError):
            continue  # another spare was faster: that of a server which is ending
        return socket(fileno=fd)


def _tell(taken: int) -> None:
    try:
        os.write(taken, b"t")
    except OSError:
        pass  # the server has ended; this call is served all the same


def _taken_over(connection: socket, plugins: "dict[str, Plugin]", powers: "Mapping[str, str]") -> "Plugin":
    """Receive a call and become as its caller is. Raises ``Refused``, ``OSError``, ``ValueError``."""
    pid, _, _ = _CREDENTIALS.unpack(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
    caller = Caller(pid)
    packet, sender, descriptors = _received(connection)
    caller.verify(powers, sender)
    request = Request(packet)
    if request.build != cni.build or request.package not in plugins:
        raise Refused("another build's call")
    if len(descriptors) != _DESCRIPTORS:
        raise Refused(f"{len(descriptors)} descriptors came")
    _die_with(connection)
    surroundings.limits(caller)
    surroundings.signals(caller)
    warming.seal()
    surroundings.enter(*descriptors[3:])
    surroundings.process(request, descriptors[:3])
    _close_all_but(connection.fileno())
    gc.disable()
    if request.environ.get(b"CNI_DEBUG"):
        os.write(2, f"cni-forkserver: served by process {os.getpid()}\n".encode())
    return plugins[request.package]


def _received(connection: socket) -> "tuple[bytes, int, list[int]]":
    """One packet, the process that sent it, and the descriptors that came along."""
    room = CMSG_SPACE(_DESCRIPTORS * 4) + CMSG_SPACE(_CREDENTIALS.size)
    received: Any = connection.recvmsg(_PACKET_MAX, room, MSG_CMSG_CLOEXEC)
    packet, ancillary, flags, _ = received
    if not packet:
        raise Refused("the caller has gone")
    if flags & (MSG_TRUNC | MSG_CTRUNC):
        raise Refused("the call is too large")
    sender, descriptors = 0, []
    for _, kind, data in ancillary:
        if kind == SCM_CREDENTIALS:
            sender = _CREDENTIALS.unpack(data)[0]
        elif kind == SCM_RIGHTS:
            descriptors = [value for (value,) in Struct("=i").iter_unpack(data)]
    return packet, sender, descriptors


def _die_with(connection: socket) -> None:
    """From here on a hang-up kills this process and its children. Raises ``Refused`` if the caller is gone already."""
    os.setpgid(0, 0)
    fd = connection.fileno()
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(fd, _F_SETSIG, _SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if poll.poll(0):
        raise Refused("the caller has gone")


def _survive(connection: socket) -> None:
    """What is done is done: a hang-up kills no more. (Room in the socket's buffer would count as one otherwise.)"""
    fd = connection.fileno()
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_ASYNC)


def _send(connection: socket, packet: bytes) -> bool:
    """Send one packet; whether the caller, which may be gone or stand still, will get it."""
    try:
        connection.send(packet)
    except OSError:
        return False
    return True


def _close_all_but(*kept: int) -> None:
    first = 3
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
