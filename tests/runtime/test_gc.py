"""GC: what is stale in the cache is deleted, then the plugins are asked; errors are gathered (Go: `GCNetworkList`)."""

import json
import os
from pathlib import Path

import pytest

from libcni import CNIConfig, GCArgs, GCAttachment, MissingArgs, Options, RuntimeConf, SeveralErrors, code_of
from node.deadline import interrupted

from .conftest import network
from .stub import Stubs, error, result


def _attach(cni: CNIConfig, name: str, *containers: str, version: str = "1.1.0") -> None:
    for container in containers:
        args = (("K", container),)
        runtime = RuntimeConf(container, f"/run/netns/{container}", "eth0", args, {"mac": container})
        cni.add_network_list(network("one", name=name, version=version), runtime)


@pytest.fixture
def one(stubs: Stubs) -> Stubs:
    stubs.add("one", result("1.1.0"))
    return stubs


def test_only_what_is_not_valid_goes(cni: CNIConfig, one: Stubs, tmp_path: Path) -> None:
    _attach(cni, "net1", "a", "b", "c")
    _attach(cni, "net2", "a")
    one.forget()
    capable = {"type": "one", "capabilities": {"mac": True}}
    valid = GCArgs([GCAttachment("b", "eth0"), GCAttachment("c", "eth9")])
    cni.gc_network_list(network(capable, version="1.1.0"), valid)
    assert one.order == ["DEL one", "DEL one", "GC one"]
    first, _, collected = one.calls
    assert first.environ["CNI_CONTAINERID"] == "a"
    assert first.environ["CNI_NETNS"] == "/run/netns/a"
    assert first.environ["CNI_ARGS"] == "K=a"
    assert first.config["runtimeConfig"] == {"mac": "a"}, "the given list and the cached arguments"
    assert "prevResult" in first.config
    listed = [{"containerID": "b", "ifname": "eth0"}, {"containerID": "c", "ifname": "eth9"}]
    assert collected.config["cni.dev/valid-attachments"] == collected.config["cni.dev/attachments"] == listed
    assert "prevResult" not in collected.config and "runtimeConfig" not in collected.config
    assert {collected.environ[name] for name in ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS")} == {""}
    left = sorted(file.name for file in (tmp_path / "cache/results").iterdir())
    assert left == ["net1-b-eth0", "net2-a-eth0"]


@pytest.mark.parametrize(("args", "keys"), [(None, None), (GCArgs(), "null"), (GCArgs([]), "[]")])
def test_no_list_a_null_list_and_an_empty_one(
    cni: CNIConfig, one: Stubs, args: GCArgs | None, keys: str | None
) -> None:
    _attach(cni, "net1", "a")
    one.forget()
    cni.gc_network_list(network("one", version="1.1.0"), args)
    assert one.order == ["DEL one", "GC one"]
    config = one.calls[1].config
    if keys is None:
        assert not any(name.startswith("cni.dev/") for name in config)
    else:
        assert config["cni.dev/valid-attachments"] == config["cni.dev/attachments"] == json.loads(keys)


def test_before_1_1_0_only_the_cache_is_cleared(cni: CNIConfig, one: Stubs) -> None:
    one.add("one", result("0.3.1"))
    _attach(cni, "net1", "a", version="0.3.1")
    one.forget()
    cni.gc_network_list(network("one", version="0.3.1"))
    assert one.order == ["DEL one"]


def test_a_list_may_disable_it(cni: CNIConfig, one: Stubs) -> None:
    _attach(cni, "net1", "a")
    one.forget()
    cni.gc_network_list(network("one", version="1.1.0", disableGC=True))
    assert one.order == []


def test_it_goes_on_after_errors_and_tells_them_all(cni: CNIConfig, one: Stubs) -> None:
    _attach(cni, "net1", "a", "b")
    one.add("one", DEL=error(11, "busy"), GC=error(999, "broken"))
    one.add("two", GC=error(7, "also"))
    one.forget()
    with pytest.raises(SeveralErrors) as caught:
        cni.gc_network_list(network("one", version="1.1.0"))
    assert str(caught.value).splitlines() == [
        'failed to delete stale attachment a eth0: plugin type="one" failed (delete): busy',
        'failed to delete stale attachment b eth0: plugin type="one" failed (delete): busy',
        "failed to GC plugin one: broken",
    ]
    assert code_of(caught.value) == 11
    with pytest.raises(
        SeveralErrors, match=r"failed to GC plugin none: failed to find plugin.*\nfailed to GC plugin two"
    ):
        cni.gc_network_list(network("none", "two", version="1.1.0"), GCArgs([GCAttachment(x, "eth0") for x in "ab"]))


def test_several_networks_in_one_call(cni: CNIConfig, one: Stubs, tmp_path: Path) -> None:
    _attach(cni, "net1", "a", "b")
    _attach(cni, "net2", "a", "b")
    _attach(cni, "net3", "a")
    one.forget()
    nets = [network("one", name=name, version="1.1.0") for name in ("net1", "net2")]
    by_name = {"net1": GCArgs([GCAttachment("a", "eth0")]), "net2": GCArgs([GCAttachment("b", "eth0")])}
    cni.gc_network_lists(nets, by_name)
    assert one.order == ["DEL one", "GC one"] * 2
    left = sorted(file.name for file in (tmp_path / "cache/results").iterdir())
    assert left == ["net1-a-eth0", "net2-b-eth0", "net3-a-eth0"]
    cni.gc_network_lists(nets, GCArgs([GCAttachment("a", "eth0")]))
    assert sorted(file.name for file in (tmp_path / "cache/results").iterdir()) == ["net1-a-eth0", "net3-a-eth0"]


def test_a_network_that_was_forgotten_is_not_emptied(cni: CNIConfig, one: Stubs) -> None:
    """Nothing at all is removed; a network that disables GC needs no arguments."""
    _attach(cni, "net1", "a", "b")
    _attach(cni, "net2", "a")
    one.forget()
    nets = [network("one", name=name, version="1.1.0") for name in ("net1", "net2")]
    with pytest.raises(MissingArgs, match='no GC arguments for network "net2": nothing was removed'):
        cni.gc_network_lists(nets, {"net1": GCArgs([GCAttachment("a", "eth0")])})
    assert one.order == []
    disabled = network("one", name="net2", version="1.1.0", disableGC=True)
    cni.gc_network_lists([nets[0], disabled], {"net1": GCArgs([GCAttachment("a", "eth0")])})
    assert one.order == ["DEL one", "GC one"]


def test_cached_attachments(cni: CNIConfig, one: Stubs) -> None:
    assert cni.get_cached_attachments() == []
    _attach(cni, "net1", "a", "b")
    _attach(cni, "net2", "a")
    assert [(found.network, found.container_id) for found in cni.get_cached_attachments("a")] == [
        ("net1", "a"), ("net2", "a"),
    ]  # fmt: skip
    assert len(cni.get_cached_attachments()) == 3


def test_what_is_no_file_or_too_long_in_the_cache_is_reported_and_skipped(one: Stubs, tmp_path: Path) -> None:
    """Nobody waits for a pipe that has an attachment's name; DEL of that attachment takes it away."""
    reports: list[str] = []
    library = CNIConfig([str(one.folder)], str(tmp_path / "cache"), options=Options(report=reports.append))
    _attach(library, "net1", "a", "b")
    folder = tmp_path / "cache/results"
    os.mkfifo(folder / "net1-pipe-eth0")
    (folder / "net1-zero-eth0").symlink_to("/dev/zero")
    (folder / "net1-long-eth0").write_bytes((folder / "net1-b-eth0").read_bytes() + b" " * (16 << 20))
    odd = [f"net1-{name}-eth0" for name in ("long", "pipe", "zero")]
    with interrupted(20):
        library.gc_network_list(network("one", version="1.1.0"), GCArgs([GCAttachment("b", "eth0")]))
        assert [line.split()[2] for line in reports] == [str(folder / name) for name in odd]
        assert sorted(file.name for file in folder.iterdir()) == ["net1-b-eth0", *odd]
        for name in ("long", "pipe", "zero"):
            runtime = RuntimeConf(name, "", "eth0")
            assert library.get_network_list_cached_result(network("one", version="1.1.0"), runtime) is None
            library.del_network_list(network("one", version="1.1.0"), runtime)
    assert [file.name for file in folder.iterdir()] == ["net1-b-eth0"]
