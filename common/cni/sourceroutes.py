"""Source-based routing: rules for the addresses of an interface, and the tables that they name, as one effect.

For the address 10.1.2.5/24 with the gateway 10.1.2.1::

    ip rule add from 10.1.2.5 lookup 100
    ip route add default via 10.1.2.1 dev net1 table 100
    ip route add 10.1.2.0/24 dev net1 scope link src 10.1.2.5 table 100

The kernel keeps the record. Our rules have a protocol number of their own, and the routes are found by their tables.
"""

from errno import EEXIST, EOPNOTSUPP

from cni.address import ANY, Prefix
from cni.errors import CheckFailed, CNIError, KernelError, Refused, Step
from cni.kernel import addresses, routes, rules
from cni.kernel.exclusive import NamespaceLock
from cni.kernel.routes import SCOPE_LINK, TABLE_MAIN
from cni.kernel.rules import Rule
from cni.plan import Effect, Kind, Remains, all_of
from cni.tables import USUAL_METRIC, free, learnt, of_address, to_move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cni.address import Address
    from cni.kernel.routes import LinkRoute
    from cni.kernel.rtnl import Link, Rtnl
    from cni.plan import Differ
    from cni.result import IPConfig

# Protocol numbers: of our rules to a table with moved routes, and of its default route if that was made and not moved;
# of our rules to a table that the configuration states.
_MARKS = _MOVED, _STATED = 140, 141
# just before that of the main table
_PRIORITY = 32765
_NEAR = "a gateway must be in the network of an address of the interface"


def _source(ip: "IPConfig") -> Prefix:
    return Prefix(ip.address.address, ip.address.address.bits)


def _rules(rtnl: "Rtnl", passed: int = 0) -> list[Rule]:
    """The rules of both families; with the error number ``passed`` there are none."""
    with Step("Failed to list all rules", rules.REMEDY, passed=passed):
        return [*rules.every(rtnl, 4), *rules.every(rtnl, 6)]
    return []


def _routes(rtnl: "Rtnl") -> "list[LinkRoute]":
    with Step("Failed to list all routes"):
        return routes.every_of_both(rtnl)


class SourceRoutes(Effect[None], Kind):
    """A rule for each address of the interface, to a table with the interface's routes."""

    ips: "Sequence[IPConfig]" = ()
    # rules to this table, and nothing else
    table: "int | None" = None
    # by their families; they replace those of ``ips``
    gateways: "Mapping[int, Address]" = {}
    # routes without a gateway stay in the main table too
    hints: bool = False
    undoing = False
    noun = "source routes"
    # the container may have changed its own routes meanwhile
    repairable = False

    def _link(self) -> "Link":
        link, ifname = self.site.container.rtnl.link(self.attachment.ifname), self.attachment.ifname
        if link is None:
            raise CNIError(f"Cannot find network interface {ifname}: Link not found", f"in {self.site.netns}")
        return link

    def make(self) -> None:
        """Rules first: the tables are found by them. Each route is in its new table before it leaves the main one."""
        self.undoing = True
        index, rtnl = self._link().index, self.site.container.rtnl
        with NamespaceLock(self.site.container):
            present, everything = _rules(rtnl), _routes(rtnl)
            moved = [] if self.table is not None else to_move(route for route in everything if route.index == index)
            self._refuse_another(present, moved)
            if self.table is not None:
                for ip in self.ips:
                    _add(rtnl, Rule(self.table, _source(ip), priority=_PRIORITY, protocol=_STATED))
                return
            taken = {rule.table for rule in present} | {route.table for route in everything}
            for table, ip in zip(free(taken, len(self.ips)), self.ips, strict=True):
                _add(rtnl, Rule(table, _source(ip), priority=_PRIORITY, protocol=_MOVED))
                self._fill(index, table, ip, of_address(ip, self.ips, moved))
            for route in moved:
                if not self._kept(route):
                    with Step(f"Failed to delete route {route.dst}"):
                        routes.delete(rtnl, route)
            if self.hints:
                self._hint(index, moved)

    def _kept(self, route: "LinkRoute") -> bool:
        """Whether it stays in the main table too."""
        return self.hints and route.gw is None

    def _refuse_another(self, present: list[Rule], moved: "list[LinkRoute]") -> None:
        """Raise ``Refused`` or ``Remains`` if rules of this attachment exist."""
        sources = {_source(ip) for ip in self.ips}
        ours = {rule.src for rule in present if rule.protocol in _MARKS and rule.src in sources}
        if not ours:
            return
        if ours != sources or any(not self._kept(route) and not learnt(route) for route in moved):
            raise Remains(f"rules of an ADD of {self.attachment} that died exist")
        raise Refused(f"Failed to add rule: the one of {self.attachment} exists", "send DEL first")

    def _gateway(self, ip: "IPConfig") -> "Address | None":
        usable = ip.gateway if ip.gateway is not None and any(ip.gateway.packed) else None
        return self.gateways.get(ip.version, usable)

    def _fill(self, index: int, table: int, ip: "IPConfig", moved: "list[LinkRoute]") -> None:
        """Copy the routes, and add a default route if they have none, or the configuration has a gateway."""
        rtnl, gateway, default = self.site.container.rtnl, self._gateway(ip), ANY[ip.version]
        for route in moved:
            with Step(f"Failed to readd route {route.dst}", f"to table {table}"):
                routes.copy(rtnl, route, table)
        there, stated = {route.priority for route in moved if route.dst == default}, ip.version in self.gateways
        if gateway is not None and (stated or USUAL_METRIC[ip.version] not in there):
            # of equal metrics the newest IPv4 route is used, but all of IPv6
            metric = 1 if stated and ip.version == 6 else 0
            with Step(f"Failed to add default route to {gateway}", _NEAR, passed=EEXIST):
                routes.add(rtnl, index, default, gateway, priority=metric, table=table, protocol=_MOVED)
        elif not there:
            self.site.say(f"no gateway is known for {ip.address}: key gateways can name one")

    def _hint(self, index: int, moved: "list[LinkRoute]") -> None:
        """The kept routes have the address as their source. As in Go, a failure is only reported."""
        for ip in self.ips:
            network, address = ip.address.network, ip.address.address
            there = [route for route in moved if (route.dst, route.gw) == (network, None)]
            if network.length == address.bits or any(route.src == address for route in there):
                continue
            metric, rtnl = there[0].priority if there else 0, self.site.container.rtnl
            try:
                routes.add(rtnl, index, network, priority=metric, scope=SCOPE_LINK, src=address, replace=True)
            except KernelError as error:
                self.site.say(f"the route to {network} gets no source: {error}")

    def compare(self, differ: "Differ") -> None:
        """Each address has its rule, and the table its routes. Another plugin may have made the main table's."""
        index, rtnl = self._link().index, self.site.container.rtnl
        present, everything = _rules(rtnl), _routes(rtnl)
        own = [route for route in everything if route.index == index]
        for ip in self.ips:
            source = _source(ip)
            named = [rule for rule in present if rule.src == source and rule.by_source]
            named.sort(key=lambda rule: rule.protocol not in _MARKS)
            tables = [rule.table for rule in named if self.table in (None, rule.table)]
            if not tables:
                to = "a routing table" if self.table is None else f"table {self.table}"
                differ(CheckFailed(f"Rule from {source.address} to {to} not found", f"in {self.site.netns}"))
            elif self.table is None:
                self._compare_table(ip, tables[0], own, differ)

    def _compare_table(self, ip: "IPConfig", table: int, own: "list[LinkRoute]", differ: "Differ") -> None:
        where, network = f"in table {table} of {ip.address.address}", ip.address.network
        there = [route for route in own if route.table == table and route.dst.version == ip.version]
        gateway, defaults = self._gateway(ip), [route for route in there if route.dst == ANY[ip.version]]
        if network.length < network.address.bits:
            if not any(route.gw is None for route in there):
                differ(CheckFailed(f"Routes through {self.attachment.ifname} not found {where}"))
            if self.hints and not any((route.dst, route.gw) == (network, None) for route in to_move(own)):
                differ(CheckFailed(f"Route {network} not found in the main table", "addSourceHints keeps it there"))
        if gateway is not None and not any(ip.version not in self.gateways or each.gw == gateway for each in defaults):
            differ(CheckFailed(f"Default route to {gateway} not found {where}"))
        for route in to_move(own):
            again = any((route.dst, route.gw) == (each.dst, each.gw) for each in there)
            if again and not self._kept(route) and not learnt(route):
                differ(CheckFailed(f"Route {route.dst} is in the main table, and not only {where}"))

    def remove(self) -> None:
        """Remove the rules. Routes that were moved go back to the main table, if the interface still exists."""
        namespace = self.site.remaining
        if namespace is None:
            return
        rtnl = namespace.rtnl
        link = rtnl.link(self.attachment.ifname)
        with NamespaceLock(namespace):
            ours = self._found(link)
            everything = _routes(rtnl) if link is not None and ours else []
            own = [route for route in everything if link is not None and route.index == link.index]
            all_of(_back(rtnl, route, stays) for route, stays in self._to_move_back(ours, own))
            all_of(_gone(rtnl, rule) for rule in ours)

    def _to_move_back(self, ours: list[Rule], own: "list[LinkRoute]") -> "list[tuple[LinkRoute, bool]]":
        """Routes of the tables, and whether each is for the main table: not one that was made for its table alone.

        Go's sbr moves all routes, or with ``table`` none. Only prevResult shows whether it made the default route.
        """
        tables = {rule.table for rule in ours if rule.protocol == _MOVED}
        gos = set() if to_move(own) else {rule.table for rule in ours if rule.protocol == 0} - {TABLE_MAIN}
        defaults = {route.dst for route in self.site.known_routes()} if gos else set()

        def is_mains(route: "LinkRoute") -> bool:
            if route.table in gos:
                return route.dst.length > 0 or route.dst in defaults
            return route.protocol != _MOVED

        return [(route, is_mains(route)) for route in own if route.table in tables | gos]

    def _found(self, link: "Link | None") -> list[Rule]:
        """The rules of the attachment: ours, by their numbers; else those that Go's sbr made, by their addresses.

        Ours may be of an address that the interface has lost: then no link of the container has it.
        """
        container = self.site.container
        beside = container.addresses_beside(self.attachment.ifname)
        mine = {each.prefix.address for each in addresses.of(container.rtnl, link.index)} if link is not None else set()
        mine |= {prefix.address for prefix in self.site.known()} - beside
        # a kernel without rules has none to remove
        every = _rules(container.rtnl, EOPNOTSUPP)
        present = [rule for rule in every if rule.by_source and rule.src.length == rule.src.address.bits]
        ours = [rule for rule in present if rule.protocol in _MARKS]
        ours = [rule for rule in ours if rule.src.address in mine or rule.src.address not in beside]
        if ours or self.undoing:
            return ours
        return [rule for rule in present if rule.src.address in mine and rule.protocol == 0]

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        tables = free((), len(self.ips)) if self.table is None else [self.table] * len(self.ips)
        lines = []
        for table, ip in zip(tables, self.ips, strict=True):
            lines.append(f"ip rule add from {ip.address.address} lookup {table}")
            gateway = self._gateway(ip)
            if self.table is None and gateway is not None:
                lines.append(f"ip route add default via {gateway} dev {self.attachment.ifname} table {table}")
        return "\n".join(lines)


def _add(rtnl: "Rtnl", rule: Rule) -> None:
    with Step(f"Failed to add rule: from {rule.src.address} lookup {rule.table}", passed=EEXIST):
        rules.add(rtnl, rule)


def _back(rtnl: "Rtnl", route: "LinkRoute", stays: bool) -> "Callable[[], None]":
    def step() -> None:
        with Step(f"Failed to move route {route.dst} back"):
            if stays:
                routes.copy(rtnl, route, TABLE_MAIN)
            routes.delete(rtnl, route)

    return step


def _gone(rtnl: "Rtnl", rule: Rule) -> "Callable[[], None]":
    def step() -> None:
        with Step(f"Failed to delete rule from {rule.src.address} lookup {rule.table}"):
            rules.delete(rtnl, rule)

    return step
