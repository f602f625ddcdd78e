"""Network configurations as a runtime would write them, with one place for what nearly all of them share."""

from pathlib import Path
from typing import Any

Object = dict[str, Any]


def bridge(ipam: Object | None = None, *, name: str = "net1", version: str | None = "1.0.0", **keys: Any) -> Object:
    """A bridge network; without ``ipam`` it is a layer-2 one."""
    conf: Object = {"name": name, "type": "bridge", "bridge": "br0", **keys}
    if version is not None:
        conf["cniVersion"] = version
    if ipam is not None:
        conf["ipam"] = ipam
    return conf


def host_local(data_dir: Path, *subnets: str, **keys: Any) -> Object:
    """A host-local section with one range set a subnet, its store below ``data_dir``."""
    ranges = [[{"subnet": subnet}] for subnet in subnets]
    return {"type": "host-local", "dataDir": str(data_dir), "ranges": ranges, **keys}


def loopback(version: str | None = "1.0.0", **keys: Any) -> Object:
    """A loopback network."""
    conf: Object = {"name": "lo", "type": "loopback", **keys}
    if version is not None:
        conf["cniVersion"] = version
    return conf


def portmap(version: str | None = None, **keys: Any) -> Object:
    """A portmap, as a list of plugins holds it; with ``version`` one that stands alone."""
    conf: Object = {"type": "portmap", "capabilities": {"portMappings": True}, **keys}
    if version is not None:
        conf |= {"name": "net1", "cniVersion": version}
    return conf


def port(host: int, container: int = 80, protocol: str = "tcp", ip: str = "") -> Object:
    """One entry of the capability ``portMappings``."""
    entry: Object = {"hostPort": host, "containerPort": container, "protocol": protocol}
    return entry | ({"hostIP": ip} if ip else {})


def conflist(*plugins: Object, name: str = "net1", version: str = "1.0.0") -> Object:
    """A network of several plugins, called one after the other."""
    return {"cniVersion": version, "name": name, "plugins": list(plugins)}
