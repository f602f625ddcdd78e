"""What the bridge does with one port: hairpin, isolation, VLANs, and that it comes up, forwards and is announced."""

from cni.errors import CheckFailed, CNIError
from cni.kernel.netlink import KernelError
from cni.kernel.rtnl import FORWARDING, HELD_BACK, VLAN_PVID, VLAN_UNTAGGED, Link, Rtnl
from cni.patience import attempts
from cni.plan import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cni.kernel.namespace import Namespace
    from cni.names import Attachment
    from cni.podlink import Pair
    from cni.result import IPConfig
    from cni_bridge.settings import Settings

# Seconds that a port may take to come up.
_PORT_TIMEOUT = 2.5


def wanted_vlans(settings: "Settings") -> dict[int, int]:
    """The port's VLAN ids and their flags; a trunk without a VLAN has 1 as its native one."""
    wanted = dict.fromkeys(settings.trunk, 0)
    native = settings.vlan or (1 if settings.trunk else 0)
    if native:
        wanted[native] = VLAN_PVID | VLAN_UNTAGGED
    return wanted


class PortSettings(Effect):
    """Hairpin and isolation of the port. They go with the link."""

    __slots__ = ("port", "rtnl", "settings")

    def __init__(self, attachment: "Attachment", rtnl: Rtnl, port: Link | None, settings: "Settings") -> None:
        """``port`` is None on DEL and GC."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.port = port
        self.settings = settings

    def make(self) -> None:
        """A new port has neither, so most ADDs have nothing to say."""
        said = self.settings
        if self.port is None or not (said.hairpin or said.isolated):
            return
        data: list[tuple[str, Any]] = [("IFLA_BRPORT_MODE", int(said.hairpin))]
        if said.isolated:
            data.append(("IFLA_BRPORT_ISOLATED", 1))
        info = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": data})]}
        try:
            self.rtnl.set_link(self.port.index, [("IFLA_LINKINFO", info)])
        except KernelError as error:
            what = "set isolated on" if said.isolated else "setup hairpin mode"
            raise CNIError(f"failed to {what} for {self.port.name}: {error}") from None

    def compare(self) -> None:
        """Both are as configured."""
        assert self.port is not None  # noqa: S101
        for name, wanted, found in (
            ("hairpinMode", self.settings.hairpin, self.port.hairpin),
            ("portIsolation", self.settings.isolated, self.port.isolated),
        ):
            if wanted != found:
                raise CheckFailed(f"{name} of port {self.port.name} is {found}, configured is {wanted}".lower())

    def describe(self) -> str:
        """As ``bridge`` would be told."""
        on = {True: "on", False: "off"}
        said = self.settings
        return f"bridge link set dev {self.attachment.link} hairpin {on[said.hairpin]} isolated {on[said.isolated]}"


class PortVlans(Effect):
    """The VLANs of the port. They go with the link."""

    __slots__ = ("port", "rtnl", "settings")

    def __init__(self, attachment: "Attachment", rtnl: Rtnl, port: Link | None, settings: "Settings") -> None:
        """``port`` is None on DEL and GC."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.port = port
        self.settings = settings

    def make(self) -> None:
        """The VLANs that the port got by itself go, unless they are to be kept; the configured ones come."""
        if self.port is not None:
            set_vlans(self.rtnl, self.port, self.settings, wanted_vlans(self.settings))

    def compare(self) -> None:
        """Each configured VLAN is on the port, with its flags."""
        assert self.port is not None  # noqa: S101
        found = self.rtnl.vlans(self.port.index)
        for vid, flags in wanted_vlans(self.settings).items():
            if vid not in found:
                raise CheckFailed(f"vlan {vid} is not on port {self.port.name}")
            if found[vid] & (VLAN_PVID | VLAN_UNTAGGED) != flags:
                raise CheckFailed(f"vlan {vid} on port {self.port.name} is not {'untagged' if flags else 'tagged'}")

    def describe(self) -> str:
        """As ``bridge`` would be told."""
        port = self.attachment.link
        native = {0: "", VLAN_PVID | VLAN_UNTAGGED: " pvid untagged"}
        return "\n".join(
            f"bridge vlan add dev {port} vid {vid}{native[flags]}"
            for vid, flags in sorted(wanted_vlans(self.settings).items())
        )


def set_vlans(rtnl: Rtnl, port: Link, settings: "Settings", wanted: dict[int, int]) -> None:
    """Put VLANs on a port; raises ``CNIError`` with the port's name."""
    step = f'failed to remove default vlan on interface "{port.name}"'
    try:
        if wanted and not settings.preserve_default_vlan:
            for vid in rtnl.vlans(port.index):
                if vid not in wanted:
                    rtnl.change_vlan(port.index, vid, remove=True)
        step = f'failed to setup vlan tag on interface "{port.name}"'
        for vid, flags in wanted.items():
            rtnl.change_vlan(port.index, vid, flags)
    except KernelError as error:
        raise CNIError(f"{step}: {error}") from None


class PortUp(Effect):
    """The host end is set up; it goes down with the link."""

    __slots__ = ("port", "rtnl")

    def __init__(self, attachment: "Attachment", rtnl: Rtnl, port: Link | None) -> None:
        """``port`` is None on DEL and GC."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.port = port

    def make(self) -> None:
        """Set it up."""
        if self.port is None:
            return
        try:
            self.rtnl.set_link(self.port.index, up=True)
        except KernelError as error:
            raise CNIError(f'failed to set "{self.port.name}" UP: {error}') from None

    def describe(self) -> str:
        """As ``ip`` would be told."""
        return f"ip link set {self.attachment.link} up"


class PortForwards(Effect):
    """The port is up and forwards, both ends being up; the value is whether it forwards."""

    __slots__ = ("port", "rtnl")

    def __init__(self, attachment: "Attachment", rtnl: Rtnl, port: Link | None) -> None:
        """``port`` is None on DEL and GC."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.port = port

    def make(self) -> bool:
        """Wait until it forwards: a frame sent earlier reaches nobody. One that STP holds back is up for Go too."""
        if self.port is None:
            return False
        state = ""
        for _ in attempts(_PORT_TIMEOUT, longest=0.05):
            link = self.rtnl.link(index=self.port.index)
            if link is None:
                raise CNIError(f"{self.port.name} vanished while it came up", "did something remove it?")
            if link.operstate == "up" and link.port_state == FORWARDING:
                return True
            if link.operstate == "up" and link.port_state in HELD_BACK:
                return False
            state = link.operstate
        if state == "up":
            return False
        raise CNIError(f"bridge port in error state: {state}", f"{self.port.name} does not come up")

    def compare(self) -> bool:
        """The port is up."""
        assert self.port is not None  # noqa: S101
        if self.port.operstate != "up":
            raise CheckFailed(f"bridge port in error state: {self.port.operstate}", f"{self.port.name} is not up")
        return True

    def describe(self) -> str:
        """What is waited for."""
        return f"wait until {self.attachment.link} forwards"


class Announced(Effect):
    """The neighbours learn where the addresses are now."""

    __slots__ = ("container", "forwards", "ips", "namespace", "port", "rtnl")

    def __init__(
        self,
        attachment: "Attachment",
        rtnl: Rtnl,
        namespace: "Namespace | None",
        pair: "Pair",
        ips: "Sequence[IPConfig]",
        forwards: bool,
    ) -> None:
        """``forwards`` is the value of ``PortForwards``."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.namespace = namespace
        self.port = pair.host
        self.container = pair.container
        self.ips = ips
        self.forwards = forwards

    def make(self) -> None:
        """Only through a port that forwards; one that did not before IPAM was asked may do so now."""
        if self.namespace is None or not self.ips:
            return
        if not self.forwards:
            link = self.rtnl.link(index=self.port.index)
            if link is None or link.port_state != FORWARDING:
                return
        from cni.kernel.announce import announce

        announce(self.namespace, self.container, [ip.address.address for ip in self.ips])

    def describe(self) -> str:
        """What is announced."""
        return "\n".join(f"announce {ip.address.address}" for ip in self.ips)
