"""How far an attachment is, which no member alone can know: notes in files, one of them at a time.

``UnderWay`` is there while an ADD is under way: the first member may be done when the second one dies. The frame lets
one ADD or DEL at a time work for an attachment, so an ADD that finds the note knows that the last one died.

``Complete`` is there from the end of an ADD to the beginning of DEL: a second ADD that finds it, and the namespace of then,
has met a live attachment, and takes nothing back when a member refuses.

Both are safeguards: where /run cannot be written, everything works without them.
"""

import os

from cni.attachment import Attachment
from cni.names import sha512
from cni.plan import Effect, Found, Kind, Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.plan import Differ


class UnderWay(Effect[None], Kind):
    """An ADD of this attachment is under way, or ended without taking back all that it had made."""

    __slots__ = ()
    noun = "note of an unfinished ADD"
    repairable = False
    reported = False
    # as long as a member's DEL fails the attachment is neither whole nor gone
    marker = True
    folder = "chain"

    @property
    def root(self) -> str:
        """The folder of the notes."""
        return f"{self.site.node.roots.run}/{self.folder}"

    @property
    def path(self) -> str:
        """The file."""
        return f"{self.root}/{self.identity}"

    def identify(self, attachment: Attachment) -> str:
        """The file's name."""
        return sha512(attachment.network, attachment.container, attachment.ifname).hex()[:32]

    def discard(self, identity: str) -> None:
        """Remove the file."""
        try:
            os.unlink(f"{self.root}/{identity}")
        except OSError:
            pass

    def present(self, network: str) -> "Iterable[Found]":
        """The files of a network's attachments, which their contents name."""
        try:
            names = os.listdir(self.root)
        except OSError:
            return
        for name in names:
            try:
                with open(f"{self.root}/{name}", "rb") as file:
                    owner = file.read(4096).partition(b"\0")[0].decode("utf-8", "surrogateescape")
            except OSError:
                continue
            if not network or owner.startswith(f"{network}/"):
                yield Found(name, owner, file=f"{self.root}/{name}")

    def make(self) -> None:
        """Raises ``Remains`` when there was an ADD of this attachment that did not end."""
        Complete(self.site).remove()
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(self.path, flags, 0o600)
        except FileExistsError:
            raise Remains(f"an ADD of {self.attachment} died") from None
        except OSError:
            return
        try:
            os.write(fd, str(self.attachment).encode("utf-8", "surrogateescape"))
        except OSError:
            pass
        finally:
            os.close(fd)

    def compare(self, differ: "Differ") -> None:
        """A note is a safeguard that may be lost, so nothing is compared."""

    def describe(self) -> str:
        """What it is."""
        return "an ADD is under way"


class Complete(UnderWay):
    """All members have done their part for this attachment, in a namespace that the note names."""

    __slots__ = ()
    noun = "note of a whole attachment"
    marker = False
    folder = "chain-whole"

    def make(self) -> None:
        """Write the note, also over one of a namespace that is gone, and end ``UnderWay``.

        There is none for a namespace that cannot be seen.
        """
        seen = _seen(self.site.netns)
        if seen:
            self._write(f"{self.attachment}\0{seen}\0{self.site.netns}".encode("utf-8", "surrogateescape"))
        UnderWay(self.site).remove()

    def _write(self, text: bytes) -> None:
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, text)
            finally:
                os.close(fd)
        except OSError:
            self.remove()  # half of it would say something else

    def lives(self) -> bool:
        """Whether there is a note, its ADD has ended, and the namespace that it names is still the one at its path."""
        if os.path.exists(UnderWay(self.site).path):
            return False
        try:
            with open(self.path, "rb") as file:
                parts = file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
        except OSError:
            return False
        return len(parts) == 3 and parts[0] == str(self.attachment) and _seen(parts[2]) == parts[1]

    def describe(self) -> str:
        """What it is."""
        return "an ADD has ended"


def _seen(netns: str) -> str:
    """The namespace at a path, by its number; empty where none can be seen."""
    try:
        found = os.stat(netns)
    except (OSError, ValueError):
        return ""
    return f"{found.st_dev}:{found.st_ino}"
