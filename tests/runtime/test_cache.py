"""The cache: Go's names and JSON, written whole; what is damaged is reported."""

import base64
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from libcni import CacheDamaged, CacheError, CNIConfig, Options, RuntimeConf, StepFailed
from libcni._cache import Cache, make_folder
from libcni._results import parse

from .conftest import network, optioned
from .stub import Stubs, error, result

ROOT = Path(__file__).parents[2]
RUNTIME = RuntimeConf("c1", "/run/netns/x", "eth0", (("A", "1"),), {"mac": "00:11", "b": {"z": 1, "a": 2}})
# What containerd's library wrote for the same attachment, keys in the order of its structure.
GO_FILE = (
    b'{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjoibmV0In0=","ifName":"eth0","networkName":"net",'
    b'"netns":"/run/netns/x","cniArgs":[["A","1"]],"capabilityArgs":{"b":{"a":2,"z":1},"mac":"00:11"},'
    b'"result":{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}}'
)
RESULT = parse(b'{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}', "1.0.0")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "var"))


def _file(tmp_path: Path, name: str = "net-c1-eth0") -> Path:
    return tmp_path / "var" / "results" / name


def _put(tmp_path: Path, content: bytes, name: str = "net-c1-eth0") -> Path:
    file = _file(tmp_path, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def test_the_bytes_are_those_of_go(cache: Cache, tmp_path: Path) -> None:
    cache.add("net", b'{"name":"net"}', RESULT, RUNTIME)
    file = _file(tmp_path)
    assert file.read_bytes() == GO_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (file.parent, file.parent.parent)} == {0o700}
    assert os.listdir(tmp_path / "var") == ["results"], "a temporary file was left"


def test_what_is_empty_is_left_out(cache: Cache, tmp_path: Path) -> None:
    cache.add("net", b"", None, RuntimeConf("c1", "", "eth0"))
    assert _file(tmp_path).read_bytes() == (
        b'{"kind":"cniCacheV1","containerId":"c1","config":null,"ifName":"eth0","networkName":"net"}'
    )
    found = cache.result("net", "", RuntimeConf("c1", "", "eth0"))
    assert found is not None and found.document() == {"cniVersion": "0.1.0", "dns": {}}


def test_reading_what_go_wrote(cache: Cache, tmp_path: Path) -> None:
    _put(tmp_path, GO_FILE)
    bare = RuntimeConf("c1", "/run/netns/other", "eth0", (("B", "2"),), {"x": 1})
    found = cache.result("net", "0.4.0", bare)
    assert found is not None
    assert found.document()["ips"] == [{"version": "4", "address": "10.0.0.5/24"}]
    cached = cache.config("net", bare)
    assert cached is not None
    config, then = cached
    assert (config, then.args, then.netns) == (b'{"name":"net"}', (("A", "1"),), "/run/netns/other")
    assert then.capability_args == RUNTIME.capability_args
    attachment = cache.attachments("c1")[0][0]
    assert (attachment.network, attachment.netns, attachment.config) == ("net", "/run/netns/x", config)


def test_keys_are_read_without_case_and_capability_arguments_are_emptied(cache: Cache, tmp_path: Path) -> None:
    _put(tmp_path, b'{"KIND":"cniCacheV1","containerID":"c1","IFNAME":"eth0","NetworkName":"net"}')
    cached = cache.config("net", RUNTIME)
    assert cached is not None
    assert (cached[0], cached[1].args, cached[1].capability_args) == (b"", RUNTIME.args, {})
    assert len(cache.attachments()[0]) == 1


def test_a_file_that_another_attachment_shares_is_not_ours(cni: CNIConfig, stubs: Stubs, tmp_path: Path) -> None:
    """Network net-a, container b and network net, container a-b have one file: the one's result is not the other's."""
    stubs.add("one", result())
    theirs, ours = RuntimeConf("b", "/x", "eth0"), RuntimeConf("a-b", "/y", "eth0")
    cni.add_network_list(network("one", name="net-a"), theirs)
    net = network("one", name="net")
    assert cni.get_network_list_cached_result(net, ours) is None
    assert cni.get_network_list_cached_config(net, ours) is None
    cni.check_network_list(net, ours)
    cni.del_network_list(net, ours)
    assert not any("prevResult" in call.config for call in stubs.calls)
    assert [found.network for found in cni.get_cached_attachments()] == ["net-a"]
    cni.del_network_list(network("one", name="net-a"), theirs)
    assert "prevResult" in stubs.calls[-1].config
    assert cni.get_cached_attachments() == []


def test_no_file_is_no_result(cache: Cache) -> None:
    assert cache.result("net", "1.0.0", RUNTIME) is None
    assert cache.config("net", RUNTIME) is None
    assert cache.attachments() == ([], [])
    cache.remove("net", RUNTIME)


def test_a_very_old_file_is_the_result_itself(cache: Cache, tmp_path: Path) -> None:
    _put(tmp_path, b'{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.0.0.5/24"}]}')
    found = cache.result("net", "1.0.0", RUNTIME)
    assert found is not None and [str(ip.address) for ip in found.ips] == ["10.0.0.5/24"]
    with pytest.raises(CacheDamaged, match='read cached network "net" config has wrong kind: '):
        cache.config("net", RUNTIME)
    assert cache.attachments() == ([], [str(_file(tmp_path))])


_DAMAGED = [
    b"",
    b"\0" * 300,
    GO_FILE[:100],
    b"[]",
    b'"x"',
    GO_FILE.replace(b"eyJ", b"!!!"),
    GO_FILE.replace(b'[["A","1"]]', b'[["A"]]'),
    GO_FILE.replace(b'"net",', b"7,"),
    GO_FILE.replace(b'{"cniVersion":"1.0.0","ips"', b'{"cniVersion":1,"ips"'),
    GO_FILE.replace(b"10.0.0.5/24", b"10.0.0.5"),
    GO_FILE.replace(b'"1.0.0"', b'"9.9.9"'),
    GO_FILE.replace(b'"mac":"00:11"', b'"mac":' + b"[" * 500 + b"]" * 500),
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", _DAMAGED)
def test_a_damaged_file_is_reported_with_its_name(cache: Cache, tmp_path: Path, content: bytes) -> None:
    file = _put(tmp_path, content)
    with pytest.raises(CacheDamaged) as caught:
        cache.result("net", "1.0.0", RUNTIME)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("content", _DAMAGED)
def test_a_damaged_file_does_not_stop_a_delete(cni: CNIConfig, stubs: Stubs, tmp_path: Path, content: bytes) -> None:
    reports: list[str] = []
    library = optioned(stubs, tmp_path, Options(report=reports.append))
    stubs.add("one")
    file = tmp_path / "cache/results/net1-c1-eth0"
    file.parent.mkdir(parents=True)
    file.write_bytes(content.replace(b'"net"', b'"net1"'))
    library.del_network_list(network("one"), RUNTIME)
    assert stubs.order == ["DEL one"]
    assert "prevResult" not in stubs.calls[0].config
    assert not file.exists()
    assert any(str(file) in line for line in reports)


def test_a_damaged_file_goes_even_if_the_delete_fails(cni: CNIConfig, stubs: Stubs, tmp_path: Path) -> None:
    """The next try is not to meet it again."""
    stubs.add("one", error(11, "busy"))
    file = tmp_path / "cache/results/net1-c1-eth0"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    with pytest.raises(StepFailed, match="busy"):
        cni.del_network_list(network("one"), RUNTIME)
    assert not file.exists()


@pytest.mark.parametrize("content", _DAMAGED)
def test_a_damaged_file_stops_a_check_unless_it_is_to_be_tolerated(
    cni: CNIConfig, stubs: Stubs, tmp_path: Path, content: bytes
) -> None:
    stubs.add("one")
    file = tmp_path / "cache/results/net1-c1-eth0"
    file.parent.mkdir(parents=True)
    file.write_bytes(content.replace(b'"net"', b'"net1"'))
    with pytest.raises(CacheDamaged, match='^failed to get network "net1" cached result: '):
        cni.check_network_list(network("one"), RUNTIME)
    assert stubs.order == []
    reports: list[str] = []
    tolerant = optioned(stubs, tmp_path, Options(tolerate_damaged_cache=True, report=reports.append))
    tolerant.check_network_list(network("one"), RUNTIME)
    assert stubs.order == ["CHECK one"]
    assert len(reports) == 1
    assert tolerant.get_network_list_cached_result(network("one"), RUNTIME) is None


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("", RUNTIME), ("net", RuntimeConf("", "", "eth0")), ("net", RuntimeConf("c1", "", ""))],
)
def test_incomplete_names(cache: Cache, name: str, runtime: RuntimeConf) -> None:
    with pytest.raises(CacheError) as caught:
        cache.add(name, b"", None, runtime)
    assert str(caught.value) == (
        f'cache file path requires network name ("{name}"), container ID ("{runtime.container_id}"), '
        f'and interface name ("{runtime.if_name}")'
    )


def test_a_delete_never_leaves_the_folder(cni: CNIConfig, stubs: Stubs, tmp_path: Path) -> None:
    stubs.add("one")
    victim = tmp_path / "victim-eth0"
    victim.write_text("precious")
    (tmp_path / "cache/results/net1-x").mkdir(parents=True)
    cni.del_network_list(network("one"), RuntimeConf("x/../../../victim", "", "eth0"))
    assert victim.exists()
    assert stubs.order == ["DEL one"]


def test_attachments_of_one_container(cache: Cache, tmp_path: Path) -> None:
    def content(**keys: Any) -> bytes:
        return json.dumps(
            {"kind": "cniCacheV1", "containerId": "c1", "ifName": "e", "networkName": "n", **keys}
        ).encode()

    _put(tmp_path, content(), "n-c1-e")
    _put(tmp_path, content(containerId="c1-x"), "n-c1-x-e")
    _put(tmp_path, content(containerId="c2"), "m-c2-e")
    _put(tmp_path, content(ifName=""), "q-c1-e")
    _put(tmp_path, content(networkName=""), "r-c1-e")
    _put(tmp_path, content(kind="other"), "s-c1-e")
    _put(tmp_path, content(), ".n-c1-e")
    _put(tmp_path, content(), "named-otherwise")
    (tmp_path / "var/results/t-c1-e").mkdir()
    assert [found.container_id for found in cache.attachments("c1")[0]] == ["c1"]
    assert [found.container_id for found in cache.attachments()[0]] == ["c2", "c1", "c1-x", "c1"]


def test_a_write_that_fails_leaves_the_old_file(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.add("net", b"old", RESULT, RUNTIME)
    before = _file(tmp_path).read_bytes()

    def fail(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("libcni._cache.os.write", fail)
    with pytest.raises(OSError, match="No space"):
        cache.add("net", b"new", RESULT, RUNTIME)
    assert _file(tmp_path).read_bytes() == before
    assert os.listdir(tmp_path / "var") == ["results"]


@pytest.mark.root
@pytest.mark.parametrize("above", ["", "mount -o remount,bind,ro {0} && "])
def test_a_folder_that_is_a_mount_of_its_own(tmp_path: Path, above: str) -> None:
    """Nothing can be renamed into it from beside, or made there: the temporary file is in it, and gone afterwards."""
    (tmp_path / "results").mkdir()
    code = f"""
import os
from libcni import RuntimeConf
from libcni._cache import Cache
cache = Cache({str(tmp_path)!r})
for config in (b"old", b"new"):
    cache.add("net", config, None, RuntimeConf("c1", "", "eth0"))
found = cache.config("net", RuntimeConf("c1", "", "eth0"))
print(os.path.ismount({str(tmp_path)!r} + "/results"), os.listdir({str(tmp_path)!r} + "/results"), found[0])
"""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime"}
    script = tmp_path / "script.py"
    script.write_text(code)
    mount = (
        f"mount --bind {tmp_path} {tmp_path} && mount -t tmpfs tmpfs {tmp_path}/results && {above.format(tmp_path)}"
        f"exec {sys.executable} {script}"
    )
    command = ["unshare", "--mount", "/bin/sh", "-c", mount]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True ['net-c1-eth0'] b'new'\n", "")
    assert sorted(os.listdir(tmp_path)) == ["results", "script.py"]


def test_synced_files_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr("libcni._cache.os.fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    Cache(str(tmp_path / "var"), sync=True).add("net", b"", RESULT, RUNTIME)
    assert [os.path.dirname(path) for path in synced] == [str(tmp_path / "var"), str(tmp_path / "var")]
    assert synced[1].endswith("/results")
    Cache(str(tmp_path / "var")).add("net", b"", RESULT, RUNTIME)
    assert len(synced) == 2


def test_a_result_that_cannot_be_kept(stubs: Stubs, tmp_path: Path) -> None:
    stubs.add("one", result())
    (tmp_path / "file").touch()
    library = CNIConfig([str(stubs.folder)], str(tmp_path / "file"))
    with pytest.raises(CacheError, match='^failed to set network "net1" cached result: '):
        library.add_network_list(network("one"), RUNTIME)
    assert stubs.order == ["ADD one"]


def test_where_the_folder_is(tmp_path: Path) -> None:
    own = RuntimeConf("c", "", "e", cache_dir=str(tmp_path / "own"))
    assert Cache("").path("n", own) == f"{tmp_path}/own/results/n-c-e"
    assert Cache("/else").path("n", own) == "/else/results/n-c-e"
    assert Cache("").path("n", RuntimeConf("c", "", "e")) == "/var/lib/cni/results/n-c-e"


def test_the_whole_configuration_is_kept(cni: CNIConfig, stubs: Stubs, tmp_path: Path) -> None:
    stubs.add("one", result())
    net = network("one")
    cni.add_network_list(net, RUNTIME)
    kept = json.loads((tmp_path / "cache/results/net1-c1-eth0").read_bytes())
    assert base64.b64decode(kept["config"]) == net.bytes
    cached = cni.get_network_list_cached_config(net, RUNTIME)
    assert cached is not None and cached[0] == net.bytes


def test_a_folder_below_very_many_missing_ones(tmp_path: Path) -> None:
    """As many as a path may have: they are made one by one, and none is left unseen."""
    deep = f"{tmp_path}/a{'/x' * 1500}"
    try:
        make_folder(deep)
        assert os.path.isdir(deep) and os.stat(deep).st_mode & 0o777 == 0o700
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)  # deeper than Python's own removal goes
