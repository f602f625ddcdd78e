"""Settings: what a row reads and refuses, the object that rows make, and what the README shows of them."""

from typing import Any

import pytest

from cni.address import Prefix
from cni.errors import CNIError, DecodingFailure, InvalidConfig
from cni.result import Route
from cni.settings import (
    Key,
    Required,
    Section,
    Table,
    anything,
    boolean,
    chosen,
    integer,
    key,
    listing,
    mapping,
    member,
    name_of,
    one_of,
    parsed,
    part,
    string,
    within,
)

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
    table = Table(Key("a", string, Required("a is missing")))
    for document in ({}, {"a": None}):
        with pytest.raises(InvalidConfig, match="^a is missing$"):
            table(document, "")
    assert table({"A": ""}, "") == {"a": ""}


class Inner(Section):
    id: int = key("id", integer, 7, "a number")


class Outer(Section):
    name: str = key("NAME", string, Required("NAME is missing"), "a name")
    most: int = key("maximum", integer, 0, "how many", within(0, 9, "%d is too many"))
    net: Prefix | None = key("net", parsed(string, Prefix.parse, "CIDR"), None, "a network")
    items: list[Inner] = key("items", listing(Inner), list, "objects")


class Further(Outer):
    on: bool = key("on", boolean, False, "whether")


def test_a_section_has_its_values_under_their_attributes_names() -> None:
    """Parsed as a table's, nested sections too; the names in the configuration are the rows'."""
    found = Outer({"name": "x", "Maximum": 3, "net": "10.0.0.0/8", "items": [{"ID": 1}, {}]})
    assert (found.name, found.most, str(found.net), [item.id for item in found.items]) == ("x", 3, "10.0.0.0/8", [1, 7])
    assert (found.net, Outer({"name": "x"}).net) == (Prefix.parse("10.0.0.0/8"), None)
    assert Outer({"name": "x"}).items is not Outer({"name": "x"}).items


def test_sections_are_equal_by_their_values_and_show_them() -> None:
    one, other = Outer({"name": "x", "items": [{}]}), Outer({"NAME": "x", "maximum": 0, "items": [{"id": 7}]})
    assert one == other and hash(one) == hash(other)
    assert one != Outer({"name": "x"}) and one != Further({"name": "x", "items": [{}]}) and one != "x"
    assert repr(one) == "Outer(items=[Inner(id=7)], most=0, name='x')"


@pytest.mark.parametrize(
    ("document", "msg", "details"),
    [
        ({}, "NAME is missing", "in ipam"),
        ({"name": "x", "maximum": 10}, "10 is too many", 'change key "ipam.maximum"'),
        (
            {"name": "x", "items": [{"id": ""}]},
            "failed to load netconf: cannot read ipam.items[0].id: it must be an",
            "",
        ),
        ([], "failed to load netconf: cannot read ipam: it must be an object, not array", ""),
    ],
)
def test_a_section_refuses_as_its_table_does(document: Any, msg: str, details: str) -> None:
    """What is missing names the object that it is missing in."""
    with pytest.raises(CNIError) as caught:
        Outer(document, "ipam")
    assert caught.value.msg.startswith(msg)
    assert details in caught.value.details


def test_a_derived_section_has_the_rows_of_both() -> None:
    """Its base's first; the base is as it was."""
    assert [row.name for row in Further.TABLE.keys] == ["NAME", "maximum", "net", "items", "on"]
    assert [row.name for row in Outer.TABLE.keys] == ["NAME", "maximum", "net", "items"]
    assert Further({"name": "x", "on": True}).on is True
    assert Further.TABLE.markdown().splitlines()[0] == "| `NAME` | string |  | a name |"
    assert Further.TABLE.markdown().splitlines()[3:] == [
        "| `items` | list of object |  | objects |",
        "| `on` | bool | `false` | whether |",
    ]


def test_a_part_that_is_absent_is_empty() -> None:
    assert part({"Args": {"id": 3}}, "args", Inner).id == 3
    assert part({"args": None}, "args", Inner).id == part({}, "args", Inner).id == 7
    with pytest.raises(DecodingFailure, match="cannot read args: it must be an object"):
        part({"args": []}, "args", Inner)


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
