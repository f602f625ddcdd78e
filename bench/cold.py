#!/usr/bin/python3
"""Cold calls of our plugins beside Debian's Go ones: medians of interleaved runs, and their ratio.

Run as root after `make dist`: ``bench/cold.py [RUNS]``. Both sides work in a pretended node of their own; every run
attaches a fresh pod and removes it again.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

OURS = str(Path(__file__).resolve().parent.parent / "dist")
GO = "/usr/lib/cni"
NODES = {OURS: "pycni-bench-ours", GO: "pycni-bench-go"}
POD = "pycni-bench-pod"
Object = dict[str, Any]


def ip(*arguments: str) -> None:
    """An ``ip`` command that must succeed."""
    subprocess.run(["ip", *arguments], check=True)


def timed(folder: str, plugin: str, verb: str, conf: Object, ifname: str = "eth0") -> float:
    """Milliseconds of one call as a whole process, on that side's node."""
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "bench",
        "CNI_NETNS": f"/run/netns/{POD}",
        "CNI_IFNAME": ifname,
        "CNI_PATH": folder,
    }
    stdin = json.dumps(conf).encode()
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{NODES[folder]}", os.O_RDONLY)
    setns(there)
    try:
        began = time.perf_counter()
        done = subprocess.run([f"{folder}/{plugin}"], input=stdin, env=env, capture_output=True, check=False)
        took = time.perf_counter() - began
    finally:
        setns(home)
        os.close(home)
        os.close(there)
    if done.returncode:
        sys.exit(f"{folder}/{plugin} {verb}: {done.stdout.decode()}{done.stderr.decode()}")
    return took * 1000


def setns(fd: int) -> None:
    """Enter a network namespace."""
    import ctypes

    if ctypes.CDLL(None).setns(fd, 0x40000000):
        sys.exit("cannot enter a network namespace: run as root")


def configurations(folder: str, store: str) -> dict[str, Object]:
    """The networks that are measured; the store of leases is the side's own."""
    ipam = {"type": "host-local", "dataDir": f"{store}/{Path(folder).name}", "ranges": [[{"subnet": "10.99.0.0/16"}]]}
    base = {"cniVersion": "1.0.0", "name": "bench", "ipam": ipam}
    plain = {**base, "type": "bridge", "bridge": "br0", "isGateway": True}
    return {"host-local": {**base, "type": "bridge"}, "bridge": plain, "bridge, ipMasq": {**plain, "ipMasq": True}}


def measure(runs: int, store: str) -> dict[str, dict[str, list[float]]]:
    """Milliseconds by what was called, then by side; the two sides take turns."""
    found: dict[str, dict[str, list[float]]] = {}

    def note(what: str, folder: str, took: float) -> None:
        found.setdefault(what, {}).setdefault(folder, []).append(took)

    for number in range(runs + 1):
        for folder in (OURS, GO) if number % 2 else (GO, OURS):
            confs = configurations(folder, store)
            note("VERSION", folder, timed(folder, "bridge", "VERSION", {"cniVersion": "1.0.0"}))
            for name, conf in confs.items():
                plugin = "host-local" if name == "host-local" else "bridge"
                ip("netns", "add", POD)
                note(f"{name} ADD", folder, timed(folder, plugin, "ADD", conf))
                note(f"{name} DEL", folder, timed(folder, plugin, "DEL", conf))
                ip("netns", "delete", POD)
        if not number:
            found.clear()  # the first round warms the caches and makes the bridges
    return found


def main() -> None:
    """Print one table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    for node in NODES.values():
        ip("netns", "add", node)
    try:
        with tempfile.TemporaryDirectory() as store:
            found = measure(runs, store)
    finally:
        for node in NODES.values():
            ip("netns", "delete", node)
    print(f"{'call':22}{'ours, ms':>10}{'Go, ms':>10}{'ratio':>8}   medians of {runs}")
    for what, sides in found.items():
        ours, go = statistics.median(sides[OURS]), statistics.median(sides[GO])
        print(f"{what:22}{ours:10.1f}{go:10.1f}{ours / go:8.2f}")
    for name in ("bridge", "host-local", "loopback"):
        print(f"{name}: {os.path.getsize(f'{OURS}/{name}')} bytes, Go's {os.path.getsize(f'{GO}/{name}')}")


if __name__ == "__main__":
    main()
