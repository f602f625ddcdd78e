"""The verbs of bridge. STATUS is asked every few seconds: what it does not need is imported by the others."""

from cni import ipam, plan
from cni.errors import CheckFailed, CNIError, NotAvailable
from cni.kernel.rtnl import Rtnl
from cni.result import Interface, Result, printed_mtu
from cni.versions import CURRENT
from cni_bridge import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call
    from cni_bridge.wanted import Attached


def add(call: "Call") -> Result:
    """Attach the container to the bridge."""
    from cni.kernel.namespace import Namespace
    from cni_bridge.wanted import Attached, removable, wanted

    said = settings.read(call)
    _settle(said)
    namespace = Namespace(call.netns)
    rtnl, learnt = Rtnl(), Attached()
    plan.make(
        lambda: wanted(call, said, rtnl, namespace, learnt),
        call.observe,
        lambda: removable(call, rtnl, namespace, said.ipam),
    )
    if call.version == CURRENT:  # its results have MTUs, and the bridge's follows its ports
        learnt.bridge = rtnl.link(said.bridge) or learnt.bridge
    return _result(call, said, learnt)


def _settle(said: settings.Settings) -> None:
    if said.masquerade or said.mac_spoof_check:
        from cni_bridge import capable

        capable.settle(said)


def _result(call: "Call", said: settings.Settings, learnt: "Attached") -> Result:
    """Interfaces in Go's order: the bridge, the host end, the container's, and the leg in a VLAN."""
    bridge, pair = learnt.bridge, learnt.pair
    assert bridge is not None and pair is not None  # noqa: S101
    links = [(bridge, ""), (pair.host, ""), (pair.container, call.netns)]
    if learnt.leg is not None:
        links.append((learnt.leg, ""))
    interfaces = [
        Interface(link.name, link.mac, sandbox, printed_mtu(link.mtu, call.version)) for link, sandbox in links
    ]
    if learnt.result is None:
        return Result(interfaces, dns=said.dns)
    found = learnt.result
    return Result(interfaces, found.ips, found.routes, found.dns if said.dns is None else said.dns)


def check(call: "Call") -> None:
    """Compare what should be with what is; what should be is prevResult."""
    from cni.kernel.namespace import Namespace
    from cni_bridge.wanted import Attached, wanted

    said = settings.read(call)
    _settle(said)
    namespace = Namespace(call.netns)
    expected = call.previous()
    if expected is None:
        raise CheckFailed("Required prevResult missing")
    rtnl = Rtnl()
    plan.compare(lambda: wanted(call, said, rtnl, namespace, Attached(), expected), call.observe)


def delete(call: "Call") -> None:
    """Remove all that there is of the attachment; an unreadable part of the configuration does not keep the rest."""
    from cni.kernel.namespace import Namespace
    from cni_bridge.wanted import removable

    errors: list[Exception] = []
    delegate = ""
    try:
        delegate = ipam.type_of(call)
    except CNIError as error:
        errors.append(error)
    # one that cannot be opened is an error before anything is removed: its other interfaces may share what would go
    namespace, rtnl = Namespace.remaining(call.netns, call.say), Rtnl()
    try:
        plan.remove(lambda: removable(call, rtnl, namespace, delegate), call.observe)
    except Exception as error:
        errors.append(error)
    plan.raise_together(errors)


def gc(call: "Call") -> None:
    """Remove what the network has on this node and no valid attachment owns."""
    from cni import valid
    from cni_bridge.wanted import removable

    rtnl = Rtnl()
    for effect, identity in valid.collect(call, lambda: removable(call, rtnl, None, ipam.type_of(call))):
        call.say(f"bridge: removed {type(effect).__name__} {identity} of network {call.network}")


def status(call: "Call") -> None:
    """The configuration must be good, the bridge's name not another link's, and the delegate ready."""
    said = settings.read(call)
    try:
        _settle(said)
    except CNIError as error:
        raise NotAvailable(error.msg, error.details) from None
    link = Rtnl().link(said.bridge)
    if link is not None and link.kind != "bridge":
        raise NotAvailable(f'"{said.bridge}" already exists but is not a bridge', "choose another name with key bridge")
    if said.masquerade and said.masquerade_backend == "nftables":
        from cni.kernel import legacy

        for name in legacy.unmarkable():
            call.say(f"bridge: {legacy.complaint(name)}")
    if said.ipam:
        ipam.status(call, said.ipam)
