"""The line and column of a value in a JSON text, for error messages."""

from dataclasses import dataclass
from typing import Any

from cni.wire import fold

_BLANK = " \t\r\n"
_HOOKS: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": str}

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text. ``line`` and ``column`` start at 1, and count characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


def at(text: str, offset: int) -> Position:
    """The place of the character at ``offset``."""
    offset = min(offset, len(text))
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def spell(path: Path) -> str:
    """A path as text: ``plugins[1].ipam``."""
    words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return words.removeprefix(".")


def locate(text: str, path: Path) -> Position:
    """The place of the value at ``path`` in a valid JSON text. If it is missing, the place of the nearest parent."""
    offset = _skip(text, 0)
    for step in path:
        found = _item(text, offset, step) if isinstance(step, int) else _member(text, offset, step)
        if found is None:
            break
        offset = found
    return at(text, offset)


def _skip(text: str, offset: int) -> int:
    while offset < len(text) and text[offset] in _BLANK:
        offset += 1
    return offset


def _end(text: str, offset: int) -> int:
    return _value(text, offset)[1]


def _value(text: str, offset: int) -> tuple[Any, int]:
    import json  # an error has its place found, and nothing else

    return json.JSONDecoder(**_HOOKS).raw_decode(text, offset)


def _item(text: str, offset: int, wanted: int) -> int | None:
    if text[offset] != "[":
        return None
    offset = _skip(text, offset + 1)
    for _ in range(wanted):
        if text[offset] == "]":
            return None
        offset = _skip(text, _end(text, offset))
        if text[offset] != ",":
            return None
        offset = _skip(text, offset + 1)
    return None if text[offset] == "]" else offset


def _member(text: str, offset: int, wanted: str) -> int | None:
    if text[offset] != "{":
        return None
    found, exact = None, None
    offset = _skip(text, offset + 1)
    while text[offset] != "}":
        name, end = _value(text, offset)
        offset = _skip(text, _skip(text, end) + 1)  # the colon
        if fold(name) == fold(wanted):
            found = offset
        if name == wanted:
            exact = offset
        offset = _skip(text, _end(text, offset))
        if text[offset] == ",":
            offset = _skip(text, offset + 1)
    return exact if exact is not None else found
