"""The build of the wheel. It contains only ``libcni``, with the modules of common/cni that libcni imports.

The plugins are single files, not packages for others. ``cni`` is too common a name for a package on an index. So in a
wheel the modules that libcni needs are in ``libcni._cni``, and the imports are changed to that name. A checkout
(``pip install -e``) does not change.
"""

import ast
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

WHOLE, SHARED, PRIVATE = "libcni", "cni", "libcni._cni"
# [text](target), where the target is neither a URL nor an anchor on the same page
_LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s]+)(\))")


def _imports(source: str) -> Iterator[tuple[ast.ImportFrom, str]]:
    """Each statement that imports a shared module, with each module that it may import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == SHARED for alias in node.names):
            raise ValueError(f"line {node.lineno}: write `from {SHARED} import …`, which the wheel can rename")
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == SHARED:
            for name in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)):
                yield node, name


def _file(folder: Path, module: str) -> Path | None:
    """The file of a shared module in the folder of ``cni``. None if there is no such module."""
    at = folder.joinpath(*module.split(".")[1:])
    return next((file for file in (at.with_name(f"{at.name}.py"), at / "__init__.py") if file.is_file()), None)


def needed(folder: Path, sources: list[str]) -> dict[str, Path]:
    """The shared modules that these sources import, directly or indirectly. This includes imports for types."""
    found: dict[str, Path] = {}
    waiting = [name for source in sources for _, name in _imports(source)]
    while waiting:
        module = waiting.pop()
        file = _file(folder, module)
        if file is None or module in found:
            continue
        found[module] = file
        waiting += [module.rpartition(".")[0]] if "." in module else []
        waiting += [name for _, name in _imports(file.read_text())]
    return found


def renamed(source: str) -> str:
    """The source, with ``libcni._cni`` instead of ``cni`` in its imports."""
    lines = source.splitlines(keepends=True)
    for number in {node.lineno for node, _ in _imports(source)}:
        line = lines[number - 1]
        lines[number - 1] = re.sub(rf"\bfrom {SHARED}\b", f"from {PRIVATE}", line, count=1)
    return "".join(lines)


class Library(build_py):
    """Builds ``libcni`` with ``libcni._cni``, and nothing else."""

    def run(self) -> None:
        """Copy the modules of libcni, then the shared modules that they import."""
        if self.editable_mode:
            super().run()
            return
        into = Path(self.build_lib)
        for top in {package.split(".")[0] for package in self.packages}:
            shutil.rmtree(into / top, ignore_errors=True)  # files of an earlier build would go into the wheel
        shared = Path(self.get_package_dir(SHARED)).resolve()
        self.packages = [package for package in self.packages if package.split(".")[0] == WHOLE]
        super().run()
        own = sorted((into / WHOLE).rglob("*.py"))
        for module, file in needed(shared, [path.read_text() for path in own]).items():
            inside = file.relative_to(shared)
            target = into.joinpath(*PRIVATE.split("."), inside)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(renamed(file.read_text()))
            self.announce(f"{module} goes into {PRIVATE}")
        for path in own:
            path.write_text(renamed(path.read_text()))


class Described(egg_info):
    """Metadata whose description has absolute links, so that they work on an index."""

    def finalize_options(self) -> None:
        """Make the links of README.md absolute."""
        super().finalize_options()
        metadata = self.distribution.metadata
        source: str = vars(metadata)["project_urls"]["Source"]
        metadata.long_description = absolute(metadata.long_description or "", source)


def absolute(page: str, source: str) -> str:
    """A page of the repository's root, with absolute links. Links to pictures give the picture itself."""

    def link(found: re.Match[str]) -> str:
        kind = "raw" if os.path.splitext(found[2])[1] in (".svg", ".png") else "blob"
        return f"{found[1]}{source}/{kind}/main/{found[2]}{found[3]}"

    return _LINK.sub(link, page)
