"""Programs of the node, ip, iptables and nft, for keys of the configuration that need them.

They are found by name in PATH and in fixed folders, and run without a shell, with an empty environment and a time limit.
"""

import os

from cni.errors import CNIError
from cni.kernel.process import execute

_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin")
_TIMEOUT = 15.0
_REMEDIES = {
    "nft": "install nftables, or drop conditionsV4 and conditionsV6",
    "ip": "install iproute2, or drop selinuxContext",
}
_REMEDY = "install iptables, or drop ipMasqBackend or backend: nftables, the default, needs no program"


def find(name: str) -> str:
    """The program's path, empty if the node has none."""
    for folder in (*os.environ.get("PATH", "").split(":"), *_FOLDERS):
        if folder.startswith("/") and os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    return ""


def missing(name: str) -> CNIError:
    """The error for a missing program."""
    text = f"there is no program {name} on this node, and the configuration needs it"
    return CNIError(text, _REMEDIES.get(name, _REMEDY))


def run(name: str, *arguments: str, stdin: str = "") -> tuple[str, str]:
    """Run a program; returns its failure (empty: none) and its output. Raises ``CNIError`` if it is missing."""
    path = find(name)
    if not path:
        raise missing(name)
    environ = {"PATH": ":".join(_FOLDERS)}
    failed, output, noise = execute(path, environ, stdin.encode(), _TIMEOUT, arguments)
    fault = f"{failed}: {noise.decode('utf-8', 'replace').strip()}" if failed else ""
    return fault, output.decode("utf-8", "replace")
