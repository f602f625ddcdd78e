"""A child of the server: wait for a caller, verify it, take over its surroundings, serve its call, exit.

Until the plugin's code starts, the child answers every fault with N, and the caller serves itself. After the child has
received the call, it dies with its caller: when the connection is closed, the kernel kills the child's process group
(fcntl(2), F_SETSIG), whatever it is doing, with the plugins that it has started.
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
from cni_forkserver import surroundings, warming
from cni_forkserver.peer import Caller, Refused
from cni_forkserver.surroundings import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cni.skel import Plugin
    from cni_forkserver.warming import Pages

# Seconds that a caller may take to send its call, and to read the answer.
SENDING, READING = 5.0, 20.0
# A process with an nftables socket ends after so many seconds. By then the kernel has freed what was removed (RCU, about
# 20 ms).
LINGER = 0.2
# No packet is larger than a socket's buffer: 208 KiB, unless the administrator has raised it.
_PACKET_MAX = 1 << 18
_PIECE = 1 << 16
_CREDENTIALS = Struct("=iII")
# Three standard streams; working directory, root, network namespace, mount namespace.
_DESCRIPTORS = 7
_F_SETSIG, _SIGKILL = 10, 9


def serve(
    listener: socket,
    lifeline: int,
    taken: int,
    plugins: "dict[str, Plugin]",
    privileges: "Mapping[str, str]",
    pages: "Pages",
    idle: float,
) -> int:
    """Wait for a caller while the server lives, and serve it. Return this process's exit status.

    ``pages`` are copied when no caller has come for ``idle`` seconds.
    """
    _close_all_but(listener.fileno(), lifeline, taken, *pages.descriptors)
    connection = _accept(listener, lifeline, pages, idle)
    if connection is None:
        return 0
    kept = pages.descriptors
    connection.settimeout(SENDING)
    connection.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
    _send(connection, cni.build.encode())
    _report_taken(taken)
    try:
        _close_all_but(connection.fileno(), *kept)
        plugin = _take_over(connection, plugins, privileges, kept)
    except (Refused, OSError, ValueError) as error:
        _send(connection, b"N" + str(error).encode("utf-8", "replace"))
        return 0
    answered = skel.served(plugin)
    _outlive(connection)
    connection.settimeout(READING)
    # The runtime reads the streams until they are closed, and the end of this process may take a while.
    os.closerange(0, 3)
    answer(connection, answered.status, answered.output)
    connection.close()
    os.sched_yield()  # so that the caller ends before this process does, which takes longer
    pages.note()
    if answered.lingers:
        # Closing a netfilter socket while the kernel frees removed objects blocks all transactions meanwhile.
        sleep(LINGER)
    return 0


def answer(connection: socket, status: int, output: bytes) -> None:
    """Send the plugin's output, and then its exit status. Without the status, the caller knows that output is missing."""
    for at in range(0, len(output), _PIECE):
        if not _send(connection, b"O" + output[at : at + _PIECE]):
            return
    _send(connection, b"S" + bytes([status & 0xFF]))


def _accept(listener: socket, lifeline: int, pages: "Pages", idle: float) -> "socket | None":
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)  # a caller wakes one spare child
    poll.register(lifeline, select.EPOLLIN)
    timeout: float | None = idle
    while True:
        ready = poll.poll(timeout)
        if not ready:
            pages.copy()
            timeout = None
            continue
        if any(fd == lifeline for fd, _ in ready):
            return None
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]  # the module `socket` uses it for accept()
        except (BlockingIOError, ConnectionAbortedError):
            continue  # another spare child was faster
        return socket(fileno=fd)


def _report_taken(taken: int) -> None:
    """Tell the server that this child has a caller."""
    try:
        os.write(taken, b"t")
    except OSError:
        pass  # the server has ended; this call is served nevertheless


def _take_over(
    connection: socket, plugins: "dict[str, Plugin]", privileges: "Mapping[str, str]", kept: tuple[int, ...]
) -> "Plugin":
    """Receive a call, and take over the surroundings of its caller. Raises ``Refused``, ``OSError``, ``ValueError``."""
    pid, _, _ = _CREDENTIALS.unpack(connection.getsockopt(SOL_SOCKET, SO_PEERCRED, _CREDENTIALS.size))
    caller = Caller(pid)
    packet, sender, descriptors = _receive(connection)
    caller.verify(privileges, sender)
    request = Request(packet)
    if request.build != cni.build or request.package not in plugins:
        raise Refused("another build's call")
    if len(descriptors) != _DESCRIPTORS:
        raise Refused(f"{len(descriptors)} descriptors arrived instead of {_DESCRIPTORS}")
    _die_with(connection)
    surroundings.limits(caller)
    surroundings.signals(caller)
    warming.prevent_imports()
    surroundings.enter(*descriptors[3:])
    surroundings.process(request, descriptors[:3])
    _close_all_but(connection.fileno(), *kept)
    gc.disable()
    if request.environ.get(b"CNI_DEBUG"):
        os.write(2, f"cni-forkserver: served by process {os.getpid()}\n".encode())
    return plugins[request.package]


def _receive(connection: socket) -> "tuple[bytes, int, list[int]]":
    """Receive one packet, with the pid of its sender and its file descriptors."""
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
    """Make the end of the connection kill this process and its children. Raises ``Refused`` if the caller has gone."""
    os.setpgid(0, 0)
    fd = connection.fileno()
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpid())
    fcntl.fcntl(fd, _F_SETSIG, _SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if poll.poll(0):
        raise Refused("the caller has gone")


def _outlive(connection: socket) -> None:
    """Undo ``_die_with``: the call is done. (Otherwise room in the socket's buffer would send the signal too.)"""
    fd = connection.fileno()
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_ASYNC)


def _send(connection: socket, packet: bytes) -> bool:
    """Send one packet. Return whether it was sent: the caller may be gone, or not read."""
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
