"""The pages as a site: `make docs`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = re.compile(r"^\|(?:-+\|)+$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


pytestmark = pytest.mark.xdist_group("site")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built where a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    """Those of docs/, those of the plugins, and the front page."""
    expected = {page.relative_to(ROOT / "docs").with_suffix("") for page in (ROOT / "docs").rglob("*.md")}
    expected |= {Path("plugins", page.parent.name) for page in (ROOT / "plugins").glob("*/README.md")}
    made = {page.relative_to(site).with_suffix("") for page in site.rglob("*.html")}
    assert expected | {Path("index"), Path("changelog"), Path("contributing")} <= made
    menu = (site / "index.html").read_text()
    assert [str(page) for page in expected if f'href="{page}.html"' not in menu] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: str(page.stem))
def test_tables_are_tables_there(page: Path, site: Path) -> None:
    """The site's reader wants more blank lines than GitHub's."""
    made = (site / page.relative_to(ROOT / "docs")).with_suffix(".html").read_text().split('role="main"')[1]
    assert len(re.findall("<table>", made)) == len(TABLE.findall(CODE.sub("", page.read_text())))


def test_links_that_lead_out_of_the_site_lead_into_the_repository(site: Path) -> None:
    assert "github.com/pycni/pycni/blob/main/deploy/containerd.toml" in (site / "install.html").read_text()
    assert 'href="../install.html"' in (site / "plugins/bridge.html").read_text()
