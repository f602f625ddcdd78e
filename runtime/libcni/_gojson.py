"""JSON as Go's ``encoding/json`` reads and writes it. Numbers are float64, and keys are sorted.

Plugins and the cache get a configuration as Go's library would write it: ``12345678901234567890`` becomes
``12345678901234567000``, and ``1.0`` becomes ``1``. As in Go, these are errors: NaN, a byte order mark, UTF-16, and text
after the document. Invalid UTF-8 and lone surrogates become U+FFFD. Of several members with one name, the last counts.
"""

import math
from typing import Any

from cni import wire

# Above this, a float64 cannot represent every integer.
_EXACT = 1 << 53


class JSONError(ValueError):
    """The text is not a JSON document. ``offset`` is the number of the first wrong character."""

    def __init__(self, reason: str, text: str, offset: int) -> None:
        super().__init__(reason)
        self.text = text
        self.offset = offset

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.text, self.offset), dict(self.__dict__)


def _integer(digits: str) -> int | float:
    if len(digits) < 16:
        return int(digits)
    return _real(digits)


def _real(digits: str) -> int | float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"number {digits[:40]} is out of range")
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


# The arguments for the module ``json``, which takes 10 ms to import. It is needed for the text of a fault.
_HOOKS: dict[str, Any] = {"parse_int": _integer, "parse_float": _real, "parse_constant": _constant}
_scan = wire.scanner(dict, _HOOKS)


def text_of(data: bytes) -> str:
    """The bytes as text. As in Go, invalid UTF-8 becomes U+FFFD."""
    return data.decode("utf-8", "replace")


def decode(data: bytes) -> Any:
    """Decode ``data``, which must be one document. Raises ``JSONError``."""
    text = text_of(data)
    body = text.lstrip(" \t\r\n")
    start = len(text) - len(body)
    if not body:
        raise JSONError("unexpected end of JSON input", text, len(text))
    try:
        value, end = _scan(text, start)
    except RecursionError:
        raise JSONError("exceeded max depth", text, start) from None
    except (StopIteration, SystemError, ValueError):
        raise _fault(text, start) from None
    rest = text[end:].lstrip(" \t\r\n")
    if rest:
        reason = f"invalid character {rest[0]!r} after top-level value"
        raise JSONError(reason, text, len(text) - len(rest))
    if wire.too_deep(value, text):
        raise JSONError("exceeded max depth", text, start)
    return wire.whole(value) if "\\u" in text else value


def _fault(text: str, start: int) -> JSONError:
    """The error for a text that the scanner refused."""
    import json

    try:
        json.JSONDecoder(**_HOOKS).raw_decode(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return JSONError("unexpected end of JSON input", text, error.pos)
        reason = f"invalid character {text[error.pos]!r}: {error.msg[:1].lower()}{error.msg[1:]}"
        return JSONError(reason, text, error.pos)
    except RecursionError:
        return JSONError("exceeded max depth", text, start)
    except ValueError as error:
        return JSONError(str(error), text, start)
    return JSONError("this is not JSON", text, start)


def encode(value: Any, sort: bool = True, indent: int = 0) -> bytes:
    """Encode ``value`` as UTF-8 without spaces. Of an object with a ``document()`` method, encode what it returns.

    Raises ``TypeError`` for a type that JSON does not have, and ``ValueError`` for NaN, infinity and deep nesting.
    """
    try:
        return wire.encode(_plain(value), indent, sort).encode()
    except RecursionError:
        raise ValueError("unsupported value: nested too deeply") from None


class _Number(int):
    """A number whose text is that of a float64 in Go. The JSON printer writes an integer's ``repr``."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        number = _Number(0)
        number.text = go_number(value)
        return number
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_name(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "document"):
        return _plain(value.document())
    raise TypeError(f"unsupported type: {type(value).__name__} is no JSON value")


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"unsupported type: a key of an object is {type(name).__name__}, not str")
    return name


def go_number(number: float) -> str:
    """A float64 as Go prints it: the shortest digits, with an exponent below 1e-6 and from 1e21 on."""
    if not math.isfinite(number):
        raise ValueError(f"unsupported value: {number}")
    if number == 0:
        return "-0" if math.copysign(1, number) < 0 else "0"
    from decimal import Decimal

    digits = Decimal(repr(number))
    if 1e-6 <= abs(number) < 1e21:
        text = format(digits, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    sign, figures, _ = digits.normalize().as_tuple()
    mantissa = str(figures[0]) + ("." + "".join(map(str, figures[1:])) if len(figures) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{digits.adjusted():+d}"
