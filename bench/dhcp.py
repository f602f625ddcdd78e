#!/usr/bin/python3
"""``make bench-dhcp``: leases per second and memory per lease of our DHCP daemon, beside Go's.

Both daemons have the same dnsmasq, and take turns; ours also with ``probe``, which asks by ARP for an address before it is
used. A lease is acquired through the plugin's file, as a runtime does it, and by the daemon's socket alone; one after the
other, and several at once. Run it as root after `make dist`. It uses its own network namespaces.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from machine import described
from sides import GO, OURS, ROOT, NamedNetns
from table import Row, Series, text

sys.path[1:1] = [str(ROOT / "common"), str(ROOT / "plugins/dhcp")]
from node.dhcp import Daemon, Dnsmasq, Segment  # noqa: E402

Object = dict[str, Any]
AT_ONCE = 8
# Each container id has as many characters as this one: a recorded call of Go's plugin is sent with others in its place.
PATTERN = "c00000"


class Pods:
    """Namespaces with an interface on the segment, each used once for each way."""

    def __init__(self, stack: ExitStack, segment: Segment, folder: Path, count: int) -> None:
        pods = [NamedNetns("bench-pod") for _ in range(count)]
        for pod in pods:
            stack.callback(pod.close)
        segment.attach_all(pods)
        # paths of one length
        self.paths = [str(folder / f"n{number:05}") for number in range(count)]
        for pod, path in zip(pods, self.paths, strict=True):
            os.symlink(pod.path, path)
        self._numbers = iter(range(1, 100_000))

    def new(self) -> str:
        """A container id that no call had."""
        return f"c{next(self._numbers):05}"


class Side:
    """A daemon, and the ways to call it."""

    def __init__(self, name: str, daemon: Daemon, probe: bool = False) -> None:
        self.name, self.daemon, self.probe = name, daemon, probe
        self.held: list[tuple[str, str]] = []

    def configuration(self) -> Object:
        """The network."""
        ipam: Object = {"type": "dhcp", "daemonSocketPath": str(self.daemon.socket), "probe": self.probe}
        return {"cniVersion": "1.0.0", "name": "net1", "type": "dhcp", "ipam": ipam}

    def plugin(self, verb: str, container: str, netns: str) -> None:
        """A call of the plugin's file."""
        environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": "eth0"}
        environ |= {"CNI_PATH": self.daemon.binaries, "PATH": "/usr/bin:/bin"}
        subprocess.run(
            [f"{self.daemon.binaries}/dhcp"],
            input=json.dumps(self.configuration()).encode(),
            env=environ,
            stdout=subprocess.PIPE,
            check=True,
        )

    def direct(self, verb: str, container: str, netns: str) -> None:
        """The same by the daemon's socket."""
        from cni_dhcp.conversation import ask

        who: Object = {"network": "net1", "container": container, "ifname": "eth0", "netns": netns}
        if verb == "ADD":
            wish: Object = {
                "provide": [],
                "request": [1, 3],
                "ipv4": True,
                "ipv6": "",
                "probe": self.probe,
                "priority": 0,
            }
            ask(str(self.daemon.socket), "allocate", **who, **wish)
        else:
            ask(str(self.daemon.socket), "release", **who, addresses=[])

    def release(self) -> None:
        """Give all leases back."""
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda held: self.direct("DEL", *held), self.held))
        self.held.clear()


class GoSide(Side):
    """Go's daemon. Its socket gets what its plugin would send: a recorded call with other names in it."""

    def __init__(self, name: str, daemon: Daemon, netns: str) -> None:
        super().__init__(name, daemon)
        self._netns = netns
        self._recorded = {verb: self._record(verb) for verb in ("ADD", "DEL")}

    def _record(self, verb: str) -> bytes:
        """What the plugin sends. Only the configuration's socket is the recorder's, of the same length."""
        real = self.daemon.socket
        self.daemon.socket = real.with_name("x" * len(real.name))
        found = b""
        with socket.socket(socket.AF_UNIX) as listening, ThreadPoolExecutor(1) as threads:
            listening.bind(str(self.daemon.socket))
            listening.listen()
            call = threads.submit(lambda: self._failing(verb))
            with listening.accept()[0] as connection:
                head = connection.recv(1000)
                connection.sendall(b"HTTP/1.0 200 Connected to Go RPC\n\n")
                # the call is complete when its last message is: the request, the arguments
                while _values(found) < 2:
                    found += connection.recv(65536)
            call.result()
        self.daemon.socket.unlink()
        self.daemon.socket = real
        return head + found

    def _failing(self, verb: str) -> None:
        with open(os.devnull, "wb") as nothing:
            environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": PATTERN, "CNI_NETNS": self._netns, "CNI_IFNAME": "eth0"}
            subprocess.run(
                [f"{GO}/dhcp"],
                input=json.dumps(self.configuration()).encode(),
                env=environ | {"CNI_PATH": GO},
                stdout=nothing,
                stderr=nothing,
                check=False,
            )

    def direct(self, verb: str, container: str, netns: str) -> None:
        """Send the recorded call, and read until the reply is complete. Raises ``RuntimeError`` for an error."""
        call = self._recorded[verb].replace(PATTERN.encode(), container.encode())
        call = call.replace(self._netns.encode(), netns.encode())
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(self.daemon.socket))
            # Go drops what comes before it has answered the first lines
            head, end, rest = call.partition(b"\n\n")
            connection.sendall(head + end)
            connection.recv(1000)
            connection.sendall(rest)
            found = b""
            while _values(found) < 2:
                piece = connection.recv(65536)
                if not piece:
                    break
                found += piece
        if b"error" in found or b"no more tries" in found:
            raise RuntimeError(f"Go's daemon: {found!r}")


def _messages(data: bytes) -> Iterator[bytes]:
    """The complete messages of a gob stream."""
    while data:
        first = data[0]
        size = 0 if first < 128 else 256 - first
        if len(data) < 1 + size:
            return
        length = first if not size else int.from_bytes(data[1 : 1 + size], "big")
        if len(data) < 1 + size + length:
            return
        yield data[1 + size : 1 + size + length]
        data = data[1 + size + length :]


def _values(data: bytes) -> int:
    """How many values are in a gob stream; the others describe types, whose numbers are negative: odd as they are sent."""
    found = 0
    for message in _messages(data):
        number = message[0] if message[0] < 128 else int.from_bytes(message[1 : 257 - message[0]], "big")
        found += number % 2 == 0
    return found


def rate(side: Side, pods: Pods, count: int, call: Callable[[str, str, str], None], threads: int) -> float:
    """Leases a second; the leases are given back afterwards, untimed."""
    wanted = [(pods.new(), path) for path in pods.paths[:count]]
    began = time.perf_counter()
    if threads == 1:
        for held in wanted:
            call("ADD", *held)
    else:
        with ThreadPoolExecutor(threads) as several:
            list(several.map(lambda held: call("ADD", *held), wanted))
    took = time.perf_counter() - began
    side.held += wanted
    side.release()
    return count / took


def memory(side: Side, pods: Pods, first: int, last: int) -> tuple[float, float]:
    """The growth of the daemon for a lease, in kB: its resident and its proportional size. It has just been started.

    Otherwise it would have the room that earlier leases have left.
    """
    side.daemon.kill()
    side.daemon.start()

    def hold(more: Sequence[str]) -> tuple[int, int]:
        wanted = [(pods.new(), path) for path in more]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda held: side.direct("ADD", *held), wanted))
        side.held += wanted
        return side.daemon.status("VmRSS"), side.daemon.memory

    few, many = hold(pods.paths[:first]), hold(pods.paths[first:last])
    print(
        f"bench: {side.name} with {last} leases: {many[0]} kB resident, {many[1]} kB proportional, "
        f"{side.daemon.status('Threads')} threads, {side.daemon.descriptors} descriptors",
        file=sys.stderr,
    )
    side.release()
    return (many[0] - few[0]) / (last - first), (many[1] - few[1]) / (last - first)


def compared(stack: ExitStack, folder: Path, runs: int, leases: int) -> list[Row]:
    """The rows."""
    segment = stack.enter_context(Segment())
    Dnsmasq(segment, folder, address="10.7.0.1/16", range="10.7.1.0,10.7.250.0,1h")
    pods = Pods(stack, segment, folder, leases)
    ours = stack.enter_context(Daemon(segment, folder, "ours", "-timeout", "2s"))
    go = stack.enter_context(Daemon(segment, folder, "go", "-timeout", "2s"))
    sides = [Side("ours, probe", ours, probe=True), Side("ours", ours), GoSide("Go", go, pods.paths[0])]
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(runs):
        for side in sides[number % 3 :] + sides[: number % 3]:
            for what, call, threads, count in (
                ("through the plugin", side.plugin, 1, min(leases, 20)),
                ("through the plugin, 8 at once", side.plugin, AT_ONCE, min(leases, 100)),
                ("by the socket", side.direct, 1, min(leases, 20)),
                ("by the socket, 8 at once", side.direct, AT_ONCE, leases),
            ):
                found.setdefault((what, side.name), []).append(rate(side, pods, count, call, threads))
    for side in sides[1:]:
        for what, kilobytes in zip(("resident", "proportional"), memory(side, pods, 10, leases), strict=True):
            found.setdefault((what, side.name), []).append(kilobytes)
    rows = []
    for what, name in found:
        if name == "Go":
            continue
        unit = "kB a lease" if what in ("resident", "proportional") else "leases/s"
        peer = Series("Go", found[what, "Go"])
        rows.append(
            Row(f"memory, {what}" if unit[0] == "k" else what, Series(name, found[what, name]), peer, unit=unit)
        )
    return sorted(rows, key=lambda row: row.what)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure less, to see that everything works")
    quick = parser.parse_args().quick
    if not Path(OURS, "dhcp").is_file() or not Path(GO, "dhcp").is_file():
        sys.exit("bench/dhcp.py needs dist/dhcp (make dist) and Go's dhcp (containernetworking-plugins)")
    with tempfile.TemporaryDirectory(prefix="pycni-bench-") as folder, ExitStack() as stack:
        rows = compared(stack, Path(folder), *((1, 20) if quick else (5, 200)))
        print(text(rows))
    print(described())


if __name__ == "__main__":
    main()
