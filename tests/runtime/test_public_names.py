"""libcni's public names are those that docs/runtime.md shows. Everything else is in private modules."""

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import libcni
from libcni import cnitool, containerd

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/runtime.md").read_text()
PUBLIC = (libcni, containerd)
# Code that shows how the library is used, or uses it from outside.
CONSUMERS = ("docs", "deploy", "tools", "bench", "build")


def test_the_public_modules() -> None:
    """docs/runtime.md names them. A module is private if a part of its name begins with an underscore."""
    modules = {module.name for module in pkgutil.walk_packages(libcni.__path__, "libcni.")}
    public = {name for name in modules if not any(part.startswith("_") for part in name.split("."))}
    assert public == {"libcni.containerd", "libcni.cnitool"}
    section = PAGE.split("\n## Public names\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(libcni[\w.]*)` \|", section, re.MULTILINE)) == {"libcni", *public}


@pytest.mark.parametrize("package", PUBLIC, ids=lambda package: str(package.__name__))
def test_the_page_has_every_module(package: ModuleType) -> None:
    table = PAGE.split(f"\n| modules of `{package.__name__}` |")[1].split("\n\n")[0]
    shown = [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split(" | ")[0])]
    modules = [module.name for module in pkgutil.iter_modules(package.__path__) if not module.ispkg]
    assert sorted(shown) == sorted(modules)


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: str(module.__name__))
def test_a_public_package_has_no_other_names(module: ModuleType) -> None:
    """What it imports for its own use is private too."""
    names = {name for name, value in vars(module).items() if not (name.startswith("_") or inspect.ismodule(value))}
    assert names <= set(module.__all__)
    assert cnitool.__all__ == ["main"], "a program: the names that it uses are not offered"


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: str(module.__name__))
def test_classes_and_functions_name_their_public_module(module: ModuleType) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__ == module.__name__
            assert getattr(module, value.__name__) is value, "pickle finds it by that name"


def attributes() -> set[str]:
    """Public names, and what public classes and functions have: methods, attributes, parameters."""
    found: set[str] = set()
    for module in PUBLIC:
        for name in module.__all__:
            value = getattr(module, name)
            found.add(name)
            if inspect.isclass(value):
                found |= {name for name in dir(value) if not name.startswith("_")}
                found |= set(getattr(value, "__annotations__", {}))
                value = value.__init__
            if inspect.isfunction(value):
                found |= set(inspect.signature(value).parameters)
    return found


def shown() -> set[str]:
    """The names in the Python columns of the page's tables of Go names, and in its table of errors."""
    found: set[str] = set()
    lines = PAGE.split("\n## The container-networking interface\n")[1].split("\n## Options\n")[0].splitlines()
    column = 0
    for line in lines:
        cells = line.strip("|").split(" | ")
        if not line.startswith("|"):
            column = 0
        elif "Python" in line:
            column = 2
        elif cells[0].strip() == "raised":
            column = 1
        elif column and not line.startswith("|---"):
            found |= set(re.findall(r"`(\w+)", cells[column - 1]))
    return found


def test_every_name_on_the_page_exists() -> None:
    names = shown()
    assert {"CNIConfig", "load_networks", "PluginFailed", "with_labels", "Watcher"} <= names
    assert names - attributes() - {"with", "async"} == set()


def private_imports(source: str) -> Iterator[str]:
    """The private modules and names of libcni that a source imports."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, *parts = name.split(".")
            if first == "libcni" and any(part.startswith("_") and part != "__version__" for part in parts):
                yield name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import libcni._cache", ["libcni._cache"]),
        ("from libcni._cache import Cache", ["libcni._cache.Cache"]),
        ("def f():\n    from libcni import _cache", ["libcni._cache"]),
        ("from libcni.containerd import _watch", ["libcni.containerd._watch"]),
        ("from libcni import CNIConfig, __version__", []),
        ("from other._cache import Cache", []),
    ],
)
def test_private_imports_are_found(source: str, expected: list[str]) -> None:
    assert list(private_imports(source)) == expected


def test_nothing_outside_imports_a_private_module() -> None:
    """Neither programs and examples, nor the code on the pages, nor the consumer that type checkers read."""
    files = [file for folder in CONSUMERS for file in (ROOT / folder).rglob("*.py")]
    sources = {str(file): file.read_text() for file in [*files, Path(__file__).with_name("consumer.py")]}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)):
            sources[f"{page}, block {number}"] = block
    assert any("libcni" in source for source in sources.values())
    assert {name: found for name, source in sources.items() if (found := list(private_imports(source)))} == {}
