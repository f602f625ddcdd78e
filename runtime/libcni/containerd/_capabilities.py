"""What one Setup, Remove or Check says about its container: arguments and capabilities (Go: ``NamespaceOpts``).

The members of capabilities are written with capitals, as Go's library does: its plugins match without regard to case,
and plugins in other languages must know these spellings (go-cni, `types.go`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from libcni._inputs import Pairs, StrPath, Texts, pairs_of, path_of, texts_of


@dataclass(slots=True)
class Namespace:
    """One container's call: its id, its namespace's path, arguments, capabilities."""

    id: str
    path: str
    args: dict[str, str] = field(default_factory=dict)
    capability_args: dict[str, Any] = field(default_factory=dict)


NamespaceOpt = Callable[[Namespace], None]


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A published port; ``protocol`` is ``tcp``, ``udp`` or ``sctp``, an empty ``host_ip`` is any address."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class BandWidth:
    """Rates in bits a second, bursts in bits; 0 is no limit."""

    ingress_rate: int = 0
    ingress_burst: int = 0
    egress_rate: int = 0
    egress_burst: int = 0


@dataclass(frozen=True, slots=True)
class DNSConfig:
    """Resolver settings; None is not set."""

    servers: Texts | None = None
    searches: Texts | None = None
    options: Texts | None = None


@dataclass(frozen=True, slots=True)
class IPRange:
    """A range of addresses to allocate from, in texts."""

    subnet: str = ""
    range_start: str = ""
    range_end: str = ""
    gateway: str = ""


def with_labels(labels: Pairs) -> NamespaceOpt:
    """Pairs of ``CNI_ARGS``."""
    pairs = pairs_of(labels, "labels")

    def apply(namespace: Namespace) -> None:
        namespace.args.update(pairs)

    return apply


def with_args(key: str, value: str) -> NamespaceOpt:
    """One pair of ``CNI_ARGS``; of the same key the later wins."""
    return with_labels({key: value})


def with_capability(name: str, value: Any) -> NamespaceOpt:
    """Any capability, its value written as it is."""

    def apply(namespace: Namespace) -> None:
        namespace.capability_args[name] = value

    return apply


def with_capability_port_map(mappings: Sequence[PortMapping]) -> NamespaceOpt:
    """``portMappings``."""
    listed = [
        {"HostPort": m.host_port, "ContainerPort": m.container_port, "Protocol": m.protocol, "HostIP": m.host_ip}
        for m in mappings
    ]
    return with_capability("portMappings", listed)


def with_capability_band_width(width: BandWidth) -> NamespaceOpt:
    """``bandwidth``; zeros are sent."""
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
    """``dns``; what is not set is sent as ``null``."""
    members = {"Servers": _listed(dns.servers), "Searches": _listed(dns.searches), "Options": _listed(dns.options)}
    return with_capability("dns", members)


def with_capability_ip_ranges(ranges: Sequence[IPRange], nested: bool = False) -> NamespaceOpt:
    """``ipRanges``; a flat list as Go's library sends it, which host-local refuses: ``nested`` is what it wants."""
    flat = [
        {"Subnet": r.subnet, "RangeStart": r.range_start, "RangeEnd": r.range_end, "Gateway": r.gateway} for r in ranges
    ]
    return with_capability("ipRanges", [flat] if nested else flat)


def with_capability_cgroup_path(path: StrPath) -> NamespaceOpt:
    """``cgroupPath``."""
    return with_capability("cgroupPath", path_of(path))
