"""bridge's configuration: its keys, and the checks of several keys together (pure)."""

from cni.errors import InvalidConfig, NotAvailable
from cni.linksettings import (
    MasqueradeSettings,
    link_dns,
    link_drop_invalid,
    link_masquerade,
    link_masquerade_backend,
    link_mtu,
)
from cni.names import RESERVED, interface_fault
from cni.result import DNS
from cni.settings import Section, boolean, integer, key, listing, string, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.nftables import Nftables
    from cni.skel import Call

_VLAN_MAX = 4094
_REMOVE_ONE = "drop one of the two keys"


def _bridge_name(name: str) -> str:
    if not name:
        return 'failed to create bridge "": could not add "": LinkAttrs.Name cannot be empty'
    wrong = next((words for character, words in (("%", "%"), ("\0", "a zero byte")) if character in name), "")
    fault = interface_fault(name) or (f"interface name contains {wrong}" if wrong else "")
    if name in RESERVED:
        fault = "interface name is reserved"
    return f'failed to create bridge "{name}": {fault}' if fault else ""


class _Span(Section):
    """An item of ``vlanTrunk``: a range of ids, a single id, or both."""

    low: int | None = key("minID", integer, None)
    high: int | None = key("maxID", integer, None)
    single: int | None = key("id", integer, None)


class Settings(MasqueradeSettings):
    """The keys of the configuration, checked."""

    # fmt: off
    bridge: str = key("bridge", string, "cni0", "name of the bridge, which is made if it is missing", _bridge_name)
    is_gateway: bool = key("isGateway", boolean, False, "the bridge gets the gateways' addresses, and the node forwards")
    is_default_gateway: bool = key(
        "isDefaultGateway", boolean, False, "as isGateway, and containers get a default route for each family")
    force_address: bool = key(
        "forceAddress", boolean, False, "replace an address of the bridge that conflicts with a gateway's")
    masquerade: bool = link_masquerade()
    masquerade_backend: str | None = link_masquerade_backend()
    drop_invalid: bool = link_drop_invalid()
    mtu: int = link_mtu(
        "MTU of both ends of the pair, and of a new bridge: 68 to 65535, with IPv6 from 1280; 0: the kernel's")
    hairpin: bool = key("hairpinMode", boolean, False, "the port may send a frame back through the port that it came from")
    promisc: bool = key("promiscMode", boolean, False, "the bridge is promiscuous")
    vlan: int = key(
        "vlan", integer, 0, "VLAN of the port, untagged",
        within(0, _VLAN_MAX, "invalid VLAN ID %d (must be between 0 and 4094)"))
    spans: list[_Span] | None = key("vlanTrunk", listing(_Span), None, "tagged VLANs: `{minID, maxID}`, `{id}`")
    preserve_default_vlan: bool = key(
        "preserveDefaultVlan", boolean, False, "keep the default VLAN of a new port; only with `vlan` or `vlanTrunk`")
    mac_spoof_check: bool = key(
        "macspoofchk", boolean, False, "drop frames of a container from another MAC than its own")
    detect_duplicates: bool = key(
        "enabledad", boolean, False, "detect duplicate IPv6 addresses, which takes a second or two")
    disabled: bool = key(
        "disableContainerInterface", boolean, False, "leave the container's interface down; not with ipam")
    isolated: bool = key("portIsolation", boolean, False, "isolated ports cannot reach each other")
    dns: DNS | None = link_dns()
    # fmt: on

    trunk: list[int]
    mac_refusal = "failed to make veth pair: {error}"

    def complete(self) -> None:
        """Raises ``InvalidConfig`` with Go's texts."""
        self.is_gateway = self.is_gateway or self.is_default_gateway
        self.trunk = _trunk(self.spans or [])
        if self.hairpin and self.promisc:
            raise InvalidConfig("cannot set hairpin mode and promiscuous mode at the same time", _REMOVE_ONE)
        if self.disabled and self.ipam:
            raise InvalidConfig("cannot use IPAM when DisableContainerInterface flag is set", _REMOVE_ONE)
        super().complete()
        if self.is_gateway and self.vlan and self.ipam:
            fault = interface_fault(self.gateway_device)
            if fault:
                raise InvalidConfig(
                    f'failed to create vlan interface "{self.gateway_device}": {fault}', "shorten the bridge's name"
                )

    def settle(self, kernel: "Nftables | None" = None) -> None:
        """Choose the backends. Raises ``CNIError`` if the kernel lacks a part that the configuration needs."""
        if self.mac_spoof_check:
            from cni.kernel import backend

            backend.need(backend.SPOOF_CHECK, "or remove macspoofchk: only nftables can check it", kernel)
        super().settle(kernel)

    @property
    def vlan_filtering(self) -> bool:
        """Whether the bridge filters VLANs."""
        return bool(self.vlan) or self.spans is not None

    @property
    def gateway_device(self) -> str:
        """The link with the gateways' addresses: the bridge, or the node's leg in the VLAN."""
        return f"{self.bridge}.{self.vlan}" if self.vlan else self.bridge


def _trunk(spans: list[_Span]) -> list[int]:
    """The ids, sorted and without duplicates. Raises ``InvalidConfig`` with Go's texts."""
    ids: set[int] = set()
    for span in spans:
        for value, name in ((span.low, "minID"), (span.high, "maxID"), (span.single, "id")):
            if value is not None and not 1 <= value <= _VLAN_MAX:
                raise InvalidConfig(f"incorrect trunk {name} parameter", f"{value} is not between 1 and {_VLAN_MAX}")
        if (span.low is None) != (span.high is None):
            missing = "minID" if span.low is None else "maxID"
            raise InvalidConfig(f"minID and maxID should be configured simultaneously, {missing} is missing")
        if span.low is not None and span.high is not None:
            if span.low > span.high:
                raise InvalidConfig(
                    "minID is greater than maxID in trunk parameter", f"{span.low} is greater than {span.high}"
                )
            ids.update(range(span.low, span.high + 1))
        if span.single is not None:
            ids.add(span.single)
    return sorted(ids)


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``, before anything is changed."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel has all needed parts, the bridge's name is free or is a bridge, and the delegate is ready."""
    link = call.site.rtnl.link(settings.bridge)
    if link is not None and link.kind != "bridge":
        raise NotAvailable(
            f'"{settings.bridge}" already exists but is not a bridge', "choose another name with key bridge"
        )
    settings.kind_ready(call, "veth")
    settings.ready(call, "bridge")
