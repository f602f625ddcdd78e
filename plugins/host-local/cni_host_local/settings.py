"""host-local's configuration: the table of its keys, and what is made of them (pure)."""

import os

from cni import args
from cni.address import Address
from cni.config import Key, Table, chosen, listing, string
from cni.errors import CNIError, InvalidConfig, NotAvailable
from cni.result import DNS, Route
from cni_host_local.ranges import RANGE, RANGES, RangeSet, read_sets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni.skel import Call

DATA_DIR = "/var/lib/cni/networks"
# Go reads resolv.conf by lines of less than this many bytes.
_LINE_MAX = 1 << 16
_RESOLV_CONF_MAX = 1 << 20


def _path(key: str) -> "Callable[[str], str]":
    """What is wrong with a path that a key holds."""
    return lambda text: f"{key}: a path cannot contain a zero byte" if "\0" in text else ""


IPAM = Table(
    Key("ranges", RANGES, list, "list of range sets; one address is handed out of each set"),
    Key("subnet", string, words="with rangeStart, rangeEnd and gateway: a single range, put before `ranges`"),
    Key("routes", listing(Route.parse), list, "routes for the result"),
    Key(
        "dataDir",
        string,
        DATA_DIR,
        "folder of the leases; a relative one is relative to the process's folder",
        _path("dataDir"),
    ),
    Key(
        "resolvConf", string, "", "file in resolv.conf's format that the result's DNS is read from", _path("resolvConf")
    ),
)
_IPS = Key("ips", listing(string), list)
_CAPABILITIES = Table(Key("ipRanges", RANGES, list), _IPS)
_ARGS = Table(Key("cni", Table(_IPS)))


def data_dir(call: "Call") -> str:
    """``ipam.dataDir`` alone: DEL and GC need nothing else, so nothing else can make them fail."""
    found = chosen(call.config, "ipam", "dataDir")
    return found if isinstance(found, str) and found and "\0" not in found else DATA_DIR


class Settings:
    """What the user said, checked."""

    __slots__ = ("requested", "resolv_conf", "routes", "sets")

    def __init__(self, sets: list[RangeSet], requested: list[Address], routes: list[Route], resolv_conf: str) -> None:
        self.sets = sets
        self.requested = requested
        self.routes = routes
        self.resolv_conf = resolv_conf


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``, in Go's order."""
    section = chosen(call.config, "ipam")
    if section is None:
        raise InvalidConfig("IPAM config missing 'ipam' key", "add an object ipam with type host-local")
    capabilities = _object(call, "runtimeConfig", _CAPABILITIES)
    ips = (_object(call, "args", _ARGS)["cni"] or {"ips": []})["ips"]
    requested = _requested(call, {"args.cni.ips": ips, "runtimeConfig.ips": capabilities["ips"]})
    ipam = IPAM(section, "ipam")
    documents = capabilities["ipRanges"]
    if ipam["subnet"] is not None:
        documents = [*documents, [RANGE(section, "ipam")]]
    for route in ipam["routes"]:
        if route.fault():
            raise InvalidConfig(f"route {route.dst}: {route.fault()}", "in ipam.routes")
    documents = [*documents, *ipam["ranges"]]
    if call.verb == "STATUS" and not documents and chosen(call.config, "capabilities", "ipRanges") is True:
        return Settings([], requested, ipam["routes"], ipam["resolvConf"])  # the runtime sends them with ADD
    sets = read_sets(documents, str(chosen(call.config, "cniVersion") or ""))
    return Settings(sets, requested, ipam["routes"], ipam["resolvConf"])


def _object(call: "Call", name: str, table: Table) -> "dict[str, Any]":
    found = chosen(call.config, name)
    return table({} if found is None else found, name)


def _requested(call: "Call", lists: dict[str, list[str]]) -> list[Address]:
    """Addresses asked for in CNI_ARGS, ``args.cni.ips`` and the capability ``ips``: all together, each once."""
    found: dict[Address, None] = {}
    text = args.parse(call.environ.get("CNI_ARGS", ""), ("IP",)).get("IP", "")
    if text:
        try:
            found[_address(text)] = None
        except ValueError as error:
            raise args.bad_value("IP", text, str(error)) from None
    for where, items in lists.items():
        for item in items:
            try:
                found[_address(item)] = None
            except ValueError as error:
                raise InvalidConfig(str(error), f"in {where}") from None
    return list(found)


def _address(text: str) -> Address:
    """An address; a prefix is accepted and ignored."""
    if not text:
        raise ValueError("cannot understand ip: IP <nil> not v4 nor v6")
    host, slash, length = text.partition("/")
    try:
        address = Address.parse(host)
    except ValueError:
        raise ValueError(f"invalid IP address {text}") from None
    bits = 128 if ":" in host else 32
    if slash and not (length.isascii() and length.isdigit() and len(length) <= 6 and int(length) <= bits):
        raise ValueError(f"invalid IP address {text}")
    return address


def dns(path: str) -> DNS | None:
    """What a resolv.conf says; None without a path. Raises ``CNIError``."""
    if not path:
        return None
    from cni import regular
    from cni_host_local import resolvconf

    try:
        data = regular.read(path, _RESOLV_CONF_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CNIError(f"open {path}: {reason.lower()}", "ipam.resolvConf must name a readable file") from None
    if any(len(line) >= _LINE_MAX for line in data.split(b"\n")):
        raise CNIError(f"{path} has a line of {_LINE_MAX} bytes or more", "shorten it, or change ipam.resolvConf")
    return resolvconf.parse(data.decode("utf-8", "replace"))


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the store must be writable and ``resolvConf`` readable.

    That addresses may run out is no fault of the node: a full range must not make kubelet evict what runs.
    """
    try:
        dns(settings.resolv_conf)
    except CNIError as error:
        raise NotAvailable(error.msg, error.details) from None
    folder = os.path.abspath(f"{data_dir(call)}/{call.network}")
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise NotAvailable(
            f"{folder} is not a folder that can be written", "leases are files there; change ipam.dataDir or mend it"
        )
