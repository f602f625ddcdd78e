"""The MAC spoof checks that our table holds, and how Go's bridge has one: two chains a container's interface.

::

    table bridge nat {
        chain PREROUTING {
            type filter hook prerouting priority -300;
            iifname "vethX" jump cni-br-iface-ID-IF comment "macspoofchk-ID-IF"
        }
        chain cni-br-iface-ID-IF { jump cni-br-iface-ID-IF-mac }
        chain cni-br-iface-ID-IF-mac { ether saddr MAC return; drop }
    }
"""

from cni.attachment import Attachment
from cni.kernel import expressions as nft
from cni.kernel import nftables
from cni.kernel.rtnl import Rtnl
from cni.kernel.transaction import BRIDGE, PREROUTING, Transaction
from cni.ledger import Ledger
from cni.macspoof import LAYOUT
from cni_handback.living import attachment_of

# nft cuts neither names nor comments: a container's id that is longer cannot be handed back.
_NAME_MAX = 120


class Guarded:
    """One guarded interface of a container, by its host link's name."""

    def __init__(self, link: str, comment: str, mac: bytes, attachment: Attachment | None) -> None:
        self.link = link
        self.mac = mac
        self.attachment = attachment
        self.fault = ""
        if attachment is None or len(f"cni-br-iface-{attachment.container}-{attachment.ifname}-mac") > _NAME_MAX:
            self.fault = f"{comment}: its names are too long for Go's MAC spoof check"

    def write(self) -> None:
        """Go's chains for it; what was there under these names is replaced."""
        assert self.attachment is not None  # noqa: S101
        kernel, owner = nftables.here(), f"{self.attachment.container}-{self.attachment.ifname}"
        chain, comment = f"cni-br-iface-{owner}", f"macspoofchk-{owner}"
        change = Transaction(BRIDGE, "nat")
        change.add_table()
        change.add_chain("PREROUTING", "filter", PREROUTING, -300)
        for name in (chain, f"{chain}-mac"):
            change.add_chain(name)
            change.flush_chain(name)
        for rule in kernel.rules(BRIDGE, "nat", "PREROUTING"):
            if rule.comment == comment:
                change.delete_rule("PREROUTING", rule.handle)
        from_link = nft.compare(nft.INTERFACE_NAME, self.link.encode().ljust(16, b"\0"), f'"{self.link}"')
        change.add_rule("PREROUTING", [from_link, nft.jump(chain)], comment)
        change.add_rule(chain, [nft.jump(f"{chain}-mac")], comment)
        source = nft.compare(nft.SOURCE_MAC, self.mac, self.mac.hex(":"))
        change.add_rule(f"{chain}-mac", [source, nft.RETURN], comment)
        change.add_rule(f"{chain}-mac", [nft.DROP], comment)
        kernel.commit(change)


def guarded() -> list[Guarded]:
    """Every guarded interface that is there."""
    known, rtnl = Ledger(nftables.here(), LAYOUT), Rtnl()
    return [
        Guarded(link, comment, known.fields("attachments", link)[0][0], attachment_of(link, comment, rtnl))
        for link, comment in sorted(known.owners().items())
        if rtnl.link(link) is not None
    ]
