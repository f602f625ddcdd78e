"""A configuration as a table: one row a key, and the rows drive parsing, checks, error messages and the docs.

Members match without regard to case and unknown ones are ignored, as in Go; ``null`` is as absent. What the user
said comes out as a ``dict`` under the keys' own spelling, with defaults filled in.
"""

from cni.errors import DecodingFailure, InvalidConfig
from cni.wire import encode, fold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Kind = Callable[[Any, str], Any]

_GO_NAMES = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}


# In front of what is wrong with a configuration; a result's reader takes it off.
PREFIX = "failed to load netconf: "


def _wrong(value: "Any", where: str, wanted: str) -> DecodingFailure:
    return DecodingFailure(
        f"{PREFIX}cannot read {where}: it must be {wanted}, not {_GO_NAMES.get(type(value), 'null')}"
    )


def string(value: "Any", where: str) -> str:
    """A JSON string."""
    if not isinstance(value, str):
        raise _wrong(value, where, "a string")
    return value


def boolean(value: "Any", where: str) -> bool:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise _wrong(value, where, "true or false")
    return value


def integer(value: "Any", where: str) -> int:
    """An integer of 64 bits; ``1e3`` and ``1.0`` are none."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        raise _wrong(value, where, "an integer")
    return value


def member(value: "Any", where: str) -> "dict[str, Any]":
    """An object, taken as it is."""
    if not isinstance(value, dict):
        raise _wrong(value, where, "an object")
    return value


def anything(value: "Any", where: str) -> "Any":  # noqa: ARG001
    """Any value, taken as it is."""
    return value


def listing(kind: "Kind") -> "Kind":
    """A list whose items are all of ``kind``; ``null`` items are refused, Go's plugins crash on them."""

    def read(value: "Any", where: str) -> "list[Any]":
        if not isinstance(value, list):
            raise _wrong(value, where, "a list")
        return [kind(item, f"{where}[{place}]") for place, item in enumerate(value)]

    read.__doc__ = f"list of {name_of(kind)}"
    return read


def mapping(kind: "Kind") -> "Kind":
    """An object whose values are all of ``kind``."""

    def read(value: "Any", where: str) -> "dict[str, Any]":
        return {name: kind(item, f"{where}.{name}") for name, item in member(value, where).items()}

    read.__doc__ = f"object of {name_of(kind)}"
    return read


def parsed(kind: "Kind", reader: "Callable[[Any], Any]", name: str) -> "Kind":
    """A value of ``kind`` that ``reader`` turns into something else; its ``ValueError`` is the configuration's fault."""

    def read(value: "Any", where: str) -> "Any":
        raw = kind(value, where)
        try:
            return reader(raw)
        except ValueError as error:
            raise InvalidConfig(f"{error}", f"in {where}") from None

    read.__doc__ = name
    return read


_NAMES = {"string": "string", "boolean": "bool", "integer": "int", "member": "object", "anything": "any"}


def name_of(kind: "Kind") -> str:
    """The kind's name for the docs."""
    if isinstance(kind, Table):
        return "object"
    if isinstance(getattr(kind, "__self__", None), type):  # a class's own reader, such as Route.parse
        return str(kind.__self__.__name__)  # type: ignore[attr-defined]
    return _NAMES.get(getattr(kind, "__name__", "")) or str(kind.__doc__)


class Key:
    """One key: its name, the kind of its value, the default, a check, and a few words for the docs."""

    __slots__ = ("check", "default", "kind", "name", "required", "words")

    def __init__(
        self,
        name: str,
        kind: "Kind",
        default: "Any" = None,
        words: str = "",
        check: "Callable[[Any], str] | None" = None,
        required: str = "",
    ) -> None:
        """``check`` returns what is wrong with a value, or the empty text; ``required`` is the message when it is absent."""
        self.name = name
        self.kind = kind
        self.default = default
        self.words = words
        self.check = check
        self.required = required


class Table:
    """The keys of one object."""

    __slots__ = ("_folded", "keys")

    def __init__(self, *keys: Key) -> None:
        self.keys = keys
        self._folded = {fold(key.name): key for key in keys}

    def __call__(self, value: "Any", where: str) -> "dict[str, Any]":
        """Read an object; ``where`` names it in messages (the empty text at the top).

        Raises ``DecodingFailure`` for a wrong type and ``InvalidConfig`` for a value that a check refuses.
        """
        found: dict[str, Any] = {}
        for name, item in member(value, where or "the configuration").items():
            key = self._folded.get(fold(name))
            if key is not None and item is not None:
                found[key.name] = key.kind(item, f"{where}.{key.name}" if where else f'key "{key.name}"')
        for key in self.keys:
            if key.name not in found:
                if key.required:
                    raise InvalidConfig(key.required)
                found[key.name] = key.default() if isinstance(key.default, type) else key.default
            elif key.check is not None:
                fault = key.check(found[key.name])
                if fault:
                    raise InvalidConfig(fault, f'change key "{where + "." if where else ""}{key.name}"')
        return found

    def markdown(self, prefix: str = "") -> str:
        """The table's rows for a README: key, type, default, words."""
        rows = []
        for key in self.keys:
            if not key.words:
                continue
            default = "" if key.default is None or isinstance(key.default, type) else f"`{_json(key.default)}`"
            rows.append(f"| `{prefix}{key.name}` | {name_of(key.kind)} | {default} | {key.words} |")
        return "\n".join(rows)


def _json(value: object) -> str:
    return encode(value)


def within(low: int, high: int, text: str) -> "Callable[[int], str]":
    """A check of a range; ``text`` has one ``%d`` for the value."""
    return lambda value: "" if low <= value <= high else text % value


def one_of(choices: tuple[str, ...], text: str) -> "Callable[[str], str]":
    """A check of membership; ``text`` has one ``%s`` for the value."""
    return lambda value: "" if value in choices else text % value


def chosen(document: "dict[str, Any]", *path: str) -> "Any":
    """The value at a path of members that match without regard to case, or None."""
    value: Any = document
    for name in path:
        if not isinstance(value, dict):
            return None
        folded, found = fold(name), None
        for candidate, item in value.items():
            if item is not None and fold(candidate) == folded:
                found = item
        value = found
    return value
