#!/usr/bin/env python3
"""Print the modules of the libraries that go into a single file: the ones that our sources load, and their imports.

Nothing else is bundled, because Python reads the whole directory of an archive at every start. Each name in a
``load("library.module")`` is loaded here in the same way as in a call (``cni.lean``). Run this in a new interpreter, in
which no library is imported yet.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def _calls(source: Path, function: str) -> Iterator[str]:
    """The first argument of each call of ``function``, if it is a string."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if name == function and isinstance(node.args[0].value, str):
                yield node.args[0].value


def modules() -> dict[str, ModuleType]:
    """The modules by name. Exits if a source loads a module that does not exist."""
    common = ROOT / "common"
    sys.path.insert(0, str(common))
    sources = [at for folder in (common, ROOT / "plugins", ROOT / "tools") for at in sorted(folder.rglob("*.py"))]
    for source in sources:
        if any(_calls(source, "Library")):
            __import__(".".join(source.relative_to(common).with_suffix("").parts))
    from cni.lean import LIBRARIES

    for source in sources:
        for name in _calls(source, "load"):
            library = name.partition(".")[0]
            try:
                if library in LIBRARIES:
                    LIBRARIES[library].load(name)
            except ImportError as error:
                sys.exit(f"build: {source.relative_to(ROOT)} loads {name}: {error}")
    return {name: module for library in LIBRARIES.values() for name, module in library.loaded.items()}


def main() -> None:
    """Print one line for each file, relative to the folder of the libraries."""
    files = set()
    for name, module in modules().items():
        parts = name.split(".")
        packages = len(parts) if hasattr(module, "__path__") else len(parts) - 1
        files |= {"/".join([*parts[:depth], "__init__.py"]) for depth in range(1, packages + 1)}
        if packages < len(parts):
            files.add("/".join(parts) + ".py")
    print("\n".join(sorted(files)))


if __name__ == "__main__":
    main()
