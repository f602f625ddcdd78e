"""The ``CNI_*`` variables (spec section "Parameters"): which verb needs them, their checks, and the pairs in CNI_ARGS."""

from cni.errors import InvalidEnvironment
from cni.names import check_container, check_interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TRUE, _FALSE = ("1", "true"), ("0", "false")
_REMEDY = "separate pairs by one semicolon each, without one at the end, and let each hold one equals sign"
VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
_ATTACHMENT = ("ADD", "DEL", "CHECK")
# variable, verbs that need it, check of its value
TABLE: "tuple[tuple[str, tuple[str, ...], Callable[[str], None] | None], ...]" = (
    ("CNI_COMMAND", VERBS, None),
    ("CNI_CONTAINERID", _ATTACHMENT, check_container),
    ("CNI_NETNS", ("ADD", "CHECK"), None),
    ("CNI_IFNAME", _ATTACHMENT, check_interface),
    ("CNI_PATH", ("ADD", "DEL", "CHECK", "GC", "STATUS"), None),
)


def check(environ: "Mapping[str, str]") -> None:
    """Raise ``InvalidEnvironment`` for the first malformed variable, or for all missing variables together.

    The message has Go's text for the first fault, then names all invalid variables, as the specification demands. An
    empty value counts as missing. Variables that the verb does not need are ignored.
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
    return environ.get("CNI_NETNS_OVERRIDE", "").lower() in _TRUE


def arguments(environ: "Mapping[str, str]", known: tuple[str, ...]) -> dict[str, str]:
    """The values of the ``known`` keys in ``CNI_ARGS``; keys are case-sensitive, and the last pair with a key wins.

    An unknown key is an error unless ``IgnoreUnknown`` is true, at any place. Raises ``InvalidEnvironment``.
    """
    text = environ.get("CNI_ARGS", "")
    found: dict[str, str] = {}
    unknown = []
    ignore = False
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if not equals or "=" in value:
            raise InvalidEnvironment(f'CNI_ARGS: invalid pair "{pair}"', _REMEDY)
        if key == "IgnoreUnknown":
            if value.lower() not in _TRUE + _FALSE:
                raise InvalidEnvironment(
                    f'CNI_ARGS: error parsing value of pair "{pair}": boolean unmarshal error: invalid input {value}',
                    "write 1, true, 0 or false",
                )
            ignore = value.lower() in _TRUE
        elif key in known:
            found[key] = value
        else:
            unknown.append(f'"{pair}"')
    if unknown and not ignore:
        fault = f"CNI_ARGS: unknown args [{' '.join(unknown)}]"
        raise InvalidEnvironment(fault, "add IgnoreUnknown=1 if others need them")
    return found


def bad_argument(key: str, value: str, reason: str) -> InvalidEnvironment:
    """The error for an invalid value in CNI_ARGS."""
    return InvalidEnvironment(f'CNI_ARGS: error parsing value of pair "{key}={value}": {reason}')
