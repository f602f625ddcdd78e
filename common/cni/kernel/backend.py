"""Whether the node's kernel has all parts of nftables that a table of ours needs, or iptables is used instead.

A table of ours that exists is proof, and costs one request. Else the kernel gets a batch that it drops at the end: it
loads the modules that the batch needs, and changes nothing. The answer is kept as long as the socket, that of a call.
"""

import sys

from cni.errors import CNIError
from cni.kernel.netlink import ERROR, F_ACK, NETFILTER, Netlink, attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.kernel.transaction import Transaction

# linux/netfilter/nf_tables.h
_GETTABLE, _TABLE_NAME = 10 << 8 | 1, 1
_INET, _IPV4, _BRIDGE = 1, 2, 7
# What a table of ours is made of: "nat" stands for chains and translations, the rest for kinds of rules.
TABLES, NAT, FIB, CONNECTIONS, MASQUERADE = "tables", "nat", "fib", "connections", "masquerade"
_MAIN = "CONFIG_NF_TABLES"
_OPTIONS = {
    (_BRIDGE, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_BRIDGE",
    (_INET, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_INET",
    (_INET, NAT): "CONFIG_NFT_NAT",
    (_IPV4, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_IPV4",
    (_IPV4, NAT): "CONFIG_NFT_NAT",
    (_INET, FIB): "CONFIG_NFT_FIB_INET, CONFIG_NFT_FIB_IPV4 and CONFIG_NFT_FIB_IPV6",
    (_INET, CONNECTIONS): "CONFIG_NFT_CT",
    (_INET, MASQUERADE): "CONFIG_NFT_MASQ",
}
_TRIAL = "pycni_trial"
_ASK_FOR_IPTABLES = "or install iptables-legacy, and leave the backend out or set it to iptables"
_INSTALL_IPTABLES = "or install iptables-legacy, which is used then"


def lacking(family: int, tables: "Sequence[str]", parts: "Sequence[str]") -> str:
    """The kernel options that are missing for a table with these parts; empty if one of ``tables`` is there, or can be."""
    if any(_is_there(family, table) for table in tables):
        return ""
    from cni.kernel import nftables

    kernel = nftables.here()
    if kernel.absent:
        return _MAIN
    known = kernel.lacking.get((family, tuple(parts)))
    if known is None:
        known = kernel.lacking[family, tuple(parts)] = _tried(family, parts)
    return known


def _is_there(family: int, table: str) -> bool:
    """One request, on the call's socket if there is one. STATUS has none, and does without the modules for it."""
    loaded = sys.modules.get("cni.kernel.nftables")
    if loaded is not None:
        return bool(loaded.here().has_table(family, table))
    try:
        kernel = Netlink(NETFILTER)
    except OSError:
        return False
    try:
        body = bytes((family, 0, 0, 0)) + attribute(_TABLE_NAME, table.encode() + b"\0")
        sequence = kernel.send(kernel.packed(body, _GETTABLE, F_ACK))
        while True:
            for answer in kernel.receive():
                if answer.sequence == sequence and answer.kind == ERROR:
                    return answer.error is None
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


def _tried(family: int, parts: "Sequence[str]") -> str:
    from cni.kernel import nftables
    from cni.kernel.transaction import Transaction

    trial, owners = Transaction(family, _TRIAL), list[str]()
    for part in (TABLES, *parts):
        _add(part, trial)
        owners += [part] * (len(trial.steps()) - len(owners))
    refused = nftables.here().refused(trial)
    if any(owners[step] == TABLES for step in refused):
        return _OPTIONS[family, TABLES]
    return " and ".join(dict.fromkeys(_OPTIONS[family, owners[step]] for step in refused))


def chosen(asked: "str | None", family: int, table: str, parts: "Sequence[str]") -> str:
    """The backend that was asked for, or else what the node has: nftables, or iptables where the kernel lacks that.

    Raises ``CNIError`` naming the kernel option if it is nftables, and cannot be.
    """
    if asked == "iptables":
        return asked
    lacks = lacking(family, [table], parts)
    if lacks and not asked and _usable_iptables():
        return "iptables"
    if lacks:
        raise _missing(lacks, _ASK_FOR_IPTABLES if asked else _INSTALL_IPTABLES)
    return "nftables"


def need(family: int, table: str, parts: "Sequence[str]", remedy: str) -> None:
    """Raise ``CNIError`` naming the kernel option that is missing for a table of ours."""
    lacks = lacking(family, [table], parts)
    if lacks:
        raise _missing(lacks, remedy)


def _missing(lacks: str, remedy: str) -> CNIError:
    return CNIError(f"nftables: the kernel lacks {lacks}", f"load its module, or use a kernel that has it; {remedy}")


def iptables_lacks_nat() -> bool:
    """Whether only iptables-legacy can translate addresses here: the other one makes its rules in nf_tables."""
    return bool(lacking(_IPV4, ["nat"], (NAT,)))


def _usable_iptables() -> bool:
    from cni.kernel import iptables, program

    name = iptables.to_make(4)
    if not all(program.find(f"{name}{part}") for part in ("", "-save", "-restore")):
        return False
    if not iptables_lacks_nat() or name == iptables.LEGACY[4]:
        return True
    return "nf_tables" not in program.run(name, "--version")[1]
