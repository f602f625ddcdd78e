"""What tells an ADD that died half-way from one that is whole: a file that is locked while the ADD is under way.

A member alone cannot tell: the first one may be done when the second one dies. A file that is there and that nobody
locks is the remains of such an ADD. It is a safeguard, not a condition: where /run cannot be written all works without.
"""

import os

from cni.errors import TRY_AGAIN_LATER, Refused
from cni.names import Attachment, sha512
from cni.plan import Effect, Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = "/run/cni/pycni/chain"
_TRIES = 10


class UnderWay(Effect):
    """An ADD of this attachment is under way in this process, until it is removed."""

    __slots__ = ("_fd", "root")

    def __init__(self, attachment: Attachment, root: str = "") -> None:
        super().__init__(attachment)
        self.root = root or ROOT
        self._fd = -1

    def identify(self, attachment: Attachment) -> str:
        """The file's name."""
        return sha512(attachment.network, attachment.container, attachment.ifname).hex()[:32]

    def make(self) -> None:
        """Raises ``Refused`` while another process works on this attachment, ``Remains`` when one died."""
        for _ in range(_TRIES):
            if not self._open():
                return
            found = os.fstat(self._fd)
            if found.st_nlink:
                break
            self._release()  # its owner finished, and removed it, between our two steps
        if found.st_size:
            self._release()
            raise Remains(f"an ADD of {self.attachment} died")
        os.write(self._fd, str(self.attachment).encode("utf-8", "surrogateescape"))

    def _open(self) -> bool:
        """Open the file and lock it; False where that is not possible at all."""
        import fcntl

        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            path = f"{self.root}/{self.identity}"
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._release()
            text = f"another ADD of {self.attachment} is under way"
            raise Refused(text, "try again when it has ended", TRY_AGAIN_LATER) from None
        return True

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self, identity: str) -> None:
        """Remove the file."""
        try:
            os.unlink(f"{self.root}/{identity}")
        except OSError:
            pass
        self._release()

    def present(self, network: str) -> "Iterable[str]":
        """The files of a network's attachments, which their contents tell."""
        try:
            names = os.listdir(self.root)
        except OSError:
            return
        for name in names:
            try:
                with open(f"{self.root}/{name}", "rb") as file:
                    owner = file.read(4096)
            except OSError:
                continue
            if owner.startswith(network.encode() + b"/"):
                yield name

    def describe(self) -> str:
        """What it is."""
        return "an ADD is under way"
