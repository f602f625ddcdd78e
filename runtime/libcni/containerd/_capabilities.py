"""The options of one Setup, Remove or Check: arguments and capabilities of a container (Go: ``NamespaceOpts``).

As in Go's library, the members of capabilities begin with capitals. Go's plugins ignore case; plugins in other languages
must accept these spellings (go-cni, `types.go`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from libcni._inputs import Pairs, StrPath, Texts, pairs_of, path_of, texts_of


@dataclass(slots=True)
class Namespace:
    """The parameters of one call: the container's id, the path of its namespace, arguments, capabilities."""

    id: str
    path: str
    args: dict[str, str] = field(default_factory=dict)
    capability_args: dict[str, Any] = field(default_factory=dict)


NamespaceOpt = Callable[[Namespace], None]


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A published port. ``protocol`` is ``tcp``, ``udp`` or ``sctp``. An empty ``host_ip`` means every address."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class BandWidth:
    """Rates in bits per second, and bursts in bits. 0 means no limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


@dataclass(frozen=True, slots=True)
class DNSConfig:
    """Resolver settings. None means not set."""

    servers: Texts | None = None
    searches: Texts | None = None
    options: Texts | None = None


@dataclass(frozen=True, slots=True)
class IPRange:
    """A range of addresses to allocate from, as texts."""

    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


def with_labels(labels: Pairs) -> NamespaceOpt:
    """Set pairs of ``CNI_ARGS``."""
    pairs = pairs_of(labels, "labels")

    def apply(namespace: Namespace) -> None:
        namespace.args.update(pairs)

    return apply


def with_args(key: str, value: str) -> NamespaceOpt:
    """Set one pair of ``CNI_ARGS``. Of several pairs with the same key, the last one counts."""
    return with_labels({key: value})


def with_capability(name: str, value: Any) -> NamespaceOpt:
    """Set a capability to any value."""

    def apply(namespace: Namespace) -> None:
        namespace.capability_args[name] = value

    return apply


def with_capability_port_map(mappings: Sequence[PortMapping]) -> NamespaceOpt:
    """Set the capability ``portMappings``."""
    listed = [
        {"HostPort": m.host_port, "ContainerPort": m.container_port, "Protocol": m.protocol, "HostIP": m.host_ip}
        for m in mappings
    ]
    return with_capability("portMappings", listed)


def with_capability_band_width(width: BandWidth) -> NamespaceOpt:
    """Set the capability ``bandwidth``. Zeros are sent too."""
    members = {
        "IngressRate": width.ingress_rate,
        "IngressBurst": width.ingress_burst,
        "EgressRate": width.egress_rate,
        "EgressBurst": width.egress_burst,
    }
    return with_capability("bandwidth", members)


def _listed(texts: Texts | None) -> list[str] | None:
    return None if texts is None else list(texts_of(texts))


def with_capability_dns(dns: DNSConfig) -> NamespaceOpt:
    """Set the capability ``dns``. Members that are not set are sent as ``null``."""
    members = {"Servers": _listed(dns.servers), "Searches": _listed(dns.searches), "Options": _listed(dns.options)}
    return with_capability("dns", members)


def with_capability_ip_ranges(ranges: Sequence[IPRange], nested: bool = False) -> NamespaceOpt:
    """Set the capability ``ipRanges``. Go's library sends a flat list; host-local requires ``nested``."""
    flat = [
        {"Subnet": r.subnet, "RangeStart": r.range_start, "RangeEnd": r.range_end, "Gateway": r.gateway} for r in ranges
    ]
    return with_capability("ipRanges", [flat] if nested else flat)


def with_capability_cgroup_path(path: StrPath) -> NamespaceOpt:
    """Set the capability ``cgroupPath``."""
    return with_capability("cgroupPath", path_of(path))
