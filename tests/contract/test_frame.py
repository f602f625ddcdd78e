"""The frame of a call, of every plugin: which verbs and versions it knows, which variables it wants, what it says."""

import io
import re

import pytest

from cni import skel, versions
from contract.subject import SUBJECTS, Subject
from node.plugin import Outcome
from node.served import plugin, serve

NEEDED = {
    "ADD": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    "DEL": ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
    "CHECK": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
    "GC": ["CNI_PATH"],
    "STATUS": ["CNI_PATH"],
}
FIRST = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
# A semantic version as the Go modules hashicorp/go-version and Masterminds/semver read it.
SEMANTIC = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-[0-9A-Za-z.~-]+)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?")
each = pytest.mark.parametrize("subject", SUBJECTS, ids=repr)


def answer(subject: Subject, verb: str, version: str = "1.1.0", **environ: str) -> Outcome:
    """A call that the frame refuses before the plugin is asked."""
    conf = {"cniVersion": version, "name": "net1", "type": subject.type}
    return serve(plugin(subject.type), verb, conf, environ)


def about(type: str) -> str:
    """What a plugin says without a verb."""
    log = io.StringIO()
    answered = skel.answer(skel.Plugin(type, "none"), {}, b"", log)
    assert (answered.status, answered.output) == (0, b"")
    return log.getvalue()


@each
def test_a_plugin_is_called_as_its_folder(subject: Subject) -> None:
    """Its type is the folder's name, and its package follows from it."""
    found = plugin(subject.type)
    assert found.type == subject.type
    assert about(found.type).startswith(f"CNI {subject.type} plugin v")


@each
def test_version_needs_nothing(subject: Subject) -> None:
    """Every version that the specification has."""
    told = answer(subject, "VERSION", CNI_PATH="", CNI_CONTAINERID="../x")
    assert told.document == {"cniVersion": "1.1.0", "supportedVersions": list(versions.KNOWN)}


@each
@pytest.mark.parametrize("verb", NEEDED)
def test_each_verb_is_known_and_wants_its_variables(subject: Subject, verb: str) -> None:
    """All that are missing are named together, by whichever plugin."""
    told = answer(subject, verb, **dict.fromkeys(NEEDED[verb], ""))
    assert (told.code, told.error["msg"]) == (4, f"required env variables [{','.join(NEEDED[verb])}] missing")
    assert "unknown CNI_COMMAND" not in answer(subject, verb, "0.1.0").stdout


@each
@pytest.mark.parametrize("verb", FIRST)
def test_a_verb_came_with_a_version(subject: Subject, verb: str) -> None:
    """Before it, the configuration's version does not allow it."""
    for version in versions.KNOWN[: versions.KNOWN.index(FIRST[verb])]:
        assert answer(subject, verb, version).error["msg"] == f"config version does not allow {verb}"


@each
@pytest.mark.parametrize("verb", ["add", "UPDATE", "ADD "])
def test_an_unknown_verb_is_code_4(subject: Subject, verb: str) -> None:
    assert (told := answer(subject, verb)).code == 4 and told.error["msg"] == f"unknown CNI_COMMAND: {verb}"


@each
def test_the_plugins_own_namespace_is_refused(subject: Subject) -> None:
    """Code 8, and the plugin was not asked."""
    assert answer(subject, "ADD", CNI_NETNS="/proc/thread-self/ns/net").code == 8


@pytest.mark.parametrize("type", [*(subject.type for subject in SUBJECTS), "firewall"])
def test_nomad_finds_a_version_that_it_takes(type: str) -> None:
    """It runs every file of the folder without words, and takes the first word of the output that is a version.

    Jobs with a bridge network want one of at least 0.4.0.
    """
    found = next(word for word in map(SEMANTIC.fullmatch, about(type).split()) if word)
    assert tuple(int(part) for part in found.groups()) >= (0, 4, 0)


def test_nerdctl_finds_a_version_of_firewall_that_it_takes() -> None:
    """It reads what follows "CNI firewall plugin " as a version, and uses ingressPolicy from 1.1.0 on."""
    (line,) = [line for line in about("firewall").split("\n") if line.startswith("CNI firewall plugin ")]
    found = SEMANTIC.fullmatch(line.removeprefix("CNI firewall plugin "))
    assert found and tuple(int(part) for part in found.groups()) >= (1, 1, 0)
