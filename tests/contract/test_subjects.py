"""Every plugin has a Subject, and what the Subject says is so."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from cni.settings import Section
from contract.each import each_network
from contract.subject import SUBJECTS, Subject, names
from contract.trial import Settled, differences, kinds
from node.plugin import PLUGINS
from node.topology import Node


def test_every_plugin_has_a_subject() -> None:
    """A folder in plugins/ needs tests/contract/subjects/<plugin>.py, and nothing else there is a subject."""
    assert names() == list(PLUGINS)
    assert [subject.type for subject in SUBJECTS] == list(PLUGINS)


@pytest.mark.parametrize("subject", SUBJECTS, ids=repr)
def test_a_subject_names_every_key_that_the_plugin_reads(subject: Subject) -> None:
    """So that bad input and STATUS are tried with all of them."""
    settings = importlib.import_module(f"cni_{subject.type.replace('-', '_')}.settings")
    sections = [each for each in vars(settings).values() if isinstance(each, type) and issubclass(each, Section)]
    own: list[type[Section]] = [each for each in sections if each.__module__ == settings.__name__]
    read = {key.name for section in own for key in section.TABLE.keys}
    assert read <= _named([subject.keys, *subject.more])
    assert own or not hasattr(settings, "Settings")


def _named(value: Any) -> set[str]:
    """The keys of all objects in a value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {*(value if isinstance(value, dict) else ()), *(key for item in inner for key in _named(item))}


@pytest.mark.real
@each_network
def test_a_network_leaves_what_its_subject_says(node: Node, subject: Subject, network: str) -> None:
    """After ADD there are the declared kinds of things and no others, and CHECK passes; after DEL there is nothing."""
    settled = Settled(node, subject, network)
    trial = settled.trial()
    assert trial.serve("ADD").ok
    assert kinds(trial.before, trial.state()) == settled.network.leaves
    checked = trial.serve("CHECK")
    assert checked.ok, checked.stdout
    assert trial.serve("DEL").ok
    assert differences(trial.before, trial.state()) == {}


def test_a_plugin_without_a_subject_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first test of this file can fail."""
    (tmp_path / "subjects").mkdir()
    (tmp_path / "subjects/bridge.py").touch()
    monkeypatch.setattr("contract.subject.__file__", str(tmp_path / "subject.py"))
    assert names() == ["bridge"]
