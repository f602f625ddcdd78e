"""Debian 13's podman on a pretended node, with networks of our driver: its own storage, folders and names."""

import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from . import image
from .plugin import SUBJECT
from .podman import IMAGE, Container, Podman
from .topology import Node

DRIVER = Path(SUBJECT) / "netavark-cni"
CONFIGURATION = """[network]
network_backend = "netavark"
netavark_plugin_dirs = ["{folder}/drivers"]
network_config_dir = "{folder}/networks"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
image_default_transport = "docker-archive:"
tmp_dir = "{folder}/tmp"
lock_type = "file"
infra_image = "localhost/pause:1"
infra_command = "/bin/sleep 3600"
[containers]
log_driver = "none"
"""


@cache
def version() -> tuple[int, ...]:
    """The version of the installed podman; empty if there is none."""
    if not shutil.which("podman"):
        return ()
    said = subprocess.run(["podman", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    return tuple(int(part) for part in said.partition("-")[0].split("."))


class Netavark(Podman):
    """A podman 5 whose only driver is ours. The lists are in ``lists``, the plugins in ``binaries``."""

    def __init__(self, node: Node, folder: Path, binaries: str = SUBJECT) -> None:
        self.node, self.folder, self.binaries = node, folder, binaries
        self.containers: list[str] = []
        for made in ("lists", "networks", "tmp", "root", "run", "drivers"):
            (folder / made).mkdir()
        # a file of its own name: netavark takes the name of the file for that of the driver
        shutil.copy2(DRIVER, folder / "drivers/cni")
        (folder / "containers.conf").write_text(CONFIGURATION.format(folder=folder))
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        image.write(folder / "pause.tar", IMAGE)
        self("load", "-q", "-i", str(folder / "pause.tar"))

    def add_network(self, conflist: dict[str, Any]) -> None:
        """Write a list."""
        (self.folder / "lists" / f"10-{conflist['name']}.conflist").write_text(json.dumps(conflist))

    def create(self, name: str, *options: str, conflist: str = "") -> None:
        """``podman network create`` for a list, by default for that of the same name."""
        self("network", "create", "-d", "cni", *self.options(conflist or name), *options, name)

    def options(self, conflist: str) -> list[str]:
        """The options of our driver for this test."""
        given = {"conflist": conflist, "conf_dir": f"{self.folder}/lists", "plugin_dir": self.binaries}
        return [word for name, value in given.items() for word in ("-o", f"{name}={value}")]

    def refused(self, *arguments: str) -> str:
        """What podman says about a command that has to fail."""
        done = self.done(*arguments)
        assert done.returncode, f"podman {' '.join(arguments)} succeeded"
        return done.stderr

    def driver(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run the driver as netavark does."""
        with self.node.inside():
            return subprocess.run(
                [self.folder / "drivers/cni", *arguments], input=stdin, env=self.environ, capture_output=True, text=True
            )

    def __enter__(self) -> "Netavark":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def temporary(node: Node) -> "tempfile.TemporaryDirectory[str]":
    """A folder for one."""
    return tempfile.TemporaryDirectory(prefix="podman-")


__all__ = ["Container", "Netavark", "version"]
