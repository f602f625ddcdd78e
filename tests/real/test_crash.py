"""A plugin that dies at any step leaves nothing that the next DEL, or the next ADD, does not clear away.

The executor tells an observer after each effect; here the observer is the SIGKILL. tests/contract/test_deaths.py has this
for every plugin; here are the first ADD of a node, and what the neighbours see when portmap dies. Here it is the file
that dies, also at its calls to the kernel.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.subject import of
from contract.trial import Trial
from node.chain import Chain
from node.configuration import port
from node.dying import die_at, die_in_the_kernel
from node.plugin import DIST, SUBJECT, environment
from node.ports import answers
from node.published import publish, wanted
from node.topology import Attachment, Node

pytestmark = pytest.mark.skipif(not Path(SUBJECT, "bridge").is_file(), reason="make dist has not been run")

Object = dict[str, Any]
Death = Callable[..., tuple[bool, str]]
after_an_effect = partial(die_at, moments=("after",))


def configuration(node: Node, plugin: str, network: str) -> Object:
    """A network of a plugin's Subject, as one configuration."""
    return Trial(node, of(plugin), of(plugin).networks(node.data_dir)[network]).keys("ADD")


@pytest.fixture(params=["bridge full", "chain usual", "bridge layer 2"])
def first(request: pytest.FixtureRequest, node: Node) -> tuple[Object, Death, int]:
    """A configuration for a node that has nothing yet, how its ADD is killed, and the first step at which."""
    conf = configuration(node, *request.param.split(" ", 1))
    return (conf, die_in_the_kernel, 1) if request.param == "bridge layer 2" else (conf, after_an_effect, 0)


def _empty(node: Node) -> None:
    """Take away what stands for the node."""
    if "br0" in node.links():
        node.ip("link del br0")
    node.run("nft", "flush", "ruleset")
    for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        node.run("sysctl", "-qw", f"net/{family}=0")
    for folder in node.data_dir.iterdir():
        shutil.rmtree(folder)


def test_the_first_add_of_a_node_may_die_too(node: Node, first: tuple[Object, Death, int]) -> None:
    """What stands for the node was made in part, or not at all: the next ADD makes it whole, and CHECK passes."""
    conf, die, step = first
    _empty(node)
    before, begun = node.snapshot(), step
    while True:
        assert step < 200, "no end of steps"
        pod = Attachment(node, conf, node.pod())
        called = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod.pod.container, "CNI_NETNS": pod.pod.path}
        died, where = die(node, conf, step, **called)
        if not died:
            break
        whole = any(link.get("ifalias") for link in node.links().values())
        again = pod.add()
        if (whole and conf["type"] == "bridge") or where == "make Complete after":
            assert "already exists" in again.error["msg"], where
        else:
            assert again.ok, f"{where}: {again.stdout}"
            checked = pod.check()
            assert checked.ok, f"{where}: {checked.stdout}"
        assert pod.delete().ok, where
        _empty(node)
        assert node.snapshot() == before, where
        step += 1
    assert step - begun > 4, "the plan has no steps"


def test_the_observer_sees_every_effect(node: Node) -> None:
    """The steps at which the tests above die are those of the plan: none is left out."""
    conf = configuration(node, "bridge", "full")
    pod = node.pod()
    env = environment("ADD", SUBJECT, CNI_CONTAINERID="c", CNI_NETNS=pod.path, CNI_IFNAME="eth0", CNI_DEBUG="1")
    with node.inside():
        done = subprocess.run([f"{SUBJECT}/bridge"], input=json.dumps(conf), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    names = [part.split()[0] for part in done.stderr.strip().splitlines()[-1].split(": ", 1)[1].split(", ")]
    links = "BridgeDevice PodLink PortSettings MacSpoofCheck HostUp InterfaceUp PortForwards"
    addresses = "Addresses ConfiguredInterface GatewayAddresses Forwarding Masquerade Announced Labelled"
    assert names[1:] == [*links.split(), *addresses.split()]
    assert os.path.exists(f"{SUBJECT}/host-local")


# lists of plugins: the bridge is there, portmap behind it dies

PORTS = [port(8080), port(8081, 81, "udp"), port(8082, 82, ip=Node.ADDRESS), port(8083, 83, ip="::")]
# how a call is killed, and every which step of ADD and of DEL is tried
DEATHS: dict[str, tuple[Death, dict[str, int]]] = {
    "effect": (after_an_effect, {"ADD": 1, "DEL": 1}),
    "kernel": (die_in_the_kernel, {"ADD": 3, "DEL": 7}),
}

needs_portmap = pytest.mark.skipif(not Path(DIST, "portmap").is_file(), reason="make dist has not been run")


@pytest.fixture(params=["nftables", "iptables"])
def published(request: pytest.FixtureRequest, node: Node) -> Chain:
    """A pod on a bridge whose ports are to be published, beside another whose ports are."""
    keys: Object = {"backend": request.param, "below": {"ipMasq": True, "ipMasqBackend": request.param}}
    publish(node, port(9000), **keys)
    chain = wanted(node, *PORTS, **keys)
    chain.result = chain.call(0, "ADD").result
    return chain


def _deaths(chain: Chain, verb: str, how: str, prepare: Callable[[], None]) -> Iterator[str]:
    """Where portmap's ``verb`` died, for every step until none is left to die at."""
    die, strides = DEATHS[how]
    conf = chain.configuration(1, prevResult=chain.result)
    called = {"CNI_COMMAND": verb, "CNI_CONTAINERID": chain.pod.container, "CNI_NETNS": chain.pod.path}
    for step in range(1 if how == "kernel" else 0, 300, strides[verb]):
        prepare()
        died, where = die(chain.node, conf, step, **called)
        if not died:
            assert step > 1, "the plan has no steps"
            return
        yield where
    raise AssertionError("no end of steps")


@needs_portmap
@pytest.mark.parametrize("how", ["kernel"])
def test_portmap_that_died_in_add_is_cleared_away_by_del(published: Chain, how: str) -> None:
    """DEL knows neither prevResult nor runtimeConfig nor the namespace; the other pod's port answers all the time."""
    node = published.node
    before = node.snapshot()
    for where in _deaths(published, "ADD", how, lambda: None):
        outcome = published.portmap("DEL", prev_result=False, netns="", runtimeConfig=None)
        assert outcome.ok, f"{where}: {outcome.stdout}"
        assert node.snapshot() == before, where


@needs_portmap
@pytest.mark.parametrize("how", ["kernel"])
def test_portmap_that_died_in_add_can_be_added_again(published: Chain, how: str) -> None:
    """ADD again is whole, whatever the first left; DEL after it leaves nothing."""
    node = published.node
    before = node.snapshot()
    for where in _deaths(published, "ADD", how, lambda: None):
        again = published.portmap("ADD")
        assert again.ok, f"{where}: {again.stdout}"
        checked = published.portmap("CHECK")
        assert checked.ok, f"{where}: {checked.stdout}"
        assert answers("tcp", published.pod, 80, node.outside, node.ADDRESS, 8080), where
        assert published.portmap("DEL").ok, where
        assert node.snapshot() == before, where


@needs_portmap
@pytest.mark.parametrize("how", ["kernel"])
def test_portmap_that_died_in_del_is_completed_by_the_next(published: Chain, how: str) -> None:
    """Another pod is content all the time, the next DEL removes what is left, and the port can be had again."""
    node = published.node
    before = node.snapshot()

    def add() -> None:
        again = published.portmap("ADD")
        assert again.ok, again.stdout

    for where in _deaths(published, "DEL", how, add):
        outcome = published.portmap("DEL", prev_result=False, netns="", runtimeConfig=None)
        assert outcome.ok, f"{where}: {outcome.stdout}"
        assert node.snapshot() == before, where


def _next_in_line(holder: Chain) -> Chain:
    """Another pod that is to have the same ports."""
    chain = wanted(holder.node, *PORTS, backend=holder.conflist["plugins"][1]["backend"])
    chain.result = chain.call(0, "ADD").result
    return chain


@needs_portmap
@pytest.mark.parametrize("how", DEATHS)
def test_portmap_that_died_while_it_got_in_line(published: Chain, how: str) -> None:
    """The holder answers, its CHECK passes, and DEL of the other leaves what was; so does its ADD, and then a DEL."""
    node, waiting = published.node, _next_in_line(published)
    assert published.portmap("ADD").ok
    before = node.snapshot()
    for where in _deaths(waiting, "ADD", how, lambda: None):
        assert answers("tcp", published.pod, 80, node.outside, node.ADDRESS, 8080), where
        checked = published.portmap("CHECK")
        assert checked.ok, f"{where}: {checked.stdout}"
        again = waiting.portmap("ADD")
        assert again.ok, f"{where}: {again.stdout}"
        checked = waiting.portmap("CHECK")
        assert checked.ok, f"{where}: {checked.stdout}"
        assert waiting.portmap("DEL", prev_result=False, netns="", runtimeConfig=None).ok, where
        assert node.snapshot() == before, where


@needs_portmap
@pytest.mark.parametrize("how", DEATHS)
def test_portmap_that_died_while_it_handed_on(published: Chain, how: str) -> None:
    """Wherever DEL of the holder dies, one of the two answers; after the next DEL it is the one that waited."""
    node, waiting = published.node, _next_in_line(published)

    def line_up() -> None:
        for verb, chain in (("DEL", waiting), ("ADD", published), ("ADD", waiting)):
            outcome = chain.portmap(verb)
            assert outcome.ok, outcome.stdout

    for where in _deaths(published, "DEL", how, line_up):
        found = [
            answers("tcp", each.pod, 80, node.outside, node.ADDRESS, 8080, seconds=1) for each in (published, waiting)
        ]
        assert found.count(True) == 1, where
        assert published.portmap("DEL", prev_result=False, netns="", runtimeConfig=None).ok, where
        assert answers("tcp", waiting.pod, 80, node.outside, node.ADDRESS, 8080), where
        checked = waiting.portmap("CHECK")
        assert checked.ok, f"{where}: {checked.stdout}"


@needs_portmap
@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_the_whole_list_after_a_death(node: Node, backend: str) -> None:
    """portmap dies in the first ADD of a node, the pod ends, the runtime calls DEL of the whole list: nothing left."""
    keys: Object = {"backend": backend, "below": {"ipMasq": True, "ipMasqBackend": backend}}
    publish(node, **keys).remove()
    before = node.snapshot()
    for step in range(20):
        chain = wanted(node, *PORTS, **keys)
        chain.result = chain.call(0, "ADD").result
        conf = chain.configuration(1, prevResult=chain.result)
        called = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": chain.pod.container, "CNI_NETNS": chain.pod.path}
        died, where = after_an_effect(node, conf, step, **called)
        chain.pod.close()
        chain.remove(netns="", prev_result=False)
        assert node.snapshot() == before, where
        if not died:
            assert step > 1
            return
    raise AssertionError("no end of steps")
