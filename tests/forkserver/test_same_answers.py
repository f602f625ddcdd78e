"""A call that is handed over does what the same call does cold: every verb of every plugin, errors and traces too."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.each import each_network
from contract.subject import Subject
from contract.trial import Trial
from forkserver.server import SERVED, Server, call, layer2, served_by
from node.configuration import bridge, host_local
from node.plugin import LIMIT, PLUGINS, Outcome
from node.topology import Node, Pod

pytestmark = pytest.mark.real
Object = dict[str, Any]


VERBS = ("STATUS", "ADD", "CHECK", "GC", "DEL")


def silent(outcome: Outcome) -> str:
    """Standard error without what CNI_DEBUG adds: who served, and the line of times."""
    debug = (SERVED, *(f"{plugin} {verb} " for plugin in PLUGINS for verb in VERBS))
    return "".join(line for line in outcome.stderr.splitlines(keepends=True) if not line.startswith(debug))


@each_network
def test_every_verb_does_the_same(new_node: Callable[[], Node], server: Server, subject: Subject, network: str) -> None:
    """The same results but for MACs, the same kernel state after each verb, nothing left; nobody imported anything."""
    seen: list[list[Any]] = []
    container = f"same{os.getpid()}"
    for where in (None, server):
        node = new_node()
        there = subject.networks(node.data_dir)[network]
        # the network is this test's alone: GC of it would also remove what tests of deaths left on the machine
        trial = Trial(node, subject, there, pod=node.pod(container), version="1.1.0", name=container)
        found: list[Any] = []
        env = where.environ if where else {"CNI_FORKSERVER": "", "CNI_DEBUG": "1"}
        for verb in (*VERBS, "DEL", "VERSION"):
            valid: Object = {"cni.dev/valid-attachments": [{"containerID": container, "ifname": "eth0"}]}
            outcome = trial.file(verb, env=env, **(valid if verb == "GC" else {}))
            assert outcome.ok, outcome
            if where and verb != "VERSION":
                served_by(outcome)
            state = {**trial.state(), "addresses in the pod": sorted(trial.pod.all_addresses().items())}
            found.append((verb, silent(outcome), _comparable([outcome.document, state], node, trial.pod)))
        trial.finish()
        seen.append(found)
    assert seen[0] == seen[1]


def _comparable(what: Any, node: Node, pod: Pod) -> str:
    """As text, without what is drawn by lot or named by this run."""
    text = re.sub(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC", json.dumps(what, sort_keys=True, default=sorted))
    return text.replace(pod.path, "POD").replace(node.name, "NODE")


MALFORMED: dict[str, tuple[dict[str, str], str]] = {
    "not JSON": ({}, '{"name": '),
    "a lone surrogate": ({}, '{"cniVersion": "1.0.0", "name": "net1", "type": "bridge", "bridge": "\\ud800"}'),
    "NaN": ({}, '{"cniVersion": NaN}'),
    "no document": ({}, ""),
    "too deep": ({}, "[" * 100_000),
    "a bad container": ({"CNI_CONTAINERID": "../x"}, "{}"),
    "an unknown verb": ({"CNI_COMMAND": "FROB"}, '{"cniVersion": "1.0.0", "name": "n"}'),
    "an unknown version": ({}, '{"cniVersion": "9.9.9", "name": "n"}'),
    "no such namespace": ({"CNI_NETNS": "/nowhere"}, '{"cniVersion": "1.0.0", "name": "n", "type": "bridge"}'),
    "a file for a namespace": ({"CNI_NETNS": "/etc/hostname"}, '{"cniVersion": "1.0.0", "name": "n"}'),
    "its own namespace": ({"CNI_NETNS": "/proc/self/ns/net"}, '{"cniVersion": "1.0.0", "name": "n"}'),
    "no such delegate": ({}, '{"cniVersion": "1.0.0", "name": "n", "ipam": {"type": "nobody"}}'),
    "a bad address": ({}, '{"cniVersion": "1.0.0", "name": "n", "ipam": {"type": "host-local", "subnet": "x"}}'),
    "bytes that are no UTF-8": ({"CNI_ARGS": os.fsdecode(b"K8S=\xff\xfe")}, '{"cniVersion": "1.0.0", "name": "n"}'),
}


# Most are told by what all plugins share: all with one plugin, and with the others those that each may meet by itself.
OF_EACH = ("not JSON", "no such namespace", "no such delegate", "a bad address")


@pytest.mark.parametrize(
    ("plugin", "fault"),
    [(plugin, fault) for plugin in PLUGINS for fault in (MALFORMED if plugin == "bridge" else OF_EACH)],
)
def test_every_fault_is_told_in_the_same_words(node: Node, server: Server, plugin: str, fault: str) -> None:
    """The same document, exit status and standard error, traces too."""
    pod, answers = node.pod(), []
    variables, stdin = MALFORMED[fault]
    for where in (None, server):
        env = {"CNI_FORKSERVER": where.socket if where else "", "CNI_DEBUG": "1", **variables}
        outcome = node.cni(plugin, "ADD", stdin, container=pod.container, netns=pod.path, env=env)
        if where:
            served_by(outcome)
        answers.append((outcome.exit, silent(outcome), _comparable(outcome.document, node, pod)))
        if outcome.ok:
            node.cni(plugin, "DEL", stdin, container=pod.container, netns=pod.path)
    assert answers[0] == answers[1]


def test_a_delegate_of_another_make_is_executed(node: Node, server: Server) -> None:
    """Debian's host-local, started by a child of the server, as by the plugin itself."""
    section = host_local(node.data_dir, "10.7.0.0/24")
    conf = bridge(section, name="net7", isGateway=True)
    for where in (None, server):
        pod = node.pod()
        outcome = call(node, "ADD", conf, pod, where, CNI_PATH="/usr/lib/cni")
        assert outcome.ok and pod.addresses("eth0") == {outcome.result["ips"][0]["address"]}
        assert call(node, "DEL", conf, pod, where, CNI_PATH="/usr/lib/cni").ok
    assert node.leases("net7") == {}


def test_without_a_verb_the_plugin_introduces_itself(binaries: Path, server: Server) -> None:
    """No CNI_COMMAND: the line on standard error, whether or not a server is there."""
    done = [
        subprocess.run([binaries / "bridge"], env=env, capture_output=True, text=True, timeout=LIMIT)
        for env in ({"CNI_FORKSERVER": ""}, {"CNI_FORKSERVER": server.socket})
    ]
    assert [(one.returncode, one.stdout) for one in done] == [(0, "")] * 2
    assert done[0].stderr == done[1].stderr and "CNI bridge plugin" in done[0].stderr


def test_a_large_environment_goes_over_or_the_call_is_served_cold(node: Node, server: Server) -> None:
    """A packet has a size; what does not fit is no fault."""
    pod = node.pod()
    for size in (50_000, 120_000):  # one variable holds 128 KiB at most
        outcome = call(node, "ADD", layer2(), pod, server, A="x" * size, B="y" * size)
        assert outcome.ok
        assert (SERVED in outcome.stderr) == (size < 100_000)
        assert call(node, "DEL", layer2(), pod).ok
