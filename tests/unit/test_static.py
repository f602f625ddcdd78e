"""static: which addresses count, what is refused, and what CHECK compares (pure)."""

from typing import Any

import pytest

from cni.skel import Plugin
from node.plugin import Object, Outcome
from node.served import plugin, serve
from node.stated import COUNTS, COUNTS_MORE, FIRST, REFUSED, SIXTH, Stated, ips

STATIC: Plugin = plugin("static")


def told(outcome: Outcome) -> list[str]:
    """The addresses of a result, with their gateways."""
    return [f"{ip['address']} {ip.get('gateway', '')}".strip() for ip in outcome.result.get("ips", [])]


def call(verb: str, stated: Stated, **keys: Any) -> Outcome:
    return serve(STATIC, verb, {**stated.conf, **keys}, args=stated.cni_args)


@pytest.mark.parametrize(("stated", "expected"), COUNTS.values(), ids=COUNTS)
def test_which_addresses_count(stated: Stated, expected: list[str]) -> None:
    assert told(call("ADD", stated)) == expected


@pytest.mark.parametrize(("stated", "text", "place"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_names_the_entry(stated: Stated, text: str, place: str) -> None:
    error = call("ADD", stated).error
    assert text in error["msg"] and error["code"] in (4, 6, 7)
    assert place in error["msg"] + error.get("details", "")


@pytest.mark.parametrize(
    ("stated", "code", "place"),
    [
        pytest.param(Stated([FIRST, None]), 6, "ipam.addresses[1]", id="null"),
        pytest.param(Stated([FIRST], **ips(None)), 6, "runtimeConfig.ips[0]", id="null in the capability"),
        pytest.param(Stated([{"address": 5}]), 6, "ipam.addresses[0].address", id="a number"),
        pytest.param(Stated([FIRST], args=5), 6, "args", id="args"),
        pytest.param(Stated([{"address": "0.0.0.0/24"}]), 7, "0.0.0.0/24", id="no address"),
        pytest.param(Stated([FIRST], **ips("::/64")), 7, "::/64", id="no address, IPv6"),
        pytest.param(Stated([FIRST, FIRST]), 7, "10.1.2.5/24", id="stated twice"),
        pytest.param(Stated([FIRST], "IP=10.1.2.5/24"), 7, "10.1.2.5/24", id="stated twice, in CNI_ARGS"),
    ],
)
def test_what_go_crashes_on_or_fails_late_is_refused(stated: Stated, code: int, place: str) -> None:
    error = call("ADD", stated).error
    assert error["code"] == code and place in error["msg"] + error.get("details", "")


def test_of_a_key_every_spelling_is_read() -> None:
    """Go's fails for `Address`."""
    assert told(call("ADD", Stated([{"Address": "10.1.2.5/24", "GATEWAY": "10.1.2.1"}]))) == ["10.1.2.5/24 10.1.2.1"]


ROUTES: list[Object] = [
    {"dst": "0.0.0.0/0", "gw": "10.1.2.1", "mtu": 1400, "advmss": 1300, "priority": 9, "table": 100, "scope": 0},
    {"dst": "10.9.0.0/16", "gw": "10.1.2.2"},
    {"dst": "10.9.0.0/16", "gw": "10.1.2.3"},
]


def test_routes_and_dns_of_ipam_are_the_results() -> None:
    """Two routes to one destination stay in their order; `dns` beside `ipam` is the main plugin's."""
    dns = {"nameservers": ["10.1.2.1"], "domain": "a", "search": ["b"], "options": ["c"]}
    conf = {"ipam": {"addresses": [FIRST], "routes": ROUTES, "dns": dns}, "dns": {"domain": "other"}}
    result = call("ADD", Stated(None, **conf, cniVersion="1.1.0")).result
    assert result["routes"] == ROUTES and result["dns"] == dns
    old = call("ADD", Stated(None, **conf, cniVersion="0.2.0")).result
    assert [sorted(route) for route in old["ip4"]["routes"]] == [["dst", "gw"]] * 3


@pytest.mark.parametrize(
    "damage",
    [{"dst": "x"}, {"dst": None}, {"mtu": -1}, {"scope": 256}, {"table": 1 << 32}, {"gw": "fd00::1"}],
    ids=str,
)
def test_a_route_that_cannot_be_is_refused(damage: Object) -> None:
    error = call("ADD", Stated(None, ipam={"addresses": [FIRST], "routes": [ROUTES[1], {**ROUTES[0], **damage}]})).error
    assert error["code"] == 7 and "ipam.routes[1]" in error["details"]


def checked(stated: Stated, *there: Object, **keys: Any) -> Outcome:
    return call("CHECK", stated, prevResult={"cniVersion": "1.0.0", "ips": list(there), **keys})


def test_check_compares_with_prevresult() -> None:
    """Others may have added addresses, and a gateway where none is stated."""
    stated = Stated([FIRST, {"address": "fd00:1::5/64"}])
    assert checked(stated, FIRST, {"address": "10.9.9.9/24"}, SIXTH).ok
    missing = checked(stated, FIRST).error
    assert missing["msg"] == "static: Failed to match addr fd00:1::5/64 on interface eth0"
    for gateway in ({}, {"gateway": "10.1.2.2"}):
        moved = checked(stated, {"address": "10.1.2.5/24", **gateway}, SIXTH).error
        assert moved["msg"] == "static: Failed to match addr 10.1.2.5/24 on interface eth0"
        assert "10.1.2.1" in moved["details"]
    other = {"interfaces": [{"name": "eth1", "sandbox": "/x"}]}
    assert "10.1.2.5/24" in checked(stated, {**FIRST, "interface": 0}, SIXTH, **other).error["msg"]
    assert "prevResult missing" in call("CHECK", stated).error["msg"]


@pytest.mark.parametrize(("stated", "more", "go"), COUNTS_MORE.values(), ids=COUNTS_MORE)
def test_a_gateway_that_go_leaves_out(stated: Stated, more: list[str], go: list[str]) -> None:
    """ADD finds it. CHECK does not ask for it, because a pod may run that Go's static gave its addresses to."""
    assert told(call("ADD", stated)) == more
    there = [dict(zip(("address", "gateway"), each.split(), strict=False)) for each in go]
    assert checked(stated, *there).ok


def test_a_runtime_may_state_a_gateway() -> None:
    """An entry of the capability may be an object, as in `addresses`."""
    stated = Stated([FIRST], **ips({"address": "10.1.2.7/24", "gateway": "10.1.2.254"}))
    assert told(call("ADD", stated)) == ["10.1.2.7/24 10.1.2.254"]


@pytest.mark.parametrize(("stated", "text", "place"), REFUSED.values(), ids=REFUSED)
def test_del_succeeds_with_any_configuration(stated: Stated, text: str, place: str) -> None:
    assert call("DEL", stated).ok and call("GC", stated, cniVersion="1.1.0").ok
