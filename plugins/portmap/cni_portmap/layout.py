"""The table of host ports: one of our own, in which a packet costs a few look-ups however many pods there are.

::

    table inet pycni_hostports {
        map mappings4 {                     # who has what, found by the attachment's link name
            type ifname . inet_service : inet_proto . ipv4_addr . inet_service . ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : tcp . 0.0.0.0 . 8080 . 10.1.2.5 . 80 }
        }
        map sources4 {                      # whose connections are masqueraded: network . length
            type ifname . inet_service : ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 : 10.1.2.0 . 24, "vethabcdefghijk" . 1 : 127.0.0.0 . 8 }
        }
        map attachments {                   # the link that tells who lives, the groups of its conditions
            type ifname . inet_service : ifname . mark . mark
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : "vethabcdefghijk" . 0x00000000 . 0x00000000 }
        }
        map namespaces {                    # the identity of the namespace of a container that has no link on the node
            type ifname . inet_service : mark . mark . mark . mark
        }
        map line4 {                         # containers that wait for a port, in order
            type inet_proto . inet_service . inet_service : ifname . ipv4_addr . ipv4_addr . inet_service
            elements = { tcp . 8080 . 0 comment "mynet/ctr2/eth0" : "vethabcdefghlmn" . 0.0.0.0 . 10.1.2.6 . 80 }
        }
        map hostips4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service }
        map hostports4 {
            type inet_proto . inet_service : ipv4_addr . inet_service
            elements = { tcp . 8080 comment "mynet/ctr1/eth0" : 10.1.2.5 . 80 }
        }
        map hostip_ports4 { type inet_proto . inet_service : inet_service }      # how many of hostips4 have a port
        set from4_24 {                      # source network . pod . protocol . host port
            type ipv4_addr . ipv4_addr . inet_proto . inet_service
            elements = { 10.1.2.0 . 10.1.2.5 . tcp . 8080 comment "mynet/ctr1/eth0" }
        }
        chain hostports4 {
            dnat ip to ip daddr . meta l4proto . th dport map @hostips4
            dnat ip to meta l4proto . th dport map @hostports4
        }
        chain prerouting {
            type nat hook prerouting priority 1000;
            ip6 daddr ::1 return
            fib daddr type local jump hostports4
        }
        chain output { type nat hook output priority 1000; … as prerouting }
        chain postrouting {
            type nat hook postrouting priority 99;
            ct status dnat ip saddr & 255.255.255.0 . ip daddr . meta l4proto . ct original proto-dst @from4_24 masquerade
        }
    }

and the same with a 6. Translations come after everybody's, so a decision that others have made stays
(``cni.undecided``). The masquerading of what was translated comes one before iptables' POSTROUTING, where Go inserts
its own at the front. The kernel lets nothing out of the node that comes from ``::1``, so that is left to the node.

Attachments with conditions are in groups, one for all that have the same: a group has chain and maps of its own
(``hostports4_1a2b3c4d``), and its jumps stand before the others, with the conditions in front.
"""

from cni.address import Address, Prefix
from cni.kernel import expressions as nft
from cni.kernel.nftables import Nftables
from cni.kernel.records import Records
from cni.kernel.transaction import (
    ADDRESS,
    IFNAME,
    INET,
    INET_PROTO,
    INET_SERVICE,
    MARK,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    WORD,
    SetType,
    Transaction,
)
from cni.undecided import LAST
from cni_portmap.owned import EVERYWHERE, PLAIN, named, source_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.transaction import Expression
    from cni_portmap.owned import Owned

TABLE = "pycni_hostports"
WHERE = f"nftables table inet {TABLE}"
FAMILIES = (4, 6)
# name, hook
ENTRANCES = (("prerouting", PREROUTING), ("output", OUTPUT))
# our chain by iptables'
FOLLOWED = {"PREROUTING": "prerouting", "OUTPUT": "output"}
POSTROUTING_CHAIN = "postrouting"
_BEFORE_SRCNAT = 99
_LOCALHOST = Address(bytes(15) + b"\1")
# what the rule that leaves IPv6's localhost alone is called
_LEAVING = "localhost6"
_PORT = (INET_PROTO, INET_SERVICE)


def mappings(kernel: Nftables, version: int) -> Records:
    """Who has what."""
    address = ADDRESS[version]
    fields = (INET_PROTO, address, INET_SERVICE, address, INET_SERVICE)
    return Records(kernel, INET, TABLE, f"mappings{version}", fields)


def sources(kernel: Nftables, version: int) -> Records:
    """Whose connections are masqueraded."""
    return Records(kernel, INET, TABLE, f"sources{version}", (ADDRESS[version], INET_SERVICE))


def attachments(kernel: Nftables) -> Records:
    """One record an attachment: the link whose presence tells that it lives, and its groups of both families."""
    return Records(kernel, INET, TABLE, "attachments", (IFNAME, MARK, MARK))


def namespaces(kernel: Nftables) -> Records:
    """The identity of the container's namespace, for an attachment that no link of the node stands for."""
    return Records(kernel, INET, TABLE, "namespaces", (MARK,) * 4)


def add_table(change: Transaction, records: "list[Records]") -> None:
    """All that stands there whoever is attached; what is there already stays."""
    change.add_table()
    for each in records:
        change.add_set(each.name, each.type)
    for version in FAMILIES:
        add_maps(change, version, PLAIN)
        change.add_chain(named("hostports", version, PLAIN))
    for name, hook in ENTRANCES:
        change.add_chain(name, "nat", hook, LAST)
    change.add_chain(POSTROUTING_CHAIN, "nat", POSTROUTING, _BEFORE_SRCNAT)


def shared_rules() -> "set[tuple[str, str]]":
    """Chain and comment of the rules that stand there whoever is attached."""
    rules = {rule for version in FAMILIES for part in (group_rules, jumps) for rule in part(version, PLAIN)}
    return rules | leaving()


def leaving() -> "set[tuple[str, str]]":
    """The rules that leave IPv6's localhost alone."""
    return {(name, _LEAVING) for name, _ in ENTRANCES}


def misplaced(kernel: Nftables, rules: "set[tuple[str, str]]") -> bool:
    """Whether the entrances are those of an earlier version, which came first; looked at where a rule is missing."""
    if shared_rules().issubset(rules):
        return False
    found = [kernel.chain(INET, TABLE, name) for name, _ in ENTRANCES]
    hooks = [chain.get_attr("NFTA_CHAIN_HOOK") for chain in found if chain is not None]
    return any(hook is None or hook.get_attr("NFTA_HOOK_PRIORITY") != LAST for hook in hooks)


def has_conditions(rules: "set[tuple[str, str]]") -> bool:
    """Whether jumps with conditions are among the rules, which only nft can make again."""
    entrances = [name for name, _ in ENTRANCES]
    return any(chain in entrances and comment.startswith("hostports") and "_" in comment for chain, comment in rules)


def replace_entrances(change: Transaction) -> None:
    """Take chains away that ``add_table`` cannot change: those at another priority."""
    for name, _ in ENTRANCES:
        change.flush_chain(name)
        change.delete_chain(name)


def needed_rules(wanted: "Owned") -> "set[tuple[str, str]]":
    """Those of ours without which what is wanted serves nobody; the jumps with conditions, which nft makes, are beside."""
    needed = {(POSTROUTING_CHAIN, source_set(source)) for source in wanted.masqueraded()}
    for version, group in {(entry.version, entry.group) for entry in wanted.entries}:
        needed.update(group_rules(version, group))
        needed.update(jumps(version, group) if group == PLAIN else ())
        needed.update(leaving() if version == 6 else ())
    return needed


def group_rules(version: int, group: str) -> "list[tuple[str, str]]":
    """Those of a group's own chain."""
    chain = named("hostports", version, group)
    return [(chain, named(kind, version, group)) for kind in ("hostips", "hostports")]


def jumps(version: int, group: str) -> "list[tuple[str, str]]":
    """Those that lead to a group's chain."""
    return [(name, named("hostports", version, group)) for name, _ in ENTRANCES]


def add_rules(change: Transaction, missing: "set[tuple[str, str]]") -> None:
    """The shared rules that are missing; the order matters in a chain of translations, so that is filled anew."""
    for version in FAMILIES:
        if not missing.isdisjoint(group_rules(version, PLAIN)):
            fill_group(change, version, PLAIN)
        target = named("hostports", version, PLAIN)
        for name, _ in ENTRANCES:
            if (name, target) in missing:
                expressions = [*nft.of_family(version), *nft.to_this_node(), nft.jump(target)]
                text = f"meta nfproto ipv{version} fib daddr type local jump {target}"
                change.add_rule(name, expressions, text, target)
    # in front of all jumps
    for name, comment in sorted(missing & leaving()):
        expressions = [*nft.of_family(6), nft.address(6, True), nft.compare(_LOCALHOST.packed), nft.RETURN]
        change.add_rule(name, expressions, f"ip6 daddr {_LOCALHOST} return", comment, first=True)


def add_maps(change: Transaction, version: int, group: str) -> None:
    """The maps of all that have the same conditions."""
    data = (ADDRESS[version], INET_SERVICE)
    change.add_set(named("hostips", version, group), SetType((ADDRESS[version], *_PORT), data))
    change.add_set(named("hostports", version, group), SetType(_PORT, data))
    change.add_set(named("hostip_ports", version, group), SetType(_PORT, (INET_SERVICE,)))
    add_line(change, version, group)


def line_type(version: int) -> SetType:
    """The line of a port: number there; link name, address of the node, address and port of the container that waits."""
    return SetType((*_PORT, INET_SERVICE), (IFNAME, ADDRESS[version], ADDRESS[version], INET_SERVICE))


def add_line(change: Transaction, version: int, group: str) -> None:
    """The map of those in line; a table of an earlier version has none."""
    change.add_set(named("line", version, group), line_type(version))


def fill_group(change: Transaction, version: int, group: str) -> None:
    """The rules of their chain."""
    chain = named("hostports", version, group)
    change.flush_chain(chain)
    for name, expressions, text in translations(version, group):
        change.add_rule(chain, expressions, text, name)


def add_group(change: Transaction, version: int, group: str) -> None:
    """Maps and chain of all that have the same conditions."""
    add_maps(change, version, group)
    change.add_chain(named("hostports", version, group))
    fill_group(change, version, group)


def delete_group(change: Transaction, version: int, group: str, has_line: bool) -> None:
    """The same taken away, once no rule jumps there."""
    change.flush_chain(named("hostports", version, group))
    change.delete_chain(named("hostports", version, group))
    for kind in ("hostips", "hostports", "hostip_ports", *(("line",) if has_line else ())):
        change.delete_set(named(kind, version, group))


def conditional_jump(version: int, group: str, conditions: str) -> str:
    """A group's jump as nft is told: what its conditions mean is nft's to know."""
    chain = named("hostports", version, group)
    return f'meta nfproto ipv{version} {conditions} fib daddr type local jump {chain} comment "{chain}"'


def translations(version: int, group: str) -> "list[tuple[str, list[Expression], str]]":
    """The rules of a group's chain, the specific before the general: map, expressions, text."""
    word, width = WORD[version], ADDRESS[version].length // 4
    found = []
    for kind, specific in (("hostips", True), ("hostports", False)):
        name, register = named(kind, version, group), nft.REG32_00
        load: list[Expression] = []
        if specific:
            load.append(nft.address(version, True, register))
            register += width
        load += [nft.meta(nft.META_L4PROTO, register), nft.destination_port(register + 1)]
        # the datum, an address and a port, beside the key
        into = nft.REG32_00 + 8
        expressions = [
            *nft.of_family(version),
            *load,
            nft.lookup(name, nft.REG32_00, into),
            nft.dnat(version, into, into + width),
        ]
        address = f"{word} daddr . " if specific else ""
        found.append((name, expressions, f"dnat {word} to {address}meta l4proto . th dport map @{name}"))
    return found


def add_source_set(change: Transaction, source: Prefix) -> None:
    """The set of source networks of one length."""
    address = ADDRESS[source.version]
    change.add_set(source_set(source), SetType((address, address, *_PORT)))


def add_source_rule(change: Transaction, version: int, length: int) -> None:
    """Masquerade what comes from a network in the set for this length."""
    source = Prefix(EVERYWHERE[version].address, length)
    name, mask, register = source_set(source), source.netmask, nft.REG32_00
    word, width = WORD[version], ADDRESS[version].length // 4
    expressions = [
        *nft.redirected(),
        *nft.of_family(version),
        nft.address(version, False, register),
        nft.mask(mask.packed, register),
        nft.address(version, True, register + width),
        nft.meta(nft.META_L4PROTO, register + 2 * width),
        nft.original_port(register + 2 * width + 1),
        nft.lookup(name, register),
        nft.MASQUERADE,
    ]
    keys = f"{word} saddr & {mask} . {word} daddr . meta l4proto . ct original proto-dst"
    change.add_rule(POSTROUTING_CHAIN, expressions, f"ct status dnat {keys} @{name} masquerade", name)


def source_of(name: str) -> "tuple[int, int] | None":
    """Family and length of a set of source networks by its name, None for another set."""
    parts = name.removeprefix("from").split("_")
    if not name.startswith("from") or len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1])
