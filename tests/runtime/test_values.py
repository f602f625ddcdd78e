"""What a consumer holds in its hands: values that compare, print and travel, the library's version, what it logs."""

import asyncio
import copy
import inspect
import ipaddress
import logging
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import libcni
from cni import skel, versions
from libcni import (
    CNI,
    DNS,
    AsyncCNI,
    AsyncCNIConfig,
    AsyncExec,
    CNIConfig,
    Exec,
    Interface,
    IPConfig,
    PluginFailed,
    Route,
    RuntimeConf,
    _results,
    containerd,
)

from .conftest import network
from .stub import Stubs, error, result

WHOLE = {
    "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/x", "mtu": 1400}],
    "ips": [
        {"address": "10.0.0.5/24", "gateway": "10.0.0.1", "interface": 0},
        {"address": "fd00::5/64", "interface": 0},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "table": 0}],
    "dns": {"nameservers": ["10.0.0.53"], "search": ["example.org"]},
}


def parts(document: dict[str, Any]) -> list[Interface | IPConfig | Route | DNS]:
    whole = _results.from_document(document, "1.1.0")
    return [*whole.interfaces, *whole.ips, *whole.routes, whole.dns]


def test_parts_of_a_result_are_values() -> None:
    """Two readings of one document are equal, hash alike, print alike, and survive copy and pickle."""
    for one, other in zip(parts(WHOLE), parts(WHOLE), strict=True):
        assert one is not other and one == other and hash(one) == hash(other) and len({one, other}) == 1
        assert repr(one) == repr(other) and repr(one).startswith(f"{type(one).__name__}(")
        assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("interfaces", 0, "mtu"), 1500, 0),
        (("interfaces", 0, "name"), "eth1", 0),
        (("ips", 0, "gateway"), "10.0.0.2", 1),
        (("ips", 1, "address"), "fd00::5/65", 2),
        (("ips", 1, "interface"), 1, 2),
        (("routes", 0, "table"), 254, 3),
        (("dns", "search"), [], 4),
    ],
)
def test_parts_that_differ_are_not_equal(path: tuple[str | int, ...], value: object, place: int) -> None:
    changed: Any = copy.deepcopy(WHOLE)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    unequal = [
        index for index, (one, other) in enumerate(zip(parts(WHOLE), parts(changed), strict=True)) if one != other
    ]
    assert unequal == [place]
    assert repr(parts(WHOLE)[place]) != repr(parts(changed)[place])


def test_parts_of_other_kinds_are_not_equal() -> None:
    assert DNS() != Interface("")
    assert Interface("a") != "a"


def test_the_reprs_can_be_read() -> None:
    interface, four, _, route, dns = parts(WHOLE)
    assert repr(interface) == "Interface(mac='02:00:00:00:00:01', mtu=1400, name='eth0', sandbox='/run/netns/x')"
    assert "address=Prefix('10.0.0.5/24'), gateway=Address('10.0.0.1'), interface=0" in repr(four)
    assert "dst=Prefix('0.0.0.0/0'), gw=Address('10.0.0.1')" in repr(route) and "table=0" in repr(route)
    assert repr(dns) == "DNS(nameservers=['10.0.0.53'], search=['example.org'])"


def test_addresses_as_the_standard_library_has_them() -> None:
    four, six = _results.from_document(WHOLE, "1.1.0").ips
    assert four.gateway is not None
    assert four.address.ipaddress == ipaddress.ip_interface("10.0.0.5/24")
    assert four.gateway.ipaddress == ipaddress.ip_address("10.0.0.1")
    assert six.address.ipaddress == ipaddress.ip_interface("fd00::5/64")
    assert six.address.address.ipaddress == ipaddress.ip_address("fd00::5")
    assert containerd.Address("fd00::5").ipaddress == ipaddress.ip_address("fd00::5")


def test_the_version_has_one_place() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "cni.versions.RELEASE"}
    assert libcni.__version__ == versions.RELEASE == skel.VERSION


@pytest.mark.parametrize("protocol", [CNI, AsyncCNI, Exec, AsyncExec, containerd.ContainerdCNI])
def test_every_method_of_a_protocol_says_what_it_does(protocol: type) -> None:
    methods = [(name, one) for name, one in inspect.getmembers(protocol, inspect.isfunction) if name[0] != "_"]
    assert methods
    assert [name for name, one in methods if not one.__doc__] == []


def test_each_run_of_a_plugin_is_logged(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, caplog: pytest.LogCaptureFixture
) -> None:
    stubs.add("one", result(), DEL=error(7, "no"))
    net = network("one")
    with caplog.at_level(logging.DEBUG, logger="libcni"):
        cni.add_network_list(net, runtime)
        with pytest.raises(PluginFailed):
            cni.del_network(net.plugins[0], runtime)
    path = stubs.folder / "one"
    added, deleted = [record.getMessage() for record in caplog.records if record.name == "libcni"]
    assert added.startswith(f"ADD {path} ctr1 eth0: 0.") and added.endswith(" s")
    assert deleted.startswith(f"DEL {path} ctr1 eth0: failed after 0.") and deleted.endswith(" s: no")


def test_a_run_that_a_cancelled_task_ended_says_so(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, caplog: pytest.LogCaptureFixture
) -> None:
    """The error has no text of its own."""
    stubs.add("one", {"sleep": 600})
    cni = AsyncCNIConfig([str(stubs.folder)], str(tmp_path / "cache"))

    async def run() -> None:
        task = asyncio.create_task(cni.add_network_list(network("one"), runtime))
        while not stubs.calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with caplog.at_level(logging.DEBUG, logger="libcni"):
        asyncio.run(run())
    (line,) = [record.getMessage() for record in caplog.records if record.name == "libcni"]
    assert line.endswith(" s: CancelledError")


def test_what_was_repaired_is_a_warning(
    cni: CNIConfig, stubs: Stubs, runtime: RuntimeConf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no ``report`` is given."""
    stubs.add("one", result())
    cni.add_network_list(network("one"), runtime)
    (tmp_path / "cache/results/net1-ctr1-eth0").write_text("{")
    cni.del_network_list(network("one"), runtime)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.name == "libcni" and "the file is removed" in record.getMessage()


def test_a_watchers_loads_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cni = containerd.new(containerd.with_plugin_conf_dir(str(tmp_path)))
    with caplog.at_level(logging.INFO, logger="libcni"):
        with containerd.Watcher(cni, str(tmp_path), containerd.with_all_conf):
            pass
        (tmp_path / "10.conflist").write_bytes(network("one").bytes)
        with containerd.Watcher(cni, str(tmp_path), containerd.with_all_conf):
            pass
    failed, loaded = [record for record in caplog.records if record.name == "libcni"]
    assert (failed.levelno, loaded.levelno) == (logging.WARNING, logging.INFO)
    assert "no network config found" in failed.getMessage()


@pytest.mark.parametrize("imported", [False, True])
def test_nothing_is_printed_and_nothing_imported_for_nobody(imported: bool) -> None:
    program = f"""
import sys
{"import logging" if imported else ""}
from libcni import Options
Options().report("a line")
assert ("logging" in sys.modules) == {imported}, "imported"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
