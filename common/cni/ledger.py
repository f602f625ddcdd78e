"""nftables tables of ours whose elements have owners: described as data, read, restored and changed as a whole.

A ``Table`` lists sets, maps and chains. Some maps hold records: what each attachment owns, as a map from (host link's
name, number) to data. When prevResult and the namespace are gone, DEL knows neither addresses nor ports. A record gives
them in O(1), while a search through all elements would take longer with each pod. A record's comment names the
attachment, for people and for GC; its key begins with the network's prefix.

A ``Change`` is one attempt: it reads and writes in one generation of the ruleset. ``changed`` repeats it while others
interfere. Every change has the same steps: remove what the owner had; restore missing rules, because a map without its
rule has no use; write what the owner gets, the records first. A removal is the first step alone. The last owner's
removal deletes the table.
"""

from cni.attachment import COMMENT_MAX, is_of_network, network_prefix
from cni.kernel.nftables import Element, Nftables
from cni.kernel.transaction import IFNAME, INET_SERVICE, SetType, Transaction, Type, pack, unpack
from cni.plan import Found
from cni.settings import Declared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from typing import Any, TypeVar

    from cni.attachment import Attachment
    from cni.kernel.expressions import Expression
    from cni.kernel.nftables import Chain as KernelChain

    Value = TypeVar("Value")
    Facts = dict[str, str | list[str]]
    # a rule's comment and its expressions
    Line = tuple[str, Sequence[Expression]]
    # set or map, and a key in it
    Place = tuple[str, bytes]

_KEY = (IFNAME, INET_SERVICE)
# Records fetched by the first request and by each further one: most attachments have a few, some have hundreds.
_FIRST, _MORE = 4, 24
# The number in a key has 16 bits.
MOST = 1 << 16


def record_map(*fields: Type) -> SetType:
    """The type of a map of records; ``fields`` are the types of a record's parts."""
    return SetType(_KEY, fields)


def record_key(link: str, number: int) -> bytes:
    """The key of a record of the attachment with this host link."""
    return pack(_KEY, [link.encode(), number.to_bytes(2, "big")])


class Chain(Declared):
    """A chain of a table of ours: its hook and its permanent rules."""

    name: str
    # type, hook and priority
    base: "tuple[str, int, int] | None" = None
    rules: "Sequence[Line]" = ()
    # A chain with a ``front`` also holds rules that are not listed here; it stands before them, ``rules`` behind.
    front: "Sequence[Line]" = ()
    # For sets that exist as long as they have elements: gives a set's type and its rule. The comment of that rule is the
    # set's name.
    each: "Callable[[str], tuple[SetType, Sequence[Expression]] | None] | None" = None


class Table(Declared):
    """A table of ours."""

    family: int
    name: str
    sets: "dict[str, SetType]"
    chains: "Sequence[Chain]"
    # sets or maps: the table is removed when they are empty
    owners: "Sequence[str]"

    def change(self, kernel: Nftables) -> "Change":
        """Begin an attempt."""
        return Change(kernel, self)


class Ledger:
    """A table as it is in the kernel. Its rules are read once."""

    def __init__(self, kernel: Nftables, table: Table) -> None:
        self.kernel = kernel
        self.table = table
        self.at = table.family, table.name
        self._rules: list[tuple[str, str]] | None = None
        self._exists: bool | None = None

    @property
    def rules(self) -> "list[tuple[str, str]]":
        """Chain and comment of every rule, in order."""
        if self._rules is None:
            self._rules = [(rule.chain, rule.comment) for rule in self.kernel.rules(*self.at)]
            self._exists = True if self._rules else None
        return self._rules

    @property
    def exists(self) -> bool:
        """Whether the table exists."""
        _ = self.rules
        if self._exists is None:
            self._exists = self.kernel.has_table(*self.at)
        return self._exists

    def comments(self, chain: str) -> list[str]:
        """The comments of a chain's rules, in order."""
        return [comment for name, comment in self.rules if name == chain]

    def is_whole(self, chain: Chain) -> bool:
        """Whether a chain has its permanent rules; in their order, unless the chain has a ``front``."""
        found = self.comments(chain.name)
        within = found if chain.front else iter(found)
        return all(comment in within for comment, _ in (*chain.front, *chain.rules))

    def chain(self, name: str) -> "KernelChain | None":
        """A chain as the kernel has it."""
        return self.kernel.chain(*self.at, name)

    def place_of(self, chain: Chain) -> bool | None:
        """Whether a chain has the right hook and priority, None if it does not exist."""
        found = self.chain(chain.name)
        return None if found is None or chain.base is None else (found.hook, found.priority) == chain.base[1:]

    def element(self, name: str, key: bytes) -> Element | None:
        """The element with this key, None if there is none."""
        return self.kernel.element(*self.at, name, key)

    def elements(self, name: str, keys: "Sequence[bytes]") -> "list[Element | None]":
        """The elements with these keys, None for a missing one."""
        return self.kernel.elements_of(*self.at, name, keys)

    def numbered(self, name: str, key: "Callable[[int], bytes]", start: int = 0, first: int = _MORE) -> list[Element]:
        """The elements whose keys have the numbers from ``start`` on, without a gap; the first request reads ``first``."""
        found: list[Element] = []
        count = first
        while count:
            keys = [key(start + len(found) + number) for number in range(count)]
            more = self.kernel.elements(*self.at, name, keys)  # up to the first missing one
            found += more
            count = min(_MORE, MOST - start - len(found)) if len(more) == len(keys) else 0
        return found

    def every(self, name: str) -> list[Element]:
        """All elements of a set."""
        return self.kernel.elements(*self.at, name)

    # records

    def recorded(self, name: str, link: str) -> list[Element]:
        """An attachment's records, in order."""
        return self.numbered(name, lambda number: record_key(link, number), first=_FIRST)

    def fields(self, name: str, link: str) -> "list[list[bytes]]":
        """The fields of each of an attachment's records."""
        return [self.unpacked(name, element) for element in self.recorded(name, link)]

    def unpacked(self, name: str, record: Element) -> list[bytes]:
        """The fields of a record."""
        return unpack(self.table.sets[name].data, record.data)

    def owners(self, *names: str) -> dict[str, str]:
        """Host link and comment of every attachment in these maps of records (by default all); reads them whole."""
        found: dict[str, str] = {}
        for name in names or self.table.owners:
            for element in self.every(name):
                link = unpack(_KEY, element.key)[0].rstrip(b"\0").decode("utf-8", "replace")
                found.setdefault(link, element.comment)
        return found

    def found(self, network: str, facts: "Callable[[str], Facts]" = lambda link: {}) -> list[Found]:
        """The attachments of a network, or those of all networks with their facts if the name is empty; reads all records."""
        prefix = network_prefix(network) if network else ""
        return [
            Found(link, comment, **({} if network else facts(link)))
            for link, comment in self.owners().items()
            if link.startswith(prefix) and is_of_network(comment, network, COMMENT_MAX)
        ]

    def others(self, name: str, link: str, fields: "Sequence[bytes]") -> list[str]:
        """The comments of other attachments' records with these fields; reads the whole map."""
        data, own = pack(self.table.sets[name].data, fields), link.encode().ljust(IFNAME.length, b"\0")
        return [each.comment for each in self.every(name) if each.data == data and not each.key.startswith(own)]


class Change(Ledger):
    """One attempt at a change. It remembers the elements that it deletes, because it may add them again."""

    def __init__(self, kernel: Nftables, table: Table) -> None:
        super().__init__(kernel, table)
        self.generation = kernel.generation()
        self.transaction = Transaction(table.family, table.name)
        self._gone: dict[str, set[bytes]] = {}

    def commit(self) -> None:
        """Send what was not sent yet; raises ``NftablesError``."""
        self.kernel.commit(self.transaction, self.generation)
        self.transaction = Transaction(*self.at)

    # elements

    def deletes(self, name: str, key: bytes) -> bool:
        """Whether this change deletes the element."""
        return key in self._gone.get(name, ())

    def delete(self, name: str, key: bytes) -> None:
        """Delete an element."""
        self._gone.setdefault(name, set()).add(key)
        self.transaction.delete_element(name, key)

    def add(self, name: str, key: bytes, data: bytes = b"", comment: str = "") -> None:
        """Add an element."""
        self._gone.get(name, set()).discard(key)
        self.transaction.add_element(name, key, data, comment)

    def empties(self, name: str, *keys: bytes) -> bool:
        """Whether a set is empty apart from these elements and those that this change deletes."""
        known = {*keys, *self._gone.get(name, ())}
        return not self.kernel.holds(*self.at, name, lambda found: found.key not in known)

    # owners

    def record(self, name: str, attachment: "Attachment", records: "Iterable[Sequence[bytes]]") -> None:
        """Write the records of an attachment that has none."""
        for number, fields in enumerate(records):
            data = pack(self.table.sets[name].data, fields)
            self.add(name, record_key(attachment.link, number), data, attachment.comment)

    def erase(self, name: str, link: str, count: int) -> None:
        """Remove an attachment's records, the last one first: ``recorded`` finds the others if only some batches succeed."""
        for number in reversed(range(count)):
            self.delete(name, record_key(link, number))

    def forget(self, name: str, link: str, places: "Callable[[list[bytes]], Iterable[Place]]") -> "list[list[bytes]]":
        """Remove an attachment's records in one map, and its elements; returns the fields of the records.

        ``places`` gives the elements that belong to a record; an element that another attachment owns by now stays.
        """
        found = self.recorded(name, link)
        held = [self.unpacked(name, element) for element in found]
        for fields in held:
            for place in places(fields):
                element = self.element(*place)
                if element is not None and element.comment in ("", found[0].comment):
                    self.delete(*place)
        self.erase(name, link, len(held))
        return held

    def drop(self) -> None:
        """Remove the table."""
        self.transaction = Transaction(*self.at)
        self.transaction.delete_table()
        self._rules, self._exists = [], False

    def drop_if_last(self) -> bool:
        """Remove the table if it has no owner; returns whether it did."""
        last = all(map(self.empties, self.table.owners))
        if last:
            self.drop()
        return last

    # rules

    def restore(self, *replaced: str) -> None:
        """Make the table, or its missing parts. Chains in ``replaced`` are deleted and made again."""
        chains = self.table.chains
        broken = [chain for chain in chains if chain.name in replaced or not self.is_whole(chain)]
        if not broken:
            return
        existing = sorted(self.kernel.sets(*self.at)) if any(chain.each for chain in chains) and self.exists else []
        for name in replaced:
            self._empty(name)
            self.transaction.delete_chain(name)
        self.transaction.add_table()
        for name, kind in self.table.sets.items():
            self.transaction.add_set(name, kind)
        for chain in chains:
            self.transaction.add_chain(chain.name, *(chain.base or ()))
        for chain in broken:
            self._fill(chain)
        for chain in chains:
            for name in existing:
                self.need(chain, name)

    def _empty(self, name: str) -> None:
        self.transaction.flush_chain(name)
        self._rules = [rule for rule in self.rules if rule[0] != name]

    def _fill(self, chain: Chain) -> None:
        """Make missing rules; all of them where their order matters."""
        if not chain.front and self.comments(chain.name):
            self._empty(chain.name)
        existing = self.comments(chain.name)
        for comment, expressions in chain.rules:
            if not chain.front or comment not in existing:
                self.add_rule(chain.name, expressions, comment)
        for comment, expressions in reversed(chain.front):
            if comment not in existing:
                self.add_rule(chain.name, expressions, comment, first=True)

    def need(self, chain: Chain, name: str) -> None:
        """Make a set that ``each`` of the chain knows, and its rule, unless they exist."""
        found = chain.each(name) if chain.each is not None and name not in self.comments(chain.name) else None
        if found is not None:
            kind, expressions = found
            if all(comment != name for _, comment in self.rules):
                self.transaction.add_set(name, kind)
            self.add_rule(chain.name, expressions, name)

    def remove_sets(self, names: "Iterable[str]") -> None:
        """Remove empty sets and their rules."""
        names = sorted(names)
        for chain in self.table.chains if names else ():
            if chain.each is not None:
                self.delete_rules(chain.name, names)
        for name in names:
            self.transaction.delete_set(name)

    def delete_rules(self, chain: str, comments: "Container[str]") -> None:
        """Delete the rules of a chain with these comments."""
        if any(comment in comments for comment in self.comments(chain)):
            for rule in self.kernel.rules(*self.at, chain):
                if rule.comment in comments:
                    self.transaction.delete_rule(chain, rule.handle)
            self._rules = [rule for rule in self.rules if rule[0] != chain or rule[1] not in comments]

    def add_rule(self, chain: str, expressions: "Sequence[Expression]", comment: str, first: bool = False) -> None:
        """Append a rule, or insert it ``first``."""
        self.transaction.add_rule(chain, expressions, comment, first)
        self.rules.append((chain, comment))


def changed(kernel: Nftables, begin: "Callable[[Nftables], Any]", work: "Callable[[Any], Value]") -> "Value":
    """Run ``work`` on the change that ``begin`` returns, and commit; repeat while others interfere. Returns its value."""
    values: list[Value] = []

    def attempt() -> None:
        change = begin(kernel)
        values[:] = [work(change)]
        change.commit()

    kernel.repeatedly(attempt)
    return values[0]
