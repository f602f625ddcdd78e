"""Debian 13's podman without root, on a pretended node: a user of its own, whose networks are of our driver.

The user is only in this process's mount namespace, as are what it needs of /etc, /dev/net/tun and control groups.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import image
from .namespace import Netns
from .netavark import CONFIGURATION, DRIVER, Netavark
from .plugin import SUBJECT
from .podman import IMAGE, Container
from .topology import Node

# Of this process alone: the end of a test ends all processes of its user.
USER, NUMBER = "cni-tester", 100_000 + os.getpid() % 10_000
# The numbers of its user namespace.
FIRST, COUNT = NUMBER << 16 & 0x7FFF0000, 1 << 16
PROGRAMS = ("podman", "crun", "pasta", "newuidmap", "mount", "unshare")
# Containers without control groups: without systemd, a user has none to make them in.
WITHOUT_ROOT = '\ncgroups = "disabled"\n'


def missing() -> str:
    """The programs that are not installed."""
    return ", ".join(name for name in PROGRAMS if not shutil.which(name))


def _mounted(source: Path, target: str) -> None:
    subprocess.run(["mount", "--bind", source, target], check=True)


@contextmanager
def user(folder: Path) -> Iterator[None]:
    """A user with numbers for a user namespace, for as long as this lasts."""
    lines = {
        "passwd": f"{USER}:x:{NUMBER}:{NUMBER}::{folder}/home:/bin/sh\n",
        "group": f"{USER}:x:{NUMBER}:\n",
        "subuid": f"{USER}:{FIRST}:{COUNT}\n",
        "subgid": f"{USER}:{FIRST}:{COUNT}\n",
    }
    mounted = []
    try:
        for name, line in lines.items():
            whole, own = Path("/etc", name), folder / name
            before = whole.read_text() if whole.exists() else ""
            own.write_text(before + line)
            whole.touch()
            _mounted(own, str(whole))
            mounted.append(str(whole))
        tun = folder / "tun"
        os.mknod(tun, 0o666 | 0o020000, os.makedev(10, 200))
        tun.chmod(0o666)
        Path("/dev/net").mkdir(exist_ok=True)
        Path("/dev/net/tun").touch()
        _mounted(tun, "/dev/net/tun")
        mounted.append("/dev/net/tun")
        # the machine's may be of the first version, which crun refuses for a user
        subprocess.run(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"], check=True)
        mounted.append("/sys/fs/cgroup")
        yield
    finally:
        for target in reversed(mounted):
            subprocess.run(["umount", "--lazy", target], check=True)


class Rootless(Netavark):
    """A user's podman. Each process of it is ended by ``close``."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self.folder, self.binaries = node, folder, SUBJECT
        self.containers: list[str] = []
        for made in ("lists", "networks", "tmp", "root", "run", "drivers", "home", "runtime"):
            (folder / made).mkdir(mode=0o700 if made == "runtime" else 0o755)
        shutil.copy2(DRIVER, folder / "drivers/cni")
        settings = CONFIGURATION.format(folder=folder).replace('"runc"', '"crun"') + WITHOUT_ROOT
        (folder / "containers.conf").write_text(settings)
        (folder / "home/.config/containers").mkdir(parents=True)
        (folder / "home/.config/containers/policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        image.write(folder / "pause.tar", IMAGE)
        subprocess.run(["chown", "-R", f"{NUMBER}:{NUMBER}", folder], check=True)
        folder.chmod(0o755)
        self("load", "-q", "-i", str(folder / "pause.tar"))

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the user."""
        own = {"HOME": f"{self.folder}/home", "XDG_RUNTIME_DIR": f"{self.folder}/runtime", "USER": USER}
        return {**super().environ, **own}

    def done(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run podman as the user."""
        identity = ("--reuid", str(NUMBER), "--regid", str(NUMBER), "--clear-groups")
        command = ["setpriv", *identity, "podman", *self.storage, *arguments]
        with self.node.inside():
            return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=120, cwd="/")

    def netns(self, container: Container) -> Netns:
        """The namespace of a container: its path is in podman's own mount namespace."""
        (told,) = json.loads(self("inspect", container.name))
        return Netns(f"/proc/{told['State']['Pid']}/ns/net")

    def inside(self, *command: str) -> str:
        """Output of a command in the namespaces of podman's networks."""
        return self("unshare", "--rootless-netns", *command)

    def close(self) -> None:
        """End all that the user runs: containers, and the process that keeps podman's namespaces."""
        super().close()
        for _ in range(100):
            running = [path for path in Path("/proc").glob("[0-9]*") if _is_of_user(path)]
            if not running:
                return
            for path in running:
                try:
                    os.kill(int(path.name), signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        raise AssertionError(f"processes of {USER} do not end: {running}")


def _is_of_user(process: Path) -> bool:
    """Whether a process belongs to the user, or to one of its namespace; not a zombie."""
    try:
        lines = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return False
    real = int(lines["Uid"].split()[0])
    return (real == NUMBER or FIRST <= real < FIRST + COUNT) and not lines["State"].startswith("Z")
