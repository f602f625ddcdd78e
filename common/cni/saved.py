"""The original values of an interface that an attachment changed: one file for each, in the format of Go's tuning.

A file ``<folder>/<container>_<ifname>.json`` holds an object with the changed values (``mac``, ``mtu``, ``promisc`` …),
so that Go's plugin restores what ours has changed, and vice versa. A second ADD adds values that were not changed
before, and keeps the others, because they are the original ones.

The file also names the network namespace, so that a new container with the same id does not get old values.
"""

import os

from cni import wire
from cni.errors import CNIError, Step
from cni.file_content import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.attachment import Attachment

# A key of ours; Go's tuning ignores it.
_NAMESPACE = "pycniNamespace"
_MOST = 1 << 20


class Saved:
    """The original values of one attachment's interface."""

    __slots__ = ("path",)

    def __init__(self, folder: str, attachment: "Attachment") -> None:
        """``folder`` is the plugin's; the attachment's names were checked and have no slashes."""
        self.path = f"{folder}/{attachment.container}_{attachment.ifname}.json"

    @classmethod
    def every(cls, folder: str) -> "list[Saved]":
        """All files of a folder, except temporary ones."""
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = [cls.__new__(cls) for _ in names]
        for saved, name in zip(found, names, strict=True):
            saved.path = f"{folder}/{name}"
        return found

    def values(self, namespace: str = "") -> "dict[str, Any]":
        """The original values; empty without a file, or if it was written for another ``namespace``.

        Raises ``CNIError`` for a file that cannot be read.
        """
        try:
            found = wire.decode(read(self.path, _MOST, os.O_NOFOLLOW))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, CNIError) as error:
            fault = f"cannot read the saved values in {self.path}: {error}"
            raise CNIError(fault, "remove it, or restore them by hand") from None
        if not isinstance(found, dict):
            raise CNIError(f"cannot read the saved values in {self.path}: no object", "remove it")
        written_for = found.pop(_NAMESPACE, "")
        return found if not namespace or written_for in ("", namespace) else {}

    def keep(self, values: "dict[str, Any]", namespace: str = "") -> None:
        """Save values before they are changed; values saved before are kept. Raises ``CNIError``.

        ``namespace`` identifies the container's network namespace.
        """
        kept = {**values, **self.values(namespace)}
        document = {**kept, _NAMESPACE: namespace} if namespace else kept
        temporary = f"{self.path}.{os.getpid()}"
        remedy = "nothing was changed; the folder must be writable"
        with Step(f"cannot save what {self.path} is to hold", remedy):
            os.makedirs(os.path.dirname(self.path), 0o755, exist_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(fd, wire.encode(document, 1).encode("utf-8", "surrogateescape"))
            finally:
                os.close(fd)
            os.rename(temporary, self.path)

    def forget(self) -> None:
        """Remove the file, if it exists, and temporary files of writers that died. Raises ``CNIError``."""
        folder, name = os.path.split(self.path)
        try:
            for found in os.listdir(folder):
                if found == name or found.startswith(f"{name}."):
                    os.unlink(f"{folder}/{found}")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise CNIError(f"cannot remove {self.path}: {error}", "the values in it were restored") from None
