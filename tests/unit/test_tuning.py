"""tuning's configuration: keys, their sources, the paths of sysctls, and the node's list of allowed ones."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cni.errors import CNIError, InvalidConfig
from cni.skel import Call
from cni.sysctls import path_of
from cni_tuning.allowlist import check
from cni_tuning.settings import Settings, read

MACS = [f"02:00:00:00:00:0{number}" for number in range(5)]


def settings(**keys: Any) -> Settings:
    conf = json.dumps({"name": "net1", "cniVersion": "1.1.0", "type": "tuning", **keys})
    return of(conf)


def of(conf: str, args: str = "") -> Settings:
    environ = {
        "CNI_COMMAND": "CHECK",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0.5",
        "CNI_NETNS": "/x",
        "CNI_ARGS": args,
    }
    return read(Call(environ, conf.encode(), io.StringIO()))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.core.somaxconn", "net/core/somaxconn"),
        ("net/core/somaxconn", "net/core/somaxconn"),
        ("net..ipv4.tcp_tw_reuse", "net/ipv4/tcp_tw_reuse"),
        (".net.ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.IFNAME.arp_notify", "net/ipv4/conf/eth0.5/arp_notify"),
        ("net/ipv4/conf/IFNAME/arp_notify", "net/ipv4/conf/eth0.5/arp_notify"),
        ("net.ipv4.conf.eth1.100.arp_notify", "net/ipv4/conf/eth1.100/arp_notify"),
        ("net/ipv6/neigh/eth1.100/locktime", "net/ipv6/neigh/eth1.100/locktime"),
        ("net.ipv4.conf.IFNAME.7.arp_notify", "net/ipv4/conf/eth0.5.7/arp_notify"),
        ("net.ipv4.conf.IFNAME.IFNAME", "net/ipv4/conf/eth0.5/IFNAME"),
        ("net/ipv4/conf/../../../kernel/IFNAME", "net/ipv4/conf/kernel/eth0.5"),
    ],
)
def test_the_path_of_a_sysctl(name: str, path: str) -> None:
    """Dots and slashes separate, as in Go's; an interface with a dot in its name is found too."""
    assert path_of(name, "eth0.5") == path


@pytest.mark.parametrize(
    "name", ["", ".", "net", "net.", "kernel.shmmax", "/proc/sys/net/core/x", "IFNAME.x", "net.a\0b"]
)
def test_a_sysctl_of_something_else_is_refused(name: str) -> None:
    """Nothing outside of the network is written, whatever the interface is called."""
    with pytest.raises(InvalidConfig, match="invalid net sysctl key"):
        path_of(name, "eth0")


def test_args_replace_keys_and_sysctls_one_by_one() -> None:
    """``args.cni`` works without ``sysctl`` in the configuration too; the order is that of writing."""
    args = {
        "cni": {"sysctl": {"net.c": "3", "net/a": "4"}, "mtu": 1300, "promisc": False, "allmulti": True, "txQLen": 0}
    }
    found = settings(sysctl={"net.a": "1", "net.b": "2"}, mtu=1400, promisc=True, allmulti=False, args=args)
    assert found.link == {"mtu": 1300, "allmulti": True, "txQLen": 0}
    assert list(found.paths.items()) == [("net/a", "4"), ("net/b", "2"), ("net/c", "3")]
    assert settings(args=args).paths == {"net/c": "3", "net/a": "4"}
    assert settings(mtu=0, promisc=False).link == settings(args=None).link == {}
    assert settings(sysctl={"net.a": None, "net.b": "2"}).paths == {"net/b": "2"}


def test_the_sources_of_the_mac() -> None:
    """One precedence for all plugins of ours: the capability, args.cni, CNI_ARGS, the configuration."""
    asked: dict[str, Any] = {"name": "net1", "cniVersion": "1.1.0", "mac": MACS[1]}
    assert of(json.dumps(asked)).mac == MACS[1]
    assert of(json.dumps(asked), f"MAC={MACS[2]}").mac == MACS[2]
    asked["args"] = {"cni": {"mac": MACS[3].upper().replace(":", "-")}}
    assert of(json.dumps(asked), f"MAC={MACS[2]}").link == {"mac": MACS[3]}
    asked["runtimeConfig"] = {"mac": MACS[4]}
    assert of(json.dumps(asked), f"MAC={MACS[2]}").mac == MACS[4]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"sysctl": {"net.a": 1}}, 'key "sysctl".net.a'),
        ({"mtu": -1}, "mtu is -1"),
        ({"args": {"cni": {"mtu": 67}}}, "mtu is 67"),
        ({"args": {"cni": {"promisc": "yes"}}}, "args.cni.promisc"),
        ({"args": []}, "cannot read args: it must be an object"),
        ({"txQLen": 1 << 32}, "txQLen is 4294967296"),
        ({"mac": "x"}, "invalid args x for MAC addr"),
        ({"mac": "02:00:00:00:00:00:00:01"}, "for MAC addr"),
        ({"dataDir": "a\0"}, "dataDir"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(CNIError, match=text):
        settings(**keys)


@pytest.mark.parametrize("key", ["sysctl", "SYSCTL"])
def test_a_sysctl_that_is_there_twice_is_refused(key: str) -> None:
    """In Go's words; other spellings of one path are not the same key, and the later one counts."""
    conf = '{"name": "net1", "cniVersion": "1.1.0", "x": {"net.a": "1", "net.a": "2"}, "%s": {"net.a": "1", %s: "2"}}'
    with pytest.raises(InvalidConfig, match="duplicated sysctl keys are not allowed"):
        of(conf % (key, '"net.a"'))
    assert of(conf % (key, '"net/a"')).paths == {"net/a": "2"}


def test_the_nodes_list_allows_what_an_expression_matches(tmp_path: Path) -> None:
    """Anywhere in the key as it is written; without a file everything is allowed, with an empty one nothing."""
    (tmp_path / "tuning").mkdir()
    file = tmp_path / "tuning/allowlist.conf"
    check(["net.x"], str(tmp_path))
    file.write_text("\n  ^net\\.ipv4\\.conf\\.IFNAME\\.[[:alpha:]_]+\\z \n\nsomaxconn\n")
    check(["net.ipv4.conf.IFNAME.arp_notify", "net/core/somaxconn"], str(tmp_path))
    with pytest.raises(InvalidConfig, match=r"Sysctl net.ipv4.conf.eth0.x is not allowed. Only .* allowed: \[.*conn\]"):
        check(["net/core/somaxconn", "net.ipv4.conf.eth0.x"], str(tmp_path))
    file.write_text("")
    with pytest.raises(InvalidConfig, match=r"is not allowed.*: \[\]"):
        check(["net.x"], str(tmp_path))
    file.write_text("net.x\n(\n")
    check(["net.x"], str(tmp_path))
    with pytest.raises(InvalidConfig, match="error parsing regexp"):
        check(["net.y"], str(tmp_path))
    file.unlink()
    file.mkdir()
    with pytest.raises(CNIError, match="allowlist.conf"):
        check(["net.x"], str(tmp_path))


@pytest.mark.parametrize(("verb", "refused"), [("ADD", True), ("STATUS", True), ("CHECK", False)])
def test_the_list_counts_where_sysctls_are_to_be_written(tmp_path: Path, verb: str, refused: bool) -> None:
    """An attachment that exists stays whole if the list is changed; the keys of ``args.cni`` are looked up too."""
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning/allowlist.conf").write_text("^net.a$")
    environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/x"}
    conf = {
        "name": "net1",
        "cniVersion": "1.1.0",
        "sysctl": {"net.a": "1"},
        "args": {"cni": {"sysctl": {"net.b": "1"}}},
    }
    outer = Call(environ, json.dumps(conf).encode(), io.StringIO())
    outer.site.node.roots.etc = str(tmp_path)
    call = Call(environ, json.dumps(conf).encode(), io.StringIO(), part_of=outer)
    if refused:
        with pytest.raises(InvalidConfig, match="Sysctl net.b is not allowed"):
            read(call)
    else:
        assert read(call).paths == {"net/a": "1", "net/b": "1"}
