"""A caller's mount namespace may hold anything under any path: no file of it is executed as a module."""

import ast
import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from build.surroundings import POISON
from forkserver.server import DIST, PROGRAM, Server, served_by
from node.configuration import bridge, host_local
from node.plugin import LIMIT, Outcome
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        PROGRAM.read_bytes()[:4] == b"\x7fELF",
        reason="the native file imports from nothing but itself: tests/native",
    ),
]
ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
WHERE = subprocess.run([PYTHON, "-c", "import os; print(os.path.dirname(os.__file__))"], capture_output=True, text=True)
LIBRARY = Path(WHERE.stdout.strip())

# A client that has started already when its mount namespace is spoilt: arguments are a folder and the plugin's file.
CALLER = """
import sys
sys.argv[1:] = sys.argv[2:]
sys.path.insert(0, sys.argv[1])
import _socket, frontdoor, handover, os
from ctypes import CDLL
line = open(sys.argv[1], "rb").readline().decode()
build = line.rpartition("('")[2].split("'")[2]
package = "cni_" + os.path.basename(sys.argv[1]).replace("-", "_")
CDLL(None).unshare(0x20000)
subject, library = FOLDER, LIBRARY
def mount(*words):
    assert os.waitpid(os.posix_spawn("/bin/mount", ["mount", *words], {}), 0)[1] == 0
mount("--make-rprivate", "/")
mount("--bind", subject + "/library", library)
mount("--bind", subject + "/dist", os.path.dirname(sys.argv[1]))
frontdoor.plugin(package, build)
"""


def planted(folder: Path) -> Path:
    """A library and a dist/ in which every module ends the process; the archives have their true marks."""
    (folder / "library").mkdir()
    for at in LIBRARY.iterdir():
        if at.suffix == ".py":
            (folder / "library" / at.name).write_text(POISON)
        elif at.is_dir() and (at / "__init__.py").exists():
            (folder / "library" / at.name).mkdir()
            (folder / "library" / at.name / "__init__.py").write_text(POISON)
    (folder / "dist").mkdir()
    for at in DIST.iterdir():
        if not zipfile.is_zipfile(at):
            continue
        data = io.BytesIO()
        with zipfile.ZipFile(at) as real, zipfile.ZipFile(data, "w") as false:
            false.comment = real.comment
            for name in real.namelist():
                if name.endswith(".py"):
                    false.writestr(name, POISON)
        (folder / "dist" / at.name).write_bytes(at.read_bytes().split(b"\n", 1)[0] + b"\n" + data.getvalue())
        (folder / "dist" / at.name).chmod(0o755)
    return folder


@pytest.mark.parametrize("plugin", ["bridge", "loopback"])
def test_nothing_planted_in_the_callers_mounts_is_executed(
    node: Node, server: Server, tmp_path: Path, plugin: str
) -> None:
    """Python's library and all of dist/ are replaced: a whole chain with a delegate in process, faults and traces too."""
    folder, pod = planted(tmp_path), node.pod()
    good = bridge(host_local(node.data_dir, "10.1.2.0/24", "fd00::/64"), isGateway=True, ipMasq=True, macspoofchk=True)
    good["type"] = plugin
    calls: list[tuple[str, str, bool]] = [
        ("ADD", json.dumps(good), True),
        ("ADD", '{"name": ', False),
        ("CHECK", json.dumps({**good, "prevResult": {"ips": [{"address": 7}]}}), plugin == "loopback"),
        (
            "ADD",
            json.dumps({**good, "name": "n2", "ipam": {"type": "host-local", "dataDir": "\0"}}),
            plugin == "loopback",
        ),
        ("GC", json.dumps({**good, "cniVersion": "1.1.0", "cni.dev/valid-attachments": []}), True),
        ("DEL", json.dumps(good), True),
    ]
    for verb, stdin, fine in calls:
        environ = {
            **server.environ,
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod.container,
            "CNI_NETNS": pod.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(DIST),
        }
        code = CALLER.replace("FOLDER", repr(str(folder))).replace("LIBRARY", repr(str(LIBRARY)))
        command = [PYTHON, "-ISc", code, "", DIST / plugin]
        with node.inside():
            done = subprocess.run(command, input=stdin, env=environ, capture_output=True, text=True, timeout=LIMIT)
        assert "POISONED" not in done.stderr and "not imported" not in done.stderr + done.stdout
        served_by(Outcome(done.returncode, done.stdout, done.stderr, None))
        assert (done.returncode == 0) == fine, done
    assert node.leases() == {}


def test_the_planted_files_would_end_a_process_that_imports_them(tmp_path: Path) -> None:
    """The test above can fail: here a plugin is started on the spoilt mounts."""
    folder = planted(tmp_path)
    script = f'mount --make-rprivate / && mount --bind "{folder}/dist" "{DIST}" && exec "{DIST}/loopback"'
    done = subprocess.run(
        ["unshare", "-m", "/bin/sh", "-c", script], env={}, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 77 and "POISONED" in done.stderr


SEALED = """
import sys
sys.argv[:] = [sys.argv[1]]
sys.path.insert(0, sys.argv[0])
from cni_forkserver import warming
import cni.lean
plugins = warming.import_everything(sys.argv[0])
warming.freeze()
found = {"plugins": sorted(plugins), "modules": sorted(sys.modules)}
found["libraries"] = sorted(name for one in cni.lean.LIBRARIES.values() for name in one.loaded)
warming.prevent_imports()
for name in ("this", "_lsprof", "cni.nothing", "pyroute2.ndb", "antigravity"):
    for path in ([], [sys.modules["posixpath"].__file__.rpartition("/")[0]]):
        sys.path[:] = path
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            assert error.name == name.partition(".")[0] or name == error.name, error
        else:
            found["imported"] = name
print(sys.modules["json"].dumps(found))
"""


@pytest.fixture(scope="module")
def warm() -> dict[str, Any]:
    """What is imported in a server, and whether a sealed process can import anything more."""
    done = subprocess.run([PYTHON, "-ISc", SEALED, PROGRAM], env={}, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_sealed_process_imports_nothing(warm: dict[str, Any]) -> None:
    """Neither from a path nor a builtin, a submodule or an extension, whatever is put on sys.path."""
    assert "imported" not in warm


def test_every_plugin_is_there(warm: dict[str, Any]) -> None:
    """By the package that its file hands over."""
    assert warm["plugins"] == sorted(at.name for at in (ROOT / "plugins").glob("*/cni_*"))


def named(source: Path) -> tuple[set[str], set[str]]:
    """What a module's functions import by name, and what they load of libraries, read from its source."""
    imported: set[str] = set()
    loaded: set[str] = set()
    for function in ast.walk(ast.parse(source.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.Lambda):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module)
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "load":
                loaded |= {word.value for word in node.args if isinstance(word, ast.Constant)}
    return imported, loaded


SOURCES = [
    at for top in ("common", "plugins") for at in sorted((ROOT / top).rglob("*.py")) if "__pycache__" not in at.parts
]
# The digest that CPython has without OpenSSL serves; _sha2 is that of 3.12 and later. No plugin asks for the standard
# library's addresses. _jsonscanner is in the native file alone.
NOT_NEEDED = {"hashlib", "_sha2", "_sha512", "ipaddress", "_jsonscanner"}


def test_what_a_function_imports_was_imported_before(warm: dict[str, Any]) -> None:
    """Each import statement in a function, and each module of a library that is loaded by name."""
    imported: dict[str, list[str]] = {}
    loaded: dict[str, list[str]] = {}
    for source in SOURCES:
        for found, names in zip((imported, loaded), named(source), strict=True):
            for name in names:
                found.setdefault(name, []).append(str(source.relative_to(ROOT)))
    assert {"traceback", "fcntl", "cni.valid_attachments"} <= set(imported)
    assert "pyroute2.netlink.rtnl.ifinfmsg" in loaded
    assert {name: at for name, at in imported.items() if name not in {*warm["modules"], *NOT_NEEDED}} == {}
    assert {name: at for name, at in loaded.items() if name not in warm["libraries"]} == {}
