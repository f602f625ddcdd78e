"""The attachments with dhcp in the cache of Go's libcni, which runtimes keep: from them the leases of Go's daemon are known."""

import binascii
import os
from collections.abc import Iterator
from typing import Any

from cni import result, wire
from cni.attachment import Attachment
from cni.errors import CNIError
from cni.file_content import read
from cni.names import check_container, check_interface, check_network
from cni.settings import chosen
from cni_dhcp import SOCKET
from cni_dhcp.options import provided, requested
from cni_dhcp.settings import Settings

FOLDER = "/var/lib/cni/results"
_KIND = "cniCacheV1"
_MOST = 16 << 20


class Recorded:
    """An attachment, as the runtime recorded it: its namespace, and what the plugin would ask the daemon."""

    __slots__ = ("netns", "path", "request", "who")

    def __init__(self, path: str, who: Attachment, netns: str, request: dict[str, Any]) -> None:
        self.path = path
        self.who = who
        self.netns = netns
        self.request = request


def recorded(folder: str, socket: str) -> Iterator[Recorded]:
    """The attachments whose leases belong to the daemon with this socket. What cannot be read is left out."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        try:
            found = _entry(f"{folder}/{name}", socket)
        except (OSError, CNIError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if found is not None:
            yield found


def _entry(path: str, socket: str) -> Recorded | None:
    document = wire.decode(read(path, _MOST, os.O_NOFOLLOW))
    if document.get("kind") != _KIND or not document.get("netns"):
        return None
    config = wire.decode(binascii.a2b_base64(document["config"]))
    section = _section(config, socket)
    if section is None:
        return None
    who = Attachment(document["networkName"], document["containerId"], document["ifName"])
    check_network(who.network)
    check_container(who.container)
    check_interface(who.ifname)
    found = document["result"]
    addresses = result.parse(found, found.get("cniVersion") or "0.1.0").of(who.ifname).ips
    if not addresses:
        return None
    args = {str(name): str(value) for name, value in document.get("cniArgs") or ()}
    settings = Settings(section, "ipam")
    request = {
        "addresses": [str(ip.address) for ip in addresses],
        "provide": [[number, value.hex()] for number, value in provided(settings.provide, args).items()],
        "request": requested(settings.request),
        "priority": settings.priority,
    }
    return Recorded(path, who, document["netns"], request)


def _section(config: dict[str, Any], socket: str) -> dict[str, Any] | None:
    """The section ``ipam`` of the plugin that uses dhcp with this socket."""
    plugins = chosen(config, "plugins")
    for plugin in plugins if isinstance(plugins, list) else [config]:
        section = chosen(plugin, "ipam")
        if chosen(plugin, "ipam", "type") == "dhcp" and (chosen(section, "daemonSocketPath") or SOCKET) == socket:
            return section if isinstance(section, dict) else None
    return None
