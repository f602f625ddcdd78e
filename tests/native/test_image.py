"""The image that installs the file on a node, built and run by Debian's podman: its root file system has no other file."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forkserver.server import SERVED, Server, loopback
from native.alone import FILE
from node.deadline import eventually
from node.plugin import LIMIT, PLUGINS, environment
from node.topology import Node

if not FILE.exists():
    pytest.skip("dist/native is not there: make dist-native makes it", allow_module_level=True)
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("native image")]
ROOT = Path(__file__).parents[2]
# podman would set higher limits, which this machine may not permit.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
Podman = Callable[..., str]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a short name: podman's may have 50 characters, and pytest's are longer after a hundred runs."""
    with tempfile.TemporaryDirectory(prefix="pycni", ignore_cleanup_errors=True) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def podman(folder: Path) -> Iterator[Podman]:
    """podman with storage of its own, which has the image."""
    for name in ("root", "run", "tmp", "context"):
        (folder / name).mkdir()
    (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    storage = [
        "--root",
        f"{folder}/root",
        "--runroot",
        f"{folder}/run",
        "--tmpdir",
        f"{folder}/tmp",
        "--storage-driver",
        "vfs",
    ]
    options = ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc"]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}

    def run(*words: str) -> str:
        done = subprocess.run(
            ["podman", *storage, *options, *words], env=env, capture_output=True, text=True, timeout=120, cwd="/"
        )
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}{done.stdout}"
        return done.stdout

    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    shutil.copy2(FILE, folder / f"context/pycni-linux-{machine}")
    run("build", "-q", "-f", str(ROOT / "deploy/image/Containerfile"), "-t", "pycni", str(folder / "context"))
    yield run
    run("rm", "--all", "--force", "--time", "0")


def test_the_image_has_one_file_and_installs_it(podman: Podman, tmp_path: Path) -> None:
    """Into the folder that is mounted; the root file system is read-only."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    said = podman(
        "run", "--rm", "--network=none", "--read-only", *LIMITS, "-v", f"{bin_dir}:/host/opt/cni/bin", "pycni"
    )
    assert "installed /host/opt/cni/bin/pycni" in said.splitlines()
    assert {at.name for at in bin_dir.iterdir()} >= {"pycni", *PLUGINS}
    assert (bin_dir / "bridge").read_bytes() == FILE.read_bytes()
    mounted = Path(podman("image", "mount", "pycni").strip())
    try:
        assert [at.relative_to(mounted).as_posix() for at in mounted.rglob("*") if at.is_file()] == ["pycni"]
    finally:
        podman("image", "umount", "pycni")


def status(node: Node, folder: Path, socket: str) -> str:
    """What STATUS of a plugin in the folder says, under the limits of the container."""
    environ = environment("STATUS", str(folder), CNI_FORKSERVER=socket, CNI_DEBUG="1")
    command = ["prlimit", "--nofile=1024:1024", "--nproc=1024:1024", folder / "loopback"]
    stdin = json.dumps({**loopback(), "cniVersion": "1.1.0"})
    with node.inside():
        done = subprocess.run(command, input=stdin, env=environ, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (0, ""), done
    return done.stderr


def test_the_container_serves_the_calls_of_the_node(podman: Podman, node: Node, tmp_path: Path) -> None:
    """With the privileges that deploy/image/daemonset.yaml gives it; its end leaves no socket, and plugins serve themselves."""
    bin_dir, run_dir = tmp_path / "bin", tmp_path / "run"
    bin_dir.mkdir()
    run_dir.mkdir()
    mounts = ("-v", f"{bin_dir}:/host/opt/cni/bin", "-v", f"{run_dir}:/run")
    privileges = ("--privileged", "--pid=host", "--network=none", "--read-only", "--userns=host")
    name = podman("run", "-d", *privileges, *mounts, *LIMITS, "pycni", "--forkserver").strip()
    socket = str(run_dir / "cni-forkserver/socket")
    (shown,) = json.loads(podman("inspect", name))
    process = subprocess.Popen(["tail", f"--pid={shown['State']['Pid']}", "-f", "/dev/null"], text=True)
    try:
        assert eventually(Server(process, socket).build, LIMIT), podman("logs", name)
        said = status(node, bin_dir, socket)
        assert said.startswith(SERVED), said
        podman("stop", "--time", "10", name)
        assert not Path(socket).exists()
        assert SERVED not in status(node, bin_dir, socket)
    finally:
        process.kill()
        process.wait()
