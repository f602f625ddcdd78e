"""CNI_ARGS is joined text: what would be read as another pair, or a further one, reaches no plugin (nomad#23538)."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni.environment import arguments
from libcni import AsyncCNIConfig, CNIConfig, GCArgs, InvalidArgs, Options, RuntimeConf, code_of
from libcni.containerd import Containerd, with_args, with_cache_dir, with_conf_list_bytes, with_labels, with_plugin_dir

from .conftest import network
from .stub import Stubs, result

BAD = {
    "semicolon": ("K8S_POD_NAME", "a;IP=10.9.9.9"),
    "semicolon alone": ("A", ";"),
    "equals": ("A", "b=c"),
    "base64": ("A", "YQ=="),
    "key semicolon": ("A;IP", "10.9.9.9"),
    "key equals": ("A=1;B", "2"),
    "no key": ("", "1"),
    "nul": ("A", "b\0c"),
    "key nul": ("A\0", "b"),
}
GOOD = [("IgnoreUnknown", "1"), ("A", ""), ("B", " a b "), ("C", "a,b:c/d"), ("D", "пример\n")]


def runtime(*pairs: tuple[str, str]) -> RuntimeConf:
    return RuntimeConf("c1", "/x", "eth0", (("A0", "1"), *pairs))


def forms(stubs: Stubs, tmp_path: Path) -> dict[str, Callable[[tuple[str, str]], Any]]:
    """Each way in which a pair can be handed in for ADD or CHECK."""
    cni = CNIConfig(stubs.folder, tmp_path / "cache")
    awaited = AsyncCNIConfig(stubs.folder, tmp_path / "cache")
    net = network({"type": "one", "name": "net1", "cniVersion": "1.0.0"})
    service = Containerd(
        with_plugin_dir(stubs.folder), with_cache_dir(tmp_path / "cache"), with_conf_list_bytes(net.bytes)
    )
    return {
        "list": lambda pair: cni.add_network_list(net, runtime(pair)),
        "one": lambda pair: cni.add_network(net.plugins[0], runtime(pair)),
        "check": lambda pair: cni.check_network_list(net, runtime(pair)),
        "asyncio": lambda pair: asyncio.run(awaited.add_network_list(net, runtime(pair))),
        "labels": lambda pair: service.setup("c1", "/x", with_labels(dict([pair]))),
        "args": lambda pair: service.setup_serially("c1", "/x", with_args("A0", "1"), with_args(*pair)),
        "service check": lambda pair: service.check("c1", "/x", with_args(*pair)),
    }


@pytest.mark.parametrize("form", ["list", "one", "check", "asyncio", "labels", "args", "service check"])
@pytest.mark.parametrize("bad", BAD)
def test_a_pair_that_would_be_another_is_refused_before_a_plugin_runs(
    stubs: Stubs, tmp_path: Path, form: str, bad: str
) -> None:
    """And nothing is undone, for nothing was begun."""
    stubs.add("one", result())
    with pytest.raises(InvalidArgs, match="^invalid CNI_ARGS pair ") as caught:
        forms(stubs, tmp_path)[form](BAD[bad])
    assert code_of(caught.value) == 4
    assert not hasattr(caught.value, "__notes__")
    assert stubs.calls == [] and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("form", ["list", "asyncio", "labels", "args"])
def test_other_pairs_arrive_as_they_are(stubs: Stubs, tmp_path: Path, form: str) -> None:
    """With what our own plugins read them by."""
    stubs.add("one", result())
    for pair in GOOD:
        forms(stubs, tmp_path)[form](pair)
        sent = stubs.calls[-1].environ["CNI_ARGS"]
        assert sent.split(";")[-1] == f"{pair[0]}={pair[1]}"
        assert pair[0] == "IgnoreUnknown" or arguments({"CNI_ARGS": sent}, ("A0", pair[0]))[pair[0]] == pair[1]


def test_a_delete_of_what_another_runtime_added_goes_without_them(stubs: Stubs, tmp_path: Path) -> None:
    """Go's library had let them through; the attachment must be removable, by DEL and GC, and they reach no plugin."""
    stubs.add("one", result())
    lines: list[str] = []
    cni = CNIConfig(stubs.folder, tmp_path / "cache", options=Options(report=lines.append))
    net, bad = network("one"), (("IgnoreUnknown", "1"), BAD["semicolon"])
    for remove in (lambda: cni.del_network_list(net, runtime(*bad)), lambda: cni.gc_network_list(net, GCArgs([]))):
        cni.add_network_list(net, RuntimeConf("c1", "/x", "eth0", {"IgnoreUnknown": "1"}))
        file = tmp_path / "cache/results/net1-c1-eth0"
        document = json.loads(file.read_text())
        file.write_text(json.dumps({**document, "cniArgs": [list(pair) for pair in bad]}))
        remove()
        assert stubs.calls[-1].verb == "DEL" and not file.exists()
        assert stubs.calls[-1].environ["CNI_ARGS"].endswith("IgnoreUnknown=1")
        assert lines[-1] == 'DEL of c1 eth0 leaves out CNI_ARGS "K8S_POD_NAME=a;IP=10.9.9.9"'
