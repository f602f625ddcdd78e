#!/usr/bin/env python3
"""Build dist/: ``build/dist.py [PLUGIN…]``, by default every plugin that has a folder.

shiv puts the libraries and our packages into one archive; what we take from it are the modules that are used
(``bundled.txt``), under our own front door instead of shiv's bootstrap, which would unpack to the user's home.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import archive

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "plugins"


def package_of(plugin: str) -> str:
    """The importable package of a plugin's folder."""
    return f"cni_{plugin.replace('-', '_')}"


def modules_of(folder: Path, name: str) -> dict[str, bytes]:
    """The sources of a package by their path in the archive."""
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*.py"))
        if "__pycache__" not in path.parts
    }


def bundle() -> dict[str, bytes]:
    """The libraries' modules that every file carries, out of an archive that shiv made of the locked requirements."""
    with tempfile.TemporaryDirectory() as temporary:
        staging, made = Path(temporary, "site-packages"), Path(temporary, "libraries.pyz")
        for library in ("pyroute2", "netaddr"):
            found = Path(__import__(library).__file__ or "").parent
            shutil.copytree(found, staging / library, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            for info in found.parent.glob(f"{library}-*.dist-info"):
                shutil.copytree(info, staging / info.name)
        command = [sys.executable, "-m", "shiv", "--site-packages", str(staging), "-o", str(made), "--reproducible"]
        subprocess.run(
            [*command, "-e", "cni.skel:main"], check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "315532800"}
        )
        with zipfile.ZipFile(made) as whole:
            entries = {
                name.removeprefix("site-packages/"): whole.read(name)
                for name in whole.namelist()
                if name.startswith("site-packages/")
            }
    return chosen(entries)


def chosen(entries: dict[str, bytes]) -> dict[str, bytes]:
    """What ``bundled.txt`` names, and the licences; what it names and is not there fails the build."""
    picked: dict[str, bytes] = {}
    for line in (ROOT / "build/bundled.txt").read_text().splitlines():
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        found = {path: data for path, data in entries.items() if path == name or _in_folder(path, name)}
        if not found:
            sys.exit(f"build: bundled.txt names {name}, which the libraries do not have")
        picked.update(found)
    for path, data in entries.items():
        if ".dist-info/" in path and Path(path).name.upper().startswith(("LICEN", "COPYING", "AUTHORS")):
            picked[f"licenses/{path.split('-')[0]}/{Path(path).name}"] = data
    picked["licenses/pycni/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return picked


def _in_folder(path: str, folder: str) -> bool:
    return folder.endswith("/") and path.startswith(folder) and path.endswith(".py")


def main(plugins: list[str]) -> None:
    """Write dist/PLUGIN for each, by rename: a file that somebody is starting is never half a one."""
    common = bundle() | modules_of(ROOT / "common/cni", "cni")
    common["frontdoor.py"] = (ROOT / "build/frontdoor.py").read_bytes()
    everything = sorted(folder.name for folder in PLUGINS.iterdir() if (folder / package_of(folder.name)).is_dir())
    packages = {plugin: modules_of(PLUGINS / plugin / package_of(plugin), package_of(plugin)) for plugin in everything}
    build = archive.identity(common | {name: data for each in packages.values() for name, data in each.items()})
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    for plugin in plugins or everything:
        data = archive.single_file(package_of(plugin), common | packages[plugin], build)
        temporary = dist / f".{plugin}.new"
        temporary.write_bytes(data)
        temporary.chmod(0o755)
        temporary.rename(dist / plugin)
        print(f"dist/{plugin}: {len(data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
