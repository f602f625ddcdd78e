"""The MAC spoof check: frames of a container pass only if they have the MAC that its interface was attached with.

One table of our own; a frame costs two look-ups, with any number of pods::

    table bridge pycni_macspoof {
        map attachments {                                # records, by the host link's name
            type ifname . inet_service : ether_addr
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : 02:00:00:00:00:01 }
        }
        set guarded { type ifname; elements = { "vethabcdefghijk" comment "mynet/ctr1/eth0" } }
        set allowed { type ifname . ether_addr; elements = { "vethabcdefghijk" . 02:00:00:00:00:01 } }
        chain prerouting {
            type filter hook prerouting priority -300; policy accept;
            iifname . ether saddr @allowed accept
            iifname @guarded drop
        }
    }
"""

from cni.errors import CheckFailed
from cni.kernel import backend
from cni.kernel import expressions as nft
from cni.kernel.transaction import BRIDGE, ETHER_ADDR, IFNAME, PREROUTING, SetType, pack
from cni.ledger import Chain, Change, Ledger, Table, changed, record_map
from cni.plan import Effect, Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.plan import Differ

_GUARDED, _ALLOWED = SetType([IFNAME]), SetType([IFNAME, ETHER_ADDR])
_PASSED = nft.is_in("allowed", nft.INTERFACE_NAME, nft.SOURCE_MAC)
_RULES = [("", [_PASSED, nft.ACCEPT]), ("", [nft.is_in("guarded", nft.INTERFACE_NAME), nft.DROP])]
_CHAIN = Chain("prerouting", ("filter", PREROUTING, -300), _RULES)
_SETS = {"attachments": record_map(ETHER_ADDR), "guarded": _GUARDED, "allowed": _ALLOWED}
TABLE = backend.SPOOF_CHECK.table
LAYOUT = Table(BRIDGE, TABLE, _SETS, [_CHAIN], ["attachments"])


def _elements(link: str, mac: bytes) -> list[tuple[str, bytes]]:
    """The elements of the attachment with this host link, without its record."""
    name = link.encode()
    return [("guarded", pack(_GUARDED.key, [name])), ("allowed", pack(_ALLOWED.key, [name, mac]))]


def mac_of(ledger: Ledger, link: str) -> bytes:
    """The MAC in the record of the attachment with this host link."""
    return ledger.fields("attachments", link)[0][0]


def _forget(change: Change, link: str) -> bool:
    """Remove what an attachment has; returns whether it had anything."""
    return bool(change.forget("attachments", link, lambda record: _elements(link, *record)))


def _remove(change: Change, link: str) -> None:
    if _forget(change, link):
        change.drop_if_last()


class MacSpoofCheck(Effect[None], Kind):
    """Frames of one attachment are dropped unless they have its MAC."""

    # the container's; DEL and GC need none
    mac: str = ""
    noun = "MAC spoof check"
    repairable = True

    def identify(self, attachment: "Attachment") -> str:
        """The host link's name."""
        return attachment.link

    def make(self) -> None:
        """Repeatable: replaces what the attachment had, in one transaction, and restores missing rules."""
        changed(self.site.nftables, LAYOUT.change, self._make)

    def _make(self, change: Change) -> None:
        if change.exists:
            _forget(change, self.identity)
        change.restore()
        change.record("attachments", self.attachment, [[self._mac]])
        guarded, allowed = _elements(self.identity, self._mac)
        change.add(*guarded, comment=self.attachment.comment)
        change.add(*allowed)

    def compare(self, differ: "Differ") -> None:
        """The table's two rules and this attachment's elements exist; or Go's chains, for a pod of Go's bridge."""
        fault = self._fault(Ledger(self.site.nftables, LAYOUT))
        if not fault:
            return
        from cni.go import macspoof

        if not macspoof.guards(self.site.nftables, self.attachment, self._mac):
            differ(CheckFailed(f"nftables table bridge {TABLE}: {fault}"))

    def _fault(self, ledger: Ledger) -> str:
        """The first missing part, empty if none is missing."""
        if not (ledger.place_of(_CHAIN) and ledger.is_whole(_CHAIN)):
            return "the rules of the MAC spoof check are missing"
        missing = any(ledger.element(*place) is None for place in _elements(self.identity, self._mac))
        return f"{self.identity} with MAC {self.mac} is not guarded" if missing else ""

    @property
    def _mac(self) -> bytes:
        return bytes.fromhex(self.mac.replace(":", ""))

    def remove(self) -> None:
        """Remove our elements, and what Go's bridge made for this attachment."""
        from cni.go import names

        self.discard(self.identity)
        kernel = self.site.nftables
        if names.has_spoof_chain(kernel, self.attachment):
            from cni.go import macspoof

            macspoof.remove(kernel, self.attachment)

    def discard(self, identity: str) -> None:
        """Remove the elements of the attachment with this host link."""
        changed(self.site.nftables, LAYOUT.change, lambda change: _remove(change, identity))

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have records."""
        ledger = Ledger(self.site.nftables, LAYOUT)
        return ledger.found(network, lambda link: {"mac": mac_of(ledger, link).hex(":")})

    def describe(self) -> str:
        """The rule, in words."""
        return f"drop frames from {self.identity} but those of {self.mac}"
