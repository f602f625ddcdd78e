"""Debian's servers of IPv6 settings, dnsmasq and kea, on a link with one pod; and the IPv6 client on real sockets there.

router eth0 fd00:7::1 --- eth0 pod
"""

import json
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cni_dhcp_daemon.client import ICMPV6, Bound, Event, Failed, Lease, Lost, Probe
from cni_dhcp_daemon.v6.client import V6Client
from cni_dhcp_daemon.v6.wish import Mode, Wish

from .deadline import eventually
from .topology import NamedNetns

ADDRESS, NAMESERVER = "fd00:7::1", "fd00:7::53"
# linux/icmpv6.h
_ICMPV6_FILTER, _ADVERTISEMENT = 1, 134


class Link6:
    """A router's namespace and a pod's, joined by a veth pair. The router and the servers are programs of Debian."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._members = ExitStack()
        self.router, self.pod = NamedNetns("router"), NamedNetns("pod")
        for at in (self.router, self.pod):
            self._members.callback(at.close)
            at.sysctl("ipv6/conf/default/accept_dad", "0")
            at.sysctl("ipv6/conf/default/accept_ra", "0")
        self.router.sysctl("ipv6/conf/all/forwarding", "1")
        self.router.ip(
            f"link add eth0 type veth peer name eth0 netns {self.pod.name}",
            "link set lo up",
            "link set eth0 up",
            f"addr add {ADDRESS}/64 dev eth0 nodad",
        )
        self.pod.ip("link set lo up", "link set eth0 up")
        assert eventually(lambda: all(_link_local(at) for at in (self.router, self.pod)))
        self.gateway = _link_local(self.router)
        self.mac = bytes.fromhex(self.pod.link("eth0")["address"].replace(":", ""))

    def __enter__(self) -> "Link6":
        return self

    def __exit__(self, *exception: object) -> None:
        self._members.close()

    def client(self, mode: Mode = Mode.AUTO, lease: Lease | None = None, conflicts: int = 0, **more: Any) -> "Driver":
        """A client on the pod's interface, started."""
        driver = Driver(self.pod, V6Client(Wish(mode, self.mac, "container/network/eth0", **more), lease))
        self._members.callback(driver.close)
        driver.conflicts = conflicts
        return driver.start()

    def dnsmasq(self, *ranges: str, more: tuple[str, ...] = ()) -> "Process":
        """A router, and a server where the ranges say so."""
        command = [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=eth0",
            "--enable-ra", "--log-dhcp", "--log-facility=-", "--pid-file=", f"--dhcp-leasefile={self.folder}/leases",
            f"--dhcp-option=option6:dns-server,[{NAMESERVER}]", "--dhcp-option=option6:domain-search,dhcp.example",
            *(f"--dhcp-range={each}" for each in ranges), *more,
        ]  # fmt: skip
        return self._start(command, "dnsmasq", "router advertisement" if ranges else "started")

    def kea(self, **subnet: Any) -> "Process":
        """A server without a router; what is given replaces what the subnet says."""
        configuration = {
            "Dhcp6": {
                "interfaces-config": {"interfaces": ["eth0"]},
                "lease-database": {"type": "memfile", "name": f"{self.folder}/kea.leases", "lfc-interval": 0},
                "server-id": {"type": "LLT", "persist": False},
                "option-data": [{"name": "dns-servers", "data": NAMESERVER}],
                "subnet6": [
                    {
                        "subnet": "fd00:7::/64",
                        "interface": "eth0",
                        "pools": [{"pool": "fd00:7::100 - fd00:7::1ff"}],
                        **subnet,
                    }
                ],
                "loggers": [{"name": "kea-dhcp6", "output_options": [{"output": "stdout"}], "severity": "INFO"}],
            }
        }
        at = self.folder / "kea.conf"
        at.write_text(json.dumps(configuration))
        folders = [f"KEA_{name}_DIR={self.folder}" for name in ("PIDFILE", "LOCKFILE")]
        return self._start(["env", *folders, "kea-dhcp6", "-c", str(at)], "kea", "DHCP6_STARTED")

    def _start(self, command: list[str], name: str, ready: str) -> "Process":
        process = Process(self.router, command, self.folder / f"{name}.log")
        self._members.callback(process.close)
        assert eventually(lambda: ready in process.said or process.ended), process.said
        assert not process.ended, process.said
        return process


class Process:
    """A program of Debian's in the foreground, with its log."""

    def __init__(self, at: NamedNetns, command: list[str], log: Path) -> None:
        self._log = log
        with at.inside(), log.open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    @property
    def said(self) -> str:
        """Its log until now."""
        return self._log.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class Driver:
    """Runs a client on sockets of the pod: the least that the daemon does."""

    def __init__(self, pod: NamedNetns, client: V6Client) -> None:
        self.client = client
        self.lease: Lease | None = None
        self.conflicts = 0
        """How many of the next probes another host answers."""
        self.events: list[Event] = []
        with pod.inside():
            self._index = socket.if_nametoindex("eth0")
        self._udp = pod.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._icmp = pod.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self._udp.bind(("::", 546, 0, self._index))
        self._icmp.bind(("::", 0, 0, self._index))
        word, bit = divmod(_ADVERTISEMENT, 32)
        refused = [0xFFFFFFFF ^ (1 << bit) * (at == word) for at in range(8)]
        self._icmp.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, struct.pack("=8I", *refused))
        self._icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        self._icmp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)

    def start(self) -> "Driver":
        """Begin."""
        self.client.start(self.now)
        self._follow()
        return self

    def close(self) -> None:
        """Close the sockets."""
        self._udp.close()
        self._icmp.close()

    @property
    def now(self) -> float:
        """The clock of the contract."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def until(self, done: Callable[[], Any], seconds: float = 30) -> "Driver":
        """Run until something is so."""
        limit = self.now + seconds
        while not done():
            assert self.now < limit, self.events
            deadline = min(self.client.deadline or limit, limit, self.now + 1)
            ready, _, _ = select.select([self._udp, self._icmp], [], [], max(deadline - self.now, 0))
            for each in ready:
                self._receive(each)
            if self.client.deadline is not None and self.client.deadline <= self.now:
                self.client.advance(self.now)
                self._follow()
        return self

    def bound(self) -> Lease:
        """Run until there is a lease."""
        self.until(lambda: self.lease)
        assert self.lease
        return self.lease

    def _receive(self, at: socket.socket) -> None:
        payload, notes, _, source = at.recvmsg(65535, 64)
        if at is self._udp:
            self.client.received(payload, source[0], self.now)
        elif struct.unpack("=i", notes[0][2][:4]) == (255,):
            self.client.advertised(payload, source[0], self.now)
        self._follow()

    def _follow(self) -> None:
        for datagram in self.client.take_datagrams():
            at, port = (self._icmp, 0) if datagram.protocol == ICMPV6 else (self._udp, 547)
            at.sendto(datagram.payload, (datagram.destination, port, 0, self._index))
        for event in self.client.take_events():
            self.events.append(event)
            if isinstance(event, Probe):
                self.conflicts -= 1
                self.client.probed(event.address, self.conflicts >= 0, self.now)
                self._follow()
            elif isinstance(event, Bound):
                self.lease = event.lease
            elif isinstance(event, Lost):
                self.lease = None

    def release(self) -> None:
        """Give the lease back."""
        self.client.release(self.now)
        self._follow()

    @property
    def addresses(self) -> list[str]:
        """Those of the lease."""
        return [f"{each.text}/{each.length}" for each in self.lease.addresses] if self.lease else []

    @property
    def reasons(self) -> list[str]:
        """Why attempts have failed."""
        return [event.reason for event in self.events if isinstance(event, Failed)]


def _link_local(at: NamedNetns) -> str:
    """The link-local address of its eth0, once it can be used."""
    found = [each for each in at.address_objects("eth0") if each["scope"] == "link" and not each.get("tentative")]
    return found[0]["local"] if found else ""
