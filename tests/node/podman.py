"""Debian 12's podman 4 on a pretended node, with CNI networks: its own storage and folders, the plugins under test."""

import itertools
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from . import image
from .namespace import Netns
from .topology import Node

IMAGE = "localhost/pause:1"
_numbers = itertools.count(1)

CONFIGURATION = """[network]
network_backend = "cni"
cni_plugin_dirs = [{folders}]
network_config_dir = "{folder}/net.d"
default_network = "podman"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
image_default_transport = "docker-archive:"
tmp_dir = "{folder}/tmp"
lock_type = "file"
[containers]
log_driver = "none"
dns_servers = ["192.0.2.2"]
"""


@cache
def knows_cni() -> bool:
    """Whether there is a podman that can have CNI networks: podman 5 and later cannot."""
    if not shutil.which("podman"):
        return False
    said = subprocess.run(["podman", "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    return int(said.split()[-1].partition(".")[0]) < 5


class Podman:
    """A podman of our own inside a node's network namespace, whose default network is one conflist.

    Plugins are looked for in ``binaries`` alone.
    """

    def __init__(self, node: Node, folder: Path, binaries: str, conflist: dict[str, Any]) -> None:
        self.node, self.folder, self.conflist = node, folder, conflist
        for made in ("net.d", "tmp", "root", "run"):
            (folder / made).mkdir()
        self.add_network(conflist | {"name": "podman"})
        folders = f'"{binaries}"'
        (folder / "containers.conf").write_text(CONFIGURATION.format(folder=folder, folders=folders))
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        image.write(folder / "pause.tar", IMAGE)
        self.containers: list[str] = []
        self("load", "-q", "-i", str(folder / "pause.tar"))

    def add_network(self, conflist: dict[str, Any]) -> None:
        """Let podman know one more network."""
        (self.folder / "net.d" / f"10-{conflist['name']}.conflist").write_text(json.dumps(conflist))

    @property
    def environ(self) -> dict[str, str]:
        """The environment of podman: its own configuration, nothing of this machine's."""
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "CONTAINERS_CONF": f"{self.folder}/containers.conf",
            "XDG_RUNTIME_DIR": str(self.folder),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }

    @property
    def storage(self) -> tuple[str, ...]:
        """The options that name its own storage."""
        return ("--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--storage-driver", "vfs")

    def done(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run podman."""
        command = ["podman", *self.storage, *arguments]
        with self.node.inside():
            return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120, cwd="/")

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Run podman: its standard output."""
        done = self.done(*arguments)
        assert not check or done.returncode == 0, (
            f"podman {' '.join(arguments)}: {done.stderr}{done.stdout} ({done.returncode})"
        )
        return done.stdout

    def run(self, *options: str) -> "Container":
        """Start a container that sleeps."""
        name = f"c{next(_numbers)}-{self.folder.name}"
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        self.containers.append(name)
        self("run", "-d", "--name", name, *limits, *options, IMAGE)
        return Container(self, name)

    def close(self) -> None:
        """Remove what a test left."""
        for name in self.containers:
            self("rm", "--force", "--ignore", "--time", "0", name, check=False)


class Container:
    """A container that runs."""

    def __init__(self, podman: Podman, name: str) -> None:
        self._podman, self.name = podman, name
        (told,) = json.loads(podman("inspect", name))
        self.id: str = told["Id"]
        settings = told["NetworkSettings"]
        self.netns = Netns(settings["SandboxKey"])
        network = next(iter(settings["Networks"].values()))
        self.addresses = [address for address in (network["IPAddress"], network["GlobalIPv6Address"]) if address]

    def remove(self) -> None:
        """``podman rm``."""
        self._podman("rm", "--force", "--time", "0", self.name)
