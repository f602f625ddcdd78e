"""The ``CNI_*`` variables: one table says which verb needs which, and how each is checked (spec section "Parameters")."""

from cni.errors import InvalidEnvironment
from cni.names import check_container, check_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
_ATTACHMENT = ("ADD", "DEL", "CHECK")
# variable, verbs that need it, check of a value that is there
TABLE: "tuple[tuple[str, tuple[str, ...], Callable[[str], None] | None], ...]" = (
    ("CNI_COMMAND", VERBS, None),
    ("CNI_CONTAINERID", _ATTACHMENT, check_container),
    ("CNI_NETNS", ("ADD", "CHECK"), None),
    ("CNI_IFNAME", _ATTACHMENT, check_interface),
    ("CNI_PATH", ("ADD", "DEL", "CHECK", "GC", "STATUS"), None),
)


def check(environ: "Mapping[str, str]") -> None:
    """Raise ``InvalidEnvironment`` for the first malformed variable, or for all the missing ones together.

    The message names every variable that is invalid, as the specification asks, behind Go's text for the first. An
    empty value counts as missing; a verb that does not need a variable does not look at it.
    """
    verb = environ.get("CNI_COMMAND", "")
    missing: list[str] = []
    malformed: dict[str, InvalidEnvironment] = {}
    for name, verbs, validate in TABLE:
        if verb in verbs or name == "CNI_COMMAND":
            value = environ.get(name, "")
            if not value:
                missing.append(name)
            elif validate is not None:
                try:
                    validate(value)
                except InvalidEnvironment as error:
                    malformed[name] = error
    for name, fault in malformed.items():
        others = [f"{other} is invalid too" for other in malformed if other != name]
        others += [f"{other} is missing" for other in missing]
        raise InvalidEnvironment(f"{fault.msg} ({'; '.join([name, *others])})", fault.details)
    if missing:
        raise InvalidEnvironment(f"required env variables [{','.join(missing)}] missing")


def overridden(environ: "Mapping[str, str]") -> bool:
    """Whether ``CNI_NETNS_OVERRIDE`` allows the plugin's own namespace."""
    return environ.get("CNI_NETNS_OVERRIDE", "").lower() in ("1", "true")
