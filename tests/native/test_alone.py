"""The native file needs nothing but itself, the kernel's file systems, /run and /var."""

import json
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest

from cni.versions import RELEASE
from native.alone import FILE, Root
from node.configuration import bridge, host_local
from node.plugin import LIMIT, PLUGINS
from node.topology import Node

if not FILE.exists():
    pytest.skip("dist/native is not there: make dist-native makes it", allow_module_level=True)
pytestmark = pytest.mark.real


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root with the everyday plugins."""
    made = Root(tmp_path / "root")
    made.link("bridge", "portmap", "host-local", "firewall", "tuning", "loopback", "chain")
    return made


def test_a_pod_is_attached_and_detached_where_nothing_else_is(root: Root, node: Node) -> None:
    """Without Python, a shell, a C library, /etc, /usr and /dev; the root is read-only. No other file is even looked for."""
    pod, store = node.pod(), f"/var/lib/cni/{node.name}"
    ipam = {**host_local(node.data_dir, "10.1.2.0/24", "fd00:1::/64"), "dataDir": store}
    common = {"cniVersion": "1.1.0", "name": "net1"}
    members = [
        {**bridge(ipam, isGateway=True, ipMasq=True), **common},
        {
            **common,
            "type": "portmap",
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
        },
        {**common, "type": "firewall"},
        {**common, "type": "tuning", "mtu": 1400},
    ]
    for member in members:
        assert root.call(node, "STATUS", member).ok
    result = None
    for member in members:
        result = root.call(node, "ADD", {**member, **({"prevResult": result} if result else {})}, pod).result
    assert result and len(result["ips"]) == 2
    for member in members:
        assert root.call(node, "CHECK", {**member, "prevResult": result}, pod).ok
    valid = [{"containerID": pod.container, "ifname": "eth0"}]
    assert root.call(node, "GC", {**members[0], "cni.dev/valid-attachments": valid}).ok
    for member in reversed(members):
        assert root.call(node, "DEL", {**member, "prevResult": result}, pod).ok
    assert root.call(node, "ADD", {**common, "type": "nothing"} | {"type": "loopback", "name": "a/b"}, pod).code == 7
    assert root.strange() == set()
    assert root.executed == set(), "host-local has run in bridge's process"


def test_the_trace_sees_what_is_opened(root: Root) -> None:
    """The test above can fail: a program that opens another file."""
    root.run(["/bin/pycni", "install", "/run/cni/pycni-try/bin"])
    assert root.strange() == set()
    root.run(["/bin/pycni", "install", "/elsewhere/bin"])
    root.link("cnitool")
    root.run(["/bin/cnitool", "add", "net1", "/run/netns/x"], env={"NETCONFPATH": "/etc/cni/net.d"})
    assert root.strange() == {"/etc/cni/net.d"}


def test_every_name_is_a_program(root: Root) -> None:
    """`pycni list` has all; each starts."""
    names = root.run(["/bin/pycni", "list"]).stdout.split()
    assert set(PLUGINS) < set(names)
    for name in names:
        done = root.run(["/bin/pycni", name, "--help"])
        assert done.stderr + done.stdout and "Traceback" not in done.stderr, done
        assert name not in PLUGINS or done.stderr.startswith(f"CNI {name} plugin v"), done


def said(*words: str | Path, **env: str) -> tuple[int, str, str]:
    """The exit status of the native file, and both streams."""
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=LIMIT)
    return done.returncode, done.stdout, done.stderr


def test_a_wrong_name_or_word_is_named(tmp_path: Path) -> None:
    """A runtime gets an error object, and a person the way to call it."""
    link = tmp_path / "nonsense"
    link.symlink_to(FILE)
    status, out, err = said(link)
    assert (status, out) == (2, "") and err.startswith("usage: pycni NAME")
    status, out, err = said(link, CNI_COMMAND="ADD")
    error = json.loads(out)
    assert (
        (status, err, error["code"]) == (1, "", 999) and "nonsense" in error["msg"] and "pycni list" in error["details"]
    )
    for words, why in (
        (["brigde"], "no plugin, program or command brigde"),
        (["install", "--symlink", str(tmp_path)], "no option --symlink"),
        (["install"], "install takes one folder"),
        (["uninstall"], "uninstall takes one folder"),
        (["list", "x"], "list takes no argument"),
    ):
        status, out, err = said(FILE, *words)
        assert (status, out) == (2, "") and why in err, words
    assert said(FILE, "uninstall", str(tmp_path / "nowhere"))[:2] == (1, "")
    assert said(FILE, "--version")[1].startswith(
        f"pycni {RELEASE}, build {FILE.read_bytes()[-64:].decode()}, with Python 3."
    )


def test_a_damaged_file_and_a_low_limit_are_errors_for_the_runtime(tmp_path: Path) -> None:
    """Each is an error object that says what is wrong."""
    data, plugin = FILE.read_bytes(), tmp_path / "loopback"
    directory = data.rindex(b"PK\1\2")
    for damaged in (data[:-1], data[:-1_000_000], data + b"\n", data[:directory] + b"XX" + data[directory + 2 :]):
        plugin.write_bytes(damaged)
        plugin.chmod(0o755)
        status, out, err = said(plugin, CNI_COMMAND="STATUS", CNI_PATH="/")
        assert (status, json.loads(out)["code"]) == (1, 999) and "damaged or not complete" in out and "damaged" in err
    plugin.unlink()
    plugin.symlink_to(FILE)
    for limit, why in (
        ("nofile=3", "Too many open files"),
        ("as=15M", "allocate memory"),
        ("as=22M", "memory allocation"),
    ):
        status, out, err = limited(plugin, limit)
        assert status == 1 and why in json.loads(out)["msg"], err
    status, out, err = limited(plugin, "stack=256K", '{"a":' * 5000)
    assert status == 1 and "nested too deeply" in json.loads(out)["msg"], err


def limited(plugin: Path, limit: str, stdin: str = "") -> tuple[int, str, str]:
    """A call with a limit of a resource, as prlimit(1) writes it."""
    kind, _, value = limit.partition("=")
    number = str(int(value.rstrip("KM")) << {"K": 10, "M": 20}.get(value[-1], 0))
    command = ["prlimit", f"--{kind}={number}:{number}", plugin]
    env = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/", "PATH": "/usr/bin"}
    done = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, timeout=LIMIT)
    return done.returncode, done.stdout, done.stderr


# The folder is a small file system of this process's own.
FULL = """
mount -t tmpfs -o size=$3 tmpfs "$2"
echo old > "$2/bridge"
"$1" install "$2" && exit 1
ls -A "$2"
cat "$2/bridge"
"""


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """The old file stays, and nothing temporary."""
    done = subprocess.run(
        ["unshare", "-m", "/bin/sh", "-c", FULL, "sh", FILE, tmp_path, "4M"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (0, "bridge\nold\n")
    assert done.stderr == "pycni: [Errno 28] No space left on device\n"


def test_installations_at_once_are_each_whole(tmp_path: Path) -> None:
    """Each has the same process id, as in containers; one that was killed has left a part of a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / ".pycni.new").write_text("half")
    command = ["unshare", "--pid", "--fork", FILE, "install", folder]
    running = [subprocess.Popen(command, env={"PATH": "/usr/bin"}, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(LIMIT) for process in running] == [0, 0, 0, 0]
    assert not list(folder.glob(".*"))
    assert all(at.samefile(folder / "pycni") for at in folder.iterdir())
    assert (folder / "pycni").read_bytes() == FILE.read_bytes()


@pytest.mark.parametrize("option", ["--netavark", "--symbolic"])
def test_uninstall_removes_ours_alone(tmp_path: Path, option: str) -> None:
    """Hard links, symbolic links and single files; another vendor's plugin stays, also one that has a name of ours."""
    folder = tmp_path / "cni/bin"
    assert said(FILE, "install", option, folder)[0] == 0
    for name, text in (("bridge", "another vendor's"), ("calico", "x"), ("vlan", "#!/usr/bin/python3\npycni-build:0")):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)
    status, out, err = said(folder / "pycni", "uninstall", folder)
    assert (status, err) == (0, "") and f"removed {folder}/vlan\n" in out
    assert sorted(at.name for at in tmp_path.rglob("*") if not at.is_dir()) == ["bridge", "calico"]


@pytest.mark.parametrize("symbolic", [False, True])
def test_links_are_installed_by_rename(tmp_path: Path, symbolic: bool) -> None:
    """A file that was there before keeps its content for a process that has it open. No temporary file is left."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bridge").write_text("old")
    with (folder / "bridge").open() as old:
        words = ["install", *(["--symbolic"] if symbolic else []), str(folder)]
        subprocess.run([FILE, *words], env={}, check=True, stdout=subprocess.PIPE, timeout=LIMIT)
        assert old.read() == "old"
    assert {at.name for at in folder.iterdir()} >= {"pycni", *PLUGINS}
    assert not list(folder.glob(".*"))
    assert all(at.is_symlink() == (symbolic and at.name != "pycni") for at in folder.iterdir())
    assert all(at.samefile(folder / "pycni") for at in folder.iterdir())
    assert (folder / "pycni").read_bytes() == FILE.read_bytes()


def test_the_file_is_small_and_its_archive_can_be_read() -> None:
    """At most 14 MB, also small when compressed; unzip and zipimport read it, its entries are stored, and none is a source."""
    assert FILE.stat().st_size <= 14_000_000
    # `xz` makes three quarters of this in a twentieth of the speed: test_release.py has its limit.
    assert len(zlib.compress(FILE.read_bytes(), 1)) <= 5_900_000
    with zipfile.ZipFile(FILE) as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert not [entry.filename for entry in entries if entry.filename.endswith(".py")]
    assert {"licenses/pycni/LICENSE", "licenses/libc/copyright", "cni/skel.pyc", "argparse.pyc"} <= {
        entry.filename for entry in entries
    }
