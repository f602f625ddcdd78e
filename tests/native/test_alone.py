"""The native file needs nothing but itself, the kernel's file systems, /run and /var."""

import subprocess
import zipfile
from pathlib import Path

import pytest

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


def test_an_unknown_name_says_how_to_call_it(tmp_path: Path) -> None:
    """The text of its use, and status 2."""
    (tmp_path / "nonsense").symlink_to(FILE)
    done = subprocess.run([tmp_path / "nonsense"], env={}, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("usage: pycni NAME")


@pytest.mark.parametrize("symbolic", [False, True])
def test_links_are_installed_by_rename(tmp_path: Path, symbolic: bool) -> None:
    """A file that was there before keeps its content for who has it open; nothing temporary stays."""
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
    """At most 14 MB; unzip and zipimport read it, its entries are stored, and none is a source."""
    assert FILE.stat().st_size <= 14_000_000
    with zipfile.ZipFile(FILE) as archive:
        assert archive.testzip() is None
        entries = archive.infolist()
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_STORED}
    assert not [entry.filename for entry in entries if entry.filename.endswith(".py")]
    assert {"licenses/pycni/LICENSE", "cni/skel.pyc", "argparse.pyc"} <= {entry.filename for entry in entries}
