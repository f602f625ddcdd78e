"""The simulated node: its namespaces, calls of plugins on it, and packets between its pods and the network outside."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
NODE, OUTSIDE = NODE_NAMES = ("pycni-demo-node", "pycni-demo-outside")
WORLD, UPLINK = "192.0.2.2", "192.0.2.1"
# answers each connection with the client's address
SERVER = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("listening", flush=True)
while True:
    connection, peer = server.accept()
    connection.sendall(f"a pod answers {peer[0]}".encode())
    connection.close()
"""
CLIENT = """
import socket, sys
print(socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).recv(100).decode())
"""
# reads until the other side has sent everything
SINK = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("listening", flush=True)
connection, peer = server.accept()
while connection.recv(1 << 20):
    pass
connection.sendall(b"all of it")
"""
SOURCE = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
connection.sendall(bytes(int(sys.argv[3])))
connection.shutdown(socket.SHUT_WR)
connection.recv(100)
"""
Object = dict[str, Any]


def run(*command: str, stdin: str | None = None, env: dict[str, str] | None = None, check: bool = True) -> str:
    """Run a command and return its standard output."""
    done = subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"demo: {' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def inside(namespace: str) -> tuple[str, str]:
    """The beginning of a command that runs in a namespace."""
    return "nsenter", f"--net=/run/netns/{namespace}"


def node(*command: str, **more: Any) -> str:
    """Run a command on the simulated node."""
    return run(*inside(NODE), *command, **more)


def step(text: str) -> None:
    """Print the next step."""
    print(f"\n== {text}", flush=True)


def build_node(pods: Iterable[str]) -> None:
    """Make the node, the network outside, and pods without interfaces."""
    for name in (NODE, OUTSIDE, *pods):
        run("ip", "netns", "add", name)
    node("ip", "link", "set", "lo", "up")
    node("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", OUTSIDE)
    node("ip", "addr", "add", f"{UPLINK}/24", "dev", "uplink")
    node("ip", "link", "set", "uplink", "up")
    run("ip", "-n", OUTSIDE, "addr", "add", f"{WORLD}/24", "dev", "uplink")
    run("ip", "-n", OUTSIDE, "link", "set", "uplink", "up")


def clean(names: Iterable[str]) -> None:
    """Remove the namespaces, also those of an interrupted demo."""
    for name in names:
        if os.path.exists(f"/run/netns/{name}"):
            run("ip", "netns", "delete", name)


def install(folder: Path) -> None:
    """Run make install for a temporary folder."""
    step("install the plugins and a configuration (as make install does, under a temporary folder)")
    print(run("make", "--no-print-directory", "-C", str(ROOT), "install", f"DESTDIR={folder}").strip())


class Network:
    """A network of the node: its list of plugins, and the results of the pods that are attached to it."""

    def __init__(self, folder: Path, conflist: Object) -> None:
        self.binaries, self.data, self.conflist = str(folder / "opt/cni/bin"), folder / "var/lib/cni", conflist
        conflist["plugins"][0]["ipam"]["dataDir"] = str(self.data)
        self.results: dict[str, Object] = {}

    def call(self, verb: str, pod: str, **capabilities: Any) -> None:
        """Call one verb of every plugin of the list, as a runtime does. DEL starts with the last plugin."""
        result = self.results.get(pod)
        for plugin in self.conflist["plugins"][:: -1 if verb == "DEL" else 1]:
            conf = {**plugin, "name": self.conflist["name"], "cniVersion": self.conflist["cniVersion"]}
            wanted = {name: value for name, value in capabilities.items() if name in plugin.get("capabilities", {})}
            if wanted:
                conf["runtimeConfig"] = wanted
            if result is not None:
                conf["prevResult"] = result
            output = node(f"{self.binaries}/{plugin['type']}", stdin=json.dumps(conf), env=self._environ(verb, pod))
            if verb == "ADD":
                result = json.loads(output)
        if verb == "ADD" and result is not None:
            self.results[pod] = result

    def _environ(self, verb: str, pod: str) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": self.binaries,
        }

    def address(self, pod: str) -> str:
        """A pod's first address."""
        return str(self.results[pod]["ips"][0]["address"]).split("/")[0]

    def leases(self) -> list[str]:
        """The addresses in use."""
        files = (self.data / self.conflist["name"]).glob("*")
        return sorted(file.name for file in files if file.name[0].isdigit())


@contextmanager
def serving(namespace: str, program: str, port: int) -> Iterator[None]:
    """A Python program that listens on a port in a namespace."""
    command = [*inside(namespace), "/usr/bin/python3", "-c", program, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "listening\n"  # noqa: S101
            yield
        finally:
            process.kill()


def answer(namespace: str, address: str, port: int, seconds: float = 5) -> str:
    """Connect to a server, and return what it says; empty if no connection is made in time."""
    command = [*inside(namespace), "/usr/bin/python3", "-c", CLIENT, address, str(port), str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def asks(namespace: str, address: str, port: int) -> str:
    """Connect to a published port, and return a line with the answer."""
    said = answer(namespace, address, port)
    if not said:
        sys.exit(f"demo: {address}:{port} does not answer in {namespace}")
    return f"{namespace} asks {address}:{port}: {said}"


def rate(namespace: str, address: str, port: int, size: int) -> float:
    """Send so many bytes to a ``SINK`` in another namespace, and return the rate in Mbit/s."""
    began = time.monotonic()
    run(*inside(namespace), "/usr/bin/python3", "-c", SOURCE, address, str(port), str(size))
    return size * 8 / (time.monotonic() - began) / 1e6


def pings(pod: str, address: str) -> str:
    """Ping an address from a pod, and return a line about it."""
    family = "-6" if ":" in address else "-4"
    done = subprocess.run(
        [*inside(pod), "ping", family, "-c", "1", "-W", "3", address], capture_output=True, check=False
    )
    if done.returncode:
        sys.exit(f"demo: {pod} does not reach {address}")
    return f"{pod} reaches {address}"


def table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def links() -> list[str]:
    """The links of the node."""
    return sorted(link["ifname"] for link in json.loads(node("ip", "-j", "link")))
