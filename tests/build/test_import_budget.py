"""Each verb of each plugin imports what is listed in ``imports/`` and nothing else: what creeps in is seen in review.

The lists are of modules, not of times. When a change of theirs is meant: `bench/imports.py --write`, as root, and look
at the difference. They are made with Debian 12's Python, whose standard library is what it is there.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from build.surroundings import DIST, PYTHON
from node.topology import Node

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "bench"))
import imports  # noqa: E402

pytestmark = pytest.mark.real
VERSION = subprocess.run([PYTHON, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
if VERSION.stdout.split() != ["3", "11"] or not (DIST / "bridge").exists():
    pytest.skip("the lists are for Python 3.11, and for what make dist makes", allow_module_level=True)

# What is dear and what a verb can do without: none of the lists may have it, whatever --write wrote.
DEAR = {"re", "enum", "typing", "dataclasses", "logging", "json", "asyncio", "pathlib", "subprocess", "socket"}
DEAR |= {"threading", "collections", "functools", "contextlib", "importlib.util", "ctypes", "hashlib", "ipaddress"}
DEAR |= {"inspect", "shutil", "tempfile", "site", "pyroute2.iproute", "pyroute2.ndb", "multiprocessing", "traceback"}


@pytest.mark.parametrize("plugin", imports.PLUGINS)
def test_each_verb_imports_what_is_listed(plugin: str, node: Node) -> None:
    found = imports.survey(plugin, node, node.data_dir)
    assert list(found) == list(imports.VERBS)
    for verb, modules in found.items():
        names = [name for name, _ in modules]
        listed = (imports.LISTS / f"{plugin}-{verb}.txt").read_text().split()
        more, less = sorted(set(names) - set(listed)), sorted(set(listed) - set(names))
        assert (more, less) == ([], []), f"{plugin} {verb}: bench/imports.py --write if that is meant"
        assert len(names) == len(set(names)), f"{plugin} {verb} imports something twice"


def test_every_plugin_and_verb_has_its_list() -> None:
    plugins = [at.name for at in (ROOT / "plugins").iterdir() if at.is_dir()]
    assert sorted(imports.PLUGINS) == sorted(plugins)
    lists = {at.stem for at in imports.LISTS.iterdir()}
    assert lists == {f"{plugin}-{verb}" for plugin in plugins for verb in imports.VERBS}


def test_no_list_has_what_is_dear() -> None:
    for at in imports.LISTS.iterdir():
        assert DEAR.isdisjoint(at.read_text().split()), at.name


@pytest.mark.parametrize("plugin", imports.PLUGINS)
def test_status_imports_nothing_that_makes_or_removes(plugin: str) -> None:
    """containerd 2 asks each plugin of the list every five seconds: no message classes, no effects, no second verb."""
    listed = (imports.LISTS / f"{plugin}-STATUS.txt").read_text().split()
    rooms = ("wanted", "device", "gateway", "port", "store", "leases", "hostports", "change", "layout", "localnet")
    other = {f"cni_{each.replace('-', '_')}.{room}" for each in imports.PLUGINS for room in rooms}
    other |= {f"cni.kernel.{room}" for room in ("expressions", "records", "namespace", "sysctl", "conntrack")}
    assert not [name for name in listed if name.startswith("pyroute2") or name in other]
    assert len(listed) <= 1.6 * len((imports.LISTS / f"{plugin}-VERSION.txt").read_text().split()) + 36


def test_an_import_that_creeps_in_is_seen(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The survey tells modules of the library as well as ours, and those that a call imports late."""
    found = imports.survey("portmap", node, node.data_dir)
    names = {name for name, _ in found["ADD"]}
    assert {"frontdoor", "cni.skel", "cni_portmap.verbs", "fcntl", "pyroute2.netlink"} <= names
    assert "cni_portmap.verbs" not in {name for name, _ in found["VERSION"]}
