"""vlan's configuration: one row for each key."""

from cni.errors import InvalidConfig
from cni.parent import ParentSettings
from cni.settings import integer, key, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.kinds import Vlan
    from cni.skel import Call

_ID_MAX = 4094


class Settings(ParentSettings):
    """What the configuration holds, checked."""

    # the MAC is that of the master
    mac_refusal = ""

    # fmt: off
    id: int = key(
        "vlanId", integer, 0, "the VLAN's id; frames leave `master` with this tag",
        within(0, _ID_MAX, f"invalid VLAN ID %d (must be between 0 and {_ID_MAX} inclusive)"))
    # fmt: on
    # whether the master is the interface of an earlier plugin, ``CNI_IFNAME``
    chained: bool = False

    def __init__(self, call: "Call") -> None:
        """Read a call; raises as ``LinkSettings`` does."""
        super().__init__(call)
        if not self.master:
            self.chained, self.master = True, call.attachment.ifname

    def complete(self) -> None:
        """Raises ``InvalidConfig`` with Go's text."""
        if not self.master and not self.in_container:
            fault = '"master" field is required. It specifies the host interface name to create the VLAN for'
            raise InvalidConfig(fault, "with linkInContainer, the interface of an earlier plugin is the default")

    @property
    def kind(self) -> "Vlan":
        """The link as the kernel should have it."""
        from cni.kernel.kinds import Vlan

        return Vlan(self.id, independent=True)


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel has VLANs, the master exists, and the IPAM plugin is ready."""
    settings.ready(call, "vlan")
