"""A configuration as a table: what a row reads, what it refuses, and what it tells the docs."""

from typing import Any

import pytest

from cni.address import Prefix
from cni.config import (
    Key,
    Table,
    anything,
    boolean,
    chosen,
    integer,
    listing,
    mapping,
    member,
    name_of,
    one_of,
    parsed,
    string,
    within,
)
from cni.errors import CNIError, DecodingFailure, InvalidConfig
from cni.result import Route

INNER = Table(Key("id", integer, 7, "a number"), Key("hidden", string, "x"))
TABLE = Table(
    Key("name", string, "none", "a name", one_of(("none", "some"), 'unknown name "%s"')),
    Key("count", integer, 0, "how many", within(0, 9, "%d is too many")),
    Key("on", boolean, False, "whether"),
    Key("items", listing(INNER), list, "objects"),
    Key("words", mapping(string), dict, "texts by name"),
    Key("net", parsed(string, Prefix.parse, "CIDR"), None, "a network"),
    Key("any", anything, None, "any value"),
    Key("inner", INNER),
)
DEFAULTS = {"name": "none", "count": 0, "on": False, "items": [], "words": {}, "net": None, "any": None, "inner": None}


def refusal(document: Any, where: str = "") -> CNIError:
    with pytest.raises(CNIError) as caught:
        TABLE(document, where)
    return caught.value


def test_what_is_absent_or_null_has_its_default() -> None:
    assert TABLE({}, "") == DEFAULTS
    assert TABLE(dict.fromkeys(DEFAULTS), "") == DEFAULTS
    assert TABLE({}, "")["items"] is not TABLE({}, "")["items"], "a default list is nobody else's"


def test_values_come_out_under_the_keys_own_spelling() -> None:
    """Members match in any case, the later of two counts, null does not, unknown ones are ignored."""
    found = TABLE({"NAME": "some", "Count": 3, "count": 4, "COUNT": None, "x": object()}, "")
    assert found == {**DEFAULTS, "name": "some", "count": 4}
    assert TABLE({"items": [{"ID": 1}, {}]}, "")["items"] == [{"id": 1, "hidden": "x"}, {"id": 7, "hidden": "x"}]


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"count": "3"}, 'key "count": it must be an integer, not string'),
        ({"count": True}, 'key "count": it must be an integer, not bool'),
        ({"count": 1.0}, 'key "count": it must be an integer, not number'),
        ({"on": 1}, 'key "on": it must be true or false, not number'),
        ({"name": []}, 'key "name": it must be a string, not array'),
        ({"items": {}}, 'key "items": it must be a list, not object'),
        ({"items": [{}, None]}, 'key "items"[1]: it must be an object, not null'),
        ({"items": [{"id": "x"}]}, 'key "items"[0].id: it must be an integer, not string'),
        ({"words": {"a": 1}}, 'key "words".a: it must be a string, not number'),
        ({"inner": []}, 'key "inner": it must be an object, not array'),
        ([], "the configuration: it must be an object, not array"),
        (None, "the configuration: it must be an object, not null"),
    ],
)
def test_a_wrong_type_names_the_place_and_what_is_wanted(document: Any, text: str) -> None:
    """Code 6, with the prefix that Go's plugins have."""
    error = refusal(document)
    assert isinstance(error, DecodingFailure)
    assert error.msg == f"failed to load netconf: cannot read {text}"


def test_a_place_within_another_is_named_by_both() -> None:
    assert "cannot read ipam.count: " in refusal({"count": "x"}, "ipam").msg
    assert refusal({"count": 10}, "ipam").details == 'change key "ipam.count"'


@pytest.mark.parametrize(
    ("document", "msg", "details"),
    [
        ({"name": "other"}, 'unknown name "other"', 'change key "name"'),
        ({"count": 10}, "10 is too many", 'change key "count"'),
        ({"count": -1}, "-1 is too many", 'change key "count"'),
        ({"net": "10.0.0.1"}, "invalid CIDR address: 10.0.0.1", 'in key "net"'),
    ],
)
def test_a_wrong_value_is_code_7_with_the_keys_text(document: Any, msg: str, details: str) -> None:
    error = refusal(document)
    assert isinstance(error, InvalidConfig)
    assert (error.msg, error.details) == (msg, details)


def test_a_default_is_not_checked() -> None:
    assert Table(Key("a", integer, 99, check=within(0, 1, "%d")))({}, "") == {"a": 99}


def test_what_is_required_is_missed() -> None:
    table = Table(Key("a", string, required="a is missing"))
    for document in ({}, {"a": None}):
        with pytest.raises(InvalidConfig, match="^a is missing$"):
            table(document, "")
    assert table({"A": ""}, "") == {"a": ""}


def test_chosen_follows_a_path_in_any_case() -> None:
    document = {"Args": {"CNI": {"ips": [1], "IPS": [2], "Ips": None}}, "args2": 5}
    assert chosen(document, "args", "cni", "ips") == [2]
    assert chosen(document, "args", "cni", "mac") is None
    assert chosen(document, "args2", "cni") is None
    assert chosen([], "a") is None
    assert chosen(document) is document


def test_the_table_tells_the_docs() -> None:
    """Keys without words are not shown; defaults that are made anew are left blank."""
    assert TABLE.markdown().splitlines() == [
        '| `name` | string | `"none"` | a name |',
        "| `count` | int | `0` | how many |",
        "| `on` | bool | `false` | whether |",
        "| `items` | list of object |  | objects |",
        "| `words` | object of string |  | texts by name |",
        "| `net` | CIDR |  | a network |",
        "| `any` | any |  | any value |",
    ]
    assert INNER.markdown("items.") == "| `items.id` | int | `7` | a number |"


def test_the_names_of_kinds() -> None:
    assert [name_of(kind) for kind in (string, member, INNER, Route.parse, listing(listing(integer)))] == [
        "string", "object", "object", "Route", "list of list of int",
    ]  # fmt: skip
