"""The plan of one attachment of tuning, for ADD and CHECK, and the kinds that DEL and GC remove."""

from cni.errors import CheckFailed, InvalidConfig
from cni.result import Result
from cni.settings import chosen
from cni.versions import FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni.skel import Call
    from cni_tuning.settings import Settings

DATA_DIR = "/run/cni/tuning"


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The sysctls, then the interface's values. The result is prevResult, with the new MAC and MTU."""
    ifname, result = call.attachment.ifname, _previous(call, settings)
    # podman has a tuning without keys for every container
    if settings.paths or settings.link or call.verb == "CHECK":
        from cni.linksettings import check_mtu

        check_mtu(settings.mtu or 0, any(ip.version == 6 for ip in result.of(ifname).ips))
        yield from _tuned(call, settings)
    for interface in result.interfaces:
        if interface.sandbox and interface.name == ifname:
            interface.mac = settings.mac or interface.mac
            interface.mtu = settings.mtu or interface.mtu if interface.mtu else 0
    return result


def _tuned(call: "Call", settings: "Settings") -> "Plan[None]":
    from cni.saved import SavedValues

    site, link = call.site, settings.link
    file = SavedValues(site, settings.folder or DATA_DIR)
    if settings.paths or link:
        yield from file
    if settings.paths:
        from cni.sysctls import Sysctls

        yield from Sysctls(site, settings.paths, file.saved)
    if link or call.verb == "CHECK":
        from cni_tuning.link import TunedLink

        yield from TunedLink(site, file.saved, link)


def _previous(call: "Call", settings: "Settings") -> Result:
    """prevResult. Before the plugin that makes the interface, ADD may set sysctls that a new interface inherits."""
    previous, missing = call.site.previous, "Required prevResult missing"
    if previous is not None:
        return previous
    if call.verb == "CHECK":
        raise CheckFailed(missing)
    if settings.link or "IFNAME" in "".join(settings.sysctl or ()) or call.version in FAMILIES[0]:
        raise InvalidConfig(missing, "put it behind the plugin that makes the interface")
    return Result()


def left(call: "Call") -> "list[Kind]":
    """What an ADD may have saved, in the configured folder or in the default one, and what restores it."""
    from cni.saved import SavedValues
    from cni.sysctls import Sysctls
    from cni_tuning.link import TunedLink

    named = chosen(call.config, "dataDir")
    folders = [named, DATA_DIR] if isinstance(named, str) and named and "\0" not in named else [DATA_DIR]
    files = [SavedValues(call.site, folder) for folder in dict.fromkeys(folders)]
    saved = [file.saved for file in files]
    return [*files, *(Sysctls(call.site, {}, each) for each in saved), *(TunedLink(call.site, each) for each in saved)]
