"""The CNI_* variables: which verb needs which, what a name may be, and which of several faults is told."""

import json
import re
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cni.errors import CNIError, InvalidConfig
from cni.names import check_container, check_interface, check_network, interface_fault
from cni.skel import Call
from node.served import probe, serve

CONF = {"cniVersion": "1.1.0", "name": "net1", "type": "probe"}
# The specification's table: which verb needs which variable, in the order in which they are examined.
NEEDED = {
    "ADD": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    "DEL": ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
    "CHECK": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    "GC": ["CNI_PATH"],
    "STATUS": ["CNI_PATH"],
}
ATTACHED = ["ADD", "DEL", "CHECK"]
BAD_ID, BAD_IFNAME = {"CNI_CONTAINERID": "../c1"}, {"CNI_IFNAME": "a/b"}
FUNCTIONS: dict[str, Any] = dict.fromkeys(("delete", "check", "gc", "status"), lambda call: None)


def error(verb: str, conf: Any = CONF, **environ: str) -> dict[str, Any]:
    with probe(add=lambda call: None, **FUNCTIONS) as plugin:
        return serve(plugin, verb, conf, environ).error


@pytest.mark.parametrize("verb", NEEDED)
def test_all_the_missing_variables_are_told_together(verb: str) -> None:
    """In the table's order, joined by a comma without a blank; an empty value counts as missing."""
    found = error(verb, **dict.fromkeys(NEEDED[verb], ""))
    assert (found["code"], found["msg"]) == (4, f"required env variables [{','.join(NEEDED[verb])}] missing")


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, names in NEEDED.items() for name in names])
def test_each_variable_that_a_verb_needs_is_missed(verb: str, name: str) -> None:
    assert error(verb, **{name: ""})["msg"] == f"required env variables [{name}] missing"


@pytest.mark.parametrize("verb", [verb for verb in NEEDED if verb != "ADD"])
def test_what_a_verb_does_not_need_may_be_missing_or_malformed(verb: str) -> None:
    """GC and STATUS come with empty or any attachment variables; DEL without a namespace."""
    others = {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"} - set(NEEDED[verb])
    with probe(**FUNCTIONS) as plugin:
        for value in ("", "../x y\n"):
            assert serve(plugin, verb, CONF, dict.fromkeys(others, value)).ok


@pytest.mark.parametrize("verb", ATTACHED)
def test_a_malformed_variable_is_told_before_a_missing_one(verb: str) -> None:
    """Go's text for it comes first, and the names of all that are invalid behind."""
    found = error(verb, **BAD_ID, CNI_PATH="", CNI_IFNAME="")
    names = "CNI_CONTAINERID; CNI_IFNAME is missing; CNI_PATH is missing"
    assert (found["code"], found["msg"]) == (4, f"invalid characters in containerID ({names})")
    assert found["details"] == "../c1"


@pytest.mark.parametrize("verb", ATTACHED)
def test_of_two_malformed_variables_the_first_of_the_table_is_told(verb: str) -> None:
    both = error(verb, **BAD_ID, **BAD_IFNAME)["msg"]
    assert both == "invalid characters in containerID (CNI_CONTAINERID; CNI_IFNAME is invalid too)"
    assert "interface name contains" in error(verb, **BAD_IFNAME)["msg"]


@pytest.mark.parametrize("verb", [*NEEDED, "NONE"])
def test_code_4_names_every_invalid_variable(verb: str) -> None:
    """As the specification asks, whichever verb; Go names those that are missing, and not those that are malformed."""
    bad = {**BAD_ID, **BAD_IFNAME} if verb in ATTACHED else {}
    for name in (each for each in NEEDED.get(verb, ()) if each not in bad):
        found, invalid = error(verb, **{name: ""}, **bad), {name, *bad}
        assert found["code"] == 4 and all(each in found["msg"] for each in invalid), found
    if verb in ATTACHED:
        for each in (BAD_ID, BAD_IFNAME):
            found = error(verb, **each)
            assert found["code"] == 4 and found["msg"].endswith(f"({next(iter(each))})")
    elif verb == "NONE":
        assert error(verb)["msg"] == "unknown CNI_COMMAND: NONE"


def test_the_order_in_which_faults_are_told() -> None:
    """Everything is wrong; each fault is mended as soon as it is told, and the next one comes."""
    environ = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "../c1",
        "CNI_IFNAME": "a/b",
        "CNI_PATH": "",
        "CNI_NETNS": "/proc/thread-self/ns/net",
    }

    def broken() -> bytes:
        from cni.errors import IOFailure

        raise IOFailure("error reading from stdin: x")

    stdin: Any = broken

    def add(call: Call) -> None:
        raise CNIError("the plugin", code=100)

    steps: list[tuple[int, str, Any]] = [
        (4, "invalid characters in containerID", {"CNI_CONTAINERID": "c1"}),
        (4, "interface name contains / or : or whitespace characters", {"CNI_IFNAME": "eth0"}),
        (4, "required env variables [CNI_PATH] missing", {"CNI_PATH": "/x"}),
        (5, "error reading from stdin: x", "{"),
        (6, "error unmarshall network config: ", {"name": "../x", "cniVersion": "9"}),
        (7, "invalid characters found in network name", {"name": "net1", "cniVersion": "9"}),
        (1, "incompatible CNI versions", {"name": "net1", "cniVersion": "1.1.0"}),
        (8, "plugin's netns and netns from CNI_NETNS should not be the same", {"CNI_NETNS": "/x"}),
        (100, "the plugin", None),
    ]
    with probe(add=add) as plugin:
        for code, msg, mended in steps:
            found = serve(plugin, "ADD", stdin, environ).error
            assert (found["code"], found["msg"][: len(msg)]) == (code, msg)
            if isinstance(mended, dict) and any(name.startswith("CNI_") for name in mended):
                environ |= mended
            else:
                stdin = mended


@pytest.mark.parametrize(
    ("name", "msg"),
    [
        ("", "missing network name"),
        (None, "missing network name"),
        ("a b", "invalid characters found in network name"),
        ("../net", "invalid characters found in network name"),
        ("net\n", "invalid characters found in network name"),
        (".net", "invalid characters found in network name"),
        ("nét", "invalid characters found in network name"),
    ],
)
def test_a_networks_name_that_cannot_be_is_code_7(name: Any, msg: str) -> None:
    found = error("ADD", {**CONF, "name": name})
    assert (found["code"], found["msg"]) == (7, msg)
    assert found.get("details", "") == (name or "")


@pytest.mark.parametrize("name", [5, True, [], {}])
def test_a_networks_name_of_another_type_is_code_6(name: Any) -> None:
    assert error("ADD", {**CONF, "name": name})["code"] == 6


def test_a_name_of_any_length_is_one() -> None:
    check_container("a" * 5000)
    check_network("a" * 5000)


def test_names_match_in_any_case_and_the_last_counts() -> None:
    """``NAME`` is ``name``; of two spellings the later one."""
    seen: list[Call] = []
    with probe(gc=seen.append) as plugin:
        serve(plugin, "GC", '{"CNIVERSION": "1.1.0", "name": "a", "NAME": "b"}')
        serve(plugin, "GC", '{"cniVersion": "1.1.0", "NAME": "b", "name": "a", "Name": null}')
    assert [call.network for call in seen] == ["b", "a"]


# what a name may be

IDENTIFIER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
# Unicode's White_Space, from the character data: Python's isspace has four control characters more.
SPACES = {chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()} - set("\x1c\x1d\x1e\x1f")


def faulty(check: Any, text: str) -> bool:
    try:
        check(text)
    except CNIError:
        return True
    return False


@given(st.text(st.one_of(st.sampled_from("aZ09_.-/: \n\0é"), st.characters())))
@example("c1\n").via("a pattern that ends in $ would match")
@example("-c").via("a separator may not be first")
def test_ids_and_network_names_match_as_a_whole(text: str) -> None:
    """A letter or digit, then letters, digits, underscore, dot and hyphen: ASCII ones."""
    expected = IDENTIFIER.fullmatch(text) is None
    assert faulty(check_container, text) == expected
    assert faulty(check_network, text) == expected


@given(st.text(st.one_of(st.sampled_from("ab0./:\n "), st.characters()), max_size=20))
def test_an_interfaces_name_is_at_most_15_bytes_without_separators(text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        length = len(text.encode("utf-8", "surrogatepass"))
        if length > 15 and len(text.encode("utf-8", "replace")) <= 15:
            return  # a surrogate from the environment is one byte
    bad = not 0 < length <= 15 or text in (".", "..") or "/" in text or ":" in text or bool(SPACES & set(text))
    if all(not 0xD800 <= ord(character) < 0xE000 for character in text):
        assert bool(interface_fault(text)) == bad


def test_white_space_in_an_interfaces_name_is_unicodes() -> None:
    """Every character: U+0085, U+00A0 and U+2003 are white space, U+200B and the control characters are not."""
    assert {"\x85", "\xa0", "\u2003", "\n", " "} <= SPACES and not {"\u200b", "\x01", "\x1c", "\x1f"} & SPACES
    wrong = [
        code
        for code in range(1, sys.maxunicode + 1)
        if not 0xD800 <= code < 0xE000
        and bool(interface_fault(f"a{chr(code)}")) != (chr(code) in SPACES or chr(code) in "/:")
    ]
    assert wrong == [], [unicodedata.name(chr(code), hex(code)) for code in wrong]


@pytest.mark.parametrize(
    ("text", "msg", "details"),
    [
        ("a" * 16, "interface name is too long", "interface name should be less than 16 characters"),
        ("é" * 8, "interface name is too long", "interface name should be less than 16 characters"),
        ("\udcff" * 16, "interface name is too long", "interface name should be less than 16 characters"),
        (".", "interface name is . or ..", ""),
        ("..", "interface name is . or ..", ""),
        ("a:b", "interface name contains / or : or whitespace characters", ""),
        ("eth0\n", "interface name contains / or : or whitespace characters", ""),
    ],
)
def test_an_interfaces_name_that_cannot_be_is_told_with_gos_text(text: str, msg: str, details: str) -> None:
    found = error("ADD", CNI_IFNAME=text)
    assert (found["code"], found["msg"], found.get("details", "")) == (4, f"{msg} (CNI_IFNAME)", details)


@pytest.mark.parametrize("text", ["a" * 15, "é" * 7, "\udcff" * 15, "-x", "%d", "\x01", "...", "eth0.100", "a\u200bb"])
def test_an_interfaces_name_that_the_kernel_takes_passes(text: str) -> None:
    check_interface(text)


def test_an_empty_interface_name_is_a_fault_of_whoever_gave_it() -> None:
    with pytest.raises(InvalidConfig, match="interface name is empty"):
        check_interface("", InvalidConfig)


def test_bytes_that_are_no_utf_8_become_replacement_characters_in_the_answer() -> None:
    """They arrive as surrogates, which no JSON can hold."""
    found = error("ADD", CNI_CONTAINERID="c\udcff\udc80")
    assert found["details"] == "c\ufffd\ufffd"


@pytest.mark.parametrize("name", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH"])
def test_a_variable_of_5000_characters_is_one_error_or_none(name: str) -> None:
    with probe(add=lambda call: None, **FUNCTIONS) as plugin:
        for verb in ("DEL", "CHECK", "GC"):
            outcome = serve(plugin, verb, CONF, {name: "x" * 5000})
            assert outcome.ok or outcome.code == 4
            assert json.loads(outcome.stdout or "{}") is not None
