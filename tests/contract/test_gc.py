"""GC removes what no valid attachment owns, and nothing else."""

import pytest

from contract.each import each_distinct_network
from contract.subject import Subject
from contract.trial import NAME, Settled, snapshot
from node.topology import Node

pytestmark = pytest.mark.real


@each_distinct_network
def test_gc_removes_the_forgotten_and_keeps_the_valid(node: Node, subject: Subject, network: str) -> None:
    """Of two pods of a network and one of another: who is listed stays, and its CHECK passes; a second GC finds nothing."""
    settled = Settled(node, subject, network)
    forgotten = settled.trial()
    assert forgotten.serve("ADD").ok
    settled.network.values = {}  # a port has one owner
    valid, foreign = settled.trial(), settled.trial(name=f"{NAME}b")
    for trial in (valid, foreign):
        assert trial.serve("ADD").ok
    kept = snapshot(node)
    assert valid.collect(forgotten, valid).ok
    assert snapshot(node) == kept, "GC removed what is valid"
    for _ in range(2):
        assert valid.collect(valid).ok
        for trial in (valid, foreign):
            checked = trial.serve("CHECK")
            assert checked.ok, checked.stdout
    for trial in (foreign, valid):
        assert trial.serve("DEL").ok
        trial.finish()
    if not forgotten.at:  # otherwise the pod has what those before it made
        assert forgotten.left() == {}
