"""The guard: neighbours behind a link cannot reach 127.0.0.0/8 of the node. In nftables one rule guards all links.

Without nftables in the kernel, each link has a rule in iptables' table ``raw``::

    -A PREROUTING -d 127.0.0.0/8 -i cni0 -m comment --comment "pycni_localnet 7" -j DROP

The comment has the index of the link, because the link can be renamed. All calls are under the lock ``localnet``.
"""

import sys

from cni.address import Prefix
from cni.errors import CNIError
from cni.kernel import backend
from cni.kernel import expressions as nft
from cni.kernel.transaction import IFINDEX, INET, PREROUTING, SetType
from cni.ledger import Chain, Change, Ledger, Table, changed
from cni_portmap import layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.kernel.nftables import Nftables
    from cni.kernel.rtnl import Link
    from cni.site import Site

TABLE = "pycni_localnet"
# A map that only the table of an earlier version has (``earlier``).
EARLIER = "attachments"
LOOPBACK = Prefix.parse("127.0.0.0/8")
_TO_LOOPBACK = [nft.of_family(4), nft.within(nft.DESTINATION[4], LOOPBACK)]
_RULE = [nft.is_in("guarded", nft.INTERFACE), *_TO_LOOPBACK, nft.DROP]
_CHAIN = Chain("prerouting", ("filter", PREROUTING, -300), [("", _RULE)])
LAYOUT = Table(INET, TABLE, {"guarded": SetType((IFINDEX,))}, [_CHAIN], ["guarded"])


def close(site: "Site", indices: "Iterable[int]") -> None:
    """Guard these links, and restore missing parts of the guard."""
    wanted = sorted(indices)
    if not wanted:
        return
    if _by_iptables(site.nftables):
        for link in filter(None, (site.rtnl.link(index=index) for index in wanted)):
            if _rule(link) not in _rules(link.index):
                _iptables(*_rule(link))
        return

    def work(change: Change) -> None:
        fill(change, [index for index in wanted if change.element("guarded", _key(index)) is None])

    changed(site.nftables, LAYOUT.change, work)


def open_again(kernel: "Nftables", index: int) -> None:
    """End the guard of a link; with the last link, remove the table."""
    if _by_iptables(kernel):
        for words in _rules(index):
            _iptables("-D", *words[1:])
        return
    changed(kernel, LAYOUT.change, lambda change: _remove(change, index))


def fault(kernel: "Nftables", link: "Link") -> str:
    """The missing part of a link's guard, also of one that an earlier build made; empty if the link is guarded."""
    if is_earlier(kernel):
        from cni_portmap import earlier

        return earlier.fault(kernel, link)
    if _by_iptables(kernel):
        from cni.kernel import iptables

        missing = _rule(link) not in _rules(link.index)
        return f"{iptables.to_make(4)}: no rule in table raw keeps {link.name} from {LOOPBACK}" if missing else ""
    ledger, where = Ledger(kernel, LAYOUT), f"nftables table inet {TABLE}"
    if not (ledger.place_of(_CHAIN) and ledger.is_whole(_CHAIN)):
        return f"{where}: the rule that keeps neighbours from {LOOPBACK} is missing"
    if ledger.element("guarded", _key(link.index)) is None:
        return f"{where}: neighbours behind {link.name} reach the node's {LOOPBACK}"
    return ""


def _by_iptables(kernel: "Nftables") -> bool:
    """Whether the kernel has no nftables."""
    return not kernel.has_table(INET, TABLE) and bool(backend.lacking(backend.Needs(INET, layout.TABLE), kernel))


# nftables


def _key(index: int) -> bytes:
    return index.to_bytes(4, sys.byteorder)


def is_earlier(kernel: "Nftables") -> bool:
    """Whether the table is that of an earlier version."""
    return kernel.has_set(INET, TABLE, EARLIER)


def fill(change: Change, indices: list[int]) -> None:
    """Make the table if needed, and add these links."""
    change.restore()
    for index in indices:
        change.add("guarded", _key(index))


def _remove(change: Change, index: int) -> None:
    if not change.kernel.has_table(*change.at):
        return
    if change.empties("guarded", _key(index)):
        change.drop()
    elif change.element("guarded", _key(index)) is not None:
        change.delete("guarded", _key(index))


# iptables


def _iptables(*words: str) -> str:
    from cni.kernel import iptables

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
    """The rules of a link, as words."""
    from cni.kernel.rulespec import split

    rules = map(split, _iptables("-S", "PREROUTING").splitlines())
    return [words for words in rules if _comment(index) in words]
