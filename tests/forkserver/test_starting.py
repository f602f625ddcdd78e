"""How a server comes to its socket, is replaced by a newer one, and gets its units in place."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forkserver.server import DIST, PROGRAM, Server, call, layer2, running, served_by, was_cold
from forkserver.test_faults import Begun, alive
from node.configuration import bridge, host_local
from node.deadline import eventually
from node.plugin import LIMIT
from node.topology import Node

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
UNITS = (
    "cni-forkserver.socket",
    "cni-forkserver.service",
    "netavark-cni-gc.service",
    "netavark-cni-gc.timer",
)

# What systemd does for a socket unit: the socket as descriptor 3, and two variables.
ACTIVATE = """
import os, socket, sys
path, kind, count, *command = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX, getattr(socket, kind))
listener.bind(path)
listener.listen() if "LISTEN" not in os.environ else None
for number in range(3, 3 + int(count)):
    if number != listener.fileno():
        os.dup2(listener.fileno(), number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_FDS=count, LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="x")
os.execv(command[0], command)
"""


def activated(
    path: Path, kind: str = "SOCK_SEQPACKET", count: int = 1, program: Path = PROGRAM, **more: str
) -> "subprocess.Popen[str]":
    """A server that is started with a socket."""
    command = ["/usr/bin/python3", "-c", ACTIVATE, str(path), kind, str(count), str(program)]
    return subprocess.Popen(command, env={"PATH": "/usr/bin", **more}, stderr=subprocess.PIPE, text=True)


def test_a_socket_that_was_passed_is_used(node: Node, tmp_path: Path) -> None:
    """Also by the build that comes after; and it is left alone at the end: it is systemd's."""
    (tmp_path / "there").mkdir()
    program = Path(shutil.copy2(PROGRAM, tmp_path / "there"))
    process = activated(tmp_path / "socket", program=program)
    server = Server(process, f"{tmp_path}/socket")
    try:
        assert eventually(server.build, LIMIT)
        pod = node.pod()
        served_by(call(node, "ADD", layer2(), pod, server))
        served_by(call(node, "DEL", layer2(), pod, server))
        before = server.build()
        rebuilt(PROGRAM, program)
        assert eventually(lambda: server.build() == before[::-1])
        server.idle()
    finally:
        assert server.end() == 0
    assert process.stderr is not None and process.stderr.read() == ""
    process.stderr.close()
    assert os.path.exists(tmp_path / "socket")


@pytest.mark.parametrize(
    ("kind", "count", "more", "said"),
    [
        ("SOCK_STREAM", 1, {}, "none that listens for packets"),
        ("SOCK_SEQPACKET", 1, {"LISTEN": "no"}, "none that listens for packets"),
        ("SOCK_SEQPACKET", 2, {}, "2 sockets were passed"),
    ],
)
def test_another_socket_is_refused(tmp_path: Path, kind: str, count: int, more: dict[str, str], said: str) -> None:
    """With a line for the journal."""
    process = activated(tmp_path / "socket", kind, count, **more)
    _, error = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert error.startswith("cni-forkserver: ") and said in error and "Traceback" not in error


def test_a_socket_at_which_somebody_listens_is_left_alone(tmp_path: Path) -> None:
    """As systemd does, which has no server yet and no lock of the folder."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as theirs:
        theirs.bind(f"{folder}/socket")
        theirs.listen()
        done = subprocess.run(
            [PROGRAM, "--foreground", f"{folder}/socket"], capture_output=True, text=True, timeout=LIMIT
        )
        assert done.returncode == 1
        assert done.stderr.startswith(
            f"cni-forkserver: somebody listens at {folder}/socket: stop cni-forkserver.socket"
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            caller.connect(f"{folder}/socket")


def test_variables_for_another_process_are_not_ours(tmp_path: Path) -> None:
    """LISTEN_PID names who is meant."""
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
    done = subprocess.run([PROGRAM], env=environ, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1 and "no socket was passed" in done.stderr


def test_the_units_are_good(tmp_path: Path) -> None:
    """systemd finds no fault in them, as they are installed for the folder of the program."""
    command = [*INSTALL, "install", DIST, tmp_path / "bin", tmp_path / "conf", tmp_path / "units", tmp_path / "bin"]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)
    units = [str(tmp_path / "units" / name) for name in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    socket, service = (Path(unit).read_text() for unit in units[:2])
    assert f"ExecStart={tmp_path}/bin/cni-forkserver\n" in service
    assert "\nKillMode=process\n" in service
    assert "\nListenSequentialPacket=/run/cni-forkserver/socket\n" in socket
    assert "\nDirectoryMode=0700\n" in socket and "\nSocketMode=0600\n" in socket


INSTALL = ["/usr/bin/python3", "-E", "-s", "-S", ROOT / "build/install.py"]


def test_units_are_installed_only_where_they_are_wanted(tmp_path: Path) -> None:
    """Without UNIT_DIR there are none; uninstalling takes those that nobody has edited."""
    where = [DIST, tmp_path / "bin", tmp_path / "conf"]
    done = subprocess.run(
        [*INSTALL, "install", *where], check=True, capture_output=True, text=True, timeout=LIMIT, cwd=tmp_path
    )
    assert "systemctl" not in done.stdout
    assert {at.name for at in tmp_path.rglob("cni-forkserver*")} == {"cni-forkserver"}
    where += [tmp_path / "units", "/opt/cni/bin"]
    done = subprocess.run([*INSTALL, "install", *where], check=True, capture_output=True, text=True, timeout=LIMIT)
    assert "systemctl enable --now cni-forkserver.socket" in done.stdout
    for name in UNITS:
        assert (tmp_path / "units" / name).read_text() == (ROOT / "deploy/systemd" / name).read_text()
        assert (tmp_path / "units" / name).stat().st_mode & 0o7777 == 0o644
    with (tmp_path / "units" / UNITS[0]).open("a") as edited:
        edited.write("# mine\n")
    subprocess.run([*INSTALL, "uninstall", *where], check=True, capture_output=True, timeout=LIMIT)
    assert [at.name for at in (tmp_path / "units").iterdir()] == [UNITS[0]]
    assert not list((tmp_path / "bin").iterdir())
    bad = subprocess.run([*INSTALL, "install", *where[:-1], "/a b"], capture_output=True, text=True, timeout=LIMIT)
    assert bad.returncode == 1 and "cannot stand in a unit" in bad.stderr


# a newer build


def rebuilt(source: Path, target: Path) -> None:
    """The same file as another build's, put in place by rename."""
    data = source.read_bytes()
    mark = data[-64:]
    other = bytes(reversed(mark))
    new = target.with_name(f".{target.name}")
    new.write_bytes(data.replace(mark, other))
    new.chmod(0o755)
    new.rename(target)


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[tuple[Path, Server]]:
    """A folder with bridge and the server's program, and the server running from there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bridge", "cni-forkserver"):
        shutil.copy2(DIST / name, folder / name)
    with running(tmp_path, folder / "cni-forkserver") as server:
        yield folder, server


def status(node: Node, folder: Path, server: Server) -> bool:
    """Whether a STATUS of the folder's bridge was handed over."""
    conf = {"cniVersion": "1.1.0", "name": "n", "type": "bridge"}
    outcome = node.cni("bridge", "STATUS", conf, env=server.environ, binaries=str(folder))
    assert outcome.ok
    return not was_cold(outcome)


def test_a_server_becomes_the_build_that_is_installed_over_it(node: Node, installed: tuple[Path, Server]) -> None:
    """Plugins of one build are served by that build alone; the process and its socket stay the same."""
    folder, server = installed
    before, pid = server.build(), server.pid
    assert status(node, folder, server)
    rebuilt(DIST / "bridge", folder / "bridge")
    assert not status(node, folder, server), "a plugin of another build is not served"
    assert server.build() == before
    server.idle()
    rebuilt(DIST / "cni-forkserver", folder / "cni-forkserver")
    assert not status(node, folder, server)
    assert eventually(lambda: server.build() == before[::-1])
    assert eventually(lambda: status(node, folder, server))
    assert server.process.poll() is None and server.pid == pid
    server.idle()


def test_a_call_that_runs_ends_as_it_began(node: Node, installed: tuple[Path, Server], tmp_path: Path) -> None:
    """The server is replaced while a delegate is at work."""
    folder, server = installed
    before = server.build()
    begun = Begun(node, server, tmp_path / "slow")
    rebuilt(DIST / "cni-forkserver", folder / "cni-forkserver")
    assert eventually(lambda: server.build() == before[::-1])
    assert begun.go_on().ok
    assert begun.delete().ok
    server.idle()


def test_which_build_a_process_is_of_is_not_read_from_a_file_that_has_changed(
    node: Node, installed: tuple[Path, Server]
) -> None:
    """A delegate of the build that is installed now, beside a child of the one before: it is executed."""
    folder, server = installed
    server.idle()
    for name in ("cni-forkserver", "host-local"):
        rebuilt(DIST / name, folder / name)
    pod, conf = node.pod(), bridge(host_local(node.data_dir, "10.8.0.0/24"), name="net8")
    attachment = {"container": pod.container, "netns": pod.path, "binaries": str(folder)}
    outcome = node.cni("bridge", "ADD", conf, env=server.environ, **attachment)
    assert outcome.ok
    served_by(outcome)
    said = [line for line in outcome.stderr.splitlines() if line.startswith("cni-forkserver: ")]
    assert len(said) == 2, "the delegate is a process of its own, and looks for a server too"
    assert node.cni("bridge", "DEL", conf, **attachment).ok


def test_half_a_file_is_not_what_a_server_becomes(node: Node, installed: tuple[Path, Server]) -> None:
    """One that is being copied in place has no end yet; a file that is gone is no fault either."""
    folder, server = installed
    (folder / "half").write_bytes((DIST / "cni-forkserver").read_bytes()[:100_000])
    (folder / "half").rename(folder / "cni-forkserver")
    assert status(node, folder, server) and status(node, folder, server)
    (folder / "cni-forkserver").unlink()
    assert status(node, folder, server) and status(node, folder, server)


def _third(server: Server) -> tuple[str, str]:
    """What a process has as descriptor 3, and with which flags."""
    info = Path(f"/proc/{server.pid}/fdinfo/3").read_text()
    return os.readlink(f"/proc/{server.pid}/fd/3"), next(line for line in info.splitlines() if "flags" in line)


def test_a_file_that_cannot_be_executed_yet_is_tried_again(node: Node, tmp_path: Path) -> None:
    """One that was copied and has no x bit so far: the old build goes on as it was, the new one comes when it can."""
    folder, said = tmp_path / "bin", tmp_path / "said"
    folder.mkdir()
    for name in ("bridge", "cni-forkserver"):
        shutil.copy2(DIST / name, folder / name)
    with said.open("w") as journal, running(tmp_path, folder / "cni-forkserver", stderr=journal) as server:
        server.idle()
        before, pid, third = server.build(), server.pid, _third(server)
        rebuilt(DIST / "cni-forkserver", folder / "new")
        (folder / "new").chmod(0o644)
        (folder / "new").rename(folder / "cni-forkserver")
        assert status(node, folder, server)
        assert eventually(said.read_text) == (
            f"cni-forkserver: the new {folder}/cni-forkserver cannot be started: Permission denied\n"
        )
        assert status(node, folder, server) and status(node, folder, server)
        assert eventually(lambda: (server.build(), _third(server)) == (before, third))
        (folder / "cni-forkserver").chmod(0o755)
        assert eventually(lambda: server.build() == before[::-1])
        assert server.process.poll() is None and server.pid == pid
    assert len(said.read_text().splitlines()) == 1


def test_an_interrupt_ends_a_server_in_the_foreground(own_server: Server) -> None:
    """Ctrl-C; the socket goes with it, so that callers find nobody at once."""
    spares = own_server.idle()
    assert own_server.end(signal.SIGINT) == 0
    assert not os.path.exists(own_server.socket)
    assert eventually(lambda: not any(map(alive, spares)))
