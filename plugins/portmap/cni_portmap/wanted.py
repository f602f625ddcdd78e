"""What should be for one attachment's host ports: the one description that every verb follows."""

from cni_portmap import settings
from cni_portmap.go_ports import GoTables, IptablesPorts
from cni_portmap.hostports import HostPorts
from cni_portmap.localnet import Localnet
from cni_portmap.published import Published

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.address import Address
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.site import Site
    from cni.skel import Call
    from cni_portmap.settings import Settings, Target


def wanted(call: "Call", said: "Settings") -> "Plan[Result]":
    """Ports, and with IPv4 localhost; the result is prevResult. Without ports nothing is touched."""
    previous = settings.previous(call)
    targets = settings.targets(said, previous, call.attachment.ifname)
    if not targets:
        return previous
    said.settle(call.site.nftables)
    site = call.site
    if said.backend == "iptables":
        # the share in the link first: one that has ports in Go's chains and no share is taken for Go's
        yield from _localnet(site, said, targets)
        yield from IptablesPorts(site, targets, said)
    else:
        words = {version: " ".join(conditions) for version, conditions in said.conditions.items()}
        link, identity = _owner(call, previous)
        published = Published.wanted(targets, said.snat, said.masq_all, link, words, identity)
        yield from HostPorts(site, published, said.mark_bit, said.refuse)
        yield from _localnet(site, said, targets)
    return previous


def _localnet(site: "Site", said: "Settings", targets: "Sequence[Target]") -> "Plan[None]":
    for target in targets:
        if target.version == 4 and said.snat:
            yield from Localnet(site, target.prefix.address, said.guard)


def _owner(call: "Call", previous: "Result") -> tuple[str, bytes]:
    """By what the container is known to live: the host end of its link, or, where there is none, its namespace.

    CHECK does not ask for the namespace, because that may give it a number, and CHECK writes nothing.
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
    """All that an ADD may have left, whatever the configuration says by now, and whoever made it."""
    site = call.site

    def addresses() -> "list[Address]":
        return [prefix.address for prefix in site.known()]

    # removed in reverse: when the ports are gone it is known whether anybody needs localhost
    return [Localnet(site), HostPorts(site), IptablesPorts(site, known=addresses), GoTables(site, addresses)]
