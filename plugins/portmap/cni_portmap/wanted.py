"""The plan of one attachment's host ports, for ADD and CHECK, and the kinds that DEL and GC remove."""

from cni_portmap.go_ports import GoTables, IptablesPorts
from cni_portmap.hostports import HostPorts
from cni_portmap.localnet import Localnet
from cni_portmap.published import Published
from cni_portmap.settings import previous_result, targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.address import Address
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.site import Site
    from cni.skel import Call
    from cni_portmap.settings import Settings, Target


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The ports, and for IPv4 also localhost. The result is prevResult. Without ports nothing changes."""
    previous, site = previous_result(call), call.site
    found = targets(settings, previous, call.attachment.ifname)
    if not found:
        return previous
    settings.settle(site.nftables)
    if settings.backend == "iptables":
        # the share first: a pod with ports in Go's chains and without a share counts as Go's
        yield from _localnet(site, settings, found)
        yield from IptablesPorts(site, found, settings)
    else:
        words = {version: " ".join(conditions) for version, conditions in settings.conditions.items()}
        link, identity = _owner(call, previous)
        published = Published.wanted(found, settings.snat, settings.masq_all, link, words, identity)
        yield from HostPorts(site, published, settings.mark_bit, settings.refuse)
        yield from _localnet(site, settings, found)
    return previous


def _localnet(site: "Site", settings: "Settings", targets: "Sequence[Target]") -> "Plan[None]":
    for target in targets:
        if target.version == 4 and settings.snat:
            yield from Localnet(site, target.prefix.address, settings.guard)


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
    return [Localnet(site), HostPorts(site), IptablesPorts(site, known=addresses), GoTables(site, addresses)]
