"""The DHCP daemon: its flags, its end and its next start, other makes, many leases, hostile packets and files."""

import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from cni.errors import CNIError
from cni_dhcp.conversation import ask
from node.deadline import eventually
from node.dhcp import HASTY, STATE, Client, Daemon, Dnsmasq, Site, at_once
from node.dhcpmessage import CLIENT_ID, NOWHERE, REQUESTED_ADDRESS, SERVER_ID, Message, Packet, frame
from node.dhcpsite import OURS_ALONE
from node.dhcpsite import site as site
from node.plugin import GO, SUBJECT
from node.topology import NamedNetns

pytestmark = [pytest.mark.real, OURS_ALONE]

UNITS = Path(__file__).parents[2] / "deploy"


def rebooted(packet: Packet, client: Client) -> bool:
    """Whether it asks for the address as RFC 2131 wants it after a restart."""
    message = packet.message
    own = b"\0" + f"{client.pod.container}/net1/{client.ifname}".encode()
    return (
        message.address(REQUESTED_ADDRESS) == client.address
        and (message.ciaddr, message.get(SERVER_ID)) == (NOWHERE, None)
        and packet.hosts == ("0.0.0.0", "255.255.255.255")
        and message.get(CLIENT_ID) == own
        and message.chaddr == client.hardware
    )


@pytest.mark.parametrize("end", ["kill", "terminate", "replace"])
def test_a_restart_with_pods_running(site: Site, end: str) -> None:
    """kill -9, SIGTERM and a program in another place: the lease is confirmed, the address stays, DEL gives it back."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon, provide=[{"option": "12", "value": "web"}]).bind()
        if end == "kill":
            daemon.kill()
        else:
            assert daemon.terminate() == 0
            assert not daemon.socket.exists()
        assert server.kinds() == ["DISCOVER", "REQUEST selecting"] and len(daemon.kept()) == 1
        if end == "replace":
            other = site.folder / "bin"
            other.mkdir()
            daemon.binaries = shutil.copy(f"{daemon.binaries}/dhcp", other / "dhcp").parent.as_posix()
        daemon.start()
        packet = server.wait("REQUEST init-reboot")
        assert rebooted(packet, client) and packet.message.get(12) == b"web"
        assert eventually(lambda: client.check().ok), daemon.said
        assert client.pod.addresses("eth0") == {f"{client.address}/24"}
        assert client.add().result["ips"][0]["address"] == f"{client.address}/24"
        assert client.delete().ok
        assert server.wait_heard("RELEASE").hosts[0] == client.address
        assert server.kinds().count("DISCOVER") == 1 and not daemon.kept()


def test_a_lease_that_ended_while_the_daemon_was_down(site: Site) -> None:
    """It expired, or the server says no: the address goes off at the start. A silent server does not end a lease."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        refused, silent, expired = (site.client(daemon) for _ in range(3))
        refused.bind(), silent.bind()
        server.t1, server.t2, server.lease = 1, 1, 2
        expired.bind()
        acquired = server.seen[-1].time
        daemon.kill()
        server.silent = True
        gone = {client.pod.container: client.address for client in (refused, expired)}
        answered = server.refuse

        def ours(request: Packet) -> bool:
            return request.message.chaddr == refused.hardware

        server.refuse = ours
        server.edit = lambda request, answer: answer if ours(request) and answer.kind == "NAK" else None
        server.silent = False
        import time

        assert eventually(lambda: time.monotonic() > acquired + 2.5)
        daemon.start()
        for client in (refused, expired):
            assert eventually(lambda client=client: not client.pod.addresses("eth0")), daemon.said
            assert client.check().code
        assert silent.check().ok and silent.pod.addresses("eth0") == {f"{silent.address}/24"}
        server.refuse, server.edit = answered, lambda request, answer: answer
        for client in (refused, silent, expired):
            assert client.delete().ok
        assert gone


def test_del_while_the_daemon_is_down(site: Site) -> None:
    """It succeeds; the daemon gives the lease back when it starts."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        client, other = site.client(daemon).bind(), site.client(daemon).bind()
        daemon.kill()
        assert client.delete().ok and client.delete().ok
        assert "RELEASE" not in server.kinds()
        daemon.start()
        release = server.wait("RELEASE")
        assert release.message.ciaddr == client.address
        assert eventually(lambda: len(daemon.kept()) == 1) and other.check().ok


def test_gc(site: Site) -> None:
    """Leases of the network that are not in the list are given back, with the daemon and without it."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        clients = [site.client(daemon, version="1.1.0").bind() for _ in range(3)]
        foreign = site.client(daemon, version="1.1.0", name="net2").bind()
        one, two, three = clients

        def collected(*valid: Client) -> bool:
            listed = [{"containerID": each.pod.container, "ifname": "eth0"} for each in valid]
            conf = {**one.conf, "cni.dev/valid-attachments": listed}
            return bool(one.call("GC", conf, netns="").ok)

        assert one.call("GC", one.conf, netns="").ok
        assert collected(one, two)
        assert server.wait_heard("RELEASE").message.ciaddr == three.address
        daemon.kill()
        assert collected(one)
        daemon.start()
        assert server.wait_heard("RELEASE", 2).message.ciaddr == two.address
        assert all(eventually(lambda each=each: each.check().ok) for each in (one, foreign))
        assert len(server.leases) == 2


def test_a_lease_of_another_daemon_is_adopted(site: Site) -> None:
    """CHECK with a result of Go's asks the server for that address, and for no other."""
    server = site.segment.server()
    with Daemon(site.node, site.folder, "go") as go:
        client, refused = site.client(go).bind(), site.client(go).bind()
    with Daemon(site.node, site.folder) as daemon:
        for each in (client, refused):
            each.binaries = daemon.binaries
            each.conf["ipam"]["daemonSocketPath"] = str(daemon.socket)
        assert client.check().ok
        assert rebooted(server.wait("REQUEST init-reboot"), client)
        assert len(daemon.kept()) == 1
        server.refuse = lambda request: True
        assert refused.check().code and len(daemon.kept()) == 1
        nothing = site.client(daemon)
        assert nothing.check().code and not server.kinds(nothing.hardware)
        assert client.delete().ok
        server.wait_heard("RELEASE")


def test_gos_pair_takes_over_ours(site: Site) -> None:
    """The way back: the server knows the pod by the same identifier, so Go's CHECK gets the same lease, and DEL ends it."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
    with Daemon(site.node, site.folder, "go") as go:
        client.binaries = go.binaries
        client.conf["ipam"]["daemonSocketPath"] = str(go.socket)
        assert client.check().ok
        assert list(server.leases.values()) == [client.address]
        assert client.delete().ok
        assert server.wait("RELEASE").message.ciaddr == client.address


@pytest.mark.parametrize("plugin", ["ours", "go"])
def test_another_makes_daemon(site: Site, plugin: str) -> None:
    """An error says so at once, for ADD and for DEL; both daemons go on."""
    site.segment.server()
    daemons = {make: Daemon(site.node, site.folder, make) for make in ("ours", "go")}
    try:
        client = site.client(daemons["go" if plugin == "ours" else "ours"])
        client.binaries = daemons[plugin].binaries
        error = client.add().error["msg"]
        assert error.startswith("error dialing DHCP daemon" if plugin == "go" else "error calling DHCP.Allocate"), error
        if plugin == "ours":
            assert "Go" in error
        assert client.delete().code
        for daemon in daemons.values():
            assert site.client(daemon).add().ok
    finally:
        for daemon in daemons.values():
            daemon.close()


def test_flags(site: Site) -> None:
    """Go's, with one dash and two. What is wrong is said on standard error, and ends with Go's status."""

    def ended(*flags: str) -> tuple[int, str]:
        done = subprocess.run([f"{SUBJECT}/dhcp", "daemon", *flags], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr

    for flag in ("-h", "--help"):
        status, said = ended(flag)
        assert status == 0
        for name in ("socketpath", "pidfile", "hostprefix", "timeout", "resendmax", "resendtimeout", "broadcast"):
            assert f"-{name}" in said
    for flags in (["-nosuch"], ["-timeout", "5"], ["-timeout"], ["--timeout=x"]):
        assert ended(*flags)[0] == 2
    own = str(site.folder / "own.sock")
    status, said = ended("-socketpath", own, "-pidfile", "x.pid")
    assert status == 1 and 'Error writing pidfile "x.pid": path not absolute' in said
    pidfile = site.folder / "pid"
    with Daemon(
        site.node, site.folder, "ours", "--timeout=1s", "-resendtimeout", "1m30s", "--pidfile", str(pidfile)
    ) as daemon:
        assert pidfile.read_text() == str(daemon.pid)
        assert stat.S_IMODE(daemon.socket.stat().st_mode) & 0o077 == 0
        status, said = ended("-socketpath", str(daemon.socket), "-pidfile", str(pidfile))
        assert status == 1 and "Error getting listener: " in said and "already" in said
        assert pidfile.read_text() == str(daemon.pid) and daemon.listens()
        assert daemon.terminate() == 0
        assert not pidfile.exists() and not daemon.socket.exists()


def test_a_prefix_of_the_host(site: Site) -> None:
    """Before the socket, the namespace and the leases' files, for a daemon in a container that starts again."""
    site.segment.server()
    root = site.folder / "host"
    (root / "var/run").mkdir(parents=True)
    (root / "var/run/netns").symlink_to("/var/run/netns")
    daemon = Daemon(site.node, site.folder, "ours", "-hostprefix", str(root), start=False)
    inside = root / "run/cni/dhcp.sock"
    daemon.arguments = ["-socketpath", "/run/cni/dhcp.sock"]
    daemon.socket = inside
    with daemon:
        daemon.start()
        assert stat.S_IMODE(inside.stat().st_mode) & 0o077 == 0
        client = site.client(daemon).bind()
        assert named(next(root.glob("run/cni/pycni/dhcp/*/*.lease")), client)
        assert client.check().ok and client.delete().ok


def test_many_leases(site: Site) -> None:
    """In a namespace each: few threads, the descriptors that it had before, and no namespace is kept alive."""
    server = site.segment.server(first=20, count=230)
    pods = [NamedNetns("pod") for _ in range(COUNT)]
    try:
        ports = site.segment.attach_all(pods)
        with Daemon(site.node, site.folder) as daemon:
            assert site.client(daemon).add().ok
            before = daemon.descriptors

            def lease(pod: NamedNetns) -> str:
                who = {"network": "net1", "container": pod.name, "ifname": "eth0", "netns": pod.path}
                wish = {"provide": [], "request": [], "ipv4": True, "ipv6": "", "probe": False, "priority": 0}
                reply = ask(str(daemon.socket), "allocate", **who, **wish)
                return str(reply["leases"][0]["addresses"][0])

            found = at_once([lambda some=pods[at::8]: [lease(pod) for pod in some] for at in range(8)])
            assert len({address for some in found for address in some}) == COUNT
            # some of them close packet sockets
            assert eventually(lambda: daemon.descriptors <= before) and daemon.status("Threads") <= 10
            assert len(server.leases) == len(daemon.kept()) == COUNT + 1
            daemon.kill()
            daemon.start()
            server.wait("REQUEST init-reboot", COUNT + 1)
            assert eventually(lambda: daemon.descriptors <= before)
            for pod in pods:
                pod.close()
            assert eventually(lambda: not set(ports) & set(site.segment.links()))
            assert daemon.descriptors <= before
    finally:
        for pod in pods:
            pod.close()


COUNT = 200


def flood(site: Site, mac: str) -> Iterator[bytes]:
    """Frames to a client that no server sends."""
    own, to = bytes.fromhex("020000000099"), bytes.fromhex(mac.replace(":", ""))
    answer = Message(chaddr=to, yiaddr="10.7.0.66").written()
    payloads = [
        b"",
        b"\2",
        b"\xff" * 1400,
        answer[:239],
        answer,
        answer[:240] + b"\x35\xff",
        b"\2\1\6\0" + os.urandom(400),
    ]
    for payload in payloads:
        for hosts in (("10.7.0.66", "255.255.255.255"), ("0.0.0.0", "10.7.0.50"), ("10.7.0.66", "10.7.0.50")):
            whole = frame((own, to), hosts, (67, 68), payload)
            yield whole
            yield whole[:30]
            yield whole[:14] + b"\x4f" + whole[15:]
            yield whole[:38] + b"\xff\xff" + whole[40:]


def test_hostile_packets(site: Site) -> None:
    """While a lease is acquired and kept, thousands of them: it is acquired, and the daemon goes on."""
    server = site.segment.server()
    attacker = site.segment.host()
    with (
        Daemon(site.node, site.folder, "ours", *HASTY) as daemon,
        attacker.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire,
    ):
        with attacker.inside():
            wire.bind(("eth0", 0))
        client = site.client(daemon)
        frames = list(flood(site, client.mac))

        def flooded(request: Packet, answer: Message) -> Message:
            # the answer itself may be lost among them: the next one is not
            if server.kinds().count(request.what) == 1:
                for each in frames * 20:
                    wire.send(each)
            return answer

        server.edit = flooded
        assert client.bind().address == "10.7.0.50"
        for each in frames:
            wire.send(each)
        assert client.check().ok and site.client(daemon).add().ok
        assert client.delete().ok


def test_hostile_calls(site: Site) -> None:
    """What is no request is refused, and what never ends holds nothing up."""
    site.segment.server()
    payloads = [b"\n", b"\0" * 5000 + b"\n", b"[" * 200_000 + b"\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b"x" * 3_000_000]
    payloads += [b'{"pycni-dhcp": 1}\n', b'{"pycni-dhcp": 9, "do": "status"}\n', b"GET / HTTP/1.1\n\n"]
    payloads += [b'{"pycni-dhcp": 1, "do": "allocate", "netns": 5}\n']
    with Daemon(site.node, site.folder) as daemon, ExitStack() as open_ones:
        assert site.client(daemon).add().ok
        before = daemon.descriptors
        for _ in range(100):
            half = open_ones.enter_context(socket.socket(socket.AF_UNIX))
            half.connect(str(daemon.socket))
            half.sendall(b'{"pycni-dhcp": 1,')
        for payload in payloads:
            with socket.socket(socket.AF_UNIX) as caller:
                caller.settimeout(30)
                caller.connect(str(daemon.socket))
                with suppress(BrokenPipeError, ConnectionResetError):
                    caller.sendall(payload)
                    caller.shutdown(socket.SHUT_WR)
                    while caller.recv(65536):
                        pass
        client = site.client(daemon)
        who = {"network": "net1", "container": client.pod.container, "ifname": "eth0", "netns": client.pod.path}
        wish = {"provide": [], "request": [300], "ipv4": True, "ipv6": "", "probe": False, "priority": 0}
        with pytest.raises(CNIError, match="cannot be served"):
            ask(str(daemon.socket), "allocate", **who, **wish)
        assert client.add().ok and client.check().ok and client.delete().ok
        open_ones.close()
        assert eventually(lambda: daemon.descriptors <= before), daemon.said


@pytest.mark.parametrize("step", [1, 4, 16])
def test_a_daemon_that_dies_during_calls(site: Site, step: int) -> None:
    """kill -9 at some packet of eight ADDs at once: each one has succeeded or says so, and DEL leaves nothing of any."""
    server = site.segment.server()

    def killing(request: Packet, answer: Message) -> Message:
        if len(server.seen) == step:
            daemon.kill()
        return answer

    with Daemon(site.node, site.folder) as daemon:
        clients = [site.client(daemon) for _ in range(8)]
        server.edit = killing
        outcomes = at_once([client.add for client in clients])
        assert not all(outcome.ok for outcome in outcomes)
        for outcome in outcomes:
            assert outcome.ok or "daemon" in outcome.error["msg"], outcome
        daemon.start()
        for client, outcome in zip(clients, outcomes, strict=True):
            assert not outcome.ok or eventually(lambda client=client: client.check().ok)
        assert all(client.delete().ok for client in clients)
        assert eventually(lambda: not daemon.kept())
        acquired = {client.address for client, outcome in zip(clients, outcomes, strict=True) if outcome.ok}
        assert eventually(lambda: not acquired & set(server.leases.values())), server.seen[step:]


def named(path: Path, client: Client) -> bool:
    """Whether a file has the lease of this client."""
    return client.pod.container in path.read_text()


def test_damaged_files(site: Site) -> None:
    """They are named in the log; the other leases are kept, and new ones are written."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        client, torn, bare = (site.client(daemon).bind() for _ in range(3))
        assert daemon.terminate() == 0
        paths = {each: path for path in STATE.glob("*/*.lease") for each in (client, torn, bare) if named(path, each)}
        folder = paths[client].parent
        paths[torn].write_bytes(paths[torn].read_bytes()[:40])
        paths[bare].write_text(json.dumps({**json.loads(paths[bare].read_text()), "options": {}}))
        (folder / "empty.lease").touch()
        (folder / "list.lease").write_text("[1]")
        (folder / "deep.lease").write_text("[" * 100000)
        (folder / "bytes.lease").write_bytes(os.urandom(300))
        (folder / "link.lease").symlink_to("/etc/passwd")
        (folder / "folder.lease").mkdir()
        daemon.start()
        server.wait("REQUEST init-reboot")
        assert eventually(lambda: client.check().ok)
        for name in (paths[torn].name, paths[bare].name, "empty", "list", "deep", "bytes", "link", "folder"):
            assert daemon.says(name), name
        assert Path("/etc/passwd").is_file()
        for each in (torn, bare):
            assert each.check().code == 0 and each.delete().ok
        assert client.delete().ok and site.client(daemon).add().ok


def test_a_lease_is_given_back_before_it_was_confirmed(site: Site) -> None:
    """By a daemon that has just started: from its address, to the MAC of a server that does not answer any more."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        daemon.kill()
        server.silent = True
        daemon.start()
        assert client.delete().ok
        packet = server.wait("RELEASE")
        assert packet.hosts == (client.address, server.address) and packet.macs == (client.mac, server.mac)
        assert not daemon.kept()


def test_dnsmasq_hears_the_release(site: Site) -> None:
    """After a restart of the daemon too, and of dnsmasq."""
    served = Dnsmasq(site.segment, site.folder)
    with Daemon(site.node, site.folder) as daemon:
        one, two = site.client(daemon).bind(), site.client(daemon).bind()
        assert served.leases_become(one.address, two.address)
        daemon.kill()
        daemon.start()
        assert one.delete().ok and served.leases_become(two.address)
        assert two.check().ok and two.delete().ok and served.leases_become()


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd")
def test_socket_activation(site: Site) -> None:
    """The first call starts the daemon; the socket outlives it, and the next call starts it again."""
    server = site.segment.server()
    daemon = Daemon(site.node, site.folder, start=False)
    command = [
        "systemd-socket-activate",
        "-l",
        str(daemon.socket),
        f"{SUBJECT}/dhcp",
        "daemon",
        "-socketpath",
        str(daemon.socket),
    ]
    with daemon:
        process = site.segment.start(site.node, *command, log=daemon.log)
        assert eventually(lambda: daemon.socket.exists() or process.poll() is not None)
        client = site.client(daemon).bind()
        assert client.check().ok and client.delete().ok
        server.wait_heard("RELEASE")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_units(site: Site) -> None:
    """systemd accepts them, and the socket is root's alone."""
    folder = site.folder / "units"
    folder.mkdir()
    units = sorted(UNITS.rglob("cni-dhcp.*"))
    assert [unit.name for unit in units] == ["cni-dhcp.service", "cni-dhcp.socket"]
    for unit in units:
        (folder / unit.name).write_text(unit.read_text().replace("/opt/cni/bin", SUBJECT))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(folder.iterdir()))], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "cni-dhcp" not in done.stderr, done.stderr
    text = (folder / "cni-dhcp.socket").read_text()
    assert "ListenStream=/run/cni/dhcp.sock" in text and "SocketMode=0600" in text
    assert GO not in text
