"""A fork server of our own, started and ended by a test, and calls that are handed over to it."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cni_forkserver.serving import SPARES as SPARES
from node import plugin, topology
from node.deadline import eventually
from node.plugin import LIMIT, Outcome
from node.topology import Pod

DIST = Path(plugin.DIST)
PROGRAM = DIST / "cni-forkserver"
# The plugins that call. Those with the door in C leave what the door does not serve to the files of dist/.
PYTHON_DOOR, C_DOOR = "door in Python", "door in C"
SERVED, DECLINED = "cni-forkserver: served by process ", "cni-forkserver: not used: "
Object = dict[str, Any]


class Server:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", path: str) -> None:
        self.process, self.socket = process, path

    @property
    def pid(self) -> int:
        """The process that forks."""
        return self.process.pid

    @property
    def environ(self) -> dict[str, str]:
        """Variables of a call that is to be handed over, and says so."""
        return {"CNI_FORKSERVER": self.socket, "CNI_DEBUG": "1"}

    def build(self) -> bytes:
        """The build that it tells to who connects; empty if nobody can."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(LIMIT)
            try:
                connection.connect(self.socket)
                return connection.recv(200)
            except OSError:
                return b""

    def children(self) -> set[int]:
        """Its children that live: the spare ones, and those that serve."""
        return {int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()}

    def spares(self) -> set[int]:
        """Its children that wait for a caller: they have the listening socket, and no connection besides."""
        listener = _sockets(self.pid)
        return {pid for pid in self.children() if _sockets(pid) == listener}

    def idle(self) -> set[int]:
        """Wait until it has heard of every call so far, and no child serves; the spare children.

        It looks for another build when it hears of a call. A spare child is replaced when the server has heard that it was
        taken: if it has all spare children and no others, it has heard of all calls.
        """
        assert eventually(lambda: len(self.spares()) == len(self.children()) == SPARES), self.children()
        return self.spares()

    def end(self, signal: int = 15) -> int:
        """End it; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal)
        return self.process.wait(LIMIT)


def _sockets(pid: int) -> set[str]:
    """The sockets that a process has open; none if it has ended."""
    found = set()
    with suppress(OSError):
        for at in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                found.add(os.readlink(at))
    return {target for target in found if target.startswith("socket:")}


@contextmanager
def running(folder: Path, program: Path = PROGRAM, **more: Any) -> Iterator[Server]:
    """A server with a socket in ``folder``/run, ended when the test is."""
    path = f"{folder}/run/socket"
    process = subprocess.Popen([program, "--foreground", path], text=True, **more)
    server = Server(process, path)
    try:
        assert eventually(server.build, LIMIT), process.poll()
        yield server
    finally:
        server.end()


class Node(topology.Node):
    """A pretended node whose runtime calls the plugins in one folder."""

    def __init__(self, data_dir: Path, binaries: Path) -> None:
        super().__init__(data_dir)
        self.binaries = binaries

    def cni(self, plugin: str, verb: str, conf: Object | str, **more: Any) -> Outcome:
        """One call of a plugin in the folder, if ``more`` does not name another one."""
        return super().cni(plugin, verb, conf, **{"binaries": str(self.binaries), **more})


def served_by(outcome: Outcome) -> int:
    """The process that served a call; it has to be one of a server."""
    lines = [line for line in outcome.stderr.splitlines() if line.startswith(SERVED)]
    assert lines, f"not served by a fork server: {outcome}"
    return int(lines[0].removeprefix(SERVED))


def was_cold(outcome: Outcome) -> bool:
    """Whether the plugin's own process served a call."""
    return SERVED not in outcome.stderr


def layer2(name: str = "net1") -> Object:
    """The smallest bridge network."""
    return {"cniVersion": "1.0.0", "name": name, "type": "bridge", "bridge": "br0"}


def loopback(name: str = "lo") -> Object:
    """The smallest network of all."""
    return {"cniVersion": "1.0.0", "name": name, "type": "loopback"}


def call(node: Node, verb: str, conf: Object, pod: Pod, server: Server | None = None, **environ: str) -> Outcome:
    """One verb for a pod, handed over to ``server`` or served cold."""
    env = (server.environ if server else {"CNI_FORKSERVER": "", "CNI_DEBUG": "1"}) | environ
    return node.cni(conf["type"], verb, conf, container=pod.container, netns=pod.path, env=env)
