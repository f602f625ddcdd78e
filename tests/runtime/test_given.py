"""What callers hand in, in each form that people have it: paths, one text or several, pairs, configurations."""

import inspect
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import libcni
from cni import result as shapes
from libcni import (
    DNS,
    AsyncCNIConfig,
    CNIConfig,
    ConfigError,
    NetworkAttachment,
    NetworkConfig,
    Options,
    PluginConf,
    PluginFinder,
    PluginInfo,
    PluginNotFound,
    ProcessExec,
    RuntimeConf,
    conf_files,
    conf_from_bytes,
    conf_from_file,
    conf_list_from_conf,
    containerd,
    inject_conf,
    load_conf,
    load_network_conf,
    network_conf_from_bytes,
    network_conf_from_file,
    network_plugin_confs_from_files,
)
from libcni.containerd import (
    Containerd,
    DNSConfig,
    Watcher,
    with_args,
    with_cache_dir,
    with_capability_cgroup_path,
    with_capability_dns,
    with_conf,
    with_conf_file,
    with_conf_index,
    with_conf_list_bytes,
    with_conf_list_file,
    with_default_conf,
    with_labels,
    with_plugin_conf_dir,
    with_plugin_dir,
)
from libcni.containerd._capabilities import Namespace

from .conftest import network
from .stub import Stubs, result

SINGLE = {"type": "one", "name": "net1", "cniVersion": "1.0.0"}
LIST = {"name": "net1", "cniVersion": "1.0.0", "plugins": [{"type": "one"}]}

# Each parameter that is a path, is made of texts or is a configuration, by what its name says. A new one that is not
# of these types fails the walk below.
PATHS = {"path", "paths", "folder", "folders", "file", "cache_dir", "lock_folder", "netns"}
# The library itself calls these, or makes the value and hands it out.
OWN = {
    "Threaded.exec_plugin_async path",
    "NetworkAttachment.__init__ netns",
    "ConfigResult.__init__ plugin_dirs",
}
# Where one text is one element, and where it is refused.
ONE = {
    "conf_files suffixes",
    "PluginInfo.__init__ supported_versions",
    "DNSConfig.__init__ servers",
    "DNSConfig.__init__ searches",
    "DNSConfig.__init__ options",
    "DNS.__init__ nameservers",
    "DNS.__init__ search",
    "DNS.__init__ options",
}
REFUSED = {"ProcessExec.__init__ prefix"}


def parameters() -> Iterator[tuple[str, str, str]]:
    """Function or method, parameter and annotation of all public names."""
    for module in (libcni, containerd):
        for name in module.__all__:
            found = getattr(module, name)
            if not inspect.isclass(found):
                functions = [(name, found)] if inspect.isfunction(found) else []
            elif issubclass(found, BaseException) or getattr(found, "_is_protocol", False):
                continue
            else:
                own = inspect.getmembers(found, inspect.isfunction)
                functions = [(f"{name}.{one}", of) for one, of in own if one == "__init__" or not one.startswith("_")]
            for label, function in functions:
                lean = (
                    vars(shapes) | {"Any": Any, "Iterable": Iterator} if function.__module__ == "cni.result" else None
                )
                for one in inspect.signature(function, eval_str=True, globals=lean).parameters.values():
                    yield label, one.name, str(one.annotation)


def test_every_public_signature_takes_what_people_have() -> None:
    seen = set()
    for label, name, annotation in parameters():
        where = f"{label} {name}"
        texts = "[str]" in annotation and ("Sequence" in annotation or "Iterat" in annotation)
        seen.add(where)
        if where in OWN or "Mapping[str, libcni" in annotation:
            continue
        if name in PATHS:
            assert "PathLike" in annotation, where
        elif texts and "PathLike" not in annotation:
            assert where in ONE | REFUSED, where
        if where in ("inject_conf config", "conf_list_from_conf single") or (name == "data" and "decode" not in label):
            assert "Mapping" in annotation and "bytes | bytearray | memoryview | str" in annotation, where
        if "tuple[str, str]" in annotation and where != "NetworkAttachment.__init__ cni_args":
            assert "Mapping[str, str]" in annotation, where
    assert seen >= OWN | ONE | REFUSED, "a name that is no more"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration folder with a list, a single plugin's file and a plugin in the list's own folder."""
    made = tmp_path / "net.d"
    (made / "net1").mkdir(parents=True)
    (made / "10.conflist").write_text(json.dumps(LIST))
    (made / "20.conf").write_text(json.dumps({**SINGLE, "name": "net2"}))
    (made / "net1/30.conf").write_text(json.dumps({"type": "two"}))
    return made


def _label(form: Any) -> str:
    return getattr(form, "__name__", str(form))


class Elsewhere:
    """A path of somebody's own."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def __fspath__(self) -> str:
        return self._path


@pytest.mark.parametrize("form", [str, Path, Elsewhere], ids=_label)
def test_paths(stubs: Stubs, folder: Path, tmp_path: Path, form: Callable[[Path], Any]) -> None:
    stubs.add("one", result())
    stubs.add("two", result())
    net = load_network_conf(form(folder), "net1")
    assert [plugin.network.type for plugin in net.plugins] == ["one", "two"]
    assert load_network_conf([form(tmp_path / "none"), form(folder)], "net1") == net
    assert network_conf_from_file(form(folder / "10.conflist")) == net
    assert load_conf(form(folder), "net2") == conf_from_file(form(folder / "20.conf"))
    assert conf_files(form(folder), [".conf"]) == [str(folder / "20.conf")]
    assert [one.network.type for one in network_plugin_confs_from_files(form(folder), "net1")] == ["two"]
    with pytest.raises(ConfigError) as caught:
        conf_from_bytes(b"{", form(folder / "20.conf"))
    assert caught.value.file == str(folder / "20.conf")
    for given in (form(stubs.folder), [form(tmp_path), form(stubs.folder)]):
        assert PluginFinder().find_in_path("one", given) == str(stubs.folder / "one")
        options = Options(lock_folder=form(tmp_path / "locks"))
        cni = CNIConfig(given, form(tmp_path / "cache"), options=options)
        assert AsyncCNIConfig(given, form(tmp_path / "cache")).path == cni.path
        runtime = RuntimeConf("c1", form(tmp_path / "netns"), "eth0", cache_dir=form(tmp_path))
        cni.add_network_list(net, runtime)
        cni.del_network_list(net, runtime)
    assert stubs.calls[0].environ["CNI_NETNS"] == str(tmp_path / "netns")
    assert (tmp_path / "cache/results").is_dir() and (tmp_path / "locks").is_dir()
    environ = {"CNI_COMMAND": "STATUS", "CNI_PATH": ""}
    ProcessExec(prefix=[form(Path("/usr/bin/env"))]).exec_plugin(form(stubs.folder / "one"), b"{}", environ)


@pytest.mark.parametrize("form", [str, Path, Elsewhere], ids=_label)
def test_paths_of_containerds_interface(
    stubs: Stubs, folder: Path, tmp_path: Path, form: Callable[[Path], Any]
) -> None:
    stubs.add("one", result())
    stubs.add("two", result())
    loads = [
        with_conf_file(form(folder / "20.conf")),
        with_conf_list_file(form(folder / "10.conflist")),
        with_default_conf,
    ]
    for given in (form(stubs.folder), [form(stubs.folder)]):
        folders = form(folder) if given == form(stubs.folder) else [form(folder)]
        cni = Containerd(with_plugin_dir(given), with_plugin_conf_dir(folders), with_cache_dir(form(tmp_path / "c")))
        with Watcher(cni, folders, *loads) as watcher:
            assert watcher.last_error is None
        assert cni.get_config().plugin_dirs == (str(stubs.folder),)
        assert cni.get_config().plugin_conf_dir == str(folder)
        assert [one.config.name for one in cni.get_config().networks] == ["net2", "net1", "net1"]
    cni.load(with_default_conf)
    for call in (cni.setup, cni.check, cni.remove, cni.setup_serially):
        call("id", form(tmp_path / "netns"), with_capability_cgroup_path(form(tmp_path / "cgroup")))
    assert {call.environ["CNI_NETNS"] for call in stubs.calls} == {str(tmp_path / "netns")}
    assert (tmp_path / "c/results").is_dir()


def test_one_text_is_one_element_where_people_mean_it(stubs: Stubs, folder: Path) -> None:
    stubs.add("one", result())
    assert CNIConfig(str(stubs.folder)).path == (str(stubs.folder),)
    assert Containerd(with_plugin_dir("/opt/cni/bin")).get_config().plugin_dirs == ("/opt/cni/bin",)
    assert conf_files(folder, ".conf") == [str(folder / "20.conf")]
    with pytest.raises(PluginNotFound, match=r"in path \[/none\]"):
        PluginFinder().find_in_path("one", "/none")
    assert PluginInfo("1.0.0", "1.0.0").supported_versions == ("1.0.0",)
    assert DNS("9.9.9.9", "a", "b", "ndots:2").document() == {
        "nameservers": ["9.9.9.9"],
        "domain": "a",
        "search": ["b"],
        "options": ["ndots:2"],
    }
    namespace = Namespace("id", "/x")
    with_capability_dns(DNSConfig("9.9.9.9", "a", "b"))(namespace)
    assert namespace.capability_args["dns"] == {"Servers": ["9.9.9.9"], "Searches": ["a"], "Options": ["b"]}


def test_a_mapping_of_arguments_is_its_pairs(cni: CNIConfig, stubs: Stubs) -> None:
    stubs.add("one", result())
    pairs = {"IgnoreUnknown": "1", "K8S_POD_NAME": "a"}
    for given in (pairs, MappingProxyType(pairs), tuple(pairs.items()), [list(pair) for pair in pairs.items()]):
        runtime = RuntimeConf("c1", "/x", "eth0", given)  # type: ignore[arg-type]
        assert runtime.args == (("IgnoreUnknown", "1"), ("K8S_POD_NAME", "a"))
        cni.add_network_list(network("one"), runtime)
        assert stubs.calls[-1].environ["CNI_ARGS"] == "IgnoreUnknown=1;K8S_POD_NAME=a"
        namespace = Namespace("id", "/x")
        with_labels(given)(namespace)  # type: ignore[arg-type]
        assert namespace.args == pairs


REFUSALS: dict[str, tuple[Callable[[], object], str]] = {
    "prefix": (
        lambda: ProcessExec(prefix="nsenter --net=/x --"),
        r"prefix is a sequence of words.*\['nsenter', '--net=/x', '--'\]",
    ),
    "prefix path": (lambda: ProcessExec(prefix=Path("/usr/bin/env")), "prefix is a sequence of words"),  # type: ignore[arg-type]
    "args": (lambda: RuntimeConf(args="A=1;B=2"), "args is a mapping of texts or a sequence of pairs"),  # type: ignore[arg-type]
    "letters": (lambda: RuntimeConf(args=("AB", "CD")), "'AB' is no pair"),  # type: ignore[arg-type]
    "numbers": (lambda: RuntimeConf(args={"A": 1}), r"\('A', 1\) is no pair"),  # type: ignore[dict-item]
    "triple": (lambda: RuntimeConf(args=[("A", "1", "2")]), "is no pair"),  # type: ignore[list-item]
    "nothing": (lambda: RuntimeConf(args=None), "None is no pair"),  # type: ignore[arg-type]
    "attachment": (lambda: NetworkAttachment("c", "n", "e", cni_args="A=1"), "cni_args is"),  # type: ignore[arg-type]
    "capabilities": (lambda: RuntimeConf(capability_args='{"mac":"x"}'), "capability_args is a mapping"),  # type: ignore[arg-type]
    "labels": (lambda: with_labels("A=1"), "labels is a mapping"),  # type: ignore[arg-type]
    "label": (lambda: with_args("A", 1), "is no pair"),  # type: ignore[arg-type]
    "number": (lambda: CNIConfig(5), "int"),  # type: ignore[arg-type]
    "cache": (lambda: CNIConfig("/x", ["/y"]), "list"),  # type: ignore[arg-type]
    "stream": (lambda: conf_from_bytes(io.BytesIO(b"{}")), "bytes, text or a mapping, not BytesIO"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("given", REFUSALS)
def test_what_cannot_be_meant_is_refused_at_once(given: str) -> None:
    call, text = REFUSALS[given]
    with pytest.raises(TypeError, match=text):
        call()


def test_a_plugin_folder_with_a_colon_is_refused() -> None:
    """Plugins find two folders in it, and so would a delegate be searched for elsewhere."""
    for call in (CNIConfig, AsyncCNIConfig, with_plugin_dir):
        with pytest.raises(ValueError, match="has a colon, which separates folders in CNI_PATH"):
            call("/opt/cni/bin:/usr/lib/cni")  # type: ignore[operator]


FORMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "bytes": lambda document: json.dumps(document).encode(),
    "bytearray": lambda document: bytearray(json.dumps(document).encode()),
    "memoryview": lambda document: memoryview(json.dumps(document).encode()),
    "text": json.dumps,
    "document": lambda document: document,
    "mapping": MappingProxyType,
}


@pytest.mark.parametrize("form", FORMS)
def test_configurations(form: str) -> None:
    make = FORMS[form]
    single, net = conf_from_bytes(make(SINGLE)), network_conf_from_bytes(make(LIST))
    assert (single.network.type, json.loads(single.bytes)) == ("one", SINGLE)
    assert (net.plugins[0].network.type, json.loads(net.bytes)) == ("one", LIST)
    assert NetworkConfig(PluginConf("one"), make(SINGLE)).bytes == single.bytes
    assert json.loads(inject_conf(make(SINGLE), {"mtu": 1400}).bytes) == {**SINGLE, "mtu": 1400}
    assert [one.network.type for one in conf_list_from_conf(make(SINGLE)).plugins] == ["one"]
    loads = [with_conf(make(SINGLE)), with_conf_index(make(SINGLE), 3), with_conf_list_bytes(make(LIST))]
    loaded = Containerd(*loads).get_config().networks
    assert [(one.if_name, one.config.name) for one in loaded] == [("eth0", "net1"), ("eth3", "net1"), ("eth2", "net1")]


def test_the_fault_of_a_document_has_a_key_and_no_line() -> None:
    """Nobody has seen the text that the library made of it."""
    with pytest.raises(ConfigError, match=r'\(key "plugins\[0\]\.type"\)$') as caught:
        network_conf_from_bytes({"name": "net1", "plugins": [{"type": 5}]})
    assert caught.value.position is None
    with pytest.raises(ConfigError, match=r"line 1, column 10, key .type.\)$"):
        conf_from_bytes('{"type": 5}')
    for bad in ({"type": {1, 2}}, {"type": "one", "x": float("nan")}, {5: "one"}):
        with pytest.raises(ConfigError, match="error parsing configuration: unsupported"):
            conf_from_bytes(bad)  # type: ignore[arg-type]


def test_a_text_of_any_alphabet() -> None:
    assert conf_from_bytes('{"type": "один", "name": "\ud800"}').network.type == "один"
