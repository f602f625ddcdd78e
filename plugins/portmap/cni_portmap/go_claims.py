"""Host ports that containers hold in Go's layouts, in iptables' chains or in its tables ``cni_hostport``.

Ours come first in the packet's path, so without this a container of Go's would lose its port silently. Nothing is
listed unless one of Go's chains or tables is there, which is while pods of Go's plugins, or of our iptables backend, run.
"""

from cni.errors import ADDRESS_TAKEN, Refused
from cni.kernel import iptables
from cni.kernel.nftables import IPV4, IPV6, Nftables, Rule
from cni_portmap import chains
from cni_portmap.go_tables import CHAINS, TABLE, values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni.names import Attachment
    from cni_portmap.owned import Entry

_FAMILIES = {4: IPV4, 6: IPV6}
# struct xt_multiport_v1: flags, count, 15 ports in host order, 15 flags, invert
_COUNT, _PORTS = 1, 2


def refuse(kernel: Nftables, attachment: "Attachment", entries: "list[Entry]") -> None:
    """Raise ``Refused`` if another container holds one of these ports there, naming both."""
    tables = kernel.tables()
    for version, family in _FAMILIES.items():
        mine = [entry for entry in entries if entry.version == version]
        if not mine:
            continue
        if (family, "nat") in tables and kernel.chain(family, "nat", chains.DNAT) is not None:
            _judge(attachment, mine, _by_iptables(kernel, family, attachment, mine))
        if (family, TABLE) in tables:
            _judge(attachment, mine, _by_tables(kernel, family, attachment))


def _judge(attachment: "Attachment", entries: "list[Entry]", held: "Iterator[tuple[str, set[bytes]]]") -> None:
    """``held`` is who has a translation, and the values in its rule: protocol, port, the node's address, its own."""
    for owner, found in held:
        for entry in entries:
            size = len(entry.address.packed)
            port, protocol = entry.host_port.to_bytes(2, "big"), bytes([entry.protocol])
            if port not in found or protocol not in found or entry.address.packed in found:
                continue
            # of two addresses in a rule one is the node's, to which it is restricted
            restricted = sum(len(value) == size for value in found) > 1
            if entry.everywhere or not restricted or entry.host.packed in found:
                raise Refused(
                    f"{entry} is held by {owner}, and asked for by {attachment}",
                    "remove the other container, or choose another port",
                    ADDRESS_TAKEN,
                )


def _by_iptables(
    kernel: Nftables, family: int, attachment: "Attachment", entries: "list[Entry]"
) -> "Iterator[tuple[str, set[bytes]]]":
    own = chains.chain_name(attachment.network, attachment.container)
    wanted = {entry.host_port for entry in entries}
    for rule in kernel.rules(family, "nat", chains.DNAT):
        if wanted.isdisjoint(_multiport(rule)):
            continue
        owner = chains.owner_of(iptables.comment_of(rule))
        for chain in rule.jumps_to():
            for translation in kernel.rules(family, "nat", chain) if chain != own else ():
                name, information = iptables.target_of(translation)
                if name == "DNAT":
                    size = 4 if family == IPV4 else 16
                    # struct nf_nat_range2: flags, then the address
                    found = iptables.compared(translation) | iptables.compared(rule) | {information[4 : 4 + size]}
                    yield "/".join(owner or ("?", chain)), found


def _multiport(rule: Rule) -> "set[int]":
    information = iptables.match_of(rule, "multiport")
    count = information[_COUNT] if len(information) > _PORTS else 0
    places = range(_PORTS, _PORTS + 2 * count, 2)
    return {int.from_bytes(information[place : place + 2], "little") for place in places}


def _by_tables(kernel: Nftables, family: int, attachment: "Attachment") -> "Iterator[tuple[str, set[bytes]]]":
    for chain in CHAINS[:2]:
        if kernel.chain(family, TABLE, chain) is not None:
            for rule in kernel.rules(family, TABLE, chain):
                if rule.comment != attachment.container:
                    yield f"container {rule.comment}", values(rule)
