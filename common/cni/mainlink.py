"""What every plugin that gives an interface has in common: a link, IPAM, the interface, the result.

``attached`` is the whole plan of a plugin whose link is in the container alone. Others take its parts.
"""

from cni.address import ANY
from cni.errors import CheckFailed
from cni.ipam import Addresses
from cni.links import Labelled, in_go_words
from cni.result import Interface, Result, Route, printed_mtu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.kernel.kinds import LinkKind
    from cni.kernel.rtnl import Link
    from cni.links.container_link import ContainerLink
    from cni.linksettings import LinkSettings, MasqueradeSettings
    from cni.plan import Kind, Plan
    from cni.result import DNS, IPConfig
    from cni.site import Site
    from cni.skel import Call

# the main routing table
_MAIN = (None, 0, 254)


def need_previous(call: "Call", kind: str) -> None:
    """CHECK compares with prevResult; raises ``CheckFailed`` where there is none.

    ``kind`` is that of the link, or ptp: some of Go's plugins begin their messages with it.
    """
    if call.verb == "CHECK" and call.site.previous is None:
        prefix = f"{kind}: " if kind in ("dummy", "ptp", "vlan") else ""
        raise CheckFailed(prefix + in_go_words(kind, "Required prevResult missing"))


def addresses(call: "Call", settings: "LinkSettings") -> "Plan[Result]":
    """What the IPAM plugin gives this interface: addresses, routes and DNS."""
    given = (yield from Addresses(call, settings.ipam)).of(call.attachment.ifname)
    settings.check_mtu(any(ip.version == 6 for ip in given.ips))
    return given


def add_default_routes(ips: "Iterable[IPConfig]", routes: "list[Route]") -> None:
    """Each family gets one default route, through the gateway of its first address, if that has one.

    Default routes of the main table that are there are used, and get the gateway if they have none.
    """
    seen: set[int] = set()
    for ip in ips:
        if ip.version not in seen and ip.gateway is not None:
            defaults = [route for route in routes if route.dst == ANY[ip.version] and route.table in _MAIN]
            for route in defaults:
                route.gw = route.gw or ip.gateway
            if not defaults:
                routes.append(Route(ANY[ip.version], ip.gateway))
        seen.add(ip.version)


def masqueraded(site: "Site", settings: "MasqueradeSettings", ips: "Iterable[IPConfig]") -> "Plan[None]":
    """The addresses are masqueraded, if the configuration asks for it."""
    if settings.masquerade:
        from cni.masquerade import Masquerade

        backend = settings.masquerade_backend or "nftables"
        yield from Masquerade(site, [ip.address for ip in ips], backend, settings.drop_invalid)


def attached(
    call: "Call",
    settings: "LinkSettings",
    effect: "ContainerLink",
    neighbours: bool = True,
    given: "Plan[Result] | None" = None,
) -> "Plan[Result]":
    """A link in the container alone; ``configured`` has what follows the link."""
    need_previous(call, effect.kind.name)
    link = yield from effect
    layer3 = yield from configured(call, settings, link, neighbours, given)
    yield from Labelled(call.site, link, inside=True)
    return result(interfaces(call, [(link, call.netns)]), layer3, settings.dns)


def configured(
    call: "Call",
    settings: "LinkSettings",
    link: "Link",
    neighbours: bool = True,
    given: "Plan[Result] | None" = None,
) -> "Plan[Result | None]":
    """The link in the container is up, then IPAM is asked, and the interface gets what it says; None without IPAM.

    ``given`` gives the addresses in place of the IPAM plugin, or together with it.

    A DHCP client sends through the link. With ``neighbours`` duplicate IPv6 addresses are looked for, and the addresses
    are announced.
    """
    from cni.interface import NOTIFY, Announced, ConfiguredInterface, InterfaceUp

    site = call.site
    if given is None and settings.ipam:
        given = addresses(call, settings)
    yield from InterfaceUp(site, link, NOTIFY if neighbours and given is not None else {})
    if given is None:
        return None
    layer3 = yield from given
    for ip in layer3.ips:
        ip.interface = 0
    yield from ConfiguredInterface(site, layer3.ips, layer3.routes, detect_duplicates=neighbours)
    if neighbours:
        yield from Announced(site, link, layer3.ips)
    return layer3


def left(call: "Call", kind: "LinkKind") -> "list[Kind]":
    """What ``attached`` may have left, with a link of this kind."""
    from cni.links.container_link import ContainerLink

    return [ContainerLink(call.site, kind), Addresses(call)]


def interfaces(call: "Call", links: "Iterable[tuple[Link, str]]") -> list[Interface]:
    """The interfaces of a result: links with their sandboxes, the empty text for the node."""
    return [Interface(link.name, link.mac, sandbox, printed_mtu(link.mtu, call.version)) for link, sandbox in links]


def result(links: list[Interface], layer3: "Result | None", dns: "DNS | None") -> Result:
    """The result of ADD. ``layer3`` is None without IPAM; ``dns`` of the configuration replaces that of IPAM."""
    if layer3 is None:
        return Result(links, dns=dns)
    return Result(links, layer3.ips, layer3.routes, layer3.dns if dns is None else dns)
