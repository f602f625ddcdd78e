"""What a member is sent, and what a plugin that runs in the process of another is told."""

import json
from typing import Any

import pytest

from cni import delegate, skel
from cni.errors import CNIError, Refused
from cni_chain.settings import Entry

Object = dict[str, Any]


class Lines:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str, /) -> None:
        self.text += text


def call_of(log: Lines, **keys: Any) -> skel.Call:
    conf = {"cniVersion": "1.0.0", "name": "net1", "type": "chain", "plugins": [], **keys}
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_PATH": "/x"}
    call = skel.Call(environ, json.dumps(conf).encode(), log)
    call.began = -1000.0
    return call


def test_what_is_injected_stands_alone() -> None:
    """A member's own key of another spelling cannot win over what the runtime says: readers fold case, the last wins."""
    own = {"type": "one", "zName": 1, "Name": "x", "PREVRESULT": {}, "CniVersion": "0.1.0", "RuntimeConfig": {"ips": 1}}
    entry = Entry({**own, "capabilities": {"mac": True}}, "plugins[0]")
    sent = json.loads(entry.request(call_of(Lines(), runtimeConfig={"mac": "m", "ips": ["i"]}), {"ips": []}))
    assert sent == {
        "type": "one",
        "zName": 1,
        "capabilities": {"mac": True},
        "name": "net1",
        "cniVersion": "1.0.0",
        "prevResult": {"ips": []},
        "runtimeConfig": {"mac": "m"},
    }


@pytest.mark.parametrize(
    ("fault", "kind"), [(Refused("taken", "by x", 11), Refused), (skel.InvalidNetns("gone", "really"), CNIError)]
)
def test_one_process_is_one_call(monkeypatch: pytest.MonkeyPatch, fault: CNIError, kind: type[CNIError]) -> None:
    """The time of the whole call counts, the observer watches, lines arrive, and of errors only ``Refused`` stays one."""
    log, seen = Lines(), []
    call = call_of(log)
    call.watch = lambda deed, effect, moment: None
    assert call.elapsed > 1000

    def answer(
        plugin: skel.Plugin, environ: Object, stdin: bytes, log: Any, watch: Any = None, part_of: Any = None
    ) -> skel.Answer:
        log.write("a line\n")
        inner = skel.Call({**call.environ, **environ}, call.stdin, log, part_of=part_of)
        seen.append((plugin.type, environ["CNI_COMMAND"], stdin, inner.watch, inner.began, inner.site.node))
        return skel.Answer(b"", fault)

    monkeypatch.setattr(skel, "answer", answer)
    monkeypatch.setattr("sys.path", [])
    with pytest.raises(CNIError) as caught:
        delegate._run_in_process(call, "/x/loopback", "loopback", {"CNI_COMMAND": "DEL"}, b"{}")
    assert seen == [("loopback", "DEL", b"{}", call.watch, -1000.0, call.site.node)]
    assert log.text == "a line\n"
    assert type(caught.value) is kind
    assert caught.value.document() == fault.document()
