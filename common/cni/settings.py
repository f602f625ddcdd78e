"""Settings: one row for each key. Parsing, checks, messages, the typed object and the README's table use the rows.

    class Settings(Section):
        mtu: int = key("mtu", integer, 0, "MTU of the link; 0: the kernel's", within(0, 65535, "mtu is %d"))

As in Go, names match without regard to case, and unknown keys are ignored; ``null`` counts as absent.
"""

from cni.errors import DecodingFailure, InvalidConfig
from cni.wire import encode, fold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    T = TypeVar("T")
    U = TypeVar("U")
    # Reads a value; the text names its place in messages.
    Kind = Callable[[Any, str], T]
else:
    dataclass_transform = lambda: lambda cls: cls  # noqa: E731

_GO_NAMES = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}

# The beginning of messages about a configuration; the reader of results removes it.
PREFIX = "failed to load netconf: "


def _wrong(value: "Any", where: str, wanted: str) -> DecodingFailure:
    found = _GO_NAMES.get(type(value), "null")
    return DecodingFailure(f"{PREFIX}cannot read {where}: it must be {wanted}, not {found}")


def _json(type: "type[T]", wanted: str, name: str) -> "Kind[T]":
    """A kind of value that has this type in JSON; ``name`` is its name in the README."""

    def read(value: "T", where: str) -> "T":
        if value.__class__ is not type:
            raise _wrong(value, where, wanted)
        return value

    read.__doc__ = name
    return read


string = _json(str, "a string", "string")
boolean = _json(bool, "true or false", "bool")
member: "Kind[dict[str, Any]]" = _json(dict, "an object", "object")


def integer(value: "Any", where: str) -> int:
    """An integer of 64 bits; ``1e3`` and ``1.0`` are refused."""
    if value.__class__ is not int or not -(1 << 63) <= value < 1 << 63:
        raise _wrong(value, where, "an integer")
    return int(value)


def anything(value: "Any", where: str) -> "Any":  # noqa: ARG001
    """Any value, taken as it is."""
    return value


def listing(kind: "Kind[T]") -> "Kind[list[T]]":
    """A list of values of ``kind``; ``null`` items are refused (Go's plugins crash on them)."""

    def read(value: "Any", where: str) -> "list[T]":
        if not isinstance(value, list):
            raise _wrong(value, where, "a list")
        return [kind(item, f"{where}[{place}]") for place, item in enumerate(value)]

    read.__doc__ = f"list of {name_of(kind)}"
    return read


def mapping(kind: "Kind[T]") -> "Kind[dict[str, T]]":
    """An object with values of ``kind``; one that is ``null`` counts as absent."""

    def read(value: "Any", where: str) -> "dict[str, T]":
        found = member(value, where).items()
        return {name: kind(item, f"{where}.{name}") for name, item in found if item is not None}

    read.__doc__ = f"object of {name_of(kind)}"
    return read


def parsed(kind: "Kind[U]", reader: "Callable[[U], T]", name: str) -> "Kind[T]":
    """A value of ``kind`` that ``reader`` converts; its ``ValueError`` becomes ``InvalidConfig``."""

    def read(value: "Any", where: str) -> "T":
        raw = kind(value, where)
        try:
            return reader(raw)
        except ValueError as error:
            raise InvalidConfig(f"{error}", f"in {where}") from None

    read.__doc__ = name
    return read


_NAMES = {"integer": "int", "anything": "any"}


def name_of(kind: "Kind[Any]") -> str:
    """The kind's name for the README."""
    if isinstance(kind, Table | type):
        return "object"
    if isinstance(getattr(kind, "__self__", None), type):  # a class's own reader, such as Route.parse
        return str(kind.__self__.__name__)  # type: ignore[attr-defined]
    return _NAMES.get(getattr(kind, "__name__", "")) or str(kind.__doc__)


class Required(str):
    """Instead of a default: the key must be present; the text is the message if it is missing."""

    __slots__ = ()


class Key:
    """One row: the key's name, the kind of its value, the default, words for the README, and a check."""

    __slots__ = ("attribute", "check", "default", "kind", "name", "words")

    def __init__(
        self,
        name: str,
        kind: "Kind[Any]",
        default: "Any" = None,
        words: str = "",
        check: "Callable[[Any], str] | None" = None,
    ) -> None:
        """``default`` is a value, a class that makes one, or ``Required``; ``check`` returns a fault, or the empty text."""
        self.name = self.attribute = name
        self.kind = kind
        self.default = default
        self.words = words
        self.check = check

    def __set_name__(self, owner: type, attribute: str) -> None:
        self.attribute = attribute


class Table:
    """The keys of one object; reads it into a ``dict``."""

    __slots__ = ("_folded", "keys")

    def __init__(self, *keys: Key, **named: Key) -> None:
        """For ``named`` rows, the given names are the names of the values."""
        for attribute, key in named.items():
            key.attribute = attribute
        self.keys = (*keys, *named.values())
        self._folded = {fold(key.name): key for key in self.keys}

    def __call__(self, value: "Any", where: str) -> "dict[str, Any]":
        """Read an object; ``where`` names it in messages (the empty text at the top).

        Raises ``DecodingFailure`` for a wrong type and ``InvalidConfig`` for a value that a check refuses.
        """
        found: dict[str, Any] = {}
        for name, item in member(value, where or "the configuration").items():
            key = self._folded.get(fold(name))
            if key is not None and item is not None:
                found[key.attribute] = key.kind(item, f"{where}.{key.name}" if where else f'key "{key.name}"')
        for key in self.keys:
            if key.attribute not in found:
                if isinstance(key.default, Required):
                    raise InvalidConfig(key.default, f"in {where}" if where else "")
                found[key.attribute] = key.default() if isinstance(key.default, type) else key.default
            elif key.check is not None:
                fault = key.check(found[key.attribute])
                if fault:
                    raise InvalidConfig(fault, f'change key "{where + "." if where else ""}{key.name}"')
        return found

    def markdown(self, prefix: str = "") -> str:
        """The table's rows for a README: key, type, default, words. A key without words is not shown."""
        rows = []
        for key in self.keys:
            blank = key.default is None or isinstance(key.default, type | Required)
            default = "" if blank else f"`{encode(key.default)}`"
            if key.words:
                rows.append(f"| `{prefix}{key.name}` | {name_of(key.kind)} | {default} | {key.words} |")
        return "\n".join(rows)


@dataclass_transform()
class Declared:
    """The annotated names of a class and its bases are the parameters of its constructor, in this order."""

    FIELDS: "ClassVar[tuple[str, ...]]" = ()

    def __init_subclass__(cls) -> None:
        declared = (name for name, type in cls.__annotations__.items() if not str(type).startswith("ClassVar"))
        cls.FIELDS = (*cls.FIELDS, *declared)

    def __init__(self, *values: "Any", **named: "Any") -> None:
        vars(self).update(zip(self.FIELDS, values, strict=False), **named)


class Value:
    """An object that is equal to another of its class with equal members."""

    __slots__: "tuple[str, ...]" = ()

    def _members(self) -> "dict[str, Any]":
        return {name: getattr(self, name) for name in self.__slots__}

    def __eq__(self, other: object) -> bool:
        return self._members() == other._members() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._members().items() if value not in (None, "", []))
        return f"{type(self).__name__}({', '.join(shown)})"


class Section(Value):
    """An object of the configuration: the class has a row for each key (``key``), an instance has the values."""

    TABLE: "Table"

    def __init_subclass__(cls) -> None:
        rows = {row.attribute: row for base in cls.__mro__[::-1] for row in vars(base).values() if isinstance(row, Key)}
        cls.TABLE = Table(*rows.values())

    def __init__(self, document: "Any", where: str = "") -> None:
        """Read a JSON object; raises as ``Table`` does. A subclass may compute more values here, or as properties."""
        vars(self).update(self.TABLE(document, where))

    def _members(self) -> "dict[str, Any]":
        return dict(sorted(vars(self).items()))


def key(
    name: str,
    kind: "Kind[T]",
    default: "T | type[T] | Required",
    words: str = "",
    check: "Callable[[Any], str] | None" = None,
) -> "T":
    """A row in the body of a ``Section``; for type checkers it has the type of the value."""
    return Key(name, kind, default, words, check)  # type: ignore[return-value]


def within(low: int, high: int, text: str) -> "Callable[[int], str]":
    """A check of a range; ``text`` has one ``%d`` for the value."""
    return lambda value: "" if low <= value <= high else text % value


def one_of(choices: tuple[str, ...], text: str) -> "Callable[[str], str]":
    """A check of membership; ``text`` has one ``%s`` for the value."""
    return lambda value: "" if value in choices else text % value


def chosen(document: "dict[str, Any]", *path: str) -> "Any":
    """The value at a path of keys, which match without regard to case, or None."""
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


def part(document: "dict[str, Any]", name: str, kind: "Kind[T]") -> "T":
    """The object ``name`` of a document, read by ``kind``; an absent object counts as empty."""
    found = chosen(document, name)
    return kind({} if found is None else found, name)


def requested(document: "dict[str, Any]", name: str, kind: "Kind[T]") -> "tuple[T | None, T | None]":
    """What the runtime asks for under a name: the values of ``args.cni`` and of the capability, in this order."""
    table = Table(Key(name, kind))
    capability = part(document, "runtimeConfig", table)[name]
    return (part(document, "args", Table(Key("cni", table)))["cni"] or {}).get(name), capability
