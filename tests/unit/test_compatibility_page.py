"""docs/compatibility/ names tests that exist, has a page for each plugin, and decides every corner on it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from contract.subject import of

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
PAGES = DOCS / "compatibility"
PLUGINS = sorted(folder.parent.name for folder in (TESTS.parent / "plugins").glob("*/cni_*"))
DASH = "\N{EN DASH}"
NAMED = re.compile(r"\b((?:unit|real|guest|build|runtime|contract)/test_\w+\.py)(?:::(\w+))?")


@cache
def functions(file: Path) -> frozenset[str]:
    """The tests that a file defines."""
    found = ast.walk(ast.parse(file.read_text()))
    return frozenset(node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def rows(page: str) -> list[list[str]]:
    """The cells of a page's table of corners."""
    text = (PAGES / f"{page}.md").read_text().split("\n## Corners\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("| corner")
    ]


def named() -> list[tuple[str, str, str]]:
    """Every test that a page of docs/ names: page, file, function or nothing."""
    return [
        (page.relative_to(DOCS).as_posix(), match[1], match[2] or "")
        for page in sorted(DOCS.rglob("*.md"))
        for match in NAMED.finditer(page.read_text())
    ]


@pytest.mark.parametrize(("page", "file", "function"), sorted(set(named())))
def test_each_named_test_exists(page: str, file: str, function: str) -> None:
    """A file below tests/ that has tests, and the function in it where one is named."""
    at = TESTS / file
    assert at.is_file(), f"{page} names {file}, which is not there"
    found = functions(at)
    assert any(name.startswith("test_") for name in found), f"{file} has no test"
    if function:
        assert function.startswith("test_"), f"{page} names {function}, which pytest does not collect"
        assert function in found, f"{page} names {file}::{function}, which is not there"


def test_the_index_lists_every_page() -> None:
    """And every plugin has one."""
    listed = re.findall(r"^\| \[[^]]+\]\((\S+)\.md\) \|", (PAGES / "index.md").read_text(), re.M)
    assert sorted(listed) == sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "index")
    assert set(PLUGINS) <= set(listed)


def keys_of(plugin: str) -> set[str]:
    """The keys in the tables of a plugin's README, which are those of its settings. A route's keys belong to the result."""
    page = (TESTS.parent / "plugins" / plugin / "README.md").read_text()
    tables = [part.split("<!-- end -->")[0] for part in page.split("<!-- made: keys ")[1:]]
    own = [table for table in tables if not table.startswith("cni.result.")]
    return {key for table in own for key in re.findall(r"^\| `(\w+)` \|", table, re.M)}


def stated_tests(plugin: str) -> dict[str, str]:
    """The test of each key, from the first table of the plugin's page."""
    head = (PAGES / f"{plugin}.md").read_text().split("\n## ")[0]
    found = re.findall(r"^\| (`[^|]+`) \| (\S+) \|$", head, re.M)
    return {key: test for names, test in found for key in re.findall(r"`(\w+)`", names)}


def source(test: str) -> str:
    """The text of a test, with what its decorators say."""
    file, _, name = test.partition("::")
    text = (TESTS / file).read_text()
    (function,) = (each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef) and each.name == name)
    first = min([function.lineno, *(each.lineno for each in function.decorator_list)])
    return "\n".join(text.splitlines()[first - 1 : function.end_lineno])


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_key_of_a_plugin_is_on_its_page_with_a_test_that_names_it(plugin: str) -> None:
    found = stated_tests(plugin)
    assert set(found) == keys_of(plugin)
    for key, test in found.items():
        if test == "Subject":  # a plugin that has just been begun: the contract's tests have a value for the key
            assert key in of(plugin).keys
            continue
        assert re.search(rf"\b{key}\b", source(test)), f"{test} does not name {key}"


def test_the_keys_of_a_readme_are_found() -> None:
    """The test above is only as good as this."""
    assert all(len(keys_of(plugin)) > 5 for plugin in ("bridge", "host-local", "portmap"))
    assert "mtu" in keys_of("macvlan") and "advmss" not in keys_of("host-local")


WITH_CORNERS = sorted(page.stem for page in PAGES.glob("*.md") if page.stem not in ("index", "nat-order"))


@pytest.mark.parametrize("page", WITH_CORNERS)
def test_each_corner_has_a_decision_and_a_test(page: str) -> None:
    """Kept, fixed, otherwise or passed through; and a test, or a dash where there is nothing of ours to test."""
    found = rows(page)
    assert found
    for cells in found:
        assert len(cells) == 3, cells
        corner, decision, test = cells
        assert re.match(r"(kept|fixed|otherwise|passes through)\b", decision), f"{corner}: {decision}"
        assert test == DASH or NAMED.fullmatch(test), f"{corner}: {test!r} names no test"
        if decision.startswith(("fixed", "otherwise")):
            assert test != DASH, f"{corner} is {decision} without a test"


def numbers(page: str) -> set[int]:
    """The numbers that the corners of a page have, for reference from the tests."""
    found: set[int] = set()
    for corner, *_ in rows(page):
        found.update(int(number) for number in re.match(r"(?:\d+(?:, | ))*", corner)[0].replace(",", "").split())  # type: ignore[index]
    return found


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("frame", set(range(1, 23))),
        ("host-local", set(range(1, 19)) - {16}),
        ("bridge", {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 32}),
        ("loopback", {17, 18}),
        ("portmap", {*range(1, 13), 23}),
        ("libcni", set(range(1, 26))),
    ],
)
def test_no_corner_is_left_out(page: str, expected: set[int]) -> None:
    """Numbers are not reused or dropped: tests refer to them."""
    assert numbers(page) == expected
