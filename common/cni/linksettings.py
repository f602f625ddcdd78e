"""Settings common to all plugins that give a container an interface: MTU, MAC, DNS, the IPAM plugin.

A plugin's ``Settings`` derive from ``LinkSettings`` and have rows for its keys (``link_mtu`` and ``link_dns`` make two of
them). Its method ``complete`` checks what depends on several keys.
"""

from cni import environment
from cni.address import Address, parse_mac
from cni.errors import CNIError, DecodingFailure, InvalidConfig, NotAvailable
from cni.names import check_made
from cni.result import DNS, no_addresses
from cni.settings import Section, boolean, chosen, integer, key, parsed, requested, string
from cni.versions import FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.nftables import Nftables
    from cni.skel import Call

# The limits of an Ethernet link (linux/if_ether.h), and the minimum for IPv6 (linux/ipv6.h).
MTU_MIN, MTU_MAX, MTU_MIN_IPV6 = 68, 65535, 1280
# The keys in which IPAM plugins have networks and addresses.
_NETWORKS = (
    *(("ipam", name) for name in ("subnet", "ranges", "addresses")),
    *(("runtimeConfig", name) for name in ("ips", "ipRanges")),
)


def mtu_fault(value: int) -> str:
    """The check of a key ``mtu``."""
    if not value or MTU_MIN <= value <= MTU_MAX:
        return ""
    return f"mtu is {value}, and must be from {MTU_MIN} to {MTU_MAX}, or 0 for the kernel's"


def link_mtu(words: str) -> int:
    """The row of key ``mtu``; a negative one counts as absent, as in Go."""
    return key("mtu", parsed(integer, lambda value: max(value, 0), "int"), 0, words, mtu_fault)


def link_dns() -> DNS | None:
    """The row of key ``dns``. None means: use the IPAM plugin's. An empty list counts as set, as in Go."""

    def read(value: "Any", where: str) -> DNS | None:
        found = DNS.parse(value, where)
        lists = (chosen(value, name) for name in ("nameservers", "search", "options"))
        return found if found.domain or any(each is not None for each in lists) else None

    read.__doc__ = "DNS"
    return key("dns", read, None, "DNS of the result; by default that of ipam")


def check_mtu(mtu: int, ipv6: bool) -> None:
    """Raise ``InvalidConfig`` if the container has IPv6 and the MTU is too small for it; 0 means none is wanted."""
    if ipv6 and 0 < mtu < MTU_MIN_IPV6:
        fault = f"mtu is {mtu}, and must be from {MTU_MIN_IPV6} to {MTU_MAX} with IPv6"
        raise InvalidConfig(fault, 'change key "mtu"')


def link_masquerade() -> bool:
    """The row of key ``ipMasq``."""
    words = "masquerade connections of containers to addresses outside of their subnet; only with ipam"
    return key("ipMasq", boolean, False, words)


def link_masquerade_backend() -> str | None:
    """The row of key ``ipMasqBackend``."""
    words = "`nftables` (over netlink) or `iptables` (with Go's chains); by default nftables, or iptables if the kernel lacks it"
    return key("ipMasqBackend", string, None, words)


def link_drop_invalid() -> bool:
    """The row of key ``dropInvalid``, which only our plugins have."""
    words = "with ipMasq over nftables: drop INVALID packets, which the kernel does not masquerade"
    return key("dropInvalid", boolean, False, words)


def ipam_type(call: "Call") -> str:
    """``ipam.type``, empty if it is not set; raises ``DecodingFailure``, ``InvalidConfig``."""
    section = chosen(call.config, "ipam")
    if section is not None and not isinstance(section, dict):
        raise DecodingFailure("failed to load netconf: ipam must be an object")
    found = chosen(call.config, "ipam", "type")
    if found is not None and not isinstance(found, str):
        raise DecodingFailure("failed to load netconf: ipam.type must be a string")
    if found and found == chosen(call.config, "type"):
        if call.verb in ("DEL", "GC"):
            call.say(f"ipam.type is {found}, the plugin itself: it never gave an address")
            return ""
        raise InvalidConfig(f"ipam.type is {found}, the plugin itself", "name an IPAM plugin, such as host-local")
    return found or ""


def requested_mac(call: "Call", configured: str, refusal: str) -> str:
    """The requested MAC, in lower case with colons; empty if none is requested.

    The first of these sources wins: the capability (``runtimeConfig.mac``), ``args.cni.mac``, ``MAC`` in CNI_ARGS,
    ``configured`` (the plugin's own key). ``refusal`` is the message for a text that is no MAC, with ``{text}`` and
    ``{error}``. Raises ``InvalidEnvironment``, ``DecodingFailure``, ``InvalidConfig``.
    """
    from_args = environment.arguments(call.environ, ("MAC",)).get("MAC", "")
    asked, capability = requested(call.config, "mac", string)
    if capability or asked:
        return _mac(capability or asked or "", refusal)
    try:
        return _mac(from_args or configured, refusal)
    except InvalidConfig as error:
        raise environment.bad_argument("MAC", from_args, error.msg) if from_args else error from None


def _mac(text: str, refusal: str) -> str:
    if not text:
        return ""
    try:
        found = parse_mac(text)
    except ValueError as error:
        raise InvalidConfig(refusal.format(text=text, error=error), "write six pairs of hexadecimal digits") from None
    if int(found[:2], 16) & 1 or found == "00:00:00:00:00:00":
        raise InvalidConfig(f"address {text}: a multicast or zero MAC cannot be an interface's", "clear its lowest bit")
    return found


class LinkSettings(Section):
    """The settings of a plugin that gives a container an interface."""

    mtu: int = 0
    mac: str = ""
    dns: DNS | None = None
    ipam: str
    # The message for a text that is no MAC; empty for a plugin that takes none.
    mac_refusal = "invalid args {text} for MAC addr: {error}"

    def __init__(self, call: "Call") -> None:
        """Read a call; raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``."""
        check_made(call.attachment.ifname)
        super().__init__(call.config)
        self.ipam = ipam_type(call)
        if self.mac_refusal:
            self.mac = requested_mac(call, self.mac, self.mac_refusal)
        self.complete()
        if self.mtu:
            self.check_mtu(any(_holds_ipv6(chosen(call.config, *path)) for path in _NETWORKS))
        if not self.ipam and call.version in FAMILIES[0]:
            raise no_addresses(call.version)

    def complete(self) -> None:
        """Overridden by plugins: derive values, and raise ``InvalidConfig`` for keys that contradict each other."""

    def ready(self, call: "Call", kind: str) -> None:
        """STATUS: the kernel can make a link of this kind (of none if empty), and the IPAM plugin is ready."""
        self.kind_ready(call, kind)
        self.ipam_ready(call)

    def kind_ready(self, call: "Call", kind: str) -> None:
        """STATUS: the kernel can make a link of this kind (of none if empty)."""
        if kind and not call.site.rtnl.makes(kind):
            from cni.kernel.rtnl import missing

            raise NotAvailable(f"failed to create {kind}: operation not supported", missing(kind))

    def ipam_ready(self, call: "Call") -> None:
        """STATUS: the IPAM plugin is ready, if there is one."""
        if self.ipam:
            from cni import delegate

            delegate.ready(call, self.ipam)

    def check_mtu(self, ipv6: bool) -> None:
        """Raise ``InvalidConfig`` if the container has IPv6 and the MTU is too small for it.

        Called with the networks that the configuration names, and again with the addresses from IPAM.
        """
        check_mtu(self.mtu, ipv6)


class MasqueradeSettings(LinkSettings):
    """The settings of a plugin that can masquerade. Its class has the rows ``link_masquerade`` and so on."""

    masquerade: bool
    masquerade_backend: str | None
    drop_invalid: bool

    def complete(self) -> None:
        """Raises ``InvalidConfig`` with Go's texts."""
        self.masquerade = self.masquerade and bool(self.ipam)
        if self.masquerade and self.masquerade_backend not in (None, "nftables", "iptables"):
            fault = f'unknown ipmasq backend "{self.masquerade_backend}"'
            raise InvalidConfig(fault, "ipMasqBackend is nftables or iptables")
        if self.masquerade and self.drop_invalid and self.masquerade_backend == "iptables":
            fault = "dropInvalid needs the nftables backend of ipMasq"
            raise InvalidConfig(fault, "remove dropInvalid or ipMasqBackend")

    def settle(self, kernel: "Nftables | None" = None) -> None:
        """Choose the backend. Raises ``CNIError`` if the kernel lacks a part that the configuration needs."""
        if self.masquerade:
            from cni.kernel import backend

            self.masquerade_backend = backend.chosen(self.masquerade_backend, backend.MASQUERADING, kernel)

    def ready(self, call: "Call", kind: str) -> None:
        """STATUS: the kernel has the parts too. A line reports iptables-legacy without its programs."""
        try:
            self.settle()
        except CNIError as error:
            raise NotAvailable(error.msg, error.details) from None
        if self.masquerade and self.masquerade_backend == "nftables":
            from cni.kernel import backend

            for name in backend.unmarkable():
                call.say(f"{chosen(call.config, 'type')}: {backend.complaint(name)}")
        super().ready(call, kind)


def _holds_ipv6(value: "Any") -> bool:
    if isinstance(value, str):
        try:
            return ":" in value and Address.parse(value.partition("/")[0]).version == 6
        except ValueError:
            return False
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_ipv6, inner))
