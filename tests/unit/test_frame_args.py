"""CNI_ARGS: pairs, the keys that a plugin knows, and IgnoreUnknown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.environment import arguments, bad_argument
from cni.errors import InvalidEnvironment

KNOWN = ("IP", "MAC")


def refusal(text: str) -> str:
    with pytest.raises(InvalidEnvironment) as caught:
        arguments({"CNI_ARGS": text}, KNOWN)
    assert caught.value.code == 4 and caught.value.details
    return caught.value.msg


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("IP=10.0.0.1", {"IP": "10.0.0.1"}),
        ("IP=", {"IP": ""}),
        ("IP=a;IP=b", {"IP": "b"}),
        ("IP=a;MAC=b", {"IP": "a", "MAC": "b"}),
        ("IP= a ;MAC=b", {"IP": " a ", "MAC": "b"}),
        ("IgnoreUnknown=1;K8S_POD_NAME=x;IP=a", {"IP": "a"}),
        ("K8S_POD_NAME=x;IP=a;IgnoreUnknown=TRUE", {"IP": "a"}),
        ("IgnoreUnknown=0;IgnoreUnknown=true;X=1", {}),
        ("IgnoreUnknown=False", {}),
    ],
)
def test_pairs(text: str, found: dict[str, str]) -> None:
    """No trimming, the last of a kind counts, and it does not matter where IgnoreUnknown stands."""
    assert arguments({"CNI_ARGS": text}, KNOWN) == found


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("IP=a;", ""),
        (";IP=a", ""),
        (";", ""),
        ("IP", "IP"),
        ("IP=a=b", "IP=a=b"),
        ("IgnoreUnknown=1;MAC", "MAC"),
        ("IgnoreUnknown=1;X=a=b", "X=a=b"),
    ],
)
def test_a_pair_holds_exactly_one_equals_sign(text: str, pair: str) -> None:
    """So a semicolon at the end is an error; IgnoreUnknown excuses none."""
    assert refusal(text) == f'CNI_ARGS: invalid pair "{pair}"'


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("A=1", '"A=1"'),
        ("A=1;IP=a;B=2", '"A=1" "B=2"'),
        ("ip=a", '"ip=a"'),
        ("ignoreunknown=1", '"ignoreunknown=1"'),
        ("IgnoreUnknown=1;IgnoreUnknown=0;A=1", '"A=1"'),
    ],
)
def test_unknown_keys_are_told_together(text: str, unknown: str) -> None:
    """Keys are case-sensitive."""
    assert refusal(text) == f"CNI_ARGS: unknown args [{unknown}]"


@pytest.mark.parametrize("value", ["yes", "", "2", "t"])
def test_a_boolean_is_one_of_four_words(value: str) -> None:
    assert refusal(f"IgnoreUnknown={value}") == (
        f'CNI_ARGS: error parsing value of pair "IgnoreUnknown={value}": boolean unmarshal error: invalid input {value}'
    )


def test_a_bad_value_is_told_with_its_pair() -> None:
    error = bad_argument("IP", "x", "invalid IP address x")
    assert (error.code, error.msg) == (4, 'CNI_ARGS: error parsing value of pair "IP=x": invalid IP address x')


@given(st.text(st.sampled_from("AIPMC=;1 ")))
def test_whatever_it_is_there_is_an_answer_or_the_one_error(text: str) -> None:
    try:
        found = arguments({"CNI_ARGS": text}, KNOWN)
    except InvalidEnvironment:
        return
    assert set(found) <= set(KNOWN)
    assert all(pair.count("=") == 1 for pair in text.split(";") if text)
