"""vrf's configuration: one row for each key."""

from cni.errors import InvalidConfig, NotAvailable
from cni.names import interface_fault
from cni.settings import Section, integer, key, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call

_LOCAL, _MOST = 255, (1 << 32) - 1


def _name_fault(name: str) -> str:
    fault = interface_fault(name) or ("the name has a zero byte" if "\0" in name else "")
    return f"configuration is expected to have a valid vrf name: {fault}" if fault else ""


def _table_fault(number: int) -> str:
    allowed = 0 <= number <= _MOST and number != _LOCAL
    return "" if allowed else f"table is {number}, and must be from 0 to {_MOST}, but not {_LOCAL} (local)"


class Settings(Section):
    """What the configuration holds, checked."""

    # fmt: off
    vrf: str = key(
        "vrfname", string, "", "the VRF, which is made if the container has none of this name; required", _name_fault)
    table: int = key(
        "table", integer, 0, "its routing table; 0: that of the VRF if it exists, otherwise the first one that is free",
        _table_fault)
    # fmt: on

    def __init__(self, call: "Call") -> None:
        """Raises ``DecodingFailure`` and ``InvalidConfig``."""
        super().__init__(call.config)
        if not self.vrf:
            raise InvalidConfig("configuration is expected to have a valid vrf name", 'add key "vrfname"')
        if self.vrf == call.attachment.ifname:
            fault = f"configuration is expected to have a valid vrf name: {self.vrf} is the interface itself"
            raise InvalidConfig(fault, 'change key "vrfname"')


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel can make a VRF."""
    if not call.site.rtnl.makes("vrf"):
        from cni.kernel.rtnl import missing

        raise NotAvailable(f"could not add VRF {settings.vrf}: operation not supported", missing("vrf"))
