"""Source NAT for an attachment: packets to addresses outside its subnet leave the node with the node's address.

By default it is one nftables table of our own::

    table inet pycni_masquerade {
        map attachments4 {                              # records, by the host link's name
            type ifname . inet_service : ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : 10.1.2.5 . 24 }
        }
        set pods_10.1.2.0/24 {                          # one for each subnet in use
            type ipv4_addr
            elements = { 10.1.2.5 comment "mynet/ctr1/eth0" }
        }
        set shared4 {                                   # only if several networks have a pod with the same address
            type ipv4_addr . inet_service
            elements = { 10.1.2.5 . 24 }
        }
        chain postrouting {
            type nat hook postrouting priority 1000; policy accept;
            ip daddr 224.0.0.0/4 return
            ip6 daddr ff00::/8 return
            ip saddr @pods_10.1.2.0/24 ip daddr != 10.1.2.0/24 masquerade
        }
        chain forward {                                 # only if a network has dropInvalid
            type filter hook forward priority filter; policy accept;
            ip saddr @pods_10.1.2.0/24 ip daddr != 10.1.2.0/24 ct state invalid drop
        }
    }

A packet costs one look-up for each subnet; ADD and DEL change two elements for each address, with any number of pods.
Verdict maps are avoided: the kernel checks every chain behind them at each change. When the last address of a subnet is
removed, the subnet's set and rule are removed too, and the table with the last address of all.

The chain comes after all chains of others, so their decisions stand (``undecided``).

A packet that connection tracking cannot place (state invalid) is never translated, so it leaves with the pod's address.
A network may have such packets of its subnet dropped; the configuration of its last ADD decides.

Two networks may each have a pod with the same address. The newer pod owns the shared element; when it goes, the other
one takes over. Records are searched for that only if the address is marked as shared.
"""

from cni.address import MULTICAST, Address, Prefix
from cni.attachment import COMMENT_MAX, beginning
from cni.errors import CheckFailed, CNIError
from cni.kernel import backend
from cni.kernel import expressions as nft
from cni.kernel.transaction import ADDRESS, FORWARD, INET, INET_SERVICE, POSTROUTING, SetType, pack
from cni.ledger import Chain, Change, Ledger, Table, changed, record_map
from cni.plan import Effect, Found, Kind, all_of
from cni.undecided import LAST, MASQ_BIT, Undecided, compared, legacy_lock, mark_legacy, unmark_legacy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from cni.attachment import Attachment
    from cni.kernel.expressions import Expression
    from cni.plan import Differ

TABLE = backend.MASQUERADING.table
# iptables' chain, and our chain that comes after it
FOLLOWED = {"POSTROUTING": "postrouting"}
RECORDS = {4: "attachments4", 6: "attachments6"}
# the sets of addresses that pods of several networks have, with the lengths of their subnets
_SHARED = {4: "shared4", 6: "shared6"}
_SHARED_TYPE = {version: SetType([ADDRESS[version], INET_SERVICE]) for version in (4, 6)}


def _set_name(subnet: Prefix) -> str:
    """The name of a subnet's set. IPv6 is written in full with underscores, because nft reads no colons in names."""
    if subnet.version == 4:
        return f"pods_{subnet}"
    return f"pods_{subnet.address.packed.hex('_', 2)}/{subnet.length}"


def _subnet(name: str) -> Prefix | None:
    """The subnet that a set's name stands for, None for another set."""
    if not name.startswith("pods_"):
        return None
    try:
        return Prefix.parse(name.removeprefix("pods_").replace("_", ":"))
    except ValueError:
        return None


def _multicast(version: int) -> "tuple[str, list[Expression]]":
    """The rule that packets to multicast groups are not masqueraded."""
    return "", [nft.of_family(version), nft.within(nft.DESTINATION[version], MULTICAST[version]), nft.RETURN]


def _leaving(subnet: Prefix, *then: "Expression") -> "list[Expression]":
    """The rule for packets from pods of a subnet to addresses outside it."""
    version, pods = subnet.version, nft.is_in(_set_name(subnet), nft.SOURCE[subnet.version])
    return [nft.of_family(version), pods, nft.within(nft.DESTINATION[version], subnet, inside=False), *then]


def _rule(name: str, *then: "Expression") -> "tuple[SetType, list[Expression]] | None":
    """The type of a set of pods, and its rule."""
    subnet = _subnet(name)
    return None if subnet is None else (SetType([ADDRESS[subnet.version]]), _leaving(subnet, *then))


_CHAIN = Chain(
    "postrouting",
    ("nat", POSTROUTING, LAST),
    [_multicast(4), _multicast(6)],
    each=lambda name: _rule(name, nft.MASQUERADE),
)
# not in LAYOUT: made only for networks with dropInvalid
_DROPPING = Chain("forward", ("filter", FORWARD, 0), each=lambda name: _rule(name, nft.INVALID, nft.DROP))
_MAPS = {name: record_map(ADDRESS[version], INET_SERVICE) for version, name in RECORDS.items()}
LAYOUT = Table(INET, TABLE, _MAPS, [_CHAIN], list(_MAPS))


def _record(prefix: Prefix) -> list[bytes]:
    """The fields of the record of an address: the address, and its subnet's length."""
    return [prefix.address.packed, prefix.length.to_bytes(2, "big")]


def prefix_of(record: "Sequence[bytes]") -> Prefix:
    """The address in a record, with its subnet's length."""
    address, length = record
    return Prefix(Address(address), int.from_bytes(length, "big"))


def held(ledger: Ledger, link: str) -> list[Prefix]:
    """The addresses in the records of the attachment with this host link."""
    return [prefix_of(record) for name in RECORDS.values() for record in ledger.fields(name, link)]


def _place(prefix: Prefix) -> tuple[str, bytes]:
    """The element of an address."""
    return _set_name(prefix.network), prefix.address.packed


def _shared_place(prefix: Prefix) -> tuple[str, bytes]:
    """The element that marks an address as shared by several networks."""
    return _SHARED[prefix.version], pack(_SHARED_TYPE[prefix.version].key, _record(prefix))


def _of_network(comment: str, attachment: "Attachment") -> bool:
    """Whether a comment names an attachment of the same network."""
    return comment.startswith(beginning(f"{attachment.network}/", COMMENT_MAX))


def _forget(change: Change, link: str) -> list[Prefix]:
    """Remove an attachment's elements and records; returns its addresses. A shared element goes to another owner."""
    prefixes = [
        prefix_of(record)
        for name in RECORDS.values()
        for record in change.forget(name, link, lambda fields: [_place(prefix_of(fields))])
    ]
    for prefix in prefixes:
        shared = _shared_place(prefix)
        if change.deletes(*_place(prefix)) and change.element(*shared) is not None:
            others = change.others(RECORDS[prefix.version], link, _record(prefix))
            if others:
                change.add(*_place(prefix), comment=others[0])
            else:
                change.delete(*shared)
    return prefixes


def _admit(change: Change, attachment: "Attachment", prefix: Prefix) -> None:
    """Add an address to its subnet's set; an element of another attachment is taken over."""
    place, shared = _place(prefix), _shared_place(prefix)
    change.need(_CHAIN, place[0])
    found = change.element(*place) if not change.deletes(*place) else None
    if found is not None:
        change.delete(*place)
        if not _of_network(found.comment, attachment):
            change.transaction.add_set(shared[0], _SHARED_TYPE[prefix.version])
            if change.element(*shared) is None:
                change.add(*shared)
    change.add(*place, comment=attachment.comment)


def _stop_dropping(change: Change, names: "set[str]") -> None:
    """Remove the rules for these sets, and the chain if it is empty then."""
    if not names.isdisjoint(change.comments(_DROPPING.name)):
        change.delete_rules(_DROPPING.name, names)
        if not change.comments(_DROPPING.name):
            change.transaction.delete_chain(_DROPPING.name)


def _make(
    change: Change,
    attachment: "Attachment",
    prefixes: "Sequence[Prefix]",
    legacy: "Mapping[tuple[int, str], bool]",
    drop_invalid: bool,
) -> None:
    """Remove the attachment's old elements and add the wanted ones."""
    prefixes = list(dict.fromkeys(prefixes))
    if change.exists:
        _forget(change, attachment.link)
    # an earlier version of ours made the chain with a priority before others'
    misplaced = change.exists and change.place_of(_CHAIN) is False
    change.restore(*([_CHAIN.name] if misplaced else []))
    Undecided(change, FOLLOWED, MASQ_BIT, legacy).write(change)
    for version, name in RECORDS.items():
        change.record(name, attachment, [_record(prefix) for prefix in prefixes if prefix.version == version])
    for prefix in prefixes:
        _admit(change, attachment, prefix)
    names = {_set_name(prefix.network) for prefix in prefixes}
    if not drop_invalid:
        _stop_dropping(change, names)
        return
    for name in sorted(names):
        if not change.comments(_DROPPING.name):
            change.transaction.add_chain(_DROPPING.name, *(_DROPPING.base or ()))
        change.need(_DROPPING, name)


def _remove(change: Change, link: str) -> bool:
    """Remove what the attachment has; returns whether the table is gone."""
    prefixes = _forget(change, link)
    if not prefixes and change.exists:
        return False
    marks = Undecided(change, FOLLOWED)
    if not prefixes or change.drop_if_last():
        marks.withdraw(change)
        return True
    empty = {name for name in {_set_name(prefix.network) for prefix in prefixes} if change.empties(name)}
    _stop_dropping(change, empty)
    change.remove_sets(empty)
    # an earlier version's chain may come before iptables', where packets have no marks yet
    if change.place_of(_CHAIN):
        marks.write(change)
    return False


class Masquerade(Effect[None], Kind):
    """The addresses of one attachment are masqueraded."""

    # the addresses with their subnets' lengths; for DEL those in prevResult
    prefixes: "Sequence[Prefix]" = ()
    backend: str = "nftables"
    # nftables only: packets that cannot be masqueraded are dropped
    drop_invalid: bool = False
    noun = "masquerade"
    repairable = True

    def identify(self, attachment: "Attachment") -> str:
        """The host link's name."""
        return attachment.link

    def make(self) -> None:
        """Repeatable: replaces what the attachment had, in one transaction."""
        if self.backend == "iptables":
            _go().add(self.site.nftables, self.attachment, self.prefixes)
            return
        with legacy_lock():
            legacy = mark_legacy(self.site.nftables, FOLLOWED, MASQ_BIT, self.site.say)
            wanted = self.attachment, self.prefixes, legacy, self.drop_invalid
            changed(self.site.nftables, LAYOUT.change, lambda change: _make(change, *wanted))

    def compare(self, differ: "Differ") -> None:
        """Records, elements and rules exist, ours or Go's: the plugins may have been swapped while the pod runs."""
        wanted = self.site.nftables, self.attachment, self.prefixes
        forms: list[Callable[[], object]] = [
            lambda: _compare(Ledger(self.site.nftables, LAYOUT), *wanted[1:], self.drop_invalid),
            lambda: _go().check(*wanted),
            lambda: _go().check_newer(*wanted),
        ]
        if self.backend == "iptables":
            forms.insert(0, forms.pop(1))
        faults: list[CNIError] = []
        for form in forms:
            try:
                form()
            except CNIError as fault:  # iptables may be missing
                faults.append(fault)
            else:
                return
        differ(faults[0])

    def remove(self) -> None:
        """Remove our elements, then what Go's plugins or our iptables backend made for this attachment."""
        all_of((lambda: self.discard(self.identity), self._remove_go))

    def _remove_go(self) -> None:
        from cni.go import names as go

        kernel = self.site.nftables
        if go.may_be_masqueraded(kernel, go.masquerade_chain(self.attachment)):
            from cni.go import chains, masquerade

            # the container's other interfaces share its chain
            known = {prefix.address.packed for prefix in self.prefixes}
            beside = chains.other_interfaces(self.attachment.ifname, self.site.remaining, tuple)
            masquerade.remove(kernel, self.attachment, known.isdisjoint if known else beside)

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have records."""
        ledger = Ledger(self.site.nftables, LAYOUT)
        return ledger.found(network, lambda link: {"addresses": [str(prefix) for prefix in held(ledger, link)]})

    def discard(self, identity: str) -> None:
        """Remove the elements of the attachment with this host link."""
        with legacy_lock():
            if changed(self.site.nftables, LAYOUT.change, lambda change: _remove(change, identity)):
                unmark_legacy(FOLLOWED, self.site.say)

    def collect(self, network: str, valid: "Sequence[Attachment]") -> list[Found]:
        """Collect ours by their records, and Go's by the network's name in their comments."""
        ours = super().collect
        gone = all_of((lambda: ours(network, valid), lambda: self._collect_go(network, valid)))
        return [*gone[0], *gone[1]]

    def _collect_go(self, network: str, valid: "Sequence[Attachment]") -> list[Found]:
        from cni.go import names as go

        kernel = self.site.nftables
        if not go.may_be_masqueraded(kernel, go.POSTROUTING):
            return []
        from cni.go import masquerade

        return masquerade.collect(kernel, network, valid)

    def describe(self) -> str:
        """The attachment's rules in nft's words."""
        lines = []
        for prefix in self.prefixes:
            rule = nft.printed(_leaving(prefix.network, nft.MASQUERADE))
            lines.append(f"{rule}: {prefix.address} of {self.attachment}")
        return "\n".join(lines)


def _go() -> "Any":
    """The module for Go's form of masquerading, imported on first use."""
    from cni.go import make_masquerade

    return make_masquerade


def _compare(ledger: Ledger, attachment: "Attachment", prefixes: "Sequence[Prefix]", drop_invalid: bool) -> None:
    where = f"nftables table inet {TABLE}"
    chain = ledger.chain(_CHAIN.name)
    if chain is None or chain.hook is None:
        remedy = "another ADD on the node, or DEL and ADD, makes it again"
        raise CheckFailed(f"{where}: its chain {_CHAIN.name} is missing", remedy)
    if not ledger.is_whole(_CHAIN):
        raise CheckFailed(f"{where}: the rules that leave multicast alone are missing")
    # an earlier version's chain still works; the next ADD moves it behind all others
    for fault in compared(ledger, FOLLOWED) if chain.priority == LAST else ():
        raise CheckFailed(f"masquerading: {fault}", "the next ADD or DEL of a masqueraded pod repairs it")
    recorded = held(ledger, attachment.link)
    for prefix in prefixes:
        element = ledger.element(*_place(prefix))
        if element is None or prefix not in recorded:
            raise CheckFailed(f"{where}: {prefix.address} is not masqueraded")
        if element.comment != attachment.comment and _of_network(element.comment, attachment):
            raise CheckFailed(f"{where}: {prefix.address} belongs to {element.comment} now")
        if _set_name(prefix.network) not in ledger.comments(_CHAIN.name):
            raise CheckFailed(f"{where}: the rule for {prefix.network} is missing")
    for prefix in prefixes if drop_invalid else ():
        if _set_name(prefix.network) not in ledger.comments(_DROPPING.name):
            fault = f"{where}: invalid packets of {prefix.network} are not dropped"
            raise CheckFailed(fault, "dropInvalid asks for that; the next ADD of the network makes the rule")
