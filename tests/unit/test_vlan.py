"""vlan: its keys, what is refused, and the names of links that are chained (pure)."""

import io
import json
from typing import Any

import pytest

from cni.address import Prefix
from cni.errors import CNIError
from cni.ipam import Addresses
from cni.kernel.kinds import Vlan
from cni.links.container_link import ContainerLink
from cni.plan import walk
from cni.result import IPConfig, Result, Route
from cni.skel import Call
from cni_vlan import settings as module
from cni_vlan import wanted
from cni_vlan.link import VlanLink
from node.plugin import Object

IPAM: Object = {"type": "host-local"}
INSIDE: Object = {"linkInContainer": True}
PREVIOUS: Object = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "br0"}, {"name": "eth0", "sandbox": "/nowhere"}],
    "ips": [{"address": "10.1.2.5/24", "interface": 1}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1"}],
    "dns": {"domain": "a"},
}


def call(verb: str = "ADD", ifname: str = "eth0", **keys: Any) -> Call:
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "vlan", **keys}
    environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": ifname, "CNI_NETNS": "/nowhere"}
    return Call(environ, json.dumps(conf).encode(), io.StringIO())


def planned(monkeypatch: pytest.MonkeyPatch, made: Call) -> tuple[list[Any], Result]:
    """The effects of a plan and its result, without a kernel."""
    monkeypatch.setattr(module.ParentSettings, "parent", lambda settings, site: None)
    effects: list[Any] = []

    class Made:
        mac, mtu, up = "02:00:00:00:00:09", 1500, True

        def __init__(self, name: str) -> None:
            self.name = name

    def value(effect: Any) -> Any:
        effects.append(effect)
        if isinstance(effect, Addresses):
            return Result((), [IPConfig(Prefix.parse("10.9.0.5/16"))], [Route(Prefix.parse("10.8.0.0/16"))], None)
        return Made(effect.attachment.ifname) if isinstance(effect, ContainerLink) else None

    return effects, walk(wanted.wanted(made, module.read(made)), value)


@pytest.mark.parametrize(
    ("keys", "code", "text"),
    [
        ({}, 7, '"master" field is required. It specifies the host interface name to create the VLAN for'),
        ({"master": "uplink", "vlanId": 4095}, 7, "invalid VLAN ID 4095 (must be between 0 and 4094 inclusive)"),
        ({"master": "uplink", "vlanId": -1}, 7, "invalid VLAN ID -1 (must be between 0 and 4094 inclusive)"),
        ({"master": "uplink", "vlanId": "5"}, 6, "it must be an integer, not string"),
        ({"master": 5}, 6, "it must be a string, not number"),
        ({"master": "uplink", "ipam": {"type": "vlan"}}, 7, "the plugin itself"),
    ],
)
def test_what_cannot_be_is_refused(keys: Object, code: int, text: str) -> None:
    with pytest.raises(CNIError) as caught:
        module.read(call(**keys))
    assert caught.value.code == code and text in caught.value.msg


@pytest.mark.parametrize("id", [0, 1, 4094])
def test_every_id_of_the_standard(id: int) -> None:
    found = module.read(call(master="uplink", vlanId=id))
    assert found.kind == Vlan(id) and not found.chained


def test_the_link_does_not_go_down_with_its_master() -> None:
    """The flag is sent, and not compared: Go's plugin does not set it."""
    assert Vlan(5, independent=True).encode() == [*Vlan(5).encode(), ("IFLA_VLAN_FLAGS", {"flags": 4, "mask": 4})]
    assert Vlan(5, independent=True) == Vlan(5)


def test_alone_the_interface_is_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier plugin's result is dropped, as in Go."""
    effects, result = planned(monkeypatch, call(master="uplink", vlanId=5, ipam=IPAM, prevResult=PREVIOUS))
    assert {str(effect.attachment) for effect in effects} == {"net1/c1/eth0"}
    assert [interface.name for interface in result.interfaces] == ["eth0"]
    assert [str(ip.address) for ip in result.ips] == ["10.9.0.5/16"]


def test_chained_it_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is the earlier one with the new interface; the IPAM plugin is asked for ``CNI_IFNAME``."""
    made = call(**INSIDE, vlanId=5, ipam=IPAM, prevResult=PREVIOUS)
    assert module.read(made).master == "eth0"
    effects, result = planned(monkeypatch, made)
    assert {str(effect.attachment) for effect in effects} == {"net1/c1/eth0.5"}
    assert [effect.call.environ["CNI_IFNAME"] for effect in effects if isinstance(effect, Addresses)] == ["eth0"]
    assert [interface.name for interface in result.interfaces] == ["br0", "eth0", "eth0.5"]
    assert [(str(ip.address), ip.interface) for ip in result.ips] == [("10.1.2.5/24", 1), ("10.9.0.5/16", 2)]
    assert [str(route.dst) for route in result.routes] == ["0.0.0.0/0"]
    assert result.dns is not None and result.dns.domain == "a"
    with pytest.raises(CNIError, match="interface name is too long"):
        planned(monkeypatch, call(**INSIDE, vlanId=1000, prevResult=PREVIOUS, ifname="eth0123456789"))
    with pytest.raises(CNIError, match="needs the result of an earlier plugin"):
        planned(monkeypatch, call(**INSIDE, vlanId=5, ipam=IPAM))


@pytest.mark.parametrize(
    ("keys", "verb", "name"),
    [
        ({"master": "uplink", "vlanId": 5}, "DEL", "eth0"),
        ({"vlanId": 5}, "DEL", "eth0"),
        ({**INSIDE, "vlanId": 5}, "DEL", "eth0.5"),
        (INSIDE, "DEL", "eth0.0"),
        ({**INSIDE, "vlanId": 5}, "GC", "eth0"),
        ({**INSIDE, "vlanId": "x"}, "DEL", "eth0"),
        ({**INSIDE, "vlanId": True}, "DEL", "eth0"),
        ({**INSIDE, "vlanId": 1 << 40}, "DEL", f"eth0.{1 << 40}"),
        ({"linkInContainer": 5, "vlanId": 5}, "DEL", "eth0"),
    ],
)
def test_what_del_looks_for(keys: Object, verb: str, name: str) -> None:
    """Also with keys that ADD refuses."""
    link, addresses = wanted.left(call(verb, **keys))
    assert isinstance(link, VlanLink) and (link.attachment.ifname, addresses.attachment.ifname) == (name, "eth0")
