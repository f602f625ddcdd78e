"""What plugins that give an interface have in common in their settings (pure), with a plugin made for it."""

import io
import json
from typing import Any

import pytest

from cni.errors import CNIError, InvalidConfig
from cni.linksettings import LinkSettings, link_dns, link_mtu
from cni.result import DNS
from cni.settings import key, string
from cni.skel import Call

Object = dict[str, Any]
ONE, TWO, THREE, FOUR = (f"02:00:00:00:00:0{number}" for number in (1, 2, 3, 4))


class Settings(LinkSettings):
    master: str = key("master", string, "", "link that it is of")
    mtu: int = link_mtu("MTU; 0: the master's")
    mac: str = key("mac", string, "", "MAC; by default the kernel draws it")
    dns: DNS | None = link_dns()

    def complete(self) -> None:
        if self.master == "none":
            raise InvalidConfig("no such master", f"with ipam {self.ipam!r} and mac {self.mac!r}")


class Bare(LinkSettings):
    """A plugin without keys of its own."""


def call(cni_args: str = "", ifname: str = "eth0", **keys: Any) -> Call:
    conf = {"cniVersion": "1.1.0", "name": "mynet", "type": "some", **keys}
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": ifname, "CNI_NETNS": "/x"}
    return Call({**environ, "CNI_ARGS": cni_args}, json.dumps(conf).encode(), io.StringIO())


def refusal(cni_args: str = "", ifname: str = "eth0", **keys: Any) -> CNIError:
    with pytest.raises(CNIError) as caught:
        Settings(call(cni_args, ifname, **keys))
    return caught.value


SOURCES: list[tuple[str, Object]] = [
    ("", {"runtimeConfig": {"mac": ONE}}),
    ("", {"args": {"cni": {"mac": TWO}}}),
    (f"MAC={THREE}", {}),
    ("", {"mac": FOUR}),
]


@pytest.mark.parametrize("first", range(4))
def test_the_first_source_of_a_mac_counts(first: int) -> None:
    """The capability, args.cni, CNI_ARGS, the configuration's own key; each alone, and with all that come after it."""
    for last in range(first, 4):
        keys: Object = {}
        for _, more in SOURCES[first : last + 1]:
            keys |= more
        args = next((text for text, _ in SOURCES[first : last + 1] if text), "")
        assert Settings(call(args, **keys)).mac == (ONE, TWO, THREE, FOUR)[first]
    assert Settings(call()).mac == ""


def test_an_empty_mac_is_none() -> None:
    keys: Object = {"runtimeConfig": {"mac": ""}, "args": {"cni": {"mac": ""}}, "mac": FOUR.replace(":", "-")}
    assert Settings(call("MAC=", **keys)).mac == FOUR


@pytest.mark.parametrize(
    ("args", "keys", "code", "text"),
    [
        ("", {"mac": "x"}, 7, "invalid args x for MAC addr: address x: invalid MAC address"),
        ("", {"mac": "{0} %s"}, 7, "invalid args {0} %s for MAC addr: address {0} %s: invalid MAC address"),
        ("", {"mac": "ff:00:00:00:00:01"}, 7, "address ff:00:00:00:00:01: a multicast or zero MAC cannot be an interface's"),
        ("", {"mac": 5}, 6, 'failed to load netconf: cannot read key "mac": it must be a string, not number'),
        ("", {"runtimeConfig": {"mac": 5}}, 6,
         "failed to load netconf: cannot read runtimeConfig.mac: it must be a string, not number"),
        ("", {"args": []}, 6, "failed to load netconf: cannot read args: it must be an object, not array"),
        ("MAC=x", {"mac": FOUR}, 4,
         'CNI_ARGS: error parsing value of pair "MAC=x": invalid args x for MAC addr: address x: invalid MAC address'),
        ("MAC", {"runtimeConfig": {"mac": ONE}}, 4, 'CNI_ARGS: invalid pair "MAC"'),
        ("K8S=1", {}, 4, 'CNI_ARGS: unknown args ["K8S=1"]'),
    ],
)  # fmt: skip
def test_a_mac_that_cannot_be(args: str, keys: Object, code: int, text: str) -> None:
    """Named by its source; CNI_ARGS are read in any case."""
    error = refusal(args, **keys)
    assert (error.code, error.msg) == (code, text)


def test_what_several_keys_say_is_checked_when_all_is_known() -> None:
    error = refusal(master="none", mac=ONE, ipam={"type": "x"})
    assert (error.msg, error.details) == ("no such master", f"with ipam 'x' and mac '{ONE}'")


@pytest.mark.parametrize("dns", [{}, {"domain": ""}, {"nameservers": None}])
def test_dns_that_sets_nothing_is_none(dns: Object) -> None:
    assert Settings(call(dns=dns)).dns is None


@pytest.mark.parametrize("dns", [{"search": []}, {"domain": "a"}])
def test_an_empty_list_is_set(dns: Object) -> None:
    assert Settings(call(dns=dns)).dns == DNS(**dns)


def test_ipv6_needs_its_mtu() -> None:
    """As soon as the configuration names such a network, else with IPAM's answer."""
    assert "with IPv6" in refusal(mtu=1279, ipam={"type": "x", "subnet": "fd00::/64"}).msg
    settings = Settings(call(mtu=1279, ipam={"type": "x"}))
    settings.check_mtu(False)
    with pytest.raises(InvalidConfig, match="^mtu is 1279, and must be from 1280 to 65535 with IPv6"):
        settings.check_mtu(True)
    Settings(call(mtu=-5)).check_mtu(True)


def test_a_plugin_without_keys_has_the_common_values() -> None:
    """A key that the plugin does not have is ignored, whatever it holds."""
    settings = Bare(call(f"MAC={ONE}", mtu="x", dns=5, mac=6, ipam={"type": "y"}))
    assert (settings.mtu, settings.mac, settings.dns, settings.ipam) == (0, ONE, None, "y")
    assert Bare.TABLE.keys == ()


@pytest.mark.parametrize(
    ("ifname", "keys", "text"),
    [
        ("all", {}, "interface name all is reserved (CNI_IFNAME)"),
        ("eth0", {"ipam": {"type": "some"}}, "ipam.type is some, the plugin itself"),
        ("eth0", {"cniVersion": "0.2.0"}, "cannot convert: no valid IP addresses"),
    ],
)
def test_what_every_plugin_refuses(ifname: str, keys: Object, text: str) -> None:
    assert refusal(ifname=ifname, **keys).msg == text
