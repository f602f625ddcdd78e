"""The child of netavark's driver that serves plugins of its build: answers, errors, hanging, dying."""

import os
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

import cni
from cni import skel
from cni.errors import CNIError
from cni_netavark import beside
from cni_netavark.execution import Beside
from libcni import Deadline, PluginFailed, PluginTimeout

BUILD = "b" * 64


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The path of a plugin of this build, which does what the variable ``DEED`` says."""
    module = types.ModuleType("cni_odd_one.plugin")
    module.PLUGIN = skel.Plugin("odd-one", "cni_odd_one")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cni_odd_one", types.ModuleType("cni_odd_one"))
    monkeypatch.setitem(sys.modules, "cni_odd_one.plugin", module)
    monkeypatch.setattr(cni, "build", BUILD)
    monkeypatch.setattr(skel, "answer", answer)
    path = tmp_path / "odd-one"
    path.write_text(f"#!/bin/sh\necho executed\n# pycni-build:{BUILD}")
    path.chmod(0o755)
    return str(path)


def answer(plugin: Any, environ: dict[str, str], stdin: bytes, log: Any) -> skel.Answer:
    """In the place of ``skel.answer``."""
    deed = environ["DEED"]
    if deed == "hang":
        time.sleep(1000)
    elif deed == "die":
        os.kill(os.getpid(), 9)
    elif deed == "leave":
        os._exit(3)
    elif deed == "raise":
        raise RuntimeError
    elif deed == "refuse":
        return skel.Answer(b'{"code": 7, "msg": "no"}', CNIError("no"))
    log.write("said\n")
    return skel.Answer(stdin + b" " + str(os.getpid()).encode())


def call(executor: Beside, path: str, deed: str, verb: str = "ADD", seconds: float = 60, stdin: bytes = b"x") -> bytes:
    return executor.exec_plugin(path, stdin, {"CNI_COMMAND": verb, "DEED": deed}, Deadline.after(seconds))


def test_one_child_serves_all_calls(plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Long documents too; errors are the plugin's, and the next call is served all the same."""
    executor = Beside(30)
    first, one = call(executor, plugin, "").split()
    assert first == b"x" and int(one) != os.getpid()
    with pytest.raises(PluginFailed, match="no") as failed:
        call(executor, plugin, "refuse")
    assert failed.value.code == 7
    whole, two = call(executor, plugin, "", stdin=b"y" * 3_000_000).rsplit(b" ", 1)
    assert (len(whole), two) == (3_000_000, one)
    assert capsys.readouterr().err == "said\nsaid\n"


@pytest.mark.parametrize(
    ("deed", "status"), [("die", "signal: killed"), ("leave", "exit status 3"), ("raise", "exit status 70")]
)
def test_a_child_that_ends(plugin: str, deed: str, status: str) -> None:
    executor = Beside(30)
    with pytest.raises(PluginFailed, match=status):
        call(executor, plugin, deed)
    assert call(executor, plugin, "").startswith(b"x "), "another child serves"


def test_a_plugin_that_hangs_is_killed(plugin: str) -> None:
    """At the end of the call's time, or of a plugin's own part of it in DEL."""
    executor = Beside(0.05)
    with pytest.raises(PluginTimeout, match=r"the call's 0\.05 s"):
        call(executor, plugin, "hang", seconds=0.05)
    with pytest.raises(PluginTimeout, match=r"a plugin's 0\.05 s"):
        call(executor, plugin, "hang", "DEL")
    with pytest.raises(PluginTimeout, match="was not started"):
        call(executor, plugin, "", seconds=0)
    assert call(executor, plugin, "").startswith(b"x ")


def test_other_files_are_executed(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another build, and those with another name."""
    renamed = Path(plugin).with_name("renamed")
    Path(plugin).rename(renamed)
    assert call(Beside(30), str(renamed), "") == b"executed\n"
    monkeypatch.setattr(cni, "build", "")
    renamed.rename(plugin)
    assert call(Beside(30), plugin, "") == b"executed\n"


def test_the_native_file_uses_a_fork_server(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there is one, its plugins are executed as files, and no child is started."""
    monkeypatch.setitem(sys.modules, "_pycni", types.ModuleType("_pycni"))
    for socket, served in ((plugin, True), ("", False), ("/nowhere", False)):
        monkeypatch.setenv("CNI_FORKSERVER", socket)
        assert (call(Beside(30), plugin, "") == b"executed\n") == served


def test_a_child_that_starts_early(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if the bridge is of this build; what it shall import may be missing for all that."""
    folder = Path(plugin).parent
    for name in ("cni_bridge", "cni_bridge.plugin"):
        monkeypatch.setitem(sys.modules, name, sys.modules[name.replace("bridge", "odd_one")])
    monkeypatch.setattr(beside, "USUAL", ("time",))
    beside.start_early(["/nowhere", str(folder)])
    assert beside._early == []
    (folder / "bridge").write_text(f"pycni-build:{BUILD}")
    beside.start_early(["/nowhere", str(folder)])
    (early,) = beside._early
    _, pid = call(Beside(30), plugin, "").split()
    assert int(pid) == early._pid and beside._early == []
