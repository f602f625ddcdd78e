"""The MAC spoof checks that our table holds, for those that Go's bridge is to have."""

from cni.attachment import Attachment
from cni.go import macspoof
from cni.kernel import nftables
from cni.kernel.rtnl import Rtnl
from cni.ledger import Ledger
from cni.macspoof import LAYOUT
from cni_handback.living import attachment_of


class Guarded:
    """One guarded interface of a container, by its host link's name."""

    def __init__(self, link: str, comment: str, mac: bytes, attachment: Attachment | None) -> None:
        self.link = link
        self.mac = mac
        self.attachment = attachment
        self.fault = ""
        if attachment is None or not macspoof.can_have(attachment):
            self.fault = f"{comment}: its names are too long for Go's MAC spoof check"

    def write(self) -> None:
        """Go's chains for it; what was there under these names is replaced."""
        assert self.attachment is not None  # noqa: S101
        macspoof.make(nftables.here(), self.attachment, self.link, self.mac)


def guarded() -> list[Guarded]:
    """Every guarded interface that is there."""
    known, rtnl = Ledger(nftables.here(), LAYOUT), Rtnl()
    return [
        Guarded(link, comment, known.fields("attachments", link)[0][0], attachment_of(link, comment, rtnl))
        for link, comment in sorted(known.owners().items())
        if rtnl.link(link) is not None
    ]
