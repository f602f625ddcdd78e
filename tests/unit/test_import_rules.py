"""Who may import whom, what a verb's modules may not import at all, and that every tool finds every package.

Read from the sources, so that an import inside a function is seen as well as one that no test happens to run.
"""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/cni_*") if path.is_dir())
# What costs milliseconds at each start, and pyroute2 and netaddr, which are loaded through cni.lean alone.
DEAR = {
    "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "datetime", "enum", "functools", "glob", "hashlib",
    "importlib", "inspect", "ipaddress", "json", "logging", "multiprocessing", "netaddr", "pathlib", "pyroute2",
    "random", "re", "shutil", "signal", "socket", "ssl", "subprocess", "tempfile", "threading", "traceback", "typing",
    "uuid",
}  # fmt: skip
# Imported in a function, where the cheap way is not to be had or somebody asked for more.
EXCUSED = {
    ("cni/address.py", "ipaddress"): "a consumer of the runtime library wants the standard library's objects",
    ("cni/wire.py", "json"): "a Python without _json; and the place of a fault in a document that is refused anyway",
    ("cni/names.py", "hashlib"): "a Python without the C module of SHA-512 alone",
    ("cni/skel.py", "traceback"): "CNI_DEBUG",
    ("cni_tuning/allowlist.py", "re"): "a node that has such a list, of regular expressions",
    ("cni/kernel/pyroute.py", "pyroute2"): "its version alone, while cni.lean's stand-ins are in place",
}


def package_of(plugin: str) -> str:
    return f"cni_{plugin.replace('-', '_')}"


def roots() -> dict[str, Path]:
    """The folder of each package, by its name."""
    found = {package_of(plugin): ROOT / "plugins" / plugin / package_of(plugin) for plugin in PLUGINS}
    return {"cni": ROOT / "common/cni", "libcni": ROOT / "runtime/libcni", **found}


def sources(package: str) -> list[Path]:
    return sorted(roots()[package].rglob("*.py"))


def _for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _walk(node: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Every node that runs, with whether it stands in a function."""
    for child in ast.iter_child_nodes(node):
        if _for_types_alone(child):
            continue
        yield child, in_function
        yield from _walk(child, in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def imports(file: Path, text: str | None = None) -> list[tuple[str, bool]]:
    """The modules that a file imports when it runs, each with whether a function does it."""
    found: list[tuple[str, bool]] = []
    for node, in_function in _walk(ast.parse(file.read_text() if text is None else text)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide who imports whom"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            first = node.args[0]
            if isinstance(first, ast.Constant):
                names = [str(first.value)]
        found += [(name, in_function) for name in names]
    return found


def packages_imported(package: str) -> dict[str, set[str]]:
    """For each file of a package the top-level packages that it imports, those for types included."""
    found: dict[str, set[str]] = {}
    for file in sources(package):
        names: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
        found[str(file.relative_to(ROOT))] = {name.split(".")[0] for name in names}
    return found


@pytest.mark.parametrize("package", ["cni", *map(package_of, PLUGINS)])
def test_common_imports_no_plugin_and_a_plugin_no_other_and_neither_the_runtime(package: str) -> None:
    """Not for types either: a room that must not know another does not know its types."""
    forbidden = set(roots()) - {"cni", package}
    assert "libcni" in forbidden
    for file, imported in packages_imported(package).items():
        assert not imported & forbidden, f"{file} imports {imported & forbidden}"


@pytest.mark.parametrize("package", ["cni", *map(package_of, PLUGINS)])
def test_nothing_dear_is_imported_on_the_way_of_a_verb(package: str) -> None:
    """Neither at a module's top nor in its functions, the excused places aside."""
    for file in sources(package):
        short = str(file.relative_to(roots()[package].parent))
        for name, in_function in imports(file):
            top = name.split(".")[0]
            if top in DEAR and not (in_function and (short, top) in EXCUSED):
                raise AssertionError(f"{short} imports {name}, which is dear; guard it with TYPE_CHECKING")


def test_every_excuse_is_needed() -> None:
    """An excuse whose import went away goes too."""
    used = {
        (str(file.relative_to(roots()[package].parent)), name.split(".")[0])
        for package in ("cni", *map(package_of, PLUGINS))
        for file in sources(package)
        for name, _ in imports(file)
    }
    assert set(EXCUSED) <= used


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import json", [("json", False)]),
        ("from json import loads", [("json", False), ("json.loads", False)]),
        ("def f():\n    import re", [("re", True)]),
        ("class C:\n    import re", [("re", False)]),
        ("try:\n    import re\nexcept ImportError:\n    pass", [("re", False)]),
        ("if TYPE_CHECKING:\n    import typing", []),
        ("if not TYPE_CHECKING:\n    import typing", [("typing", False)]),
        ("__import__('json')", [("json", False)]),
    ],
)
def test_the_reader_of_imports_sees_each_kind(text: str, expected: list[tuple[str, bool]]) -> None:
    """The rules above are only as good as this."""
    assert imports(Path("x.py"), text) == expected


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_tool_finds_the_package_of_a_plugin(plugin: str) -> None:
    """Its folder is a source root for pytest, ruff and mypy."""
    package, folder = package_of(plugin), f"plugins/{plugin}"
    tools = PROJECT["tool"]
    assert str(ROOT / folder) in sys.path
    assert ROOT / folder in {at for pattern in tools["ruff"]["src"] for at in ROOT.glob(pattern)}
    assert ROOT / folder / package in {at for pattern in tools["mypy"]["files"] for at in ROOT.glob(pattern)}
    assert (ROOT / folder / package / "__init__.py").is_file()
    assert (ROOT / folder / package / "plugin.py").is_file()


def test_every_folder_of_a_package_is_installed_in_a_checkout() -> None:
    """setuptools takes what setup.py finds: each folder with modules has to be among it."""
    code = (
        "import sys, distutils.core as core\n"
        "found = core.run_setup('setup.py', stop_after='init')\n"
        "print({name: found.package_dir.get(name) for name in found.packages})"
    )
    command = [sys.executable, "-c", f"import setuptools\n{code}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    installed: dict[str, str | None] = ast.literal_eval(done.stdout)
    for package, root in roots().items():
        assert installed[package] == root.relative_to(ROOT).as_posix()
        folders = {".".join([package, *file.parent.relative_to(root).parts]) for file in sources(package)}
        assert folders <= set(installed)
    assert {"cni_forkserver", "cni_handback"} <= set(installed)


def test_a_plugin_that_stands_on_common_is_small() -> None:
    """What a second plugin needs is in common/. The others are larger: they have rules, stores or devices of their own."""
    small = ("dummy", "ipvlan", "loopback", "macvlan", "sbr", "static", "tap", "vlan", "vrf")
    for name in small:
        files = (ROOT / "plugins" / name / f"cni_{name}").glob("*.py")
        assert sum(len(file.read_text().splitlines()) for file in files) <= 200, name
