"""A port of the bridge: hairpin, isolation, VLANs; it comes up, forwards, and its addresses are announced."""

from cni.errors import CheckFailed, CNIError, Step
from cni.interface import Announced
from cni.kernel.rtnl import FORWARDING, HELD_BACK, NATIVE_VLAN, Link, Rtnl
from cni.patience import attempts
from cni.plan import Differ, Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.links.pair import Pair
    from cni.result import IPConfig
    from cni.site import Site
    from cni_bridge.settings import Settings

# Seconds that a port may take to come up.
_PORT_TIMEOUT = 2.5


def wanted_vlans(settings: "Settings") -> dict[int, int]:
    """The port's VLAN ids and their flags. A trunk without ``vlan`` has the native VLAN 1."""
    wanted = dict.fromkeys(settings.trunk, 0)
    native = settings.vlan or (1 if settings.trunk else 0)
    if native:
        wanted[native] = NATIVE_VLAN
    return wanted


class PortSettings(Effect[None]):
    """Hairpin and isolation of the port. They go with the link."""

    port: Link
    settings: "Settings"
    repairable = True

    def make(self) -> None:
        """Set them. A new port has neither, so without these keys there is nothing to do."""
        settings = self.settings
        if not (settings.hairpin or settings.isolated):
            return
        what = "set isolated on" if settings.isolated else "setup hairpin mode"
        with Step(f"failed to {what} for {self.port.name}"):
            self.site.rtnl.change_port(self.port.index, hairpin=settings.hairpin, isolated=settings.isolated or None)

    def compare(self, differ: "Differ") -> None:
        """Both are as configured."""
        for name, wanted, found in (
            ("hairpinMode", self.settings.hairpin, self.port.hairpin),
            ("portIsolation", self.settings.isolated, self.port.isolated),
        ):
            if wanted != found:
                differ(CheckFailed(f"{name} of port {self.port.name} is {found}, configured is {wanted}".lower()))

    def describe(self) -> str:
        """The ``bridge`` command for it."""
        on = {True: "on", False: "off"}
        settings = self.settings
        return f"bridge link set dev {self.attachment.link} hairpin {on[settings.hairpin]} isolated {on[settings.isolated]}"


class PortVlans(Effect[None]):
    """The VLANs of the port. They go with the link."""

    port: Link
    settings: "Settings"
    repairable = True

    def make(self) -> None:
        """Remove the VLANs that the kernel gave the port, unless they are to be kept, and add the configured ones."""
        set_vlans(self.site.rtnl, self.port, self.settings, wanted_vlans(self.settings))

    def compare(self, differ: "Differ") -> None:
        """Each configured VLAN is on the port, with its flags."""
        from cni.kernel import vlans

        found = vlans.of(self.site.rtnl, self.port.index)
        for vid, flags in wanted_vlans(self.settings).items():
            if vid not in found:
                differ(CheckFailed(f"vlan {vid} is not on port {self.port.name}"))
            elif found[vid] & NATIVE_VLAN != flags:
                kind = "untagged" if flags else "tagged"
                differ(CheckFailed(f"vlan {vid} on port {self.port.name} is not {kind}"))

    def describe(self) -> str:
        """The ``bridge`` command for it."""
        port = self.attachment.link
        native = {0: "", NATIVE_VLAN: " pvid untagged"}
        return "\n".join(
            f"bridge vlan add dev {port} vid {vid}{native[flags]}"
            for vid, flags in sorted(wanted_vlans(self.settings).items())
        )


def set_vlans(rtnl: Rtnl, port: Link, settings: "Settings", wanted: dict[int, int]) -> None:
    """Put VLANs on a port; raises ``CNIError`` with the port's name."""
    from cni.kernel import vlans

    if wanted and not settings.preserve_default_vlan:
        with Step(f'failed to remove default vlan on interface "{port.name}"'):
            for vid in vlans.of(rtnl, port.index):
                if vid not in wanted:
                    vlans.delete(rtnl, port.index, vid)
    with Step(f'failed to setup vlan tag on interface "{port.name}"'):
        for vid, flags in wanted.items():
            vlans.add(rtnl, port.index, vid, flags)


class PortForwards(Effect[bool]):
    """The port is up and forwards, because both ends are up. The value is whether it forwards."""

    port: Link
    # it only waits
    repairable = False

    def make(self) -> bool:
        """Wait until the port forwards: earlier frames are lost. A port that STP holds back is enough, as in Go."""
        state = ""
        for _ in attempts(_PORT_TIMEOUT, longest=0.05):
            link = self.site.rtnl.link(index=self.port.index)
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

    def compare(self, differ: "Differ") -> bool:
        """The port is up."""
        if self.port.operstate != "up":
            fault = f"bridge port in error state: {self.port.operstate}"
            differ(CheckFailed(fault, f"{self.port.name} is not up"))
        return True

    def describe(self) -> str:
        """The condition."""
        return f"wait until {self.attachment.link} forwards"


def announced(site: "Site", pair: "Pair", ips: "Sequence[IPConfig]", forwarded: bool) -> Announced:
    """Announce the addresses if the port forwards. It may have begun to forward since ``PortForwards`` looked."""
    return Announced(site, pair.container, ips, lambda: forwarded or _forwards(site, pair.host))


def _forwards(site: "Site", port: Link) -> bool:
    link = site.rtnl.link(index=port.index)
    return link is not None and link.port_state == FORWARDING
