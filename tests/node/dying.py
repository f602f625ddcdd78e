"""Calls that are killed half-way: before and after each effect of a plan, or at any of the calls to the kernel."""

import json
import subprocess
from typing import Any

from .plugin import DIST, Object, environment
from .topology import Node

# Runs one call of the plugin in argv[1] and kills itself at the observer's call number argv[2].
DRIVER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from cni import skel
package = "cni_" + os.path.basename(sys.argv[1]).replace("-", "_")
plugin = __import__(package + ".plugin", fromlist=["PLUGIN"]).PLUGIN
seen = 0
def watch(deed, effect, moment):
    global seen
    if seen == int(sys.argv[2]):
        os.write(2, f"{deed} {type(effect).__name__} {moment}".encode())
        os.kill(os.getpid(), 9)
    seen += 1
answered = skel.answer(plugin, os.environ, sys.stdin.buffer.read(), sys.stderr, watch)
answered.close()
sys.stdout.write(answered.output.decode())
sys.exit(answered.status)
"""


def _run(node: Node, conf: Object, command: list[str], variables: dict[str, str]) -> tuple[bool, str]:
    env = environment(variables.pop("CNI_COMMAND"), DIST, **({"CNI_IFNAME": "eth0"} | variables))
    with node.inside():
        done = subprocess.run(command, input=json.dumps(conf), env=env, capture_output=True, text=True, timeout=60)
    killed = done.returncode in (-9, 137)
    assert killed or done.returncode == 0, done.stdout + done.stderr
    return killed, done.stderr


def die_at(node: Node, conf: Object, step: int, **variables: Any) -> tuple[bool, str]:
    """A call that kills itself at a step of its plan: whether it came so far, and what it was at."""
    command = ["/usr/bin/python3", "-I", "-S", "-c", DRIVER, f"{DIST}/{conf['type']}", str(step)]
    return _run(node, conf, command, variables)


def die_in_the_kernel(node: Node, conf: Object, number: int, **variables: Any) -> tuple[bool, str]:
    """A call that is killed at its call number so and so that sends to the kernel, writes, or waits for a program."""
    kill = f"inject=sendto,sendmsg,write,wait4:signal=SIGKILL:when={number}"
    command = ["/usr/bin/strace", "-qq", "-o", "/dev/null", "-e", kill, f"{DIST}/{conf['type']}"]
    killed, _ = _run(node, conf, command, variables)
    return killed, f"call {number}"
