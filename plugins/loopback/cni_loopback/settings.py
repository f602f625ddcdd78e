"""loopback has no keys of its own."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call


def read(call: "Call") -> None:
    """There is nothing to read."""
