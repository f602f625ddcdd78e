"""What should be for one attachment's host ports: the one description that every verb walks."""

from cni_portmap import settings
from cni_portmap.go_tables import GoTables
from cni_portmap.hostports import HostPorts
from cni_portmap.iptables_ports import IptablesPorts
from cni_portmap.localnet import Localnet
from cni_portmap.owned import Owned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.address import Address
    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Rtnl
    from cni.plan import Stages
    from cni.skel import Call
    from cni_portmap.settings import Settings, Target


def wanted(
    call: "Call",
    said: "Settings",
    targets: "Sequence[Target]",
    rtnl: "Rtnl",
    namespace: "Namespace | None",
    link: str = "",
) -> "Stages":
    """The stages of ADD and CHECK; ``link`` is the host end of the container's link, by which it is known to live."""
    who = call.attachment
    localnet = [
        Localnet(who, rtnl, call.say, target.prefix.address, said.guard)
        for target in targets
        if target.version == 4 and said.snat
    ]
    if said.backend == "iptables":
        # the share in the link first: who has ports in Go's chains and no share is taken for Go's
        yield localnet
        yield [IptablesPorts(who, rtnl, namespace, call.say, targets, said)]
        return
    words = {version: " ".join(conditions) for version, conditions in said.conditions.items()}
    identity = _identity(namespace) if namespace is not None and call.verb == "ADD" and not link else b""
    owned = Owned.wanted(targets, said.snat, said.masq_all, link, words, identity)
    yield [HostPorts(who, rtnl, call.say, owned, said.mark_bit, said.refuse)]
    yield localnet


def _identity(namespace: "Namespace") -> bytes:
    """Of the container's namespace: shows whether the container lives if it has no link on the node."""
    from cni.kernel.nsid import Peers

    peers = Peers()
    try:
        return peers.identity(namespace)
    finally:
        peers.close()


def removable(call: "Call", rtnl: "Rtnl", namespace: "Namespace | None") -> "Stages":
    """What may be there of an attachment, whatever the configuration says today, and whoever made it."""
    who = call.attachment
    # removed in reverse: whether anybody needs localhost is known when the ports are gone
    yield [Localnet(who, rtnl, call.say)]

    def known() -> "list[Address]":
        return settings.known(call)

    iptables = IptablesPorts(who, rtnl, namespace, call.say, known=known)
    yield [HostPorts(who, rtnl, call.say), iptables, GoTables(who, namespace, known)]
