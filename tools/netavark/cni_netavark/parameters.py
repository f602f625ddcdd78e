"""The parameters of an attachment: podman's request in the words of CNI (pure)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cni import wire
from cni.errors import CNIError
from cni.settings import chosen
from cni_netavark.conflist import Conflist
from cni_netavark.documents import PREFIXES, Attached
from cni_netavark.refusal import Refused
from libcni import NetworkConfig, NetworkConfigList, Result, RuntimeConf, inject_conf


def _given(attached: Attached, prefix: str) -> dict[str, str]:
    """The options ``PREFIX.NAME`` of the network and of the container, by NAME. The container's replace the network's."""
    both = {**attached.network.options, **(attached.wish.options or {})}
    return {name[len(prefix) :]: value for name, value in both.items() if name.startswith(prefix)}


def _capability(name: str, text: str) -> Any:
    try:
        return wire.decode(text.encode())
    except CNIError as error:
        raise Refused(f"option capability.{name} is no JSON: {error.msg.rpartition('config: ')[2]}") from None


def arguments(attached: Attached) -> dict[str, str]:
    """``CNI_ARGS``, with the names that plugins for Kubernetes and podman 4 read."""
    return {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": attached.container_name,
        "K8S_POD_NAME": attached.container_name,
        "K8S_POD_INFRA_CONTAINER_ID": attached.container_id,
        **_given(attached, "args."),
    }


def port_mappings(attached: Attached) -> list[dict[str, Any]]:
    """The value of the capability ``portMappings``."""
    return [
        {"hostPort": port.host_port, "containerPort": port.container_port, "protocol": port.protocol}
        | ({"hostIP": port.host_ip} if port.host_ip else {})
        for port in attached.ports
    ]


def parameters(attached: Attached, conflist: Conflist, netns: str, publish: bool) -> RuntimeConf:
    """The parameters of ADD. ``publish``: the ports of the container are published by this attachment.

    Raises ``Refused`` for unknown options, and if the list lacks a capability that the container needs.
    """
    for name, value in (attached.wish.options or {}).items():
        if not any(name.startswith(prefix) and name != prefix for prefix in PREFIXES):
            raise Refused(
                f"option {name} of the container ({name}={value}) is unknown; there are args.KEY and capability.NAME"
            )
    args = arguments(attached)
    capabilities = {name: _capability(name, text) for name, text in _given(attached, "capability.").items()}
    missing = sorted(set(capabilities) - conflist.capabilities)
    if missing:
        raise Refused(f"option capability.{missing[0]}: no plugin of list {conflist.net.name} declares {missing[0]}")
    if publish:
        capabilities["portMappings"] = port_mappings(attached)
    if attached.wish.aliases and "aliases" in conflist.capabilities:
        capabilities["aliases"] = {conflist.net.name: list(attached.wish.aliases)}
    _add_addresses(attached, conflist, args, capabilities)
    if attached.wish.mac and "mac" in conflist.capabilities:
        capabilities["mac"] = attached.wish.mac
    elif attached.wish.mac:
        args["MAC"] = attached.wish.mac
    return RuntimeConf(attached.container_id, netns, attached.interface, args, capabilities)


def _add_addresses(attached: Attached, conflist: Conflist, args: dict[str, str], values: dict[str, Any]) -> None:
    """The static addresses as the capability ``ips``, or a single one as ``IP`` in CNI_ARGS; see ``with_addresses``."""
    wanted = attached.wish.ips
    if not wanted:
        return
    import ipaddress

    for text in wanted:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise Refused(f"--ip {text}: this is no address") from None
    prefixes = [f"{text}/{conflist.length(text)}" for text in wanted]
    if "ips" in conflist.capabilities:
        values["ips"] = prefixes
    elif len(wanted) == 1:
        args["IP"] = prefixes[0]


def with_addresses(attached: Attached, conflist: Conflist) -> NetworkConfigList:
    """The list of ADD: several addresses are in ``args.cni.ips``, unless a plugin declares the capability ``ips``.

    ``podman network reload`` asks for both addresses of a container, also if the list has no such capability.
    """
    wanted, net = attached.wish.ips, conflist.net
    if len(wanted) < 2 or "ips" in conflist.capabilities:
        return net
    ips = [f"{text}/{conflist.length(text)}" for text in wanted]
    return replace(net, plugins=tuple(_with_ips(plugin, ips) for plugin in net.plugins))


def _with_ips(plugin: NetworkConfig, ips: list[str]) -> NetworkConfig:
    if not plugin.network.ipam_type:
        return plugin
    args = chosen(wire.decode(plugin.bytes), "args") or {}
    return inject_conf(plugin, {"args": {**args, "cni": {**(chosen(args, "cni") or {}), "ips": ips}}})


def unmet(attached: Attached, result: Result) -> str:
    """What the container wanted and did not get, because a plugin ignored it; empty if nothing."""
    got = {str(ip.address).partition("/")[0] for ip in result.ips}
    for text in attached.wish.ips:
        import ipaddress

        if str(ipaddress.ip_address(text)) not in got:
            return f"the address {text} was asked for (--ip), and the plugins gave {', '.join(sorted(got)) or 'none'}"
    macs = {found.mac.lower() for found in result.interfaces if found.sandbox and found.name == attached.interface}
    if attached.wish.mac and macs and attached.wish.mac not in macs:
        return f"the MAC {attached.wish.mac} was asked for (--mac-address), and the interface has {', '.join(macs)}"
    return ""


def publishes(attached: Attached, conflist: Conflist, others: Sequence[str]) -> bool:
    """Whether this attachment publishes the ports. podman sends them with every network of a container.

    ``others`` are the interfaces of the container's other attachments that publish them. Raises ``Refused``.
    """
    if not attached.ports or others or attached.network.options.get("ports") == "ignore":
        return False
    if "portMappings" not in conflist.capabilities:
        raise Refused(
            f"the container publishes ports, and no plugin of list {conflist.net.name} declares the capability "
            f"portMappings: add the plugin portmap to the list, or create the network with -o ports=ignore if another "
            f"network of the container publishes them"
        )
    return True
