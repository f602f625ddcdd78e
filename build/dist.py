#!/usr/bin/env python3
"""Build dist/: ``build/dist.py [NAME…]``, by default each plugin that has a folder, and each program.

shiv puts the libraries into an archive. A single file gets the modules that are used (``libraries.py`` finds them). It
starts with our own ``frontdoor``, because shiv's bootstrap would unpack the archive to the user's home.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import archive
from roots import ROOT, package_of, plugins


class Program(NamedTuple):
    """A single file that is not a plugin."""

    module: str
    """The module with ``main(argv: list[str]) -> int``, which the first line starts."""
    packages: tuple[str, ...]
    """The folders of its packages besides common/cni, relative to the root, with wildcards. Each must exist."""
    libraries: bool = True
    """Whether it contains modules of the libraries."""


RUNS_ALL, RUN_BY_OTHERS = ("chain",), ("host-local",)
# Packages that one plugin's file has besides: it is a daemon too.
DAEMONS = {"dhcp": "tools/dhcp/cni_dhcp_daemon"}
PROGRAMS = {
    "cnitool": Program("libcni.cnitool", ("runtime/libcni",), libraries=False),
    "cni-handback": Program("cni_handback.command", ("tools/handback/cni_handback", "plugins/*/cni_*")),
    "netavark-cni": Program(
        "cni_netavark.program", ("tools/netavark/cni_netavark", "runtime/libcni", "plugins/*/cni_*")
    ),
    "cni-forkserver": Program("cni_forkserver.program", ("tools/forkserver/cni_forkserver", "plugins/*/cni_*")),
}


def modules_of(folder: Path, name: str) -> dict[str, bytes]:
    """The sources of a package, by their path in the archive."""
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*.py"))
        if "__pycache__" not in path.parts
    }


def must_be_known() -> None:
    """Refuse a pyroute2 that ``cni.kernel.pyroute`` does not know: a file lacks the modules for the normal import."""
    sys.path.insert(0, str(ROOT / "common"))
    from cni.kernel.pyroute import KNOWN

    found = version("pyroute2")
    if found not in KNOWN:
        sys.exit(f"build: pyroute2 {found} is not in KNOWN of common/cni/kernel/pyroute.py ({', '.join(KNOWN)})")


def bundle() -> dict[str, bytes]:
    """The modules of the libraries for every file, from an archive that shiv makes of the pinned requirements."""
    must_be_known()
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
    """The modules of the libraries that a call may load, and the licences."""
    command = [sys.executable, "-IB", str(ROOT / "build/libraries.py")]
    used = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if used.returncode:
        sys.exit(used.returncode)
    picked = {path: entries[path] for path in used.stdout.split()}
    for path, data in entries.items():
        if ".dist-info/" in path and Path(path).name.upper().startswith(("LICEN", "COPYING", "AUTHORS")):
            picked[f"licenses/{path.split('-')[0]}/{Path(path).name}"] = data
    picked["licenses/pycni/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return picked


def of_libraries(name: str) -> bool:
    """Whether an entry is only needed in a file with the libraries."""
    return name.removeprefix("licenses/").startswith(("pyroute2/", "netaddr/"))


def packages_of(program: Program) -> dict[str, bytes]:
    """The sources of a program's packages, by their path in the archive."""
    found: dict[str, bytes] = {}
    for pattern in program.packages:
        folders = [folder for folder in sorted(ROOT.glob(pattern)) if folder.is_dir()]
        if not folders:
            sys.exit(f"build: a program needs the package {pattern}, which does not exist")
        for folder in folders:
            found |= modules_of(folder, folder.name)
    return found


def carried_by(name: str, packages: dict[str, dict[str, bytes]]) -> dict[str, bytes]:
    """The plugins' packages in one plugin's file: its own, and those that it usually runs in its own process.

    It could import the latter from their own files, but reading the directory of each takes half a millisecond.
    """
    found: dict[str, bytes] = {}
    for other in packages if name in RUNS_ALL else {name, *RUN_BY_OTHERS} & set(packages):
        found |= packages[other]
    return found | daemon_of(name)


def daemon_of(name: str) -> dict[str, bytes]:
    """The package of a plugin's daemon, if it is one too."""
    return modules_of(ROOT / DAEMONS[name], Path(DAEMONS[name]).name) if name in DAEMONS else {}


class Parts(NamedTuple):
    """The modules that files are made of, by their path in the archive."""

    common: dict[str, bytes]
    libraries: dict[str, bytes]
    plugins: dict[str, dict[str, bytes]]
    programs: dict[str, dict[str, bytes]]

    def everything(self) -> dict[str, bytes]:
        """All of them. Their hash is the identity of the build."""
        whole = self.common | self.libraries
        for each in (*self.plugins.values(), *self.programs.values(), *map(daemon_of, DAEMONS)):
            whole = whole | each
        return whole


def parts() -> Parts:
    """All modules of this tree and of the libraries."""
    common = modules_of(ROOT / "common/cni", "cni")
    for module in ("frontdoor", "handover", "archivefinder"):
        common[f"{module}.py"] = (ROOT / f"build/{module}.py").read_bytes()
    packages = {name: modules_of(ROOT / "plugins" / name / package_of(name), package_of(name)) for name in plugins()}
    return Parts(common, bundle(), packages, {name: packages_of(program) for name, program in PROGRAMS.items()})


def files() -> dict[str, bytes]:
    """Every file of dist/, by name."""
    common, libraries, packages, programs = found = parts()
    build = archive.identity(found.everything())
    made = {
        name: archive.plugin(package_of(name), common | libraries | carried_by(name, packages), build)
        for name in packages
    }
    for name, program in PROGRAMS.items():
        carried = {at: data for at, data in libraries.items() if program.libraries or not of_libraries(at)}
        made[name] = archive.program(program.module, common | carried | programs[name], build)
    return made


def main(names: list[str]) -> None:
    """Write each dist/NAME, and rename it into place, so that nobody starts half a file."""
    made = files()
    unknown = sorted(set(names) - set(made))
    if unknown:
        sys.exit(f"build: no plugin or program {', '.join(unknown)}; the names are {', '.join(sorted(made))}")
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    for name in names or made:
        temporary = dist / f".{name}.new"
        temporary.write_bytes(made[name])
        temporary.chmod(0o755)
        temporary.rename(dist / name)
        print(f"dist/{name}: {len(made[name])} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
