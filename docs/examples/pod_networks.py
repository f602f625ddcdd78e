"""The networks of a pod with containerd's interface: the loopback network, the default network, a published port."""

from collections.abc import Sequence

from libcni import Options
from libcni.containerd import (
    Containerd,
    ContainerdCNI,
    PortMapping,
    new,
    with_capability_port_map,
    with_checkable_lo_network,
    with_default_conf,
    with_labels,
    with_options,
    with_plugin_conf_dir,
    with_plugin_dir,
)


def networks(conf_dir: str = "/etc/cni/net.d", plugin_dirs: Sequence[str] = ("/opt/cni/bin",)) -> Containerd:
    """Load the networks. Threads may share the object."""
    cni = new(with_plugin_conf_dir(conf_dir), with_plugin_dir(plugin_dirs), with_options(Options(timeout=60)))
    for error in cni.load(with_checkable_lo_network, with_default_conf):
        print(f"skipped: {error}")
    return cni


def start(cni: ContainerdCNI, pod: str, netns: str, name: str) -> str:
    """Attach a pod, and return its address. If a network fails, all are removed before the error is raised."""
    labels = with_labels({"IgnoreUnknown": "1", "K8S_POD_NAME": name})
    result = cni.setup(pod, netns, labels, with_capability_port_map([PortMapping(8080, 80)]))
    return str(result.interfaces["eth0"].ip_configs[0].ipaddress)


def stop(cni: ContainerdCNI, pod: str, netns: str) -> None:
    """Detach the pod and its port. ``netns`` is empty if the namespace is gone."""
    cni.remove(pod, netns, with_capability_port_map([PortMapping(8080, 80)]))
