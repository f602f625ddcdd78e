"""DEL in all its forms: whatever the runtime still knows and whatever is still there, nothing stays."""

from collections.abc import Callable
from typing import Any

import pytest

from contract.each import each_distinct_network
from contract.fault import fault
from contract.subject import Subject
from contract.trial import NAME, Settled, Trial, snapshot
from node.topology import Node

pytestmark = pytest.mark.real
Object = dict[str, Any]
NOTHING: Object = {"netns": "", "prevResult": None, "runtimeConfig": None}


def late(trial: Trial, call: Object) -> list[Object]:
    """The pod's namespace ended before."""
    trial.pod.close()
    return [call, call]


FORMS: dict[str, Callable[[Trial], list[Object]]] = {
    "with all that ADD said, twice": lambda trial: [{}, {}],
    "without prevResult": lambda trial: [{"prevResult": None}],
    "without CNI_NETNS": lambda trial: [{"netns": ""}],
    "with a path that is gone": lambda trial: [{"netns": "/run/netns/gone"}],
    "without anything": lambda trial: [NOTHING],
    "late, with the path of then": lambda trial: late(trial, {}),
    "late, without anything": lambda trial: late(trial, NOTHING),
}


@each_distinct_network
def test_del_leaves_nothing(node: Node, subject: Subject, network: str) -> None:
    """Each form, for a pod of its own, beside one that stays as it is and whose CHECK passes."""
    settled = Settled(node, subject, network)
    for form, calls in FORMS.items():
        trial = settled.trial()
        assert trial.serve("ADD").ok
        for call in calls(trial):
            outcome = trial.serve("DEL", **call)
            assert outcome.ok, f"{form}: {outcome.stdout}"
        if form.startswith("late"):
            trial.finish()
            assert snapshot(node) == settled.snapshot, form
        else:
            assert trial.left() == {}, form
            trial.finish()


@each_distinct_network
def test_del_of_one_pod_leaves_the_others_things(node: Node, subject: Subject, network: str) -> None:
    """The other one is as it was, and its CHECK passes."""
    settled = Settled(node, subject, network)
    goes = settled.trial()
    assert goes.serve("ADD").ok
    settled.network.values = {}  # a port has one owner
    stays = Trial(node, subject, settled.network)
    assert stays.serve("ADD").ok
    with_both = stays.state()
    assert goes.serve("DEL", prevResult=None).ok
    goes.finish()
    checked = stays.serve("CHECK")
    assert checked.ok, checked.stdout
    again = settled.trial()
    settled.network.values, again.capabilities = goes.capabilities, goes.capabilities
    assert again.serve("ADD").ok
    assert len(stays.state()["leases"].get(NAME, ())) == len(with_both["leases"].get(NAME, ()))


@each_distinct_network
def test_del_of_what_was_never_added(node: Node, subject: Subject, network: str) -> None:
    """A success that changes nothing: on a node that has nothing yet, and beside a pod that is attached."""
    there = subject.networks(node.data_dir)[network]
    for call in ({}, NOTHING):
        trial = Trial(node, subject, there)
        assert trial.serve("DEL", **{"prevResult": None, **call}).ok
        assert trial.left() == {}
        assert Trial(node, subject, there).serve("ADD").ok


@each_distinct_network
def test_del_after_an_add_that_failed(node: Node, subject: Subject, network: str) -> None:
    """ADD takes back what it made; the runtime calls DEL nevertheless, with the namespace or without it."""
    settled = Settled(node, subject, network)
    for netns in (None, ""):
        trial = settled.trial()
        with fault("make", len(settled.deeds) - 1, late=True) as watch:
            failed = trial.serve("ADD", watch=watch)
        assert not failed.ok and watch.where
        outcome = trial.serve("DEL", netns=netns, prevResult=None)
        assert outcome.ok, outcome.stdout
        assert trial.left() == {}
