"""What each call sends to whom, in which order, and what its errors say (Go: `libcni/api.go`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from libcni import (
    CheckNotSupported,
    CNIConfig,
    GCArgs,
    InvalidName,
    InvalidVersion,
    LibcniError,
    NetworkConfig,
    NetworkConfigList,
    PluginFailed,
    PluginNotFound,
    ResultError,
    RuntimeConf,
    SeveralErrors,
    StepFailed,
    UnsupportedByPlugin,
    VersionInfoError,
    code_of,
    conf_from_bytes,
)

from .conftest import network
from .stub import Stubs, error, result

ALL = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def _cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache/results"
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_add_hands_each_result_to_the_next(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, tmp_path: Path) -> None:
    stubs.add("one", result(address="10.0.0.1/24", custom=1))
    stubs.add("two", result(address="10.0.0.2/24"))
    net = network({"type": "one", "capabilities": {"mac": True, "ips": True}}, {"type": "two", "name": "inner"})
    found = cni.add_network_list(net, runtime)
    assert [str(ip.address) for ip in found.ips] == ["10.0.0.2/24"]
    first, second = stubs.calls
    assert first.stdin == (
        b'{"capabilities":{"ips":true,"mac":true},"cniVersion":"1.0.0","name":"net1",'
        b'"runtimeConfig":{"mac":"00:11"},"type":"one"}'
    )
    assert second.config["prevResult"] == {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.1/24"}]}
    assert second.config["name"] == "net1"
    assert "runtimeConfig" not in second.config
    assert first.environ == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "ctr1",
        "CNI_NETNS": "/run/netns/none",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "A=1;B=2",
        "CNI_PATH": str(stubs.folder),
    }
    assert _cached(tmp_path) == ["net1-ctr1-eth0"]


def test_a_plugin_has_the_runtimes_own_environment_too(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The protocol's variables win over those that the runtime was started with."""
    monkeypatch.setenv("PROBE", "inherited")
    monkeypatch.setenv("CNI_IFNAME", "older")
    at = stubs.folder / "tells"
    at.write_text('#!/bin/sh\necho "{\\"code\\": 7, \\"msg\\": \\"$PROBE $CNI_IFNAME\\"}"\nexit 1\n')
    at.chmod(0o755)
    with pytest.raises(PluginFailed, match="^inherited eth0$"):
        cni.check_network_list(network("tells"), runtime)


@pytest.mark.parametrize("version", ALL)
def test_a_previous_result_is_sent_at_every_version(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, version: str
) -> None:
    old = {"stdout": json.dumps({"cniVersion": version, "ip4": {"ip": "10.0.0.1/24"}})}
    stubs.add("one", old if version in ALL[:2] else result(version))
    stubs.add("two", old if version in ALL[:2] else result(version))
    cni.add_network_list(network("one", "two", version=version), runtime)
    assert stubs.calls[1].config["prevResult"]["cniVersion"] == version


def test_an_add_that_fails_stops_and_keeps_nothing(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, tmp_path: Path
) -> None:
    stubs.add("one", result())
    stubs.add("two", error(103, "no more", "try later"))
    stubs.add("three", result())
    with pytest.raises(StepFailed) as caught:
        cni.add_network_list(network("one", {"type": "two", "name": "x"}, "three"), runtime)
    assert str(caught.value) == 'plugin type="two" name="x" failed (add): no more; try later'
    assert isinstance(caught.value.__cause__, PluginFailed)
    assert code_of(caught.value) == 103
    assert stubs.order == ["ADD one", "ADD two"]
    assert _cached(tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "name", "code", "text"),
    [
        ({"container_id": ""}, "net1", 3, "missing containerID"),
        ({"container_id": "a b"}, "net1", 4, "invalid characters in containerID; a b"),
        ({"container_id": "a\n"}, "net1", 4, "invalid characters in containerID; a\n"),
        ({}, "", 7, "missing network name:"),
        ({}, "-x", 7, "invalid characters found in network name; -x"),
        ({"if_name": ""}, "net1", 4, "interface name is empty"),
        (
            {"if_name": "é" * 8},
            "net1",
            4,
            "interface name is too long; interface name should be less than 16 characters",
        ),
        ({"if_name": ".."}, "net1", 4, "interface name is . or .."),
        ({"if_name": "a:b"}, "net1", 4, "interface name contains / or : or whitespace characters"),
        ({"if_name": "a\x85"}, "net1", 4, "interface name contains / or : or whitespace characters"),
    ],
)
def test_only_add_judges_names(
    cni: CNIConfig, stubs: Stubs, changed: dict[str, str], name: str, code: int, text: str
) -> None:
    stubs.add("one", result())
    runtime = RuntimeConf(**{"container_id": "c", "netns": "/x", "if_name": "eth0", **changed})  # type: ignore[arg-type]
    net = NetworkConfigList(name, "1.0.0", network("one").plugins)
    with pytest.raises(StepFailed) as caught:
        cni.add_network_list(net, runtime)
    assert isinstance(caught.value.__cause__, InvalidName)
    assert (str(caught.value.__cause__), code_of(caught.value)) == (text, code)
    assert stubs.order == []
    cni.del_network_list(net, runtime)
    assert stubs.order == ["DEL one"]


def test_a_missing_plugin_wins_over_a_bad_name_and_names_the_folders(tmp_path: Path) -> None:
    library = CNIConfig([str(tmp_path), "/none"], str(tmp_path / "cache"))
    with pytest.raises(StepFailed) as caught:
        library.add_network_list(network("missing"), RuntimeConf())
    assert isinstance(caught.value.__cause__, PluginNotFound)
    assert str(caught.value) == (
        f'plugin type="missing" failed (add): failed to find plugin "missing" in path [{tmp_path} /none]'
    )


@pytest.mark.parametrize(
    ("plugin", "path", "text"),
    [
        ("", ["/x"], "no plugin name provided"),
        ("a/b", ["/x"], "invalid plugin name: a/b"),
        ("a", [], "no paths provided"),
        ('a"\n', ["/x", "/y"], 'failed to find plugin "a\\"\\n" in path [/x /y]'),
        ("a\0", ["/x"], "invalid plugin name: a\0"),
    ],
)
def test_what_cannot_be_searched(plugin: str, path: list[str], text: str) -> None:
    with pytest.raises(PluginNotFound) as caught:
        CNIConfig(path).get_version_info(plugin)
    assert str(caught.value) == text


def test_check_and_delete_get_the_final_result(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, tmp_path: Path
) -> None:
    stubs.add("one", result(address="10.0.0.1/24"))
    stubs.add("two", result(address="10.0.0.2/24"))
    net = network({"type": "one", "capabilities": {"other": True}}, "two")
    cni.add_network_list(net, runtime)
    stubs.forget()
    cni.check_network_list(net, runtime)
    cni.del_network_list(net, runtime)
    assert stubs.order == ["CHECK one", "CHECK two", "DEL two", "DEL one"]
    for call in stubs.calls:
        assert call.config["prevResult"]["ips"] == [{"address": "10.0.0.2/24"}]
    assert stubs.calls[0].config["runtimeConfig"] == {"other": 1}
    assert _cached(tmp_path) == []
    stubs.forget()
    cni.del_network_list(net, runtime)
    cni.check_network_list(net, runtime)
    assert stubs.order == ["DEL two", "DEL one", "CHECK one", "CHECK two"]
    assert not any("prevResult" in call.config for call in stubs.calls)


def test_the_version_decides_over_check_and_the_result_for_delete(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, tmp_path: Path
) -> None:
    stubs.add("one", result("0.3.1"))
    net = network("one", version="0.3.1", disableCheck=True)
    cni.add_network_list(net, runtime)
    with pytest.raises(CheckNotSupported) as caught:
        cni.check_network_list(net, runtime)
    assert str(caught.value) == 'configuration version "0.3.1" does not support the CHECK command'
    cni.del_network_list(net, runtime)
    assert "prevResult" not in stubs.calls[-1].config
    assert _cached(tmp_path) == []
    stubs.forget()
    cni.check_network_list(network("one", disableCheck=True), runtime)
    assert stubs.order == []


@pytest.mark.parametrize("version", ["x", "1.2.3.4", "1.-1"])
def test_what_is_no_version(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, version: str) -> None:
    stubs.add("one")
    net = network("one", version=version)
    for call in (cni.check_network_list, cni.del_network_list):
        with pytest.raises(InvalidVersion, match="invalid version"):
            call(net, runtime)
    cni.get_status_network_list(net)
    cni.gc_network_list(net, GCArgs([]))
    assert stubs.order == []


def test_garbage_of_what_is_no_version_is_an_error(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf) -> None:
    """Its DELs fail, where there is anything to delete; the plugins' own GC is taken for too old."""
    stubs.add("one", result())
    cni.add_network_list(network("one"), runtime)
    stubs.forget()
    with pytest.raises(SeveralErrors, match='^failed to delete stale attachment ctr1 eth0: invalid version "x": '):
        cni.gc_network_list(network("one", version="x"), GCArgs([]))
    assert stubs.order == []


def test_a_repeated_add_takes_the_file_over(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf) -> None:
    stubs.add("one", result(address="10.0.0.1/24"))
    cni.add_network_list(network("one"), runtime)
    stubs.add("one", result(address="10.0.0.2/24"))
    cni.add_network_list(network("one"), runtime)
    cached = cni.get_network_list_cached_result(network("one"), runtime)
    assert cached is not None and [str(ip.address) for ip in cached.ips] == ["10.0.0.2/24"]


def test_a_hand_made_entry_that_is_no_json(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf) -> None:
    """It is an error of each verb that would send it, and GC goes on with the next plugin."""
    stubs.add("one", result("1.1.0"))
    good = network("one", version="1.1.0").plugins[0]
    bad = NetworkConfig(good.network, b"{")
    net = NetworkConfigList("net1", "1.1.0", (bad, good))
    for call in (cni.add_network_list, cni.del_network_list, cni.check_network_list):
        with pytest.raises(LibcniError, match="unmarshal existing network bytes: unexpected end of JSON input"):
            call(net, runtime)
    stubs.forget()
    with pytest.raises(SeveralErrors, match="^failed to GC plugin one: unmarshal existing network bytes: "):
        cni.gc_network_list(net, GCArgs([]))
    assert stubs.order == ["GC one"]


def test_a_delete_that_fails_stops_and_keeps_the_cache(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, tmp_path: Path
) -> None:
    stubs.add("one", result())
    stubs.add("two", result(), DEL=error(11, "busy"))
    net = network("one", "two")
    cni.add_network_list(net, runtime)
    with pytest.raises(StepFailed, match=r'^plugin type="two" failed \(delete\): busy$'):
        cni.del_network_list(net, runtime)
    assert stubs.order[2:] == ["DEL two"]
    assert _cached(tmp_path) == ["net1-ctr1-eth0"]


def test_a_check_that_fails_is_told_as_it_is(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf) -> None:
    stubs.add("one", error(7, "differs"))
    stubs.add("two")
    with pytest.raises(PluginFailed) as caught:
        cni.check_network_list(network("one", "two"), runtime)
    assert (str(caught.value), caught.value.code) == ("differs", 7)
    assert stubs.order == ["CHECK one"]


def test_single_plugins(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, tmp_path: Path) -> None:
    stubs.add("one", result())
    conf = conf_from_bytes(b'{"cniVersion":"1.0.0","name":"solo","type":"one","capabilities":{"mac":true}}')
    found = cni.add_network(conf, runtime)
    assert found.version == "1.0.0"
    assert stubs.calls[0].config["runtimeConfig"] == {"mac": "00:11"}
    assert _cached(tmp_path) == ["solo-ctr1-eth0"]
    cached = cni.get_network_cached_config(conf, runtime)
    assert cached is not None and cached[0] == conf.bytes
    again = cni.get_network_cached_result(conf, runtime)
    assert again is not None and again.document() == found.document()
    cni.check_network(conf, runtime)
    cni.del_network(conf, runtime)
    assert stubs.order == ["ADD one", "CHECK one", "DEL one"]
    assert [("prevResult" in call.config) for call in stubs.calls] == [False, True, True]
    assert _cached(tmp_path) == []
    stubs.add("one", error(9, "no"))
    for call in (cni.add_network, cni.check_network, cni.del_network):
        with pytest.raises(PluginFailed, match="^no$"):
            call(conf, runtime)


def test_a_known_version_other_than_the_configurations_is_handed_on(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf
) -> None:
    stubs.add("one", {"stdout": '{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.1/24"}}'})
    stubs.add("two", result())
    cni.add_network_list(network("one", "two"), runtime)
    assert stubs.calls[1].config["prevResult"] == {"cniVersion": "0.2.0", "ip4": {"ip": "10.0.0.1/24"}, "dns": {}}


@pytest.mark.parametrize("stdout", ["", "hello", '{"cniVersion":"9.9.9"}', '{"ips":[{"address":"10.0.0.1"}]}'])
def test_an_answer_that_is_no_result(cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, stdout: str) -> None:
    stubs.add("one", {"stdout": stdout})
    with pytest.raises(StepFailed) as caught:
        cni.add_network_list(network("one"), runtime)
    assert isinstance(caught.value.__cause__, ResultError)
    cni.check_network_list(network("one"), runtime)


def test_a_list_without_plugins(cni: CNIConfig, runtime: RuntimeConf, tmp_path: Path) -> None:
    net = NetworkConfigList("net1", "1.0.0", bytes=b"{}")
    assert cni.add_network_list(net, runtime).document() == {"cniVersion": "1.0.0"}
    assert "result" not in json.loads((tmp_path / "cache/results/net1-ctr1-eth0").read_bytes())


def test_status(cni: CNIConfig, stubs: Stubs) -> None:
    stubs.add("one", {"stdout": "ignored"})
    stubs.add("two", error(50, "not now"))
    stubs.add("three")
    cni.get_status_network_list(network("one", "two"))
    assert stubs.order == []
    with pytest.raises(PluginFailed) as caught:
        cni.get_status_network_list(network("one", "two", "three", version="1.1.0"))
    assert (str(caught.value), caught.value.code) == ("not now", 50)
    assert stubs.order == ["STATUS one", "STATUS two"]
    assert stubs.calls[0].config == {"cniVersion": "1.1.0", "name": "net1", "type": "one"}
    empty = {name: value for name, value in stubs.calls[0].environ.items() if name not in ("CNI_COMMAND", "CNI_PATH")}
    assert empty == {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "", "CNI_ARGS": ""}


@pytest.mark.parametrize(
    "version", ["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0", "1", "x", "9.9.9"]
)
def test_status_names_a_missing_plugin_in_every_version(cni: CNIConfig, stubs: Stubs, version: str) -> None:
    """Go's says nothing below 1.1.0 (go-cni#116). Only from there on a plugin runs."""
    stubs.add("one")
    with pytest.raises(PluginNotFound, match='failed to find plugin "missing" in path '):
        cni.get_status_network_list(network("one", "missing", version=version))
    assert stubs.order == (["STATUS one"] if version in ("1.1.0", "9.9.9") else [])


def _versions(*supported: str, version: str = "1.0.0") -> dict[str, Any]:
    return {"stdout": json.dumps({"cniVersion": version, "supportedVersions": supported})}


def test_validating(cni: CNIConfig, stubs: Stubs) -> None:
    stubs.add("one", _versions("0.1.0", "1.0.0"))
    stubs.add("two", _versions("0.4.0"))
    capable = {"type": "one", "capabilities": {"b": True, "a": True, "c": False}}
    assert cni.validate_network_list(network(capable, capable)) == ["a", "b"]
    assert stubs.order == ["VERSION one", "VERSION one"]
    call = stubs.calls[0]
    assert call.stdin == b'{"cniVersion":"1.1.0"}'
    assert call.environ == {"CNI_COMMAND": "VERSION", "CNI_CONTAINERID": "", "CNI_NETNS": "dummy",
                            "CNI_IFNAME": "dummy", "CNI_ARGS": "", "CNI_PATH": "dummy"}  # fmt: skip
    with pytest.raises(SeveralErrors) as caught:
        cni.validate_network_list(network("two", "none"))
    assert str(caught.value) == (
        f'[plugin two does not support config version "1.0.0" failed to find plugin "none" in path [{stubs.folder}]]'
    )
    assert cni.validate_network(conf_from_bytes(b'{"type":"one"}')) == []
    with pytest.raises(UnsupportedByPlugin) as bare:
        cni.validate_network(conf_from_bytes(b'{"type":"two"}'))
    assert str(bare.value) == 'plugin two does not support config version "0.1.0"'


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (_versions("1.0.0"), ("1.0.0",)),
        ({"stdout": '{"cniVersion":"0.2.0"}'}, ("0.1.0", "0.2.0")),
        (error(4, "unknown CNI_COMMAND: VERSION"), ("0.1.0",)),
        ({"stdout": "{}"}, "decoding version info: missing field cniVersion"),
        ({"stdout": '{"cniVersion":"1.0.0"}'}, "decoding version info: missing field supportedVersions"),
        ({"stdout": "rubbish"}, "decoding version info: "),
        ({"stdout": '{"cniVersion":"1.0.0","supportedVersions":[1]}'}, "decoding version info: "),
    ],
)
def test_versions(cni: CNIConfig, stubs: Stubs, behaviour: dict[str, Any], expected: tuple[str, ...] | str) -> None:
    stubs.add("one", behaviour)
    if isinstance(expected, tuple):
        assert cni.get_version_info("one").supported_versions == expected
        return
    with pytest.raises(VersionInfoError) as caught:
        cni.get_version_info("one")
    assert str(caught.value).startswith(expected)


def test_a_version_call_that_fails_otherwise_fails(cni: CNIConfig, stubs: Stubs) -> None:
    stubs.add("one", error(4, "unknown CNI_COMMAND: VERSION", "really"))
    with pytest.raises(PluginFailed):
        cni.get_version_info("one")


def test_what_a_file_says_of_the_runtime_is_replaced_or_passed_on(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf
) -> None:
    stubs.add("one", result())
    entry = {"type": "one", "runtimeConfig": {"x": 1}, "prevResult": {"cniVersion": "1.0.0"}}
    cni.add_network_list(network(entry), runtime)
    cni.add_network_list(network({**entry, "capabilities": {"mac": True, "other": False}}), runtime)
    first, second = (call.config for call in stubs.calls)
    assert (first["runtimeConfig"], second["runtimeConfig"]) == ({"x": 1}, {"mac": "00:11"})
    assert first["prevResult"] == {"cniVersion": "1.0.0"}
