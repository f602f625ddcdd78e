"""``cni.dev/valid-attachments``: the attachments that GC must keep (spec section "GC")."""

from cni.attachment import Attachment
from cni.settings import Key, Required, Table, chosen, listing, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call

_ATTACHMENTS = listing(
    Table(
        Key("containerID", string, Required("a valid attachment has no containerID")),
        Key("ifname", string, Required("a valid attachment has no ifname")),
    )
)
# The key's name now, and in an earlier text of the specification.
_KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")


def valid_attachments(call: "Call") -> list[Attachment] | None:
    """The list, or None if the configuration has none: then GC must remove nothing.

    ``null`` counts as an empty list, because libcni sends one that way. Raises ``DecodingFailure``, and
    ``InvalidConfig`` for an incomplete attachment.
    """
    for key in _KEYS:
        value = chosen(call.config, key)
        if value is None and any(name.lower() == key for name in call.config):
            value = []
        if value is not None:
            listed = _ATTACHMENTS(value, key)
            return [Attachment(call.network, each["containerID"], each["ifname"]) for each in listed]
    call.say(f"GC of network {call.network} without {_KEYS[0]}: nothing is known to be stale, nothing was removed")
    return None
