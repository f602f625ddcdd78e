"""What keeps neighbours behind a link from the 127.0.0.0/8 of the node: one rule for all links, in nftables.

Where the kernel has no nftables it is a rule a link in the table ``raw`` of iptables::

    -A PREROUTING -d 127.0.0.0/8 -i cni0 -m comment --comment "pycni_localnet 7" -j DROP

The comment has the link's index, for a rule does not follow a link that is renamed. All calls are made under the lock
``localnet``.
"""

import sys

from cni.address import Prefix
from cni.errors import CNIError
from cni.kernel import backend, iptables, nftables
from cni.kernel import expressions as nft
from cni.kernel.nftables import Nftables
from cni.kernel.rulespec import split
from cni.kernel.transaction import IFINDEX, INET, PREROUTING, SetType, Transaction
from cni_portmap import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.kernel.rtnl import Link, Rtnl

TABLE = "pycni_localnet"
# A map that only the table of an earlier version has (``earlier``).
RECORDS = "attachments"
LOOPBACK = Prefix.parse("127.0.0.0/8")
_CHAIN, _RAW = "prerouting", -300
_GUARDED = SetType((IFINDEX,))


def close(rtnl: "Rtnl", indices: "Iterable[int]") -> None:
    """Neighbours behind these links are kept out; what somebody took away of the guard is put back."""
    wanted = sorted(indices)
    if not wanted:
        return
    if _by_iptables():
        for link in filter(None, (rtnl.link(index=index) for index in wanted)):
            _add_rule(link)
        return
    kernel = nftables.here()
    kernel.repeatedly(lambda: _add(kernel, wanted))


def open_again(index: int) -> None:
    """Nothing is kept from this link any more; with the last one the table goes."""
    if _by_iptables():
        for words in _rules(index):
            _iptables("-D", *words[1:])
        return
    kernel = nftables.here()
    kernel.repeatedly(lambda: _remove(kernel, index))


def fault(link: "Link") -> str:
    """What is missing for a link; empty if it is guarded."""
    if _by_iptables():
        missing = _rule(link) not in _rules(link.index)
        return f"{iptables.to_make(4)}: no rule in table raw keeps {link.name} from {LOOPBACK}" if missing else ""
    kernel, where = nftables.here(), f"nftables table inet {TABLE}"
    chain = kernel.chain(INET, TABLE, _CHAIN)
    hooked = chain is not None and chain.get_attr("NFTA_CHAIN_HOOK") is not None
    if not hooked or not kernel.rules(INET, TABLE, _CHAIN):
        return f"{where}: the rule that keeps neighbours from {LOOPBACK} is missing"
    if kernel.element(INET, TABLE, "guarded", _key(link.index)) is None:
        return f"{where}: neighbours behind {link.name} reach the node's {LOOPBACK}"
    return ""


def _by_iptables() -> bool:
    return bool(backend.lacking(INET, (TABLE, layout.TABLE), ()))


# nftables


def _key(index: int) -> bytes:
    return index.to_bytes(4, sys.byteorder)


def _add(kernel: Nftables, indices: list[int]) -> None:
    generation, transaction = kernel.generation(), Transaction(INET, TABLE)
    if not kernel.rule_comments(INET, TABLE):
        _add_table(transaction)
    for index in indices:
        if kernel.element(INET, TABLE, "guarded", _key(index)) is None:
            transaction.add_element("guarded", _key(index))
    kernel.commit(transaction, generation)


def fill(transaction: Transaction, indices: list[int]) -> None:
    """The table anew, with these links; nothing where there are none."""
    if indices:
        _add_table(transaction)
    for index in indices:
        transaction.add_element("guarded", _key(index))


def _remove(kernel: Nftables, index: int) -> None:
    generation, transaction = kernel.generation(), Transaction(INET, TABLE)
    if not kernel.has_table(INET, TABLE):
        return
    if not kernel.holds_beside(INET, TABLE, "guarded", [_key(index)]):
        transaction.delete_table()
    elif kernel.element(INET, TABLE, "guarded", _key(index)) is not None:
        transaction.delete_element("guarded", _key(index))
    kernel.commit(transaction, generation)


def _add_table(transaction: Transaction) -> None:
    """The table, or what is missing of it, with its rule."""
    transaction.add_table()
    transaction.add_set("guarded", _GUARDED)
    transaction.add_chain(_CHAIN, "filter", PREROUTING, _RAW)
    expressions = [
        nft.meta(nft.META_IIF),
        nft.lookup("guarded"),
        *nft.of_family(4),
        nft.address(4, destination=True),
        nft.mask(LOOPBACK.netmask.packed),
        nft.compare(LOOPBACK.address.packed),
        nft.DROP,
    ]
    transaction.add_rule(_CHAIN, expressions, f"iif @guarded ip daddr {LOOPBACK} drop")


# iptables


def _iptables(*words: str) -> str:
    name = iptables.to_make(4)
    failed, text = iptables.run(name, "-t", "raw", *words)
    if failed:
        raise CNIError(f"failed to guard 127.0.0.0/8 with {name}: {failed}", "or set guardLocalnet to false")
    return text


def _comment(index: int) -> str:
    return f"{TABLE} {index}"


def _rule(link: "Link") -> list[str]:
    match = ["-d", str(LOOPBACK), "-i", link.name, "-m", "comment", "--comment", _comment(link.index)]
    return ["-A", "PREROUTING", *match, "-j", "DROP"]


def _rules(index: int) -> list[list[str]]:
    """The words of the rules that there are for a link."""
    rules = map(split, _iptables("-S", "PREROUTING").splitlines())
    return [words for words in rules if _comment(index) in words]


def _add_rule(link: "Link") -> None:
    if _rule(link) not in _rules(link.index):
        _iptables(*_rule(link))
