"""Single files that are no plugins: started by the same front door, with the words of the command line."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from build.surroundings import DIST, PYTHON, WAYS, Way, poisoned, variables
from build.test_reproducible import PYTHON as BUILDER
from build.test_reproducible import sources
from node.plugin import LIMIT
from node.topology import Node

pytestmark = pytest.mark.real
if not (DIST / "cnitool").exists():
    pytest.skip("dist/ is not there: make dist makes it", allow_module_level=True)

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One pretended node for all; every test has pods of its own."""
    made = Node(tmp_path_factory.mktemp("leases"))
    yield made
    made.close()


class Tool:
    """cnitool with a network of our loopback, and a pod."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self.pod, self.cache = node, node.pod(), folder / "cache"
        self.configurations = folder / "net.d"
        self.configurations.mkdir()
        network = {"cniVersion": "1.0.0", "name": "net1", "plugins": [{"type": "loopback"}]}
        (self.configurations / "net1.conflist").write_text(json.dumps(network))

    def run(self, command: list[Any], *words: str, cwd: Path | str = "/", **environ: str) -> Done:
        """Run the file with these words; only its own variables, and those given, are in the environment."""
        env = {"CNI_PATH": str(DIST), "NETCONFPATH": str(self.configurations), **environ}
        with self.node.inside():
            return subprocess.run([*command, *words], env=env, cwd=cwd, capture_output=True, text=True, timeout=LIMIT)

    def add_and_delete(self, command: list[Any], cwd: Path | str = "/", **environ: str) -> None:
        """The two verbs: a result and a link that is up, nothing and a link that is down."""
        rest = ("net1", self.pod.path, "--cache", str(self.cache))
        done = self.run(command, "add", *rest, cwd=cwd, **environ)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert json.loads(done.stdout)["ips"]
        assert "UP" in self.pod.link("lo")["flags"]
        done = self.run(command, "del", *rest, cwd=cwd, **environ)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert "UP" not in self.pod.link("lo")["flags"]


@pytest.fixture
def tool(node: Node, tmp_path: Path) -> Tool:
    """The tool, with folders of its own."""
    (tmp_path / "tool").mkdir()
    return Tool(node, tmp_path / "tool")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_program_works_alone_by_any_path(tool: Tool, way: Way, tmp_path: Path) -> None:
    """As a plugin does; CNI_PATH is all that it needs of the environment."""
    command, cwd = way("cnitool", tmp_path)
    tool.add_and_delete(command, cwd)


def test_nothing_around_a_program_reaches_it(tool: Tool, tmp_path: Path) -> None:
    """Modules beside it and in the working directory; variables of Python and of shiv. Nothing is written there."""
    folder = poisoned(tmp_path / "poison")
    shutil.copy2(DIST / "cnitool", folder / "cnitool")
    before = sorted(folder.iterdir())
    for command in ([folder / "cnitool"], ["./cnitool"]):
        tool.add_and_delete(command, folder, **variables(folder))
    given = {"PYTHONINSPECT": "1", "PYTHONSTARTUP": str(folder / "json.py"), "PYTHONUSERBASE": str(folder)}
    tool.add_and_delete([PYTHON, "cnitool"], folder, **given)
    assert sorted(folder.iterdir()) == before


def test_what_main_returns_is_the_exit_status(tool: Tool) -> None:
    """And what it prints for people goes to standard error."""
    done = tool.run([DIST / "cnitool"], "status", "nowhere", tool.pod.path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("streams", [">&-", ">/dev/full"])
def test_output_that_is_lost_is_a_failure(tool: Tool, streams: str) -> None:
    """The interpreter ends in order, so what could not be written shows in the exit status."""
    command = ["/bin/sh", "-c", f'exec "$0" "$@" {streams}', DIST / "cnitool"]
    done = tool.run(command, "add", "net1", tool.pod.path, "--cache", str(tool.cache))
    assert done.returncode != 0, done


def test_a_python_that_is_too_old_is_told_to_people() -> None:
    """On standard error, in words; the front door can be read by Python 3.4."""
    with zipfile.ZipFile(DIST / "cnitool") as archive:
        for name in ("frontdoor.py", "handover.py", "__main__.py"):
            ast.parse(archive.read(name).decode(), feature_version=(3, 4))
    line = (DIST / "cnitool").read_bytes().split(b"\n", 1)[0].decode()
    code = "import sys;sys.version_info=(3, 10, 12);" + line.split(" -ISc", 1)[1]
    command = [PYTHON, "-ISc", code, str(DIST / "cnitool"), "--help"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "this needs Python 3.11 or later, and /usr/bin/python3 is 3.10\n"


GREETER = """
import sys


def main(argv: list[str]) -> int:
    from cni.kernel import rtnl
    import cni_bridge.plugin
    import cni_loopback.plugin

    print(sys.argv[0], argv, cni_bridge.plugin.PLUGIN.type, cni_loopback.plugin.PLUGIN.type, rtnl.__name__)
    return 3
"""
ANOTHER = """
import sys

sys.path.insert(0, "build")
import dist

dist.PROGRAMS["say-it"] = dist.Program("greeter.hello", ("tools/greet/greeter", "plugins/*/cni_*"))
dist.main(["say-it"])
"""


def test_a_program_may_carry_packages_of_several_folders(tmp_path: Path) -> None:
    """One of its own, every plugin's by a wildcard, and the libraries; words reach ``main`` as they were given."""
    sources(tmp_path, backwards=False, when=1_650_000_000)
    package = tmp_path / "tools/greet/greeter"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "hello.py").write_text(GREETER)
    built = subprocess.run([BUILDER, "-c", ANOTHER], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built
    file = tmp_path / "dist/say-it"
    words = ["-c", "two words", "", "--", os.fsdecode(b"\xff")]
    done = subprocess.run(["dist/say-it", *words], env={}, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 3, done
    assert done.stdout == f"{file} {words!r} bridge loopback cni.kernel.rtnl\n"


def test_an_editable_installation_has_the_packages_and_the_programs() -> None:
    """`pip install -e .`, as `make venv` does it: no path of pytest's is needed to import them."""
    code = "import cni.skel, cni_bridge.plugin, libcni.containerd as it; print(it.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=LIMIT)
    assert done.stdout == f"{DIST.parent}/runtime/libcni/containerd/__init__.py\n", done
    program = Path(sys.executable).with_name("cnitool")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cnitool" in done.stdout
