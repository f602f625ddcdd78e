"""Our table of host ports. A packet costs a few look-ups, however many pods the node has.

::

    table inet pycni_hostports {
        map mappings4 {                     # ports of each attachment, by its link name
            type ifname . inet_service : inet_proto . ipv4_addr . inet_service . ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : tcp . 0.0.0.0 . 8080 . 10.1.2.5 . 80 }
        }
        map sources4 {                      # networks whose connections are masqueraded: network . prefix length
            type ifname . inet_service : ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 : 10.1.2.0 . 24, "vethabcdefghijk" . 1 : 127.0.0.0 . 8 }
        }
        map attachments {                   # its link, which exists while it is alive, and its groups of conditions
            type ifname . inet_service : ifname . mark . mark
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : "vethabcdefghijk" . 0x00000000 . 0x00000000 }
        }
        map namespaces {                    # identity of the namespace of a container without a link on the node
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
        map hostip_ports4 { type inet_proto . inet_service : inet_service }      # number of elements of hostips4 by port
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

and the same for IPv6, with a 6. Translations come after the chains of others, so decisions of others stay
(``cni.undecided``). Masquerading of mapped connections comes just before iptables' POSTROUTING; Go inserts its rule at
the front of that chain. Packets to ``::1`` are not translated: the kernel sends no packets from ``::1`` out of the node.

Attachments with the same conditions are one group. A group has its own chain and maps (``hostports4_1a2b3c4d``). Its
jumps come before the others and begin with the conditions.
"""

from cni.address import ANY, Address, Prefix
from cni.kernel import expressions as nft
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
    SetType,
)
from cni.ledger import Chain, Ledger, Table, record_map
from cni.undecided import LAST
from cni_portmap.published import PLAIN, group_of, named, source_set
from cni_portmap.settings import HOST_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.expressions import Expression
    from cni.ledger import Line
    from cni_portmap.published import Published

TABLE = HOST_PORTS.table
WHERE = f"nftables table inet {TABLE}"
FAMILIES = (4, 6)
# our chains, by the chain of iptables that they come after
FOLLOWED = {"PREROUTING": "prerouting", "OUTPUT": "output"}
_BEFORE_SRCNAT = 99
_LOCALHOST = Address(bytes(15) + b"\1")
_PORT = (INET_PROTO, INET_SERVICE)
# one record for each attachment: its link, which exists while it is alive, and its groups in both families
ATTACHMENTS = "attachments"
# the identity of the container's namespace, for an attachment without a link on the node
NAMESPACES = "namespaces"
# ports; networks whose connections are masqueraded
MAPPINGS, SOURCES = {4: "mappings4", 6: "mappings6"}, {4: "sources4", 6: "sources6"}


def line_type(version: int) -> SetType:
    """The line of a port: place in line; link name, node's address, container's address and port."""
    return SetType((*_PORT, INET_SERVICE), (IFNAME, ADDRESS[version], ADDRESS[version], INET_SERVICE))


def _maps(version: int, group: str) -> "dict[str, SetType]":
    """The maps of a group."""
    data = (ADDRESS[version], INET_SERVICE)
    kinds = {
        "hostips": SetType((ADDRESS[version], *_PORT), data),
        "hostports": SetType(_PORT, data),
        "hostip_ports": SetType(_PORT, (INET_SERVICE,)),
        "line": line_type(version),
    }
    return {named(kind, version, group): type for kind, type in kinds.items()}


def _translations(version: int, group: str) -> Chain:
    """The chain of a group: the map of single addresses comes before the map of all addresses."""
    port = (nft.PROTOCOL, nft.DESTINATION_PORT)
    keys = {"hostips": (nft.DESTINATION[version], *port), "hostports": port}
    maps = {named(kind, version, group): key for kind, key in keys.items()}
    rules = [(name, [nft.of_family(version), nft.dnat(version, name, *key)]) for name, key in maps.items()]
    return Chain(named("hostports", version, group), rules=rules)


def _jump(version: int) -> "Line":
    target = named("hostports", version, PLAIN)
    return target, [nft.of_family(version), nft.TO_THIS_NODE, nft.jump(target)]


def _masqueraded(name: str) -> "tuple[SetType, list[Expression]] | None":
    """The set of source networks with one prefix length, and the rule that masquerades their connections."""
    version, _, length = name.removeprefix("from").partition("_")
    if not name.startswith("from") or version not in ("4", "6") or not length.isdigit():
        return None
    family = int(version)
    mask = Prefix(ANY[family].address, int(length)).netmask
    source = nft.SOURCE[family].masked(mask.packed, str(mask))
    key = source, nft.DESTINATION[family], nft.PROTOCOL, nft.ORIGINAL_PORT
    rule = [nft.REDIRECTED, nft.of_family(family), nft.is_in(name, *key), nft.MASQUERADE]
    return SetType((ADDRESS[family], ADDRESS[family], *_PORT)), rule


_TO_LOCALHOST = nft.compare(nft.DESTINATION[6], _LOCALHOST.packed, str(_LOCALHOST))
# packets to IPv6's localhost are not translated
_EXEMPT = ("localhost6", [nft.of_family(6), _TO_LOCALHOST, nft.RETURN])
ENTRANCES = [
    Chain(name, ("nat", hook, LAST), [_jump(4), _jump(6)], [_EXEMPT])
    for name, hook in (("prerouting", PREROUTING), ("output", OUTPUT))
]
MASQUERADING = Chain("postrouting", ("nat", POSTROUTING, _BEFORE_SRCNAT), each=_masqueraded)


def described(groups: "dict[int, str]") -> Table:
    """The table with the parts that always exist, and with these groups of conditions by family."""
    sets = {ATTACHMENTS: record_map(IFNAME, MARK, MARK), NAMESPACES: record_map(*(MARK,) * 4)}
    chains = []
    for version in FAMILIES:
        address = ADDRESS[version]
        sets[MAPPINGS[version]] = record_map(INET_PROTO, address, INET_SERVICE, address, INET_SERVICE)
        sets[SOURCES[version]] = record_map(address, INET_SERVICE)
    for version, group in (*((version, PLAIN) for version in FAMILIES), *groups.items()):
        sets.update(_maps(version, group))
        chains.append(_translations(version, group))
    return Table(INET, TABLE, sets, [*chains, *ENTRANCES, MASQUERADING], [ATTACHMENTS])


LAYOUT = described({})


def misplaced(ledger: Ledger) -> bool:
    """Whether the chains with a hook are those of an earlier version, which came first. Checked if a rule is missing."""
    if all(map(ledger.is_whole, LAYOUT.chains)):
        return False
    return any(ledger.place_of(chain) is False for chain in ENTRANCES)


def has_conditions(ledger: Ledger) -> bool:
    """Whether the table has jumps with conditions. Only nft can make these again."""
    comments = [comment for chain in ENTRANCES for comment in ledger.comments(chain.name)]
    return any(comment.startswith("hostports") and "_" in comment for comment in comments)


def jumps(version: int, group: str) -> "set[tuple[str, str]]":
    """The jumps to a group's chain, each as (chain of the jump, comment)."""
    return {(chain.name, named("hostports", version, group)) for chain in ENTRANCES}


def leaving() -> "set[tuple[str, str]]":
    """The rules that skip IPv6's localhost, each as (chain, comment)."""
    return {(chain.name, comment) for chain in ENTRANCES for comment, _ in chain.front}


def needed_rules(wanted: "Published") -> "set[tuple[str, str]]":
    """The rules that an attachment needs, as (chain, comment)."""
    needed = {(MASQUERADING.name, source_set(source)) for source in wanted.masqueraded()}
    for version, group in {(entry.version, entry.group) for entry in wanted.entries}:
        chain = _translations(version, group)
        needed.update((chain.name, comment) for comment, _ in chain.rules)
        needed.update(jumps(version, group))
        needed.update(leaving() if version == 6 else ())
    return needed


def conditional_jump(version: int, conditions: str) -> str:
    """The jump to the chain of a group in nft's syntax, for nft, because only nft understands the conditions."""
    chain = named("hostports", version, group_of(conditions))
    return f'meta nfproto ipv{version} {conditions} fib daddr type local jump {chain} comment "{chain}"'
