"""The files of leases: ``/run/cni/pycni/dhcp/<the daemon's socket>/<hash of the attachment>``.

The daemon writes them. The plugin only marks one as deleted if the daemon does not run: the daemon then gives the lease
back when it starts.
"""

import os

from cni import wire
from cni.attachment import shortened
from cni.errors import CNIError
from cni.file_content import read
from cni.names import sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.attachment import Attachment

_MOST = 1 << 20
# The ends of names: a lease; one that DEL has ended without the daemon.
LEASE, DELETED = ".lease", ".deleted"


def folder(run: str, socket: str) -> str:
    """The folder of a daemon; ``run`` is ``/run/cni/pycni``."""
    name = socket.strip("/").replace("%", "%25").replace("/", "%2F")
    return f"{run}/dhcp/{shortened(name, 200)}"


def name(attachment: "Attachment") -> str:
    """The name of the attachment's file, without its end."""
    return sha512(*attachment.parts).hex()[:32]


def content(path: str) -> "dict[str, Any]":
    """The object in a file; raises ``OSError`` or ``CNIError`` if it cannot be read."""
    found = wire.decode(read(path, _MOST, os.O_NOFOLLOW))
    if not isinstance(found, dict):
        raise CNIError("it has no object")
    return found


def names(folder: str, end: str = LEASE) -> "list[str]":
    """The paths of the files with this end."""
    try:
        return [f"{folder}/{each}" for each in sorted(os.listdir(folder)) if each.endswith(end) and each[0] != "."]
    except FileNotFoundError:
        return []


def mark_deleted(folder: str, name: str) -> None:
    """Mark a lease as deleted, if it exists; raises ``OSError``."""
    try:
        os.rename(f"{folder}/{name}{LEASE}", f"{folder}/{name}{DELETED}")
    except (FileNotFoundError, NotADirectoryError):
        pass
