#!/usr/bin/python3
"""``make bench``: compare our plugins, cold, warm and as a chain, with Debian's Go plugins and netavark.

It prints a table. --quick measures less, to see that everything works. --part measures one part, such as chains or
status. --readme writes the table into README.md and the plot into docs/bench.svg. Run it as root after `make dist`. It
uses its own network namespaces.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import measure
import plot
import table
from machine import described
from measure import (
    AFTERWARDS,
    AVARK,
    CHAIN,
    CHAIN_WARM,
    COLD,
    EVERYDAY,
    NATIVE,
    NATIVE_CHAIN,
    NATIVE_WARM,
    PEER,
    SHAPER,
    WARM,
    Crowd,
    Pods,
    Times,
)
from sides import GO, NATIVE_FILES, NETAVARK, OURS, ROOT, SERVER, Netavark, Object, Plugins, Side
from table import Row, Series

START, END = "<!-- bench: made by `make bench-readme` -->", "<!-- end of bench -->"


class Scale(NamedTuple):
    """How much is measured."""

    runs: int
    residents: int
    crowds: tuple[int, ...]
    crowd_runs: int
    leases: int
    at_once: int
    at_once_runs: int
    calls: tuple[int, int]
    flows: int
    flow_runs: int


FULL = Scale(41, 10, (0, 100, 250, 500, 1000), 15, 30_000, 50, 5, (100, 10_000), 100_000, 7)
QUICK = Scale(5, 2, (0, 20), 3, 1_000, 10, 1, (20, 100), 5_000, 2)


class Bench:
    """One run: its sides, and its rows and points."""

    def __init__(self, stack: ExitStack, scale: Scale, folder: Path) -> None:
        self.stack, self.scale, self.store = stack, scale, folder
        self.socket, self.server = self._server()
        self.rows: list[Row] = []
        self.points: dict[str, list[tuple[float, float]]] = {}

    def part(self, measured: "Callable[[Bench], None]") -> None:
        """Measure one part, with its own nodes."""
        with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="pycni-bench-") as store:
            self.stack, self.store, self.pods = stack, Path(store), Pods(stack)
            known = len(self.rows)
            measured(self)
            self.step(f"so far\n{table.text(self.rows[known:])}\n")

    def _server(self) -> tuple[str, int]:
        """Start a fork server. Return its socket and pid, or nothing if it is not built."""
        if not Path(SERVER).is_file():
            return "", 0
        from forkserver.server import running

        server = self.stack.enter_context(running(self.store))
        return server.socket, server.pid

    def sides(self, *names: str) -> list[Side]:
        """New sides with these names. Sides whose programs are missing are left out."""
        found: list[Side] = []
        for name in names:
            if name == AVARK:
                made: Side | None = Netavark(self.store) if Path(NETAVARK).is_file() else None
            else:
                made = self._plugins(name)
            if made is not None:
                self.stack.callback(made.close)
                found.append(made)
        return found

    def _plugins(self, name: str) -> Plugins | None:
        native = name in (NATIVE, NATIVE_WARM, NATIVE_CHAIN)
        binaries = GO if name == PEER else NATIVE_FILES if native else OURS
        chained, warm = name in (CHAIN, CHAIN_WARM, NATIVE_CHAIN), name in (WARM, CHAIN_WARM, NATIVE_WARM, NATIVE_CHAIN)
        needed = ["bridge", "host-local", "portmap", *(["chain"] if chained else [])]
        if (warm and not self.socket) or not all(Path(binaries, plugin).is_file() for plugin in needed):
            return None
        return Plugins(name, self.store, binaries, chained, self.socket if warm else "")

    def step(self, what: str) -> None:
        """Print the progress."""
        print(f"bench: {what}", file=sys.stderr, flush=True)

    def chains(self) -> None:
        """Measure a pod among a few others, on each side."""
        self.step(f"a pod among {self.scale.residents}, {self.scale.runs} times on each side")
        found: Times = {}
        sides = self.sides(COLD, WARM, CHAIN, CHAIN_WARM, NATIVE, NATIVE_WARM, NATIVE_CHAIN, PEER, AVARK)
        for side in sides:
            self.pods.fill(side, range(self.scale.residents))
        measure.attach_and_detach(sides, 1, {})
        measure.attach_and_detach(sides, self.scale.runs, found)
        self.rows += measure.chains(found)

    def leases(self) -> None:
        """Measure host-local alone."""
        for side in self.sides(COLD, WARM):
            self.step(f"host-local with {self.scale.leases} leases, {side.name}")
            assert isinstance(side, Plugins)  # noqa: S101
            store = self.store / f"host-local-{side.node.name}"
            self.rows.append(measure.leases(side, store, self.scale.leases, self.scale.runs))

    def crowd(self) -> None:
        """Measure ADD among many pods, also for the plot."""
        crowd = Crowd(self.sides(COLD, WARM, NATIVE_WARM, PEER, AVARK), self.pods, self.scale.crowd_runs)
        for residents in self.scale.crowds:
            self.step(f"a pod among {residents}, {self.scale.crowd_runs} times on each side")
            crowd.measure(residents)
        self.rows += crowd.rows(self.sides(COLD, WARM, NATIVE_WARM, PEER), {COLD: 1.2, WARM: 1.2, NATIVE_WARM: 1.15})
        self.points = crowd.points

    def everyday(self) -> None:
        """Measure the list of podman and nerdctl, then bandwidth at its end, on each side."""
        for what, members in (("list of five, {}", AFTERWARDS), ("with bandwidth, {}", [*AFTERWARDS, SHAPER])):
            found: Times = {}
            sides = self._with(members, COLD, WARM, CHAIN_WARM, PEER)
            self.step(f"{what.format('ADD and DEL')}, {self.scale.runs} times on each side")
            for side in sides:
                self.pods.fill(side, range(self.scale.residents))
            measure.attach_and_detach(sides, 1, {})
            measure.attach_and_detach(sides, self.scale.runs, found)
            self.rows += measure.chains(found, EVERYDAY, what)
            self.pods = Pods(self.stack)

    def everyday_crowd(self) -> None:
        """Measure the same list among many pods."""
        most = self.scale.crowds[-1]
        self.step(f"list of five among {most}, {self.scale.crowd_runs} times on each side")
        crowd = Crowd(self._with(AFTERWARDS, COLD, WARM), self.pods, self.scale.crowd_runs)
        crowd.measure(most)
        self.rows += crowd.rows(self._with(AFTERWARDS, COLD, WARM), {COLD: 1.2, WARM: 1.2}, "list of five, ADD")

    def _with(self, members: list[Object], *names: str) -> list[Side]:
        """Sides that run these members too. Sides that do not have them are left out."""
        sides = [side for side in self.sides(*names) if isinstance(side, Plugins)]
        for side in sides:
            side.append(members)
        return [side for side in sides if side.installed]

    def throughput(self) -> None:
        """Measure many pods at once."""
        count = self.scale.at_once
        self.step(f"{count} pods at once, {self.scale.at_once_runs} times on each side")
        sides = [side for side in self.sides(COLD, WARM, CHAIN_WARM, PEER) if isinstance(side, Plugins)]
        for side in sides:
            self.pods.fill(side, range(self.scale.residents))
        found = measure.at_once(sides, count, self.scale.at_once_runs)
        for name, target in ((COLD, None), (WARM, 1.0), (CHAIN_WARM, 1.0)):
            ours, peer = (Series(each, found[each]) if each in found else None for each in (name, PEER))
            missing = ", ".join(each for each in (name, PEER) if each not in found)
            self.rows.append(Row(f"{count} pods at once", ours, peer, target, True, "pods/s", missing))

    def status(self) -> None:
        """Measure STATUS."""
        self.step(f"STATUS, {self.scale.runs} times on each side")
        found = {
            side.name: side for side in self.sides(COLD, WARM, NATIVE, NATIVE_WARM, PEER) if isinstance(side, Plugins)
        }
        ours = [side for name, side in found.items() if name != PEER]
        self.rows += measure.status(ours, found.get(PEER), self.scale.runs)
        if NATIVE in found:
            self.rows.append(measure.version(found[NATIVE], found.get(PEER), self.scale.runs))

    def flows(self) -> None:
        """Measure UDP ports on a node that tracks many flows."""
        self.step(f"{self.scale.flows} flows, {self.scale.flow_runs} times on each side")
        full, empty = self.sides(COLD, PEER), self.sides(COLD, PEER)
        for number, sides in enumerate((full, empty)):  # the node needs a bridge with a route to the address
            for side in sides:
                self.pods.fill(side, [number])
        pairs = [
            (with_flows, without)
            for with_flows, without in zip(full, empty, strict=True)
            if isinstance(with_flows, Plugins) and isinstance(without, Plugins)
        ]
        self.rows += measure.flows(pairs, self.scale.flows, self.scale.flow_runs)

    def memory(self) -> None:
        """Measure the fork server's memory."""
        self.step(f"{self.scale.calls[1]} calls of the fork server")
        sides = self.sides(WARM)
        if sides and isinstance(sides[0], Plugins):
            self.rows.append(measure.server_memory(sides[0], self.server, *self.scale.calls))
        else:
            self.rows.append(Row("fork server, resident", None, None, 1.1, missing="cni-forkserver"))


PARTS = (
    Bench.chains,
    Bench.everyday,
    Bench.leases,
    Bench.crowd,
    Bench.everyday_crowd,
    Bench.throughput,
    Bench.status,
    Bench.flows,
    Bench.memory,
)


def page(rows: list[Row], about: str) -> str:
    """The text between the marks in README.md."""
    return f"{table.markdown(rows)}\n\n{about}\n\n![ADD time against pods on the node](docs/bench.svg)"


def main() -> None:
    """Measure and print, and write README.md if --readme is given."""
    parser = argparse.ArgumentParser(description="Compare our plugins with Go's and netavark.")
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md, and the plot into docs/")
    parser.add_argument("--part", choices=[part.__name__ for part in PARTS], help="measure this part only")
    arguments = parser.parse_args()
    if arguments.part and arguments.readme:
        parser.error("--readme needs all parts")
    for ending in (signal.SIGINT, signal.SIGTERM):  # the exit removes what was made
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pycni-bench-")))
        bench = Bench(stack, QUICK if arguments.quick else FULL, folder)
        for part in PARTS:
            if arguments.part in (None, part.__name__):
                bench.part(part)
    about = described()
    print(table.text(bench.rows), about, sep="\n\n")
    if arguments.readme:
        readme = ROOT / "README.md"
        readme.write_text(table.between(readme.read_text(), START, END, page(bench.rows, about)))
        drawing = plot.svg("One more pod: ADD", "pods on the node", "milliseconds, median", bench.points)
        (ROOT / "docs/bench.svg").write_text(drawing)


if __name__ == "__main__":
    main()
