"""The program ``cni``: what netavark runs, and GC for people and timers.

cni info | create | setup NETNS | teardown NETNS       documents on standard input and output (netavark)
cni gc [--podman PROGRAM]                              remove attachments of containers that podman has forgotten
"""

import sys

from cni import versions

API_VERSION = "1.0.0"
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
    from cni_netavark import lean

    status: int = lean.load("cni_netavark.calls").main(argv)
    return status
