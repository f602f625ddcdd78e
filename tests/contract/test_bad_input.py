"""Every plugin under hostile input: one document, exit status 0 or 1, never a traceback, and the node as it was.

The configurations of the subjects are damaged at random places, and so are the bytes and the variables.
"""

import copy
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni.kernel import backend
from cni_host_local import index
from contract.each import each_made
from contract.subject import SUBJECTS, Subject, previous
from node.plugin import Object, Outcome
from node.served import plugin, serve
from node.topology import Node, Pod

VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS"]
each = pytest.mark.parametrize("subject", SUBJECTS, ids=repr)
pytestmark = pytest.mark.root

# no text here is a path to a place that exists and can be written
TEXTS = [
    "", "x", "../x", "..", ".", "a/b", "a b", "a\nb", "a\0b", "é", "\u2028", "x" * 16, "x" * 5000,
    "%d", "-", "--help", "$(id)", ";", "=",
    "0", "1", "true", "10.0.0.1", "10.0.0.1/24", "10.0.0.0/8", "010.0.0.1", "::", "::1/64", "fd00::/64", "fe80::1%eth0",
    "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "tcp", "UDP", "lo", "eth0", "nftables", "iptables", "1.0.0", "0.1.0", "9.9.9",
    "/proc/nowhere", "\udcff",
]  # fmt: skip
NUMBERS = [
    0,
    1,
    -1,
    2,
    64,
    4094,
    4095,
    65535,
    65536,
    1 << 31,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    -(1 << 63),
    1.5,
    1e3,
    1e308,
]
JUNK = st.recursive(
    st.sampled_from([None, True, False, *NUMBERS, *TEXTS]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "id", *TEXTS[:3]]), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value below ``value``."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, item in inner:
        found.append((*path, key))
        found += places(item, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, conf: Object, delegated: tuple[str, ...]) -> Object:
    """A configuration with one to three values replaced, removed, doubled or renamed."""
    conf = copy.deepcopy(conf)
    if draw(st.booleans()):
        for key in delegated:
            conf.pop(key, None)
    for _ in range(draw(st.integers(1, 3))):
        found = places(conf)
        if not found:
            break
        *path, last = draw(st.sampled_from(found))
        at = conf
        for key in path:
            at = at[key]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "upper", "wrap"]))
        if how == "replace":
            at[last] = draw(JUNK)
        elif how == "remove":
            del at[last]
        elif how == "upper" and isinstance(last, str):
            at[last.upper()] = draw(JUNK)
        else:
            at[last] = [at[last]]
    return conf


# What Python says of a value that it cannot put into a message for the kernel, a path or an expression.
PYTHONS_WORDS = re.compile(
    r"format requires|struct\.|required argument|too large to convert|int too|embedded null|codec|surrogate"
    r"|must be in range|NoneType|unsupported operand|not supported between|invalid literal|not iterable|has no attribute"
)


class Ground:
    """A node and a pod of one's own, in which the test itself runs, and a folder for relative paths."""

    def __init__(self, node: Node, pod: Pod) -> None:
        self.node, self.pod = node, pod
        self.before, self.whole = self.state(), self.everything()

    def state(self) -> Any:
        """What is quickly looked at: links but for bridges, which stand for the node, and leases."""
        kinds = {name: link.get("linkinfo", {}).get("info_kind") for name, link in self.node.links().items()}
        links = sorted(name for name, kind in kinds.items() if kind != "bridge")
        with self.pod.inside():
            return links, _links(), {name: held for name, held in _leases(self.node.data_dir).items() if held}

    def everything(self) -> Any:
        """What there is, rules included, without what stands for the node."""
        found = self.node.snapshot()
        links = {name: link for name, link in found["links"].items() if link[0] != "bridge"}
        leases = {name: held for name, held in found["leases"].items() if held}
        return links, found["nft"], found["iptables"], leases, sorted(self.pod.links())

    def call(self, subject: Subject, verb: str, conf: Any, **call: Any) -> Outcome:
        call = {"netns": self.pod.path, **call}
        outcome = serve(plugin(subject.type), verb, conf, **call)
        assert "Traceback" not in outcome.stdout + outcome.stderr
        if not outcome.ok:
            details = outcome.error.get("details", "")
            assert "CNI_DEBUG" not in details, f"nobody foresaw {outcome.error} of {conf!r}"
            text = f"{outcome.error['msg']} {details}"
            assert not PYTHONS_WORDS.search(text), f"{text!r} of {conf!r}"
        return outcome


def _links() -> list[str]:
    """The names of the links where the calling thread is."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return sorted(line.split(":")[0].strip() for line in lines)


def _leases(folder: Path) -> dict[str, list[str]]:
    return {
        at.name: sorted(file.name for file in at.iterdir() if not file.name.startswith(("lock", "last_reserved_ip")))
        for at in folder.iterdir()
    }


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("a") / "b" / "c"
    (folder / "leases").mkdir(parents=True)
    node = Node(folder / "leases")
    patched = pytest.MonkeyPatch()
    try:
        patched.chdir(folder)
        patched.setattr(index, "ROOT", str(folder / "index"))
        pod = node.pod("c1")
        with node.inside():
            yield Ground(node, pod)
    finally:
        patched.undo()
        node.close()


@pytest.fixture(autouse=True)
def nothing_left(ground: Ground) -> Iterator[None]:
    """After each test the whole node is as it was."""
    yield
    assert ground.everything() == ground.whole


# a fixture of the module's is meant to be the same for all examples
EXAMPLES = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@each
@EXAMPLES
@given(data=st.data(), verb=st.sampled_from(VERBS))
def test_a_damaged_configuration_is_one_error_or_served(
    ground: Ground, subject: Subject, data: st.DataObject, verb: str
) -> None:
    conf = data.draw(damaged(subject.configuration(ground.pod.path), subject.delegated))
    text = json.dumps(conf)
    outcome = ground.call(subject, verb, text)
    if verb == "ADD" and outcome.ok:
        name = next((v for k, v in reversed(conf.items()) if k.lower() == "name" and v), "net1")
        ground.call(subject, "DEL", json.dumps({**conf, "name": name, "cniVersion": "1.1.0", "prevResult": None}))
        ground.pod.ip("link set lo down")
    assert ground.state() == ground.before


@each
@EXAMPLES
@given(data=st.data(), verb=st.sampled_from(VERBS))
def test_damaged_bytes_are_one_error_or_served(
    ground: Ground, subject: Subject, data: st.DataObject, verb: str
) -> None:
    conf = subject.configuration(ground.pod.path)
    for key in subject.delegated:
        conf.pop(key, None)
    text = json.dumps(conf).encode()
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 3))
        new = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"}", b"null", b"NaN", b"\\"]))
        text = text[:place] + new + text[place + cut :]
    if verb == "ADD":
        verb = "CHECK"  # names may be any here: nothing is to be made that has to be found again
    ground.call(subject, verb, text)
    assert ground.state() == ground.before


@each
@EXAMPLES
@given(data=st.data(), verb=st.sampled_from([*VERBS, "VERSION", "", "add", "X" * 5000]))
def test_hostile_variables_are_one_error_or_served(
    ground: Ground, subject: Subject, data: st.DataObject, verb: str
) -> None:
    environ = data.draw(
        st.dictionaries(
            st.sampled_from(["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH", "CNI_NETNS_OVERRIDE"]),
            st.sampled_from([text for text in TEXTS if "\0" not in text] + ["IP=10.1.2.9", "IgnoreUnknown=1", "K8S=1;A"]),
            min_size=1,
            max_size=3,
        )
    )  # fmt: skip
    conf = subject.configuration(ground.pod.path)
    for key in subject.delegated:
        conf.pop(key, None)
    outcome = ground.call(subject, verb, conf, environ=environ)
    if verb == "ADD" and outcome.ok:
        ground.call(subject, "DEL", {**conf, "prevResult": None}, environ={**environ, "CNI_ARGS": ""})
        ground.pod.ip("link set lo down")
    assert ground.state() == ground.before


@each
def test_what_is_no_configuration_is_one_error(ground: Ground, subject: Subject) -> None:
    for text in ("", "null", "[]", "{}", "{", '"x"', "5", "[[[[", "{}{}", '{"name":"net1"} x', "\ufeff{}"):
        for verb in [*VERBS, "NOTHING"]:
            assert ground.call(subject, verb, text).code in (6, 7), text
    assert ground.state() == ground.before


@each_made
def test_the_configuration_that_is_damaged_works(ground: Ground, subject: Subject) -> None:
    """So that damage is what is refused; without its delegate, which no folder has."""
    conf = {key: value for key, value in subject.configuration(ground.pod.path).items() if key not in subject.delegated}
    conf = {key: value for key, value in {**conf, **subject.working}.items() if value is not None}
    if subject.on_an_interface:
        ground.pod.ip("link add eth0 type veth peer name far")
    added = ground.call(subject, "ADD", conf, path=subject.path)
    assert (subject.daemon in added.error["msg"]) if subject.daemon else added.ok, added.stdout
    assert ground.call(subject, "DEL", conf, path=subject.path).ok
    ground.pod.ip("link set lo down", *(["link del eth0"] if subject.on_an_interface else []))
    assert ground.state() == ground.before


# What ADD says of the node or of this call, and not of the configuration.
OF_THE_NODE = ("failed to find plugin", "CONFIG_", "already exists", "failed to allocate", "with iptables: ")
# Keys that STATUS is not sent.
NOT_FOR_STATUS = ("prevResult", "cni.dev/valid-attachments")
VALUES: list[Any] = [
    *(None, True, {}, [], [None], [{}], "", "x", "../x", "a b", "x" * 16, "%d", "a\0b", "1.0.0", "10.0.0.1", "fd00::/64"),
    *(0, 1, -1, 67, 68, 1279, 4095, 65536, 1 << 32, (1 << 63) - 1, 1 << 63, -(1 << 63), 1.5),
]  # fmt: skip


def variants(subject: Subject, pod: Pod) -> Iterator[Object]:
    """The configurations of a plugin, as they are and with each value of each key replaced by each other one."""
    for more in ({}, *subject.more):
        conf = {
            key: value for key, value in subject.configuration(pod.path).items() if key not in NOT_FOR_STATUS
        } | more
        yield conf
        for *path, last in places(more or conf):
            # STATUS came with 1.1.0
            if last == "cniVersion" or any(key in subject.passed_on for key in path):
                continue
            for value in VALUES:
                changed = copy.deepcopy(conf)
                at = changed
                for key in path:
                    at = at[key]
                at[last] = value
                yield changed


@pytest.fixture
def tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is asked once for each kind of table whether it has what that needs: each time takes it long."""
    tried, known = backend._tried, dict[Any, str]()

    def remembered(needs: backend.Needs, kernel: Any) -> str:
        kind = (needs.family, needs.parts)
        if kind not in known:
            known[kind] = tried(needs, kernel)
        return known[kind]

    monkeypatch.setattr(backend, "_tried", remembered)


@each
@pytest.mark.usefixtures("tried_once")
def test_status_refuses_what_add_refuses_in_the_same_words(ground: Ground, subject: Subject) -> None:
    """Whatever key of the configuration is wrong: kubelet learns it before a pod does."""
    refused = 0
    for conf in variants(subject, ground.pod):
        text = json.dumps(conf)
        added = ground.call(
            subject, "ADD", json.dumps({**conf, "prevResult": previous(ground.pod.path)}), ifname=subject.refused_ifname
        )
        if added.ok:
            ground.call(subject, "DEL", text)
        elif not any(text in added.error["msg"] for text in OF_THE_NODE + subject.of_the_node):
            status = ground.call(subject, "STATUS", text)
            assert not status.ok, f"STATUS accepts {conf}: {added.error}"
            assert status.error["msg"] == added.error["msg"], conf
            refused += 1
    ground.pod.ip("link set lo down")
    assert refused > 30 or not (subject.keys or subject.more)


NUMBER = st.integers(-(1 << 64), 1 << 64) | st.sampled_from(
    [sign * (1 << bits) + more for bits in (0, 8, 12, 16, 31, 32, 63, 64) for sign in (1, -1) for more in (-1, 0, 1)]
)


@each
@settings(EXAMPLES, max_examples=60)
@given(data=st.data(), verb=st.sampled_from(["ADD", "CHECK", "STATUS"]))
def test_no_number_brings_out_pythons_words(ground: Ground, subject: Subject, data: st.DataObject, verb: str) -> None:
    """A number that is too large or too small is refused by a message of ours, whichever key has it."""
    more = data.draw(st.sampled_from([{}, *subject.more]))
    conf = copy.deepcopy(subject.configuration(ground.pod.path) | more)
    numeric = [path for path in places(conf) if isinstance(_at(conf, path), int)]
    if not numeric:
        return
    *path, last = data.draw(st.sampled_from(numeric))
    _at(conf, path)[last] = data.draw(NUMBER)
    outcome = ground.call(subject, verb, json.dumps(conf))
    if verb == "ADD" and outcome.ok:
        ground.call(subject, "DEL", json.dumps(conf))
        ground.pod.ip("link set lo down")
    assert ground.state() == ground.before


def _at(value: Any, path: Iterable[Any]) -> Any:
    for key in path:
        value = value[key]
    return value
