"""What containerd's interface returns: one result for all networks, and the loaded configuration."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from libcni._configuration import conf_from_bytes
from libcni._model import NetworkConfig, NetworkConfigList
from libcni._results import DNS, IPConfig, Route
from libcni._results import Result as NetworkResult
from libcni.containerd._errors import InvalidResult


@dataclass(frozen=True, slots=True)
class Address:
    """An address without its prefix length, and its gateway (empty if there is none)."""

    ip: str
    gateway: str = ""

    @property
    def ipaddress(self) -> IPv4Address | IPv6Address:
        """The address as an object of the standard library."""
        return ip_address(self.ip)

    def document(self) -> dict[str, Any]:
        """As Go prints it."""
        return {"IP": self.ip, "Gateway": self.gateway}


@dataclass(slots=True)
class Config:
    """One interface and its addresses."""

    ip_configs: list[Address] = field(default_factory=list)
    mac: str = ""
    sandbox: str = ""
    pci_id: str = ""
    socket_path: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ip_configs, self.mac, self.sandbox, self.pci_id, self.socket_path)

    def document(self) -> dict[str, Any]:
        """As Go prints it. Without addresses, ``IPConfigs`` is ``null``."""
        return {
            "IPConfigs": [ip.document() for ip in self.ip_configs] or None,
            "Mac": self.mac,
            "Sandbox": self.sandbox,
            "PciID": self.pci_id,
            "SocketPath": self.socket_path,
        }


@dataclass(slots=True)
class Result:
    """The results of all networks as one. ``interfaces`` always has the prefix with number 0, such as ``eth0``."""

    interfaces: dict[str, Config]
    dns: list[DNS]
    routes: list[Route]
    _raw: list[NetworkResult]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.interfaces, self.dns, self.routes, self._raw)

    def raw(self) -> list[NetworkResult]:
        """The results of the networks in load order, in version 1.1.0."""
        return list(self._raw)

    def document(self) -> dict[str, Any]:
        """As Go prints it."""
        return {
            "Interfaces": {name: config.document() for name, config in sorted(self.interfaces.items())},
            "DNS": [dns.document() for dns in self.dns],
            "Routes": [route.document() for route in self.routes] or None,
        }


def combine(results: Iterable[NetworkResult], prefix: str) -> Result:
    """Combine the results of the networks.

    Of interfaces with the same name, the last one counts. Addresses without an interface belong to the first interface.
    Raises ``InvalidResult`` for an address whose interface does not exist. (Go crashes if the index is the number of
    interfaces, or negative.)
    """
    raw = [result.as_version("1.1.0") for result in results]
    interfaces = {f"{prefix}0": Config()}
    for result in raw:
        names = [interface.name for interface in result.interfaces]
        for interface in result.interfaces:
            interfaces[interface.name] = Config(
                [], interface.mac, interface.sandbox, interface.pci_id, interface.socket_path
            )
        for ip in result.ips:
            name = f"{prefix}0" if ip.interface is None else _interface(ip, names)
            gateway = "" if ip.gateway is None else str(ip.gateway)
            interfaces[name].ip_configs.append(Address(str(ip.address.address), gateway))
    routes = [route for result in raw for route in result.routes]
    return Result(interfaces, [result.dns for result in raw], routes, raw)


def _interface(ip: IPConfig, names: Sequence[str]) -> str:
    index = ip.interface
    assert index is not None  # noqa: S101
    if not 0 <= index < len(names):
        raise InvalidResult(
            "invalid interface config: invalid IP configuration "
            f"(interface number {index} is > number of interfaces {len(names)})"
        )
    return names[index]


@dataclass(frozen=True, slots=True)
class ConfNetwork:
    """A loaded network, and the name of its interface in the container."""

    config: NetworkConfigList
    if_name: str

    def document(self) -> dict[str, Any]:
        """As containerd shows it under ``cniconfig``."""
        plugins = [
            {"Network": _shown(plugin), "Source": plugin.bytes.decode("utf-8", "replace")}
            for plugin in self.config.plugins
        ]
        shown = {
            "Name": self.config.name,
            "CNIVersion": self.config.cni_version,
            "Plugins": plugins,
            "Source": self.config.bytes.decode("utf-8", "replace"),
        }
        return {"Config": shown, "IFName": self.if_name}


def _shown(plugin: NetworkConfig) -> dict[str, Any]:
    network = conf_from_bytes(plugin.bytes).network
    shown: dict[str, Any] = {"cniVersion": network.cni_version, "name": network.name, "type": network.type}
    shown |= {"capabilities": dict(network.capabilities)} if network.capabilities else {}
    shown["ipam"] = {"type": network.ipam_type} if network.ipam_type else {}
    shown["dns"] = dict(network.dns)
    return {name: value for name, value in shown.items() if value or name == "ipam"}


@dataclass(frozen=True, slots=True)
class ConfigResult:
    """The settings and the loaded networks."""

    plugin_dirs: Sequence[str]
    plugin_conf_dir: str
    plugin_max_conf_num: int
    prefix: str
    networks: Sequence[ConfNetwork]

    def document(self) -> dict[str, Any]:
        """As containerd shows it under ``cniconfig``."""
        return {
            "PluginDirs": list(self.plugin_dirs),
            "PluginConfDir": self.plugin_conf_dir,
            "PluginMaxConfNum": self.plugin_max_conf_num,
            "Prefix": self.prefix,
            "Networks": [network.document() for network in self.networks],
        }
