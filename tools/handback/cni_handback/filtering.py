"""The way back for firewall: rules of our table, written in the chains of Go's plugin."""

from cni.filtering.nftables import ACCEPTING, INSIDE, LAYOUT
from cni.filtering.others import Others
from cni.filtering.pod import Pod
from cni.go import firewall
from cni.site import Site
from cni_firewall.admitted import Admitted

TABLES = (LAYOUT, INSIDE)


class Forwarded:
    """One attachment that has firewall's rules in nftables, and the rules that Go's plugin has for it."""

    def __init__(self, owner: str, pod: Pod) -> None:
        self.owner = owner
        self.pod = pod

    def write(self, site: Site) -> None:
        """Make Go's rules with the node's iptables. Raises ``CNIError``."""
        pod = self.pod
        firewall.make(site.nftables, firewall.of_pod(pod.addresses, pod.admin, pod.bridge, pod.policy), pod.admin)

    def report(self) -> str:
        """A line for people."""
        policy = f", ingress policy {self.pod.policy} of {self.pod.bridge}" if self.pod.bridge else ""
        return f"{self.owner}: firewall rules of {' '.join(map(str, self.pod.addresses))}{policy}"


def forwarded(site: Site) -> list[Forwarded]:
    """The attachments with rules in nftables. With iptables and firewalld the rules are Go's already."""
    notes = Admitted(site).notes
    found = [(found.owner, Pod.parse(notes.read(found))) for found in notes.found("")]
    return [Forwarded(owner, pod) for owner, pod in found if pod.backend == "nftables"]


def forget(site: Site) -> None:
    """After our tables are removed: remove the rule for marked packets, and all notes."""
    firewall.remove(site.nftables, [], Others(site, ""), [ACCEPTING])
    notes = Admitted(site).notes
    for link in notes.links():
        notes.remove(link)
