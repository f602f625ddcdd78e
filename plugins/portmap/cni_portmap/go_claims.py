"""Host ports that containers hold in Go's layouts, in iptables' chains or in its tables ``cni_hostport``.

Ours come first in the packet's path, so without this a container of Go's would lose its port silently. Nothing is
listed unless one of Go's chains or tables is there, which is while pods of Go's plugins, or of our iptables backend, run.
"""

from cni.address import Address
from cni.kernel import iptables
from cni.kernel.compat import compared
from cni.kernel.nftables import Nftables
from cni_portmap import chains
from cni_portmap.go_rules import Listed, Seen
from cni_portmap.go_tables import CHAINS, TABLE, values
from cni_portmap.holder import go_death, take_over
from cni_portmap.settings import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

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
        if mine:
            held += _by_legacy(version, attachment, {entry.host_port for entry in mine})
        for claim in held:
            for entry in mine:
                if claim.overlaps(entry):
                    why = go_death(rtnl, claim.owner, claim.address, attachment, entry.address)
                    take_over(entry, claim.name, attachment, why, say)


class Claim:
    """A port of the node that a rule translates, and whose it is."""

    __slots__ = ("_hosts", "_ports", "_protocol", "address", "name", "owner")

    def __init__(
        self,
        name: str,
        owner: "tuple[str, str] | None",
        protocol: str,
        ports: "AbstractSet[int]",
        hosts: "set[str]",
        address: Address,
    ) -> None:
        """``hosts`` are the node's addresses that it is restricted to, none for all; ``address`` the container's."""
        self.name = name
        self.owner = owner
        self.address = address
        self._protocol = protocol
        self._ports = ports
        self._hosts = hosts

    def overlaps(self, entry: "Entry") -> bool:
        """Whether an entry is for the same port."""
        if entry.host_port not in self._ports or NAMES.get(entry.protocol) != self._protocol:
            return False
        return entry.everywhere or not self._hosts or str(entry.host) in self._hosts


def _addresses(found: "Iterable[bytes]", size: int) -> "set[str]":
    return {str(Address(value)) for value in found if len(value) == size}


def _by_iptables(
    kernel: Nftables, family: int, attachment: "Attachment", wanted: "set[int]", size: int
) -> "Iterator[Claim]":
    own = chains.chain_name(attachment.network, attachment.container)
    for rule in kernel.rules(family, "nat", chains.DNAT):
        entry = Seen(rule, size)
        if wanted.isdisjoint(entry.ports) or entry.target == own:
            continue
        owner = chains.owner_of(entry.comment)
        for translation in kernel.rules(family, "nat", entry.target):
            seen = Seen(translation, size)
            if seen.target == "DNAT":
                hosts = _addresses(compared(translation), size)
                protocol, name = seen.protocol or entry.protocol, "/".join(owner or ("?", entry.target))
                yield Claim(name, owner, protocol, seen.ports, hosts, Address.parse(seen.leads_to))


def _by_legacy(version: int, attachment: "Attachment", wanted: "set[int]") -> "Iterator[Claim]":
    there = iptables.legacy_rules(version, [chains.DNAT])
    own = chains.chain_name(attachment.network, attachment.container)
    for entry in map(Listed, there.get(chains.DNAT, ())):
        if wanted.isdisjoint(entry.ports) or entry.target == own:
            continue
        owner = chains.owner_of(entry.comment)
        for rule in map(Listed, there.get(entry.target, ())):
            if rule.target == "DNAT":
                name = "/".join(owner or ("?", entry.target))
                hosts = {rule.host} if rule.host else set()
                yield Claim(name, owner, rule.protocol, rule.ports, hosts, Address.parse(rule.leads_to))


def _by_tables(kernel: Nftables, family: int, attachment: "Attachment", size: int) -> "Iterator[Claim]":
    for chain in CHAINS[:2]:
        for rule in kernel.rules(family, TABLE, chain) if kernel.chain(family, TABLE, chain) is not None else ():
            seen, conditions = Seen(rule, size), compared(rule)
            addresses = [value for value in values(rule) - conditions if len(value) == size]
            if rule.comment != attachment.container and addresses:
                hosts = _addresses(conditions, size)
                name = f"container {rule.comment}"
                yield Claim(name, None, seen.protocol, seen.ports, hosts, Address(addresses[0]))
