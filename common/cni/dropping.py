"""Chains of others that drop forwarded packets, for STATUS.

A rule of ours cannot help: every base chain of the hook has to accept a packet (nft(8), "Verdict statement").
"""

from cni.kernel.hooks import FORWARD, Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DROP = 0
# families of nf_tables (NFPROTO_…)
_NAMES = {1: "inet", 2: "ip", 10: "ip6"}
_NFT = "nft add rule"


def chains_that_drop() -> "Iterator[tuple[str, str, int]]":
    """Chains of nftables (and iptables-nft) with policy drop, then those of iptables-legacy.

    For each: its name and place, the beginning of a command that adds a rule to it, and the number of its rules.
    """
    try:
        kernel = Hooks()
    except OSError:  # a kernel without netfilter's netlink
        kernel = None
    for chain in kernel.base_chains() if kernel else ():
        word = _NAMES.get(chain.family)
        if kernel and word and chain.hook == FORWARD and chain.policy == _DROP:
            where = f"chain {chain.name} of table {word} {chain.table}"
            command = f"{_NFT} {word} {chain.table} {chain.name}"
            if chain.name == "FORWARD":
                command = f"{'ip6tables' if word == 'ip6' else 'iptables'} -A FORWARD"
            yield where, command, kernel.rules(chain)
    if kernel:
        kernel.close()
    for version in (4, 6):
        from cni.kernel import iptables

        name = iptables.legacy(version, "filter")
        fault, text = iptables.run(name, "-S", "FORWARD") if name else ("", "")
        lines = text.splitlines()
        if not fault and "-P FORWARD DROP" in lines:
            yield f"{name}'s chain FORWARD", f"{name} -A FORWARD", len(lines) - 1


def is_of_iptables(command: str) -> bool:
    """Whether a chain is iptables', by the command that adds a rule to it."""
    return not command.startswith(_NFT)


def remedy(command: str) -> str:
    """The rules to add that allow a bridge."""
    if is_of_iptables(command):
        return f"allow the bridge: {command} -o BRIDGE -j ACCEPT, and -i"
    return f"allow the bridge: {command} oifname BRIDGE accept, and iifname"
