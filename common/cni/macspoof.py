"""The MAC spoof check: a container's frames pass only from the MAC that its interface had when it was attached.

One table of our own, two look-ups a frame however many pods there are::

    table bridge pycni_macspoof {
        map attachments {                                # who has what, found by the host link's name
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

import os
from _socket import if_nametoindex

from cni.errors import CheckFailed
from cni.kernel import expressions as nft
from cni.kernel.nftables import Nftables
from cni.kernel.records import Records
from cni.kernel.transaction import BRIDGE, ETHER_ADDR, IFNAME, PREROUTING, SetType, Transaction, pack
from cni.plan import Effect, Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.plan import Differ
    from cni.site import Site

TABLE = "pycni_macspoof"
_CHAIN = "prerouting"
_PRIORITY = -300
_RULES = 2
_GUARDED, _ALLOWED = SetType([IFNAME]), SetType([IFNAME, ETHER_ADDR])
_GO_TABLE, _GO_CHAIN = "nat", "PREROUTING"


class MacSpoofCheck(Effect[None], Kind):
    """Frames of one attachment from another MAC than its own are dropped."""

    __slots__ = ("mac",)
    noun = "MAC spoof check"
    repairable = True

    def __init__(self, site: "Site", mac: str = "") -> None:
        """``mac`` is the container's, empty on DEL and GC."""
        super().__init__(site)
        self.mac = mac

    def identify(self, attachment: "Attachment") -> str:
        """The host link's name."""
        return attachment.link

    def make(self) -> None:
        """Repeatable: what the attachment had is replaced in the same transaction, and flushed rules are put back."""
        kernel = self.site.nftables
        kernel.repeatedly(lambda: self._make(kernel))

    def _make(self, kernel: Nftables) -> None:
        generation, records = kernel.generation(), attachments(kernel)
        transaction = Transaction(BRIDGE, TABLE)
        rules = kernel.rule_comments(BRIDGE, TABLE)
        if rules or kernel.has_table(BRIDGE, TABLE):
            _forget(kernel, transaction, self.identity)
        if len(rules) < _RULES:
            _table(transaction, records)
        mac, link = self._mac, self.attachment.link.encode()
        transaction.add_element("guarded", pack(_GUARDED.key, [link]), comment=self.attachment.comment)
        transaction.add_element("allowed", pack(_ALLOWED.key, [link, mac]))
        records.write(transaction, self.attachment, [[mac]])
        kernel.commit(transaction, generation)

    def compare(self, differ: "Differ") -> None:
        """The table's two rules and this attachment's elements are there; or Go's, of a pod that its bridge attached."""
        fault = self._fault()
        if fault and not _guarded_by_go(self.site.nftables, self.attachment, self._mac):
            differ(CheckFailed(f"nftables table bridge {TABLE}: {fault}"))

    def _fault(self) -> str:
        """What is missing of ours."""
        kernel, link = self.site.nftables, self.attachment.link.encode()
        chain = kernel.chain(BRIDGE, TABLE, _CHAIN)
        if chain is None or len(kernel.rules(BRIDGE, TABLE, _CHAIN)) < _RULES:
            return "the rules of the MAC spoof check are missing"
        guarded = kernel.element(BRIDGE, TABLE, "guarded", pack(_GUARDED.key, [link]))
        allowed = kernel.element(BRIDGE, TABLE, "allowed", pack(_ALLOWED.key, [link, self._mac]))
        return f"{self.identity} with MAC {self.mac} is not guarded" if guarded is None or allowed is None else ""

    @property
    def _mac(self) -> bytes:
        return bytes.fromhex(self.mac.replace(":", ""))

    def remove(self) -> None:
        """Ours, and what Go's bridge made for this container and interface."""
        kernel = self.site.nftables
        kernel.repeatedly(lambda: _remove(kernel, self.identity))
        kernel.repeatedly(lambda: _remove_go(kernel, self.attachment))

    def discard(self, identity: str) -> None:
        """Remove what the attachment with this host link name has."""
        kernel = self.site.nftables
        kernel.repeatedly(lambda: _remove(kernel, identity))

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have records."""
        return attachments(self.site.nftables).found(network)

    def describe(self) -> str:
        """The rule, in words."""
        return f"drop frames from {self.identity} but those of {self.mac}"


def attachments(kernel: Nftables) -> Records:
    """Who is guarded, with which MAC."""
    return Records(kernel, BRIDGE, TABLE, "attachments", (ETHER_ADDR,))


def _table(transaction: Transaction, records: Records) -> None:
    """The table, or what is missing of it, with its rules anew."""
    transaction.add_table()
    transaction.add_set(records.name, records.type)
    transaction.add_set("guarded", _GUARDED)
    transaction.add_set("allowed", _ALLOWED)
    transaction.add_chain(_CHAIN, "filter", PREROUTING, _PRIORITY)
    transaction.flush_chain(_CHAIN)
    # a concatenation is put together in 4-byte registers: 16 bytes of name, then 6 of MAC
    load = [nft.meta(nft.META_IIFNAME, nft.REG32_00), nft.payload(0, 6, 6, nft.REG32_00 + 4)]
    transaction.add_rule(
        _CHAIN, [*load, nft.lookup("allowed", nft.REG32_00), nft.ACCEPT], "iifname . ether saddr @allowed accept"
    )
    transaction.add_rule(_CHAIN, [nft.meta(nft.META_IIFNAME), nft.lookup("guarded"), nft.DROP], "iifname @guarded drop")


def _forget(kernel: Nftables, transaction: Transaction, link: str) -> list[bytes]:
    """Take an attachment's elements and its record away: the keys of the records that go."""
    records = attachments(kernel)
    held = records.of(link)
    for (mac,) in held:
        for name, key in (("allowed", pack(_ALLOWED.key, [link.encode(), mac])), ("guarded", _guarded(link))):
            if kernel.element(BRIDGE, TABLE, name, key) is not None:
                transaction.delete_element(name, key)
    return records.erase(transaction, link, len(held))


def _guarded(link: str) -> bytes:
    return pack(_GUARDED.key, [link.encode()])


def _remove(kernel: Nftables, link: str) -> None:
    generation, records = kernel.generation(), attachments(kernel)
    transaction = Transaction(BRIDGE, TABLE)
    gone = _forget(kernel, transaction, link)
    if not gone:
        return
    if not kernel.holds_beside(BRIDGE, TABLE, records.name, gone):
        transaction = Transaction(BRIDGE, TABLE)
        transaction.delete_table()
    kernel.commit(transaction, generation)


def _go_chain(attachment: "Attachment") -> str:
    """Go's chains are named after container and interface; the jump to them bears a comment."""
    return f"cni-br-iface-{attachment.container}-{attachment.ifname}"


def _remove_go(kernel: Nftables, attachment: "Attachment") -> None:
    name = _go_chain(attachment)
    generation = kernel.generation()
    if len(name) > 120 or kernel.chain(BRIDGE, _GO_TABLE, name) is None:
        return
    transaction = Transaction(BRIDGE, _GO_TABLE)
    second = f"{name}-mac"
    chains = [name, second] if kernel.chain(BRIDGE, _GO_TABLE, second) is not None else [name]
    kernel.remove_chains(transaction, chains, [_GO_CHAIN])
    kernel.commit(transaction, generation)


def _guarded_by_go(kernel: Nftables, attachment: "Attachment", mac: bytes) -> bool:
    """Whether what comes from a link that is there goes through Go's chains, which drop all but this MAC's."""
    from cni.kernel.compat import compared

    name = _go_chain(attachment)
    base = kernel.chain(BRIDGE, _GO_TABLE, _GO_CHAIN)
    if len(name) > 120 or base is None or base.get_attr("NFTA_CHAIN_HOOK") is None:
        return False
    entrances = [rule for rule in kernel.rules(BRIDGE, _GO_TABLE, _GO_CHAIN) if name in rule.jumps_to()]
    passed_on = any(f"{name}-mac" in rule.jumps_to() for rule in kernel.rules(BRIDGE, _GO_TABLE, name))
    last = kernel.rules(BRIDGE, _GO_TABLE, f"{name}-mac")
    if not passed_on or len(last) < _RULES or mac not in compared(last[0]):
        return False
    # Go's link has a random name; a jump for one that is gone may have stayed
    return any(_exists(link) for rule in entrances for link in compared(rule))


def _exists(link: bytes) -> bool:
    try:
        return bool(if_nametoindex(os.fsdecode(link.rstrip(b"\0"))))
    except OSError:
        return False
