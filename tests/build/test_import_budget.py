"""Each verb of each plugin imports what is listed in ``imports/`` and nothing else: what creeps in is seen in review.

The lists are of modules, not of times. When a change of theirs is meant: `bench/imports.py --write`, as root, and look
at the difference. They are made with Debian 12's Python 3.11; `importlists.py` says what differs in Debian 13's 3.13.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from build.surroundings import DIST, PYTHON
from contract.subject import SUBJECTS, Network, Subject, lacking, of
from node.configuration import host_local
from node.plugin import PLUGINS
from node.topology import Node

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "bench"))
import importlists  # noqa: E402
import imports  # noqa: E402

pytestmark = pytest.mark.real
VERSION = subprocess.run(
    [PYTHON, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True
)
PYTHON_VERSION = VERSION.stdout.strip()
if PYTHON_VERSION not in importlists.DIFFERENCES or not (DIST / "bridge").exists():
    versions = " and ".join(importlists.DIFFERENCES)
    pytest.skip(f"the lists are for Python {versions}, and for what make dist makes", allow_module_level=True)

# What is dear and what a verb can do without: none of the lists may have it, whatever --write wrote.
DEAR = {"re", "enum", "typing", "dataclasses", "logging", "json", "asyncio", "pathlib", "subprocess", "socket"}
DEAR |= {"threading", "collections", "functools", "contextlib", "importlib.util", "ctypes", "hashlib", "ipaddress"}
DEAR |= {"inspect", "shutil", "tempfile", "site", "pyroute2.iproute", "pyroute2.ndb", "multiprocessing", "traceback"}
each = pytest.mark.parametrize("subject", SUBJECTS, ids=repr)


@each
def test_each_verb_imports_what_is_listed(subject: Subject, node: Node) -> None:
    if lacking(subject.kind):
        pytest.skip(f"the kernel has no {subject.kind}")
    found = imports.survey(subject, node)
    expected = importlists.listed(imports.LISTS, subject.type, PYTHON_VERSION)
    assert list(found) == list(expected) == list(importlists.VERBS)
    for verb, modules in found.items():
        names = [name for name, _ in modules]
        more, less = sorted(set(names) - expected[verb]), sorted(expected[verb] - set(names))
        assert (more, less) == ([], []), f"{subject} {verb}: bench/imports.py --write if that is meant"
        assert len(names) == len(set(names)), f"{subject} {verb} imports something twice"


def test_every_plugin_has_its_list_beside_the_common_one() -> None:
    assert {at.stem for at in imports.LISTS.iterdir()} == {*PLUGINS, importlists.COMMON}


def test_the_lists_are_as_they_would_be_written(tmp_path: Path) -> None:
    """So they are as short as they can be, and a group that is broken by hand is seen."""
    surveyed = {plugin: importlists.listed(imports.LISTS, plugin) for plugin in PLUGINS}
    shutil.copytree(imports.LISTS, tmp_path / "lists")
    importlists.write(tmp_path / "lists", surveyed)
    for at in imports.LISTS.iterdir():
        assert (tmp_path / "lists" / at.name).read_text() == at.read_text(), "bench/imports.py --write"


def test_a_group_is_of_modules_of_several_plugins() -> None:
    """No module is in two groups."""
    groups = importlists.groups(imports.LISTS)
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
    for name in groups:
        users = [plugin for plugin in PLUGINS if f"\n{name} " in "\n" + (imports.LISTS / f"{plugin}.txt").read_text()]
        assert len(users) > 1, f"only {users} have all of {name}"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_no_list_has_what_is_dear(plugin: str) -> None:
    for verb, modules in importlists.listed(imports.LISTS, plugin).items():
        assert DEAR.isdisjoint(modules), verb


@pytest.mark.parametrize("plugin", PLUGINS)
def test_status_imports_nothing_that_makes_or_removes(plugin: str) -> None:
    """containerd 2 asks each plugin of the list every five seconds: no message classes, no effects, no second verb."""
    found = importlists.listed(imports.LISTS, plugin)
    listed = found["STATUS"]
    rooms = ("wanted", "device", "gateway", "port", "store", "leases", "hostports", "change", "layout", "localnet")
    other = {f"{importlists.package_of(each)}.{room}" for each in PLUGINS for room in rooms}
    other |= {f"cni.kernel.{room}" for room in ("expressions", "records", "namespace", "sysctl", "conntrack")}
    assert not [name for name in listed if name.startswith("pyroute2") or name in other]
    assert len(listed) <= 1.6 * len(found["VERSION"]) + 36


@pytest.mark.parametrize("plugin", ["bandwidth", "tuning"])
def test_a_pod_for_which_there_is_nothing_to_do_costs_next_to_nothing(plugin: str, node: Node) -> None:
    """Most pods have no limits, and podman puts a tuning without keys behind each bridge."""
    below = {"type": "bridge", "bridge": "br0", "ipam": host_local(node.data_dir, "10.97.0.0/24")}
    found = imports.survey(of(plugin), node, Network(below, {"type": plugin}, leaves=()))
    for verb, modules in found.items():
        assert not [name for name, _ in modules if name.startswith("pyroute2")], verb
    effects = {"cni.links.limit", "cni.saved", "cni.sysctls", "cni_tuning.link", "cni.kernel.tc", "cni.kernel.rtnl"}
    assert effects.isdisjoint(name for name, _ in found["ADD"])


def test_an_import_that_creeps_in_is_seen(node: Node) -> None:
    """The survey tells modules of the library as well as ours, and those that a call imports late."""
    found = imports.survey(of("portmap"), node)
    names = {name for name, _ in found["ADD"]}
    assert {"frontdoor", "cni.skel", "cni_portmap.wanted", "fcntl", "pyroute2.netlink"} <= names
    assert "cni_portmap.wanted" not in {name for name, _ in found["VERSION"]}
