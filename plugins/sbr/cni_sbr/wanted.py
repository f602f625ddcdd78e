"""What should be for one attachment of sbr."""

from cni.errors import CheckFailed, InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_sbr.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """Rules and tables for the interface's addresses. The result is prevResult."""
    previous, ifname = call.site.previous, call.attachment.ifname
    if previous is None:
        fault = "This plugin must be called as chained plugin"
        raise (
            CheckFailed(fault) if call.verb == "CHECK" else InvalidConfig(fault, "put it behind the interface's plugin")
        )
    if not previous.ips:
        remedy = "the plugin before it needs an IPAM plugin"
        raise InvalidConfig(f"No IP addresses supplied on interface: {ifname}", remedy)
    ips = previous.of(ifname).ips
    if ips:
        from cni.sourceroutes import SourceRoutes

        yield from SourceRoutes(call.site, ips, settings.table, settings.gateways, settings.hints)
    else:
        call.say(f"sbr: no address of prevResult is of {ifname}: its routes stay as they are")
    return previous


def left(call: "Call") -> "list[Kind]":
    """What an ADD may have made, with any configuration. It is in the container, where GC does not look."""
    if call.verb == "GC":
        return []
    from cni.sourceroutes import SourceRoutes

    return [SourceRoutes(call.site)]
