"""Take over tables of earlier builds while their pods run.

Their chains came before the chains of others. Jumps with conditions are moved by nft, because only nft understands the
conditions. The records about localhost are written into files (``localnet``)::

    table inet pycni_localnet {
        map attachments { type ifname . inet_service : ifname }     # attachment's link name . 0 : link to the pods
        map opened { type ifname : inet_service }                   # link : old value of route_localnet
        set guarded { type ifname; elements = { "cni0" } }
        chain prerouting { … iifname @guarded ip daddr 127.0.0.0/8 drop }
    }
"""

from errno import ERESTART

from cni.errors import CNIError
from cni.kernel import program
from cni.kernel.exclusive import Exclusive
from cni.kernel.nftables import Nftables, NftablesError
from cni.kernel.transaction import IFNAME, INET, SetType, pack
from cni.ledger import Change, Ledger, Table, changed, record_map
from cni.undecided import LAST
from cni_portmap import guard, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.kernel.rtnl import Link, Rtnl
    from cni_portmap.localnet import Shares

_NAME = SetType((IFNAME,))
_LAYOUT = Table(INET, guard.TABLE, {guard.EARLIER: record_map(IFNAME)}, [], [guard.EARLIER])


def move_behind(kernel: Nftables) -> None:
    """Move the chains with a hook, and their jumps, behind the chains of others. Raises ``NftablesError`` for a retry.

    Only one process moves them at a time: a jump that another one adds meanwhile would be lost.
    """
    with Exclusive("hostports"):
        if layout.misplaced(Ledger(kernel, layout.LAYOUT)):
            fault = _move()
            if fault and layout.has_conditions(Ledger(kernel, layout.LAYOUT)):
                raise CNIError(f"failed to move the host ports' chains with nft: {fault}", "conditions need nft")
    raise NftablesError("nftables: the chains of host ports were moved", ERESTART)


def _move() -> str:
    lines: list[str] = []
    for name in layout.FOLLOWED.values():
        fault, listed = program.run("nft", "-s", "list", "chain", "inet", layout.TABLE, name)
        if fault:
            return fault
        chain = f"inet {layout.TABLE} {name}"
        lines += [f"flush chain {chain}", f"delete chain {chain}"]
        lines += [f"add chain {chain} {{ type nat hook {name} priority {LAST}; }}"]
        lines += [f"add rule {chain} {line.strip()}" for line in listed.splitlines() if " jump " in line]
    return program.run("nft", "-f", "-", stdin="\n".join([*lines, ""]))[0]


def is_guarded(kernel: Nftables, link: "Link") -> bool:
    """Whether the earlier table guards a link."""
    return kernel.element(INET, guard.TABLE, "guarded", pack(_NAME.key, [link.name.encode()])) is not None


def fault(kernel: Nftables, link: "Link") -> str:
    """The missing part of the guard in the earlier table; empty if the link is guarded."""
    if is_guarded(kernel, link) and kernel.rules(INET, guard.TABLE, "prerouting"):
        return ""
    return f"nftables table inet {guard.TABLE}: neighbours behind {link.name} reach the node's {guard.LOOPBACK}"


def take_over(kernel: Nftables, shares: "Shares", rtnl: "Rtnl", say: "Callable[[str], None]") -> None:
    """Write the records into files, and replace the table by the present guard. Under the lock ``localnet``.

    The files are first: after an interruption the table still exists, and the next call writes the same files.
    """
    changed(kernel, guard.LAYOUT.change, lambda change: _take_over(change, shares, rtnl, say))


def _take_over(change: Change, shares: "Shares", rtnl: "Rtnl", say: "Callable[[str], None]") -> None:
    table = Ledger(change.kernel, _LAYOUT)
    if not guard.is_earlier(table.kernel):
        return
    guarded: set[int] = set()
    for identity, comment in table.owners().items():
        name = table.fields(guard.EARLIER, identity)[0][0].rstrip(b"\0").decode("utf-8", "replace")
        link = rtnl.link(name)
        if link is None:
            continue
        if is_guarded(table.kernel, link):
            guarded.add(link.index)
        opened = table.element("opened", pack(_NAME.key, [name.encode()]))
        was = int.from_bytes(opened.data[:2], "big") if opened is not None else 0
        try:
            shares.add(link.index, identity, comment, was, link.index in guarded)
        except OSError as error:
            say(f"portmap: route_localnet of {name} will stay on: {error}")
    change.drop()
    if guarded:
        guard.fill(change, sorted(guarded))
