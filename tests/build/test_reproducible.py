"""dist/: the same sources give the same bytes, wherever, whenever and by whomever they are built."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/build/bin/python"
PLUGINS = ("bridge", "host-local", "loopback")

if not PYTHON.exists():
    pytest.skip(f"{PYTHON} is not there: make dist makes it", allow_module_level=True)


def sources(folder: Path, backwards: bool, when: int) -> None:
    """A copy of what dist/ is made of; its files are created in either order, with one time."""
    files = [ROOT / "LICENSE"]
    for top in ("common", "plugins", "build"):
        files += [at for at in (ROOT / top).rglob("*") if at.is_file() and "__pycache__" not in at.parts]
    for file in sorted(files, reverse=backwards):
        target = folder / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        os.utime(target, (when, when))


def build(folder: Path, *plugins: str, umask: int = 0o022, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the copy's build; nothing of this machine's environment reaches it but what is given."""
    command = [str(PYTHON), str(folder / "build/dist.py"), *plugins]
    env = {"PATH": "/usr/bin:/bin", **environ}
    return subprocess.run(command, env=env, cwd="/", umask=umask, capture_output=True, text=True, timeout=120)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of dist/."""
    return {at.name: hashlib.sha256(at.read_bytes()).hexdigest() for at in sorted((folder / "dist").iterdir())}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources that has been built once."""
    folder = tmp_path_factory.mktemp("first")
    sources(folder, backwards=False, when=1_600_000_000)
    done = build(folder, PYTHONHASHSEED="1", TZ="UTC", LANG="C")
    assert done.returncode == 0, done.stderr
    return folder


def test_another_folder_time_user_and_order_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """Path, file times, creation order, umask, hash seed, locale, time zone and bytecode caches leave no trace."""
    folder = tmp_path / "a folder with another name"
    sources(folder, backwards=True, when=1_700_000_000)
    cache = folder / "common/cni/__pycache__"
    cache.mkdir()
    (cache / "skel.cpython-311.pyc").write_bytes(b"not this")
    done = build(folder, umask=0o077, PYTHONHASHSEED="2", TZ="Asia/Tokyo", LANG="C.UTF-8", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert digests(folder) == digests(built)
    assert set(PLUGINS) <= set(digests(built))
    assert {at.stat().st_mode & 0o7777 for at in (folder / "dist").iterdir()} == {0o755}


def test_one_plugin_alone_gives_the_same_bytes_as_all_together(built: Path, tmp_path: Path) -> None:
    """And no other file."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    assert build(tmp_path, "loopback").returncode == 0
    assert digests(tmp_path) == {"loopback": digests(built)["loopback"]}


def test_a_changed_source_changes_every_file(built: Path, tmp_path: Path) -> None:
    """The build's mark is in every file: files of different builds do not take each other for neighbours."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    with (tmp_path / "plugins/loopback/cni_loopback/verbs.py").open("a") as file:
        file.write("# another build\n")
    assert build(tmp_path).returncode == 0
    before, after = digests(built), digests(tmp_path)
    assert set(before) == set(after)
    assert not set(before.values()) & set(after.values())


def test_the_files_are_executable_by_everybody_and_writable_by_nobody_else(built: Path) -> None:
    """Mode 0755 whatever the umask was."""
    assert {(built / "dist" / plugin).stat().st_mode & 0o7777 for plugin in PLUGINS} == {0o755}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_an_archive_has_what_is_listed_and_nothing_else(built: Path, plugin: str) -> None:
    """Our package, the plugin's, the libraries' modules of bundled.txt, licences; each source with its bytecode."""
    package = f"cni_{plugin.replace('-', '_')}"
    with zipfile.ZipFile(built / "dist" / plugin) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None
        names = archive.namelist()
    assert names == sorted(set(names)), "sorted, and no name twice"
    listed = [line.strip() for line in (built / "build/bundled.txt").read_text().splitlines()]
    libraries = [line for line in listed if line and not line.startswith("#")]

    def foreseen(name: str) -> bool:
        if name in ("__main__.py", "frontdoor.py", f"start_{package}.py"):
            return True
        if name.startswith(("cni/", f"{package}/", "licenses/")):
            return True
        return any(name == line or (line.endswith("/") and name.startswith(line)) for line in libraries)

    code = {name for name in names if name.endswith(".py")}
    assert {name for name in names if not foreseen(name.removesuffix("c"))} == set()
    assert {name for name in names if name.endswith(".pyc")} == {f"{name}c" for name in code}
    for licence in ("licenses/pycni/LICENSE", "licenses/netaddr/LICENSE.rst"):
        assert licence in names
    assert any(name.startswith("licenses/pyroute2/LICENSE") for name in names)


def test_bytecode_is_never_compared_with_a_source(built: Path) -> None:
    """Unchecked by hash (PEP 552): no source is read, and no time of a file counts."""
    with zipfile.ZipFile(built / "dist/bridge") as archive:
        flags = {archive.read(name)[4:8] for name in archive.namelist() if name.endswith(".pyc")}
    assert flags == {(0b01).to_bytes(4, "little")}


def test_nothing_in_a_file_tells_where_it_was_built(built: Path) -> None:
    """Neither the folder nor the interpreter of the build."""
    for plugin in PLUGINS:
        data = (built / "dist" / plugin).read_bytes()
        assert str(built).encode() not in data
        assert str(ROOT).encode() not in data


def test_the_first_line_fits_into_what_the_kernel_reads(built: Path) -> None:
    """255 bytes with its end; it names Debian's Python, not the first one in PATH."""
    for plugin in PLUGINS:
        line = (built / "dist" / plugin).read_bytes().split(b"\n", 1)[0]
        assert len(line) < 255
        assert line.startswith(b"#!/usr/bin/env -S /usr/bin/python3 -I")


def test_a_listed_module_that_the_library_lacks_fails_the_build(tmp_path: Path) -> None:
    """A new version of a library that moved a module is noticed when building, not on a node."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    with (tmp_path / "build/bundled.txt").open("a") as file:
        file.write("pyroute2/moved.py\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert "pyroute2/moved.py" in done.stderr
    assert not (tmp_path / "dist").exists()
