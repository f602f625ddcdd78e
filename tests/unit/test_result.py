"""Results in every version: every pair of versions, what is kept and what is lost, and what is refused."""

import copy
import itertools
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cni import result
from cni.errors import CNIError, DecodingFailure, InvalidConfig
from cni.result import DNS, Result, parse, parse_delegated, parse_previous
from cni.skel import Call
from libcni import _results
from libcni._errors import ResultError
from node.served import probe, serve

Object = dict[str, Any]
OLD, MIDDLE, NEW = ("0.1.0", "0.2.0"), ("0.3.0", "0.3.1", "0.4.0"), ("1.0.0", "1.1.0")
VERSIONS = [*OLD, *MIDDLE, *NEW]


def convert(document: Object, source: str, target: str) -> Object:
    """A result of one version in another, as a runtime converts what it has cached."""
    return _results.from_document(document, source or "0.1.0").as_version(target).document()


PAIRS = list(itertools.product(VERSIONS, VERSIONS))

ROUTE = {"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "advmss": 1360, "priority": 5, "table": 0, "scope": 0}
ROUTE6 = {"dst": "2001:db8::/32", "table": 254, "scope": 253}
DNS_ALL = {"nameservers": ["10.1.0.53", "x"], "domain": "a.b", "search": ["c", "d"], "options": ["ndots:2"]}
# One result with everything, as each family tells it; the third is the source of the other two.
FULL_NEW: Object = {
    "interfaces": [
        {"name": "br0", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1450, "sandbox": "/x", "socketPath": "/s", "pciID": "0:1"},
    ],
    "ips": [
        {"interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},
        {"interface": 0, "address": "2001:db8::5/64", "gateway": "2001:db8::1"},
        {"address": "10.2.0.5/24"},
    ],
    "routes": [ROUTE6, ROUTE],
    "dns": DNS_ALL,
}
FULL_MIDDLE: Object = {
    "interfaces": [
        {"name": "br0", "mac": "02:00:00:00:00:01"},
        {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/x"},
    ],
    "ips": [
        {"version": "4", "interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},
        {"version": "6", "interface": 0, "address": "2001:db8::5/64", "gateway": "2001:db8::1"},
        {"version": "4", "address": "10.2.0.5/24"},
    ],
    "routes": [ROUTE6, ROUTE],
    "dns": DNS_ALL,
}
FULL_OLD: Object = {
    "ip4": {"ip": "10.1.0.5/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
    "ip6": {"ip": "2001:db8::5/64", "gateway": "2001:db8::1", "routes": [{"dst": "2001:db8::/32"}]},
    "dns": DNS_ALL,
}


def labelled(document: Object, version: str) -> Object:
    return {**copy.deepcopy(document), "cniVersion": version}


def full(version: str) -> Object:
    return labelled(FULL_OLD if version in OLD else FULL_MIDDLE if version in MIDDLE else FULL_NEW, version)


# What the specification's versions keep of each other, written down apart from the code: document to document.


def _with_family(ip: Object) -> Object:
    return {"version": "6" if ":" in ip["address"] else "4", **ip}


def expected(document: Object, source: str, target: str) -> Object:
    """What is left of a document of one version in another."""
    found = copy.deepcopy(document)
    if source in OLD and target not in OLD:
        parts = [(number, found.pop(f"ip{number}", None)) for number in "46"]
        present = [(number, part) for number, part in parts if part is not None]
        routes = [route for _, part in present for route in part.pop("routes", [])]
        ips = [{"version": number, "address": part.pop("ip"), **part} for number, part in present]
        found |= ({"ips": ips} if ips else {}) | ({"routes": routes} if routes else {})
        source = "0.4.0"
    if source in NEW and target not in NEW:
        for interface in found.get("interfaces", []):
            for name in ("mtu", "socketPath", "pciID"):
                interface.pop(name, None)
        for place, ip in enumerate(found.get("ips", [])):
            found["ips"][place] = _with_family(ip)
        source = "0.4.0"
    if source in MIDDLE and target in NEW:
        for ip in found.get("ips", []):
            ip.pop("version", None)
    if source in MIDDLE and target in OLD:
        found = _oldest(found)
    dns = found.pop("dns", {})
    if dns or target not in NEW:
        found["dns"] = dns
    return labelled(found, target)


def _oldest(found: Object) -> Object:
    left: Object = {"dns": found.get("dns", {})}
    for number in "46":
        ip = next((ip for ip in found.get("ips", []) if ip.get("version") == number), None)
        if ip is None:
            continue
        part = {"ip": ip["address"]} | {key: ip[key] for key in ("gateway",) if key in ip}
        routes = [
            {key: route[key] for key in ("dst", "gw") if key in route}
            for route in found.get("routes", [])
            if (":" in route["dst"]) == (number == "6")
        ]
        left[f"ip{number}"] = part | ({"routes": routes} if routes else {})
    return left


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_of_versions(source: str, target: str) -> None:
    """A result with everything in it."""
    assert convert(full(source), source, target) == expected(full(source), source, target)


@pytest.mark.parametrize("target", VERSIONS)
def test_the_newest_result_as_each_version_tells_it(target: str) -> None:
    """The three shapes, written out: so the table of losses above is held too."""
    assert convert(full("1.1.0"), "1.1.0", target) == full(target)
    assert parse(full("1.1.0"), "1.1.0").document(target) == full(target)


def _optional(**members: Any) -> Any:
    return st.fixed_dictionaries({}, optional=members)


_V4 = st.integers(0x0A000000, 0x0A0000FF).map(lambda n: f"10.0.0.{n & 255}")
_V6 = st.integers(1, 255).map(lambda n: f"2001:db8::{n:x}")
_ADDRESS = st.one_of(_V4, _V6)
_CIDR = st.one_of(st.tuples(_V4, st.integers(0, 32)), st.tuples(_V6, st.integers(0, 128))).map(
    lambda t: f"{t[0]}/{t[1]}"
)
_WORD = st.text(st.sampled_from("ab.é<"), min_size=1, max_size=4)
_POSITIVE = st.integers(1, 1 << 40)
_ROUTES = st.lists(
    st.builds(
        lambda required, more: required | more,
        st.fixed_dictionaries({"dst": _CIDR}),
        _optional(
            gw=_ADDRESS,
            mtu=_POSITIVE,
            advmss=_POSITIVE,
            priority=_POSITIVE,
            table=st.integers(0, 300),
            scope=st.integers(0, 255),
        ),
    ),
    max_size=3,
)
_IP = st.builds(
    lambda required, more: required | more,
    st.fixed_dictionaries({"address": _CIDR}),
    _optional(interface=st.integers(-1, 3), gateway=_ADDRESS),
)
_INTERFACE = st.builds(
    lambda required, more: required | more,
    st.fixed_dictionaries({"name": _WORD}),
    _optional(mac=_WORD, mtu=_POSITIVE, sandbox=_WORD, socketPath=_WORD, pciID=_WORD),
)
_WORDS = st.lists(_WORD, min_size=1, max_size=2)
_DNS = _optional(nameservers=_WORDS, domain=_WORD, search=_WORDS, options=_WORDS)


@st.composite
def documents(draw: st.DrawFn, families: Any = (OLD, MIDDLE, NEW)) -> tuple[Object, str]:
    """A result as a plugin of some version prints it, and that version."""
    family = draw(st.sampled_from(families))
    version = draw(st.sampled_from(family))
    dns = draw(_DNS)
    found: Object = {}
    if family == OLD:
        for number, address in (("4", _V4), ("6", _V6)):
            if draw(st.booleans()):
                part = {"ip": f"{draw(address)}/{draw(st.integers(0, 32))}"} | draw(_optional(gateway=_ADDRESS))
                routes = draw(_ROUTES)
                found[f"ip{number}"] = part | ({"routes": routes} if routes else {})
    else:
        interfaces, ips, routes = draw(st.lists(_INTERFACE, max_size=3)), draw(st.lists(_IP, max_size=4)), draw(_ROUTES)
        if family == MIDDLE:
            ips = [_with_family(ip) for ip in ips]
            interfaces = [
                {key: value for key, value in interface.items() if key in ("name", "mac", "sandbox")}
                for interface in interfaces
            ]
        lists = {"interfaces": interfaces, "ips": ips, "routes": routes}
        found |= {name: value for name, value in lists.items() if value}
    if dns or family != NEW:
        found["dns"] = dns
    return labelled(found, version), version


@given(documents(), st.sampled_from(VERSIONS))
def test_any_result_in_any_other_version(drawn: tuple[Object, str], target: str) -> None:
    """Each loss is one of those that are listed, and nothing is invented."""
    document, source = drawn
    if source in OLD and target in OLD:  # a route that stands under the other family's address goes by its own family
        for name in ("ip4", "ip6"):
            assume(all((":" in route["dst"]) == (name == "ip6") for route in document.get(name, {}).get("routes", [])))
    wanted = expected(document, source, target)
    if target in OLD and source != target and not {"ip4", "ip6"} & set(wanted) and source not in OLD:
        with pytest.raises(ResultError, match="cannot convert: no valid IP addresses"):
            convert(document, source, target)
        return
    assert convert(document, source, target) == wanted


@given(documents())
def test_reading_and_printing_in_one_version_changes_nothing(drawn: tuple[Object, str]) -> None:
    document, version = drawn
    if version in OLD:
        for name in ("ip4", "ip6"):  # routes have lost their attributes there, and go by family
            for route in document.get(name, {}).get("routes", []):
                if (":" in route["dst"]) != (name == "ip6"):
                    return
                for key in set(route) - {"dst", "gw"}:
                    del route[key]
        if not {"ip4", "ip6"} & set(document):
            return
    assert parse(document, version).document(version) == document
    json.dumps(document)


@given(documents((MIDDLE, NEW)), st.sampled_from(MIDDLE))
def test_from_0_3_0_on_only_three_members_of_interfaces_are_lost(drawn: tuple[Object, str], middle: str) -> None:
    document, source = drawn
    back = convert(convert(document, source, middle), middle, "1.1.0")
    straight = convert(document, source, "1.1.0")
    for interface in straight.get("interfaces", []):
        for name in ("mtu", "socketPath", "pciID"):
            interface.pop(name, None)
    assert back == straight


def test_an_empty_target_is_0_1_0_and_so_is_an_empty_source() -> None:
    assert convert(full("1.0.0"), "1.0.0", "") == full("0.1.0")
    assert convert(full("0.1.0"), "", "0.2.0") == full("0.2.0")
    assert parse(full("1.0.0"), "1.0.0").document("") == full("0.1.0")


@pytest.mark.parametrize("target", ["9.9.9", "1.1"])
def test_there_is_no_way_to_an_unknown_version(target: str) -> None:
    with pytest.raises(ResultError, match=f"^no converter for CNI result version 1.0.0 to {target}$"):
        convert(full("1.0.0"), "1.0.0", target)


def test_there_is_no_way_from_an_unknown_version() -> None:
    with pytest.raises(ResultError, match='^unsupported CNI result version "9.9.9"$'):
        convert(full("1.0.0"), "9.9.9", "1.0.0")


# what the oldest shape chooses


def ips(*entries: tuple[str, str]) -> Object:
    return {"ips": [{"version": version, "address": address} for version, address in entries]}


@pytest.mark.parametrize(
    ("entries", "left"),
    [
        ([("4", "10.0.0.1/8"), ("4", "10.0.0.2/8")], {"ip4": "10.0.0.1/8"}),
        ([("6", "::1/64"), ("4", "10.0.0.2/8"), ("6", "::2/64")], {"ip4": "10.0.0.2/8", "ip6": "::1/64"}),
        # the stated family counts, not the address's
        ([("6", "10.0.0.1/8")], {"ip6": "10.0.0.1/8"}),
        ([("", "10.0.0.1/8"), ("9", "10.0.0.2/8"), ("4", "10.0.0.3/8")], {"ip4": "10.0.0.3/8"}),
    ],
)
def test_the_oldest_shape_takes_the_first_of_each_stated_family(entries: Any, left: Object) -> None:
    found = convert(ips(*entries), "0.3.1", "0.2.0")
    assert {name: found[name]["ip"] for name in ("ip4", "ip6") if name in found} == left


@pytest.mark.parametrize("document", [{}, ips(("", "10.0.0.1/8")), {"interfaces": [{"name": "a"}]}])
@pytest.mark.parametrize("target", OLD)
def test_the_oldest_shape_without_an_address_cannot_be(document: Object, target: str) -> None:
    with pytest.raises(ResultError, match="^cannot convert: no valid IP addresses; .*0.3.0"):
        convert(document, "0.4.0", target)


def test_routes_without_an_address_of_their_family_are_lost_in_the_oldest_shape() -> None:
    """Silently, and the order of the addresses does not matter."""
    document = {"ips": [{"address": "10.0.0.1/8"}], "routes": [{"dst": "::/0"}, {"dst": "0.0.0.0/0"}]}
    assert convert(document, "1.0.0", "0.2.0") == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.0.0.1/8", "routes": [{"dst": "0.0.0.0/0"}]},
        "dns": {},
    }


# what is printed and what is not


@pytest.mark.parametrize("version", VERSIONS)
def test_dns_is_always_there_below_1_0_0_and_never_empty_from_there_on(version: str) -> None:
    document = Result((), parse({"ips": [{"address": "10.0.0.1/8"}]}, "1.0.0").ips).document(version)
    assert document.get("dns") == (None if version in NEW else {})


@pytest.mark.parametrize("version", MIDDLE + NEW)
def test_zero_is_printed_where_it_is_not_the_same_as_absent(version: str) -> None:
    """``interface``, ``table`` and ``scope``; ``mtu``, ``advmss``, ``priority`` are left out at 0."""
    document = {
        "ips": [{"version": "4", "address": "10.0.0.1/8", "interface": 0}, {"version": "4", "address": "10.0.0.2/8"}],
        "routes": [
            {"dst": "0.0.0.0/0", "mtu": 0, "advmss": 0, "priority": 0, "table": 0, "scope": 0},
            {"dst": "0.0.0.0/0"},
        ],
    }
    printed = parse(document, version).document(version)
    assert [ip.get("interface") for ip in printed["ips"]] == [0, None]
    assert printed["routes"] == [{"dst": "0.0.0.0/0", "table": 0, "scope": 0}, {"dst": "0.0.0.0/0"}]


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_1_0_0_prints_what_came_with_1_1_0(version: str) -> None:
    """The two share a shape."""
    assert parse(full("1.1.0"), version).document(version) == full(version)


@pytest.mark.parametrize("version", MIDDLE)
def test_0_3_to_0_4_print_the_newer_attributes_of_routes(version: str) -> None:
    assert parse(full("1.1.0"), "1.1.0").document(version)["routes"] == [ROUTE6, ROUTE]


def test_addresses_are_printed_with_gos_texts() -> None:
    """Mapped ones as IPv4, and host bits kept."""
    document = {
        "ips": [{"address": "::ffff:10.0.0.2/120", "gateway": "::a00:1"}],
        "routes": [{"dst": "10.9.8.7/8", "gw": ""}],
    }
    printed = parse(document, "1.0.0").document("1.0.0")
    assert printed["ips"] == [{"address": "10.0.0.2/24", "gateway": "::a00:1"}]
    assert printed["routes"] == [{"dst": "10.9.8.7/8"}]


def test_gateways_are_not_held_against_their_network_or_family() -> None:
    document = {
        "ips": [{"address": "10.0.0.1/8", "gateway": "::1"}, {"address": "::1/64", "gateway": "192.0.2.1"}],
        "routes": [{"dst": "10.0.0.0/8", "gw": "fd00::1"}],
    }
    assert parse(document, "1.0.0").document("1.0.0") == {"cniVersion": "1.0.0", **document}


def test_a_negative_index_and_one_beyond_the_list_survive() -> None:
    ips = [{"interface": -3, "address": "10.0.0.1/8"}, {"interface": 99, "address": "10.0.0.2/8"}]
    document = {"cniVersion": "1.0.0", "ips": ips}
    assert parse(document, "1.0.0").document("1.0.0") == document


def test_members_match_in_any_case_and_unknown_ones_are_ignored() -> None:
    document = {"IPS": [{"Address": "10.0.0.1/8", "x": None}], "Interfaces": [{"NAME": "a"}], "more": {"a": [1]}}
    assert parse(document, "1.0.0").document("1.0.0") == {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "a"}],
        "ips": [{"address": "10.0.0.1/8"}],
    }


# what is refused


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"ips": [None]}, "ips[0]"),
        ({"interfaces": [{"name": "a"}, None]}, "interfaces[1]"),
        ({"routes": [None]}, "routes[0]"),
        ({"dns": {"nameservers": [None]}}, "dns.nameservers[0]"),
        ({"dns": {"search": ["a", None]}}, "dns.search[1]"),
        ({"dns": {"options": [5]}}, "dns.options[0]"),
    ],
)
@pytest.mark.parametrize("version", ["0.3.1", "1.0.0"])
def test_null_in_a_list_is_refused_and_its_place_named(document: Object, place: str, version: str) -> None:
    with pytest.raises(DecodingFailure) as caught:
        parse(document, version, "prevResult")
    assert f"prevResult.{place}" in caught.value.msg and caught.value.code == 6


@pytest.mark.parametrize(
    "document", [{"ip4": {"ip": "10.0.0.1/8", "routes": [None]}}, {"ip4": []}, {"ip6": "x"}, {"dns": [1]}]
)
def test_null_in_a_list_is_refused_in_the_oldest_shape_too(document: Object) -> None:
    with pytest.raises(DecodingFailure):
        parse(document, "0.2.0")


@pytest.mark.parametrize(
    ("document", "msg"),
    [
        ({"ips": [{}]}, "an entry of ips has no address"),
        ({"ips": [{"address": None}]}, "an entry of ips has no address"),
        ({"routes": [{"gw": "10.0.0.1"}]}, "a route has no dst"),
        ({"ips": [{"address": "10.0.0.1"}]}, "invalid CIDR address: 10.0.0.1"),
        ({"ips": [{"address": "<nil>"}]}, "invalid CIDR address: <nil>"),
        ({"ips": [{"address": "10.0.0.1/8", "gateway": "10.0.0.1/8"}]}, "invalid IP address: 10.0.0.1/8"),
        ({"routes": [{"dst": "10.0.0.0/8", "gw": "x"}]}, "invalid IP address: x"),
    ],
)
def test_an_entry_without_its_address_is_refused(document: Object, msg: str) -> None:
    """Go prints ``<nil>`` for it, which nobody reads back."""
    with pytest.raises(InvalidConfig) as caught:
        parse(document, "1.0.0")
    assert caught.value.msg == msg


@pytest.mark.parametrize(
    "document",
    [
        {"ips": {}}, {"ips": "x"}, {"ips": [[]]}, {"ips": [{"address": 5}]},
        {"ips": [{"address": "10.0.0.1/8", "interface": "1"}]},
        {"ips": [{"address": "10.0.0.1/8", "interface": 1.0}]}, {"ips": [{"address": "10.0.0.1/8", "interface": True}]},
        {"interfaces": [{"name": 5}]}, {"interfaces": [{"mtu": "1500"}]}, {"routes": [{"dst": "::/0", "mtu": 1e3}]},
        {"routes": [{"dst": "::/0", "table": -(1 << 63) - 1}]}, {"dns": {"domain": ["x"]}}, {"dns": "x"}, [], "x", 5,
    ],
)  # fmt: skip
def test_a_wrong_type_is_code_6(document: Any) -> None:
    with pytest.raises(DecodingFailure):
        parse(document, "1.1.0")


# prevResult


def previous(document: Any, version: str) -> Object:
    """The prevResult that a plugin with a configuration of this version sees, in the newest version."""
    found: list[Result | None] = []
    conf = {"name": "net1", "cniVersion": version, "prevResult": document}
    with probe(delete=lambda call: found.append(call.previous())) as plugin:
        outcome = serve(plugin, "DEL", conf)
    if not outcome.ok:
        raise CNIError(outcome.error["msg"], outcome.error.get("details", ""), outcome.code)
    return {} if found[0] is None else found[0].document("1.1.0")


@pytest.mark.parametrize(("stated", "version"), PAIRS)
def test_a_previous_result_has_to_be_of_the_configurations_family(stated: str, version: str) -> None:
    """Within it the versions may differ; across families it is an error with Go's text."""
    family = next(family for family in (OLD, MIDDLE, NEW) if version in family)
    if stated in family:
        assert previous(full(stated), version) == convert(full(stated), stated, "1.1.0")
        return
    listed = " ".join(("", *family) if family == OLD else family)
    with pytest.raises(CNIError) as caught:
        previous(full(stated), version)
    assert caught.value.code == 6
    assert caught.value.msg == (
        f'could not parse prevResult: result type supports [{listed}] but unmarshalled CNIVersion is "{stated}"'
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_previous_result_without_a_version_has_the_configurations(version: str) -> None:
    """Missing or null; an empty text is one only for the oldest."""
    document = full(version)
    without = {key: value for key, value in document.items() if key != "cniVersion"}
    for unstated in (without, {**document, "cniVersion": None}):
        assert previous(unstated, version) == convert(document, version, "1.1.0")
    if version in OLD:
        assert previous({**document, "cniVersion": ""}, version) == convert(document, version, "1.1.0")
    else:
        with pytest.raises(CNIError, match='unmarshalled CNIVersion is ""'):
            previous({**document, "cniVersion": ""}, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_previous_result_and_an_empty_one(version: str) -> None:
    assert previous(None, version) == {}
    call = Call({"CNI_COMMAND": "DEL"}, json.dumps({"name": "n", "cniVersion": version}).encode(), _Silent())
    assert call.previous() is None
    assert previous({}, version) == {"cniVersion": "1.1.0"}


class _Silent:
    def write(self, text: str, /) -> None:
        pass


@pytest.mark.parametrize("document", [[], "x", 5, True, {"cniVersion": 5}, {"cniVersion": []}, {"ips": [None]}])
def test_a_previous_result_of_another_type_is_code_6(document: Any) -> None:
    with pytest.raises(CNIError) as caught:
        previous(document, "1.0.0")
    assert caught.value.code == 6 and caught.value.msg.startswith("could not parse prevResult: ")


def test_the_version_of_a_previous_result_matches_in_any_case() -> None:
    with pytest.raises(CNIError, match='unmarshalled CNIVersion is "0.4.0"'):
        previous({"CNIVersion": "0.4.0"}, "1.0.0")


def test_a_previous_result_for_an_unknown_version() -> None:
    with pytest.raises(DecodingFailure, match='unsupported CNI result version "9.9.9"'):
        parse_previous({}, "9.9.9")


# what a delegate answers


@pytest.mark.parametrize(("stated", "version"), PAIRS)
def test_a_delegates_answer_is_read_by_its_own_version(stated: str, version: str) -> None:
    """Any known one, whatever the configuration's is."""
    assert parse_delegated(full(stated), version).document("1.1.0") == convert(full(stated), stated, "1.1.0")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("unstated", [{}, {"cniVersion": ""}, {"cniVersion": None}])
def test_a_delegates_answer_without_a_version_has_the_configurations(version: str, unstated: Object) -> None:
    document = {key: value for key, value in full(version).items() if key != "cniVersion"} | unstated
    assert parse_delegated(document, version).document("1.1.0") == convert(full(version), version, "1.1.0")


def test_the_version_of_a_delegates_answer_matches_in_any_case() -> None:
    document = {key: value for key, value in full("0.2.0").items() if key != "cniVersion"} | {"CNIVersion": "0.2.0"}
    assert parse_delegated(document, "1.0.0").document("0.2.0") == full("0.2.0")


def test_a_delegates_answer_in_an_unknown_version() -> None:
    with pytest.raises(CNIError, match='^unsupported CNI result version "7.0.0"$'):
        parse_delegated({"cniVersion": "7.0.0"}, "1.0.0")


@pytest.mark.parametrize("stated", [5, [], True])
def test_a_delegates_answer_with_a_version_of_another_type_is_refused(stated: Any) -> None:
    with pytest.raises(DecodingFailure):
        parse_delegated({"cniVersion": stated, "ips": [{"address": "10.0.0.1/8"}]}, "1.0.0")


def test_dns_is_true_when_it_says_something() -> None:
    assert not DNS()
    for name in ("nameservers", "search", "options"):
        assert DNS(**{name: ["a"]})
    assert DNS(domain="a")
    assert result.DNS.parse({"domain": "a"}).document() == {"domain": "a"}


@pytest.mark.parametrize("stated", [{"cniVersion": 5}, {"cniVersion": "1.0.0", "ips": 5}])
def test_a_results_fault_is_not_called_the_configurations(stated: Object) -> None:
    """Read as a previous result, or as a delegate's."""
    for read in (lambda: parse_delegated(stated, "1.0.0"), lambda: parse_previous(stated, "1.0.0")):
        with pytest.raises(DecodingFailure, match="cannot read (the delegate's|prevResult)") as caught:
            read()
        assert "netconf" not in caught.value.msg


def test_a_previous_result_may_hold_what_its_version_does_not_know() -> None:
    interface = {"name": "eth0", "mtu": "1500", "socketPath": 1}
    document = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.1/8"}], "interfaces": [interface]}
    assert [one.mtu for one in parse_previous(document, "0.4.0").interfaces] == [0]
