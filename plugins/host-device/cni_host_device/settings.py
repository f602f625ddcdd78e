"""host-device's configuration: the keys that name the device, and one row for each."""

from cni.address import parse_mac
from cni.errors import InvalidConfig
from cni.linksettings import LinkSettings, link_dns
from cni.names import is_text
from cni.settings import Key, Table, boolean, chosen, key, parsed, part, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.result import DNS
    from cni.skel import Call

_DEVICES = "/sys/devices/"
# Ethernet, and what InfiniBand and others have.
_OCTETS = (6, 8, 20)


def _bus_id(value: str) -> str:
    """A name of a folder in /sys/bus/…/devices."""
    if value and ("/" in value or "\0" in value or not value.strip(".") or not is_text(value)):
        raise ValueError(f"{value} is no id of a device")
    return value


def _mac(value: str) -> str:
    try:
        return value and parse_mac(value, _OCTETS)
    except ValueError as error:
        raise ValueError(f'failed to parse MAC address "{value}": {error}') from None


def _kernel_path(value: str) -> str:
    if value and (not value.startswith(_DEVICES) or ".." in value.split("/") or "\0" in value or not is_text(value)):
        raise ValueError(f'kernel device path "{value}" must be absolute and begin with {_DEVICES}')
    return value


_RUNTIME = Table(Key("deviceID", parsed(string, _bus_id, "string"), ""))


class Settings(LinkSettings):
    """What the configuration holds, checked. The first of ``device``, ``hwaddr`` and so on counts, as in Go."""

    mac_refusal = ""
    # what the runtime asks for
    device_id: str
    # fmt: off
    device: str = key("device", string, "", "the device by its name on the node, or by an alternative name")
    hwaddr: str = key("hwaddr", parsed(string, _mac, "string"), "", "the device by its MAC, of 6, 8 or 20 bytes")
    kernel_path: str = key(
        "kernelpath", parsed(string, _kernel_path, "string"), "", "the device by its folder below /sys/devices")
    pci: str = key(
        "pciBusID", parsed(string, _bus_id, "string"), "", "the device by its PCI address, such as `0000:00:1f.6`")
    dpdk: bool = key(
        "DPDKMode", boolean, False, "without a PCI address: a program of the container drives the device, and nothing is moved")
    dns: "DNS | None" = link_dns()
    # fmt: on

    def __init__(self, call: "Call") -> None:
        self.device_id = part(call.config, "runtimeConfig", _RUNTIME)["deviceID"]
        super().__init__(call)
        # STATUS gets nothing of the runtime
        promised = call.verb == "STATUS" and chosen(call.config, "capabilities", "deviceID") is True
        if not (self.device or self.hwaddr or self.kernel_path or self.pci or self.device_id or promised):
            fault = 'specify either "device", "hwaddr", "kernelpath" or "pciBusID"'
            raise InvalidConfig(fault, 'or let the runtime choose, with "capabilities": {"deviceID": true}')


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the IPAM plugin is ready. The device is not looked for, because a container may have it."""
    settings.ready(call, "")
