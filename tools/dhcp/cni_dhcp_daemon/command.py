"""``dhcp daemon``: starts, serves until a signal ends it, and keeps the leases in files."""

import asyncio
import os
import signal
import socket
import sys

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
    folder = records.folder(Roots().run, flags.socketpath)
    try:
        passed = listening.passed()
        claim = listening.Claim(folder, path)
        store = Store(folder)
        listener = passed or listening.own(path)
        if flags.pidfile:
            listening.write_pid(flags.pidfile)
    except listening.Unusable as error:
        say(f"Error getting listener: {error}" if "pidfile" not in str(error) else str(error))
        return 1
    except OSError as error:
        say(f"Error getting listener: {error}")
        return 1
    try:
        asyncio.run(_serve(flags, store, listener))
    finally:
        if passed is None:  # systemd's remains
            listening.remove(path)
        if flags.pidfile:
            listening.remove(flags.pidfile)
        del claim
    return 0


async def _serve(flags: command_line.Flags, store: Store, listener: socket.socket) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    keepers = Keepers(flags, store)
    keepers.restore()
    server = await loop.create_unix_server(lambda: Connection(keepers), sock=listener, backlog=4096)
    say(f"serving at {flags.hostprefix}{flags.socketpath}, process {os.getpid()}")
    await ended.wait()
    server.close()
    keepers.close()
