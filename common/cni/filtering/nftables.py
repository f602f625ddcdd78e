"""Forwarding of packets of containers, in nftables: marks that let them through the filters of others; ingress policies.

One table of our own; a packet costs a few look-ups, with any number of pods::

    table inet pycni_firewall {
        set pods4 { type ipv4_addr; elements = { 10.1.2.5 comment "mynet/ctr1/eth0" } }
        set pods6 { type ipv6_addr; }
        set bridges { type ifname; elements = { "br0" } }                # with an ingress policy
        set same { type ifname . ifname; elements = { "br0" . "br0" } }  # with any policy
        set isolated { type ifname . ifname; }                           # with the policy isolated
        chain forward {
            type filter hook forward priority -10; policy accept;
            iifname . oifname @isolated drop
            iifname @bridges jump closed
            meta mark set meta mark & 0xffffefff
            ip saddr @pods4 meta mark set meta mark | 0x1000
            ip6 saddr @pods6 meta mark set meta mark | 0x1000
            ip daddr @pods4 ct state established,related meta mark set meta mark | 0x1000
            ip6 daddr @pods6 ct state established,related meta mark set meta mark | 0x1000
        }
        chain closed { iifname . oifname @same return; oifname @bridges drop }
        chain done { type filter hook forward priority 1000; policy accept; meta mark set meta mark & 0xffffefff }
    }

Two ports of a bridge exchange frames without the node's forwarding, unless br_netfilter is on. So the policy ``isolated`` has
a second table, in which it holds between the containers that have it::

    table bridge pycni_firewall {
        set isolated { type ifname; elements = { "vethabcdefghijk" comment "mynet/ctr1/eth0" } }
        chain forward {
            type filter hook forward priority -200; policy accept;
            iifname @isolated oifname @isolated meta protocol ip drop
            iifname @isolated oifname @isolated meta protocol ip6 drop
        }
    }

A drop is final, so the policies need nothing else. An accept is not: every other chain of the hook must accept the packet
too. So where iptables has a chain FORWARD, with iptables-nft or iptables-legacy, one rule there accepts marked packets,
with any number of pods. It stands where Go's rules stand, behind the administrator's::

    -A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
    -A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
    -A CNI-FORWARD -m comment --comment "pycni: forwarded" -m mark --mark 0x1000/0x1000 -j ACCEPT

Tables of others are left alone. If a chain of theirs drops forwarded packets, the administrator may add such a rule once.
"""

from cni.address import Address
from cni.filtering.choice import MARK
from cni.filtering.pod import UNKNOWN
from cni.go import chains, firewall, names
from cni.kernel import backend, compat, iptables
from cni.kernel import expressions as nft
from cni.kernel import filter_rules as rules
from cni.kernel.transaction import ADDRESS, BRIDGE, FORWARD, IFNAME, INET, SetType, pack
from cni.ledger import Chain, Change, Ledger, Table, changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cni.kernel.expressions import Expression
    from cni.kernel.nftables import Nftables
    from cni.ledger import Place

TABLE = backend.FORWARDING.table
_TEXT = "pycni: forwarded"
_PODS = {4: "pods4", 6: "pods6"}
_PAIR = SetType([IFNAME, IFNAME])
_SETS = {
    **{name: SetType([ADDRESS[version]]) for version, name in _PODS.items()},
    "bridges": SetType([IFNAME]), "same": _PAIR, "isolated": _PAIR,
}  # fmt: skip
_ISOLATED = nft.is_in("isolated", nft.INTERFACE_NAME, nft.OUTGOING_NAME)
_SAME = nft.is_in("same", nft.INTERFACE_NAME, nft.OUTGOING_NAME)
_FROM, _TO = (nft.is_in("bridges", field) for field in (nft.INTERFACE_NAME, nft.OUTGOING_NAME))


def _passing(version: int, field: "dict[int, nft.Field]", *conditions: "Expression") -> "tuple[str, list[Expression]]":
    pods = nft.is_in(_PODS[version], field[version])
    return "", [nft.of_family(version), pods, *conditions, nft.mark(MARK)]


_CHAIN = Chain(
    "forward",
    ("filter", FORWARD, -10),
    [
        ("", [_ISOLATED, nft.DROP]),
        ("", [_FROM, nft.jump("closed")]),
        ("", [nft.unmark(MARK)]),
        *(_passing(version, nft.SOURCE) for version in _PODS),
        *(_passing(version, nft.DESTINATION, nft.CONNECTED) for version in _PODS),
    ],
)
_CLOSED = Chain("closed", rules=[("", [_SAME, nft.RETURN]), ("", [_TO, nft.DROP])])
_DONE = Chain("done", ("filter", FORWARD, 1000), [("", [nft.unmark(MARK)])])
LAYOUT = Table(INET, TABLE, _SETS, [_CLOSED, _CHAIN, _DONE], [*_PODS.values(), "bridges"])

_INSIDE = [nft.is_in("isolated", field) for field in (nft.INTERFACE_NAME, nft.OUTGOING_NAME)]
_PROTOCOLS = {"ip": b"\x08\0", "ip6": b"\x86\xdd"}
_FRAMES = Chain(
    "forward",
    ("filter", FORWARD, -200),
    [("", [*_INSIDE, nft.compare(nft.ETHER_TYPE, value, word), nft.DROP]) for word, value in _PROTOCOLS.items()],
)
INSIDE = Table(BRIDGE, TABLE, {"isolated": SetType([IFNAME])}, [_FRAMES], ["isolated"])


class Wanted:
    """What one attachment gets: the elements of its addresses, and of its bridge if that has an ingress policy."""

    __slots__ = ("addresses", "bridge", "comment", "isolated")

    def __init__(
        self, comment: str, addresses: "Sequence[Address]", bridge: str = "", isolated: "Sequence[str] | None" = None
    ) -> None:
        """``isolated`` are the attachment's ports of the bridge if the policy is isolated, otherwise None."""
        self.comment = comment
        self.addresses = addresses
        self.bridge = bridge
        self.isolated = isolated

    @property
    def pods(self) -> "list[Place]":
        """The elements of its addresses."""
        return [(_PODS[address.version], address.packed) for address in self.addresses]

    @property
    def policy(self) -> "list[Place]":
        """The elements of the bridge, which other attachments may share."""
        if not self.bridge:
            return []
        name = self.bridge.encode()
        pair = pack(_PAIR.key, [name, name])
        found = [("bridges", pack([IFNAME], [name])), ("same", pair)]
        return found if self.isolated is None else [*found, ("isolated", pair)]

    @property
    def inside(self) -> "list[Place]":
        """The elements of its ports, in the table of the bridge family."""
        return [("isolated", pack([IFNAME], [port.encode()])) for port in self.isolated or ()]

    @property
    def versions(self) -> list[int]:
        """The families of its addresses."""
        return sorted({address.version for address in self.addresses})


def make(kernel: "Nftables", wanted: Wanted, admin: str) -> bool:
    """Add what is missing, in one transaction, then what iptables' FORWARD needs; returns whether the table is new.

    Raises ``CNIError``.
    """
    new = changed(kernel, LAYOUT.change, lambda change: _make(change, wanted))
    if wanted.inside:
        changed(kernel, INSIDE.change, lambda change: _make_own(change, wanted.inside, wanted.comment))
    for table in _filters(kernel, wanted.versions, admin):
        firewall.Filter(table, _entry(admin), [admin]).make()
    return new


def _make(change: Change, wanted: Wanted) -> bool:
    new = not change.exists
    _make_own(change, wanted.pods, wanted.comment)
    for place in wanted.policy:
        if change.element(*place) is None:
            change.add(*place)
    return new


def _make_own(change: Change, places: "Sequence[Place]", comment: str) -> None:
    """Restore the table, and add elements that have one owner: an address or a name may have had another one before."""
    change.restore()
    for place in places:
        found = change.element(*place)
        if found is not None and found.comment != comment:
            change.delete(*place)
        if found is None or change.deletes(*place):
            change.add(*place, comment=comment)


ACCEPTING = firewall.Line(
    names.FIREWALL, compat.comment(_TEXT), rules.marked(MARK), then=rules.ACCEPT, key=_TEXT.encode()
)


def _entry(admin: str) -> list[firewall.Line]:
    """The rules in iptables' table."""
    return [*firewall.entrances(admin), ACCEPTING]


def _filters(kernel: "Nftables", versions: "Sequence[int]", admin: str) -> "list[chains.Table]":
    """The tables ``filter`` of iptables that have a chain FORWARD."""
    if not names.may_exist(kernel, names.FORWARD, table=firewall.TABLE):
        return []
    wanted = [names.FORWARD, names.FIREWALL, admin]
    found = chains.tables(kernel, *wanted, versions=versions, table=firewall.TABLE)
    return [table for table in found if table.has(names.FORWARD)]


def faults(kernel: "Nftables", wanted: Wanted, admin: str) -> "Iterator[str]":
    """What is missing of an attachment."""
    yield from _faults(Ledger(kernel, LAYOUT), [*wanted.pods, *wanted.policy], wanted.comment)
    if wanted.inside:
        yield from _faults(Ledger(kernel, INSIDE), wanted.inside, wanted.comment)
    for version in wanted.versions:
        for table in _filters(kernel, [version], admin):
            word = iptables.PROGRAMS[version]
            yield from (f"{word}: {fault}" for fault in firewall.Filter(table, _entry(admin)).faults())


def _faults(ledger: Ledger, places: "Sequence[Place]", comment: str) -> "Iterator[str]":
    where = f"nftables table {'bridge' if ledger.table.family == BRIDGE else 'inet'} {TABLE}"
    for chain in ledger.table.chains:
        if not ledger.is_whole(chain) or (chain.base and not ledger.place_of(chain)):
            yield f"{where}: chain {chain.name} is missing, or not whole"
    for name, key in places:
        if ledger.element(name, key) is None:
            text = str(Address(key)) if name in _PODS.values() else key.rstrip(b"\0").decode("utf-8", "replace")
            yield f"{where}: set {name} has no element {text} of {comment}"


def remove(kernel: "Nftables", wanted: Wanted, others: "firewall.Others") -> bool:
    """Remove what an attachment has; returns whether the table is gone."""
    if wanted.inside:
        changed(kernel, INSIDE.change, lambda change: _remove(change, wanted.inside, [], wanted.comment))

    def work(change: Change) -> bool:
        # within the attempt: an attachment that comes meanwhile has a note before it uses a policy
        bridges = _bridges(change) if wanted.bridge == UNKNOWN else [wanted.bridge]
        gone = [bridge for bridge in bridges if not others.use(bridge)]
        # whatever the policies of those before
        shared = [place for each in gone for place in Wanted(wanted.comment, (), each, isolated=()).policy]
        return _remove(change, wanted.pods, shared, wanted.comment)

    return changed(kernel, LAYOUT.change, work)


def owned(kernel: "Nftables", comment: str) -> list[Address]:
    """The addresses with this comment; reads the sets whole."""
    ledger = Ledger(kernel, LAYOUT)
    return [Address(each.key) for name in _PODS.values() for each in ledger.every(name) if each.comment == comment]


def _bridges(ledger: Ledger) -> list[str]:
    """The bridges with a policy."""
    return [each.key.rstrip(b"\0").decode("utf-8", "replace") for each in ledger.every("bridges")]


def _remove(change: Change, own: "Sequence[Place]", shared: "Sequence[Place]", comment: str) -> bool:
    """Delete elements, and the table with the last one; returns whether it is gone."""
    if not change.exists:
        return True
    for place in own:
        found = change.element(*place)
        if found is not None and found.comment == comment:
            change.delete(*place)
    for place in shared:
        if change.element(*place) is not None:
            change.delete(*place)
    return change.drop_if_last()
