"""host-local's verbs, called in process on a store of one's own: what is handed out, refused, given back."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_host_local import index
from cni_host_local import store as store_module
from node.plugin import Outcome
from node.served import plugin, serve

Object = dict[str, Any]
SMALL = "10.1.2.0/29"
V4, V6 = "10.1.2.0/24", "fd00:1::/64"


class Host:
    """A store of leases, and calls of host-local on it."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder / "leases"
        self.store = self.data_dir / "net1"

    def conf(
        self, ranges: Any = SMALL, version: str | None = "1.1.0", top: Object | None = None, **ipam: Any
    ) -> Object:
        """A configuration with one set a subnet, or with the range sets that are given."""
        if isinstance(ranges, str):
            ranges = [[{"subnet": subnet}] for subnet in ranges.split()]
        section = {"type": "host-local", "dataDir": str(self.data_dir), "ranges": ranges, **ipam}
        conf: Object = {"name": "net1", "ipam": section, **(top or {})}
        return conf if version is None else {"cniVersion": version, **conf}

    def call(self, verb: str, container: str = "c1", conf: Any = None, **call: Any) -> Outcome:
        return serve(plugin("host-local"), verb, self.conf() if conf is None else conf, container=container, **call)

    def add(self, container: str = "c1", conf: Any = None, **call: Any) -> list[str]:
        """The addresses that an ADD hands out."""
        return [ip["address"].split("/")[0] for ip in self.call("ADD", container, conf, **call).result["ips"]]

    def leases(self) -> dict[str, str]:
        """Address to content."""
        files = sorted(self.store.iterdir()) if self.store.exists() else []
        return {
            file.name: file.read_bytes().decode()
            for file in files
            if file.name != "lock" and not file.name.startswith("last_reserved_ip")
        }

    def snapshot(self) -> dict[str, bytes]:
        """Every file below the folder of all stores."""
        return {str(file): file.read_bytes() for file in self.data_dir.rglob("*") if file.is_file()}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(index, "ROOT", str(tmp_path / "index"))
    yield Host(tmp_path)


# the order in which addresses are handed out


def test_a_fresh_range_is_handed_out_from_behind_its_gateway(host: Host) -> None:
    """.2 to .6 of a /29, never the gateway and never the broadcast address; then it is full."""
    assert [host.add(f"c{number}") for number in range(5)] == [[f"10.1.2.{last}"] for last in range(2, 7)]
    error = host.call("ADD", "c9").error
    assert error["code"] == 100
    assert error["msg"] == ("failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.6")
    assert str(host.store) in error["details"]
    assert len(host.leases()) == 5


def test_a_released_address_is_not_the_next_one(host: Host) -> None:
    """The next after the last one is; then round."""
    host.add("a")
    assert host.call("DEL", "a").ok
    assert [host.add(name) for name in "bcdef"] == [
        ["10.1.2.3"],
        ["10.1.2.4"],
        ["10.1.2.5"],
        ["10.1.2.6"],
        ["10.1.2.2"],
    ]


def test_full_but_for_the_last_one_that_was_handed_out(host: Host) -> None:
    for name in "abcde":
        host.add(name)
    assert host.call("DEL", "e").ok
    assert host.add("f") == ["10.1.2.6"]


@pytest.mark.parametrize("content", [b"10.9.9.9", b"10.1.2.3\n", b"x", b"", b"10.1.2.1/29", b"\xff" * 100])
def test_a_last_address_that_is_none_of_the_range_is_as_none(host: Host, content: bytes) -> None:
    """Not trimmed: a newline makes it invalid, as in Go. Nothing is said about it."""
    host.store.mkdir(parents=True)
    (host.store / "last_reserved_ip.0").write_bytes(content)
    outcome = host.call("ADD")
    assert outcome.result["ips"][0]["address"] == "10.1.2.2/29" and outcome.stderr == ""


def test_one_address_of_each_set_in_their_order(host: Host) -> None:
    conf = host.conf(f"{V6} {V4} 10.9.0.0/30")
    result = host.call("ADD", conf=conf).result
    assert result["ips"] == [
        {"address": "fd00:1::2/64", "gateway": "fd00:1::1"},
        {"address": "10.1.2.2/24", "gateway": "10.1.2.1"},
        {"address": "10.9.0.2/30", "gateway": "10.9.0.1"},
    ]
    assert {name: (host.store / f"last_reserved_ip.{name}").read_text() for name in "012"} == {
        "0": "fd00:1::2",
        "1": "10.1.2.2",
        "2": "10.9.0.2",
    }


def test_the_runtimes_ranges_come_first(host: Host) -> None:
    conf = host.conf(V4, top={"runtimeConfig": {"ipRanges": [[{"subnet": "10.9.0.0/24", "rangeStart": "10.9.0.9"}]]}})
    assert host.add(conf=conf) == ["10.9.0.9", "10.1.2.2"]


def test_a_full_range_passes_to_the_next_of_its_set(host: Host) -> None:
    conf = host.conf([[{"subnet": "10.1.1.0/30"}, {"subnet": "10.1.2.0/30", "gateway": "10.1.2.2"}]])
    assert [host.add(name, conf) for name in "ab"] == [["10.1.1.2"], ["10.1.2.1"]]
    assert host.call("ADD", "c", conf).code == 100


# what ADD answers


def test_a_result_has_gateways_routes_and_dns(host: Host, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 10.1.2.53\nsearch a.b c.d\n")
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "10.0.0.0/8", "gw": "10.1.2.9", "mtu": 1400, "table": 0}]
    conf = host.conf(
        [[{"subnet": V4, "gateway": "10.1.2.254"}]], routes=routes, resolvConf=str(tmp_path / "resolv.conf")
    )
    assert host.call("ADD", conf=conf).result == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.2.1/24", "gateway": "10.1.2.254"}],
        "routes": routes,
        "dns": {"nameservers": ["10.1.2.53"], "search": ["a.b", "c.d"]},
    }


def test_the_oldest_versions_have_one_address_a_family(host: Host) -> None:
    conf = host.conf(f"{V6} {V4}", None, routes=[{"dst": "0.0.0.0/0"}, {"dst": "::/0", "mtu": 9}])
    assert host.call("ADD", conf=conf).result == {
        "cniVersion": "0.1.0",
        "ip4": {"ip": "10.1.2.2/24", "gateway": "10.1.2.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "ip6": {"ip": "fd00:1::2/64", "gateway": "fd00:1::1", "routes": [{"dst": "::/0"}]},
        "dns": {},
    }


@pytest.mark.parametrize("version", [None, "0.1.0", "0.2.0"])
def test_more_of_a_family_is_refused_there_before_anything_is_leased(host: Host, version: str | None) -> None:
    error = host.call("ADD", conf=host.conf(f"{V4} 10.9.0.0/24", version)).error
    assert error["code"] == 7 and "does not support more than 1 address per family" in error["msg"]
    assert not host.data_dir.exists()


# What keeps a reader for ever, or fills its memory.
BLOCKING = ["a pipe", "an endless device", "too long a file"]


@pytest.mark.parametrize("what", ["missing", "a folder", "a name that cannot be", "too long a line", *BLOCKING])
def test_an_unreadable_resolv_conf_fails_before_anything_is_leased(host: Host, tmp_path: Path, what: str) -> None:
    path = str(tmp_path / "resolv.conf")
    if what == "a folder":
        os.mkdir(path)
    elif what == "a name that cannot be":
        path = "a\0b"
    elif what == "too long a line":
        (tmp_path / "resolv.conf").write_text("search " + "x" * 65536)
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "an endless device":
        path = "/dev/zero"
    elif what == "too long a file":
        (tmp_path / "resolv.conf").write_text("nameserver 10.0.0.1\n" * (1 << 16))
    error = host.call("ADD", conf=host.conf(resolvConf=path)).error
    if "\0" in path:
        assert error["code"] == 7 and "resolvConf" in error["msg"] + error["details"]
    else:
        assert error["code"] == 999 and path in error["msg"]
    assert not host.data_dir.exists()
    assert host.call("DEL", conf=host.conf(resolvConf=path)).ok, "DEL does not read it"


def test_a_resolv_conf_may_be_a_link_or_the_null_device(host: Host, tmp_path: Path) -> None:
    """As systemd-resolved has it, and as those write who want none."""
    (tmp_path / "stub").write_text("nameserver 10.0.0.1\n" * 40000)
    (tmp_path / "resolv.conf").symlink_to("stub")
    result = host.call("ADD", "c1", host.conf(resolvConf=str(tmp_path / "resolv.conf"))).result
    assert result["dns"] == {"nameservers": ["10.0.0.1"] * 40000}
    assert "dns" not in host.call("ADD", "c2", host.conf(resolvConf="/dev/null")).result


def test_the_store_is_where_data_dir_says_relative_to_the_process(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert host.add(conf=host.conf(dataDir="leases")) == ["10.1.2.2"]
    assert host.leases() == {"10.1.2.2": "c1\r\neth0"}


def test_a_store_that_cannot_be_made_is_named(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for verb in ("ADD", "CHECK"):
        error = host.call(verb, conf=host.conf(dataDir=str(tmp_path / "file"))).error
        assert error["code"] == 999 and f"{tmp_path}/file/net1" in error["msg"] + error["details"]


def test_a_store_whose_path_cannot_be_is_one_error(host: Host) -> None:
    for path, code, words in (
        ("a\0b", 7, "dataDir: a path cannot contain a zero byte"),
        ("x" * 5000, 999, "cannot open the store of leases: "),
    ):
        for verb in ("ADD", "CHECK"):
            error = host.call(verb, conf=host.conf(dataDir=path)).error
            assert error["code"] == code and words in error["msg"]
        assert host.call("DEL", conf=host.conf(dataDir=path)).ok


# duplicates


def test_an_attachment_gets_one_address_of_a_set(host: Host) -> None:
    """A second ADD is refused and frees nothing; another interface of the container gets its own."""
    host.add("c1")
    before = host.snapshot()
    error = host.call("ADD", "c1").error
    assert error["code"] == 101 and error["msg"] == (
        "failed to allocate for range 0: 10.1.2.2 has been allocated to c1, duplicate allocation is not allowed"
    )
    assert host.snapshot() == before
    assert host.add("c1", ifname="eth1") == ["10.1.2.3"]


def test_a_lease_in_the_oldest_format_is_a_duplicate_too(host: Host) -> None:
    host.store.mkdir(parents=True)
    (host.store / "10.1.2.5").write_text("c1")
    assert "10.1.2.5 has been allocated to c1" in host.call("ADD", "c1").error["msg"]


def test_a_lease_outside_the_ranges_of_today_is_none(host: Host) -> None:
    host.store.mkdir(parents=True)
    (host.store / "10.7.7.7").write_bytes(b"c1\r\neth0")
    assert host.add("c1") == ["10.1.2.2"]


def test_a_second_add_with_a_requested_address_is_served_as_in_go(host: Host) -> None:
    """The duplicate test is for calls without a request."""
    assert host.add("c1") == ["10.1.2.2"]
    assert host.add("c1", args="IP=10.1.2.5") == ["10.1.2.5"]
    assert host.call("DEL", "c1").ok and host.leases() == {}


def test_asking_for_an_address_that_one_already_holds_fails(host: Host) -> None:
    """It is not idempotent; and what is held stays held."""
    host.add("c1", args="IP=10.1.2.5")
    before = host.snapshot()
    error = host.call("ADD", "c1", args="IP=10.1.2.5").error
    assert error["code"] == 101 and error["msg"] == (
        "failed to allocate for range 0: requested IP address 10.1.2.5 is not available in range set 10.1.2.1-10.1.2.6"
    )
    assert host.snapshot() == before


# requests


@pytest.mark.parametrize(
    "how",
    [
        {"args": "IP=10.1.2.5"},
        {"args": "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.5/24"},
        {"top": {"args": {"cni": {"ips": ["10.1.2.5"]}}}},
        {"top": {"runtimeConfig": {"ips": ["10.1.2.5/16"]}}},
        {"top": {"RuntimeConfig": {"IPs": ["10.1.2.5"]}}, "args": "IP=10.1.2.5"},
    ],
)
def test_a_requested_address_is_handed_out(host: Host, how: Object) -> None:
    """By each way of asking; the same address from two of them counts once; the next one follows it."""
    top = how.pop("top", None)
    assert host.call("ADD", conf=host.conf(top=top), **how).result["ips"] == [
        {"address": "10.1.2.5/29", "gateway": "10.1.2.1"}
    ]
    assert host.add("c2") == ["10.1.2.6"]


def test_requests_go_to_the_sets_that_hold_them(host: Host) -> None:
    """A set without one allocates as usual."""
    conf = host.conf(f"{V4} {V6} 10.9.0.0/24", top={"runtimeConfig": {"ips": ["10.9.0.7", "fd00:1::7"]}})
    assert host.add(conf=conf) == ["10.1.2.2", "fd00:1::7", "10.9.0.7"]


@pytest.mark.parametrize(
    ("ips", "msg"),
    [
        (["10.1.2.5", "10.1.2.4"], "failed to allocate all requested IPs: 10.1.2.4"),
        (["10.7.7.7"], "failed to allocate all requested IPs: 10.7.7.7"),
        (["10.1.2.7"], "failed to allocate all requested IPs: 10.1.2.7"),
        (["10.1.2.0"], "failed to allocate all requested IPs: 10.1.2.0"),
        (["fd00::1", "10.7.7.7"], "failed to allocate all requested IPs: fd00::1 10.7.7.7"),
        (["10.1.2.1"], "failed to allocate for range 0: requested ip 10.1.2.1 is subnet's gateway"),
    ],
)
def test_a_request_that_cannot_be_met_fails_and_leaves_nothing(host: Host, ips: list[str], msg: str) -> None:
    """Two of one set, one of no set, the broadcast and the network address, the gateway."""
    error = host.call("ADD", conf=host.conf(top={"runtimeConfig": {"ips": ips}})).error
    assert (error["code"], error["msg"]) == (101, msg)
    assert host.leases() == {}


def test_a_requested_address_that_another_has_is_refused(host: Host) -> None:
    host.add("c1")
    error = host.call("ADD", "c2", args="IP=10.1.2.2").error
    assert error["code"] == 101 and str(host.store / "10.1.2.2") in error["details"]
    assert host.leases() == {"10.1.2.2": "c1\r\neth0"}


# all or nothing


def test_a_set_that_is_full_gives_the_earlier_ones_back(host: Host) -> None:
    conf = host.conf("10.1.2.0/24 10.9.0.0/30")
    assert host.add("a", conf) == ["10.1.2.2", "10.9.0.2"]
    assert host.call("ADD", "b", conf).code == 100
    assert set(host.leases()) == {"10.1.2.2", "10.9.0.2"}
    assert host.call("DEL", "a", conf).ok
    assert host.add("c", conf)[1] == "10.9.0.2"


def test_a_failed_add_frees_only_what_it_took_itself(host: Host) -> None:
    """Go frees every lease of the attachment, those of the first ADD too, whose interface still uses them."""
    conf = host.conf("10.1.2.0/24 10.9.0.0/30")
    assert host.add("a", conf) == ["10.1.2.2", "10.9.0.2"]
    before = set(host.leases())
    asking = {**conf, "runtimeConfig": {"ips": ["10.1.2.77"]}}
    assert "range 1" in host.call("ADD", "a", asking).error["msg"]
    assert set(host.leases()) == before
    assert host.call("CHECK", "a", conf).ok
    assert host.call("DEL", "a", conf).ok and host.leases() == {}


# DEL


def test_del_is_success_twice_and_without_an_add(host: Host) -> None:
    host.add("c1")
    host.add("c2")
    for _ in range(2):
        assert host.call("DEL", "c1", netns="").ok
        assert set(host.leases()) == {"10.1.2.3"}


def test_del_of_a_network_that_was_never_used_makes_nothing(host: Host) -> None:
    """Go makes the folder and the lock."""
    assert host.call("DEL").ok
    assert host.call("GC", conf={**host.conf(), "cni.dev/valid-attachments": []}).ok
    assert not host.data_dir.exists()


@pytest.mark.parametrize(
    "edit",
    [
        {"ranges": [[{"subnet": "192.0.2.0/24"}]]},
        {"ranges": []},
        {"ranges": "x"},
        {"ranges": [[{"subnet": "10.1.2.1/24"}]]},
        {"ranges": None, "subnet": 5},
        {"routes": [{}]},
        {"resolvConf": "/nowhere"},
    ],
)
def test_del_needs_the_folder_and_the_ids_alone(host: Host, edit: Object) -> None:
    """Whatever was edited since ADD, and whatever the arguments are."""
    host.add("c1")
    outcome = host.call("DEL", conf=host.conf(**edit), args="UNKNOWN=1;;")
    assert outcome.ok and host.leases() == {}


def test_del_releases_an_interfaces_lease_and_no_other(host: Host) -> None:
    for container, ifname in (("c1", "eth0"), ("c1", "eth1"), ("c10", "eth0"), ("C1", "eth0")):
        host.add(container, ifname=ifname)
    assert host.call("DEL", "c1", ifname="eth0").ok
    assert set(host.leases().values()) == {"c1\r\neth1", "c10\r\neth0", "C1\r\neth0"}


# CHECK


def test_check_wants_some_lease_and_no_previous_result(host: Host) -> None:
    error = host.call("CHECK").error
    assert error["msg"].startswith("host-local: Failed to find address added by container c1")
    host.add("c1")
    assert host.call("CHECK").ok
    assert not host.call("CHECK", ifname="eth1").ok
    assert host.call("CHECK", conf=host.conf("192.0.2.0/24")).ok, "any address, in any range"
    before = host.snapshot()
    assert host.call("CHECK").ok and host.snapshot() == before


def test_check_wants_the_lease_of_each_address_of_the_result(host: Host) -> None:
    """One of two range sets' leases is gone, or another container's: the one that is missing is named."""
    conf = host.conf("10.1.2.0/29 10.1.3.0/29")
    for container in ("c0", "c1"):
        result = host.call("ADD", container, conf).result
    asked = {**conf, "prevResult": result}
    assert host.call("CHECK", "c1", asked).ok
    lease = host.store / "10.1.3.3"
    for change in (lambda: lease.write_text("c0\r\neth0"), lambda: lease.write_text("c1\r\neth1"), lease.unlink):
        change()
        assert host.call("CHECK", "c1", conf).ok, "without prevResult nothing tells"
        error = host.call("CHECK", "c1", asked).error
        assert error["msg"] == "host-local: Failed to find address added by container c1: 10.1.3.3"
    assert host.call("CHECK", "c1", {**host.conf("10.1.2.0/29"), "prevResult": result}).ok, "of another's range"


def test_check_leaves_addresses_of_other_interfaces_to_their_plugins(host: Host) -> None:
    """prevResult is that of the whole chain."""
    conf = host.conf("10.1.2.0/29")
    assert host.add("c1", conf) == ["10.1.2.2"]
    interfaces = [{"name": "br0"}, {"name": "eth0", "sandbox": "/x"}, {"name": "eth1", "sandbox": "/x"}]
    ips: list[Object] = [{"address": "10.1.2.2/29", "interface": 1}, {"address": "10.1.2.6/29", "interface": 2}]
    asked = {**conf, "prevResult": {"cniVersion": "1.1.0", "interfaces": interfaces, "ips": ips}}
    assert host.call("CHECK", "c1", asked).ok
    for place in ({"interface": 1}, {}):
        ips[1] = {"address": "10.1.2.6/29", **place}
        assert "10.1.2.6" in host.call("CHECK", "c1", asked).error["msg"]


def test_check_knows_the_oldest_format(host: Host) -> None:
    host.store.mkdir(parents=True)
    (host.store / "10.1.2.5").write_text("c1\n")
    assert host.call("CHECK").ok


# GC


def valid(*attachments: tuple[str, str]) -> Object:
    return {"cni.dev/valid-attachments": [{"containerID": c, "ifname": i} for c, i in attachments]}


def test_gc_releases_what_is_not_valid_and_tells_it(host: Host) -> None:
    for container, ifname in (("c1", "eth0"), ("c1", "eth1"), ("c2", "eth0"), ("c3", "eth0")):
        host.add(container, ifname=ifname)
    outcome = host.call("GC", conf={**host.conf(), **valid(("c1", "eth1"), ("c3", "eth0"))})
    assert outcome.ok and outcome.stdout == ""
    assert set(host.leases().values()) == {"c1\r\neth1", "c3\r\neth0"}
    assert len(outcome.stderr.splitlines()) == 2 and "lease c1/eth0" in outcome.stderr


def test_gc_with_an_empty_list_or_null_releases_all(host: Host) -> None:
    for empty in ([], None):
        host.add("c1")
        assert host.call("GC", conf={**host.conf(), "cni.dev/valid-attachments": empty}).ok
        assert host.leases() == {}


def test_gc_without_the_list_releases_nothing_and_says_so(host: Host) -> None:
    host.add("c1")
    outcome = host.call("GC")
    assert outcome.ok and "nothing was removed" in outcome.stderr
    assert set(host.leases()) == {"10.1.2.2"}


def test_gc_reads_the_list_under_its_older_name(host: Host) -> None:
    """Where the newer one is absent; where both are there the newer one counts, empty or not."""
    host.add("c1")
    host.add("c2")
    older = {"cni.dev/attachments": [{"containerID": "c1", "ifname": "eth0"}]}
    assert host.call("GC", conf={**host.conf(), **older, **valid(("c1", "eth0"), ("c2", "eth0"))}).ok
    assert len(host.leases()) == 2
    assert host.call("GC", conf={**host.conf(), **older}).ok
    assert set(host.leases().values()) == {"c1\r\neth0"}
    assert host.call("GC", conf={**host.conf(), **older, "cni.dev/valid-attachments": None}).ok
    assert host.leases() == {}


@pytest.mark.parametrize("listed", ["x", {}, [5], [None], [{"containerID": 5}], [[]]])
def test_gc_with_a_list_of_another_type_releases_nothing(host: Host, listed: Any) -> None:
    host.add("c1")
    assert host.call("GC", conf={**host.conf(), "cni.dev/valid-attachments": listed}).code == 6
    assert len(host.leases()) == 1


def test_gc_leaves_what_is_no_lease_and_other_networks(host: Host) -> None:
    """Others' files, notes, the leases of a store that lies in a sub-folder; empty files of a crash go."""
    host.add("c1")
    host.call("ADD", "c1", {**host.conf(), "name": "net2"})
    nested = host.store / "inner"
    nested.mkdir()
    (nested / "10.1.2.2").write_bytes(b"c1\r\neth0")
    (nested / "10.1.2.3").write_bytes(b"c7\r\neth0")
    (host.store / "README").write_text("leases of net1\nare here")
    (host.store / "notes").write_text("c1")
    (host.store / "10.1.2.6").write_bytes(b"")
    outcome = host.call("GC", conf={**host.conf(), **valid()})
    assert outcome.ok and "c7" not in outcome.stderr
    left = {str(file.relative_to(host.data_dir)) for file in host.data_dir.rglob("*") if file.is_file()}
    assert left == {
        "net1/README", "net1/notes", "net1/inner/10.1.2.2", "net1/inner/10.1.2.3", "net1/lock", "net1/last_reserved_ip.0",
        "net2/10.1.2.2", "net2/lock", "net2/last_reserved_ip.0",
    }  # fmt: skip


def test_gc_takes_a_lease_in_the_oldest_format_for_its_containers(host: Host) -> None:
    host.store.mkdir(parents=True)
    for address, container in (("10.1.2.4", "c1"), ("10.1.2.5", "c2")):
        (host.store / address).write_text(container)
    assert host.call("GC", conf={**host.conf(), **valid(("c1", "eth0"))}).ok
    assert host.leases() == {"10.1.2.4": "c1"}


def test_gc_does_not_read_the_ranges(host: Host) -> None:
    host.add("c1")
    assert host.call("GC", conf={**host.conf(ranges=[], routes=5), **valid()}, args=";").ok
    assert host.leases() == {}


# STATUS


def test_status_is_ready_where_add_would_work(host: Host) -> None:
    """And makes nothing; that the range is full is no fault of the node."""
    assert host.call("STATUS").ok
    assert not host.data_dir.exists()
    conf = host.conf("10.1.2.0/30")
    host.add("c1", conf)
    assert host.call("ADD", "c2", conf).code == 100
    assert host.call("STATUS", conf=conf).ok


def file_in_the_way(host: Host) -> Object:
    host.data_dir.write_text("")
    return host.conf()


def missing_resolv_conf(host: Host) -> Object:
    return host.conf(resolvConf="/nowhere/resolv.conf")


def test_status_is_ready_where_the_runtime_sends_the_ranges_with_add(host: Host) -> None:
    """The capability ipRanges: STATUS gets no runtimeConfig, and a network without other ranges is not refused."""
    conf = host.conf([], top={"capabilities": {"ipRanges": True}})
    assert host.call("STATUS", conf=conf).ok
    assert host.call("ADD", conf=conf).error["msg"] == "no IP ranges specified"
    sent = {**conf, "runtimeConfig": {"ipRanges": [[{"subnet": V4}]]}}
    assert host.call("ADD", conf=sent).ok
    for capabilities in ({"ipRanges": False}, {"ips": True}, {}):
        refused = host.call("STATUS", conf=host.conf([], top={"capabilities": capabilities}))
        assert refused.error["msg"] == "no IP ranges specified"


@pytest.mark.parametrize("spoil", [file_in_the_way, missing_resolv_conf])
def test_status_is_not_available_where_the_node_is_at_fault(host: Host, spoil: Callable[[Host], Object]) -> None:
    assert host.call("STATUS", conf=spoil(host)).code == 50


@pytest.mark.parametrize(
    ("ipam", "code"), [({"ranges": []}, 7), ({"ranges": [[{"subnet": "x"}]]}, 7), ({"routes": "x"}, 6)]
)
def test_status_refuses_the_configuration_that_add_refuses(host: Host, ipam: Object, code: int) -> None:
    assert host.call("STATUS", conf=host.conf(**ipam)).code == code


# a lock that is held


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC"])
def test_a_lock_that_is_held_too_long_is_code_11_and_names_the_holder(
    host: Host, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Nothing was changed, and the next call works."""
    monkeypatch.setattr(store_module.Store.__init__, "__defaults__", (0.05,))
    host.add("c1")
    holder = subprocess.Popen(
        ["flock", str(host.store / "lock"), "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout and holder.stdout.read(1)
    before = host.snapshot()
    conf = {**host.conf(), **valid()}
    error = host.call(verb, "c2", conf).error
    assert error["code"] == 11
    assert f"{host.store}/lock is held by process {holder.pid} (flock)" in error["msg"]
    assert host.snapshot() == before
    holder.communicate()
    assert host.call("ADD", "c2").ok


# names


def test_a_networks_name_never_leaves_the_folder(host: Host, tmp_path: Path) -> None:
    for name in ("../x", "..", ".", "/x", "a/b", "a\0b", ""):
        for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS"):
            assert host.call(verb, conf={**host.conf(), "name": name}).code == 7
    assert not host.data_dir.exists() and list(tmp_path.iterdir()) == []


def test_ids_of_any_length_are_ids(host: Host) -> None:
    """As many characters as a variable can have: the content of a file, never its name."""
    long = "c" * 131000
    assert host.add(long) == ["10.1.2.2"]
    assert host.leases() == {"10.1.2.2": f"{long}\r\neth0"}
    assert host.call("CHECK", long).ok
    assert host.call("DEL", long).ok and host.leases() == {}


def test_a_network_name_that_is_too_long_for_a_folder_is_one_error(host: Host) -> None:
    for verb in ("ADD", "CHECK"):
        assert host.call(verb, conf={**host.conf(), "name": "n" * 5000}).code == 999
    assert host.call("DEL", conf={**host.conf(), "name": "n" * 5000}).ok
