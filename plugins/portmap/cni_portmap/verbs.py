"""The verbs of portmap."""

from cni import plan
from cni.errors import LimitedConnectivity
from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Rtnl
from cni_portmap import settings
from cni_portmap.wanted import removable, wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.result import Result
    from cni.skel import Call


def add(call: "Call") -> "Result":
    """Publish the ports; the answer is prevResult. Without ports nothing is touched."""
    said = settings.read(call)
    previous = settings.previous(call)
    targets = settings.targets(said, previous, call.attachment.ifname)
    if not targets:
        return previous
    from cni_portmap import capable
    from cni_portmap.holder import host_link

    capable.settle(said)
    rtnl, namespace = Rtnl(), Namespace.remaining(call.netns, call.say)
    link = host_link(previous.interfaces, call.attachment, rtnl)
    plan.make(
        lambda: wanted(call, said, targets, rtnl, namespace, link),
        call.observe,
        lambda: removable(call, rtnl, namespace),
    )
    return previous


def check(call: "Call") -> None:
    """Compare what should be with what is."""
    said = settings.read(call)
    previous = settings.previous(call)
    targets = settings.targets(said, previous, call.attachment.ifname)
    rtnl = Rtnl()
    if targets:
        from cni_portmap import capable

        capable.settle(said)
        plan.compare(lambda: wanted(call, said, targets, rtnl, Namespace.remaining(call.netns, call.say)), call.observe)


def delete(call: "Call") -> None:
    """Remove all that there is of the attachment; without looking at runtimeConfig, and without need of prevResult."""
    # one that cannot be opened is an error: without it the rules of its other interfaces would be taken for this one's
    rtnl, namespace = Rtnl(), Namespace.remaining(call.netns, call.say)
    plan.remove(lambda: removable(call, rtnl, namespace), call.observe)


def gc(call: "Call") -> None:
    """Remove what the network has on this node and no valid attachment owns."""
    from cni import valid

    rtnl = Rtnl()
    for effect, identity in valid.collect(call, lambda: removable(call, rtnl, None)):
        call.say(f"portmap: removed {type(effect).__name__} {identity} of network {call.network}")


def status(call: "Call") -> None:
    """The configuration must be good, its programs there, and packets for containers not all thrown away.

    Raises ``NotAvailable``, ``LimitedConnectivity``.
    """
    from cni_portmap import forwarding

    said = settings.read(call)
    forwarding.need_programs(said)
    if said.backend == "nftables" and any(said.conditions.values()):
        from cni_portmap import hostports

        hostports.judge(said.conditions)
    for chain in forwarding.chains_that_drop():
        what = f"{chain.where} drops what no rule accepts"
        if not chain.rules:
            raise LimitedConnectivity(f"{what}, and has no rule: mapped ports cannot be reached", chain.remedy)
        call.say(f"portmap: {what}: mapped ports are reached only if one of its rules accepts them; {chain.remedy}")
