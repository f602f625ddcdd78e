"""Who is served: only a caller that could do the same itself. Everybody else serves himself, or reaches nothing."""

import array
import json
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from forkserver.server import DECLINED, DIST, PROGRAM, SPARES, Node, Server, call, layer2, loopback, running, served_by
from node.plugin import LIMIT, environment

pytestmark = pytest.mark.real
SURROUNDINGS = (".", "/", "/proc/self/ns/net", "/proc/self/ns/mnt")
# A caller that is less than the server, or elsewhere; and what is said of it.
LESSER = {
    "without a capability": (["setpriv", "--bounding-set", "-net_raw"], "CapPrm"),
    "with no new privileges": (["setpriv", "--no-new-privs"], "NoNewPrivs"),
    "in another user namespace": (["unshare", "--user", "--map-root-user"], "another"),
    "in another PID namespace": (["unshare", "--pid", "--fork"], "pid namespace"),
    "with another group": (["setpriv", "--regid", "1", "--clear-groups"], "Gid"),
}


@pytest.mark.parametrize("who", LESSER)
def test_a_lesser_caller_serves_itself(node: Node, server: Server, who: str) -> None:
    """Root alone is not enough: capabilities, privileges and namespaces are the server's own."""
    wrapper, said = LESSER[who]
    environ = {"CNI_COMMAND": "STATUS", "CNI_PATH": "/x", "PATH": "/usr/bin:/bin", **server.environ}
    done = subprocess.run(
        [*wrapper, node.binaries / "loopback"],
        input='{"cniVersion": "1.1.0", "name": "lo"}',
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert DECLINED in done.stderr and (said == "another" or said in done.stderr), done.stderr
    served_by(call(node, "STATUS", {**loopback(), "cniVersion": "1.1.0"}, node.pod(), server))


@pytest.mark.parametrize("limit", ["-v 200000", "-d 100000"])
def test_a_caller_with_little_memory_serves_itself(node: Node, server: Server, limit: str) -> None:
    """What is enough for a plugin that is started may be too little for a child of the server."""
    pod = node.pod()
    env = environment("ADD", str(DIST), CNI_CONTAINERID=pod.container, CNI_NETNS=pod.path, CNI_IFNAME="lo")
    with node.inside():
        done = subprocess.run(
            ["/bin/sh", "-c", f'ulimit {limit}; exec "$0"', node.binaries / "loopback"],
            input=json.dumps(loopback()),
            env=env | server.environ,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    assert done.returncode == 0 and "a limit of less than 256 MiB" in done.stderr


def test_others_than_root_do_not_reach_the_socket(server: Server) -> None:
    """The folder is root's alone, and so is the socket."""
    folder = Path(server.socket).parent
    assert (folder.stat().st_uid, folder.stat().st_mode & 0o7777) == (0, 0o700)
    assert Path(server.socket).stat().st_mode & 0o777 == 0o600
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "test", "-e", server.socket], capture_output=True, timeout=LIMIT
    )
    assert done.returncode == 1


def connected(server: Server) -> tuple[socket.socket, bytes]:
    """A connection of this process's, and the build that the server has told."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(LIMIT)
    connection.connect(server.socket)
    return connection, connection.recv(200)


def packet(build: bytes, package: bytes = b"cni_loopback") -> bytes:
    """A call as the front door packs it."""
    return b"\0".join([build, package, b"18", b"1", b"loopback", b"CNI_COMMAND=VERSION", b"CNI_DEBUG=1"])


def send(connection: socket.socket, data: bytes, count: int = 7) -> bytes:
    """Send a call with so many descriptors; the server's first answer, empty if it has hung up.

    A caller that is gone is refused without a look at the call: then the connection is broken already, and what was
    said is there nevertheless.
    """
    opened = [os.open(place, os.O_RDONLY) for place in SURROUNDINGS]
    rights = array.array("i", [0, 1, 2, *opened][:count])
    try:
        with suppress(BrokenPipeError):
            connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if count else [])
        try:
            return connection.recv(1 << 17)
        except ConnectionResetError:  # the call was not read; this is told before what is there to be read
            return connection.recv(1 << 17)
    finally:
        for fd in opened:
            os.close(fd)


def test_a_call_that_is_whole_is_served(server: Server) -> None:
    """What the others lack."""
    connection, build = connected(server)
    with connection:
        assert send(connection, packet(build)).startswith(b'O{"cniVersion":"1.1.0"')
        assert connection.recv(100) == b"S\0"


@pytest.mark.parametrize(
    ("change", "count", "said"),
    [
        (lambda data, build: data.replace(build, build[::-1]), 7, b"another build"),
        (lambda data, build: data.replace(b"loopback", b"nothing", 1), 7, b"another build"),
        (lambda data, build: data, 6, b"6 descriptors"),
        (lambda data, build: data, 0, b"0 descriptors"),
        (lambda data, build: b"rubbish", 7, b"values to unpack"),
        (lambda data, build: data.replace(b"\x0018\0", b"\0rwx\0"), 7, b"invalid literal"),
        (lambda data, build: data.replace(b"CNI_DEBUG=1", b"CNI_DEBUG"), 7, b"dictionary update"),
    ],
    ids=[
        "another build",
        "no such plugin",
        "a descriptor less",
        "no descriptors",
        "rubbish",
        "no umask",
        "no variable",
    ],
)
def test_a_call_that_is_not_whole_is_refused(server: Server, change: "object", count: int, said: bytes) -> None:
    """With N: nothing was done."""
    connection, build = connected(server)
    with connection:
        answer = send(connection, change(packet(build), build), count)  # type: ignore[operator]
    assert answer.startswith(b"N") and said in answer


def test_a_packet_that_does_not_fit_is_refused(server: Server) -> None:
    """Root may send larger ones than the server reads: half a call is none."""
    connection, build = connected(server)
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, 32, 1 << 21)  # SO_SNDBUFFORCE
        answer = send(connection, packet(build) + b"\0A=" + b"x" * 300_000)
    assert answer == b"Nthe call is too large"


def test_the_process_that_connected_must_be_the_one_that_calls(server: Server) -> None:
    """Otherwise one process's powers would be taken for another's."""
    connection, build = connected(server)
    reading, writing = os.pipe()
    with connection:
        if not os.fork():
            try:
                os.write(writing, send(connection, packet(build)))
            finally:
                os._exit(0)
        os.close(writing)
        assert os.read(reading, 200) == b"None process connected and another one sent the call"
        os.wait()
    os.close(reading)


def test_a_caller_that_has_ended_is_not_looked_up(server: Server) -> None:
    """Its number may be another's by now: the connection outlives it in a process that has inherited it."""
    answers, answering = os.pipe()
    gone, going = os.pipe()
    child = os.fork()
    if not child:
        try:
            connection, build = connected(server)
            if not os.fork():
                os.read(gone, 1)  # until the one that connected has been reaped
                os.write(answering, send(connection, packet(build)))
        finally:
            os._exit(0)
    os.close(answering)  # so that there is an end if nobody answers
    os.waitpid(child, 0)
    os.write(going, b"x")
    answer = os.read(answers, 200)
    assert answer.startswith((b"Nthe caller is gone", b"None process connected"))
    for fd in (answers, gone, going):
        os.close(fd)


# In a PID namespace of its own, where the next number can be chosen: a caller with fewer powers dies after it has sent
# its call, and a process with all of them gets its number before the server looks.
REUSED = """
import array, ctypes, os, signal, socket, subprocess, sys, time
program, folder, places = sys.argv[1], sys.argv[2], (".", "/", "/proc/self/ns/net", "/proc/self/ns/mnt")
SPARES = int(sys.argv[3])
server = subprocess.Popen([program, "--foreground", folder + "/run/socket"])
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
(greeted, greeting), (going, go) = os.pipe(), os.pipe()
caller = os.fork()
if not caller:
    assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0
    while connection.connect_ex(folder + "/run/socket"):
        time.sleep(0.01)
    build = connection.recv(200)
    os.write(greeting, b"x")
    os.read(going, 1)
    call = b"\\0".join([build, b"cni_loopback", b"18", b"1", b"loopback", b"CNI_COMMAND=VERSION"])
    rights = array.array("i", [0, 1, 2] + [os.open(place, os.O_RDONLY) for place in places])
    connection.sendmsg([call], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    os._exit(0)
os.read(greeted, 1)
def held(pid):
    try:
        return any("pidfd" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False
while True:  # the spare ones are there: the server forks no more, and takes no number
    children = open(f"/proc/{server.pid}/task/{server.pid}/children").read().split()
    serving = [int(pid) for pid in children if held(pid)]
    if len(children) == SPARES + 1 and serving:
        break
    time.sleep(0.01)
child = serving[0]
os.kill(child, signal.SIGSTOP)
os.write(go, b"x")
os.waitpid(caller, 0)
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(caller - 1))
another = os.fork()
if not another:
    signal.pause()
assert another == caller, (another, caller)
os.kill(child, signal.SIGCONT)
print(connection.recv(1 << 16))
"""


def test_a_number_that_means_another_process_by_now_is_noticed(tmp_path: Path) -> None:
    """The pidfd that is held since the connection was made tells that the first one has ended."""
    own = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*own, "/usr/bin/python3", "-c", REUSED, PROGRAM, tmp_path, str(SPARES)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done
    assert done.stdout == "b'Nthe caller is gone'\n"


def test_callers_that_say_nothing_keep_nobody_waiting(node: Node, server: Server) -> None:
    """Each has a child of its own for a few seconds."""
    idle = [connected(server)[0] for _ in range(20)]
    try:
        pod = node.pod()
        served_by(call(node, "ADD", layer2(), pod, server))
        served_by(call(node, "DEL", layer2(), pod, server))
    finally:
        for connection in idle:
            connection.close()
    server.idle()


def foreground(socket_path: Path) -> "subprocess.CompletedProcess[str]":
    """A server that is expected to refuse to start."""
    return subprocess.run(
        [PROGRAM, "--foreground", socket_path], capture_output=True, text=True, timeout=LIMIT, check=False
    )


def test_a_folder_that_others_reach_is_refused(tmp_path: Path) -> None:
    """A mode that lets others in, another owner, a symbolic link, a file."""
    open_, theirs, link, file = (tmp_path / name for name in ("open", "theirs", "link", "file"))
    open_.mkdir()
    open_.chmod(0o711)
    theirs.mkdir(0o700)
    os.chown(theirs, 65534, 0)
    link.symlink_to(tmp_path)
    file.write_text("")
    for folder in (open_, theirs, link, file):
        done = foreground(folder / "socket")
        assert (done.returncode, done.stdout) == (1, ""), folder
        assert done.stderr.startswith("cni-forkserver: ") and str(folder) in done.stderr
        assert "Traceback" not in done.stderr


def test_two_servers_do_not_share_a_socket(own_server: Server) -> None:
    """The second is told so, and the first goes on; when the first is killed its folder is free."""
    done = foreground(Path(own_server.socket))
    assert done.returncode == 1 and "another server" in done.stderr
    build = own_server.build()
    assert build
    own_server.end(9)
    with running(Path(own_server.socket).parents[1]) as second:
        assert second.build() == build


def test_a_server_needs_its_powers() -> None:
    """Without root or CAP_SYS_ADMIN it says so and ends; usage errors have status 2."""
    folder = f"/tmp/pycni-{os.getpid()}-powers"
    try:
        done = subprocess.run(
            ["setpriv", "--bounding-set", "-sys_admin", PROGRAM, "--foreground", f"{folder}/socket"],
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert (done.returncode, done.stderr) == (1, "cni-forkserver: it needs CAP_SYS_ADMIN\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for words in (["--frob"], ["--foreground", "a", "b"], ["x"]):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=LIMIT)
        assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("usage: ")
    done = subprocess.run([PROGRAM], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1 and "LISTEN_FDS" in done.stderr
