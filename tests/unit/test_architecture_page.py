"""docs/architecture.md draws the house as it stands: every room is there, and every room that it draws."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMON = ROOT / "common/cni"
PAGE = (ROOT / "docs/architecture.md").read_text()
DRAWING = PAGE.split("```")[1]


def modules(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.py") if file.stem != "__init__"}


def drawn(part: str) -> list[str]:
    """The names at the beginning of the lines of a part of the drawing."""
    found: list[str] = []
    for line in part.splitlines():
        names = re.match(r"\s+((?:\w+, )*\w+)(?:\s{2,}|$)", line)
        found += names[1].split(", ") if names else ()
    return found


def test_every_module_of_common_is_drawn_and_no_other() -> None:
    common = DRAWING.split("common/cni/")[1].split("\nplugins/")[0]
    outside, *folders = re.split(r"^    (\w+)/", common, flags=re.M)
    rooms = {"": outside, **dict(zip(folders[::2], folders[1::2], strict=True))}
    assert set(rooms) == {"", *(folder.parent.name for folder in COMMON.glob("*/__init__.py"))}
    for name, room in rooms.items():
        assert sorted(drawn("\n".join(room.splitlines()[1:]))) == sorted(modules(COMMON / name))


def test_every_folder_with_code_is_drawn() -> None:
    for folder in ROOT.iterdir():
        if folder.is_dir() and not folder.name.startswith(".") and any(folder.rglob("*.py")):
            assert re.search(rf"^{folder.name}/|\s{folder.name}/", DRAWING, re.M), folder.name


def test_every_file_that_is_kept_is_told() -> None:
    """Those under /run/cni/pycni that the sources name, the locks of ``cni.kernel.exclusive`` among them."""
    kept: set[str] = set()
    for room in ("common", "plugins", "tools"):
        for source in (ROOT / room).rglob("*.py"):
            text = source.read_text()
            kept.update(re.findall(r'"/run/cni/pycni/([\w./-]+)"', text))
            kept.update(re.findall(r"{(?:[\w.]+\.)?run}/([\w-]+)", text))
            kept.update(re.findall(r'^    folder = "([\w-]+)"', text, re.M))
            kept.update(f"{name}.lock" for name in re.findall(r'(?:Exclusive|SharedLock)\("(\w+)"', text))
            kept.update(f"{name}.gate" for name in re.findall(r'SharedLock\("(\w+)"', text))
    assert {"attachments", "chain", "iptables.lock"} <= kept
    state = PAGE.split("## State on disk")[1]
    told = re.findall(r"`(?:/run/cni/pycni/)?([\w.-]+)`", "".join(re.findall(r"^\| (`/run[^|]*)\|", state, re.M)))
    assert sorted(told) == sorted(kept)


def effects() -> dict[str, bool]:
    """Every effect and kind, and whether it stands for the node."""
    found: dict[str, bool] = {}
    for room in ("common", "plugins"):
        for source in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text())):
                bases = [ast.unparse(base).partition("[")[0] for base in getattr(node, "bases", ())]
                if (
                    isinstance(node, ast.ClassDef)
                    and {"Effect", "Kind", *found} & set(bases)  # of a plugin, also one of common/'s
                    and source.parent.name != "kernel"
                ):
                    found[node.name] = any(ast.unparse(line) == "shared = True" for line in node.body)
    return found


def test_the_effects_of_the_tables_exist_and_the_shared_ones_are_marked() -> None:
    """docs/effects.md, which is made from the code, has all effects; this page has those of bridge and portmap."""
    told = PAGE.split("## Effects")[1].split("\n## ")[0]
    kinds = effects()
    assert {"VlanLeg", "PodLink", "LoopbackUp"} <= set(kinds)
    for row in re.findall(r"^\|[^|]*\|([^|]*`[A-Z][^|]*)\|", told, re.M):
        for name, shared in re.findall(r"`([A-Z]\w+)`( \(shared\))?", row):
            assert kinds[name] is bool(shared), name


def test_every_program_is_in_the_list_of_the_first_page() -> None:
    """Those that `make dist` makes: a row for each plugin, and one for each program beside them."""
    page, recipe = (ROOT / "README.md").read_text(), (ROOT / "build/dist.py").read_text()
    programs = re.findall(r'^    "([\w-]+)": Program\(', recipe, re.M)
    assert {"cnitool", "cni-handback", "cni-forkserver"} <= set(programs)
    plugins = [folder.name for folder in (ROOT / "plugins").iterdir() if any(folder.glob("cni_*"))]
    for name in (*programs, *plugins):
        assert re.search(rf"^\| \[{name}\]", page, re.M), name
    for named in re.findall(r"^    make dist.*", page + (ROOT / "docs/install.md").read_text(), re.M):
        assert all(name in named for name in programs), named
