"""Debian's containerd on a pretended node: its own folders, its own configuration, the plugins under test."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from . import image
from .cri import RuntimeService
from .deadline import eventually
from .plugin import FORKSERVER, PLUGINS
from .topology import Node

IMAGE = "localhost/pause:1"
NAMESPACES = ("k8s.io", "default")

CONFIGURATION = """version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{folder}/bin"
    conf_dir = "{folder}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{folder}/runc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
"""


@cache
def _natively() -> tuple[str, ...]:
    """Options of `ctr images import`. That of containerd 2 unpacks in the daemon, which takes its own snapshotter."""
    known = subprocess.run(["ctr", "images", "import", "--help"], capture_output=True, text=True, timeout=60).stdout
    return ("--snapshotter", "native", *(["--local"] if "--local" in known else []))


class Containerd:
    """A containerd of our own inside a node's network namespace, with one CNI network."""

    def __init__(
        self, node: Node, folder: Path, binaries: str, conflist: dict[str, Any], forkserver: str = FORKSERVER
    ) -> None:
        self.node, self.folder = node, folder
        self.environ = {**os.environ, "CNI_FORKSERVER": forkserver}
        self.bin_dir, self.conf_dir, self.socket = folder / "bin", folder / "net.d", folder / "containerd.sock"
        for made in (self.bin_dir, self.conf_dir, folder / "logs"):
            made.mkdir()
        for plugin in PLUGINS:
            if Path(binaries, plugin).is_file():
                shutil.copy2(f"{binaries}/{plugin}", self.bin_dir / plugin)
        (self.conf_dir / "10-net.conflist").write_text(json.dumps(conflist))
        (folder / "config.toml").write_text(CONFIGURATION.format(folder=folder, image=IMAGE))
        image.write(folder / "pause.tar", IMAGE)
        self._log = (folder / "log").open("wb")
        self.start()
        self.cgroup = f"/{folder.name}"
        self.cri = RuntimeService(self.socket, folder / "logs", self.cgroup)
        try:
            assert eventually(self._serves, 30, 0.1), f"containerd does not answer: {self.log()}"
            for namespace in NAMESPACES:
                self.ctr("-n", namespace, "images", "import", *_natively(), str(folder / "pause.tar"))
            assert eventually(self.cri.network_ready, 30, 0.1), f"the network is not ready: {self.log()}"
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the daemon, also after it was killed."""
        with self.node.inside():
            self._process = subprocess.Popen(
                ["containerd", "--config", str(self.folder / "config.toml")],
                stdout=self._log,
                stderr=self._log,
                env=self.environ,
            )

    def kill(self) -> None:
        """End the daemon as a crash does; its containers go on."""
        self._process.kill()
        self._process.wait()

    def _serves(self) -> bool:
        return self._process.poll() is None and self.socket.exists() and self._ctr("version").returncode == 0

    def log(self) -> str:
        """The end of what containerd said."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def _ctr(self, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        with self.node.inside():
            return subprocess.run(
                [*prefix, "ctr", "-a", str(self.socket), *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                env=self.environ,
            )

    def ctr(self, *arguments: str, prefix: tuple[str, ...] = ()) -> str:
        """Run containerd's own client in the node's namespace; ``prefix`` is a command that runs it. Its output."""
        done = self._ctr(*arguments, prefix=prefix)
        assert done.returncode == 0, f"ctr {' '.join(arguments)}: {done.stderr}{done.stdout}\n{self.log()}"
        return done.stdout

    def run(self, name: str, script: str, prefix: tuple[str, ...]) -> str:
        """``ctr run --cni``: a container runs a shell script to its end; what it said."""
        where = ("--runc-root", str(self.folder / "runc"), "--cgroup", f"{self.cgroup}/{name}")
        options = ("--cni", "--rm", "--snapshotter", "native", "--fifo-dir", str(self.folder / "fifo"), *where)
        return self.ctr("run", *options, IMAGE, name, "/bin/sh", "-c", script, prefix=prefix)

    def close(self) -> None:
        """End containerd and all that it started: containers that a test left, shims known by our socket, mounts."""
        self.cri.close()
        for namespace in NAMESPACES:
            for task in self._ctr("-n", namespace, "tasks", "list", "-q").stdout.split():
                self._ctr("-n", namespace, "tasks", "delete", "--force", task)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        self.clear()

    def clear(self) -> None:
        """End what the daemon started, and take away its mounts and groups."""
        for process in self._leftovers():
            with suppress(ProcessLookupError):  # it was about to end
                os.kill(process, signal.SIGKILL)
        eventually(lambda: not self._leftovers(), 5)
        for _ in range(3):
            for mount in sorted(self._mounts(), reverse=True):
                subprocess.run(["umount", "-l", mount], stderr=subprocess.DEVNULL, timeout=30)
            if not self._mounts():
                break
            time.sleep(0.1)
        # unlike Path.glob it does not mind that other people's groups go while it looks
        groups = [at for at, _, _ in os.walk("/sys/fs/cgroup") if f"{self.cgroup}/" in f"{at}/"]
        for group in sorted(groups, reverse=True):
            with suppress(OSError):
                os.rmdir(group)

    def _leftovers(self) -> list[int]:
        """Shims that serve our socket, and the processes of their containers."""
        parents: dict[int, int] = {}
        shims: set[int] = set()
        for at in Path("/proc").glob("[0-9]*"):
            try:
                command = (at / "cmdline").read_bytes()
                parents[int(at.name)] = int((at / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if b"containerd-shim" in command and str(self.folder).encode() in command:
                shims.add(int(at.name))
        return [*shims, *(process for process, parent in parents.items() if parent in shims)]

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [at for at in (line.split()[4] for line in lines) if at.startswith(f"{self.folder}/")]
