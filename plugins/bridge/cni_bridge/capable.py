"""What a configuration asks of the node's kernel: the backend of the masquerade, and the check of MACs."""

from cni.kernel import backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_bridge.settings import Settings

# As ``cni.masquerade`` and ``cni.macspoof`` have them, which STATUS does not import.
INET, BRIDGE = 1, 7
MASQUERADED, CHECKED = "pycni_masquerade", "pycni_macspoof"


def settle(said: "Settings") -> None:
    """Choose the backend that the configuration leaves to the node.

    Raises ``CNIError``, before anything is made, if the kernel lacks what the configuration wants.
    """
    if said.mac_spoof_check:
        backend.need(BRIDGE, CHECKED, (), "or remove macspoofchk: only nftables can check it")
    if said.masquerade:
        parts = (backend.NAT, backend.MASQUERADE)
        said.masquerade_backend = backend.chosen(said.masquerade_backend, INET, MASQUERADED, parts)
