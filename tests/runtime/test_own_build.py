"""Plugins of our own build in forked children: the same answers, nothing of this process changed."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from libcni import CNIConfig, OwnBuildExec, PluginFailed, PluginTimeout, RuntimeConf, conf_from_bytes
from libcni._ownbuild import build_of
from node.plugin import GO, SUBJECT
from node.topology import Node

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]

if not build_of(f"{SUBJECT}/loopback"):
    pytest.skip(f"{SUBJECT}/loopback is no file of our build", allow_module_level=True)

LOOPBACK = conf_from_bytes(b'{"cniVersion":"1.0.0","name":"lo","type":"loopback"}')


def test_only_our_files_have_a_build(tmp_path: Path) -> None:
    assert build_of(f"{GO}/loopback") == b""
    assert build_of(str(tmp_path)) == b""
    assert len(build_of(f"{SUBJECT}/bridge")) >= 16


# The parent has to have one thread; pytest may not, so each of these runs a process of its own.
_CALLS = """
import json, os, sys
import cni_loopback.plugin, cni.kernel.netlink
from libcni import CNIConfig, OwnBuildExec, ProcessExec, RuntimeConf, StepFailed, conf_from_bytes
cni_loopback.plugin.PLUGIN = cni.kernel.netlink.__file__ = None  # what this process has is not what the child may use
folder, netns, cache = sys.argv[1:]
conf = conf_from_bytes(b'{"cniVersion":"1.0.0","name":"lo","type":"loopback"}')
runtime = RuntimeConf("c1", netns, "lo")
executor = OwnBuildExec()
before = (os.readlink("/proc/self/ns/net"), dict(os.environ), list(sys.path), set(sys.modules), os.listdir("/proc/self/fd"))
def call(executor):
    cni = CNIConfig([folder], cache, executor)
    answers = [cni.add_network(conf, runtime).document(), cni.check_network(conf, runtime), cni.del_network(conf, runtime)]
    answers.append(list(cni.get_version_info("loopback").supported_versions))
    try:
        cni.check_network(conf, runtime)
    except Exception as error:
        answers.append([type(error).__name__, str(error), error.code])
    return answers
forked = call(executor)
modules = set(sys.modules)
after = (os.readlink("/proc/self/ns/net"), dict(os.environ), list(sys.path), modules, os.listdir("/proc/self/fd"))
print(json.dumps([forked, call(ProcessExec()), executor.forked, before[:3] == after[:3], len(before[4]) == len(after[4]),
                  sorted(name for name in modules - before[3] if name.startswith(("cni_", "pyroute2")))]))
"""


def test_the_answers_are_the_same_and_the_process_is_untouched(node: Node, tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime:{ROOT}/plugins/loopback"}
    command = [sys.executable, "-c", _CALLS, SUBJECT, node.pod().path, str(tmp_path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    forked, executed, count, same, descriptors, modules = json.loads(done.stdout)
    assert forked == executed
    assert forked[4][0] == "PluginFailed"
    assert (count, same, descriptors, modules) == (5, True, True, [])


def test_a_process_with_threads_executes(node: Node, tmp_path: Path) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        executor = OwnBuildExec()
        CNIConfig([SUBJECT], str(tmp_path), executor).add_network(LOOPBACK, RuntimeConf("c1", node.pod().path, "lo"))
        assert executor.forked == 0
    finally:
        stop.set()
        thread.join()


def test_go_plugins_are_executed(node: Node, tmp_path: Path) -> None:
    executor = OwnBuildExec()
    CNIConfig([GO], str(tmp_path), executor).add_network(LOOPBACK, RuntimeConf("c1", node.pod().path, "lo"))
    assert executor.forked == 0


def test_a_forged_mark_is_no_plugin(node: Node, tmp_path: Path) -> None:
    """A file that only ends like one of ours is executed, as every other."""
    forged = tmp_path / "loopback"
    forged.write_bytes(b"#!/bin/sh\nexit 3\n# pycni-build:0123456789abcdef")
    forged.chmod(0o755)
    with pytest.raises(PluginFailed, match="exit status 3"):
        CNIConfig([str(tmp_path)], str(tmp_path), OwnBuildExec()).add_network(
            LOOPBACK, RuntimeConf("c1", node.pod().path, "lo")
        )


def _archive(folder: Path, plugin: str) -> Path:
    """A file that has our mark, whose plugin is this source."""
    with zipfile.ZipFile(folder / "loopback", "w") as archive:
        archive.writestr("cni_loopback/__init__.py", "")
        archive.writestr("cni_loopback/plugin.py", plugin)
        archive.comment = b"pycni-build:0123456789abcdef"
    return folder / "loopback"


def _has_one_thread(code: str, *arguments: str) -> str:
    """What a process of one thread prints."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def test_a_plugin_of_ours_that_is_broken_says_so(tmp_path: Path) -> None:
    """What goes wrong in the child is the plugin's failure, and no second copy of this process goes on."""
    file = _archive(tmp_path, "raise RuntimeError('broken')")
    code = """
import sys
from libcni import OwnBuildExec, PluginFailed
sys.stdout.write("once")
try:
    OwnBuildExec().exec_plugin(sys.argv[1], b"", {})
except PluginFailed as error:
    print("", error, error.status)
"""
    said = f"{file} in a forked child: RuntimeError: broken"
    assert _has_one_thread(code, str(file)) == f'once netplugin failed: "{said}\\n": exit status 70 exit status 70\n'


def test_a_forked_plugin_finds_what_an_executed_one_would(tmp_path: Path) -> None:
    """Its environment and no other, signals as they are by default, three descriptors (the fourth lists them)."""
    file = _archive(
        tmp_path,
        """
import json, os, signal
state = [dict(os.environ), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, list(signal.pthread_sigmask(0, []))]
raise RuntimeError(json.dumps([*state, sorted(os.listdir("/proc/self/fd")), os.read(0, 99).decode()]))
""",
    )
    code = """
import os, signal, sys
from libcni import OwnBuildExec, PluginFailed
signal.signal(signal.SIGTERM, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.environ["OF_THE_PARENT"] = "1"
kept = os.open("/dev/null", os.O_RDONLY)
try:
    OwnBuildExec().exec_plugin(sys.argv[1], b"stdin", {"ONLY": "this"})
except PluginFailed as error:
    print(error.stderr.partition("RuntimeError: ")[2])
"""
    found = json.loads(_has_one_thread(code, str(file)))
    assert found == [{"ONLY": "this"}, True, [], ["0", "1", "2", "3"], "stdin"]


def test_time_is_over_for_a_forked_one_too(tmp_path: Path) -> None:
    code = """
import sys
from libcni import CNIConfig, OwnBuildExec, PluginTimeout, RuntimeConf, conf_from_bytes
import libcni._cancellation, libcni._ownbuild, time
libcni._ownbuild._serve = lambda *a: time.sleep(60) or 0
executor = OwnBuildExec()
libcni._cancellation.monotonic = lambda: 1000.0 + executor.forked  # time is over when it runs, and not before
conf = conf_from_bytes(b'{"cniVersion":"1.0.0","name":"lo","type":"loopback"}')
try:
    CNIConfig([sys.argv[1]], sys.argv[2], executor).add_network(conf, RuntimeConf("c", "/x", "lo"), timeout=0.3)
except PluginTimeout as error:
    print("killed" in str(error))
"""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime"}
    command = [sys.executable, "-c", code, SUBJECT, str(tmp_path)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert done.stdout == "True\n", done.stderr
    assert issubclass(PluginTimeout, TimeoutError)
