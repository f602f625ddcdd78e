"""The pages: every link leads somewhere, what the code knows is current, and one version is stated."""

import re
import subprocess
from pathlib import Path

import pages
import pytest

from cni.versions import RELEASE

ROOT = Path(__file__).parents[2]
PAGES = pages.pages()
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M):
        plain = re.sub(r"[^\w\- ]", "", LINK.sub("]", heading).lower())
        found.add(plain.strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading of it where one is named."""
    for target in LINK.findall(CODE.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        at = (page.parent / path).resolve() if path else page
        assert at.exists(), f"{target}: there is no such file"
        assert at.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(at), f"{target}: there is no such heading"


def test_links_are_found() -> None:
    """The test above is only as good as this."""
    assert sum(len(LINK.findall(CODE.sub("", page.read_text()))) for page in PAGES) > 100
    assert {"state-on-disk", "layout"} <= anchors(ROOT / "docs/architecture.md")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_what_the_code_knows_is_current(page: Path) -> None:
    """`make pages` writes it."""
    text = page.read_text()
    assert pages.filled(text) == text


def test_every_part_is_closed_and_on_some_page() -> None:
    texts = [page.read_text() for page in PAGES]
    opened = [name.split()[0] for text in texts for name in re.findall(r"^<!-- made: (.+?) -->$", text, re.M)]
    assert sum(len(pages.PART.findall(text)) for text in texts) == len(opened)
    assert set(opened) == set(pages.PARTS)


def test_one_version_is_stated() -> None:
    """``cni.versions.RELEASE`` is the source; no page, configuration or source names another one of ours."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in listed.split("\0") if name] or PAGES
    stated = re.compile(r"pycni[. +=-]+v?(\d+\.\d+\.\d+)\b")
    found = {(file.name, version) for file in files for version in stated.findall(text_of(file))}
    assert found and {version for _, version in found} == {RELEASE}, found
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest and newest[1] == RELEASE


def text_of(file: Path) -> str:
    """A file's text; nothing for one that has none, or is gone."""
    return file.read_text(errors="replace") if file.is_file() else ""
