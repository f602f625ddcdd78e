"""Host ports that containers hold in Go's layouts, in iptables' chains or in its tables ``cni_hostport``.

Ours come first in the packet's path, so without this a container of Go's would lose its port silently. Nothing is
listed unless one of Go's chains or tables is there, which is while pods of Go's plugins, or of our iptables backend, run.
"""

from cni.address import Address
from cni.errors import ADDRESS_TAKEN, Refused
from cni.kernel import iptables
from cni.kernel.nftables import Nftables
from cni_portmap import chains
from cni_portmap.go_tables import CHAINS, TABLE, values
from cni_portmap.holder import container_gone
from cni_portmap.sharing import Seen, multiport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cni.kernel.rtnl import Rtnl
    from cni.names import Attachment
    from cni_portmap.owned import Entry


def refuse(
    kernel: Nftables, rtnl: "Rtnl", attachment: "Attachment", entries: "list[Entry]", say: "Callable[[str], None]"
) -> None:
    """Raise ``Refused`` if another container that lives, or may, holds one of these ports there, naming both."""
    tables = kernel.tables()
    for version, family in iptables.FAMILIES.items():
        mine = [entry for entry in entries if entry.version == version]
        size = len(mine[0].address.packed) if mine else 0
        held: list[Claim] = []
        if mine and (family, "nat") in tables and kernel.chain(family, "nat", chains.DNAT) is not None:
            held += _by_iptables(kernel, family, attachment, {entry.host_port for entry in mine}, size)
        if mine and (family, TABLE) in tables:
            held += _by_tables(kernel, family, attachment, size)
        for claim in held:
            for entry in mine:
                if claim.overlaps(entry):
                    _judge(rtnl, attachment, entry, claim, say)


def _judge(
    rtnl: "Rtnl", attachment: "Attachment", entry: "Entry", claim: "Claim", say: "Callable[[str], None]"
) -> None:
    why = "its address was given to the new one" if claim.address == entry.address else ""
    if not why and claim.owner is not None:
        why = container_gone(rtnl, *claim.owner, claim.address)
    if not why:
        raise Refused(
            f"{entry} is held by {claim.name}, and asked for by {attachment}",
            "remove the other container, or choose another port",
            ADDRESS_TAKEN,
        )
    say(f"portmap: {attachment} takes {entry} over from {claim.name}: {why}")


class Claim:
    """A port of the node that a rule translates, and whose it is."""

    __slots__ = ("_values", "address", "name", "owner")

    def __init__(self, name: str, owner: "tuple[str, str] | None", values: "set[bytes]", address: Address) -> None:
        """``values`` are those that the rule compares with: protocol, port, and the node's address if it is for one."""
        self.name = name
        self.owner = owner
        self.address = address
        self._values = values

    def overlaps(self, entry: "Entry") -> bool:
        """Whether an entry is for the same port."""
        if not {entry.host_port.to_bytes(2, "big"), bytes([entry.protocol])} <= self._values:
            return False
        hosts = {value for value in self._values if len(value) == len(entry.address.packed)}
        return entry.everywhere or not hosts or entry.host.packed in hosts


def _by_iptables(
    kernel: Nftables, family: int, attachment: "Attachment", wanted: "set[int]", size: int
) -> "Iterator[Claim]":
    own = chains.chain_name(attachment.network, attachment.container)
    for rule in kernel.rules(family, "nat", chains.DNAT):
        if wanted.isdisjoint(multiport(rule)):
            continue
        owner = chains.owner_of(iptables.comment_of(rule))
        for chain in rule.jumps_to():
            for translation in kernel.rules(family, "nat", chain) if chain != own else ():
                seen = Seen(translation, size)
                if seen.target == "DNAT":
                    found = iptables.compared(translation) | iptables.compared(rule)
                    yield Claim("/".join(owner or ("?", chain)), owner, found, Address.parse(seen.leads_to))


def _by_tables(kernel: Nftables, family: int, attachment: "Attachment", size: int) -> "Iterator[Claim]":
    for chain in CHAINS[:2]:
        for rule in kernel.rules(family, TABLE, chain) if kernel.chain(family, TABLE, chain) is not None else ():
            found, compared = values(rule), iptables.compared(rule)
            addresses = [value for value in found - compared if len(value) == size]
            if rule.comment != attachment.container and addresses:
                yield Claim(f"container {rule.comment}", None, compared, Address(addresses[0]))
