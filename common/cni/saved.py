"""What an interface was like before an attachment changed it: one file an attachment, in the format of Go's tuning.

A file ``<folder>/<container>_<ifname>.json`` holds an object of the values that were changed (``mac``, ``mtu``,
``promisc`` …), so that Go's plugin restores what ours has changed, and the other way round. It is written once: a
second ADD adds values that were not changed before and keeps the others, which are the original ones.

With the file goes the namespace that it was written for: a container id that is used again finds no old values.
"""

import os

from cni import wire
from cni.errors import CNIError
from cni.file_content import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.attachment import Attachment

# Go's tuning reads keys of its own only, so this one is ours.
_NAMESPACE = "pycniNamespace"
_MOST = 1 << 20


class Saved:
    """The original values of one attachment's interface."""

    __slots__ = ("path",)

    def __init__(self, folder: str, attachment: "Attachment") -> None:
        """``folder`` is the plugin's; the attachment's names have been checked to be without slashes."""
        self.path = f"{folder}/{attachment.container}_{attachment.ifname}.json"

    @classmethod
    def every(cls, folder: str) -> "list[Saved]":
        """All that a folder has; a file that is being written is none."""
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = [cls.__new__(cls) for _ in names]
        for saved, name in zip(found, names, strict=True):
            saved.path = f"{folder}/{name}"
        return found

    def values(self, namespace: str = "") -> "dict[str, Any]":
        """The original values; empty where there is no file, or it was written for another ``namespace``.

        Raises ``CNIError`` for a file that cannot be read.
        """
        try:
            found = wire.decode(read(self.path, _MOST, os.O_NOFOLLOW))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, CNIError) as error:
            raise CNIError(
                f"cannot read the saved values in {self.path}: {error}", "remove it, or restore them by hand"
            ) from None
        if not isinstance(found, dict):
            raise CNIError(f"cannot read the saved values in {self.path}: no object", "remove it")
        written_for = found.pop(_NAMESPACE, "")
        return found if not namespace or written_for in ("", namespace) else {}

    def keep(self, values: "dict[str, Any]", namespace: str = "") -> None:
        """Save values before they are changed; one that was saved before stays as it was. Raises ``CNIError``.

        ``namespace`` identifies the container's network namespace, such as by device and inode.
        """
        kept = {**values, **self.values(namespace)}
        document = {**kept, _NAMESPACE: namespace} if namespace else kept
        temporary = f"{self.path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(fd, wire.encode(document, 1).encode("utf-8", "surrogateescape"))
            finally:
                os.close(fd)
            os.rename(temporary, self.path)
        except OSError as error:
            raise CNIError(
                f"cannot save what {self.path} is to hold: {error}", "nothing was changed; the folder must be writable"
            ) from None

    def forget(self) -> None:
        """Remove the file, and what a writer left that died; that there is none is success. Raises ``CNIError``."""
        folder, name = os.path.split(self.path)
        try:
            for found in os.listdir(folder):
                if found == name or found.startswith(f"{name}."):
                    os.unlink(f"{folder}/{found}")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise CNIError(f"cannot remove {self.path}: {error}", "the values in it were restored") from None
