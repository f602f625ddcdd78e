"""A plugin that dies at any step leaves nothing that the next DEL, or the next ADD, does not clear away.

The executor tells an observer before and after each effect; here the observer is the SIGKILL. It belongs to the plan,
so a plugin inherits this test by adding a configuration to ``CHAINS``.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.plugin import SUBJECT, environment
from node.topology import Node, Pod

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
status, output = skel.call(plugin, os.environ, sys.stdin.buffer.read(), sys.stderr, watch)
sys.stdout.write(output.decode())
sys.exit(status)
"""

pytestmark = pytest.mark.skipif(not Path(SUBJECT, "bridge").is_file(), reason="make dist has not been run")

Object = dict[str, Any]


def chain(*members: Object, **keys: Any) -> Object:
    """The members that are built, in one process."""
    built = [member for member in members if Path(SUBJECT, member["type"]).is_file()]
    return {"cniVersion": "1.0.0", "name": "net1", "type": "chain", "plugins": built, **keys}


CHAINS: dict[str, Callable[[Path], Object]] = {
    "nftables": lambda data: bridge(
        host_local(data, "10.1.2.0/24", "fd00:1::/64"),
        isDefaultGateway=True,
        ipMasq=True,
        macspoofchk=True,
        hairpinMode=True,
        portIsolation=True,
    ),
    "iptables": lambda data: bridge(
        host_local(data, "10.1.2.0/24", "fd00:1::/64"), isGateway=True, ipMasq=True, ipMasqBackend="iptables"
    ),
    "layer2": lambda data: bridge(),
    "chain": lambda data: chain(
        bridge(host_local(data, "10.1.2.0/24"), isGateway=True, ipMasq=True),
        {"type": "portmap", "capabilities": {"portMappings": True}},
        runtimeConfig={"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]},
    ),
}


@pytest.fixture(params=CHAINS)
def conf(request: pytest.FixtureRequest, node: Node) -> Object:
    """A configuration whose node-wide part (the bridge, the store's folder) exists already."""
    chain: Object = CHAINS[request.param](node.data_dir)
    node.attach(chain).delete()
    return chain


def _die_at(node: Node, verb: str, conf: Object, pod: Pod, step: int) -> tuple[bool, str]:
    """Run a call that kills itself at a step: whether it did, and what it said."""
    env = environment(verb, SUBJECT, CNI_CONTAINERID=pod.container, CNI_NETNS=pod.path, CNI_IFNAME="eth0")
    command = ["/usr/bin/python3", "-I", "-S", "-c", DRIVER, f"{SUBJECT}/{conf['type']}", str(step)]
    with node.inside():
        done = subprocess.run(command, input=json.dumps(conf), env=env, capture_output=True, text=True, timeout=60)
    if done.returncode != -9:
        assert done.returncode == 0, done.stdout + done.stderr
    return done.returncode == -9, done.stderr


def _steps(node: Node, verb: str, conf: Object, prepare: Callable[[Pod], None]) -> Iterator[tuple[Pod, str]]:
    """A fresh pod whose ``verb`` died, for every step until none is left to die at."""
    for step in range(200):
        pod = node.pod()
        prepare(pod)
        died, where = _die_at(node, verb, conf, pod, step)
        if not died:
            assert step > 4, "the plan has no steps"
            return
        yield pod, where
    raise AssertionError("no end of steps")


def _delete(node: Node, conf: Object, pod: Pod, netns: str = "") -> None:
    outcome = node.cni(conf["type"], "DEL", conf, container=pod.container, netns=netns)
    assert outcome.ok, outcome.stdout


def test_add_that_died_is_cleared_away_by_del_without_namespace(node: Node, conf: Object) -> None:
    """SIGKILL before and after each effect of ADD, the namespace gone, DEL: nothing left."""
    before = node.snapshot()
    for pod, where in _steps(node, "ADD", conf, lambda pod: None):
        pod.close()
        _delete(node, conf, pod)
        assert node.snapshot() == before, where


def test_add_that_died_is_cleared_away_by_del_with_namespace(node: Node, conf: Object) -> None:
    """SIGKILL before and after each effect of ADD, DEL while the namespace is there: nothing left, in it either."""
    before = node.snapshot()
    for pod, where in _steps(node, "ADD", conf, lambda pod: None):
        _delete(node, conf, pod, pod.path)
        assert node.snapshot() == before, where
        assert set(pod.links()) == {"lo"}, where


def test_add_works_after_an_add_that_died(node: Node, conf: Object) -> None:
    """SIGKILL before and after each effect of ADD: ADD again succeeds, unless the first was whole."""
    before = node.snapshot()
    for pod, where in _steps(node, "ADD", conf, lambda pod: None):
        again = node.cni(conf["type"], "ADD", conf, container=pod.container, netns=pod.path)
        if where == "make Labelled after" and conf["type"] == "bridge":
            assert "already exists" in again.error["msg"], where
        else:
            assert again.ok, f"{where}: {again.stdout}"
        _delete(node, conf, pod, pod.path)
        assert node.snapshot() == before, where


def test_del_that_died_is_completed_by_the_next(node: Node, conf: Object) -> None:
    """SIGKILL before and after each effect of DEL, the namespace gone, DEL again: nothing left."""
    before = node.snapshot()

    def attach(pod: Pod) -> None:
        assert node.cni(conf["type"], "ADD", conf, container=pod.container, netns=pod.path).ok

    for pod, where in _steps(node, "DEL", conf, attach):
        pod.close()
        _delete(node, conf, pod)
        assert node.snapshot() == before, where


def test_the_observer_sees_every_effect(node: Node) -> None:
    """The steps at which the tests above die are those of the plan: none is left out."""
    conf = CHAINS["nftables"](node.data_dir)
    pod = node.pod()
    env = environment("ADD", SUBJECT, CNI_CONTAINERID="c", CNI_NETNS=pod.path, CNI_IFNAME="eth0", CNI_DEBUG="1")
    with node.inside():
        done = subprocess.run([f"{SUBJECT}/bridge"], input=json.dumps(conf), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    names = [part.split()[0] for part in done.stderr.strip().splitlines()[-1].split(": ", 1)[1].split(", ")]
    wanted = "BridgeDevice PodLink PortSettings MacSpoofCheck Addresses PortUp ConfiguredInterface GatewayAddresses"
    assert names[2:] == [*wanted.split(), "Forwarding", "Masquerade", "PortForwards", "Labelled"]
    assert os.path.exists(f"{SUBJECT}/host-local")
