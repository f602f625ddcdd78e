"""macvlan's configuration: one row a key."""

from cni.errors import InvalidConfig
from cni.parent import ParentSettings
from cni.settings import boolean, integer, key, one_of, string, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.kinds import Macvlan
    from cni.skel import Call

_MODES = ("", "bridge", "private", "vepa", "passthru")
_QUEUE_MAX = (1 << 32) - 1


class Settings(ParentSettings):
    """What the configuration holds, checked."""

    # fmt: off
    mode: str = key(
        "mode", string, "bridge", "`bridge`, `private`, `vepa` or `passthru`: who is reached on the same `master`",
        one_of(_MODES, 'unknown macvlan mode: "%s"'))
    mac: str = key("mac", string, "", "MAC of the interface; by default a random one")
    queue: int = key(
        "bcqueuelen", integer, 0, "how many broadcasts wait at `master`, at most; 0: the kernel's, 1000",
        within(0, _QUEUE_MAX, f"bcqueuelen is %d, and must be from 0 to {_QUEUE_MAX}"))
    is_default_gateway: bool = key(
        "isDefaultGateway", boolean, False,
        "containers get a default route for each family, through the gateway of ipam; only ours has this key")
    host_shim: bool = key(
        "hostShim", boolean, False,
        "the node reaches the containers, through a macvlan of its own on `master`; only ours has this key")
    # fmt: on

    def complete(self) -> None:
        """Raises ``InvalidConfig`` where the node cannot have a macvlan beside those of the containers."""
        fault = ""
        if self.host_shim and self.kind.mode != "bridge":
            fault = f"hostShim needs mode bridge: in mode {self.kind.mode} no other macvlan reaches the containers"
        elif self.host_shim and self.in_container:
            fault = "hostShim needs a master on the node, and with linkInContainer it is in the container"
        elif self.host_shim and not self.ipam:
            fault = "hostShim needs addresses, to which the node has routes, and there is no ipam"
        if fault:
            raise InvalidConfig(fault, "change this key, or remove hostShim")

    @property
    def kind(self) -> "Macvlan":
        """The link as the kernel should have it."""
        from cni.kernel.kinds import Macvlan

        mode = self.mode or "bridge"
        return Macvlan(mode, self.queue) if self.queue else Macvlan(mode)


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel has macvlans, the master exists, and the IPAM plugin is ready."""
    settings.ready(call, "macvlan")
