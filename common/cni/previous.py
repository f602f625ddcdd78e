"""What a result, of IPAM or prevResult, gives one interface (pure)."""

from cni.errors import CNIError
from cni.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.address import Prefix
    from cni.site import Site


def own(result: Result, ifname: str) -> Result:
    """The result without the addresses that it puts on other interfaces (pure)."""

    def is_own(index: int | None) -> bool:
        if index is None or not 0 <= index < len(result.interfaces):
            return True
        interface = result.interfaces[index]
        return bool(interface.sandbox) and interface.name == ifname

    return Result((), [ip for ip in result.ips if is_own(ip.interface)], result.routes, result.dns)


def known(site: "Site") -> "list[Prefix]":
    """The attachment's addresses as far as prevResult has them: they help DEL to tell leftovers of Go's plugins apart."""
    try:
        previous = site.previous
    except CNIError:
        return []
    return [ip.address for ip in own(previous, site.attachment.ifname).ips] if previous is not None else []
