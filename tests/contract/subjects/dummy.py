"""dummy: Debian 12's Go plugins have none, and not every kernel can make one."""

from pathlib import Path

from contract.subject import IPAM, Network, Subject
from node.configuration import host_local
from node.plugin import DIST


class Dummy(Subject):
    """A link of the container that leads nowhere."""

    type = "dummy"
    kind = "dummy"
    keys = {"ipam": IPAM}
    # without ipam it is refused
    delegated = ()
    # it needs an IPAM plugin
    path = DIST
    in_container = True
    # where the kernel has none
    of_the_node = ("failed to create dummy",)

    def networks(self, store: Path) -> dict[str, Network]:
        """Both families."""
        ipam = host_local(store, "10.1.2.0/24", "fd00:1::/64")
        return {"usual": Network({"type": "dummy", "ipam": ipam}, leaves={"interface", "lease"}, go=True, back=True)}


SUBJECT = Dummy()
