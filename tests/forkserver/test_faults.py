"""Whatever becomes of server, child or caller: a call is served once, or told as failed; never twice, never for ever."""

import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cni_forkserver.child import answer
from forkserver.server import (
    DECLINED,
    DIST,
    SERVED,
    SPARES,
    Node,
    Server,
    call,
    layer2,
    loopback,
    running,
    served_by,
    was_cold,
)
from node.configuration import bridge, host_local
from node.deadline import eventually
from node.plugin import LIMIT, Outcome
from node.topology import Pod

pytestmark = pytest.mark.real
Object = dict[str, Any]
STATUS = {**loopback(), "cniVersion": "1.1.0"}


# before the call is handed over: the caller serves itself


def test_without_a_server_nothing_is_said(node: Node, tmp_path: Path) -> None:
    """No socket, a file, a folder, a socket nobody listens at, a path that is too long: cold and silent."""
    (tmp_path / "file").write_text("")
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    dead.bind(f"{tmp_path}/dead")
    dead.close()
    stream = socket.socket(socket.AF_UNIX)
    stream.bind(f"{tmp_path}/stream")
    stream.listen()
    long = tmp_path / ("x" * 120)
    long.write_text("")
    for at in ("nobody", "file", ".", "dead", "stream", long.name):
        outcome = call(node, "STATUS", STATUS, node.pod(), None, CNI_FORKSERVER=f"{tmp_path}/{at}", CNI_DEBUG="")
        assert (outcome.ok, outcome.stderr) == (True, ""), at
    stream.close()


@contextmanager
def pretending(tmp_path: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of our own making: ``serve`` is given the one connection that it accepts."""
    path = f"{tmp_path}/pretended"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(1)

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield path
        thread.join(LIMIT)
        assert not thread.is_alive()


def build() -> bytes:
    """The build of the files under test."""
    return (DIST / "bridge").read_bytes()[-64:]


DECLINING: dict[str, tuple[Callable[[socket.socket], object], str]] = {
    "hangs up at once": (lambda it: None, "another build"),
    "is of another build": (lambda it: it.send(build()[::-1]), "another build"),
    "says too much": (lambda it: it.send(build() + b"x"), "another build"),
    "says nothing": (lambda it: it.recv(10), "timed out"),
    "refuses": (lambda it: (it.send(build()), it.recv(1 << 18), it.send(b"Nso it is")), "so it is"),
}


@pytest.mark.parametrize("how", DECLINING)
def test_a_server_that_does_not_take_the_call_is_passed_over(node: Node, tmp_path: Path, how: str) -> None:
    """The call is served once, cold, and within seconds; the reason is told to those who debug."""
    serve, said = DECLINING[how]
    pod = node.pod()
    with pretending(tmp_path, serve) as path:
        outcome = call(node, "ADD", layer2(), pod, None, CNI_FORKSERVER=path)
    assert outcome.ok and f"{DECLINED}" in outcome.stderr and said in outcome.stderr
    assert call(node, "DEL", layer2(), pod).ok


def test_a_server_of_somebody_else_is_not_told_the_call(node: Node, tmp_path: Path) -> None:
    """Only root's may be handed a configuration, which holds secrets perhaps."""
    tmp_path.chmod(0o777)
    for at in tmp_path.parents:
        if str(at).startswith("/tmp/pytest"):
            at.chmod(at.stat().st_mode | 0o011)
    code = "import socket,sys;s=socket.socket(1,5);s.bind(sys.argv[1]);s.listen();print(flush=True);print(s.accept()[0].recv(9))"
    path = f"{tmp_path}/theirs"
    command = ["setpriv", "--reuid", "65534", "/usr/bin/python3", "-c", code, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as theirs:
        assert theirs.stdout is not None
        assert theirs.stdout.readline() == "\n"
        outcome = call(node, "STATUS", STATUS, node.pod(), None, CNI_FORKSERVER=path)
        assert outcome.ok and "not root's" in outcome.stderr
        assert theirs.stdout.read() == "b''\n"


def test_a_stopped_server_is_waited_for_a_second(node: Node, own_server: Server) -> None:
    """Neither the server nor its spare runs; when they go on, what was left is forgotten."""
    own_server.idle()
    os.kill(own_server.pid, signal.SIGSTOP)
    stopped = [own_server.pid, *own_server.children()]  # it forks no more now
    try:
        for pid in stopped[1:]:
            os.kill(pid, signal.SIGSTOP)
        pod = node.pod()
        outcome = call(node, "ADD", layer2(), pod, own_server)
        assert outcome.ok and was_cold(outcome) and "timed out" in outcome.stderr
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    served_by(call(node, "DEL", layer2(), pod, own_server))
    assert pod.links().keys() == {"lo"}


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-"])
def test_a_caller_without_a_stream_serves_itself(binaries: Path, server: Server, streams: str) -> None:
    """A number that is free would be another descriptor's by the time that the child has it."""
    environ = {**server.environ, "CNI_COMMAND": "STATUS", "CNI_PATH": "/x"}
    command = ["/bin/sh", "-c", f'exec "$0" {streams}', binaries / "loopback"]
    done = subprocess.run(command, input=json.dumps(STATUS), env=environ, capture_output=True, text=True, timeout=LIMIT)
    assert SERVED not in done.stderr
    assert (done.returncode == 0) == (streams != "<&-"), done


# afterwards: it is served once, or an error is told

BREAKING: dict[str, Callable[[socket.socket], object]] = {
    "hangs up": lambda it: None,
    "hangs up after half of the answer": lambda it: it.send(b'O{"cniVersion": '),
    "says what nobody understands": lambda it: it.send(b"?"),
    "ends without a status": lambda it: it.send(b"S"),
    "sends too large a piece": lambda it: it.send(b"O" * (1 << 17)),
    "sends too much": lambda it: [it.send(b"O" * 130_000) for _ in range(130)],
}


@pytest.mark.parametrize("how", BREAKING)
def test_a_server_that_breaks_off_is_an_error_and_not_a_second_try(node: Node, tmp_path: Path, how: str) -> None:
    """Code 11, one document, and the pod is as it was: nobody served the call cold after all."""
    pod = node.pod()

    def serve(connection: socket.socket) -> None:
        connection.send(build())
        assert connection.recv(1 << 18).startswith(build())
        BREAKING[how](connection)

    with pretending(tmp_path, serve) as path:
        outcome = call(node, "ADD", layer2(), pod, None, CNI_FORKSERVER=path)
    assert outcome.code == 11 and "fork server" in outcome.error["msg"] and "again" in outcome.error["details"]
    assert pod.links().keys() == {"lo"}


def test_an_answer_may_be_long_and_come_in_pieces(node: Node, tmp_path: Path) -> None:
    """What the child sends is what the caller writes, and its status the caller's."""
    text = json.dumps({"code": 7, "msg": "x" * 1_000_000})

    def serve(connection: socket.socket) -> None:
        connection.send(build())
        connection.recv(1 << 18)
        for at in range(0, len(text), 60_000):
            connection.send(b"O" + text[at : at + 60_000].encode())
        connection.send(b"S\x01")

    with pretending(tmp_path, serve) as path:
        outcome = call(node, "ADD", layer2(), node.pod(), None, CNI_FORKSERVER=path)
    assert outcome.stdout == text


LOUD = """#!/bin/sh
cat > /dev/null
[ "$CNI_COMMAND" = ADD ] || exit 0
printf '{"code": 107, "msg": "'; head -c 1000000 /dev/zero | tr '\\0' x; echo '"}'
exit 1
"""


def test_a_child_sends_a_long_answer_to_its_end(node: Node, server: Server, tmp_path: Path) -> None:
    """Longer than what the connection holds: the caller reads while the child still writes."""
    (tmp_path / "loud").write_text(LOUD)
    (tmp_path / "loud").chmod(0o755)
    pod = node.pod()
    for _ in range(3):
        outcome = call(node, "ADD", bridge({"type": "loud"}), pod, server, CNI_PATH=str(tmp_path), PATH="/usr/bin:/bin")
        served_by(outcome)
        assert outcome.code == 107 and outcome.error["msg"] == "x" * 1_000_000


# A delegate that says that it has begun, and goes on when it is told to.
SLOW = """#!/bin/sh
cat > /dev/null
[ "$CNI_COMMAND" = ADD ] || exit 0
echo $$ > "$SLOW/begun.new"; mv "$SLOW/begun.new" "$SLOW/begun"
read word < "$SLOW/go"
echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.2/24"}]}'
"""


_numbers = itertools.count(1)


class Begun:
    """An ADD of bridge whose delegate waits: the link is made, the addresses are not."""

    def __init__(self, node: Node, server: Server | None, folder: Path) -> None:
        # the lock is the machine's: an id that no other run of these tests has
        self.folder, self.node, self.pod = folder, node, node.pod(f"slow-{os.getpid()}-{next(_numbers)}")
        folder.mkdir(exist_ok=True)
        (folder / "slow").write_text(SLOW)
        (folder / "slow").chmod(0o755)
        if not (folder / "go").exists():
            os.mkfifo(folder / "go")
        (folder / "begun").unlink(missing_ok=True)
        self.conf = bridge({"type": "slow"}, name="slow1")
        self.variables = {"CNI_PATH": str(folder), "SLOW": str(folder)}
        env = {
            **(server.environ if server else {"CNI_FORKSERVER": "", "CNI_DEBUG": "1"}),
            **self.variables,
            "PATH": "/usr/bin:/bin",
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": self.pod.container,
            "CNI_NETNS": self.pod.path,
            "CNI_IFNAME": "eth0",
        }
        with node.inside():
            self.process = subprocess.Popen(
                [node.binaries / "bridge"],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=(folder / "stderr").open("wb"),
                text=True,
            )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.conf))
        self.process.stdin.close()
        self.process.stdin = None
        assert eventually((folder / "begun").exists, LIMIT)
        self.delegate = int((folder / "begun").read_text())

    @property
    def child(self) -> int:
        """The process that serves it, if a server does."""
        said = (self.folder / "stderr").read_text()
        return served_by(Outcome(0, "", said, None))

    def go_on(self) -> Outcome:
        """Let the delegate end; what the call came to."""
        (self.folder / "go").write_text("go\n")
        out, _ = self.process.communicate(timeout=LIMIT)
        return Outcome(self.process.returncode, out, "", json.loads(out) if out else None)

    def kill_caller(self) -> None:
        """As a runtime does whose patience is over."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def delete(self, server: Server | None = None) -> Outcome:
        """The runtime's DEL."""
        return call(self.node, "DEL", self.conf, self.pod, server, **self.variables)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("warm_del", [False, True], ids=["cold DEL", "warm DEL"])
def test_with_its_caller_a_child_and_its_delegate_die(
    node: Node, server: Server, tmp_path: Path, warm_del: bool
) -> None:
    """The DEL that follows at once finds what they had made, and removes it; the ADD after it works."""
    before = node.snapshot()
    begun = Begun(node, server, tmp_path)
    child = begun.child
    assert alive(child) and alive(begun.delegate)
    begun.kill_caller()
    outcome = begun.delete(server if warm_del else None)
    assert outcome.ok, outcome
    assert eventually(lambda: not alive(child) and not alive(begun.delegate))
    after = node.snapshot()
    assert {**after, "links": {**after["links"], "br0": None}} == {**before, "links": {**before["links"], "br0": None}}
    again = Begun(node, server, tmp_path)
    assert again.go_on().ok
    assert again.delete().ok
    assert begun.pod.links().keys() == {"lo"}


def test_an_interruption_is_undone_and_traced_as_in_a_cold_call(node: Node, server: Server, tmp_path: Path) -> None:
    """A traceback needs modules that no verb needs, and reads sources; the caller asks for it with CNI_DEBUG."""
    told = []
    for where in (None, server):
        begun = Begun(node, where, tmp_path)
        os.kill(begun.child if where else begun.process.pid, signal.SIGINT)
        out, _ = begun.process.communicate(timeout=LIMIT)
        assert begun.process.returncode == 1 and json.loads(out)["code"] == 999
        assert begun.pod.links().keys() == {"lo"}, "the link that was made is taken back"
        said = (tmp_path / "stderr").read_text()
        assert "Traceback" in said and "KeyboardInterrupt" in said
        # down to the executor; where in a delegate's beginning it was met is chance
        told.append((json.loads(out)["msg"], re.findall(r"^  File .*, in (.*)", said, re.MULTILINE)[:7]))
        assert begun.delete().ok
    assert told[0] == told[1] and "_add" in told[0][1]


def test_an_interrupted_caller_tells_an_error(node: Node, server: Server, tmp_path: Path) -> None:
    """SIGINT, as from a terminal: one error object, and the child does not go on."""
    begun = Begun(node, server, tmp_path)
    child = begun.child
    begun.process.send_signal(signal.SIGINT)
    out, _ = begun.process.communicate(timeout=LIMIT)
    assert begun.process.returncode == 1 and json.loads(out)["code"] == 11
    assert eventually(lambda: not alive(child))
    assert begun.delete().ok


def test_a_child_that_is_killed_is_an_error(node: Node, server: Server, tmp_path: Path) -> None:
    """By the OOM killer perhaps: the caller tells it, with the code for another try, and does not try itself."""
    begun = Begun(node, server, tmp_path)
    os.kill(begun.child, signal.SIGKILL)
    out, _ = begun.process.communicate(timeout=LIMIT)
    assert begun.process.returncode == 1
    assert json.loads(out)["code"] == 11
    os.kill(begun.delegate, signal.SIGKILL)
    assert begun.delete().ok
    assert begun.pod.links().keys() == {"lo"}


def test_children_outlive_their_server(node: Node, own_server: Server, tmp_path: Path) -> None:
    """Whoever is being served gets his answer; the spare ones go; the next caller serves itself."""
    own_server.idle()
    begun = Begun(node, own_server, tmp_path / "slow")
    assert eventually(lambda: len(own_server.spares()) == SPARES), "the taken one is replaced"
    child, spares = begun.child, own_server.spares()
    assert own_server.end(signal.SIGKILL) == -signal.SIGKILL
    assert eventually(lambda: not any(map(alive, spares)))
    assert alive(child)
    cold = call(node, "STATUS", STATUS, node.pod(), own_server)
    assert cold.ok and was_cold(cold)
    outcome = begun.go_on()
    assert outcome.ok and outcome.result["ips"][0]["address"] == "10.9.9.2/24"
    assert begun.delete().ok
    assert eventually(lambda: not alive(child))
    assert os.path.exists(own_server.socket)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_server_in_the_foreground_waits_for_its_calls(
    node: Node, own_server: Server, tmp_path: Path, signals: int
) -> None:
    """The socket and the spare children go at once. The server ends after the call, or with the second signal."""
    spares = own_server.idle()
    begun = Begun(node, own_server, tmp_path / "slow")
    child = begun.child
    own_server.process.terminate()
    assert eventually(lambda: not os.path.exists(own_server.socket))
    assert eventually(lambda: not any(alive(spare) for spare in spares if spare != child))
    cold = call(node, "STATUS", STATUS, node.pod(), own_server)
    assert cold.ok and was_cold(cold)
    assert own_server.process.poll() is None
    if signals == 2:
        assert own_server.end() == 0
    assert alive(child)
    assert begun.go_on().ok
    assert own_server.process.wait(LIMIT) == 0
    assert begun.delete().ok


def test_who_waits_for_a_caller_keeps_no_socket_open(node: Node, own_server: Server) -> None:
    """A server that is killed is gone at once, though a child of it waits for a caller that says nothing."""
    own_server.idle()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as idle:
        idle.connect(own_server.socket)
        assert idle.recv(200) == build()
        assert eventually(lambda: (len(own_server.spares()), len(own_server.children())) == (SPARES, SPARES + 1))
        children = own_server.children()
        own_server.end(signal.SIGKILL)
        assert eventually(lambda: sum(map(alive, children)) == 1), "the spare ones go"
        outcome = call(node, "STATUS", STATUS, node.pod(), own_server)
        assert outcome.ok and "refused" in outcome.stderr


def test_spares_that_die_are_replaced(node: Node, own_server: Server) -> None:
    """After a moment, so that one which dies at once does not keep a processor busy."""
    spares = own_server.idle()
    for spare in spares:
        os.kill(spare, signal.SIGKILL)
    assert eventually(lambda: len(own_server.spares() - spares) == SPARES)
    served_by(call(node, "STATUS", STATUS, node.pod(), own_server))


def test_a_server_that_runs_out_of_descriptors_goes_on(node: Node, tmp_path: Path) -> None:
    """Callers that say nothing hold a child each, and the server a descriptor for each child."""
    few = 16

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    pod = node.pod()
    with running(tmp_path, preexec_fn=limit) as server, ExitStack() as callers:
        for _ in range(2 * few):
            idle = callers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            idle.connect(server.socket)
        assert eventually(lambda: len(list(Path(f"/proc/{server.pid}/fd").iterdir())) >= few - 1)
        assert call(node, "STATUS", STATUS, pod, server).ok
        callers.close()
        assert eventually(lambda: not was_cold(call(node, "STATUS", STATUS, pod, server)), LIMIT)
        assert server.process.poll() is None


class Listener:
    """The socket of a caller that takes one packet, stands still for a while, and then takes all the others."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.tries = 0

    def send(self, data: bytes) -> None:
        self.tries += 1
        if self.tries == 2:
            raise TimeoutError
        self.sent.append(data)


@pytest.mark.parametrize(("length", "sent"), [(10, [b"O", b"S"]), (200_000, [b"O"])])
def test_an_answer_that_cannot_be_sent_whole_has_no_end(length: int, sent: list[bytes]) -> None:
    """So that the caller tells an error, not an answer with a hole in it."""
    listener: Any = Listener()
    if length == 10:
        listener.tries = 2
    answer(listener, 0, b"x" * length)
    assert [data[:1] for data in listener.sent] == sent


def test_a_caller_killed_at_any_moment_leaves_nothing(node: Node, server: Server) -> None:
    """At 24 moments from before the hand-over to after the answer; DEL comes at once."""
    conf = bridge(host_local(node.data_dir, "10.5.0.0/24"), name="net5", isGateway=True, ipMasq=True, macspoofchk=True)
    first = node.attach(conf)
    before = node.snapshot()
    died = 0
    for moment in range(24):
        pod = node.pod()
        variables = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod.container, "CNI_NETNS": pod.path}
        env = {**server.environ, **variables, "CNI_IFNAME": "eth0", "CNI_PATH": str(DIST), "PATH": "/usr/bin"}
        with node.inside():
            process = subprocess.Popen(
                [node.binaries / "bridge"],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        assert process.stdin is not None
        process.stdin.write(json.dumps(conf).encode())
        process.stdin.close()
        process.stdin = None
        threading.Event().wait(moment / 1000)
        process.kill()
        died += process.wait() == -9
        process.communicate()
        assert call(node, "DEL", conf, pod, server if moment % 2 else None).ok
        assert node.snapshot() == before, moment
    assert died >= 5
    assert first.delete().ok


def test_a_server_killed_again_and_again_harms_nobody(node: Node, tmp_path: Path) -> None:
    """Each of the callers is served, by whomever, or told code 11; and then DEL cleans and ADD works."""
    conf = bridge(host_local(node.data_dir, "10.6.0.0/24"), name="net6")
    stop = threading.Event()
    outcomes: list[Outcome] = []
    before = node.snapshot()["links"]

    def attach(pod: Pod) -> None:
        path = f"{tmp_path}/run/socket"
        variables = {"CNI_FORKSERVER": path, "CNI_DEBUG": "1"}
        outcome = call(node, "ADD", conf, pod, None, **variables)
        outcomes.append(outcome)
        if not outcome.ok:
            assert outcome.code == 11, outcome
            assert call(node, "DEL", conf, pod, None, **variables).code in (0, 11)
        deleted = call(node, "DEL", conf, pod, None)
        assert deleted.ok, deleted

    with ThreadPoolExecutor(4) as threads:
        pods = [node.pod() for _ in range(40)]
        waiting = [threads.submit(attach, pod) for pod in pods]
        while not stop.is_set():
            with running(tmp_path) as server:
                eventually(lambda: len(server.children()) > SPARES + 1, 1)
                for pid in server.children():
                    with suppress(ProcessLookupError):  # it has served its call meanwhile
                        os.kill(pid, signal.SIGKILL)
                server.end(signal.SIGKILL)
            if all(one.done() for one in waiting):
                stop.set()
        for one in waiting:
            one.result(LIMIT)
    assert len(outcomes) == 40
    assert {**node.snapshot()["links"], "br0": 0} == {**before, "br0": 0}
    assert node.leases("net6") == {}


def test_many_callers_at_once(node: Node, own_server: Server) -> None:
    """Fifty, served by the server or, where that took too long, by themselves; no zombie and no descriptor is left.

    Each has an address of its own, and all are removed.
    """
    conf = bridge(host_local(node.data_dir, "10.4.0.0/24"), name="net4", bridge="br4", isGateway=True, ipMasq=True)
    node.attach(conf).delete()
    own_server.idle()
    before, descriptors = node.snapshot(), len(os.listdir(f"/proc/{own_server.pid}/fd"))
    pods = [node.pod() for _ in range(50)]
    with ThreadPoolExecutor(50) as threads:
        added = list(threads.map(lambda pod: call(node, "ADD", conf, pod, own_server), pods))
    assert all(outcome.ok for outcome in added), [outcome.stdout for outcome in added if not outcome.ok]
    assert len({outcome.result["ips"][0]["address"] for outcome in added}) == 50
    served = [outcome for outcome in added if not was_cold(outcome)]
    assert len({served_by(outcome) for outcome in served}) == len(served) > 0
    # a caller waits for a second: how many of fifty have their turn in it is a matter of the machine
    assert all(f"{DECLINED}timed out" in outcome.stderr for outcome in added if was_cold(outcome))
    with ThreadPoolExecutor(50) as threads:
        deleted = list(threads.map(lambda pod: call(node, "DEL", conf, pod, own_server), pods))
    assert all(outcome.ok for outcome in deleted)
    assert node.snapshot() == before
    own_server.idle()
    assert len(os.listdir(f"/proc/{own_server.pid}/fd")) == descriptors


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_del_waits_for_the_add_that_still_runs(node: Node, server: Server, tmp_path: Path, warm: bool) -> None:
    """What an ADD makes after a DEL nobody would remove: so DEL, wherever it is served, comes after it."""
    begun = Begun(node, server, tmp_path)
    links = node.snapshot()["links"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(begun.delete, server if warm else None)
        assert eventually(lambda: _opened_by_another(begun.child), LIMIT), "somebody else tries to have the lock"
        assert not waiting.done() and node.snapshot()["links"] == links
        assert begun.go_on().ok
        assert waiting.result(LIMIT).ok
    assert begun.pod.links().keys() == {"lo"}


def _opened_by_another(than: int) -> bool:
    """Whether a process beside this one has the file of locks open. A file of that name may be another test run's."""
    locks = os.stat("/run/cni/pycni/attachments")
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if folder.parent.name != str(than) and any(os.path.samestat(at.stat(), locks) for at in folder.iterdir()):
                return True
        except OSError:
            continue
    return False
