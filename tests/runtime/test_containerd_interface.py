"""containerd's interface over stubs: loading, options, order, what is tolerated, the Result (go-cni)."""

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    CallCancelled,
    Cancellation,
    CheckNotSupported,
    LibcniError,
    Locked,
    Options,
    PluginFailed,
    PluginNotFound,
    PluginTimeout,
    SeveralErrors,
    StepFailed,
)
from libcni._locking import Locks
from libcni._requests import Outcome, Pause
from libcni.containerd import (
    Address,
    AsyncContainerd,
    BandWidth,
    Config,
    Containerd,
    DNSConfig,
    InvalidConfig,
    InvalidResult,
    IPRange,
    LoadFailed,
    NamespaceOpt,
    NotInitialized,
    Opt,
    PortMapping,
    new,
    with_all_conf,
    with_args,
    with_bad_files_skipped,
    with_cache_dir,
    with_capability,
    with_capability_band_width,
    with_capability_cgroup_path,
    with_capability_dns,
    with_capability_ip_ranges,
    with_capability_port_map,
    with_checkable_lo_network,
    with_conf,
    with_conf_file,
    with_conf_index,
    with_conf_list_bytes,
    with_conf_list_file,
    with_default_conf,
    with_interface_prefix,
    with_labels,
    with_lo_network,
    with_min_network_count,
    with_network,
    with_options,
    with_plugin_conf_dir,
    with_plugin_dir,
    with_plugin_max_conf_num,
    with_rollback,
)
from node.deadline import eventually, interrupted

from .conftest import network
from .stub import Gate, Stubs, error, result

Make = Callable[..., Containerd]


@pytest.fixture
def base(stubs: Stubs, tmp_path: Path) -> list[Opt]:
    """The options that keep a test in its own folders."""
    (tmp_path / "net.d").mkdir()
    return [
        with_plugin_dir([str(stubs.folder)]),
        with_plugin_conf_dir(str(tmp_path / "net.d")),
        with_cache_dir(str(tmp_path / "cache")),
    ]


@pytest.fixture
def make(base: list[Opt]) -> Make:
    """A function that makes an object with more options."""
    return lambda *opts: new(*base, *opts)


def _net(name: str, *plugins: str, version: str = "1.0.0") -> Opt:
    return with_conf_list_bytes(network(*plugins, name=name, version=version).bytes)


def _file(tmp_path: Path, file: str, name: str, plugin: str = "one") -> None:
    document = (
        network(plugin, name=name).bytes
        if file.endswith(".conflist")
        else json.dumps({"cniVersion": "1.0.0", "name": name, "type": plugin}).encode()
    )
    (tmp_path / "net.d" / file).write_bytes(document)


def _names(cni: Containerd) -> list[tuple[str, str]]:
    return [(network.config.name, network.if_name) for network in cni.get_config().networks]


def test_defaults() -> None:
    config = new().get_config()
    assert config.document() == {
        "PluginDirs": ["/opt/cni/bin"],
        "PluginConfDir": "/etc/cni/net.d",
        "PluginMaxConfNum": 1,
        "Prefix": "eth",
        "Networks": [],
    }


def test_nothing_works_before_something_is_loaded(make: Make) -> None:
    cni = make()
    for call in (
        lambda: cni.setup("c", "/x"), lambda: cni.setup_serially("c", "/x"), lambda: cni.remove("c", "/x"),
        lambda: cni.check("c", "/x"), cni.status,
    ):  # fmt: skip
        with pytest.raises(NotInitialized) as caught:
            call()
        assert str(caught.value) == "cni plugin not initialized"
    one = make(with_min_network_count(2), _net("a", "one"))
    with pytest.raises(NotInitialized):
        one.status()


def test_the_folder_is_loaded_by_name_up_to_the_limit(make: Make, tmp_path: Path) -> None:
    _file(tmp_path, "30.json", "c")
    _file(tmp_path, "10.conf", "a")
    _file(tmp_path, "20.conflist", "b")
    (tmp_path / "net.d/00.txt").write_text("{")
    assert _names(make(with_default_conf)) == [("a", "eth0")]
    assert _names(make(with_plugin_max_conf_num(2), with_interface_prefix("net"), with_default_conf)) == [
        ("a", "net0"), ("b", "net1"),
    ]  # fmt: skip
    assert _names(make(with_lo_network, with_all_conf)) == [
        ("cni-loopback", "lo"), ("a", "eth0"), ("b", "eth1"), ("c", "eth2"),
    ]  # fmt: skip
    assert len(_names(make(with_plugin_max_conf_num(0), with_default_conf))) == 3


def test_several_configuration_folders(make: Make, tmp_path: Path) -> None:
    _file(tmp_path, "20.conflist", "first")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/10.conflist").write_bytes(network("one", name="second").bytes)
    both = with_plugin_conf_dir([str(tmp_path / "net.d"), str(tmp_path / "more")])
    assert _names(make(both, with_all_conf)) == [("first", "eth0"), ("second", "eth1")]


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("10.conflist", "{", "failed to load CNI config list file {}: error parsing configuration list: "),
        ("10.conf", '{"name":"a"}', "failed to load CNI config file {}: error parsing configuration: missing 'type'"),
        ("10.conf", '{"type":"x","plugins":[]}', "failed to convert CNI config file {} to CNI config list: "),
    ],
)
def test_a_bad_file_before_the_limit_fails_the_load(
    make: Make, tmp_path: Path, file: str, content: str, text: str
) -> None:
    at = tmp_path / "net.d" / file
    at.write_text(content)
    _file(tmp_path, "20.conflist", "b")
    cni = make(with_bad_files_skipped(False))
    if "convert" in text:
        at.write_bytes(b'{"type":"x","name":"a"}')
        cni.load(with_default_conf)
        return
    with pytest.raises(LoadFailed) as caught:
        cni.load(with_lo_network, with_default_conf)
    assert str(caught.value).startswith("cni config load failed: " + text.format(at))
    assert str(caught.value).endswith(": invalid cni config: failed to load cni config")
    assert _names(cni) == [("cni-loopback", "lo")]


@pytest.mark.parametrize("content", ["", "{", '{"cniVersion": "1.0.0", "name": "a", "plug', None])
def test_a_bad_file_is_skipped_and_reported(make: Make, tmp_path: Path, content: str | None) -> None:
    """By default; without content: an editor's lock file. It does not count among the files of the limit."""
    bad = tmp_path / "net.d" / (".#20.conflist" if content is None else "10.conflist")
    if content is None:
        bad.symlink_to("root@node.1234:1700000000")
    else:
        bad.write_text(content)
    lines: list[str] = []
    cni = make(with_options(Options(report=lines.append)))
    with pytest.raises(LoadFailed, match=r"cni config load failed: .*0\.conflist"):
        cni.load(with_default_conf)  # there is nothing else
    _file(tmp_path, "20.conflist", "b")
    lines.clear()
    (error,) = cni.load(with_lo_network, with_default_conf)
    assert isinstance(error, InvalidConfig) and str(bad) in str(error)
    assert lines == [f"configuration file {bad} is bad, skipped: {error}"]
    assert _names(cni) == [("cni-loopback", "lo"), ("b", "eth0")]


@pytest.mark.parametrize("how", ["folder", "list file", "file"])
def test_the_last_good_version_of_a_file_stays(make: Make, tmp_path: Path, how: str) -> None:
    file = tmp_path / "net.d" / ("10.conf" if how == "file" else "10.conflist")
    _file(tmp_path, file.name, "a")
    named = {"list file": with_conf_list_file(str(file)), "file": with_conf_file(str(file))}
    load = named.get(how, with_all_conf)
    lines: list[str] = []
    cni = make(with_options(Options(report=lines.append)), load)
    file.write_text("{")
    (error,) = cni.load(load)
    assert _names(cni) == [("a", "eth0")]
    assert lines == [f"configuration file {file} is bad, its last good version stays in use: {error}"]
    file.unlink()
    with pytest.raises(LoadFailed):
        cni.load(load)
    file.write_text("{")
    with pytest.raises(LoadFailed):
        cni.load(load)
    assert _names(cni) == [], "a file that was removed has no last good version"


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_removed_file_does_not_come_back_however_the_folder_is_written(
    make: Make, tmp_path: Path, slashes: str
) -> None:
    """A damaged file of its name would bring back the network that was removed."""
    for name in ("a", "b"):
        _file(tmp_path, f"{name}.conflist", name)
    cni = make(with_plugin_conf_dir(f"{tmp_path}/net.d{slashes}"), with_all_conf)
    (tmp_path / "net.d/a.conflist").unlink()
    cni.load(with_all_conf)
    (tmp_path / "net.d/a.conflist").write_text("{")
    assert len(cni.load(with_all_conf)) == 1
    assert _names(cni) == [("b", "eth0")]


def test_a_file_that_vanishes_meanwhile(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look into the folder and its own turn."""
    for name in ("a", "b"):
        _file(tmp_path, f"{name}.conflist", name)
    cni = make(with_all_conf)
    listed = [str(tmp_path / "net.d" / f"{name}.conflist") for name in ("a", "b")]
    monkeypatch.setattr("libcni.containerd._settings.entries", lambda folder, suffixes: listed)
    (tmp_path / "net.d/a.conflist").unlink()
    (error,) = cni.load(with_all_conf)
    assert "a.conflist" in str(error)
    assert _names(cni) == [("b", "eth0")]


def test_a_bad_file_after_the_limit_is_not_read(make: Make, tmp_path: Path) -> None:
    _file(tmp_path, "10.conflist", "a")
    (tmp_path / "net.d/20.conf").write_text("{")
    assert _names(make(with_default_conf)) == [("a", "eth0")]


def test_no_files_and_no_folder(make: Make, tmp_path: Path) -> None:
    with pytest.raises(NotInitialized) as caught:
        make(with_default_conf)
    assert str(caught.value) == f"no network config found in {tmp_path}/net.d: cni plugin not initialized"
    (tmp_path / "file").touch()
    with pytest.raises(LibcniError, match="failed to read config file: .*not a directory: failed to read config file"):
        make(with_plugin_conf_dir(str(tmp_path / "file")), with_default_conf)


def test_a_network_by_its_name(make: Make, tmp_path: Path) -> None:
    """Numbered without the loopback; the folders are searched as by name elsewhere."""
    _file(tmp_path, "10.conf", "a")
    _file(tmp_path, "20.conflist", "b")
    _file(tmp_path, "30.conflist", "b", plugin="other")
    cni = make(with_lo_network, with_network("b"), with_network("a"))
    assert _names(cni) == [("cni-loopback", "lo"), ("b", "eth0"), ("a", "eth1")]
    assert cni.get_config().networks[1].config.plugins[0].network.type == "one"
    with pytest.raises(NotInitialized, match='no net configuration with name "c" in .*: cni plugin not initialized'):
        make(with_network("c"))
    with pytest.raises(NotInitialized, match="no net configurations found in /none"):
        make(with_plugin_conf_dir("/none"), with_network("c"))
    (tmp_path / "net.d/00.conflist").write_text("{")
    with pytest.raises(InvalidConfig, match="failed to load network b: error parsing"):
        make(with_bad_files_skipped(False), with_network("b"))
    cni = make(with_network("b"))
    with pytest.raises(InvalidConfig, match="failed to load network c: error parsing"):
        make(with_network("c"))
    (tmp_path / "net.d/20.conflist").write_text("{")
    assert len(cni.load(with_network("b"))) == 2
    assert cni.get_config().networks[0].config.plugins[0].network.type == "one", "the last good version"


def test_numbers_of_interfaces(make: Make, tmp_path: Path) -> None:
    single = b'{"cniVersion":"1.0.0","name":"s","type":"one"}'
    (tmp_path / "s.conf").write_bytes(single)
    (tmp_path / "l.conflist").write_bytes(network("one", name="l").bytes)
    cni = make(with_lo_network, with_conf(single), with_conf_index(single, 7), with_conf_file(str(tmp_path / "s.conf")),
               with_conf_list_file(str(tmp_path / "l.conflist")), _net("m", "one"))  # fmt: skip
    assert [name for _, name in _names(cni)] == ["lo", "eth0", "eth7", "eth0", "eth4", "eth5"]


def test_loading_forgets_what_was_loaded(make: Make, tmp_path: Path) -> None:
    cni = make(_net("a", "one"))
    cni.load(_net("b", "one"))
    assert _names(cni) == [("b", "eth0")]


def test_networks_keep_the_plugin_folders_of_their_time(stubs: Stubs, make: Make) -> None:
    stubs.add("one", result())
    cni = make(_net("a", "one"), with_plugin_dir(["/none"]), _net("b", "one"))
    with pytest.raises(StepFailed, match=r"failed to find plugin \"one\" in path \[/none\]"):
        cni.setup_serially("c", "/x")
    assert stubs.order == ["ADD one", "DEL one"]


def test_what_a_container_says_of_itself(stubs: Stubs, make: Make) -> None:
    stubs.add("one", result())
    everything = dict.fromkeys(("portMappings", "bandwidth", "dns", "ipRanges", "cgroupPath", "mac"), True)
    entry = {"type": "one", "capabilities": everything}
    cni = make(with_conf_list_bytes(network(entry).bytes))
    opts: list[NamespaceOpt] = [
        with_labels({"A": "1", "B": "2"}),
        with_args("A", "3"),
        with_capability_port_map([PortMapping(80, 8080, "udp", "10.0.0.1")]),
        with_capability_band_width(BandWidth(ingress_rate=1000)),
        with_capability_dns(DNSConfig(servers=["9.9.9.9"])),
        with_capability_ip_ranges([IPRange("10.0.0.0/24", gateway="10.0.0.1")]),
        with_capability_cgroup_path("/kubepods"),
        with_capability("mac", "00:11"),
    ]
    cni.setup("c", "/x", *opts)
    call = stubs.calls[0]
    assert sorted(call.environ["CNI_ARGS"].split(";")) == ["A=3", "B=2"]
    assert call.config["runtimeConfig"] == {
        "portMappings": [{"HostPort": 80, "ContainerPort": 8080, "Protocol": "udp", "HostIP": "10.0.0.1"}],
        "bandwidth": {"IngressRate": 1000, "IngressBurst": 0, "EgressRate": 0, "EgressBurst": 0},
        "dns": {"Servers": ["9.9.9.9"], "Searches": None, "Options": None},
        "ipRanges": [{"Subnet": "10.0.0.0/24", "RangeStart": "", "RangeEnd": "", "Gateway": "10.0.0.1"}],
        "cgroupPath": "/kubepods",
        "mac": "00:11",
    }


def test_setup_is_parallel_and_serially_is_not(stubs: Stubs, make: Make, gate: Gate) -> None:
    """At once: none ends before all have begun. In order: the next begins when the one before has ended."""
    stubs.add("one", {**result(), "wait_for": gate.path}, DEL={})
    cni = make(*(_net(name, "one") for name in "abc"))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cni.setup, "c", "/x")
        assert eventually(lambda: len(stubs.calls) == 3, 20)
        gate.open()
        running.result(20)
    for name in "abc":
        stubs.add(name, result() if name != "b" else error(7, "no"), DEL={})
    serial = make(*(_net(name, name) for name in "abc"))
    stubs.forget()
    with pytest.raises(StepFailed):
        serial.setup_serially("d", "/x")
    assert stubs.order == ["ADD a", "ADD b", "DEL b", "DEL a"], "c did not begin"
    stubs.forget()
    cni.remove("c", "/x")
    assert [call.config["name"] for call in stubs.calls] == ["a", "b", "c"]


@pytest.mark.parametrize("serially", [False, True])
@pytest.mark.parametrize("rollback", [False, True])
def test_what_failed_half_way_is_removed(
    stubs: Stubs, make: Make, tmp_path: Path, serially: bool, rollback: bool
) -> None:
    stubs.add("good", result())
    stubs.add("bad", {**error(7, "no"), "sleep": 0.1}, DEL=error(11, "stuck"))
    opts = [] if rollback else [with_rollback(False)]
    cni = make(*opts, _net("a", "good"), _net("b", "bad"), _net("c", "good"))
    with pytest.raises(StepFailed, match=r"\(add\): no") as caught:
        (cni.setup_serially if serially else cni.setup)("ctr", "/x")
    added = [call.config["name"] for call in stubs.calls if call.verb == "ADD"]
    deleted = [call.config["name"] for call in stubs.calls if call.verb == "DEL"]
    assert sorted(added) == (["a", "b"] if serially else ["a", "b", "c"])
    if not rollback:
        assert deleted == []
        return
    assert deleted == (["b", "a"] if serially else ["c", "b", "a"])
    assert caught.value.__notes__ == ['removing network b again failed: plugin type="bad" failed (delete): stuck']
    assert list((tmp_path / "cache/results").iterdir()) == []


def test_a_removal_again_is_bounded_and_goes_on(stubs: Stubs, base: list[Opt]) -> None:
    """One plugin hangs: those before it in its list, and the other networks, have their part of the time."""
    stubs.add("good", result())
    stubs.add("hanging", {"sleep": 600, "ignore": True}, ADD=error(7, "no"))
    reports: list[str] = []
    options = with_options(Options(undo_timeout=6.0, report=reports.append))
    with interrupted(60), pytest.raises(StepFailed, match="no") as caught:
        new(*base, options, _net("a", "good"), _net("b", "good", "hanging")).setup("ctr", "/x")
    assert stubs.order[3:] == ["DEL hanging", "DEL good", "DEL good"]
    (note,) = caught.value.__notes__
    assert re.match(
        r"removing network b again failed: .* did not end within undoing's [12](\.\d+)? s and was killed", note
    )
    assert reports == [f"ADD of ctr eth1 in network b: {note}"]


@pytest.mark.parametrize("serially", [False, True])
def test_an_attachment_that_somebody_else_works_on_is_not_removed(
    stubs: Stubs, make: Make, tmp_path: Path, gate: Gate, serially: bool
) -> None:
    """A second Setup of the same container gives up, and leaves what the first one is making."""
    stubs.add("good", result())
    stubs.add("slow", result(), ADD={**result(), "wait_for": gate.path})
    options = with_options(Options(lock_folder=str(tmp_path / "locks"), lock_timeout=0.2))
    first, second = make(options, _net("b", "slow")), make(options, _net("b", "slow"), _net("a", "good"))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first.setup, "c", "/x")
        assert eventually(lambda: stubs.calls, 20)
        with pytest.raises(Locked) as caught:
            (second.setup_serially if serially else second.setup)("c", "/x")
        gate.open()
        running.result(10)
    assert stubs.order == ["ADD slow"], "the second one did not begin anything"
    assert not hasattr(caught.value, "__notes__"), "nor did it try to remove anything"


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Whether somebody waits for a lock."""
    event = threading.Event()

    def noted(*arguments: Any) -> Pause:
        event.set()
        return Pause(*arguments)

    monkeypatch.setattr("libcni._locking.Pause", noted)
    return event


@pytest.mark.parametrize("serially", [False, True])
@pytest.mark.parametrize("form", ["blocking", "asyncio"])
def test_a_setup_that_is_cancelled_before_it_began_removes_nothing(
    stubs: Stubs, base: list[Opt], tmp_path: Path, gate: Gate, waiting: threading.Event, form: str, serially: bool
) -> None:
    """What is there is somebody else's, whom it had waited for."""
    stubs.add("slow", result(), ADD={**result(), "wait_for": gate.path})
    opts = [*base, with_options(Options(lock_folder=str(tmp_path / "locks"))), _net("a", "slow")]

    async def cancelled_task() -> None:
        cni = AsyncContainerd(*opts)
        task = asyncio.create_task((cni.setup_serially if serially else cni.setup)("c", "/x"))
        assert await asyncio.to_thread(waiting.wait, 20)
        task.cancel()
        gate.open()
        with pytest.raises(asyncio.CancelledError):
            await task

    def cancelled_call(pool: ThreadPoolExecutor) -> None:
        cni = new(*opts)
        with Cancellation() as cancel:
            second = pool.submit(cni.setup_serially if serially else cni.setup, "c", "/x", cancel=cancel)
            assert waiting.wait(20)
            cancel.cancel()
            gate.open()
            with pytest.raises(CallCancelled, match="locked by ADD of c eth0 in network a"):
                second.result(20)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(new(*opts).setup, "c", "/x")
        assert eventually(lambda: stubs.calls, 20)
        try:
            if form == "blocking":
                cancelled_call(pool)
            else:
                asyncio.run(cancelled_task())
        finally:
            gate.open()
        first.result(20)
    assert stubs.order == ["ADD slow"]


@pytest.mark.parametrize("serially", [False, True])
@pytest.mark.parametrize("form", ["blocking", "asyncio"])
def test_nobody_comes_between_a_setup_and_its_removal(
    stubs: Stubs, base: list[Opt], tmp_path: Path, gate: Gate, waiting: threading.Event, form: str, serially: bool
) -> None:
    """A second Setup of the container begins when the first one, which fails, has removed what it made."""
    stubs.add("good", result())
    stubs.add("bad", {**error(7, "no"), "wait_for": gate.path} if serially else error(7, "no"), DEL={})
    stubs.add("slow", {} if serially else {"wait_for": gate.path}, ADD={**result(), "wait_for": gate.path}, DEL={})
    locked = [*base, with_options(Options(lock_folder=str(tmp_path / "locks")))]
    failing = [*locked, *((_net("a", "good"), _net("b", "bad")) if serially else (_net("a", "bad"), _net("b", "slow")))]

    def fail() -> None:
        with pytest.raises(StepFailed, match="no"):
            if form == "asyncio":
                later = AsyncContainerd(*failing)
                asyncio.run((later.setup_serially if serially else later.setup)("c", "/x"))
            else:
                cni = new(*failing)
                (cni.setup_serially if serially else cni.setup)("c", "/x")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(fail)
        assert eventually(lambda: len(stubs.calls) == 2, 20)
        second = pool.submit(new(*locked, _net("a", "good"), _net("b", "good")).setup_serially, "c", "/x")
        begun = waiting.wait(20)
        gate.open()
        first.result(20)
        second.result(20)
    assert begun
    calls = [f"{call.verb} {call.config['name']}" for call in stubs.calls]
    assert (sorted(calls[:2]), sorted(calls[2:4]), calls[4:]) == (
        ["ADD a", "ADD b"], ["DEL a", "DEL b"], ["ADD a", "ADD b"],
    )  # fmt: skip


def test_an_interrupted_setup_waits_for_no_plugin(stubs: Stubs, make: Make, gate: Gate) -> None:
    """Ctrl-C kills those that run, also in other threads than its own; then they are removed."""
    stubs.add("slow", {}, ADD={**result(), "wait_for": gate.path})
    stubs.add("fast", result())
    cni = make(_net("a", "slow"), _net("b", "fast"), _net("c", "slow"))
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        if eventually(lambda: len(stubs.calls) == 3, 20):
            signal.pthread_kill(main, signal.SIGINT)
        if not eventually(lambda: any(call.verb == "DEL" for call in stubs.calls), 20):
            gate.open()  # it has waited for them

    with ThreadPoolExecutor(1) as pool:
        interrupting = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            cni.setup("ctr", "/x")
        interrupting.result()
    assert sorted(stubs.order[3:]) == ["DEL fast", "DEL slow", "DEL slow"]
    assert gate.closed, "nobody had to let them go on"


@pytest.mark.parametrize("count", [1, 2])
def test_a_cancelled_call_of_several_networks(stubs: Stubs, make: Make, gate: Gate, count: int) -> None:
    stubs.add("slow", {}, ADD={**result(), "wait_for": gate.path})
    cni = make(*(_net(name, "slow") for name in "ab"[:count]))
    descriptors = set(os.listdir("/proc/self/fd"))
    with Cancellation() as cancel, ThreadPoolExecutor(1) as pool:
        running = pool.submit(cni.setup, "ctr", "/x", cancel=cancel)
        assert eventually(lambda: len(stubs.calls) == count, 20)
        cancel.cancel()
        with pytest.raises(StepFailed, match="the call was cancelled"):
            running.result(20)
    assert stubs.order[count:] == ["DEL slow"] * count
    assert set(os.listdir("/proc/self/fd")) <= descriptors


def test_the_error_that_came_first_is_told(
    stubs: Stubs, make: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one is let go when the other's is known."""
    stubs.add("late", {**error(7, "late"), "wait_for": gate.path}, DEL={})
    stubs.add("early", error(7, "early"), DEL={})

    def known(*arguments: Any, **more: Any) -> Outcome:
        gate.open()
        return Outcome(*arguments, **more)

    monkeypatch.setattr("libcni._driver.Outcome", known)
    with pytest.raises(StepFailed, match="early"):
        make(_net("a", "late"), _net("b", "early")).setup("c", "/x")


@pytest.mark.parametrize(
    ("msg", "path", "tolerated"),
    [
        ("veth not found", "/x", True),
        ("exec: executable file not found in $PATH", "/x", True),
        ("no such file or directory", "", True),
        ("no such file or directory", "/x", False),
        ("busy", "", False),
    ],
)
def test_what_a_remove_tolerates(stubs: Stubs, make: Make, msg: str, path: str, tolerated: bool) -> None:
    stubs.add("one", error(999, msg))
    stubs.add("two")
    cni = make(_net("a", "one"), _net("b", "two"))
    if tolerated:
        cni.remove("c", path)
        assert stubs.order == ["DEL one", "DEL two"]
    else:
        with pytest.raises(StepFailed, match=msg):
            cni.remove("c", path)
        assert stubs.order == ["DEL one", "DEL two"]


def test_a_remove_goes_on_and_raises_all_errors(stubs: Stubs, base: list[Opt]) -> None:
    """Only a caller who cancels is obeyed at once; what could be removed is out of the cache."""
    stubs.add("bad", result(), DEL=error(11, "stuck"))
    stubs.add("good", result())
    opts = [*base, _net("a", "bad"), _net("b", "good"), _net("c", "bad")]
    for form in ("blocking", "asyncio"):
        cni = new(*opts)
        cni.setup("ctr", "/x")
        stubs.forget()
        with pytest.raises(SeveralErrors) as caught:
            if form == "blocking":
                cni.remove("ctr", "/x")
            else:
                asyncio.run(AsyncContainerd(*opts).remove("ctr", "/x"))
        assert stubs.order == ["DEL bad", "DEL good", "DEL bad"]
        assert [str(one) for one in caught.value.errors] == ['plugin type="bad" failed (delete): stuck'] * 2
    stubs.forget()
    with Cancellation() as cancel, pytest.raises(StepFailed, match="cancelled"):
        cancel.cancel()
        cni.remove("ctr", "/x", cancel=cancel)
    assert stubs.order == []


def test_a_removal_by_id_alone(stubs: Stubs, base: list[Opt], tmp_path: Path) -> None:
    """Nothing is loaded, the folder of configurations is empty, and the namespace is gone."""
    stubs.add("one", result())
    stubs.add("two", result())
    for form in ("blocking", "asyncio"):
        for container in ("ctr", "other"):
            new(*base, _net("a", "one"), _net("b", "two")).setup(container, str(tmp_path / "gone"))
        stubs.forget()
        if form == "blocking":
            new(*base).remove_cached("ctr")
        else:
            asyncio.run(AsyncContainerd(*base).remove_cached("ctr"))
        called = [(call.plugin, call.environ["CNI_CONTAINERID"], call.environ["CNI_NETNS"]) for call in stubs.calls]
        assert called == [("one", "ctr", ""), ("two", "ctr", "")]
        assert sorted(os.listdir(tmp_path / "cache/results")) == ["a-other-eth0", "b-other-eth1"]


@pytest.mark.parametrize("form", ["blocking", "asyncio"])
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("serially", [False, True])
def test_a_second_setup_of_a_living_container_takes_nothing_away(
    stubs: Stubs, base: list[Opt], tmp_path: Path, form: str, locked: bool, serially: bool
) -> None:
    """It is refused; the network that was not there is removed again, those that were there are not touched."""
    stubs.add("loop", result())
    stubs.add("once", result())
    folder = str(tmp_path / "locks") if locked else ""
    opts = [*base, with_options(Options(lock_folder=folder)), _net("a", "loop"), _net("b", "once")]
    new(*opts).setup("ctr", "/x")
    stubs.add("once", error(999, "eth1 already exists"), DEL={})
    stubs.add("late", result())
    stubs.forget()
    more = [*opts[:-2], _net("a", "loop"), _net("c", "late"), _net("b", "once")]
    more[-1] = lambda settings: settings.attach(network("once", name="b"), "eth1")
    with pytest.raises(StepFailed, match="already exists") as caught:
        if form == "blocking":
            cni = new(*more)
            (cni.setup_serially if serially else cni.setup)("ctr", "/x")
        else:
            awaited = AsyncContainerd(*more)
            asyncio.run((awaited.setup_serially if serially else awaited.setup)("ctr", "/x"))
    assert sorted(stubs.order[:3]) == ["ADD late", "ADD loop", "ADD once"]
    assert stubs.order[3:] == ["DEL late"]
    assert sorted(os.listdir(tmp_path / "cache/results")) == ["a-ctr-eth0", "b-ctr-eth1"]
    assert caught.value.__notes__ == [
        "network a was attached before: it is left as it was",
        "network b was attached before: it is left as it was",
    ]


@pytest.mark.parametrize("form", ["blocking", "asyncio"])
def test_an_attachment_for_a_block_of_all_networks(stubs: Stubs, base: list[Opt], tmp_path: Path, form: str) -> None:
    stubs.add("one", result())
    stubs.add("two", result(), DEL=error(11, "stuck"))
    opts = [*base, _net("a", "one"), _net("b", "two")]

    async def awaited() -> None:
        async with AsyncContainerd(*opts).attached("ctr", "/x") as found:
            assert len(found.raw()) == 2
            raise ValueError("the block's own")

    with pytest.raises(ValueError, match="the block's own") as caught:
        if form == "asyncio":
            asyncio.run(awaited())
        with new(*opts).attached("ctr", "/x") as found:
            assert len(found.raw()) == 2
            raise ValueError("the block's own")
    assert stubs.order[2:] == ["DEL two", "DEL one"]
    assert "stuck" in caught.value.__notes__[0]
    stubs.add("two", result())
    stubs.forget()
    with new(*opts).attached("ctr", "/x"):
        pass
    assert stubs.order[2:] == ["DEL one", "DEL two"]
    assert os.listdir(tmp_path / "cache/results") == []


@pytest.mark.parametrize("form", ["blocking", "asyncio"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_block_removes_what_it_attached_also_after_a_load(
    stubs: Stubs, base: list[Opt], tmp_path: Path, form: str, fails: bool
) -> None:
    """Others were loaded meanwhile, by a watcher say, or none: the attachment stayed, and nobody heard of it."""
    stubs.add("one", result())
    opts = [*base, _net("a", "one")]
    loads: list[Opt] = [] if fails else [_net("b", "one")]

    async def awaited() -> None:
        cni = AsyncContainerd(*opts)
        async with cni.attached("ctr", "/x"):
            cni.load(*loads)
            if fails:
                raise ValueError("the block's own")

    def call() -> None:
        if form == "asyncio":
            asyncio.run(awaited())
            return
        cni = new(*opts)
        with cni.attached("ctr", "/x"):
            cni.load(*loads)
            if fails:
                raise ValueError("the block's own")

    with pytest.raises(ValueError) if fails else nullcontext():
        call()
    assert [call.config["name"] for call in stubs.calls] == ["a", "a"]
    assert os.listdir(tmp_path / "cache/results") == []


def test_a_block_of_all_networks_that_failed_waits_no_longer_than_undoing_may_take(
    stubs: Stubs, base: list[Opt], tmp_path: Path
) -> None:
    stubs.add("one", result())
    reports: list[str] = []
    options = Options(lock_folder=tmp_path / "locks", undo_timeout=0.1, report=reports.append)
    cni = new(*base, with_options(options), _net("a", "one"), _net("b", "one"))
    with interrupted(60), pytest.raises(ValueError, match="own") as caught, cni.attached("ctr", "/x"):
        waiting = Locks(tmp_path / "locks", 1).network("b")
        with pytest.raises(StopIteration) as got:
            next(waiting)
        raise ValueError("the block's own")
    got.value.value.release()
    assert "locked by GC of network b" in caught.value.__notes__[0]
    assert [line.split(":")[0] for line in reports] == [
        "DEL of ctr eth0 in network a",
        "DEL of ctr eth1 in network b",
    ]


def test_the_loopback_passes_its_own_check_where_that_is_asked(stubs: Stubs, make: Make) -> None:
    stubs.add("loopback", {"stdout": "{}"})
    cni = make(with_lo_network)
    cni.setup("c", "/x")
    assert stubs.calls[0].config == {"cniVersion": "0.3.1", "name": "cni-loopback", "type": "loopback"}
    assert stubs.calls[0].environ["CNI_IFNAME"] == "lo"
    with pytest.raises(CheckNotSupported):
        cni.check("c", "/x")
    checkable = make(with_checkable_lo_network)
    checkable.setup("c", "/x")
    checkable.check("c", "/x")
    assert stubs.order == ["ADD loopback", "ADD loopback", "CHECK loopback"]


@pytest.mark.parametrize("version", ["0.3.1", "1.0.0", "1.1.0"])
def test_status_names_a_missing_plugin_in_every_version(stubs: Stubs, make: Make, version: str) -> None:
    """The loopback network's too, which is of 0.3.1."""
    stubs.add("one")
    cni = make(with_conf_list_bytes(network("one", "gone", version=version).bytes))
    with pytest.raises(PluginNotFound, match='failed to find plugin "gone" in path '):
        cni.status()
    with pytest.raises(PluginNotFound, match='failed to find plugin "loopback" in path '):
        make(with_lo_network).status()


def test_status_asks_the_plugins_and_cannot_hang(stubs: Stubs, make: Make) -> None:
    stubs.add("one", error(51, "limited"))
    with pytest.raises(PluginFailed) as caught:
        make(_net("a", "one", version="1.1.0")).status()
    assert caught.value.code == 51
    make(_net("a", "one")).status()
    stubs.add("one", {"sleep": 60})
    with pytest.raises(PluginTimeout):
        make(with_options(Options(status_timeout=0.3)), _net("a", "one", version="1.1.0")).status()
    with pytest.raises(PluginTimeout):
        make(_net("a", "one", version="1.1.0")).status(timeout=0.3)


@pytest.mark.parametrize("options", [Options(timeout=0.3), Options(status_timeout=0.3)])
def test_a_default_time_for_every_call(stubs: Stubs, base: list[Opt], options: Options) -> None:
    """In both forms; that of status alone is not that of the others, which are told it here."""
    stubs.add("one", {"sleep": 60})
    opts = [*base, with_rollback(False), with_options(options), _net("a", "one", version="1.1.0")]
    blocking, awaited = new(*opts), AsyncContainerd(*opts)
    with pytest.raises(PluginTimeout):
        blocking.status()
    with pytest.raises(PluginTimeout):
        asyncio.run(awaited.status())
    own = None if options.timeout else 0.3
    with pytest.raises(PluginTimeout):
        blocking.check("c", "/x", timeout=own)
    with pytest.raises(PluginTimeout):
        asyncio.run(awaited.check("c", "/x", timeout=own))


def test_the_result(stubs: Stubs, make: Make) -> None:
    first = {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "br0", "mac": "aa"},
            {"name": "eth0", "mac": "bb", "sandbox": "/x", "mtu": 9, "pciID": "p"},
        ],
        "ips": [{"interface": 1, "address": "10.0.0.2/24", "gateway": "10.0.0.1"}, {"address": "10.0.0.3/24"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {"nameservers": ["9.9.9.9"]},
    }
    stubs.add("one", {"stdout": json.dumps(first)})
    second = {"cniVersion": "0.2.0", "ip4": {"ip": "10.1.0.2/24"}}
    stubs.add("two", {"stdout": json.dumps(second)})
    found = make(_net("a", "one", version="1.1.0"), _net("b", "two", version="0.2.0")).setup("c", "/x")
    assert found.interfaces == {
        "br0": Config([], "aa"),
        "eth0": Config([Address("10.0.0.2", "10.0.0.1"), Address("10.0.0.3"), Address("10.1.0.2")], "bb", "/x", "p"),
    }
    assert [dns.nameservers for dns in found.dns] == [["9.9.9.9"], []]
    assert [str(route.dst) for route in found.routes] == ["0.0.0.0/0"]
    assert [raw.version for raw in found.raw()] == ["1.1.0", "1.1.0"]
    shown = found.document()
    assert shown["Interfaces"]["br0"] == {"IPConfigs": None, "Mac": "aa", "Sandbox": "", "PciID": "", "SocketPath": ""}
    assert shown["DNS"] == [{"nameservers": ["9.9.9.9"]}, {}]


def test_two_old_results_share_the_first_interface(stubs: Stubs, make: Make) -> None:
    stubs.add("one", {"stdout": '{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.2/24"}}'})
    found = make(_net("a", "one", version="0.2.0"), _net("b", "one", version="0.2.0")).setup("c", "/x")
    assert found.interfaces == {"eth0": Config([Address("10.1.0.2"), Address("10.1.0.2")])}


@pytest.mark.parametrize("index", [1, 2, -1])
def test_an_address_of_an_interface_that_is_not_there(stubs: Stubs, make: Make, index: int) -> None:
    document = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}]}
    document["ips"] = [{"interface": index, "address": "10.0.0.2/24"}]  # type: ignore[list-item, dict-item]
    stubs.add("one", {"stdout": json.dumps(document)}, DEL={})
    with pytest.raises(InvalidResult) as caught:
        make(_net("a", "one")).setup("c", "/x")
    assert str(caught.value) == (
        f"invalid interface config: invalid IP configuration (interface number {index} is > number of interfaces 1)"
        ": invalid result"
    )
    assert stubs.order == ["ADD one", "DEL one"]


def test_what_is_shown_of_the_configuration(make: Make, stubs: Stubs) -> None:
    raw = b'{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"one","ipam":{"type":"host-local"},"dns":{"search":["a"]}}]}'
    shown = make(with_conf_list_bytes(raw)).get_config().document()["Networks"][0]
    plugin = {
        "Network": {"type": "one", "ipam": {"type": "host-local"}, "dns": {"search": ["a"]}},
        "Source": '{"dns":{"search":["a"]},"ipam":{"type":"host-local"},"type":"one"}',
    }
    expected = {"Name": "a", "CNIVersion": "1.0.0", "Plugins": [plugin], "Source": raw.decode()}
    assert shown == {"Config": expected, "IFName": "eth0"}


def test_the_asyncio_form(stubs: Stubs, base: list[Opt], gate: Gate) -> None:
    stubs.add("one", {**result(), "wait_for": gate.path}, CHECK={}, DEL={}, STATUS={})

    async def run() -> None:
        cni = AsyncContainerd(*base, *(_net(name, "one", version="1.1.0") for name in "abc"))
        setup = asyncio.ensure_future(cni.setup("c", "/x"))
        while len(stubs.calls) < 3:
            await asyncio.sleep(0.01)
        gate.open()
        found = await setup
        assert [str(raw.ips[0].address) for raw in found.raw()] == ["10.1.2.3/24"] * 3
        await cni.check("c", "/x")
        await cni.status()
        await cni.remove("c", "/x")
        await cni.setup_serially("c", "/x")
        assert len(cni.get_config().networks) == 3

    asyncio.run(asyncio.wait_for(run(), 60))
    assert [call.verb for call in stubs.calls] == [
        *["ADD"] * 3,
        *["CHECK"] * 3,
        *["STATUS"] * 3,
        *["DEL"] * 3,
        *["ADD"] * 3,
    ]


@pytest.mark.parametrize("serially", [False, True])
def test_a_cancelled_setup_removes_what_it_made(stubs: Stubs, base: list[Opt], serially: bool) -> None:
    stubs.add("fast", result())
    stubs.add("slow", {"sleep": 60}, DEL={})

    async def run() -> None:
        cni = AsyncContainerd(*base, _net("a", "fast"), _net("b", "slow"))
        task = asyncio.create_task((cni.setup_serially if serially else cni.setup)("c", "/x"))
        while len(stubs.calls) < 2:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert stubs.order[2:] == ["DEL slow", "DEL fast"]


def test_a_reload_waits_for_nobody(stubs: Stubs, make: Make, gate: Gate) -> None:
    """The new networks are there while a Setup of the old ones runs; and that one ends with its own."""
    stubs.add("one", {**result(), "wait_for": gate.path})
    cni = make(_net("a", "one"))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cni.setup, "c", "/x")
        assert eventually(lambda: stubs.calls, 20)
        cni.load(_net("b", "one"))
        assert _names(cni) == [("b", "eth0")]
        assert not running.done()
        gate.open()
        assert len(running.result(20).raw()) == 1
    assert [call.config["name"] for call in stubs.calls] == ["a"]
