"""A plugin as a member of a chain: the same answer and the same node as by its own file."""

import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from contract.each import each_member_network
from contract.subject import Network, Subject, of
from contract.trial import Trial
from node.plugin import DIST, Object
from node.topology import Node

pytestmark = pytest.mark.real


def plain(value: Any, trial: Trial) -> Any:
    """A value without what is drawn by lot or names the run: MACs, and paths of namespaces."""
    text = json.dumps(value, sort_keys=True, default=sorted)
    return json.loads(re.sub(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC", text).replace(trial.pod.path, "POD"))


def as_chain(network: Network) -> Network:
    """The same list as the members of a chain."""
    capabilities = {name: True for plugin in network.plugins for name in plugin.get("capabilities", {})}
    entry: Object = {"type": "chain", "plugins": network.plugins, "capabilities": capabilities}
    return Network(entry, leaves=(), values=network.values, around=network.around)


@each_member_network
def test_a_chain_does_what_the_list_does(new_node: Callable[[], Node], subject: Subject, network: str) -> None:
    """Result, node and pod after ADD, CHECK, and after DEL; the chain's own notes are no part of it."""
    found: list[Any] = []
    for chained in (False, True):
        node = new_node()
        there = subject.networks(node.data_dir)[network]
        trial = Trial(
            node,
            of("chain") if chained else subject,
            as_chain(there) if chained else there,
            pod=node.pod(f"member{os.getpid()}"),
        )
        trial.routes = subject.routes
        added = trial.file("ADD", binaries=DIST).result
        states = [trial.state()]
        checked = trial.file("CHECK", binaries=DIST)
        assert checked.ok, checked.stdout
        assert trial.file("DEL", binaries=DIST).ok
        trial.finish()
        states.append(trial.state())
        for state in states:
            state["notes"] = [note for note in state["notes"] if not note.startswith("chain")]
        found.append(plain([added, states], trial))
    assert found[0] == found[1]
