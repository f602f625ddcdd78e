"""dist/cnitool: the Go tool's arguments, environment, output and exit status; readable errors and ``--json``."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from libcni import _commandline
from node.configuration import bridge, host_local
from node.deadline import eventually
from node.plugin import DIST
from node.topology import Node

from .stub import Stubs, error, result

ROOT = Path(__file__).parents[2]
USED = "/var/run/netns/x"
TOOL = Path(DIST, "cnitool")

if not TOOL.exists():
    pytest.skip("dist/cnitool is not there: make dist makes it", allow_module_level=True)


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
        base = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            [TOOL, *arguments, *cache],
            env={**base, **self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
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


@pytest.mark.parametrize("to", ["&-", "/dev/full"])
def test_what_nobody_can_read_of_a_plugin_does_not_fail_it(tool: Tool, stubs: Stubs, to: str) -> None:
    """The attachment is kept, and can be deleted; also a line without an end is no fault at the tool's own end."""
    stubs.add("one", {**result("1.0.0"), "stderr": "a warning without an end"})
    tool.net("one")
    for verb, left in (("add", 1), ("del", 0)):
        command = ["/bin/sh", "-c", f'exec "$@" 2>{to}', "sh", TOOL, verb, "net1", USED, "--cache", tool.tmp_path / "c"]
        done = subprocess.run(
            command, env={"PATH": os.environ["PATH"], **tool.environ}, capture_output=True, timeout=60
        )
        assert (done.returncode, bool(done.stdout)) == (0, verb == "add")
        assert len(os.listdir(tool.tmp_path / "c/results")) == left


def test_the_id_is_that_of_a_clean_path(tool: Tool, stubs: Stubs) -> None:
    """Go's library knows no path with two slashes in front."""
    stubs.add("one", result("1.0.0"))
    tool.net("one")
    for path in (USED, f"/{USED}", f"//{USED}", "/var/./run//netns/y/../x/"):
        assert tool.run("add", "net1", path).returncode == 0
    names = {(call.environ["CNI_CONTAINERID"], call.environ["CNI_NETNS"]) for call in stubs.calls}
    assert names == {("cnitool-4acf487154af9777be71", USED)}


def test_where_networks_are_looked_for(tool: Tool, stubs: Stubs) -> None:
    """Several folders, in order; Go's one where none is named."""
    stubs.add("one", result())
    tool.net("one")
    assert tool.run("add", "net1", USED, NETCONFPATH=f"/none::{tool.folder}").returncode == 0
    done = tool.run("add", "no-such-network", USED, NETCONFPATH="")
    assert done.returncode == 1
    assert "/etc/cni/net.d\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "text"),
    [
        (("add", "net1", USED), {"CNI_ARGS": "A"}, 'Error: invalid CNI_ARGS pair "A"'),
        (("add", "net1", USED), {"CNI_ARGS": "A=1;"}, 'Error: invalid CNI_ARGS pair ""'),
        (("add", "net1", USED), {"CNI_ARGS": "A=1=2"}, 'Error: invalid CNI_ARGS pair "A=1=2"'),
        (("add", "net1", USED), {"CNI_ARGS": "A=1;B="}, 'Error: invalid CNI_ARGS pair "B="'),
        (("add", "net1", USED), {"CNI_ARGS": "=1"}, 'Error: invalid CNI_ARGS pair "=1"'),
        (("add", "net1", USED), {"CAP_ARGS": "{"}, "Error: invalid CAP_ARGS: "),
        (("add", "net1", USED), {"CAP_ARGS": "[]"}, "Error: invalid CAP_ARGS: it must be a JSON object"),
        (
            ("add", "net1", USED),
            {"CNI_PATH": ""},
            'Error: plugin type="one" failed (add): no paths provided\n  CNI_PATH must',
        ),
        (("add", "none", USED), {}, 'Error: no net configuration with name "none" in '),
        (("add", "net1", USED), {"NETCONFPATH": "/none"}, "Error: no net configurations found in /none\n  NETCONFPATH"),
        (("add", "net1"), {}, "Error: requires at least 2 arg(s), only received 1\n\n"),
        (("status",), {}, "Error: requires at least 2 arg(s), only received 0\n\n"),
        (("-h", "foo"), {}, 'Error: unknown command "foo" for "cnitool"'),
        (("foo", "net1", USED), {}, 'Error: unknown command "foo" for "cnitool"\n\n'),
        (("add", "net1", USED, "--frob"), {}, "Error: unknown flag: --frob\n\n"),
        (("add", "net1", USED, "-x"), {}, "Error: unknown shorthand flag: 'x' in -x\n\n"),
        (("add", "net1", USED, "--timeout", "soon"), {}, 'Error: invalid argument "soon" for "--timeout" flag'),
        (("add", "net1", USED, "--timeout=-1"), {}, 'Error: invalid argument "-1" for "--timeout" flag'),
        (("add", "net1", USED, "--timeout=nan"), {}, 'Error: invalid argument "nan" for "--timeout" flag'),
        (("add", "net1", USED, "--json=false"), {}, 'Error: invalid argument "false" for "--json=false" flag'),
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


def test_a_flag_without_its_value() -> None:
    """It is the last word: nothing may be taken for the value."""
    done = subprocess.run([TOOL, "add", "net1", USED, "-i"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: flag needs an argument: -i\n")


@pytest.mark.parametrize("words", [(), ("--help",), ("help",), ("-h", "--json")])
def test_help_is_no_error(tool: Tool, words: tuple[str, ...]) -> None:
    done = tool.run(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cnitool VERB NETWORK NETNS" in done.stdout
    for word in (*_commandline.VERBS, "CNI_PATH", "NETCONFPATH", "CNI_IFNAME", "CNI_ARGS", "CAP_ARGS", "--json"):
        assert word in done.stdout


@pytest.mark.parametrize("verb", _commandline.VERBS)
def test_help_of_a_verb(tool: Tool, verb: str) -> None:
    asked, helped = tool.run("help", verb), tool.run(verb, "--help")
    assert (asked.returncode, asked.stdout) == (helped.returncode, helped.stdout) == (0, _commandline.usage(verb))
    assert asked.stdout.startswith(_commandline.VERBS[verb])
    assert f"cnitool {verb} NETWORK NETNS" in asked.stdout


@pytest.mark.parametrize(
    "words",
    [
        "add net ns -i x --json --timeout 2",
        "-i x --json --timeout 2 add net ns",
        "add --json net -ix ns --timeout=2 more words",
        "--timeout=2 add -i=x net --json ns",
        "add net --ifname=x --json --timeout 2 -- ns -y",
    ],
)
def test_flags_stand_anywhere(words: str) -> None:
    """Before the verb, between the arguments, behind them; further words are ignored."""
    found = _commandline.parse(words.split())
    assert (found.verb, found.network, found.netns) == ("add", "net", "ns")
    assert (found.ifname, found.json, found.timeout, found.undo, found.cache) == ("x", True, 2.0, False, "")


def test_a_plugins_error_for_people(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", result(), DEL=error(11, "stuck"))
    stubs.add("two", error(7, "no", "try this"), DEL={})
    tool.net("one", "two")
    done = tool.run("add", "net1", USED, "--undo")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        'Error: plugin type="two" failed (add): no; try this\n  undoing plugin type="one" failed: stuck\n'
    )


@pytest.mark.parametrize("version", ["0.3.1", "1.0.0", "1.1.0"])
def test_status_names_a_missing_plugin_in_every_version(tool: Tool, stubs: Stubs, version: str) -> None:
    stubs.add("one")
    tool.net("one", "gone", version=version)
    done = tool.run("status", "net1", USED)
    assert (done.returncode, done.stdout) == (1, "")
    assert 'Error: failed to find plugin "gone" in path [' in done.stderr and "CNI_PATH must name" in done.stderr


@pytest.mark.parametrize("verb", ["add", "check", "del", "gc", "status"])
def test_arguments_that_are_no_pairs_are_refused_for_every_verb(tool: Tool, stubs: Stubs, verb: str) -> None:
    stubs.add("one")
    tool.net("one", version="1.1.0")
    for text in ("A=b;", "A=b=c", "A=1;;B=2", "=1", "A"):
        assert "Error: invalid CNI_ARGS pair " in tool.run(verb, "net1", USED, CNI_ARGS=text).stderr
    assert stubs.calls == []


def test_a_plugins_error_for_programs(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", {**error(7, "no", "try this"), "stderr": "noise"})
    tool.net("one")
    done = tool.run("add", "net1", USED, "--json")
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


def test_a_second_add_takes_nothing_away(tool: Tool, stubs: Stubs) -> None:
    """``--undo`` is for what this call has made."""
    for name in ("one", "two"):
        stubs.add(name, result())
    tool.net("one", "two")
    assert tool.run("add", "net1", USED).returncode == 0
    stubs.add("two", error(999, "eth0 already exists"), DEL={})
    stubs.forget()
    done = tool.run("add", "net1", USED, "--undo")
    assert (done.returncode, stubs.order) == (1, ["ADD one", "ADD two"])
    assert "  network net1 was attached before: nothing was undone, DEL removes it\n" in done.stderr
    assert tool.run("add", "net1", "/other", "--undo").returncode == 1
    assert stubs.order[2:] == ["ADD one", "ADD two", "DEL two", "DEL one"]


def test_undoing_has_its_own_time(tool: Tool, stubs: Stubs) -> None:
    """What could not be undone is told once, to programs too, and after an interruption."""
    stubs.add("one", {"sleep": 600, "ignore": True}, ADD=error(7, "no"))
    tool.net("one")
    flags = ("add", "net1", USED, "--undo", "--undo-timeout", "1")
    said = 'undoing plugin type="one" failed: '
    done = tool.run(*flags)
    assert (done.returncode, done.stderr.count(said)) == (1, 1)
    assert "did not end within undoing's 1 s and was killed" in done.stderr
    (note,) = json.loads(tool.run(*flags, "--json").stdout)["error"]["notes"]
    assert note.startswith(said)
    stubs.add("one", {"sleep": 600, "ignore": True})
    stubs.forget()
    words = [TOOL, *flags, "--cache", str(tool.tmp_path / "cache")]
    running = subprocess.Popen(words, env=tool.environ, stderr=subprocess.PIPE, text=True)
    assert eventually(lambda: stubs.calls, 10)
    running.send_signal(signal.SIGINT)
    _, noise = running.communicate(timeout=60)
    assert (running.returncode, noise.count(said)) == (130, 1)


def test_all_attachments_of_a_namespace_without_a_configuration(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", result())
    tool.net("one")
    for flags in ((), ("-i", "eth1")):
        assert tool.run("add", "net1", USED, *flags).returncode == 0
    for path in ("/other", "/third"):
        assert tool.run("add", "net1", path).returncode == 0
    container = stubs.calls[2].environ["CNI_CONTAINERID"]
    (tool.folder / "10.conflist").unlink()
    stubs.forget()
    assert tool.run("del", "net1", USED).returncode == 1, "a network that is not there"
    done = tool.run("del", "--all", USED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [(call.verb, call.environ["CNI_IFNAME"]) for call in stubs.calls] == [("DEL", "eth0"), ("DEL", "eth1")]
    assert json.loads(tool.run("del", "--all", "--container", container, "--json").stdout) == {"ok": True}
    assert stubs.calls[2].environ["CNI_CONTAINERID"] == container
    assert len(os.listdir(tool.tmp_path / "cache/results")) == 1
    stubs.add("one", DEL=error(11, "stuck"))
    failed = tool.run("del", "--all", "/third", "--json")
    assert failed.returncode == 1
    assert [one["code"] for one in json.loads(failed.stdout)["error"]["errors"]] == [11]


def test_garbage_is_what_has_no_namespace(tool: Tool, stubs: Stubs) -> None:
    """By default all goes, as Go's tool has it; ``--leftovers`` keeps what is alive, and the plugins are sent its list."""
    stubs.add("one", result("1.1.0"))
    tool.net("one", version="1.1.0")
    living = tool.tmp_path / "living"
    living.touch()
    closed = tool.tmp_path / "closed"
    closed.symlink_to(closed)  # it cannot be looked at, as /proc/PID/ns/net at times: it is not gone
    for path in (str(living), str(closed), USED):
        assert tool.run("add", "net1", path).returncode == 0
    kept = sorted(call.environ["CNI_CONTAINERID"] for call in stubs.calls[:2])
    stubs.forget()
    assert tool.run("gc", "net1", USED, "--leftovers").returncode == 0
    assert stubs.order == ["DEL one", "GC one"]
    assert stubs.calls[1].config["cni.dev/valid-attachments"] == [
        {"containerID": one, "ifname": "eth0"} for one in kept
    ]
    stubs.forget()
    assert tool.run("gc", "net1", USED).returncode == 0
    assert stubs.order == ["DEL one", "DEL one", "GC one"]
    assert "cni.dev/valid-attachments" not in stubs.calls[1].config


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("add net1 /x --all", "--all is a flag of del, not of add"),
        ("del net1 /x --leftovers", "--leftovers is a flag of gc, not of del"),
        ("add net1 /x --undo-timeout 3", "--undo-timeout needs --undo"),
        ("del --all", "del --all requires NETNS, or --container ID"),
        (
            "add net1 /x --undo-timeout x",
            'invalid argument "x" for "--undo-timeout" flag: it must be a number of seconds',
        ),
    ],
)
def test_flags_of_other_verbs_are_refused(words: str, said: str) -> None:
    with pytest.raises(_commandline.UsageError) as caught:
        _commandline.parse(words.split())
    assert str(caught.value) == said


def test_arguments_that_cannot_be_used_are_told_to_programs_too(tool: Tool) -> None:
    done = tool.run("add", "--json")
    assert (done.returncode, done.stderr) == (1, "")
    expected = {"code": 0, "msg": "requires at least 2 arg(s), only received 0"}
    assert json.loads(done.stdout) == {"ok": False, "error": expected}


def test_several_errors_are_told_one_by_one(tool: Tool, stubs: Stubs) -> None:
    stubs.add("one", result("1.1.0"), DEL=error(11, "stuck"), GC=error(7, "broken", "indeed"))
    tool.net("one", version="1.1.0")
    assert tool.run("add", "net1", USED).returncode == 0
    done = tool.run("gc", "net1", USED, "--json")
    found = json.loads(done.stdout)["error"]
    assert [one["msg"].rpartition(": ")[2] for one in found["errors"]] == ["stuck", "broken; indeed"]
    assert [one["code"] for one in found["errors"]] == [11, 7]
    assert tool.run("gc", "net1", USED).stderr.count("failed to ") == 2


def test_text_in_any_alphabet(tool: Tool, stubs: Stubs) -> None:
    """In a locale that has none of it: errors and results are UTF-8."""
    stubs.add("one", result(dns={"domain": "пример"}), CHECK=error(7, "нет"))
    tool.net("one")
    assert "пример" in tool.run("add", "net1", USED, LC_ALL="C", PYTHONIOENCODING="ascii").stdout
    assert "нет" in tool.run("check", "net1", USED, "--json", LC_ALL="C").stdout


@pytest.mark.parametrize(("stream", "reason"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")])
def test_an_answer_that_is_lost_is_told(tool: Tool, stubs: Stubs, stream: str, reason: str) -> None:
    """One line; a verb that answers nothing has nothing to lose."""
    stubs.add("one", result())
    tool.net("one")
    for words, status in (("add", 1), ("del", 0), ("add --json", 1), ("add --frob --json", 1), ("add --help", 1)):
        verb, *flags = words.split()
        arguments = [verb, "net1", USED, *flags, "--cache", str(tool.tmp_path / "cache")]
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" "$@" {stream}', TOOL, *arguments],
            env=tool.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = f"Error: cannot write to standard output: {reason}\n" if status else ""
        assert (done.returncode, done.stderr) == (status, said), words


def test_nobody_need_listen_to_errors(tool: Tool) -> None:
    """Without a standard error the exit status is what tells, and nothing gets into standard output."""
    for stream in ("2>&-", "2>/dev/full"):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" "$@" {stream}', TOOL, "del", "none", USED],
            env=tool.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (1, "")


def test_an_interruption_ends_the_plugin(tool: Tool, stubs: Stubs) -> None:
    """SIGINT to the tool alone: one line, the plugin is dead, what --undo asked for is done."""
    stubs.add("one", {"sleep": 60}, DEL={})
    tool.net("one")
    words = [TOOL, "add", "net1", USED, "--undo", "--cache", str(tool.tmp_path / "cache")]
    running = subprocess.Popen(words, env=tool.environ, stderr=subprocess.PIPE, text=True)
    assert eventually(lambda: stubs.calls, 10)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (130, "Error: interrupted; the plugin that ran was killed\n")
    assert stubs.order == ["ADD one", "DEL one"]
    assert not os.path.exists(f"/proc/{stubs.calls[0].pid}")


def test_a_start_is_light(tmp_path: Path) -> None:
    """What takes long to import is not imported: asyncio alone took as long as all the rest together."""
    command = ["/usr/bin/python3", "-X", "importtime", "-ISc"]
    code = Path(TOOL).read_bytes().split(b"\n", 1)[0].decode().split(" -ISc", 1)[1]
    environ = {"NETCONFPATH": str(tmp_path)}
    done = subprocess.run(
        [*command, code, TOOL, "status", "n", "/x"], env=environ, capture_output=True, text=True, timeout=60
    )
    assert "no net configurations found" in done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "libcni._operations" in loaded, "the trace sees what is imported"
    heavy = {
        "asyncio",
        "argparse",
        "logging",
        "subprocess",
        "hashlib",
        "ssl",
        "secrets",
        "concurrent.futures",
        "decimal",
    }
    assert loaded & (heavy | {"pyroute2", "netaddr", "cni.kernel"}) == set()


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
        again = tool.run("add", "net1", pod.path, "--undo", CNI_PATH=binaries)
        assert (again.returncode, "already exists" in again.stderr) == (1, True)
        assert pod.addresses("eth0") == {"10.77.0.2/24"}
        assert tool.run("check", "net1", pod.path, CNI_PATH=binaries).returncode == 0
        assert tool.run("status", "net1", pod.path, CNI_PATH=binaries).returncode == 0
        removed = tool.run("del", "net1", pod.path, CNI_PATH=binaries)
        assert removed.returncode == 0, removed.stderr
        assert node.leases() == {}
        assert tool.run("add", "net1", pod.path, "-i", "eth1", "--json", CNI_PATH=binaries).returncode == 0
        assert pod.addresses("eth1") != set()
        assert tool.run("gc", "net1", pod.path, CNI_PATH=binaries).returncode == 0
        assert tool.run("add", "net1", pod.path, CNI_PATH=binaries).returncode == 0
        (tool.folder / "10-net1.conf").unlink()
        pod.close()
        removed = tool.run("del", "--all", pod.path, CNI_PATH=binaries)
        assert removed.returncode == 0, removed.stderr
    assert node.leases() == {}
    assert eventually(lambda: not node.ports("br0"))  # the kernel takes its time for a namespace
