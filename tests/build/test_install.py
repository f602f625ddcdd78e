"""make install and make uninstall: files put in place whole, by rename; what belongs to others stays."""

import hashlib
import io
import json
import marshal
import os
import re
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest

from node.plugin import GO, LIMIT, PLUGINS
from node.topology import Node

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist"
PYTHON = "/usr/bin/python3"
PROGRAMS = ("cnitool", "cni-handback")
DRIVER = "netavark-cni"
FILES = PLUGINS + PROGRAMS
EXAMPLE = "10-mynet.conflist"

if not (DIST / "bridge").exists():
    pytest.skip("dist/ is not there: make dist makes it", allow_module_level=True)

Done = subprocess.CompletedProcess[str]


class Target:
    """A node's folders below a temporary one, and the installer run on them as the Makefile does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binaries, self.configuration = folder / "opt/cni/bin", folder / "etc/cni/net.d"
        self.dist = folder / "dist"
        self.dist.mkdir()
        for name in (*FILES, DRIVER):
            shutil.copy2(DIST / name, self.dist / name)

    def command(self, deed: str) -> list[str]:
        """The command line of the Makefile."""
        where = [str(self.dist), str(self.binaries), str(self.configuration)]
        return [PYTHON, "-E", "-s", "-S", str(ROOT / "build/install.py"), deed, *where]

    def run(self, deed: str = "install", prefix: tuple[str, ...] = (), umask: int = 0o022) -> Done:
        """Install or uninstall; the outcome is the caller's to judge."""
        command = [*prefix, *self.command(deed)]
        return subprocess.run(command, umask=umask, capture_output=True, text=True, timeout=LIMIT)

    def install(self, **options: int) -> str:
        """An installation that has to succeed; what it said."""
        done = self.run(**options)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def uninstall(self) -> str:
        """The reverse; what it said."""
        done = self.run("uninstall")
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def whole(self) -> dict[str, bool]:
        """For each installed file whether the file is the build's, byte for byte."""
        return {at.name: at.read_bytes() == (DIST / at.name).read_bytes() for at in self.binaries.glob("[a-z]*")}

    @property
    def driver(self) -> Path:
        """Where the driver of netavark is installed."""
        return self.binaries.parent / "netavark/cni"


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """A node on which nothing is installed."""
    return Target(tmp_path)


def listing(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Every entry of a folder: a hash of its content, its inode and its mode."""
    found = {}
    for at in sorted(folder.rglob("*")):
        stat = at.lstat()
        data = os.readlink(at).encode() if at.is_symlink() else at.read_bytes() if at.is_file() else b""
        found[str(at.relative_to(folder))] = (hashlib.sha256(data).hexdigest(), stat.st_ino, stat.st_mode)
    return found


# installing


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_first_installation_makes_files_that_work(target: Target, umask: int) -> None:
    """Folders and all; exactly the plugins, the programs and the example; modes do not depend on the umask."""
    said = target.install(umask=umask)
    assert target.whole() == dict.fromkeys(FILES, True)
    assert [at.name for at in sorted(target.binaries.iterdir())] == sorted(FILES)
    assert [at.name for at in target.configuration.iterdir()] == [EXAMPLE]
    assert {at.stat().st_mode & 0o7777 for at in target.binaries.iterdir()} == {0o755}
    assert target.driver.read_bytes() == (DIST / DRIVER).read_bytes() and os.access(target.driver, os.X_OK)
    assert f'netavark_plugin_dirs = ["{target.driver.parent}"]' in said
    assert (target.configuration / EXAMPLE).stat().st_mode & 0o7777 == 0o644
    for plugin in PLUGINS:
        assert f"installed {target.binaries / plugin}" in said
        env = {"CNI_COMMAND": "VERSION"}
        done = subprocess.run([target.binaries / plugin], env=env, capture_output=True, timeout=LIMIT)
        assert "1.1.0" in json.loads(done.stdout)["supportedVersions"]
    for program in PROGRAMS:
        assert f"installed {target.binaries / program}" in said
        done = subprocess.run([target.binaries / program, "--help"], env={}, capture_output=True, timeout=LIMIT)
        assert (done.returncode, done.stderr) == (0, b"")
        assert program.encode() in done.stdout


def test_the_example_is_a_network_of_the_installed_plugins(target: Target) -> None:
    """A runtime could use it as it is."""
    target.install()
    example = json.loads((target.configuration / EXAMPLE).read_text())
    types = [plugin["type"] for plugin in example["plugins"]]
    types += [plugin["ipam"]["type"] for plugin in example["plugins"] if "ipam" in plugin]
    assert set(types) <= set(PLUGINS)
    assert example["name"] and example["cniVersion"]


def test_a_second_installation_replaces_by_rename(target: Target) -> None:
    """Other inodes, the same bytes; whoever has the old file open keeps it whole; no other name appears."""
    target.install()
    before = listing(target.binaries)
    with (target.binaries / "bridge").open("rb") as old:
        (target.dist / "bridge").write_bytes((DIST / "bridge").read_bytes())
        target.install()
        assert old.read() == (DIST / "bridge").read_bytes()
        assert os.fstat(old.fileno()).st_nlink == 0
    after = listing(target.binaries)
    assert set(after) == set(before)
    for name, (content, inode, mode) in after.items():
        assert content == before[name][0] and mode == before[name][2]
        assert inode != before[name][1], f"{name} was written in place"


def test_a_call_that_is_running_ends_well(target: Target, node: Node) -> None:
    """An ADD waits for its configuration while its file is replaced."""
    target.install()
    pod = node.pod()
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0", "CNI_PATH": "/x"}
    with node.inside():
        running = subprocess.Popen(
            [target.binaries / "loopback"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert running.stdin is not None
    running.stdin.write('{"cniVersion": "1.0.0", ')
    running.stdin.flush()
    target.install()
    output, _ = running.communicate('"name": "lo", "type": "loopback"}', timeout=LIMIT)
    assert running.returncode == 0, output
    assert json.loads(output)["ips"]


def test_a_link_is_replaced_and_not_what_it_points_to(target: Target) -> None:
    """Distributions link /opt/cni/bin to their own folder's files; those are not ours to write."""
    elsewhere = target.folder / "usr/lib/cni"
    elsewhere.mkdir(parents=True)
    (elsewhere / "bridge").write_bytes(b"\x7fELF of the distribution")
    target.binaries.mkdir(parents=True)
    (target.binaries / "bridge").symlink_to(elsewhere / "bridge")
    target.install()
    assert (elsewhere / "bridge").read_bytes() == b"\x7fELF of the distribution"
    assert not (target.binaries / "bridge").is_symlink()
    assert target.whole() == dict.fromkeys(FILES, True)


def test_other_plugins_stay(target: Target) -> None:
    """Those that we have no replacement for, scripts, folders, hidden files."""
    target.binaries.mkdir(parents=True)
    shutil.copy2(f"{GO}/bridge", target.binaries / "another-bridge")
    (target.binaries / "script").write_text("#!/bin/sh\n")
    (target.binaries / "folder").mkdir()
    (target.binaries / ".bridge.swp").write_text("an editor's")
    before = listing(target.binaries)
    target.install()
    after = listing(target.binaries)
    assert {name: after[name] for name in before} == before
    target.uninstall()
    assert listing(target.binaries) == before


def test_what_is_no_single_file_of_ours_is_not_installed(target: Target) -> None:
    """dist/ also holds make's marks, and what was left by a build that died."""
    (target.dist / ".done").touch()
    (target.dist / ".bridge.new").write_bytes((DIST / "bridge").read_bytes()[:1000])
    (target.dist / "half").write_bytes((DIST / "bridge").read_bytes()[:1000])
    (target.dist / "notes").write_text("#!/bin/sh\n")
    target.install()
    assert [at.name for at in sorted(target.binaries.iterdir())] == sorted(FILES)


def contents(data: bytes) -> dict[str, object]:
    """An archive's entries; bytecode as what it decodes to, which is the same for the same source."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found: dict[str, object] = {name: archive.read(name) for name in archive.namelist()}
        found[""] = archive.comment
    for name, content in found.items():
        if name.endswith(".pyc"):
            assert isinstance(content, bytes)
            found[name] = (content[:16], marshal.loads(content[16:]))
    return found


def test_bytecode_is_that_of_the_nodes_python(target: Target) -> None:
    """A file that another Python compiled becomes the one that this Python would have built."""
    whole = (DIST / "loopback").read_bytes()
    changed = io.BytesIO()
    with zipfile.ZipFile(DIST / "loopback") as archive, zipfile.ZipFile(changed, "w") as other:
        other.comment = archive.comment
        for name in archive.namelist():
            content = archive.read(name)
            other.writestr(name, b"\x99\x0d\r\n" + b"other code" if name.endswith(".pyc") else content)
    (target.dist / "loopback").write_bytes(whole.split(b"\n", 1)[0] + b"\n" + changed.getvalue())
    target.install()
    installed = (target.binaries / "loopback").read_bytes()
    assert installed.split(b"\n", 1)[0] == whole.split(b"\n", 1)[0]
    assert contents(installed) == contents(whole)


# configuration


@pytest.mark.parametrize("name", ["00-x.conf", "10-mynet.conflist", "99-y.conflist", "podman.json"])
def test_existing_configuration_is_left_alone(target: Target, name: str) -> None:
    """One file of any kind that a runtime reads is enough: content, inode, mode and time stay, nothing is added."""
    target.configuration.mkdir(parents=True)
    file = target.configuration / name
    file.write_text('{"name": "theirs"}')
    file.chmod(0o600)
    os.utime(file, (1, 1))
    before = listing(target.configuration)
    said = target.install()
    assert listing(target.configuration) == before
    assert file.stat().st_mtime == 1
    assert name in said
    target.uninstall()
    assert listing(target.configuration) == before


def test_files_that_no_runtime_reads_do_not_count(target: Target) -> None:
    """A folder of backups and notes is as good as empty, and they stay."""
    target.configuration.mkdir(parents=True)
    for name in ("README", "10-mynet.conflist.bak", ".hidden"):
        (target.configuration / name).write_text("theirs")
    target.install()
    assert {at.name for at in target.configuration.iterdir()} == {"README", "10-mynet.conflist.bak", ".hidden", EXAMPLE}


def test_an_installation_over_an_edited_example_keeps_the_edit(target: Target) -> None:
    """And uninstalling does, too."""
    target.install()
    (target.configuration / EXAMPLE).write_text('{"name": "edited"}')
    target.install()
    target.uninstall()
    assert (target.configuration / EXAMPLE).read_text() == '{"name": "edited"}'


# uninstalling


def test_uninstall_takes_away_what_install_brought(target: Target) -> None:
    """Twice is fine, and so is a node without any of it."""
    target.install()
    said = target.uninstall()
    assert list(target.binaries.iterdir()) == list(target.configuration.iterdir()) == []
    assert not target.driver.exists()
    assert all(f"removed {target.binaries / name}" in said for name in FILES)
    assert target.uninstall() == ""
    shutil.rmtree(target.folder / "opt")
    shutil.rmtree(target.folder / "etc")
    assert target.uninstall() == ""


def test_uninstall_leaves_plugins_of_other_makes_under_our_names(target: Target) -> None:
    """Go's bridge, put back by hand, is not ours, and neither is a script that mentions our mark."""
    target.install()
    shutil.copy2(f"{GO}/bridge", target.binaries / "bridge.go")
    (target.binaries / "bridge.go").rename(target.binaries / "bridge")
    (target.binaries / "loopback").unlink()
    (target.binaries / "loopback").write_text("#!/bin/sh\n# pycni-build:\n" + "#" * 300)
    target.uninstall()
    assert {at.name for at in target.binaries.iterdir()} == {"bridge", "loopback"}
    assert (target.binaries / "bridge").read_bytes() == Path(f"{GO}/bridge").read_bytes()


# killed, out of space


def _killed(target: Target, call: str, number: int) -> bool:
    """Kill an installation as it enters a system call for the n-th time; False if it ended before."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    done = target.run(prefix=("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject))
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done
    return done.returncode != 0


@pytest.mark.parametrize("call", ["fchmod", "fsync", "rename"])
def test_killed_at_any_moment_every_name_has_a_whole_file(target: Target, call: str) -> None:
    """Old or new under each name, and the next installation completes it."""
    old = b"#!/bin/sh\nexit 0\n"
    kills, few = 0, ("bridge", "host-local", "cnitool", DRIVER)
    for at in target.dist.iterdir():
        if at.name not in few:
            at.unlink()
    while True:
        shutil.rmtree(target.folder / "opt", ignore_errors=True)
        shutil.rmtree(target.folder / "etc", ignore_errors=True)
        target.binaries.mkdir(parents=True)
        (target.binaries / "bridge").write_bytes(old)
        if not _killed(target, call, kills + 1):
            break
        kills += 1
        for at in target.binaries.glob("[a-z]*"):
            content = at.read_bytes()
            assert content == (DIST / at.name).read_bytes() or (at.name, content) == ("bridge", old)
            assert at.name == "bridge" or at.stat().st_mode & 0o777 == 0o755
        for at in target.configuration.glob("[0-9a-z]*"):
            assert json.loads(at.read_text())["plugins"]
        target.install()
        assert target.whole() == dict.fromkeys(few[:-1], True) and target.driver.exists()
        assert (target.configuration / EXAMPLE).exists()
    assert kills >= len(few) + 1, "each file and the configuration were interrupted"


def test_a_disk_that_is_full_leaves_the_old_file(target: Target) -> None:
    """A limit on the size of files stands in for the disk: the error is told, nothing has changed under any name."""
    target.install()
    before = {at.name: at.read_bytes() for at in target.binaries.glob("[a-z]*")}
    done = target.run(prefix=("prlimit", "--fsize=100000"))
    assert (done.returncode, done.stderr) == (1, "install.py: [Errno 27] File too large\n")
    assert {at.name: at.read_bytes() for at in target.binaries.iterdir()} == before


# the Makefile


def make(target: str, **variables: str) -> str:
    """Run a target of the Makefile on the dist/ that is there, whatever its age."""
    words = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "--no-print-directory", "-C", str(ROOT), "-o", "dist/.done", "-o", "dist/native/.done"]
    command += [target, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done
    return done.stdout


def test_make_installs_below_destdir(tmp_path: Path) -> None:
    """By default into /opt/cni/bin and /etc/cni/net.d there; a folder with a blank is fine."""
    image = tmp_path / "an image"
    make("install", DESTDIR=str(image))
    assert set(FILES) <= {at.name for at in (image / "opt/cni/bin").iterdir()}
    assert [at.name for at in (image / "etc/cni/net.d").iterdir()] == [EXAMPLE]
    assert {at.name for at in image.iterdir()} == {"opt", "etc"}
    make("uninstall", DESTDIR=str(image))
    assert [at for at in image.rglob("*") if at.is_file()] == []


def test_make_installs_where_it_is_told(tmp_path: Path) -> None:
    """CNI_BIN_DIR and CNI_CONF_DIR, with and without DESTDIR."""
    folders = {"CNI_BIN_DIR": "/usr/lib/cni", "CNI_CONF_DIR": "/srv/net.d"}
    make("install", DESTDIR=str(tmp_path / "a"), **folders)
    make("install", **{name: f"{tmp_path}/b{folder}" for name, folder in folders.items()})
    for image in ("a", "b"):
        assert (tmp_path / image / "usr/lib/cni/bridge").exists()
        assert (tmp_path / image / "srv/net.d" / EXAMPLE).exists()


@pytest.mark.skipif(not (DIST / "native/pycni").exists(), reason="dist/native is not there: make dist-native makes it")
def test_make_installs_and_uninstalls_the_native_file_and_the_units(tmp_path: Path) -> None:
    """The units start the programs of the folder; nothing is left after it."""
    folders = {"DESTDIR": str(tmp_path), "CNI_BIN_DIR": "/usr/lib/cni", "UNIT_DIR": "/etc/systemd/system"}
    make("install-native", **folders)
    assert (tmp_path / "usr/lib/cni/bridge").samefile(tmp_path / "usr/lib/cni/pycni")
    unit = (tmp_path / "etc/systemd/system/cni-dhcp.service").read_text()
    assert "ExecStart=/usr/lib/cni/dhcp daemon\n" in unit
    make("uninstall", **folders)
    assert [at for at in tmp_path.rglob("*") if not at.is_dir()] == []


@pytest.mark.skipif(not Path(GO, "bridge").is_file(), reason="containernetworking-plugins is not installed")
def test_the_page_names_the_plugins_that_debian_has_too() -> None:
    """Those that dpkg must divert, and that are put back."""
    page = (ROOT / "docs/install.md").read_text()
    lists = re.findall(r"^    for name in ([\w -]+); do$", page, re.M)
    assert lists == [" ".join(sorted(name for name in PLUGINS if Path(GO, name).is_file()))] * 2
