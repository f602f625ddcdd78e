"""The plan of one attachment's limits, and the kinds that DEL and GC remove."""

from cni.errors import CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_bandwidth.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The limits of both ways. The result is prevResult with the ifb. Without limits nothing changes."""
    previous, site = call.site.previous, call.site
    if previous is None:
        chained = "chained plugin" if call.verb == "ADD" else "a chained plugin"
        raise CNIError(f"must be called as {chained}", "put bandwidth behind the plugin that attaches the container")
    if not settings.limited:
        return previous
    from cni.links.limit import EgressLimit, IngressLimit, Redirected, limited_end
    from cni.result import Interface

    host = limited_end(site)
    ingress, egress = (settings.limit(way, host.mtu) for way in ("ingress", "egress"))
    if ingress is not None:
        yield from IngressLimit(site, host, ingress)
    if egress is not None:
        ifb = yield from EgressLimit(site, host.mtu, egress)
        yield from Redirected(site, host, ifb)
        previous.interfaces.append(Interface(ifb.name, ifb.mac))
    return previous


def left(call: "Call") -> "list[Kind]":
    """What an ADD may have left."""
    from cni.links.limit import EgressLimit, IngressLimit, Redirected

    return [IngressLimit(call.site), EgressLimit(call.site), Redirected(call.site)]
