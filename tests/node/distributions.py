"""The conflists that distributions and runtimes write by default, as data, and how their runtimes call the plugins.

The leases of each go into a store below the test's own folder. ``masqueraded`` is what a host outside sees of a pod.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .configuration import Object, conflist
from .topology import Node

DEFAULT, DEFAULT6 = {"dst": "0.0.0.0/0"}, {"dst": "::/0"}
PORTMAP: Object = {"type": "portmap", "capabilities": {"portMappings": True}}


@dataclass(frozen=True)
class Distribution:
    """One default network: its conflist, and what holds for its pods."""

    name: str
    bridge: str
    """The name of the bridge; empty for a network without one."""
    plugins: Callable[[Path], list[Object]]
    version: str = "1.0.0"
    masqueraded: bool = True
    args: tuple[tuple[str, str], ...] = ()
    """The pairs of CNI_ARGS that the runtime passes."""
    capabilities: tuple[tuple[str, Any], ...] = ()
    prepare: Callable[[Node], None] = lambda node: None
    """What the runtime does on the node before its first pod."""

    def document(self, store: Path) -> Object:
        """The conflist, with the leases below ``store``."""
        return conflist(*self.plugins(store), name=self.name, version=self.version)

    def text(self, store: Path) -> bytes:
        """The conflist as a file's content."""
        return json.dumps(self.document(store)).encode()

    def has(self, kind: str, store: Path) -> bool:
        """Whether a plugin of this type is in the list."""
        return any(plugin["type"] == kind for plugin in self.plugins(store))


def _ipam(store: Path, *subnets: str, routes: tuple[Object, ...] = (DEFAULT,), **keys: Any) -> Object:
    ipam: Object = {"type": "host-local", "dataDir": str(store), "ranges": [[{"subnet": each}] for each in subnets]}
    return ipam | ({"routes": list(routes)} if routes else {}) | keys


def _podman(store: Path) -> list[Object]:
    ipam = _ipam(store) | {"ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]}
    bridge = {"type": "bridge", "bridge": "cni-podman0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    return [bridge | {"ipam": ipam}, PORTMAP, {"type": "firewall"}, {"type": "tuning"}]


def _podman_created(store: Path) -> list[Object]:
    """What ``podman network create --ipv6 -o isolate=1`` writes."""
    subnets = [
        [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.1"}],
        [{"subnet": "fd00:89::/64", "gateway": "fd00:89::1"}],
    ]
    ipam = _ipam(store, routes=(DEFAULT, DEFAULT6)) | {"ranges": subnets}
    bridge = {"type": "bridge", "bridge": "cni-podman1", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    firewall = {"type": "firewall", "backend": "", "ingressPolicy": "same-bridge"}
    return [bridge | {"capabilities": {"ips": True}, "ipam": ipam}, PORTMAP, firewall, {"type": "tuning"}]


def _nerdctl(store: Path) -> list[Object]:
    ipam = _ipam(store) | {"ranges": [[{"subnet": "10.4.0.0/24", "gateway": "10.4.0.1"}]]}
    bridge = {"type": "bridge", "bridge": "nerdctl0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    firewall = {"type": "firewall", "ingressPolicy": "same-bridge"}
    return [bridge | {"ipam": ipam}, PORTMAP, firewall, {"type": "tuning"}]


def _nomad(store: Path) -> list[Object]:
    bridge = {
        "type": "bridge",
        "bridge": "nomad",
        "ipMasq": True,
        "isGateway": True,
        "forceAddress": True,
        "hairpinMode": False,
        "ipam": _ipam(store, "172.26.64.0/20"),
    }
    firewall = {"type": "firewall", "backend": "iptables", "iptablesAdminChainName": "NOMAD-ADMIN"}
    return [{"type": "loopback"}, bridge, firewall, PORTMAP | {"snat": True}]


def _nomads_agent(node: Node) -> None:
    """The agent makes the administrator's chain itself, with a rule for published ports."""
    node.run("iptables", "-N", "NOMAD-ADMIN")
    node.run("iptables", "-A", "NOMAD-ADMIN", "-o", "nomad", "-d", "172.26.64.0/20", "-j", "ACCEPT")


def _crio(store: Path) -> list[Object]:
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    return [bridge | {"ipam": _ipam(store, "10.85.0.0/16", "1100:200::/24", routes=(DEFAULT, DEFAULT6))}]


def _crio_ipv4(store: Path) -> list[Object]:
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "hairpinMode": True}
    return [bridge | {"ipam": _ipam(store, "10.85.0.0/16")}]


def _minikube(store: Path) -> list[Object]:
    bridge = {
        "type": "bridge",
        "bridge": "bridge",
        "addIf": "true",  # no key of bridge's; it is there all the same
        "isDefaultGateway": True,
        "forceAddress": False,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "dataDir": str(store), "subnet": "10.244.0.0/16"},
    }
    return [bridge, PORTMAP, {"type": "firewall"}]


def _kind(store: Path) -> list[Object]:
    ipam = _ipam(store, "10.244.0.0/24", "fd00:10:244::/64", routes=(DEFAULT, DEFAULT6))
    return [{"type": "ptp", "ipMasq": False, "ipam": ipam, "mtu": 1500}, PORTMAP]


def _k3s(store: Path) -> list[Object]:
    """What flannel delegates, with the list's two other plugins."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "hairpinMode": True,
        "forceAddress": True,
        "isDefaultGateway": True,
        "isGateway": True,
        "ipMasq": False,
        "mtu": 1450,
        "ipam": _ipam(store, "10.42.0.0/24", routes=({"dst": "10.42.0.0/16"},)),
    }
    return [bridge, PORTMAP, {"type": "bandwidth", "capabilities": {"bandwidth": True}}]


def _containerd(store: Path) -> list[Object]:
    ipam = _ipam(store, "10.88.0.0/16", "2001:db8:4860::/64", routes=(DEFAULT, DEFAULT6))
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "promiscMode": True}
    return [bridge | {"ipam": ipam}, PORTMAP]


def _kubernetes_args(namespace: str) -> tuple[tuple[str, str], ...]:
    names = (("K8S_POD_NAMESPACE", namespace), ("K8S_POD_NAME", "pod"), ("K8S_POD_INFRA_CONTAINER_ID", "0"))
    return (("IgnoreUnknown", "1"), *names)


RATES = {"ingressRate": 100_000_000, "ingressBurst": 8_000_000, "egressRate": 100_000_000, "egressBurst": 8_000_000}

DISTRIBUTIONS = {
    "podman": Distribution("podman", "cni-podman0", _podman, "0.4.0", args=_kubernetes_args("podman")),
    "podman-created": Distribution("mynet", "cni-podman1", _podman_created, "0.4.0", args=_kubernetes_args("podman")),
    "nerdctl": Distribution("bridge", "nerdctl0", _nerdctl, args=(("IgnoreUnknown", "1"),)),
    "nomad": Distribution("nomad", "nomad", _nomad, "0.4.0", args=(("IgnoreUnknown", "true"),), prepare=_nomads_agent),
    "crio": Distribution("crio-bridge", "cni0", _crio, args=_kubernetes_args("default")),
    "crio-ipv4": Distribution("crio", "cni0", _crio_ipv4, args=_kubernetes_args("default")),
    "minikube": Distribution("bridge", "bridge", _minikube, "0.4.0", args=_kubernetes_args("default")),
    "kind": Distribution("kindnet", "", _kind, "0.3.1", masqueraded=False, args=_kubernetes_args("default")),
    "k3s": Distribution(
        "cbr0",
        "cni0",
        _k3s,
        masqueraded=False,
        args=_kubernetes_args("default"),
        capabilities=(("bandwidth", RATES),),
    ),
    "containerd": Distribution("containerd-net", "cni0", _containerd, args=_kubernetes_args("default")),
}
