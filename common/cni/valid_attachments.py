"""``cni.dev/valid-attachments``: whom GC must leave alone (spec section "GC")."""

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
# The key's name, and the one that an earlier text of the specification had.
_KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")


def valid_attachments(call: "Call") -> list[Attachment] | None:
    """The list, or None where the configuration has none: then nothing is known to be stale, and nothing is removed.

    ``null`` is an empty list, which is how libcni sends one. Raises ``DecodingFailure``, and
    ``InvalidConfig`` for half an attachment: whom it means is not known.
    """
    for key in _KEYS:
        value = chosen(call.config, key)
        if value is None and any(name.lower() == key for name in call.config):
            value = []
        if value is not None:
            return [
                Attachment(call.network, found["containerID"], found["ifname"]) for found in _ATTACHMENTS(value, key)
            ]
    call.say(f"GC of network {call.network} without {_KEYS[0]}: nothing is known to be stale, nothing was removed")
    return None
