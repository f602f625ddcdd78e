"""The sides that are compared. Each has its own simulated node, and attaches and detaches pods as its runtime does.

A call is a process, timed from start to end. Its input is already written. The plugins of a list are processes, one
after the other. As with libcni, each one gets the result of the one before.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "tools/forkserver", "common", "build")]

from node.topology import NamedNetns as NamedNetns  # noqa: E402

NATIVE_FILES = str(ROOT / "dist/native")
OURS, GO, NETAVARK = str(ROOT / "dist"), "/usr/lib/cni", "/usr/lib/podman/netavark"
SERVER = f"{OURS}/cni-forkserver"
Object = dict[str, Any]
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class CallFailed(Exception):
    """A call failed. The text names the call, and has its output."""


@contextmanager
def inside(path: str) -> Iterator[None]:
    """Run the block in another network namespace."""
    home, target = (os.open(name, os.O_RDONLY | os.O_CLOEXEC) for name in ("/proc/thread-self/ns/net", path))
    try:
        if _libc.setns(target, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns: run as root")
        yield
    finally:
        _libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        os.close(target)


def run(command: list[str], document: Object, environ: dict[str, str]) -> tuple[float, Object]:
    """Run a program. Return its seconds, from before its start until after its end, and the object that it printed."""
    stdin, stdout = os.memfd_create("stdin"), os.memfd_create("stdout")
    try:
        os.write(stdin, json.dumps(document).encode())
        os.lseek(stdin, 0, os.SEEK_SET)
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
        began = time.perf_counter()
        _, status = os.waitpid(os.posix_spawn(command[0], command, environ, file_actions=actions), 0)
        took = time.perf_counter() - began
        printed = os.pread(stdout, 1 << 20, 0).decode()
    finally:
        os.close(stdin)
        os.close(stdout)
    if status:
        raise CallFailed(f"{' '.join(command)} {environ.get('CNI_COMMAND', '')}: {printed}")
    return took, json.loads(printed) if printed.strip() else {}


class Side:
    """A side: its name and its node. ``attach`` and ``detach`` return seconds."""

    # The node gets at most this many resident pods.
    most = 1000

    def __init__(self, name: str, role: str) -> None:
        self.name = name
        self.node = NamedNetns(role)
        self.node.ip("link set lo up", "addr add 192.0.2.1/24 dev lo")

    def attach(self, number: int, netns: str, ifname: str = "eth0") -> float:
        """Attach pod ``number``. Each pod has its own host port."""
        raise NotImplementedError

    def detach(self, number: int, netns: str, ifname: str = "eth0") -> float:
        """Detach it. Its namespace still exists."""
        raise NotImplementedError

    def make_room(self, home: NamedNetns) -> None:
        """Prepare a namespace with several pods for another one."""

    def close(self) -> None:
        """Remove the node and everything on it."""
        self.node.close()


class Plugins(Side):
    """CNI plugins: bridge (isGateway, ipMasq, host-local) and portmap (one port)."""

    def __init__(self, name: str, store: Path, binaries: str, chained: bool = False, socket: str = "") -> None:
        """``chained``: run both as members of one ``chain``. ``socket``: use this fork server."""
        super().__init__(name, f"bench-{'chain' if chained else 'list'}-{'warm' if socket else Path(binaries).name}")
        self.binaries, self.chained, self.socket = binaries, chained, socket
        ipam = {"type": "host-local", "dataDir": str(store / self.node.name), "ranges": [[{"subnet": "10.99.0.0/16"}]]}
        self.members: list[Object] = [
            {"type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ]
        self._results: dict[int, Object] = {}

    def append(self, members: Iterable[Object]) -> None:
        """Run these after the others."""
        self.members += members

    @property
    def installed(self) -> bool:
        """Whether every member is."""
        return all(Path(self.binaries, member["type"]).is_file() for member in self.members)

    def _call(
        self, verb: str, number: int, netns: str, ifname: str, entry: Object, result: Object
    ) -> tuple[float, Object]:
        environ = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": f"pod{number}",
            "CNI_NETNS": netns,
            "CNI_IFNAME": ifname,
            "CNI_PATH": self.binaries,
            "CNI_FORKSERVER": self.socket,
        }
        document = {"cniVersion": "1.0.0", "name": "bench", **entry}
        if result:
            document["prevResult"] = result
        if entry["type"] in ("portmap", "chain") and "runtimeConfig" not in document:
            port = {"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}
            document["runtimeConfig"] = {"portMappings": [port]}
        return run([f"{self.binaries}/{entry['type']}"], document, environ)

    @property
    def _entries(self) -> list[Object]:
        if not self.chained:
            return self.members
        return [{"type": "chain", "capabilities": {"portMappings": True}, "plugins": self.members}]

    def attach(self, number: int, netns: str, ifname: str = "eth0") -> float:
        """Run ADD of each plugin."""
        total, result = 0.0, Object()
        with inside(self.node.path):
            for entry in self._entries:
                took, result = self._call("ADD", number, netns, ifname, entry, result)
                total += took
        self._results[number] = result
        return total

    def detach(self, number: int, netns: str, ifname: str = "eth0") -> float:
        """Run DEL of each plugin in reverse order, each with the final result of ADD."""
        total, result = 0.0, self._results.pop(number)
        with inside(self.node.path):
            for entry in reversed(self._entries):
                total += self._call("DEL", number, netns, ifname, entry, result)[0]
        return total

    def ports(self, verb: str, netns: str, mappings: list[Object]) -> float:
        """Run portmap alone, for a pod with an address of its own."""
        result = {"cniVersion": "1.0.0", "ips": [{"address": "10.99.255.9/16"}]}
        document = {**self.members[1], "runtimeConfig": {"portMappings": mappings}}
        with inside(self.node.path):
            return self._call(verb, 0, netns, "eth0", document, result)[0]

    def ask(self, verb: str, members: Iterable[Object]) -> float:
        """Run a verb that needs no pod, STATUS or VERSION, of each plugin."""
        environ = {"CNI_COMMAND": verb, "CNI_PATH": self.binaries, "CNI_FORKSERVER": self.socket}
        total = 0.0
        with inside(self.node.path):
            for entry in members:
                document = {"cniVersion": "1.1.0", "name": "bench", **entry}
                total += run([f"{self.binaries}/{entry['type']}"], document, environ)[0]
        return total

    def ipam(self, verb: str, number: int) -> float:
        """Run host-local alone."""
        return self._call(verb, number, "/nowhere", "eth0", {**self.members[0], "type": "host-local"}, {})[0]


class Netavark(Side):
    """podman's network program: a bridge network with one port. As with podman, the caller chooses the address."""

    # Each setup lists and compares all rules, so more pods would take longer than all other measurements.
    most = 250

    def __init__(self, store: Path) -> None:
        super().__init__("netavark", "bench-netavark")
        self.folder = store / "netavark"
        self.folder.mkdir()

    def _call(self, verb: str, number: int, netns: str, ifname: str) -> float:
        subnet = {"gateway": "10.98.0.1", "subnet": "10.98.0.0/16"}
        network = {
            "name": "bench",
            "id": "1" * 64,
            "driver": "bridge",
            "network_interface": "br0",
            "subnets": [subnet],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        address = f"10.98.{(number + 2) >> 8}.{(number + 2) & 255}"
        document = {
            "container_id": f"{number:064x}",
            "container_name": f"pod{number}",
            "networks": {"bench": {"static_ips": [address], "interface_name": ifname}},
            "network_info": {"bench": network},
            "port_mappings": [
                {"host_ip": "", "container_port": 80, "host_port": 20000 + number, "range": 1, "protocol": "tcp"}
            ],
        }
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        with inside(self.node.path):
            return run([NETAVARK, "--config", str(self.folder), verb, netns], document, environ)[0]

    def attach(self, number: int, netns: str, ifname: str = "eth0") -> float:
        """``netavark setup``."""
        return self._call("setup", number, netns, ifname)

    def detach(self, number: int, netns: str, ifname: str = "eth0") -> float:
        """``netavark teardown``."""
        return self._call("teardown", number, netns, ifname)

    def make_room(self, home: NamedNetns) -> None:
        """Remove the default route: each setup makes it, and fails if it exists."""
        home.ip("route del default")
