"""The bridge itself, as an effect that stands for the node: other attachments rely on it, so nothing removes it."""

from errno import EEXIST, EOPNOTSUPP, EPERM

from cni.errors import CheckFailed, CNIError, InvalidConfig, Refused
from cni.kernel import sysctl, sysfs
from cni.kernel.netlink import KernelError
from cni.kernel.rtnl import IFF_PROMISC, Link, Rtnl, random_mac
from cni.plan import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.names import Attachment
    from cni.result import Result
    from cni_bridge.settings import Settings

_NO_VLANS = "the kernel of this node has no bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)"

_REFUSALS = {EOPNOTSUPP: "the kernel of this node has no bridge (CONFIG_BRIDGE)", EPERM: "this needs CAP_NET_ADMIN"}


class BridgeDevice(Effect):
    """The bridge exists, is up and keeps its MAC; the value is its ``Link``."""

    __slots__ = ("expected", "found", "rtnl", "settings")
    shared = True

    def __init__(
        self, attachment: "Attachment", rtnl: Rtnl, settings: "Settings", expected: "Result | None" = None
    ) -> None:
        """``expected`` is CHECK's prevResult."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.settings = settings
        self.expected = expected
        self.found: Link | None = None

    @property
    def index(self) -> int:
        """The bridge's index, once it is made or compared."""
        assert self.found is not None  # noqa: S101
        return self.found.index

    def make(self) -> Link:
        """Make it if it is missing, with a MAC of its own; a link of another kind is refused."""
        said = self.settings
        link = self.rtnl.link(said.bridge) or self._create()
        if link.kind != "bridge":
            raise Refused(
                f'failed to create bridge "{said.bridge}": "{said.bridge}" already exists but is not a bridge',
                f"it is of type {link.kind or 'device'}; choose another name with key bridge",
            )
        if said.vlan_filtering and not link.vlan_filtering:
            self._filter(link)
        # the MAC of a bridge that Go's plugin or a user made may follow its ports
        floating = not sysfs.mac_was_set(link.name, link.index)
        promisc = said.promisc and not link.flags & IFF_PROMISC
        if floating or promisc or not link.up:
            mac = link.mac if link.mac.strip("0:") else random_mac()
            attributes = [("IFLA_ADDRESS", mac)] if floating else []
            try:
                self.rtnl.set_link(link.index, attributes, up=True, promisc=promisc)
            except KernelError as error:
                what = (
                    f'could not set promiscuous mode on "{link.name}"' if promisc else f'failed to set "{link.name}" up'
                )
                raise CNIError(f"{what}: {error}") from None
            link.mac = mac if floating else link.mac
        self.found = link
        return link

    def _create(self) -> Link:
        said = self.settings
        data = [("IFLA_BR_VLAN_FILTERING", 1)] if said.vlan_filtering else []
        info = [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": data})]
        attributes: list[tuple[str, Any]] = [
            ("IFLA_IFNAME", said.bridge),
            ("IFLA_ADDRESS", random_mac()),
            ("IFLA_LINKINFO", {"attrs": info}),
        ]
        if said.mtu:
            attributes.append(("IFLA_MTU", said.mtu))
        try:
            self.rtnl.add_link(attributes)
        except KernelError as error:
            if error.errno == EOPNOTSUPP and said.vlan_filtering:
                raise Refused(f'failed to create bridge "{said.bridge}": {_NO_VLANS}') from None
            if error.errno != EEXIST:  # another ADD was faster
                remedy = _REFUSALS.get(error.errno, "")
                raise Refused(f'failed to create bridge "{said.bridge}": {error}', remedy) from None
        sysctl.attempt(f"net/ipv6/conf/{said.bridge}/accept_ra", "0")
        # its link-local address is usable at once: the node asks for the containers' MACs from it
        sysctl.attempt(f"net/ipv6/conf/{said.bridge}/accept_dad", "0")
        link = self.rtnl.link(said.bridge)
        if link is None:
            raise CNIError(f'could not lookup "{said.bridge}" after creating it', "did something remove it?")
        return link

    def _filter(self, link: Link) -> None:
        """Turn VLAN filtering on: Go accepts VLANs on a bridge without it, and they have no effect."""
        data = {"attrs": [("IFLA_BR_VLAN_FILTERING", 1)]}
        info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
        try:
            self.rtnl.set_link(link.index, [("IFLA_LINKINFO", info)])
        except KernelError as error:
            text = _NO_VLANS if error.errno == EOPNOTSUPP else str(error)
            raise InvalidConfig(f'cannot filter VLANs on "{link.name}": {text}', "drop vlan and vlanTrunk") from None
        link.vlan_filtering = True

    def compare(self) -> Link:
        """It is a bridge, up, filters VLANs and is promiscuous where that is wanted, and has prevResult's MAC."""
        said = self.settings
        link = self.rtnl.link(said.bridge)
        if link is None:
            raise CheckFailed(f"Bridge interface {said.bridge} is missing")
        if link.kind != "bridge":
            raise CheckFailed(f"Interface {said.bridge} is not a bridge")
        if not link.up:
            raise CheckFailed(f"Bridge interface {said.bridge} is down")
        if said.promisc and not link.promiscuity:
            raise CheckFailed(
                f"Bridge interface {said.bridge} configured Promisc Mode true doesn't match current state: false"
            )
        if said.vlan_filtering and not link.vlan_filtering:
            raise CheckFailed(f"Bridge interface {said.bridge} does not filter VLANs")
        for interface in self.expected.interfaces if self.expected is not None else ():
            if interface.name == said.bridge and not interface.sandbox and interface.mac not in ("", link.mac):
                raise CheckFailed(
                    f"Bridge interface {said.bridge} Mac doesn't match: {interface.mac}", f"it is {link.mac}"
                )
        self.found = link
        return link

    def describe(self) -> str:
        """As ``ip`` would be told."""
        said = self.settings
        mtu = f" mtu {said.mtu}" if said.mtu else ""
        filtering = " vlan_filtering 1" if said.vlan_filtering else ""
        promisc = " promisc on" if said.promisc else ""
        made = f"ip link add {said.bridge} address RANDOM{mtu} type bridge{filtering}"
        return f"{made}\nip link set {said.bridge} up{promisc}"
