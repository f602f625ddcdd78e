"""dist/: the same sources give the same bytes, wherever, whenever and by whomever they are built."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from node.plugin import PLUGINS

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/build/bin/python"
PROGRAMS = ("cnitool", "cni-handback", "cni-forkserver", "netavark-cni")
FILES = PLUGINS + PROGRAMS

pytestmark = pytest.mark.xdist_group("reproducible")
if not PYTHON.exists():
    pytest.skip(f"{PYTHON} is not there: make dist makes it", allow_module_level=True)


def sources(folder: Path, backwards: bool, when: int) -> None:
    """A copy of what dist/ is made of; its files are created in either order, with one time."""
    files = [ROOT / "LICENSE"]
    for top in ("common", "plugins", "runtime", "tools", "build"):
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
    assert set(FILES) <= set(digests(built))
    assert {at.stat().st_mode & 0o7777 for at in (folder / "dist").iterdir()} == {0o755}


@pytest.mark.skipif(not Path("/usr/bin/gcc").exists(), reason="gcc is not there: make dist-native installs it")
def test_the_native_file_has_the_same_bytes_too(built: Path, tmp_path: Path) -> None:
    """And the mark of the same build as the single files."""
    folder = tmp_path / "elsewhere"
    sources(folder, backwards=True, when=1_700_000_000)
    made = []
    for at, environ in (
        (built, {"PYTHONHASHSEED": "1", "LANG": "C"}),
        (folder, {"PYTHONHASHSEED": "2", "TMPDIR": str(tmp_path)}),
    ):
        command = [str(PYTHON), str(at / "build/nativefile.py")]
        env = {"PATH": "/usr/bin:/bin", **environ}
        done = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        made.append((at / "dist/native/pycni").read_bytes())
    assert made[0] == made[1]
    assert made[0][-64:] == (built / "dist/loopback").read_bytes()[-64:]
    shutil.rmtree(built / "dist/native")


@pytest.mark.parametrize("name", ["loopback", "cnitool"])
def test_one_file_alone_has_the_same_bytes_as_all_together(built: Path, tmp_path: Path, name: str) -> None:
    """And no other file is made."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    assert build(tmp_path, name).returncode == 0
    assert digests(tmp_path) == {name: digests(built)[name]}


def test_a_name_that_is_neither_plugin_nor_program_makes_nothing(tmp_path: Path) -> None:
    """The names that there are come with the refusal."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    done = build(tmp_path, "loopback", "brigde")
    assert done.returncode == 1
    assert "brigde" in done.stderr and "bridge" in done.stderr and "cnitool" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_a_program_whose_package_is_not_there_fails_the_build(tmp_path: Path) -> None:
    """A table that names a folder that has moved is noticed when building."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    shutil.move(tmp_path / "runtime", tmp_path / "elsewhere")
    done = build(tmp_path)
    assert done.returncode == 1
    assert "runtime/libcni" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_a_pyroute2_that_is_not_known_fails_the_build(tmp_path: Path) -> None:
    """The files carry too little of it for the plain import."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    room = tmp_path / "common/cni/kernel/pyroute.py"
    text = room.read_text()
    assert text.count('KNOWN = ("0.9.7",)') == 1
    room.write_text(text.replace('KNOWN = ("0.9.7",)', 'KNOWN = ("0.9.1",)'))
    done = build(tmp_path)
    assert done.returncode == 1
    assert "pyroute2 0.9.7 is not in KNOWN" in done.stderr
    assert not (tmp_path / "dist").exists()


@pytest.mark.parametrize("source", ["plugins/loopback/cni_loopback/wanted.py", "runtime/libcni/cnitool.py"])
def test_a_changed_source_changes_every_file(built: Path, tmp_path: Path, source: str) -> None:
    """The build's mark is in every file: files of different builds do not take each other for neighbours."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    with (tmp_path / source).open("a") as file:
        file.write("# another build\n")
    assert build(tmp_path).returncode == 0
    before, after = digests(built), digests(tmp_path)
    assert set(before) == set(after)
    assert not set(before.values()) & set(after.values())


def test_the_files_are_executable_by_everybody_and_writable_by_nobody_else(built: Path) -> None:
    """Mode 0755 whatever the umask was."""
    assert {(built / "dist" / name).stat().st_mode & 0o7777 for name in FILES} == {0o755}


def package_of(plugin: str) -> str:
    """The importable package of a plugin."""
    return f"cni_{plugin.replace('-', '_')}"


def packages_of(plugin: str) -> set[str]:
    """A plugin's own package and those of the plugins that it runs in its process."""
    others = PLUGINS if plugin == "chain" else (plugin, "host-local")
    daemon = {"cni_dhcp_daemon"} if plugin == "dhcp" else set()
    return {package_of(other) for other in others} | daemon


# What each file has besides common/cni: packages, and whether libraries are in it.
CARRIED = {
    **{name: (sorted(packages_of(name)), True) for name in PLUGINS},
    "cnitool": (["libcni"], False),
    "netavark-cni": (["cni_netavark", "libcni", *(package_of(name) for name in PLUGINS)], True),
    "cni-handback": (["cni_handback", *(package_of(name) for name in PLUGINS)], True),
    "cni-forkserver": (["cni_forkserver", *(package_of(name) for name in PLUGINS)], True),
}


def used_of_the_libraries(folder: Path) -> set[str]:
    """The files of the libraries that the sources load, as the build finds them."""
    command = [str(PYTHON), "-IB", str(folder / "build/libraries.py")]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    return set(found)


def test_the_libraries_are_there_in_part(built: Path) -> None:
    """What a call loads, and neither what importing a library drags in nor what nobody asked for."""
    found = used_of_the_libraries(built)
    assert {"pyroute2/__init__.py", "pyroute2/netlink/rtnl/ifinfmsg/__init__.py", "netaddr/ip/__init__.py"} <= found
    assert not [at for at in found if at.startswith(("pyroute2/ndb/", "pyroute2/iproute/", "netaddr/eui/"))]
    assert len(found) < 60


@pytest.mark.parametrize("name", FILES)
def test_an_archive_has_what_is_listed_and_nothing_else(built: Path, name: str) -> None:
    """cni, the file's own packages, the libraries' modules that the sources load, licences; each source with its bytecode."""
    packages, libraries = CARRIED[name]
    with zipfile.ZipFile(built / "dist" / name) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None
        names = archive.namelist()
    assert names == sorted(set(names)), "sorted, and no name twice"
    listed = used_of_the_libraries(built) if libraries else set()
    licences = ["pycni", *(("netaddr", "pyroute2") if libraries else ())]
    folders = [f"{package}/" for package in ("cni", *packages)]

    def foreseen(entry: str) -> bool:
        if entry in ("__main__.py", "frontdoor.py", "handover.py", "archivefinder.py"):
            return True
        if entry.startswith((*folders, *(f"licenses/{who}/" for who in licences))):
            return True
        return entry in listed

    code = {entry for entry in names if entry.endswith(".py")}
    assert {entry for entry in names if not foreseen(entry.removesuffix("c"))} == set()
    assert {entry for entry in names if entry.endswith(".pyc")} == {f"{entry}c" for entry in code}
    assert all(any(entry.startswith(folder) for entry in code) for folder in folders)
    assert all(any(entry.startswith(f"licenses/{who}/LICENSE") for entry in names) for who in licences)


def test_bytecode_is_never_compared_with_a_source(built: Path) -> None:
    """Unchecked by hash (PEP 552): no source is read, and no time of a file counts."""
    with zipfile.ZipFile(built / "dist/bridge") as archive:
        flags = {archive.read(name)[4:8] for name in archive.namelist() if name.endswith(".pyc")}
    assert flags == {(0b01).to_bytes(4, "little")}


def test_nothing_in_a_file_tells_where_it_was_built(built: Path) -> None:
    """Neither the folder nor the interpreter of the build."""
    for name in FILES:
        data = (built / "dist" / name).read_bytes()
        assert str(built).encode() not in data
        assert str(ROOT).encode() not in data


def test_the_first_line_fits_into_what_the_kernel_reads(built: Path) -> None:
    """255 bytes with its end; it names Debian's Python, not the first one in PATH."""
    for name in FILES:
        line = (built / "dist" / name).read_bytes().split(b"\n", 1)[0]
        assert len(line) < 255
        assert line.startswith(b"#!/usr/bin/python3 -IScimport ")


def test_a_module_that_the_library_lacks_fails_the_build(tmp_path: Path) -> None:
    """A new version of a library that moved a module is noticed when building, not on a node."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    with (tmp_path / "plugins/loopback/cni_loopback/wanted.py").open("a") as file:
        file.write("\n\ndef moved():\n    from cni.kernel import pyroute\n\n    pyroute.load('pyroute2.moved')\n")
    done = build(tmp_path)
    assert done.returncode != 0
    assert "plugins/loopback/cni_loopback/wanted.py loads pyroute2.moved" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_a_plugin_is_found_by_its_folder(tmp_path: Path) -> None:
    """It gets a file, which runs, and is carried by those that run all plugins; nothing else is edited."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    shutil.copytree(tmp_path / "plugins/loopback", tmp_path / "plugins/new-one")
    package = (tmp_path / "plugins/new-one/cni_loopback").rename(tmp_path / "plugins/new-one/cni_new_one")
    for source in package.glob("*.py"):
        source.write_text(source.read_text().replace("cni_loopback", "cni_new_one"))
    assert build(tmp_path).returncode == 0
    assert set(digests(tmp_path)) == {*FILES, "new-one"}
    for name in ("chain", "cni-forkserver"):
        with zipfile.ZipFile(tmp_path / "dist" / name) as archive:
            assert "cni_new_one/plugin.pyc" in archive.namelist()
    command, environ = [tmp_path / "dist/new-one"], {"CNI_COMMAND": "VERSION"}
    done = subprocess.run(command, env=environ, input="{}", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "supportedVersions" in done.stdout
