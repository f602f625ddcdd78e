"""Debian 13's podman on a pretended node, with networks of our driver: its own storage, folders and names."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from . import image
from .configuration import Object, bridge, conflist, host_local, portmap
from .deadline import eventually
from .plugin import SUBJECT
from .podman import IMAGE, Container, Podman
from .topology import Node

DRIVER = Path(SUBJECT) / "netavark-cni"
CACHE = Path("/var/lib/cni/podman/results")
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
        self.add_driver("cni", DRIVER)
        (folder / "containers.conf").write_text(CONFIGURATION.format(folder=folder))
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        image.write(folder / "pause.tar", IMAGE)
        self("load", "-q", "-i", str(folder / "pause.tar"))

    def add_driver(self, name: str, program: Path) -> None:
        """Install a driver. netavark takes the name of the file for that of the driver."""
        shutil.copy2(program, self.folder / "drivers" / name)

    def add_network(self, conflist: Object) -> None:
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


@contextmanager
def temporary() -> Iterator[str]:
    """A folder for one. podman's clean-up processes may still write there when the last container is gone."""
    folder = tempfile.mkdtemp(prefix="podman-")
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    assert eventually(lambda: _removed(folder)), folder


def _removed(folder: str) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not os.path.exists(folder)


@contextmanager
def with_web(node: Node) -> Iterator[Netavark]:
    """A podman with the network ``web``."""
    with temporary() as folder, Netavark(node, Path(folder)) as made:
        made.add_network(web(node))
        made.create("web")
        yield made


def web(node: Node, name: str = "web", number: int = 88, **keys: Any) -> Object:
    """A list of bridge, portmap, firewall and tuning."""
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = host_local(node.data_dir, f"10.{number}.0.0/24", f"2001:db8:{number}::/64", routes=routes)
    below = bridge(ipam, version=None, bridge=f"cni-{name}0", isGateway=True, ipMasq=True, hairpinMode=True, **keys)
    del below["name"]
    return conflist(below, portmap(), {"type": "firewall"}, {"type": "tuning"}, name=name, version="1.1.0")


def cached() -> list[str]:
    """The attachments that the driver remembers."""
    return sorted(os.listdir(CACHE)) if CACHE.is_dir() else []


__all__ = ["Container", "Netavark", "version"]
