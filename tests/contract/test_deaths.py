"""A plugin that is killed at any step leaves nothing that the next DEL, or the next ADD, does not clear away.

The executor tells an observer before and after each effect; here the observer is the SIGKILL. What is on the node after
one effect is what is there before the next one (law 2 of ``cni.plan``): that both are so is tried with DEL after ADD; the
other tests have the death after each effect. A plugin is served in a fork of the test's process, a chain by its file.
"""

from collections.abc import Iterator

import pytest

from contract.each import each_distinct_network
from contract.subject import Subject
from contract.trial import IN_GUEST, Settled, Trial, differences, snapshot
from node.dying import MOMENTS
from node.topology import Node

pytestmark = pytest.mark.real


def deaths(settled: Settled, trial: Trial, moments: tuple[str, ...]) -> Iterator[str]:
    """Where ADD died, for each effect that is tried."""
    assert settled.tried, "the plan has no effects"
    for place in settled.tried:
        for number in range(len(moments)):
            died, where = trial.die("ADD", place * len(moments) + number, moments)
            assert died, "ADD has fewer steps than the one before"
            yield where


def deleted(trial: Trial, where: str) -> None:
    """DEL succeeds, and node and pod are as before."""
    outcome = trial.serve("DEL", prevResult=None)
    assert outcome.ok, f"{where}: {outcome.stdout}"
    assert differences(trial.before, trial.state()) == {}, where


@each_distinct_network
def test_add_that_died_is_cleared_away_by_del(node: Node, subject: Subject, network: str) -> None:
    """SIGKILL before and after each effect of ADD, DEL while the namespace is there: nothing left, in it either."""
    settled = Settled(node, subject, network)
    trial = settled.trial()
    for where in deaths(settled, trial, MOMENTS[IN_GUEST:]):
        deleted(trial, where)


def dies_and_is_deleted(node: Node, settled: Settled, trial: Trial, verb: str, step: int) -> bool:
    """A verb that dies at a step, the namespace gone, DEL without a result: nothing left. Returns whether it came to the step."""
    died, where = trial.die(verb, step, ("after",))
    trial.pod.close()
    outcome = trial.serve("DEL", netns="", prevResult=None, runtimeConfig=None)
    assert outcome.ok, f"{where}: {outcome.stdout}"
    trial.finish()
    assert differences(settled.snapshot, snapshot(node)) == {}, where
    assert died or step, "the plan has no steps"
    return died


@each_distinct_network
def test_add_that_died_is_cleared_away_by_del_without_namespace(node: Node, subject: Subject, network: str) -> None:
    """SIGKILL after each effect of ADD, the namespace gone, DEL without a result: nothing left."""
    settled = Settled(node, subject, network)
    for step in settled.tried:
        assert dies_and_is_deleted(node, settled, settled.trial(), "ADD", step)


@each_distinct_network
def test_add_works_after_an_add_that_died(node: Node, subject: Subject, network: str) -> None:
    """SIGKILL after each effect of ADD: ADD again succeeds, unless the first was whole."""
    settled = Settled(node, subject, network)
    trial = settled.trial()
    refused, where = "", ""
    for where in deaths(settled, trial, ("after",)):
        assert not refused, f"only an ADD that ended may refuse another one, and not {refused}"
        again = trial.serve("ADD")
        if again.ok:
            checked = trial.serve("CHECK")
            assert checked.ok, f"{where}: {checked.stdout}"
        else:
            words = ("exists", "duplicate", "already")
            assert any(word in again.error["msg"] for word in words), f"{where}: {again.stdout}"
            refused = where
        deleted(trial, where)
    assert refused in ("", where)


@each_distinct_network
def test_del_that_died_is_completed_by_the_next(node: Node, subject: Subject, network: str) -> None:
    """SIGKILL after each effect of DEL, the namespace gone, DEL again: nothing left."""
    settled = Settled(node, subject, network)
    for step in range(200):
        trial = settled.trial()
        added = trial.serve("ADD")
        assert added.ok, added.stdout
        if not dies_and_is_deleted(node, settled, trial, "DEL", step) or IN_GUEST:
            return
    raise AssertionError("no end of steps")
