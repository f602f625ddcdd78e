"""The link that a macvlan, ipvlan or vlan is on, and the keys that name it: Go's plugins call it the master."""

import os

from cni.errors import CNIError, InvalidConfig, NotAvailable, Step
from cni.linksettings import LinkSettings, link_dns
from cni.settings import Declared, boolean, integer, key, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Link, Rtnl
    from cni.result import DNS
    from cni.site import Site
    from cni.skel import Call

_UNICAST = 1


class ParentSettings(LinkSettings):
    """Settings of a plugin whose link is on another one."""

    # fmt: off
    master: str = key(
        "master", string, "", "the link that the interface is on, by its name or an alternative name;"
        " by default that of the default route")
    in_container: bool = key("linkInContainer", boolean, False, "`master` is in the container, and not on the node")
    mtu: int = key("mtu", integer, 0, "MTU of the interface, at most that of `master`; 0: the same")
    dns: "DNS | None" = link_dns()
    # fmt: on
    # whether ``mtu`` may not be above that of the parent
    mtu_limited = True

    def parent(self, site: "Site") -> "Parent":
        """The link that ``master`` names, large enough for ``mtu``; raises ``CNIError``."""
        rtnl = site.container.rtnl if self.in_container else site.rtnl
        with Step(f'failed to lookup master "{self.master}"'):
            link = _named(rtnl, self.master) if self.master else _of_default_route(rtnl)
        if link is None and self.master:
            where = f"in {site.netns}" if self.in_container else "on the node"
            text = f'failed to lookup master "{self.master}": Link not found'
            raise InvalidConfig(text, f"no link {where} has this name; change key master")
        if link is None:
            raise InvalidConfig("no default route interface found", "name a link with key master")
        if self.mtu_limited and not 0 <= self.mtu <= link.mtu:
            text = f"invalid MTU {self.mtu}, must be [0, master MTU({link.mtu})]"
            raise InvalidConfig(text, f"change key mtu, or the MTU of {link.name}")
        return Parent(link, self.in_container)

    def ready(self, call: "Call", kind: str) -> None:
        """STATUS: the parent is there, and what other links need. One in the container cannot be looked for."""
        if not self.in_container:
            try:
                self.parent(call.site)
            except CNIError as error:
                raise NotAvailable(error.msg, error.details) from None
        super().ready(call, kind)


class Parent(Declared):
    """A link of the node, or of the container."""

    link: "Link"
    in_container: bool

    def carries(self, site: "Site", link: "Link") -> bool:
        """Whether a link of the container is on this one, as far as the kernel reports it.

        The kernel puts a link on what a parent of the same kind is on.
        """
        parent, rtnl = self.link, site.container.rtnl if self.in_container else site.rtnl
        while parent.kind == link.kind in ("macvlan", "ipvlan"):
            below = rtnl.link(index=parent.other) if parent.other_namespace == -1 else None
            if below is None:  # it is in another namespace
                return True
            parent = below
        expected = -1 if self.in_container else _number_of_node(site)
        return (link.parent, link.other_namespace) == (parent.index, expected)


def _named(rtnl: "Rtnl", name: str) -> "Link | None":
    # the kernel would read a name up to its zero byte
    return None if "\0" in name else rtnl.link(name)


def _of_default_route(rtnl: "Rtnl") -> "Link | None":
    """IPv4's route counts first; of one family that with the lowest metric."""
    from cni.kernel import routes

    for family in (2, 10):
        found = [
            route
            for route in routes.every(rtnl, family)
            if not route.dst.length and route.table == routes.TABLE_MAIN and route.kind == _UNICAST and route.index
        ]
        if found:
            return rtnl.link(index=min(found, key=lambda route: route.priority).index)
    return None


def _number_of_node(site: "Site") -> int:
    """The number that the container's namespace has for that of the node."""
    from cni.kernel.nsid import Peers

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with site.container:
            peers = Peers()
        try:
            return peers.number(home)
        finally:
            peers.close()
    finally:
        os.close(home)
