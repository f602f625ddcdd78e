"""loopback, called in process on namespaces of one's own: `lo` up, what is answered, and what is refused."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni.plan import Effect
from node.configuration import loopback
from node.plugin import Outcome
from node.served import plugin, serve
from node.topology import NamedNetns

pytestmark = pytest.mark.root

Object = dict[str, Any]
VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
PREVIOUS: Object = {
    "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/x"}],
    "ips": [{"interface": 0, "address": "10.1.0.5/24"}],
}


@pytest.fixture
def pod() -> Iterator[NamedNetns]:
    """A namespace whose ``lo`` is down and without addresses."""
    made = NamedNetns("pod")
    try:
        yield made
    finally:
        made.close()


def call(verb: str, netns: str, version: str | None = "1.0.0", **keys: Any) -> Outcome:
    return serve(plugin("loopback"), verb, loopback(version, **keys), netns=netns, ifname="ignored0")


def up(pod: NamedNetns) -> bool:
    return "UP" in pod.link("lo")["flags"]


@pytest.mark.parametrize("version", [None, *VERSIONS])
def test_add_brings_lo_up_and_answers_in_the_shape_of_the_version(pod: NamedNetns, version: str | None) -> None:
    """CNI_IFNAME is ignored: the link is ``lo``; index 0, no gateway, no routes."""
    result = call("ADD", pod.path, version).result
    assert up(pod)
    interface: Object = {"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": pod.path}
    interface |= {"mtu": 65536} if version == "1.1.0" else {}
    both = [{"interface": 0, "address": "127.0.0.1/8"}, {"interface": 0, "address": "::1/128"}]
    shapes: dict[str, Object] = {
        "0.1": {"ip4": {"ip": "127.0.0.1/8"}, "ip6": {"ip": "::1/128"}, "dns": {}},
        "0.3": {
            "interfaces": [interface],
            "ips": [{"version": number, **ip} for number, ip in zip("46", both, strict=True)],
            "dns": {},
        },
        "1.0": {"interfaces": [interface], "ips": both},
    }
    shape = shapes["0.1" if version in (None, "0.1.0", "0.2.0") else "0.3" if version < "1" else "1.0"]
    assert result == {"cniVersion": version or "0.1.0", **shape}


def test_without_ipv6_there_is_one_address(pod: NamedNetns) -> None:
    pod.sysctl("ipv6/conf/lo/disable_ipv6", "1")
    assert call("ADD", pod.path).result["ips"] == [{"interface": 0, "address": "127.0.0.1/8"}]


def test_of_several_addresses_the_first_of_each_family_is_told(pod: NamedNetns) -> None:
    pod.ip("link set lo up", "addr add 127.0.0.9/8 dev lo")
    assert call("ADD", pod.path).result["ips"] == [
        {"interface": 0, "address": "127.0.0.1/8"},
        {"interface": 0, "address": "::1/128"},
    ]


def test_add_twice_is_add_once(pod: NamedNetns) -> None:
    assert call("ADD", pod.path).result == call("ADD", pod.path).result


@pytest.mark.parametrize("address", ["10.1.0.5/24", "fd00::5/64", "128.0.0.1/8"])
def test_another_address_on_lo_is_refused_before_it_comes_up(pod: NamedNetns, address: str) -> None:
    pod.ip(f"addr add {address} dev lo")
    before = pod.link("lo")
    error = call("ADD", pod.path).error
    host = address.split("/")[0]
    assert error["msg"] == f'loopback interface found with non-loopback address "{host}"'
    assert pod.link("lo") == before and not up(pod)


def test_any_address_of_127_8_is_a_loopback_one(pod: NamedNetns) -> None:
    pod.ip("addr add 127.255.255.254/8 dev lo")
    assert call("ADD", pod.path).ok


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_a_previous_result_is_passed_through_and_not_completed(pod: NamedNetns, version: str) -> None:
    """``lo`` is up, and what came before is printed back, in the configuration's version."""
    previous = {"cniVersion": version, **PREVIOUS}
    if version < "1":
        previous |= {"ips": [{"version": "4", **PREVIOUS["ips"][0]}], "dns": {}}
    assert call("ADD", pod.path, version, prevResult=previous).result == previous
    assert up(pod)


@pytest.mark.parametrize("previous", [{"cniVersion": "0.4.0"}, {"ips": [None]}, "x", {"ips": [{}]}])
def test_a_previous_result_that_cannot_be_read_is_refused_before_the_deed(pod: NamedNetns, previous: Any) -> None:
    error = call("ADD", pod.path, prevResult=previous).error
    assert error["code"] in (6, 7) and error["msg"].startswith("could not parse prevResult")
    assert not up(pod)


def test_check_sees_whether_lo_is_up_and_needs_nothing_else(pod: NamedNetns) -> None:
    assert call("ADD", pod.path).ok
    assert call("CHECK", pod.path).ok
    pod.ip("link set lo down")
    error = call("CHECK", pod.path, prevResult="rubbish").error
    assert (error["code"], error["msg"]) == (999, "loopback interface is down")
    assert not up(pod), "CHECK does not write"


def test_del_takes_lo_down_whatever_the_configuration_says(pod: NamedNetns) -> None:
    assert call("ADD", pod.path).ok
    for _ in range(2):
        assert call("DEL", pod.path, prevResult={"ips": [None]}, dns=5, ipam="x").ok
        assert not up(pod)


def test_del_without_a_namespace_is_success(pod: NamedNetns) -> None:
    """None given, gone, and the mount point that a removed one left: the last is said on standard error."""
    path = pod.path
    pod.close()
    for netns in ("", path):
        outcome = call("DEL", netns)
        assert (outcome.ok, outcome.stderr) == (True, "")
    for netns in ("/etc/hostname", "/proc/self/ns/uts"):
        outcome = call("DEL", netns)
        assert outcome.ok and "taken for gone" in outcome.stderr and netns in outcome.stderr


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_a_namespace_that_is_gone_or_none_is_code_8(verb: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    gone, others = "/var/run/netns/pycni-nothing-here", ("/etc/hostname", "/proc/self/ns/uts")
    for netns in (gone, *others, str(tmp_path), str(tmp_path / "pipe")):
        error = call(verb, netns).error
        assert error["code"] == 8 and error["msg"].startswith(f'failed to open netns "{netns}"')


def test_gc_and_status_have_nothing_to_do(pod: NamedNetns) -> None:
    for verb in ("GC", "STATUS"):
        keys: Object = {"cni.dev/valid-attachments": []} if verb == "GC" else {}
        assert call(verb, "", "1.1.0", **keys).ok


@pytest.mark.parametrize("keys", [{}, {"cni.dev/valid-attachments": "none"}])
def test_gc_does_not_need_the_list(keys: Object) -> None:
    """Nothing would be removed by it, so nothing is reported either."""
    outcome = call("GC", "", "1.1.0", **keys)
    assert outcome.ok and outcome.stderr == ""


def test_the_observer_sees_the_effect(pod: NamedNetns) -> None:
    seen: list[tuple[str, str]] = []

    def watch(deed: str, effect: Effect, moment: str) -> None:
        seen.append((f"{deed} {moment}", effect.describe()))

    serve(plugin("loopback"), "ADD", loopback(), netns=pod.path, watch=watch)
    assert seen == [("make before", "ip link set lo up"), ("make after", "ip link set lo up")]
