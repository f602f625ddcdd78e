#!/usr/bin/python3
"""``make bench-podman``: what a network costs `podman run --rm`, with our driver and with netavark's own bridge.

The same podman and the same image, in turns: without a network, with netavark's bridge, with our driver as a single file
and, if dist/native is built, with the native file. A value is the time of a run less the time of the run without a
network in the same turn. Each network has a published port and names. Run it as root with podman 5, after `make dist`.
It uses its own network namespace and its own storage.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from machine import described
from sides import OURS, ROOT
from table import Row, Series, text

sys.path[1:1] = [str(ROOT / "tests")]
from node.configuration import bridge, conflist, host_local, portmap  # noqa: E402
from node.netavark import Netavark, temporary, version  # noqa: E402
from node.podman import IMAGE  # noqa: E402
from node.topology import Node  # noqa: E402

NONE, PEER, FILE, NATIVE = "none", "netavark", "ours", "ours, native"
WHAT = "podman run, the network's part"
# The highest ratio that the native file may have.
TARGET = 1.0


def prepared(podman: Netavark) -> dict[str, list[str]]:
    """The networks. Returns the options of `podman run` for each side that is installed."""
    published = ["-p", "8080:80"]
    podman("network", "create", PEER)
    sides = {NONE: ["--network", "none"], PEER: ["--network", PEER, *published]}
    # the native file knows what it is by its name
    binaries = {FILE: ("cni-file", Path(OURS)), NATIVE: ("cni", Path(OURS, "native"))}
    for number, (side, (driver, folder)) in enumerate(binaries.items()):
        if not (folder / "netavark-cni").exists():
            continue
        name = f"bench{number}"
        podman.add_driver(driver, folder / "netavark-cni")
        ipam = host_local(podman.folder / "leases", f"10.9{number}.0.0/24", routes=[{"dst": "0.0.0.0/0"}])
        below = bridge(ipam, version=None, bridge=name, isGateway=True, ipMasq=True)
        del below["name"]
        podman.add_network(conflist(below, portmap(), name=name, version="1.0.0"))
        podman.binaries = str(folder)
        podman("network", "create", "-d", driver, *podman.options(name), name)
        sides[side] = ["--network", name, *published]
    return sides


def measured(podman: Netavark, sides: dict[str, list[str]], runs: int) -> dict[str, list[float]]:
    """Milliseconds of each run, by side. The sides take turns, and each turn begins with another one."""
    found: dict[str, list[float]] = {side: [] for side in sides}
    names = list(sides)
    for turn in range(-1, runs):
        for side in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            podman("run", "--rm", *sides[side], "--entrypoint", "/bin/true", IMAGE)
            if turn >= 0:  # the first turn makes bridges and fills caches
                found[side].append((time.perf_counter() - began) * 1000)
    return found


def rows(found: dict[str, list[float]]) -> list[Row]:
    """The table: each way of ours beside netavark's."""
    parts = {
        side: Series(side, [mine - without for mine, without in zip(found[side], found[NONE], strict=True)])
        for side in found
        if side != NONE
    }
    targets = {FILE: None, NATIVE: TARGET}
    return [Row(WHAT, parts[side], parts[PEER], targets[side]) for side in targets if side in parts]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare our driver with netavark's own bridge.")
    parser.add_argument("--runs", type=int, default=21, help="how often each side runs")
    runs = parser.parse_args().runs
    if version() < (5,):
        sys.exit("bench: this needs podman 5 or later; `make bench-podman` finds one")
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pycni-bench-")))
        node = Node(data)
        stack.callback(node.close)
        folder = Path(stack.enter_context(temporary()))
        podman = stack.enter_context(Netavark(node, folder))
        found = measured(podman, prepared(podman), runs)
    whole = ", ".join(f"{side} {Series(side, values).median:.0f} ms" for side, values in found.items())
    print(text(rows(found)), f"Medians of the whole runs: {whole}", described(), sep="\n\n")


if __name__ == "__main__":
    main()
