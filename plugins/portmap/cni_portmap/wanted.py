"""The plan of one attachment's host ports, for ADD and CHECK, and the kinds that DEL and GC remove."""

from cni_portmap.go_ports import IptablesPorts
from cni_portmap.hostports import HostPorts
from cni_portmap.localnet import Localnet
from cni_portmap.published import Published
from cni_portmap.settings import previous_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.address import Address
    from cni.plan import Effect, Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_portmap.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The ports, and for IPv4 also localhost. The result is prevResult. Without ports nothing changes."""
    previous, site = previous_result(call), call.site
    published = Published.wanted(settings, [ip.address for ip in previous.of(call.attachment.ifname).ips])
    if not published.entries:
        return previous
    settings.settle(site.nftables)
    address = published.addresses.get(4) if settings.snat else None
    effects: list[Effect[None]] = [] if address is None else [Localnet(site, address, settings.guard)]
    if settings.backend == "iptables":
        # the share first: a pod with ports in Go's chains and without a share counts as Go's
        effects.append(IptablesPorts(site, published, settings))
    else:
        published.link, published.namespace = _owner(call, previous)
        effects.insert(0, HostPorts(site, published, settings.mark_bit, settings.refuse))
    for effect in effects:
        yield from effect
    return previous


def _owner(call: "Call", previous: "Result") -> tuple[str, bytes]:
    """What shows that the container is alive: the host end of its link. Without a link, its namespace's identity.

    CHECK does not look up the namespace: that may give it a number, and CHECK must not change anything.
    """
    from cni.links import named_host_end

    link = named_host_end(call.site.rtnl, previous.interfaces, call.attachment)
    namespace = call.site.remaining
    if link or namespace is None or call.verb == "CHECK":
        return link, b""
    from cni.kernel.nsid import Peers

    peers = Peers()
    try:
        return "", peers.identity(namespace)
    finally:
        peers.close()


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have made, with any configuration, by our plugin or Go's."""
    site = call.site

    def addresses() -> "list[Address]":
        return [prefix.address for prefix in site.known()]

    # removed in reverse order: Localnet can see who still needs localhost only after the ports are gone
    return [Localnet(site), HostPorts(site), IptablesPorts(site, known=addresses)]
