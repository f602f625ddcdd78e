"""The bridge itself, as an effect. Other attachments use it too, so nothing removes it."""

from errno import EEXIST, EOPNOTSUPP, EPERM

from cni.errors import CheckFailed, CNIError, InvalidConfig, KernelError, Refused, Step
from cni.kernel.rtnl import Link, random_mac
from cni.kernel.sysctl import mac_was_set
from cni.plan import Differ, Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.kinds import Bridge
    from cni_bridge.settings import Settings

_NO_VLANS = "the kernel of this node has no bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)"

_REFUSALS = {EOPNOTSUPP: "the kernel of this node has no bridge (CONFIG_BRIDGE)", EPERM: "this needs CAP_NET_ADMIN"}


class BridgeDevice(Effect[Link]):
    """The bridge exists, is up and keeps its MAC; the value is its ``Link``."""

    settings: "Settings"
    found: Link | None = None
    shared = True
    repairable = True

    @property
    def index(self) -> int:
        """The bridge's index after ``make`` or ``compare``, 0 before."""
        return self.found.index if self.found is not None else 0

    @property
    def _kind(self) -> "Bridge":
        from cni.kernel.kinds import Bridge

        return Bridge(self.settings.vlan_filtering)

    def make(self) -> Link:
        """Make the bridge if it is missing, with a fixed MAC. A link of another kind is refused."""
        settings = self.settings
        link = self.site.rtnl.link(settings.bridge) or self._create()
        if link.kind != "bridge":
            raise Refused(
                f'failed to create bridge "{settings.bridge}": "{settings.bridge}" already exists but is not a bridge',
                f"it is of type {link.kind or 'device'}; choose another name with key bridge",
            )
        if settings.vlan_filtering and link.data != self._kind:
            self._filter(link)
        # the MAC of a bridge that Go's plugin or a user made may follow its ports
        floating = not mac_was_set(self.site.node.roots.sys, link.name, link.index)
        promisc = settings.promisc and not link.promisc
        if floating or promisc or not link.up:
            mac = link.mac if link.mac.strip("0:") else random_mac()
            name = f'"{link.name}"'
            with Step(f"could not set promiscuous mode on {name}" if promisc else f"failed to set {name} up"):
                self.site.rtnl.change(link.index, mac=mac if floating else "", up=True, promisc=promisc or None)
            link.mac = mac if floating else link.mac
        self.found = link
        return link

    def _create(self) -> Link:
        settings = self.settings
        try:
            self.site.rtnl.add(settings.bridge, self._kind, mac=random_mac(), mtu=settings.mtu)
        except KernelError as error:
            if error.errno == EOPNOTSUPP and settings.vlan_filtering:
                raise Refused(f'failed to create bridge "{settings.bridge}": {_NO_VLANS}') from None
            if error.errno != EEXIST:  # another ADD was faster
                remedy = _REFUSALS.get(error.errno, "")
                raise Refused(f'failed to create bridge "{settings.bridge}": {error}', remedy) from None
        self.site.sysctls.attempt(f"net/ipv6/conf/{settings.bridge}/accept_ra", "0")
        # its link-local address can be used at once: the node needs it to find the containers' MACs
        self.site.sysctls.attempt(f"net/ipv6/conf/{settings.bridge}/accept_dad", "0")
        link = self.site.rtnl.link(settings.bridge)
        if link is None:
            raise CNIError(f'could not lookup "{settings.bridge}" after creating it', "did something remove it?")
        return link

    def _filter(self, link: Link) -> None:
        """Turn VLAN filtering on. Go accepts VLANs on a bridge without it, where they have no effect."""
        try:
            self.site.rtnl.change(link.index, kind=self._kind)
        except KernelError as error:
            text = _NO_VLANS if error.errno == EOPNOTSUPP else str(error)
            raise InvalidConfig(f'cannot filter VLANs on "{link.name}": {text}', "drop vlan and vlanTrunk") from None

    def compare(self, differ: "Differ") -> Link:
        """It is a bridge, is up, has prevResult's MAC, and filters VLANs and is promiscuous if configured."""
        settings, name = self.settings, self.settings.bridge
        link = self.site.rtnl.link(name)
        if link is None:
            raise CheckFailed(f"Bridge interface {name} is missing")
        if link.kind != "bridge":
            raise CheckFailed(f"Interface {name} is not a bridge")
        if not link.up:
            differ(CheckFailed(f"Bridge interface {name} is down"))
        if settings.promisc and not link.promiscuity:
            text = "configured Promisc Mode true doesn't match current state: false"
            differ(CheckFailed(f"Bridge interface {name} {text}"))
        if settings.vlan_filtering and link.data != self._kind:
            differ(CheckFailed(f"Bridge interface {name} does not filter VLANs"))
        previous = self.site.previous
        for interface in previous.interfaces if previous is not None else ():
            if interface.name == name and not interface.sandbox and interface.mac not in ("", link.mac):
                fault = f"Bridge interface {name} Mac doesn't match: {interface.mac}"
                differ(CheckFailed(fault, f"it is {link.mac}"))
        self.found = link
        return link

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        settings = self.settings
        mtu = f" mtu {settings.mtu}" if settings.mtu else ""
        filtering = " vlan_filtering 1" if settings.vlan_filtering else ""
        promisc = " promisc on" if settings.promisc else ""
        made = f"ip link add {settings.bridge} address RANDOM{mtu} type bridge{filtering}"
        return f"{made}\nip link set {settings.bridge} up{promisc}"
