"""host-local: one address of each range set is leased. The container's namespace is not used."""

from cni.address import Prefix
from cni.result import IPConfig, Result
from cni_host_local.leases import Leases
from cni_host_local.settings import data_dir, dns
from cni_host_local.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.skel import Call
    from cni_host_local.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """One lease of each range set. CHECK compares the leases with the addresses of prevResult."""
    found = dns(settings.resolv_conf) if call.verb == "ADD" else None
    got = yield from Leases(call.site, _store(call), settings.sets, settings.requested)
    ips = [IPConfig(Prefix(address, member.subnet.length), member.gateway) for member, address in got]
    return Result((), ips, settings.routes, found)


def left(call: "Call") -> "list[Kind]":
    """The attachment's leases. Only ``dataDir`` is read from the configuration, so other keys cannot prevent DEL."""
    return [Leases(call.site, _store(call))]


def _store(call: "Call") -> Store:
    return Store(data_dir(call), call.network)
