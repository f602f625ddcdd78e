"""ipvlan: its keys, where the master and the addresses come from, and what is refused (pure)."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from cni.errors import CNIError
from cni.kernel.kinds import Ipvlan
from cni.links.container_link import ContainerLink
from cni.plan import describe
from cni.result import Result
from cni.skel import Call
from cni_ipvlan import settings as module
from cni_ipvlan import wanted
from node.plugin import Object

MASTER: Object = {"name": "bond0", "mac": "02:00:00:00:00:09"}
OWN: Object = {"name": "eth0", "mac": "02:00:00:00:00:09", "sandbox": "/nowhere"}
IPS: list[Object] = [{"address": "10.1.2.5/24"}, {"address": "fd00::5/64", "gateway": "fd00::9"}]
IPAM: Object = {"type": "host-local"}


class Parents:
    """Stands for the node's links; keeps what was looked up."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.masters: list[str] = []
        patch.setattr(module.ParentSettings, "parent", lambda settings, site: self.masters.append(settings.master))


@pytest.fixture
def parents(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parents]:
    yield Parents(monkeypatch)


def call(verb: str = "ADD", interfaces: list[Object] | None = None, ips: list[Object] = IPS, **keys: Any) -> Call:
    """A call; with ``interfaces`` it has a prevResult."""
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "ipvlan", **keys}
    if interfaces is not None:
        conf["prevResult"] = {"cniVersion": "1.0.0", "interfaces": interfaces, "ips": ips}
    environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/nowhere"}
    return Call(environ, json.dumps(conf).encode(), io.StringIO())


def planned(made: Call) -> str:
    """The plan, without a kernel."""
    from cni.address import Address, Prefix
    from cni.ipam import Addresses
    from cni.result import IPConfig

    class Made:
        name, mac, mtu, up = "eth0", "02:00:00:00:00:09", 1500, True

    def value(effect: Any) -> Any:
        if isinstance(effect, Addresses):
            return Result((), [IPConfig(Prefix.parse("10.9.0.5/16"), gateway=Address.parse("10.9.0.1"))], [], None)
        return Made() if isinstance(effect, ContainerLink) else None

    settings = module.read(made)
    return describe(wanted.wanted(made, settings), value)


@pytest.mark.parametrize(
    ("keys", "interfaces", "master"),
    [
        ({"master": "uplink"}, None, "uplink"),
        ({"master": "uplink"}, [MASTER], "uplink"),
        ({}, [MASTER], "bond0"),
        ({}, None, ""),
        ({"linkInContainer": True}, [OWN], "eth0"),
    ],
)
def test_the_master(parents: Parents, keys: Object, interfaces: list[Object] | None, master: str) -> None:
    """The key counts, then the only interface of an earlier plugin, then the default route (the empty text here)."""
    planned(call("ADD", interfaces, ipam=IPAM, **keys))
    assert parents.masters == [master]


@pytest.mark.parametrize(
    ("interfaces", "keys", "details"),
    [
        ([MASTER, OWN], {}, "key master"),
        ([], {}, "key master"),
        ([{"name": ""}], {}, "key master"),
        ([OWN], {}, "eth0 is in the container"),
        ([MASTER], {"linkInContainer": True}, "bond0 is not in the container"),
    ],
)
def test_a_result_that_names_no_master_is_refused(
    parents: Parents, interfaces: list[Object], keys: Object, details: str
) -> None:
    """The container's interface is not taken for a link of the node."""
    with pytest.raises(CNIError) as caught:
        planned(call("ADD", interfaces, ipam=IPAM, **keys))
    assert caught.value.msg == "chained master failure. PrevResult lacks a single named interface"
    assert details in caught.value.details and parents.masters == []


def test_check_does_not_take_the_interface_for_its_master(parents: Parents) -> None:
    """Its prevResult is that of the ADD, in which the master is not named."""
    planned(call("CHECK", [OWN], ipam=IPAM))
    assert parents.masters == []
    planned(call("CHECK", [OWN], ipam=IPAM, master="uplink"))
    assert parents.masters == ["uplink"]


def test_the_addresses_of_an_earlier_plugin(parents: Parents) -> None:
    """They count without ipam; with it, the IPAM plugin is asked."""
    text = planned(call("ADD", [MASTER]))
    assert "ip addr add 10.1.2.5/24 dev eth0" in text and "addresses from" not in text
    text = planned(call("ADD", [MASTER], ipam=IPAM))
    assert "addresses from host-local" in text and "10.1.2.5" not in text and "10.9.0.5/16" in text
    for interfaces, ips in ((None, []), ([MASTER], [])):
        with pytest.raises(CNIError, match="no plugin name provided"):
            planned(call("ADD", interfaces, ips, master="uplink"))


def test_check_compares_the_addresses_of_this_interface_alone(parents: Parents) -> None:
    """A later plugin may have given another interface some."""
    ips = [{"address": "10.1.2.5/24", "interface": 0}, {"address": "10.7.0.1/24", "interface": 1}]
    text = planned(call("CHECK", [OWN, {**OWN, "name": "net1"}], ips, master="uplink"))
    assert "10.1.2.5/24" in text and "10.7.0.1" not in text


def test_gateways_complete_the_addresses(parents: Parents) -> None:
    """Those of the same network, where the IPAM plugin names none; the result has them, for sbr."""
    made = call("ADD", [MASTER], gateways=["10.8.0.1", "10.1.2.1", "fd00::1"])
    given = wanted._given(made)
    layer3 = wanted._layer3(made, module.read(made), given)
    with pytest.raises(StopIteration) as end:
        next(layer3)
    assert [str(ip.gateway) for ip in end.value.value.ips] == ["10.1.2.1", "fd00::9"]


@pytest.mark.parametrize(
    ("keys", "code", "text"),
    [
        ({"mode": "l4"}, 7, 'unknown ipvlan mode: "l4"'),
        ({"mode": 3}, 6, "it must be a string, not number"),
        ({"mtu": 65536}, 7, "mtu is 65536"),
        ({"gateways": ["x"]}, 7, "x"),
        ({"gateways": "10.1.2.1"}, 6, "it must be a list"),
        ({"ipam": {"type": "ipvlan"}}, 7, "the plugin itself"),
    ],
)
def test_what_cannot_be_is_refused(keys: Object, code: int, text: str) -> None:
    with pytest.raises(CNIError) as caught:
        module.read(call(**keys))
    assert caught.value.code == code and text in caught.value.msg


def test_values_as_in_go() -> None:
    """A negative MTU counts as none, an empty mode is l2, a MAC is not looked at."""
    found = module.read(call(mtu=-5, mode="", mac="x"))
    assert (found.mtu, found.kind, found.mac) == (0, Ipvlan("l2"), "")
    assert [module.read(call(mode=mode)).kind.mode for mode in ("l2", "l3", "l3s")] == ["l2", "l3", "l3s"]
    assert module.read(call(mtu=9000)).mtu == 9000 and not module.Settings.mtu_limited


def test_status_looks_for_a_master_that_add_would_look_for(monkeypatch: pytest.MonkeyPatch, parents: Parents) -> None:
    """Without master and ipam an earlier plugin gives both."""
    asked: list[str] = []
    monkeypatch.setattr(module.Settings, "kind_ready", lambda settings, call, kind: asked.append(kind))
    monkeypatch.setattr(module.Settings, "ipam_ready", lambda settings, call: None)
    for keys, masters in (({}, []), ({"ipam": IPAM}, [""]), ({"master": "uplink"}, ["uplink"])):
        parents.masters.clear()
        made = call("STATUS", **keys)
        module.ready(made, module.read(made))
        assert parents.masters == masters
    assert asked == ["ipvlan"] * 3
