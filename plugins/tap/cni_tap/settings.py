"""tap's configuration: one row a key."""

from cni.errors import InvalidConfig, NotAvailable
from cni.linksettings import LinkSettings, link_dns, link_mtu
from cni.result import DNS
from cni.settings import boolean, integer, key, member, string, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.kinds import Tun
    from cni.skel import Call

# 4294967295 is no number of a user or group.
_MOST = (1 << 32) - 2


class Settings(LinkSettings):
    """What the configuration holds, checked."""

    # fmt: off
    owner: int | None = key(
        "owner", integer, None, "number of the user who may open the tap; by default any process with CAP_NET_ADMIN",
        within(0, _MOST, f"owner is %d, and must be from 0 to {_MOST}"))
    group: int | None = key(
        "group", integer, None, "number of the group that may open it",
        within(0, _MOST, f"group is %d, and must be from 0 to {_MOST}"))
    multi_queue: bool = key("multiQueue", boolean, False, "the program opens it several times, once for each queue")
    mtu: int = link_mtu("MTU of the interface; 0: 1500")
    mac: str = key("mac", string, "", "MAC of the interface; by default a random one")
    context: str = key("selinuxContext", string, "", "SELinux context of the tap, made with the program `ip` then")
    bridge: str = key("bridge", string, "", "a bridge in the container; the interface becomes its port")
    dns: DNS | None = link_dns()
    args: "dict[str, Any] | None" = key("args", member, None, "`args.cni.mac` is the MAC of the interface")
    # fmt: on

    def complete(self) -> None:
        """Raises ``InvalidConfig``."""
        if not self.context.isprintable():
            raise InvalidConfig("selinuxContext has letters that no context has", 'change key "selinuxContext"')

    @property
    def kind(self) -> "Tun":
        """The link as the kernel should have it."""
        from cni.kernel.kinds import Tun

        owner, group = (-1 if number is None else number for number in (self.owner, self.group))
        return Tun("tap", owner, group, self.multi_queue)


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: /dev/net/tun can be opened, the program ``ip`` exists if it is needed, and the IPAM plugin is ready."""
    from cni.kernel import program, tun

    try:
        tun.check()
    except OSError as error:
        raise NotAvailable(f"failed to create tap: {error}", tun.REMEDY) from None
    if settings.context and not program.find("ip"):
        lacking = program.missing("ip")
        raise NotAvailable(lacking.msg, lacking.details)
    settings.ipam_ready(call)
