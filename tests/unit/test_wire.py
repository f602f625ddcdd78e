"""JSON as the Go side reads and writes it: what is refused, what is mended, how it is printed."""

import json
import math
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cni import settings, wire
from cni.errors import DecodingFailure

PREFIX = "error unmarshall network config: "
# any text that UTF-8 can hold
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)  # fmt: skip


@pytest.fixture(params=["CPython's scanner", "the standard module"])
def scanner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a document is read."""
    if request.param == "the standard module":
        monkeypatch.setitem(sys.modules, "_json", None)
    return str(request.param)


def refusal(data: bytes) -> str:
    with pytest.raises(DecodingFailure) as caught:
        wire.decode(data)
    assert caught.value.code == 6
    assert caught.value.msg.startswith(PREFIX)
    return caught.value.msg.removeprefix(PREFIX)


REFUSED = [
    b"", b" \t\r\n ", b"{", b"}", b"[1,]", b'{"a":1,}', b'{"a" 1}', b"{a:1}", b"{'a':1}", b'{"a":1} x', b"{}{}", b"[] []",
    b"NaN", b"[NaN]", b"Infinity", b"-Infinity", b"nul", b"True", b"None", b"nullx",
    b"01", b"-", b"+1", b"1.", b".5", b"1e", b"0x1", b"1_000", b"1e999", b"-1e999",
    b"// x\n{}", b"{} // x", b"/* x */ {}", b"{}\0", b"\0{}", b"\x0b{}", b"{}\x0c", "\xa0{}".encode(), "{}\u2028".encode(),
    b'"a\nb"', b'"a\tb"', b'"\x00"', b'"\\x"', b'"\\u12"', b'"', b'"\\"', b'"a', b'{"a":',
    "\ufeff{}".encode(), "{}".encode("utf-16"), b"\xff{}",
    b"18446744073709551616", b"-9223372036854775809", b"1" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("data", REFUSED, ids=lambda data: repr(data)[:30])
def test_what_is_no_document_is_refused(scanner: str, data: bytes) -> None:
    """One document with white space around it and nothing else; no NaN, no byte order mark, numbers of 64 bits."""
    assert refusal(data)


def test_a_refusal_says_what_is_wrong_and_where(scanner: str) -> None:
    assert refusal(b"") == "unexpected end of JSON input"
    assert "NaN is not JSON" in refusal(b'{"a": NaN}')
    assert "at character 2" in refusal(b"{} {}")
    assert "column 6" in refusal(b'{"a":}')
    assert "out of range" in refusal(b"[18446744073709551616]")


@pytest.mark.parametrize("data", [b"[" * 200_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000])
def test_a_document_that_is_nested_too_deeply_is_refused(scanner: str, data: bytes) -> None:
    """Not a RecursionError, and no crash of the interpreter."""
    assert refusal(data) in ("nested too deeply", "unexpected end of JSON input")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b" \r\n\t{} \n", {}),
        (b"null", None),
        (b"[18446744073709551615, -9223372036854775808]", [(1 << 64) - 1, -(1 << 63)]),
        (b"[1e3, 1.0, -0.0]", [1000.0, 1.0, -0.0]),
        ('"é\u2028\U0001f600"'.encode(), "é\u2028\U0001f600"),
        (rb'"\u00e9\ud83d\ude00\/\""', 'é\U0001f600/"'),
        (b'"\x7f"', "\x7f"),
        # what is no UTF-8, and what is no character, is replaced
        (b'"a\xffb"', "a\ufffdb"),
        (rb'"a\ud800b"', "a\ufffdb"),
        (rb'"\udc00\ud800"', "\ufffd\ufffd"),
        (rb'{"\ud800": ["\udfff"]}', {"\ufffd": ["\ufffd"]}),
        (b'{"a\xff": 1}', {"a\ufffd": 1}),
    ],
)
def test_what_is_read(scanner: str, data: bytes, value: Any) -> None:
    assert wire.decode(data) == value
    assert type(wire.decode(data)) is type(value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a":1,"a":2}', [("a", 2)]),
        (b'{"a":1,"b":2,"a":3}', [("b", 2), ("a", 3)]),
        (b'{"a":1,"a":null}', [("a", 1)]),
        (b'{"a":null,"a":1,"a":null}', [("a", 1)]),
        (b'{"a":null,"a":null}', [("a", None)]),
    ],
)
def test_of_a_repeated_member_the_last_that_is_not_null_counts(scanner: str, data: bytes, value: Any) -> None:
    """At its own place, so that the later of two spellings of a key is the later one."""
    assert list(wire.decode(data).items()) == value


@given(VALUES)
def test_what_the_standard_module_writes_is_read(value: Any) -> None:
    for ascii in (True, False):
        assert wire.decode(json.dumps(value, ensure_ascii=ascii).encode()) == value


@given(st.text(st.sampled_from('{}[]":,0123456789.eE+-truefalsnN \\u/\t\n\0é\ufeff')))
@example('{"a":01}')
def test_the_same_texts_are_refused_as_by_the_standard_module(text: str) -> None:
    """Which is laxer only with NaN, Infinity and numbers that are too large."""
    try:
        expected = json.loads(text)
    except (ValueError, RecursionError):
        with pytest.raises(DecodingFailure):
            wire.decode(text.encode())
        return
    plain = json.dumps(expected)
    lax = "NaN" in plain or "Infinity" in plain
    try:
        assert wire.decode(text.encode()) == expected
    except DecodingFailure:
        digits = max((len(part) for part in "".join(c if c.isdigit() else " " for c in text).split()), default=0)
        assert lax or digits >= 19


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = wire.decode(data)
    except DecodingFailure as error:
        wire.encode(error.document()).encode()
        return
    wire.encode(value).encode()


@given(VALUES, st.sampled_from([0, 4]), st.booleans())
def test_what_is_written_is_read_by_everybody(value: Any, indent: int, sort: bool) -> None:
    text = wire.encode(value, indent, sort)
    assert json.loads(text) == value == wire.decode(text.encode())
    assert not set("<>&\u2028\u2029") & set(text)


def _no_empty_lists(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_no_empty_lists, value))
    return not isinstance(value, dict) or all(map(_no_empty_lists, value.values()))


@given(VALUES, st.booleans())
def test_it_is_written_as_the_standard_module_indents(value: Any, sort: bool) -> None:
    """By four blanks a level; other non-ASCII text stays as it is."""
    expected = json.dumps(value, indent=4, ensure_ascii=False, sort_keys=sort)
    for character in "<>&\u2028\u2029":
        expected = expected.replace(character, f"\\u{ord(character):04x}")
    assert wire.encode(value, 4, sort) == expected
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort)
    for character in "<>&\u2028\u2029":
        compact = compact.replace(character, f"\\u{ord(character):04x}")
    assert wire.encode(value, 0, sort) == compact


def test_surrogates_are_written_as_replacement_characters() -> None:
    """So arrive environment bytes that are no UTF-8."""
    assert wire.encode("a\udcffé") == '"a\ufffdé"'


@pytest.mark.parametrize("value", [True, False, 1.0, 1.5, 1000.0, math.pi, "1", None, [], {}, 1 << 63, -(1 << 63) - 1])
def test_an_integer_is_neither_a_boolean_nor_a_float_nor_a_text(value: Any) -> None:
    """Python takes True for 1 and 1e3 for 1000; Go refuses both where an integer is meant."""
    with pytest.raises(DecodingFailure):
        settings.integer(value, "x")


def test_integers_have_64_bits_with_a_sign() -> None:
    for value in (0, -1, (1 << 63) - 1, -(1 << 63)):
        assert settings.integer(value, "x") == value


@pytest.mark.parametrize("value", [0, 1, "true", None, [], {}])
def test_a_boolean_is_true_or_false_alone(value: Any) -> None:
    with pytest.raises(DecodingFailure):
        settings.boolean(value, "x")


def test_names_are_folded_as_go_folds_them() -> None:
    """Without regard to case; the long s and the Kelvin sign are s and k, the dotted capital I is not i."""
    for name, other in (("cniVersion", "CNIVERSION"), ("ips", "ip\u017f"), ("k", "\u212a"), ("é", "É")):
        assert wire.fold(name) == wire.fold(other)
    for name, other in (("i", "\u0130"), ("i", "\u0131"), ("ss", "ß"), ("a-b", "a_b")):
        assert wire.fold(name) != wire.fold(other)


@pytest.mark.parametrize("kind", ["[", '{"a":'])
def test_a_document_has_a_depth_that_can_be_written_again(kind: str) -> None:
    """What is read can be sent on to a delegate: one level more than that is refused, whatever it is in."""
    end = "]" if kind == "[" else "}"
    deep = kind * wire.DEPTH + "1" + end * wire.DEPTH
    assert wire.encode(wire.decode(deep.encode())) == deep
    for deeper in (kind + deep + end, f'{{"x": [], "y": {deep}}}'):
        with pytest.raises(DecodingFailure, match="nested too deeply"):
            wire.decode(deeper.encode())


def test_many_brackets_beside_each_other_are_not_deep() -> None:
    """Length is no depth."""
    assert len(wire.decode(b"[" + b"[1]," * 5000 + b"2]")) == 5001
