"""What a plan makes, the kinds find and remove: DEL and GC look for all that ADD leaves (law 12 of ``cni.plan``)."""

import importlib
import inspect
import io
import json
import pkgutil
from typing import Any

import pytest

from cni import plan, skel
from contract.each import each_distinct_network
from contract.subject import Subject
from contract.trial import IN_GUEST, NAME, Settled, Trial, differences
from node.plugin import DIST, PLUGINS
from node.served import plugin
from node.topology import Node

PACKAGES = ["cni", *(f"cni_{name.replace('-', '_')}" for name in PLUGINS)]


def effects() -> list[type[Any]]:
    """Every effect of every plugin: all modules of all packages are looked at."""
    found: dict[str, type[Any]] = {}
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for item in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(item) and issubclass(item, plan.Effect) and item is not plan.Effect:
                    found[f"{item.__module__}.{item.__name__}"] = item
    return [found[name] for name in sorted(found)]


@pytest.mark.parametrize("effect", effects(), ids=lambda effect: effect.__name__)
def test_an_effect_is_made_compared_and_says_whether_it_can_be_repaired(effect: type[Any]) -> None:
    """None of it is left to the base class, whose methods do not work."""
    own = [kind for kind in effect.__mro__ if kind not in (plan.Effect, plan.Kind, plan.Part, object)]
    for name in ("make", "compare", "repairable"):
        assert any(name in vars(kind) for kind in own), f"{effect.__name__} has no {name} of its own"
    if issubclass(effect, plan.Kind) and not effect.shared:
        assert effect.noun, f"{effect.__name__} has no noun, by which people and lists name it"
        assert any({"remove", "discard"} & set(vars(kind)) for kind in own), f"{effect.__name__} removes nothing"


class Watch:
    """An observer that keeps the parts of each step."""

    def __init__(self) -> None:
        self.parts: dict[str, list[Any]] = {}

    def __call__(self, step: str, part: Any, moment: str) -> None:
        if moment == "after":
            self.parts.setdefault(step, []).append(part)


@pytest.mark.real
@each_distinct_network
def test_what_wanted_makes_the_kinds_find_and_remove(node: Node, subject: Subject, network: str) -> None:
    """Each effect that is a kind and not shared is among those that DEL and GC look for, and found until DEL ends.

    One that cannot be found from the node (a lease is the IPAM plugin's) finds nothing before ADD either.
    """
    settled = Settled(node, subject, network)
    trial, added, removed, again = settled.trial(), Watch(), Watch(), Watch()
    assert trial.serve("ADD", watch=added).ok
    own = [part for part in added.parts["make"] if isinstance(part, plan.Kind) and not part.shared]
    assert own, "a plan that leaves nothing"
    with node.inside():
        found = {type(part): set(part.present(NAME)) for part in own}
    assert trial.serve("DEL", watch=removed).ok
    looked_for = [(type(part), part.identity) for part in removed.parts["remove"]]
    for part in own:
        assert any(issubclass(type(part), kind) and part.identity == identity for kind, identity in looked_for), (
            f"DEL does not look for {type(part).__name__} {part.identity}"
        )
    assert trial.collect(watch=again).ok
    collected = again.parts.get("collect", [])
    for part in own:
        # a plugin that makes nothing on the node has nothing for GC
        overlooked = collected or found[type(part)]
        assert not overlooked or any(issubclass(type(part), type(kind)) for kind in collected), f"GC overlooks {part}"
    with node.inside():
        for part in own:
            name, left = type(part).__name__, set(part.present(NAME))
            # a lease is found as a file for each address, with its owner
            owners = {str(part.attachment), part.identity}
            assert not found[type(part)] or any(owners & {each, each.owner} for each in found[type(part)]), (
                f"{name} does not find its own"
            )
            assert not any(owners & {each, each.owner} for each in left), f"{name} {part.identity} is left"


def description(trial: Trial) -> "plan.Plan[Any]":
    """The plan that CHECK has for a pod, with the result of its ADD."""
    environ = {
        "CNI_COMMAND": "CHECK",
        "CNI_CONTAINERID": trial.pod.container,
        "CNI_NETNS": trial.pod.path,
        "CNI_IFNAME": trial.ifname,
        "CNI_PATH": DIST,
    }
    call = skel.Call(environ, json.dumps(trial.keys("CHECK")).encode(), io.StringIO())
    package = plugin(trial.subject.type).package
    settings, wanted = (importlib.import_module(f"{package}.{name}") for name in ("settings", "wanted"))
    found: plan.Plan[Any] = wanted.wanted(call, settings.read(call))
    return found


@pytest.mark.real
@each_distinct_network
def test_what_a_flush_took_is_found_missing_and_made_again(node: Node, subject: Subject, network: str) -> None:
    """Laws 7 and 8: all rules and sets are gone, the differences say so, and ``ensure`` makes the node as it was."""
    there = subject.networks(node.data_dir)[network]
    rules = any(kind.startswith(("nftables", "iptables")) for kind in there.leaves)
    if IN_GUEST and not rules:
        pytest.skip("no rules")
    trial = Settled(node, subject, network).trial()
    assert trial.serve("ADD").ok
    whole = trial.state()
    with node.inside():
        assert plan.differences(description(trial)) == []
    node.run("nft", "flush", "ruleset")
    with node.inside():
        missing = plan.differences(description(trial))
        assert bool(missing) == rules
        repaired, stay = plan.ensure(description(trial))
    if rules and not subject.repairs:
        assert not repaired and len(stay) == len(missing)
        return
    assert bool(repaired) == rules and stay == []
    checked = trial.serve("CHECK")
    assert checked.ok, checked.stdout
    assert differences(whole, trial.state()) == {}
