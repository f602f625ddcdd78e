#!/usr/bin/python3
"""What each verb of each plugin imports, and how long that takes. The single files are run with their own first line.

`bench/imports.py` prints a table (python -X importtime). `bench/imports.py --write` writes the lists in
tests/build/imports, which tests/build/test_import_budget.py compares with the files. Look at the changes before you
commit them. Run it as root after `make dist`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sides import OURS, ROOT, inside

from node.topology import Node, Pod

sys.path.append(str(ROOT / "common"))
from cni.attachment import Attachment

LISTS = ROOT / "tests/build/imports"
PLUGINS = ("bridge", "chain", "host-local", "loopback", "portmap")
VERBS = ("VERSION", "STATUS", "ADD", "CHECK", "GC", "DEL")
Object = dict[str, Any]
# Modules with the microseconds that each one itself takes, in the order in which their imports ended.
Imports = list[tuple[str, int]]


def configuration(plugin: str, store: Path) -> Object:
    """A typical network: IPv4, the node as gateway, masquerade, one published port."""
    ipam = {"type": "host-local", "dataDir": str(store), "ranges": [[{"subnet": "10.97.0.0/24"}]]}
    bridge = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    ports = {"portMappings": [{"hostPort": 8097, "containerPort": 80, "protocol": "tcp"}]}
    own: dict[str, Object] = {
        "bridge": bridge,
        "chain": {"capabilities": {"portMappings": True}, "plugins": [bridge, portmap], "runtimeConfig": ports},
        "host-local": {"ipam": ipam},
        "loopback": {},
        "portmap": {**portmap, "runtimeConfig": ports},
    }
    conf = {"cniVersion": "1.1.0", "name": "net1", **own[plugin], "type": plugin}
    if plugin == "portmap":
        conf["prevResult"] = {"cniVersion": "1.1.0", "ips": [{"address": "10.97.0.9/24"}]}
    return conf


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


def survey(plugin: str, node: Node, store: Path) -> dict[str, Imports]:
    """What each verb of a plugin imports, for a pod on a node with another pod."""
    conf, pods = configuration(plugin, store), [node.pod(), node.pod()]
    if plugin == "portmap":  # after bridge, whose result names the link
        link = Attachment("net1", pods[0].container, "eth0").link
        conf["prevResult"]["interfaces"] = [{"name": link}]
    first = dict(conf)
    if plugin in ("chain", "portmap"):  # another pod has ports, so that this one does not make or remove the tables
        ports = {"portMappings": [{"hostPort": 8098, "containerPort": 80, "protocol": "tcp"}]}
        first["runtimeConfig"] = ports
    if plugin in ("bridge", "chain", "portmap"):
        imported(node, pods[1], plugin, "ADD", first)
    own, found = of_the_interpreter(), dict[str, Imports]()
    for verb in VERBS:
        asked = dict(conf)
        if verb == "GC":
            asked["cni.dev/valid-attachments"] = [{"containerID": pod.container, "ifname": "eth0"} for pod in pods]
        modules, result = imported(node, pods[0], plugin, verb, asked)
        if verb == "ADD":
            conf["prevResult"] = result
        found[verb] = [(name, cost) for name, cost in modules if name not in own]
    return found


def main(write: bool) -> None:
    """Print the table, or write the lists."""
    with tempfile.TemporaryDirectory() as folder:
        for plugin in PLUGINS:
            store = Path(folder, plugin)
            store.mkdir()
            node = Node(store)
            try:
                found = survey(plugin, node, store)
            finally:
                node.close()
            for verb, modules in found.items():
                if write:
                    LISTS.mkdir(exist_ok=True)
                    names = sorted({name for name, _ in modules})
                    (LISTS / f"{plugin}-{verb}.txt").write_text("\n".join(names) + "\n")
                    continue
                total = sum(cost for _, cost in modules) / 1000
                dearest = sorted(modules, key=lambda each: -each[1])[:4]
                words = ", ".join(f"{name} {cost / 1000:.1f}" for name, cost in dearest)
                print(f"{plugin:12}{verb:9}{len(modules):4} modules {total:6.1f} ms   {words}")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
