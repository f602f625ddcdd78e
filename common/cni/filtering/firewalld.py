"""firewalld's zones over D-Bus: an address of a container is a source of a zone, at run time only, as Go's firewall does."""

from cni.dbus import BUS, Bus, BusError
from cni.errors import CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cni.address import Address

NAME = "org.fedoraproject.FirewallD1"
_ZONES = (NAME, "/org/fedoraproject/FirewallD1", f"{NAME}.zone")
_ALREADY, _CONFLICT, _UNKNOWN = "ZONE_ALREADY_SET", "ZONE_CONFLICT", "UNKNOWN_SOURCE"


def runs() -> bool:
    """Whether firewalld is on the system bus."""
    try:
        with Bus() as bus:
            return bool(bus.call((BUS, "/org/freedesktop/DBus", BUS), "GetNameOwner", NAME))
    except BusError:
        return False


def _source(address: "Address") -> str:
    return f"{address}/{address.bits}"


def add(addresses: "Iterable[Address]", zone: str) -> None:
    """Make addresses sources of a zone. Raises ``CNIError``."""
    with Bus() as bus:
        for source in map(_source, addresses):
            try:
                bus.call(_ZONES, "addSource", zone, source)
            except BusError as error:
                if _ALREADY not in error.msg:
                    fault = f"failed to add the address {source} to {zone} zone: {error.msg}"
                    raise CNIError(fault, _remedy(error)) from None


def _remedy(error: BusError) -> str:
    if _CONFLICT in error.msg:
        return "another zone has it: firewall-cmd --get-zone-of-source shows which; remove it there"
    return "firewalld must run, and have the zone; firewall-cmd --get-zones lists them"


def faults(addresses: "Iterable[Address]", zone: str) -> "Iterator[str]":
    """The addresses that are no sources of the zone."""
    try:
        with Bus() as bus:
            for source in map(_source, addresses):
                if not bus.call(_ZONES, "querySource", zone, source):
                    yield f"failed to find the address {source} in {zone} zone"
    except BusError as error:
        yield f"firewalld: {error.msg}"


def remove(addresses: "Iterable[Address]", zone: str = "") -> None:
    """Remove addresses from a zone, or, without one, from the zone that has them. Success if firewalld does not run."""
    if not runs():
        return
    with Bus() as bus:
        for source in map(_source, addresses):
            try:
                at = zone or str(bus.call(_ZONES, "getZoneOfSource", source) or "")
                if at:
                    bus.call(_ZONES, "removeSource", at, source)
            except BusError as error:
                if not any(word in error.msg for word in (_UNKNOWN, _CONFLICT, "INVALID_ZONE")):
                    raise CNIError(f"failed to remove the address {source} from {zone} zone: {error.msg}") from None
