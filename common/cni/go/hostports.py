"""Host ports of Go's portmap, or of ours if iptables is asked for: found, removed and collected.

In iptables, each container has a chain; entry rules in a chain common to all containers jump to it::

    -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT                   (and OUTPUT)
    -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"n\\" id: \\"c\\"" -m multiport --dports 8080 -j CNI-DN-…
    -A CNI-DN-… -s 10.1.2.0/24 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
    -A CNI-DN-… -s 127.0.0.1 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
    -A CNI-DN-… -p tcp --dport 8080 -j DNAT --to-destination 10.1.2.5:80
    -I POSTROUTING 1 … -j CNI-HOSTPORT-MASQ

Since 1.6 Go's portmap has tables ``ip cni_hostport`` and ``ip6 cni_hostport``. The comment of their rules is the
container id, without network and interface. So GC cannot remove these rules; DEL does.
"""

from cni.address import PROTOCOL_NAMES, Address
from cni.errors import CNIError
from cni.go import chains, names
from cni.go.chains import Part, Table
from cni.go.names import DNAT, MASQ, OLD_SNAT, PORTS_TABLE, SETMARK
from cni.go.rules import Rule
from cni.kernel import iptables
from cni.plan import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from typing import TypeVar

    from cni.attachment import Attachment
    from cni.go.chains import Other
    from cni.kernel.nftables import Nftables

    R = TypeVar("R", bound=Rule)
    # gets the removed translations
    Gone = Callable[[Sequence[Rule]], None]

# The chains with translations, in the order in which packets pass them, and all chains with rules of containers.
_TRANSLATING = ("hostip_hostports", "hostports")
_CHAINS = (*_TRANSLATING, "masquerading")


def divide(part: Part, entries: "Sequence[R]", rules: "Sequence[R]") -> "tuple[list[R], list[R]]":
    """The entry rules and the chain's rules that belong to one attachment.

    The entry rules' comments show the container of each port; the address of a translation shows the interface.
    """
    of_container = [entry for entry in entries if entry.comment == part.comment]
    shared = len(of_container) < len(entries)
    claimed = {(entry.protocol, port) for entry in of_container for port in entry.ports}
    own: list[R] = []
    used = set()
    for group in by_mapping(rules):
        last = group[-1]
        ports = {(last.protocol, port) for port in last.ports}
        if part.other({last.leads_to}) or (shared and claimed.isdisjoint(ports)):
            used |= ports
        else:
            own += group
    return [each for each in of_container if not any((each.protocol, port) in used for port in each.ports)], own


def by_mapping(rules: "Sequence[R]") -> "list[list[R]]":
    """The rules of a container's chain in groups, one for each mapping; the translation is the last of a group."""
    groups: list[list[R]] = [[]]
    for rule in rules:
        groups[-1].append(rule)
        if rule.target == "DNAT":
            groups.append([])
    return [group for group in groups if group]


# iptables' chains


def remove(kernel: "Nftables", part: Part, gone: "Gone") -> None:
    """Remove one attachment's part in every table, and common chains that are empty then. Errors are raised together."""
    with iptables.lock(make=False):
        found = chains.tables(kernel, part.chain, names.old_ports_chain(part.chain))
        chains.each(found, lambda table: _remove(table, part, gone))


def _remove(table: Table, part: Part, gone: "Gone") -> None:
    released: Sequence[Rule] = ()
    old = names.old_ports_chain(part.chain)

    def plan() -> None:
        nonlocal released
        released = chains.release(table, DNAT, part, divide)
        if table.has(old):
            chains.drop(table, [old], [OLD_SNAT])

    def tidy() -> None:
        if table.has(DNAT) and not table.rules(DNAT):
            chains.drop(table, [chain for chain in (DNAT, MASQ, SETMARK) if table.has(chain)], names.BASE)

    if table.change(plan, "host ports"):
        gone([rule for rule in released if rule.target == "DNAT"])
        try:
            table.change(tidy, "host ports")
        except CNIError:
            pass  # a rule of somebody else jumps there


def collect(kernel: "Nftables", network: str, valid: "Sequence[Attachment]", gone: "Gone") -> list[Found]:
    """Remove the chains of the network's containers that are not valid, by the comments of their entry rules."""
    found = chains.stale(kernel, DNAT, network, map(names.ports_chain, valid))
    for chain, comment in found:
        remove(kernel, Part(chain, comment), gone)
    return [Found(chain) for chain in dict.fromkeys(chain for chain, _ in found)]


# tables of nftables


def remove_from_tables(kernel: "Nftables", container: str, other: "Other") -> None:
    """Remove a container's rules, and a table without rules: Go's plugin makes the whole table in each ADD."""
    for family in iptables.FAMILIES.values():
        if kernel.has_table(family, PORTS_TABLE):
            _remove_from(kernel, family, container, other)


def _remove_from(kernel: "Nftables", family: int, container: str, other: "Other") -> None:
    table = Table(kernel, family, PORTS_TABLE)

    def plan() -> None:
        rules = [rule for chain in _CHAINS for rule in table.rules(chain)]
        own = [
            rule for rule in rules if rule.comment == container and not other(rule.addresses | {rule.leads_to} - {b""})
        ]
        # if the generation is not compared, Go's plugin may add a rule at the same time
        if own and len(own) == len(rules) and table.generation:
            table.remove()
        else:
            for rule in own:
                table.delete(rule)

    table.change(plan)


# claims


class Claim:
    """A port of the node that a rule translates, its owner, and its target."""

    __slots__ = ("_hosts", "_protocol", "address", "name", "owner", "place", "port", "ports", "where")

    def __init__(self, where: str, entry: Rule, rule: Rule) -> None:
        """``where`` is the table; ``entry`` jumps to the container's chain, or in nftables' tables is the rule itself."""
        self.where = where
        # the container's chain, or its id
        self.place = entry.comment if where == PORTS_TABLE else entry.target
        # network and container id, None where they are unknown
        self.owner = None if where == PORTS_TABLE else names.owner_of(entry.comment)
        self.name = f"container {self.place}" if where == PORTS_TABLE else "/".join(self.owner or ("?", self.place))
        self._protocol = rule.protocol or entry.protocol
        self.ports = rule.ports & entry.ports
        # empty: all addresses of the node
        self._hosts = rule.addresses
        # of the container
        self.address, self.port = Address(rule.leads_to), rule.port

    def is_of(self, attachment: "Attachment") -> bool:
        """Whether the attachment's container owns it."""
        return self.place == (attachment.container if self.where == PORTS_TABLE else names.ports_chain(attachment))

    def is_of_container(self, container: str) -> bool:
        """Whether this container owns it, in any network."""
        owner = self.place if self.where == PORTS_TABLE else (self.owner or ("", ""))[1]
        return owner == container

    def is_for(self, protocol: int, port: int) -> bool:
        """Whether it is for a port, at any address."""
        return port in self.ports and PROTOCOL_NAMES.get(protocol) == self._protocol

    def serves(self, host: Address) -> bool:
        """Whether it is for an address of the node."""
        return not self._hosts or host.packed in self._hosts

    def texts(self) -> "list[str]":
        """Its ports and their target, as text."""
        hosts = [str(Address(host)) for host in sorted(self._hosts)] or [""]
        places = [f"{self._protocol} {host and host + ' '}{port}" for port in sorted(self.ports) for host in hosts]
        return [f"{place} to {self.address.with_port(self.port)}" for place in places]

    def remove(self, kernel: "Nftables", gone: "Gone") -> None:
        """Remove the rules of its container, which is known to be gone."""
        if self.where == PORTS_TABLE:
            remove_from_tables(kernel, self.place, chains.other_interfaces("", None, lambda: [self.address]))
        elif self.owner is not None:
            remove(kernel, Part(self.place, names.ports_comment(*self.owner)), gone)


def claims(kernel: "Nftables", version: int, wanted: "Container[int]" = range(1 << 16)) -> "Iterator[Claim]":
    """The claims on these ports in one family, in the order in which packets pass them."""
    seen, *legacy = chains.tables(kernel, versions=[version])
    yield from _claims(seen, wanted)
    table = Table(kernel, iptables.FAMILIES[version], PORTS_TABLE)
    for rule in (rule for chain in _TRANSLATING for rule in table.rules(chain)):
        if rule.leads_to:
            yield Claim(PORTS_TABLE, rule, rule)
    for table in legacy:
        yield from _claims(table, wanted)


def _claims(table: Table, wanted: "Container[int]") -> "Iterator[Claim]":
    for entry in table.rules(DNAT):
        for rule in table.rules(entry.target) if any(port in wanted for port in entry.ports) else ():
            # only packets that the entry rule matches reach the chain
            if rule.leads_to and (not entry.protocol or rule.protocol in ("", entry.protocol)):
                yield Claim(table.where, entry, rule)


def is_entered(kernel: "Nftables", version: int, where: str) -> bool:
    """Whether packets reach the rules of a claim's table."""
    if where == PORTS_TABLE:
        table = Table(kernel, iptables.FAMILIES[version], where)
        hooked = [chain for chain in ("prerouting", "output") if table.has(chain)]
        return bool(hooked) and all(map(table.rules, hooked))
    found = [table for table in chains.tables(kernel, versions=[version]) if table.where == where]
    hooks = ("PREROUTING", "OUTPUT")
    return any(all(any(rule.target == DNAT for rule in table.rules(hook)) for hook in hooks) for table in found)


def listed(kernel: "Nftables") -> list[Found]:
    """The containers with host ports in any of the three forms, with their ports; for the inventory."""
    ports: dict[tuple[str, str, str], list[str]] = {}
    for claim in (claim for version in iptables.FAMILIES for claim in claims(kernel, version)):
        owner = f"/{claim.place}/" if claim.where == PORTS_TABLE else "/".join((*(claim.owner or ("", "")), ""))
        ports.setdefault((claim.place, owner, claim.where), []).extend(claim.texts())
    return [Found(place, owner, table=table, ports=texts) for (place, owner, table), texts in ports.items()]
