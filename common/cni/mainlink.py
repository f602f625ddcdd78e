"""What every plugin that gives an interface has in common: addresses from IPAM on the link, and the result."""

from cni.errors import CheckFailed
from cni.ipam import Addresses
from cni.previous import own
from cni.result import Interface, Result, printed_mtu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.kernel.rtnl import Link
    from cni.plan import Plan
    from cni.result import DNS
    from cni.skel import Call


def need_previous(call: "Call") -> None:
    """CHECK compares with prevResult; raises ``CheckFailed`` where there is none."""
    if call.verb == "CHECK" and call.site.previous is None:
        raise CheckFailed("Required prevResult missing")


def addresses(call: "Call", ipam: str) -> "Plan[Result]":
    """What the IPAM plugin ``ipam`` gives this interface: addresses, routes and DNS."""
    result = yield from Addresses(call, ipam)
    return own(result, call.attachment.ifname)


def interfaces(call: "Call", links: "Iterable[tuple[Link, str]]") -> list[Interface]:
    """The interfaces of a result: links with their sandboxes, the empty text for the node."""
    return [Interface(link.name, link.mac, sandbox, printed_mtu(link.mtu, call.version)) for link, sandbox in links]


def result(links: list[Interface], layer3: "Result | None", dns: "DNS | None") -> Result:
    """The result of ADD. ``layer3`` is None without IPAM; ``dns`` of the configuration replaces that of IPAM."""
    if layer3 is None:
        return Result(links, dns=dns)
    return Result(links, layer3.ips, layer3.routes, layer3.dns if dns is None else dns)
