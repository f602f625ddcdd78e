"""cniVersion: what a missing or malformed one means, and which verbs a version has."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import versions
from cni.address import Prefix
from cni.errors import DecodingFailure, IncompatibleVersion
from cni.result import IPConfig, Result
from cni.skel import Call
from node.served import probe, serve

KNOWN = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS"]
FIRST = {"ADD": "0.1.0", "DEL": "0.1.0", "CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
LISTED = " ".join(f'"{version}"' for version in KNOWN)
FUNCTIONS: dict[str, Any] = dict.fromkeys(("delete", "check", "gc", "status"), lambda call: None)


def code_of(verb: str, version: Any) -> tuple[int, str, str]:
    """Code, message and details of a call whose configuration says this; 0 for success."""
    conf: dict[str, Any] = {"name": "net1", "cniVersion": version}
    if version is ...:
        del conf["cniVersion"]
    with probe(add=lambda call: Result((), [IPConfig(Prefix.parse("10.1.0.2/24"))]), **FUNCTIONS) as plugin:
        outcome = serve(plugin, verb, conf)
    if outcome.ok:
        return 0, "", ""
    return outcome.code, outcome.error["msg"], outcome.error.get("details", "")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("version", KNOWN)
def test_which_verbs_a_version_has(verb: str, version: str) -> None:
    code, msg, _ = code_of(verb, version)
    if KNOWN.index(version) >= KNOWN.index(FIRST[verb]):
        assert code == 0
    else:
        assert (code, msg) == (1, f"config version does not allow {verb}")


@pytest.mark.parametrize("version", [..., None, ""])
def test_without_a_version_it_is_0_1_0(version: Any) -> None:
    """Missing, null and empty: so CHECK, GC and STATUS are refused, and results are of the oldest shape."""
    assert code_of("ADD", version)[0] == code_of("DEL", version)[0] == 0
    for verb in ("CHECK", "GC", "STATUS"):
        assert code_of(verb, version)[:2] == (1, f"config version does not allow {verb}")
    seen: list[Call] = []
    conf = {"name": "net1"} if version is ... else {"name": "net1", "cniVersion": version}
    with probe(delete=seen.append) as plugin:
        serve(plugin, "DEL", conf)
    assert seen[0].version == "0.1.0"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("version", [1, 1.0, True, ["1.0.0"], {}])
def test_a_version_of_another_type_is_code_6(verb: str, version: Any) -> None:
    code, msg, _ = code_of(verb, version)
    assert code == 6 and msg.startswith("decoding version from network config: ")


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
@pytest.mark.parametrize("version", ["9.9.9", "1.1", "1", " 1.0.0", "1.0.0 ", "v1.0.0", "abc", "1.0.0.0", "01.0.0"])
def test_membership_is_textual(verb: str, version: str) -> None:
    """ADD and DEL do not compare numbers: what is not in the list is refused, and the list is told."""
    assert code_of(verb, version) == (
        1,
        "incompatible CNI versions",
        f'config is "{version}", plugin supports [{LISTED}]',
    )


@pytest.mark.parametrize(
    ("verb", "version", "code", "msg"),
    [
        ("CHECK", "0.3", 1, "config version does not allow CHECK"),
        ("CHECK", "0", 1, "config version does not allow CHECK"),
        # passes as a number, and is no member
        ("CHECK", "0.4", 1, "incompatible CNI versions"),
        ("CHECK", "1", 1, "incompatible CNI versions"),
        ("GC", "1.1", 1, "incompatible CNI versions"),
        ("STATUS", "1.1.00", 1, "incompatible CNI versions"),
        ("CHECK", "1.1.1", 1, "plugin version does not allow CHECK"),
        ("GC", "1.2", 1, "plugin version does not allow GC"),
        ("STATUS", "9.9.9", 1, "plugin version does not allow STATUS"),
        ("GC", "1.0.9", 1, "config version does not allow GC"),
        ("CHECK", "abc", 6, 'invalid version "abc"'),
        ("GC", "1.x", 6, 'invalid version "1.x"'),
        ("STATUS", "1.1.0.0", 6, 'invalid version "1.1.0.0"'),
        ("CHECK", "1..0", 6, 'invalid version "1..0"'),
        ("CHECK", "\u0663.0.0", 6, 'invalid version "\u0663.0.0"'),
        ("CHECK", "1." + "9" * 5000, 6, "invalid version"),
    ],
)
def test_check_gc_and_status_compare_numbers_first(verb: str, version: str, code: int, msg: str) -> None:
    found = code_of(verb, version)
    assert (found[0], found[1][: len(msg)]) == (code, msg)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=3))
def test_a_version_as_a_number(parts: list[int]) -> None:
    """Missing parts are 0."""
    assert versions.number(".".join(map(str, parts))) == tuple([*parts, 0, 0][:3])


def test_no_text_as_a_number_is_the_oldest() -> None:
    assert versions.number("") == (0, 1, 0)


@given(st.text(st.sampled_from("0123456789.-+ax ")), st.sampled_from(VERBS))
def test_no_text_passes_that_is_not_a_version(version: str, verb: str) -> None:
    if version in KNOWN or not version:
        return
    with pytest.raises((IncompatibleVersion, DecodingFailure)):
        versions.gate(verb, version)


def test_the_families_hold_every_version_once() -> None:
    assert sorted(version for family in versions.FAMILIES for version in family) == ["", *KNOWN]
    assert [versions.family(version) for version in ("0.1.0", "0.3.1", "1.0.0", "7")] == [*versions.FAMILIES, ()]
    assert list(versions.KNOWN) == KNOWN and KNOWN[-1] == versions.CURRENT
