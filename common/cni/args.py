"""``CNI_ARGS``: ``K=V`` pairs joined by semicolons, for the plugins that want some (Go: `pkg/types/args.go`)."""

from cni.errors import InvalidEnvironment

_TRUE, _FALSE = ("1", "true"), ("0", "false")
_REMEDY = "separate pairs by one semicolon each, without one at the end, and let each hold one equals sign"


def parse(text: str, known: tuple[str, ...]) -> dict[str, str]:
    """The values of the ``known`` keys that are there; keys are case-sensitive and the last of a kind wins.

    An unknown key is an error unless ``IgnoreUnknown`` is true, wherever that stands. Raises ``InvalidEnvironment``.
    """
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
        raise InvalidEnvironment(
            f"CNI_ARGS: unknown args [{' '.join(unknown)}]", "add IgnoreUnknown=1 if others need them"
        )
    return found


def bad_value(key: str, value: str, reason: str) -> InvalidEnvironment:
    """The error for a value that its key cannot take."""
    return InvalidEnvironment(f'CNI_ARGS: error parsing value of pair "{key}={value}": {reason}')
