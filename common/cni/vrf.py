"""The interface in its VRF, as an effect. The VRF is made if it is missing, and goes with its last interface.

The kernel keeps the record: the VRF's alias says whether it existed before, and whose ADD has not ended. When an
interface joins or leaves a VRF, the kernel sets it down and up, and so removes its routes and most of its IPv6 addresses.
"""

from errno import EAFNOSUPPORT, EEXIST, EOPNOTSUPP

from cni.errors import CheckFailed, CNIError, Refused, Step
from cni.kernel import addresses, routes, rules
from cni.kernel.exclusive import NamespaceLock
from cni.kernel.kinds import Vrf
from cni.kernel.routes import TABLE_MAIN
from cni.kernel.rtnl import missing
from cni.plan import Effect, Kind, Remains, all_of
from cni.tables import carried, free, learnt, to_move

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni.kernel.rtnl import Link, Rtnl
    from cni.plan import Differ
    from cni.result import IPConfig, Route

# Aliases of a VRF: it goes with its last interface; it was there before, without interfaces, and stays.
_MADE, _FOUND = "made by pycni", "used by pycni"
_UNFINISHED = ", unfinished: "


def _mark(vrf: "Link") -> str:
    mark = vrf.alias.partition(_UNFINISHED)[0]
    return mark if mark in (_MADE, _FOUND) else ""


def _unfinished(vrf: "Link") -> str:
    """The interface whose ADD has not ended."""
    return vrf.alias.partition(_UNFINISHED)[2] if _mark(vrf) else ""


def _table(vrf: "Link") -> int:
    """The table of a VRF, 0 for other links."""
    data = vrf.data
    return data.table if isinstance(data, Vrf) else 0


class Membership(Effect[None], Kind):
    """The interface is in the VRF, and its routes are in the VRF's table."""

    vrf: str = ""
    # 0: that of the VRF, or a free one
    table: int = 0
    # those of the interface in prevResult
    ips: "Sequence[IPConfig]" = ()
    routes: "Sequence[Route]" = ()
    noun = "membership in a VRF"
    # the container may have changed its own interface meanwhile
    repairable = False

    def make(self) -> None:
        """Look at everything first. Then the VRF, the interface in it, its addresses and routes."""
        ifname, namespace = self.attachment.ifname, self.site.container
        rtnl = namespace.rtnl
        with NamespaceLock(namespace):
            link = rtnl.link(ifname)
            if link is None:
                raise Refused(f"could not get link by name {ifname}: Link not found", f"in {self.site.netns}")
            vrf = self._existing(rtnl)
            if link.master:
                raise self._occupied(rtnl, link)
            vrf = vrf or self._create(rtnl)
            mark = _mark(vrf)
            if not vrf.alias and all(each.master != vrf.index for each in rtnl.links()):
                mark = _FOUND
            if mark:
                rtnl.change(vrf.index, alias=f"{mark}{_UNFINISHED}{ifname}")
            with Step(f"could not set vrf {self.vrf} as master of {ifname}"):
                self._move(rtnl, link, vrf.index, TABLE_MAIN, _table(vrf))
            with Step(f"could not set link up for VRF {self.vrf}"):
                rtnl.change(vrf.index, up=True, alias=mark or None)

    def _existing(self, rtnl: "Rtnl") -> "Link | None":
        vrf = rtnl.link(self.vrf)
        if vrf is not None and vrf.kind != "vrf":
            raise Refused(
                f"Netlink {self.vrf} is not a VRF", f"{self.site.netns} has a {vrf.kind or 'link'} of this name"
            )
        if vrf is not None and self.table not in (0, _table(vrf)):
            fault = f"VRF {self.vrf} already exist with different routing table {_table(vrf)}"
            raise Refused(fault, f'key "table" is {self.table}')
        return vrf

    def _occupied(self, rtnl: "Rtnl", link: "Link") -> CNIError:
        """Why the interface cannot join: another master, this attachment's own ADD, or one that died."""
        master = rtnl.link(index=link.master)
        name, ours = (master.name, _unfinished(master) == link.name) if master is not None else ("", False)
        if ours:
            return Remains(f"{link.name} is in {name} by an ADD of {self.attachment} that died")
        remedy = "send DEL first" if name == self.vrf else "an interface can have one master"
        return Refused(f"interface {link.name} has already a master set: {name}", remedy)

    def _create(self, rtnl: "Rtnl") -> "Link":
        """Make it under a derived name; it gets its own name and its alias in one step, so that DEL recognises it."""
        name, table = self.attachment.link, self.table or self._free(rtnl)
        if rtnl.link(name) is not None:
            raise Remains(f"{name} is a leftover of an ADD of {self.attachment} that died")
        with Step(f"could not add VRF {self.vrf}", {EOPNOTSUPP: missing("vrf")}):
            rtnl.add(name, Vrf(table))
            made = rtnl.link(name)
            if made is not None:
                rtnl.change(made.index, name=self.vrf, alias=_MADE, up=True)
        made = rtnl.link(self.vrf)
        if made is None:
            raise CNIError(f"could not add VRF {self.vrf}: it vanished", "did something remove it?")
        return made

    def _free(self, rtnl: "Rtnl") -> int:
        """The first table, from 1, of which nothing knows."""
        taken = {_table(link) for link in rtnl.links() if link.kind == "vrf"}
        for version, family in ((4, 2), (6, 10)):
            # the node may be without IPv6
            with Step("Failed to list rules and routes", passed=EAFNOSUPPORT):
                taken |= {each.table for each in routes.every(rtnl, family)}
                taken |= {each.table for each in rules.every(rtnl, version)}
        return free(taken, 1, 1)[0]

    def _move(self, rtnl: "Rtnl", link: "Link", master: int, source: int, target: int) -> None:
        """Join or leave. What the kernel removes comes back; addresses that were usable are usable at once."""
        own = [route for route in routes.every_of_both(rtnl) if route.index == link.index]
        before = [each for each in addresses.of(rtnl, link.index) if each.permanent and each.scope == 0]
        checked = {each.prefix: not (each.tentative or each.duplicate) for each in before}
        rtnl.change(link.index, master=master)
        now = {each.prefix: each for each in addresses.of(rtnl, link.index)}
        for prefix, usable in checked.items():
            there = now.get(prefix)
            if there is not None and usable and there.tentative:
                addresses.delete(rtnl, link.index, prefix)
            if there is None or (usable and there.tentative):
                with Step(f"could not restore address {prefix} of {link.name}", passed=EEXIST):
                    addresses.add(rtnl, link.index, prefix, detect_duplicates=not usable)

        def step(route: "routes.LinkRoute", table: int) -> "Callable[[], None]":
            def copied() -> None:
                with Step(f"could not add route {route.dst} of {link.name} to table {table}"):
                    routes.copy(rtnl, route, table)

            return copied

        all_of(step(route, table) for route, table in carried(own, source, target))

    def compare(self, differ: "Differ") -> None:
        """The VRF is there and up, with its table and the kernel's rule; the interface is in it, and so are its routes."""
        ifname, rtnl, where = self.attachment.ifname, self.site.container.rtnl, f"in {self.site.netns}"
        link, vrf = rtnl.link(ifname), rtnl.link(self.vrf)
        if link is None or vrf is None:
            raise CheckFailed(
                f"could not get link by name {ifname if link is None else self.vrf}: Link not found", where
            )
        if vrf.kind != "vrf":
            raise CheckFailed(f"Netlink {self.vrf} is not a VRF", where)
        table = _table(vrf)
        if self.table not in (0, table):
            differ(CheckFailed(f"VRF {self.vrf} has routing table {table}, and not {self.table}", where))
        if not vrf.up:
            differ(CheckFailed(f"VRF {self.vrf} is down", where))
        if not any(rule.l3mdev for rule in rules.every(rtnl, 4)):
            differ(CheckFailed("the kernel's rule for VRFs is missing", "ip rule add l3mdev pref 1000"))
        if link.master != vrf.index:
            raise CheckFailed(f"failed to find {ifname} associated to vrf {self.vrf}", where)
        own = [route for route in routes.every_of_both(rtnl) if route.index == link.index]
        there = {route.dst for route in own if route.table == table}
        wanted = [ip.address.network for ip in self.ips if ip.address.length < ip.address.address.bits]
        wanted += [route.dst.network for route in self.routes if route.table in (None, 0, TABLE_MAIN)]
        for dst in dict.fromkeys(wanted):
            if dst not in there:
                differ(CheckFailed(f"Route {dst} not found in table {table} of VRF {self.vrf}", f"of {ifname}"))
        for route in to_move(own) if table != TABLE_MAIN else ():
            if not learnt(route):
                differ(CheckFailed(f"Route {route.dst} of {ifname} is in the main table, and not in VRF {self.vrf}"))

    def remove(self) -> None:
        """Take the interface out, and remove each VRF that it was the last of. Everything may be gone already."""
        namespace = self.site.remaining
        if namespace is None:
            return
        with NamespaceLock(namespace):
            rtnl = namespace.rtnl
            link = rtnl.link(self.attachment.ifname)
            master = rtnl.link(index=link.master) if link is not None and link.master else None
            mine = master is not None and master.kind == "vrf" and bool(_mark(master) or master.name == self.vrf)
            steps: list[Callable[[], None]] = []
            if link is not None and master is not None and mine:
                steps.append(lambda: self._leave(rtnl, link, master))
            elif link is not None and master is not None:
                self.site.say(f"{link.name} in {namespace.path} has another master, {master.name}: it stays there")
            steps.append(lambda: self._sweep(rtnl, master.index if master is not None and mine else 0))
            all_of(steps)

    def _leave(self, rtnl: "Rtnl", link: "Link", vrf: "Link") -> None:
        with Step(f"could not take {link.name} out of vrf {vrf.name}"):
            if _unfinished(vrf) == link.name:
                self._restore(rtnl, link, _table(vrf))
            self._move(rtnl, link, 0, _table(vrf), TABLE_MAIN)

    def _restore(self, rtnl: "Rtnl", link: "Link", table: int) -> None:
        """What the kernel has removed when an ADD died: those IPv6 addresses and routes of prevResult that are missing."""
        from cni.interface import gateways, hop

        known = self.site.readable
        known = known.of(link.name) if known is not None else None
        if known is None:
            return
        there = {each.prefix for each in addresses.of(rtnl, link.index)}
        for ip in known.ips:
            if ip.version == 6 and ip.address not in there:
                addresses.add(rtnl, link.index, ip.address, detect_duplicates=False)
        defaults = gateways(known.ips)
        for route in known.routes:
            if route.table in (None, 0, TABLE_MAIN) and not route.fault():
                with Step(f"could not restore route {route.dst} of {link.name}", passed=EEXIST):
                    metrics = (route.mtu, route.advmss, route.priority, table, route.scope or 0)
                    routes.add(rtnl, link.index, route.dst, hop(route, defaults), *metrics)

    def _sweep(self, rtnl: "Rtnl", left: int) -> None:
        """VRFs of ours without interfaces go. One without an alias, which was just left, is that of Go's plugin."""
        links = rtnl.links()
        used = {link.master for link in links}
        for vrf in [link for link in links if link.kind == "vrf"]:
            mark, empty = _mark(vrf), vrf.index not in used
            go = not vrf.alias and vrf.index == left
            if empty and (mark == _MADE or vrf.name == self.attachment.link or go):
                with Step(f"could not remove VRF {vrf.name}"):
                    rtnl.delete(vrf.index)
            elif mark and (empty or _unfinished(vrf) == self.attachment.ifname):
                rtnl.change(vrf.index, alias="" if empty else mark)

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        return (
            f"ip link add {self.vrf} type vrf table {self.table or 1}\n"
            f"ip link set {self.attachment.ifname} master {self.vrf}"
        )
