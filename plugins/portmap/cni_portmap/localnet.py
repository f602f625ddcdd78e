"""The node's 127.0.0.1 leads to the pods' ports: ``route_localnet`` on the link to them, and the node is not opened by it.

route_localnet (ip-sysctl.rst) lets packets between 127.0.0.0/8 and that link through, also those that neighbours send
to services which listen on 127.0.0.1 alone. So a rule in a table of our own keeps those out::

    table inet pycni_localnet {
        map attachments { type ifname . inet_service : ifname }     # attachment's link name . 0 : link to the pods
        map opened { type ifname : inet_service }                   # link : what route_localnet was before
        set guarded { type ifname; elements = { "cni0" } }
        chain prerouting {
            type filter hook prerouting priority raw;
            iifname @guarded ip daddr 127.0.0.0/8 drop
        }
    }

With the last attachment behind a link the sysctl is put back to what it was, and the guard goes.
"""

from cni.address import Address, Prefix
from cni.errors import CheckFailed, CNIError
from cni.kernel import expressions as nft
from cni.kernel import iptables, nftables, sysctl
from cni.kernel.exclusive import Exclusive
from cni.kernel.nftables import Nftables
from cni.kernel.records import Records
from cni.kernel.transaction import IFNAME, INET, INET_SERVICE, IPV4, PREROUTING, SetType, Transaction, pack
from cni.plan import Effect
from cni_portmap import layout
from cni_portmap.chains import DNAT
from cni_portmap.go_rules import Listed, Seen
from cni_portmap.go_tables import CHAINS, values
from cni_portmap.go_tables import TABLE as GO_TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.kernel.rtnl import Rtnl
    from cni.names import Attachment

TABLE = "pycni_localnet"
_CHAIN, _RAW = "prerouting", -300
_OPENED, _GUARDED = SetType((IFNAME,), (INET_SERVICE,)), SetType((IFNAME,))
_LOOPBACK = Prefix.parse("127.0.0.0/8")


def _sysctl(link: str) -> str:
    return f"net/ipv4/conf/{link}/route_localnet"


class Localnet(Effect):
    """One attachment's share in a link that 127.0.0.1 leads to."""

    __slots__ = ("address", "guard", "rtnl", "say")

    def __init__(
        self,
        attachment: "Attachment",
        rtnl: "Rtnl",
        say: "Callable[[str], None]",
        address: "Address | None" = None,
        guard: bool = True,
    ) -> None:
        """``address`` is the container's IPv4 address, None on DEL and GC; ``guard`` keeps neighbours out."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.say = say
        self.address = address
        self.guard = guard

    def identify(self, attachment: "Attachment") -> str:
        """The attachment's link name."""
        return attachment.link

    def _link(self) -> str:
        """The name of the link that packets to the container leave by; empty where there is no route to it."""
        assert self.address is not None  # noqa: S101
        route = self.rtnl.route_to(self.address)
        link = self.rtnl.link(index=route.index) if route is not None and route.index else None
        return link.name if link is not None and not link.loopback else ""

    # make

    def make(self) -> None:
        """First the guard, then the sysctl. Where there is no route there is nothing to open, as in Go."""
        link = self._link()
        if not link:
            self.say(f"portmap: no route to {self.address}: 127.0.0.1 will not lead there")
            return
        kernel = nftables.here()
        try:
            kernel.repeatedly(lambda: self._make(kernel, link))
            sysctl.ensure(_sysctl(link), "1")
        except OSError as error:
            raise CNIError(f"unable to enable route_localnet: {error}", f"on {link}; or set snat to false") from None

    def _make(self, kernel: Nftables, link: str) -> None:
        """Who is the first behind a link waits for one who is the last just now, and who puts the sysctl back."""
        if not self._admit(kernel, link, first=False):
            with Exclusive("localnet"):
                self._admit(kernel, link, first=True)

    def _admit(self, kernel: Nftables, link: str, first: bool) -> bool:
        generation, records = kernel.generation(), _records(kernel)
        transaction = Transaction(INET, TABLE)
        mine, name = self.attachment.link, link.encode()
        there = _opened(kernel, link)
        held = records.of(mine)
        whole = bool(kernel.rule_comments(INET, TABLE))
        if whole and held and there is not None and held[0][0].rstrip(b"\0") == name:
            return True
        if held:  # the container came back elsewhere
            Share(kernel, self.rtnl, mine).repeat()
            return False
        if there is None and not first:
            return False
        if not whole:
            _add_table(transaction, records)
        if there is None:
            before = int(sysctl.read(_sysctl(link)) or "0").to_bytes(2, "big")
            transaction.add_element("opened", pack(_OPENED.key, [name]), pack(_OPENED.data, [before]))
        guarded = pack(_GUARDED.key, [name])
        if self.guard and kernel.element(INET, TABLE, "guarded", guarded) is None:
            transaction.add_element("guarded", guarded)
        records.write(transaction, self.attachment, [[name]])
        kernel.commit(transaction, generation)
        return True

    # compare

    def compare(self) -> None:
        """The sysctl is on, and neighbours are kept out; Go's portmap, of whose containers we have no record, did not."""
        link = self._link()
        if not link:
            return
        where = f"nftables table inet {TABLE}"
        if sysctl.read(_sysctl(link)) != "1":
            raise CheckFailed(f"route_localnet of {link} is off", "127.0.0.1 does not lead to the container's ports")
        if not self.guard:
            return
        kernel = nftables.here()
        mine = self.attachment.link
        if not _records(kernel).of(mine) and not layout.attachments(kernel).of(mine):
            return
        chain = kernel.chain(INET, TABLE, _CHAIN)
        hooked = chain is not None and chain.get_attr("NFTA_CHAIN_HOOK") is not None
        if not hooked or not kernel.rules(INET, TABLE, _CHAIN):
            raise CheckFailed(f"{where}: the rule that keeps neighbours from 127.0.0.0/8 is missing")
        if kernel.element(INET, TABLE, "guarded", pack(_GUARDED.key, [link.encode()])) is None:
            raise CheckFailed(f"{where}: neighbours behind {link} reach the node's 127.0.0.0/8")

    # remove

    def discard(self, identity: str) -> None:
        """Give this attachment's share back."""
        kernel = nftables.here()
        if _records(kernel).of(identity):
            Share(kernel, self.rtnl, identity).repeat()

    def present(self, network: str) -> list[str]:
        """The attachments of the network that have a share."""
        kernel = nftables.here()
        return _records(kernel).links(network)

    def describe(self) -> str:
        """As sysctl and nft would be told."""
        guard = f"\niifname LINK-TO-{self.address} ip daddr {_LOOPBACK} drop" if self.guard else ""
        return f"sysctl net/ipv4/conf/LINK-TO-{self.address}/route_localnet=1{guard}"


def _records(kernel: Nftables) -> Records:
    return Records(kernel, INET, TABLE, "attachments", (IFNAME,))


def _opened(kernel: Nftables, link: str) -> "int | None":
    """What route_localnet of a link that we opened was before."""
    element = kernel.element(INET, TABLE, "opened", pack(_OPENED.key, [link.encode()]))
    return None if element is None else int.from_bytes(element.data[:2], "big")


def _add_table(transaction: Transaction, records: Records) -> None:
    """The table, or what is missing of it, with its rule."""
    transaction.add_table()
    transaction.add_set(records.name, records.type)
    transaction.add_set("opened", _OPENED)
    transaction.add_set("guarded", _GUARDED)
    transaction.add_chain(_CHAIN, "filter", PREROUTING, _RAW)
    expressions = [
        nft.meta(nft.META_IIFNAME),
        nft.lookup("guarded"),
        *nft.of_family(4),
        nft.address(4, destination=True),
        nft.mask(_LOOPBACK.netmask.packed),
        nft.compare(_LOOPBACK.address.packed),
        nft.DROP,
    ]
    transaction.add_rule(_CHAIN, expressions, f"iifname @guarded ip daddr {_LOOPBACK} drop")


def _go_needs_it(kernel: Nftables, rtnl: "Rtnl", link: str) -> bool:
    """Whether a container behind the link has ports in Go's layouts: then route_localnet stays on, as Go leaves it."""
    found = rtnl.link(link)
    if found is None:
        return False
    routes = (rtnl.route_to(Address(address)) for address in _go_leads_to(kernel))
    return any(route is not None and route.index == found.index for route in routes)


def _go_leads_to(kernel: Nftables) -> "set[bytes]":
    """The containers' IPv4 addresses that rules in Go's layouts lead to."""
    found: set[bytes] = set()
    chains = {chain for rule in kernel.rules(IPV4, "nat", DNAT) for chain in rule.jumps_to()}
    for chain in chains:
        seen = [Seen(rule, 4) for rule in kernel.rules(IPV4, "nat", chain)]
        found |= {Address.parse(one.leads_to).packed for one in seen if one.leads_to}
    lines = [line for lines in iptables.legacy_rules(4, [DNAT]).values() for line in lines]
    told = [rule.leads_to for rule in map(Listed, lines) if rule.target == "DNAT"]
    found |= {Address.parse(address).packed for address in told if address}
    if kernel.has_table(IPV4, GO_TABLE):
        for chain in CHAINS:
            found |= {
                value for rule in kernel.rules(IPV4, GO_TABLE, chain) for value in values(rule) if len(value) == 4
            }
    return found


class Share:
    """An attachment's share, to be given back. The last one behind a link puts the sysctl back before the guard goes."""

    def __init__(self, kernel: Nftables, rtnl: "Rtnl", identity: str) -> None:
        self._kernel = kernel
        self._rtnl = rtnl
        self._identity = identity
        self._lowered = False

    def repeat(self) -> None:
        """Until nobody was in the way, under the lock that the next first one waits for."""
        with Exclusive("localnet"):
            self._kernel.repeatedly(self._release)

    def _release(self) -> None:
        kernel, generation = self._kernel, self._kernel.generation()
        records = _records(kernel)
        held = records.of(self._identity)
        if not held:
            return
        name, mine = held[0][0], records.key(self._identity, 0)
        link = name.rstrip(b"\0").decode("utf-8", "replace")
        transaction = Transaction(INET, TABLE)
        records.erase(transaction, self._identity, 1)
        last = not kernel.holds(INET, TABLE, records.name, lambda other: other.key != mine and other.data == name)
        if last:
            if not kernel.holds_beside(INET, TABLE, records.name, [mine]):
                transaction = Transaction(INET, TABLE)
                transaction.delete_table()
            else:
                self._close(transaction, name)
            if not _go_needs_it(kernel, self._rtnl, link):
                sysctl.attempt(_sysctl(link), str(_opened(kernel, link) or 0))
                self._lowered = True
        kernel.commit(transaction, generation)
        if self._lowered and not last:  # somebody came while we took ourselves for the last
            sysctl.attempt(_sysctl(link), "1")

    def _close(self, transaction: Transaction, name: bytes) -> None:
        for set_name in ("opened", "guarded"):
            if self._kernel.element(INET, TABLE, set_name, name) is not None:
                transaction.delete_element(set_name, name)
