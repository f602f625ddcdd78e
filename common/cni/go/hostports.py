"""Host ports by Go's portmap, or by ours where iptables is asked for: found, removed and collected.

iptables' form is a chain a container, which an entry rule of a chain that all share leads to::

    -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT                   (and OUTPUT)
    -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"n\\" id: \\"c\\"" -m multiport --dports 8080 -j CNI-DN-…
    -A CNI-DN-… -s 10.1.2.0/24 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
    -A CNI-DN-… -s 127.0.0.1 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
    -A CNI-DN-… -p tcp --dport 8080 -j DNAT --to-destination 10.1.2.5:80
    -I POSTROUTING 1 … -j CNI-HOSTPORT-MASQ

Since 1.6 there are tables ``ip cni_hostport`` and ``ip6 cni_hostport``, where the comment of each rule is the container's
id, and names neither network nor interface. So GC leaves those rules to DEL.
"""

from cni.address import PROTOCOL_NAMES, Address
from cni.errors import CNIError
from cni.go import chains, names
from cni.go.chains import Part
from cni.go.names import DNAT, MASQ, OLD_SNAT, PORTS_TABLE, SETMARK
from cni.go.rules import Rule, Seen
from cni.kernel import iptables
from cni.kernel.transaction import Transaction
from cni.plan import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence
    from typing import TypeVar

    from cni.attachment import Attachment
    from cni.go.chains import Nat, Other
    from cni.kernel.nftables import Nftables

    R = TypeVar("R", bound=Rule)
    # gets the translations that went
    Gone = Callable[[Sequence[Rule]], None]

# The tables' chains with translations, in the order in which packets meet them, and all with rules a container.
_TRANSLATING = ("hostip_hostports", "hostports")
_CHAINS = (*_TRANSLATING, "masquerading")


def divide(part: Part, entries: "Sequence[R]", rules: "Sequence[R]") -> "tuple[list[R], list[R]]":
    """Of the entry rules and the chain's rules those of one attachment.

    The entry rules' comments show which ports are whose container's, where the rules lead to which interface's.
    """
    own = [entry for entry in entries if entry.comment == part.comment]
    shared = len(own) < len(entries)
    claimed = {(entry.protocol, port) for entry in own for port in entry.ports}
    mine: list[R] = []
    used = set()
    for group in by_mapping(rules):
        last = group[-1]
        its = {(last.protocol, port) for port in last.ports}
        if part.other({last.leads_to}) or (shared and claimed.isdisjoint(its)):
            used |= its
        else:
            mine += group
    return [entry for entry in own if not any((entry.protocol, port) in used for port in entry.ports)], mine


def by_mapping(rules: "Sequence[R]") -> "list[list[R]]":
    """A container's own chain cut into mappings: each ends in its translation."""
    groups: list[list[R]] = [[]]
    for rule in rules:
        groups[-1].append(rule)
        if rule.target == "DNAT":
            groups.append([])
    return [group for group in groups if group]


# iptables' chains


def remove(kernel: "Nftables", part: Part, gone: "Gone") -> None:
    """One attachment's part in every table, and the shared chains with the last of all; errors are raised together."""
    with iptables.lock(make=False):
        found = chains.tables(kernel, part.chain, names.old_ports_chain(part.chain))
        chains.each(found, lambda table: _remove(table, part, gone))


def _remove(table: "Nat", part: Part, gone: "Gone") -> None:
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
            pass  # a rule of somebody else leads there


def collect(kernel: "Nftables", network: str, valid: "Sequence[Attachment]", gone: "Gone") -> list[Found]:
    """Remove what the network's forgotten containers have there, known by the comments of their entry rules."""
    found = chains.stale(kernel, DNAT, network, map(names.ports_chain, valid))
    for chain, comment in found:
        remove(kernel, Part(chain, comment), gone)
    return [Found(chain) for chain in dict.fromkeys(chain for chain, _ in found)]


# tables of nftables


def remove_from_tables(kernel: "Nftables", container: str, other: "Other") -> None:
    """A container's rules, and a table with its last one: Go's plugin makes it whole again in each ADD."""
    for family in iptables.FAMILIES.values():
        if kernel.has_table(family, PORTS_TABLE):
            kernel.repeatedly(lambda family=family: _remove_from(kernel, family, container, other))  # type: ignore[misc]


def _remove_from(kernel: "Nftables", family: int, container: str, other: "Other") -> None:
    generation, transaction = kernel.generation(), Transaction(family, PORTS_TABLE)
    left = 0
    for rule in _of_tables(kernel, family, _CHAINS):
        if rule.comment == container and not other(rule.addresses | {rule.leads_to} - {b""}):
            transaction.delete_rule(rule.chain, rule.deletion)
        else:
            left += 1
    # without a generation Go's plugin may be adding a rule just now
    if transaction and not left and generation:
        transaction = Transaction(family, PORTS_TABLE)
        transaction.delete_table()
    kernel.commit(transaction, generation)


def _of_tables(kernel: "Nftables", family: int, wanted: "Sequence[str]") -> "list[Seen]":
    return [
        Seen(chain, rule)
        for chain in wanted
        if kernel.chain(family, PORTS_TABLE, chain) is not None
        for rule in kernel.rules(family, PORTS_TABLE, chain)
    ]


# what is there


class Claim:
    """A port of the node that a rule translates, its owner, and where it leads to."""

    __slots__ = ("_hosts", "_protocol", "address", "name", "owner", "place", "port", "ports", "where")

    def __init__(self, where: str, entry: Rule, rule: Rule) -> None:
        """``where`` is the table; ``entry`` leads to the container's chain, in nftables' tables it is the rule itself."""
        self.where = where
        # the container's chain, or its id
        self.place = entry.comment if where == PORTS_TABLE else entry.target
        # network and container id, None where they are unknown
        self.owner = None if where == PORTS_TABLE else names.owner_of(entry.comment)
        self.name = f"container {self.place}" if where == PORTS_TABLE else "/".join(self.owner or ("?", self.place))
        self._protocol = rule.protocol or entry.protocol
        self.ports = rule.ports & entry.ports
        # no address of the node stands for all
        self._hosts = rule.addresses
        # the container's
        self.address, self.port = Address(rule.leads_to), rule.port

    def is_of(self, attachment: "Attachment") -> bool:
        """Whether it is the attachment's container's."""
        return self.place == (attachment.container if self.where == PORTS_TABLE else names.ports_chain(attachment))

    def is_of_container(self, container: str) -> bool:
        """Whether it is this container's, in whatever network."""
        owner = self.place if self.where == PORTS_TABLE else (self.owner or ("", ""))[1]
        return owner == container

    def is_for(self, protocol: int, port: int) -> bool:
        """Whether it is for a port, of some address at least."""
        return port in self.ports and PROTOCOL_NAMES.get(protocol) == self._protocol

    def serves(self, host: Address) -> bool:
        """Whether it is for an address of the node."""
        return not self._hosts or host.packed in self._hosts

    def texts(self) -> "list[str]":
        """Its ports, and where they lead to."""
        hosts = [str(Address(host)) for host in sorted(self._hosts)] or [""]
        places = [f"{self._protocol} {host and host + ' '}{port}" for port in sorted(self.ports) for host in hosts]
        return [f"{place} to {self.address.with_port(self.port)}" for place in places]

    def remove(self, kernel: "Nftables", gone: "Gone") -> None:
        """Take away what the container has; its owner is known to be dead."""
        if self.where == PORTS_TABLE:
            remove_from_tables(kernel, self.place, chains.other_interfaces("", None, lambda: [self.address]))
        elif self.owner is not None:
            remove(kernel, Part(self.place, names.ports_comment(*self.owner)), gone)


def claims(kernel: "Nftables", version: int, wanted: "Container[int]" = range(1 << 16)) -> "Iterator[Claim]":
    """The containers that have one of these ports in one family, in the order in which packets meet them."""
    seen, *legacy = chains.tables(kernel, versions=[version])
    yield from _claims(seen, wanted)
    for rule in _of_tables(kernel, iptables.FAMILIES[version], _TRANSLATING):
        if rule.leads_to:
            yield Claim(PORTS_TABLE, rule, rule)
    for table in legacy:
        yield from _claims(table, wanted)


def _claims(table: "Nat", wanted: "Container[int]") -> "Iterator[Claim]":
    for entry in table.rules(DNAT):
        for rule in table.rules(entry.target) if any(port in wanted for port in entry.ports) else ():
            # what an entry rule does not let in, its chain does not serve
            if rule.leads_to and (not entry.protocol or rule.protocol in ("", entry.protocol)):
                yield Claim(table.where, entry, rule)


def is_entered(kernel: "Nftables", version: int, where: str) -> bool:
    """Whether packets get to the rules of such a table at all."""
    family = iptables.FAMILIES[version]
    if where == PORTS_TABLE:
        hooked = [chain for chain in ("prerouting", "output") if kernel.chain(family, where, chain) is not None]
        return bool(hooked) and all(kernel.rules(family, where, chain) for chain in hooked)
    found = [table for table in chains.tables(kernel, versions=[version]) if table.where == where]
    hooks = ("PREROUTING", "OUTPUT")
    return any(all(any(rule.target == DNAT for rule in one.rules(hook)) for hook in hooks) for one in found)


def listed(kernel: "Nftables") -> list[Found]:
    """What exists in the three forms: a container's chain, or its rules in the tables, with its ports."""
    ports: dict[tuple[str, str, str], list[str]] = {}
    for claim in (claim for version in iptables.FAMILIES for claim in claims(kernel, version)):
        owner = f"/{claim.place}/" if claim.where == PORTS_TABLE else "/".join((*(claim.owner or ("", "")), ""))
        ports.setdefault((claim.place, owner, claim.where), []).extend(claim.texts())
    return [Found(place, owner, table=table, ports=texts) for (place, owner, table), texts in ports.items()]
