"""The table of host ports: one of our own, in which a packet costs a few look-ups however many pods there are.

::

    table inet pycni_hostports {
        map mappings4 {                     # what each attachment owns, found by its link name
            type ifname . inet_service : inet_proto . ipv4_addr . inet_service . ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 comment "mynet/ctr1/eth0" : tcp . 0.0.0.0 . 8080 . 10.1.2.5 . 80 }
        }
        map sources4 {                      # whose connections are masqueraded: network . length
            type ifname . inet_service : ipv4_addr . inet_service
            elements = { "vethabcdefghijk" . 0 : 10.1.2.0 . 24, "vethabcdefghijk" . 1 : 127.0.0.0 . 8 }
        }
        map attachments {                   # the link that shows that it lives, its groups of conditions
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
from cni_portmap.published import EVERYWHERE, PLAIN, named, source_set
from cni_portmap.settings import HOST_PORTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.expressions import Expression
    from cni.ledger import Line
    from cni_portmap.published import Published

TABLE = HOST_PORTS.table
WHERE = f"nftables table inet {TABLE}"
FAMILIES = (4, 6)
# our chain by iptables'
FOLLOWED = {"PREROUTING": "prerouting", "OUTPUT": "output"}
_BEFORE_SRCNAT = 99
_LOCALHOST = Address(bytes(15) + b"\1")
_PORT = (INET_PROTO, INET_SERVICE)
# one record an attachment: the link whose presence shows that it lives, and its groups of both families
ATTACHMENTS = "attachments"
# the identity of the container's namespace, for an attachment that no link of the node stands for
NAMESPACES = "namespaces"
# ports; networks whose connections are masqueraded
MAPPINGS, SOURCES = {4: "mappings4", 6: "mappings6"}, {4: "sources4", 6: "sources6"}


def line_type(version: int) -> SetType:
    """The line of a port: number there; link name, address of the node, address and port of the container that waits."""
    return SetType((*_PORT, INET_SERVICE), (IFNAME, ADDRESS[version], ADDRESS[version], INET_SERVICE))


def _maps(version: int, group: str) -> "dict[str, SetType]":
    """The maps of all that have the same conditions."""
    data = (ADDRESS[version], INET_SERVICE)
    kinds = {
        "hostips": SetType((ADDRESS[version], *_PORT), data),
        "hostports": SetType(_PORT, data),
        "hostip_ports": SetType(_PORT, (INET_SERVICE,)),
        "line": line_type(version),
    }
    return {named(kind, version, group): type for kind, type in kinds.items()}


def _translations(version: int, group: str) -> Chain:
    """Their chain: the specific map before the general one."""
    port = (nft.PROTOCOL, nft.DESTINATION_PORT)
    keys = {"hostips": (nft.DESTINATION[version], *port), "hostports": port}
    maps = {named(kind, version, group): key for kind, key in keys.items()}
    rules = [(name, [nft.of_family(version), nft.dnat(version, name, *key)]) for name, key in maps.items()]
    return Chain(named("hostports", version, group), rules=rules)


def _jump(version: int) -> "Line":
    target = named("hostports", version, PLAIN)
    return target, [nft.of_family(version), nft.TO_THIS_NODE, nft.jump(target)]


def _localhost() -> "Line":
    """IPv6's localhost is left alone."""
    there = nft.compare(nft.DESTINATION[6], _LOCALHOST.packed, str(_LOCALHOST))
    return "localhost6", [nft.of_family(6), there, nft.RETURN]


def _masqueraded(name: str) -> "tuple[SetType, list[Expression]] | None":
    """The set of source networks of one length, and the rule that masquerades what comes from them."""
    version, _, length = name.removeprefix("from").partition("_")
    if not name.startswith("from") or version not in ("4", "6") or not length.isdigit():
        return None
    family = int(version)
    mask = Prefix(EVERYWHERE[family].address, int(length)).netmask
    source = nft.SOURCE[family].masked(mask.packed, str(mask))
    key = source, nft.DESTINATION[family], nft.PROTOCOL, nft.ORIGINAL_PORT
    rule = [nft.REDIRECTED, nft.of_family(family), nft.is_in(name, *key), nft.MASQUERADE]
    return SetType((ADDRESS[family], ADDRESS[family], *_PORT)), rule


ENTRANCES = [
    Chain(name, ("nat", hook, LAST), [_jump(4), _jump(6)], [_localhost()])
    for name, hook in (("prerouting", PREROUTING), ("output", OUTPUT))
]
MASQUERADING = Chain("postrouting", ("nat", POSTROUTING, _BEFORE_SRCNAT), each=_masqueraded)


def described(groups: "dict[int, str]") -> Table:
    """The table with what stands there whoever is attached, and with these groups of conditions by family."""
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
    """Whether the entrances are those of an earlier version, which came first; looked at where a rule is missing."""
    if all(map(ledger.is_whole, LAYOUT.chains)):
        return False
    return any(ledger.place_of(chain) is False for chain in ENTRANCES)


def has_conditions(ledger: Ledger) -> bool:
    """Whether there are jumps with conditions, which only nft can make again."""
    comments = [comment for chain in ENTRANCES for comment in ledger.comments(chain.name)]
    return any(comment.startswith("hostports") and "_" in comment for comment in comments)


def jumps(version: int, group: str) -> "set[tuple[str, str]]":
    """The rules that lead to a group's chain: their chain, and their comment."""
    return {(chain.name, named("hostports", version, group)) for chain in ENTRANCES}


def leaving() -> "set[tuple[str, str]]":
    """The rules that leave IPv6's localhost alone."""
    return {(chain.name, comment) for chain in ENTRANCES for comment, _ in chain.front}


def needed_rules(wanted: "Published") -> "set[tuple[str, str]]":
    """The rules that what is wanted needs, without the jumps with conditions, which nft makes."""
    needed = {(MASQUERADING.name, source_set(source)) for source in wanted.masqueraded()}
    for version, group in {(entry.version, entry.group) for entry in wanted.entries}:
        chain = _translations(version, group)
        needed.update((chain.name, comment) for comment, _ in chain.rules)
        needed.update(jumps(version, group) if group == PLAIN else ())
        needed.update(leaving() if version == 6 else ())
    return needed


def conditional_jump(version: int, group: str, conditions: str) -> str:
    """A group's jump in nft's words: only nft knows what its conditions mean."""
    chain = named("hostports", version, group)
    return f'meta nfproto ipv{version} {conditions} fib daddr type local jump {chain} comment "{chain}"'
