"""Debian's Docker under kubelet's dockershim: a daemon of its own folders, without networks and rules of its own."""

import json
import os
import shutil
import signal
import stat
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from node import image
from node.deadline import eventually
from node.plugin import PLUGINS
from node.topology import Node

from .daemon import Daemon
from .mounts import unmount_below
from .objects import IMAGE

# runc has no right to lower oom_score_adj on the machines that run the tests.
_RUNTIME = """#!/usr/bin/python3
import json, os, sys
words = sys.argv[1:]
if "create" in words and "--bundle" in words:
    path = os.path.join(words[words.index("--bundle") + 1], "config.json")
    with open(path) as file:
        config = json.load(file)
    process = config.get("process", {})
    if process.get("oomScoreAdj", 0) < 0:
        process["oomScoreAdj"] = 0
        with open(path, "w") as file:
            json.dump(config, file)
os.execvp("runc", ["runc", *words])
"""


class Docker:
    """A dockerd on a node, and the words by which kubelet uses it and the CNI plugins."""

    def __init__(self, node: Node, folder: Path, binaries: str, conflist: dict[str, Any]) -> None:
        self.node, self.folder = node, folder
        self.bin_dir, self.conf_dir, self.socket = folder / "bin", folder / "net.d", folder / "docker.sock"
        for made in (self.bin_dir, self.conf_dir):
            made.mkdir()
        for plugin in PLUGINS:
            if Path(binaries, plugin).is_file():
                shutil.copy2(f"{binaries}/{plugin}", self.bin_dir / plugin)
        (self.conf_dir / "10-net.conflist").write_text(json.dumps(conflist))
        runtime = folder / "runtime"
        runtime.write_text(_RUNTIME)
        runtime.chmod(runtime.stat().st_mode | stat.S_IXUSR)
        image.write(folder / "pause.tar", IMAGE)
        self.daemon = Daemon(
            node,
            folder / "dockerd.log",
            [
                "dockerd",
                f"--host=unix://{self.socket}",
                f"--data-root={folder / 'data'}",
                f"--exec-root={folder / 'exec'}",
                f"--pidfile={folder / 'pid'}",
                f"--config-file={self._configuration()}",
                "--storage-driver=vfs",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--exec-opt=native.cgroupdriver=cgroupfs",
                f"--add-runtime=plain={runtime}",
                "--default-runtime=plain",
            ],
        )
        assert eventually(lambda: self._docker("version").returncode == 0, 60, 0.1), self.daemon.said
        loaded = self._docker("load", "-i", str(folder / "pause.tar"))
        assert loaded.returncode == 0, loaded.stderr

    def _configuration(self) -> Path:
        path = self.folder / "daemon.json"
        path.write_text("{}")
        return path

    def _docker(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["docker", f"--host=unix://{self.socket}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    @property
    def kubelet(self) -> list[str]:
        """Kubelet's words."""
        return [
            "--container-runtime=docker",
            f"--docker-endpoint=unix://{self.socket}",
            "--network-plugin=cni",
            f"--cni-conf-dir={self.conf_dir}",
            f"--cni-bin-dir={self.bin_dir}",
            f"--cni-cache-dir={self.folder / 'cache'}",
            f"--pod-infra-container-image={IMAGE}",
        ]

    def process(self, container: str) -> int:
        """The process of a container."""
        return int(self._docker("inspect", "--format", "{{.State.Pid}}", container).stdout)

    def sandboxes(self) -> list[str]:
        """The pods' containers that hold a network namespace, running or not."""
        return self._docker("ps", "-aq", "--filter", "label=io.kubernetes.docker.type=podsandbox").stdout.split()

    def kill(self) -> None:
        """End the daemon as a crash does; containers end with it."""
        self.daemon.kill()

    def start(self) -> None:
        """Start it again. As systemd does, repeat this if it gives up: containerd of the daemon before may not have ended."""

        def answers() -> bool:
            if not self.daemon.runs:
                (self.folder / "pid").unlink(missing_ok=True)
                self.daemon.start()
            return self._docker("version").returncode == 0

        assert eventually(answers, 120, 0.1), self.daemon.said

    def power_off(self) -> None:
        """What a power cut leaves: no process, no mount, no state in memory."""
        self.kill()
        self._clear()
        shutil.rmtree(self.folder / "exec", ignore_errors=True)

    def close(self) -> None:
        """End it with all its containers."""
        for container in self._docker("ps", "-aq").stdout.split():
            self._docker("rm", "-f", container)
        self.daemon.stop()
        self._clear()

    def _processes(self) -> list[int]:
        """Shims and containers of this daemon: the former have our folder on their command line."""
        parents, shims = dict[int, int](), set[int]()
        for at in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (at / "cmdline").read_bytes()
                parents[int(at.name)] = int((at / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if str(self.folder).encode() in command:
                    shims.add(int(at.name))
        return [*shims, *(process for process, parent in parents.items() if parent in shims)]

    def _clear(self) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        eventually(lambda: not self._processes(), 10)
        unmount_below(self.folder)
