"""What can keep packets from a mapped port's container: missing programs, and chains that drop forwarded packets.

A rule of ours cannot help: every base chain of the hook has to accept a packet (nft(8), "Verdict statement").
"""

from cni.errors import CNIError, NotAvailable
from cni.kernel import program
from cni.kernel.hooks import FORWARD, Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni_portmap.settings import Settings

_DROP = 0
# families of nf_tables (NFPROTO_…)
_NAMES = {1: "inet", 2: "ip", 10: "ip6"}


def need_programs(settings: "Settings") -> None:
    """Raise ``NotAvailable`` if the configuration needs a program or a part of the kernel that is missing."""
    try:
        settings.settle()
        wanted = ["nft"] if any(settings.conditions.values()) else []
        if settings.backend == "iptables":
            from cni.kernel import iptables

            wanted = [f"{iptables.to_make(4)}{part}" for part in ("", "-save", "-restore")]
        for name in wanted:
            if not program.find(name):
                raise program.missing(name)
    except CNIError as fault:
        raise NotAvailable(fault.msg, fault.details) from None


def chains_that_drop() -> "Iterator[tuple[str, str, int]]":
    """Chains of nftables (and iptables-nft) with policy drop, then those of iptables-legacy.

    For each: its name and place, the remedy, and the number of its rules.
    """
    try:
        kernel = Hooks()
    except OSError:  # a kernel without netfilter's netlink
        kernel = None
    for chain in kernel.base_chains() if kernel else ():
        word = _NAMES.get(chain.family)
        if kernel and word and chain.hook == FORWARD and chain.policy == _DROP:
            where = f"chain {chain.name} of table {word} {chain.table}"
            yield where, _remedy(word, chain.table, chain.name), kernel.rules(chain)
    if kernel:
        kernel.close()
    for version in (4, 6):
        from cni.kernel import iptables

        name = iptables.legacy(version, "filter")
        fault, text = iptables.run(name, "-S", "FORWARD") if name else ("", "")
        lines = text.splitlines()
        if not fault and "-P FORWARD DROP" in lines:
            yield f"{name}'s chain FORWARD", f"{name} -A FORWARD -i BRIDGE -j ACCEPT, and -o", len(lines) - 1


def _remedy(word: str, table: str, chain: str) -> str:
    if chain == "FORWARD":
        name = "ip6tables" if word == "ip6" else "iptables"
        return f"allow the bridge: {name} -A FORWARD -o BRIDGE -j ACCEPT, and -i; or add the plugin firewall"
    return f"allow the bridge: nft add rule {word} {table} {chain} oifname BRIDGE accept, and iifname"
