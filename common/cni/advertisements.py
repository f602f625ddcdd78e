"""Keep the node's interfaces that depend on router advertisements working when IPv6 forwarding is turned on.

A node that forwards ignores advertisements on an interface unless its ``accept_ra`` is 2. When forwarding is turned on,
the kernel removes the default routes that it learnt from advertisements (ip-sysctl.rst).
"""

from errno import ENOENT

from cni.errors import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Link
    from cni.site import Site

# linux/ipv6_route.h: a route that came with an advertisement
_RTF_ADDRCONF = 0x40000
# Kinds of links to the node's own network. Other links, such as those of containers, count only if they have such a route.
_UPLINKS = ("", "bond", "team", "vlan")


def learnt(table: str) -> set[str]:
    """The interfaces with a route from an advertisement. ``table`` is the text of ``/proc/net/ipv6_route`` (pure)."""
    rows = (line.split() for line in table.splitlines())
    return {row[9] for row in rows if len(row) > 9 and int(row[8], 16) & _RTF_ADDRCONF}


def depends(link: "Link", routed: set[str]) -> bool:
    """Whether the node needs advertisements on a link: it has a route from one, or is an uplink that may get one."""
    return not link.loopback and (link.name in routed or (link.up and not link.master and link.kind in _UPLINKS))


def keep(site: "Site") -> None:
    """Let these interfaces accept advertisements although the node forwards.

    An interface that has ``accept_ra`` 0 (as our bridges) or 2, or forwards already, does not change. Raises
    ``CNIError`` if a sysctl cannot be set; no route is lost then.
    """
    with open(f"{site.node.roots.proc}/net/ipv6_route", "rb") as file:
        routed = learnt(file.read().decode("utf-8", "surrogateescape"))
    kept = []
    for link in site.rtnl.links():
        if not depends(link, routed):
            continue
        folder = f"net/ipv6/conf/{link.name}"
        step = f"failed to enable forwarding: {link.name} would lose its IPv6 routes"
        remedy = f"set {folder}/accept_ra to 2, or to 0 where no router advertises"
        with Step(step, remedy, passed=ENOENT):  # the link has no IPv6 or is gone
            if (site.sysctls.read(f"{folder}/accept_ra"), site.sysctls.read(f"{folder}/forwarding")) == ("1", "0"):
                site.sysctls.write(f"{folder}/accept_ra", "2")
                kept.append(link.name)
    if kept:
        site.say(f"the node forwards IPv6 from now on: accept_ra is 2 on {', '.join(kept)}, so that its routes stay")
