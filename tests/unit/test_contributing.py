"""CONTRIBUTING.md and the settings of editors and pre-commit are about this tree as it is."""

import itertools
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "docs/new-plugin.md", "docs/install.md"])
def test_every_target_of_make_that_a_page_names_is_there(page: str) -> None:
    named = {target for code in _code((ROOT / page).read_text()) for target in _targets(code)}
    assert named and named <= TARGETS, named - TARGETS


def _code(text: str) -> list[str]:
    """Lines of code blocks, and code in a sentence."""
    return re.findall(r"^    (.+)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)


def _targets(code: str) -> list[str]:
    """The targets of a call of make; a variable or a comment ends them."""
    words = code.split() if code.startswith("make ") else []
    return list(itertools.takewhile(re.compile("[a-z-]+").fullmatch, words[1:]))


def test_every_folder_of_tests_is_on_the_page() -> None:
    folders = {at.parent.name for at in (ROOT / "tests").glob("*/test_*.py")}
    named = set(re.findall(r"tests/(\w+)", PAGE))
    assert folders <= named
    assert {name for name in named if not (ROOT / "tests" / name).is_dir()} == set()


def test_the_hooks_run_programs_of_the_test_environment() -> None:
    """`make venv` makes it, so no hook needs a network."""
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        program = hook["entry"].split()[0]
        assert hook["language"] == "system" and program.startswith(".venv/test/bin/")
        assert (ROOT / program).is_file() or not (ROOT / ".venv/test").is_dir(), program
