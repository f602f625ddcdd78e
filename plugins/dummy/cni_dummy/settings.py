"""dummy's configuration: it has no key of its own, and needs ``ipam``."""

from cni.errors import InvalidConfig
from cni.linksettings import LinkSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call


class Settings(LinkSettings):
    """What the configuration holds, checked."""

    mac_refusal = ""

    def complete(self) -> None:
        """Raises ``InvalidConfig`` with Go's text."""
        if not self.ipam:
            raise InvalidConfig("dummy interface requires an IPAM configuration", "add ipam with a type")


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel has dummies, and the IPAM plugin is ready."""
    settings.ready(call, "dummy")
