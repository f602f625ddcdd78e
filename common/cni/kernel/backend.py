"""What of netfilter a node has: all parts of nftables that a table of ours needs, or iptables is used; iptables-legacy.

A table of ours that exists is proof, and costs one request. Else the kernel gets a batch that it drops at the end: it
loads the modules that the batch needs, and changes nothing. The answer is kept as long as the socket, that of a call.
STATUS has no such socket: it asks with one of its own, and imports nothing for that while the table exists.
"""

from cni.errors import CNIError
from cni.kernel.netlink import ERROR, F_ACK, NETFILTER, Netlink, attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.nftables import Nftables
    from cni.kernel.transaction import Transaction

# linux/netfilter/nf_tables.h
_GETTABLE, _TABLE_NAME = 10 << 8 | 1, 1
INET, _IPV4, _BRIDGE = 1, 2, 7
# What a table of ours is made of: "nat" stands for chains and translations, the rest for kinds of rules.
TABLES, NAT, FIB, CONNECTIONS, MASQUERADE = "tables", "nat", "fib", "connections", "masquerade"
_MAIN = "CONFIG_NF_TABLES"
_OPTIONS = {
    (_BRIDGE, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_BRIDGE",
    (INET, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_INET",
    (INET, NAT): "CONFIG_NFT_NAT",
    (_IPV4, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_IPV4",
    (_IPV4, NAT): "CONFIG_NFT_NAT",
    (INET, FIB): "CONFIG_NFT_FIB_INET, CONFIG_NFT_FIB_IPV4 and CONFIG_NFT_FIB_IPV6",
    (INET, CONNECTIONS): "CONFIG_NFT_CT",
    (INET, MASQUERADE): "CONFIG_NFT_MASQ",
}
_TRIAL = "pycni_trial"
_ASK_FOR_IPTABLES = "or install iptables-legacy, and leave the backend out or set it to iptables"
_INSTALL_IPTABLES = "or install iptables-legacy, which is used then"


class Needs:
    """A table of ours, by family and name, and the parts that it needs: known to STATUS, which imports no maker of it."""

    __slots__ = ("family", "parts", "table")

    def __init__(self, family: int, table: str, parts: "tuple[str, ...]" = ()) -> None:
        self.family = family
        self.table = table
        self.parts = parts


MASQUERADING = Needs(INET, "pycni_masquerade", (NAT, MASQUERADE))
SPOOF_CHECK = Needs(_BRIDGE, "pycni_macspoof")
_IPTABLES_NAT = Needs(_IPV4, "nat", (NAT,))


def lacking(needs: Needs, kernel: "Nftables | None" = None) -> str:
    """The kernel options that are missing for a table; empty if it exists, or could. ``kernel`` is None for STATUS."""
    if kernel is None:
        return "" if _is_there(needs) else _asked_alone(needs)
    if kernel.has_table(needs.family, needs.table):
        return ""
    if kernel.absent:
        return _MAIN
    known = kernel.lacking.get((needs.family, needs.parts))
    if known is None:
        known = kernel.lacking[needs.family, needs.parts] = _tried(needs, kernel)
    return known


def _is_there(needs: Needs) -> bool:
    """One request, on a socket of its own."""
    try:
        kernel = Netlink(NETFILTER)
    except OSError:
        return False
    try:
        body = bytes((needs.family, 0, 0, 0)) + attribute(_TABLE_NAME, needs.table.encode() + b"\0")
        sequence = kernel.send(kernel.packed(body, _GETTABLE, F_ACK))
        while True:
            for answer in kernel.receive():
                if answer.sequence == sequence and answer.kind == ERROR:
                    return answer.error is None
    finally:
        kernel.close()


def _asked_alone(needs: Needs) -> str:
    from cni.kernel.nftables import Nftables

    kernel = Nftables()
    try:
        return lacking(needs, kernel)
    finally:
        kernel.close()


def _add(part: str, trial: "Transaction") -> None:
    """What the kernel refuses if it lacks a part."""
    from cni.kernel import expressions as nft
    from cni.kernel.transaction import PREROUTING

    if part == TABLES:
        trial.add_table()
        trial.add_chain("base", "filter", PREROUTING)
        trial.add_chain("some")
    elif part == NAT:
        trial.add_chain("translations", "nat", PREROUTING)
    elif part == FIB:
        trial.add_rule("some", [nft.TO_THIS_NODE])
    elif part == CONNECTIONS:
        trial.add_rule("some", [nft.REDIRECTED])
    else:
        trial.add_rule("some", [nft.MASQUERADE])


def _tried(needs: Needs, kernel: "Nftables") -> str:
    from cni.kernel.transaction import Transaction

    trial, owners = Transaction(needs.family, _TRIAL), list[str]()
    for part in (TABLES, *needs.parts):
        _add(part, trial)
        owners += [part] * (len(trial.steps()) - len(owners))
    refused = kernel.refused(trial)
    if any(owners[step] == TABLES for step in refused):
        return _OPTIONS[needs.family, TABLES]
    return " and ".join(dict.fromkeys(_OPTIONS[needs.family, owners[step]] for step in refused))


def chosen(asked: "str | None", needs: Needs, kernel: "Nftables | None" = None) -> str:
    """The backend that was asked for, or else what the node has: nftables, or iptables where the kernel lacks that.

    Raises ``CNIError`` naming the kernel option if it is nftables, and cannot be.
    """
    if asked == "iptables":
        return asked
    lacks = lacking(needs, kernel)
    if lacks and not asked and _usable_iptables():
        return "iptables"
    if lacks:
        raise _missing(lacks, _ASK_FOR_IPTABLES if asked else _INSTALL_IPTABLES)
    return "nftables"


def need(needs: Needs, remedy: str, kernel: "Nftables | None" = None) -> None:
    """Raise ``CNIError`` naming the kernel option that is missing for a table of ours."""
    lacks = lacking(needs, kernel)
    if lacks:
        raise _missing(lacks, remedy)


def _missing(lacks: str, remedy: str) -> CNIError:
    return CNIError(f"nftables: the kernel lacks {lacks}", f"load its module, or use a kernel that has it; {remedy}")


def iptables_lacks_nat() -> bool:
    """Whether only iptables-legacy can translate addresses here: the other one makes its rules in nf_tables."""
    return bool(lacking(_IPTABLES_NAT))


def _usable_iptables() -> bool:
    from cni.kernel import iptables, program

    name = iptables.to_make(4)
    if not all(program.find(f"{name}{part}") for part in ("", "-save", "-restore")):
        return False
    if not iptables_lacks_nat() or name == iptables.LEGACY[4]:
        return True
    return "nf_tables" not in program.run(name, "--version")[1]


def has_legacy(version: int, table: str = "nat") -> bool:
    """Whether this network namespace has that table."""
    kind = "ip_tables_names" if version == 4 else "ip6_tables_names"
    try:
        with open(f"/proc/net/{kind}", "rb") as file:
            return table.encode() in file.read().split()
    except OSError:
        return False


def unmarkable() -> "list[str]":
    """Nat tables of iptables-legacy that no program of the node can change."""
    versions = [version for version in (4, 6) if has_legacy(version)]
    if not versions:
        return []
    from cni.kernel import iptables

    return [iptables.LEGACY[version] for version in versions if not iptables.legacy(version)]


def complaint(name: str) -> str:
    """The line for operators about such a table."""
    return (
        f"the node has a nat table of iptables-legacy, but no program {name}: its ACCEPT rules are ignored;"
        " install iptables"
    )
