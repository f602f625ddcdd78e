"""cnitool: the Go tool's arguments, environment, output and exit status; readable errors and ``--json``."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from libcni import cnitool
from node.configuration import bridge, host_local
from node.topology import Node

from .stub import Stubs, error, result

ROOT = Path(__file__).parents[2]
USED = "/var/run/netns/x"


class Tool:
    """The tool with an environment of its own."""

    def __init__(self, stubs: Stubs, tmp_path: Path) -> None:
        self.stubs, self.tmp_path = stubs, tmp_path
        self.folder = tmp_path / "net.d"
        self.folder.mkdir()
        self.environ = {"NETCONFPATH": str(self.folder), "CNI_PATH": str(stubs.folder)}

    def net(self, *plugins: str, version: str = "1.0.0", **keys: Any) -> None:
        entries = [{"type": plugin, **keys} for plugin in plugins]
        document = {"cniVersion": version, "name": "net1", "plugins": entries}
        (self.folder / "10.conflist").write_text(json.dumps(document))

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        cache = ("--cache", str(self.tmp_path / "cache")) if len(arguments) > 2 else ()
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime"}
        command = [sys.executable, "-m", "libcni.cnitool", *arguments, *cache]
        return subprocess.run(
            command, env={**base, **self.environ, **environ}, capture_output=True, text=True, timeout=60, cwd="/"
        )


@pytest.fixture
def tool(stubs: Stubs, tmp_path: Path) -> Tool:
    return Tool(stubs, tmp_path)


def test_every_verb(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", result("1.1.0"))
    tool.net("one", version="1.1.0", capabilities={"mac": True})
    added = tool.run("add", "net1", "var/run/netns/x", CNI_ARGS="A=1;B=2", CAP_ARGS='{"mac":"00:11"}')
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout == (
        '{\n    "cniVersion": "1.1.0",\n    "ips": [\n        {\n            "address": "10.1.2.3/24"\n        }\n    ]\n}'
    )
    call = stubs.calls[0]
    assert call.environ["CNI_CONTAINERID"] == "cnitool-4acf487154af9777be71"
    assert (call.environ["CNI_NETNS"], call.environ["CNI_IFNAME"], call.environ["CNI_ARGS"]) == (
        USED,
        "eth0",
        "A=1;B=2",
    )
    assert call.config["runtimeConfig"] == {"mac": "00:11"}
    for verb in ("check", "status", "del"):
        done = tool.run(verb, "net1", USED)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tool.run("add", "net1", USED)
    assert tool.run("gc", "net1", USED).returncode == 0
    verbs = [call.verb for call in stubs.calls]
    assert verbs == ["ADD", "CHECK", "STATUS", "DEL", "ADD", "DEL", "GC"]


@pytest.mark.parametrize(
    ("arguments", "environ", "ifname"),
    [((), {}, "eth0"), ((), {"CNI_IFNAME": "net0"}, "net0"), (("-i", "a0"), {"CNI_IFNAME": "net0"}, "a0"),
     (("--ifname", "b0"), {}, "b0"), ((), {"CNI_IFNAME": ""}, "eth0")],
)  # fmt: skip
def test_whose_name_the_interface_has(
    tool: Tool, stubs: Stubs, arguments: tuple[str, ...], environ: dict[str, str], ifname: str
) -> None:
    stubs.add("one", result())
    tool.net("one")
    assert tool.run("add", "net1", USED, *arguments, **environ).returncode == 0
    assert stubs.calls[0].environ["CNI_IFNAME"] == ifname


@pytest.mark.parametrize(
    ("arguments", "environ", "text"),
    [
        (("add", "net1", USED), {"CNI_ARGS": "A"}, 'Error: invalid CNI_ARGS pair "A"'),
        (("add", "net1", USED), {"CNI_ARGS": "A=1;"}, 'Error: invalid CNI_ARGS pair ""'),
        (("add", "net1", USED), {"CNI_ARGS": "A=1=2"}, 'Error: invalid CNI_ARGS pair "A=1=2"'),
        (("add", "net1", USED), {"CAP_ARGS": "{"}, "Error: invalid CAP_ARGS: "),
        (("add", "net1", USED), {"CAP_ARGS": "[]"}, "Error: invalid CAP_ARGS: it must be a JSON object"),
        (
            ("add", "net1", USED),
            {"CNI_PATH": ""},
            'Error: plugin type="one" failed (add): no paths provided\n  CNI_PATH must',
        ),
        (("add", "none", USED), {}, 'Error: no net configuration with name "none" in '),
        (("add", "net1", USED), {"NETCONFPATH": "/none"}, "Error: no net configurations found in /none\n  NETCONFPATH"),
        (("add", "net1"), {}, "usage: cnitool add"),
        (("foo",), {}, "usage: cnitool"),
    ],
)
def test_what_cannot_be_used(
    tool: Tool, stubs: Stubs, arguments: tuple[str, ...], environ: dict[str, str], text: str
) -> None:
    stubs.add("one", result())
    tool.net("one")
    done = tool.run(*arguments, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(text)
    assert stubs.order == []


def test_help() -> None:
    assert cnitool.main([]) == 0


def test_a_plugins_error_for_people(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", result(), DEL=error(11, "stuck"))
    stubs.add("two", error(7, "no", "try this"), DEL={})
    tool.net("one", "two")
    done = tool.run("add", "net1", USED, "--undo")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'Error: plugin type="two" failed (add): no; try this\n  undoing plugin type="one" failed: stuck\n'
    )


def test_a_plugins_error_for_programs(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", {**error(7, "no", "try this"), "stderr": "noise"})
    tool.net("one")
    done = tool.run("--json" if False else "add", "net1", USED, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout) == {
        "ok": False,
        "error": {
            "code": 7,
            "msg": 'plugin type="one" failed (add): no; try this',
            "path": str(stubs.folder / "one"),
            "status": "exit status 1",
            "stderr": "noise",
        },
    }
    (tool.folder / "10.conflist").write_text('{"name":\n1}')
    found = json.loads(tool.run("del", "net1", USED, "--json").stdout)["error"]
    assert (found["file"], found["line"], found["column"]) == (f"{tool.folder}/10.conflist", 2, 1)


def test_a_result_for_programs(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", result())
    tool.net("one")
    assert json.loads(tool.run("add", "net1", USED, "--json").stdout) == {
        "ok": True,
        "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]},
    }
    assert json.loads(tool.run("del", "net1", USED, "--json").stdout) == {"ok": True}


def test_time(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", {"sleep": 60})
    tool.net("one")
    assert "0.3 s and was killed" in tool.run("del", "net1", USED, "--timeout", "0.3").stderr


@pytest.mark.real
def test_with_real_plugins(node: Node, binaries: str, tool: Tool) -> None:
    """In the node's own namespace, as people use it."""
    conf = bridge(host_local(node.data_dir, "10.77.0.0/24"))
    (tool.folder / "10-net1.conf").write_text(json.dumps(conf))
    pod = node.pod()
    with node.inside():
        added = tool.run("add", "net1", pod.path, CNI_PATH=binaries)
        assert added.returncode == 0, added.stderr
        assert pod.addresses("eth0") == {"10.77.0.2/24"}
        assert tool.run("check", "net1", pod.path, CNI_PATH=binaries).returncode == 0
        removed = tool.run("del", "net1", pod.path, CNI_PATH=binaries)
    assert removed.returncode == 0, removed.stderr
    assert node.leases() == {}
