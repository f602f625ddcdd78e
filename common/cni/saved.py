"""The original values of an interface that an attachment changed: one file for each, in the format of Go's tuning.

A file ``<folder>/<container>_<ifname>.json`` holds an object with the changed values (``mac``, ``mtu``, ``promisc`` …),
so that Go's plugin restores what ours has changed, and vice versa. A second ADD adds values that were not changed
before, and keeps the others, because they are the original ones.

The file also names the attachment and the network namespace, so that GC finds the owner, and so that a new container
with the same id does not get old values. Go's tuning ignores keys that it does not know.
"""

import os

from cni import wire
from cni.attachment import Attachment
from cni.errors import CNIError, Step
from cni.plan import Effect, Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from cni.kernel.namespace import Namespace
    from cni.plan import Differ
    from cni.site import Site

# Keys of ours.
_NAMESPACE, _ATTACHMENT = "pycniNamespace", "attachment"
_MOST = 1 << 20


class Saved:
    """The original values of one attachment's interface."""

    __slots__ = ("attachment", "path")

    def __init__(self, folder: str, attachment: "Attachment") -> None:
        """``folder`` is the plugin's; the attachment's names were checked and have no slashes."""
        self.attachment = str(attachment)
        self.path = f"{folder}/{attachment.container}_{attachment.ifname}.json"

    @classmethod
    def every(cls, folder: str, beginning: str = "") -> "list[Saved]":
        """All files of a folder whose names begin so, except temporary ones."""
        try:
            names = sorted(name for name in os.listdir(folder) if name.startswith(beginning) and name.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = [cls.__new__(cls) for _ in names]
        for saved, name in zip(found, names, strict=True):
            saved.path = f"{folder}/{name}"
            saved.attachment = ""
        return found

    def _document(self) -> "dict[str, Any]":
        """The file's object, empty without a file; raises ``CNIError``."""
        from cni.file_content import read

        try:
            found = wire.decode(read(self.path, _MOST, os.O_NOFOLLOW))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError, CNIError) as error:
            fault = f"cannot read the saved values in {self.path}: {error}"
            raise CNIError(fault, "remove it, or restore them by hand") from None
        if not isinstance(found, dict):
            raise CNIError(f"cannot read the saved values in {self.path}: no object", "remove it")
        return found

    @property
    def owner(self) -> "Attachment | None":
        """The attachment that it is of; None if the file does not name it, as those of Go's tuning. Raises ``CNIError``."""
        found = self._document().get(_ATTACHMENT)
        return Attachment.parse(found, 1 << 20) if isinstance(found, str) else None

    def values(self, namespace: str = "") -> "dict[str, Any]":
        """The original values; empty without a file, or if it is of another ``namespace`` or attachment.

        Raises ``CNIError`` for a file that cannot be read.
        """
        found = self._document()
        written_for, owner = found.pop(_NAMESPACE, ""), found.pop(_ATTACHMENT, "")
        if namespace and written_for not in ("", namespace):
            return {}
        return found if not self.attachment or owner in ("", self.attachment) else {}

    def restorable(self, namespace: "Namespace", say: "Callable[[str], None]") -> "dict[str, Any]":
        """For DEL: what is to be restored in a namespace. A file that cannot be read is reported."""
        if not os.path.exists(self.path):
            return {}
        try:
            return self.values(namespace.identity)
        except CNIError as error:
            say(f"{error}: nothing is restored from it")
            return {}

    def beside(self, name: str, namespace: str) -> "dict[str, Any]":
        """What the container's other attachments have saved in the object ``name``, in this namespace."""
        found: dict[str, Any] = {}
        container = self.attachment.split("/")[1]
        for saved in Saved.every(os.path.dirname(self.path), f"{container}_"):
            if saved.path != self.path:
                try:
                    inner = saved.values(namespace).get(name)
                except CNIError:
                    continue
                found.update(inner if isinstance(inner, dict) else {})
        return found

    def keep(self, values: "dict[str, Any]", namespace: str = "") -> None:
        """Save values before they are changed; values saved before are kept. Raises ``CNIError``.

        ``namespace`` identifies the container's network namespace.
        """
        document = {**values, **self.values(namespace), _ATTACHMENT: self.attachment}
        for name, new in values.items():
            if isinstance(new, dict) and isinstance(document[name], dict):
                document[name] = {**document[name], **{key: new[key] for key in new if key not in document[name]}}
        if namespace:
            document[_NAMESPACE] = namespace
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
        """Remove the file, if it exists and is not of another attachment, and temporary files of writers that died.

        Raises ``CNIError``.
        """
        folder, name = os.path.split(self.path)
        try:
            names = [found for found in os.listdir(folder) if found == name or found.startswith(f"{name}.")]
            if names and not self._is_of_another():
                for found in names:
                    os.unlink(f"{folder}/{found}")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise CNIError(f"cannot remove {self.path}: {error}", "the values in it were restored") from None

    def _is_of_another(self) -> bool:
        """Whether the file names another attachment."""
        try:
            owner = self.owner
        except CNIError:
            return False
        return owner is not None and str(owner) != self.attachment


class SavedValues(Effect[None], Kind):
    """The file of an attachment. It is removed when the values are restored."""

    __slots__ = ("folder", "needed", "saved")
    noun = "saved values"
    marker = True
    # what it would hold is changed by now
    repairable = False

    def __init__(self, site: "Site", folder: str) -> None:
        super().__init__(site)
        self.folder = folder
        self.saved = Saved(folder, site.attachment)
        # an ADD before this one has changed values
        self.needed = False

    def make(self) -> None:
        """Read it, if there is one; the effects that change values write it. Raises ``CNIError``."""
        self.needed = True
        self.needed = bool(self.saved.values(self.site.container.identity))

    def compare(self, differ: "Differ") -> None:
        """Go's tuning saves less, so nothing is compared."""

    def remove(self) -> None:
        """Remove it."""
        if not self.needed:
            self.saved.forget()

    def present(self, network: str) -> list[Found]:
        """The files of attachments of a network. Those of Go's tuning name none: they are found in no network."""
        found = []
        for saved in Saved.every(self.folder):
            container, _, ifname = os.path.basename(saved.path).removesuffix(".json").rpartition("_")
            try:
                owner = saved.owner
            except CNIError:
                owner = None
            if owner is not None and network in ("", owner.network):
                found.append(Found(str(owner), str(owner), file=saved.path))
            elif owner is None and not network:
                found.append(Found(saved.path, f"/{container}/{ifname}", file=saved.path))
        return found

    def discard(self, identity: str) -> None:
        """Remove the file of this attachment."""
        attachment = Attachment.parse(identity, 1 << 20)
        if attachment is not None:
            Saved(self.folder, attachment).forget()

    def describe(self) -> str:
        """Where it is."""
        return f"save the original values in {self.saved.path}"


def restore(site: "Site", values: "Mapping[str, Any]", put: "Callable[[str, Any], None]", undo: bool) -> None:
    """Put each value back, and continue after an error.

    What is refused is an error only in the ``undo`` of an ADD. DEL reports it, because a container must be able to end.
    """
    refused = []
    for name, value in values.items():
        try:
            put(name, value)
        except FileNotFoundError:
            pass  # a sysctl of an interface that is gone
        except Exception as error:  # what the file has may be anything
            refused.append(f"{name} could not be set back to {value}: {error}")
    if undo and refused:
        raise CNIError("; ".join(refused))
    for line in refused:
        site.say(line)
