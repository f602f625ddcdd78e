"""Notes in files about the progress of an attachment, which no member alone knows.

``UnderWay`` exists during an ADD: the second member may die when the first one is done. Only one ADD or DEL at a time
runs for an attachment. So if an ADD finds this note, the last ADD died.

``Complete`` exists from the end of ADD to the beginning of DEL. If a second ADD finds it, and its namespace still
exists, the attachment is live. Then nothing is undone if a member refuses the second ADD.

Both are safeguards. If /run cannot be written, everything else works without them.
"""

import os

from cni.attachment import Attachment
from cni.names import sha512
from cni.plan import Differ, Effect, Found, Kind, Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class UnderWay(Effect[None], Kind):
    """An ADD of this attachment is under way, or failed and could not undo everything."""

    noun = "note of an unfinished ADD"
    repairable = False
    reported = False
    # it stays while a member's DEL fails: the attachment is neither complete nor gone
    marker = True
    folder = "chain"

    @property
    def root(self) -> str:
        """The folder of the notes."""
        return f"{self.site.node.roots.run}/{self.folder}"

    @property
    def path(self) -> str:
        """The note's path."""
        return f"{self.root}/{self.identity}"

    def identify(self, attachment: Attachment) -> str:
        """The note's file name."""
        return sha512(*attachment.parts).hex()[:32]

    def discard(self, identity: str) -> None:
        """Remove the file."""
        try:
            os.unlink(f"{self.root}/{identity}")
        except OSError:
            pass

    def present(self, network: str) -> "Iterable[Found]":
        """The notes of a network's attachments. A note's content names its attachment."""
        try:
            names = os.listdir(self.root)
        except OSError:
            return
        for name in names:
            for owner in self._read(f"{self.root}/{name}")[:1]:
                if not network or owner.startswith(f"{network}/"):
                    yield Found(name, owner, file=f"{self.root}/{name}")

    def make(self) -> None:
        """Write the note. Raises ``Remains`` if an earlier ADD of this attachment died."""
        Complete(self.site).remove()
        try:
            self._write(str(self.attachment), os.O_EXCL)
        except FileExistsError:
            raise Remains(f"an ADD of {self.attachment} died") from None
        except OSError:
            pass

    def _write(self, text: str, flags: int) -> None:
        os.makedirs(self.root, 0o700, exist_ok=True)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
        try:
            os.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)

    def _read(self, path: str) -> list[str]:
        """The parts of a note, the attachment first; none if it cannot be read."""
        try:
            with open(path, "rb") as file:
                return file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
        except OSError:
            return []

    def compare(self, differ: "Differ") -> None:
        """Nothing is compared: the note is a safeguard that may be lost."""

    def describe(self) -> str:
        """The state."""
        return "an ADD is under way"


class Complete(UnderWay):
    """All members have done their part for this attachment. The note names the namespace."""

    noun = "note of a whole attachment"
    marker = False
    folder = "chain-whole"

    def make(self) -> None:
        """Write the note, or replace that of an earlier namespace, and remove ``UnderWay``.

        Without access to the namespace no note is written.
        """
        seen = _seen(self.site.netns)
        if seen:
            try:
                self._write(f"{self.attachment}\0{seen}\0{self.site.netns}", os.O_TRUNC)
            except OSError:
                self.remove()  # an incomplete note would be wrong
        UnderWay(self.site).remove()

    def is_live(self) -> bool:
        """Whether the attachment is live: the note exists, its ADD ended, and its namespace is still at its path."""
        if os.path.exists(UnderWay(self.site).path):
            return False
        parts = self._read(self.path)
        return len(parts) == 3 and parts[0] == str(self.attachment) and _seen(parts[2]) == parts[1]

    def describe(self) -> str:
        """The state."""
        return "an ADD has ended"


def _seen(netns: str) -> str:
    """The device and inode of the namespace at a path; empty if there is none."""
    try:
        found = os.stat(netns)
    except (OSError, ValueError):
        return ""
    return f"{found.st_dev}:{found.st_ino}"
