"""Go's plugin and ours exchanged under pods that run: each checks and removes what the other made."""

import subprocess
from pathlib import Path

import pytest

from contract.each import each_returned_network, each_swapped_network
from contract.subject import SUBJECTS, Subject
from contract.trial import Trial, differences, kinds, snapshot
from node.deadline import eventually
from node.plugin import GO, SUBJECT, Object, subject_is_old_go
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(subject_is_old_go(), reason="these are about the change from it"),
]

# Where Go's DEL alone does not remove all that ours made: the tests of the way back.
BACK = {
    "firewall": "real/test_firewall_iptables.py::test_pods_are_handed_back",
    "host-device": "real/test_host_device.py::test_the_result_is_gos",
    "portmap": "real/test_portmap_swap.py::test_the_way_back_to_go",
}
# The leases of dhcp are in its daemon: real/test_dhcp_recorded.py, and in real/test_dhcp_daemon.py
# test_a_lease_of_another_daemon_is_adopted and test_gos_pair_takes_over_ours.
WITH_A_DAEMON = {"dhcp"}


def test_every_plugin_that_debian_ships_is_exchanged() -> None:
    """In both directions: by the tests below, or by one of the tests that are named above."""
    package = "containernetworking-plugins"
    listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=False).stdout
    shipped = {Path(line).name for line in listed.splitlines() if Path(line).parent == Path(GO)}
    if not shipped:
        pytest.skip(f"{package} is not installed")
    networks = {subject.type: list(subject.networks(Path("/nowhere")).values()) for subject in SUBJECTS}
    to = {type for type, found in networks.items() if any(network.go for network in found)}
    back = {type for type, found in networks.items() if any(network.back for network in found)}
    assert shipped - WITH_A_DAEMON <= to
    assert shipped - WITH_A_DAEMON <= back | set(BACK)
    assert not back & set(BACK)
    for test in BACK.values():
        file, _, function = test.partition("::")
        assert f"\ndef {function}(" in Path(__file__).parents[1].joinpath(file).read_text()


def prepared(node: Node, subject: Subject, network: str, maker: str) -> Object:
    """The node after a first pod of this maker's, which is what it leaves for the node."""
    if not subject.go:
        pytest.skip(f"{GO}/{subject.type} is not installed")
    first = Trial(node, subject, subject.networks(node.data_dir)[network])
    for verb in ("ADD", "DEL"):
        assert first.file(verb, binaries=maker).ok
    first.finish()
    return snapshot(node)


def more(before: Object, after: Object) -> Object:
    """Differences, but for chains and tables that Go's plugins leave when the last pod goes, and ours do not."""
    found = differences(before, after)
    for rules in ("nft", "iptables"):
        old, new = found.get(rules, ([], []))
        if all(rule in old for rule in new):
            found.pop(rules, None)
    return found


@each_swapped_network
def test_ours_checks_and_removes_what_go_made(node: Node, subject: Subject, network: str) -> None:
    """With the result of Go's ADD, without it, and after the namespace is gone; another pod of Go's stays whole."""
    before = prepared(node, subject, network, GO)
    there = subject.networks(node.data_dir)[network]
    for late, call in ((False, {}), (False, {"prevResult": None}), (True, {"prevResult": None})):
        trial = Trial(node, subject, there)
        assert trial.file("ADD", binaries=GO).ok
        assert bool(kinds(trial.before, trial.state())) == bool(trial.network.leaves)
        checked = trial.file("CHECK", binaries=SUBJECT)
        assert checked.ok, checked.stdout
        if late:
            trial.pod.close()
        for _ in range(2):
            outcome = trial.file("DEL", binaries=SUBJECT, **call)
            assert outcome.ok, outcome.stdout
        if not late:
            assert more(trial.before, trial.state()) == {}
        trial.finish()
        # a pair of Go's is found through the namespace alone: without it the kernel takes it down, in its own time
        assert eventually(lambda: more(before, snapshot(node)) == {}), more(before, snapshot(node))


@each_returned_network
def test_go_checks_and_removes_what_ours_made(node: Node, subject: Subject, network: str) -> None:
    """The way back without cni-handback: CHECK passes, and nothing of ours is left."""
    there = subject.networks(node.data_dir)[network]
    before = prepared(node, subject, network, SUBJECT)
    trial = Trial(node, subject, there)
    assert trial.file("ADD", binaries=SUBJECT).ok
    checked = trial.file("CHECK", binaries=GO)
    assert checked.ok is not trial.network.doubted, checked.stdout
    removed = trial.file("DEL", binaries=GO)
    assert removed.ok, removed.stdout
    assert trial.left() == {}
    trial.finish()
    assert differences(before, snapshot(node)) == {}
