"""DHCP on a network of its own: a segment, the daemon of a make, and the servers of Debian.

pod eth0 ---+
pod eth0 ---+--- bridge of the segment ---+--- server 10.7.0.1
host eth0 --+                             +--- another server
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from .deadline import eventually
from .dhcpmessage import Packet
from .dhcpserver import Server
from .namespace import Netns
from .plugin import GO, SUBJECT, Object
from .topology import Attachment, NamedNetns, Node, Pod

# Whose plugin and daemon: folders with a file ``dhcp``.
MAKES = {"ours": SUBJECT, "go": GO}
# Where our daemon keeps its leases, whatever its socket.
STATE = Path("/run/cni/pycni/dhcp")
# dnsmasq's range
ORDERED = "10.7.0.5,10.7.0.100,1h"
# The first wait for an answer: no packet is sent twice because the machine is busy.
CALM = ("-timeout", "10s")
# For tests in which a server that was silent is asked again soon
HASTY = ("-timeout", "1s", "-resendmax", "2s")


class Segment(NamedNetns):
    """A bridge with ports for pods, servers and other hosts."""

    def __init__(self) -> None:
        super().__init__("segment")
        self._members = ExitStack()
        self._members.callback(super().close)
        self._ports = 0
        self.sysctl("ipv6/conf/default/disable_ipv6", "1")
        self.ip("link add seg type bridge forward_delay 0 mcast_snooping 0", "link set seg up")

    def __enter__(self) -> "Segment":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the segment, its servers and hosts."""
        self._members.close()

    def attach(self, at: NamedNetns, ifname: str = "eth0", *, up: bool = True) -> str:
        """A port for an interface in another namespace, which works when this returns; the port's name."""
        return self.attach_all([at], ifname, up=up)[0]

    def attach_all(self, several: Iterable[NamedNetns], ifname: str = "eth0", *, up: bool = True) -> list[str]:
        """The same for many namespaces at once."""
        lines: list[str] = []
        names: list[str] = []
        listed = list(several)
        for at in listed:
            self._ports += 1
            name = f"p{self._ports}"
            names.append(name)
            lines += [f"link add {name} type veth peer name {ifname} netns {at.name}", f"link set {name} master seg up"]
        self.ip(*lines)
        if up:
            for at in listed:
                at.ip("link set lo up", f"link set {ifname} up")
            wanted = set(names)
            assert eventually(lambda: wanted <= self.forwarding(), interval=0.001)
        return names

    def forwarding(self) -> set[str]:
        """The ports that pass packets on, with their other ends up."""
        ports = {name: link for name, link in self.links().items() if link.get("master") == "seg"}
        data = {name: link["linkinfo"]["info_slave_data"] for name, link in ports.items()}
        return {
            name for name, link in ports.items() if link["operstate"] == "UP" and data[name]["state"] == "forwarding"
        }

    def host(self, *addresses: str) -> NamedNetns:
        """A namespace of its own on the segment, with addresses on its eth0."""
        made = NamedNetns("host")
        self._members.callback(made.close)
        self.attach(made)
        made.ip(*(f"addr add {address} dev eth0" for address in addresses))
        return made

    def server(self, address: str = "10.7.0.1/24", **more: Any) -> Server:
        """A server that does what a test tells it, on a host of its own."""
        made = Server(self.host(address), **more)
        self._members.callback(made.close)
        return made

    def process(self, address: str, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """A program on a host of its own, ended with the segment."""
        return self.start(self.host(address), *command, log=log)

    def start(self, at: Netns, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """A program in a namespace, ended with the segment."""
        with at.inside(), log.open("ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._members.callback(ended, process)
        return process


def ended(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> int:
    """End a program, if it runs still; its exit status."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def installed(program: str) -> str:
    """The path of a program; without it the test is skipped."""
    found = shutil.which(program)
    if found is None:
        import pytest  # the bench has none

        pytest.skip(f"needs {program}")
    return found


class Daemon:
    """The daemon of a make, with a socket and a log in a folder. It may be ended and started again."""

    def __init__(self, at: Netns, folder: Path, make: str = "ours", *flags: str, start: bool = True) -> None:
        self.at, self.folder, self.make, self.flags = at, folder, make, flags or CALM
        self.binaries = MAKES[make]
        self.socket = folder / f"{make}.sock"
        self.log = folder / f"{make}.log"
        self.arguments = ["-socketpath", str(self.socket)]
        self.process: subprocess.Popen[bytes] | None = None
        if start:
            self.start()

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def command(self) -> list[str]:
        """What is run."""
        return [f"{self.binaries}/dhcp", "daemon", *self.arguments, *self.flags]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.at.inside(), self.log.open("ab") as log:
            process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        self.process = process
        assert eventually(lambda: self.listens() or process.poll() is not None, interval=0.005), self.said
        assert process.poll() is None, self.said

    def listens(self) -> bool:
        """Whether someone is behind the socket."""
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self.socket))
            except OSError:
                return False
        return True

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def said(self) -> str:
        """Its standard error until now."""
        return self.log.read_text(errors="replace")

    def says(self, pattern: str, seconds: float = 30.0) -> bool:
        """Whether its log has a line like this before the time is over."""
        return bool(eventually(lambda: re.search(pattern, self.said), seconds))

    def kill(self) -> None:
        """``kill -9``."""
        assert self.process is not None
        ended(self.process, signal.SIGKILL)
        if self.make == "go":
            self.socket.unlink()

    def terminate(self) -> int:
        """SIGTERM; its exit status."""
        assert self.process is not None
        return ended(self.process)

    def close(self) -> None:
        """End it for good, and remove the leases that are on disk."""
        if self.process is not None and self.process.poll() is None:
            ended(self.process, signal.SIGKILL)
        self.socket.unlink(missing_ok=True)
        shutil.rmtree(STATE, ignore_errors=True)

    def kept(self) -> list[str]:
        """The contents of the files of its leases, ours only; a file that goes meanwhile counts no more."""
        found = []
        for path in sorted(STATE.glob("*/*.lease")):
            with suppress(FileNotFoundError):
                found.append(path.read_text())
        return found

    def status(self, name: str) -> int:
        """A number of /proc/PID/status: Threads, VmRSS …"""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))

    @property
    def descriptors(self) -> int:
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def memory(self) -> int:
        """Its proportional set size in kB."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def network(daemon: Daemon, version: str = "1.0.0", name: str = "net1", **ipam: Any) -> Object:
    """A network whose addresses are DHCP's, as the IPAM plugin gets it."""
    section = {"type": "dhcp", "daemonSocketPath": str(daemon.socket), **ipam}
    return {"cniVersion": version, "name": name, "type": "dhcp", "ipam": section}


class Site:
    """A node, a segment, and the pods on it."""

    def __init__(self, node: Node, segment: Segment, folder: Path) -> None:
        self.node, self.segment, self.folder = node, segment, folder

    def pod(self, ifname: str = "eth0") -> Pod:
        """A pod with an interface on the segment, without an address."""
        pod = self.node.pod()
        self.segment.attach(pod, ifname)
        return pod

    def client(
        self, daemon: Daemon, pod: Pod | None = None, *, ifname: str = "eth0", args: str = "", **conf: Any
    ) -> "Client":
        """A pod's interface as a client of a daemon; nothing was called yet. Unless told, nobody is asked by ARP."""
        conf.setdefault("probe", False)
        return Client(
            self.node, network(daemon, **conf), pod or self.pod(ifname), ifname=ifname, args=args, daemon=daemon
        )


class Client(Attachment):
    """An attachment whose IPAM plugin is called alone, the way a main plugin calls it."""

    def __init__(self, *args: Any, daemon: Daemon, **more: Any) -> None:
        super().__init__(*args, **more)
        self.binaries = daemon.binaries

    def call(self, verb: str, conf: Object, **more: Any) -> Any:
        """The plugin is the daemon's make, unless another is named."""
        if more.get("binaries") in (None, SUBJECT):
            more["binaries"] = self.binaries
        return super().call(verb, conf, **more)

    def bind(self) -> "Client":
        """ADD, then the address on the interface, and the result, as an interface plugin has them."""
        self.add().result  # noqa: B018  asserts success
        (ip,) = self.result["ips"]
        self.pod.ip(f"addr add {ip['address']} dev {self.ifname}")
        ip["interface"] = 0
        self.result["interfaces"] = [{"name": self.ifname, "sandbox": self.pod.path}]
        return self

    @property
    def hardware(self) -> bytes:
        """The MAC of its interface."""
        return bytes.fromhex(self.mac.replace(":", ""))


class Dnsmasq:
    """Debian's dnsmasq as a DHCP server alone."""

    def __init__(
        self, segment: Segment, folder: Path, *more: str, address: str = "10.7.0.1/24", range: str = ORDERED
    ) -> None:
        """Without ``range`` addresses are given in their order."""
        self.leases, self.log = folder / "dnsmasq.leases", folder / "dnsmasq.log"
        self.at = segment.host(address)
        order = ["--dhcp-sequential-ip"] if range == ORDERED else []
        self.process = segment.start(
            self.at, installed("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping",
            "--user=root", "--interface=eth0", "--bind-interfaces", "--dhcp-authoritative", "--log-dhcp",
            "--log-facility=-", "--pid-file=", f"--dhcp-leasefile={self.leases}", f"--dhcp-range={range}", *order, *more,
            log=self.log,
        )  # fmt: skip
        assert eventually(lambda: "DHCP, IP range" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def leased(self) -> set[str]:
        """The addresses in its lease file."""
        lines = self.leases.read_text().splitlines() if self.leases.exists() else []
        return {line.split()[2] for line in lines if len(line.split()) > 2}

    def leases_become(self, *addresses: str) -> bool:
        """Whether its lease file has exactly these before long."""
        return bool(eventually(lambda: self.leased() == set(addresses)))


class Kea:
    """Debian's kea-dhcp4 on raw sockets, as it is configured by default."""

    def __init__(self, segment: Segment, folder: Path, *, address: str = "10.7.0.1/24", **subnet: Any) -> None:
        self.leases, self.log = folder / "kea.leases", folder / "kea.log"
        self.at = segment.host(address)
        configuration = {
            "Dhcp4": {
                "interfaces-config": {"interfaces": ["eth0"], "dhcp-socket-type": "raw"},
                "lease-database": {"type": "memfile", "persist": True, "name": str(self.leases), "lfc-interval": 0},
                "valid-lifetime": 3600,
                "authoritative": True,
                "subnet4": [
                    {
                        "subnet": "10.7.0.0/24",
                        "pools": [{"pool": "10.7.0.5 - 10.7.0.100"}],
                        "option-data": [{"name": "routers", "data": "10.7.0.1"}],
                        **subnet,
                    }
                ],
                "loggers": [{"name": "kea-dhcp4", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
            }
        }
        (folder / "kea.conf").write_text(json.dumps(configuration))
        # AppArmor, where it runs, allows the program in /usr/sbin its own folders only
        program = shutil.copy(installed("kea-dhcp4"), folder / "kea-dhcp4")
        (folder / "keapid").mkdir()
        kept = {"KEA_PIDFILE_DIR": str(folder / "keapid"), "KEA_LOCKFILE_DIR": str(folder / "keapid")}
        setting = [f"{name}={value}" for name, value in kept.items()]
        self.process = segment.start(
            self.at, "env", *setting, str(program), "-c", str(folder / "kea.conf"), log=self.log
        )
        assert eventually(lambda: "DHCP4_STARTED" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def leased(self) -> set[str]:
        """The addresses whose last line in its journal says that they are in use."""
        found: dict[str, bool] = {}
        for line in self.leases.read_text().splitlines()[1:]:
            fields = line.split(",")
            found[fields[0]] = int(fields[3]) > 0 and fields[9] == "0"
        return {address for address, used in found.items() if used}

    def leases_become(self, *addresses: str) -> bool:
        """Whether its journal comes to say exactly these before long."""
        return bool(eventually(lambda: self.leased() == set(addresses)))


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """The results of calls that run at the same time, each in a thread."""
    from concurrent.futures import ThreadPoolExecutor

    listed = list(calls)
    with ThreadPoolExecutor(len(listed)) as pool:
        return [future.result() for future in [pool.submit(call) for call in listed]]


def live(node: Node, main: Object, server: Server, daemon: Daemon, pods: int = 2) -> None:
    """Pods of an interface plugin with addresses of DHCP: each has its own, renews it, and gives it back before its link goes."""
    server.t1, server.t2, server.lease = 1, 500, 600
    ipam = {"type": "dhcp", "daemonSocketPath": str(daemon.socket)}
    found = [
        Attachment(node, {"cniVersion": "1.0.0", "name": "net1", **main, "ipam": ipam}, node.pod()) for _ in range(pods)
    ]
    for each in found:
        assert each.add().result["ips"][0]["gateway"] == server.router
        assert each.pod.addresses("eth0") == {f"{each.address}/24"}
        assert {route["dst"] for route in each.pod.routes()} >= {"default"}
        assert each.check().ok
    assert len({each.address for each in found}) == len(set(server.leases.values())) == pods
    renewals = {("REQUEST renewing", each.address) for each in found}
    assert eventually(lambda: renewals <= sources(server.heard)), server.seen
    for number, each in enumerate(found, 1):
        assert each.delete().ok
        assert server.wait_heard("RELEASE", number).hosts[0] == each.address
        assert "eth0" not in each.pod.links() and each.delete().ok
    assert not server.leases and not daemon.kept()


def sources(packets: list[Packet]) -> set[tuple[str, str]]:
    """What came, and from which address."""
    return {(packet.what, packet.hosts[0]) for packet in list(packets)}
