"""Where the packages of this tree are: found by their folders, so that a new plugin is in no list.

setup.py, ``build/dist.py``, the tests and bench/ ask here. ruff and mypy have the same folders as patterns in
pyproject.toml.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def package_of(plugin: str) -> str:
    """The importable package of a plugin's folder: ``cni_host_local`` of ``host-local``."""
    return f"cni_{plugin.replace('-', '_')}"


def plugins(root: Path = ROOT) -> list[str]:
    """The names of the plugins: every folder of plugins/ that has its package."""
    return [at.name for at in sorted((root / "plugins").iterdir()) if (at / package_of(at.name)).is_dir()]


def source_roots(root: Path = ROOT) -> list[Path]:
    """The folders that have to be on ``sys.path``: each has packages in it."""
    programs = [at for at in sorted((root / "tools").iterdir()) if any(at.glob("*/__init__.py"))]
    return [root / "common", *(root / "plugins" / name for name in plugins(root)), *programs, root / "runtime"]


def packages(root: Path = ROOT) -> dict[str, Path]:
    """Every importable package and sub-package, and its folder."""
    found = {}
    for folder in source_roots(root):
        for file in sorted(folder.rglob("__init__.py")):
            found[".".join(file.parent.relative_to(folder).parts)] = file.parent
    return found
