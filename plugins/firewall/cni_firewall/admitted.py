"""The effect: the node forwards packets of an attachment's addresses, and its bridge has the ingress policy.

A note has what was made, so DEL needs no result. Without a note, the attachment may be one of Go's plugin: its rules name
no owner, and are found by its addresses. So are ours if the note is lost.
"""

from cni.errors import CheckFailed
from cni.filtering import backends
from cni.filtering.choice import NAMES
from cni.filtering.others import Others, notes_of
from cni.filtering.pod import UNKNOWN, Pod
from cni.names import interface_fault
from cni.plan import Effect, Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.address import Address
    from cni.attachment import Attachment
    from cni.notes import Notes
    from cni.plan import Differ
    from cni.site import Site


class Admitted(Effect[None], Kind):
    """The rules of one attachment."""

    __slots__ = ("pod",)
    noun = "firewall rules"
    repairable = True

    def __init__(self, site: "Site", pod: Pod | None = None) -> None:
        """DEL and GC give no ``pod``: the note has it."""
        super().__init__(site)
        self.pod = pod or Pod()

    def identify(self, attachment: "Attachment") -> str:
        """The name of the note: the attachment's link name."""
        return attachment.link

    @property
    def notes(self) -> "Notes":
        """The notes of the node."""
        return notes_of(self.site)

    def make(self) -> None:
        """Repeatable. What the attachment had before, and will not have, is removed first. Raises ``CNIError``."""
        note = self.notes.read(self.identity)
        before = Pod.parse(note)
        if before.addresses and before != self.pod:
            self._remove(before, self.identity, str(self.attachment))
        self.notes.write(self.identity, str(self.attachment), self.pod.document())
        backends.make(self.site, self.pod, new=not note)

    def compare(self, differ: "Differ") -> None:
        """Everything exists, in the chosen backend or in another one: the choice depends on the node, and may change."""
        faults: list[str] = []
        for backend in dict.fromkeys((self.pod.backend, *NAMES)):
            found = backends.faults(self.site, self.pod, backend)
            if not found:
                return
            faults = faults or found
        for fault in faults:
            differ(CheckFailed(fault, "another ADD of the attachment makes it again"))

    def remove(self) -> None:
        """Remove what the note has; without a note, what was made for the attachment's addresses."""
        if self.notes.read(self.identity):
            self.discard(self.identity)
            return
        if backends.may_have_made(self.site):
            others = Others(self.site, self.identity)
            left = [address for address in self._known() if not others.have(address)]
            previous = self.site.readable
            links = [each.name for each in previous.interfaces if not each.sandbox] if previous is not None else []
            ports = [self.identity, *(name for name in links if not interface_fault(name))]
            self._remove(Pod(left, bridge=UNKNOWN, ports=ports), self.identity, str(self.attachment))
        self.notes.remove(self.identity)  # it may be there, damaged or unfinished

    def discard(self, identity: str) -> None:
        """Remove what the note has, then the note.

        Of attachments that are removed at the same time, each keeps a policy because of the others' notes. The one whose
        note is the last removes it.
        """
        note = self.notes.read(identity)
        pod, owner = Pod.parse(note), str(note.get("owner"))
        others = Others(self.site, identity, pod)
        kept = bool(pod.bridge) and others.use(pod.bridge)
        self._remove(pod, identity, owner)
        self.notes.remove(identity)
        if kept and not others.use(pod.bridge):
            self._remove(Pod(bridge=pod.bridge, backend=pod.backend, ports=pod.ports), identity, owner)

    def _remove(self, pod: Pod, identity: str, owner: str) -> None:
        backends.remove(self.site, pod, owner, Others(self.site, identity, pod))

    def _known(self) -> "list[Address]":
        """The addresses of an attachment without a note: from prevResult, or the namespace.

        Otherwise from our table if all notes are lost, or from Go's masquerading.
        """
        previous, namespace = self.site.readable, self.site.remaining
        found = [ip.address.address for ip in previous.ips] if previous is not None else []
        if not found and namespace is not None:
            found = [*namespace.addresses_of(self.attachment.ifname)]
        if not found and not self.notes.links():
            found = backends.owned(self.site)
        return found or backends.masqueraded_by_go(self.site)

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have notes."""
        return self.notes.found(network)

    def describe(self) -> str:
        """The rules in iptables' words."""
        return backends.described(self.pod, self.site)
