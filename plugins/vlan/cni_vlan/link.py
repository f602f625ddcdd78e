"""The link for a VLAN. A master carries each id once, so a second container with the same id is refused."""

from errno import EEXIST

from cni.errors import CNIError, KernelError
from cni.links.container_link import ContainerLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.kinds import Vlan
    from cni.kernel.rtnl import Rtnl

# Seconds. The kernel removes the links of a namespace some time after the namespace itself.
_REMOVAL = 2.0


class VlanLink(ContainerLink):
    """The link for a VLAN; the value is what the kernel made."""

    kind: "Vlan"

    def _create(self, inside: "Rtnl") -> None:
        try:
            return super()._create(inside)
        except KernelError as error:
            refusal = error
        from cni.patience import attempts

        for _ in attempts(_REMOVAL, first=0.02, longest=0.2):
            if refusal.errno != EEXIST or inside.link(self.attachment.link) is not None or self._owner():
                break
            try:
                return super()._create(inside)
            except KernelError as error:
                refusal = error
        raise refusal

    def _refusal(self, error: KernelError, step: str = "") -> CNIError:
        """As for any link; if the id is in use, the details name its owner."""
        refused = super()._refusal(error, step)
        if error.errno == EEXIST and not step and not refused.details and self.parent is not None:
            master, id = self.parent.link.name, self.kind.id
            refused.details = (
                f"id {id} of {master} is in use by {self._owner() or 'a link in another namespace'}, and a master has each"
                f" id once. Change vlanId, or make a link {master}.{id} and put its containers on it with macvlan or bridge"
            )
        return refused

    def _owner(self) -> str:
        from cni.links.elsewhere import owner_on

        return owner_on(self.site, self.parent, self.kind) if self.parent is not None else ""
