"""ptp's configuration: its keys."""

from cni.linksettings import (
    MasqueradeSettings,
    link_dns,
    link_drop_invalid,
    link_masquerade,
    link_masquerade_backend,
    link_mtu,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.result import DNS
    from cni.skel import Call


class Settings(MasqueradeSettings):
    """The keys of the configuration, checked."""

    masquerade: bool = link_masquerade()
    masquerade_backend: str | None = link_masquerade_backend()
    drop_invalid: bool = link_drop_invalid()
    mtu: int = link_mtu("MTU of both ends of the pair: 68 to 65535, with IPv6 from 1280; 0: the kernel's")
    dns: "DNS | None" = link_dns()

    mac_refusal = ""


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``, before anything is changed."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel has veth and what masquerading needs, and the IPAM plugin is ready."""
    settings.ready(call, "veth")
