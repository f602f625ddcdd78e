"""The node forwards the packets of containers, as an effect: sysctls that other attachments rely on too."""

from cni.errors import CheckFailed, CNIError, Step
from cni.plan import Effect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.plan import Differ

_SWITCHES = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class Forwarding(Effect[None]):
    """The node and the gateways' link forward the families that have a gateway. It is shared: nothing turns it off."""

    # the link with the gateways; its own sysctl may be off although the node's is on
    device: str
    versions: "Sequence[int]"
    shared = True
    repairable = True

    def _switches(self, version: int) -> tuple[str, str]:
        return _SWITCHES[version], f"net/ipv{version}/conf/{self.device}/forwarding"

    def make(self) -> None:
        """Write only the sysctls that are not 1, because /proc/sys may be read-only.

        For IPv6 only the node's sysctl decides in the kernel, so a failure on the link itself is no error.
        """
        for version in self.versions:
            node, own = self._switches(version)
            self._switch_on(version, node, f"set {node} to 1")
            try:
                self._switch_on(version, own, f"{self.device} does not forward: set {own} to 1")
            except CNIError:
                if version == 4:
                    raise

    def _switch_on(self, version: int, switch: str, remedy: str) -> None:
        with Step("failed to enable forwarding", remedy):
            if self.site.sysctls.read(switch) == "1":
                return
            if version == 6:
                from cni import advertisements

                advertisements.keep(self.site)
            self.site.sysctls.write(switch, "1")

    def compare(self, differ: "Differ") -> None:
        """The sysctls that forwarding needs are 1: the node's, and for IPv4 also the link's own."""
        for version in self.versions:
            node, own = self._switches(version)
            for switch in (node, own) if version == 4 else (node,):
                if self.site.sysctls.read(switch) != "1":
                    differ(CheckFailed(f"forwarding of IPv{version} is off", f"{switch} is not 1"))

    def describe(self) -> str:
        """The ``sysctl`` commands for it."""
        return "\n".join(f"sysctl {switch}=1" for version in self.versions for switch in self._switches(version))
