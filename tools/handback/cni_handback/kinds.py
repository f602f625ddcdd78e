"""All kinds of things that our plugins and Go's leave on a node. The inventory lists them."""

from cni.go.kinds import kinds as of_go
from cni.links.limit import EgressLimit
from cni.links.moved_link import MovedLink
from cni.links.pair import PodLink
from cni.links.shim import HostShim
from cni.macspoof import MacSpoofCheck
from cni.masquerade import Masquerade
from cni.plan import Kind
from cni.saved import SavedValues
from cni.site import Site
from cni_chain.underway import Complete, UnderWay
from cni_dhcp import SOCKET
from cni_dhcp.wanted import Lease
from cni_firewall.admitted import Admitted
from cni_host_local import DATA_DIR
from cni_host_local.store import Store
from cni_host_local.wanted import Leases
from cni_portmap.hostports import HostPorts
from cni_portmap.localnet import Localnet
from cni_tuning.wanted import DATA_DIR as TUNING


def kinds(site: Site, data_dir: str = DATA_DIR) -> list[Kind]:
    """All kinds, links and leases first."""
    leases: list[Kind] = [Leases(site, Store(data_dir, site.attachment.network)), Lease(site, SOCKET)]
    links: list[Kind] = [PodLink(site), MovedLink(site), EgressLimit(site), HostShim(site)]
    kept: list[Kind] = [SavedValues(site, TUNING), *leases]
    rules: list[Kind] = [Masquerade(site), MacSpoofCheck(site), HostPorts(site), Localnet(site), Admitted(site)]
    return [*links, *kept, *rules, UnderWay(site), Complete(site), *of_go(site)]
