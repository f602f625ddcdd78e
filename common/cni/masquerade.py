"""Source NAT for an attachment: what it sends out of its subnet leaves the node with the node's address.

In nftables, by default, one table of our own::

    table inet pycni_masquerade {
        map attachments4 {                              # who has what, found by the host link's name
            type ifname . inet_service : ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : 10.1.2.5 . 24 }
        }
        set pods_10.1.2.0/24 {                          # one a subnet in use
            type ipv4_addr
            elements = { 10.1.2.5 comment "mynet/ctr1/eth0" }
        }
        set shared4 {                                   # only where several networks have an address
            type ipv4_addr . inet_service
            elements = { 10.1.2.5 . 24 }
        }
        chain postrouting {
            type nat hook postrouting priority 1000; policy accept;
            ip daddr 224.0.0.0/4 return
            ip6 daddr ff00::/8 return
            ip saddr @pods_10.1.2.0/24 ip daddr != 10.1.2.0/24 masquerade
        }
        chain forward {                                 # only where a network wants it
            type filter hook forward priority filter; policy accept;
            ip saddr @pods_10.1.2.0/24 ip daddr != 10.1.2.0/24 ct state invalid drop
        }
    }

A packet costs one look-up a subnet, ADD and DEL two elements an address, however many pods there are. Verdict maps are
avoided: the kernel checks every chain behind them at each change. The last address of a subnet takes the subnet's set
and rule along, the last one of all the table.

The chain comes after everybody's, so a decision that others have made stays (``undecided``).

A packet that connection tracking cannot place is never translated, so it leaves with the pod's address. A network may
have such packets dropped: for its subnet, as the configuration of its last ADD says.

Two networks may each have a pod of the same address: its element is the younger's, and goes to another that has a record
of it when that one ends. Records are searched for that only where the address is told to be shared.
"""

from cni.address import MULTICAST, Address, Prefix
from cni.attachment import COMMENT_MAX, beginning
from cni.errors import CheckFailed, CNIError
from cni.kernel import expressions as nft
from cni.kernel.nftables import Nftables
from cni.kernel.records import Records
from cni.kernel.transaction import (
    ADDRESS,
    FORWARD,
    INET,
    INET_SERVICE,
    POSTROUTING,
    WORD,
    SetType,
    Transaction,
    pack,
)
from cni.plan import Effect, Found, Kind, all_of
from cni.undecided import LAST, MASQ_BIT, Undecided, compared, is_guard, legacy_alone, mark_legacy, unmark_legacy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from cni.attachment import Attachment
    from cni.kernel.transaction import Expression
    from cni.plan import Differ
    from cni.site import Site

TABLE = "pycni_masquerade"
_CHAIN, _DROPPING = "postrouting", "forward"
# our chain by iptables'
FOLLOWED = {"POSTROUTING": _CHAIN}


def attachments(kernel: Nftables, version: int) -> Records:
    """The masqueraded attachments: the address with its subnet's length, one record an address."""
    return Records(kernel, INET, TABLE, f"attachments{version}", (ADDRESS[version], INET_SERVICE))


def _fields(prefix: Prefix) -> list[bytes]:
    """The parts of the record of an address."""
    return [prefix.address.packed, prefix.length.to_bytes(2, "big")]


def prefix_of(record: "Sequence[bytes]") -> Prefix:
    """The address of such a record."""
    address, length = record
    return Prefix(Address(address), int.from_bytes(length, "big"))


def _set_name(subnet: Prefix) -> str:
    """A name that nft can read again: IPv6 in full, because a colon ends a name."""
    if subnet.version == 4:
        return f"pods_{subnet}"
    return f"pods_{subnet.address.packed.hex('_', 2)}/{subnet.length}"


def _shared(version: int) -> tuple[str, SetType]:
    """The set of the addresses that several networks have, with their subnets' lengths."""
    return f"shared{version}", SetType([ADDRESS[version], INET_SERVICE])


def _of_network(comment: str, attachment: "Attachment") -> bool:
    """Whether an element is that of an attachment of the same network."""
    return comment.startswith(beginning(f"{attachment.network}/", COMMENT_MAX))


def _subnet(set_name: str) -> Prefix | None:
    """The subnet of a set by its name, None for another set."""
    if not set_name.startswith("pods_"):
        return None
    try:
        return Prefix.parse(set_name.removeprefix("pods_").replace("_", ":"))
    except ValueError:
        return None


def _in_network(prefix: Prefix, equal: bool) -> "list[Expression]":
    """Go on only for a destination inside, or outside, a network."""
    load = nft.address(prefix.version, destination=True)
    if prefix.length == prefix.address.bits:
        return [load, nft.compare(prefix.address.packed, equal)]
    return [load, nft.mask(prefix.netmask.packed), nft.compare(prefix.address.packed, equal)]


class Masquerade(Effect[None], Kind):
    """The addresses of one attachment are masqueraded."""

    __slots__ = ("backend", "drop_invalid", "prefixes")
    noun = "masquerade"
    repairable = True

    def __init__(
        self, site: "Site", prefixes: "Sequence[Prefix]" = (), backend: str = "nftables", drop_invalid: bool = False
    ) -> None:
        """``prefixes`` are the addresses with their subnets' lengths; on DEL those that prevResult has.

        ``drop_invalid`` is for nftables: packets that cannot be masqueraded are dropped.
        """
        super().__init__(site)
        self.prefixes = list(prefixes)
        self.backend = backend
        self.drop_invalid = drop_invalid

    def identify(self, attachment: "Attachment") -> str:
        """The host link's name."""
        return attachment.link

    def make(self) -> None:
        """Repeatable: what the attachment had before is replaced in the same transaction."""
        if self.backend == "iptables":
            from cni import masquerade_go

            masquerade_go.add(self.site.nftables, self.attachment, self.prefixes)
            return
        kernel = self.site.nftables
        with legacy_alone():
            legacy = mark_legacy(FOLLOWED, MASQ_BIT, self.site.say)
            kernel.repeatedly(lambda: _Change(kernel).make(self.attachment, self.prefixes, legacy, self.drop_invalid))

    def compare(self, differ: "Differ") -> None:
        """Records, elements and rules are there; or Go's, for the plugins may have been exchanged under a living pod."""
        forms: list[Callable[[Nftables, Attachment, Sequence[Prefix]], None]]
        forms = [_compare, _compare_chains, _compare_newer]
        if self.backend == "iptables":
            forms.insert(0, forms.pop(1))
        faults: list[CNIError] = []
        for form in forms:
            try:
                form(self.site.nftables, self.attachment, self.prefixes)
                if form is _compare and self.drop_invalid:
                    _compare_dropping(self.site.nftables, self.prefixes)
            except CNIError as fault:  # also that iptables is not there
                faults.append(fault)
            else:
                return
        differ(faults[0])

    def remove(self) -> None:
        """Ours, then what the Go plugins or our iptables backend made for this attachment."""
        from cni import masquerade_go

        addresses = [one.address for one in self.prefixes]
        all_of(
            (
                lambda: self.discard(self.identity),
                lambda: masquerade_go.remove(self.site.nftables, self.attachment, addresses, self._others),
            )
        )

    def _others(self) -> "set[Address]":
        """The addresses of the container's other interfaces, which Go's chain for the container holds too."""
        namespace = self.site.remaining
        return namespace.addresses_beside(self.attachment.ifname) if namespace is not None else set()

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have records."""
        records = (attachments(self.site.nftables, version) for version in (4, 6))
        return list(dict.fromkeys(found for each in records for found in each.found(network)))

    def discard(self, identity: str) -> None:
        """Remove what the attachment with this host link name has."""
        kernel = self.site.nftables
        gone = False

        def change() -> None:
            nonlocal gone
            gone = _Change(kernel).remove(identity)

        with legacy_alone():
            kernel.repeatedly(change)
            if gone:
                unmark_legacy(FOLLOWED, self.site.say)

    def collect(self, network: str, valid: "Sequence[Attachment]") -> list[Found]:  # type: ignore[override]
        """Ours by their records, and Go's by the network's name in their comments."""
        from cni import masquerade_go

        ours = super().collect
        gone = all_of((lambda: ours(network, valid), lambda: masquerade_go.collect(self.site.nftables, network, valid)))
        return [*gone[0], *gone[1]]

    def describe(self) -> str:
        """The rules in nft's words, without the parts that all attachments share."""
        lines = []
        for prefix in self.prefixes:
            subnet, word = prefix.network, WORD[prefix.version]
            rule = f"{word} saddr @{_set_name(subnet)} {word} daddr != {subnet} masquerade"
            lines.append(f"{rule}: {prefix.address} of {self.attachment}")
        return "\n".join(lines)


class _Change:
    """One attempt at a change: what is there was looked at in one generation, and is changed in the same."""

    def __init__(self, kernel: Nftables) -> None:
        self.kernel = kernel
        self.generation = kernel.generation()
        self.records = {version: attachments(kernel, version) for version in (4, 6)}

    def make(
        self,
        attachment: "Attachment",
        prefixes: "list[Prefix]",
        legacy: "Mapping[tuple[int, str], bool]",
        drop_invalid: bool,
    ) -> None:
        """Add what is wanted, in place of what the attachment had; rules that somebody took away are put back."""
        transaction = Transaction(INET, TABLE)
        gone: dict[str, list[bytes]] = {}
        found = self.kernel.rule_comments(INET, TABLE)
        order = Undecided(self.kernel, TABLE, FOLLOWED, found, MASQ_BIT, legacy)
        rules = [comment for chain, comment in found if chain == _CHAIN and not is_guard(comment)]
        if rules or self.kernel.has_table(INET, TABLE):
            gone = self._forget(transaction, attachment.link, *self._held(attachment.link))
        whole = rules[:2] == ["", ""] and self._in_its_place()
        if not whole:
            rules = self._table(transaction)
        order.write(transaction, emptied=not whole)
        for prefix in dict.fromkeys(prefixes):
            self._admit(transaction, attachment, prefix, gone, rules)
        dropping = {comment for chain, comment in found if chain == _DROPPING}
        self._drop(transaction, {prefix.network for prefix in prefixes}, dropping, drop_invalid)
        for version, records in self.records.items():
            mine = [prefix for prefix in dict.fromkeys(prefixes) if prefix.version == version]
            records.write(transaction, attachment, [_fields(prefix) for prefix in mine])
        self.kernel.commit(transaction, self.generation)

    def _in_its_place(self) -> bool:
        """Whether the chain comes after everybody's: that of an earlier version did not."""
        return _is_last(self.kernel.chain(INET, TABLE, _CHAIN))

    def _drop(self, transaction: Transaction, subnets: "set[Prefix]", there: "set[str]", drop_invalid: bool) -> None:
        """Add or remove the rules of subnets that drop what cannot be masqueraded; ``there`` are sets that have one."""
        if not drop_invalid:
            self._stop_dropping(transaction, there & set(map(_set_name, subnets)))
            return
        for subnet in sorted(subnets, key=str):
            if _set_name(subnet) not in there:
                transaction.add_chain(_DROPPING, "filter", FORWARD)
                _add_dropping_rule(transaction, subnet)

    def _stop_dropping(self, transaction: Transaction, names: "set[str]") -> None:
        """Remove the rules for these sets, and the chain with the last one."""
        rules = self.kernel.rules(INET, TABLE, _DROPPING) if names else []
        going = [rule for rule in rules if rule.comment in names]
        for rule in going:
            transaction.delete_rule(_DROPPING, rule.handle)
        if going and len(going) == len(rules):
            transaction.delete_chain(_DROPPING)

    def _table(self, transaction: Transaction) -> "list[str]":
        """The table, or what is missing of it, with its rules anew: their comments."""
        transaction.add_table()
        for records in self.records.values():
            transaction.add_set(records.name, records.type)
        if self.kernel.chain(INET, TABLE, _CHAIN) is not None:
            # one at another priority cannot be changed
            transaction.flush_chain(_CHAIN)
            transaction.delete_chain(_CHAIN)
        transaction.add_chain(_CHAIN, "nat", POSTROUTING, LAST)
        for version in (4, 6):
            group = MULTICAST[version]
            expressions = [*nft.of_family(version), *_in_network(group, True), nft.RETURN]
            transaction.add_rule(_CHAIN, expressions, f"{WORD[version]} daddr {group} return")
        subnets = [subnet for subnet in map(_subnet, self.kernel.sets(INET, TABLE)) if subnet is not None]
        for subnet in subnets:
            _add_rule(transaction, subnet)
        return ["", "", *(_set_name(subnet) for subnet in subnets)]

    def _admit(
        self,
        transaction: Transaction,
        attachment: "Attachment",
        prefix: Prefix,
        gone: "dict[str, list[bytes]]",
        rules: "list[str]",
    ) -> None:
        """An address into its subnet's set; one that another attachment left there is taken over."""
        subnet, key = prefix.network, prefix.address.packed
        name = _set_name(subnet)
        if name not in rules:
            rules.append(name)
            transaction.add_set(name, SetType([ADDRESS[prefix.version]]))
            _add_rule(transaction, subnet)
        found = self.kernel.element(INET, TABLE, name, key) if key not in gone.get(name, []) else None
        if found is not None:
            transaction.delete_element(name, key)
            if not _of_network(found.comment, attachment):
                self._share(transaction, prefix)
        transaction.add_element(name, key, comment=attachment.comment)

    def _share(self, transaction: Transaction, prefix: Prefix) -> None:
        """Note that an address is not one network's alone."""
        name, type = _shared(prefix.version)
        transaction.add_set(name, type)
        key = pack(type.key, _fields(prefix))
        if self.kernel.element(INET, TABLE, name, key) is None:
            transaction.add_element(name, key)

    def _pass_on(self, transaction: Transaction, link: str, prefix: Prefix) -> bool:
        """Whether somebody else has a shared address, who gets the element of it that has just been deleted."""
        name, type = _shared(prefix.version)
        key = pack(type.key, _fields(prefix))
        if self.kernel.element(INET, TABLE, name, key) is None:
            return False
        others = self.records[prefix.version].others(link, _fields(prefix))
        if others:
            transaction.add_element(_set_name(prefix.network), prefix.address.packed, comment=others[0])
        else:
            transaction.delete_element(name, key)
        return bool(others)

    def _held(self, link: str) -> "tuple[str, list[Prefix]]":
        """Whose the records of a link are, by their comment, and the addresses that they tell."""
        owner, held = "", list[Prefix]()
        for records in self.records.values():
            comment, found = records.owned(link)
            owner = owner or comment
            held += map(prefix_of, found)
        return owner, held

    def _forget(
        self, transaction: Transaction, link: str, owner: str, held: "list[Prefix]"
    ) -> "dict[str, list[bytes]]":
        """Take an attachment's elements and records away: the keys that went, by set. What another one has too stays."""
        gone: dict[str, list[bytes]] = {}
        for version, records in self.records.items():
            count = sum(prefix.version == version for prefix in held)
            gone[records.name] = records.erase(transaction, link, count)
            for prefix in held:
                if prefix.version != version:
                    continue
                name, key = _set_name(prefix.network), prefix.address.packed
                element = self.kernel.element(INET, TABLE, name, key)
                if element is not None and element.comment == owner:
                    transaction.delete_element(name, key)
                    if not self._pass_on(transaction, link, prefix):
                        gone.setdefault(name, []).append(key)
        return gone

    def remove(self, link: str) -> bool:
        """Whether the table went with it."""
        owner, held = self._held(link)
        rules = self.kernel.rule_comments(INET, TABLE)
        if not held and (rules or self.kernel.has_table(INET, TABLE)):
            return False
        transaction = Transaction(INET, TABLE)
        order = Undecided(self.kernel, TABLE, FOLLOWED, rules)
        if not held:  # somebody removed our table, and left what belongs to it
            order.withdraw(transaction)
            self.kernel.commit(transaction, self.generation)
            return True
        gone = self._forget(transaction, link, owner, held)
        last = not any(self.kernel.holds_beside(INET, TABLE, r.name, gone[r.name]) for r in self.records.values())
        if last:
            transaction = Transaction(INET, TABLE)
            transaction.delete_table()
            order.withdraw(transaction)
        else:
            self._tidy(transaction, {_set_name(prefix.network) for prefix in held}, gone)
            # a chain of an earlier version may come before iptables': there no mark is to be found yet
            if self._in_its_place():
                order.write(transaction)
        self.kernel.commit(transaction, self.generation)
        return last

    def _tidy(self, transaction: Transaction, names: "set[str]", gone: "dict[str, list[bytes]]") -> None:
        """Subnets whose last address goes lose their rule and their set."""
        empty = {name for name in names if not self.kernel.holds_beside(INET, TABLE, name, gone.get(name, []))}
        if not empty:
            return
        for rule in self.kernel.rules(INET, TABLE, _CHAIN):
            if rule.comment in empty:
                transaction.delete_rule(_CHAIN, rule.handle)
        self._stop_dropping(transaction, empty)
        for name in sorted(empty):
            transaction.delete_set(name)


def _add_rule(transaction: Transaction, subnet: Prefix) -> None:
    """Masquerade what the pods of a subnet send out of it."""
    expressions, text = _leaving(subnet)
    transaction.add_rule(_CHAIN, [*expressions, nft.MASQUERADE], f"{text} masquerade", _set_name(subnet))


def _add_dropping_rule(transaction: Transaction, subnet: Prefix) -> None:
    """Drop its packets that connection tracking cannot place."""
    expressions, text = _leaving(subnet)
    expressions = [*expressions, *nft.invalid(), nft.DROP]
    transaction.add_rule(_DROPPING, expressions, f"{text} ct state invalid drop", _set_name(subnet))


def _leaving(subnet: Prefix) -> "tuple[list[Expression], str]":
    """Go on only for what the pods of a subnet send out of it."""
    version, name, word = subnet.version, _set_name(subnet), WORD[subnet.version]
    expressions = [
        *nft.of_family(version),
        nft.address(version, destination=False),
        nft.lookup(name),
        *_in_network(subnet, False),
    ]
    return expressions, f"{word} saddr @{name} {word} daddr != {subnet}"


def _is_last(chain: "Any") -> bool:
    """Whether a chain has the priority at which ours come after everybody's."""
    hook = chain.get_attr("NFTA_CHAIN_HOOK") if chain is not None else None
    return hook is not None and bool(hook.get_attr("NFTA_HOOK_PRIORITY") == LAST)


def _compare(kernel: Nftables, attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    where = f"nftables table inet {TABLE}"
    chain = kernel.chain(INET, TABLE, _CHAIN)
    if chain is None or chain.get_attr("NFTA_CHAIN_HOOK") is None:
        raise CheckFailed(
            f"{where}: its chain {_CHAIN} is missing", "another ADD on the node, or DEL and ADD, makes it again"
        )
    rules = kernel.rule_comments(INET, TABLE)
    comments = [comment for name, comment in rules if name == _CHAIN]
    if comments.count("") < 2:
        raise CheckFailed(f"{where}: the rules that leave multicast alone are missing")
    # a chain of an earlier version masquerades as it did; the next ADD moves it behind everybody's
    for fault in compared(kernel, TABLE, FOLLOWED, rules) if _is_last(chain) else ():
        raise CheckFailed(f"masquerading: {fault}", "the next ADD or DEL of a masqueraded pod repairs it")
    _, recorded = _Change(kernel)._held(attachment.link)
    for prefix in prefixes:
        name = _set_name(prefix.network)
        element = kernel.element(INET, TABLE, name, prefix.address.packed)
        if element is None or prefix not in recorded:
            raise CheckFailed(f"{where}: {prefix.address} is not masqueraded")
        if element.comment != attachment.comment and _of_network(element.comment, attachment):
            raise CheckFailed(f"{where}: {prefix.address} belongs to {element.comment} now")
        if name not in comments:
            raise CheckFailed(f"{where}: the rule for {prefix.network} is missing")


def _compare_dropping(kernel: Nftables, prefixes: "Sequence[Prefix]") -> None:
    there = kernel.rule_comments(INET, TABLE)
    for prefix in prefixes:
        if (_DROPPING, _set_name(prefix.network)) not in there:
            raise CheckFailed(
                f"nftables table inet {TABLE}: invalid packets of {prefix.network} are not dropped",
                "dropInvalid asks for that; the next ADD of the network makes the rule",
            )


def _compare_chains(kernel: Nftables, attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    from cni import masquerade_go

    masquerade_go.check(kernel, attachment, prefixes)


def _compare_newer(kernel: Nftables, attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    from cni import masquerade_go

    masquerade_go.check_newer(kernel, attachment, prefixes)
