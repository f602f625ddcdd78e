"""Configurations from bytes: Go's rules and texts, and the place of a fault."""

import json
from typing import Any

import pytest

from libcni import ConfigError, conf_from_bytes, conf_list_from_conf, inject_conf, network_conf_from_bytes
from libcni._configuration import Source

LIST = "error parsing configuration list: "


def _list(**keys: Any) -> bytes:
    return json.dumps({"name": "n", "cniVersion": "1.0.0", "plugins": [{"type": "x"}], **keys}).encode()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"name": 1}, f"{LIST}invalid name type float64"),
        ({"name": None}, f"{LIST}invalid name type <nil>"),
        ({"name": [1]}, f"{LIST}invalid name type []interface {{}}"),
        ({"name": {}}, f"{LIST}invalid name type map[string]interface {{}}"),
        ({"cniVersion": True}, f"{LIST}invalid cniVersion type bool"),
        ({"cniVersion": None}, f"{LIST}invalid cniVersion type <nil>"),
        ({"cniVersions": "1.0.0"}, f"{LIST}invalid type for cniVersions: []interface {{}}"),
        ({"cniVersions": [1]}, f"{LIST}invalid type for cniVersions index 0: float64"),
        ({"cniVersions": ["1.0.0", "x"]}, f"{LIST}invalid cniVersions entry x at index 1: "),
        ({"cniVersions": [], "cniVersion": "y"}, f"{LIST}invalid cniVersion y: "),
        ({"disableCheck": "YES"}, f'{LIST}invalid value "yes" for disableCheck'),
        ({"disableGC": 1}, f"{LIST}invalid type float64 for disableGC"),
        ({"loadOnlyInlinedPlugins": None}, f"{LIST}invalid type <nil> for loadOnlyInlinedPlugins"),
        ({"plugins": {}}, f"{LIST}invalid 'plugins' type map[string]interface {{}}"),
        ({"plugins": None}, f"{LIST}invalid 'plugins' type <nil>"),
        ({"plugins": []}, f"{LIST}no plugins in list"),
        ({"plugins": [{}]}, "failed to parse plugin config 0: error parsing configuration: missing 'type'"),
        ({"plugins": [{"type": "a"}, {"type": 1}]}, "failed to parse plugin config 1: error parsing configuration: "),
        ({"plugins": ["x"]}, "failed to parse plugin config 0: error parsing configuration: "),
    ],
)
def test_wrong_types_are_told_in_the_words_of_go(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        network_conf_from_bytes(_list(**keys))
    assert caught.value.msg.startswith(text)


@pytest.mark.parametrize(
    ("document", "text"),
    [({}, f"{LIST}no name"), ({"name": "n", "loadOnlyInlinedPlugins": True},
      f"{LIST}`loadOnlyInlinedPlugins` is true, and no 'plugins' key")],
)  # fmt: skip
def test_missing_keys(document: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        network_conf_from_bytes(json.dumps(document).encode())
    assert caught.value.msg == text


def test_an_error_names_the_file_the_key_and_its_place() -> None:
    data = b'{\n  "name": "n",\n  "plugins": [\n    {"type": "a"},\n    {"type": "b", "ipam": {"type": 7}}\n  ]\n}\n'
    with pytest.raises(ConfigError) as caught:
        network_conf_from_bytes(data, "/etc/cni/net.d/10-n.conflist")
    error = caught.value
    assert (error.file, error.position and (error.position.line, error.position.column)) == (
        "/etc/cni/net.d/10-n.conflist", (5, 36),
    )  # fmt: skip
    assert str(error).endswith('(/etc/cni/net.d/10-n.conflist, line 5, column 36, key "plugins[1].ipam.type")')


def test_the_place_of_a_key_in_another_case() -> None:
    with pytest.raises(ConfigError) as caught:
        network_conf_from_bytes(b'{"name": "n", "plugins": [{"TYPE": 7}]}')
    position = caught.value.position
    assert position is not None and position.column == 36


def test_an_error_in_the_json_has_its_place_too() -> None:
    with pytest.raises(ConfigError) as caught:
        network_conf_from_bytes(b'{\n  "name": "n"\n  "plugins": []\n}', "f")
    assert str(caught.value).endswith("(f, line 3, column 3)")


@pytest.mark.parametrize(
    ("version", "versions", "chosen"),
    [
        ("0.4.0", ["0.3.1", "1.0.0"], "1.0.0"),
        ("1.0.0", ["0.3.1"], "1.0.0"),
        ("0.4.0", ["99.0.0"], "0.4.0"),
        ("1.2.3", ["99.0.0"], "1.2.3"),
        ("", [], ""),
        ("", ["1.1"], "1.1"),
        ("0.4.0", ["1.1.0", "0.3.0"], "1.1.0"),
    ],
)
def test_the_highest_version_that_is_known_is_taken(version: str, versions: list[str], chosen: str) -> None:
    assert network_conf_from_bytes(_list(cniVersion=version, cniVersions=versions)).cni_version == chosen


def test_a_lone_version_is_not_judged() -> None:
    assert network_conf_from_bytes(_list(cniVersion="1.2.3")).cni_version == "1.2.3"


@pytest.mark.parametrize("value", [True, "true", "TRUE"])
def test_flags_may_be_words(value: Any) -> None:
    net = network_conf_from_bytes(_list(disableCheck=value, disableGC=value, loadOnlyInlinedPlugins=value))
    assert (net.disable_check, net.disable_gc, net.load_only_inlined_plugins) == (True, True, True)


def test_the_keys_of_a_plugin_match_without_case_and_those_of_a_list_do_not() -> None:
    assert conf_from_bytes(b'{"type":"a","TYPE":"b"}').network.type == "b"
    with pytest.raises(ConfigError, match="no name"):
        network_conf_from_bytes(b'{"Name":"n","plugins":[{"type":"x"}]}')


@pytest.mark.parametrize(
    "document",
    [{"type": 1}, {"type": "x", "name": 1}, {"type": "x", "ipam": "host-local"}, {"type": "x", "capabilities": {"a": 1}},
     {"type": "x", "capabilities": []}, {"type": "x", "dns": {"search": "x"}}, {"type": "x", "dns": {"search": [1]}},
     {"type": "x", "cni.dev/valid-attachments": {}}, {"type": "x", "cni.dev/valid-attachments": [1]},
     {"type": "x", "prevResult": []}, {"type": "x", "cniVersion": 1.0}, {}, {"type": ""}, {"type": None}, [], "x"],
)  # fmt: skip
def test_a_plugin_with_wrong_types_is_refused(document: Any) -> None:
    with pytest.raises(ConfigError, match="error parsing configuration: "):
        conf_from_bytes(json.dumps(document).encode())


def test_entries_are_compact_and_sorted() -> None:
    net = network_conf_from_bytes(b'{"name":"n","plugins":[{ "type":"host-local", "subnet": "10.0.0.1/24" }]}')
    assert net.plugins[0].bytes == b'{"subnet":"10.0.0.1/24","type":"host-local"}'


def test_a_single_plugin_becomes_a_list() -> None:
    single = conf_from_bytes(b'{"cniVersion":"0.4.0","name":"n","type":"x","disableCheck":true,"a":1}')
    net = conf_list_from_conf(single)
    assert (net.name, net.cni_version, net.disable_check) == ("n", "0.4.0", False)
    assert json.loads(net.plugins[0].bytes) == json.loads(single.bytes)
    assert net.plugins[0].network.describe() == 'type="x" name="n"'


def test_injecting() -> None:
    conf = conf_from_bytes(b'{"type":"x","a":{"b":1}}')
    assert inject_conf(conf, {"a": 2, "name": "n"}).bytes == b'{"a":2,"name":"n","type":"x"}'
    for values, text in (({"": 1}, "keys cannot be empty"), ({"a": None}, "key 'a' value must not be nil"),
                         ({"type": ""}, "error parsing configuration: missing 'type'")):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            inject_conf(conf, values)
        assert caught.value.msg == text


def test_a_position_survives_repeated_and_missing_members() -> None:
    source = Source(b'{"a": 1, "A": {"b": [0, 1]}, "a": [5]}')
    assert source.fault("x", "a", 0).position == source.fault("x", "a", 0, "deeper").position
    position = source.fault("x", "A", "b", 1).position
    assert position is not None and position.column == 25
