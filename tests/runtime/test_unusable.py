"""Folders, programs and callbacks that cannot be used: the library's own errors, and no others, leave a call."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from libcni import (
    CacheError,
    Cancellation,
    CNIConfig,
    ConfigError,
    GCArgs,
    LibcniError,
    LockFailed,
    Options,
    PluginFailed,
    ProcessExec,
    RuntimeConf,
    StepFailed,
    conf_files,
)
from libcni.containerd import LoadFailed, Watcher, new

from .conftest import network, optioned
from .stub import Stubs, result
from .walk import Walk, plugin

ROOT = Path(__file__).parents[2]


def _file(base: Path) -> str:
    (base / "file").write_text("")
    return str(base / "file")


def _loop(base: Path) -> str:
    if not os.path.lexists(base / "loop"):
        (base / "loop").symlink_to("loop")
    return str(base / "loop")


UNUSABLE: dict[str, Callable[[Path], str]] = {
    "a file": _file,
    "too long a name": lambda base: f"{base}/{'x' * 300}",
    "a loop of links": _loop,
    "a zero byte": lambda base: f"{base}/a\0b",
    "no UTF-8": lambda base: f"{base}/a\udcff\ud800",
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("what", ["plugins", "cache", "locks", "configurations"])
def test_no_call_lets_an_error_of_the_system_out(tmp_path: Path, what: str, kind: str) -> None:
    """The walk makes every public call; ``report`` raises in all of them."""
    plugins = plugin(tmp_path / "plugins")
    unusable = UNUSABLE[kind](tmp_path)
    usable = {"plugins": plugins, "cache": tmp_path / "c", "locks": tmp_path / "l", "configurations": tmp_path}
    walk = Walk(**{name: unusable if what == name else folder for name, folder in usable.items()})
    promised, others = walk.escaped()
    assert others == []
    assert promised


@pytest.mark.root
@pytest.mark.parametrize("lack", ["rights", "descriptors"])
def test_nor_where_the_process_may_or_has_nothing(lack: str) -> None:
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/tests:{ROOT}/common:{ROOT}/runtime", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "runtime.walk", lack]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    walks = [ast.literal_eval(line) for line in done.stdout.splitlines()]
    assert walks and not any(walks), "\n".join(one for walk in walks for one in walk)


def test_a_lock_folder_that_cannot_be_used(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", result())
    folder = _file(tmp_path)
    cni = optioned(stubs, tmp_path, Options(lock_folder=folder))
    for call in (cni.add_network_list, cni.check_network_list, cni.del_network_list):
        with pytest.raises(LockFailed, match=f"^lock folder {folder} cannot be used: .*Not a directory"):
            call(network("one"), runtime)
    with pytest.raises(LibcniError, match=f"lock folder {folder} cannot be used"):
        cni.gc_network_list(network("one"), GCArgs([]))
    assert stubs.calls == []


def test_a_cache_or_configuration_folder_that_cannot_be_read(stubs: Stubs, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/results").write_text("")
    lines: list[str] = []
    cni = CNIConfig(stubs.folder, tmp_path / "cache", options=Options(report=lines.append))
    with pytest.raises(CacheError, match=f"^cannot read the cache folder {tmp_path}/cache/results: .*Not a directory"):
        cni.get_cached_attachments()
    cni.gc_network_list(network("one"), GCArgs([]))
    assert lines[0].endswith(": GC removes nothing")
    with pytest.raises(ConfigError, match="^cannot read the configuration folder: Not a directory") as caught:
        conf_files(tmp_path / "cache/results", ".conf")
    assert caught.value.file == f"{tmp_path}/cache/results"


@pytest.mark.parametrize("prefix", ["/none/nsenter", "no-such-program-at-all", "", "/dev"])
def test_a_missing_prefix_is_not_taken_for_the_plugin(stubs: Stubs, tmp_path: Path, prefix: str) -> None:
    stubs.add("one", result())
    cni = CNIConfig(stubs.folder, tmp_path / "cache", ProcessExec(prefix=[prefix, "--"]))
    with pytest.raises(StepFailed) as caught:
        cni.add_network_list(network("one"), RuntimeConf("c1", "/x", "eth0"))
    failed = caught.value.error
    assert isinstance(failed, PluginFailed)
    assert failed.msg.startswith(f"netplugin failed with no error message: fork/exec {prefix}: ")
    assert failed.details == f"{prefix} is the prefix that {stubs.folder}/one was to be run with"


def test_a_report_that_raises_does_not_stop_a_delete(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    stubs.add("one", result())
    told: list[str] = []

    def report(line: str) -> None:
        told.append(line)
        raise RuntimeError("the log is full")

    cni = optioned(stubs, tmp_path, Options(report=report, delete_with_cached_config=True))
    cni.add_network_list(network("one"), runtime)
    file = tmp_path / "cache/results/net1-ctr1-eth0"
    file.write_text("damaged")
    cni.del_network_list(network("one"), runtime)
    assert stubs.order == ["ADD one", "DEL one"] and told and not file.exists()


@pytest.mark.parametrize("lack", ["os.eventfd", "select.epoll", "thread"])
def test_several_networks_when_the_process_has_nothing_left(
    stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    from libcni.containerd import Containerd, with_cache_dir, with_conf_list_bytes, with_plugin_dir

    def refused(*_: object) -> int:
        raise OSError(24, "Too many open files") if lack != "thread" else RuntimeError("can't start new thread")

    stubs.add("one", result())
    nets = [with_conf_list_bytes(network("one", name=name).bytes) for name in ("a", "b")]
    cni = Containerd(with_plugin_dir(stubs.folder), with_cache_dir(tmp_path / "cache"), *nets)
    cancel = Cancellation()
    monkeypatch.setattr("threading.Thread.start" if lack == "thread" else lack, refused)
    with pytest.raises(LibcniError, match="^cannot work on several networks at once: "):
        cni.setup("c1", "/x", cancel=cancel)
    assert stubs.calls == []
    cancel.close()


@pytest.mark.parametrize("lack", ["libcni.containerd._inotify.Folders._watch", "os.eventfd", "threading.Thread.start"])
def test_a_folder_that_cannot_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: str) -> None:
    def refused(*_: object) -> int:
        raise OSError(28, "No space left on device") if lack != "threading.Thread.start" else RuntimeError("no thread")

    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(lack, refused)
    with pytest.raises(LoadFailed, match="the configuration folder cannot be watched: .*(No space left|no thread)"):
        Watcher(new(), tmp_path)
    assert set(os.listdir("/proc/self/fd")) <= before, "the collector may close others"


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), b"x", {5: 1}])
def test_a_capability_that_json_cannot_hold(cni: CNIConfig, stubs: Stubs, value: object) -> None:
    stubs.add("one", result())
    net = network({"type": "one", "capabilities": {"x": True}, "name": "net1"})
    with pytest.raises(ConfigError, match="^marshal network bytes: unsupported"):
        cni.add_network(net.plugins[0], RuntimeConf("c1", "/x", "eth0", capability_args={"x": value}))
    assert stubs.calls == []
