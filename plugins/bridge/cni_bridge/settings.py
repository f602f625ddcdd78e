"""bridge's configuration: the table of its keys, and what is made of them (pure)."""

from cni import args
from cni.address import Address, parse_mac
from cni.config import Key, Table, boolean, chosen, integer, listing, one_of, string, within
from cni.errors import CNIError, InvalidConfig, NotAvailable
from cni.ipam import type_of
from cni.names import RESERVED, check_made, interface_fault
from cni.result import DNS, no_addresses
from cni.versions import FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.skel import Call

_VLAN_MAX = 4094
# What a veth and a bridge may have (linux/if_ether.h), and the least with which a link has IPv6 (linux/ipv6.h).
MTU_MIN, _MTU_MAX, MTU_MIN_IPV6 = 68, 65535, 1280
_TRUNK = Table(
    Key("minID", integer, None, "first id of a span"),
    Key("maxID", integer, None, "last id of a span"),
    Key("id", integer, None, "a single id"),
)


def _bridge_name(name: str) -> str:
    if not name:
        return 'failed to create bridge "": could not add "": LinkAttrs.Name cannot be empty'
    wrong = next((words for character, words in (("%", "%"), ("\0", "a zero byte")) if character in name), "")
    fault = interface_fault(name) or (f"interface name contains {wrong}" if wrong else "")
    if name in RESERVED:
        fault = "interface name is reserved"
    return f'failed to create bridge "{name}": {fault}' if fault else ""


def _mtu(value: int) -> str:
    if value <= 0 or MTU_MIN <= value <= _MTU_MAX:  # a negative one counts as absent, as in Go
        return ""
    return f"mtu is {value}, and must be from {MTU_MIN} to {_MTU_MAX}, or 0 for the kernel's"


_VLAN = within(0, _VLAN_MAX, "invalid VLAN ID %d (must be between 0 and 4094)")
TABLE = Table(
    Key("bridge", string, "cni0", "name of the bridge, made when it is missing", _bridge_name),
    Key("isGateway", boolean, False, "the bridge gets the gateways' addresses, and the node forwards"),
    Key("isDefaultGateway", boolean, False, "as isGateway, and containers get a default route for each family"),
    Key("forceAddress", boolean, False, "replace an address of the bridge that conflicts with a gateway's"),
    Key("ipMasq", boolean, False, "masquerade what containers send out of their subnet; only with ipam"),
    Key(
        "ipMasqBackend",
        string,
        None,
        "`nftables` (over netlink) or `iptables` (with Go's chains); by default nftables, or iptables where the kernel"
        " lacks it",
    ),
    Key("dropInvalid", boolean, False, "with ipMasq over nftables: drop INVALID packets, which nothing masquerades"),
    Key(
        "mtu", integer, 0,
        "MTU of both ends of the pair, and of the bridge when it is made: 68 to 65535, with IPv6 from 1280;"
        " 0: the kernel's", _mtu,
    ),
    Key("hairpinMode", boolean, False, "the port sends back to where it received from"),
    Key("promiscMode", boolean, False, "the bridge is promiscuous"),
    Key("vlan", integer, 0, "VLAN of the port, untagged", _VLAN),
    Key("vlanTrunk", listing(_TRUNK), None, "tagged VLANs: `{minID, maxID}`, `{id}`"),
    Key("preserveDefaultVlan", boolean, False, "keep the VLAN that a new port gets by itself; matters only with a VLAN"),
    Key("macspoofchk", boolean, False, "drop what a container sends from another MAC than its own"),
    Key("enabledad", boolean, False, "detect duplicate IPv6 addresses, which takes a second or two"),
    Key("disableContainerInterface", boolean, False, "leave the container's interface down; not with ipam"),
    Key("portIsolation", boolean, False, "isolated ports do not reach each other"),
    Key("dns", DNS.parse, DNS, "DNS of the result; by default that of ipam"),
)  # fmt: skip


def trunk(items: "list[dict[str, Any]]") -> list[int]:
    """The ids of ``vlanTrunk``, each once and in order; raises ``InvalidConfig`` with Go's texts."""
    ids: set[int] = set()
    for item in items:
        low, high, single = item["minID"], item["maxID"], item["id"]
        for value, name in ((low, "minID"), (high, "maxID"), (single, "id")):
            if value is not None and not 1 <= value <= _VLAN_MAX:
                raise InvalidConfig(f"incorrect trunk {name} parameter", f"{value} is not between 1 and {_VLAN_MAX}")
        if (low is None) != (high is None):
            missing = "minID" if low is None else "maxID"
            raise InvalidConfig(f"minID and maxID should be configured simultaneously, {missing} is missing")
        if low is not None and high is not None:
            if low > high:
                raise InvalidConfig("minID is greater than maxID in trunk parameter", f"{low} is greater than {high}")
            ids.update(range(low, high + 1))
        if single is not None:
            ids.add(single)
    return sorted(ids)


class Settings:
    """What the user said, checked; attributes have the names of the keys."""

    __slots__ = (
        "bridge",
        "detect_duplicates",
        "disabled",
        "dns",
        "drop_invalid",
        "force_address",
        "hairpin",
        "ipam",
        "is_default_gateway",
        "is_gateway",
        "isolated",
        "mac",
        "mac_spoof_check",
        "masquerade",
        "masquerade_backend",
        "mtu",
        "preserve_default_vlan",
        "promisc",
        "trunk",
        "vlan",
        "vlan_filtering",
    )

    def __init__(self, found: "dict[str, Any]", ipam: str, mac: str) -> None:
        self.bridge: str = found["bridge"]
        self.is_default_gateway: bool = found["isDefaultGateway"]
        self.is_gateway: bool = found["isGateway"] or self.is_default_gateway
        self.force_address: bool = found["forceAddress"]
        self.masquerade: bool = found["ipMasq"] and bool(ipam)
        self.masquerade_backend: str | None = found["ipMasqBackend"]
        self.drop_invalid: bool = found["dropInvalid"]
        self.mtu: int = max(found["mtu"], 0)
        self.hairpin: bool = found["hairpinMode"]
        self.promisc: bool = found["promiscMode"]
        self.vlan: int = found["vlan"]
        self.trunk = trunk(found["vlanTrunk"] or [])
        self.vlan_filtering = bool(self.vlan) or found["vlanTrunk"] is not None
        self.preserve_default_vlan: bool = found["preserveDefaultVlan"]
        self.mac_spoof_check: bool = found["macspoofchk"]
        self.detect_duplicates: bool = found["enabledad"]
        self.disabled: bool = found["disableContainerInterface"]
        self.isolated: bool = found["portIsolation"]
        self.dns: DNS | None = found["dns"]
        self.ipam = ipam
        self.mac = mac

    def check_mtu(self, ipv6: bool) -> None:
        """Raise ``InvalidConfig`` where the container has IPv6 and an MTU with which the kernel has none."""
        if ipv6 and 0 < self.mtu < MTU_MIN_IPV6:
            raise InvalidConfig(
                f"mtu is {self.mtu}, and must be from {MTU_MIN_IPV6} to {_MTU_MAX} with IPv6", 'change key "mtu"'
            )

    def settle(self) -> None:
        """Choose the backends that the configuration leaves to the node; raises ``CNIError`` if the kernel lacks parts."""
        if self.masquerade or self.mac_spoof_check:
            from cni_bridge import capable

            capable.settle(self)

    @property
    def gateway_device(self) -> str:
        """The link that gateways' addresses are on: the bridge, or the node's leg in the VLAN."""
        return f"{self.bridge}.{self.vlan}" if self.vlan else self.bridge


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    check_made(call.attachment.ifname)
    found = TABLE(call.config, "")
    said = Settings(found, type_of(call), _mac(call))
    if not _tells_dns(call):
        said.dns = None
    if said.hairpin and said.promisc:
        raise InvalidConfig("cannot set hairpin mode and promiscuous mode at the same time", "drop one of the two keys")
    if said.disabled and said.ipam:
        raise InvalidConfig("cannot use IPAM when DisableContainerInterface flag is set", "drop one of the two keys")
    if said.masquerade and said.masquerade_backend is not None:
        fault = one_of(("nftables", "iptables"), 'unknown ipmasq backend "%s"')(said.masquerade_backend)
        if fault:
            raise InvalidConfig(fault, "ipMasqBackend is nftables or iptables")
    if said.masquerade and said.drop_invalid and said.masquerade_backend == "iptables":
        raise InvalidConfig("dropInvalid needs the nftables backend of ipMasq", "remove dropInvalid or ipMasqBackend")
    said.check_mtu(bool(said.mtu) and _expects_ipv6(call))
    if said.is_gateway and said.vlan and said.ipam:
        fault = interface_fault(said.gateway_device)
        if fault:
            raise InvalidConfig(
                f'failed to create vlan interface "{said.gateway_device}": {fault}', "shorten the bridge's name"
            )
    if not said.ipam and call.version in FAMILIES[0]:
        raise no_addresses(call.version)
    return said


def _expects_ipv6(call: "Call") -> bool:
    """Whether the configuration names IPv6 networks where IPAM plugins have theirs; others are known after IPAM's answer."""
    sections = [("ipam", name) for name in ("subnet", "ranges", "addresses")]
    sections += [("runtimeConfig", name) for name in ("ips", "ipRanges")]
    return any(_holds_ipv6(chosen(call.config, *path)) for path in sections)


def _holds_ipv6(value: "Any") -> bool:
    if isinstance(value, str):
        try:
            return ":" in value and Address.parse(value.partition("/")[0]).version == 6
        except ValueError:
            return False
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_ipv6, inner))


def _tells_dns(call: "Call") -> bool:
    """Whether ``dns`` is the result's: an empty list is something said too, as in Go."""
    lists = (chosen(call.config, "dns", name) for name in ("nameservers", "search", "options"))
    return any(found is not None for found in lists) or bool(chosen(call.config, "dns", "domain"))


def _mac(call: "Call") -> str:
    """The MAC asked for: the capability before ``args.cni.mac`` before CNI_ARGS."""
    from_args = args.parse(call.environ.get("CNI_ARGS", ""), ("MAC",)).get("MAC", "")
    for path in (("runtimeConfig", "mac"), ("args", "cni", "mac")):
        value = chosen(call.config, *path)
        if value is not None and string(value, ".".join(path)):
            return _checked(value)
    if not from_args:
        return ""
    try:
        return _checked(from_args)
    except InvalidConfig as error:
        raise args.bad_value("MAC", from_args, error.msg) from None


def _checked(text: str) -> str:
    try:
        mac = parse_mac(text)
    except ValueError as error:
        raise InvalidConfig(f"failed to make veth pair: {error}", "write six pairs of hexadecimal digits") from None
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise InvalidConfig(f"address {text}: a multicast or zero MAC cannot be an interface's", "clear its lowest bit")
    return mac


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the node's kernel has what is wanted, the bridge's name is free or a bridge's, and the delegate is ready."""
    try:
        settings.settle()
    except CNIError as error:
        raise NotAvailable(error.msg, error.details) from None
    link = call.site.rtnl.link(settings.bridge)
    if link is not None and link.kind != "bridge":
        raise NotAvailable(
            f'"{settings.bridge}" already exists but is not a bridge', "choose another name with key bridge"
        )
    if settings.masquerade and settings.masquerade_backend == "nftables":
        from cni.kernel import legacy

        for name in legacy.unmarkable():
            call.say(f"bridge: {legacy.complaint(name)}")
    if settings.ipam:
        from cni import delegate

        delegate.ready(call, settings.ipam)
