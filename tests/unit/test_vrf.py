"""vrf: its keys, where the routes of its interface go, what is refused, and what STATUS says (pure)."""

import io
import json
from types import SimpleNamespace
from typing import Any

import pytest

from cni.address import Prefix
from cni.errors import CheckFailed, CNIError, InvalidConfig, NotAvailable
from cni.plan import describe
from cni.skel import Call
from cni.tables import carried, free
from cni.vrf import Membership
from cni_vrf import settings, wanted
from node.plugin import Object

RESULT: Object = {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "net1", "mac": "02:00:00:00:00:09", "sandbox": "/nowhere"},
        {"name": "net2", "sandbox": "/nowhere"},
    ],
    "ips": [{"address": "10.1.2.5/24", "interface": 0}, {"address": "10.1.3.5/24", "interface": 1}],
}


def call(verb: str = "ADD", previous: Object | None = RESULT, **keys: Any) -> Call:
    """A call for net1."""
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "vrf", "prevResult": previous, **keys}
    environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "net1", "CNI_NETNS": "/nowhere"}
    return Call(environ, json.dumps(conf).encode(), io.StringIO())


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({}, "configuration is expected to have a valid vrf name"),
        ({"vrfname": ""}, "configuration is expected to have a valid vrf name"),
        ({"vrfname": None}, "configuration is expected to have a valid vrf name"),
        ({"vrfname": "a/b"}, "interface name contains / or : or whitespace characters"),
        ({"vrfname": "sixteen-letters-"}, "interface name is too long"),
        ({"vrfname": "a\0b"}, "zero byte"),
        ({"vrfname": "net1"}, "net1 is the interface itself"),
        ({"vrfname": 7}, 'cannot read key "vrfname": it must be a string'),
        ({"vrfname": "blue", "table": -1}, "table is -1, and must be from 0"),
        ({"vrfname": "blue", "table": 1 << 32}, "table is 4294967296, and must be from 0"),
        ({"vrfname": "blue", "table": 255}, "but not 255 (local)"),
        ({"vrfname": "blue", "table": "7"}, 'cannot read key "table": it must be an integer'),
    ],
)
def test_what_cannot_be_is_refused(keys: Object, text: str) -> None:
    """By ADD, CHECK and STATUS, before anything is looked at; DEL works with it."""
    with pytest.raises(CNIError) as refused:
        settings.read(call(**keys))
    assert text in refused.value.msg
    (kind,) = wanted.left(call("DEL", **keys))
    assert isinstance(kind, Membership) and kind.identity == "net1/c1/net1"
    assert wanted.left(call("GC", **keys)) == []


def test_the_plan_is_one_membership_with_the_addresses_of_the_interface() -> None:
    """Keys match without regard to case, and table 0 means one that is free. The result is prevResult."""
    made = call(vrfName="blue", table=0)
    plan = wanted.wanted(made, settings.read(made))
    effect: Any = next(plan)
    found = [str(ip.address) for ip in effect.ips]
    assert (effect.vrf, effect.table, found) == ("blue", 0, ["10.1.2.5/24"])
    with pytest.raises(StopIteration) as end:
        plan.send(None)
    assert len(end.value.value.ips) == 2
    text = describe(wanted.wanted(made, settings.read(made)))
    assert text == "ip link add blue type vrf table 1\nip link set net1 master blue"
    for verb, error in (("ADD", InvalidConfig), ("CHECK", CheckFailed)):
        made = call(verb, None, vrfname="blue")
        with pytest.raises(error, match="missing prevResult from earlier plugin"):
            describe(wanted.wanted(made, settings.read(made)))


def test_the_chosen_table() -> None:
    """From 1, none that is in use, never 253 to 255."""
    assert free((), 1, 1) == [1]
    assert free((1, 2, 3, 5), 1, 1) == [4]
    assert free(range(1, 253), 1, 1) == [256]
    assert free(range(1, 1000), 1, 1) == [1000]


def route(dst: str, table: int = 254, protocol: int = 3) -> Any:
    return SimpleNamespace(dst=Prefix.parse(dst), table=table, protocol=protocol)


def test_where_routes_go_when_an_interface_joins_and_leaves() -> None:
    """Those of other tables stay in them; the kernel itself makes local, link-local, multicast and advertised ones."""
    main, other, six = route("0.0.0.0/0"), route("10.2.0.0/16", 100), route("fd00::/64")
    kernels = [route("10.1.2.5/32", 255), route("fe80::/64"), route("ff00::/8", 7), route("::/0", protocol=9)]
    assert carried([main, other, six, *kernels], 254, 7) == [(main, 7), (other, 100), (six, 7)]
    assert carried([route("10.1.0.0/16", 7)], 7, 254)[0][1] == 254


class Rtnl:
    """A kernel, with VRFs or without."""

    def __init__(self, makes: bool) -> None:
        self._makes = makes

    def makes(self, kind: str) -> bool:
        return self._makes and kind == "vrf"


def test_status_names_the_kernels_option() -> None:
    made = call("STATUS", None, vrfname="blue")
    found = settings.read(made)
    made.site.node._rtnl = Rtnl(True)  # type: ignore[assignment]
    settings.ready(made, found)
    made.site.node._rtnl = Rtnl(False)  # type: ignore[assignment]
    with pytest.raises(NotAvailable) as refused:
        settings.ready(made, found)
    assert "CONFIG_NET_VRF" in refused.value.details
