"""The program ``cni``: what netavark runs, and GC for people and timers.

cni info | create | setup NETNS | teardown NETNS       documents on standard input and output (netavark)
cni gc [--podman PROGRAM]                              remove attachments of containers that podman has forgotten
"""

import os
import sys

import cni
from cni import versions, wire

API_VERSION = "1.0.0"
MAX_INPUT = 16 << 20
USAGE = """\
usage: cni info | create | setup NETNS | teardown NETNS
       cni gc [--podman PROGRAM]

netavark runs the first four, with documents on standard input and output. gc removes the attachments of containers that
podman does not have any more.
"""


def main(argv: list[str]) -> int:
    """Serve one call, and return the exit status."""
    if argv == ["info"]:
        print(f'{{"version": "{versions.RELEASE}", "api_version": "{API_VERSION}"}}')
        return 0
    known = {"create": 1, "setup": 2, "teardown": 2}
    if argv[:1] == ["gc"] and (len(argv) == 1 or (len(argv) == 3 and argv[1] == "--podman")):
        known["gc"] = len(argv)
    if not argv or known.get(argv[0]) != len(argv):
        sys.stderr.write(USAGE)
        return 2
    from cni_netavark import lean, rootless

    if argv[0] != "create" and rootless.is_rootless():
        fault = rootless.with_own_state(argv)
        if fault:
            print(wire.encode({"error": fault}))
            return 1
    document = b"" if argv[0] == "gc" else sys.stdin.buffer.read(MAX_INPUT)
    if argv[0] in ("setup", "teardown"):
        from cni_netavark import beside, folders

        beside.start_early(folders.named_in(document) or folders.PLUGINS)
    status: int = lean.load("cni_netavark.calls").main(argv, document)
    if cni.build:  # a file of the build: without the interpreter's clean-up, which takes milliseconds
        sys.stdout.flush()
        os._exit(status)
    return status
