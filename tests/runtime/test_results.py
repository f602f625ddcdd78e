"""Results: what survives, in which shape they are printed, and how they are converted."""

import json
from typing import Any

import pytest

from libcni import Result, ResultError
from libcni._results import parse

NEW = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "mac": "00:11", "mtu": 1400, "sandbox": "/run/netns/x"}],
    "ips": [{"interface": 0, "address": "10.0.0.5/24", "gateway": "10.0.0.1"}, {"address": "2001:db8::5/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1", "priority": 7}, {"dst": "::/0", "table": 0}],
    "dns": {"nameservers": ["9.9.9.9"]},
}


def _parse(document: Any, version: str = "1.0.0") -> Result:
    return parse(json.dumps(document).encode(), version)


def test_only_known_fields_survive_and_their_keys_are_sorted() -> None:
    result = _parse({**NEW, "custom": 1, "ips": [{"address": "10.0.0.5/24", "custom": 2}], "dns": {}})
    assert result.encode() == (
        b'{"cniVersion":"1.0.0","interfaces":[{"mac":"00:11","mtu":1400,"name":"eth0","sandbox":"/run/netns/x"}],'
        b'"ips":[{"address":"10.0.0.5/24"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1","priority":7},'
        b'{"dst":"::/0","table":0}]}'
    )


def test_equal_documents_are_equal_results() -> None:
    result, same = _parse(NEW), _parse(NEW)
    assert result == same and len({result, same}) == 1
    other = _parse({**NEW, "ips": []})
    assert result != other and result != result.as_version("1.1.0") and result != NEW
    assert repr(other).startswith('<Result {"cniVersion":"1.0.0","dns":{"nameservers":["9.9.9.9"]},"interfaces":[{')


def test_an_old_result_keeps_the_family_that_it_states() -> None:
    result = _parse({"cniVersion": "0.3.1", "ips": [{"version": "9", "address": "10.0.0.5/24"}]})
    assert result.encode() == b'{"cniVersion":"0.3.1","ips":[{"version":"9","address":"10.0.0.5/24"}],"dns":{}}'


def test_going_down_to_the_oldest_shape() -> None:
    assert _parse(NEW).as_version("0.2.0").document() == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.5/24", "gateway": "10.0.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]},
        "ip6": {"ip": "2001:db8::5/64", "routes": [{"dst": "::/0"}]},
        "dns": {"nameservers": ["9.9.9.9"]},
    }
    assert "mtu" not in _parse(NEW).as_version("0.4.0").document()["interfaces"][0]


@pytest.mark.parametrize(
    ("start", "end"), [("0.3.1", "0.4.0"), ("0.4.0", "0.3.0"), ("0.1.0", "0.4.0"), ("0.2.0", "0.1.0")]
)
def test_within_a_family_and_up_from_the_oldest_what_is_stated_stays(start: str, end: str) -> None:
    """A family that the address belies, an attribute of a route: nothing is computed anew."""
    route = {"dst": "0.0.0.0/0", "gw": "10.0.0.1", "priority": 7}
    if start < "0.3.0":
        found = _parse(
            {"cniVersion": start, "ip6": {"ip": "10.0.0.5/24"}, "ip4": {"ip": "10.0.0.6/24", "routes": [route]}}
        )
    else:
        ips = [{"version": "6", "address": "10.0.0.5/24"}, {"version": "4", "address": "10.0.0.6/24"}]
        found = _parse({"cniVersion": start, "ips": ips, "routes": [route]})
    document = found.as_version(end).document()
    assert document["cniVersion"] == end
    if end < "0.3.0":
        assert (document["ip4"]["ip"], document["ip6"]["ip"]) == ("10.0.0.6/24", "10.0.0.5/24")
        assert document["ip4"]["routes"] == [route]
    else:
        stated = {ip["address"]: ip["version"] for ip in document["ips"]}
        assert stated == {"10.0.0.6/24": "4", "10.0.0.5/24": "6"}
        assert document["routes"] == [route]


def test_going_up_and_down_again_loses_nothing_that_the_old_shape_has() -> None:
    old = _parse(NEW).as_version("0.4.0")
    assert old.as_version("1.1.0").as_version("0.4.0").document() == old.document()


@pytest.mark.parametrize(
    ("document", "config", "version"),
    [({}, "1.0.0", "1.0.0"), ({"cniVersion": ""}, "0.4.0", "0.4.0"), ({"cniVersion": 1}, "", "0.1.0"),
     (None, "1.1.0", "1.1.0"), ({"cniVersion": "0.3.1"}, "1.0.0", "0.3.1")],
)  # fmt: skip
def test_whose_version_a_result_has(document: Any, config: str, version: str) -> None:
    assert _parse(document, config).version == version


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([], "failed to unmarshal raw result: "),
        ({"cniVersion": "7.0.0"}, 'unsupported CNI result version "7.0.0"'),
        ({"ips": [{"address": "10.0.0.5"}]}, "invalid CIDR address: 10.0.0.5"),
        ({"ips": {}}, ""),
    ],
)
def test_what_is_no_result(document: Any, text: str) -> None:
    with pytest.raises(ResultError) as caught:
        _parse(document)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("data", [b"", b"hello", b'{"cniVersion":"1.0.0"} trailing'])
def test_rubbish_is_no_result(data: bytes) -> None:
    with pytest.raises(ResultError, match="failed to unmarshal raw result: "):
        parse(data, "1.0.0")


def test_conversions_that_do_not_exist() -> None:
    with pytest.raises(ResultError, match=r"no converter for CNI result version 1\.0\.0 to 2\.0\.0"):
        _parse(NEW).as_version("2.0.0")
    with pytest.raises(ResultError, match="cannot convert: no valid IP addresses"):
        _parse({"interfaces": [{"name": "eth0"}]}).as_version("")


IP = {"address": "10.0.0.5/24"}
OLD_ROUTE = {"dst": "::/0", "mtu": "1500", "advmss": [], "priority": {}, "table": "main", "scope": "link"}
LATER = {"mtu": "1500", "socketPath": 1, "pciID": {}}
UNKNOWN = [
    ("0.2.0", {"ip4": {"ip": "10.0.0.5/24", "version": 4, "interface": "x", "routes": [OLD_ROUTE]}, "ips": 5}),
    ("0.1.0", {"ip6": {"ip": "fd00::5/64"}, "interfaces": "none", "routes": {}}),
    *[
        (version, {"ips": [{"version": "4", **IP}], "interfaces": [{"name": "e", "version": 4, **LATER}], "ip4": 7})
        for version in ("0.3.0", "0.3.1", "0.4.0")
    ],
    ("0.4.0", {"ips": [{"version": "4", "mtu": [], **IP}], "routes": [OLD_ROUTE]}),
    ("1.0.0", {"ips": [{"version": 4, **IP}], "interfaces": [{"name": "e", "version": 4, **LATER}], "ip6": []}),
    ("1.0.0", {"ips": [{"version": [], **IP}], "routes": [{**OLD_ROUTE, "gw": "fe80::1"}]}),
    ("1.1.0", {"ips": [{"version": 4, **IP}], "interfaces": [{"name": "e", "version": 4, "ip": 1}], "ip4": {}}),
]


@pytest.mark.parametrize(("version", "document"), UNKNOWN)
def test_a_key_that_the_version_does_not_know_may_hold_anything(version: str, document: dict[str, Any]) -> None:
    found = _parse({"cniVersion": version, "prevResult": 1, **document}, version)
    assert [str(ip.address.address) for ip in found.ips] in (["10.0.0.5"], ["fd00::5"])
    assert [(one.name, one.mtu, one.socket_path, one.pci_id) for one in found.interfaces] in ([], [("e", 0, "", "")])
    assert all((route.mtu, route.advmss, route.priority, route.table) == (0, 0, 0, None) for route in found.routes)
    assert _parse(found.document(), version) == found


def test_what_a_later_version_knows_is_not_carried_into_it() -> None:
    """As in Go: an interface of 0.4.0 has no mtu, also when the result is converted; a route's attributes stay."""
    route = {"dst": "0.0.0.0/0", "mtu": 1400}
    old = _parse({"cniVersion": "0.4.0", "interfaces": [{"name": "e", "mtu": 1400}], "routes": [route]})
    assert old.as_version("1.1.0").document()["interfaces"] == [{"name": "e"}]
    assert old.as_version("1.1.0").document()["routes"] == [route]


KNOWN = [
    ("0.2.0", {"ip4": {"ip": 5}}, "result.ip4.ip: it must be a string, not number"),
    ("0.2.0", {"ip4": {"ip": "10.0.0.5/24", "routes": [{"dst": 1}]}}, "result.ip4.routes[0].dst: it must be a string"),
    ("0.4.0", {"ips": [{"version": 4, **IP}]}, "result.ips[0].version: it must be a string, not number"),
    ("0.3.0", {"interfaces": [{"name": []}]}, "result.interfaces[0].name: it must be a string, not array"),
    ("1.0.0", {"ips": [{"interface": "0", **IP}]}, "result.ips[0].interface: it must be an integer, not string"),
    ("1.0.0", {"dns": {"search": "a"}}, "result.dns.search: it must be a list, not string"),
    ("1.1.0", {"interfaces": [{"name": "e", "mtu": "1500"}]}, "result.interfaces[0].mtu: it must be an integer"),
    ("1.1.0", {"routes": [{"dst": "::/0", "table": "main"}]}, "result.routes[0].table: it must be an integer"),
]


@pytest.mark.parametrize(("version", "document", "text"), KNOWN)
def test_a_key_that_the_version_knows_is_checked_and_the_result_named(
    version: str, document: dict[str, Any], text: str
) -> None:
    with pytest.raises(ResultError) as caught:
        _parse({"cniVersion": version, **document})
    assert str(caught.value).startswith(f"cannot read {text}")
    assert "netconf" not in str(caught.value)
