"""The command ``cni-forkserver``. systemd passes it a socket; with ``--foreground`` it makes one itself."""

import sys

from archivefinder import WORDS

from cni_forkserver import listening, peer, serving, warming

USAGE = f"""\
usage: cni-forkserver [--foreground [SOCKET]]

Serves the calls of CNI plugins of the same build that find its socket.
Without --foreground, systemd must pass the socket (cni-forkserver.socket).
With --foreground it makes the socket itself, by default {listening.SOCKET}.
"""


def main(argv: list[str]) -> int:
    """Serve until a signal ends it, and return the exit status."""
    if argv in (["--help"], ["-h"]):
        sys.stdout.write(USAGE)
        return 0
    if argv[:1] not in ([], ["--foreground"]) or len(argv) > 2 or any(word.startswith("-") for word in argv[1:]):
        sys.stderr.write(USAGE)
        return 2
    try:
        passed = listening.passed()
        if passed is None and not argv:
            raise listening.Unusable("no socket was passed (LISTEN_FDS): use --foreground without systemd")
        own = listening.Own(argv[1] if argv[1:] else listening.SOCKET, passed) if argv else None
    except (OSError, listening.Unusable) as error:
        sys.stderr.write(f"cni-forkserver: {error}\n")
        return 1
    reason = peer.cannot_serve(peer.privileges("self"))
    if reason:
        sys.stderr.write(f"cni-forkserver: {reason}\n")
        return 1
    if own:
        argv = ["--foreground", own.path]  # absolute: the program may later execute a newer version with these words
    listener = own.listener if own else passed
    assert listener is not None  # noqa: S101
    plugins = warming.import_everything(sys.argv[0])
    warming.freeze()
    try:
        _run(serving.Server(listener, plugins, [sys.argv[0], *WORDS, *argv]), own)
    except serving.Ended:
        pass
    return 0


def _run(server: serving.Server, own: listening.Own | None) -> None:
    """Serve until a signal. With a socket of its own, remove it, and wait for calls; a second signal raises ``Ended``."""
    try:
        server.run()
    except serving.Ended:
        pass
    finally:
        if own:
            own.remove()
    if own:  # a container's other processes may end with this one
        server.finish()
