"""skeleton's configuration: one row a key."""

from cni.settings import Section, boolean, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call


class Settings(Section):
    """The keys."""

    promisc: bool = key("promisc", boolean, False, "the container's interface receives what is not for it, too")


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call.config)
