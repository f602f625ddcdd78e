"""JSON as Go reads and writes it, without the 10 ms that importing ``json`` takes.

The input is one document, with nothing but white space around it; NaN, Infinity and a byte order mark are refused.
Invalid UTF-8 and lone surrogates become U+FFFD. If a key is repeated, the last value that is not null counts, at its
own place. The scanner is CPython's ``_json`` or, in the native file, one of our own (build/native);
without both, the standard module is used.
"""

from cni.errors import DecodingFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The most levels of a document, so that recursive functions can handle it. Go allows 10000.
DEPTH = 200
# The limits of integers: Go's int and uint64.
INT64_MIN, UINT64_MAX = -(1 << 63), (1 << 64) - 1


def _members(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    members = dict(pairs)
    if len(members) != len(pairs):
        members = {}
        for name, value in pairs:
            if value is None and name in members:
                continue
            members.pop(name, None)
            members[name] = value
    return members


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"number {text[:20]}… is out of range")
    number = int(text)
    if not INT64_MIN <= number <= UINT64_MAX:
        raise ValueError(f"number {text} is out of range")
    return number


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"number {text[:20]} is out of range")
    return number


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Arguments for the module ``json``, and attributes that CPython's scanner reads.
_HOOKS: "dict[str, Any]" = {
    "object_pairs_hook": _members, "parse_float": _float, "parse_int": _integer, "parse_constant": _constant,
    "object_hook": None, "strict": True,
}  # fmt: skip


def scanner(
    members: "Callable[[list[tuple[str, Any]]], Any]" = _members, hooks: "dict[str, Any]" = _HOOKS
) -> "Callable[[str, int], tuple[Any, int]]":
    """A function that reads one value of a text from an offset on; it raises ``StopIteration`` or ``ValueError``.

    ``members`` makes an object of its pairs; ``hooks`` are arguments for the module ``json`` that replace ours.
    """
    hooks = {**_HOOKS, **hooks, "object_pairs_hook": members}
    try:
        from _json import make_scanner
    except ImportError:
        return _other_scanner(members, hooks)
    return make_scanner(type("Context", (), {**hooks, "memo": {}}))  # type: ignore[arg-type]


def _other_scanner(
    members: "Callable[[list[tuple[str, Any]]], Any]", hooks: "dict[str, Any]"
) -> "Callable[[str, int], tuple[Any, int]]":
    try:
        from _jsonscanner import scan  # type: ignore[import-not-found]  # in the native file
    except ImportError:  # another Python than CPython
        import json

        return json.JSONDecoder(**hooks).raw_decode
    return lambda text, at: scan(text, at, members, hooks["parse_float"], hooks["parse_int"])


def _fault(text: str) -> str:
    """The fault of a text that the scanner refused; the message needs the module ``json``."""
    import json

    try:
        json.loads(text, **_HOOKS)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:  # json.JSONDecodeError is one
        return str(error)
    return "it is not JSON"


def decode(data: bytes) -> "Any":
    """The value of the one JSON document in ``data``; raises ``DecodingFailure`` with code 6."""
    text = data.decode("utf-8", "replace").strip(" \t\r\n")
    if not text:
        raise DecodingFailure("error unmarshall network config: unexpected end of JSON input")
    try:
        value, end = scanner()(text, 0)
        if "\\u" in text:
            value = whole(value)
    except RecursionError:
        raise DecodingFailure(
            "error unmarshall network config: nested too deeply", f"{DEPTH} levels are read"
        ) from None
    except (StopIteration, SystemError, ValueError):
        raise DecodingFailure(f"error unmarshall network config: {_fault(text)}") from None
    if too_deep(value, text):
        raise DecodingFailure("error unmarshall network config: nested too deeply", f"{DEPTH} levels are read")
    if end != len(text):
        raise DecodingFailure(f"error unmarshall network config: unexpected text after the document at character {end}")
    return value


def repeated(data: bytes, name: str) -> str:
    """A name that is repeated in the object ``name`` of a document that ``decode`` accepts; empty if there is none."""
    # objects become tuples of their members
    members, _ = scanner(tuple)(data.decode("utf-8", "replace").strip(" \t\r\n"), 0)
    for key, value in members:
        names = [inner for inner, _ in value] if fold(key) == name and isinstance(value, tuple) else []
        for place, inner in enumerate(names):
            if inner in names[:place]:
                return str(inner)
    return ""


def too_deep(value: "Any", text: str) -> bool:
    """Whether ``value``, which was read from ``text``, has lists and objects nested more than ``DEPTH`` levels."""
    if text.count("{") + text.count("[") <= DEPTH:
        return False
    found = [value]
    for _ in range(DEPTH):
        inner = [each.values() if isinstance(each, dict) else each for each in found if isinstance(each, dict | list)]
        found = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not found:
            return False
    return True


def whole(value: "Any") -> "Any":
    """Replace lone surrogates, which cannot be printed."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {whole(name): whole(item) for name, item in value.items()}
    return value


_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f",
    "<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029",
}  # fmt: skip
_ESCAPED = {ord(character): text for character, text in _ESCAPES.items()}
_ESCAPED.update({code: f"\\u{code:04x}" for code in range(0x20) if code not in _ESCAPED})
# Python reads environment bytes that are not UTF-8 as surrogates.
_SURROGATES = range(0xD800, 0xE000)


def _string(text: str) -> str:
    if not text.isascii():
        text = "".join("\ufffd" if ord(character) in _SURROGATES else character for character in text)
    return f'"{text.translate(_ESCAPED)}"'


def encode(value: "Any", indent: int = 0, sort: bool = False) -> str:
    """``value`` as JSON text; ``indent`` is the number of blanks for each level, 0 for one line without blanks.

    ``<``, ``>``, ``&`` and the two line separators are escaped, as Go does; other non-ASCII text is not.
    """
    return _encode(value, indent, sort, "\n" if indent else "")


def _encode(value: "Any", indent: int, sort: bool, newline: str) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return repr(value)
    inner = newline + " " * indent
    separator = "," + inner
    if isinstance(value, dict):
        if not value:
            return "{}"
        colon = ": " if indent else ":"
        names = sorted(value) if sort else value
        return f"{{{inner}{separator.join(_string(n) + colon + _encode(value[n], indent, sort, inner) for n in names)}{newline}}}"
    if not value:
        return "[]"
    return f"[{inner}{separator.join(_encode(item, indent, sort, inner) for item in value)}{newline}]"


def fold(name: str) -> str:
    """A key as Go compares it, without regard to case; the long s and the Kelvin sign fold to ASCII."""
    return name.lower() if name.isascii() else name.replace("\u017f", "s").replace("\u212a", "k").lower()
