"""ipvlan's configuration: one row for each key."""

from cni.address import Address
from cni.linksettings import link_mtu
from cni.parent import ParentSettings
from cni.settings import key, listing, one_of, parsed, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.kinds import Ipvlan
    from cni.skel import Call

_MODES = ("", "l2", "l3", "l3s")


class Settings(ParentSettings):
    """What the configuration holds, checked."""

    # the MAC is that of the master
    mac_refusal = ""
    # Go's plugin does not compare the MTU with that of the master, and neither does the kernel
    mtu_limited = False

    # fmt: off
    mtu: int = link_mtu("MTU of the interface; 0: that of `master`")
    mode: str = key(
        "mode", string, "l2", "`l2`, `l3` or `l3s`: whether containers are in the network of `master`, or routed",
        one_of(_MODES, 'unknown ipvlan mode: "%s"'))
    gateways: "list[Address]" = key(
        "gateways", listing(parsed(string, Address.parse, "address")), list,
        "gateways of the networks for which the IPAM plugin names none; only ours has this key")
    # fmt: on

    @property
    def kind(self) -> "Ipvlan":
        """The link as the kernel should have it."""
        from cni.kernel.kinds import Ipvlan

        return Ipvlan(self.mode or "l2")

    def ready(self, call: "Call", kind: str) -> None:
        """STATUS. Without ``master`` and ``ipam`` an earlier plugin gives both: only ADD has its result."""
        if self.master or self.ipam:
            super().ready(call, kind)
        else:
            self.kind_ready(call, kind)


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel has ipvlans, the master exists, and the IPAM plugin is ready."""
    settings.ready(call, "ipvlan")
