"""A chain of stubs and the plain conflist of them: each stub is called alike, whatever the verb and the version.

What libcni does with a list is the reference; here the two forms run side by side through the same library.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libcni import CNIConfig, GCArgs, GCAttachment, NetworkConfigList, RuntimeConf, code_of
from node.plugin import SUBJECT

from .conftest import network
from .stub import Called, Stubs, error, result

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.path.isfile(f"{SUBJECT}/chain"), reason="the subject has no chain plugin"),
]

Object = dict[str, Any]
MEMBERS: list[Object] = [
    {"type": "one", "capabilities": {"mac": True, "ips": True}, "kept": {"a": [1, "ü"]}, "name": "inner"},
    {"type": "two", "capabilities": {"portMappings": True, "mac": False}},
    {"type": "three", "args": {"cni": {"own": 1}}, "cniVersion": "0.1.0", "prevResult": {"own": True}},
]
CAPABILITIES = {"mac": True, "ips": True, "portMappings": True}


class Forms:
    """The library over the stubs; one network as a plain list and as a chain."""

    def __init__(self, stubs: Stubs, folder: Path, version: str, members: list[Object], **keys: Any) -> None:
        self.stubs, self.version = stubs, version
        self.cni = CNIConfig([str(stubs.folder), SUBJECT], str(folder))
        self.plain = network(*members, version=version)
        entry = {"type": "chain", "capabilities": CAPABILITIES, "plugins": members, **keys}
        self.chain = network(entry, version=version)
        address = {"version": "4", "address": "10.1.2.3/24", "interface": 0}
        link = {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/run/netns/none"}
        self.answer: Object = {"cniVersion": version, "interfaces": [link], "ips": [address], "dns": {}}
        if version < "0.3":
            self.answer = {"cniVersion": version, "ip4": {"ip": "10.1.2.3/24"}, "dns": {}}
        elif version >= "1":
            del address["version"], self.answer["dns"]
        for name in ("one", "two", "three"):
            stubs.add(name, ADD={"stdout": json.dumps({"dns": {}, **self.answer, "unknown": [1]})})

    def both(self, work: Callable[[NetworkConfigList], Any]) -> tuple[Any, list[Called]]:
        """What both forms answer, and how the stubs were called: the same for both."""
        told = []
        for form in (self.plain, self.chain):
            self.stubs.forget()
            told.append((work(form), [(call.plugin, call.environ, call.config) for call in self.stubs.calls]))
        assert told[0] == told[1]
        return told[1][0], self.stubs.calls


@pytest.fixture
def runtime() -> RuntimeConf:
    ports = [{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}]
    capabilities = {"mac": "02:11:00:00:00:00", "portMappings": ports, "bandwidth": {"ingressRate": 1}}
    return RuntimeConf("ctr1", "/run/netns/none", "eth0", (("A", "1"), ("IgnoreUnknown", "1")), capabilities)


@pytest.fixture(params=["0.1.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def forms(request: pytest.FixtureRequest, stubs: Stubs, tmp_path: Path) -> Forms:
    return Forms(stubs, tmp_path / "cache", request.param, MEMBERS)


@pytest.fixture
def newest(stubs: Stubs, tmp_path: Path) -> Forms:
    return Forms(stubs, tmp_path / "cache", "1.1.0", MEMBERS)


def test_every_member_is_called_as_in_a_conflist(forms: Forms, runtime: RuntimeConf) -> None:
    """ADD, CHECK and DEL: order, environment, configuration, prevResult, and the capabilities each member asked for."""
    found, calls = forms.both(lambda form: forms.cni.add_network_list(form, runtime).document())
    assert [call.plugin for call in calls] == ["one", "two", "three"]
    assert calls[0].config["runtimeConfig"] == {"mac": "02:11:00:00:00:00"}
    assert list(calls[1].config["runtimeConfig"]) == ["portMappings"]
    assert calls[2].config["prevResult"] == forms.answer == found
    if forms.version >= "0.4.0":
        _, calls = forms.both(lambda form: forms.cni.check_network_list(form, runtime))
        assert [call.config["prevResult"] for call in calls] == [forms.answer] * 3
    _, calls = forms.both(lambda form: _added_and_deleted(forms, form, runtime))
    assert [call.plugin for call in calls] == ["three", "two", "one"]
    # libcni sends prevResult with DEL since 0.4.0
    assert [call.config.get("prevResult") == forms.answer for call in calls] == [forms.version >= "0.4.0"] * 3


def _added_and_deleted(forms: Forms, form: NetworkConfigList, runtime: RuntimeConf) -> None:
    forms.cni.add_network_list(form, runtime)
    forms.stubs.forget()
    forms.cni.del_network_list(form, runtime)


def test_del_without_a_result(newest: Forms, runtime: RuntimeConf) -> None:
    """Nothing was added, or the cache is lost: every member gets its DEL, and only its own prevResult."""
    _, calls = newest.both(lambda form: newest.cni.del_network_list(form, runtime))
    assert [call.config.get("prevResult") for call in calls] == [{"own": True}, None, None]


def test_garbage_and_readiness(newest: Forms) -> None:
    """GC and STATUS reach every member in the order of the list, GC with the attachments that are valid."""
    _, calls = newest.both(lambda form: newest.cni.get_status_network_list(form))
    assert [call.plugin for call in calls] == ["one", "two", "three"]
    for form in (newest.plain, newest.chain):
        newest.stubs.forget()
        newest.cni.gc_network_list(form, GCArgs([GCAttachment("ctr9", "eth0")]))
        calls = newest.stubs.calls
        assert sorted(call.plugin for call in calls) == ["one", "three", "two"]
        for call in calls:
            assert call.config["cni.dev/valid-attachments"] == [{"containerID": "ctr9", "ifname": "eth0"}]
            assert call.config["cni.dev/attachments"] == call.config["cni.dev/valid-attachments"]
            assert call.environ["CNI_CONTAINERID"] == ""


def test_garbage_without_a_list(newest: Forms) -> None:
    """As cnitool asks: the members are asked without a list too."""
    newest.cni._run(newest.cni._operations.gc_network_lists([newest.chain], None))
    assert [call.verb for call in newest.stubs.calls] == ["GC"] * 3
    assert not any("cni.dev/valid-attachments" in call.config for call in newest.stubs.calls)


def test_what_the_runtime_wrote_is_passed_on(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    """``args`` and ``cni.dev/…`` of the chain go to every member, over its own."""
    forms = Forms(stubs, tmp_path, "1.1.0", MEMBERS, args={"cni": {"ips": ["10.1.2.9"]}}, **{"cni.dev/x": 1})
    forms.cni.add_network_list(forms.chain, runtime)
    for call in stubs.calls:
        assert (call.config["args"], call.config["cni.dev/x"]) == ({"cni": {"ips": ["10.1.2.9"]}}, 1)


@pytest.mark.parametrize(("place", "deleted"), [(0, ["one"]), (1, ["two", "one"]), (2, ["three", "two", "one"])])
def test_a_failing_add_is_taken_back(newest: Forms, runtime: RuntimeConf, place: int, deleted: list[str]) -> None:
    """DEL of the one that failed and of those before, in reverse, each with the last result; the error is the first."""
    name = ("one", "two", "three")[place]
    newest.stubs.add(name, ADD=error(123, "no luck", "none at all"), DEL=error(7, "nor here"))
    with pytest.raises(Exception, match="no luck") as caught:
        newest.cni.add_network_list(newest.chain, runtime)
    assert code_of(caught.value) == 123
    assert f'plugin type="{name}" failed (add): no luck; none at all' in str(caught.value)
    assert "what was made could not be taken back" in str(caught.value) and "nor here" in str(caught.value)
    calls = newest.stubs.calls
    assert [call.plugin for call in calls if call.verb == "ADD"] == ["one", "two", "three"][: place + 1]
    taken_back = [call for call in calls if call.verb == "DEL"]
    assert [call.plugin for call in taken_back] == deleted
    previous = newest.answer if place else None
    expected = [{"own": True} if call.plugin == "three" and not previous else previous for call in taken_back]
    assert [call.config.get("prevResult") for call in taken_back] == expected
    newest.stubs.add(name)  # the chain remembers what it could not take back, until a DEL has
    newest.cni.del_network_list(newest.chain, runtime)


@pytest.mark.parametrize("netns", ["same", "another's", "gone"])
def test_a_second_add_of_a_whole_attachment_takes_nothing_back(newest: Forms, tmp_path: Path, netns: str) -> None:
    """Members judge it, as in a list. One whose namespace is gone is a leftover, which an ADD replaces or undoes."""
    there, other = tmp_path / "there", tmp_path / "other"
    there.touch()
    other.touch()
    first = RuntimeConf(f"ctr-{os.getpid()}", str(there), "eth0")
    newest.cni.add_network_list(newest.chain, first)
    newest.cni.add_network_list(newest.chain, first)  # nobody minds
    if netns == "gone":
        there.unlink()
    second = RuntimeConf(first.container_id, str(there if netns == "same" else other), "eth0")
    for name in ("two", "three"):
        newest.stubs.add(name, ADD=error(999, "eth0 already exists", "indeed"))
        newest.stubs.forget()
        with pytest.raises(Exception, match="already exists") as caught:
            newest.cni.add_network_list(newest.chain, second)
        deleted = [call.plugin for call in newest.stubs.calls if call.verb == "DEL"]
        assert deleted == (["two", "one"] if netns == "gone" else []), "two is the one that refuses, twice"
        assert ("was attached before" in str(caught.value)) == (netns != "gone")
    newest.cni.del_network_list(newest.chain, second)
    newest.stubs.forget()
    with pytest.raises(Exception, match="already exists"):
        newest.cni.add_network_list(newest.chain, second)
    assert [call.verb for call in newest.stubs.calls].count("DEL") == 2, "after DEL it is a new attachment"


def test_del_goes_on_after_errors_and_tells_them_all(newest: Forms, runtime: RuntimeConf) -> None:
    newest.stubs.add("three", DEL=error(11, "busy"))
    newest.stubs.add("one", DEL={"exit": 3, "stderr": "fell over"})
    with pytest.raises(Exception, match="busy") as caught:
        newest.cni.del_network_list(newest.chain, runtime)
    assert [call.plugin for call in newest.stubs.calls] == ["three", "two", "one"]
    assert code_of(caught.value) == 11
    text = str(caught.value)
    assert 'plugin type="three" failed (delete): busy' in text
    assert 'plugin type="one" failed (delete): netplugin failed: "fell over": exit status 3' in text


def test_the_first_fault_ends_check_and_status(newest: Forms, runtime: RuntimeConf) -> None:
    """As in a list; the member's code survives."""
    newest.cni.add_network_list(newest.chain, runtime)
    newest.stubs.add("two", STATUS=error(50, "not yet"), CHECK=error(101, "gone"))
    for verb, code, word in (("STATUS", 50, "status"), ("CHECK", 101, "check")):
        newest.stubs.forget()
        with pytest.raises(Exception, match=rf'plugin type="two" failed \({word}\)') as caught:
            if verb == "STATUS":
                newest.cni.get_status_network_list(newest.chain)
            else:
                newest.cni.check_network_list(newest.chain, runtime)
        assert code_of(caught.value) == code
        assert newest.stubs.order == [f"{verb} one", f"{verb} two"]


def test_gc_asks_every_member_although_one_fails(newest: Forms) -> None:
    newest.stubs.add("two", GC=error(999, "cannot sweep"))
    with pytest.raises(Exception, match=r'plugin type="two" failed \(gc\): cannot sweep'):
        newest.cni.gc_network_list(newest.chain, GCArgs([]))
    assert sorted(call.plugin for call in newest.stubs.calls) == ["one", "three", "two"]


def test_a_member_from_before_the_verb_is_tolerated(newest: Forms) -> None:
    """``unknown CNI_COMMAND`` for GC and STATUS is no fault of the network; another error is."""
    newest.stubs.add("two", GC=error(4, "unknown CNI_COMMAND: GC"), STATUS=error(4, "unknown CNI_COMMAND: STATUS"))
    newest.cni.gc_network_list(newest.chain, GCArgs([]))
    newest.cni.get_status_network_list(newest.chain)
    assert [call.plugin for call in newest.stubs.calls if call.verb == "STATUS"] == ["one", "two", "three"]


def test_results_of_another_version(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    """A member may answer in an older shape: the next one is sent it as it is, the runtime gets its own version."""
    forms = Forms(stubs, tmp_path, "1.0.0", [{"type": "one"}, {"type": "two"}])
    old = {"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.7.7.7/24"}]}
    stubs.add("one", ADD={"stdout": json.dumps(old)})
    stubs.add("two", ADD={"stdout": json.dumps(old)})
    forms.cni.add_network_list(forms.chain, runtime)
    assert stubs.calls[1].config["prevResult"]["cniVersion"] == "0.4.0"
    cached = forms.cni.get_network_list_cached_result(forms.chain, runtime)
    assert cached is not None and cached.document() == {"cniVersion": "1.0.0", "ips": [{"address": "10.7.7.7/24"}]}


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ([], "no plugins in list"),
        (None, "no plugins in list"),
        ({"type": "one"}, "must be a list"),
        (["one"], r"plugins\[0\]: it must be an object"),
        ([{"type": "one"}, {}], r"missing 'type'; in plugins\[1\]"),
        ([{"type": "one"}, {"type": "../one"}], "invalid plugin name: ../one"),
        ([{"type": "one"}, {"type": "absent"}], 'failed to find plugin "absent" in path'),
        ([{"type": "one"}, {"type": "chain", "plugins": []}], "a chain cannot be a member of a chain"),
        ([{"type": "one", "capabilities": {"mac": 1}}], "capabilities.mac: it must be true or false"),
        ([{"type": "one", "capabilities": {"x": True}}], r"plugins\[0\] \(one\) asks for the capability x, which"),
    ],
)
def test_a_configuration_that_cannot_be_touches_nothing(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, plugins: Any, said: str
) -> None:
    """All members are judged before the first one runs; the message names the place."""
    stubs.add("one", result())
    forms = Forms(stubs, tmp_path, "1.0.0", [{"type": "one"}], plugins=plugins)
    with pytest.raises(Exception, match=said):
        forms.cni.add_network_list(forms.chain, runtime)
    assert stubs.order == []


def test_del_does_what_can_be_done(stubs: Stubs, tmp_path: Path, runtime: RuntimeConf) -> None:
    """Members that cannot be read, or are not there any more, do not keep the others from their DEL."""
    members = [{"type": "one"}, {"type": "absent"}, {}, {"type": "two", "capabilities": {"x": True}}]
    forms = Forms(stubs, tmp_path, "1.0.0", [{"type": "one"}], plugins=members)
    with pytest.raises(Exception, match=r"missing 'type'; in plugins\[2\].*failed to find plugin \"absent\""):
        forms.cni.del_network_list(forms.chain, runtime)
    assert stubs.order == ["DEL two", "DEL one"]


def test_capabilities_that_the_chain_forgot(
    stubs: Stubs, tmp_path: Path, runtime: RuntimeConf, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without the key at all nothing arrives, as in a conflist; standard error says whose wish was not heard."""
    forms = Forms(stubs, tmp_path, "1.0.0", MEMBERS, capabilities=None)
    forms.cni.add_network_list(forms.chain, runtime)
    assert 'members ask for ips, mac, portMappings; key "capabilities" of the chain does not' in capfd.readouterr().err
    assert not any("runtimeConfig" in call.config for call in stubs.calls)
