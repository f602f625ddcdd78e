"""What stands between a mapped port and its container on the node: missing programs, chains that drop what is forwarded.

No accept of ours could help: a packet has to be accepted by every base chain of the hook (nft(8), "Verdict statement").
"""

from cni.errors import CNIError, NotAvailable
from cni.kernel import iptables, nftables, program
from cni.kernel.transaction import FORWARD, INET, IPV4, IPV6
from cni_portmap import capable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni_portmap.settings import Settings

_DROP = 0
_NAMES = {INET: "inet", IPV4: "ip", IPV6: "ip6"}


class Dropping:
    """A base chain of the forward hook whose policy is drop."""

    __slots__ = ("remedy", "rules", "where")

    def __init__(self, where: str, remedy: str, rules: int) -> None:
        self.where = where
        self.remedy = remedy
        self.rules = rules


def need_programs(said: "Settings") -> None:
    """Raise ``NotAvailable`` if the configuration asks for a program, or for what a kernel can do, that is missing."""
    try:
        capable.settle(said)
    except CNIError as fault:
        raise NotAvailable(fault.msg, fault.details) from None
    wanted = []
    if said.backend == "iptables":
        wanted = [f"{iptables.to_make(4)}{part}" for part in ("", "-save", "-restore")]
    elif any(said.conditions.values()):
        wanted = ["nft"]
    for name in wanted:
        if not program.find(name):
            error = program.missing(name)
            raise NotAvailable(error.msg, error.details)


def chains_that_drop() -> "Iterator[Dropping]":
    """Those of nftables (iptables-nft's among them), then those of iptables-legacy."""
    kernel = nftables.here()
    for family, word in _NAMES.items():
        for chain in kernel.base_chains(family):
            if chain.hook == FORWARD and chain.policy == _DROP:
                rules = len(kernel.rules(family, chain.table, chain.name))
                where = f"chain {chain.name} of table {word} {chain.table}"
                yield Dropping(where, _remedy(word, chain.table, chain.name), rules)
    for version in (4, 6):
        name = iptables.legacy(version, "filter")
        if name:
            fault, text = iptables.run(name, "-S", "FORWARD")
            lines = text.splitlines()
            if not fault and "-P FORWARD DROP" in lines:
                yield Dropping(
                    f"{name}'s chain FORWARD", f"{name} -A FORWARD -i BRIDGE -j ACCEPT, and -o", len(lines) - 1
                )


def _remedy(word: str, table: str, chain: str) -> str:
    if chain == "FORWARD":
        name = "ip6tables" if word == "ip6" else "iptables"
        return f"allow the bridge: {name} -A FORWARD -o BRIDGE -j ACCEPT, and -i; or add the plugin firewall"
    return f"allow the bridge: nft add rule {word} {table} {chain} oifname BRIDGE accept, and iifname"
