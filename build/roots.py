"""Find the packages of this tree by their folders, so that no list of plugins is needed.

setup.py, ``build/dist.py``, the tests and bench/ use this. ruff and mypy have the same folders as patterns in
pyproject.toml.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def package_of(plugin: str) -> str:
    """The package of a plugin, for example ``cni_host_local`` for ``host-local``."""
    return f"cni_{plugin.replace('-', '_')}"


def plugins(root: Path = ROOT) -> list[str]:
    """The names of the plugins: the folders in plugins/ that contain their package."""
    return [at.name for at in sorted((root / "plugins").iterdir()) if (at / package_of(at.name)).is_dir()]


def source_roots(root: Path = ROOT) -> list[Path]:
    """The folders with packages, which have to be on ``sys.path``."""
    programs = [at for at in sorted((root / "tools").iterdir()) if any(at.glob("*/__init__.py"))]
    return [root / "common", *(root / "plugins" / name for name in plugins(root)), *programs, root / "runtime"]


def packages(root: Path = ROOT) -> dict[str, Path]:
    """Every package and sub-package, with its folder."""
    found = {}
    for folder in source_roots(root):
        for file in sorted(folder.rglob("__init__.py")):
            found[".".join(file.parent.relative_to(folder).parts)] = file.parent
    return found
