"""Errors and values of the library go through pickle and copy whole: a process pool hands them on that way."""

import copy
import dataclasses
import importlib
import json
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

import libcni
from cni.address import Address, Prefix
from libcni import (
    DNS,
    AsyncCNIConfig,
    CacheDamaged,
    CacheError,
    CallCancelled,
    CheckNotSupported,
    CNIConfig,
    CNIError,
    CollectFailed,
    ConfigError,
    Deadline,
    GCArgs,
    GCAttachment,
    Interface,
    InvalidArgs,
    InvalidName,
    InvalidVersion,
    IPConfig,
    LibcniError,
    Locked,
    LockFailed,
    MissingArgs,
    NetworkAttachment,
    NoConfigsFound,
    NotFound,
    Options,
    PluginFailed,
    PluginInfo,
    PluginNotFound,
    PluginTimeout,
    Result,
    ResultError,
    Route,
    RuntimeConf,
    SeveralErrors,
    StepFailed,
    UnsupportedByPlugin,
    VersionInfoError,
    _results,
    code_of,
    containerd,
    is_cancelled,
    is_timeout,
    network_conf_from_bytes,
)
from libcni._commandline import UsageError
from libcni._errors import FunctionTimeout
from libcni._gojson import JSONError
from libcni._position import Position
from libcni._process import Cancelled, OutOfTime, TooMuchOutput
from libcni.containerd._errors import ContainerdError

from .conftest import network
from .stub import Gate, Stubs, error

FAILED = PluginFailed("no", "try this", 11, path="/p/one", status="exit status 1", stderr="noise")
TIMEOUT = PluginTimeout("killed", "1 s", path="/p/one", status="signal: killed")
ERRORS: list[BaseException] = [
    CNIError("msg", "details", 3),
    LibcniError("msg"),
    ConfigError("msg", "/x/y.conf", Position(2, 3), ("plugins", 0, "type")),
    NotFound("/etc/cni/net.d", "net1"),
    NoConfigsFound("/etc/cni/net.d"),
    CheckNotSupported("0.3.1"),
    InvalidVersion("msg"),
    InvalidName("msg", "details", 4),
    InvalidArgs("msg", "details"),
    PluginNotFound("msg"),
    FAILED,
    TIMEOUT,
    CallCancelled("cancelled", "details", path="/p/one"),
    StepFailed('type="one"', "add", FAILED),
    StepFailed('type="one"', "add", TIMEOUT),
    StepFailed('type="one"', "add", PluginNotFound("failed to find plugin")),
    StepFailed('type="one"', "add", OSError(5, "Input/output error", "/x")),
    MissingArgs("msg"),
    CollectFailed("failed to GC plugin one", FAILED),
    CollectFailed("failed to GC plugin one", TIMEOUT),
    ResultError("msg"),
    VersionInfoError("msg"),
    UnsupportedByPlugin("msg"),
    CacheError("msg"),
    CacheDamaged("msg"),
    Locked("msg"),
    LockFailed("msg"),
    FunctionTimeout("msg"),
    SeveralErrors([FAILED, PluginNotFound("msg")]),
    SeveralErrors([CollectFailed("failed to GC plugin one", TIMEOUT), FAILED], brackets=True),
    UsageError("msg"),
    JSONError("unexpected end of JSON input", "{", 1),
    OutOfTime(),
    Cancelled(),
    TooMuchOutput(),
    ContainerdError("msg"),
    containerd.NotInitialized(),
    containerd.InvalidConfig("msg"),
    containerd.ReadFailed("msg"),
    containerd.InvalidResult("msg"),
    containerd.LoadFailed("msg"),
]
IP = IPConfig(Prefix.parse("10.0.0.5/24"), Address.parse("10.0.0.1"), 0, "6")
ROUTE = Route(Prefix.parse("::/0"), Address.parse("fe80::1"), 1400, 1360, 7, 0, 253)
INTERFACE = Interface("eth0", "00:11", "/run/netns/x", 1500, "/s", "0:1")
NETWORK = Result("1.1.0", _results.shapes.Result([INTERFACE], [IP], [ROUTE], DNS(["9.9.9.9"], "a", ["b"], ["c"])))
LIST = network_conf_from_bytes(b'{"name":"net1","cniVersion":"1.0.0","plugins":[{"type":"one","dns":{"domain":"a"}}]}')
VALUES: list[object] = [
    Deadline(3.0, 17.0),
    GCArgs([GCAttachment("c1", "eth0")]),
    GCAttachment("c1", "eth0"),
    NetworkAttachment("c1", "net1", "eth0", b"{}", "/x", (("A", "1"),), {"mac": "00:11"}),
    RuntimeConf("c1", "/x", "eth0", {"A": "1"}, {"mac": "00:11"}, "/var/lib/cni"),
    LIST,
    LIST.plugins[0],
    LIST.plugins[0].network,
    Options(undo_failed_add=True, lock_folder="/run/x", timeout=3.0),
    PluginInfo("1.0.0", ("0.4.0", "1.0.0")),
    DNS(["9.9.9.9"], "a", ["b"], ["c"]),
    INTERFACE,
    IP,
    ROUTE,
    NETWORK,
    containerd.Address("10.0.0.5", "10.0.0.1"),
    containerd.Config([containerd.Address("10.0.0.5")], "00:11", "/x", "0:1", "/s"),
    containerd.Result({"eth0": containerd.Config()}, [DNS(["9.9.9.9"])], [ROUTE], [NETWORK]),
    containerd.ConfNetwork(LIST, "eth0"),
    containerd.ConfigResult(("/opt/cni/bin",), "/etc/cni/net.d", 1, "eth", [containerd.ConfNetwork(LIST, "eth0")]),
    containerd.PortMapping(80, 8080, "udp", "127.0.0.1"),
    containerd.BandWidth(1, 2, 3, 4),
    containerd.DNSConfig(["9.9.9.9"], ["a"], ["b"]),
    containerd.IPRange("10.0.0.0/24", "10.0.0.5", "10.0.0.9", "10.0.0.1"),
]  # fmt: skip
# What acts, holds descriptors or only describes: nobody sends it anywhere.
ACTORS = {
    libcni.Attached,
    libcni.AsyncAttached,
    libcni.Cancellation,
    libcni.Threaded,
    libcni.ProcessExec,
    libcni.OwnBuildExec,
    libcni.PluginFinder,
    CNIConfig,
    AsyncCNIConfig,
    containerd.Containerd,
    containerd.AsyncContainerd,
    containerd.Watcher,
}

WAYS: list[Callable[[Any], Any]] = [copy.copy, copy.deepcopy]
for number in range(pickle.HIGHEST_PROTOCOL + 1):
    WAYS.append(lambda value, number=number: pickle.loads(pickle.dumps(value, number)))


def facts(value: Any) -> Any:
    """All that a value holds, down to texts and numbers, without its own idea of equality."""
    if isinstance(value, BaseException):
        return type(value), str(value), facts(value.args), facts(value.__dict__)
    if isinstance(value, tuple | list):
        return type(value), [facts(item) for item in value]
    if isinstance(value, dict):
        return {name: facts(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value):
        return type(value), [facts(getattr(value, one.name)) for one in dataclasses.fields(value)]
    if slots := getattr(type(value), "__slots__", ()):
        return type(value), [facts(getattr(value, name)) for name in slots]
    return value


def modules() -> list[Any]:
    found = pkgutil.walk_packages(libcni.__path__, "libcni.")
    return [importlib.import_module(one.name) for one in found if not one.name.endswith("__main__")]


def test_each_public_class_has_a_sample() -> None:
    """A new error or value belongs in the lists above; errors of inner modules too."""
    public = {getattr(module, name) for module in (libcni, containerd) for name in module.__all__}
    classes = {one for one in public if isinstance(one, type) and not getattr(one, "_is_protocol", False)}
    inner = {one for module in modules() for one in vars(module).values() if isinstance(one, type)}
    errors = {one for one in inner if issubclass(one, BaseException) and one.__module__.startswith("libcni")}
    sampled = {type(one) for one in [*ERRORS, *VALUES]}
    kinds = {
        one for one in classes | errors if not one.__name__.startswith("_") and not getattr(one, "_is_protocol", False)
    }
    assert kinds - ACTORS - sampled == set()


@pytest.mark.parametrize("way", WAYS, ids=["copy", "deepcopy", *map(str, range(len(WAYS) - 2))])
@pytest.mark.parametrize("value", [*ERRORS, *VALUES], ids=lambda value: type(value).__name__)
def test_all_of_it_survives(value: Any, way: Callable[[Any], Any]) -> None:
    if isinstance(value, BaseException) and not getattr(value, "__notes__", None):
        value.__cause__ = ValueError("which pickle loses")
        value.add_note("a note")
    again = way(value)
    assert facts(again) == facts(value)
    assert again is not value
    if isinstance(value, BaseException):
        assert repr(again) == repr(value)


@pytest.mark.parametrize("way", WAYS[1:3])
def test_what_an_error_says_of_its_cause_survives(way: Callable[[Any], Any]) -> None:
    step = way(StepFailed('type="one"', "add", FAILED))
    assert (step.code, step.msg, step.details) == (11, 'plugin type="one" failed (add): no', "try this")
    assert (code_of(step), step.error.path, step.error.stderr) == (11, "/p/one", "noise")
    assert str(step) == f"{step.msg}; {step.details}"
    late = way(SeveralErrors([CollectFailed("who", TIMEOUT)]))
    assert is_timeout(late) and isinstance(late, TimeoutError) and not is_cancelled(late)
    assert is_cancelled(way(StepFailed('type="one"', "add", CallCancelled("cancelled"))))


def test_a_step_without_a_code_has_code_0() -> None:
    step = StepFailed('type="one"', "add", PluginNotFound("none"))
    assert (step.code, step.details, code_of(step)) == (0, "", None)
    assert not isinstance(step, TimeoutError)


class Foreign(Exception):
    """An error of somebody else's executor, which pickle takes and cannot give back."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} of {two}")


def test_an_error_of_others_that_does_not_survive_is_told_in_words() -> None:
    for outer in (StepFailed('type="one"', "add", Foreign(1, 2)), SeveralErrors([Foreign(1, 2)])):
        again = pickle.loads(pickle.dumps(outer))
        assert str(again) == str(outer) and type(again) is type(outer)
        inner = again.errors[0] if isinstance(again, SeveralErrors) else again.error
        assert (type(inner), str(inner)) == (LibcniError, "Foreign: 1 of 2")


def test_a_failing_plugin_in_a_process_pool(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, gate: Gate) -> None:
    """The pool goes on, and its caller sees the plugin's error; a result comes back too."""
    good = {"stdout": json.dumps({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/24"}]})}
    stubs.add("bad", error(11, "no", "try this"))
    stubs.add("slow", {"wait_for": gate.path})
    stubs.add("good", good)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        failed = pool.submit(cni.add_network_list, network("bad"), runtime).exception(60)
        late = pool.submit(cni.del_network_list, network("slow"), runtime, timeout=0.05).exception(60)
        found = pool.submit(cni.add_network_list, network("good"), runtime).result(60)
        cached = pool.submit(cni.get_cached_attachments).result(60)
    assert isinstance(failed, StepFailed)
    assert (failed.code, code_of(failed), failed.details) == (11, 11, "try this")
    assert isinstance(late, StepFailed) and isinstance(late, TimeoutError) and is_timeout(late)
    assert [str(ip.address) for ip in found.ips] == ["10.0.0.5/24"]
    assert [one.container_id for one in cached] == ["ctr1"]
