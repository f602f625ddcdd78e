"""Single modules of pyroute2 and netaddr without what importing the libraries drags in."""

import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = sysconfig.get_paths()["purelib"]
PLUGINS = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/cni_*") if path.is_dir())
PYTHON = "/usr/bin/python3"
# Milliseconds each; none of them may be loaded by a verb.
DEAR = (
    "asyncio", "dataclasses", "typing", "enum", "re", "logging", "json", "pathlib", "subprocess", "hashlib", "ipaddress",
    "multiprocessing", "threading", "socket", "traceback", "tokenize", "pprint", "inspect", "collections", "functools",
    "pyroute2", "netaddr", "pyroute2.ndb", "netaddr.core",
)  # fmt: skip


def python(body: str, *more: str) -> str:
    """What a bare interpreter prints that has our packages and the libraries, as the front door has them."""
    paths = [str(ROOT / "common"), *(str(ROOT / "plugins" / plugin) for plugin in PLUGINS), *more, SITE]
    program = f"import sys; sys.path[:0] = {paths!r}\n{body}"
    done = subprocess.run([PYTHON, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded(body: str) -> set[str]:
    """The dear modules that are loaded after this."""
    return set(python(f"{body}\nprint(*[name for name in {DEAR!r} if name in sys.modules])").split())


def test_the_bare_interpreter_has_none_of_it() -> None:
    assert loaded("") == set()


@pytest.mark.parametrize(
    "body",
    [
        "from cni.kernel import rtnl; rtnl.Rtnl().link('lo')",
        pytest.param("from cni.kernel.nftables import Nftables; Nftables().tables()", marks=pytest.mark.root),
        "from cni.address import ANY; from cni.pool import Range; Range(ANY[4], None, None, None).numbers.last",
        *("import cni.verbs, {0}.settings, {0}.wanted".format(f"cni_{plugin.replace('-', '_')}") for plugin in PLUGINS),
    ],
)
def test_nothing_dear_is_loaded(body: str) -> None:
    """Neither by our modules nor by those of the libraries that they use."""
    assert loaded(body) == set()


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"])
def test_a_whole_call_of_host_local_loads_nothing_dear(verb: str, tmp_path: Path) -> None:
    """With CNI_DEBUG off; all verbs, ranges and store included."""
    conf = {
        "cniVersion": "1.1.0",
        "name": "net1",
        "cni.dev/valid-attachments": [],
        "ipam": {"type": "host-local", "dataDir": str(tmp_path), "subnet": "10.1.0.0/24"},
    }
    body = f"""
import cni_host_local.index
cni_host_local.index.ROOT = {str(tmp_path / "index")!r}
from cni import skel, wire
from cni_host_local.plugin import PLUGIN
environ = {{"CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/x", "CNI_PATH": "/x"}}
conf = wire.encode({conf!r}).encode()
for verb in ("ADD", {verb!r}):
    answered = skel.answer(PLUGIN, {{**environ, "CNI_COMMAND": verb}}, conf, sys.stderr)
    answered.close()
assert answered.status == {int(verb == "ADD")}, answered.output
"""
    assert loaded(body) == set()


@pytest.mark.parametrize(
    ("lean", "name", "stand_ins"),
    [
        (
            "from cni.kernel import pyroute; m = pyroute.load('pyroute2.netlink.rtnl.ifinfmsg')",
            "pyroute2",
            "logging enum",
        ),
        ("from cni import pool; m = pool.LIBRARY.load('netaddr.ip')", "netaddr", "re pprint"),
    ],
    ids=["pyroute2", "netaddr"],
)
def test_everything_is_put_back(lean: str, name: str, stand_ins: str) -> None:
    """Whoever imports the library or a module that had a stand-in afterwards gets the real one."""
    body = f"""
{lean}
assert not [m for m in sys.modules if m.split('.')[0] == {name!r}], sys.modules.keys()
assert not set({stand_ins.split()!r}) & set(sys.modules)
for stand_in in {stand_ins.split()!r}:
    __import__(stand_in)
    assert getattr(sys.modules[stand_in], "__file__", None), stand_in
import {name}
assert {name}.__file__
"""
    if name == "netaddr":
        body += "import netaddr; assert str(netaddr.IPNetwork('10.0.0.0/8')[5]) == '10.0.0.5'"
    else:
        body += "from pyroute2 import IPRoute"
    python(body)


def test_a_module_is_loaded_once_and_shares_its_classes() -> None:
    python(
        """
from cni.kernel import pyroute
first = pyroute.load("pyroute2.netlink.rtnl.ifinfmsg")
assert pyroute.load("pyroute2.netlink.rtnl.ifinfmsg") is first
netlink, again = pyroute.load("pyroute2.netlink"), pyroute.load("pyroute2.netlink.rtnl.ifaddrmsg")
assert issubclass(first.ifinfmsg, netlink.nlmsg) and issubclass(again.ifaddrmsg, netlink.nlmsg)
"""
    )


def test_an_unknown_version_is_imported_plainly() -> None:
    """The stand-ins are pinned to the versions that they are known for."""
    body = """
from cni.kernel import pyroute
pyroute.KNOWN = ("0.0.0",)
module = pyroute.load("pyroute2.netlink.rtnl.ifinfmsg")
import pyroute2
assert sys.modules["pyroute2.netlink.rtnl.ifinfmsg"] is module and pyroute2.__file__ and "logging" in sys.modules
message = module.ifinfmsg()
message["index"] = 7
message.encode()
assert len(message.data) == 32
from cni.kernel.rtnl import Rtnl
assert Rtnl().link("lo").name == "lo"
"""
    python(body)


def test_the_versions_that_are_known_are_those_that_are_locked() -> None:
    """What the build bundles and what the tests have is what the stand-ins are for."""
    from importlib.metadata import version

    from cni.kernel.pyroute import KNOWN

    locked = (ROOT / "build/requirements.txt").read_text()
    for known in KNOWN:
        assert f"pyroute2=={known}" in locked and f'"pyroute2=={known}"' in (ROOT / "pyproject.toml").read_text()
    assert version("pyroute2") in KNOWN
    assert version("netaddr").startswith("1.")


def test_a_library_that_is_imported_already_is_used_as_it_is() -> None:
    python(
        """
import netaddr
from cni import pool
assert pool.LIBRARY.load("netaddr.ip") is sys.modules["netaddr.ip"]
import pyroute2
from cni.kernel import pyroute
assert pyroute.load("pyroute2.netlink.rtnl.ifinfmsg") is sys.modules["pyroute2.netlink.rtnl.ifinfmsg"]
"""
    )


def test_a_library_that_is_not_there_is_an_import_error(tmp_path: Path) -> None:
    python(
        """
from cni.lean import Library
try:
    Library("pycni_nowhere", dict, lambda: True).load("pycni_nowhere.x")
except ModuleNotFoundError as error:
    assert error.name == "pycni_nowhere"
else:
    raise AssertionError
"""
    )


def _library(folder: Path) -> None:
    package = folder / "biglib"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('the whole library was imported')")
    (package / "part.py").write_text("import dearmod\nfrom biglib.other import VALUE\nUSED = dearmod.thing('x')\n")
    (package / "other.py").write_text("VALUE = 5\n")
    (folder / "dearmod.py").write_text("raise AssertionError('the dear module was imported')")


LIBRARY = """
from cni.lean import Library
library = Library("biglib", lambda: {"dearmod": {"thing": len}}, lambda: True)
"""


def test_a_module_is_loaded_with_stand_ins_and_without_the_packages_init(tmp_path: Path) -> None:
    _library(tmp_path)
    body = f"""{LIBRARY}
part = library.load("biglib.part")
assert (part.USED, part.VALUE) == (1, 5)
assert not {{"biglib", "biglib.part", "biglib.other", "dearmod"}} & set(sys.modules)
"""
    python(body, str(tmp_path))


def test_a_module_that_cannot_be_loaded_leaves_no_stand_in(tmp_path: Path) -> None:
    _library(tmp_path)
    (tmp_path / "biglib" / "bad.py").write_text("import dearmod\n1 / 0\n")
    body = f"""{LIBRARY}
try:
    library.load("biglib.bad")
except ZeroDivisionError:
    pass
assert not {{"biglib", "biglib.bad", "dearmod"}} & set(sys.modules)
assert library.load("biglib.part").USED == 1
"""
    python(body, str(tmp_path))


def test_a_module_that_is_loaded_already_serves_instead_of_its_stand_in(tmp_path: Path) -> None:
    _library(tmp_path)
    (tmp_path / "dearmod.py").write_text("def thing(x):\n    return 'real'\n")
    body = f"""import dearmod
{LIBRARY}
assert library.load("biglib.part").USED == "real"
assert sys.modules["dearmod"] is dearmod
"""
    python(body, str(tmp_path))
