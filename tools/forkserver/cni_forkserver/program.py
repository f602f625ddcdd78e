"""``cni-forkserver``: started by systemd with its socket, or with ``--foreground`` with one of its own."""

import sys

from cni_forkserver import listening, peer, serving, warming

USAGE = f"""\
usage: cni-forkserver [--foreground [SOCKET]]

Serves calls of the CNI plugins of its own build to plugin files that find its socket.
Without --foreground systemd must have passed the socket (cni-forkserver.socket).
With --foreground it makes the socket itself, by default {listening.SOCKET}.
"""


def main(argv: list[str]) -> int:
    """Serve until a signal ends it; the answer is the exit status."""
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
    reason = peer.insufficient(peer.powers("self"))
    if reason:
        sys.stderr.write(f"cni-forkserver: {reason}\n")
        return 1
    if own:
        argv = ["--foreground", own.path]  # whoever comes after this program needs no working directory
    listener = own.listener if own else passed
    assert listener is not None  # noqa: S101
    plugins = warming.everything(sys.argv[0])
    warming.settle()
    try:
        serving.Server(listener, plugins, [sys.argv[0], *argv]).run()
    except serving.Ended:
        pass
    finally:
        if own:
            own.remove()
    return 0
