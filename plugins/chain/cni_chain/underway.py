"""What tells an ADD that died half-way from one that is whole: a file that is there while the ADD is under way.

A member alone cannot tell: the first one may be done when the second one dies. The frame lets one ADD or DEL at a time
work for an attachment, so an ADD that finds the file knows that the last one died. It is a safeguard, not a condition:
where /run cannot be written all works without.
"""

import os

from cni.names import Attachment, sha512
from cni.plan import Effect, Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = "/run/cni/pycni/chain"


class UnderWay(Effect):
    """An ADD of this attachment is under way, or ended without taking back all that it had made."""

    __slots__ = ("root",)
    # as long as a member's DEL fails the attachment is neither whole nor gone
    marker = True

    def __init__(self, attachment: Attachment, root: str = "") -> None:
        super().__init__(attachment)
        self.root = root or ROOT

    def identify(self, attachment: Attachment) -> str:
        """The file's name."""
        return sha512(attachment.network, attachment.container, attachment.ifname).hex()[:32]

    def make(self) -> None:
        """Raises ``Remains`` when there was an ADD of this attachment that did not end."""
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(f"{self.root}/{self.identity}", flags, 0o600)
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

    def discard(self, identity: str) -> None:
        """Remove the file."""
        try:
            os.unlink(f"{self.root}/{identity}")
        except OSError:
            pass

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
