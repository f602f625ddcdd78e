"""docs/architecture.md draws the house as it stands: every room is there, and every room that it draws."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMON = ROOT / "common/cni"
PAGE = (ROOT / "docs/architecture.md").read_text()
DRAWING = PAGE.split("```")[1]


def modules(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.py") if file.stem != "__init__"}


def drawn(part: str) -> set[str]:
    """The names at the beginning of the lines of a part of the drawing."""
    found: set[str] = set()
    for line in part.splitlines():
        names = re.match(r"\s+((?:\w+, )*\w+)(?:\s{2,}|$)", line)
        found.update(names[1].split(", ") if names else ())
    return found


def test_every_module_of_common_is_drawn_and_no_other() -> None:
    common = DRAWING.split("common/cni/")[1].split("\nplugins/")[0]
    outside, kernel = common.split("    kernel/")
    assert drawn("\n".join(outside.splitlines()[1:])) == modules(COMMON)
    assert drawn("\n".join(kernel.splitlines()[1:])) == modules(COMMON / "kernel")


def test_every_folder_with_code_is_drawn() -> None:
    for folder in ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith(".") and any(folder.rglob("*.py")):
            assert re.search(rf"^{folder.name}/|\s{folder.name}/", DRAWING, re.M), folder.name


def test_every_plugin_is_drawn() -> None:
    for package in (ROOT / "plugins").glob("*/cni_*"):
        assert f"plugins/{package.parent.name}/" in DRAWING
