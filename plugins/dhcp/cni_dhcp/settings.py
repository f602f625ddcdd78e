"""dhcp's configuration: the section ``ipam`` (pure), and the checks of STATUS."""

from cni.errors import InvalidConfig
from cni.settings import Section, boolean, chosen, integer, key, listing, one_of, string, within
from cni_dhcp import SOCKET
from cni_dhcp.options import arguments, provided, requested

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call

IPV6 = ("", "auto", "slaac", "dhcp", "stateless")
_IPV6_WORDS = (
    'get IPv6 addresses: `"auto"` as the router advertises, `"slaac"`, `"dhcp"` (DHCPv6), `"stateless"` (SLAAC, and DNS '
    "of DHCPv6); empty: none"
)
_PRIORITY = within(0, (1 << 32) - 1, "priority is %d")


class Provided(Section):
    """An option that is sent to the server."""

    # fmt: off
    option: str = key("option", string, "", "number of the option, or its name")
    value: str = key("value", string, "", "its value, sent as text")
    from_arg: str = key("fromArg", string, "", "key in `CNI_ARGS` whose value is sent; it takes precedence over `value`")
    # fmt: on


class Requested(Section):
    """An option that the server is asked for."""

    # fmt: off
    option: str = key("option", string, "", "number of the option, or its name")
    skip_default: bool = key("skipDefault", boolean, False, "do not ask for routers and mask as well")
    # fmt: on


class Settings(Section):
    """The section ``ipam``, checked."""

    # fmt: off
    socket: str = key("daemonSocketPath", string, SOCKET, "socket of the daemon")
    provide: list[Provided] = key("provide", listing(Provided), list, "options that are sent to the DHCPv4 server")
    request: list[Requested] = key("request", listing(Requested), list, "options that the DHCPv4 server is asked for")
    priority: int = key("priority", integer, 0, "metric of every route in the result; 0: the kernel's", _PRIORITY)
    ipv4: bool = key("ipv4", boolean, True, "get an IPv4 address (DHCPv4)")
    ipv6: str = key("ipv6", string, "", _IPV6_WORDS, one_of(IPV6, 'ipv6 is "%s"'))
    probe: bool = key("probe", boolean, True, "before an IPv4 address is used, ask by ARP whether another host has it")
    # fmt: on

    provided: "dict[int, bytes]"
    requested: "list[int]"


def socket_path(call: "Call") -> str:
    """``daemonSocketPath``. DEL and GC read no other key, so no other key can make them fail."""
    found = chosen(call.config, "ipam", "daemonSocketPath")
    return found if isinstance(found, str) and found and "\0" not in found else SOCKET


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``."""
    section = chosen(call.config, "ipam")
    if section is None:
        raise InvalidConfig("IPAM config missing 'ipam' key", "add an object ipam with type dhcp")
    settings = Settings(section, "ipam")
    settings.socket = settings.socket or SOCKET
    if "\0" in settings.socket:
        raise InvalidConfig("ipam.daemonSocketPath has a NUL character", "it must be the path of a Unix socket")
    if not settings.ipv4 and not settings.ipv6:
        raise InvalidConfig("ipam asks for neither IPv4 nor IPv6", "remove ipv4, or set ipv6")
    settings.provided = provided(settings.provide, arguments(call.environ.get("CNI_ARGS", "")))
    settings.requested = requested(settings.request)
    return settings


def ready(call: "Call", settings: Settings) -> None:  # noqa: ARG001
    """STATUS: the daemon answers. Raises ``NotAvailable``."""
    from cni_dhcp.conversation import ready

    ready(settings.socket)
