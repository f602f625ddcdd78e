"""`make plugin NAME=x` begins a plugin that works, with nothing else edited."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILDER = ROOT / ".venv/build/bin/python"
PARTS = ("build", "common", "docs", "plugins", "runtime", "tests", "tools")
FILES = ("LICENSE", "Makefile", "README.md", "pyproject.toml")
LEFT = shutil.ignore_patterns("__pycache__", "*.pyc", "lib")
NAME = "try-it"
MADE = (
    "docs/compatibility/try-it.md",
    "plugins/try-it/README.md",
    "plugins/try-it/cni_try_it/__init__.py",
    "plugins/try-it/cni_try_it/plugin.py",
    "plugins/try-it/cni_try_it/settings.py",
    "plugins/try-it/cni_try_it/wanted.py",
    "plugins/try-it/example.conflist",
    "tests/contract/subjects/try_it.py",
)

pytestmark = [
    pytest.mark.skipif(not BUILDER.exists(), reason=f"{BUILDER} is not there: make dist makes it"),
    pytest.mark.xdist_group("new plugin"),
]


def copied(folder: Path) -> Path:
    """A copy of the tree."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / part, ignore=LEFT)
    for file in FILES:
        shutil.copy(ROOT / file, folder)
    return folder


def run(
    tree: Path, *words: str, program: Path | str = sys.executable, **environ: str
) -> subprocess.CompletedProcess[str]:
    """A program in the copy."""
    env = {**os.environ, **environ}
    return subprocess.run([program, *words], cwd=tree, env=env, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the tree in which a plugin was begun."""
    folder = copied(tmp_path_factory.mktemp("tree"))
    done = run(folder, "build/newplugin.py", NAME)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[: len(MADE)] == sorted((f"wrote {at}" for at in MADE), key=done.stdout.index)
    yield folder
    shutil.rmtree(folder)


def test_nothing_of_the_skeletons_name_is_left(tree: Path) -> None:
    assert [at for at in MADE if "skeleton" in (tree / at).read_text().lower()] == []
    assert "class TryIt(Subject)" in (tree / "tests/contract/subjects/try_it.py").read_text()


def test_the_lists_of_plugins_have_it(tree: Path) -> None:
    assert "[try-it](plugins/try-it/README.md)" in (tree / "README.md").read_text()
    assert "[try-it](try-it.md)" in (tree / "docs/compatibility/index.md").read_text()
    assert "| `promisc` | bool |" in (tree / "plugins/try-it/README.md").read_text()


@pytest.mark.parametrize("words", ["ruff check .", "ruff format --check .", "mypy plugins/try-it/cni_try_it"])
def test_it_is_clean(tree: Path, words: str) -> None:
    done = run(tree, "-m", *words.split(), MYPYPATH=str(tree / "common"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.real
def test_it_passes_the_contract(tree: Path) -> None:
    """What its Subject says, the laws of its plan, GC; and what holds each plugin's pages."""
    assert run(tree, "build/dist.py", program=BUILDER).returncode == 0
    files = [f"tests/contract/test_{name}.py" for name in ("subjects", "plan", "gc")]
    pages = [f"tests/unit/test_{name}.py" for name in ("readmes", "compatibility_page", "import_rules")]
    done = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *pages, "-k", "try-it or try_it")
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("bridge", "plugins/bridge exists already"),
        ("Upper", "usage"),
        ("../x", "usage"),
        ("", "usage"),
        ("a--b", "usage"),
    ],
)
def test_a_name_that_cannot_be_makes_nothing(tree: Path, name: str, fault: str) -> None:
    before = sorted(tree.rglob("*"))
    done = run(tree, "build/newplugin.py", name)
    assert done.returncode == 1 and fault in done.stderr
    assert sorted(tree.rglob("*")) == before
