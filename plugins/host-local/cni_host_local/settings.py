"""host-local's configuration: its keys and checks (pure, except ``dns`` and ``ready``)."""

import os

from cni.address import Address
from cni.errors import CNIError, InvalidConfig, NotAvailable
from cni.pool import RANGES, RangeSet, StatedRange, read_sets, requested_addresses
from cni.result import DNS, Route
from cni.settings import Key, Section, Table, chosen, key, listing, part, string
from cni_host_local import DATA_DIR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.skel import Call

# Go reads resolv.conf by lines of less than this many bytes.
_LINE_MAX = 1 << 16
_RESOLV_CONF_MAX = 1 << 20
_CAPABILITIES = Table(Key("ipRanges", RANGES, list))


def _path(name: str) -> "Callable[[str], str]":
    """A check of a path: it must not contain a zero byte."""
    return lambda text: f"{name}: a path cannot contain a zero byte" if "\0" in text else ""


class Settings(Section):
    """The section ``ipam``, checked, with the range sets of all sources and the requested addresses."""

    # fmt: off
    ranges: list[list[StatedRange]] = key(
        "ranges", RANGES, list, "list of range sets; a container gets one address of each set")
    subnet: str | None = key(
        "subnet", string, None, "with rangeStart, rangeEnd and gateway: a single range, which comes before `ranges`")
    routes: list[Route] = key("routes", listing(Route.stated), list, "routes for the result")
    data_dir: str = key(
        "dataDir", string, DATA_DIR, "folder of the leases; a relative path is relative to the process's folder",
        _path("dataDir"))
    resolv_conf: str = key(
        "resolvConf", string, "", "file in the format of resolv.conf, from which the result's DNS is read",
        _path("resolvConf"))
    # fmt: on

    sets: list[RangeSet]
    requested: list[Address]


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``, in Go's order."""
    section = chosen(call.config, "ipam")
    if section is None:
        raise InvalidConfig("IPAM config missing 'ipam' key", "add an object ipam with type host-local")
    sets = part(call.config, "runtimeConfig", _CAPABILITIES)["ipRanges"]
    addresses = requested_addresses(call)
    settings = Settings(section, "ipam")
    settings.requested = addresses
    if settings.subnet is not None:
        sets = [*sets, [StatedRange(section, "ipam")]]
    sets = [*sets, *settings.ranges]
    if call.verb == "STATUS" and not sets and chosen(call.config, "capabilities", "ipRanges") is True:
        settings.sets = []  # the runtime sends them with ADD
    else:
        settings.sets = read_sets(sets, str(chosen(call.config, "cniVersion") or ""))
    return settings


def dns(path: str) -> DNS | None:
    """The DNS of a resolv.conf; None without a path. Raises ``CNIError``."""
    if not path:
        return None
    from cni import file_content

    try:
        data = file_content.read(path, _RESOLV_CONF_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CNIError(f"open {path}: {reason.lower()}", "ipam.resolvConf must name a readable file") from None
    if any(len(line) >= _LINE_MAX for line in data.split(b"\n")):
        raise CNIError(f"{path} has a line of {_LINE_MAX} bytes or more", "shorten it, or change ipam.resolvConf")
    return parse_resolv_conf(data.decode("utf-8", "replace"))


def parse_resolv_conf(text: str) -> DNS:
    """What a result can carry of resolv.conf(5). The last ``domain`` wins; unknown lines are skipped (pure)."""
    found = DNS()
    for line in text.split("\n"):
        match line.split():
            case ["nameserver", server, *_]:
                found.nameservers.append(server)
            case ["domain", name, *_]:
                found.domain = name
            case ["search", *names]:
                found.search += names
            case ["options", *options]:
                found.options += options
    return found


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the store must be writable and ``resolvConf`` readable.

    A full range is no fault of the node: it must not make kubelet evict running pods.
    """
    try:
        dns(settings.resolv_conf)
    except CNIError as error:
        raise NotAvailable(error.msg, error.details) from None
    folder = os.path.abspath(f"{settings.data_dir or DATA_DIR}/{call.network}")
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        fault = f"{folder} is not a folder that can be written"
        raise NotAvailable(fault, "leases are files in it; change ipam.dataDir or repair the folder")
