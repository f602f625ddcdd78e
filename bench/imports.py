#!/usr/bin/python3
"""What each verb of each plugin imports, and how long that takes. The single files are run with their own first line.

`bench/imports.py` prints a table (python -X importtime). `bench/imports.py --write` writes the lists in
tests/build/imports, or in a folder that is named; tests/build/test_import_budget.py compares them with the files. Look
at the changes before you commit them. Run it as root after `make dist`. A plugin whose links the kernel cannot
make is surveyed in the guest: tests/guest/run -o reports /usr/bin/python3 bench/imports.py --write reports/imports.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import importlists
from importlists import VERBS
from sides import OURS, ROOT, inside

sys.path.append(str(ROOT / "common"))
from contract.subject import SUBJECTS, Network, Subject, lacking
from contract.trial import Trial
from node.topology import Node, Pod

LISTS = ROOT / "tests/build/imports"
Object = dict[str, Any]
# Modules with the microseconds that each one itself takes, in the order in which their imports ended.
Imports = list[tuple[str, int]]


def _listed(log: str) -> Imports:
    found = []
    for line in log.splitlines():
        if line.startswith("import time:") and "|" in line and "[us]" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            found.append((name.strip(), int(own)))
    return found


def of_the_interpreter() -> set[str]:
    """What Python itself imports."""
    done = subprocess.run(
        ["/usr/bin/python3", "-X", "importtime", "-ISc", "pass"], capture_output=True, text=True, check=True
    )
    return {name for name, _ in _listed(done.stderr)}


def imported(node: Node, pod: Pod, plugin: str, verb: str, conf: Object) -> tuple[Imports, Object]:
    """What a call imports, and its result. Raises ``RuntimeError`` if it fails."""
    file = f"{OURS}/{plugin}"
    with open(file, "rb") as whole:
        python, word = whole.readline().decode().removeprefix("#!").rstrip("\n").split(" ", 1)
    environ = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container,
        "CNI_NETNS": pod.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": OURS,
        "CNI_FORKSERVER": "",
    }
    with inside(node.path):
        done = subprocess.run(
            [python, "-X", "importtime", word, file],
            input=json.dumps(conf),
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{plugin} {verb}: {done.stdout}")
    return _listed(done.stderr), json.loads(done.stdout) if verb == "ADD" else {}


def survey(subject: Subject, node: Node, network: Network | None = None) -> dict[str, Imports]:
    """What each verb of a plugin imports, for a pod on a node with another pod; by default with the subject's budget."""
    network = network or subject.budget(node.data_dir)
    # the other pod keeps what is made for the first and removed with the last
    other, own = (Trial(node, subject, network, version="1.1.0") for _ in range(2))
    imported(node, other.pod, subject.type, "ADD", other.keys("ADD"))
    interpreter, found = of_the_interpreter(), dict[str, Imports]()
    for verb in VERBS:
        keys = own.keys(verb)
        if verb == "GC":
            pods = (own.pod, other.pod)
            keys["cni.dev/valid-attachments"] = [{"containerID": pod.container, "ifname": "eth0"} for pod in pods]
        modules, result = imported(node, own.pod, subject.type, verb, keys)
        own.result = result or own.result
        found[verb] = [(name, cost) for name, cost in modules if name not in interpreter]
    return found


def main(lists: Path | None) -> None:
    """Print the table, or write the lists."""
    surveyed: dict[str, dict[str, set[str]]] = {}
    for subject in SUBJECTS:
        if lacking(subject.kind):
            print(f"{subject.type}: the kernel has no {subject.kind}, its list stays as it is")
            if (LISTS / f"{subject.type}.txt").exists():
                surveyed[subject.type] = importlists.listed(LISTS, subject.type)
            continue
        with tempfile.TemporaryDirectory() as folder:
            node = Node(Path(folder))
            try:
                found = survey(subject, node)
            finally:
                node.close()
        surveyed[subject.type] = {verb: {name for name, _ in modules} for verb, modules in found.items()}
        for verb, modules in () if lists else found.items():
            total = sum(cost for _, cost in modules) / 1000
            dearest = sorted(modules, key=lambda each: -each[1])[:4]
            words = ", ".join(f"{name} {cost / 1000:.1f}" for name, cost in dearest)
            print(f"{subject.type:12}{verb:9}{len(modules):4} modules {total:6.1f} ms   {words}")
    if lists:
        if lists != LISTS:
            shutil.copytree(LISTS, lists, dirs_exist_ok=True)
        importlists.write(lists, surveyed)


if __name__ == "__main__":
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else LISTS
    main(folder if sys.argv[1:2] == ["--write"] else None)
