"""The MAC spoof check of Go's bridge: two chains for each interface of a container.

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

import os
from _socket import if_nametoindex

from cni.go import chains, names
from cni.kernel.compat import compared
from cni.kernel.transaction import BRIDGE, PREROUTING, Transaction
from cni.plan import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.kernel.nftables import Nftables

_TABLE, _BASE = "nat", "PREROUTING"
_PRIORITY = -300
_LAST, _MAC = "-mac", 6


def can_have(attachment: "Attachment") -> bool:
    """Whether an attachment's names fit into the chains' names."""
    return len(names.spoof_chain(attachment) + _LAST) <= names.SPOOF_NAME_MAX


def remove(kernel: "Nftables", attachment: "Attachment") -> None:
    """Remove both chains of a container's interface, and the jump to them."""
    name, table = names.spoof_chain(attachment), chains.Table(kernel, BRIDGE, _TABLE)

    def plan() -> None:
        if names.has_spoof_chain(kernel, attachment):
            second = [name + _LAST] if table.has(name + _LAST) else []
            chains.drop(table, [name, *second], [_BASE])

    table.change(plan)


def guards(kernel: "Nftables", attachment: "Attachment", mac: bytes) -> bool:
    """Whether frames of an existing link pass these chains, and the chains drop all frames with another MAC."""
    name = names.spoof_chain(attachment)
    base = kernel.chain(BRIDGE, _TABLE, _BASE)
    if not names.has_spoof_chain(kernel, attachment) or base is None or base.hook is None:
        return False
    entrances = [rule for rule in kernel.rules(BRIDGE, _TABLE, _BASE) if name in rule.jumps_to()]
    passed_on = any(name + _LAST in rule.jumps_to() for rule in kernel.rules(BRIDGE, _TABLE, name))
    last = kernel.rules(BRIDGE, _TABLE, name + _LAST)
    if not passed_on or len(last) < 2 or mac not in compared(last[0]):
        return False
    # Go's link has a random name; the jump of a deleted link may still exist
    return any(_exists(link) for rule in entrances for link in compared(rule))


def _exists(link: bytes) -> bool:
    try:
        return bool(if_nametoindex(os.fsdecode(link.rstrip(b"\0"))))
    except OSError:
        return False


def listed(kernel: "Nftables") -> "list[Found]":
    """The first chain of each interface, with its link and MAC; for the inventory."""
    found = []
    for rule in kernel.rules(BRIDGE, _TABLE, _BASE):
        for chain in rule.jumps_to():
            container, _, ifname = chain.removeprefix(names.SPOOF).rpartition("-")
            if chain.startswith(names.SPOOF) and container:
                last = kernel.rules(BRIDGE, _TABLE, chain + _LAST)[:1]
                link = next(iter(compared(rule)), b"").rstrip(b"\0").decode("utf-8", "replace")
                macs = [value.hex(":") for each in last for value in compared(each) if len(value) == _MAC]
                found.append(Found(chain, f"/{container}/{ifname}", link=link, macs=macs))
    return found


def make(kernel: "Nftables", attachment: "Attachment", link: str, mac: bytes) -> None:
    """Make the chains for an interface with this host link; replaces chains with these names."""
    from cni.kernel import expressions as nft

    chain = names.spoof_chain(attachment)
    comment = f"macspoofchk-{attachment.container}-{attachment.ifname}"
    change = Transaction(BRIDGE, _TABLE)
    change.add_table()
    change.add_chain(_BASE, "filter", PREROUTING, _PRIORITY)
    for name in (chain, chain + _LAST):
        change.add_chain(name)
        change.flush_chain(name)
    for rule in kernel.rules(BRIDGE, _TABLE, _BASE):
        if rule.comment == comment:
            change.delete_rule(_BASE, rule.handle)
    from_link = nft.compare(nft.INTERFACE_NAME, link.encode().ljust(16, b"\0"), f'"{link}"')
    change.add_rule(_BASE, [from_link, nft.jump(chain)], comment)
    change.add_rule(chain, [nft.jump(chain + _LAST)], comment)
    change.add_rule(chain + _LAST, [nft.compare(nft.SOURCE_MAC, mac, mac.hex(":")), nft.RETURN], comment)
    change.add_rule(chain + _LAST, [nft.DROP], comment)
    kernel.commit(change)
