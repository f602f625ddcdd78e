"""The measurements of each row. The sides take turns within a row, so that a disturbance affects all of them.

For whole pods, STATUS and VERSION (``turns``), the order of the sides is random, and a pause is before each measurement:
what the side before has left to the kernel or to the fork server, such as the removal of a namespace, is not measured as
part of the next one.
"""

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from sides import NamedNetns, Object, Plugins, Side
from table import Row, Series

from node.flows import Tracked, track, tracked

COLD, WARM, CHAIN, CHAIN_WARM, PEER, AVARK = "ours", "ours, warm", "chain", "chain, warm", "Go", "netavark"
NATIVE, NATIVE_WARM, NATIVE_CHAIN = "native", "native, warm", "native chain, warm"
# Our side, the other side, and the targets for the ratios of ADD and DEL.
Targets = tuple[tuple[str, str, float | None, float | None], ...]
TARGETS: Targets = (
    (COLD, PEER, 2.5, 1.0),
    (WARM, PEER, 0.75, 0.33),
    (CHAIN, PEER, 1.1, None),
    (CHAIN_WARM, PEER, 0.4, None),
    (CHAIN_WARM, AVARK, 0.35, 0.3),
    (NATIVE, PEER, 0.85, 0.5),
    (NATIVE_WARM, PEER, 0.4, 0.25),
    (NATIVE_CHAIN, PEER, 0.28, 0.2),
    (NATIVE_CHAIN, AVARK, 0.4, 0.4),
)
# STATUS of three plugins, and VERSION of one.
STATUS_TARGETS: dict[str, float] = {NATIVE_WARM: 1.0}
VERSION_TARGET = 0.6
# The same for the list that podman and nerdctl write.
EVERYDAY: Targets = (
    (COLD, PEER, 1.0, 0.6),
    (WARM, PEER, 0.6, 0.33),
    (CHAIN_WARM, PEER, 0.35, 0.25),
)
# What that list has besides bridge and portmap; and bandwidth, which is measured apart.
AFTERWARDS: list[Object] = [{"type": "firewall"}, {"type": "tuning"}]
SHAPER: Object = {
    "type": "bandwidth",
    "ingressRate": 10**9,
    "ingressBurst": 10**7,
    "egressRate": 10**9,
    "egressBurst": 10**7,
}
Times = dict[str, dict[str, list[float]]]
AnySide = TypeVar("AnySide", bound=Side)


class Pods:
    """The resident pods. All pods of a side are interfaces in one namespace, so that there can be thousands."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._homes: dict[str, NamedNetns] = {}

    def home(self, side: Side) -> str:
        """The path of the namespace of a side's resident pods."""
        if side.name not in self._homes:
            made = NamedNetns("bench-pods")
            self._stack.callback(made.close)
            self._homes[side.name] = made
        return self._homes[side.name].path

    def fill(self, side: Side, numbers: Iterable[int]) -> None:
        """Attach resident pods."""
        for number in numbers:
            side.attach(number, self.home(side), f"e{number}")
            side.make_room(self._homes[side.name])


# The number of the pod that is measured. No resident pod has it.
GUEST = 40000
# Seconds before each measurement. Nothing tells when the kernel has removed a namespace; it takes some 50 ms.
_PAUSE = 0.1
_CHANCE = random.Random(1)  # noqa: S311 -- the order of the sides is no secret


def turns(sides: Iterable[AnySide], runs: int) -> Iterator[tuple[int, AnySide]]:
    """Each side once per turn, in random order, after a pause. The orders are the same in each run of the program."""
    order = list(sides)
    for number in range(runs):
        _CHANCE.shuffle(order)
        for side in order:
            time.sleep(_PAUSE)
            yield number, side


def attach_and_detach(sides: Iterable[Side], runs: int, found: Times) -> None:
    """Attach and detach a new pod, ``runs`` times on each side in turn. ``found`` gets milliseconds by side and verb."""
    for _, side in turns(sides, runs):
        pod = NamedNetns("bench-pod")
        try:
            times = found.setdefault(side.name, {"ADD": [], "DEL": []})
            times["ADD"].append(side.attach(GUEST, pod.path) * 1000)
            times["DEL"].append(side.detach(GUEST, pod.path) * 1000)
        finally:
            pod.close()


def chains(found: Times, compared: Targets = TARGETS, what: str = "pod {}") -> list[Row]:
    """The rows for a whole pod, compared with Go's plugins and netavark."""
    rows = []
    for ours, peer, *targets in compared:
        for verb, target in zip(("ADD", "DEL"), targets, strict=True):
            missing = [name for name in (ours, peer) if name not in found]
            rows.append(
                Row(
                    what.format(verb),
                    None if ours in missing else Series(ours, found[ours][verb]),
                    None if peer in missing else Series(peer, found[peer][verb]),
                    target,
                    missing=", ".join(missing),
                )
            )
    return rows


def leases(side: Plugins, store: Path, count: int, runs: int) -> Row:
    """host-local only: ADD and DEL with ``count`` leases, compared with none."""
    sides: dict[str, list[float]] = {"empty": [], "full": []}
    base = side.members[0]["ipam"]["dataDir"]
    for kind in sides:
        folder = store / f"leases-{kind}" / "bench"
        folder.mkdir(parents=True)
        if kind == "full":
            for number in range(count):
                (folder / f"10.99.{(number + 2) >> 8}.{(number + 2) & 255}").write_text(f"c{number}\r\neth0")
    for number in range(runs + 1):
        for kind, values in sides.items():
            side.members[0]["ipam"]["dataDir"] = str(store / f"leases-{kind}")
            took = side.ipam("ADD", GUEST) + side.ipam("DEL", GUEST)
            if number:  # the first call makes the index for a new store
                values.append(took * 1000)
    side.members[0]["ipam"]["dataDir"] = base
    empty, full = Series("0 leases", sides["empty"]), Series(f"{count} leases", sides["full"])
    return Row(f"host-local ADD and DEL, {side.name}", full, empty, 1.2)


def status(sides: Iterable[Plugins], peer: Plugins | None, runs: int) -> list[Row]:
    """STATUS of three plugins, one after the other, as containerd runs it every five seconds.

    Debian's Go plugins do not have STATUS. Newer ones do little more than start; bridge also starts its IPAM plugin. So
    VERSION is measured for them.
    """
    asked = [*sides, *([peer] if peer else [])]
    found: dict[str, list[float]] = {side.name: [] for side in asked}
    for number, side in turns(asked, runs + 1):
        members = [*side.members, {"type": "loopback"}, *([{"type": "host-local"}] if side is peer else [])]
        took = side.ask("VERSION" if side is peer else "STATUS", members) * 1000
        if number:  # the first call reads the files from the disk
            found[side.name].append(took)
    go = Series(f"{peer.name}, VERSION", found[peer.name]) if peer else None
    what = "STATUS of bridge, portmap and loopback"
    names = [side.name for side in asked if side is not peer]
    missing = "" if go else PEER
    return [Row(what, Series(name, found[name]), go, STATUS_TARGETS.get(name), missing=missing) for name in names]


def version(side: Plugins, peer: Plugins | None, runs: int) -> Row:
    """VERSION of bridge, which libcni asks of each plugin of a list."""
    asked = [each for each in (side, peer) if each]
    found: dict[str, list[float]] = {each.name: [] for each in asked}
    for number, each in turns(asked, runs + 1):
        took = each.ask("VERSION", each.members[:1]) * 1000
        if number:
            found[each.name].append(took)
    go = Series(peer.name, found[peer.name]) if peer else None
    return Row("VERSION", Series(side.name, found[side.name]), go, VERSION_TARGET, missing="" if go else PEER)


# The UDP ports that are published: 53, to which other flows go, and one without other flows.
_UDP_PORTS = [{"hostPort": port, "containerPort": port, "protocol": "udp"} for port in (53, 5353)]
# How many milliseconds longer portmap may take if many flows are tracked.
_MORE = 500.0


def others(count: int) -> list[Tracked]:
    """Flows through a node: one in five goes to port 53, the others go to port 443."""
    places = ((number, divmod(number, 250)) for number in range(count))
    return [
        Tracked((f"198.18.{high % 250}.{low + 1}", 1024 + number % 60000), ("203.0.113.9", 443 if number % 5 else 53))
        for number, (high, low) in places
    ]


def flows(pairs: Iterable[tuple[Plugins, Plugins]], count: int, runs: int) -> list[Row]:
    """How much longer portmap takes with ``count`` flows. Each pair is a side with flows and a side without."""
    rows, pod = [], NamedNetns("bench-pod")
    try:
        for full, empty in pairs:
            more: dict[str, list[float]] = {"ADD": [], "DEL": []}
            for _ in range(runs):
                # Go's ADD removes the flows to port 53.
                if tracked(full.node) < count:
                    full.node.run("conntrack", "-F", check=False)
                    track(full.node, others(count))
                for verb, values in more.items():
                    took = [side.ports(verb, pod.path, _UDP_PORTS) for side in (full, empty)]
                    values.append((took[0] - took[1]) * 1000)
            for verb, values in more.items():
                bound = Series("at most", [_MORE])
                target = None if full.name == PEER else 1.0
                rows.append(Row(f"portmap {verb}: more with {count} flows", Series(full.name, values), bound, target))
    finally:
        pod.close()
    return rows


class Crowd:
    """The time of ADD for each side, depending on the number of pods on the node."""

    def __init__(self, sides: list[Side], pods: Pods, runs: int) -> None:
        self.sides, self.pods, self.runs = sides, pods, runs
        self.points: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
        self.found: dict[int, Times] = {}
        self._residents = 0

    def measure(self, residents: int) -> None:
        """Attach that many resident pods on each side that can have them, and measure one more."""
        sides = [side for side in self.sides if residents <= side.most]
        for side in sides:
            self.pods.fill(side, range(self._residents, residents))
        self._residents = residents
        self.found[residents] = found = Times()
        attach_and_detach(sides, self.runs, found)
        for side in sides:
            self.points[side.name].append((residents, Series(side.name, found[side.name]["ADD"]).median))

    def rows(self, empty: list[Side], targets: dict[str, float], what: str = "pod ADD") -> list[Row]:
        """The most pods to none, side by side: ``empty`` are sides of the same names without pods, and take turns."""
        names = {side.name for side in empty}
        full = [side for side in self.sides if side.name in names]
        among, alone = Times(), Times()
        for _ in range(self.runs + 1):
            attach_and_detach(full, 1, among)
            attach_and_detach(empty, 1, alone)
        return [
            Row(
                f"{what} among {self._most(side)}, {side.name}",
                Series(f"{self._most(side)} pods", among[side.name]["ADD"][1:]),
                Series("0 pods", alone[side.name]["ADD"][1:]),
                targets.get(side.name),
            )
            for side in full
        ]

    def _most(self, side: Side) -> int:
        return max(residents for residents, found in self.found.items() if side.name in found)


def at_once(sides: Iterable[Plugins], count: int, runs: int) -> dict[str, list[float]]:
    """Pods per second, by side. ``count`` callers attach one pod each at the same time; then the pods are detached."""
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        for side in sides:
            pods = [NamedNetns("bench-pod") for _ in range(count)]
            try:
                found.setdefault(side.name, []).append(count / _all_at_once(side, pods))
                for number, pod in enumerate(pods):
                    side.detach(GUEST + number, pod.path)
            finally:
                for pod in pods:
                    pod.close()
    return found


def _all_at_once(side: Plugins, pods: list[NamedNetns]) -> float:
    """Seconds until the last pod is attached. Raises the first error."""
    gate = threading.Barrier(len(pods) + 1)
    faults: list[Exception] = []

    def attach(number: int, pod: NamedNetns) -> None:
        gate.wait()
        try:
            side.attach(GUEST + number, pod.path)
        except Exception as error:
            faults.append(error)

    callers = [threading.Thread(target=attach, args=each) for each in enumerate(pods)]
    for caller in callers:
        caller.start()
    gate.wait()
    began = time.perf_counter()
    for caller in callers:
        caller.join()
    took = time.perf_counter() - began
    if faults:
        raise faults[0]
    return took


def memory(server: int) -> float:
    """The resident memory of a process, in MB."""
    with open(f"/proc/{server}/status") as file:
        size = next(line for line in file if line.startswith("VmRSS:"))
    return int(size.split()[1]) / 1024


def server_memory(side: Plugins, server: int, few: int, many: int) -> Row:
    """The fork server's memory after many calls, compared with few. The calls are ADD and DEL of host-local."""
    sizes: list[float] = []
    for calls in (few, many - few):
        for _ in range(calls // 2):
            side.ipam("ADD", GUEST)
            side.ipam("DEL", GUEST)
        sizes.append(memory(server))
    before, after = Series(f"after {few} calls", [sizes[0]]), Series(f"after {many} calls", [sizes[1]])
    return Row("fork server, resident", after, before, 1.1, unit="MB")
