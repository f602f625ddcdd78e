"""The JSON documents between podman and the driver: netavark's plugin interface, version 1.0.0 (pure).

Unknown members are ignored when they are read, and kept in a network's document, because later versions of podman add
some.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cni_netavark.refusal import Refused
from libcni import DNS, Result

# Options with a name of the user's, of a network and of a container in it: a pair in CNI_ARGS, the value of a capability.
PREFIXES = ("args.", "capability.")


def member(document: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    """A member of an object, or an empty value of ``kind`` if it is missing or null. Raises ``Refused``."""
    value = document.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refused(f"podman sent {where}.{name} as {type(value).__name__}, the driver reads {kind.__name__}")
    return value


def texts(document: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """A list of texts, which may be missing. Raises ``Refused``."""
    found = member(document, name, list, where)
    if not all(isinstance(item, str) for item in found):
        raise Refused(f"podman sent {where}.{name} with something else than texts in it")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Port:
    """One published port of the host."""

    host_ip: str
    """Empty: on all addresses."""
    host_port: int
    container_port: int
    protocol: str


def ports(entries: Iterable[Any]) -> tuple[Port, ...]:
    """The published ports, one by one. An entry may be a range, and may have several protocols. Raises ``Refused``."""
    found = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise Refused("podman sent a port mapping that is no object")
        host, container = (member(entry, name, int, "port_mappings") for name in ("host_port", "container_port"))
        count = member(entry, "range", int, "port_mappings") or 1
        protocols = (member(entry, "protocol", str, "port_mappings") or "tcp").split(",")
        host_ip = member(entry, "host_ip", str, "port_mappings")
        if min(host, container) < 1 or max(host, container) + count - 1 > 65535 or count < 1:
            raise Refused(f"the port mapping {host}:{container} with a range of {count} is outside of 1 to 65535")
        found += [
            Port(host_ip, host + step, container + step, protocol.strip().lower())
            for step in range(count)
            for protocol in protocols
        ]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Network:
    """A network of podman. ``document`` is all that podman stores about it."""

    name: str
    options: Mapping[str, str]
    document: Mapping[str, Any]

    @classmethod
    def parse(cls, document: Any) -> "Network":
        """Raises ``Refused``."""
        if not isinstance(document, dict):
            raise Refused("podman sent a network that is no object")
        options = member(document, "options", dict, "network")
        if not all(isinstance(value, str) for value in options.values()):
            raise Refused("podman sent network.options with something else than texts in it")
        return cls(member(document, "name", str, "network"), options, document)


@dataclass(frozen=True, slots=True)
class Attached:
    """A container in a network: what ``setup`` and ``teardown`` get."""

    container_id: str
    container_name: str
    network: Network
    ports: tuple[Port, ...]
    interface: str
    wish: "Wish"

    @classmethod
    def parse(cls, document: Any) -> "Attached":
        """Raises ``Refused``."""
        if not isinstance(document, dict):
            raise Refused("podman sent a document that is no object")
        own = member(document, "network_options", dict, "request")
        options = member(own, "options", dict, "network_options")
        return cls(
            container_id=member(document, "container_id", str, "request"),
            container_name=member(document, "container_name", str, "request"),
            network=Network.parse(document.get("network")),
            ports=ports(member(document, "port_mappings", list, "request")),
            interface=member(own, "interface_name", str, "network_options"),
            wish=Wish(
                texts(own, "static_ips", "network_options"),
                member(own, "static_mac", str, "network_options").lower(),
                texts(own, "aliases", "network_options"),
                {str(name): str(value) for name, value in options.items()},
            ),
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """What a container wants in one network (``--ip``, ``--mac-address``, ``--network NAME:key=value``)."""

    ips: tuple[str, ...] = ()
    mac: str = ""
    aliases: tuple[str, ...] = ()
    options: Mapping[str, str] | None = None


def status(result: Result, interface: str, dns: DNS) -> dict[str, Any]:
    """What ``setup`` prints. podman shows it in ``podman inspect``, and writes /etc/hosts and resolv.conf from it.

    ``interface`` is the container's. Addresses of other interfaces, which a plugin may have made, are not listed.
    """
    inside = [at for at, found in enumerate(result.interfaces) if found.sandbox and found.name == interface]
    mac = next((result.interfaces[at].mac for at in inside if result.interfaces[at].mac), "")
    subnets = []
    for ip in result.ips:
        if ip.interface is None or ip.interface in inside:
            subnets.append({"ipnet": str(ip.address)} | ({"gateway": str(ip.gateway)} if ip.gateway else {}))
    found = {"mac_address": mac, "subnets": subnets}
    return {
        "dns_server_ips": list(dns.nameservers),
        "dns_search_domains": [*dns.search, *([dns.domain] if dns.domain and dns.domain not in dns.search else [])],
        "interfaces": {interface: found},
    }
