"""``dhcp daemon``: starts, serves until a signal ends it, and keeps the leases in files."""

import asyncio
import os
import resource
import signal
import socket
import sys
from typing import Any

from cni.site import Roots
from cni_dhcp import records
from cni_dhcp_daemon import flags as command_line
from cni_dhcp_daemon import listening
from cni_dhcp_daemon.keepers import Keepers
from cni_dhcp_daemon.log import say
from cni_dhcp_daemon.server import Connection
from cni_dhcp_daemon.store import Store


def main(words: list[str]) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit status."""
    try:
        flags = command_line.read(words)
    except command_line.HelpWanted:
        sys.stderr.write(command_line.USAGE)
        return 0
    except command_line.WrongFlag as error:
        sys.stderr.write(f"{error}\n{command_line.USAGE}")
        return 2
    path = f"{flags.hostprefix}{flags.socketpath}"
    folder = records.folder(f"{flags.hostprefix}{Roots().run}", flags.socketpath)
    try:
        passed = listening.passed()
        claim = listening.Claim(folder, path)
        store = Store(folder)
        listener = passed or listening.own(path)
    except listening.Unusable as error:
        say(f"Error getting listener: {error}")
        return 1
    except OSError as error:
        say(f"the leases cannot be kept in {folder}, or the socket not at {path}: {error}")
        return 1
    try:
        return _run(flags, store, listener)
    finally:
        if passed is None:  # systemd's remains
            listening.remove(path)
        claim.end()


def _run(flags: command_line.Flags, store: Store, listener: socket.socket) -> int:
    """Serve with the process id in its file, which is there when somebody can connect."""
    try:
        if flags.pidfile:
            listening.write_pid(flags.pidfile)
    except listening.Unusable as error:
        say(str(error))
        return 1
    listener.listen(listening.BACKLOG)
    _allow_descriptors()
    try:
        asyncio.run(_serve(flags, store, listener))
    finally:
        if flags.pidfile:
            listening.remove(flags.pidfile)
    return 0


def _allow_descriptors() -> None:
    """As many open descriptors as root may have: when many leases are acquired together, each has a socket."""
    most = resource.prlimit(0, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(0, resource.RLIMIT_NOFILE, (most, most))


async def _serve(flags: command_line.Flags, store: Store, listener: socket.socket) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    keepers = Keepers(flags, store)
    keepers.restore()
    # by default, CPython 3.13 and later remove the file of a socket that they did not make
    kept: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
    server = await loop.create_unix_server(
        lambda: Connection(keepers), sock=listener, backlog=listening.BACKLOG, **kept
    )
    say(f"serving at {flags.hostprefix}{flags.socketpath}, process {os.getpid()}, {len(keepers)} leases")
    await ended.wait()
    server.close()
    keepers.close()
