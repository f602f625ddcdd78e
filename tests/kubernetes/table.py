"""The table of docs/kubernetes.md: ours beside Go's in one run, each form of the plugins in a cluster of its own.

All of it takes about an hour; ``--runtimes``, ``--forms`` and ``--rounds`` ask for less.
"""

import argparse
import contextlib
import os
import statistics
import time
from pathlib import Path

from node.deadline import eventually
from node.topology import Node

from . import objects
from .client import Client, serves
from .cluster import Cluster
from .conftest import running

RUNTIMES, FORMS = ("containerd", "dockershim"), ("go", "plugins", "chain", "served", "native")
NAMES = {
    "go": "Go 1.1.1",
    "plugins": "ours",
    "chain": "chain",
    "served": "chain, fork server",
    "native": "native, fork server",
}
SIZES = (1, 20, 60)
_PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"
_BEGIN, _END = "<!-- table: made by `make kubernetes-table` -->\n", "<!-- end of table -->\n"


def started(cluster: Cluster, count: int) -> float:
    """Seconds until so many pods, asked for at once, serve."""
    began = time.monotonic()
    cluster.api.create("deployments", objects.workload("many", objects.spec(objects.container()), count))
    cluster.wait_for(count, "many", 600)
    took = time.monotonic() - began
    cluster.empty()
    return took


def replaced(cluster: Cluster, kind: str, force: bool) -> float:
    """Seconds without an answer at a host port whose pod is replaced: by force, or by a rolling update."""
    template = objects.spec(objects.container(80, 8080), grace=0)
    body = objects.workload("web", template, type="Recreate") if kind == "deployments" else None
    cluster.api.create(kind, body or objects.daemon_set("web", template))
    names = [pod["metadata"]["name"] for pod in cluster.wait_for(1, "web")]
    with Client(cluster.node.outside, Node.ADDRESS, 8080) as client:
        eventually(lambda: client.answered_by([]), 10)
        if force:
            cluster.api.delete("pods", names[0], 0)
        else:
            cluster.api.patch(kind, "web", {"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}})
        assert eventually(lambda: client.answered_by(names), 120, 0.02), cluster.events()
    cluster.empty()
    return client.silence


def flushed(cluster: Cluster) -> str:
    """Whether a host port answers after iptables' nat table was flushed: at once, after the next pod, or never."""
    cluster.api.create("pods", objects.pod("a", objects.container(80, 8080)))
    cluster.wait_for(1)
    cluster.node.run("iptables", "-t", "nat", "-F")
    word = "at once" if serves(cluster.node.outside, Node.ADDRESS, 8080, 1) else ""
    if not word:
        cluster.api.create("pods", objects.pod("b", objects.container(80, 8081)))
        cluster.wait_for(2)
        word = "after the next ADD" if serves(cluster.node.outside, Node.ADDRESS, 8080, 1) else "no"
    with contextlib.suppress(AssertionError):
        cluster.empty(60)
    return word


def column(runtime: str, form: str, rounds: int) -> dict[str, str]:
    """All figures of one runtime and one form of the plugins."""
    found: dict[str, str] = {}

    def median(name: str, take: list[float]) -> None:
        found[name] = f"{statistics.median(take):.1f}"

    with running(runtime, form) as cluster:
        for size in SIZES:
            median(f"{size} pods at once: seconds until all serve", [started(cluster, size) for _ in range(rounds)])
        for kind in ("deployments", "daemonsets"):
            for force in (True, False):
                what = "deleted by force" if force else "rolling update"
                name = f"host port of a {kind[:-1].title().replace('set', 'Set')}, {what}: seconds of silence"
                median(name, [replaced(cluster, kind, force) for _ in range(rounds)])
        left = len(cluster.left())
        found["left on the node when all pods are gone"] = str(left or "nothing")
        found["host port answers after `iptables -t nat -F`"] = flushed(cluster)
    return found


def main() -> None:
    """Measure, print, and write into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--rounds", type=int, default=3, help="how often each figure is taken; the median counts")
    asked = parser.parse_args()
    lines, forms = [], asked.forms
    for runtime in asked.runtimes:
        columns = {}
        for form in forms:
            columns[form] = column(runtime, form, asked.rounds)
            print(runtime, form, columns[form], flush=True)
        lines += [f"| {runtime} | {' | '.join(NAMES[form] for form in forms)} |", "| --- " * (len(forms) + 1) + "|"]
        for name in columns[forms[0]]:
            lines.append(f"| {name} | {' | '.join(columns[form][name] for form in forms)} |")
        lines.append("")
    often = f"medians of {asked.rounds}" if asked.rounds > 1 else "each taken once"
    machine = f"{os.cpu_count()} processors; Linux {os.uname().release}; {often}; {time.strftime('%Y-%m-%d')}."
    table = "\n".join([*lines, machine, ""])
    print(table)
    text = _PAGE.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{_BEGIN}{table}{_END}{after}")


if __name__ == "__main__":
    main()
