"""DEL in all its forms: whatever the runtime still knows and whatever is still there, nothing stays."""

from collections.abc import Callable
from typing import Any

import pytest

from contract.each import each_distinct_network
from contract.subject import Subject
from contract.trial import IN_GUEST, Settled, Trial, differences, snapshot
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
if IN_GUEST:
    FORMS = dict(list(FORMS.items())[::3])


@each_distinct_network
def test_del_leaves_nothing(node: Node, subject: Subject, network: str) -> None:
    """Each form, for a pod of its own; another pod stays as it is. DEL of what was never added is a success too."""
    never = Trial(node, subject, subject.networks(node.data_dir)[network])
    assert never.serve("DEL", prevResult=None).ok
    assert never.left() == {}
    never.finish()
    settled = Settled(node, subject, network)
    assert never.serve("DEL", **NOTHING).ok
    assert differences(settled.snapshot, snapshot(node)) == {}
    values, settled.network.values = settled.network.values, {}  # a port has one owner
    stays = settled.trial()
    assert stays.serve("ADD").ok
    settled.network.values, settled.snapshot = values, snapshot(node)
    for form, calls in FORMS.items():
        trial = settled.trial()
        assert trial.serve("ADD").ok
        for call in calls(trial):
            outcome = trial.serve("DEL", **call)
            assert outcome.ok, f"{form}: {outcome.stdout}"
        if form.startswith("late"):
            trial.finish()
            assert differences(settled.snapshot, snapshot(node)) == {}, form
        else:
            assert trial.left() == {}, form
            trial.finish()
    checked = stays.serve("CHECK")
    assert checked.ok, checked.stdout
