"""JSON in Go's way: what is refused, how numbers and texts are printed."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libcni import _gojson
from libcni._quoting import quote

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 53), 1 << 53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("12345678901234567890", "12345678901234567000"),
        ("1.0", "1"),
        ("1e21", "1e+21"),
        ("1e20", "100000000000000000000"),
        ("1e-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("1.5e-10", "1.5e-10"),
        ("-0.25", "-0.25"),
        ("1e16", "10000000000000000"),
        ("9007199254740993", "9007199254740992"),
        ('"<>&\\u2028é"', '"\\u003c\\u003e\\u0026\\u2028é"'),
        ('{"b":1,"a":{"d":null,"c":[]}}', '{"a":{"c":[],"d":null},"b":1}'),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('"\\ud800"', '"\ufffd"'),
    ],
)
def test_texts_are_those_of_go(text: str, printed: str) -> None:
    assert _gojson.encode(_gojson.decode(text.encode())).decode() == printed


@pytest.mark.parametrize(
    "data",
    [b"", b" \n", b"NaN", b"[Infinity]", b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"), b"{} x", b"{}{}", b"{'a':1}",
     b'{"a":1,}', b"// x\n{}", b"1e400", b"[" * 100_000, b'"\x01"', b"01"],
)  # fmt: skip
def test_what_go_refuses_is_refused(data: bytes) -> None:
    with pytest.raises(_gojson.JSONError) as caught:
        _gojson.decode(data)
    assert 0 <= caught.value.offset <= len(caught.value.text)


def test_the_place_of_a_fault_is_told() -> None:
    with pytest.raises(_gojson.JSONError) as caught:
        _gojson.decode(b'{"a": 1,\n "b" 2}')
    assert caught.value.text[caught.value.offset :] == "2}"


@given(_values)
def test_printing_and_reading_are_inverse(value: Any) -> None:
    again = _gojson.decode(_gojson.encode(value))
    assert json.dumps(again, sort_keys=True) == json.dumps(_as_float64(value), sort_keys=True)


def _as_float64(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) <= 1 << 53 else value
    if isinstance(value, list):
        return [_as_float64(item) for item in value]
    if isinstance(value, dict):
        return {_text(name): _as_float64(item) for name, item in value.items()}
    return _text(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@pytest.mark.parametrize("depth", [150, 199])
@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_what_is_nested_is_read_and_printed(pair: str, depth: int) -> None:
    text = (pair[:-1] * depth + ("0" if "a" in pair else "") + pair[-1] * depth).encode()
    assert _gojson.encode(_gojson.decode(text)) == text


def test_what_lies_side_by_side_is_not_deep() -> None:
    text = b"[" + b"[" * 199 + b"]" * 199 + b",[],{}" * 300 + b"]"
    assert _gojson.encode(_gojson.decode(text)) == text


def test_what_is_no_character_is_replaced_when_it_is_read() -> None:
    assert _gojson.decode(b'{"\\ud800": ["\\udfff", "\xff"]}') == {"\ufffd": ["\ufffd", "\ufffd"]}


@pytest.mark.parametrize("depth", [201, 400, 900, 5_000, 100_000])
@pytest.mark.parametrize("pair", ["[]", '{"a":}'])
def test_what_is_nested_too_deeply_is_an_error_and_no_crash(pair: str, depth: int) -> None:
    text = (pair[:-1] * depth + ("0" if "a" in pair else "") + pair[-1] * depth).encode()
    with pytest.raises(_gojson.JSONError, match="exceeded max depth"):
        _gojson.decode(text)


def test_values_that_are_nested_too_deeply_are_refused() -> None:
    value: list[Any] = []
    for _ in range(5_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        _gojson.encode(value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_has_not_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="unsupported value"):
        _gojson.encode({"a": value})


@pytest.mark.parametrize("value", [object(), {1: 2}, b"x", {"a": {1}}])
def test_values_that_json_has_not_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="unsupported type"):
        _gojson.encode(value)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("\n\t\x07", '"\\n\\t\\a"'),
        ("é\u00a0\u200b", '"é\\u00a0\\u200b"'),
        ("\x01\x7f", '"\\x01\\x7f"'),
        (b"\xff a", '"\\xff a"'),
        ("\U0001f600\U000e0001", '"\U0001f600\\U000e0001"'),
    ],
)
def test_quoting_is_that_of_go(text: str | bytes, quoted: str) -> None:
    assert quote(text) == quoted
