"""A network namespace: entered by the calling thread alone, and what the kernel has there, as data."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .machine import enter

# iptables keeps these in nf_tables; iptables-save shows them, and shows them the same with either of its back ends.
XTABLES = {"nat", "filter", "mangle", "raw", "security"}
# What the kernel keeps without nf_tables: the names of its tables.
LEGACY = ("/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names")
# linux/route.h, linux/ipv6_route.h: routes that follow from addresses, and such that the kernel keeps for itself
RTF_LOCAL, RTF_ANYCAST, RTF_CACHE = 0x80000000, 0x00100000, 0x01000000
Object = dict[str, Any]


class Netns:
    """A network namespace by its path. What is run or opened here belongs to it; other threads stay where they are."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread, and every process that it starts, into the namespace."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                enter(home)
        finally:
            os.close(home)

    def run(self, *command: str, stdin: str = "", check: bool = True, limit: float = 60) -> str:
        """Standard output of a command that ran inside; its failure is an error unless ``check`` is off."""
        with self.inside():
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=limit)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def ip(self, *lines: str) -> None:
        """Several ``ip`` commands, one a line, in one process."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A socket that belongs to the namespace and can be used from anywhere."""
        with self.inside():
            return socket.socket(family, kind, protocol)

    def _json(self, *command: str) -> list[Object]:
        listed: list[Object] = json.loads(self.run(*command) or "[]")
        return [item for item in listed if item]

    def links(self) -> dict[str, Object]:
        """Every link by its name, as ``ip -j -d link`` tells it."""
        return {link["ifname"]: link for link in self._json("ip", "-j", "-d", "link", "show")}

    def link(self, name: str) -> Object:
        """One link; it has to exist."""
        return self._json("ip", "-j", "-d", "link", "show", "dev", name)[0]

    def port(self, name: str) -> Object:
        """What a bridge keeps about one of its ports: ``hairpin``, ``isolated``, ``state`` and so on."""
        data: Object = self.link(name)["linkinfo"]["info_slave_data"]
        return data

    def ports(self, bridge: str) -> set[str]:
        """The names of a bridge's ports."""
        return {name for name, link in self.links().items() if link.get("master") == bridge}

    def address_objects(self, name: str) -> list[Object]:
        """The addresses of one link with everything that ``ip -j addr`` says about each."""
        found: list[Object] = self._json("ip", "-j", "-d", "addr", "show", "dev", name)[0]["addr_info"]
        return found

    def addressed_links(self) -> list[Object]:
        """Every link with its details and its addresses, as ``ip -j -d addr`` tells them."""
        return self._json("ip", "-j", "-d", "addr", "show")

    def all_addresses(self) -> dict[str, set[str]]:
        """Every link's addresses, link-local ones left out: ``{"eth0": {"10.1.0.2/24"}}``."""
        return {link["ifname"]: global_addresses(link["addr_info"]) for link in self._json("ip", "-j", "addr", "show")}

    def addresses(self, name: str) -> set[str]:
        """The addresses of one link, link-local ones left out: ``{"10.1.0.2/24"}``."""
        return global_addresses(self.address_objects(name))

    def routes(self, family: int = 4) -> list[Object]:
        """The main table's routes, link-local and multicast ones left out."""
        listed = self._json("ip", f"-{family}", "-j", "route", "show")
        return [route for route in listed if not str(route["dst"]).startswith(("fe80:", "ff00:"))]

    def route_lines(self) -> list[tuple[str, ...]]:
        """Every IPv4 route of the main table and every IPv6 one, as the kernel prints them, without counters.

        Link-local and multicast ones of IPv6, and those of the node's own addresses, are left out.
        """
        with self.inside():
            files = [Path("/proc/thread-self/net", name).read_text().splitlines() for name in ("route", "ipv6_route")]
        ours: list[tuple[str, ...]] = [tuple(words[:4] + words[6:9]) for words in map(str.split, files[0][1:])]
        for destination, length, _, _, gateway, metric, _, _, flags, device in map(str.split, files[1]):
            own = int(flags, 16) & (RTF_LOCAL | RTF_ANYCAST | RTF_CACHE)
            if not own and not destination.startswith(("fe80", "ff00")) and device != "lo":
                ours.append((device, destination, length, gateway, metric, flags))
        return sorted(ours)

    def rule_lines(self) -> list[str]:
        """Every routing rule of both families."""
        return [line for family in ("-4", "-6") for line in self.run("ip", family, "rule", "show").splitlines()]

    def vlans(self) -> dict[str, list[Object]]:
        """Each bridge port's VLANs, as ``bridge -j vlan`` tells them."""
        return {port["ifname"]: port["vlans"] for port in self._json("bridge", "-j", "vlan", "show")}

    def nft(self) -> list[Object]:
        """The nftables ruleset without handles and counters; tables that belong to iptables left out."""
        return self._nft()[0]

    def rules(self) -> tuple[list[Object], list[str]]:
        """What ``nft`` returns, and ``iptables`` for nat and filter, which is not asked where it has no table."""
        kept, tables = self._nft()
        with self.inside():
            legacy = [at for at in map(Path, LEGACY) if at.is_file() and at.read_text()]
        return kept, self.iptables("nat", "filter") if tables or legacy else []

    def _nft(self) -> tuple[list[Object], bool]:
        """The ruleset, and whether there are tables of iptables."""
        ruleset: list[Object] = json.loads(self.run("nft", "-j", "list", "ruleset"))["nftables"]
        kept: list[Object] = []
        tables = False
        for item in ruleset:
            ((kind, body),) = item.items()
            table = body.get("name") if kind == "table" else body.get("table")
            if kind == "metainfo":
                continue
            if body["family"] in ("ip", "ip6") and table in XTABLES:
                tables = True
            else:
                kept.append({kind: _without_handles(body)})
        return kept, tables

    def nft_tables(self) -> set[str]:
        """The names of the nftables tables with their family: ``{"inet filter"}``."""
        return {f"{item['table']['family']} {item['table']['name']}" for item in self.nft() if "table" in item}

    def iptables(self, *tables: str) -> list[str]:
        """The rules and the users' own chains of both families in some tables (nat), as iptables-save prints them."""
        found: list[str] = []
        for program in ("iptables-save", "ip6tables-save"):
            lines: dict[str, list[str]] = {}
            for line in self.run(program, *(() if tables[1:] else ("-t", *(tables or ("nat",))))).splitlines():
                if line.startswith("*"):
                    kept = lines.setdefault(line[1:], [])
                elif line.startswith("-A") or (line.startswith(":") and line.split()[1] == "-"):
                    kept.append(f"{program[:-5]} {line.split(' [')[0]}")
            found += [line for table in tables or ("nat",) for line in lines.get(table, ())]
        return sorted(found)

    def rules_as_text(self) -> str:
        """All rules of nftables and iptables, in which an address or an id can be looked for."""
        return "\n".join(self.iptables("filter", "nat")) + self.run("nft", "list", "ruleset")

    def sysctl(self, name: str, value: str | None = None) -> str:
        """A sysctl by its path below ``net/``, read after it was set if a value is given."""
        at = Path("/proc/sys/net", name)
        with self.inside():
            if value is not None:
                at.write_text(value)
            return at.read_text().strip()


def global_addresses(found: list[Object]) -> set[str]:
    """What `ip -j addr` tells of a link's addresses, link-local ones left out: ``{"10.1.0.2/24"}``."""
    return {f"{address['local']}/{address['prefixlen']}" for address in found if address["scope"] == "global"}


def _without_handles(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_handles(v) for k, v in value.items() if k not in ("handle", "packets", "bytes")}
    if isinstance(value, list):
        return [_without_handles(item) for item in value]
    return value
