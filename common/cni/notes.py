"""Notes in files: what a plugin made for an attachment, so that DEL finds it without a result and a namespace.

A file ``/run/cni/pycni/<folder>/<namespace of the node>/<the attachment's link name>`` holds a JSON object. Its key
``owner`` names the attachment. A note is written before what it describes is made, and removed after that is removed.
If /run cannot be written, there are no notes, and everything else works without them.
"""

import os

from cni import wire
from cni.attachment import network_prefix
from cni.errors import CNIError
from cni.file_content import read
from cni.plan import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OWNER = "owner"
_MOST = 1 << 20
_TRIES = 10


class Notes:
    """The notes of one kind in one network namespace of a node."""

    __slots__ = ("_folder",)

    def __init__(self, folder: str, namespace: int) -> None:
        """``namespace`` is a number that no other namespace has had since boot."""
        self._folder = f"{folder}/{namespace}"

    def read(self, link: str) -> "dict[str, Any]":
        """The note of the attachment with this link name; empty if there is none, or it cannot be read."""
        try:
            found = wire.decode(read(f"{self._folder}/{link}", _MOST, os.O_NOFOLLOW))
        except (OSError, ValueError, CNIError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, link: str, owner: str, document: "dict[str, Any]") -> None:
        """Write or replace a note."""
        text = wire.encode({_OWNER: owner, **document}).encode("utf-8", "surrogateescape")
        for _ in range(_TRIES):
            try:
                self._write(link, text)
            except FileNotFoundError:  # the folder was removed with the last note of another attachment
                continue
            except OSError:
                pass
            return

    def _write(self, link: str, text: bytes) -> None:
        # only one call at a time writes the note of an attachment
        temporary = f"{self._folder}/.{link}"
        os.makedirs(self._folder, 0o755, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)
        os.rename(temporary, f"{self._folder}/{link}")

    def remove(self, link: str) -> None:
        """Remove a note, what a writer left that died, and the folder with the last note."""
        for path, remove in (
            (f"{self._folder}/.{link}", os.unlink),
            (f"{self._folder}/{link}", os.unlink),
            (self._folder, os.rmdir),
        ):
            try:
                remove(path)
            except OSError:
                pass

    def links(self, network: str = "") -> list[str]:
        """The link names that have a note, of one network or of all."""
        prefix = network_prefix(network) if network else ""
        try:
            return sorted(name for name in os.listdir(self._folder) if name[0] != "." and name.startswith(prefix))
        except OSError:
            return []

    def found(self, network: str) -> list[Found]:
        """The attachments of a network, or of all, with their notes' values as facts."""
        found = []
        for link in self.links(network):
            note = self.read(link)
            owner = str(note.pop(_OWNER, ""))
            if owner and (not network or owner.startswith(f"{network}/")):
                facts = {name: value for name, value in note.items() if value}
                found.append(Found(link, owner, **facts))
        return found
