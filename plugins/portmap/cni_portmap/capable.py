"""What a configuration asks of the node's kernel: the backend of the host ports."""

from cni.kernel import backend
from cni.kernel.transaction import INET
from cni_portmap.layout import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_portmap.settings import Settings

_PARTS = (backend.NAT, backend.FIB, backend.CONNECTIONS, backend.MASQUERADE)


def settle(said: "Settings") -> None:
    """Choose the backend that the configuration leaves to the node.

    Raises ``CNIError``, before anything is made, if the kernel lacks what the configuration wants.
    """
    said.backend = backend.chosen(None if said.free else said.backend, INET, TABLE, _PARTS)
