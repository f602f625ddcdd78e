"""The plan of one attachment, for ADD and CHECK, and the kind that DEL and GC remove."""

from cni.errors import CNIError, InvalidConfig
from cni.filtering.choice import chosen, unusable
from cni.filtering.pod import Pod
from cni.names import interface_fault
from cni_firewall.admitted import Admitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_firewall.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The rules of all addresses in prevResult, which is the result. Without addresses nothing changes."""
    previous = call.site.previous
    if previous is None:
        raise CNIError(
            "missing prevResult from earlier plugin", "put firewall behind the plugin that attaches the container"
        )
    bridge = _bridge(call, previous, settings.policy) if settings.closed else ""
    addresses = [ip.address.address for ip in previous.ips]
    if addresses:
        keys = {"admin": settings.admin, "zone": settings.zone, "policy": settings.policy if bridge else ""}
        ports = [each.name for each in previous.interfaces[1:] if not each.sandbox and not _fault(each.name)]
        backend = chosen(settings.asked)
        fault, remedy = unusable(backend, call.site.nftables) if call.verb == "ADD" else ("", "")
        if fault:
            raise CNIError(fault, remedy)
        yield from Admitted(call.site, Pod(addresses, backend, bridge, ports=ports if bridge else (), **keys))
    return previous


def _bridge(call: "Call", previous: "Result", policy: str) -> str:
    """The link that an ingress policy closes: the first interface of prevResult. Raises ``InvalidConfig`` with Go's texts.

    If it is in a container, as for macvlan, there is none: a link of the node with that name is another one.
    """
    if not previous.interfaces:
        fault = f'interface needs to be set for ingress policy "{policy}", make sure to chain "firewall" plugin with "bridge"'
        raise InvalidConfig(fault, "prevResult has no interface")
    first = previous.interfaces[0]
    if not first.name:
        raise InvalidConfig("got empty bridge name", "the first interface of prevResult has no name")
    fault = _fault(first.name)
    if fault:
        raise InvalidConfig(f"bridge {first.name!r}: {fault}", "the first interface of prevResult")
    if first.sandbox:
        call.say(
            f'firewall: ingress policy "{policy}" has no effect: {first.name}, the first interface, is not on the node'
        )
        return ""
    return first.name


def _fault(name: str) -> str:
    return interface_fault(name) or ("" if name.isprintable() else "interface name is not printable")


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have made, with any configuration, by our plugin or Go's."""
    return [Admitted(call.site)]
