"""What the node supports: the parts of nftables that a table of ours needs, otherwise iptables; and iptables-legacy.

If our table exists, the kernel has all parts; the check is one request. Otherwise the kernel gets a batch without an
end, which makes it load the modules and changes nothing. It needs 10 to 15 ms to abort a batch, and STATUS runs every
few seconds, and ADD on a node without containers for each container. So a good result is kept in a file until the node
starts again. A bad one is kept with the call's nftables socket only, because a module may be loaded any time.
"""

import os

from cni.errors import CNIError, KernelError
from cni.kernel.netlink import NETFILTER, Netlink, attribute
from cni.settings import Declared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.nftables import Nftables
    from cni.kernel.transaction import Transaction

# linux/netfilter/nf_tables.h
_GETTABLE, _TABLE_NAME = 10 << 8 | 1, 1
INET, _IPV4, BRIDGE = 1, 2, 7
# The parts of nftables that a table may need: NAT chains, and kinds of rules.
TABLES, NAT, FIB, CONNECTIONS, MASQUERADE = "tables", "nat", "fib", "connections", "masquerade"
_MAIN = "CONFIG_NF_TABLES"
_OPTIONS = {
    (BRIDGE, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_BRIDGE",
    (INET, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_INET",
    (INET, NAT): "CONFIG_NFT_NAT",
    (_IPV4, TABLES): f"{_MAIN} and CONFIG_NF_TABLES_IPV4",
    (_IPV4, NAT): "CONFIG_NFT_NAT",
    (INET, FIB): "CONFIG_NFT_FIB_INET, CONFIG_NFT_FIB_IPV4 and CONFIG_NFT_FIB_IPV6",
    (INET, CONNECTIONS): "CONFIG_NFT_CT",
    (INET, MASQUERADE): "CONFIG_NFT_MASQ",
}
_TRIAL = "pycni_trial"
# A file here says that the kernel has the parts in its name.
_GOOD = "/run/cni/pycni/nf_tables"
_ASK_FOR_IPTABLES = "or install iptables-legacy, and leave the backend out or set it to iptables"
_INSTALL_IPTABLES = "or install iptables-legacy, which is used then"


class Needs(Declared):
    """The family and name of a table of ours and the parts that it needs, without the modules that make it."""

    family: int
    table: str
    parts: "tuple[str, ...]" = ()


MASQUERADING = Needs(INET, "pycni_masquerade", (NAT, MASQUERADE))
FORWARDING = Needs(INET, "pycni_firewall", (CONNECTIONS,))
SPOOF_CHECK = Needs(BRIDGE, "pycni_macspoof")
_IPTABLES_NAT = Needs(_IPV4, "nat", (NAT,))


def lacking(needs: Needs, kernel: "Nftables | None" = None) -> str:
    """The kernel options that a table needs and the kernel lacks; empty if none. ``kernel`` is None for STATUS."""
    good = f"{_GOOD}/{'-'.join((str(needs.family), *needs.parts))}"
    if kernel is None:
        if os.path.exists(good) or _exists(needs):
            return ""
        from cni.kernel.nftables import Nftables

        kernel = Nftables()
        try:
            return lacking(needs, kernel)
        finally:
            kernel.close()
    if kernel.has_table(needs.family, needs.table):
        return ""
    if kernel.absent:
        return _MAIN
    if os.path.exists(good):
        return ""
    known = kernel.lacking.get((needs.family, needs.parts))
    if known is None:
        known = kernel.lacking[needs.family, needs.parts] = _tried(needs, kernel)
        if not known:
            _keep(good)
    return known


def _keep(path: str) -> None:
    """Make an empty file. If that is not possible, the kernel is asked again next time."""
    try:
        os.makedirs(_GOOD, 0o755, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    except OSError:
        pass


def _exists(needs: Needs) -> bool:
    """Whether the table exists, by one request on a new socket."""
    try:
        kernel = Netlink(NETFILTER)
    except OSError:
        return False
    try:
        body = bytes((needs.family, 0, 0, 0)) + attribute(_TABLE_NAME, needs.table.encode() + b"\0")
        return bool(kernel.request(body, _GETTABLE))
    except KernelError:
        return False
    finally:
        kernel.close()


def _add(part: str, trial: "Transaction") -> None:
    """Add to a transaction what the kernel refuses if it lacks a part."""
    from cni.kernel import expressions as nft
    from cni.kernel.transaction import PREROUTING

    if part == TABLES:
        trial.add_table()
        trial.add_chain("base", "filter", PREROUTING)
        trial.add_chain("some")
    elif part == NAT:
        trial.add_chain("translations", "nat", PREROUTING)
    else:
        statements = {FIB: nft.TO_THIS_NODE, CONNECTIONS: nft.REDIRECTED, MASQUERADE: nft.MASQUERADE}
        trial.add_rule("some", [statements[part]])


def _tried(needs: Needs, kernel: "Nftables") -> str:
    from cni.kernel.transaction import Transaction

    trial, owners = Transaction(needs.family, _TRIAL), list[str]()
    for part in (TABLES, *needs.parts):
        _add(part, trial)
        owners += [part] * (len(trial.steps()) - len(owners))
    refused = [owners[step] for step in kernel.refused(trial)]
    if TABLES in refused:
        return _OPTIONS[needs.family, TABLES]
    return " and ".join(dict.fromkeys(_OPTIONS[needs.family, part] for part in refused))


def chosen(asked: "str | None", needs: Needs, kernel: "Nftables | None" = None) -> str:
    """The configured backend, by default nftables, or iptables if the kernel lacks nftables and the node has iptables.

    Raises ``CNIError`` naming the kernel option if it is nftables and the kernel lacks that.
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
    """Raise ``CNIError`` naming the kernel option if the kernel lacks one for a table of ours."""
    lacks = lacking(needs, kernel)
    if lacks:
        raise _missing(lacks, remedy)


def _missing(lacks: str, remedy: str) -> CNIError:
    return CNIError(f"nftables: the kernel lacks {lacks}", f"load its module, or use a kernel that has it; {remedy}")


def iptables_lacks_nat() -> bool:
    """Whether only iptables-legacy can translate addresses on this node, because iptables-nft needs nf_tables."""
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
    """Whether this network namespace has a table of iptables-legacy."""
    kind = "ip_tables_names" if version == 4 else "ip6_tables_names"
    try:
        with open(f"/proc/net/{kind}", "rb") as file:
            return table.encode() in file.read().split()
    except OSError:
        return False


def legacy_programs() -> "dict[int, str]":
    """The program for each nat table of iptables-legacy in this network namespace, by family; empty if it is missing."""
    versions = [version for version in (4, 6) if has_legacy(version)]
    if not versions:
        return {}
    from cni.kernel import iptables

    return {version: iptables.legacy(version) for version in versions}


def unmarkable() -> "list[str]":
    """The iptables-legacy programs that are missing although the kernel has a nat table of theirs."""
    names = {4: "iptables-legacy", 6: "ip6tables-legacy"}
    return [names[version] for version, program in legacy_programs().items() if not program]


def complaint(name: str) -> str:
    """The message about a missing iptables-legacy program."""
    return (
        f"the node has a nat table of iptables-legacy, but no program {name}: its ACCEPT rules are ignored;"
        " install iptables"
    )
