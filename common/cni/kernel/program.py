"""A program of the node, where a configuration asks for what only that can do: iptables, and nft's match words.

Found by its name in fixed folders, run with a bare environment and a bound on its time; no shell.
"""

import os

from cni.errors import CNIError
from cni.kernel.process import execute

_FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/local/bin")
_TIMEOUT = 15.0
# What else one can do than install it.
_REMEDIES = {"nft": "install nftables, or drop conditionsV4 and conditionsV6"}
_REMEDY = "install iptables, or drop ipMasqBackend or backend: nftables, the default, needs no program"


def find(name: str) -> str:
    """The program's path, the empty text where the node has none: in PATH first, then where such programs are."""
    for folder in (*os.environ.get("PATH", "").split(":"), *_FOLDERS):
        if folder.startswith("/") and os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    return ""


def missing(name: str) -> CNIError:
    """The error for a program that the configuration wants and the node does not have."""
    text = f"there is no program {name} on this node, and the configuration needs it"
    return CNIError(text, _REMEDIES.get(name, _REMEDY))


def run(name: str, *arguments: str, stdin: str = "") -> tuple[str, str]:
    """How the program failed (empty text: it did not) and what it printed; raises ``CNIError``."""
    path = find(name)
    if not path:
        raise missing(name)
    environ = {"PATH": ":".join(_FOLDERS)}
    failed, output, noise = execute(path, environ, stdin.encode(), _TIMEOUT, arguments)
    fault = f"{failed}: {noise.decode('utf-8', 'replace').strip()}" if failed else ""
    return fault, output.decode("utf-8", "replace")
