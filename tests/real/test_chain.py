"""A network as a conflist and as a chain: the same result, the same kernel, and nothing of either left behind."""

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cni import site as surroundings
from cni.attachment import Attachment
from cni_chain.underway import Complete, UnderWay
from libcni import CNIConfig, NetworkConfigList, ProcessExec, RuntimeConf, network_conf_from_bytes
from node.configuration import bridge, host_local
from node.deadline import eventually
from node.plugin import GO, SUBJECT, Outcome, environment
from node.topology import Node, Pod
from node.traffic import tcp_source

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.path.isfile(f"{SUBJECT}/chain"), reason="the subject has no chain plugin"),
]

Object = dict[str, Any]
PORT = {"hostPort": 8088, "containerPort": 80, "protocol": "tcp"}


def under_way(pod: Pod) -> bool:
    """Whether the pod's ADD is noted as under way; the folder is the machine's, and has others' notes too."""
    noted = UnderWay(surroundings.Site(Attachment("net1", pod.container, "eth0")))
    return os.path.exists(f"{noted.root}/{noted.identity}")


def main_plugin(node: Node, **keys: Any) -> Object:
    """bridge as the first member."""
    entry = bridge(
        host_local(node.data_dir, "10.66.0.0/24", "fd00:66::/64"), isDefaultGateway=True, ipMasq=True, **keys
    )
    return {name: value for name, value in entry.items() if name not in ("name", "cniVersion")}


def members_of(node: Node) -> dict[str, list[Object]]:
    """What is compared, by its name."""
    mapped = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {
        "bridge": [main_plugin(node, macspoofchk=True)],
        "go-portmap": [main_plugin(node), mapped | {"type": "go-portmap"}],
        "our-portmap": [main_plugin(node), mapped],
        "go-bridge": [main_plugin(node) | {"type": "go-bridge"}, {"type": "go-tuning", "mtu": 1400}],
        "many": [
            main_plugin(node),
            {"type": "go-firewall"},
            mapped | {"type": "go-portmap"},
            {"type": "go-tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}, "mtu": 1400},
        ],
    }


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Our plugins, and Go's under names of their own."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("bridge", "host-local", "chain", "portmap"):
        if os.path.isfile(f"{SUBJECT}/{name}"):
            shutil.copy2(f"{SUBJECT}/{name}", folder)
    for name in ("bridge", "portmap", "firewall", "tuning"):
        shutil.copy2(f"{GO}/{name}", folder / f"go-{name}")
    return str(folder)


class Site:
    """A pretended node and the library on it, with one network in one of the two forms."""

    def __init__(self, node: Node, form: str, members: list[Object], version: str, binaries: str) -> None:
        self.node, self.pod, self.form = node, node.pod(f"ctr-same-{os.getpid()}"), form
        capabilities = {name: True for member in members for name in member.get("capabilities", {})}
        entries = [{"type": "chain", "capabilities": capabilities, "plugins": members}] if form == "chain" else members
        document = {"cniVersion": version, "name": "net1", "plugins": entries}
        self.list: NetworkConfigList = network_conf_from_bytes(json.dumps(document).encode())
        executor = ProcessExec(prefix=("nsenter", f"--net={node.path}", "--"))
        self.cni = CNIConfig([binaries], str(node.data_dir.parent / f"cache-{node.name}"), executor)
        self.runtime = RuntimeConf(self.pod.container, self.pod.path, "eth0", (), {"portMappings": [PORT]})
        self.before = node.snapshot()

    def plain(self, value: Any) -> Any:
        """A value without what is random or names the site: MACs, the names of Go's links, paths."""
        text = json.dumps(value, sort_keys=True, default=sorted)
        text = re.sub(r"\bveth[0-9a-f]{8}\b", "VETH", text)
        return json.loads(re.sub(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC", text).replace(self.pod.path, "POD"))

    def state(self) -> Any:
        """What the kernel and the store have, on the node and in the pod."""
        links = {name: (link["mtu"], link["operstate"]) for name, link in self.pod.links().items()}
        inside = [links, self.pod.all_addresses(), self.pod.routes(4), self.pod.routes(6)]
        return self.plain([self.node.snapshot(), inside, self.pod.sysctl("ipv4/conf/eth0/log_martians")])


@pytest.fixture
def sites(new_node: Callable[[], Node], binaries: str) -> Callable[[str, str], list[Site]]:
    def make(what: str, version: str = "1.0.0") -> list[Site]:
        made = []
        for form in ("plain", "chain"):
            node = new_node()
            members = members_of(node)[what]
            if any(not os.path.isfile(f"{binaries}/{member['type']}") for member in members):
                pytest.skip("portmap is not built")
            made.append(Site(node, form, members, version, binaries))
        return made

    return make


CASES = ["bridge", "go-portmap", "our-portmap", "go-bridge", "many"]


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
@pytest.mark.parametrize("what", CASES)
def test_both_forms_do_the_same(sites: Callable[..., list[Site]], what: str, version: str) -> None:
    """Result and state after ADD, CHECK, and after DEL are those of the plain list; a mapped port answers."""
    told = []
    for site in sites(what, version):
        found = site.cni.add_network_list(site.list, site.runtime).document()
        assert not under_way(site.pod), "an ADD that ended is still noted as under way"
        state = site.state()
        if "go-portmap" not in site.list.bytes.decode():  # Go's fails its CHECK of IPv6
            site.cni.check_network_list(site.list, site.runtime)
        if "portMappings" in json.dumps(json.loads(site.list.bytes)):
            assert mapped_port(site.node, site.pod) == "answered"
        site.cni.del_network_list(site.list, site.runtime)
        left = site.node.snapshot()
        assert "eth0" not in site.pod.links()
        site.cni.del_network_list(site.list, site.runtime)
        told.append((site.plain(found), state, site.plain(left)))
        assert not under_way(site.pod), "an ADD that ended is still noted as under way"
    assert told[0] == told[1]


def mapped_port(node: Node, pod: Pod) -> str:
    """A connection from outside to the node's port: what the pod's server says."""
    with pod.socket() as server, node.outside.socket() as client:
        server.bind(("0.0.0.0", PORT["containerPort"]))
        server.listen()
        for each in (server, client):
            each.settimeout(3)
        client.connect((node.ADDRESS, PORT["hostPort"]))
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"answered")
            return client.recv(100).decode()


@pytest.mark.parametrize("what", CASES)
def test_without_a_namespace_and_without_a_result(sites: Callable[..., list[Site]], what: str) -> None:
    """DEL when the pod is gone and the cache lost leaves what the plain list leaves."""
    told = []
    for site in sites(what):
        site.cni.add_network_list(site.list, site.runtime)
        site.pod.close()
        forgetful = CNIConfig(
            site.cni.path, "/nonexistent/cache", ProcessExec(prefix=("nsenter", f"--net={site.node.path}"))
        )
        forgetful.del_network_list(site.list, RuntimeConf(site.pod.container, "", "eth0"))
        assert eventually(lambda node=site.node: not node.ports("br0"))  # the kernel takes its time for a namespace
        told.append(site.plain(site.node.snapshot()))
    assert told[0] == told[1]


@pytest.mark.parametrize(("first", "second"), [("plain", "chain"), ("chain", "plain")])
@pytest.mark.parametrize("what", ["bridge", "our-portmap", "many"])
def test_attached_in_one_form_and_removed_in_the_other(
    new_node: Callable[[], Node], binaries: str, what: str, first: str, second: str
) -> None:
    """A node whose configuration changes while its pods run: CHECK and DEL of the other form find everything."""
    node = new_node()
    one, other = (Site(node, form, members_of(node)[what], "1.0.0", binaries) for form in (first, second))
    one.cni.add_network_list(one.list, one.runtime)
    one.cni.del_network_list(one.list, one.runtime)  # the bridge and Go's own chains stay
    before = node.snapshot()
    one.cni.add_network_list(one.list, one.runtime)
    if "go-portmap" not in one.list.bytes.decode():
        other.cni.check_network_list(other.list, one.runtime)
    other.cni.del_network_list(other.list, one.runtime)
    assert node.snapshot() == before
    assert "eth0" not in one.pod.links()


def chain(node: Node, *members: Object, version: str = "1.0.0", **keys: Any) -> Object:
    """A chain's own configuration, for a call without a runtime."""
    return {"cniVersion": version, "name": "net1", "type": "chain", "plugins": list(members), **keys}


def test_a_failing_member_is_taken_back(node: Node, binaries: str) -> None:
    """Go's portmap refuses a port: the bridge's part goes too, the error is the member's, and ADD can be repeated."""
    before = node.snapshot()["leases"]
    mapped = {"type": "go-portmap", "capabilities": {"portMappings": True}}
    conf = chain(node, main_plugin(node), mapped, runtimeConfig={"portMappings": [{**PORT, "hostPort": 0}]})
    pod = node.pod()
    refused = node.cni("chain", "ADD", conf, container=pod.container, netns=pod.path, binaries=binaries)
    assert refused.error["msg"].startswith('plugin type="go-portmap" failed (add): ')
    assert (node.leases(), node.ports("br0"), set(pod.links())) == ({}, set(), {"lo"})
    snapshot = node.snapshot()
    assert (before, snapshot["nft"]) == ({}, [])
    conf["runtimeConfig"] = {"portMappings": [PORT]}
    assert node.cni("chain", "ADD", conf, container=pod.container, netns=pod.path, binaries=binaries).ok
    assert mapped_port(node, pod) == "answered"


@pytest.mark.skipif(not Path(SUBJECT, "portmap").is_file(), reason="portmap is not built")
def test_a_port_is_handed_on(node: Node, binaries: str) -> None:
    """Two pods of one chain ask for one port: the second waits, its CHECK passes, and it answers after the first's DEL."""
    conf = chain(node, bridge(host_local(node.data_dir, "10.1.2.0/24"), isDefaultGateway=True, version=None),
                 {"type": "portmap", "capabilities": {"portMappings": True}},
                 runtimeConfig={"portMappings": [PORT]})  # fmt: skip
    pods, results = [node.pod(), node.pod()], []
    for pod in pods:
        added = node.cni("chain", "ADD", conf, container=pod.container, netns=pod.path, binaries=binaries)
        results.append(added.result)
    assert f"held by net1/{pods[0].container}" in added.stderr
    for pod, result in zip(pods, results, strict=True):
        again = conf | {"prevResult": result}
        assert node.cni("chain", "CHECK", again, container=pod.container, netns=pod.path, binaries=binaries).ok
    for pod in pods:
        assert mapped_port(node, pod) == "answered"
        assert node.cni("chain", "DEL", conf, container=pod.container, netns=pod.path, binaries=binaries).ok


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("{}", "cannot convert: no valid IP addresses"),
        ('{"cniVersion": "7.0.0"}', "failed (add): unsupported CNI result version"),
    ],
)
def test_what_cannot_be_told_in_the_callers_version_is_taken_back(
    node: Node, binaries: str, tmp_path: Path, printed: str, said: str
) -> None:
    """All members succeeded: their DELs are what an ADD that fails owes."""
    program = Path(binaries, f"mute-{tmp_path.name}")
    program.write_text(f"#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >>{tmp_path}/calls\necho '{printed}'\n")
    program.chmod(0o755)
    try:
        conf, pod = chain(node, {"type": program.name}, version="0.2.0"), node.pod()
        refused = node.cni("chain", "ADD", conf, container=pod.container, netns=pod.path, binaries=binaries)
        assert said in refused.error["msg"]
        assert (tmp_path / "calls").read_text().split() == ["ADD", "DEL"]
        assert not under_way(pod)
    finally:
        program.unlink()


@pytest.fixture
def stuck(binaries: str, tmp_path: Path) -> Iterator[Path]:
    """A member whose ADD and DEL fail as long as its file ``stuck`` is there; its calls are in ``calls``."""
    program = Path(binaries, f"stuck-{tmp_path.name}")
    fault = '{"code":100,"msg":"stuck"}'
    program.write_text(
        f"#!/bin/sh\necho $CNI_COMMAND >>{tmp_path}/calls\ncat >{tmp_path}/stdin\n"
        f"[ -e {tmp_path}/stuck ] && echo '{fault}' && exit 1\n"
        f"[ $CNI_COMMAND = ADD ] && sed 's/.*\"prevResult\"://; s/}}$//' {tmp_path}/stdin\nexit 0\n"
    )
    program.chmod(0o755)
    (tmp_path / "stuck").touch()
    yield program
    program.unlink()


@pytest.mark.parametrize("between", ["", "DEL", "unreadable", "GC"])
def test_what_could_not_be_taken_back_is_told_and_met_again(
    node: Node, binaries: str, tmp_path: Path, stuck: Path, between: str
) -> None:
    """A member's DEL fails as well as its ADD: that is remembered until all members have taken back what they made.

    A DEL or GC that fails too, or cannot read a member, does not make it forgotten.
    """
    conf, pod = chain(node, main_plugin(node), {"type": stuck.name}, version="1.1.0"), node.pod()
    calls = tmp_path / "calls"

    def call(verb: str, **keys: Any) -> Outcome:
        calls.write_text("")
        return node.cni("chain", verb, conf | keys, container=pod.container, netns=pod.path, binaries=binaries)

    refused = call("ADD")
    name = f'plugin type="{stuck.name}" failed'
    assert refused.error["msg"] == f"{name} (add): stuck"
    assert refused.error["details"] == f"and what was made could not be taken back: {name} (delete): stuck"
    assert (node.leases(), node.ports("br0")) == ({}, set()), "the other member took back what it had made"
    assert under_way(pod)
    if between == "unreadable":
        (tmp_path / "stuck").unlink()
        assert not call("DEL", plugins=[*conf["plugins"], {"type": 7}]).ok
    elif between:
        assert not call(between, **{"cni.dev/valid-attachments": []}).ok
    assert under_way(pod)
    (tmp_path / "stuck").unlink(missing_ok=True)
    assert call("ADD").ok
    assert calls.read_text().split() == ["DEL", "ADD"]
    assert not under_way(pod)
    assert call("DEL").ok


def whole(pod: Pod) -> bool:
    """Whether the pod is noted as attached."""
    return os.path.exists(Complete(surroundings.Site(Attachment("net1", pod.container, "eth0"))).path)


@pytest.mark.parametrize("what", ["ours", "go's", "behind another"])
def test_a_living_attachment_survives_a_second_add(node: Node, binaries: str, tmp_path: Path, what: str) -> None:
    """Our bridge says that it made nothing; Go's does not, and a member before it was repeated: no DEL reaches them."""
    before = Path(binaries, f"before-{tmp_path.name}")
    before.write_text(f"#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >>{tmp_path}/calls\necho '{{}}'\n")
    before.chmod(0o755)
    main = main_plugin(node) | ({"type": "go-bridge"} if what == "go's" else {})
    conf = chain(node, *([{"type": before.name}] if what == "behind another" else []), main)
    pod = node.pod()

    def call(verb: str) -> Outcome:
        return node.cni("chain", verb, conf, container=pod.container, netns=pod.path, binaries=binaries)

    try:
        first = call("ADD")
        state = node.snapshot()
        again = call("ADD")
        assert "already exists" in again.error["msg"] and first.ok
        assert "was attached before, and is left as it was" in again.error["details"]
        assert node.snapshot() == state
        assert tcp_source(pod, node, first.result["ips"][0]["address"].split("/")[0]) == "10.66.0.1"
        assert whole(pod)
        assert call("DEL").ok
        assert (whole(pod), under_way(pod), "eth0" in pod.links()) == (False, False, False)
        if what == "behind another":
            assert (tmp_path / "calls").read_text().split() == ["ADD", "ADD", "DEL"]
    finally:
        before.unlink()


def test_a_second_add_that_dies_leaves_the_attachment_whole(node: Node, binaries: str, tmp_path: Path) -> None:
    """The third one meets a live attachment, and no remains; GC forgets it when it is no longer valid."""
    member = Path(binaries, f"dying-{tmp_path.name}")
    member.write_text(
        f"#!/bin/sh\ncat >/dev/null\necho $CNI_COMMAND >>{tmp_path}/calls\n"
        f"[ -e {tmp_path}/kill ] && kill -9 $PPID\necho '{{}}'\n"
    )
    member.chmod(0o755)
    conf, pod = chain(node, {"type": member.name}, main_plugin(node), version="1.1.0"), node.pod()

    def call(verb: str, **keys: Any) -> Outcome:
        return node.cni("chain", verb, conf | keys, container=pod.container, netns=pod.path, binaries=binaries)

    try:
        assert call("ADD").ok
        state = node.snapshot()
        (tmp_path / "kill").touch()
        with pytest.raises(AssertionError, match="chain ADD: exit -9"):
            call("ADD")
        (tmp_path / "kill").unlink()
        assert (whole(pod), under_way(pod)) == (True, False)
        assert "already exists" in call("ADD").error["msg"]
        assert node.snapshot() == state
        assert (tmp_path / "calls").read_text().split() == ["ADD"] * 3
        valid = [{"containerID": pod.container, "ifname": "eth0"}]
        assert call("GC", **{"cni.dev/valid-attachments": valid}).ok and whole(pod)
        assert call("GC", **{"cni.dev/valid-attachments": []}).ok and not whole(pod)
    finally:
        member.unlink()


def test_two_adds_of_one_attachment_at_once(node: Node, binaries: str, tmp_path: Path) -> None:
    """The second one waits, is told that the attachment exists, and takes nothing of it away."""
    fifo, slow = tmp_path / "fifo", Path(binaries, f"slow-{tmp_path.name}")
    os.mkfifo(fifo)
    slow.write_text(f"#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\necho at work >{fifo}\ncat {fifo} >&2\necho '{{}}'\n")
    slow.chmod(0o755)
    conf, pod = chain(node, main_plugin(node), {"type": slow.name}), node.pod()
    env = environment("ADD", binaries, CNI_CONTAINERID=pod.container, CNI_NETNS=pod.path, CNI_IFNAME="eth0")

    def start() -> "subprocess.Popen[bytes]":
        with node.inside():
            made = subprocess.Popen([f"{binaries}/chain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        assert made.stdin is not None
        made.stdin.write(json.dumps(conf).encode())
        made.stdin.close()
        made.stdin = None
        return made

    first = start()
    assert fifo.read_text() == "at work\n"
    state, second = node.snapshot(), start()
    assert eventually(lambda: "/run/cni/pycni/attachments" in files_of(second.pid))
    fifo.write_text("go on\n")
    first.communicate(timeout=60)
    output, _ = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 1)
    assert "already exists" in json.loads(output)["msg"]
    assert node.snapshot() == state


def files_of(process: int) -> list[str]:
    """The files that a process has open."""
    found = []
    for fd in os.listdir(f"/proc/{process}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(f"/proc/{process}/fd/{fd}"))
    return found


# Calls a chain's verb in one process and tells what of the process is not as it was before.
PROBE = """
import gc, json, os, sys
sys.path.insert(0, sys.argv[1])
from cni import skel
import cni_chain.plugin
def state():
    gc.collect()
    status = open("/proc/thread-self/status").read()
    masks = [line for line in status.splitlines() if line.startswith(("SigB", "SigI", "SigC", "Umask", "Cap", "NoNewPrivs"))]
    paths = ["/proc/self/fd/" + fd for fd in os.listdir("/proc/self/fd") if int(fd) > 2]
    fds = {path: os.readlink(path) for path in paths if os.path.lexists(path)}
    where = [os.readlink("/proc/thread-self/ns/" + kind) for kind in ("net", "mnt")]
    # some sockets are kept for a while, a few of them (cni.kernel.netlink)
    kinds = sorted(to for to in fds.values() if not to.startswith("socket:")) + [len(fds) < 20]
    return [os.getcwd(), dict(os.environ), masks, where, kinds, len(os.listdir("/proc/self/task"))]
stdin = sys.stdin.buffer.read()
answers, states = [], []
for verb in sys.argv[2:]:
    conf = json.loads(stdin)
    if verb == "CHECK":
        conf["prevResult"] = json.loads(answers[0])
    states.append(state())
    environ, stdin_now = {**os.environ, "CNI_COMMAND": verb}, json.dumps(conf).encode()
    answered = skel.answer(cni_chain.plugin.PLUGIN, environ, stdin_now, sys.stderr)
    answered.close()
    answers.append(answered.output.decode())
    assert answered.status == 0, answered.output
    states.append(state())
json.dump([states, answers], sys.stdout)
"""


def test_members_leave_the_process_as_it_was(node: Node, binaries: str) -> None:
    """Directory, environment, signals, capabilities, namespaces, threads and descriptors are the same after each verb."""
    members = members_of(node)["our-portmap" if os.path.isfile(f"{binaries}/portmap") else "bridge"]
    conf = chain(node, *members, runtimeConfig={"portMappings": [PORT]})
    pod = node.pod()
    env = environment("ADD", binaries, CNI_CONTAINERID=pod.container, CNI_NETNS=pod.path, CNI_IFNAME="eth0")
    verbs = ["ADD", "CHECK", *["DEL", "ADD"] * 8, "DEL"]
    with node.inside():
        command = ["/usr/bin/python3", "-I", "-S", "-c", PROBE, f"{binaries}/chain", *verbs]
        done = subprocess.run(command, input=json.dumps(conf), env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    states, answers = json.loads(done.stdout)
    assert json.loads(answers[0])["ips"] and answers[2] == ""
    for before, after in itertools.pairwise(states[2:]):  # the first verb opens what it keeps
        assert before == after
    assert node.leases() == {}


def test_each_member_tells_its_steps(node: Node, binaries: str) -> None:
    """CNI_DEBUG: a line of each plugin that ran, in this process or not, and the chain's own last; stdout is one document."""
    conf, pod = chain(node, main_plugin(node), {"type": "go-tuning"}), node.pod()
    outcome = node.cni(
        "chain", "ADD", conf, container=pod.container, netns=pod.path, binaries=binaries, env={"CNI_DEBUG": "1"}
    )
    lines = outcome.stderr.splitlines()
    assert [line.split(" ADD ")[0] for line in lines] == ["host-local", "bridge", "chain"] and outcome.ok
    failing = chain(node, {**main_plugin(node), "mtu": "no"})
    refused = node.cni(
        "chain", "ADD", failing, container=pod.container, netns=pod.path, binaries=binaries, env={"CNI_DEBUG": "1"}
    )
    assert 'plugin type="bridge" failed (add): failed to load netconf: cannot read key "mtu"' in refused.error["msg"]


def test_after_other_plugins_and_before_others(node: Node, binaries: str, tmp_path: Path) -> None:
    """A chain may stand in a list like any plugin: it is sent the result before it, and gives its own."""
    entries = [
        main_plugin(node),
        {"type": "chain", "plugins": [{"type": "go-tuning", "mtu": 1390}]},
        {"type": "go-tuning", "sysctl": {"net.ipv4.conf.eth0.log_martians": "1"}},
    ]
    net = network_conf_from_bytes(json.dumps({"cniVersion": "1.0.0", "name": "net1", "plugins": entries}).encode())
    cni = CNIConfig([binaries], str(tmp_path / "cache"), ProcessExec(prefix=("nsenter", f"--net={node.path}")))
    pod = node.pod()
    runtime = RuntimeConf(pod.container, pod.path, "eth0")
    found = cni.add_network_list(net, runtime)
    assert str(found.ips[0].address) == "10.66.0.2/24"
    assert (pod.link("eth0")["mtu"], pod.sysctl("ipv4/conf/eth0/log_martians")) == (1390, "1")
    cni.check_network_list(net, runtime)
    cni.del_network_list(net, runtime)
    assert node.leases() == {}


def test_garbage_of_a_chain(node: Node, binaries: str) -> None:
    """What no valid attachment owns goes, in all members; what is valid stays; STATUS answers."""
    conf = chain(node, main_plugin(node), version="1.1.0")
    pods = [node.pod() for _ in range(2)]
    for pod in pods:
        assert node.cni("chain", "ADD", conf, container=pod.container, netns=pod.path, binaries=binaries).ok
    valid = [{"containerID": pods[0].container, "ifname": "eth0"}]
    assert node.cni("chain", "STATUS", conf, binaries=binaries).ok
    assert node.cni("chain", "GC", conf | {"cni.dev/valid-attachments": valid}, binaries=binaries).ok
    assert [lines[0] for lines in node.leases().values()] == [pods[0].container] * 2
    assert len(node.ports("br0")) == 1


def test_status_of_a_chain_whose_member_is_missing(node: Node, binaries: str) -> None:
    """Code 50 and not that of a bad configuration, which it is in ADD: the member may be installed yet."""
    conf = chain(node, {"type": "no-such-plugin"}, version="1.1.0")
    outcome = node.cni("chain", "STATUS", conf, binaries=binaries)
    assert outcome.code == 50 and "no-such-plugin" in outcome.error["msg"]
