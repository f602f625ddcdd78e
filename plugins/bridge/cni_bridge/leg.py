"""The node's leg in a VLAN of the bridge: it has the gateways' addresses of that VLAN."""

from errno import EEXIST

from cni.errors import CheckFailed, CNIError, Step
from cni.kernel.rtnl import NATIVE_VLAN, Link, random_mac
from cni.links.pair import REFUSALS
from cni.names import sha512
from cni.plan import Effect
from cni_bridge.port import set_vlans

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Differ
    from cni_bridge.settings import Settings


class VlanLeg(Effect[Link]):
    """The node's leg in a VLAN of the bridge: a pair ``BRIDGE.VLAN`` and a port. Nothing removes it."""

    settings: "Settings"
    bridge: Link
    shared = True
    repairable = True

    @property
    def port(self) -> str:
        """The port's name, derived from the bridge and the VLAN. Links of attachments never have such a name."""
        settings = self.settings
        return "vleg" + sha512("vlan", settings.bridge, str(settings.vlan)).hex()[:11]

    def make(self) -> Link:
        """Make the pair if it is missing, or finish a pair of ours. Another link with that name is used unchanged."""
        name = self.settings.gateway_device
        step = f'failed to create vlan interface "{name}"'
        leg = self.site.rtnl.link(name)
        made = leg is None
        if made:
            with Step(step, REFUSALS, passed=EEXIST):  # another ADD was faster
                self._create(name)
            leg = self.site.rtnl.link(name)
        port = self.site.rtnl.link(self.port)
        whole = leg is not None and port is not None and (port.peer, leg.peer) == (leg.index, port.index)
        if leg is None or (made and not whole):
            raise CNIError(f"{step}: {self.port} or {name} is missing or another's")
        if whole and port is not None:
            with Step(step, REFUSALS):
                self._finish(port, leg)
        return leg

    def _create(self, name: str) -> None:
        from cni.kernel.kinds import Veth

        bridge, kind = self.bridge, Veth(name, random_mac(), self.bridge.mtu)
        self.site.rtnl.add(self.port, kind, mac=random_mac(), mtu=bridge.mtu, master=bridge.index)

    def _finish(self, port: Link, leg: Link) -> None:
        """Configure the pair. Done at each ADD, because the ADD that made the pair may have died before this."""
        rtnl, sysctls = self.site.rtnl, self.site.sysctls
        if port.master != self.bridge.index:  # the bridge is a new one
            rtnl.change(port.index, master=self.bridge.index)
        set_vlans(rtnl, port, self.settings, {self.settings.vlan: NATIVE_VLAN})
        for link in (port, leg):
            sysctls.attempt(f"net/ipv6/conf/{link.name}/accept_ra", "0")
        # its link-local address can be used at once: the node needs it to find its neighbours
        sysctls.attempt(f"net/ipv6/conf/{leg.name}/accept_dad", "0")
        for link in (port, leg):
            rtnl.change(link.index, up=True)

    def compare(self, differ: "Differ") -> Link:
        """Both ends exist and are up, and the port is in the VLAN."""
        leg = self.site.rtnl.link(self.settings.gateway_device)
        if leg is None:
            raise CheckFailed(f"{self.settings.gateway_device} is missing")
        if not leg.up:
            differ(CheckFailed(f"{self.settings.gateway_device} is down"))
        port = self.site.rtnl.link(index=leg.peer) if leg.peer else None
        if port is not None and port.master == self.bridge.index:
            if not port.up:
                differ(CheckFailed(f"port {port.name} of {leg.name} is down"))
            from cni.kernel import vlans

            if self.settings.vlan not in vlans.of(self.site.rtnl, port.index):
                differ(CheckFailed(f"vlan {self.settings.vlan} is not on port {port.name}"))
        return leg

    def describe(self) -> str:
        """The ``ip`` and ``bridge`` commands for it."""
        settings = self.settings
        return (
            f"ip link add {self.port} master {settings.bridge} type veth peer {settings.gateway_device}\n"
            f"bridge vlan add dev {self.port} vid {settings.vlan} pvid untagged"
        )
