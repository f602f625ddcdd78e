"""``create``: whether a podman network can be what a list is, and what ``podman network inspect`` shows (pure).

podman accepts every option of ``podman network create`` for a driver, so refusing one is the driver's part.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from cni_netavark.conflist import Conflist
from cni_netavark.documents import PREFIXES, Network, member
from cni_netavark.refusal import Refused

# The options of the driver (`-o NAME=VALUE`), with what they are for.
OPTIONS = {
    "conflist": "the list: a name in the configuration folder, or a path; without it, the name of the network",
    "conf_dir": "the folders of the lists, with colons between them",
    "plugin_dir": "the folders of the plugins, with colons between them",
    "ports": "'ignore': publish nothing, although containers have ports (another network of theirs publishes them)",
    "dns": "'false': containers of the network have no names for each other (the same as --disable-dns)",
    "timeout": "seconds that ADD or DEL may take",
}


def is_option(name: str) -> bool:
    """Whether the driver has an option of this name."""
    return name in OPTIONS or any(name.startswith(prefix) and name != prefix for prefix in PREFIXES)


# Plugins whose interface comes from a link of the node, which a user's podman does not have.
OF_THE_NODE = ("macvlan", "ipvlan", "vlan", "host-device", "sriov")


def created(network: Network, conflist: Conflist, rootless: bool = False) -> dict[str, Any]:
    """The document that podman stores. Raises ``Refused`` with every option that the list does not serve.

    ``rootless``: podman runs in a user namespace.
    """
    faults = [*_unknown(network), *_unserved(network.document, conflist)]
    if rootless:
        faults += _needs_the_node(conflist)
    if faults:
        raise Refused("; ".join(faults))
    options = dict(network.options)
    if network.document.get("dns_enabled") is False:
        options["dns"] = "false"  # podman forgets it, because it sets dns_enabled to false for each network of a driver
    shown = {
        "options": options,
        "network_interface": network.document.get("network_interface") or conflist.link,
        "subnets": [found.document() for found in conflist.ranges],
        "ipv6_enabled": any(found.subnet.version == 6 for found in conflist.ranges),
        # without this, podman would choose addresses of the subnets itself
        "ipam_options": {"driver": "none"},
    }
    return {**network.document, **{name: value for name, value in shown.items() if value or name == "ipv6_enabled"}}


def _needs_the_node(conflist: Conflist) -> Iterator[str]:
    for plugin in conflist.net.plugins:
        if plugin.network.type in OF_THE_NODE:
            yield (
                f"plugin {plugin.network.type} of list {conflist.net.name} needs a link of the node, and podman without "
                f"root has none: run podman as root, or use a bridge"
            )


def _unknown(network: Network) -> Iterator[str]:
    for name, value in network.options.items():
        if not is_option(name):
            known = [*OPTIONS, "args.KEY", "capability.NAME"]
            yield f"option {name} (-o {name}={value}) is unknown; this driver has {', '.join(known)}"
    for name, only in (("ports", "ignore"), ("dns", "false")):
        if network.options.get(name, only) != only:
            yield f"option {name} is {network.options[name]!r}; the only value is {only!r}"


def _unserved(document: Mapping[str, Any], conflist: Conflist) -> Iterator[str]:
    """A text for each option of ``podman network create`` that the list does not serve."""
    name = conflist.net.name
    if document.get("internal"):
        yield f"--internal: list {name} decides whether containers reach other networks; leave the option out"
    ipam = member(document, "ipam_options", dict, "network").get("driver")
    if ipam not in (None, "", "none", conflist.ipam):
        has = f"has the IPAM plugin {conflist.ipam}" if conflist.ipam else "has no IPAM plugin"
        yield f"--ipam-driver {ipam}: list {name} {has}; leave the option out"
    link = document.get("network_interface")
    if link and link != conflist.link:
        yield f"--interface-name {link}: the interface of list {name} is {conflist.link or 'not known'}"
    if document.get("ipv6_enabled") and not any(found.subnet.version == 6 for found in conflist.ranges):
        yield f"--ipv6: list {name} has no IPv6 range"
    if member(document, "routes", list, "network"):
        yield f"--route: list {name} decides the routes; write them there"
    for subnet in member(document, "subnets", list, "network"):
        yield from _subnet_fault(subnet, conflist)


def _subnet_fault(subnet: Mapping[str, Any], conflist: Conflist) -> Iterator[str]:
    """A text if the list does not have the subnet, or another gateway or range in it."""
    text = str(subnet.get("subnet", ""))
    try:
        wanted = ipaddress.ip_network(text)
    except ValueError:
        yield f"--subnet {text}: this is no subnet"
        return
    found = next((found for found in conflist.ranges if found.subnet == wanted), None)
    if found is None:
        served = ", ".join(str(other.subnet) for other in conflist.ranges) or "none that this driver can read"
        yield f"--subnet {text}: list {conflist.net.name} does not serve it; its subnets: {served}"
        return
    gateway = subnet.get("gateway")
    # podman chooses the first address if no gateway is given
    if gateway and gateway not in (found.gateway, str(wanted[1])):
        yield f"--gateway {gateway}: list {conflist.net.name} has gateway {found.gateway} in {text}"
    lease = subnet.get("lease_range") or {}
    given = (lease.get("start_ip") or "", lease.get("end_ip") or "")
    if any(given) and given != (found.start, found.end):
        yield f"--ip-range: list {conflist.net.name} decides the range in {text}; leave the option out"
