"""An error in any effect: ADD takes back what it made, DEL goes on with the others, and the next DEL leaves nothing."""

from collections.abc import Iterable, Iterator

import pytest

from contract.each import each_distinct_network
from contract.fault import Fault, Injected, fault
from contract.subject import Subject
from contract.trial import IN_GUEST, Settled, differences
from node.topology import Node

pytestmark = pytest.mark.real
TEXT = str(Injected())


def faults(deed: str, *, late: bool, numbers: Iterable[int] = range(100)) -> Iterator[Fault]:
    """One for each of these effects, until a call reaches none."""
    for number in numbers:
        with fault(deed, number, late=late) as found:
            yield found
        if not found.where:
            return
    assert IN_GUEST, "no end of effects"


@each_distinct_network
def test_add_takes_back_what_it_made(node: Node, subject: Subject, network: str) -> None:
    """Each effect is made and fails: the error is reported, and node and pod are as they were. So they are after DEL."""
    settled = Settled(node, subject, network)
    trial, reached = settled.trial(), 0
    for watch in faults("make", late=True, numbers=[*settled.tried, *([] if IN_GUEST else [len(settled.deeds)])]):
        outcome = trial.serve("ADD", watch=watch)
        if watch.where:
            assert TEXT in outcome.error["msg"], watch.where
            assert differences(trial.before, trial.state()) == {}, watch.where
            deleted = trial.serve("DEL", prevResult=None, netns="" if reached % 2 else None)
            assert deleted.ok, f"{watch.where}: {deleted.stdout}"
            reached += 1
        else:
            assert outcome.ok
    assert reached == len(settled.tried) > 0
    assert trial.serve("DEL").ok and trial.left() == {}


@each_distinct_network
def test_del_goes_on_after_an_error(node: Node, subject: Subject, network: str) -> None:
    """Each effect's removal fails: that is reported, the others are gone, and the next DEL leaves nothing."""
    trial, reached = Settled(node, subject, network).trial(), 0
    for watch in faults("remove", late=False, numbers=[0] if IN_GUEST else range(100)):
        assert trial.serve("ADD").ok
        outcome = trial.serve("DEL", watch=watch)
        if watch.where:
            assert TEXT in outcome.error["msg"], watch.where
            outcome = trial.serve("DEL", prevResult=None)
            reached += 1
        assert outcome.ok, outcome.stdout
        assert differences(trial.before, trial.state()) == {}, watch.where
    assert reached
