"""Calls that are killed half-way: before and after each effect of a plan, or at any of the calls to the kernel."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from .plugin import DIST, Object, environment
from .topology import Node

# when an observer is told of an effect
MOMENTS = ("before", "after")


class Death:
    """An observer that kills its process the ``step``-th time that it is told of one of these moments."""

    def __init__(self, step: int, moments: tuple[str, ...], said: int) -> None:
        self.step, self.moments, self.said = step, moments, said

    def __call__(self, deed: str, effect: Any, moment: str) -> None:
        """Told before and after each deed."""
        if moment not in self.moments:
            return
        if not self.step:
            os.write(self.said, f"{deed} {type(effect).__name__} {moment}".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.step -= 1


def die_in_a_fork(call: Callable[[Death], Any], step: int, moments: tuple[str, ...]) -> tuple[bool, str]:
    """A call in a fork of this process, which has imported everything. The result is that of ``die_at``."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            outcome = call(Death(step, moments, write))
            os.write(write, f"{outcome.stdout}{outcome.stderr}".encode())
            status = int(not outcome.ok)
        finally:
            os._exit(status)
    os.close(write)
    with open(read) as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), said
    return status != 0, said


# Runs one call of the plugin in argv[1] and kills itself the argv[2]-th time that the observer is told of a moment in
# argv[3:].
DRIVER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from cni import skel
package = "cni_" + os.path.basename(sys.argv[1]).replace("-", "_")
plugin = __import__(package + ".plugin", fromlist=["PLUGIN"]).PLUGIN
seen = 0
def watch(deed, effect, moment):
    global seen
    if moment not in sys.argv[3:]:
        return
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


def die_at(
    node: Node, conf: Object, step: int, moments: tuple[str, ...] = MOMENTS, **variables: Any
) -> tuple[bool, str]:
    """A call of the file that kills itself at a step of its plan: whether it came so far, and what it was at."""
    command = ["/usr/bin/python3", "-I", "-S", "-c", DRIVER, f"{DIST}/{conf['type']}", str(step), *moments]
    return _run(node, conf, command, variables)


def die_in_the_kernel(node: Node, conf: Object, number: int, **variables: Any) -> tuple[bool, str]:
    """A call that is killed at its call number so and so that sends to the kernel, writes, or waits for a program."""
    kill = f"inject=sendto,sendmsg,write,wait4:signal=SIGKILL:when={number}"
    command = ["/usr/bin/strace", "-qq", "-o", "/dev/null", "-e", kill, f"{DIST}/{conf['type']}"]
    killed, _ = _run(node, conf, command, variables)
    return killed, f"call {number}"
