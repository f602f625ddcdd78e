"""skeleton's configuration: one row for each key."""

from cni.settings import Section, boolean, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call


class Settings(Section):
    """The keys."""

    promisc: bool = key("promisc", boolean, False, "the container's interface also receives frames for others")


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``, before anything is changed."""
    return Settings(call.config)
