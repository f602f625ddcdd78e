"""The attachments of a node that have rules, by their notes."""

from cni.attachment import is_alias
from cni.filtering.pod import UNKNOWN, Pod
from cni.notes import Notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni.address import Address
    from cni.site import Site


def notes_of(site: "Site") -> Notes:
    """The notes of a node."""
    return Notes(f"{site.node.roots.run}/firewall", site.rtnl.namespace)


class Others:
    """The other attachments of a node, by their notes. They are read only if they are needed."""

    def __init__(self, site: "Site", identity: str, pod: Pod | None = None) -> None:
        """``identity`` and ``pod`` are of the attachment itself."""
        self._site = site
        self._identity = identity
        self._pod = pod or Pod()

    def _each(self) -> "Iterator[Pod]":
        notes = notes_of(self._site)
        return (Pod.parse(notes.read(link)) for link in notes.links() if link != self._identity)

    def have(self, address: "Address") -> bool:
        """Whether one of them has the address."""
        return any(address in pod.addresses for pod in self._each())

    def use(self, bridge: str) -> bool:
        """Whether one of them uses the policy of a bridge: its note says so, or the bridge has a port of others.

        For an attachment without a policy nothing is read: policies stay. A port of ours without a note does not count: it
        goes at the same time. Without any note of this attachment, there may be none of others either.
        """
        if not self._pod.bridge or any(pod.bridge == bridge for pod in self._each()):
            return True
        link, own = self._site.rtnl.link(bridge), {self._identity, *self._pod.ports}
        if link is None or link.kind != "bridge":  # ptp's policy is for the link of one pod
            return False
        all_count = self._pod.bridge == UNKNOWN
        return any(
            port.master == link.index and port.name not in own and (all_count or not is_alias(port.alias))
            for port in self._site.rtnl.links()
        )
